"""A training that can be run again: factories of the model and the optimizer, the data, and a small loop of our own.

    experiment = pellucid.Experiment(model=lambda: Net(), loss=F.cross_entropy, optimizer=lambda model: Adam(model.parameters(), 1e-3),
                                     train=(X, y), test=(Xt, yt), batch_size=64, epochs=20)
    trial = experiment.run(seed=0)
    trial.losses, trial.score

Everything random is seeded before the model is made, so that two experiments that differ in one thing see the same first weights and the
same batches as far as they can. The user's own random state is put back afterwards, on every device, and in their loaders.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from pellucid.core.errors import ModelError, OptionError, OptionTypeError, PellucidError
from pellucid.core.language import text
from pellucid.core.trace.model import random_state_kept
from pellucid.diagnosis.experiments.loop import Moment, Training, Trial, accelerators, number_of, plain_step, seed_all
from pellucid.diagnosis.experiments.samples import (
    Batch,
    called,
    checked_groups,
    checked_part,
    described,
    device_of,
    evenly,
    first_tensor,
    in_random_order,
    joined,
    loaders_seeded,
    mapped,
    on_device,
    pair_of,
    samples_in,
    taken,
    without_workers,
)
from pellucid.diagnosis.experiments.scoring import Scoring
from pellucid.diagnosis.experiments.unregistered import unregistered

__all__ = ["Batch", "Experiment", "Moment", "Trial", "described", "first_tensor", "mapped", "plain_step", "samples_in"]

Step = Callable[[nn.Module, Any, Any, Batch], Any]
CHECKED_BATCHES = 32  # in which a step of the user's own must have made an update
_FACTORIES = "model=lambda: Net(), optimizer=lambda model: Adam(model.parameters(), 1e-3)"
_EXAMPLES = {
    "loss": "loss=torch.nn.functional.cross_entropy",
    "scheduler": "scheduler=lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 10)",
    "step": "step=my_step",
}


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What is trained, on what, and how; nothing runs until `run`.

    Args:
        model: a factory; each call gives a fresh `torch.nn.Module`.
        loss: a function or module of (outputs, targets) that gives one number.
        optimizer: a factory that gets the model: `lambda model: Adam(model.parameters(), 1e-3)`.
        train, test: (X, y) of tensors or arrays with the same first length N, a map-style Dataset of (input, target), or a DataLoader of
            (inputs, targets), whose own batch size and order are then used. A tuple of tensors in the place of X is given to the model by
            position, a dict by name. `test` may be left out.
        batch_size: samples per update.
        epochs: passes over the training data.
        scheduler: a factory that gets the optimizer; what it gives makes a step after each epoch.
        step: the user's own step, `step(model, optimizer, loss, batch) -> loss`, where theirs is not the plain one.
        shuffle: draw the order of the samples anew in each epoch.
        groups: (train, test), for each sample the person, recording or place it comes from, as N numbers or names each: whoever stands in
            both parts is seen by `diagnose`.
        prepared, prepared_test, scoring: set by remedies: what is done to each batch before it is used, to those of the test part only,
            and how answers are scored.

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
    groups: tuple[Any, Any] | None = field(default=None, repr=False)
    prepared: tuple[Callable[[Batch], Batch], ...] = field(default=(), repr=False)
    prepared_test: tuple[Callable[[Batch], Batch], ...] = field(default=(), repr=False)
    scoring: Scoring | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name in ("model", "loss", "optimizer", "scheduler", "step"):
            given = getattr(self, name)
            if given is None and name in ("scheduler", "step"):
                continue
            if not callable(given) or (name == "model" and isinstance(given, nn.Module)):
                raise OptionTypeError(
                    text("{name} is of type {type}", name=name, type=type(given).__name__),
                    text("a loss function or module")
                    if name == "loss"
                    else text("a function step(model, optimizer, loss, batch) that gives the loss")
                    if name == "step"
                    else text("a factory: a function that makes a fresh one at each call"),
                    text("write {example}", example=_EXAMPLES.get(name, _FACTORIES)),
                )
        for name in ("batch_size", "epochs"):
            number = getattr(self, name)
            wrong = isinstance(number, bool) or not isinstance(number, int)
            if wrong or number < 1:
                raise (OptionTypeError if wrong else OptionError)(
                    text("{name} is {value!r}", name=name, value=number),
                    text("a whole number of at least 1"),
                    text("give {name}=1 or more", name=name),
                )
        object.__setattr__(self, "train", checked_part(self.train, "train"))
        object.__setattr__(self, "test", None if self.test is None else checked_part(self.test, "test"))
        if self.groups is not None:
            object.__setattr__(self, "groups", checked_groups(self.groups, self.train, self.test))

    def changed(self, **changes: Any) -> Experiment:
        """The same experiment with some arguments replaced; groups belong to the samples they were given with."""
        if {"train", "test"} & changes.keys():
            changes = {"groups": None, **changes}
        return replace(self, **changes)

    @classmethod
    def of(cls, run: Any) -> Experiment:
        """The experiment of a run of ours: `run.experiment()`.

        Raises:
            OptionTypeError: it is neither an experiment nor a run.
        """
        if isinstance(run, Experiment):
            return run
        if not hasattr(run, "experiment"):
            raise OptionTypeError(
                text("what is to be diagnosed is of type {type}", type=type(run).__name__),
                text("an Experiment, or a run"),
                text("write pellucid.Experiment(model=..., loss=..., optimizer=..., train=(X, y)), or pellucid.load(directory)"),
            )
        return run.experiment()

    # -- data ----------------------------------------------------------------------------------------------------------------------------

    def samples(self, part: str = "train", limit: int | None = None) -> Batch:
        """Inputs and targets of a part as they are batched, in their own order; with `limit` evenly chosen ones (a loader's first).

        Nothing random of the user's is used up. On the CPU, or wherever their data are.
        """
        data = getattr(self, part)
        if not isinstance(data, DataLoader):
            chosen = evenly(samples_in(data), limit)
            if isinstance(data, tuple):
                return self._prepare(taken(data, chosen, part), part)
            with random_state_kept(accelerators(), 0):  # a data set may draw: augmentation
                return self._prepare(taken(data, chosen, part), part)
        return joined(list(self.portions(part, limit)), limit)

    def portions(self, part: str, limit: int | None = None) -> Iterator[Batch]:
        """The same samples, in batches; never more of them in memory than one batch where the data are a data set or a loader."""
        data = getattr(self, part)
        if isinstance(data, tuple):
            yield self.samples(part, limit)
            return
        if not isinstance(data, DataLoader):
            for few in evenly(samples_in(data), limit).split(256):
                with random_state_kept(accelerators(), 0):
                    batch = self._prepare(taken(data, few, part), part)
                yield batch
            return
        count = 0
        with loaders_seeded((data,), 0):
            with random_state_kept(accelerators(), 0):
                batches = iter(data) if limit is None else without_workers(data)
            while limit is None or count < limit:
                with random_state_kept(accelerators(), count):
                    batch = next(batches, None)
                if batch is None:
                    break
                batch = self._prepare(pair_of(batch, part), part)
                count += len(first_tensor(batch[1]))
                yield batch

    def batches(self, generator: torch.Generator, part: str = "train") -> Iterator[Batch]:
        """One epoch of batches."""
        data = getattr(self, part)
        if isinstance(data, DataLoader):
            for batch in data:
                yield self._prepare(batch if self.step is not None and not _is_pair(batch) else pair_of(batch, part), part)
            return
        size = samples_in(data)
        if self.shuffle and part == "train":
            for chosen in in_random_order(size, self.batch_size, generator):
                yield self._prepare(taken(data, chosen, part), part)
            return
        for start in range(0, size, self.batch_size):
            yield self._prepare(taken(data, torch.arange(start, min(size, start + self.batch_size)), part), part)

    def first_batch(self, seed: int = 0) -> Batch:
        """The first batch of the training from `seed`."""
        with self.seeded(seed):
            data = self.train
            if isinstance(data, DataLoader):
                batch = next(without_workers(data))
                return self._prepare(batch if self.step is not None and not _is_pair(batch) else pair_of(batch, "train"), "train")
            return next(self.batches(torch.Generator().manual_seed(seed)))

    def _prepare(self, batch: Batch, part: str) -> Batch:
        for prepare in (*self.prepared, *(self.prepared_test if part == "test" else ())):
            batch = prepare(batch)
        return batch

    @property
    def steps(self) -> int:
        """Updates of the whole training."""
        data = self.train
        return self.epochs * (len(data) if isinstance(data, DataLoader) else math.ceil(samples_in(data) / self.batch_size))

    # -- running -------------------------------------------------------------------------------------------------------------------------

    @contextmanager
    def seeded(self, seed: int) -> Generator[None]:
        """Inside the block all that is random starts from `seed`; afterwards the user's random state is what it was."""
        with random_state_kept(accelerators(), None), loaders_seeded((self.train, self.test), seed):
            seed_all(seed)
            yield

    def build(self, seed: int = 0) -> tuple[nn.Module, Any]:
        """A fresh model and its optimizer, made under `seed`. The caller keeps the user's random state.

        Raises:
            ModelError: a factory gives something else, the model has no parameters, or the optimizer holds another model's parameters.
        """
        seed_all(seed)
        model = self.model()
        if not isinstance(model, nn.Module):
            raise ModelError(
                text("the model's factory gave a {type}", type=type(model).__name__),
                text("a torch.nn.Module"),
                text("return the network: model=lambda: Net()"),
            )
        seed_all(seed)
        if next(model.parameters(), None) is None:
            hidden = list(unregistered(model))
            raise ModelError(
                text("the model has no parameters; it holds trainable tensors where PyTorch does not look: {names}", names=hidden[:4])
                if hidden
                else text("the model has no parameters"),
                text("at least one parameter that can be trained"),
                text("hold modules in nn.ModuleList or nn.ModuleDict, tensors as nn.Parameter")
                if hidden
                else text("make the layers in __init__, as attributes, after super().__init__()"),
            )
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
        """Make the pair twice and run one batch of each part forward; with a step of the user's own, see that it makes an update.

        Raises:
            ModelError: a factory gives the same object twice, the model or the loss fails on a batch, or no step updates a weight; the
                cause says how.
        """
        with self.seeded(0):
            model, optimizer = _asked(lambda: self.build(0), text("making the model and its optimizer failed"))
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
            if self.step is not None:
                self._check_own_step(model, optimizer)
                return
            for part in ("train", "test"):
                if getattr(self, part) is not None:
                    self._check_batch(model, part)

    def _check_batch(self, model: nn.Module, part: str) -> None:
        batch = self.first_batch() if part == "train" else next(self.portions(part, 8))
        inputs, targets = on_device(batch, device_of(model))
        value = _asked(
            lambda: self.loss(called(model, inputs), targets),
            text("one batch of the part {part!r} through the model and the loss failed", part=part),
            text(
                "a model and a loss that take inputs {inputs} and targets {targets}", inputs=described(inputs), targets=described(targets)
            ),
            text("run loss(model(inputs), targets) on one batch by itself, and mend what it says"),
        )
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise ModelError(
                text("the loss gave {what}", what=described(value)),
                text("one number, as a tensor with a gradient"),
                text("average the loss over the batch: loss.mean()"),
            )
        if part == "train" and not value.requires_grad:
            raise ModelError(
                text("the loss does not depend on any weight that requires its gradient"),
                text("a loss computed by torch operations from the model's outputs"),
                text("look for detach(), .item(), numpy or torch.no_grad() in the model and the loss, and for weights that are all frozen"),
            )

    def _check_own_step(self, model: nn.Module, optimizer: Any) -> None:
        """The user's own step must have called optimizer.step(), or moved a weight, within an epoch or CHECKED_BATCHES batches."""
        before = [parameter.detach().clone() for parameter in model.parameters()]
        stepped: list[bool] = []
        original = optimizer.step
        optimizer.step = lambda *args, **kwargs: (stepped.append(True), original(*args, **kwargs))[1]
        made = 0
        for batch in self.batches(torch.Generator().manual_seed(0)):
            model.train()
            made += 1
            device = device_of(model)
            number_of(
                _asked(
                    lambda b=batch, d=device: self.step(model, optimizer, self.loss, on_device(b, d)),  # type: ignore[misc]
                    text("your step failed on its batch {number}", number=made),
                    text("a step that takes batches of {batch}", batch=described(batch)),
                    text("call step(model, optimizer, loss, batch) on one batch by itself, and mend what it says"),
                )
            )
            if stepped or made >= CHECKED_BATCHES:
                break
        if not stepped and all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True)):
            raise ModelError(
                text("your step made no update in {count} batches: no weight moved, and optimizer.step() was not called", count=made),
                text("a step that updates the weights"),
                text("call loss.backward() and optimizer.step() in your step"),
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
        with self.seeded(seed):
            return Training(self, seed, steps, seconds, watch, score, tell).trial()


def _is_pair(batch: Any) -> bool:
    return isinstance(batch, (list, tuple)) and len(batch) == 2


def _asked(question: Callable[[], Any], got: Any, expected: Any = None, do: Any = None) -> Any:
    """What the user's code answers; what it raises is told with what it was asked."""
    try:
        return question()
    except PellucidError:
        raise
    except Exception as error:
        raise ModelError(
            text("{what}: {error}", what=got, error=f"{type(error).__name__}: {error}"),
            expected or text("factories that can be called"),
            do or text("call the factories by themselves, and mend what they say"),
        ) from error
