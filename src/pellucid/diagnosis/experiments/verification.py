"""The proof of a remedy: the same training without it and with it, from the same seeds, measured the same way."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pellucid.core.errors import OptionError, OptionTypeError, PellucidError
from pellucid.core.language import Text, text
from pellucid.core.numerics import mean_interval
from pellucid.core.options import Option
from pellucid.core.records import Change, Verification
from pellucid.diagnosis.experiments.experiment import Experiment, Trial
from pellucid.diagnosis.experiments.loop import MOMENTS, SCORING_SHARE
from pellucid.diagnosis.experiments.samples import first_tensor
from pellucid.diagnosis.experiments.scoring import constant_score, scoring_of
from pellucid.diagnosis.remedies import apply

LEAST_SEEDS = 3
MOST_SEEDS = 8  # beyond those asked for: what eight pairs do not show is no difference worth a change
FIRST_SEED = 10  # findings come from trainings with seeds 0, 1, 2: a proof needs others, or chance is proved by itself
FEWEST_STEPS = 30  # of a training that the budget shortens
NOT_WORTH = 0.01  # of an accuracy, or of the variance explained
MEASURED = 0.1  # of the budget, for each side, to see how long updates take
SLACK = 0.1  # of the rest, that nothing is planned for
LEVEL = 0.95
# More seeds than those asked for before a further look -> the share of the chance of error, 1 - LEVEL, that the look may use up, after
# Bonferroni: most proofs are decided by the seeds asked for, and each look more would cost those that are not.
# Source: C. Jennison and B. Turnbull, Group sequential methods with applications to clinical trials, 2000, chapter 1.
LOOKS = {0: 0.5, 2: 0.2, MOST_SEEDS - LEAST_SEEDS: 0.3}
BUDGET = Option("budget", "duration", None, text("the time that it may take, for example 60s"), "run", above=0.0)


class Prover:
    """Proves changes of one experiment; the unchanged training runs once for all of them."""

    def __init__(self, experiment: Experiment, tell: Callable[[Text], None] | None = None) -> None:
        self.experiment = experiment
        self.tell: Callable[[Text], None] = tell or (lambda said: None)
        self._known: dict[tuple[Any, ...], Trial] = {}

    def verify(self, change: Change, seeds: int | Sequence[int] = LEAST_SEEDS, budget: float | str | None = None) -> Verification:
        """Both sides from each seed, further seeds while it is open which is better; see `Finding.verify`."""
        began = time.perf_counter()
        seconds = BUDGET.check(budget)
        several = _seeds(seeds)
        after = apply(self.experiment, change)
        before, after = _measured_alike(self.experiment, after, change)
        steps, first = self._length(before, after, several, seconds, began)
        pairs: dict[int, tuple[Trial, Trial]] = {}
        waiting = [*several, *(seed for seed in range(FIRST_SEED, FIRST_SEED + 2 * MOST_SEEDS) if seed not in several)]
        looks = {len(several) + more: share for more, share in LOOKS.items()}
        found = None
        for seed in waiting:
            if found is not None and (
                found.verdict != "no difference"
                or len(pairs) >= max(looks)
                or _the_same(pairs)
                or _settled(found)
                or (seconds is not None and time.perf_counter() - began + _until_next_look(pairs, looks) > seconds)
            ):
                break
            self.tell(text("seed {seed}: without the change, then with it", seed=seed))
            known = first if seed == several[0] else (None, None)
            pairs[seed] = known[0] or self._trial(before, seed, steps[0]), known[1] or after.run(seed, steps=steps[1])
            if isinstance(pairs[seed][1].error, PellucidError):
                raise pairs[seed][1].error  # type: ignore[misc]
            if len(pairs) in looks:
                found = self._result(change, before, after, pairs, 1 - (1 - LEVEL) * looks[len(pairs)])
        assert found is not None
        return replace(found, steps=steps[0], complete=steps[0] == before.steps, seconds=time.perf_counter() - began)

    def _trial(self, experiment: Experiment, seed: int, steps: int) -> Trial:
        """A training of the unchanged experiment, kept for the next proof that is measured in the same way."""
        key = (seed, steps, experiment.scoring, id(experiment.test))
        if key not in self._known:
            self._known[key] = experiment.run(seed, steps=steps)
        return self._known[key]

    def _length(
        self, before: Experiment, after: Experiment, seeds: Sequence[int], seconds: float | None, began: float
    ) -> tuple[tuple[int, int], tuple[Trial | None, Trial | None]]:
        """Updates of both sides: the whole trainings, or as many as the budget leaves for every seed; and the first pair as far as it ran.

        Both sides are measured for a part of the time: a change may make updates slower.

        Raises:
            OptionError: not even FEWEST_STEPS updates of each fit.
        """
        whole = before.steps, after.steps
        if seconds is None:
            return whole, (None, None)
        known = next((trial for (seed, steps, *_), trial in self._known.items() if steps == whole[0] and seed == seeds[0]), None)
        share = MEASURED * seconds
        measured = known or before.run(seeds[0], seconds=share), after.run(seeds[0], seconds=share)
        left = (1 - SLACK) * (seconds - (time.perf_counter() - began)) / len(seeds)  # for a pair
        sound = [(trial, steps) for trial, steps in zip(measured, whole, strict=True) if trial.error is None and trial.finite]
        each = sum(trial.updating / max(trial.steps, 1) * steps for trial, steps in sound)  # for whole trainings
        beside = sum(trial.seconds - trial.updating for trial, _ in sound)  # making the model, and scoring it some times
        often = sum((trial.seconds - trial.updating) * MOMENTS / max(len(trial.moments), 1) for trial, _ in sound)
        each += min(often, each * SCORING_SHARE / (1 - SCORING_SHARE))
        part = min(1.0, (left - beside) / max(each, 1e-9))
        if part == 1.0:
            mine, its = (trial if trial.complete or not trial.finite or trial.error else None for trial in measured)
            return whole, (None if known is not None else mine, its)
        steps = max(1, int(part * whole[0])), max(1, int(part * whole[1]))  # as many samples on both sides, whatever the batches are
        if part * whole[0] < min(FEWEST_STEPS, whole[0]):
            needed = (beside + each * min(FEWEST_STEPS, whole[0]) / whole[0]) * len(seeds) / (1 - SLACK) / (1 - 2 * MEASURED)
            raise OptionError(
                text(
                    "the budget of {seconds:g} s leaves {steps} updates for each training",
                    seconds=seconds, steps=max(0, int(part * whole[0])),
                ),
                text("at least {steps} updates, from {seeds} seeds, with and without the change", steps=FEWEST_STEPS, seeds=len(seeds)),
                text("give about {seconds:.0f} s, or no budget", seconds=math.ceil(1.5 * needed)),
            )  # fmt: skip
        return steps, (None, None)

    def _result(
        self, change: Change, before: Experiment, after: Experiment, pairs: dict[int, tuple[Trial, Trial]], level: float
    ) -> Verification:
        scoring = scoring_of(before)
        constant = constant_score(before, scoring)
        untrained = [trial.moments[0] for pair in pairs.values() for trial in pair if trial.moments]
        starts = [moment.train_score if moment.test_score is None else moment.test_score for moment in untrained]
        known = [score for score in starts if score is not None and math.isfinite(score)]
        worst = constant if constant is not None else min(known, default=None)

        def value(trial: Trial) -> float:
            """A score for the difference: a training that broke down, or values worse than their mean, are no better than no training."""
            score = trial.score
            if score is None or not math.isfinite(score):
                return 0.0 if worst is None else worst
            return max(score, 0.0) if scoring.metric == "r2" else score

        differences = [value(after_) - value(before_) for before_, after_ in pairs.values()]
        difference = float(np.mean(differences))
        least = 1 / max(1, _samples(before)) if scoring.metric == "accuracy" else 0.0  # an accuracy moves by whole samples
        interval = replace(mean_interval(_rounded(differences, least), level), level=LEVEL)
        better = interval.low > 0 and difference > least
        return Verification(
            change=change,
            metric=scoring.name,
            seeds=tuple(pairs),
            before=tuple(_raw(trial) for trial, _ in pairs.values()),
            after=tuple(_raw(trial) for _, trial in pairs.values()),
            difference=difference,
            interval=interval,
            verdict="helps" if better else "worse" if interval.high < 0 and -difference > least else "no difference",
        )


def _until_next_look(pairs: dict[int, tuple[Trial, Trial]], looks: Mapping[int, float]) -> float:
    """Seconds that the trainings take after which the question is asked again."""
    longest = max((before.seconds + after.seconds for before, after in pairs.values()), default=0.0)
    return longest * (min((count for count in looks if count > len(pairs)), default=len(pairs)) - len(pairs))


def _seeds(seeds: int | Sequence[int]) -> list[int]:
    if isinstance(seeds, bool) or not isinstance(seeds, (int, Sequence)) or isinstance(seeds, str):
        raise OptionTypeError(
            text("seeds is {value!r}", value=seeds), text("a whole number of at least 3, or the seeds themselves"), text("give seeds=3")
        )
    several = list(range(FIRST_SEED, FIRST_SEED + seeds)) if isinstance(seeds, int) else list(dict.fromkeys(int(seed) for seed in seeds))
    if len(several) < LEAST_SEEDS:
        raise OptionError(
            text("a proof from {count} seeds", count=len(several)),
            text("at least {count}: with fewer, what the change does cannot be told from what the seed does", count=LEAST_SEEDS),
            text("give seeds=3"),
        )
    return several


def _measured_alike(before: Experiment, after: Experiment, change: Change) -> tuple[Experiment, Experiment]:
    """Both sides with one metric on one test part; each on its own where that is what the change mends."""
    mine, its = scoring_of(before), scoring_of(after)
    mended = change.kind == "shift_targets" and change.values.get("part") == "test"
    if after.test is not before.test and not mended:  # samples were left out of it, or of a training part that both sides are scored on
        before = before.changed(test=after.test)
    if mine.metric != its.metric:
        common = its if its.metric == "accuracy" else mine
        return before.changed(scoring=replace(common, restore=mine.restore)), after.changed(scoring=replace(common, restore=its.restore))
    balanced = mine.balanced or its.balanced
    return before.changed(scoring=replace(mine, balanced=balanced)), after.changed(scoring=replace(its, balanced=balanced))


def _samples(experiment: Experiment) -> int:
    from pellucid.diagnosis.experiments.loop import SCORED

    return len(first_tensor(experiment.samples("train" if experiment.test is None else "test", SCORED)[1]))


def _raw(trial: Trial) -> float:
    score = trial.score
    return -math.inf if score is None or not math.isfinite(score) else score


def _rounded(differences: Sequence[float], least: float) -> Any:
    """The differences, spread at least as two scores are by rounding to whole samples: three that are equal are not known exactly."""
    values, spread = np.asarray(differences, dtype=np.float64), least / math.sqrt(6)
    if not values.any() or values.std(ddof=1) >= spread:
        return values
    steps = np.arange(len(values), dtype=np.float64)
    return values.mean() + spread * (steps - steps.mean()) / steps.std(ddof=1)


def _settled(found: Verification) -> bool:
    """Whether further seeds could show a difference only that nobody would change anything for."""
    return found.metric != "loss" and found.interval.low > -NOT_WORTH and found.interval.high < NOT_WORTH


def _the_same(pairs: dict[int, tuple[Trial, Trial]]) -> bool:
    """No training differs from its twin: further seeds will not either."""
    return all(before.score == after.score and before.losses == after.losses for before, after in pairs.values())
