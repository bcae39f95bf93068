"""Error against training samples, the laws that fit, and how much more data a smaller error needs."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

import numpy as np

from pellucid.core.power_law import error_at
from pellucid.core.studies import curve_sentences
from pellucid.report import wording
from pellucid.report.figures import Plot, logarithmic_axis
from pellucid.report.records import RunRecords
from pellucid.report.sections.absent import Absent

BEYOND = 8  # times the most samples: as far as the figure foretells
_STEPS = 60


def content(records: RunRecords) -> Mapping[str, Any] | Absent:
    curve = records.learning_curve
    if curve is None:  # only who asks for it has it
        return Absent()
    laws = np.array(curve.laws)
    sizes = [point.samples for point in curve.points]
    foretold = np.geomspace(sizes[0], sizes[-1] * BEYOND, _STEPS)
    low, middle, high = np.quantile([error_at(laws, size) for size in foretold], (0.025, 0.5, 0.975), axis=1)
    errors = [error for point in curve.points for error in point.errors if error > 0]
    shown = max(1e-6, min(errors, default=1e-3) / BEYOND)
    plot = Plot(logarithmic_axis(foretold.tolist()), logarithmic_axis([*errors, *np.maximum(low, shown).tolist(), *high.tolist()]))
    plot.band(foretold.tolist(), np.maximum(low, shown).tolist(), high.tolist(), "model")
    plot.line(foretold.tolist(), middle.tolist(), "model")
    plot.dots([point.samples for point in curve.points for _ in point.errors], [e for point in curve.points for e in point.errors], "cloud")
    return {
        "plot": plot,
        "error": f"1 − {curve.metric}" if curve.complement else curve.metric,
        "part": wording.PART_NAMES.get(curve.part, curve.part),
        "sentences": curve_sentences(curve),
        "rows": [(wording.grouped(point.samples), f"{fmean(point.errors):.4g}", f"{min(point.errors):.4g}", f"{max(point.errors):.4g}")
                 for point in curve.points],
    }  # fmt: skip
