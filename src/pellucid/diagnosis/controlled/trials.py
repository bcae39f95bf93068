"""Controlled experiments: what a good engineer tries by hand, as short trainings that differ in one thing and start from the same seeds.

Each arm is the user's training with one change. An arm runs from the first seed; where it seems to help, it and the unchanged training run
again from further seeds, so that nothing is believed that seeds explain.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median

import torch
from torch import nn
from torch.utils.data import DataLoader

from pellucid.core.errors import PellucidError
from pellucid.core.language import Text, text
from pellucid.core.numerics import mean_interval
from pellucid.core.records import Change, Finding, Interval
from pellucid.diagnosis.causes import titled
from pellucid.diagnosis.controlled import batch_checks
from pellucid.diagnosis.controlled.batch_checks import BatchChecks
from pellucid.diagnosis.controlled.one_pass import compared_by, narrowest
from pellucid.diagnosis.controlled.reference_network import inputs_exchanged, reference_experiment
from pellucid.diagnosis.controlled.suspects import learning_rate, usual_suspects
from pellucid.diagnosis.data.contents import targets_ignored
from pellucid.diagnosis.experiments.experiment import Experiment
from pellucid.diagnosis.experiments.loop import Trial
from pellucid.diagnosis.experiments.samples import first_tensor
from pellucid.diagnosis.experiments.scoring import Scoring, constant_score, scoring_of
from pellucid.diagnosis.remedies import apply

SEEDS = (0, 1, 2)
LEAST_STEPS = 30  # of an arm: fewer say nothing about learning
LATE = 0.2  # of an arm's steps whose mean is its loss
ARMS = {  # what a person reads of an arm; learning rates and remedies of findings are said in `arm_words`
    "": text("the unchanged training"),
    "standardised inputs": text("standardised inputs"),
    "standardised targets": text("standardised targets"),
    "Adam": text("the optimizer Adam"),
    "batch size": text("batches of another size"),
    "no weight decay": text("no weight decay"),
    "no dropout": text("no dropout"),
    "longer": text("a longer training"),
    "independent": text("inputs exchanged among the samples"),
    "network": text("a plain network"),
    "network independent": text("a plain network on exchanged inputs"),
}
LONGER, MUCH_LONGER = 3, 10  # times the epochs; the second where there are fewer than FEW updates
FEW = 100
# Of the way to a perfect score, and of what can be learnt, that a training loses: worth a word; not to be left so. Of 38 advices without
# LOST, 31 were about sound programs, for gains of at most 0.06 of accuracy or R2: nobody would act on them.
WORTH, HEAVY = 0.1, 0.3
LOST, MUCH = 0.1, 0.15
FAR = 0.5  # of the way to a perfect score
RESTING = 0.1  # of the whole fall of the loss
PLAIN = 0.12  # of the time that a training of the plain network may take
FURTHER_SEEDS = 0.35  # of the time is kept for them: what one seed shows proves nothing


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One side of a comparison: the same change from one or more seeds."""

    change: Change | None
    scores: Mapping[int, float]  # seed -> score of the test part (else the training part); what a constant answer gets where it broke down
    train_scores: Mapping[int, float]
    losses: Mapping[int, float]  # mean loss of the last updates; infinite where it broke down

    @property
    def score(self) -> float:
        return fmean(self.scores.values())

    @property
    def train_score(self) -> float:
        return fmean(self.train_scores.values())

    @property
    def loss(self) -> float:
        return fmean(self.losses.values())


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What a change did to the score, over the seeds that both sides ran from."""

    difference: float
    interval: Interval  # 95 %, unbounded from one seed
    closed: float  # share of the way from the unchanged score to a perfect one (for a loss: to 0)
    proved: bool  # from several seeds, by more than they explain
    material: bool  # proved, and a good part of what can be learnt: worth acting on
    heavy: bool  # the unchanged training loses so much that we would not leave it so


@dataclass(frozen=True, kw_only=True, eq=False)
class Trials:
    """What the controlled experiments gave. Scores: higher is better; `constant` is what the best constant answer gets."""

    metric: str
    steps: int  # of each arm
    whole: bool  # an arm was the whole training
    constant: float | None
    reference: Arm  # the unchanged training
    arms: Mapping[str, Arm]
    longer: Arm | None = None  # trained several times as long
    independent: Arm | None = None  # inputs exchanged among the samples: what can be had without them
    network: Arm | None = None  # a plain network of ours in the place of the user's
    network_independent: Arm | None = None
    batch: BatchChecks = field(default_factory=BatchChecks)
    noise: float = 0.0  # standard deviation of a score between seeds
    classes: int = 0  # with an output each; 0 where the targets are something else, or one output tells two classes apart
    samples: int = 0  # that a score is measured on
    optimizer: str = ""  # class name
    rate: float | None = None  # its learning rate
    batch_size: int | None = None
    first_loss: float = math.nan  # of the unchanged training, on its first batch
    narrowest: tuple[str, int] = ("", 0)  # the layer with the fewest units before the last one, and how many
    linear: bool = False  # one matrix is all that the network has
    rested: bool = False  # the loss of the unchanged training no longer fell at its end
    suspected: Mapping[str, str | None] = field(default_factory=dict[str, str | None])  # what was found before the trials, and where
    compares: frozenset[str] = frozenset()  # losses that meet predictions with targets, by PyTorch's names
    seconds: float = 0.0
    left_out: tuple[Text, ...] = ()

    @classmethod
    def of(
        cls,
        experiment: Experiment,
        seconds: float,
        found: Sequence[Finding] = (),
        *,
        tell: Callable[[Text], None] | None = None,
    ) -> Trials | None:
        """Try within `seconds` what the findings so far and the state of the training suggest; None where not even two arms fit."""
        return _Plan(experiment, seconds, found, tell).carried_out()

    def effect(self, arm: Arm) -> Effect:
        """What an arm did beside the unchanged training."""
        unchanged = self.reference.scores
        seeds = [seed for seed in arm.scores if seed in unchanged]
        differences = [arm.scores[seed] - unchanged[seed] for seed in seeds]
        difference = fmean(differences)
        base = fmean(unchanged[seed] for seed in seeds)
        room = -base if self.metric == "loss" else 1 - base
        interval = mean_interval(torch.tensor(differences, dtype=torch.float64).numpy())
        chance = max(2 * self.noise * math.sqrt(2 / len(seeds)), self._sampling(base, base + difference))
        closed = difference / room if room > 0 else 0.0
        proved = len(seeds) > 1 and min(differences) > 0 and difference >= chance and difference > 1 / max(self.samples, 1)
        # of a loss that nothing else is known of, what can be learnt is its fall from the first batch on
        nothing = self.constant if self.constant is not None else -self.first_loss
        learnable = base + difference - nothing if math.isfinite(nothing) else 0.0
        material = proved and closed >= WORTH and difference >= LOST * learnable
        heavy = material and closed >= HEAVY and difference >= MUCH * learnable
        return Effect(difference=difference, interval=interval, closed=closed, proved=proved, material=material, heavy=heavy)

    def _sampling(self, before: float, after: float) -> float:
        """Two standard errors of the difference of two accuracies: all seeds are scored on the same samples, which may be few."""
        if self.metric != "accuracy":
            return 0.0
        return 2 * math.sqrt(sum(max(one * (1 - one), 0.0) for one in (before, after)) / max(self.samples, 1))

    def effect_of(self, change: Change | None) -> Effect | None:
        """What a finding's remedy did, where it was tried from several seeds."""
        for arm in self.arms.values():
            if change is not None and arm.change == change and len(arm.scores) > 1:
                return self.effect(arm)
        return None

    @property
    def standard_error(self) -> float:
        """Of a score near the constant answer's, from the number of samples it is measured on."""
        share = self.constant if self.metric == "accuracy" and self.constant is not None else 0.5
        return math.sqrt(max(share * (1 - share), 1e-4) / max(self.samples, 1))

    @property
    def best(self) -> Arm:
        """The training of the user's network that did best, whatever was changed of it."""
        return max((self.reference, *self.arms.values(), *([self.longer] if self.longer else [])), key=lambda arm: arm.score)

    @property
    def outdone(self) -> bool:
        """Whether a plain network gets far further than the user's, on the training part too, whatever was tried."""
        mine, others = self.best, self.network
        if others is None or self.constant is None:
            return False
        room, train_room = 1 - mine.score, 1 - mine.train_score
        better, better_train = others.score - mine.score, others.train_score - mine.train_score
        chance = max(2 * self.noise * math.sqrt(2), self._sampling(mine.score, others.score))  # of one seed beside another, as of an effect
        least = max(chance, FAR * room, MUCH * (others.score - self.constant))  # as what is called heavy
        return room > 0 and train_room > 0 and better >= least and better_train >= FAR * train_room

    @property
    def learnt(self) -> float | None:
        """How far the unchanged training came from a constant answer's score to a perfect one."""
        if self.constant is None or self.constant >= 1:
            return None
        return (self.reference.score - self.constant) / (1 - self.constant)


class _Plan:
    """Which arms to run, in which order, for how long."""

    def __init__(self, experiment: Experiment, seconds: float, found: Sequence[Finding], tell: Callable[[Text], None] | None) -> None:
        self.experiment, self.found = experiment, found
        self.began, self.limit = time.perf_counter(), seconds
        self.tell: Callable[[Text], None] = tell or (lambda said: None)
        self.scoring: Scoring = scoring_of(experiment)
        self.constant = constant_score(experiment, self.scoring)
        self.runs: dict[str, dict[int, Trial]] = {}
        self.changes: dict[str, Change | None] = {"": None}
        self.experiments: dict[str, Experiment] = {"": experiment}
        self.left_out: list[Text] = []
        self.late: dict[str, None] = {}  # arms for which no time was left, in order
        self.steps = experiment.steps
        self.cost = 0.0  # seconds of the unchanged training's arm

    @property
    def times(self) -> int:
        """How many times as long the longer arm is."""
        return LONGER if self.steps >= FEW else MUCH_LONGER

    def left(self) -> float:
        return self.limit - (time.perf_counter() - self.began)

    def carried_out(self) -> Trials | None:
        self.tell(text("measuring the length of a trial"))
        first = self.experiment.run(SEEDS[0], seconds=self.limit / 6)
        if first.error is not None or (first.finite and first.steps < min(LEAST_STEPS, self.experiment.steps)):
            return None
        self.cost = first.seconds
        if not first.finite:  # it broke down early: what mends it will take longer
            each = first.seconds / max(first.steps, 1)
            self.steps = min(self.steps, max(LEAST_STEPS, int(self.limit / 12 / max(each, 1e-6))))
            self.cost = each * self.steps
        elif not first.complete:
            self.steps = first.steps
        # twelve arms shall fit; a training that is cut short is compared with trainings cut at the same step
        affordable = int(self.steps * min(1.0, self.limit / 12 / max(first.seconds, 1e-3)))
        if first.finite and affordable < self.steps and affordable >= LEAST_STEPS:
            self.steps = affordable
            first = self.experiment.run(SEEDS[0], steps=self.steps)
            self.cost = first.seconds
        self.runs[""] = {SEEDS[0]: first}
        self.tell(text("one batch by heart, its gradient, and whether its samples depend on each other"))
        batch = batch_checks.checked(self.experiment, self.limit / 8)
        with self.experiment.seeded(SEEDS[0]):
            model, self.optimizer = self.experiment.build(SEEDS[0])
        self.narrowest = narrowest(self.experiment, model)
        self.compares = compared_by(self.experiment, model)
        self.linear = sum(parameter.dim() > 1 for parameter in model.parameters()) == 1
        self.network_arms()
        for name, change in self.suggested(model, batch):
            self.arm(name, change)
        self.further_rates()
        self.longer_arm()
        self.independent_arm()
        self.confirm()
        return self.answer(batch)

    # -- arms ----------------------------------------------------------------------------------------------------------------------------

    def suggested(self, model: nn.Module, batch: BatchChecks) -> Iterable[tuple[str, Change]]:
        """Remedies of what was found first, then the usual suspects."""
        tried: list[Change] = []
        causes: Counter[str] = Counter()
        for finding in self.found:
            if finding.change is not None and finding.level != "good" and finding.change not in tried:
                cause = finding.cause or finding.symptom
                causes[cause] += 1  # two findings of one cause may have two remedies
                tried.append(finding.change)
                yield f"remedy of {cause}" + (f" ({causes[cause]})" if causes[cause] > 1 else ""), finding.change
        for kind in ("differentiate", "attach") if batch.wrong_gradient else ():
            if Change(kind=kind) not in tried and _fits(self.experiment, Change(kind=kind)):
                yield f"remedy of wrong_gradient ({kind})", Change(kind=kind)
        rate = learning_rate(self.optimizer)
        if batch.quicker and rate:
            yield f"learning rate x {batch.quicker:g}", Change(kind="learning_rate", values={"rate": rate * batch.quicker})
        yield from usual_suspects(self.experiment, model, self.optimizer)

    def arm(
        self, name: str, change: Change | None, experiment: Experiment | None = None, seed: int = SEEDS[0], steps: int | None = None
    ) -> bool:
        """Run one arm from one seed, where time is left and the change can be made."""
        if seed in self.runs.get(name, {}):
            return True
        kept = FURTHER_SEEDS * self.limit if seed == SEEDS[0] and name != "network" else 0.0  # beside which all others are judged
        ours = name.startswith("network")  # what the user's network costs says nothing about a plain one: it gets a share of the time
        if self.left() - kept < (PLAIN * self.limit if ours else 1.3 * self.cost * (steps or self.steps) / self.steps):
            self.late[name] = None
            return False
        if name not in self.experiments:
            try:
                self.experiments[name] = experiment or apply(self.experiment, change)  # type: ignore[arg-type]
            except PellucidError as error:
                if name.startswith("remedy of"):  # a usual suspect that does not fit here is none
                    self.left_out.append(text("{name}: {error}", name=arm_words(name), error=str(error).splitlines()[0]))
                return False
            self.changes[name] = change
        self.tell(text("trying {name}", name=arm_words(name)))
        share = PLAIN * self.limit if ours else 4 * self.cost + 1
        trial = self.experiments[name].run(seed, steps=steps or self._steps(name), seconds=min(share, max(self.left(), 0.0)))
        if trial.error is not None:
            self.left_out.append(
                text("{name}: {error}", name=arm_words(name), error=f"{type(trial.error).__name__}: {trial.error}".splitlines()[0])
            )
            return False
        self.runs.setdefault(name, {})[seed] = trial
        return True

    def _steps(self, name: str) -> int:
        """The same number of samples is seen, so that smaller batches make more steps."""
        mine, others = self.experiment.steps / self.experiment.epochs, self.experiments[name].steps / self.experiments[name].epochs
        return max(1, round(self.steps * others / mine))

    def further_rates(self) -> None:
        """Where the outermost rate is the best of all, the next ones."""
        rate = learning_rate(self.optimizer)
        for direction in (10.0, 0.1) if rate else ():
            for power in range(3, 6):
                known = {n: f"learning rate x {direction**n:g}" for n in range(power)}
                scores = {n: self.value(name, SEEDS[0]) for n, name in known.items() if name in self.runs}
                if (
                    len(scores) < power - 1
                    or max(scores, key=lambda n: scores[n]) != power - 1
                    or scores[power - 1] <= self.value("", SEEDS[0])
                ):
                    break
                self.arm(
                    f"learning rate x {direction**power:g}", Change(kind="learning_rate", values={"rate": (rate or 0.0) * direction**power})
                )

    def longer_arm(self) -> None:
        """Several times the epochs, where the whole training is short enough to be tried."""
        if self.steps == self.experiment.steps and self.runs[""][SEEDS[0]].finite and self.left() > 2 * self.times * self.cost:
            self.arm("longer", Change(kind="epochs", values={"epochs": self.times * self.experiment.epochs}), steps=self.times * self.steps)

    def independent_arm(self) -> None:
        """Inputs and targets that do not belong together: what the network gets without looking at its inputs."""
        shuffled = inputs_exchanged(self.experiment, self.steps)
        if shuffled is not None:
            self.arm("independent", None, shuffled, steps=self.steps)

    def network_arms(self) -> None:
        reference = reference_experiment(self.experiment, self.scoring)
        if reference is None or targets_ignored(self.experiment):  # as a generator's step does: a network of ours would learn another task
            return
        if not self.arm("network", None, reference, steps=reference.steps):
            return
        if self.constant is None or self.value("network", SEEDS[0]) < self.constant + FAR * (1 - self.constant):  # else inputs told it
            shuffled = inputs_exchanged(reference, reference.steps)
            if shuffled is not None:
                self.arm("network independent", None, shuffled, steps=reference.steps)

    def confirm(self) -> None:
        """Arms that seem to help run from further seeds, the best first, and the unchanged training with them."""
        base = self.value("", SEEDS[0])
        seeming = [
            name
            for name in self.runs
            if name not in ("", "independent", "network", "network independent") and self.value(name, SEEDS[0]) > base
        ]
        seeming.sort(key=lambda name: -self.value(name, SEEDS[0]))
        known = [name for name in seeming if name.startswith("remedy of")]
        for seed in SEEDS[1:]:
            for name in ("", *known, *(name for name in seeming[:4] if name not in known)):
                steps = self.times * self.steps if name == "longer" else None
                if not self.arm(name, self.changes.get(name), seed=seed, steps=steps):
                    break

    # -- the answer ----------------------------------------------------------------------------------------------------------------------

    def value(self, name: str, seed: int) -> float:
        """A trial's score; what a constant answer gets, at most, where it broke down."""
        trial = self.runs[name][seed]
        score = trial.score
        if score is None or not math.isfinite(score):
            return (
                self.constant
                if self.constant is not None
                else -max(abs(loss) for loss in (*self.runs[""][SEEDS[0]].losses, 1.0) if math.isfinite(loss))
            )
        return (
            score if self.constant is None or self.scoring.metric != "r2" else max(score, -1.0)
        )  # an R2 of -1000 is no more wrong than -1

    def collected(self, name: str) -> Arm | None:
        trials = self.runs.get(name)
        if not trials:
            return None
        return Arm(
            change=self.changes.get(name),
            scores={seed: self.value(name, seed) for seed in trials},
            train_scores={seed: _train_score(trial, self.constant) for seed, trial in trials.items()},
            losses={seed: late_loss(trial) for seed, trial in trials.items()},
        )

    def answer(self, batch: BatchChecks) -> Trials:
        special = ("", "longer", "independent", "network", "network independent")
        arms = {name: arm for name in self.runs if name not in special and (arm := self.collected(name)) is not None}
        reference = self.collected("")
        assert reference is not None
        longer = self.collected("longer")
        every = [*arms.values(), reference, *([longer] if longer else [])]
        scattered = [_variance(list(arm.scores.values())) for arm in every if len(arm.scores) > 1]
        _, targets = self.experiment.samples("train" if self.experiment.test is None else "test", 2000)
        samples = len(first_tensor(targets))
        late = [arm_words(name) for name in self.late if name not in self.runs]
        return Trials(
            metric=self.scoring.metric,
            steps=self.steps,
            whole=self.steps == self.experiment.steps,
            constant=self.constant,
            reference=reference,
            arms=arms,
            longer=longer,
            independent=self.collected("independent"),
            network=self.collected("network"),
            network_independent=self.collected("network independent"),
            batch=batch,
            # the median is not moved by one arm that sometimes breaks down; a score of n samples cannot be known better than to 1 / n
            noise=max(math.sqrt(median(scattered)) if scattered else 0.0, 1 / samples if self.scoring.metric == "accuracy" else 0.0),
            classes=self.scoring.classes if self.scoring.values is None else 0,
            samples=samples,
            optimizer=type(self.optimizer).__name__,
            rate=learning_rate(self.optimizer),
            first_loss=self.runs[""][SEEDS[0]].losses[0],
            narrowest=self.narrowest,
            linear=self.linear,
            rested=rested(self.runs[""][SEEDS[0]]),
            suspected={finding.cause or finding.symptom: finding.where for finding in self.found},
            compares=self.compares,
            batch_size=None if isinstance(self.experiment.train, DataLoader) else self.experiment.batch_size,
            seconds=time.perf_counter() - self.began,
            left_out=(
                *([_untried(late)] if late else []),
                *self.left_out,
                *batch.notes,
            ),
        )


def _fits(experiment: Experiment, change: Change) -> bool:
    try:
        apply(experiment, change)
    except PellucidError:
        return False
    return True


def arm_words(name: str) -> Text:
    """An arm as a person reads it."""
    if name.startswith("learning rate x "):
        return text("the learning rate times {factor}", factor=name.removeprefix("learning rate x "))
    if name.startswith("remedy of "):
        return text("the remedy of {cause}", cause=titled(name.removeprefix("remedy of ").partition(" (")[0]))
    return ARMS[name]


def _untried(arms: list[Text]) -> Text:
    """How many trials no time was left for; which, stands beside the sentence in its values, for a file and for pages."""
    values = {"count": len(arms), "names": arms}
    return text("no time was left for {count} of the trials; a larger budget makes more of them", **values)


def _train_score(trial: Trial, constant: float | None) -> float:
    score = trial.moments[-1].train_score if trial.moments and trial.finite else None
    return score if score is not None and math.isfinite(score) else (constant if constant is not None else -math.inf)


def late_loss(trial: Trial) -> float:
    """The mean loss of the last updates; infinite where the training broke down."""
    if not trial.finite or not trial.losses:
        return math.inf
    return fmean(trial.losses[-max(1, int(LATE * len(trial.losses))) :])


def rested(trial: Trial) -> bool:
    """Whether the last fifth of the updates no longer lowered the loss, by a part of the whole fall or by more than its scatter."""
    size = int(LATE * len(trial.losses))
    if not trial.finite or size < LEAST_STEPS // 2:
        return False
    late, before = trial.losses[-size:], trial.losses[-2 * size : -size]
    fall, whole = fmean(before) - fmean(late), fmean(trial.losses[: max(1, size // 4)]) - fmean(late)
    return fall <= max(RESTING * whole, 2 * math.sqrt((_variance(late) + _variance(before)) / size))


def _variance(values: Sequence[float]) -> float:
    mean = fmean(values)
    return sum((value - mean) ** 2 for value in values) / (len(values) - 1)
