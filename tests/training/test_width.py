"""A budget that could show every image only a few times gets a narrower network; whoever names a width keeps it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import pellucid
from pellucid.training import fit as fitting
from pellucid.training.width import FEWEST_PASSES

QUICK: dict[str, Any] = {"baselines": False, "report": False}


def images(samples: int = 120) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    y = generator.integers(0, 2, samples)
    X = generator.integers(0, 100, (samples, 3, 16, 16)).astype(np.uint8)
    X[y == 1, :, :8] += 100
    return X, y


@pytest.mark.parametrize(
    ("passes", "options", "filters"),
    [
        ([9.0], {}, [64, 256, 256]),
        pytest.param([1.0, 9.0], {}, [32, 128, 128], marks=pytest.mark.slow),
        pytest.param([1.0, 1.0], {}, [16, 64, 64], marks=pytest.mark.slow),
        ([1.0], {"network_options": {"filters": (16, 24, 24)}}, [16, 24, 24]),
        ([1.0], {"network": "cnn", "network_options": {"filters": (8,)}}, [8]),
    ],
)
def test_width(passes: list[float], options: dict[str, Any], filters: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`passes`: what is measured, before and after each halving."""
    measured = iter(passes)
    monkeypatch.setattr(fitting, "affordable_passes", lambda *arguments: next(measured))
    run = pellucid.fit(images(), budget=3600, epochs=1, directory=tmp_path, **QUICK, **options)
    assert list(run._record["network"]["options"]["filters"]) == filters
    said = [notice for notice in run.notices if notice.kind == "narrower_network"]
    assert bool(said) == (not options and filters != [64, 256, 256])
    assert len({notice.kind for notice in run.notices}) == len(run.notices)  # planning again says nothing twice
    if said:
        assert str(filters[0]) in str(said[0].summary)
    model = pellucid.load(run.directory).model  # the width is in the run
    assert sum(parameter.numel() for parameter in model.parameters()) == run._record["network"]["parameters"]


def test_the_passes_are_measured(tmp_path: Path) -> None:
    """Twice the time, about twice the passes; a hundred times the time never less."""
    from time import perf_counter

    from pellucid import data
    from pellucid.core.options import resolve
    from pellucid.training.budget import Budget
    from pellucid.training.construction import choose_device
    from pellucid.training.width import affordable_passes

    device = choose_device("cpu")
    prepared = data.prepare(data.read(images()))
    settings, chosen = fitting.plan(prepared, resolve({"budget": 10, "network_options": {"filters": (16, 16, 16)}}), device)
    before = {name: value.clone() for name, value in chosen.network.state_dict().items()}
    few = affordable_passes(prepared, settings, chosen, device, Budget(10.0, perf_counter()))
    many = affordable_passes(prepared, settings, chosen, device, Budget(1000.0, perf_counter()))
    assert FEWEST_PASSES < few < many
    assert all(bool((value == before[name]).all()) for name, value in chosen.network.state_dict().items())  # a copy was trained


def test_a_width_that_is_no_width_of_images_stays(tmp_path: Path) -> None:
    """`filters` of a network for texts is one number for each kernel width: a short budget halves nothing there."""
    words, draw = [f"{first}{second}" for first in "bdfgklm" for second in ("ana", "elo", "iti")], np.random.default_rng(0)
    texts = [" ".join([*draw.choice(words, 12), word]) for _ in range(80) for word in ("good", "bad")]
    run = pellucid.fit(
        pl.DataFrame({"text": texts, "label": ["yes", "no"] * 80}), "label", budget=20, epochs=1, directory=tmp_path, **QUICK
    )
    assert isinstance(run._record["network"]["options"]["filters"], int)
