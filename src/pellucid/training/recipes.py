"""What a network is best trained with where the user says nothing: a function for each network that has habits of its own.

A recipe gives values for some of the settings; what it leaves out, and every network without a recipe, gets the defaults of `settings`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from pellucid.core.records import Task
from pellucid.training.augmentation import automatic_augmentation
from pellucid.training.cost import bfloat16_is_fast
from pellucid.training.masks.augmentation import automatic_mask_augmentation


@dataclass(frozen=True)
class Situation:
    """What a recipe may look at."""

    options: Mapping[str, Any]  # the user's, "auto" where nothing was said
    task: Task
    samples: int  # for training
    input_shape: tuple[int, ...]  # of one sample
    mirrorable: bool  # images mirrored left to right are as good
    device: torch.device | None


Recipe = Callable[[Situation], dict[str, Any]]
_STEPS_TO_MOVE = 32  # of a series: in shorter ones a step, such as an hour of the day, means something by its place (benchmarks/LOG.md)
_recipes: dict[str, Recipe] = {}


def recipe(*networks: str) -> Callable[[Recipe], Recipe]:
    """Register the recipe of the networks of these names."""

    def register(function: Recipe) -> Recipe:
        _recipes.update(dict.fromkeys(networks, function))
        return function

    return register


def recipe_of(network: str, situation: Situation) -> dict[str, Any]:
    """Setting -> value: as the task asks for, whatever the network, else as the network does; nothing where neither has a recipe."""
    found = _of_tasks.get(situation.task.kind) or _recipes.get(network)
    return found(situation) if found is not None else {}


def forecasting(at: Situation) -> dict[str, Any]:
    """What a network that corrects a linear forecast is trained with where the user says nothing: about 500 updates at a low rate, much
    dropout and decay, since there is little to be found beside what is linear. Compared on eight series that no benchmark uses
    (benchmarks/LOG.md).
    """
    batch_size = 2 ** min(8, max(4, round(math.log2(max(at.samples, 1) / 32))))
    return {
        "loss": "quantile",
        "batch_size": batch_size,
        "epochs": _passes(at.samples, batch_size, 1000, 100),
        "learning_rate": 0.001,
        "weight_decay": 0.5,
        "dropout": 0.5,
        "augment": "none",
    }


_of_tasks: dict[str, Recipe] = {"forecasting": forecasting}


@recipe("whitened_cnn")
def whitened_cnn(at: Situation) -> dict[str, Any]:
    """What the network is trained with where the user says nothing: no range test, a known rate.

    Source: Jordan 2024, airbench94_muon: Muon with momentum 0.6, a straight way down, label smoothing, shifts by 2 of 32 pixels,
    alternating flips. The more images, the fewer passes over them and the larger the batches: about 1800 / sqrt(N) epochs of batches of
    4 sqrt(N), at most 512, which is 450 updates or more. The rate grows with the square root of the batch.
    """
    root = math.sqrt(max(at.samples, 1))
    size = at.options["batch_size"] if at.options["batch_size"] != "auto" else 2 ** min(9, max(5, round(math.log2(4 * root))))
    moved = f"shift:{max(1, round(min(at.input_shape[1:]) / 16))}"
    made: dict[str, Any] = {
        "batch_size": size,
        "activation": "gelu",
        "augment": automatic_augmentation(at.input_shape, at.mirrorable).replace("shift", moved),
        "epochs": int(min(100, max(6, round(1800 / root)))),
    }
    if at.device is not None and bfloat16_is_fast(at.device):
        made["precision"] = "bfloat16"
    if at.options["optimizer"] not in ("auto", "muon"):
        return made
    made |= {
        "optimizer": "muon",
        "momentum": 0.6,
        "schedule": "linear",
        "weight_decay": 0.0,
        "learning_rate": 0.12 * math.sqrt(size / 512),
    }
    if at.task.kind == "classification" and at.options["loss"] in ("auto", "cross_entropy", "binary_cross_entropy"):
        made["label_smoothing"] = 0.2
    return made


@recipe("text_cnn")
def text_cnn(at: Situation) -> dict[str, Any]:
    """What the network is trained with where the user says nothing. The words of a text are soon learnt by heart: few passes, much
    dropout, a known rate; the range test's, which looks at the training loss alone, is several times too high. Source: Kim 2014, section
    3.1, for batches of 50 and dropout of 0.5; Kingma and Ba 2015 for the rate; the network was compared in benchmarks/LOG.md, "Texts".
    """
    return {
        "batch_size": 64,
        "epochs": int(min(40, max(5, round(64_000 / max(at.samples, 1))))),
        "learning_rate": 0.001,
        "dropout": 0.5,
        "augment": "token_dropout",
    }


@recipe("cnn1d", "resnet1d")
def convolution_along_time(at: Situation) -> dict[str, Any]:
    """What convolutions along time are trained with where the user says nothing: small batches, a known rate, many passes over few series,
    and series that are changed a little each time. Source: Wang, Yan and Oates 2017, section III-A (batches of 16, Adam at 0.001, up to
    2000 passes); Um et al. 2017 and Le Guennec et al. 2016 for the changes. What was compared: benchmarks/LOG.md, time series.
    """
    size = 16 if at.samples < 1000 else 64
    made: dict[str, Any] = {
        "batch_size": size,
        "epochs": _passes(at.samples, size, 3000, 300),
        "learning_rate": 0.002,
        "dropout": 0.0,
        "weight_decay": 0.01,
    }
    if len(at.input_shape) == 2:  # series, not texts
        made["augment"] = "jitter,scaling" + (",time_warp,window_slice" if at.input_shape[-1] >= _STEPS_TO_MOVE else "")
    return made


def _passes(samples: int, batch_size: int, updates: int, most: int) -> int:
    """Passes over the samples that come to about so many updates; from 20 to `most`."""
    return int(min(most, max(20, round(updates * batch_size / max(samples, 1)))))


@recipe("unet", "fcn")
def of_masks(at: Situation) -> dict[str, Any]:
    """What networks for masks are trained with where the user says nothing: small batches of pieces of images, since each holds thousands
    of answers, a known rate, about 40 000 images seen. Source: Loshchilov and Hutter 2019 for AdamW; Chen et al. 2018, section 4.1, for
    pieces at several scales; rate, decay and passes are customary values and were not compared.
    """
    return {
        "loss": "cross_entropy",
        "batch_size": 8,
        "epochs": int(min(300, max(10, round(40_000 / max(at.samples, 1))))),
        "learning_rate": 0.002,
        "weight_decay": 0.01,
        "dropout": 0.1,
        "augment": automatic_mask_augmentation(at.input_shape),
    }
