"""The symptoms there are: ours, and those that users and other packages add.

    from pellucid.diagnosis.registry import symptom

    @symptom("slow_start")
    def slow_start(curves: Curves) -> list[Finding]:
        ...

    @symptom("silent_layer", reads=Observations)
    def silent_layer(seen: Observations) -> list[Finding]:
        ...

A symptom reads one kind of evidence: the curves and final scores of a training (`Curves`), what was seen while it ran (`Observations`),
one traced batch (`Program`), the samples themselves (`Contents`), what the network says of samples it was not trained on (`OutOfSample`),
or what controlled experiments gave (`Trials`). Where two symptoms see
the same thing in different evidence, the second is registered under a name of its own ("tried_lr_too_high"); the finding says what is seen.

A package that is installed beside Pellucid adds its own through an entry point of the group "pellucid.symptoms", name = function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, TypeVar

from pellucid.core.errors import OptionError
from pellucid.core.language import text
from pellucid.core.records import Finding
from pellucid.diagnosis.dynamic.curves import Curves

Symptom = Callable[[Any], Iterable[Finding] | None]
Evidence = type[Any]
EVIDENCE = {  # by name: watching must not load what only `diagnose` needs
    "Curves": "dynamic.curves",
    "Observations": "dynamic.observations",
    "Program": "static.program",
    "Contents": "data.contents",
    "OutOfSample": "data.label_noise",
    "Trials": "controlled.trials",
}
OURS = {  # modules of `symptoms/` by what they read, in the order in which their findings are made
    "Curves": ("overfitting", "underfitting"),
    "Observations": ("activations", "gradients", "numbers", "ownership", "program", "step_size", "watched_fit", "watched_outputs"),
    "Program": ("outputs", "softmaxes", "losses", "initial_loss", "layers", "trained_parts", "settings"),
    "Contents": ("inputs", "label_codes", "labels", "leakage", "amount", "parts_alike"),
    "OutOfSample": ("labels",),
    "Trials": ("controlled",),
}
ENTRY_POINT_GROUP = "pellucid.symptoms"
_symptoms: dict[str, Symptom] = {}
_Registered = TypeVar("_Registered", bound=Symptom)


def symptom(name: str, *, reads: Evidence = Curves) -> Callable[[_Registered], _Registered]:
    """Register the decorated function under `name`. It takes evidence of the kind `reads` and gives findings, none when nothing is seen.

    Raises:
        OptionError: another symptom has that name, or `reads` is no kind of evidence.
    """
    if reads.__module__ != f"pellucid.diagnosis.{EVIDENCE.get(reads.__name__)}":
        raise OptionError(
            text("the symptom {name!r} reads {kind!r}", name=name, kind=getattr(reads, "__name__", str(reads))),
            text("one of {names}", names=list(EVIDENCE)),
            text("choose the evidence that the symptom needs"),
        )

    def register(function: _Registered) -> _Registered:
        setattr(function, "reads", reads)  # noqa: B010 (an entry point names the function, and we must know what to give it)
        present = _symptoms.get(name)
        if present is not None and (present.__module__, present.__qualname__) != (function.__module__, function.__qualname__):
            raise OptionError(
                text("there is already a symptom named {name!r}, in {module}", name=name, module=present.__module__),
                text("a name of its own for each symptom"),
                text("rename yours"),
            )
        _symptoms[name] = function
        return function

    return register


def symptoms(reads: Evidence | None = None) -> dict[str, Symptom]:
    """Name -> function: ours first, in the order in which they were written, then the others; all, or those of one kind of evidence."""
    for kind in OURS if reads is None else [reads.__name__]:
        for module in OURS.get(kind, ()):
            import_module(f"pellucid.diagnosis.symptoms.{module}")  # registers ours

    every = {**_symptoms, **{name: function for name, function in _from_packages().items() if name not in _symptoms}}
    return {name: function for name, function in every.items() if reads is None or evidence_of(function) is reads}


def evidence_of(function: Symptom) -> Evidence:
    """What a symptom reads; curves where it does not say."""
    return getattr(function, "reads", Curves)


@cache
def _from_packages() -> dict[str, Symptom]:
    """What other installed packages offer. One that cannot be imported becomes a symptom that says so: it must not end a training."""
    found: dict[str, Symptom] = {}
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        try:
            found[entry.name] = entry.load()
        except Exception as error:
            found[entry.name] = _unloadable(entry.name, entry.value, error)
    return found


def _unloadable(name: str, value: str, error: Exception) -> Symptom:
    def report(_: Any) -> list[Finding]:
        return [failed(name, error, where=value)]

    return report


def failed(name: str, error: Exception, where: str | None = None) -> Finding:
    """The finding that a symptom could not be looked for."""
    return Finding(
        symptom=name,
        level="advice",
        confidence=0.0,
        where=where,
        summary=text(
            "the symptom {name!r} could not be looked for: {error}", name=name, error=f"{type(error).__name__}: {error}".splitlines()[0]
        ),
        remedy=text("mend or remove the package that offers it"),
        established_by="static",
    )
