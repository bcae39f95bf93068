"""What the scripts of this folder share: figures over several seeds, each with its 95 % interval, as a table and as a file.

A script measures once per seed and gives {row: {column: number}}. A row of differences is taken within each seed, so that what changes
from seed to seed for both drops out of it. The interval is that of the mean over the seeds (Student's t); of a share of seeds, True or
False, it is Wilson's.

python examples/claims/NAME.py           the figures of docs/course
python examples/claims/NAME.py --quick   fewer seeds and smaller networks: a look, and what the tests run
python examples/claims/NAME.py --write   keep them in results/NAME.json, from where python tools/course_tables.py takes them
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pellucid.core.numerics import mean_interval, wilson_interval

RESULTS = Path(__file__).parent / "results"
Figures = dict[str, dict[str, float]]  # row -> column -> number


def figure(values: list[float]) -> dict[str, Any]:
    """Mean and interval of one number per seed."""
    if all(isinstance(value, bool) for value in values):
        interval = wilson_interval(int(sum(values)), len(values))
    else:
        interval = mean_interval(np.array(values, dtype=float))
    return {"mean": float(np.mean(values)), "low": interval.low, "high": interval.high}


def over_seeds(measure: Callable[[int, bool], Figures], seeds: int, quick: bool) -> dict[str, dict[str, dict[str, Any]]]:
    """row -> column -> mean, low, high, and how they are shown: one column has one number of decimals."""
    measured = [measure(seed, quick) for seed in range(seeds)]
    table = {row: {column: figure([of[row][column] for of in measured]) for column in cells} for row, cells in measured[0].items()}
    for column in dict.fromkeys(column for cells in table.values() for column in cells):
        cells = [cells[column] for cells in table.values() if column in cells]
        largest = max(abs(cell["mean"]) for cell in cells)
        decimals = next((decimals for limit, decimals in ((1.5, 3), (10, 2), (100, 1)) if largest < limit), 0)
        whole = all(cell["low"] == cell["high"] and cell["mean"].is_integer() for cell in cells) and largest > 1
        for cell in cells:
            mean, low, high = (f"{cell[key]:.{0 if whole else decimals}f}" for key in ("mean", "low", "high"))
            cell["shown"] = mean if whole else f"{mean} [{low}, {high}]"
    return table


def report(measure: Callable[[int, bool], Figures], *, seeds: int, script: str) -> None:
    """Measure, print the table; with --write keep it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="three seeds and smaller networks")
    parser.add_argument("--write", action="store_true", help="keep the figures in results/")
    options = parser.parse_args()
    torch.set_num_threads(1)  # small networks: more threads would only wait for each other
    seeds = 3 if options.quick else seeds
    table = over_seeds(measure, seeds, options.quick)
    columns = list(dict.fromkeys(column for cells in table.values() for column in cells))
    lines = [
        ["", *columns],
        *([row, *(cells[column]["shown"] if column in cells else "" for column in columns)] for row, cells in table.items()),
    ]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns) + 1)]
    for row, *cells in lines:
        print("  ".join([row.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))]).rstrip())
    print(f"mean over {seeds} seeds [95 % interval]")
    if options.write:
        if options.quick:
            parser.error("--write keeps the full measurement: leave --quick out")
        RESULTS.mkdir(exist_ok=True)
        record = {"seeds": seeds, "torch": torch.__version__.split("+")[0], "rows": table}
        (RESULTS / f"{Path(script).stem}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
