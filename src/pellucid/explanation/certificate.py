"""The certificate of an explanation: the published tests of its faithfulness; `judgement` says how far they allow to trust it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from pellucid.core.language import Text, text
from pellucid.core.records import Record
from pellucid.explanation.faithfulness.agreement import agreement_scores
from pellucid.explanation.faithfulness.beyond_the_input import beyond_the_input, drawn_from_inputs, shared_maps
from pellucid.explanation.faithfulness.completeness import CLAIMED, TOLERANCE, completeness_score
from pellucid.explanation.faithfulness.deletion_insertion import deletion_insertion, own_sets
from pellucid.explanation.faithfulness.each_sample import ORDERS, each_sample
from pellucid.explanation.faithfulness.infidelity import infidelity_score, share_explained
from pellucid.explanation.faithfulness.level import level_score, likely_references
from pellucid.explanation.faithfulness.randomisation import randomisation_score
from pellucid.explanation.faithfulness.reference_influence import reference_scores
from pellucid.explanation.faithfulness.relatives import Relatives, path_maps, scrambled_maps
from pellucid.explanation.faithfulness.removals import SMALL, Removals, measured, without
from pellucid.explanation.faithfulness.resolution import Level, constant_within, measured_level, resolution_score
from pellucid.explanation.faithfulness.scale import scale_score, squared_error, sums_fit
from pellucid.explanation.faithfulness.score import FaithfulnessScore
from pellucid.explanation.faithfulness.sensitivity import sensitivity_score
from pellucid.explanation.faithfulness.specificity import ALONE, MAPS, class_specificity, input_specificity
from pellucid.explanation.judgement import Circumstances, judged
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
    reference_known: bool = True,
) -> Certificate:
    """Test attributions against the network. `method` None: made elsewhere, so that what needs the method is not tested.

    `reference_known`: whether attributions made elsewhere were made with this reference, so that their sum must be the change from it.
    """
    tests = Tests(subject, reference, players, seed=seed, data=data, reference_known=reference_known)
    return tests.certificate(attributed.attributions, method=method, family=family)


class Tests:
    """The tests of maps of some samples. What does not depend on the map is computed once, so that several maps can be compared.

    At most 64 samples, drawn at random, are tested, and 8 where methods are run.
    """

    def __init__(
        self, subject: Subject, reference: Reference, players: Players, *, seed: int = 0, data: Any = None, reference_known: bool = True
    ) -> None:
        self.seed, self.data, self.players, self.reference_known = seed, data, players, reference_known
        self.rows: Tensor | None = None
        self._scrambled: dict[bool, Tensor | None] = {}
        self._levels: dict[tuple[int, int], Level] = {}
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
        if self.rows is not None:
            attributions = tuple(part[self.rows.to(part.device)] for part in attributions)
        maps = self.tested.summed(attributions).double().cpu()
        if self.tested.count < 2:
            return self._of_one_feature(maps)
        sets = own_sets(maps, self._draws())
        sample = torch.arange(len(maps)).repeat_interleave(sets.shape[1])
        own = without(self.subject, self.reference, self.tested, sample, sets.flatten(0, 1))[:, 0].reshape(sets.shape[:2])
        if not (bool(torch.isfinite(self.table.outputs).all()) and bool(torch.isfinite(own).all())):
            return self._untested("none", text(
                "it could not be tested: the network's output is NaN or infinite where features come from the reference ({reference}); "
                "give baseline=, an input that the network can take", reference=self.reference.stated,
            ))  # fmt: skip
        magnitude = all(bool((part >= 0).all()) for part in attributions)
        scores = (
            *self._measured(maps, own, magnitude),
            *self._sized(maps, method),
            self._resolution(attributions),
            self._complete(maps, method),
            *self._rerun(maps, method, family),
            *self._references(maps),
        )
        around = Circumstances(maps=maps, table=self.table, features=self.tested.stated, networks=self._why_no_networks(magnitude))
        trust, reasons = judged(scores, around)
        return Certificate(
            trust=trust, reasons=reasons, scores=scores, samples=self.subject.samples, compute=self.relatives.spent(),
            correction=text("high trust needs no correction for several tests: all that are marked must pass, each at 5 %, so that a map "
                            "which in truth fails one of them is called high with a chance of at most 5 % (Berger 1982); agreement and "
                            "other references are reported only. Whoever picks one test out of several needs a correction: by chance, "
                            "one in twenty passes"),
        )  # fmt: skip

    def _untested(self, trust: str, reason: Text) -> Certificate:
        return Certificate(trust=trust, reasons=(reason,), scores=(), correction=text("nothing was tested"), samples=self.subject.samples,
                           compute=self.relatives.spent())  # fmt: skip

    def _of_one_feature(self, maps: Tensor) -> Certificate:
        """Its contribution is the whole change of the output; no test against chance says more."""
        change, value = self._change
        apart = (maps.sum(1) - change).abs()
        if bool((apart <= 1e-3 * change.abs() + 1e-6 * value.abs()).all()):
            return self._untested("high", text("there is one feature, and the map gives it the whole change of the output"))
        alike = bool((maps.sum(1) * change > 0).all()) and bool((apart <= TOLERANCE * change.abs()).all())
        return self._untested("limited" if alike else "none", text(
            "there is one feature: its contribution is the whole change of the output, and the map is off by up to {gap:.2g} of it",
            gap=float((apart / change.abs().clamp(min=1e-300)).max()),
        ))  # fmt: skip

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

    def _why_no_networks(self, magnitude: bool) -> Text | None:
        if self._networks(magnitude) is not None:
            return None
        return text("the network has no gradients, or its weights are where they were not found")

    @cached_property
    def _neighbours(self) -> Tensor | None:
        """(N, J, P) gradient maps of inputs from `data`, explained for each sample's own class, where the samples themselves are few."""
        subject, n = self.subject, self.subject.samples
        if self.data is None or n > MAPS or subject.differentiable is not None:
            return None
        cheap = n == 1 and sum(x[0].numel() for x in subject.inputs) <= SMALL
        background = Reference.of(subject, "samples", self.data, self._draws()).values
        others = ~torch.stack([_same_rows(x, own) for x, own in zip(background, subject.inputs, strict=True)]).all(0).any(1)
        background = tuple(x[others][: (ALONE if cheap else MAPS) + 1 - n] for x in background)
        if not len(background[0]):
            return None
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

    def _measured(self, maps: Tensor, own: Tensor, magnitude: bool) -> list[FaithfulnessScore]:
        """What is read off the network's outputs where features are absent; `own`: absent in the map's own order."""
        n, generator, table = len(maps), self._draws(), self.table
        others = [torch.stack([torch.cat([maps[:i], maps[i + 1 :]]) for i in range(n)])]  # (N, N - 1, P)
        others += [] if self._neighbours is None else [self._neighbours]
        shares = share_explained(maps, table, self._path)
        return [
            infidelity_score(maps, table, self._networks(magnitude), generator),
            shares,
            each_sample(
                shares.samples,
                maps,
                [table.additive, *([] if self._path is None else [self._path])],
                self._again,
                range(n) if self.rows is None else self.rows.tolist(),
            ),
            *deletion_insertion(own, table),
            input_specificity(maps, table, torch.cat(others, 1), generator),
            class_specificity(maps, table),
            beyond_the_input(maps, table, torch.cat([self._drawn, shared_maps(maps, self.subject.target, self._neighbours)])),
        ]

    def _sized(self, maps: Tensor, method: str | None) -> list[FaithfulnessScore]:
        """Whether the values have the size of the changes: asked of methods that promise sums, and of maps made elsewhere."""
        change, _ = self._change
        sums, promised = maps.sum(1), method in CLAIMED
        return [
            scale_score(
                maps, self.table, sums, change, judged=promised or method is None, compared=method is None and self.reference_known
            ),
            level_score(maps, self.table, self._changes if method is None else {}, judged=method is None),
            squared_error(maps, self.table, self._path, judged=promised or (method is None and sums_fit(sums, change))),
        ]

    def _again(self, chosen: Tensor) -> Removals:
        """The table of some samples (n,) with other sets."""
        few, reference = self._some(chosen.to(self.subject.device), self.reference)
        return measured(few, reference, self.tested, torch.Generator().manual_seed(self.seed + 2), pairs=ORDERS)

    @cached_property
    def _path(self) -> Tensor | None:
        """(N, P) integrated gradients: what a map of derivatives reaches; None without gradients."""
        if self.subject.differentiable is not None:
            return None
        maps = path_maps(self.subject, self.reference, self.tested, steps=_PATH_STEPS)
        return maps if bool(torch.isfinite(maps).all()) else None

    def _references(self, maps: Tensor) -> tuple[FaithfulnessScore, ...]:
        return reference_scores(maps, self.table, self.subject, self.reference, self.tested, self.data, self._draws())

    def _resolution(self, attributions: tuple[Tensor, ...]) -> FaithfulnessScore:
        """Inside the tested features, down to the smallest ones between which the map tells."""
        smaller = list[tuple[Players, Text]]()
        inside = text("inside the tested features")
        if constant_within(attributions, self.tested):
            return _not_tested("resolution", text("not applicable: it gives all of a tested feature the same"))
        if _nested(self.tested, self.players) and constant_within(attributions, self.players):
            smaller = [(self.players, inside)]
        else:
            smaller = [(self._places, inside)]
            if not constant_within(attributions, self._places):
                smaller.append((Players.of(self.subject, "entries"), text("between the channels of one place")))
        found, large = list[Level](), self.tested
        for small, where in smaller:
            if small.count > large.count and _nested(large, small):
                if (large.count, small.count) not in self._levels:
                    self._levels[large.count, small.count] = measured_level(
                        self.subject, self.reference, large, small, where, self._draws()
                    )
                found.append(self._levels[large.count, small.count])
                large = small
        return resolution_score(attributions, found)

    @cached_property
    def _places(self) -> Players:
        """One feature a pixel or a time step, all channels together, a column, a token."""
        return Players.of(self.subject, 1)

    @cached_property
    def _change(self) -> tuple[Tensor, Tensor]:
        """(N,) the change of the output from the reference to the sample, and the output."""
        value = self.subject.value.double()
        return (value - self._absent(self.reference)).cpu(), value.cpu()

    @cached_property
    def _changes(self) -> dict[str, Tensor]:
        """(N,) by reference: the change of the output; of the one that is known, or of those that may have been meant."""
        found = {"own": self._change[0]}
        if not self.reference_known:
            value = self.subject.value.double()
            for name, other in likely_references(self.subject, self.data, self._draws()).items():
                found[name] = (value - self._absent(other)).cpu()
        return found

    def _absent(self, reference: Reference) -> Tensor:
        """(N,) the chosen output at the reference, the mean over references."""
        subject = self.subject
        if reference.own:
            return subject.values(reference.values).double()
        outputs = subject.outputs(reference.values).double().mean(0)
        return outputs[torch.zeros(subject.samples, dtype=torch.long) if subject.target is None else subject.target]

    def _complete(self, maps: Tensor, method: str | None) -> FaithfulnessScore:
        change, value = self._change
        usual = (self.table.full[:, :1] - self.table.outputs[..., 0]).abs().mean(1)  # what taking features away changes
        return completeness_score(maps.sum(1), change, torch.maximum(usual, 1e-3 * value.abs()), claimed=method in CLAIMED)

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


def _tested(subject: Subject, players: Players) -> Players:
    """The features that are tested: the explanation's own, or larger ones where these are too many."""
    if players.count > FEATURES:
        players = Players.of(subject, "auto")
    if players.count <= FEATURES:
        return players
    group = torch.arange(players.count) * FEATURES // players.count
    return Players(FEATURES, tuple(group.to(index.device)[index] for index in players.index), text("neighbouring features together"))


def _nested(large: Players, small: Players) -> bool:
    """Whether each small feature lies in one large one."""
    owners = torch.full((small.count,), -1)
    for whose, part in zip(large.index, small.index, strict=True):
        owners[part.reshape(-1).cpu()] = whose.reshape(-1).cpu()
    return all(torch.equal(owners[part.cpu()], whose.cpu()) for whose, part in zip(large.index, small.index, strict=True))


def _same_rows(one: Tensor, other: Tensor) -> Tensor:
    """(R, N) which rows are the same: an input is no other input than itself."""
    return (one.flatten(1)[:, None] == other.flatten(1)[None]).all(2)


def _not_tested(name: str, why: Text) -> FaithfulnessScore:
    return FaithfulnessScore(name=name, value=None, expected=text("nothing: it was not tested"), note=why)


def _silent(done: int, total: int) -> None:
    """No progress for the short runs."""
