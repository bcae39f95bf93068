"""The samples that the network answers worst, shown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pellucid.core.language import sample_name
from pellucid.core.results import Mistake
from pellucid.report import wording
from pellucid.report.figures import curves
from pellucid.report.records import RunRecords
from pellucid.report.sections.absent import Absent, not_recorded

SHOWN_PICTURES, SHOWN_ROWS = 12, 6  # the rest is folded
LONGEST_VALUE = 200  # characters of a cell
_PICTURE = re.compile(r"^data:image/png;base64,[A-Za-z0-9+/]+={0,2}$")
LARGEST_PICTURE = 120_000  # characters


def content(records: RunRecords) -> Mapping[str, Any] | Absent:
    found = records.mistakes
    if records.task.kind in ("segmentation", "forecasting"):  # these have sections of their own: masks, forecast
        return Absent()
    if found is None:
        return not_recorded(records)
    cards = [_card(mistake) for mistake in found.mistakes]
    pictures = any(card["picture"] or card["curve"] for card in cards)
    shown = SHOWN_PICTURES if pictures else SHOWN_ROWS
    return {
        "part": wording.PART_NAMES.get(found.part, found.part),
        "samples": wording.grouped(found.samples),
        "wrong": None if found.wrong is None else wording.grouped(found.wrong),
        "none_wrong": found.wrong == 0,
        "classification": found.task == "classification",
        "first": cards[:shown],
        "rest": cards[shown:],
        "pictures": pictures,
        "columns_left_out": found.columns_left_out,
    }


def _card(mistake: Mistake) -> Mapping[str, Any]:
    return {
        "identifier": sample_name(mistake.identifier),
        "actual": _answer(mistake.actual),
        "predicted": _answer(mistake.predicted),
        "probability": None if mistake.probability is None else f"{100 * mistake.probability:.1f} %",
        "of_actual": None if mistake.probability_of_actual is None else _small_share(mistake.probability_of_actual),
        "loss": wording.value(mistake.loss),
        "wrong": mistake.actual != mistake.predicted,
        "picture": picture_of(mistake.thumbnail),
        "curve": curves(mistake.curves, [len(mistake.curves[0])]).svg if mistake.curves else None,
        "values": [(str(name), _cell(value)) for name, value in mistake.values.items()],
    }


def _answer(values: Sequence[str | float]) -> str:
    return ", ".join(wording.value(value) if isinstance(value, float) else str(value) for value in values)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return wording.quantity(value)
    return str(value) if len(str(value)) <= LONGEST_VALUE else f"{str(value)[: LONGEST_VALUE - 1]}…"


def _small_share(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.0005 else "< 0.1 %"


def picture_of(thumbnail: str | None) -> str | None:
    """A record can be edited: only a picture that cannot be anything else gets into the page."""
    return thumbnail if thumbnail and len(thumbnail) <= LARGEST_PICTURE and _PICTURE.match(thumbnail) else None
