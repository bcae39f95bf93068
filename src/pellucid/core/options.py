# ruff: noqa: E501 - the table below has an option per line
"""The one table of options. It feeds `fit`'s checks, the command line, TOML files and the documentation; nothing else lists options.

No torch, no click here: `pellucid --help` must answer at once.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from pellucid.core.errors import OptionError, OptionTypeError, did_you_mean
from pellucid.core.language import Text, text


@dataclass(frozen=True)
class Option:
    """One argument of `fit`, equally an option of the command line and a key of a TOML file."""

    name: str
    kind: str  # "integer", "number", "choice", "text", "path", "duration", "fraction", "flag", "mapping"
    default: Any
    help: Text
    group: str  # heading in --help and in the documentation: "task", "network", "optimisation", "regularisation", "data", "run"
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None  # exclusive minimum
    below: float | None = None  # exclusive maximum
    unit: str = ""
    objects: bool = False  # from Python an object is welcome too: a module, a factory, an optimiser class
    value_name: str = ""  # what stands for the value in --help

    @property
    def automatic(self) -> bool:
        return self.default == "auto"

    @property
    def nullable(self) -> bool:
        return self.default is None

    def check(self, value: Any) -> Any:
        """The value, converted to the option's type, or an `OptionError`.

        Raises:
            OptionTypeError: the value is of another type.
            OptionError: it is outside the option's range or choices.
        """
        if value is None:
            if self.nullable:
                return None
            raise OptionTypeError(
                text("{option} is None", option=self.name), self.expectation(), text("leave the option out to get its default")
            )
        if isinstance(value, str) and value.lower() == "auto" and self.automatic:
            return "auto"
        if isinstance(value, str) and value.lower() == "none" and self.nullable:
            return None
        if self.objects and not isinstance(value, (str, int, float)):
            return value
        return _CHECKS[self.kind](self, value)

    def expectation(self) -> Text:
        """What the option takes, in words."""
        if self.choices:
            return text("{option} is one of: {choices}", option=self.name, choices=list(self.choices))
        kind = _KIND_WORDS[self.kind]
        bounds: list[Text] = []
        if self.minimum is not None:
            bounds.append(text("at least {bound}", bound=_bound(self.minimum)))
        if self.above is not None:
            bounds.append(text("above {bound}", bound=_bound(self.above)))
        if self.maximum is not None:
            bounds.append(text("at most {bound}", bound=_bound(self.maximum)))
        if self.below is not None:
            bounds.append(text("below {bound}", bound=_bound(self.below)))
        if self.automatic:
            bounds.append(text('or "auto"'))
        if bounds:
            return text("{option} is {kind}: {bounds}", option=self.name, kind=kind, bounds=bounds)
        return text("{option} is {kind}", option=self.name, kind=kind)


def _bound(value: float) -> str:
    """A bound as a person writes it: 1000000, not 1e+06."""
    return str(int(value)) if value == int(value) and abs(value) < 1e19 else f"{value:g}"


_KIND_WORDS = {
    "integer": text("a whole number"),
    "number": text("a number"),
    "fraction": text("a fraction of the samples (0.2) or how many of them (200)"),
    "choice": text("a name"),
    "text": text("a text"),
    "path": text("a path"),
    "duration": text("a time such as 90s, 3min or 1h"),
    "flag": text("true or false"),
    "mapping": text("a mapping of names to values"),
}


_Number = TypeVar("_Number", int, float)


def _number(option: Option, value: Any) -> float:
    try:
        if isinstance(value, bool):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise OptionTypeError(
            text("{option} is {value!r}", option=option.name, value=value), option.expectation(), text("write it as a number")
        ) from None
    return _within(option, number)


def _within(option: Option, number: _Number) -> _Number:
    """The number, or an `OptionError` where it is outside the option's range."""
    outside = (
        (isinstance(number, float) and not math.isfinite(number))
        or (option.minimum is not None and number < option.minimum)
        or (option.maximum is not None and number > option.maximum)
        or (option.above is not None and number <= option.above)
        or (option.below is not None and number >= option.below)
    )
    if outside:
        shown = f"{number:g}" if isinstance(number, float) else str(number)
        raise OptionError(
            text("{option} is {value}", option=option.name, value=shown), option.expectation(), text("choose a value in that range")
        )
    return number


def _integer(option: Option, value: Any) -> int:
    try:  # without a detour through floating point, which would change a seed of more than 53 bits
        if not isinstance(value, bool):
            return _within(option, int(value) if isinstance(value, str) else operator.index(value))
    except (TypeError, ValueError) as error:
        if isinstance(error, OptionError):
            raise
    number = _number(option, value)
    if number != int(number):
        raise OptionError(
            text("{option} is {value:g}", option=option.name, value=number), option.expectation(), text("round it to a whole number")
        )
    return int(number)


def _fraction(option: Option, value: Any) -> float | int:
    number = _number(option, value)
    if number >= 1 and number != int(number):
        raise OptionError(text("{option} is {value:g}", option=option.name, value=number), option.expectation(), text("round it"))
    return int(number) if number >= 1 else number


def _choice(option: Option, value: Any) -> str:
    if not isinstance(value, str):
        raise OptionTypeError(
            text("{option} is {value!r}", option=option.name, value=value), option.expectation(), text("give the name as a text")
        )
    name = value.strip().lower().replace("-", "_")
    by_name = {choice.replace("-", "_"): choice for choice in option.choices}
    if name in by_name:
        return by_name[name]
    raise OptionError(
        text("{option} is {value!r}", option=option.name, value=value), option.expectation(), did_you_mean(value, option.choices)
    )


def _text(option: Option, value: Any) -> str:
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        return str(value)
    if hasattr(value, "__fspath__"):
        return str(value)
    raise OptionTypeError(text("{option} is {value!r}", option=option.name, value=value), option.expectation(), text("give a text"))


def _flag(option: Option, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if str(value).lower() in words:
        return words[str(value).lower()]
    raise OptionTypeError(text("{option} is {value!r}", option=option.name, value=value), option.expectation(), text("say true or false"))


_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(ms|s|sec|seconds?|min|m|minutes?|h|hours?)?\s*$", re.IGNORECASE)


def _duration(option: Option, value: Any) -> float:
    """Seconds."""
    if isinstance(value, str):
        match = _DURATION.match(value)
        if not match:
            raise OptionError(
                text("{option} is {value!r}", option=option.name, value=value),
                option.expectation(),
                text("write the number and its unit, for example 3min"),
            )
        unit = (match.group(2) or "s").lower()
        seconds = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}["ms" if unit == "ms" else unit[0]]
        value = float(match.group(1)) * seconds
    return _number(option, value)


def _mapping(option: Option, value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {str(key): item for key, item in cast("Mapping[Any, Any]", value).items()}
    raise OptionTypeError(
        text("{option} is {value!r}", option=option.name, value=value), option.expectation(), text("write it as NAME=VALUE or a dict")
    )


_CHECKS = {
    "integer": _integer,
    "number": _number,
    "fraction": _fraction,
    "choice": _choice,
    "text": _text,
    "path": _text,
    "duration": _duration,
    "flag": _flag,
    "mapping": _mapping,
}

# The order is the order of fit's signature.
OPTIONS: tuple[Option, ...] = (
    Option(
        "task", "choice", "auto", text("what to learn; auto looks at the target; time_series: each row, or each group of rows, is a series of numbers; forecasting: the next steps of a series"), "task",
        choices=("classification", "regression", "time_series", "forecasting", "segmentation"),
    ),
    Option("network", "text", "auto", text("the network's name, for example mlp, cnn, lstm, transformer; from Python also a module or a factory of one"), "network", objects=True, value_name="NAME"),
    Option("activation", "text", "auto", text("the activation function's name, for example relu, tanh, gelu"), "network", objects=True, value_name="NAME"),
    Option(
        "loss", "choice", "auto", text("the loss function"), "optimisation",
        choices=("mse", "mae", "huber", "quantile", "cross_entropy", "binary_cross_entropy", "focal", "dice", "cross_entropy+dice", "focal+dice"), objects=True,
    ),
    Option(
        "optimizer", "choice", "auto", text("the optimiser"), "optimisation",
        choices=("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "radam", "muon"), objects=True,
    ),
    Option("learning_rate", "number", "auto", text("the step size; auto runs a range test"), "optimisation", above=0.0, maximum=1000.0),
    Option(
        "schedule", "choice", "auto", text("how the learning rate changes while training"), "optimisation",
        choices=("constant", "step", "cosine", "one_cycle", "warmup", "linear"),
    ),
    Option("momentum", "number", "auto", text("the momentum of SGD and RMSProp, and beta 1 of Adam"), "optimisation", minimum=0.0, below=1.0),
    Option("epochs", "integer", "auto", text("how many times the training data are seen"), "optimisation", minimum=1, maximum=1_000_000),
    Option("until", "text", None, text("stop when a validation metric is reached, for example accuracy>=0.95 or r2>0.8"), "optimisation", value_name="CONDITION"),
    Option("patience", "integer", "auto", text("stop after this many epochs without progress on the validation part"), "optimisation", minimum=1, maximum=1_000_000),
    Option("batch_size", "integer", "auto", text("how many samples one step sees"), "optimisation", minimum=1, maximum=10_000_000),
    Option("weight_decay", "number", "auto", text("L2 regularisation; with adamw as decoupled weight decay"), "regularisation", minimum=0.0, maximum=100.0),
    Option("l1", "number", 0.0, text("L1 regularisation: this times the sum of the weights' absolute values is added to the loss"), "regularisation", minimum=0.0, maximum=100.0),
    Option("dropout", "number", "auto", text("the probability of setting a hidden unit to zero"), "regularisation", minimum=0.0, below=1.0),
    Option("label_smoothing", "number", "auto", text("how much of a class label is spread over all classes"), "regularisation", minimum=0.0, below=1.0),
    Option("class_weight", "text", None, text('"balanced", or a weight per class such as 1,2.5'), "regularisation", objects=True, value_name="balanced"),
    Option("clip", "number", None, text("the largest norm of the whole gradient; larger ones are scaled down"), "regularisation", above=0.0, maximum=1e9),
    Option("augment", "text", "auto", text("random changes of the training samples: none, or several joined by commas; of images: flip, alternating_flip, shift, shift_zero, cutout, mixup; of images with masks: flip, crop, scale, light; of texts: token_dropout; of series: jitter, scaling, time_warp, window_slice"), "regularisation", value_name="NAMES"),
    Option("validation", "fraction", "auto", text("the part held out to choose and stop: a fraction (0.2), a number of samples (200), or 0 for none"), "data", minimum=0.0, maximum=1e12),
    Option("test", "fraction", "auto", text("the part held out for the final score: a fraction, a number of samples, 0 for none, or on the command line a file of its own"), "data", minimum=0.0, maximum=1e12),
    Option("group", "text", None, text("the column whose equal values stay on one side of the split"), "data", objects=True, value_name="COLUMN"),
    Option("time", "text", None, text("the column by which the split is made: the latest samples are the test part"), "data", objects=True, value_name="COLUMN"),
    Option("horizon", "integer", "auto", text("forecasting: how many steps ahead"), "task", minimum=1, maximum=100_000),
    Option("lags", "integer", "auto", text("forecasting: how many past steps a forecast is made from"), "task", minimum=1, maximum=1_000_000),
    Option("header", "flag", True, text("the table's first line holds the column names"), "data"),
    Option("data_dir", "path", None, text("the folder in which cifar10, mnist or fashion-mnist is looked for first, and into which it is downloaded"), "data", value_name="FOLDER"),
    Option("seed", "integer", 0, text("the seed of every random draw"), "run", minimum=0, maximum=2**63 - 1),
    Option("device", "text", "auto", text("where to compute: cpu, cuda, cuda:1, mps"), "run", objects=True, value_name="NAME"),
    Option("precision", "choice", "auto", text("the number format of the forward pass"), "run", choices=("float32", "bfloat16")),
    Option("budget", "duration", None, text("the time that the whole command may take, for example 3min"), "run", above=0.0, maximum=3.2e7, value_name="TIME"),
    Option("checkpoint_interval", "duration", 30.0, text("the time between two checkpoints"), "run", minimum=0.0, maximum=3.2e7, value_name="TIME"),
    Option("baselines", "flag", True, text("also learn classical models from the same data, and say whether the network is better"), "run"),
    Option("report", "flag", True, text("draw report.html into the run at the end"), "run"),
    Option("watch", "flag", False, text("look into the training while it runs, and keep what was seen in records/watch.json"), "run"),
    Option("learning_curve", "flag", False, text("also train on growing parts of the data, and say how much more data a smaller error needs"), "run"),
    Option("remedy", "flag", False, text("also try the classical remedies against over- and underfitting, and say which of them help"), "run"),
    Option("directory", "path", "runs", text("the folder in which the run's own folder is made"), "run", value_name="FOLDER"),
    Option("network_options", "mapping", None, text("an option of the chosen network alone, for example hidden=64; may be repeated"), "network", value_name="NAME=VALUE"),
)  # fmt: skip
BY_NAME = {option.name: option for option in OPTIONS}


def resolve(given: Mapping[str, Any]) -> dict[str, Any]:
    """All options in the table's order: those given, checked, and the defaults of the rest.

    Raises:
        OptionTypeError: a name that is no option ("did you mean"), or a value of the wrong type.
        OptionError: a value outside its range.
    """
    for name in given:
        if name not in BY_NAME:
            raise OptionTypeError(
                text("{name!r} is no option", name=name),
                text("one of the {count} options", count=len(BY_NAME)),
                did_you_mean(name, BY_NAME),
            )
    return {option.name: option.check(given[option.name]) if option.name in given else option.default for option in OPTIONS}
