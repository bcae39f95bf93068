"""What a training came to, in plain words: the score and what it means, the verdict, the cost, what to do next.

A `Summary` holds the numbers and the sentences' values, not their wording: a stored one is read in either language.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pellucid.core.language import Text, text
from pellucid.core.records import Cost, Expectation, Finding, Notice, Record, Score, Task
from pellucid.core.results import Baseline, Baselines, PartEvaluation
from pellucid.core.wording import baseline_name, count, counted, duration, memory, samples
from pellucid.diagnosis.dynamic.curves import metric_word, part_word, shown

WORTH_SAYING = 5.0  # seconds: what takes less needs no announcement
_SYMPTOM_WORDS = {"overfitting": text("overfitting"), "underfitting": text("underfitting"), "divergence": text("divergence")}


@dataclass(frozen=True, kw_only=True)
class Summary(Record):
    """One finished training."""

    run: str  # path of the run's directory
    task: Task
    primary: str  # the metric that is named first
    scores: Mapping[str, tuple[Score, ...]]  # part ("train", "validation", "test") -> its scores
    findings: tuple[Finding, ...]  # the verdict
    cost: Cost
    notices: tuple[Notice, ...] = ()
    stopped: Text  # why training ended
    next_steps: tuple[Text, ...] = ()  # commands and remedies, the most useful first
    baselines: Baselines | None = None  # the comparison with classical models
    details: tuple[Text, ...] = ()  # of the result, that the scores do not tell: sensitivity and specificity of two classes
    constant: float | None = None  # the primary metric of always the training part's commonest class, or mean, on the part named first
    told: tuple[Text, ...] = ()  # the result in words, for whoever reads the record without this program's trainings

    def score(self, part: str, name: str | None = None) -> Score | None:
        """The score of one part; the primary metric unless another is named."""
        return next((score for score in self.scores.get(part, ()) if score.name == (name or self.primary)), None)

    def sections(self) -> list[tuple[Text, list[Text]]]:
        """Heading and sentences, in the order in which a person wants to know them."""
        told = [
            (text("Result"), result_sentences(self)),
            (text("Baselines"), baseline_sentences(self.baselines) if self.baselines is not None else []),
            (text("Verdict"), [finding.summary for finding in self.findings]),
            (text("Cost"), cost_sentences(self.cost, self.stopped)),
            (text("Note"), [notice.summary for notice in self.notices]),
            (text("Next"), list(self.next_steps)),
        ]
        return [(heading, sentences) for heading, sentences in told if sentences]

    def __str__(self) -> str:
        return "\n".join(str(line) for line in self.lines())

    def lines(self) -> list[Text]:
        """The sections as one sentence after another, each with its heading."""
        return [
            text("{heading}: {sentence}", heading=heading, sentence=sentence)
            for heading, sentences in self.sections()
            for sentence in sentences
        ]


def summarize(
    *,
    task: Task,
    scores: Mapping[str, Sequence[Score]],
    findings: Sequence[Finding],
    cost: Cost,
    notices: Sequence[Notice] = (),
    stopped: Text,
    run: str,
    primary: str,
    baselines: Baselines | None = None,
    evaluation: PartEvaluation | None = None,
    constant: float | None = None,
) -> Summary:
    """Put together what a training came to.

    Args:
        task: what was learnt.
        scores: part -> every metric measured on it with the weights that were kept.
        findings: the verdict, most serious first.
        cost: seconds, epochs, steps, parameters, operations, memory.
        notices: about the data and the settings.
        stopped: why training ended.
        run: path of the run's directory.
        primary: the metric that is named first.
        baselines: the comparison with classical models, where it was made.
        evaluation: of the part whose score is named first.
        constant: what a constant answer gets on that part, in that metric.
    """
    summary = Summary(
        run=run,
        task=task,
        primary=primary,
        scores={part: tuple(of_part) for part, of_part in scores.items()},
        findings=tuple(findings),
        cost=cost,
        notices=tuple(notices),
        stopped=stopped,
        next_steps=tuple(_next_steps(run, scores, findings, primary)),
        baselines=baselines,
        constant=constant,
        details=tuple(_two_classes(evaluation)) if evaluation is not None else (),
    )
    return replace(summary, told=tuple(result_sentences(summary)))


# -- the result --------------------------------------------------------------------------------------------------------------------------


def result_sentences(summary: Summary) -> list[Text]:
    """The primary score with its interval, what it means, and what a constant answer would get."""
    part = "test" if summary.score("test") else "validation" if summary.score("validation") else "train"
    score = summary.score(part)
    if score is None:
        return [text("nothing was measured: no sample was held out and the training part has no score")]
    told = [_stated(score, part), _meaning(summary, score, part)]
    told += summary.details
    if summary.constant is not None:
        told.append(_against_constant(score, summary.constant))
    if part == "validation":
        told.append(text("No test part was held out; the validation part chose the weights, so this score is a little too good."))
    elif part == "train":
        told.append(text("Nothing was held out: these are the samples the network learnt from, and the score says little about new ones."))
    return [sentence for sentence in told if sentence is not None]


def _epochs(number: int) -> Text:
    return counted(number, text("1 epoch"), text("{count} epochs", count=count(number)))


def _steps(number: int) -> Text:
    return counted(number, text("1 step"), text("{count} steps", count=count(number)))


def _two_classes(evaluation: PartEvaluation) -> list[Text]:
    """Which class sensitivity, specificity and precision speak of; nothing where there are more classes."""
    positive, sensitivity, specificity = evaluation.positive_class, evaluation.sensitivity, evaluation.specificity
    precision = next((item.precision for item in evaluation.per_class if item.name == positive), None)
    if sensitivity is None or specificity is None:
        return []
    other = next(item.name for item in evaluation.per_class if item.name != positive)
    told = [
        text(
            "Of class {positive!r} {found} are recognised (sensitivity, {samples}), of class {other!r} {spared} (specificity, {others}).",
            positive=positive, found=_with_interval(sensitivity), samples=samples(sensitivity.samples),
            other=other, spared=_with_interval(specificity), others=samples(specificity.samples),
        )
    ]  # fmt: skip
    if precision is not None:
        told.append(text("Of the answers {positive!r} {right} are right (precision).", positive=positive, right=_with_interval(precision)))
    return told


def _with_interval(score: Score) -> Text | str:
    if score.interval is None:
        return shown(score.value)
    return text("{value} [{low}, {high}]", value=shown(score.value), low=shown(score.interval.low), high=shown(score.interval.high))


def _stated(score: Score, part: str) -> Text:
    if score.interval is None:
        return text(
            "On the {part} ({samples}): {metric} {value}.",
            metric=metric_word(score.name),
            part=part_word(part),
            value=shown(score.value),
            samples=samples(score.samples),
        )
    return text(
        "On the {part} ({samples}): {metric} {value}, 95 % interval [{low}, {high}].",
        metric=metric_word(score.name),
        part=part_word(part),
        value=shown(score.value),
        low=shown(score.interval.low),
        high=shown(score.interval.high),
        samples=samples(score.samples),
    )


def _meaning(summary: Summary, score: Score, part: str) -> Text | None:
    """The score in everyday words."""
    if score.name == "accuracy":
        if part == "train":
            return None
        out_of = 1000 if score.value > 0.99 and score.samples >= 1000 else 100
        if score.interval is None:
            return text("About {right:.0f} of {out_of} new samples will be answered right.", right=score.value * out_of, out_of=out_of)
        return text(
            "About {right:.0f} of {out_of} new samples will be answered right ({low:.0f} to {high:.0f}), if they are like these.",
            right=score.value * out_of,
            out_of=out_of,
            low=math.floor(score.interval.low * out_of + 1e-9),
            high=math.ceil(score.interval.high * out_of - 1e-9),
        )
    if score.name != "r2":
        return None
    mean_error = summary.score(part, "mae")
    targets = list(summary.task.targets)
    if mean_error is None or len(targets) > 1:
        return text("The network explains {share:.0f} % of the variance of {targets}.", share=100 * max(score.value, 0.0), targets=targets)
    return text(
        "The network explains {share:.0f} % of the variance of {targets}; on average a prediction is off by {error} in its own unit.",
        share=100 * max(score.value, 0.0),
        targets=targets,
        error=shown(mean_error.value),
    )


def _against_constant(score: Score, constant: float) -> Text:
    """Whether the score is shown to be better than that of a constant answer."""
    answer = {
        "accuracy": text("the training part's commonest class"),
        "mean_iou": text("at each pixel the training part's commonest class"),
    }.get(score.name) or text("the training part's mean")
    sign = 1.0 if score.higher_is_better else -1.0
    worst = score.value if score.interval is None else score.interval.low if score.higher_is_better else score.interval.high
    if sign * (worst - constant) > 0:
        return text("For comparison: a constant answer, {answer}, would get {score}.", answer=answer, score=shown(constant))
    return text(
        "For comparison: a constant answer, {answer}, would get {score}; that the network is better is not shown.",
        answer=answer, score=shown(constant),
    )  # fmt: skip


# -- the baselines -----------------------------------------------------------------------------------------------------------------------


def baseline_sentences(baselines: Baselines) -> list[Text]:
    """Whether the network is better than classical models, what each of them reaches, and what was left out."""
    told = [baselines.verdict]
    measured = [_measured(baseline, baselines) for baseline in baselines.baselines if baseline.scores]
    if measured:
        metric = metric_word(baselines.primary)
        told.append(
            text("{metric} of all: {models}; {seconds} in all.", metric=metric, models=measured, seconds=duration(baselines.seconds))
        )
    skipped = [
        text("{model} ({reason})", model=baseline_name(baseline.name, baselines.primary), reason=baseline.skipped)
        for baseline in baselines.baselines
        if baseline.skipped is not None
    ]
    if skipped:
        told.append(text("Left out: {models}.", models=skipped))
    return [*told, *(text("Note: {note}.", note=note) for note in baselines.notes)]


def _measured(baseline: Baseline, baselines: Baselines) -> Text:
    score = next((score for score in baseline.scores if score.name == baselines.primary), None)
    value = shown(score.value) if score is not None else "-"
    if baseline.train_samples < baselines.train_samples:
        return text(
            "{model} {value} (learnt from {samples} of {all} samples)",
            model=baseline_name(baseline.name, baselines.primary),
            value=value,
            samples=count(baseline.train_samples),
            all=count(baselines.train_samples),
        )
    return text("{model} {value}", model=baseline_name(baseline.name, baselines.primary), value=value)


# -- the cost ----------------------------------------------------------------------------------------------------------------------------


def cost_sentences(cost: Cost, stopped: Text) -> list[Text]:
    """Time, size, operations, memory; and why training ended."""
    told = [
        text(
            "{seconds} for {epochs} ({steps}) on {device}; {stopped}.",
            seconds=duration(cost.seconds),
            epochs=_epochs(cost.epochs),
            steps=_steps(cost.steps),
            device=cost.device,
            stopped=stopped,
        )
    ]
    sizes = [text("{count} parameters", count=count(cost.parameters))]
    if cost.total_flops:
        sizes.append(text("{count} floating-point operations", count=_scientific(cost.total_flops)))
    if cost.peak_memory_bytes:
        sizes.append(text("{amount} of memory at most", amount=memory(cost.peak_memory_bytes)))
    if cost.checkpoint_seconds >= 0.02 * max(cost.seconds, 1e-9) and cost.checkpoint_seconds >= 1:
        sizes.append(text("{seconds} of the time for checkpoints", seconds=duration(cost.checkpoint_seconds)))
    told.append(text("{sizes}.", sizes=sizes))
    if cost.expected_seconds is not None and max(cost.expected_seconds, cost.seconds) >= WORTH_SAYING:
        expected: list[Text | str] = [duration(cost.expected_seconds)]
        actual: list[Text | str] = [duration(cost.seconds)]
        if cost.expected_memory_bytes and cost.peak_memory_bytes:
            expected.append(memory(cost.expected_memory_bytes))
            actual.append(memory(cost.peak_memory_bytes))
        told.append(text("Before the first step {expected} were expected; it took {actual}.", expected=expected, actual=actual))
    return told


def usage_sentence(seconds: float, memory_bytes: int | None) -> Text:
    """Time and memory: 3 min 20 s, 1.1 GiB of memory."""
    parts = [duration(seconds)]
    if memory_bytes is not None:
        parts.append(text("{amount} of memory", amount=memory(memory_bytes)))
    return text("{parts}", parts=parts)


def expectation_sentence(expected: Expectation) -> Text | None:
    """What is said before a training; None where it will be over in a moment."""
    if expected.seconds < WORTH_SAYING:
        return None
    parts = [text("about {time}", time=duration(expected.seconds))]
    if expected.memory_bytes is not None:
        parts.append(text("{amount} of memory", amount=memory(expected.memory_bytes)))
    if expected.may_end_sooner:
        parts.append(text("less where early stopping or a condition ends it sooner"))
    return text("{parts}", parts=parts)


def _scientific(number: float) -> str:
    """2.3e12: two digits are all that such a figure is worth."""
    exponent = math.floor(math.log10(number))
    return f"{number / 10**exponent:.1f}e{exponent}" if exponent >= 4 else f"{number:.0f}"


# -- what to do next ---------------------------------------------------------------------------------------------------------------------


def _next_steps(run: str, scores: Mapping[str, Sequence[Score]], findings: Sequence[Finding], primary: str) -> list[Text]:
    steps: list[Text] = []
    for finding in findings:
        if finding.remedy is not None and finding.level != "good":
            word = _SYMPTOM_WORDS.get(finding.symptom)
            steps.append(
                text("Advice: {remedy}.", remedy=finding.remedy)
                if word is None
                else text("Against {symptom}: {remedy}.", symptom=word, remedy=finding.remedy)
            )
    place = f'"{run}"' if any(character.isspace() for character in run) else run
    steps.append(text("Predict new samples: pellucid predict {run} NEW_DATA", run=place))
    score = next((score for score in scores.get("test", ()) if score.name == primary), None)
    if score is not None and score.interval is not None and _is_wide(score):
        steps.append(
            text(
                "{samples} test samples leave the score uncertain by ±{half}; measure it on more: pellucid evaluate {run} MORE_DATA",
                samples=score.samples,
                half=shown((score.interval.high - score.interval.low) / 2),
                run=place,
            )
        )
    return steps


def _is_wide(score: Score) -> bool:
    """An interval that leaves open whether the score is good or bad: of half-width 0.03 for a score between 0 and 1, a tenth of others."""
    assert score.interval is not None
    scale = 0.3 if score.higher_is_better else abs(score.value)
    return score.interval.high - score.interval.low > 0.2 * scale
