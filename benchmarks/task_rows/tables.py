"""Tables: adult beside gradient boosting, California housing with the values that are missing in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars

from task_rows.row import Goal, Row

ADULT_COLUMNS = [
    *("age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation", "relationship", "race", "sex"),
    *("capital_gain", "capital_loss", "hours_per_week", "native_country", "income"),
]


def adult(data_dir: Path, folder: Path) -> tuple[Any, dict[str, Any]]:
    """The published parts, with a header and without the dot after each label of the test part."""
    paths: list[Path] = []
    for part in ("train", "test"):
        table = polars.read_csv(
            data_dir / "tabular" / f"adult-{part}.csv", has_header=False, new_columns=ADULT_COLUMNS, infer_schema=False
        ).with_columns(polars.all().str.strip_chars(" ."))
        paths.append(folder / f"adult-{part}.csv")
        table.drop_nulls("income").write_csv(paths[-1])
    return tuple(paths), {"target": "income"}


def housing(data_dir: Path, folder: Path) -> tuple[Any, dict[str, Any]]:
    return data_dir / "tabular" / "california_housing.csv", {"target": "median_house_value"}


ROWS = (
    Row(
        "tables", "adult", adult,
        (Goal("accuracy", least=0.865), Goal("roc_auc", behind=0.01, named="gradient_boosting")), "tabular/adult-train.csv",
        said="the published test part",
    ),
    Row("tables", "california_housing", housing, (Goal("r2", least=0.80),), "tabular/california_housing.csv"),
)  # fmt: skip
