"""The symptoms there are: ours, and those that users and other packages add.

    from pellucid.diagnosis.registry import symptom

    @symptom("slow_start")
    def slow_start(curves: Curves) -> list[Finding]:
        ...

A package that is installed beside Pellucid adds its own through an entry point of the group "pellucid.symptoms", name = function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from importlib.metadata import entry_points

from pellucid.core.errors import OptionError
from pellucid.core.language import text
from pellucid.core.records import Finding
from pellucid.diagnosis.curves import Curves

Symptom = Callable[[Curves], Iterable[Finding] | None]
ENTRY_POINT_GROUP = "pellucid.symptoms"
_symptoms: dict[str, Symptom] = {}


def symptom(name: str) -> Callable[[Symptom], Symptom]:
    """Register the decorated function under `name`. It takes `Curves` and gives findings, none when the symptom is not seen.

    Raises:
        OptionError: another symptom has that name.
    """

    def register(function: Symptom) -> Symptom:
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


def symptoms() -> dict[str, Symptom]:
    """Name -> function: ours first, in the order in which they were written down, then the others."""
    from pellucid.diagnosis.symptoms import overfitting, underfitting  # noqa: F401  (registers ours)

    return {**_symptoms, **{name: function for name, function in _from_packages().items() if name not in _symptoms}}


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
    def report(curves: Curves) -> list[Finding]:
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
