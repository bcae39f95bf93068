"""Augmentation: every changed image is one that NumPy makes of the original, and every change occurs as often as it should."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pellucid.core.errors import OptionError
from pellucid.core.options import BY_NAME
from pellucid.training.augmentation import (
    AUGMENTATIONS,
    Augmentation,
    Mixed,
    automatic_augmentation,
    build_augmentation,
    mirrors,
)


def test_the_help_names_every_change():
    assert all(name in str(BY_NAME["augment"].help) for name in AUGMENTATIONS)


def all_changes(image: np.ndarray, shift: int, flip: bool, mode: str) -> list[np.ndarray]:
    """Every image that a shift and a flip can make, by NumPy's pad and crop."""
    _, height, width = image.shape
    changed = []
    for base in (image, image[:, :, ::-1]) if flip else (image,):
        padded = np.pad(base, ((0, 0), (shift, shift), (shift, shift)), mode=mode) if shift else base
        changed += [padded[:, i : i + height, j : j + width] for i in range(2 * shift + 1) for j in range(2 * shift + 1)]
    return changed


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize(
    "name", ["shift", "flip", "shift_flip", "shift-flip", "alternating_flip", "flip,shift", "shift_zero", "flip+shift_zero:2"]
)
@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 5, 9), (2, 9, 12)])
def test_every_sample_is_a_shifted_or_mirrored_original(name, shape, dtype):
    torch.manual_seed(0)
    augmentation = build_augmentation(name, shape)
    assert augmentation is not None
    mode = "constant" if "zero" in name else "reflect"
    batch = torch.randint(1, 256, (200, *shape)).to(dtype)
    before = batch.clone()
    out = augmentation(batch)
    assert (out.shape, out.dtype) == (batch.shape, dtype)
    assert torch.equal(batch, before)
    seen = set()
    possible = all_changes(batch[0].numpy(), augmentation.shift, augmentation.flip, mode)
    for original, changed in zip(batch.numpy(), out.numpy(), strict=True):
        made = all_changes(original, augmentation.shift, augmentation.flip, mode)
        matches = [k for k, c in enumerate(made) if np.array_equal(c, changed)]
        assert matches
        seen.add(matches[0])
    assert len(seen) > 0.9 * len(possible)  # each sample draws its own change, and all occur


def test_old_names_draw_as_they_did():
    """A run of the first format that shifted and flipped goes on with the same images: flips are drawn before shifts."""
    augmentation = build_augmentation("shift_flip", (1, 16, 16))
    assert augmentation is not None
    batch = torch.randn(64, 1, 16, 16)
    torch.manual_seed(4)
    changed = augmentation(batch)
    torch.manual_seed(4)
    mirrored = torch.rand(64, 1)[:, 0] < 0.5
    offsets = torch.randint(-2, 3, (2, 64, 1))[:, :, 0].tolist()
    padded = np.pad(batch.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)), mode="reflect")
    for i, (dy, dx) in enumerate(zip(*offsets, strict=True)):
        turned = bool(mirrored[i])
        columns = slice(2 - dx, 18 - dx) if turned else slice(2 + dx, 18 + dx)  # the shift is the original's, before it is mirrored
        expected = (padded[i, :, :, ::-1] if turned else padded[i])[:, 2 + dy : 18 + dy, columns]
        assert np.array_equal(changed[i].numpy(), expected)


def test_draws_come_from_the_global_generator_or_the_one_given():
    batch = torch.randn(16, 1, 8, 8)
    augmentation = Augmentation(shift=2, flip=True, cutout=3, mixup=0.5)

    def both(generator=None):
        return augmentation.finish(
            augmentation(batch, generator), torch.randn(16, 1, generator=torch.Generator().manual_seed(1)), generator
        )[0]

    torch.manual_seed(3)
    first = both()
    torch.manual_seed(3)
    assert torch.equal(first, both())
    assert not torch.equal(first, both())
    state = torch.get_rng_state()
    assert torch.equal(*(both(torch.Generator().manual_seed(5)) for _ in range(2)))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("name", "shape", "shift", "cutout", "mixup"),
    [
        ("shift", (3, 32, 32), 4, 0, 0.0), ("shift", (1, 8, 8), 1, 0, 0.0), ("shift", (1, 28, 28), 4, 0, 0.0),
        ("shift", (1, 1, 9), 0, 0, 0.0),
        ("shift", (3, 224, 224), 28, 0, 0.0), ("shift:2", (3, 32, 32), 2, 0, 0.0), ("cutout", (3, 32, 32), 0, 8, 0.0),
        ("shift:3, cutout:12,mixup:1", (3, 32, 32), 3, 12, 1.0), ("mixup", (30,), 0, 0, 0.2), ("cutout", (1, 2, 2), 0, 1, 0.0),
    ],
)  # fmt: skip
def test_how_much(name, shape, shift, cutout, mixup):
    augmentation = build_augmentation(name, shape)
    assert augmentation is not None
    assert (augmentation.shift, augmentation.cutout, augmentation.mixup) == (shift, cutout, mixup)
    batch = torch.zeros(2, *shape)
    augmentation.finish(augmentation(batch), torch.zeros(2, dtype=torch.int64))


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("flip", (30,), "images of shape"),
        ("flip,mixup", (30,), "images of shape"),
        ("shift_flop", (1, 8, 8), "did you mean 'shift_zero'"),
        ("flip,cutuot", (1, 8, 8), "did you mean 'cutout'"),
        ("flip,", (1, 8, 8), "one of: none, flip"),
        ("none,flip", (1, 8, 8), "none alone"),
        ("flip:2", (1, 8, 8), "write flip alone"),
        ("shift:8", (1, 8, 8), "from 0 to 7"),
        ("shift:1.5", (1, 8, 8), "whole number of pixels"),
        ("cutout:0", (1, 8, 8), "from 1 to 8"),
        ("mixup:-1", (1, 8, 8), "from 0.001 to 100"),
        ("mixup:a", (1, 8, 8), "leave ':a' out"),
    ],
)
def test_refused(name, shape, words):
    with pytest.raises(OptionError, match=words):
        build_augmentation(name, shape)


def test_none_is_nothing():
    assert build_augmentation("none", (30,)) is None
    assert build_augmentation("None", (1, 8, 8)) is None


def test_alternating_flip_shows_each_image_once_in_either_direction_in_every_two_epochs():
    augmentation = build_augmentation("alternating_flip", (1, 1, 2), seed=3)
    assert augmentation is not None
    batch = torch.tensor([0.0, 1.0]).expand(4000, 1, 1, 2)
    chosen = torch.randperm(4000)
    sides = torch.stack([augmentation(batch, chosen=chosen, epoch=epoch)[:, 0, 0, 0] for epoch in range(4)])
    assert torch.equal(sides[0], 1 - sides[1])
    assert torch.equal(sides[0], sides[2])
    assert torch.equal(sides[1], sides[3])
    assert abs(float(sides[0].mean()) - 0.5) < 0.03  # half of the images begin mirrored: 3.8 standard errors of 4 000 fair coins
    order = torch.argsort(chosen)
    first = sides[0][order]
    assert abs(float((first[1:] == first[:-1]).float().mean()) - 0.5) < 0.03  # neighbours do not agree more often than by chance
    other = build_augmentation("alternating_flip", (1, 1, 2), seed=4)
    assert other is not None
    assert 0.4 < float((other(batch, chosen=chosen)[:, 0, 0, 0] == sides[0]).float().mean()) < 0.6
    part = augmentation(batch[:10], chosen=chosen[:10])  # what is drawn depends on the sample alone, not on its batch
    assert torch.equal(part[:, 0, 0, 0], sides[0][:10])


def test_cutout_sets_one_square_to_zero():
    torch.manual_seed(0)
    augmentation = Augmentation(cutout=5)
    batch = torch.ones(2000, 2, 11, 13)
    out, targets = augmentation.finish(batch, torch.arange(2000))
    assert torch.equal(targets, torch.arange(2000))
    assert batch.min() == 1
    holes = out == 0
    assert torch.equal(holes[:, 0], holes[:, 1])
    rows, columns = holes[:, 0].any(2), holes[:, 0].any(1)
    assert torch.equal(holes[:, 0], rows[:, :, None] & columns[:, None, :])  # a rectangle in each image
    heights, widths = rows.sum(1), columns.sum(1)
    assert int(heights.max()) == int(widths.max()) == 5
    assert int(heights.min()) == int(widths.min()) == 3  # centred on a border pixel
    inner = rows.float().mean(0)[4:-4]
    assert (inner - 5 / 11).abs().max() < 0.05  # centres fall evenly


def test_mixup_mixes_inputs_and_targets_alike():
    torch.manual_seed(0)
    augmentation = Augmentation(mixup=1.0)
    inputs, numbers = torch.randn(32, 3, 4, 4), torch.randn(32, 1)
    labels = torch.randint(5, (32,))
    torch.manual_seed(1)
    mixed, targets = augmentation.finish(inputs, numbers)
    torch.manual_seed(1)
    again, classes = augmentation.finish(inputs, labels)
    assert torch.equal(mixed, again)
    assert isinstance(classes, Mixed)
    assert torch.equal(classes.first, labels)
    share = classes.share
    assert 0 < share < 1
    partners = [
        next(j for j in range(32) if torch.allclose(share * inputs[i] + (1 - share) * inputs[j], mixed[i], atol=1e-5)) for i in range(32)
    ]
    assert sorted(partners) == list(range(32))
    assert torch.equal(classes.second, labels[partners])
    assert torch.allclose(targets, share * numbers + (1 - share) * numbers[partners])
    logits = torch.randn(32, 5)
    soft = share * F.one_hot(labels, 5).float() + (1 - share) * F.one_hot(labels[partners], 5).float()
    for smoothing in (0.0, 0.1):
        loss = partial(F.cross_entropy, label_smoothing=smoothing)
        assert torch.allclose(classes.loss(loss, logits), loss(logits, soft))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_shares_follow_the_beta_distribution(alpha):
    """Mean 1/2 and variance 1 / (4 (2 a + 1)), within four standard errors of 2 000 draws."""
    generator = torch.Generator().manual_seed(0)
    augmentation = Augmentation(mixup=alpha)
    shares = torch.tensor(
        [augmentation.finish(torch.zeros(1, 1), torch.zeros(1, dtype=torch.int64), generator)[1].share for _ in range(2000)]
    )
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(float(shares.mean()) - 0.5) < 4 * (variance / 2000) ** 0.5
    assert abs(float(shares.var()) - variance) < 0.012


def test_whole_numbers_are_not_mixed():
    with pytest.raises(OptionError, match="whole numbers"):
        Augmentation(mixup=0.2).finish(torch.arange(6).reshape(3, 2), torch.zeros(3))


@pytest.mark.parametrize(
    ("shape", "mirrorable", "name"),
    [
        ((3, 32, 32), True, "alternating_flip,shift"), ((3, 32, 32), False, "shift"), ((1, 28, 28), False, "shift"),
        ((1, 28, 28), True, "alternating_flip,shift"), ((1, 8, 8), False, "none"), ((5, 32, 32), True, "none"), ((30,), False, "none"),
        ((3, 15, 200), True, "none"),
    ],
)  # fmt: skip
def test_what_is_chosen(shape, mirrorable, name):
    assert automatic_augmentation(shape, mirrorable) == name
    assert mirrors(name) == ("flip" in name)
    build_augmentation(name, shape)
