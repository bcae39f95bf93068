"""Forecasting: tables with a column of times, forecast from every origin of the test part, beside the naive forecasts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from task_rows.row import Goal, Row

Files = Callable[[Path, Path], tuple[Any, dict[str, Any]]]


def table(name: str, target: str) -> Files:
    def files(data_dir: Path, folder: Path) -> tuple[Any, dict[str, Any]]:
        return data_dir / "timeseries" / f"{name}.csv", {"target": target, "task": "forecasting"}

    return files


def beside_the_season(run: Any) -> dict[str, float]:
    """MASE divided by that of the seasonal naive forecast on the same origins: below 1 is better."""
    record = json.loads((run.directory / "records" / "baselines.json").read_text(encoding="utf-8"))
    season = next(row for row in record["baselines"] if row["name"] == "seasonal_naive")
    naive = next(score["value"] for score in season["scores"] if score["name"] == "mase")
    return {"mase / seasonal naive": run.metrics["test"]["mase"] / naive}


GOALS = (Goal("mase", behind=0.0, named="seasonal_naive"),)
ROWS = (
    Row("forecasting", "airline-passengers", table("airline-passengers", "Passengers"), GOALS, "timeseries", scores=beside_the_season),
    Row("forecasting", "daily-min-temperatures", table("daily-min-temperatures", "Temp"), GOALS, "timeseries", scores=beside_the_season),
    Row("forecasting", "pollution", table("pollution", "pm2.5"), GOALS, "timeseries", scores=beside_the_season),
)
