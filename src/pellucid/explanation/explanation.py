"""The record that `explain` gives: attributions with intervals, how they were made, and their certificate."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pellucid.core.errors import ModelError
from pellucid.core.language import Text, text
from pellucid.core.records import Record
from pellucid.explanation.checks import plainly
from pellucid.explanation.players import Players
from pellucid.explanation.reference import Reference
from pellucid.explanation.registry import Attributed
from pellucid.explanation.subject import Spent, Subject
from pellucid.explanation.terms import method_name

if TYPE_CHECKING:
    from pellucid.explanation.certificate import Certificate


@dataclass(frozen=True, eq=False)
class Evidence:
    """What an explanation was made from: its certificate and its drawings need it."""

    subject: Subject
    reference: Reference
    players: Players
    attributed: Attributed
    family: str
    seed: int
    data: Any = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation(Record):
    """Why the network gave its outputs: one number per entry of the inputs.

    A positive attribution says that the entry, compared with the reference, raised the chosen output.
    """

    attributions: Tensor | tuple[Tensor, ...]  # as the inputs were given
    interval: tuple[Any, Any]  # (low, high) at 95 %, each like the attributions; equal to them where exact
    exact: Any  # bool, or per entry like the attributions: nothing was left open by sampling
    method: str
    reference: Text  # what "absent" meant
    features: Text  # which entries were one feature, for methods that perturb
    target: Tensor | None  # (N,) which output was explained; None: the only one
    predicted: Tensor | None  # (N,) each sample's largest output
    value: Tensor  # (N,) the chosen output
    gap: float | None  # completeness gap of the worst sample, where the method promises none
    notes: tuple[Text, ...]
    spent: Spent
    evidence: Evidence | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        parts = self.attributions if isinstance(self.attributions, tuple) else (self.attributions,)
        shapes = [str(tuple(part.shape)) for part in parts]
        return str(text("Explanation by {method} of {shapes}; reference: {reference}", method=method_name(self.method), shapes=shapes,
                        reference=self.reference))  # fmt: skip

    @cached_property
    def value_absent(self) -> Tensor | None:
        """(N,) the chosen output at the reference, the mean of several; None where the network was trained on since, or was not kept."""
        from pellucid.explanation.methods.coalitions import Game

        made = self.evidence
        if made is None or made.subject.weights_changed():
            return None
        return Game(made.subject, made.reference, made.players).empty.mean(1)

    @cached_property
    def certificate(self) -> Certificate:
        """How far to trust it, measured when first asked.

        Raises:
            ModelError: the network was trained on since: it is no longer what was explained.
        """
        from pellucid.explanation.certificate import certificate_of

        made = self._made_from()
        if made.subject.weights_changed():
            raise ModelError(
                text("the network's weights have changed since the explanation was made"),
                text("the network that was explained"),
                text("ask for the certificate before training on, or explain again"),
            )
        with plainly():
            return certificate_of(
                made.subject, made.attributed, method=self.method, family=made.family, reference=made.reference, players=made.players,
                seed=made.seed, data=made.data,
            )  # fmt: skip

    def plot(self, path: str | Path, *, even_if_untrusted: bool = False, **terms: Any) -> Path:
        """Draw it as a PNG file; where trust is "none" the reasons stand in its place, unless `even_if_untrusted`. `terms` as `to_html`."""
        from pellucid.explanation.drawing import plot

        return plot(self, path, even_if_untrusted=even_if_untrusted, **terms)

    def to_html(self, path: str | Path, *, even_if_untrusted: bool = False, **terms: Any) -> Path:
        """Write it as one page that needs nothing else, in both languages.

        `terms`: names (of columns, channels or words), values (of columns, before preprocessing), images, classes, titles; see
        `drawing.samples.samples_of`.
        """
        from pellucid.explanation.drawing import to_html

        return to_html(self, path, even_if_untrusted=even_if_untrusted, **terms)

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold; the certificate where it was asked for."""
        stored = super().to_dict()
        del stored["evidence"]
        if "certificate" in self.__dict__:
            stored["certificate"] = self.certificate.to_dict()
        return stored

    def _made_from(self) -> Evidence:
        if self.evidence is None:
            raise ModelError(
                text("this explanation was read back and has no network"),
                text("an explanation that was just made"),
                text("call pellucid.explain again"),
            )
        return self.evidence
