"""How wide a network a time budget can pay for: one that sees every image only a few times learns less than a narrower one that sees it
more often. Only where the network and its width were left to Pellucid."""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from pellucid.core.language import text
from pellucid.core.records import Notice
from pellucid.core.system import Signals
from pellucid.runs.in_memory import RunInMemory
from pellucid.training.budget import Budget
from pellucid.training.construction import Chosen
from pellucid.training.cost import thread_count
from pellucid.training.progress import Progress
from pellucid.training.randomness import own_random_state
from pellucid.training.session import Session
from pellucid.training.settings import CUSTOMARY_RATE, Settings

OPTION = "filters"  # of the networks for images: how many of each convolution
FEWEST_PASSES = 2.5  # over the training images; below it half the filters
MOST_HALVINGS = 2
NARROWEST = 16  # filters
TRAINING_SHARE = 0.75  # of a budget: the rest goes into measuring, baselines and the report
MEASURED = 64  # samples of a step: enough for the speed of an image, and soon over


def narrower(chosen: Chosen, resolved: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Half the filters; None where they are not ours to choose, or few already."""
    given = dict(resolved["network_options"] or {})
    filters = chosen.description["options"].get(OPTION)
    if resolved["network"] != "auto" or OPTION in given or not isinstance(filters, (tuple, list)):  # images alone have a width per block
        return None
    half = tuple(max(NARROWEST, width // 2) for width in filters)
    return half if half != tuple(filters) else None


def affordable_passes(prepared: Any, settings: Settings, chosen: Chosen, device: torch.device, budget: Budget) -> float:
    """How many times training can see every image in what is left of the budget, from two measured steps on a copy."""
    session = Session(
        directory=RunInMemory(), prepared=prepared, settings=settings, network=copy.deepcopy(chosen.network),
        network_name=chosen.description["name"], device=device, progress=Progress(), name="",
    )  # fmt: skip
    rate = settings.learning_rate if settings.learning_rate != "auto" else CUSTOMARY_RATE.get(str(settings.optimizer), 0.001)
    with own_random_state(settings.seed), thread_count(settings.threads), session.failures_explained():
        session.place()
        loop = session.loop_of(replace(settings, learning_rate=rate), Signals())
        loop.network.train()
        batches = session.trial_batches(Signals(), min(MEASURED, settings.batch_size))
        seconds = samples = 0.0
        for step, (inputs, targets) in enumerate(itertools.islice(batches, 3)):
            begun = time.perf_counter()
            loop.update(*loop.augmented(inputs, targets)).item()  # reading the loss waits for the device
            if step:  # the first chooses kernels and takes memory
                seconds, samples = seconds + time.perf_counter() - begun, samples + len(inputs)
    return TRAINING_SHARE * budget.left() / (seconds / samples * len(prepared.train)) if samples else float("inf")


def width_notice(chosen: Chosen, customary: tuple[int, ...]) -> Notice:
    filters = list(chosen.description["options"][OPTION])
    summary = text(
        "the network is made narrower to suit the budget, {filters} filters instead of {customary}: training sees every image more often",
        filters=filters, customary=list(customary),
    )  # fmt: skip
    return Notice(kind="narrower_network", summary=summary, evidence={"filters": filters, "customary": list(customary)})
