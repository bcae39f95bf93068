"""Networks by name: how ours and other people's are registered, built and checked; and a look at a user's own module before training.

A network is a class (or function) called as `constructor(input_shape, outputs, *, option=default, ...)` that returns an `nn.Module` taking
(N, *input_shape) to (N, outputs), scores without a final softmax or sigmoid. Its keyword-only parameters are its options. Write your own:

    @network("bottleneck", options=(Option("width", "integer", None, text("units in the middle"), "network", minimum=1),))
    class Bottleneck(nn.Module):
        def __init__(self, input_shape, outputs, *, width=2, activation="relu"): ...

A network with a method `initialize_from(images)` is shown training images (N, C, H, W), standardised, before its first step, and keeps what
it computes of them in its weights. One with the option `mirrored` gets it set where training mirrors the images; those with the options
`columns` or `vocabulary` get how many inputs each column of a table has, or how many tokens there are. One with a method
`scale_scores(factor)` gets its probabilities corrected after a training with smoothed labels.

Or name it in the entry point group "pellucid.networks" of your own package. An option without a row in `options` is typed by its default.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from pellucid.core.errors import ModelError, OptionError, OptionTypeError, PellucidError, did_you_mean
from pellucid.core.language import Text, text
from pellucid.core.options import Option
from pellucid.core.records import Notice, Task

ENTRY_POINT_GROUP = "pellucid.networks"
EMBEDDED_FROM = 2000  # rows of a table: with fewer its numbers have no pieces, and there is little to embed
MOST_EMBEDDED = 2_000_000  # weights of the embedding, zeros included
GENERAL_OPTIONS = ("activation", "dropout")  # options of `fit` itself, handed to the networks that have them

_Constructor = TypeVar("_Constructor", bound=Callable[..., nn.Module])


@dataclass(frozen=True)
class IntegersOption(Option):
    """An option that holds several whole numbers, such as hidden=(64, 64); from a command line "64,64"."""

    def check(self, value: Any) -> tuple[int, ...]:
        parts = value.strip("()[] ").split(",") if isinstance(value, str) else value if isinstance(value, (list, tuple)) else [value]
        one = Option(self.name, "integer", 0, self.help, self.group, minimum=self.minimum, maximum=self.maximum)
        return tuple(one.check(part.strip() if isinstance(part, str) else part) for part in parts if part != "")


@dataclass(frozen=True)
class NetworkEntry:
    """A registered network."""

    name: str
    constructor: Callable[..., nn.Module]
    options: Mapping[str, Option]  # its own and, where it has them, the general ones
    tasks: tuple[str, ...] = ("classification", "regression")

    @property
    def own_options(self) -> dict[str, Option]:
        return {name: option for name, option in self.options.items() if name not in GENERAL_OPTIONS}


_ENTRIES: dict[str, NetworkEntry] = {}


def network(
    name: str, *, options: tuple[Option, ...] = (), tasks: tuple[str, ...] = ("classification", "regression")
) -> Callable[[_Constructor], _Constructor]:
    """Register the decorated constructor as the network `name`. `options` says what the keyword-only parameters may be.

    Raises:
        ValueError: the name is taken by another constructor, or `options` names a parameter that the constructor does not have.
    """

    def register(constructor: _Constructor) -> _Constructor:
        taken = _ENTRIES.get(name)
        if taken is not None and getattr(taken.constructor, "__qualname__", None) != getattr(constructor, "__qualname__", None):
            raise ValueError(f"the network name {name!r} is taken by {taken.constructor!r}")
        _ENTRIES[name] = _entry(name, constructor, options, tasks)
        return constructor

    return register


def _entry(name: str, constructor: Callable[..., nn.Module], options: tuple[Option, ...], tasks: tuple[str, ...]) -> NetworkEntry:
    parameters = {
        parameter.name: parameter.default
        for parameter in inspect.signature(constructor).parameters.values()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    described = {option.name: option for option in options}
    unknown = set(described) - set(parameters)
    if unknown:
        raise ValueError(f"network {name!r} describes options that its constructor does not have: {sorted(unknown)}")
    table: dict[str, Option] = {}
    for parameter, default in parameters.items():
        value = None if default is inspect.Parameter.empty else default
        option = described.get(parameter) or _option_of_default(parameter, value)
        table[parameter] = replace(option, default=value)
    return NetworkEntry(name, constructor, table, tasks)


def _option_of_default(name: str, default: Any) -> Option:
    """A parameter that nobody described: its default tells its type."""
    told = text("see the network's own documentation")
    if isinstance(default, (tuple, list)):
        return IntegersOption(name, "text", default, told, "network")
    kinds: list[tuple[type, str]] = [(bool, "flag"), (int, "integer"), (float, "number")]
    kind = next((kind for of, kind in kinds if isinstance(default, of)), "text")
    return Option(name, kind, default, told, "network", objects=kind == "text")


@cache
def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def names() -> list[str]:
    """Every network there is: ours, those registered in this program, and those that installed packages offer."""
    return sorted({*_ENTRIES, *_installed()})


def entry(name: str) -> NetworkEntry:
    """The entry of `name`; an installed package's network is imported now.

    Raises:
        OptionError: no such network.
    """
    key = name.strip().lower().replace("-", "_")
    if key not in _ENTRIES and key in _installed():
        loaded = _installed()[key].load()  # importing it may have registered it already
        if key not in _ENTRIES:
            network(key)(loaded)
    if key not in _ENTRIES:
        raise OptionError(
            text("network is {name!r}", name=name), text("one of the networks {names}", names=list(names())), did_you_mean(name, names())
        )
    return _ENTRIES[key]


def resolved_options(name: str, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """All of the network's own options: those given, checked and converted, and the defaults of the rest. Worth keeping in a run.

    Raises:
        OptionTypeError: a name that is no option of this network, or a value of the wrong type. OptionError: a value out of range.
    """
    found = entry(name)
    known = found.own_options
    for option in options or {}:
        if option in known:
            continue
        if option in GENERAL_OPTIONS:
            do = text("give it beside the network's own options: {option}=...", option=option)
        elif known:
            do = did_you_mean(option, known)
        else:
            do = text("leave it out")
        raise OptionTypeError(
            text("{option!r} is no option of the network {network}", option=option, network=found.name),
            text("{network} has the options: {options}", network=found.name, options=list(known))
            if known
            else text("{network} has no options of its own", network=found.name),
            do,
        )
    given = dict(options or {})
    return {option: row.check(given[option]) if option in given else row.default for option, row in known.items()}


def build(
    name: str,
    *,
    input_shape: tuple[int, ...],
    outputs: int,
    activation: Any = "auto",
    dropout: float | str = "auto",
    options: Mapping[str, Any] | None = None,
    task_kind: str | None = None,
) -> nn.Module:
    """The network called `name` for inputs (N, *input_shape) and `outputs` columns; "auto" takes its own default.

    The weights are drawn from torch's global generator.

    Raises:
        OptionError, OptionTypeError: an unknown name or option, or a value that it cannot have.
        ModelError: the network cannot take inputs of that shape, or is not made for the task.
    """
    found = entry(name)
    if task_kind is not None and task_kind not in found.tasks:
        raise ModelError(
            text("network is {network} and the task is {task}", network=found.name, task=task_kind),
            text("{network} is made for: {tasks}", network=found.name, tasks=list(found.tasks)),
            text("choose another network, for example mlp"),
        )
    if not input_shape or math.prod(input_shape) < 1 or outputs < 1:
        raise ModelError(
            text("one input has shape {shape} and the network needs {outputs} outputs", shape=str(tuple(input_shape)), outputs=outputs),
            text("at least one feature and one output"),
            text("look at the data: pellucid data SOURCE"),
        )
    arguments = resolved_options(name, options)
    neutral: dict[str, tuple[Any, ...]] = {"activation": ("auto", "relu", None), "dropout": ("auto", 0, None)}
    for general, value in (("activation", activation), ("dropout", dropout)):
        if general in found.options:
            if value not in ("auto", None):
                arguments[general] = value
        elif value not in neutral[general]:
            raise OptionError(
                text("{option} is {value!r} and the network is {network}", option=general, value=value, network=found.name),
                text("{network} has no hidden layer to apply it to", network=found.name),
                text("leave it out, or choose another network, for example mlp"),
            )
    return found.constructor(tuple(input_shape), outputs, **arguments)


def image_shape(name: str, input_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(C, H, W) of the images that the network called `name` takes. Raises ModelError for what is no image, with what to do instead."""
    if len(input_shape) == 3:
        return input_shape[0], input_shape[1], input_shape[2]
    features = math.prod(input_shape)
    side = math.isqrt(features)
    if len(input_shape) == 2:
        do = text("give arrays of shape (N, 1, {height}, {width})", height=input_shape[0], width=input_shape[1])
    elif side * side == features and side > 3:
        do = text("choose network mlp, or give arrays of shape (N, 1, {height}, {width}) if these are pixels", height=side, width=side)
    else:
        do = text("choose network mlp")
    raise ModelError(
        text("network is {network} and one input has shape {shape}", network=name, shape=str(tuple(input_shape))),
        text("images of shape (channels, height, width)"),
        do,
    )


def default_for(
    input_shape: tuple[int, ...], task_kind: str, samples: int, facts: Mapping[str, Any] | None = None
) -> tuple[str, dict[str, Any]]:
    """(name, options) of the network for this kind of data: a convolutional one for images (C, H, W), else mlp; with embedded
    columns for a table long enough for the pieces of its numbers (data.tables.preprocessing); a convolution along texts. `facts`: of the
    inputs, for networks with an option of that name.

    Few samples get few units: a unit more is a chance more to learn the training part by heart.
    """
    if task_kind == "forecasting":  # it corrects a linear forecast (networks.forecasting)
        return "mlp", {"hidden": (64,)}
    if task_kind == "segmentation":  # the larger the pictures, the coarser the first level: what one step costs stays about the same
        side = min(input_shape[1:])
        levels = max(2, min(5, int(math.log2(max(side, 1) / 4))))
        return "unet", {"filters": (32, 64, 128, 192, 256)[:levels], "reduction": 1 if side < 96 else 2 if side < 320 else 4}
    if len(input_shape) == 3 and input_shape[0] in (1, 3) and min(input_shape[1:]) >= 16 and task_kind == "classification":
        halvings = max(0, round(math.log2(min(input_shape[1:]) / 32)))  # larger images: further blocks in front, with fewer filters
        return "whitened_cnn", {"filters": (*(max(16, 64 >> halvings - block) for block in range(halvings)), 64, 256, 256)}
    if len(input_shape) == 3 and min(input_shape[1:]) >= 4:
        halvings = max(1, min(4, int(math.log2(min(input_shape[1:]) / 4)) + 1))  # until 2 to 7 pixels are left of the shorter side
        return "cnn", {"filters": tuple(min(32 * 2**block, 128) for block in range(halvings + (halvings == 1))), "hidden": (128,)}
    facts = facts or {}
    if facts.get("series"):
        return "cnn1d", {}
    if facts.get("vocabulary"):
        return "text_cnn", {}
    columns = facts.get("columns", ())
    if len(columns) > 1 and samples >= EMBEDDED_FROM and len(columns) * 8 * sum(columns) <= MOST_EMBEDDED:
        return "embedding_mlp", {"hidden": (256,)}
    if samples < 1000:
        return "mlp", {"hidden": (64,)}
    return "mlp", {"hidden": (64, 64) if samples < 10_000 else (128, 128)}


# -- a user's own network --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NetworkCheck:
    """What one batch through a user's own network showed."""

    columns: int  # output columns per sample
    parameters: int  # trainable numbers
    notices: tuple[Notice, ...] = ()


def own_network(given: Any, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """A copy of the user's module, or what their factory makes; a factory takes no argument, or (input_shape, outputs).

    Raises:
        OptionTypeError: neither of the two, or a factory that returns something else.
        ModelError: a module that cannot be copied, a factory that fails.
    """
    made = given
    if isinstance(given, nn.Module):
        try:
            return copy.deepcopy(given)
        except Exception as error:  # whatever a class raises when it cannot be copied
            raise ModelError(
                text("your network cannot be copied: {error}", error=f"{type(error).__name__}: {error}"),
                text("a network that copy.deepcopy can copy, because yours is to stay as it is"),
                text("give a function that makes it: network=lambda: {name}(...)", name=type(given).__name__),
            ) from error
    if callable(given):
        try:
            made = given(input_shape, outputs) if _takes_shape(given) else given()
        except PellucidError:
            raise
        except Exception as error:
            raise ModelError(
                text("making your network by {name} failed: {error}", name=getattr(given, "__name__", type(given).__name__),
                     error=f"{type(error).__name__}: {error}"),
                text("a function that makes a torch.nn.Module, without arguments or of (input_shape, outputs)"),
                text("call it yourself to see the whole error"),
            ) from error  # fmt: skip
    if isinstance(made, nn.Module):
        return made
    raise OptionTypeError(
        text("network is of type {name}", name=type(made).__name__),
        text("a network's name, a torch.nn.Module, or a function that makes one, without arguments or of (input_shape, outputs)"),
        text("give for example network=lambda: MyNetwork()"),
    )


def _takes_shape(factory: Callable[..., Any]) -> bool:
    """Whether the factory needs two positional arguments; one that can do without is called without."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return False
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(positional) >= 2 and all(p.default is p.empty for p in positional[:2])


def check_custom(model: nn.Module, inputs: Any, *, outputs: int, task: Task) -> NetworkCheck:
    """Run one batch through a deep copy in evaluation mode, and say clearly what does not fit.

    `inputs` is a batch (N, *input_shape) or a part of the data that yields batches. `outputs` is the number of columns that the loss needs.
    Lazy modules (torch.nn.LazyLinear) get their weights here, in `model` itself; nothing else of it changes, nor does the random state.

    Raises:
        ModelError: forward fails, returns something other than one tensor (N, outputs), or nothing in the network can be trained.
    """
    batch: Tensor = inputs if isinstance(inputs, Tensor) else next(iter(inputs.batches(32)))[0]
    if any(isinstance(parameter, UninitializedParameter) for parameter in model.parameters()):
        _forward(model, batch)
    with torch.random.fork_rng(devices=[batch.device] if batch.device.type == "cuda" else []):
        trial = _copied(model)
        output = _forward(trial, batch)
    expected = text("one tensor of shape {shape}: {task}", shape=str((len(batch), outputs)), task=_task_in_words(outputs, task))
    if not isinstance(output, Tensor):
        raise ModelError(
            text("your network returned a {kind}", kind=type(output).__name__),
            expected,
            text("wrap it in a module whose forward returns the tensor of scores alone"),
        )
    shape = tuple(output.shape)
    if shape != (len(batch), outputs):
        got = text(
            "your network returned {shape} for {samples} samples; {task}",
            shape=str(shape),
            samples=len(batch),
            task=_task_in_words(outputs, task),
        )
        raise ModelError(got, expected, _output_remedy(shape, len(batch), outputs))
    grown = [name for name, _ in trial.named_parameters() if name not in dict(model.named_parameters())]
    if grown:
        raise ModelError(
            text("your network makes parameters while it runs: {names}", names=grown[:5]),
            text("all parameters made in __init__, before the optimiser takes them"),
            text("make these layers in __init__; torch.nn.LazyLinear finds its input size by itself"),
        )
    parameters = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    if not parameters:
        raise ModelError(
            text("the network has no parameter to train"),
            text("at least one parameter with requires_grad=True"),
            text("unfreeze a layer, or give another network"),
        )
    if not output.requires_grad:
        raise ModelError(
            text(
                "no gradient flows from your network's output ({dtype}) to its parameters",
                dtype=str(output.dtype).removeprefix("torch."),
            ),
            text("an output computed from parameters with requires_grad=True"),
            text("look in forward for detach(), torch.no_grad(), argmax or a conversion to whole numbers"),
        )
    return NetworkCheck(outputs, parameters, _looks_like_probabilities(output.detach(), task))


def forward_once(model: nn.Module, batch: Tensor) -> Any:
    """What a copy of `model` in evaluation mode makes of `batch`, with gradients. Raises ModelError where it fails."""
    return _forward(_copied(model), batch)


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except Exception:  # some modules hold tensors or handles that cannot be copied; an evaluation pass leaves them as they are
        return model


def _forward(model: nn.Module, batch: Tensor) -> Any:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.enable_grad():
            return model(batch.clone())  # some networks write into their input
    except Exception as error:
        raise ModelError(
            text(
                "your network failed on a batch of shape {shape} ({dtype}): {error}",
                shape=str(tuple(batch.shape)),
                dtype=str(batch.dtype).removeprefix("torch."),
                error=f"{type(error).__name__}: {error}",
            ),
            text("a module whose forward takes such a batch"),
            _forward_remedy(batch, error),
        ) from error
    finally:
        for module, training in modes:
            module.training = training


def _forward_remedy(batch: Tensor, error: Exception) -> Text:
    if "dtype" in str(error).lower() or "scalar type" in str(error):
        return text("inputs are {dtype}: call .float() on the network", dtype=str(batch.dtype).removeprefix("torch."))
    if batch.ndim == 2:
        return text("let the first layer take {features} features", features=batch.shape[1])
    if batch.ndim == 4:
        return text(
            "let the first layer take {channels} channels of {height} by {width} pixels",
            channels=batch.shape[1],
            height=batch.shape[2],
            width=batch.shape[3],
        )
    return text("let the first layer take samples of shape {shape}", shape=str(tuple(batch.shape[1:])))


def _task_in_words(outputs: int, task: Task) -> Text:
    if task.kind == "regression":
        return text("the task has {count} targets", count=task.outputs) if task.outputs > 1 else text("the task has 1 target")
    if outputs == 1:
        return text("the task has 2 classes and the loss takes 1 column for them")
    return text("the task has {count} classes", count=task.outputs)


def _output_remedy(shape: tuple[int, ...], samples: int, outputs: int) -> Text:
    if shape == (samples,) and outputs == 1:
        return text("end forward with .unsqueeze(1)")
    if len(shape) == 2 and shape[0] == samples:
        return text("give the last layer {outputs} output units instead of {columns}", outputs=outputs, columns=shape[1])
    if len(shape) > 2 and shape[0] == samples:
        return text("flatten or pool what comes before the last layer, for example with torch.nn.Flatten")
    return text("keep the first dimension: one row per sample")


def _looks_like_probabilities(output: Tensor, task: Task) -> tuple[Notice, ...]:
    if task.kind != "classification" or output.shape[1] < 2 or not output.is_floating_point():
        return ()
    sums = output.float().sum(1)
    if bool((output >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
        return (
            Notice(
                kind="probabilities_output",
                summary=text("outputs of your network sum to 1, as after softmax: leave the last softmax out, the loss applies it itself"),
                where="network",
            ),
        )
    return ()
