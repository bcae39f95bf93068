"""Networks that answer for every pixel: sizes, options, the arithmetic of enlarging, what a pixel's answer depends on."""

import copy
import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pellucid.core.errors import ModelError
from pellucid.networks import build, registry, resolved_options
from pellucid.networks.fully_convolutional import bilinear_kernel
from pellucid.networks.unet import enlarged

SMALL = {"unet": {"filters": (4, 6, 8)}, "fcn": {"filters": (4, 6, 8)}}
VARIANTS = {
    "unet": [{"filters": "4,8"}, {"reduction": 2}, {"reduction": 4}, {"initialization": "orthogonal"}],
    "fcn": [{"filters": "4,8"}, {"reduction": 2}, {"skips": 0}, {"skips": "1"}, {"initialization": "orthogonal"}],
}


def make(name: str, outputs: int = 3, **options: object) -> nn.Module:
    torch.manual_seed(0)
    return build(name, input_shape=(3, 16, 16), outputs=outputs, options={**SMALL[name], **options}, task_kind="segmentation")


@pytest.mark.parametrize("reduction", [1, 2, 4])
@pytest.mark.parametrize("name", SMALL)
def test_any_size_gives_scores_of_that_size(name, reduction):
    network = make(name, reduction=reduction).eval()
    for size in ((16, 16), (1, 1), (17, 31), (5, 64), (40, 3)):
        assert network(torch.randn(2, 3, *size)).shape == (2, 3, *size)
    network.train()
    network(torch.randn(2, 3, 16, 16)).square().sum().backward()
    assert all(parameter.grad is not None and torch.isfinite(parameter.grad).all() for parameter in network.parameters())


@pytest.mark.parametrize("name", SMALL)
def test_no_dense_layer_and_the_same_answer_alone_as_in_a_batch(name):
    network = make(name).eval()
    assert not any(isinstance(module, nn.Linear) for module in network.modules())
    images = torch.randn(3, 3, 21, 18)
    torch.testing.assert_close(network(images)[1:2], network(images[1:2]))


@pytest.mark.parametrize(("name", "options"), [(name, options) for name, variants in VARIANTS.items() for options in variants])
def test_every_option_does_something(name, options):
    plain, changed = make(name).eval(), make(name, **options).eval()
    images = torch.randn(2, 3, 16, 16)
    same = [tuple(p.shape) for p in plain.parameters()] == [tuple(p.shape) for p in changed.parameters()]
    assert not same or not torch.equal(plain(images), changed(images))
    stored = json.loads(json.dumps(resolved_options(name, options)))
    assert resolved_options(name, stored) == resolved_options(name, options)


def test_every_option_is_varied_and_only_masks_are_learnt():
    for name, variants in VARIANTS.items():
        entry = registry.entry(name)
        assert {option for options in variants for option in options} == set(entry.own_options)
        with pytest.raises(ModelError, match="segmentation"):
            build(name, input_shape=(3, 16, 16), outputs=3, task_kind="classification")
        with pytest.raises(ModelError):
            build(name, input_shape=(12,), outputs=3, task_kind="segmentation")


@pytest.mark.parametrize("name", SMALL)
def test_moved_by_the_stride_the_answer_moves_alike(name):
    """Away from the border nothing knows its place: a picture moved by the whole stride gives the moved scores."""
    network = make(name).eval()
    image = torch.randn(1, 3, 96, 96)
    moved = torch.roll(image, (4, 8), (2, 3))
    here, there = network(image)[..., 40:52, 40:52], network(moved)[..., 44:56, 48:60]
    torch.testing.assert_close(here, there, rtol=1e-4, atol=1e-4)


def test_the_finest_maps_reach_the_answer_past_the_coarse_ones():
    """With the way up silenced a pixel's change still reaches the scores, through four convolutions of 3 x 3: no further than 4 pixels."""
    network = make("unet").eval()
    for up in network.get_submodule("up").children():
        nn.init.zeros_(up.get_parameter("weight"))
    image = torch.randn(1, 3, 32, 32)
    changed = image.clone()
    changed[..., 15, 15] += 1.0
    difference = (network(changed) - network(image)).abs().amax((0, 1))
    assert difference[15, 15] > 0
    assert difference[11:20, 11:20].max() > 0
    difference[11:20, 11:20] = 0.0
    assert difference.max() == 0


def test_the_bilinear_kernel_enlarges_as_interpolation_does():
    maps = torch.randn(1, 2, 5, 6, dtype=torch.float64)
    up = nn.ConvTranspose2d(2, 2, 4, stride=2, padding=1, bias=False).double()
    up.weight.data = bilinear_kernel(2).double()
    expected = F.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(up(maps)[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2])  # at the border the convolution sees zeros


def test_enlarging_keeps_the_upper_left():
    maps = torch.arange(4.0).view(1, 1, 2, 2)
    assert enlarged(maps, 1, torch.zeros(1, 2)).tolist() == [[[[0.0, 1.0]]]]
    assert enlarged(maps, 2, torch.zeros(3, 3)).shape == (1, 1, 3, 3)
    assert enlarged(maps, 2, torch.zeros(3, 3))[0, 0, 0, 0] == 0.0


@pytest.mark.parametrize("name", SMALL)
def test_networks_can_be_copied_and_dropout_is_asleep_in_evaluation(name):
    torch.manual_seed(0)
    network = build(name, input_shape=(3, 16, 16), outputs=3, options=SMALL[name], dropout=0.5, task_kind="segmentation")
    images = torch.randn(2, 3, 16, 16)
    assert not torch.equal(network(images), network(images))
    other = copy.deepcopy(network).eval()
    torch.testing.assert_close(other(images), other(images))
