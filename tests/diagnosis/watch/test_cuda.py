"""The same promises on a CUDA device; skipped, visibly, where there is none."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.diagnosis.watch.watcher import Watcher

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def loop(watched: bool, precision: torch.dtype | None, steps: int = 40) -> tuple[list[Tensor], Any]:
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 5)).cuda()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, fused=True)
    scaler = torch.amp.GradScaler("cuda", init_scale=2.0**12, enabled=precision is not None)
    inputs, targets = torch.randn(256, 32, device="cuda"), torch.randint(5, (256,), device="cuda")
    watcher = Watcher(model, announce=False) if watched else None
    kept: list[Tensor] = []
    for step in range(steps):
        part = slice(step % 4 * 64, step % 4 * 64 + 64)
        with torch.autocast("cuda", precision, enabled=precision is not None):
            loss = F.cross_entropy(model(inputs[part]), targets[part])
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        kept.append(loss.detach())
    kept += [parameter.detach().clone() for parameter in model.parameters()]
    kept += [torch.cuda.get_rng_state(), torch.get_rng_state()]
    return kept, watcher


@pytest.mark.parametrize("precision", [None, torch.float16, torch.bfloat16])
def test_nothing_changes(precision: torch.dtype | None) -> None:
    bare, _ = loop(False, precision)
    seen, watcher = loop(True, precision)
    assert all(torch.equal(a, b) for a, b in zip(bare, seen, strict=True))
    observed = watcher.observations
    assert observed.steps == 40
    assert observed.loss.kind == "cross_entropy"
    assert observed.targets.seen == "classes"
    values = [value for value in observed.loss.values if value is not None]
    assert len(values) == 40
    losses = torch.stack(bare[:40]).float().tolist()
    assert values == pytest.approx(losses, rel=2e-3 if precision else 1e-5)
    watcher.close()


def test_a_loss_that_breaks_is_seen() -> None:
    model = nn.Linear(8, 1).cuda()
    optimizer = torch.optim.SGD(model.parameters(), 1e3)
    inputs = torch.randn(64, 8, device="cuda")
    with Watcher(model, announce=False) as watcher:
        for _ in range(60):
            loss = (model(inputs) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        found = watcher.observations.nonfinite
    assert found is not None
    assert found.where in ("weights", "loss")
