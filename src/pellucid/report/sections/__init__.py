"""The sections of a report, in the order of the page.

A section is a file here and a template of the same name in `templates/`: `content` takes the run's records and gives what the template
needs, or says why there is nothing. To add one, write the two and name it in `SECTIONS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pellucid.core.language import Text, text
from pellucid.report.records import RunRecords
from pellucid.report.sections import (
    answer,
    baselines,
    calibration,
    confusion,
    cost,
    data,
    forecast,
    learning_curve,
    masks,
    methods,
    mistakes,
    network,
    regression,
    remedies,
    reproduction,
    scores,
    training,
    watched,
)
from pellucid.report.sections.absent import Absent


@dataclass(frozen=True)
class Section:
    """One heading of the report."""

    name: str  # of the template, and of the anchor in the page
    title: Text
    content: Callable[[RunRecords], Mapping[str, Any] | Absent]


SECTIONS: tuple[Section, ...] = (
    Section("answer", text("The answer"), answer.content),
    Section("data", text("Data"), data.content),
    Section("network", text("Network"), network.content),
    Section("training", text("Training curves"), training.content),
    Section("watched", text("What was watched"), watched.content),
    Section("scores", text("Scores"), scores.content),
    Section("confusion", text("Confusion matrix"), confusion.content),
    Section("calibration", text("Calibration"), calibration.content),
    Section("forecast", text("Forecasts"), forecast.content),
    Section("regression", text("Predictions against the truth"), regression.content),
    Section("masks", text("Masks, answered and true"), masks.content),
    Section("mistakes", text("Worst mistakes"), mistakes.content),
    Section("baselines", text("Classical models on the same data"), baselines.content),
    Section("learning_curve", text("More data"), learning_curve.content),
    Section("remedies", text("Remedies against over- and underfitting"), remedies.content),
    Section("cost", text("Cost"), cost.content),
    Section("methods", text("For a paper"), methods.content),
    Section("reproduction", text("To reproduce this"), reproduction.content),
)
