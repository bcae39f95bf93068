"""Time-series classification: sets of the UCR and UEA archives with their published training and test files.

`pellucid fit NAME_TRAIN.ts` takes NAME_TEST.ts beside it as the test part.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from task_rows.row import Goal, Row


def _files(name: str) -> Any:
    def files(data_dir: Path, folder: Path) -> tuple[Any, dict[str, Any]]:
        return data_dir / "timeseries" / f"{name}_TRAIN.ts", {}

    return files


ROWS = tuple(
    Row("time series", name, _files(name), (Goal("accuracy", least=least),), f"timeseries/{name}_TRAIN.ts", said="the published split")
    for name, least in (("ItalyPowerDemand", 0.96), ("GunPoint", 0.97), ("JapaneseVowels", 0.96))
)
