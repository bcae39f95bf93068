"""The methods there are: ours, and those that users and other packages add.

    from pellucid.explanation.registry import method

    @method("saliency", family="gradient", needs=("gradient",))
    def saliency(subject, *, reference, players, generator, samples, tell) -> Attributed:
        ...

A method gets the network as a function (`Subject`), what "absent" means (`Reference`), the features (`Players`), a seeded generator, how
many draws it may make (None: it decides), and `tell(done, total)` for progress. What a method cannot do without is named in `needs`.
A method of a package is found through the entry points of the group "pellucid.methods", name = function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from pellucid.core.errors import OptionError, did_you_mean
from pellucid.core.language import Text, text
from pellucid.explanation.players import Players
from pellucid.explanation.reference import Reference
from pellucid.explanation.subject import Subject, Tell

ENTRY_POINT_GROUP = "pellucid.methods"
FAMILIES = ("gradient", "activation", "perturbation", "surrogate", "shapley", "attention")


@dataclass(frozen=True, eq=False)
class Attributed:
    """What a method gives: one number per entry of the inputs, and how sure it is."""

    attributions: tuple[Tensor, ...]  # shapes of the inputs
    low: tuple[Tensor, ...] | None = None  # 95 % interval; None where nothing was sampled: the attributions themselves
    high: tuple[Tensor, ...] | None = None
    exact: tuple[Tensor, ...] | bool = True  # False or per entry: whether sampling left anything open
    notes: tuple[Text, ...] = ()
    warnings: tuple[Text, ...] = ()  # what speaks against the numbers: said before every note
    gap: float | None = None  # |sum - (f(x) - f(reference))| / |f(x) - f(reference)|, worst sample, where the method promises 0


class Function(Protocol):
    def __call__(
        self,
        subject: Subject,
        *,
        reference: Reference,
        players: Players,
        generator: torch.Generator,
        samples: int | None,
        tell: Tell,
    ) -> Attributed: ...


def _needs_gradient(subject: Subject) -> Text | None:
    return subject.differentiable


def _needs_layer(subject: Subject) -> Text | None:
    from pellucid.explanation.methods.grad_cam import layer_obstacle

    return layer_obstacle(subject)


def _needs_attention(subject: Subject) -> Text | None:
    from pellucid.explanation.methods.attention import obstacle

    return obstacle(subject)


def _needs_rules(subject: Subject) -> Text | None:
    from pellucid.explanation.methods.deeplift import obstacle

    return obstacle(subject)


def _needs_relevance(subject: Subject) -> Text | None:
    from pellucid.explanation.methods.relevance import obstacle

    return obstacle(subject)


def _needs_continuous(subject: Subject) -> Text | None:
    return None if all(subject.continuous) else text("an input consists of integers")


NEEDS: dict[str, Callable[[Subject], Text | None]] = {
    "gradient": _needs_gradient,
    "layer": _needs_layer,
    "rules": _needs_rules,
    "relevance": _needs_relevance,
    "attention": _needs_attention,
    "continuous": _needs_continuous,
}


@dataclass(frozen=True, eq=False)
class Method:
    """One method by its name."""

    name: str
    family: str
    needs: tuple[str, ...]
    function: Function
    options: tuple[str, ...] = ()  # further keywords it takes: "layer"
    predicts: bool = False  # it meets the samples' outputs on its way, and hands them to `Subject.remember`
    compares: bool = True  # with the reference; else only the tests do
    draws: bool = True  # `samples` says how often; False: it means nothing to the method

    def obstacle(self, subject: Subject, layer: str | None = None) -> Text | None:
        """Why it cannot be applied to this network and these inputs; None where it can. A `layer` that is named need not be looked for."""
        needs = [need for need in self.needs if need != "layer" or layer is None]
        return next((reason for need in needs if (reason := NEEDS[need](subject)) is not None), None)


_methods: dict[str, Method] = {}
_Registered = TypeVar("_Registered", bound=Callable[..., Attributed])


def method(
    name: str,
    *,
    family: str,
    needs: tuple[str, ...] = (),
    options: tuple[str, ...] = (),
    predicts: bool = False,
    compares: bool = True,
    draws: bool = True,
) -> Callable[[_Registered], _Registered]:
    """Register the decorated function under `name`.

    Raises:
        OptionError: an unknown family or need, or another function has that name.
    """
    if family not in FAMILIES or any(need not in NEEDS for need in needs):
        raise OptionError(
            text("the method {name!r} has family {family!r} and needs {needs}", name=name, family=family, needs=list(needs)),
            text("a family of {families} and needs of {known}", families=list(FAMILIES), known=list(NEEDS)),
            text("choose among these"),
        )

    def register(function: _Registered) -> _Registered:
        present = _methods.get(name)
        if present is not None and (present.function.__module__, getattr(present.function, "__qualname__", "")) != (
            function.__module__,
            function.__qualname__,
        ):
            raise OptionError(
                text("there is already a method named {name!r}, in {module}", name=name, module=present.function.__module__),
                text("a name of its own for each method"),
                text("rename yours"),
            )
        _methods[name] = Method(name, family, tuple(needs), function, tuple(options), predicts, compares, draws)
        return function

    return register


@cache
def _load_entry_points() -> None:
    for point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            loaded: Any = point.load()
        except Exception as error:
            raise OptionError(
                text("the method {name!r} of the entry point {value} cannot be loaded: {error}", name=point.name, value=point.value,
                     error=str(error)),
                text("a module that registers a method of this name when it is imported"),
                text("mend or uninstall the package that brings it"),
            ) from error  # fmt: skip
        del loaded


def methods() -> dict[str, Method]:
    """Every method by its name."""
    import_module("pellucid.explanation.methods")  # registers ours
    _load_entry_points()
    return dict(sorted(_methods.items()))


def find_method(name: str) -> Method:
    """The method of this name.

    Raises:
        OptionError: there is none.
    """
    known = methods()
    if name not in known:
        close = did_you_mean(name, ("auto", *known))
        listed = text("choose one of these, or leave it at auto")  # the names have just been said
        raise OptionError(
            text("method is {name!r}", name=name), text("auto, or one of {names}", names=list(known)),
            close if "name" in close.values else listed,
        )  # fmt: skip
    return known[name]


def applicable(subject: Subject) -> list[str]:
    """The names of the methods that can be applied."""
    return [name for name, made in methods().items() if made.obstacle(subject) is None]
