"""Numbers, quantities and names as the report writes them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from pellucid.core import wording
from pellucid.core.language import Text, text
from pellucid.core.records import Interval, Score
from pellucid.diagnosis.dynamic.curves import METRIC_WORDS, shown

THIN = "\u202f"  # narrow no-break space, between groups of three digits

PART_NAMES = {"train": text("training part"), "validation": text("validation part"), "test": text("test part")}
DATA_KINDS = {
    "forecasting": text("one or several series over time"),
    "table": text("a table"),
    "images": text("images"),
    "masks": text("images with masks"),
    "array": text("an array"),
    "torch": text("a torch data set"),
    "series": text("time series"),
}
UNUSED_COLUMNS = ("identifier", "constant", "nested")  # kinds that no network sees
OPTIMIZER_NAMES = {
    "sgd": "SGD",
    "momentum": text("SGD with momentum"),
    "nesterov": text("SGD with Nesterov momentum"),
    "adagrad": "Adagrad",
    "rmsprop": "RMSProp",
    "adam": "Adam",
    "adamw": "AdamW",
    "radam": "RAdam",
    "muon": "Muon",
}
AUGMENTATION_NAMES = {
    "flip": text("mirrored left to right at random"),
    "alternating_flip": text("mirrored left to right in every second epoch"),
    "shift": text("shifted, reflected at the border"),
    "shift_zero": text("shifted, black at the border"),
    "cutout": text("squares cut out"),
    "mixup": text("pairs mixed (mixup)"),
    "jitter": text("noise added"),
    "scaling": text("channels made larger and smaller"),
    "time_warp": text("stretched and squeezed along time"),
    "window_slice": text("a window stretched to the whole length"),
    "token_dropout": text("single tokens unknown"),
    "crop": text("pieces of the images"),
    "scale": text("seen larger or smaller"),
    "light": text("brightness and contrast changed"),
}
SCHEDULE_NAMES = {
    "constant": text("a constant rate"),
    "step": text("a rate divided by ten after each third of the steps"),
    "cosine": text("cosine decay"),
    "one_cycle": text("the one-cycle schedule"),
    "warmup": text("linear warm-up and linear decay"),
    "linear": text("linear decay"),
}
LOSS_NAMES = {
    "quantile": text("the quantile (pinball) loss"),
    "cross_entropy": text("cross-entropy loss"),
    "binary_cross_entropy": text("binary cross-entropy loss"),
    "focal": text("focal loss"),
    "dice": text("Dice loss"),
    "cross_entropy+dice": text("sum of cross-entropy and Dice loss"),
    "focal+dice": text("sum of focal and Dice loss"),
    "mse": text("mean squared error"),
    "mae": text("mean absolute error"),
    "huber": text("Huber loss"),
}
_MORE_METRICS = {"ece": text("expected calibration error"), "sensitivity": text("sensitivity"), "specificity": text("specificity")}


def metric_name(name: str) -> Text | str:
    return METRIC_WORDS.get(name) or _MORE_METRICS.get(name) or name.replace("_", " ")


def augmentations(option: str) -> list[Text | str]:
    """The changes that the option `augment` names ("alternating_flip,shift:2"), in words; a name that is not ours stands for itself."""
    told: list[Text | str] = []
    for part in filter(None, option.replace("shift_flip", "flip,shift").split(",")):
        name, _, amount = part.strip().partition(":")
        if amount and name in _AMOUNTS:
            told.append(_AMOUNTS[name](amount))
        else:
            told.append(AUGMENTATION_NAMES.get(name, part))
    return told


_AMOUNTS: dict[str, Callable[[str], Text]] = {  # of an augmentation, after its colon
    "shift": lambda amount: text("shifted by up to {amount} pixels, reflected at the border", amount=amount),
    "shift_zero": lambda amount: text("shifted by up to {amount} pixels, black at the border", amount=amount),
    "cutout": lambda amount: text("squares of {amount} pixels a side cut out", amount=amount),
    "mixup": lambda amount: text("pairs mixed (mixup, alpha {amount})", amount=amount),
    "token_dropout": lambda amount: text("each token unknown with probability {amount}", amount=amount),
    "jitter": lambda amount: text("noise of {amount} standard deviations added", amount=amount),
    "scaling": lambda amount: text("channels multiplied by factors around 1 (standard deviation {amount})", amount=amount),
    "time_warp": lambda amount: text("stretched and squeezed along time (strength {amount})", amount=amount),
    "window_slice": lambda amount: text("a window of the share {amount} stretched to the whole length", amount=amount),
    "crop": lambda amount: text("pieces of {amount} pixels", amount=amount.replace("x", " x ")),
    "light": lambda amount: text("brightness and contrast changed, contrast by a factor of up to {amount}", amount=amount),
    "scale": lambda amount: text("seen larger or smaller by a factor of up to {amount}", amount=amount),
}


def named(names: dict[str, Text] | dict[str, Text | str], name: object) -> Text | str:
    """The name for a person; one that is not ours (a user's own object, a later version's word) stands for itself."""
    return names.get(str(name), str(name).removeprefix("python:"))


def grouped(count: float) -> str:
    """12345678 as 12 345 678: the same in every language."""
    return wording.count(count).replace(" ", THIN)


def value(number: float | None, beside: float | None = None) -> str:
    """A score or a loss; "-" where there is none."""
    if number is None or math.isnan(number):
        return "–"
    written = shown(number, beside)
    if written.startswith("-") and not written.strip("-0."):  # a negative number too small for its decimals
        written = written[1:]
    return written.replace(" ", THIN).replace("-", "−")


def difference(number: float, beside: float) -> str:
    """With its sign, in the decimals of the score it belongs to."""
    return ("+" if number >= 0 else "") + value(number, beside)


def interval(of: Interval | None, beside: float | None = None) -> str:
    return "" if of is None else f"[{value(of.low, beside)}, {value(of.high, beside)}]"


def quantity(number: float) -> str:
    """A number of the user's data in at most six digits: 0.1 and not 0.10000000000000001; whole numbers with all of theirs."""
    if float(number).is_integer() and abs(number) < 1e15:
        return f"{number:.0f}".replace("-", "−")
    return f"{number:.6g}".replace("-", "−")


def stated(score: Score | None) -> str:
    """0.975 [0.962, 0.985]"""
    return "–" if score is None else f"{value(score.value)} {interval(score.interval, score.value)}".strip()


def shape(sizes: Sequence[int] | None) -> str:
    return "–" if sizes is None else " × ".join(str(size) for size in sizes) or "1"


def scaled(amount: float | None, unit: str) -> str:
    """1.23e9 with the unit FLOP as 1.23 GFLOP."""
    if amount is None or not math.isfinite(amount):
        return "–"
    for prefix, size in (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(amount) >= size:
            return f"{amount / size:.3g} {prefix}{unit}"
    return f"{amount:.3g} {unit}".strip()


def memory(amount: float | None) -> str:
    return "–" if amount is None else wording.memory(amount)


def seconds(amount: float | None) -> str:
    """A measured time in seconds, for columns of numbers: 0.004, 1.25, 873."""
    if amount is None:
        return "–"
    return f"{amount:.3f}" if amount < 1 else f"{amount:.2f}" if amount < 10 else f"{amount:.1f}" if amount < 100 else grouped(amount)


def rate(number: float | None) -> str:
    """A learning rate: 0.002, 1.5e-05."""
    return "–" if number is None else f"{number:.3g}"
