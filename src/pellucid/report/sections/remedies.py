"""The classical remedies beside the training without them."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from pellucid.core.studies import AGAINST, REMEDY_NAMES, options_of, remedy_sentences
from pellucid.report import wording
from pellucid.report.records import RunRecords
from pellucid.report.sections.absent import Absent

_LEVEL = {True: "good", False: "fault", None: "advice"}
_MARK = {True: "✓", False: "✗", None: "≈"}


def content(records: RunRecords) -> Mapping[str, Any] | Absent:
    found = records.remedies
    if found is None:  # only who asks for it has it
        return Absent()
    first, *_, last = remedy_sentences(found)
    return {
        "lead": (first, last),
        "metric": wording.metric_name(found.metric),
        "rows": [
            {
                "name": REMEDY_NAMES.get(trial.name, trial.name),
                "against": AGAINST.get(trial.against, trial.against),
                "options": options_of(trial),
                "train": f"{fmean(trial.train_scores):.4f}",
                "score": f"{fmean(trial.scores):.4f}",
                "difference": f"{trial.difference:+.4f}",
                "interval": f"{trial.interval.low:+.4f} – {trial.interval.high:+.4f}",
                "level": _LEVEL[trial.helps],
                "mark": _MARK[trial.helps],
            }
            for trial in found.trials
        ],
        "skipped": [(REMEDY_NAMES.get(name, name), reason) for name, reason in found.skipped.items()],
        "seeds": len(found.scores),
        "count": len(found.trials),
    }
