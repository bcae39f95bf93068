"""Quantities and names that the terminal, the report and the messages write in one way. Imports nothing heavy: `--help` uses this file."""

from __future__ import annotations

import math

from pellucid.core.language import Text, text

TASK_NAMES = {
    "classification": text("classification"),
    "regression": text("regression"),
    "forecasting": text("forecasting"),
    "segmentation": text("segmentation"),
}
COLUMN_KINDS = {  # the kinds of a table's columns, in the order in which they are counted
    "numeric": text("numeric"),
    "boolean": text("boolean"),
    "categorical": text("categorical"),
    "date": text("date"),
    "text": text("text"),
    "identifier": text("identifier"),
    "constant": text("constant"),
    "nested": text("nested"),
}
BASELINE_NAMES = {
    "constant": text("a constant answer"),
    "linear": text("logistic regression"),
    "decision_tree": text("a decision tree"),
    "random_forest": text("a random forest"),
    "gradient_boosting": text("gradient boosting"),
    "svm": text("a support vector machine"),
    "nearest_neighbour": text("the nearest neighbour (1-NN)"),
    "naive": text("the naive forecast"),
    "seasonal_naive": text("the seasonal naive forecast"),
    "ridge": text("ridge regression on the lags"),
}


def baseline_name(name: str, primary: str = "accuracy") -> Text:
    """What a person calls a simple or classical model; `primary` is the metric it is measured in. Another's name stands for itself."""
    if name == "linear" and primary == "r2":
        return text("ridge regression")
    return BASELINE_NAMES.get(name) or text("{sentence}", sentence=name.replace("_", " "))


def count(value: float) -> str:
    """A number of things: 21 300, the same in every language."""
    return f"{round(value):,}".replace(",", " ")


def counted(number: int, one: Text, many: Text) -> Text:
    """The sentence for one thing, or that for several: English writes them differently."""
    return one if number == 1 else many


def samples(number: int) -> Text:
    return counted(number, text("1 sample"), text("{count} samples", count=count(number)))


def duration(seconds: float) -> Text:
    """A time as a person says it: 0.4 s, 12 s, 3 min 20 s, 2 h 5 min."""
    if not math.isfinite(seconds):
        return text("unknown")
    if seconds < 9.95:
        return text("{seconds:.1f} s", seconds=max(seconds, 0.0))
    whole = round(seconds)
    if whole < 60:
        return text("{seconds} s", seconds=whole)
    if whole < 3600:
        return text("{minutes} min {seconds} s", minutes=whole // 60, seconds=whole % 60)
    whole = round(seconds / 60)
    return text("{hours} h {minutes} min", hours=whole // 60, minutes=whole % 60)


def memory(amount: float) -> str:
    """An amount of memory in binary units, two digits or more: 812 B, 4.7 MiB, 3.2 GiB, 45 GiB."""
    for name, size in (("EiB", 2**60), ("PiB", 2**50), ("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if amount >= size:
            return f"{amount / size:.1f} {name}" if amount < 10 * size else f"{amount / size:.0f} {name}"
    return f"{amount:.0f} B"
