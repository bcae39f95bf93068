"""Changes of images and masks together: what a pixel shows and what its mask says stay together."""

import pytest
import torch

from pellucid.core.errors import OptionError
from pellucid.data.masks.classes import IGNORED
from pellucid.training.masks.augmentation import MaskAugmentation, automatic_mask_augmentation, build_mask_augmentation


def stripes(count: int = 6, height: int = 40, width: int = 56) -> tuple[torch.Tensor, torch.Tensor]:
    """Images whose value at a pixel is its class: vertical bands of 8 pixels, a corner of another class."""
    mask = (torch.arange(width) // 8).expand(count, height, width).clone()
    mask[:, :10, :10] = 9
    return mask[:, None].float(), mask


@pytest.mark.parametrize("name", ["flip", "crop:24x32", "flip,crop:16", "scale:2,crop:24x24", "flip,scale,crop:32x64"])
def test_image_and_mask_stay_aligned(name):
    built = build_mask_augmentation(name, (1, 40, 56))
    assert built is not None
    generator = torch.Generator().manual_seed(0)
    images, masks = stripes()
    for _ in range(5):
        inputs, targets = built.together(images, masks, generator)
        assert inputs.shape[2:] == targets.shape[1:]
        counts = targets != IGNORED
        assert counts.any()
        wrong = ((inputs[:, 0] - targets).abs() > 1e-4) & counts
        # with scaling a pixel between two bands mixes both: next to such an edge only, about every eighth column and the corner's
        assert wrong.float().mean() <= (0.0 if "scale" not in name else 0.35)
        assert (inputs[:, 0].round() - targets).abs()[counts].float().mean() <= (0.0 if "scale" not in name else 0.6)
        assert set(targets.unique().tolist()) <= {*range(10), IGNORED}  # no class is mixed of two


def test_scaling_aligned_where_the_image_is_smooth():
    """An image that rises evenly, a mask of its whole values: after scaling the two differ by less than a pixel's rise each."""
    width = 64
    ramp = torch.arange(width).float().expand(1, 1, 48, width)
    mask = ramp[:, 0].long()
    built = MaskAugmentation(crop=(32, 32), scale=2.0)
    for seed in range(10):
        inputs, targets = built.together(ramp, mask, torch.Generator().manual_seed(seed))
        counts = targets != IGNORED
        assert (inputs[:, 0] - targets).abs()[counts].max() <= 1.01


def test_a_mirror_is_drawn_for_each_image_by_itself():
    images, masks = stripes(200)
    inputs, targets = MaskAugmentation(flip=True).together(images, masks, torch.Generator().manual_seed(1))
    flipped = (targets[:, 20, 0] != masks[:, 20, 0]).float().mean()
    assert 0.35 < flipped < 0.65
    assert torch.equal(inputs[:, 0].long(), targets)


def test_pieces_stay_in_the_image_and_not_in_its_canvas():
    images, masks = stripes(1)
    masks[:, 20:] = IGNORED  # the lower half of the canvas belongs to no image
    for seed in range(20):
        _, targets = MaskAugmentation(crop=(16, 16)).together(images, masks, torch.Generator().manual_seed(seed))
        assert (targets != IGNORED).all()
    _, targets = MaskAugmentation(crop=(64, 64)).together(images, masks, torch.Generator().manual_seed(0))
    assert targets.shape == (1, 64, 64)
    assert int((targets != IGNORED).sum()) == 20 * 56  # larger than the image: all of it is in the piece


def test_every_place_can_be_reached():
    images = torch.arange(12.0).view(1, 1, 1, 12)
    masks = torch.zeros(1, 1, 12, dtype=torch.long)
    begins = {
        int(MaskAugmentation(crop=(1, 4)).together(images, masks, torch.Generator().manual_seed(s))[0][0, 0, 0, 0]) for s in range(200)
    }
    assert begins == set(range(9))


def test_light_changes_each_image_as_a_whole_and_no_mask():
    images, masks = torch.randn(300, 3, 4, 4), torch.randint(0, 3, (300, 4, 4))
    inputs, targets = MaskAugmentation(light=1.5).together(images, masks, torch.Generator().manual_seed(0))
    assert torch.equal(targets, masks)
    contrast = inputs.flatten(1).std(1) / images.flatten(1).std(1)
    brightness = (inputs - contrast[:, None, None, None] * images).flatten(1)
    torch.testing.assert_close(brightness, brightness[:, :1].expand_as(brightness), rtol=0, atol=1e-4)  # one number for all pixels
    assert 1 / 1.5 <= contrast.min() < 0.75
    assert 1.4 < contrast.max() <= 1.5
    assert 0.4 < brightness.abs().max() <= 0.5


def test_names():
    assert build_mask_augmentation("none", (3, 64, 64)) is None
    assert build_mask_augmentation("scale:1.25,crop:48", (3, 64, 64)) == MaskAugmentation(crop=(48, 48), scale=1.25)
    assert build_mask_augmentation(automatic_mask_augmentation((3, 180, 240)), (3, 180, 240)) == MaskAugmentation(
        (144, 192), True, 1.5, 1.5
    )
    assert automatic_mask_augmentation((3, 40, 40)) == "flip,light"
    for wrong in ("mixup", "crop:0", "scale:0.5", "crop:axb", "flip:2", "scale:x", "none,flip"):
        with pytest.raises(OptionError):
            build_mask_augmentation(wrong, (3, 64, 64))
