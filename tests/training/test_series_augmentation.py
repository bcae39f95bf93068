"""Changes of series: lengths and padding stay, a seed decides, and each does what its name says."""

from __future__ import annotations

import math

import pytest
import torch

from pellucid.core.errors import OptionError
from pellucid.training.augmentation import build_augmentation
from pellucid.training.series_augmentation import AMOUNTS, SeriesChanges

LENGTHS = (40, 17, 1, 0)


def ragged() -> torch.Tensor:
    torch.manual_seed(0)
    series = torch.randn(len(LENGTHS), 2, 40)
    for row, length in enumerate(LENGTHS):
        series[row, :, length:] = torch.nan
    return series


@pytest.mark.parametrize("name", AMOUNTS)
def test_lengths_stay_and_a_seed_decides(name: str) -> None:
    series = ragged()
    built = build_augmentation(name, (2, 40))
    assert built is not None
    changed, targets = built.finish(series, torch.arange(4), torch.Generator().manual_seed(1))
    assert torch.equal(changed.isnan(), series.isnan())
    assert torch.equal(targets, torch.arange(4))
    assert not torch.equal(changed[0], series[0])
    again, _ = built.finish(series, torch.arange(4), torch.Generator().manual_seed(1))
    assert torch.equal(changed.nan_to_num(), again.nan_to_num())
    longer = torch.cat([series, torch.full((4, 2, 9), torch.nan)], 2)
    if name != "jitter":  # whose draws are as many as the values
        padded = build_augmentation(name, (2, 49)).finish(longer, None, torch.Generator().manual_seed(1))[0]  # type: ignore[union-attr]
        if name != "time_warp":  # whose knots stand over the longest of the batch
            torch.testing.assert_close(padded[..., :40], changed, equal_nan=True)
        assert padded[..., 40:].isnan().all()


def test_amounts() -> None:
    ones = torch.ones(20_000, 1, 3)
    noise = SeriesChanges(jitter=0.3)(ones) - 1
    assert noise.std().item() == pytest.approx(0.3, rel=0.02)
    factors = SeriesChanges(scaling=0.2)(ones)
    assert factors[:, 0, 0].std().item() == pytest.approx(0.2, rel=0.02)
    assert torch.equal(factors[..., 0], factors[..., 2])


def test_windows_and_warps_go_along_the_series() -> None:
    ramp = torch.arange(50.0).expand(200, 1, 50)
    window = SeriesChanges(window_slice=0.8)(ramp)
    spans = window[:, 0, -1] - window[:, 0, 0]
    torch.testing.assert_close(spans, torch.full((200,), 0.8 * 49))
    assert (window[:, 0, 0] >= 0).all()
    assert window[:, 0, 0].max() > 0.8 * 0.2 * 49
    warped = SeriesChanges(time_warp=0.3)(ramp)
    torch.testing.assert_close(warped[:, 0, [0, -1]], torch.tensor([[0.0, 49.0]]).expand(200, 2))
    steps = warped.diff(dim=2)
    assert (steps > 0).all()
    rate = (steps / steps.mean(2, keepdim=True)).log()
    assert 0.1 < rate.std().item() < 0.3  # knots of N(0, 0.3^2), between them less


def test_what_is_refused() -> None:
    built = build_augmentation("jitter", (3, 8, 8))
    assert built is not None
    with pytest.raises(OptionError, match="series"):
        built.finish(torch.zeros(2, 3, 8, 8), None)
    for wrong in ("window_slice:0", "time_warp:9", "jitter:much"):
        with pytest.raises(OptionError, match=wrong):
            build_augmentation(wrong, (2, 40))
    assert math.isclose(build_augmentation("jitter:0.5", (2, 40)).series.jitter, 0.5)  # type: ignore[union-attr]
