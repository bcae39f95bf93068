"""Images beside their masks and what the network answered: the worst, and some drawn at random."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pellucid.core.results import MaskPicture
from pellucid.report import wording
from pellucid.report.records import RunRecords
from pellucid.report.sections.absent import Absent, not_recorded
from pellucid.report.sections.mistakes import picture_of

_COLOUR = re.compile(r"^#[0-9a-f]{6}$")


def content(records: RunRecords) -> Mapping[str, Any] | Absent:
    if records.task.kind != "segmentation":
        return Absent()
    found = records.masks
    if found is None:
        return not_recorded(records)
    rows = [(picture.choice, _row(picture)) for picture in found.pictures]
    return {
        "part": wording.PART_NAMES.get(found.part, found.part),
        "samples": wording.grouped(found.samples),
        "legend": [(name, colour) for name, colour in found.legend if _COLOUR.match(colour)],
        "worst": [row for choice, row in rows if choice == "worst"],
        "random": [row for choice, row in rows if choice != "worst"],
    }


def _row(picture: MaskPicture) -> Mapping[str, Any]:
    return {
        "identifier": picture.identifier,
        "accuracy": f"{100 * picture.pixel_accuracy:.1f} %",
        "iou": wording.value(picture.mean_iou),
        "pictures": [picture_of(url) for url in (picture.image, picture.mask, picture.answer, picture.mistakes)],
    }
