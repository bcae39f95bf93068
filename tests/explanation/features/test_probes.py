"""Probes find where an answer becomes linearly readable; HOG is that of the paper, written again pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pellucid.core.errors import OptionError
from pellucid.explanation.features.features import features
from pellucid.explanation.features.hog import CLIP, EPSILON, hog


class Xor(nn.Module):
    """y = sign(x0 x1): no linear model reads it off the inputs; layer "product" holds it."""

    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Identity()
        self.product = nn.Bilinear(1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.same(x)
        return self.product(x[:, :1], x[:, 1:])


@pytest.fixture(scope="module")
def xor() -> tuple[Xor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    model = Xor()
    with torch.no_grad():
        model.product.weight.fill_(1.0)
        model.product.bias.zero_()
    return model, torch.randn(400, 2, generator=generator)


def test_a_probe_reads_what_is_linearly_there(xor: tuple[Xor, Tensor]) -> None:
    model, x = xor
    found = features(model, x, "product").probes((x.prod(dim=1) > 0).long(), layers=["same", "product"])
    scores = {row.name: row for row in found.rows}
    assert scores["product"].score > 0.95
    assert scores["raw"].score < 0.65
    assert scores["same"].score == scores["raw"].score
    assert found.best.name == "product"
    assert found.against == "raw"
    assert scores["product"].difference is not None
    assert scores["product"].difference.low > 0.25  # paired: the same held-out samples
    assert scores["same"].difference is not None
    assert (scores["same"].difference.low, scores["same"].difference.high) == (0.0, 0.0)
    assert found.samples + found.learnt_from == 400


def test_a_probe_of_numbers(xor: tuple[Xor, Tensor]) -> None:
    model, x = xor
    found = features(model, x, "product").probes(x.prod(dim=1), layers=["product"])
    scores = {row.name: row.score for row in found.rows}
    assert found.metric == "R2"
    assert scores["product"] > 0.999
    assert scores["raw"] < 0.2


def test_images_have_hog_beside_the_layers() -> None:
    """Lines that stand against lines that lie, at any place: HOG tells them apart, raw pixels do not."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(160, 1, 12, 12, generator=generator) * 0.1
    classes = torch.arange(160) % 2
    for number, place in enumerate(torch.randint(1, 11, (160,), generator=generator).tolist()):
        sign = 1 - 2 * int(torch.randint(0, 2, (1,), generator=generator))
        view = images[number, 0] if classes[number] else images[number, 0].T
        view[place] += sign * 2.0
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(300, 2))
    found = features(model, images, "0").probes(classes)
    scores = {row.name: row.score for row in found.rows}
    assert set(scores) == {"raw", "HOG", "0", "3"}
    assert scores["HOG"] > 0.9
    assert scores["raw"] < 0.8
    assert found.against == "HOG"
    assert any("2 x 2 cells" in str(note) for note in found.notes)


def test_too_few_samples(xor: tuple[Xor, Tensor]) -> None:
    model, x = xor
    with pytest.raises(OptionError, match="20 at least"):
        features(model, x[:5], "product").probes(torch.tensor([0, 1, 0, 1, 0]))


# -- HOG ---------------------------------------------------------------------------------------------------------------------------------


def slow_hog(image: np.ndarray, side: int) -> np.ndarray:
    """The paper's steps, vote by vote, of one image (C, H, W) in float64."""
    _, height, width = image.shape
    rows, columns = height // side, width // side
    cells = np.zeros((rows, columns, 9))
    for y in range(height):
        for x in range(width):
            best, dy, dx = -1.0, 0.0, 0.0
            for channel in image:
                down = channel[y + 1, x] - channel[y - 1, x] if 0 < y < height - 1 else 0.0
                right = channel[y, x + 1] - channel[y, x - 1] if 0 < x < width - 1 else 0.0
                if math.hypot(down, right) > best:
                    best, dy, dx = math.hypot(down, right), down, right
            degrees = math.degrees(math.atan2(dy, dx)) % 180
            for row in range(rows):
                for column in range(columns):
                    near_y = max(0.0, 1 - abs(y + 0.5 - (row + 0.5) * side) / side)
                    near_x = max(0.0, 1 - abs(x + 0.5 - (column + 0.5) * side) / side)
                    for orientation in range(9):
                        apart = abs(degrees - (20 * orientation + 10)) % 180
                        apart = min(apart, 180 - apart)
                        cells[row, column, orientation] += best * near_y * near_x * max(0.0, 1 - apart / 20)
    blocks = []
    for row in range(rows - 1):
        for column in range(columns - 1):
            block = np.concatenate([cells[row, column], cells[row, column + 1], cells[row + 1, column], cells[row + 1, column + 1]])
            block = np.minimum(block / math.sqrt((block**2).sum() + EPSILON**2), CLIP)
            blocks.append(block / math.sqrt((block**2).sum() + EPSILON**2))
    return np.concatenate(blocks)


@pytest.mark.parametrize(("shape", "side"), [((1, 12, 12), 4), ((3, 11, 17), 3)])
def test_hog_is_that_of_the_paper(shape: tuple[int, int, int], side: int) -> None:
    images = np.random.default_rng(0).normal(size=(2, *shape))
    found = hog(images, side)
    for image, row in zip(images, found, strict=True):
        np.testing.assert_allclose(row, slow_hog(image, side), atol=1e-12)


def test_hog_of_an_edge_is_its_orientation() -> None:
    """A vertical edge has its gradient at 0 degrees: between the first and the last bin, half a vote each; nothing elsewhere."""
    image = np.zeros((1, 1, 16, 16))
    image[..., 8:] = 1.0
    blocks = hog(image).reshape(-1, 9)
    assert blocks[:, [0, 8]].min(axis=0).max() >= 0
    np.testing.assert_allclose(blocks[:, 0], blocks[:, 8])
    assert blocks[:, 0].max() > 0.1
    assert np.abs(blocks[:, 1:8]).max() == 0


def test_hog_does_not_see_brightness() -> None:
    image = np.random.default_rng(2).normal(size=(1, 1, 16, 16)) * 50
    np.testing.assert_allclose(hog(3 * image + 7), hog(image), rtol=1e-6)


def test_a_solver_that_is_stopped_is_said_and_warns_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pellucid.explanation.features.probes.STEPS", 3)
    X = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2))
    found = features(model, X, "0").probes((X[:, 0] > 0).long())
    assert "stopped after 3 steps" in " ".join(map(str, found.notes))
