"""How long explanations take beside Captum and SHAP, at equal error.

    python benchmarks/explain_speed.py [--rounds 3] [--threads 1] [--only shapley]

    Shapley      200 rows, 30 columns, a background of 100: ours with its default sample size. SHAP's Kernel and Permutation explainers are
                 given more coalitions, a quarter more each time, until their error is no larger than ours or they have taken 15 times as
                 long; on 10 rows, their time scaled to 200. Error: the root mean squared distance from a long run of ours (10 000 pairs).
    integrated   2 images, the residual CNN of derive_cost.py: ours with 33, 65 and 129 gradients, beside Captum with as many as it takes to
                 reach our error, by its default rule (Gauss-Legendre) and by the one that is better here (the midpoints of equal steps).
                 Error: the mean distance from 1024 midpoints, relative to the mean attribution.
    occlusion    one image, windows of 4 pixels in steps of 2, on the residual CNN and on a small one: the same numbers to rounding. Captum
                 as it comes, and with `perturbations_per_eval=32`.
    Grad-CAM     32 and 128 images, the last stage of the residual CNN: the same numbers to rounding.

Times are processor seconds of this process: what else the machine does is not counted. Each tool does all of its work: our checks of
the network and its inputs are part of ours. Rounds are interleaved; ratios are of medians, with their 95 % bootstrap interval.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
from derive_cost import residual
from measurement import interleaved, met, ratio, report, verdict
from torch import Tensor, nn

import pellucid
from pellucid.core.language import text
from pellucid.explanation.methods.coalitions import Game
from pellucid.explanation.methods.occlusion import occlusion
from pellucid.explanation.methods.shapley import sampled
from pellucid.explanation.players import Players
from pellucid.explanation.reference import Reference
from pellucid.explanation.subject import Subject

ROWS, SCALED_ROWS = 200, 10


def timed(work: Callable[[], Any]) -> Callable[[], float]:
    def run() -> float:
        begun = time.process_time()
        work()
        return time.process_time() - begun

    return run


def row(
    what: str, peer: str, ours: list[float], theirs: list[float], error: float, their_error: float, aim: float | None
) -> dict[str, Any]:
    times, low, high = ratio(theirs, ours)
    return {
        "what": what, "beside": peer, "ours (s)": f"{median(ours):.3g}", "theirs (s)": f"{median(theirs):.3g}",
        "times faster": f"{times:.3g} [{low:.3g}, {high:.3g}]", "our error": f"{error:.2g}", "their error": f"{their_error:.2g}",
        "aim": "" if aim is None else f">= {aim:g}", "met": "" if aim is None else met(times >= aim),
    }  # fmt: skip


def table_network() -> tuple[nn.Module, Tensor, Tensor]:
    """A perceptron trained on products and waves of its columns, so that it has interactions."""
    torch.manual_seed(0)
    X = torch.randn(4000, 30)
    y = X[:, :1] * X[:, 1:2] + torch.sin(2 * X[:, 2:3]) + X[:, 3:10].sum(1, keepdim=True) / 3 + (X[:, 10:11] > 0) * X[:, 11:12]
    model = nn.Sequential(nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(10):
        for batch in torch.randperm(4000).split(100):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(X[batch]), y[batch]).backward()
            optimizer.step()
    return model.eval(), torch.randn(ROWS, 30), X[:100]


def shapley(rounds: int) -> list[dict[str, Any]]:
    import shap

    model, inputs, background = table_network()

    def predict(rows: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return model(torch.as_tensor(rows, dtype=torch.float32))[:, 0].numpy()

    some = inputs[:SCALED_ROWS]
    subject = Subject.of(model, some)
    game = Game(subject, Reference("samples", (background,), text("samples")), Players.of(subject))
    truth = sampled(game, torch.Generator().manual_seed(99), 10_000).values.numpy()

    def error(values: Any) -> float:
        return float(np.sqrt(np.square(np.asarray(values)[:SCALED_ROWS].reshape(truth.shape) - truth).mean()))

    def ours() -> Any:
        return pellucid.explain(model, inputs, method="shapley", baseline="samples", data=background).attributions

    def permutation(evaluations: int) -> Any:
        explainer = shap.PermutationExplainer(predict, background.numpy(), seed=0)
        return explainer(some.numpy(), max_evals=evaluations, silent=True).values

    def kernel(evaluations: int) -> Any:
        np.random.seed(0)
        return shap.KernelExplainer(predict, background.numpy()).shap_values(some.numpy(), nsamples=evaluations, silent=True)

    begun = time.process_time()
    reached = error(ours())
    long = 15 * (time.process_time() - begun)
    rows = []
    permutation(61)  # compiles
    for name, explainer, evaluations in (("Permutation", permutation, 500), ("Kernel", kernel, 2 * 30 + 2048)):
        tried: list[tuple[int, float]] = []
        while True:
            begun = time.process_time()
            tried.append((evaluations, error(explainer(evaluations))))
            if tried[-1][1] <= reached or (time.process_time() - begun) * ROWS / SCALED_ROWS > long:
                break
            evaluations = round(evaluations * 1.25)
        for many, found in dict.fromkeys((tried[0], tried[-1])):
            last = many == evaluations
            times = interleaved({"ours": timed(ours), "theirs": timed(lambda f=explainer, n=many: f(n))}, rounds, warm_up=0)
            scaled = [seconds * ROWS / SCALED_ROWS for seconds in times["theirs"]]
            what = f"Shapley, {ROWS} rows of 30" + ("" if last else ", SHAP's own sample size")
            rows.append(row(what, f"SHAP {name}, {many} coalitions a row", times["ours"], scaled, reached, found, 10.0 if last else None))
    return rows


def images() -> tuple[nn.Module, nn.Module, Tensor]:
    """The residual CNN with batch statistics of data, a small CNN, and images."""
    torch.manual_seed(0)
    large, _, _ = residual()
    x = torch.randn(32, 3, 32, 32)
    with torch.no_grad():
        for _ in range(3):
            large(torch.randn(32, 3, 32, 32))
    small = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(2048, 10),
    )  # fmt: skip
    return large.eval(), small.eval(), x


def integrated(rounds: int) -> list[dict[str, Any]]:
    from captum.attr import IntegratedGradients

    model, _, x = images()
    x = x[:2]

    def theirs(steps: int, rule: str) -> Tensor:
        return IntegratedGradients(model).attribute(x, target=3, n_steps=steps, method=rule)

    def ours(gradients: int) -> Tensor:
        return pellucid.explain(model, x, 3, method="integrated_gradients", baseline="zero", samples=gradients).attributions

    truth = IntegratedGradients(model).attribute(x, target=3, n_steps=1024, method="riemann_middle", internal_batch_size=32)

    def error(values: Tensor) -> float:
        return float((values - truth).abs().mean() / truth.abs().mean())

    rows = []
    for gradients in (33, 65, 129):
        reached = error(ours(gradients))
        alternatives: dict[str, Callable[[], float]] = {"ours": timed(lambda n=gradients: ours(n))}
        peers: dict[str, tuple[int, float]] = {}
        for rule in ("gausslegendre", "riemann_middle"):
            steps = gradients * 3 // 4
            while (other := error(theirs(steps, rule))) > reached:
                steps = max(steps + 1, round(steps * min(1.5, other / reached)))  # of networks with ReLUs, the error falls as 1 / steps
            peers[rule] = steps, other
            alternatives[rule] = timed(lambda n=steps, rule=rule: theirs(n, rule))
        times = interleaved(alternatives, rounds, warm_up=0)
        for rule, (steps, other) in peers.items():
            aim = 1.5 if rule == "gausslegendre" else None
            what = f"integrated gradients, 2 images, residual CNN, {gradients} gradients"
            rows.append(row(what, f"Captum, {rule}, {steps} steps", times["ours"], times[rule], reached, other, aim))
    return rows


def occluded(rounds: int) -> list[dict[str, Any]]:
    from captum.attr import Occlusion

    large, small, x = images()
    rows = []
    for name, model in (("residual CNN", large), ("small CNN", small)):

        def ours(model: nn.Module = model) -> Tensor:
            subject = Subject.of(model, x[:1], 3)
            found = occlusion(
                subject, reference=Reference.of(subject, "zero"), players=Players.of(subject), generator=torch.Generator(), samples=None,
                tell=subject.tell, window=4, stride=2,
            )  # fmt: skip
            return found.attributions[0]

        def theirs(at_once: int, model: nn.Module = model) -> Tensor:
            return Occlusion(model).attribute(x[:1], (3, 4, 4), strides=(3, 2, 2), target=3, perturbations_per_eval=at_once)

        difference = float((ours() - theirs(1)).abs().max() / theirs(1).abs().max())
        for at_once, aim in ((1, 2.0), (32, None)):
            times = interleaved({"ours": timed(ours), "theirs": timed(lambda f=theirs, n=at_once: f(n))}, rounds)
            peer = "Captum" + (f", {at_once} perturbations at once" if at_once > 1 else "")
            rows.append(row(f"occlusion, one image, {name}", peer, times["ours"], times["theirs"], difference, 0.0, aim))
    return rows


def grad_cam(rounds: int) -> list[dict[str, Any]]:
    from captum.attr import LayerAttribution, LayerGradCam

    model, _, x = images()
    layer = next(name for name, module in model.named_modules() if module is model[-4])

    def ours(x: Tensor) -> Tensor:
        return pellucid.explain(model, x, 3, method="grad_cam", layer=layer).attributions

    def theirs(x: Tensor) -> Tensor:
        return LayerAttribution.interpolate(
            LayerGradCam(model, model[-4]).attribute(x, target=3, relu_attributions=True), (32, 32), "bilinear"
        )

    one, two = ours(x).mean(1), theirs(x)[:, 0]
    difference = float((one / one.abs().max() - two / two.abs().max()).abs().max())
    rows = []
    for times_repeated in (1, 4):
        many = x.repeat(times_repeated, 1, 1, 1)
        times = interleaved({"ours": timed(lambda x=many: ours(x)), "theirs": timed(lambda x=many: theirs(x))}, rounds)
        rows.append(row(f"Grad-CAM, {len(many)} images, residual CNN", "Captum", times["ours"], times["theirs"], difference, 0.0, 1.0))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=["shapley", "integrated", "occlusion", "grad_cam"])
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")
    logging.getLogger("shap").setLevel(logging.ERROR)
    parts = {"shapley": shapley, "integrated": integrated, "occlusion": occluded, "grad_cam": grad_cam}
    chosen = [arguments.only] if arguments.only else list(parts)
    rows = [line for name in chosen for line in parts[name](arguments.rounds)]
    report(
        "explain_speed" + (f"-{arguments.only}" if arguments.only else ""), rows, {"rounds": arguments.rounds, "threads": arguments.threads}
    )
    return verdict(rows)


if __name__ == "__main__":
    raise SystemExit(main())
