"""Watching changes nothing, on every kind of loop: losses, weights, optimizer and random state are equal bit for bit."""

from __future__ import annotations

import random
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from diagnosis.watch.loops import LOOPS, Outcome, same, unwatched
from pellucid.diagnosis.watch import attachment
from pellucid.diagnosis.watch.watcher import Watcher

UPDATES = {"lbfgs": 5, "accumulation": 6, "tied_weights": 12, "evaluation_inside": 9, "loader_workers": 4}  # else one per loss


def seeded() -> None:
    torch.manual_seed(7)
    random.seed(7)
    np.random.seed(7)


def hooks_of(model: nn.Module) -> int:
    names = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_forward_pre_hooks_with_kwargs")
    return sum(len(getattr(module, name)) for module in model.modules() for name in names)


@pytest.fixture(autouse=True)
def _nothing_stays() -> Any:
    backward = torch.autograd.backward
    hooks = len(_global_optimizer_pre_hooks)
    yield
    assert torch.autograd.backward is backward
    assert len(_global_optimizer_pre_hooks) == hooks
    assert len(_global_optimizer_post_hooks) == hooks
    assert attachment.attached() == 0


def run(name: str, watching: Any) -> Outcome:
    seeded()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the loops' own: schedulers, checkpoints, forks
        return LOOPS[name](watching)


@pytest.mark.parametrize("name", LOOPS)
def test_nothing_changes(name: str) -> None:
    watchers: list[Watcher] = []

    def watching(*arguments: Any) -> Watcher:
        watchers.append(Watcher(*arguments, announce=False))
        return watchers[-1]

    bare = run(name, unwatched)
    watched = run(name, watching)
    assert same(bare, watched)
    for watcher in watchers:
        assert not watcher._recorder.failed
        assert hooks_of(watcher._recorder.model) == 0
        assert watcher.observations.looks_made >= 2
        assert watcher.observations.steps == UPDATES.get(name, watcher.observations.steps)
    expected = UPDATES.get(name, len(bare.losses))
    if name not in ("adversarial", "scheduler", "given_optimizer_and_loss", "copied_and_saved"):
        assert watchers[0].observations.steps == expected


def test_the_comparison_sees_a_changed_bit() -> None:
    bare, other = run("sgd", unwatched), run("sgd", unwatched)
    assert same(bare, other)
    other.state[0] = other.state[0].clone()
    other.state[0].view(-1)[0] = torch.nextafter(other.state[0].view(-1)[0], torch.tensor(9.0))
    assert not same(bare, other)


def test_a_draw_more_is_seen() -> None:
    bare = run("sgd", unwatched)

    class Drawing:
        def __init__(self, _: nn.Module) -> None: ...

        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None:
            torch.rand(1)

    assert not same(bare, run("sgd", Drawing))
