"""The network and the device a run asks for."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from pellucid.core.errors import OptionError
from pellucid.core.language import text
from pellucid.core.records import Task
from pellucid.networks import registry
from pellucid.networks.forecasting import Forecaster
from pellucid.training.augmentation import mirrors
from pellucid.training.losses import outputs_needed
from pellucid.training.settings import Settings

IMAGES_SHOWN = 2000  # to a network that looks at training images before its first step


@dataclass(frozen=True)
class Chosen:
    """A network and what run.json says about it."""

    network: nn.Module
    description: dict[str, Any]

    @property
    def custom(self) -> bool:
        return bool(self.description["custom"])


def network_name(network: Any, input_shape: tuple[int, ...], task: Task, samples: int, facts: Mapping[str, Any] | None = None) -> str:
    """The name in force: the user's, or the default for this kind of data, or the class name of the user's own module."""
    if isinstance(network, str):
        return registry.default_for(input_shape, task.kind, samples, facts)[0] if network == "auto" else network
    return getattr(network, "__name__", None) or type(network).__name__


def build_network(
    network: Any,
    options: Mapping[str, Any] | None,
    settings: Settings,
    task: Task,
    input_shape: tuple[int, ...],
    samples: int,
    facts: Mapping[str, Any] | None = None,
) -> Chosen:
    """Build a named network, or copy the user's own; the random state must be seeded by the caller.

    Raises:
        ModelError: the network does not fit the data.
        OptionTypeError: an option the network does not have.
    """
    outputs = outputs_needed(settings.loss, task)
    if isinstance(network, str):
        given = dict(options or {})
        if network == "auto":
            name, chosen = registry.default_for(input_shape, task.kind, samples, facts)
            given = {**chosen, **given}
        else:
            name = network
        if "mirrored" in registry.entry(name).own_options:  # right exactly where training mirrors the images too
            given.setdefault("mirrored", mirrors(settings.augment))
        own = registry.entry(name).own_options
        given = {**{fact: value for fact, value in (facts or {}).items() if fact in own and value}, **given}
        module = registry.build(
            name,
            input_shape=input_shape,
            outputs=outputs,
            activation=settings.activation,
            dropout=settings.dropout,
            options=given,
            task_kind="regression" if task.numeric else task.kind,
        )
        description: dict[str, Any] = {"name": name, "custom": False, "options": registry.resolved_options(name, given)}
    else:
        if options:
            raise OptionError(
                text("network_options is set and the network is your own {name}", name=type(network).__name__),
                text("network_options together with a network chosen by its name"),
                text("set these values in your own network"),
            )
        for option in ("activation", "dropout"):
            if option not in settings.chosen and getattr(settings, option):
                raise OptionError(
                    text("{option} is {value!r} and the network is your own", option=option, value=getattr(settings, option)),
                    text("{option} together with a network chosen by its name", option=option),
                    text("set it in your own network"),
                )
        module = registry.own_network(network, input_shape, outputs)
        name = type(module).__name__
        description = {"name": name, "custom": True, "options": {}}
    module = surrounded(module, task, settings.loss, input_shape, facts)
    description.update(input_shape=list(input_shape), outputs=outputs, parameters=all_parameters(module))
    return Chosen(module, description)


def surrounded(
    network: nn.Module, task: Task, loss: Any, input_shape: tuple[int, ...], facts: Mapping[str, Any] | None = None
) -> nn.Module:
    """The network with what the task puts around every network: that of a forecast, else nothing."""
    if task.kind != "forecasting" or isinstance(network, Forecaster):
        return network
    quantiles = task.quantiles if loss == "quantile" else ()
    season_channel = bool((facts or {}).get("season_channel"))
    return Forecaster(network, input_shape, horizon=task.horizon, quantiles=quantiles, season_channel=season_channel)


def initialize_from_data(network: nn.Module, train: Any) -> None:
    """Show training images, as the network will get them, to a network that computes its first weights from some (see registry).

    They stand evenly over the part's order. The network keeps what it computed in its weights: resuming and loading need no images. A
    network with `initialize_from_part` gets the whole training part.
    """
    if hasattr(network, "initialize_from_part"):
        network.initialize_from_part(train)  # pyright: ignore[reportCallIssue]
        return
    initialize = getattr(network, "initialize_from", None)
    if not callable(initialize):
        return
    if getattr(train, "ordered", True):
        order = torch.arange(0, len(train), max(1, math.ceil(len(train) / IMAGES_SHOWN)))
        batches = train.batches(256, order.to(getattr(train, "device", "cpu")))
    else:
        batches = itertools.islice(train.batches(256), max(1, IMAGES_SHOWN // 256))
    initialize(torch.cat([inputs for inputs, _ in batches]))


def memory_format(chosen: Chosen, device: torch.device) -> str:
    """How images and weights lie in memory: "channels_last", in which convolutions run faster, or "contiguous".

    Networks of users stay as they are: a `view` in their forward pass may count on it.
    """
    ours = not chosen.custom and type(chosen.network).__module__.startswith("pellucid.")
    convolutions = any(isinstance(module, nn.Conv2d) for module in chosen.network.modules())
    return "channels_last" if ours and convolutions and device.type in ("cpu", "cuda") else "contiguous"


def all_parameters(network: nn.Module) -> int:
    """How many numbers the parameters hold, frozen ones too; those of lazy layers count from the first forward pass on."""
    return sum(parameter.numel() for parameter in network.parameters() if not is_lazy(parameter))


def choose_device(device: Any) -> torch.device:
    """The device asked for, or the fastest there is.

    Raises:
        OptionError: no such device on this machine; the message names what exists.
    """
    available = ["cpu"]
    if torch.cuda.is_available():
        available += ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        available.append("mps")
    if device == "auto":
        return torch.device("cuda" if "cuda" in available else "cpu")
    name = str(device)
    if name not in available:
        raise OptionError(
            text("device is {name!r}", name=name),
            text("a device of this machine: {available}", available=available),
            text("leave --device out to take the best one"),
        )
    return torch.device(name)
