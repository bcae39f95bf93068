"""How good a trained network is in detail: per class, per target, how well calibrated, and which samples it answers worst.

Everything is computed from the outputs on one part, once; memory and time are bounded whatever the number of samples, classes or targets.
Intervals: shares (precision, recall, sensitivity, specificity) have Wilson's. F1 is 2J / (1 + J) of the share J = TP / (TP + FP + FN),
and so is its interval. Those of the calibration error and of regression are percentiles of bootstrap resamples.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import SequentialSampler

from pellucid.core.numerics import wilson_interval
from pellucid.core.records import Interval, Score, Task
from pellucid.core.results import (
    Calibration,
    CalibrationBin,
    ClassScores,
    Confusion,
    Mistake,
    Mistakes,
    PartEvaluation,
    TargetEvaluation,
)
from pellucid.training.losses import probabilities
from pellucid.training.masks.assessment import evaluate_masks
from pellucid.training.masks.measures import answered
from pellucid.training.metrics import RESAMPLES, full_scores, predicted_classes

BINS = 15  # of equal width in the largest probability, as Guo et al. 2017 take
LARGEST_MATRIX = 100  # classes; of more the commonest confusions are listed
CLASSES_LISTED = 100  # of more those with the lowest F1
PAIRS_LISTED = 40
TARGETS_LISTED = 20
POINTS = 2000  # of predicted against actual, per target; fewer where there are more than two targets
QUANTILES = (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975)
MISTAKES = 24
COLUMNS = 30  # of a table's row
THUMBNAIL = 96  # pixels; pictures whose file would still be large are made smaller
_THUMBNAIL_BYTES = 18_000
_LONGEST_VALUE = 200  # characters of one value of a table
_ENTRIES = 2**22  # outputs looked at together

# The class that a word for "the condition is present" names is the positive one, whatever its place in the alphabet.
_POSITIVE = {
    "1", "true", "yes", "y", "positive", "pos", "malignant", "sick", "ill", "disease", "diseased", "abnormal", "bad", "default", "fraud",
    "spam", "churn", "attack", "anomaly", "dead", "是", "有", "真", "阳性", "恶性", "患病", "异常", "违约", "欺诈", "垃圾", "流失", "死亡",
}  # fmt: skip


def evaluate_part(outputs: Tensor, targets: Tensor, task: Task, scores: Sequence[Score], *, loss: Any, seed: int = 0) -> PartEvaluation:
    """What one part says about the network.

    Args:
        outputs: (N, columns), the network's; regression in the user's units.
        targets: (N,) class indices, or (N, d).
        scores: the part's scores, already measured.
    """
    samples = len(outputs)
    if task.kind == "segmentation":
        return evaluate_masks(answered(outputs), targets, task, scores, seed=seed)
    if task.kind == "forecasting":  # what else there is to tell stands in records/forecasts.json
        return PartEvaluation(samples=samples, scores=tuple(scores))
    if task.kind == "regression":
        regression, left_out = _regression(outputs, targets, task, seed), max(0, len(task.targets) - TARGETS_LISTED)
        return PartEvaluation(samples=samples, scores=tuple(scores), regression=regression, targets_left_out=left_out)
    answers = _Answers(outputs, targets, loss, task.outputs)
    per_class, left_out = _per_class(answers, task)
    positive = _positive(task) if task.outputs == 2 else None
    listed = {item.name: item for item in per_class}
    of_positive = listed.get(task.classes[positive]) if positive is not None else None
    return PartEvaluation(
        samples=samples,
        scores=tuple(scores),
        per_class=per_class,
        classes_left_out=left_out,
        positive_class=task.classes[positive] if positive is not None else None,
        sensitivity=_renamed(of_positive.recall, "sensitivity") if of_positive else None,
        specificity=of_positive.specificity if of_positive else None,
        confusion=_confusion(answers, task),
        calibration=calibration(answers.confidence, answers.guesses == answers.targets, seed=seed),
    )


class _Answers:
    """(N,) arrays of a classification: the answer, its probability, that of the true class."""

    def __init__(self, outputs: Tensor, targets: Tensor, loss: Any, classes: int) -> None:
        self.targets = targets.cpu().numpy().astype(np.int64)
        self.guesses = predicted_classes(outputs).cpu().numpy()
        confidence: list[Tensor] = []
        of_actual: list[Tensor] = []
        step = max(1, _ENTRIES // max(1, outputs.shape[1]))
        for start in range(0, len(outputs), step):
            chances = probabilities(outputs[start : start + step].double(), loss, classes)  # (n, K)
            rows = torch.arange(len(chances))
            confidence.append(chances[rows, torch.from_numpy(self.guesses[start : start + step])])
            of_actual.append(chances[rows, torch.from_numpy(self.targets[start : start + step])])
        self.confidence = torch.cat(confidence).numpy() if confidence else np.zeros(0)
        self.of_actual = torch.cat(of_actual).numpy() if of_actual else np.zeros(0)


# -- classes -----------------------------------------------------------------------------------------------------------------------------


def _positive(task: Task) -> int:
    """Of two classes the one that is looked for: by its name where that tells, else the second."""
    named = [name.strip().lower() in _POSITIVE for name in task.classes]
    return 0 if named == [True, False] else 1


def _share(name: str, hits: int, n: int) -> Score | None:
    return Score(name=name, value=hits / n, interval=wilson_interval(hits, n), samples=n) if n else None


def _f1(right: int, wrong: int) -> Score | None:
    """2J / (1 + J) of the share J of `right` among right and wrong, which grows with J: so do the interval's ends."""
    of_all = _share("f1", right, right + wrong)
    if of_all is None or of_all.interval is None:
        return None
    value, low, high = (2 * share / (1 + share) for share in (of_all.value, of_all.interval.low, of_all.interval.high))
    return Score(name="f1", value=value, interval=Interval(low=low, high=high), samples=right + wrong)


def _renamed(score: Score | None, name: str) -> Score | None:
    return None if score is None else Score(name=name, value=score.value, interval=score.interval, samples=score.samples)


def _per_class(answers: _Answers, task: Task) -> tuple[tuple[ClassScores, ...], int]:
    classes, n = task.outputs, len(answers.targets)
    right = np.bincount(answers.targets[answers.guesses == answers.targets], minlength=classes)  # (K,) true positives
    actual = np.bincount(answers.targets, minlength=classes)
    guessed = np.bincount(answers.guesses, minlength=classes)
    chosen = np.arange(classes)
    if classes > CLASSES_LISTED:
        occurs = np.flatnonzero(actual + guessed)
        worst = np.lexsort((-actual[occurs], 2 * right[occurs] / (actual + guessed)[occurs]))  # by F1, then the commoner first
        chosen = occurs[worst[:CLASSES_LISTED]]
    listed: list[ClassScores] = []
    for index in chosen.tolist():
        hits, samples, answered = int(right[index]), int(actual[index]), int(guessed[index])
        listed.append(
            ClassScores(
                name=task.classes[index],
                samples=samples,
                predicted=answered,
                precision=_share("precision", hits, answered),
                recall=_share("recall", hits, samples),
                f1=_f1(hits, samples + answered - 2 * hits),
                specificity=_share("specificity", n - samples - (answered - hits), n - samples) if classes == 2 else None,
            )
        )
    return tuple(listed), classes - len(listed)


def _confusion(answers: _Answers, task: Task) -> Confusion:
    classes, names = task.outputs, task.classes
    cells, counts = np.unique(answers.targets * classes + answers.guesses, return_counts=True)
    wrong = cells // classes != cells % classes
    commonest = np.argsort(-counts[wrong], kind="stable")[:PAIRS_LISTED]
    pairs = tuple(
        (names[int(cell) // classes], names[int(cell) % classes], int(count))
        for cell, count in zip(cells[wrong][commonest], counts[wrong][commonest], strict=True)
    )
    if classes > LARGEST_MATRIX:
        return Confusion(pairs=pairs)
    matrix = np.zeros(classes * classes, dtype=np.int64)
    matrix[cells] = counts
    return Confusion(classes=names, counts=tuple(tuple(row) for row in matrix.reshape(classes, classes).tolist()), pairs=pairs)


# -- calibration -------------------------------------------------------------------------------------------------------------------------


def calibration(confidence: np.ndarray, right: np.ndarray, *, seed: int = 0) -> Calibration | None:
    """The expected calibration error of (N,) probabilities of the answers given, and whether each answer was right.

    ECE = sum over bins of N_b / N |right_b / N_b - mean confidence_b|, BINS bins of equal width.
    Its interval: resamples of how many right and wrong answers fall into each bin. With few samples the ECE of a network whose
    probabilities are exactly true is well above 0: `chance` says where it lies, by drawing right answers with the probability stated.

    Source: Guo et al., "On calibration of modern neural networks", 2017, equation 3; Bröcker and Smith, "Increasing the reliability of
    reliability diagrams", 2007 (consistency resampling). None without finite probabilities.
    """
    finite = np.isfinite(confidence)
    confidence, right = confidence[finite].clip(0.0, 1.0), right[finite]
    n = len(confidence)
    if not n:
        return None
    place = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    counts = np.bincount(place, minlength=BINS)
    hits = np.bincount(place[right], minlength=BINS)
    sums = np.bincount(place, weights=confidence, minlength=BINS)
    generator = np.random.default_rng(seed)

    # the mean confidence of the right and of the wrong answers of each bin, then how often each of these 2 x BINS cells is drawn
    sums_right = np.bincount(place[right], weights=confidence[right], minlength=BINS)
    cells = np.concatenate([hits, counts - hits])
    means = np.concatenate([sums_right, sums - sums_right]) / np.maximum(cells, 1)
    drawn = generator.multinomial(n, cells / n, size=RESAMPLES)  # (R, 2 BINS)
    confident = drawn * means
    errors = np.abs(drawn[:, :BINS] - confident[:, :BINS] - confident[:, BINS:]).sum(1) / n
    means_of_bins = np.clip(sums / np.maximum(counts, 1), 0.0, 1.0)
    by_chance = np.abs(generator.binomial(counts, means_of_bins, size=(RESAMPLES, BINS)) - sums).sum(1) / n

    low, high = np.quantile(errors, [0.025, 0.975]).tolist()
    lowest, highest = np.quantile(by_chance, [0.025, 0.975]).tolist()
    bins = tuple(
        CalibrationBin(
            low=index / BINS,
            high=(index + 1) / BINS,
            samples=int(counts[index]),
            confidence=float(sums[index] / counts[index]) if counts[index] else None,
            accuracy=float(hits[index] / counts[index]) if counts[index] else None,
        )
        for index in range(BINS)
    )
    value = float(np.abs(hits - sums).sum() / n)
    ece = Score(name="ece", value=value, interval=Interval(low=low, high=high) if n > 1 else None, higher_is_better=False, samples=n)
    return Calibration(ece=ece, bins=bins, chance=Interval(low=lowest, high=highest))


# -- regression --------------------------------------------------------------------------------------------------------------------------


def _regression(outputs: Tensor, targets: Tensor, task: Task, seed: int) -> tuple[TargetEvaluation, ...]:
    n, count = len(outputs), min(len(task.targets), TARGETS_LISTED)
    actual = targets.double().reshape(n, -1)
    predicted = outputs.double().reshape(actual.shape)
    points = min(n, POINTS if count <= 2 else 2 * POINTS // count)
    drawn = torch.from_numpy(np.sort(np.random.default_rng(seed).permutation(n)[:points]))
    evaluated: list[TargetEvaluation] = []
    for column, name in enumerate(task.targets[:count]):
        alone = Task(kind="regression", targets=(name,))
        of_target, of_network = actual[:, column : column + 1], predicted[:, column : column + 1]
        residuals = (of_network - of_target)[:, 0].numpy()
        residuals = residuals[np.isfinite(residuals)]
        quantiles = np.quantile(residuals, QUANTILES).tolist() if len(residuals) else []
        pairs = torch.cat([of_target, of_network], dim=1)[drawn].tolist()
        evaluated.append(
            TargetEvaluation(
                name=name,
                scores=tuple(full_scores(of_network, of_target, alone, seed=seed)),
                pairs=tuple((_rounded(true), _rounded(answer)) for true, answer in pairs if math.isfinite(true + answer)),
                residual_quantiles={f"{share:g}": value for share, value in zip(QUANTILES, quantiles, strict=False)},
            )
        )
    return tuple(evaluated)


def _rounded(value: float) -> float:
    """Six digits: more than a picture shows."""
    return float(f"{value:.6g}")


# -- the worst mistakes ------------------------------------------------------------------------------------------------------------------


def worst_mistakes(
    outputs: Tensor,
    targets: Tensor,
    task: Task,
    *,
    part: str,
    source: Any,
    samples: Any,
    preprocessing: Any,
    loss: Any,
) -> Mistakes:
    """The wrong answers with the highest loss, or the largest errors, as the samples stood in the user's data.

    Args:
        outputs, targets: as `evaluate_part`, in the order of `source`.
        part: its name.
        source: the Part they come from.
        samples: what was read, None where it is gone: then only the answers are told.
        preprocessing: that of the run.
    """
    n = len(outputs)
    if task.kind == "classification":
        answers = _Answers(outputs, targets, loss, task.outputs)
        losses = -np.log(np.clip(np.nan_to_num(answers.of_actual, nan=0.0), np.finfo(np.float64).eps, 1.0))
        wrong = np.flatnonzero(answers.guesses != answers.targets)
        worst = wrong[np.argsort(-losses[wrong], kind="stable")]
    else:
        answers = None
        actual = targets.double().reshape(n, -1)
        scale = actual.std(dim=0, correction=0)
        scale[scale == 0] = 1.0
        losses = (((outputs.double().reshape(actual.shape) - actual) / scale) ** 2).mean(dim=1).nan_to_num(nan=math.inf).numpy()
        wrong = None
        worst = np.argsort(-losses, kind="stable")
    positions = _positions(source)
    listed: list[Mistake] = []
    for place in worst[:MISTAKES].tolist() if len(positions) else []:
        index = int(positions[place])
        if answers is not None:
            told: dict[str, Any] = {
                "actual": (task.classes[answers.targets[place]],),
                "predicted": (task.classes[answers.guesses[place]],),
                "probability": float(np.nan_to_num(answers.confidence[place])),
                "probability_of_actual": float(np.nan_to_num(answers.of_actual[place])),
            }
        else:
            told = {"actual": _numbers(targets.reshape(n, -1)[place]), "predicted": _numbers(outputs.reshape(n, -1)[place])}
        listed.append(
            Mistake(
                index=index,
                identifier=str(samples.identifiers[index]) if samples is not None else str(index),
                loss=min(float(losses[place]), np.finfo(np.float64).max),
                thumbnail=_thumbnail(source, place, samples, index, preprocessing),
                values=_row(samples, index, preprocessing),
                curves=preprocessing.curves(samples, index) if samples is not None and hasattr(preprocessing, "curves") else (),
                **told,
            )
        )
    columns = getattr(preprocessing, "columns", ())
    return Mistakes(
        task=task.kind,
        part=part,
        samples=n,
        wrong=None if wrong is None else len(wrong),
        mistakes=tuple(listed),
        columns_left_out=max(0, len(columns) - COLUMNS),
    )


def _numbers(row: Tensor) -> tuple[float, ...]:
    """Six digits: the targets have been through float32."""
    return tuple(_rounded(value) for value in row[:TARGETS_LISTED].double().nan_to_num().tolist())


def _positions(source: Any) -> np.ndarray:
    """(N,) where in the data each sample of a part stands; (0,) for a loader that shuffles: which sample came when is not known."""
    if getattr(source, "ordered", True) or isinstance(getattr(source.loader, "sampler", None), SequentialSampler):
        return np.asarray(source.indices)
    return np.zeros(0, dtype=np.int64)


def _row(samples: Any, index: int, preprocessing: Any) -> Mapping[str, Any]:
    """A table's row as the user wrote it: the columns that the network sees."""
    if samples is None or samples.kind != "table":
        return {}
    columns = list(preprocessing.columns.values())[:COLUMNS]
    row = samples.inputs.row(index, named=True)
    values: dict[str, Any] = {}
    for column in columns:
        value = row[column.name]
        if isinstance(value, float):
            value = int(value) if column.whole and math.isfinite(value) else value if math.isfinite(value) else str(value)
        elif value is not None and not isinstance(value, (bool, int)):
            value = str(value)
            value = value if len(value) <= _LONGEST_VALUE else value[: _LONGEST_VALUE - 1] + "…"
        values[column.name] = value
    return values


def _thumbnail(source: Any, place: int, samples: Any, index: int, preprocessing: Any) -> str | None:
    """The sample as a small picture, where it is one: pixels as the user gave them, stretched to 0 ... 255."""
    shape = tuple(preprocessing.input_shape)
    if len(shape) != 3 or shape[0] not in (1, 3) or min(shape[1:]) < 2:
        return None
    if samples is not None and samples.kind in ("images", "array"):
        pixels = np.asarray(samples.inputs[index], dtype=np.float64)
        low, high = (0.0, 255.0) if samples.kind == "images" else (preprocessing.low, preprocessing.high)
    else:
        if not getattr(source, "ordered", True):  # a loader gives its samples in its own order, all or none
            return None
        batch: Tensor = next(iter(source.batches(1, torch.tensor([place]))))[0]
        pixels = batch[0].double().cpu().numpy()
        low, high = float(np.nanmin(pixels)), float(np.nanmax(pixels))
    scaled = np.clip(np.nan_to_num((pixels - low) / ((high - low) or 1.0)) * 255.0, 0, 255).round().astype(np.uint8)  # (C, H, W)
    return png(scaled)


def png(pixels: np.ndarray) -> str:
    """(C, H, W) uint8, one or three channels, as a data URL of at most THUMBNAIL pixels a side."""
    from PIL import Image

    picture = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    content = b""
    for side in (THUMBNAIL, THUMBNAIL * 2 // 3):
        picture.thumbnail((side, side))
        buffer = io.BytesIO()
        picture.save(buffer, format="PNG", optimize=True)
        content = buffer.getvalue()
        if len(content) <= _THUMBNAIL_BYTES:
            break
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")
