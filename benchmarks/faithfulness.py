"""Does the certificate tell right explanations from wrong ones?

    python benchmarks/faithfulness.py [--cases wine,words] [--batches 4] [--size 8] [--singles 8]
                                       [--development] [--quick] [--data-dir ../shared/data]

Models of every data kind are trained here; their held-out samples are explained rightly and wrongly, and each map is certified in batches
of `--size` samples, and single samples beside a background. The thresholds were chosen on the models of `--development`, and on
CIFAR-10, patches and series of another seed; the other models were not looked at before.

    right     integrated gradients, Shapley values, the closed form of a linear model
    nothing   random values, signed and unsigned, sparse, smooth; a right map's values in random places, its sizes with random signs;
              maps of networks with scrambled weights by three methods
    another   the right map of another class, of the runner-up, of another input, the mean of the batch's right maps
    the input the input, its size, square, cube; of images also smoothed, the largest channel, local spread, edges, random filters
    bent      the right map inverted, its sizes only, a constant; of images also with noise inside patches that sums to zero, turned
              inside patches, in another channel, moved by one pixel

Aims: wrong maps are never "high"; random and scrambled ones are "none" for >= 90 %; those of another class or input are "none" or
"limited" for >= 90 %; right ones are "none" for <= 5 %. And the time of a full certificate for 32 CIFAR-10 images: < 60 s.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from explained_models import (
    Case,
    cifar10,
    digits,
    four_columns,
    linear,
    one_column,
    planted_columns,
    planted_patches,
    planted_series,
    planted_words,
    residual,
    table,
)
from measurement import met, report, verdict
from torch import Tensor, nn

from pellucid.core.numerics import wilson_interval
from pellucid.explanation.certificate import Certificate, Tests
from pellucid.explanation.explain import explain
from pellucid.explanation.players import Players
from pellucid.explanation.reference import Reference
from pellucid.explanation.registry import find_method
from pellucid.explanation.subject import Subject

DEVELOPMENT: dict[str, Callable[[], Case]] = {
    "digits": partial(digits, 0), "breast-cancer": partial(table, "breast_cancer", 0), "words 0": partial(planted_words, 0),
    "iris": partial(table, "iris", 3), "diabetes 3": partial(table, "diabetes", 3), "columns 3": partial(planted_columns, 3),
}  # fmt: skip
HELD_OUT: dict[str, Callable[[], Case]] = {
    "linear": partial(linear, 7), "one column": partial(one_column, 7), "wine": partial(table, "wine", 7),
    "four columns": partial(four_columns, 7), "diabetes": partial(table, "diabetes", 7), "columns": partial(planted_columns, 7),
    "digits pooled": partial(digits, 7, pooled=True), "patches": partial(planted_patches, 7), "words": partial(planted_words, 7),
    "series": partial(planted_series, 7),
}  # fmt: skip
RIGHT = ("integrated_gradients", "shapley", "closed_form")
NOTHING = ("random_normal", "random_uniform", "random_sparse", "random_smooth", "random_places", "random_signs", "scrambled_gradients",
           "scrambled_saliency", "scrambled_grad_cam")  # fmt: skip
ANOTHER = ("another_class", "runner_up_class", "another_input", "mean_of_right")
MOST_LARGE = 1000  # numbers of a sample: of larger ones exact Shapley values of patches would take most of the time


def scrambled(model: nn.Module, seed: int) -> nn.Module:
    """The weights of each parameter in random places."""
    twin, generator = copy.deepcopy(model), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.copy_(parameter.reshape(-1)[torch.randperm(parameter.numel(), generator=generator)].reshape(parameter.shape))
    return twin


def attributions(
    model: nn.Module, inputs: Tensor, target: Tensor | None, method: str, data: Tensor | None, samples: int | None = 16
) -> Tensor:
    samples = None if method in ("saliency", "grad_cam") else samples  # which draw nothing
    return cast("Tensor", explain(model, inputs, target, method=method, data=data, samples=samples).attributions)


def wrong_maps(case: Case, x: Tensor, target: Tensor | None, right: Tensor, data: Tensor | None, seed: int) -> Iterator[tuple[str, Tensor]]:
    """The wrong maps of the samples x (N, ...), by name; `right` is their right map. Every scrambled map is one of a network of its own."""
    generator, image = torch.Generator().manual_seed(seed), x.dim() == 4
    normal = torch.randn(x.shape, generator=generator)
    yield "random_normal", normal
    yield "random_uniform", torch.rand(x.shape, generator=generator)
    yield "random_sparse", normal * (torch.rand(x.shape, generator=generator) < 0.15)
    flat = right.flatten(1)
    yield "random_places", flat.gather(1, torch.rand(flat.shape, generator=generator).argsort(1)).reshape(x.shape)
    yield "random_signs", right.abs() * (torch.randint(0, 2, x.shape, generator=generator) * 2 - 1)
    methods = {"scrambled_gradients": "integrated_gradients", "scrambled_saliency": "saliency", "scrambled_grad_cam": "grad_cam"}
    for name, method in methods.items():
        if method == "grad_cam" and not image:
            continue
        yield name, attributions(scrambled(case.model, seed * 1000), x, target, method, data)
    if target is not None:
        with torch.no_grad():
            outputs = case.model(x)
        other = (target + torch.randint(1, outputs.shape[1], target.shape, generator=generator)) % outputs.shape[1]
        yield "another_class", attributions(case.model, x, other, "integrated_gradients", data)
        yield "runner_up_class", attributions(case.model, x, outputs.topk(2, dim=1).indices[:, 1], "integrated_gradients", data)
    elsewhere = case.inputs[torch.randint(0, len(case.inputs), (len(x),), generator=generator)]
    yield "another_input", attributions(case.model, elsewhere, target, "integrated_gradients", data)
    if len(x) > 1:
        yield "mean_of_right", right.mean(0, keepdim=True).expand_as(right)
    yield "inverted", -right
    yield "sizes_only", right.abs()
    yield "constant", torch.ones(x.shape)
    if x.is_floating_point():
        yield from (("input", x), ("input_size", x.abs()), ("input_square", x**2), ("input_cube", x**3), ("input_sine", torch.sin(3 * x)))
    if image:
        yield from drawings(x, generator)
        yield "random_smooth", F.avg_pool2d(normal, 5, 1, 2)
        if x[0].numel() > 64:
            yield from wrong_inside_patches(right, max(1, round(x.shape[-1] / 8)), normal)


def drawings(x: Tensor, generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
    """Maps of images (N, C, H, W) that never saw the network."""
    channels = x.shape[1]
    edges = torch.zeros_like(x)
    edges[..., 1:] += x.diff(dim=-1).abs()
    edges[..., 1:, :] += x.diff(dim=-2).abs()
    yield "edges", edges
    yield "smooth_size", F.avg_pool2d(x.abs(), 5, 1, 2)
    yield "smooth_square", F.avg_pool2d(x**2, 3, 1, 1)
    yield "smooth_cube", F.avg_pool2d(x.abs() ** 3, 3, 1, 1)
    yield "largest_channel", x.abs().amax(1, keepdim=True).expand_as(x)
    yield "local_spread", (F.avg_pool2d(x**2, 5, 1, 2) - F.avg_pool2d(x, 5, 1, 2) ** 2).clamp(min=0).sqrt()
    yield "difference_of_means", (F.avg_pool2d(x, 3, 1, 1) - F.avg_pool2d(x, 7, 1, 3)).abs()
    filters = torch.randn(8, channels, 5, 5, generator=generator)
    yield "random_filters", F.conv2d(x, filters, padding=2).relu().sum(1, keepdim=True).expand_as(x)


def wrong_inside_patches(right: Tensor, edge: int, noise: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The sums over patches stay, but for `moved`."""
    n, c, h, w = right.shape
    patched = (n, c, h // edge, edge, w // edge, edge)

    def inside(maps: Tensor) -> Tensor:
        """Less the mean of its patch."""
        cut = maps.reshape(patched)
        return (cut - cut.mean((1, 3, 5), keepdim=True)).reshape(right.shape)

    scale = inside(right).std() / inside(noise).std()
    yield "noise_inside", right + 2 * scale * inside(noise)
    yield "only_noise_inside", right - inside(right) + scale * inside(noise)
    yield "inverted_inside", right - 2 * inside(right)
    yield "turned_inside", right.reshape(patched).flip(5).reshape(right.shape)
    yield "moved", right.roll(1, -1)
    if c > 1:
        yield "other_channel", right.roll(1, 1)
        yield "one_channel", torch.zeros_like(right).scatter(1, right.abs().argmax(1, keepdim=True), right.sum(1, keepdim=True))


def certificates(name: str, case: Case, rows: Tensor, seed: int) -> Iterator[tuple[str, Certificate]]:
    """The certificate of every map of these samples; what does not depend on the map is computed once."""
    x, target, data = case.inputs[rows], None if case.target is None else case.target[rows], case.data[:200]
    subject = Subject.of(case.model, x, target)
    reference = Reference.of(subject, "auto", data, torch.Generator().manual_seed(0))
    tests = Tests(subject, reference, Players.of(subject), data=data)
    methods = ["integrated_gradients", *(["shapley"] if x[0].numel() <= MOST_LARGE else [])]
    draws: dict[str, int | None] = {"integrated_gradients": None, "shapley": None if reference.count > 1 else 16}
    right = {method: attributions(case.model, x, target, method, data, draws[method]) for method in methods}
    for method, maps in right.items():
        yield method, tests.certificate((maps,), method=method, family=find_method(method).family)
    if isinstance(case.model, nn.Linear):
        maps = case.model.weight[0 if target is None else target].detach() * (x - reference.values[0].mean(0))
        yield "closed_form", tests.certificate((maps,), method=None, family=None)
    for kind, maps in wrong_maps(case, x, target, right["integrated_gradients"], data, seed):
        if bool((F.cosine_similarity(maps.flatten(1), right["integrated_gradients"].flatten(1)) > 0.99).all()):
            continue  # right by chance: of one column that counts, any other input's map may be
        yield kind, tests.certificate((maps,), method=None, family=None)


def measured(name: str, case: Case, sizes: dict[int, int]) -> tuple[dict[int, dict[str, Counter[str]]], list[dict[str, Any]]]:
    """By batch size: by kind of map: how often each trust was given. And every certificate."""
    generator = torch.Generator().manual_seed(11)
    found: dict[int, dict[str, Counter[str]]] = {}
    details: list[dict[str, Any]] = []
    for size, batches in sizes.items():
        counted: dict[str, Counter[str]] = defaultdict(Counter)
        for batch in range(batches):
            rows = torch.randperm(len(case.inputs), generator=generator)[:size]
            for kind, certificate in certificates(name, case, rows, seed=batch + 1):
                counted[kind][certificate.trust] += 1
                scores = {score.name: (score.value, score.p_value, score.passed) for score in certificate.scores}
                details.append({"case": name, "size": size, "kind": kind, "trust": certificate.trust, "scores": scores,
                                "reasons": [str(reason) for reason in certificate.reasons]})  # fmt: skip
        found[size] = dict(counted)
    return found, details


def shares(counted: Counter[str]) -> str:
    total = sum(counted.values())
    return "/".join(str(counted[trust]) for trust in ("high", "limited", "none")) + f" of {total}"


def judged(every: dict[str, dict[int, dict[str, Counter[str]]]], size: int) -> list[dict[str, Any]]:
    """The aims, over all models, for batches of one size."""

    def total(kinds: tuple[str, ...] | None) -> Counter[str]:
        chosen = [c for by_size in every.values() for kind, c in by_size.get(size, {}).items()
                  if (kind not in RIGHT if kinds is None else kind in kinds)]  # fmt: skip
        return sum(chosen, Counter())

    rows: list[dict[str, Any]] = []
    for what, kinds, trusts, at_least, aim in (
        ("wrong maps not high", None, ("limited", "none"), True, 1.0),
        ("random and scrambled maps none", NOTHING, ("none",), True, 0.90),
        ("another class's or input's limited or none", ANOTHER, ("limited", "none"), True, 0.90),
        ("right maps none", RIGHT, ("none",), False, 0.05),
    ):
        counted = total(kinds)
        n, hits = sum(counted.values()), sum(counted[trust] for trust in trusts)
        if not n:
            continue
        interval, reached = wilson_interval(hits, n), hits / n >= aim if at_least else hits / n <= aim
        rows.append({"samples": size, "what": what, "share": f"{hits / n:.3f}", "of": n, "95 %": f"{interval.low:.3f}-{interval.high:.3f}",
                     "aim": f"{'>=' if at_least else '<='} {aim}", "met": met(reached)})  # fmt: skip
    return rows


def timed(name: str, model: nn.Module, inputs: Tensor, target: Tensor | None, data: Tensor) -> dict[str, Any]:
    """A full certificate for 32 images."""
    explanation = explain(model, inputs[:32], None if target is None else target[:32], method="integrated_gradients", data=data[:200])
    started, begun = time.perf_counter(), time.process_time()
    trust = explanation.certificate.trust
    seconds, processor = time.perf_counter() - started, time.process_time() - begun
    return {"samples": 32, "what": f"seconds, CIFAR-10, {name}, trust {trust}", "share": f"{seconds:.1f} (processor {processor:.1f})",
            "of": 1, "95 %": "", "aim": "< 60", "met": met(seconds < 60)}  # fmt: skip


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--cases", default="")
    options.add_argument("--batches", type=int, default=4)
    options.add_argument("--size", type=int, default=8)
    options.add_argument("--singles", type=int, default=8)
    options.add_argument("--development", action="store_true")
    options.add_argument("--quick", action="store_true", help="two batches, no single samples, one model")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--data-dir", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    known = dict(DEVELOPMENT if given.development else HELD_OUT)
    if not given.development and (given.data_dir / "cifar10").is_dir():
        known["cifar10"] = partial(cifar10, given.data_dir / "cifar10", 7, 2)
    chosen = [name for name in given.cases.split(",") if name] or (["wine"] if given.quick else list(known))
    sizes = {given.size: 2 if given.quick else given.batches, **({} if given.quick or not given.singles else {1: given.singles})}
    every: dict[str, dict[int, dict[str, Counter[str]]]] = {}
    details: list[dict[str, Any]] = []
    timing: list[dict[str, Any]] = []
    for name in chosen:
        started = time.perf_counter()
        torch.manual_seed(3)
        case = known[name]()
        every[name], more = measured(name, case, sizes)
        details += more
        if name == "cifar10":
            timing.append(timed("small CNN", case.model, case.inputs, case.target, case.data))
            timing.append(timed("residual CNN", residual(), case.inputs, None, case.data))
        print(f"{name}: score {case.score:.3f}; {time.perf_counter() - started:.0f} s", flush=True)
        for size, counted in every[name].items():
            print(f"   {size} samples, high/limited/none: " + "; ".join(f"{kind} {shares(c)}" for kind, c in counted.items()), flush=True)
    rows = [*(row for size in sizes for row in judged(every, size)), *timing]
    report("faithfulness-quick" if given.quick else "faithfulness-development" if given.development else "faithfulness", rows,
           {"models": {name: {size: {kind: dict(c) for kind, c in counted.items()} for size, counted in by.items()}
                       for name, by in every.items()}, "certificates": details})  # fmt: skip
    return verdict(rows)


if __name__ == "__main__":
    sys.exit(main())
