"""Remedies that can be applied: for each kind of `Change` a function that makes of an experiment another, without touching the user's
objects. What they do is done to what the factories make anew, to each batch, or to the calls of torch functions while our own loop runs.

    cured = apply(experiment, Change(kind="learning_rate", values={"rate": 1e-3}))

An operation is named by its `position`: the index of the operation in `core.trace.trace(model, inputs, targets, loss, training=True)` of
the first batch of the experiment that the change is applied to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar

from pellucid.core.errors import ModelError, OptionError, PellucidError, did_you_mean
from pellucid.core.language import text
from pellucid.core.records import Change
from pellucid.diagnosis.experiments.experiment import Experiment

Remedy = Callable[[Experiment, Mapping[str, Any]], Experiment]
_Registered = TypeVar("_Registered", bound=Remedy)
_remedies: dict[str, tuple[Remedy, tuple[str, ...], tuple[str, ...]]] = {}


def remedy(kind: str, *needed: str, may: tuple[str, ...] = ()) -> Callable[[_Registered], _Registered]:
    """Register the decorated function(experiment, values) under a kind of change, with the names of its values and of optional ones."""

    def register(function: _Registered) -> _Registered:
        _remedies[kind] = function, needed, may
        return function

    return register


@cache
def kinds() -> tuple[str, ...]:
    """The kinds of changes there are."""
    from pellucid.diagnosis.remedies import (  # noqa: F401  (register theirs)
        activations,
        alignment,
        calls,
        data,
        functions,
        layers,
        losses,
        settings,
        shapes,
        weights,
    )

    return tuple(_remedies)


def apply(experiment: Experiment, change: Change) -> Experiment:
    """The experiment with one thing changed; the given one stays as it is.

    Raises:
        OptionError: there is no such kind, or its values are not those that it takes.
        ModelError, DataError: the change cannot be made to this experiment; the message says why.
    """
    if change.kind not in kinds():
        raise OptionError(text("there is no change of the kind {kind!r}", kind=change.kind), None, did_you_mean(change.kind, kinds()))
    function, needed, may = _remedies[change.kind]
    missing = [name for name in needed if change.values.get(name) is None]
    unknown = [name for name in change.values if name not in (*needed, *may)]
    if missing or unknown:
        raise OptionError(
            text("the change {kind!r} was given {given}", kind=change.kind, given=list(change.values) or [text("nothing")]),
            text("the values {needed}", needed=list(needed) or [text("none")]),
            text("leave out {unknown}", unknown=unknown) if unknown else text("give {missing}", missing=missing),
        )
    try:
        return function(experiment, change.values)
    except PellucidError:
        raise
    except Exception as error:  # whatever the user's code, or a value of the wrong type, brings about
        raise cannot(change.kind, f"{type(error).__name__}: {error}".splitlines()[0]) from error


def cannot(kind: str, why: Any) -> ModelError:
    """The error that a change does not fit an experiment."""
    return ModelError(
        text("the change {kind!r} cannot be applied here: {why}", kind=kind, why=why),
        text("an experiment that the change can be made to"),
        text("make the change in your own code"),
    )
