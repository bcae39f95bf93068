"""Deep learning or classical machine learning? The network beside simple models on the same samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pellucid.core.language import text
from pellucid.core.records import Score
from pellucid.core.results import Baseline
from pellucid.core.wording import baseline_name, duration
from pellucid.report import wording
from pellucid.report.figures import bars
from pellucid.report.records import RunRecords
from pellucid.report.sections.absent import Absent, not_recorded


def content(records: RunRecords) -> Mapping[str, Any] | Absent:
    found = records.baselines
    if found is None:
        return not_recorded(records)
    trained = [baseline for baseline in found.baselines if baseline.skipped is None and baseline.scores]
    better = {score.name: score.higher_is_better for baseline in trained for score in baseline.scores}
    rising = found.network.higher_is_better if found.network is not None else better.get(found.primary, True)
    trained.sort(key=lambda baseline: _primary(baseline, found.primary, rising), reverse=rising)
    rows = [_row(baseline, found.primary, found.best) for baseline in trained]
    network = found.network
    measured = [network, *(row["score"] for row in rows)]
    common, drawn = bars([_ends(score) for score in measured])
    for row, bar in zip(rows, drawn[1:], strict=True):
        row["bar"] = bar
    return {
        "metric": wording.metric_name(found.primary),
        "part": wording.PART_NAMES.get(found.part, found.part),
        "samples": wording.grouped(found.samples),
        "verdict": found.verdict,
        "representation": found.representation,
        "axis": common,
        "network": network,
        "network_bar": drawn[0],
        "network_seconds": wording.seconds(records.cost.training_seconds) if records.cost is not None else "–",
        "train_samples": wording.grouped(str(records.ledger.get("parts", "")).count("t")) if records.ledger.get("parts") else "–",
        "rows": rows,
        "skipped": [
            (baseline_name(baseline.name, found.primary), baseline.skipped) for baseline in found.baselines if baseline.skipped is not None
        ],
        "notes": [(baseline_name(baseline.name, found.primary), note) for baseline in trained for note in baseline.notes],
        "models": [(baseline_name(baseline.name, found.primary), baseline.model) for baseline in trained],
        "seconds": duration(found.seconds),
    }


def _primary(baseline: Baseline, name: str, rising: bool) -> float:
    score = next((score for score in baseline.scores if score.name == name), None)
    return score.value if score is not None else float("-inf") if rising else float("inf")


def _ends(score: Score | None) -> tuple[float, float, float] | tuple[float, None, None] | None:
    if score is None:
        return None
    return (score.value, None, None) if score.interval is None else (score.value, score.interval.low, score.interval.high)


_DECIDED = {True: text("the network is better"), False: text("the network is worse"), None: text("the interval leaves it open")}


def _row(baseline: Baseline, primary: str, best: str | None) -> dict[str, Any]:
    difference = baseline.difference
    score = next((score for score in baseline.scores if score.name == primary), None)
    scale = score.value if score is not None else 1.0
    decided = difference.network_is_better if difference is not None else None
    return {
        "name": baseline_name(baseline.name, primary),
        "best": baseline.name == best,
        "score": score,
        "difference": None if difference is None else wording.difference(difference.value, scale),
        "difference_interval": "" if difference is None else wording.interval(difference.interval, scale),
        "mark": {True: "✓", False: "✗", None: "≈"}[decided] if difference is not None else "–",
        "decided": _DECIDED[decided] if difference is not None else text("not compared"),
        "level": {True: "good", False: "fault", None: "advice"}[decided] if difference is not None else "unknown",
        "fit_seconds": wording.seconds(baseline.fit_seconds),
        "predict_seconds": wording.seconds(baseline.predict_seconds),
        "train_samples": wording.grouped(baseline.train_samples),
    }
