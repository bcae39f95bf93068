"""The certificate of an explanation: the published tests of its faithfulness, and how far to trust it, with the reasons in words.

"none"     maps that cannot know the network predict the output's changes as well (see faithfulness.infidelity), or the map explains
           less than a sixteenth of what an additive map can explain: it says nothing that could be relied on
"high"     it predicts them better than chance, explains at least half of what can be explained, is specific to this input and this class,
           says more than the input by itself, and no other test fails; deletion, insertion, places and inputs are corrected together (Holm)
"limited"  in between; the reasons say what failed or could not be tested
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pellucid.core.language import Text, text
from pellucid.core.records import Record
from pellucid.explanation.faithfulness.agreement import agreement_scores
from pellucid.explanation.faithfulness.completeness import CLAIMED, completeness_score
from pellucid.explanation.faithfulness.deletion_insertion import deletion_insertion, own_sets
from pellucid.explanation.faithfulness.infidelity import LOW, infidelity_score, share_explained
from pellucid.explanation.faithfulness.multiplicity import holm
from pellucid.explanation.faithfulness.randomisation import randomisation_score
from pellucid.explanation.faithfulness.reference_influence import reference_scores
from pellucid.explanation.faithfulness.relatives import Relatives, path_maps, scrambled_maps
from pellucid.explanation.faithfulness.removals import Removals, measured, without
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
_OTHERS = (("integrated_gradients", "gradient"), ("feature_ablation", "perturbation"))


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
        words = {"high": text("high"), "limited": text("limited"), "none": text("none")}
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
    """Test attributions against the network. `method` None: made elsewhere, so that what needs the method is not tested.

    At most 64 samples, drawn at random, are tested, and 8 where the method is run again.
    """
    generator = torch.Generator().manual_seed(seed + 1)  # not the draws that made the explanation
    relatives = Relatives(subject)
    attributions = attributed.attributions
    if subject.samples > SAMPLES:
        rows = torch.randperm(subject.samples, generator=generator)[:SAMPLES].sort().values.to(subject.device)
        attributions = tuple(part[rows.to(part.device)] for part in attributions)
        subject, reference = _some(relatives, subject, reference, rows)
        relatives.subject, relatives.made = subject, [*relatives.made, relatives.subject]
    tested = _tested(subject, players)
    if tested.count < 2:
        return _untestable(relatives)
    maps = tested.summed(attributions).double().cpu()
    table = measured(subject, reference, tested, generator)
    scores = _measured_scores(relatives, maps, attributions, table, reference, tested, data, generator)
    scores.append(_completeness(subject, maps, reference, claimed=method in CLAIMED))
    scores += _rerun_scores(relatives, maps, table, method, family, reference, players, tested, seed, generator)
    scores += reference_scores(maps, table, subject, reference, tested, data, generator)
    corrected = _holm(scores)
    trust, reasons = judged(corrected, networks=subject.differentiable is None)
    return Certificate(
        trust=trust, reasons=reasons, scores=tuple(corrected), samples=subject.samples, compute=relatives.spent(),
        correction=text("beating every kind of map that cannot know the network is one test at 5 %; the p-values of {names} are corrected "
                        "together by Holm's method, 5 % for all of them", names=list(_CORRECTED)),
    )  # fmt: skip


def _measured_scores(
    relatives: Relatives, maps: Tensor, attributions: tuple[Tensor, ...], table: Removals, reference: Reference, players: Players,
    data: Any, generator: torch.Generator,
) -> list[FaithfulnessScore]:  # fmt: skip
    """What is read off the network's outputs where features are absent."""
    subject = relatives.subject
    networks = None
    if subject.differentiable is None:
        magnitude = all(bool((part >= 0).all()) for part in attributions)
        networks = scrambled_maps(relatives, reference, players, magnitude=magnitude, generator=generator)
    sets = own_sets(maps, generator)
    sample = torch.arange(subject.samples).repeat_interleave(sets.shape[1])
    own = without(subject, reference, players, sample, sets.flatten(0, 1))[:, 0].reshape(sets.shape[:2])
    return [
        infidelity_score(maps, table, networks, generator),
        share_explained(maps, table),
        *deletion_insertion(own, table),
        input_specificity(maps, table, _other_maps(relatives, maps, reference, players, data, generator), generator),
        class_specificity(maps, table),
        beyond_the_input(maps, table, drawn_from_inputs(subject, reference, players)),
    ]


def _other_maps(
    relatives: Relatives, maps: Tensor, reference: Reference, players: Players, data: Any, generator: torch.Generator
) -> Tensor | None:
    """(N, J, P) the maps of the other samples, and where they are few those of inputs from `data`, explained for the sample's own class."""
    n = len(maps)
    others = torch.stack([torch.cat([maps[:i], maps[i + 1 :]]) for i in range(n)])  # (N, N - 1, P)
    subject = relatives.subject
    if data is None or n > MAPS or subject.differentiable is not None:
        return others if n > 1 else None
    background = Reference.of(subject, "samples", data, generator).values
    background = tuple(x[: MAPS + 1 - n] for x in background)
    if len(background[0]) < 1:
        return others if n > 1 else None
    classes = [None] if subject.target is None else subject.target.unique().tolist()
    found: dict[Any, Tensor] = {}
    for chosen in classes:
        target = None if chosen is None else torch.full((len(background[0]),), chosen, device=subject.device)
        neighbours = relatives.with_samples(background, target)
        theirs = reference if not reference.own else Reference.of(neighbours, reference.kind if reference.kind in KINDS else "zero", data)
        found[chosen] = path_maps(neighbours, theirs, players, steps=_PATH_STEPS)
    targets = [None] * n if subject.target is None else subject.target.tolist()
    return torch.cat([others, torch.stack([found[chosen] for chosen in targets])], 1)


def _completeness(subject: Subject, maps: Tensor, reference: Reference, *, claimed: bool) -> FaithfulnessScore:
    rows = torch.arange(subject.samples, device=subject.device)
    absent = torch.zeros(subject.samples, dtype=torch.float64)
    outputs = None if reference.own else subject.outputs(reference.values).double().mean(0)
    if outputs is None:
        absent = subject.values(reference.at(rows)).double().cpu()
    else:
        absent += outputs.cpu()[0 if subject.target is None else subject.target.cpu()]
    change = subject.value.double().cpu() - absent
    return completeness_score(maps.sum(1), change, subject.value.double().cpu(), claimed=claimed)


def _rerun_scores(
    relatives: Relatives, maps: Tensor, table: Removals, method: str | None, family: str | None, reference: Reference, players: Players,
    tested: Players, seed: int, generator: torch.Generator,
) -> list[FaithfulnessScore]:  # fmt: skip
    """What needs the method itself, or other methods: on a few samples, with few draws and references."""
    rows = torch.arange(min(RERUN, len(maps)), device=relatives.subject.device)
    base, few = _some(relatives, relatives.subject, reference, rows)
    if not few.own:
        few = replace(few, values=tuple(value[:_FEW_REFERENCES] for value in few.values))

    def mapped(name: str, where: Players) -> Callable[[Subject], Tensor]:
        def run(subject: Subject) -> Tensor:
            made = find_method(name).function(
                subject, reference=few, players=where, generator=torch.Generator().manual_seed(seed), samples=DRAWS, tell=_silent
            )
            return tested.summed(made.attributions).double().cpu()

        return run

    found: list[FaithfulnessScore] = []
    if method is None:
        why = text("not tested: the method is not known")
        found += [_not_tested("sensitivity", why), _not_tested("parameter_randomisation", why)]
    else:
        own = mapped(method, players)
        before = own(base)
        found.append(sensitivity_score(own, before, relatives, base, generator) if any(base.continuous)
                     else _not_tested("sensitivity", text("not tested: tokens have no small changes")))  # fmt: skip
        found.append(randomisation_score(own, before, relatives, base, generator))
    names = [name for name, its in _OTHERS if its != family and find_method(name).obstacle(base) is None]
    others = {name: mapped(name, tested)(base) for name in names}
    others["surrogate"] = table.additive[: len(rows)]
    return [*found, *agreement_scores(maps[: len(rows)], dict(list(others.items())[:2]), tested, generator)]


def judged(scores: list[FaithfulnessScore], *, networks: bool) -> tuple[str, tuple[Text, ...]]:
    """The trust that the scores allow, and why; `networks`: maps of scrambled networks were among those to beat."""
    by_name = {score.name: score for score in scores}
    infidelity, share = by_name["infidelity"], by_name["share_explained"]
    value = float(share.value or 0.0)
    if not infidelity.passed:
        return "none", (text("it predicts the output's changes no better than a map that knows nothing of the network: {why} (p = {p:.2g})",
                             why=infidelity.note or "", p=infidelity.p_value),)  # fmt: skip
    if value < LOW:
        return "none", (text("it explains {share:.1%} of what a map can explain of the output's changes: next to nothing", share=value),)
    reasons = [reason for score in scores if (reason := _failed(score)) is not None]
    if not networks:
        reasons.append(text("maps of networks with scrambled weights were not compared: the network cannot be differentiated"))
    said = text(
        "it predicts the output's changes better than maps that know nothing of the network (p = {p:.2g}) and explains {share:.0%} of what "
        "a map can explain", p=infidelity.p_value, share=min(1.0, value),
    )  # fmt: skip
    return ("limited" if reasons else "high"), (said, *reasons)


def _failed(score: FaithfulnessScore) -> Text | None:
    """Why this score keeps trust from being high; None where it does not."""
    if score.name == "input_specificity" and score.value is None:
        return text("whether it is specific to this input was not tested: give data=, inputs of the same kind, or more samples")
    p_value = score.p_value if score.adjusted_p_value is None else score.adjusted_p_value
    if score.passed is not False:
        return None
    return {
        "infidelity": text(
            "after the correction for several tests it is not clear that it predicts better than chance (p = {p:.2g})", p=p_value
        ),
        "share_explained": text("it explains less than half of what a map can explain: {share:.0%}", share=score.value),
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


def _some(relatives: Relatives, subject: Subject, reference: Reference, rows: Tensor) -> tuple[Subject, Reference]:
    """Some of the samples, with their references."""
    some = relatives.with_samples([x[rows] for x in subject.inputs], None if subject.target is None else subject.target[rows])
    return some, replace(reference, values=tuple(value[rows] for value in reference.values)) if reference.own else reference


def _not_tested(name: str, why: Text) -> FaithfulnessScore:
    return FaithfulnessScore(name=name, value=None, expected=text("nothing: it was not tested"), note=why)


def _untestable(relatives: Relatives) -> Certificate:
    return Certificate(trust="none", reasons=(text("there is one feature: no map of it can be told from another"),), scores=(),
                       correction=text("nothing was tested"), samples=0, compute=relatives.spent())  # fmt: skip


def _silent(done: int, total: int) -> None:
    """No progress for the short runs."""
