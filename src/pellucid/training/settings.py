"""What "auto" becomes: every default of training, with its reason, in one place."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from pellucid.core.errors import OptionError
from pellucid.core.language import text
from pellucid.core.records import Task
from pellucid.networks import registry
from pellucid.training.augmentation import automatic_augmentation
from pellucid.training.recipes import Situation, recipe_of

# The customary learning rate of each optimiser: the middle of the range test, and the rate where the test has nothing to say.
CUSTOMARY_RATE = {
    "sgd": 0.1, "momentum": 0.05, "nesterov": 0.05, "adagrad": 0.02, "rmsprop": 0.001, "adam": 0.002, "adamw": 0.002, "radam": 0.002,
    "muon": 0.02,
}  # fmt: skip
CUSTOMARY_MOMENTUM = {
    "sgd": 0.0, "momentum": 0.9, "nesterov": 0.9, "adagrad": 0.0, "rmsprop": 0.0, "adam": 0.9, "adamw": 0.9, "radam": 0.9,
    "muon": 0.95,
}  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """Every value training uses, decided before the first step but for the learning rate and a budgeted number of epochs."""

    loss: Any
    optimizer: Any
    learning_rate: float | str  # "auto" until the range test has decided
    schedule: str
    momentum: float
    epochs: int
    patience: int | None
    until: str | None
    batch_size: int
    weight_decay: float
    l1: float
    dropout: float
    label_smoothing: float
    class_weight: Any
    clip: float | None
    augment: str
    seed: int
    precision: str
    budget: float | None
    checkpoint_interval: float
    activation: Any
    threads: int = 1  # of the processor, for one operation
    memory_format: str = "contiguous"  # of images and of the weights of convolutions, or "channels_last"
    chosen: tuple[str, ...] = ()  # names of the settings that were "auto"

    def to_dict(self) -> dict[str, Any]:
        """For run.json: objects by their names."""
        return {name: _stored(value) for name, value in asdict(self).items()}


def _stored(value: Any) -> Any:
    """As JSON holds it; an object given from Python is only named: going on needs it again."""
    if isinstance(value, (str, int, float, bool, type(None))):
        return value
    if isinstance(value, (list, tuple)):
        return [_stored(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _stored(item) for key, item in value.items()}
    return "python:" + (getattr(value, "__name__", None) or type(value).__name__)


def _as_list(value: Any) -> Any:
    """An array or a tensor as a list, which run.json can hold."""
    return value.tolist() if hasattr(value, "tolist") else value


def _weight_decay(optimizer: Any, linear: bool, samples: int) -> float:
    """A user's own class gets what the named optimiser of its kind gets, and none where it takes none.

    Decoupled decay of 0.1; few samples get 0.5. benchmarks/small_data_defaults.py compares with 0.01, 0.1 and 1 on 24 splits: on
    wine (0.1 minus 0.5: +0.0012 ± 0.0026) and breast-cancer (-0.0004 ± 0.0021) none differs from 0.5 by two standard errors.
    """
    decoupled = 0.5 if samples < 1000 else 0.1
    if optimizer in ("adamw", "muon"):
        return decoupled
    if not isinstance(optimizer, str):
        made = optimizer.func if isinstance(optimizer, functools.partial) else optimizer
        if not isinstance(made, type) or "weight_decay" not in inspect.signature(made).parameters:
            return 0.0
        if issubclass(made, torch.optim.AdamW):
            return decoupled
    return 0.0 if linear else 1e-4


def choose_settings(
    options: Mapping[str, Any],
    task: Task,
    *,
    train_samples: int,
    input_shape: tuple[int, ...],
    network_name: str,
    mirrorable: bool = False,
    device: torch.device | None = None,
) -> Settings:
    """Replace every "auto" by a value that suits the data; `mirrorable` says that images mirrored left to right are as good.

    Raises:
        OptionError: options that contradict the task or each other.
    """
    auto = (name for name, value in options.items() if isinstance(value, str) and value == "auto")  # an array compares with no text
    chosen = tuple(name for name in auto if name in Settings.__dataclass_fields__)

    recipe = recipe_of(network_name, Situation(options, task, train_samples, input_shape, mirrorable, device))
    if not has_dropout(network_name):
        recipe.pop("dropout", None)

    def decide(name: str, value: Any) -> Any:
        """The user's value, else that of the network's recipe, else `value`."""
        automatic = isinstance(options[name], str) and options[name] == "auto"
        return recipe.get(name, value) if automatic else options[name]

    optimizer = decide("optimizer", "adamw")
    name = optimizer if isinstance(optimizer, str) else "adamw"
    batch_size = decide("batch_size", automatic_batch_size(train_samples))
    steps_per_epoch = max(1, math.ceil(train_samples / batch_size))
    epochs = decide("epochs", _epochs(steps_per_epoch))
    linear = network_name in ("perceptron", "logistic")
    settings = Settings(
        loss=decide("loss", "cross_entropy" if task.kind == "classification" else "mse"),
        optimizer=optimizer,
        learning_rate=decide("learning_rate", "auto"),
        schedule=decide("schedule", "one_cycle"),
        momentum=decide("momentum", CUSTOMARY_MOMENTUM[name]),
        epochs=epochs,
        # With a schedule that ends at zero the last third is where most is won; stopping much earlier would cut it off.
        patience=decide("patience", max(10, math.ceil(epochs * 0.4))),
        until=options["until"],
        batch_size=batch_size,
        weight_decay=decide("weight_decay", _weight_decay(optimizer, linear, train_samples)),
        l1=options["l1"],
        dropout=decide("dropout", _dropout(train_samples, network_name) if has_dropout(network_name) else 0.0),
        label_smoothing=decide("label_smoothing", 0.0),
        class_weight=_as_list(options["class_weight"]),
        clip=options["clip"],
        augment=decide("augment", automatic_augmentation(input_shape, mirrorable)),
        seed=options["seed"],
        precision=decide("precision", "float32"),
        budget=options["budget"],
        checkpoint_interval=options["checkpoint_interval"],
        activation=decide("activation", "relu"),
        threads=torch.get_num_threads(),
        chosen=chosen,
    )
    _check(settings, task)
    return settings


def automatic_batch_size(samples: int) -> int:
    """A power of two near the number of samples / 32, between 16 and 256: small data need many updates, large data need speed."""
    return 2 ** min(8, max(4, round(math.log2(max(samples, 1) / 32))))


def _epochs(steps_per_epoch: int) -> int:
    """About 3000 updates, but at least 15 and at most 100 passes over the data; early stopping ends sooner where nothing more is won."""
    return int(min(100, max(15, 3000 // steps_per_epoch)))


def has_dropout(network_name: str) -> bool:
    """Whether the network takes the option; networks that users register need not. A user's own module is not looked at."""
    return network_name not in registry.names() or "dropout" in registry.entry(network_name).options


def _dropout(samples: int, network_name: str) -> float:
    """The fewer samples, the stronger: what is customary.

    benchmarks/small_data_defaults.py compares 0, 0.2 and 0.4 on 24 splits: on wine (0.2 minus 0.4: -0.0012 ± 0.0035) and breast-cancer
    (+0.0015 ± 0.0016) they cannot be told apart. The one wide layer behind embedded columns takes more (benchmarks/LOG.md).
    """
    if network_name == "embedding_mlp":
        return 0.3
    return 0.4 if samples < 1000 else 0.2 if samples < 5000 else 0.1


def _check(settings: Settings, task: Task) -> None:
    """What the loss itself does not refuse."""
    if task.kind == "regression":
        for option in ("label_smoothing", "class_weight"):
            if getattr(settings, option):
                raise OptionError(
                    text("{option} is set and the task is regression", option=option),
                    text("{option} belongs to classification", option=option),
                    text("leave it out, or set --task classification"),
                )
