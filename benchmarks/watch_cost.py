"""What watching costs a training step, beside other ways of looking into a training.

    python benchmarks/watch_cost.py [--steps 1024] [--groups 15] [--threads 1] [--device cpu]

One process, one model, one optimizer: blocks of steps with the tool alternate in random order with blocks without it (its hooks taken
away), so that the state of memory, caches and machine is the same for both. A group is `--steps` steps of each; a tool's cost is the
median over the groups of (time with / time without), with a 95 % bootstrap interval. A group is long enough to contain watch's rare
looks and its stretches of seen steps. CPU time of the process decides: other programs on the machine hardly change it; wall time stands
beside it. What happens once, in the first 600 steps (a traced pass, dense looks, every step seen), is the column "start".

    watched               pellucid.watch(model), announcing what it finds
    histograms            what wandb.watch(log="all", log_freq=100) does, written out: a histogram of every gradient in a hook on every
                          parameter and of every weight, each 100th step
    statistics            mean, standard deviation and norm of every module's output and every gradient, read with .item() at every step
    skorch's doctor       SkorchDoctor around a skorch net of the same model, against that net without it; where skorch is installed
    Cockpit               its "economy" instruments every 20th step; where cockpit-for-pytorch and backpack-for-pytorch can be imported

Aims for watched: 2 % per step on a small CNN, 4 % on a 64-64 MLP, both at batch 64.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import random
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from measurement import interleaved, met, ratio, report, verdict
from torch import Tensor, nn

import pellucid
from pellucid.diagnosis.watch import attachment

AIMS = {"MLP 64-64": 1.04, "small CNN": 1.02}
START = 600  # steps until watching has settled
Ratio = tuple[float, float, float]  # with the ends of its interval


@dataclass(frozen=True)
class Work:
    model: Callable[[], nn.Module]
    shape: tuple[int, ...]
    classes: int
    batch_size: int
    share: float  # of the steps asked for: a step of the CNN takes longer
    block: int  # steps


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 64, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


WORKS = {
    "MLP 64-64": Work(perceptron, (64,), 10, 64, 1.0, 64),
    "small CNN": Work(convolutional, (3, 32, 32), 10, 64, 0.1, 8),
}


class Training:
    """A loop that can be continued."""

    def __init__(self, work: Work, device: str) -> None:
        torch.manual_seed(0)
        self.device = device
        self.model = work.model().to(device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), 1e-3)
        self.batches = batches(work, device)
        self.step = 0

    def run(self, steps: int) -> tuple[float, float]:
        """CPU and wall seconds of so many steps."""
        self.wait()
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(steps):
            inputs, targets = self.batches[self.step % len(self.batches)]
            self.step += 1
            self.optimizer.zero_grad()
            loss = F.cross_entropy(self.model(inputs), targets)
            loss.backward()
            self.optimizer.step()
        self.wait()
        return time.process_time() - cpu, time.perf_counter() - wall

    def wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


def batches(work: Work, device: str = "cpu") -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(50, work.batch_size, *work.shape, generator=generator).to(device)
    return list(zip(inputs, torch.randint(work.classes, (50, work.batch_size), generator=generator).to(device), strict=True))


class Watched:
    """`pellucid.watch`, whose hooks are taken away for a while and put back."""

    def __init__(self, model: nn.Module) -> None:
        with contextlib.redirect_stderr(io.StringIO()):
            self.watcher = pellucid.watch(model)
        self._attachment = self.watcher._recorder.attachment
        assert self._attachment is not None
        self.pause()

    def pause(self) -> None:
        listener, awake = self._attachment._listener, self._attachment._handle is not None
        self._away = listener, awake, time.perf_counter()
        self._attachment._unhook()
        attachment._put(None, listener)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        listener, awake, since = self._away
        self.watcher._recorder.sampling.started += time.perf_counter() - since  # shares are those of the time watched
        attachment._put(listener, None)
        if awake:
            hook = self._attachment._hook
            self._attachment._handle = self._attachment._model.register_forward_pre_hook(hook, with_kwargs=True)
        self.watcher._recorder.spent.updated_at = None  # the steps without it were no part of the step before
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # what it finds in these data is not the question
                yield
        finally:
            self.pause()


@contextmanager
def histograms(model: nn.Module, calls: Counter[str]) -> Iterator[None]:
    """Every parameter's gradient in a hook of its own, every weight after the forward pass; 64 bins; every 100th of all calls."""
    kept: dict[str, tuple[list[float], float, float]] = {}

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


WAYS: dict[str, Callable[[nn.Module], Callable[[], AbstractContextManager[None]]]] = {
    "watched": Watched,
    "histograms": lambda model: partial(histograms, model, Counter[str]()),
    "statistics": lambda model: partial(statistics, model),
}


@dataclass(frozen=True)
class Cost:
    cpu: Ratio
    wall: Ratio
    start_seconds: float  # CPU time of the first START steps, less that of as many bare ones
    step_seconds: float  # CPU time of a bare one
    memory: int  # bytes that stayed
    said: float | None  # what the watcher itself says of its cost, over the groups


def cost(work: Work, way: str, steps: int, groups: int, device: str) -> Cost:
    training, drawn = Training(work, device), random.Random(0)
    training.run(START // 4)
    before = resident()
    around = WAYS[way](training.model)
    with around():
        start, _ = training.run(START)
    memory = resident() - before
    sampling = around.watcher._recorder.sampling if isinstance(around, Watched) else None
    own, watched, bare = (sampling.own if sampling else 0.0), 0.0, 0.0  # seconds: wall, wall, CPU
    cpu, wall = list[float](), list[float]()
    for _ in range(groups):
        spent = {True: [0.0, 0.0], False: [0.0, 0.0]}
        for _ in range(max(2, steps // work.block)):
            for tool in drawn.sample((True, False), 2):
                if tool:
                    with around():
                        measured = training.run(work.block)
                else:
                    measured = training.run(work.block)
                spent[tool] = [total + more for total, more in zip(spent[tool], measured, strict=True)]
        cpu.append(spent[True][0] / spent[False][0])
        wall.append(spent[True][1] / spent[False][1])
        watched, bare = watched + spent[True][1], bare + spent[False][0]
    said = (sampling.own - own) / (watched - (sampling.own - own)) if sampling else None
    if isinstance(around, Watched):
        with contextlib.redirect_stderr(io.StringIO()):
            around.watcher.close()
    ones = [1.0] * groups
    made = groups * max(2, steps // work.block) * work.block
    return Cost(ratio(cpu, ones), ratio(wall, ones), start - START * bare / made, bare / made, memory, said)


def resident() -> int:
    """Bytes of memory this process holds; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096
    except OSError:
        return 0


def skorch_ratio(work: Work, steps: int, rounds: int) -> Ratio | None:
    """CPU time of a skorch net under its doctor over the same net alone; None where skorch is not installed."""
    if find_spec("skorch") is None:
        return None
    from skorch import NeuralNetClassifier
    from skorch.helper import SkorchDoctor

    inputs, targets = (torch.cat(parts) for parts in zip(*batches(work), strict=True))
    epochs = max(1, steps // 50)

    def fitted(doctor: bool) -> float:
        torch.manual_seed(0)
        net = NeuralNetClassifier(
            work.model, criterion=nn.CrossEntropyLoss, optimizer=torch.optim.Adam, lr=1e-3, max_epochs=epochs,
            batch_size=work.batch_size, train_split=None, verbose=0,
        )  # fmt: skip
        start = time.process_time()
        (SkorchDoctor(net) if doctor else net).fit(inputs, targets)
        return time.process_time() - start

    times = interleaved({"net": lambda: fitted(False), "doctor": lambda: fitted(True)}, rounds)
    return ratio(times["doctor"], times["net"])


def cockpit_ratio(work: Work, steps: int, rounds: int) -> Ratio | str:
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
        start = time.process_time()
        for step in range(steps):
            inputs, targets = data[step % len(data)]
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
        return time.process_time() - start

    try:
        times = interleaved({"bare": lambda: run(False), "cockpit": lambda: run(True)}, rounds)
    except Exception as error:
        return f"does not run with this torch: {type(error).__name__}"
    return ratio(times["cockpit"], times["bare"])


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--steps", type=int, default=1024)
    arguments.add_argument("--groups", type=int, default=15)
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    arguments.add_argument("--ways", nargs="*", default=[*WAYS, "others"])
    chosen = arguments.parse_args()
    torch.set_num_threads(chosen.threads)
    warnings.simplefilter("ignore")
    rows: list[dict[str, Any]] = []
    details: dict[str, Any] = {}
    for name, work in WORKS.items():
        steps = int(chosen.steps * work.share)
        for way in WAYS:
            if way not in chosen.ways:
                continue
            found = cost(work, way, steps, chosen.groups, chosen.device)
            details[f"{name}, {way}"] = vars(found)
            decides = found.wall if chosen.device == "cuda" else found.cpu
            rows.append(
                {
                    "work": name,
                    "way": way,
                    "CPU time": shown(found.cpu),
                    "wall time": shown(found.wall),
                    "ms per bare step": f"{1000 * found.step_seconds:.3f}",
                    "start, ms": f"{1000 * found.start_seconds:.0f}",
                    "memory, MB": f"{found.memory / 1e6:.1f}",
                    "says itself": "" if found.said is None else f"{1 + found.said:.3f}",
                    "met": met(decides[0] <= AIMS[name]) if way == "watched" else "",
                }
            )
        if "others" in chosen.ways and chosen.device == "cpu":
            doctor = skorch_ratio(work, steps, max(2, chosen.groups // 2))
            rows.append({"work": name, "way": "skorch's doctor", "CPU time": shown(doctor) if doctor else "not installed"})
            cockpit = cockpit_ratio(work, steps, max(2, chosen.groups // 2))
            rows.append({"work": name, "way": "Cockpit", "CPU time": cockpit if isinstance(cockpit, str) else shown(cockpit)})
    report("watch_cost", rows, {"steps": chosen.steps, "groups": chosen.groups, "threads": chosen.threads, "measurements": details})
    return verdict(rows)


def shown(found: Ratio) -> str:
    return f"{found[0]:.3f} [{found[1]:.3f}, {found[2]:.3f}]"


if __name__ == "__main__":
    sys.exit(main())
