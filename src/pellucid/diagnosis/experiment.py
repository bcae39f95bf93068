"""A training that can be run again: factories of the model and the optimizer, the data, and a small loop of our own.

    experiment = pellucid.Experiment(model=lambda: Net(), loss=F.cross_entropy, optimizer=lambda model: Adam(model.parameters(), 1e-3),
                                     train=(X, y), test=(Xt, yt), batch_size=64, epochs=20)
    trial = experiment.run(seed=0)
    trial.losses, trial.score

Everything random is seeded before the model is made, so that two experiments that differ in one thing see the same first weights and the
same batches as far as they can. The user's own random state is put back afterwards.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from pellucid.core.errors import DataError, ModelError, OptionError, OptionTypeError
from pellucid.core.language import text
from pellucid.core.trace.model import random_state_kept
from pellucid.diagnosis.observations import Observations
from pellucid.diagnosis.scoring import Scoring, scoring_of

Batch = tuple[Any, Any]  # inputs, targets
Step = Callable[[nn.Module, Any, Any, Batch], Any]
EVALUATED = 2000  # samples of a part that are scored after an epoch, evenly chosen; all of them at the end
MOMENTS = 20  # times a trial is scored while it runs, at most


def plain_step(model: nn.Module, optimizer: Any, loss: Any, batch: Batch) -> Tensor:
    """One update: clear, forward, backward, step."""
    inputs, targets = batch
    optimizer.zero_grad()
    value = loss(model(inputs), targets)
    value.backward()
    optimizer.step()
    return value


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What is trained, on what, and how; nothing runs until `run`.

    Args:
        model: a factory; each call gives a fresh `torch.nn.Module`.
        loss: a function or module of (outputs, targets) that gives one number.
        optimizer: a factory that gets the model: `lambda model: Adam(model.parameters(), 1e-3)`.
        train, test: (X, y) of tensors or arrays with the same first length N, a map-style Dataset of (input, target), or a DataLoader of
            (inputs, targets), whose own batch size and order are then used. `test` may be left out.
        batch_size: samples per update.
        epochs: passes over the training data.
        scheduler: a factory that gets the optimizer; what it gives makes a step after each epoch.
        step: the user's own step, `step(model, optimizer, loss, batch) -> loss`, where theirs is not the plain one.
        shuffle: draw the order of the samples anew in each epoch.

    Raises:
        OptionTypeError, OptionError, DataError: an argument is not what its name says, or the data are empty or of unequal lengths.
    """

    model: Callable[[], nn.Module]
    loss: Callable[[Any, Any], Any]
    optimizer: Callable[[nn.Module], Any]
    train: Any
    test: Any = None
    batch_size: int = 32
    epochs: int = 10
    scheduler: Callable[[Any], Any] | None = None
    step: Step | None = None
    shuffle: bool = True

    def __post_init__(self) -> None:
        for name in ("model", "loss", "optimizer"):
            given = getattr(self, name)
            if not callable(given) or (name == "model" and isinstance(given, nn.Module)):
                raise OptionTypeError(
                    text("{name} is of type {type}", name=name, type=type(given).__name__),
                    text("a loss function or module")
                    if name == "loss"
                    else text("a factory: a function that makes a fresh one at each call"),
                    text("write {example}", example="model=lambda: Net(), optimizer=lambda model: Adam(model.parameters(), 1e-3)"),
                )
        for name in ("batch_size", "epochs"):
            number = getattr(self, name)
            if isinstance(number, bool) or not isinstance(number, int):
                raise OptionTypeError(
                    text("{name} is {value!r}", name=name, value=number),
                    text("a whole number of at least 1"),
                    text("give {name}=1 or more", name=name),
                )
            if number < 1:
                raise OptionError(
                    text("{name} is {value!r}", name=name, value=number),
                    text("a whole number of at least 1"),
                    text("give {name}=1 or more", name=name),
                )
        object.__setattr__(self, "train", _part(self.train, "train"))
        object.__setattr__(self, "test", None if self.test is None else _part(self.test, "test"))

    def changed(self, **changes: Any) -> Experiment:
        """The same experiment with some arguments replaced."""
        return replace(self, **changes)

    # -- data ----------------------------------------------------------------------------------------------------------------------------

    def samples(self, part: str = "train", limit: int | None = None) -> Batch:
        """Inputs and targets of a part as they would be batched, in their own order; with `limit` evenly chosen ones (a loader's first)."""
        data = getattr(self, part)
        if isinstance(data, DataLoader):
            return _joined(data, limit)
        size = samples_in(data)
        chosen = torch.arange(size) if limit is None or size <= limit else torch.linspace(0, size - 1, limit).long()
        return _taken(data, chosen)

    def batches(self, generator: torch.Generator, part: str = "train") -> Iterator[Batch]:
        """One epoch of batches."""
        data = getattr(self, part)
        if isinstance(data, DataLoader):
            for batch in data:
                yield _pair(batch, part)
            return
        size = samples_in(data)
        order = torch.randperm(size, generator=generator) if self.shuffle and part == "train" else torch.arange(size)
        for chosen in order.split(self.batch_size):
            yield _taken(data, chosen)

    @property
    def steps(self) -> int:
        """Updates of the whole training."""
        data = self.train
        return self.epochs * (len(data) if isinstance(data, DataLoader) else math.ceil(samples_in(data) / self.batch_size))

    # -- running -------------------------------------------------------------------------------------------------------------------------

    def build(self, seed: int = 0) -> tuple[nn.Module, Any]:
        """A fresh model and its optimizer, made under `seed`. The caller keeps the user's random state.

        Raises:
            ModelError: a factory gives something else, or the optimizer holds another model's parameters.
        """
        _seed(seed)
        model = self.model()
        if not isinstance(model, nn.Module):
            raise ModelError(
                text("the model's factory gave a {type}", type=type(model).__name__),
                text("a torch.nn.Module"),
                text("return the network: model=lambda: Net()"),
            )
        _seed(seed)
        optimizer = self.optimizer(model)
        if not hasattr(optimizer, "step") or not hasattr(optimizer, "param_groups"):
            raise ModelError(
                text("the optimizer's factory gave a {type}", type=type(optimizer).__name__),
                text("a torch.optim.Optimizer"),
                text("return the optimizer: optimizer=lambda model: Adam(model.parameters(), 1e-3)"),
            )
        mine = {id(parameter) for parameter in model.parameters()}
        if not any(id(parameter) in mine for group in optimizer.param_groups for parameter in group["params"]):
            raise ModelError(
                text("the optimizer holds none of the parameters of the model that the factory has just made"),
                text("an optimizer of the model that is given to its factory"),
                text("use the factory's argument: optimizer=lambda model: Adam(model.parameters(), 1e-3)"),
            )
        return model, optimizer

    def check(self) -> None:
        """Make the pair twice and run one batch forward.

        Raises:
            ModelError: a factory gives the same object twice, or the model or the loss fails on a batch; the cause says how.
        """
        with random_state_kept(set(), None):
            model, optimizer = self.build(0)
            again, optimizer_again = self.build(0)
            shared = {id(parameter) for parameter in model.parameters()} & {id(parameter) for parameter in again.parameters()}
            if model is again or shared:
                raise ModelError(
                    text("the model's factory gave the same model, or the same weights, twice"),
                    text("a fresh model at each call, so that a comparison starts anew"),
                    text("build the model inside the function: model=lambda: Net()"),
                )
            if optimizer is optimizer_again:
                raise ModelError(
                    text("the optimizer's factory gave the same optimizer twice"),
                    text("a fresh optimizer at each call"),
                    text("build the optimizer inside the function: optimizer=lambda model: Adam(model.parameters(), 1e-3)"),
                )
            inputs, targets = next(iter(self.batches(torch.Generator().manual_seed(0))))
            try:
                value = self.loss(model(inputs), targets)
            except Exception as error:
                raise ModelError(
                    text("one batch through the model and the loss failed: {error}", error=f"{type(error).__name__}: {error}"),
                    text(
                        "a model and a loss that take inputs {inputs} and targets {targets}",
                        inputs=described(inputs),
                        targets=described(targets),
                    ),
                    text("run loss(model(inputs), targets) on one batch by itself, and mend what it says"),
                ) from error
            if not isinstance(value, Tensor) or value.numel() != 1:
                raise ModelError(
                    text("the loss gave {what}", what=described(value)),
                    text("one number, as a tensor with a gradient"),
                    text("average the loss over the batch: loss.mean()"),
                )

    def run(
        self,
        seed: int = 0,
        *,
        steps: int | None = None,
        seconds: float | None = None,
        watch: bool = False,
        score: bool = True,
        tell: Callable[[int, int], None] | None = None,
    ) -> Trial:
        """Train once from `seed`: the whole training, at most `steps` updates, or until `seconds` are over.

        With `watch` the trial holds what was observed. `tell(step, steps)` is called after each update. A loss that is not finite ends the
        training early; an exception of the user's code becomes the trial's `error`.
        """
        with random_state_kept(set(), None):
            return _trained(self, seed, steps, seconds, watch, score, tell)

    @classmethod
    def of(cls, run: Any) -> Experiment:
        """The experiment of a run of ours: `run.experiment()`."""
        return run.experiment()


@dataclass(frozen=True, kw_only=True)
class Moment:
    """The scores at one time of a training."""

    step: int
    train_loss: float | None
    test_loss: float | None
    train_score: float | None
    test_score: float | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """What one training gave."""

    seed: int
    losses: tuple[float, ...]  # of each update, on its batch, before the update
    moments: tuple[Moment, ...] = ()  # before the first update, about MOMENTS times, and at the end
    scoring: Scoring | None = None
    seconds: float = 0.0
    complete: bool = True  # False: stopped by the limit of steps or seconds, by a loss that is not finite, or by an error
    finite: bool = True
    error: Exception | None = None
    model: nn.Module | None = field(default=None, repr=False)
    observations: Observations | None = field(default=None, repr=False)

    @property
    def steps(self) -> int:
        return len(self.losses)

    @property
    def score(self) -> float | None:
        """On the test part at the end, else on the training part; higher is better. Minus infinity where the training broke down."""
        if self.error is not None or not self.finite:
            return -math.inf
        if not self.moments:
            return None
        last = self.moments[-1]
        return last.train_score if last.test_score is None else last.test_score


def _trained(experiment: Experiment, seed: int, steps: int | None, seconds: float | None, watch: bool, score: bool, tell: Any) -> Trial:
    started = time.perf_counter()
    model, optimizer = experiment.build(seed)
    scheduler = experiment.scheduler(optimizer) if experiment.scheduler is not None else None
    watcher = None
    if watch:
        from pellucid.diagnosis.watch.watcher import Watcher

        watcher = Watcher(model, optimizer, experiment.loss if isinstance(experiment.loss, nn.Module) else None, announce=False)
    step = experiment.step or plain_step
    generator = torch.Generator().manual_seed(seed)
    total = min(experiment.steps, steps or experiment.steps)
    every = max(1, total // MOMENTS)
    scoring = scoring_of(experiment) if score else None
    losses: list[float] = []
    moments: list[Moment] = []
    problem: Exception | None = None
    finite = True
    _seed(seed)
    try:
        if scoring is not None:
            moments.append(_moment(experiment, model, scoring, 0, EVALUATED))
        while len(losses) < total and finite:
            model.train()
            made = 0
            for batch in experiment.batches(generator):
                made += 1
                value = step(model, optimizer, experiment.loss, batch)
                losses.append(_number(value))
                finite = math.isfinite(losses[-1])
                if tell is not None:
                    tell(len(losses), total)
                late = seconds is not None and time.perf_counter() - started > seconds
                if not finite or late or len(losses) >= total:
                    break
                if scoring is not None and len(losses) % every == 0:
                    moments.append(_moment(experiment, model, scoring, len(losses), EVALUATED))
                    model.train()
            else:
                if not made:
                    raise DataError(
                        text("the training data gave no batch"),
                        text("at least one batch in each epoch"),
                        text("see whether the loader's data set is empty"),
                    )
                if scheduler is not None:
                    scheduler.step()
                continue
            break
        if scoring is not None and finite:
            moments.append(_moment(experiment, model, scoring, len(losses), None))
    except Exception as error:  # the user's code may raise whatever it likes: the trial says so
        problem = error
    finally:
        seen = None
        if watcher is not None:
            seen = watcher.observations
            watcher.close()
    return Trial(
        seed=seed, losses=tuple(losses), moments=tuple(moments), scoring=scoring, seconds=time.perf_counter() - started,
        complete=problem is None and finite and len(losses) == experiment.steps, finite=finite, error=problem, model=model, observations=seen,
    )  # fmt: skip


def _number(value: Any) -> float:
    if isinstance(value, Tensor):
        return float(value.detach())
    if value is None:
        raise ModelError(
            text("the step gave None"),
            text("the loss of its batch: step(model, optimizer, loss, batch) -> loss"),
            text("end your step with return loss"),
        )
    return float(value)


def _moment(experiment: Experiment, model: nn.Module, scoring: Scoring, step: int, limit: int | None) -> Moment:
    found: dict[str, tuple[float | None, float | None]] = {"train": (None, None), "test": (None, None)}
    for part in found:
        if getattr(experiment, part) is not None:
            found[part] = scoring.measure(model, experiment.loss, *experiment.samples(part, limit))
    return Moment(
        step=step, train_loss=found["train"][0], train_score=found["train"][1], test_loss=found["test"][0], test_score=found["test"][1]
    )


def _seed(seed: int) -> None:
    import random

    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


# -- data --------------------------------------------------------------------------------------------------------------------------------


def samples_in(data: Any) -> int:
    """How many samples a part has that is no loader."""
    return len(cast("Sized", data)) if isinstance(data, Dataset) else len(first_tensor(data[1]))


def first_tensor(structure: Any) -> Tensor:
    """The first tensor of a structure of tuples, lists and dicts."""
    waiting: list[Any] = [structure]
    while waiting:
        item = waiting.pop(0)
        if isinstance(item, Tensor):
            return item
        if isinstance(item, dict):
            waiting = [*cast("dict[str, Any]", item).values(), *waiting]
        elif isinstance(item, (list, tuple)):
            waiting = [*cast("Sequence[Any]", item), *waiting]
    raise DataError(
        text("no tensor was found in {what}", what=described(structure)), text("tensors or arrays"), text("give (X, y) of tensors")
    )


def mapped(function: Callable[[Tensor], Tensor], structure: Any) -> Any:
    """The structure with every tensor replaced."""
    if isinstance(structure, Tensor):
        return function(structure)
    if isinstance(structure, dict):
        return {key: mapped(function, item) for key, item in cast("dict[str, Any]", structure).items()}
    if isinstance(structure, (list, tuple)):
        return type(structure)(mapped(function, item) for item in cast("Iterable[Any]", structure))  # type: ignore[call-arg]
    return structure


def described(structure: Any) -> str:
    """A structure's types and shapes: "float32 (64, 10)"."""
    if isinstance(structure, Tensor):
        return f"{str(structure.dtype).removeprefix('torch.')} {tuple(structure.shape)}"
    if isinstance(structure, dict):
        return "{" + ", ".join(f"{key}: {described(item)}" for key, item in cast("dict[str, Any]", structure).items()) + "}"
    if isinstance(structure, (list, tuple)):
        return "(" + ", ".join(described(item) for item in cast("Sequence[Any]", structure)) + ")"
    return type(structure).__name__


def _part(data: Any, name: str) -> Any:
    """(X, y) as tensors, a data set or a loader, checked."""
    if isinstance(data, DataLoader):
        return data
    if isinstance(data, Dataset):
        if not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
            raise OptionTypeError(
                text("{name} is a data set without a length", name=name),
                text("a map-style Dataset, a DataLoader, or (X, y)"),
                text("give a DataLoader"),
            )
        if not len(cast("Sized", data)):
            raise _empty(name)
        return cast("Any", data)
    if not isinstance(data, (tuple, list)) or len(cast("Sequence[Any]", data)) != 2:
        raise OptionTypeError(
            text("{name} is {what}", name=name, what=described(data)),
            text("a pair (X, y), a Dataset or a DataLoader"),
            text("give {name}=(X, y)", name=name),
        )
    pair = tuple(_tensors(item, name) for item in cast("Sequence[Any]", data))
    lengths = [len(first_tensor(item)) if first_tensor(item).dim() else 0 for item in pair]
    if not lengths[0] or not lengths[1]:
        raise _empty(name)
    if lengths[0] != lengths[1]:
        raise DataError(
            text("{name} has {inputs} inputs and {targets} targets", name=name, inputs=lengths[0], targets=lengths[1]),
            text("one target for each input"),
            text("see where rows were dropped from one of the two only"),
        )
    return pair


def _empty(name: str) -> DataError:
    return DataError(
        text("{name} holds no sample", name=name), text("at least one sample"), text("see how the data were read and filtered")
    )


def _tensors(item: Any, name: str) -> Any:
    """Arrays become tensors; NumPy's float64, which no network has by default, becomes the default type."""
    if isinstance(item, Tensor):
        return item
    if isinstance(item, dict):
        return {key: _tensors(value, name) for key, value in cast("dict[str, Any]", item).items()}
    if isinstance(item, tuple):
        return tuple(_tensors(value, name) for value in cast("tuple[Any, ...]", item))
    try:
        array = np.asarray(item)
        tensor = torch.as_tensor(array)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            text("{name} holds {what}, which is no tensor: {error}", name=name, what=type(item).__name__, error=str(error).splitlines()[0]),
            text("numbers: tensors or arrays"),
            text("encode texts and categories as numbers first"),
        ) from error
    return tensor.to(torch.get_default_dtype()) if tensor.dtype == torch.float64 and not isinstance(item, Tensor) else tensor


def _taken(data: Any, chosen: Tensor) -> Batch:
    if isinstance(data, Dataset):
        from torch.utils.data import default_collate

        return _pair(default_collate([data[int(place)] for place in chosen]), "train")
    return mapped(lambda tensor: tensor[chosen], data[0]), mapped(lambda tensor: tensor[chosen], data[1])


def _pair(batch: Any, name: str) -> Batch:
    if isinstance(batch, (list, tuple)) and len(cast("Sequence[Any]", batch)) == 2:
        return batch[0], batch[1]
    raise DataError(
        text("a batch of {name} is {what}", name=name, what=described(batch)),
        text("(inputs, targets)"),
        text("give a loader of pairs, or your own step"),
    )


def _joined(loader: DataLoader[Any], limit: int | None) -> Batch:
    """The batches of a loader as one."""
    kept: list[Batch] = []
    count = 0
    for batch in loader:
        kept.append(_pair(batch, "loader"))
        count += len(first_tensor(kept[-1][1]))
        if limit is not None and count >= limit:
            break
    if not kept:
        raise _empty("loader")

    def joined(parts: list[Any]) -> Any:
        head = parts[0]
        if isinstance(head, Tensor):
            return torch.cat(parts)[:limit]
        if isinstance(head, dict):
            return {key: joined([part[key] for part in parts]) for key in head}
        return type(head)(joined([part[place] for part in parts]) for place in range(len(head)))

    return joined([inputs for inputs, _ in kept]), joined([targets for _, targets in kept])
