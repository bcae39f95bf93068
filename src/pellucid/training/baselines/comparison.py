"""Fit the classical models on the network's training part, within a limit of time, and compare them with the network, sample by sample.

The cheapest come first. Where fitting all samples would take longer than is left, the time is measured on a few and extrapolated; the model
is then fitted on as many as fit, which is said, or left out with the reason.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.core.language import Text, text
from pellucid.core.records import Score, Task
from pellucid.core.results import Baseline, Baselines, Difference
from pellucid.core.wording import baseline_name, count, duration
from pellucid.core.wording import samples as samples_word
from pellucid.diagnosis.dynamic.curves import metric_word, shown
from pellucid.training.baselines.features import Features, Views, features_of, standardised, views_of
from pellucid.training.baselines.models import CANDIDATES, Candidate, Problem, described, load_models
from pellucid.training.metrics import constant_answer, full_scores, paired_difference, primary_metric

_TEST_SAMPLES = 100_000  # a larger part is measured on so many, drawn at random: the intervals are narrow then
_TEST_ENTRIES = 2**25  # samples times classes
_QUICK = 300_000  # samples times features that no model needs long for
_PROBE = 10_000  # samples times features of the first trial where that is not sure
_FEWEST = 100  # samples; fitted on fewer because of the time, a model says nothing
_SHARE = 0.5  # of the time that is left goes to one model at most; to the first of many less


@dataclass
class _Answer:
    """A fitted model's outputs on the test samples and what it cost."""

    outputs: Tensor  # (n, K) log-probabilities or decision values; (n, d) in the user's units
    fit_seconds: float
    predict_seconds: float
    samples: int
    notes: list[Text] = field(default_factory=list)


def compare(
    prepared: Any,
    *,
    part: str,
    outputs: Tensor,
    targets: Tensor,
    answer: Callable[[Tensor], Tensor],
    loss: Any,
    seconds: float,
    seed: int = 0,
    threads: int = 1,
    notes: Sequence[Text] = (),
    tell: Callable[[Text], None] = lambda phase: None,
) -> Baselines:
    """The classical models, learnt from `prepared.train` and measured on `part` beside the network.

    Args:
        outputs, targets: the network's on `part`, in its order; regression in the user's units.
        answer: the network's outputs, in the same form, for a batch of inputs: asked where a loader gives its samples in another order
            each time.
        loss: the network was trained with.
        seconds: how long all of them together may take.
        notes: what a reader must know of every comparison.
        tell: is told which model is at work.
    """
    load_models()  # a second or two, once in a program: not what the models take
    start = time.perf_counter()
    deadline = start + seconds
    task, source = prepared.task, getattr(prepared, part)
    features = features_of(prepared.train, prepared.preprocessing)
    usable = features if isinstance(features, Features) else Features({}, (), text("none"), False, 1)
    test, outputs, targets = _test(source, usable, prepared.preprocessing, task, outputs, targets, answer, seed)
    train = _train(prepared.train, usable, start + seconds / 3, seed)
    network = next(
        (score for score in full_scores(outputs, targets, task, loss=loss, seed=seed) if score.name == primary_metric(task)), None
    )
    fitting = _Fitting(prepared, train, test, seed, threads)

    def measured(name: str, model: str, answered: _Answer, certain: bool = False) -> Baseline:
        scores = full_scores(answered.outputs, targets, task, seed=seed)
        if certain:  # decision values, or the class of one neighbour, are no probabilities
            scores = [score for score in scores if score.name != "log_loss"]
        return Baseline(
            name=name,
            model=model,
            scores=tuple(scores),
            difference=difference_of(outputs, answered.outputs, targets, task, seed),
            fit_seconds=answered.fit_seconds,
            predict_seconds=answered.predict_seconds,
            train_samples=answered.samples,
            notes=tuple(answered.notes),
        )

    baselines = [measured("constant", "DummyClassifier()" if task.kind == "classification" else "DummyRegressor()", fitting.constant())]
    views = {"linear", "distances", "trees", *usable.views}  # the nearest neighbour is a model of series alone
    candidates = [candidate for candidate in CANDIDATES if candidate.view in views]
    for place, candidate in enumerate(candidates):
        tell(text("baseline: {model}", model=baseline_name(candidate.name, primary_metric(task))))
        share = min(_SHARE, 1.5 / (len(candidates) - place))
        answered = fitting.fit(candidate, deadline, share) if isinstance(features, Features) else features
        if isinstance(answered, Text):
            baselines.append(Baseline(name=candidate.name, model=fitting.name_of(candidate), skipped=answered))
        else:
            baselines.append(measured(candidate.name, fitting.name_of(candidate), answered, candidate.certain))
    best, conclusion, verdict = verdict_of(network, baselines, len(targets), task)
    return Baselines(
        primary=primary_metric(task),
        part=part,
        samples=len(targets),
        train_samples=len(prepared.train),
        network=network,
        baselines=tuple(baselines),
        representation=usable.description,
        best=best,
        conclusion=conclusion,
        verdict=verdict,
        notes=tuple(notes),
        seconds=time.perf_counter() - start,
    )


# -- the samples -------------------------------------------------------------------------------------------------------------------------


def _test(
    source: Any, features: Features, preprocessing: Any, task: Task, outputs: Tensor, targets: Tensor, answer: Callable[[Tensor], Tensor],
    seed: int,
) -> tuple[Views, Tensor, Tensor]:  # fmt: skip
    """The part's matrices, the network's outputs and the targets, in one order; of a very large part a sample."""
    if not getattr(source, "ordered", True):
        answers: list[Tensor] = []
        views = views_of(source, features, each=lambda batch: answers.append(answer(batch)))
        truth = preprocessing.restore_targets(views.targets) if task.kind == "regression" else views.targets
        return views, torch.cat(answers), truth
    most = int(min(_TEST_SAMPLES, features.most_samples, _TEST_ENTRIES // max(1, task.outputs)))
    if len(source) <= most:
        return views_of(source, features), outputs, targets
    rows = np.sort(np.random.default_rng(seed).permutation(len(source))[: max(1, most)])
    return views_of(source, features, rows=rows), outputs[rows], targets[rows]


def _train(source: Any, features: Features, until: float, seed: int) -> Views:
    """The training part in random order, so that its beginning is a sample of it; of slowly read data as much as the time allows."""
    if not getattr(source, "ordered", True):
        return views_of(source, features, until=until, most=features.most_samples)
    rows = np.random.default_rng(seed).permutation(len(source))[: features.most_samples]
    return views_of(source, features, rows=rows, until=until)


# -- fitting -----------------------------------------------------------------------------------------------------------------------------


class _Fitting:
    """Fits one model after another on the same samples."""

    def __init__(self, prepared: Any, train: Views, test: Views, seed: int, threads: int) -> None:
        self.task: Task = prepared.task
        self.preprocessing, self.train, self.test = prepared.preprocessing, train, test
        self.classification = self.task.kind == "classification"
        self.targets = train.targets.numpy() if self.classification else train.targets.double().reshape(len(train), -1).numpy()
        if not self.classification:
            self.mean = self.targets.mean(axis=0)
            spread = self.targets.std(axis=0)
            self.spread = np.where(spread > 0, spread, 1.0)
        self.problem = Problem(self.task, train.features.width, train.features.categorical, seed % 2**32, threads)
        self._standardised: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._sparse: dict[str, tuple[Any, Any]] = {}

    def name_of(self, candidate: Candidate) -> str:
        return described(candidate.build(self.problem))

    def constant(self) -> _Answer:
        outputs = constant_answer(torch.from_numpy(self.targets), self.task).expand(len(self.test), -1)
        if not self.classification:
            outputs = self.preprocessing.restore_targets(outputs.float())
        return _Answer(outputs, 0.0, 0.0, len(self.targets))

    def fit(self, candidate: Candidate, deadline: float, share: float) -> _Answer | Text:
        """On all samples where the time suffices, else on as many as it does; or why not."""
        samples = len(self.train)
        most = int(min(samples, candidate.most_samples(self.problem)))
        if most < min(samples, max(_FEWEST, 2 * self.task.outputs if self.classification else 0)):
            return text("{outputs} classes or targets would take too much memory or time", outputs=count(self.task.outputs))
        allowed = share * (deadline - time.perf_counter())
        if allowed <= 0:
            return text("the time was used up")
        try:
            return self._fit_in_time(candidate, most, allowed)
        except (ValueError, ArithmeticError, MemoryError, np.linalg.LinAlgError) as error:
            return text("it failed: {error}", error=str(error).strip().split("\n")[0] or type(error).__name__)

    def _fit_in_time(self, candidate: Candidate, most: int, allowed: float) -> _Answer | Text:
        """Trials on few samples, then on four times as many, measure how the time grows; the largest number that fits is the answer."""
        width = max(1, self.train.matrices[candidate.view].shape[1])
        # a tree for every class; a model of its own for every regression target
        several = candidate.name == "gradient_boosting" or (candidate.name == "svm" and not self.classification)
        work = self.task.outputs if several else 1
        samples = most if most * width * work <= _QUICK else min(most, max(_FEWEST, _PROBE // (width * work)))
        spent, growth, before = 0.0, candidate.growth, None
        while True:
            answered = self._fitted(candidate, samples)
            took = answered.fit_seconds + answered.predict_seconds
            spent += took
            if samples >= most:
                return answered
            if before is not None and took > 0.05:  # long enough for a ratio to say something
                growth = min(max(math.log(took / before[1]) / math.log(samples / before[0]), candidate.growth), 3.0)
            before_last, before = before, (samples, max(took, 1e-3))

            def predicted(n: float, took: float = took, samples: int = samples, growth: float = growth) -> float:
                return took * (n / samples) ** growth

            left = allowed - spent
            known = before_last is not None or most <= 4 * samples  # how the time grows, or that it hardly can
            if known and predicted(most) <= left / (1.0 if took > 0.3 else 2.0):  # a short measurement may be off by a factor
                samples = most
            elif predicted(4 * samples) <= left / 4 and 4 * samples < most:  # a longer trial is cheap: measure again
                samples *= 4
            else:
                fitting = int(samples * (max(left, 0.0) / took) ** (1 / growth))
                if fitting >= 2 * samples:
                    samples = min(most, fitting)
                elif samples >= min(most, 10 * _FEWEST):
                    return answered
                else:
                    return text(
                        "learning from {samples} took {seconds}, and the {left} that were left do not suffice for twice as many",
                        samples=samples_word(samples), seconds=duration(took), left=duration(left),
                    )  # fmt: skip

    def _matrices(self, candidate: Candidate) -> tuple[Any, Any]:
        train, test = self.train.matrices[candidate.view], self.test.matrices[candidate.view]
        if self.train.features.sparse and candidate.name != "gradient_boosting":  # which takes none
            from scipy.sparse import csr_matrix

            if candidate.view not in self._sparse:
                self._sparse[candidate.view] = csr_matrix(train), csr_matrix(test)
            return self._sparse[candidate.view]
        if not self.train.features.standardise or candidate.view in ("trees", "neighbours"):
            return train, test
        if "scaled" not in self._standardised:  # "linear" and "distances" are one matrix where they must be standardised
            self._standardised["scaled"] = standardised(train, test)
        return self._standardised["scaled"]

    def _fitted(self, candidate: Candidate, samples: int) -> _Answer:
        train, test = self._matrices(candidate)
        targets = self.targets[:samples]
        model = candidate.build(self.problem)
        if candidate.name == "gradient_boosting" and self.classification and np.unique(targets, return_counts=True)[1].min() < 10:
            model.set_params(early_stopping=False)  # it would hold out samples of every class
        notes: list[Text] = []
        with warnings.catch_warnings(record=True) as raised:
            warnings.simplefilter("always")
            start = time.perf_counter()
            if self.classification:
                if len(np.unique(targets)) < 2:
                    raise ValueError(str(text("the samples it could learn from are of one class")))
                model.fit(train[:samples], targets)
            else:
                scaled = (targets - self.mean) / self.spread
                model.fit(train[:samples], scaled[:, 0] if scaled.shape[1] == 1 else scaled)
            fitted = time.perf_counter()
            outputs = self._outputs(model, candidate, test)
            done = time.perf_counter()
        if any(issubclass(item.category, _convergence_warning()) for item in raised):
            notes.append(text("its optimiser stopped before it had converged"))
        return _Answer(outputs, fitted - start, done - fitted, samples, notes)

    def _outputs(self, model: Any, candidate: Candidate, test: Any) -> Tensor:
        if not self.classification:
            return self._restored(np.asarray(model.predict(test), dtype=np.float64).reshape(test.shape[0], -1))
        found = model.predict_proba(test) if candidate.probabilities else model.decision_function(test)
        if not candidate.probabilities and len(model.classes_) == 2:
            found = np.stack([-found / 2, found / 2], axis=1)
        filler = 0.0 if candidate.probabilities else float(found.min()) - 1.0
        whole = np.full((test.shape[0], self.task.outputs), filler)
        whole[:, model.classes_.astype(np.int64)] = found  # a class that a subsample lacks is never answered
        return self._logarithms(whole) if candidate.probabilities else torch.from_numpy(whole)

    @staticmethod
    def _logarithms(shares: np.ndarray) -> Tensor:
        return torch.from_numpy(np.log(np.clip(shares, np.finfo(np.float64).eps, 1.0)))

    def _restored(self, scaled: np.ndarray) -> Tensor:
        """(n, d) in the user's units."""
        return self.preprocessing.restore_targets(torch.from_numpy(scaled * self.spread + self.mean).float())


def _convergence_warning() -> type[Warning]:
    from sklearn.exceptions import ConvergenceWarning

    return ConvergenceWarning


# -- the comparison ----------------------------------------------------------------------------------------------------------------------


def difference_of(network: Tensor, baseline: Tensor, targets: Tensor, task: Task, seed: int) -> Difference | None:
    value, interval = paired_difference(network, baseline, targets, task, seed=seed)
    return Difference(metric=primary_metric(task), value=value, interval=interval) if math.isfinite(value) else None


def verdict_of(network: Score | None, baselines: Sequence[Baseline], samples: int, task: Task) -> tuple[str | None, str, Text]:
    """(name of the best baseline, conclusion, the sentence)."""
    primary = primary_metric(task)

    def value_of(baseline: Baseline) -> float:
        return next((score.value for score in baseline.scores if score.name == primary), -math.inf)

    fitted = [baseline for baseline in baselines if baseline.difference is not None and math.isfinite(value_of(baseline))]
    if network is None or not fitted:
        return None, "unknown", text("no classical model could be compared with the network")
    best = max(fitted, key=value_of)
    assert best.difference is not None
    interval = best.difference.interval
    told = {
        "model": baseline_name(best.name, primary),
        "metric": metric_word(primary),
        "network": shown(network.value),
        "score": shown(value_of(best)),
        "difference": f"{best.difference.value:+.3f}",
        "low": shown(interval.low) if interval is not None else "-",
        "high": shown(interval.high) if interval is not None else "-",
    }
    classical = [baseline for baseline in fitted if baseline.name != "constant"]
    if best.difference.network_is_better:
        if not classical:
            return best.name, "better", text(
                "The network is better than {model}: {metric} {network} against {score}, difference {difference}, "
                "95 % interval [{low}, {high}]. No classical model was measured.",
                **told,
            )  # fmt: skip
        return best.name, "better", text(
            "The network is better than the best of {count} classical models, {model}: {metric} {network} against {score}, "
            "difference {difference}, 95 % interval [{low}, {high}].",
            count=len(classical), **told,
        )  # fmt: skip
    if best.difference.network_is_better is False:
        return best.name, "worse", text(
            "The network is worse than {model}: {metric} {network} against {score}, difference {difference}, "
            "95 % interval [{low}, {high}]. On these data classical machine learning is the better choice.",
            **told,
        )  # fmt: skip
    if best.name == "constant":
        return best.name, "not_shown", text(
            "The network is not shown to be better than {model}: {metric} {network} against {score}, difference {difference}, "
            "95 % interval [{low}, {high}]; nor is any classical model. The inputs may say nothing about the target.",
            **told,
        )  # fmt: skip
    if best.difference.value > 0:
        return best.name, "not_shown", text(
            "That the network is better than {model} is not shown on {samples}: {metric} {network} against {score}, "
            "difference {difference}, 95 % interval [{low}, {high}]. On these data classical machine learning may be enough.",
            samples=samples_word(samples), **told,
        )  # fmt: skip
    return best.name, "not_shown", text(
        "The network is no better than {model}: {metric} {network} against {score}, difference {difference}, "
        "95 % interval [{low}, {high}]. On these data classical machine learning is enough.",
        **told,
    )  # fmt: skip
