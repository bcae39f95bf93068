"""Random state: a training has its own, and gives the user's back untouched.

Dropout, augmentation and users' own data sets draw from the global generators of torch, NumPy and Python. `own_random_state` lends them to
the training and restores them afterwards; `random_state` and `set_random_state` read and write them for checkpoints.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def random_state() -> dict[str, Any]:
    """The state of every global generator a training can draw from."""
    version, internal, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": [str(name), torch.from_numpy(np.asarray(keys, dtype=np.int64)), int(position), int(has_gauss), float(cached)],
        "python": [version, torch.tensor(internal, dtype=torch.int64), gauss],
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = list(torch.cuda.get_rng_state_all())
    return state


def set_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal.tolist()), gauss))
    if "cuda" in state and torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def seed_everything(seed: int) -> None:
    """Seed torch (all devices), NumPy and Python. Only inside `own_random_state`."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


@contextmanager
def own_random_state(seed: int) -> Iterator[None]:
    """Inside the block the global generators are ours, seeded; afterwards they are as they were."""
    before = random_state()
    try:
        seed_everything(seed)
        yield
    finally:
        set_random_state(before)


def epoch_order(samples: int, seed: int, epoch: int) -> torch.Tensor:
    """The order in which epoch `epoch` sees the samples: a function of seed and epoch alone, so that resuming needs no state.

    Shape: (samples,), int64.
    """
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    return torch.randperm(samples, generator=generator)
