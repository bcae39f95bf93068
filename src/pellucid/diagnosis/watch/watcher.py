"""`pellucid.watch`: one line before anybody's training loop."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import nn

from pellucid.core.errors import ModelError, OptionError, OptionTypeError
from pellucid.core.language import text
from pellucid.core.records import Finding
from pellucid.diagnosis.causes import examine
from pellucid.diagnosis.dynamic.observations import Observations
from pellucid.diagnosis.watch.announcement import Announcer
from pellucid.diagnosis.watch.attachment import Attachment
from pellucid.diagnosis.watch.loss_module import LossModule
from pellucid.diagnosis.watch.recorder import Recorder

_watched: weakref.WeakKeyDictionary[nn.Module, weakref.ref[Watcher]] = weakref.WeakKeyDictionary()


def watch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer | tuple[torch.optim.Optimizer, ...] | list[torch.optim.Optimizer] | None = None,
    loss: nn.Module | None = None,
) -> Watcher:
    """Watch the training of `model` from now on, whoever's loop it is, without changing anything in it.

    Findings are printed when they are found. An optimizer that is not given is recognised when it makes a step; a `loss` module given
    here shows targets and evaluation losses that the gradient graph cannot. Watching ends with `close()`, with the `with` block, or
    when the answer is forgotten: keep it.

        watcher = pellucid.watch(model)

    Raises:
        OptionTypeError: an argument is not what its name says.
        ModelError: the model has no trainable parameters, or is being watched already.
        OptionError: the optimizer holds none of the model's parameters.
    """
    return Watcher(model, optimizer, loss)


class Watcher:
    """What is seen of one training: `findings`, `observations`, `report()`, `overhead`. Made by `pellucid.watch`.

    `closely`: looks may take a tenth of the time, as in a training that is only run to be looked at.
    """

    def __init__(
        self, model: nn.Module, optimizer: Any = None, loss: nn.Module | None = None, *, announce: bool = True, closely: bool = False
    ) -> None:
        optimizers = _checked(model, optimizer, loss)
        announcer = Announcer() if announce else None
        recorder = Recorder(
            model=model,
            optimizers=optimizers,
            loss_module=LossModule(loss) if loss is not None else None,
            when_judged=None if announcer is None else announcer.judged,
            closely=closely,
        )
        recorder.attachment = Attachment(model, recorder)
        detach = [recorder.attachment.detach]
        if recorder.loss_module is not None:
            detach.append(recorder.loss_module.attach(recorder))
        recorder.ended = _all(detach)
        self._recorder = recorder
        self._announcer = announcer
        self._finalizer = weakref.finalize(self, _forgotten, recorder, announcer)
        self._judged: tuple[tuple[int, int], tuple[Finding, ...]] | None = None
        _watched[model] = weakref.ref(self)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong, as far as it can be told now; faults first."""
        self._recorder.settle()
        state = self._recorder.step, self._recorder.rows.made
        if self._judged is None or self._judged[0] != state:
            self._judged = state, examine(self._recorder.observations())
        return self._judged[1]

    @property
    def observations(self) -> Observations:
        """What was seen, as plain numbers."""
        self._recorder.settle()
        return self._recorder.observations()

    @property
    def overhead(self) -> float:
        """The time spent in watching over the time of everything else since watching began: 0.01 is 1 %."""
        return self._recorder.sampling.overhead()

    @property
    def closed(self) -> bool:
        return self._recorder.closed

    def report(self, path: str | Path | None = None) -> Any:
        """The state of the training for a terminal; with `path` as an HTML file with curves, in English and Chinese.

        Raises:
            StorageError: the file cannot be written.
        """
        from pellucid.diagnosis.watch import report

        if path is None:
            return report.Report(self.observations, self.findings)
        return report.write(path, self.observations, self.findings)

    def to_html(self, path: str | Path) -> Path:
        """The same as `report(path)`."""
        return self.report(path)

    def to_dict(self) -> dict[str, Any]:
        """Observations and findings, for a file."""
        return {"observations": self.observations.to_dict(), "findings": [finding.to_dict() for finding in self.findings]}

    def close(self) -> None:
        """End watching: every hook goes, what was found stays. May be called twice."""
        if not self._recorder.closed:
            self._finalizer.detach()
            _end(self._recorder, self._announcer)

    def __enter__(self) -> Self:
        if self.closed:
            raise OptionError(
                text("this watcher is closed"), text("a watcher that is watching"), text("begin again: watcher = pellucid.watch(model)")
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else "watching"
        return f"<Watcher of {type(self._recorder.model).__name__}: {state}, {self._recorder.step} steps, {self._recorder.rows.made} looks>"

    def __reduce__(self) -> Any:
        raise OptionTypeError(
            text("a watcher was copied or pickled"),
            text("an object that can be copied: a watcher hangs on a running program"),
            text("store watcher.to_dict(), or leave the watcher out of what you copy"),
        )


def _checked(model: Any, optimizer: Any, loss: Any) -> tuple[torch.optim.Optimizer, ...]:
    if not isinstance(model, nn.Module):
        raise OptionTypeError(
            text("model is of type {type}", type=type(model).__name__),
            text("a torch.nn.Module"),
            text("give the module whose training is to be watched: with Lightning, skorch or the Trainer the module inside"),
        )
    known = _watched.get(model)
    present = known() if known is not None else None
    if present is not None and not present.closed:
        raise ModelError(
            text("this {type} is being watched already", type=type(model).__name__),
            text("one watcher for a model"),
            text("use the first one, or close it: watcher.close()"),
        )
    if not any(parameter.requires_grad for parameter in model.parameters()) and not _lazy(model):
        raise ModelError(
            text("the {type} has no parameter with requires_grad=True", type=type(model).__name__),
            text("a model that is trained"),
            text("let the parameters that you train require their gradient, then watch"),
        )
    if loss is not None and not isinstance(loss, nn.Module):
        raise OptionTypeError(
            text("loss is of type {type}", type=type(loss).__name__),
            text("a torch.nn.Module that is called with outputs and targets, such as torch.nn.CrossEntropyLoss()"),
            text("leave loss out: what a function computes is read from the gradient graph"),
        )
    several = tuple(optimizer) if isinstance(optimizer, (list, tuple)) else () if optimizer is None else (optimizer,)
    mine = {id(parameter) for parameter in model.parameters()}
    for one in several:
        if not isinstance(one, torch.optim.Optimizer):
            raise OptionTypeError(
                text("optimizer is of type {type}", type=type(one).__name__),
                text("a torch.optim.Optimizer, or several in a list"),
                text("leave optimizer out: it is recognised when it makes a step"),
            )
        if not any(id(parameter) in mine for group in one.param_groups for parameter in group["params"]):
            raise OptionError(
                text("the {type} holds none of the model's parameters", type=type(one).__name__),
                text("the optimizer that trains this model"),
                text("make it from model.parameters(), after the last change to the model"),
            )
    return several


def _lazy(model: nn.Module) -> bool:
    return any(nn.parameter.is_lazy(parameter) for parameter in model.parameters())


def _all(actions: list[Callable[[], None]]) -> Callable[[], None]:
    def run() -> None:
        for action in actions:
            action()

    return run


def _end(recorder: Recorder, announcer: Announcer | None) -> None:
    recorder.ended()
    if recorder.closed:
        return
    recorder.close()
    if announcer is not None and not recorder.failed:
        try:
            announcer.judged(recorder)
        except Exception as error:
            recorder.fail(error)


def _forgotten(recorder: Recorder, announcer: Announcer | None) -> None:
    """The user holds the watcher no more. At once, unwatched, that is a mistake; at the end of a program it is how things end."""
    never = recorder.step == 0 and recorder.backwards == 0 and announcer is not None
    _end(recorder, announcer if recorder.step or recorder.backwards else None)
    if never and announcer is not None:
        announcer.forgotten()
