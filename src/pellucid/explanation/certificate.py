"""The certificate of an explanation: the published tests of its faithfulness, and how far to trust it, with the reasons in words.

"none"     maps that cannot know the network predict the output's changes as well (see faithfulness.infidelity), or the map explains
           less than a sixteenth of what an additive map can explain: it says nothing that could be relied on; of fewer than six features,
           with which chance comes near to any map, only where it also explains less than four fifths
"high"     it predicts them better than chance, explains at least half of what can be explained (of a single sample four fifths), is
           specific to this input and this class, says more than the input by itself, and no other test fails; deletion, insertion, places
           and inputs are corrected together (Holm)
"limited"  in between; the reasons say what failed or could not be tested
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from pellucid.core.language import Text, text
from pellucid.core.records import Record
from pellucid.explanation.faithfulness.agreement import agreement_scores
from pellucid.explanation.faithfulness.completeness import CLAIMED, completeness_score
from pellucid.explanation.faithfulness.deletion_insertion import deletion_insertion, own_sets
from pellucid.explanation.faithfulness.infidelity import LOW, NEARLY, infidelity_score, share_explained
from pellucid.explanation.faithfulness.multiplicity import holm
from pellucid.explanation.faithfulness.randomisation import randomisation_score
from pellucid.explanation.faithfulness.reference_influence import reference_scores
from pellucid.explanation.faithfulness.relatives import Relatives, path_maps, scrambled_maps
from pellucid.explanation.faithfulness.removals import FEW, Removals, measured, without
from pellucid.explanation.faithfulness.score import FaithfulnessScore
from pellucid.explanation.faithfulness.sensitivity import sensitivity_score
from pellucid.explanation.faithfulness.specificity import (
    MAPS,
    beyond_the_input,
    class_specificity,
    drawn_from_inputs,
    input_specificity,
)
from pellucid.explanation.players import Players
from pellucid.explanation.reference import KINDS, Reference
from pellucid.explanation.registry import Attributed, find_method
from pellucid.explanation.subject import Spent, Subject

SAMPLES = 64  # at most, are tested
RERUN = 8  # samples for which the method itself, or another one, is run again
DRAWS = 16  # of a sampling method when it is run again
_FEW_REFERENCES = 8  # then
FEATURES = 64  # at most, are tested: more are put together
_PATH_STEPS = 4  # of the gradient maps of other inputs
_CORRECTED = ("infidelity", "deletion", "insertion", "input_specificity")
_METHODS = (("integrated_gradients", "gradient"), ("feature_ablation", "perturbation"))  # to compare with, beside the additive fit


@dataclass(frozen=True, kw_only=True)
class Certificate(Record):
    """How far an explanation can be trusted."""

    trust: str  # "high", "limited" or "none"
    reasons: tuple[Text, ...]
    scores: tuple[FaithfulnessScore, ...]
    correction: Text  # for several tests, stated
    samples: int  # how many were tested
    compute: Spent

    def score(self, name: str) -> FaithfulnessScore:
        """One score by its name."""
        return next(score for score in self.scores if score.name == name)

    def __str__(self) -> str:
        words = {"high": text("high"), "limited": text("limited"), "none": text("none, do not rely on it")}
        return "\n".join([str(text("trust: {level}", level=words[self.trust])), *(f"- {reason}" for reason in self.reasons)])


def certificate_of(
    subject: Subject,
    attributed: Attributed,
    *,
    method: str | None,
    family: str | None,
    reference: Reference,
    players: Players,
    seed: int = 0,
    data: Any = None,
) -> Certificate:
    """Test attributions against the network. `method` None: made elsewhere, so that what needs the method is not tested."""
    return Tests(subject, reference, players, seed=seed, data=data).certificate(attributed.attributions, method=method, family=family)


class Tests:
    """The tests of maps of some samples. What does not depend on the map is computed once, so that several maps can be compared.

    At most 64 samples, drawn at random, are tested, and 8 where methods are run.
    """

    def __init__(self, subject: Subject, reference: Reference, players: Players, *, seed: int = 0, data: Any = None) -> None:
        self.seed, self.data, self.players = seed, data, players
        self.rows: Tensor | None = None
        self._scrambled: dict[bool, Tensor | None] = {}
        self.relatives = Relatives(subject)
        if subject.samples > SAMPLES:
            rows = torch.randperm(subject.samples, generator=self._draws())[:SAMPLES].sort().values
            some, reference = self._some(rows.to(subject.device), reference)
            self.relatives.made.append(subject)
            self.relatives.subject, self.rows = some, rows
        self.subject, self.reference = self.relatives.subject, reference
        self.tested = _tested(self.subject, players)

    def certificate(self, attributions: tuple[Tensor, ...], *, method: str | None, family: str | None) -> Certificate:
        """Test one map, in the shapes of the inputs, of all samples."""
        if self.tested.count < 2:
            return _untestable(self.relatives)
        if self.rows is not None:
            attributions = tuple(part[self.rows.to(part.device)] for part in attributions)
        maps = self.tested.summed(attributions).double().cpu()
        magnitude = all(bool((part >= 0).all()) for part in attributions)
        found = [
            *self._measured(maps, magnitude),
            self._complete(maps, method),
            *self._rerun(maps, method, family),
            *self._references(maps),
        ]
        scores = _holm(found)
        trust, reasons = judged(scores, networks=self._networks(magnitude) is not None, few=self.tested.count < FEW)
        return Certificate(
            trust=trust, reasons=reasons, scores=tuple(scores), samples=self.subject.samples, compute=self.relatives.spent(),
            correction=text("beating every kind of map that cannot know the network is one test at 5 %; the p-values of {names} are "
                            "corrected together by Holm's method, 5 % for all of them", names=list(_CORRECTED)),
        )  # fmt: skip

    def _draws(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed + 1)  # not the draws that made the explanation

    # -- what does not depend on the map -----------------------------------------------------------------------------------------------

    @cached_property
    def table(self) -> Removals:
        return measured(self.subject, self.reference, self.tested, self._draws())

    @cached_property
    def _drawn(self) -> Tensor:
        return drawn_from_inputs(self.subject, self.reference, self.tested)

    def _networks(self, magnitude: bool) -> Tensor | None:
        """(K, N, P) maps of networks with scrambled weights."""
        if self.subject.differentiable is not None:
            return None
        if magnitude not in self._scrambled:
            self._scrambled[magnitude] = scrambled_maps(
                self.relatives, self.reference, self.tested, magnitude=magnitude, generator=self._draws()
            )
        return self._scrambled[magnitude]

    @cached_property
    def _neighbours(self) -> Tensor | None:
        """(N, J, P) gradient maps of inputs from `data`, explained for each sample's own class, where the samples themselves are few."""
        subject, n = self.subject, self.subject.samples
        if self.data is None or n > MAPS or subject.differentiable is not None:
            return None
        background = tuple(x[: MAPS + 1 - n] for x in Reference.of(subject, "samples", self.data, self._draws()).values)
        targets = [None] * n if subject.target is None else subject.target.tolist()
        found: dict[Any, Tensor] = {}
        for chosen in set(targets):
            target = None if chosen is None else torch.full((len(background[0]),), chosen, device=subject.device)
            there, reference = self.relatives.with_samples(background, target), self.reference
            if reference.own:
                reference = Reference.of(there, reference.kind if reference.kind in KINDS else "zero", self.data)
            found[chosen] = path_maps(there, reference, self.tested, steps=_PATH_STEPS)
        return torch.stack([found[chosen] for chosen in targets])

    @cached_property
    def _few(self) -> tuple[Subject, Reference]:
        """A few samples with a few references, for methods that are run."""
        some, reference = self._some(torch.arange(min(RERUN, self.subject.samples), device=self.subject.device), self.reference)
        if not reference.own:
            reference = replace(reference, values=tuple(value[:_FEW_REFERENCES] for value in reference.values))
        return some, reference

    def _some(self, rows: Tensor, reference: Reference) -> tuple[Subject, Reference]:
        subject = self.relatives.subject
        some = self.relatives.with_samples([x[rows] for x in subject.inputs], None if subject.target is None else subject.target[rows])
        return some, replace(reference, values=tuple(value[rows] for value in reference.values)) if reference.own else reference

    def _run(self, name: str, players: Players, subject: Subject) -> Tensor:
        """(n, P) the maps that a method of ours makes, always from the same seed."""
        made = find_method(name).function(
            subject,
            reference=self._few[1],
            players=players,
            generator=torch.Generator().manual_seed(self.seed),
            samples=DRAWS,
            tell=_silent,
        )
        return self.tested.summed(made.attributions).double().cpu()

    @cached_property
    def _others(self) -> dict[str, tuple[str, Tensor]]:
        """By name: the family and the maps of methods to compare with."""
        some = self._few[0]
        found = {
            name: (family, self._run(name, self.tested, some)) for name, family in _METHODS if find_method(name).obstacle(some) is None
        }
        return {**found, "surrogate": ("surrogate", self.table.additive[: some.samples])}

    # -- what does -------------------------------------------------------------------------------------------------------------------

    def _measured(self, maps: Tensor, magnitude: bool) -> list[FaithfulnessScore]:
        """What is read off the network's outputs where features are absent."""
        n, generator, table = len(maps), self._draws(), self.table
        sets = own_sets(maps, generator)
        sample = torch.arange(n).repeat_interleave(sets.shape[1])
        own = without(self.subject, self.reference, self.tested, sample, sets.flatten(0, 1))[:, 0].reshape(sets.shape[:2])
        others = [torch.stack([torch.cat([maps[:i], maps[i + 1 :]]) for i in range(n)])]  # (N, N - 1, P)
        others += [] if self._neighbours is None else [self._neighbours]
        return [
            infidelity_score(maps, table, self._networks(magnitude), generator),
            share_explained(maps, table),
            *deletion_insertion(own, table),
            input_specificity(maps, table, torch.cat(others, 1), generator),
            class_specificity(maps, table),
            beyond_the_input(maps, table, self._drawn),
        ]

    def _references(self, maps: Tensor) -> tuple[FaithfulnessScore, ...]:
        return reference_scores(maps, self.table, self.subject, self.reference, self.tested, self.data, self._draws())

    def _complete(self, maps: Tensor, method: str | None) -> FaithfulnessScore:
        subject, reference = self.subject, self.reference
        if reference.own:
            absent = subject.values(reference.values).double()
        else:
            outputs = subject.outputs(reference.values).double().mean(0)
            absent = outputs[torch.zeros(subject.samples, dtype=torch.long) if subject.target is None else subject.target]
        value = subject.value.double()
        return completeness_score(maps.sum(1), (value - absent).cpu(), value.cpu(), claimed=method in CLAIMED)

    def _rerun(self, maps: Tensor, method: str | None, family: str | None) -> list[FaithfulnessScore]:
        """What needs the method itself, or other methods."""
        some, found = self._few[0], list[FaithfulnessScore]()
        if method is None:
            why = text("not tested: the method is not known")
            found += [_not_tested("sensitivity", why), _not_tested("parameter_randomisation", why)]
        else:
            mapped = partial(self._run, method, self.players)
            own = mapped(some)
            found.append(sensitivity_score(mapped, own, self.relatives, some, self._draws()) if any(some.continuous)
                         else _not_tested("sensitivity", text("not tested: tokens have no small changes")))  # fmt: skip
            found.append(randomisation_score(mapped, own, self.relatives, some, self._draws()))
        others = {name: made for name, (its, made) in self._others.items() if its != family}
        return [*found, *agreement_scores(maps[: some.samples], dict(list(others.items())[:2]), self.tested, self._draws())]


def judged(scores: list[FaithfulnessScore], *, networks: bool, few: bool) -> tuple[str, tuple[Text, ...]]:
    """The trust that the scores allow, and why.

    `networks`: maps of scrambled networks were among those to beat. `few`: there are so few features that chance comes near to any map.
    """
    by_name = {score.name: score for score in scores}
    infidelity, share = by_name["infidelity"], by_name["share_explained"]
    value = float(share.value or 0.0)
    if not infidelity.passed and not (few and value >= NEARLY):
        return "none", (text("it predicts the output's changes no better than a map that knows nothing of the network: {why} (p = {p:.2g})",
                             why=infidelity.note or "", p=infidelity.p_value),)  # fmt: skip
    if value < LOW:
        return "none", (text("it explains {share:.1%} of what a map can explain of the output's changes: next to nothing", share=value),)
    reasons = [reason for score in scores if (reason := _failed(score)) is not None]
    if not networks:
        reasons.append(text("maps of networks with scrambled weights were not compared: the network has no gradients"))
    said = text(
        "it predicts the output's changes better than maps that know nothing of the network (p = {p:.2g}) and explains {share:.0%} of what "
        "a map can explain", p=infidelity.p_value, share=min(1.0, value),
    )  # fmt: skip
    if not infidelity.passed:
        said = text("it explains {share:.0%} of what a map can explain, but with so few features and samples chance could do it too: {why} "
                    "(p = {p:.2g})", share=min(1.0, value), why=infidelity.note or "", p=infidelity.p_value)  # fmt: skip
        return "limited", (said, *reasons)
    return ("limited" if reasons else "high"), (said, *reasons)


def _failed(score: FaithfulnessScore) -> Text | None:
    """Why this score keeps trust from being high; None where it does not."""
    if score.name == "input_specificity" and score.value is None:
        return text("whether it is specific to this input was not tested: give data=, inputs of the same kind, or more samples")
    p_value = score.p_value if score.adjusted_p_value is None else score.adjusted_p_value
    passed = score.passed
    if score.name == "infidelity":  # its own level of 5 % decides between "none" and "limited", the corrected one allows "high"
        passed = p_value is not None and p_value <= 0.05
    if passed is not False:
        return None
    return {
        "infidelity": text("after the correction for several tests chance may predict as well (p = {p:.2g})", p=p_value),
        "share_explained": text("it explains {share:.0%} of what a map can explain, {why}", share=score.value, why=score.note or ""),
        "deletion": text("taking its most important features away lowers the output no faster than chance (p = {p:.2g})", p=p_value),
        "insertion": text("giving its most important features first raises the output no faster than chance (p = {p:.2g})", p=p_value),
        "input_specificity": text("the maps of other inputs explain these samples as well (p = {p:.2g})", p=p_value),
        "class_specificity": text("it explains another output as well as the chosen one"),
        "beyond_the_input": text("it says little more than a map drawn from the input alone, such as its edges"),
        "completeness": text("the attributions do not add up to the change of the output: the gap is {gap:.0%} of it", gap=score.value),
        "sensitivity": text("tiny changes of the input change it by {change:.1f} times its size", change=score.value),
        "parameter_randomisation": text("it hardly changes when the network forgets all: rank correlation {value:.2f}", value=score.value),
    }.get(score.name)


def _holm(scores: list[FaithfulnessScore]) -> list[FaithfulnessScore]:
    """The same scores with corrected p-values where they take part."""
    chosen = [i for i, score in enumerate(scores) if score.name in _CORRECTED and score.p_value is not None]
    found = list(scores)
    for i, adjusted in zip(chosen, holm([float(scores[i].p_value or 0.0) for i in chosen]), strict=True):
        gate = scores[i].name == "infidelity"  # its own level of 5 % decides between "none" and "limited"
        found[i] = replace(scores[i], adjusted_p_value=adjusted, passed=scores[i].passed if gate else adjusted <= 0.05)
    return found


def _tested(subject: Subject, players: Players) -> Players:
    """The features that are tested: the explanation's own, or larger ones where these are too many."""
    if players.count > FEATURES:
        players = Players.of(subject, "auto")
    if players.count <= FEATURES:
        return players
    group = torch.arange(players.count) * FEATURES // players.count
    return Players(FEATURES, tuple(group.to(index.device)[index] for index in players.index), text("neighbouring features together"))


def _not_tested(name: str, why: Text) -> FaithfulnessScore:
    return FaithfulnessScore(name=name, value=None, expected=text("nothing: it was not tested"), note=why)


def _untestable(relatives: Relatives) -> Certificate:
    return Certificate(trust="none", reasons=(text("there is one feature: no map of it can be told from another"),), scores=(),
                       correction=text("nothing was tested"), samples=0, compute=relatives.spent())  # fmt: skip


def _silent(done: int, total: int) -> None:
    """No progress for the short runs."""
