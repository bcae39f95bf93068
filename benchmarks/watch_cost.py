"""What watching costs a training step, beside other ways of looking into a training.

    python benchmarks/watch_cost.py [--steps 1500] [--rounds 7] [--threads 1]

The same loop, model, data and optimizer, interleaved in random order:

    bare                  plain PyTorch
    watched               pellucid.watch(model) before the loop, closed after it
    histograms            what wandb.watch(log="all") does, written out: a histogram of every gradient in a hook on every parameter and of
                          every weight, each 100th step
    statistics            mean, standard deviation and norm of every module's output and every gradient, read with .item() at every step
    skorch's doctor       SkorchDoctor around a skorch net of the same model, against that net without it; where skorch is installed
    Cockpit               its "economy" instruments every 20th step; where cockpit-for-pytorch and backpack-for-pytorch can be imported

Two figures per work: a step's whole cost over the run, watching's start (a traced pass, the dense looks of the first 32 steps) taken in;
and in the run's second half, where a long training spends its time. Aims: at most 2 % per step on a small CNN, 4 % on a 64-64 MLP at
batch 64, in the second half.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from measurement import interleaved, met, ratio, report, verdict
from torch import Tensor, nn

import pellucid

AIMS = {"MLP 64-64": 1.04, "small CNN": 1.02}


@dataclass(frozen=True)
class Work:
    model: Callable[[], nn.Module]
    shape: tuple[int, ...]
    classes: int
    batch_size: int
    share: float  # of the steps asked for: a step of the CNN takes longer


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 49, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


WORKS = {
    "MLP 64-64": Work(perceptron, (64,), 10, 64, 1.0),
    "small CNN": Work(convolutional, (1, 28, 28), 10, 64, 0.2),
}


def batches(work: Work) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(16, work.batch_size, *work.shape, generator=generator)
    return list(zip(inputs, torch.randint(work.classes, (16, work.batch_size), generator=generator), strict=True))


def train(work: Work, steps: int, around: Callable[[nn.Module], AbstractContextManager[Any]]) -> tuple[float, float]:
    """Seconds of the loop, and of its second half."""
    torch.manual_seed(0)
    model, data = work.model(), batches(work)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    start = half = time.perf_counter()
    with around(model):
        for step in range(steps):
            if step == steps // 2:
                half = time.perf_counter()
            inputs, targets = data[step % 16]
            optimizer.zero_grad()
            loss = F.cross_entropy(model(inputs), targets)
            loss.backward()
            optimizer.step()
        end = time.perf_counter()
    return time.perf_counter() - start, end - half


@contextmanager
def watched(model: nn.Module) -> Iterator[None]:
    with contextlib.redirect_stderr(io.StringIO()), pellucid.watch(model):  # what it finds in these data is not the question
        yield


@contextmanager
def histograms(model: nn.Module) -> Iterator[None]:
    """Every parameter's gradient in a hook of its own, every weight after the forward pass; 64 bins; every 100th step."""
    calls, kept = dict.fromkeys((name for name, _ in model.named_parameters()), 0), dict[str, tuple[list[float], float, float]]()

    def binned(name: str, tensor: Tensor) -> None:
        flat = tensor.detach().reshape(-1).float()
        low, high = flat.min().item(), flat.max().item()
        kept[name] = flat.histc(64, low, high).tolist(), low, high

    def hook(name: str, parameter: nn.Parameter) -> Callable[[Tensor], None]:
        def run(gradient: Tensor) -> None:
            calls[name] += 1
            if calls[name] % 100 == 0:
                binned(f"{name}.gradient", gradient)
                binned(name, parameter)

        return run

    handles = [parameter.register_hook(hook(name, parameter)) for name, parameter in model.named_parameters()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def statistics(model: nn.Module) -> Iterator[None]:
    """Everything at every step."""
    kept: dict[str, tuple[float, float, float]] = {}

    def read(name: str, tensor: Tensor) -> None:
        x = tensor.detach()
        kept[name] = x.mean().item(), x.std().item(), x.norm().item()

    def of_output(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda module, args, output: read(name, output)

    def of_gradient(name: str) -> Callable[[Tensor], None]:
        return lambda gradient: read(f"{name}.gradient", gradient)

    handles: list[Any] = [module.register_forward_hook(of_output(name)) for name, module in model.named_modules() if name]
    handles += [parameter.register_hook(of_gradient(name)) for name, parameter in model.named_parameters()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


WAYS: dict[str, Callable[[nn.Module], AbstractContextManager[Any]]] = {
    "bare": lambda model: nullcontext(),
    "watched": watched,
    "histograms": histograms,
    "statistics": statistics,
}


def skorch_ratio(work: Work, steps: int, rounds: int) -> tuple[float, float, float] | None:
    """A skorch net under its doctor over the same net alone; None where skorch is not installed."""
    if find_spec("skorch") is None:
        return None
    from skorch import NeuralNetClassifier
    from skorch.helper import SkorchDoctor

    inputs, targets = (torch.cat(parts) for parts in zip(*batches(work), strict=True))
    epochs = max(1, steps // 16)

    def fitted(doctor: bool) -> float:
        torch.manual_seed(0)
        net = NeuralNetClassifier(
            work.model, criterion=nn.CrossEntropyLoss, optimizer=torch.optim.Adam, lr=1e-3, max_epochs=epochs,
            batch_size=work.batch_size, train_split=None, verbose=0,
        )  # fmt: skip
        start = time.perf_counter()
        (SkorchDoctor(net) if doctor else net).fit(inputs, targets)
        return time.perf_counter() - start

    times = interleaved({"net": lambda: fitted(False), "doctor": lambda: fitted(True)}, max(2, rounds // 2))
    return ratio(times["doctor"], times["net"])


def cockpit_ratio(work: Work, steps: int, rounds: int) -> tuple[float, float, float] | str:
    """Cockpit's economy instruments every 20th step over the bare loop; why not, where it cannot be imported."""
    if find_spec("cockpit") is None or find_spec("backpack") is None:
        return "not installed"
    try:
        from backpack import extend
        from cockpit import Cockpit
        from cockpit.utils.configuration import configuration
    except Exception as error:
        return f"cannot be imported: {type(error).__name__}"

    def run(looking: bool) -> float:
        torch.manual_seed(0)
        model, criterion, data = work.model(), nn.CrossEntropyLoss(), batches(work)
        each = nn.CrossEntropyLoss(reduction="none")
        if looking:
            model, criterion = extend(model), extend(criterion)
        optimizer = torch.optim.SGD(model.parameters(), 1e-2)
        cockpit = Cockpit(model.parameters(), quantities=configuration("economy", track_schedule=lambda step: step % 20 == 0))
        start = time.perf_counter()
        for step in range(steps):
            inputs, targets = data[step % 16]
            optimizer.zero_grad()
            outputs = model(inputs)
            loss = criterion(outputs, targets)
            if looking:
                facts = {"batch_size": len(inputs), "individual_losses": each(outputs, targets), "loss": loss, "optimizer": optimizer}
                with cockpit(step, info=facts):
                    loss.backward(create_graph=cockpit.create_graph(step))
            else:
                loss.backward()
            optimizer.step()
        return time.perf_counter() - start

    try:
        times = interleaved({"bare": lambda: run(False), "cockpit": lambda: run(True)}, max(2, rounds // 2))
    except Exception as error:
        return f"does not run with this torch: {type(error).__name__}"
    return ratio(times["cockpit"], times["bare"])


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--steps", type=int, default=1500)
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--threads", type=int, default=1)
    chosen = arguments.parse_args()
    torch.set_num_threads(chosen.threads)
    warnings.simplefilter("ignore")
    rows: list[dict[str, Any]] = []
    details: dict[str, Any] = {}
    for name, work in WORKS.items():
        steps = max(40, int(chosen.steps * work.share))
        halves: dict[str, list[float]] = {way: [] for way in WAYS}

        def timed(way: str, work: Work = work, steps: int = steps, halves: dict[str, list[float]] = halves) -> float:
            seconds, half = train(work, steps, WAYS[way])
            halves[way].append(half)
            return seconds

        times = interleaved({way: lambda way=way: timed(way) for way in WAYS}, chosen.rounds)
        late = {way: seconds[-chosen.rounds :] for way, seconds in halves.items()}
        for way in WAYS:
            row = {
                "work": name,
                "way": way,
                "ms per step": f"{1000 * sorted(times[way])[chosen.rounds // 2] / steps:.3f}",
                "whole run": "",
                "second half": "",
                "met": "",
            }
            if way != "bare":
                whole, second = ratio(times[way], times["bare"]), ratio(late[way], late["bare"])
                row |= {"whole run": shown(whole), "second half": shown(second)}
                details[f"{name}, {way}"] = {"steps": steps, "whole": whole, "second_half": second}
                if way == "watched":
                    row["met"] = met(second[0] <= AIMS[name])
            rows.append(row)
        doctor = skorch_ratio(work, steps, chosen.rounds)
        rows.append({"work": name, "way": "skorch's doctor", "whole run": shown(doctor) if doctor else "not installed"})
        cockpit = cockpit_ratio(work, steps, chosen.rounds)
        rows.append({"work": name, "way": "Cockpit", "whole run": cockpit if isinstance(cockpit, str) else shown(cockpit)})
    report("watch_cost", rows, {"steps": chosen.steps, "rounds": chosen.rounds, "threads": chosen.threads, "measurements": details})
    return verdict(rows)


def shown(found: tuple[float, float, float]) -> str:
    return f"{found[0]:.3f} [{found[1]:.3f}, {found[2]:.3f}]"


if __name__ == "__main__":
    sys.exit(main())
