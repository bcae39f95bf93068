"""The whitening layer does what its name says; the network against its equation; mirrored evaluation; the same images, the same layer."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from pellucid.core.errors import ModelError
from pellucid.networks.registry import build
from pellucid.networks.whitened import WHITENING_FLOOR, BatchNormalization, patch_covariance, whitening_filters


def smooth_images(samples: int = 300, channels: int = 3, size: int = 12) -> torch.Tensor:
    """(N, C, H, W): neighbours and channels are correlated, as in photographs."""
    images = torch.randn(samples, channels, size + 4, size + 4, generator=torch.Generator().manual_seed(0))
    images = nn.functional.avg_pool2d(images, 5, stride=1)
    return images + 2 * images.mean(1, keepdim=True)


@pytest.mark.parametrize("channels", [1, 3])
def test_whitened_patches_have_the_identity_as_second_moments(channels):
    images = smooth_images(channels=channels)
    filters = whitening_filters(images)
    count = 4 * channels
    assert filters.shape == (2 * count, channels, 2, 2)
    assert torch.equal(filters[count:], -filters[:count])
    answers = nn.functional.conv2d(images, filters[:count]).double().permute(1, 0, 2, 3).flatten(1)  # (4 C, patches)
    moments = answers @ answers.T / answers.shape[1]
    values = torch.linalg.eigvalsh(patch_covariance(images))
    torch.testing.assert_close(moments, torch.diag(values / (values + WHITENING_FLOOR)), rtol=0, atol=1e-4)
    torch.testing.assert_close(moments.diagonal().mean(), torch.ones((), dtype=torch.float64), rtol=0.1, atol=0)
    plain = images.unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, count).double().numpy()
    np.testing.assert_allclose(patch_covariance(images).numpy(), plain.T @ plain / len(plain), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "images", [torch.zeros(5, 1, 6, 6), torch.ones(5, 3, 6, 6), torch.randn(1, 1, 2, 2)], ids=["black", "white", "one patch"]
)
def test_images_without_variety_give_finite_filters(images):
    filters = whitening_filters(images)
    assert torch.isfinite(filters).all()
    assert filters.abs().max() <= WHITENING_FLOOR**-0.5 * 1.001


def test_the_same_images_give_the_same_layer_and_others_another():
    images = smooth_images()
    first, again, other = (build("whitened_cnn", input_shape=(3, 12, 12), outputs=2, options={"filters": (4,)}) for _ in range(3))
    state = torch.get_rng_state()
    first.initialize_from(images)
    again.initialize_from(images.clone())
    other.initialize_from(images.flip(2))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(first.whitening.weight, again.whitening.weight)
    assert not torch.equal(first.whitening.weight, other.whitening.weight)
    assert not first.whitening.weight.requires_grad
    assert "whitening.weight" in first.state_dict()  # so that loading needs no images
    assert (
        first.whitening.weight.flatten(1)[:12].gather(1, first.whitening.weight.flatten(1)[:12].abs().argmax(1, keepdim=True)) > 0
    ).all()


def test_the_network_against_its_equation():
    torch.manual_seed(0)
    model = build("whitened_cnn", input_shape=(2, 9, 11), outputs=3, activation="tanh", options={"filters": (3, 5)}).double()
    model.initialize_from(smooth_images(50, 2, 9).double())
    for module in model.modules():  # away from the values at the start
        if isinstance(module, BatchNormalization):
            nn.init.normal_(module.bias), nn.init.normal_(module.running_mean), nn.init.uniform_(module.running_var, 0.5, 2.0)
    nn.init.normal_(model.whitening.bias)
    model.eval()
    x = torch.randn(4, 2, 9, 11, dtype=torch.float64)

    def norm(maps, layer):
        value = [v.detach().numpy()[:, None, None] for v in (layer.running_mean, layer.running_var, layer.bias)]
        return (maps - value[0]) / np.sqrt(value[1] + 1e-5) + value[2]

    def convolve(image, filters, padding):
        image = np.pad(image, ((0, 0), (padding, padding), (padding, padding)))
        size = filters.shape[2]
        windows = np.lib.stride_tricks.sliding_window_view(image, (size, size), axis=(1, 2))  # (C, H', W', k, k)
        return np.einsum("chwij,ocij->ohw", windows, filters)

    def pool(maps):
        height, width = (side // 2 for side in maps.shape[1:])
        return maps[:, : 2 * height, : 2 * width].reshape(len(maps), height, 2, width, 2).max(axis=(2, 4))

    for image, z in zip(x.numpy(), model(x).detach().numpy(), strict=True):
        a = np.tanh(convolve(image, model.whitening.weight.detach().numpy(), 0) + model.whitening.bias.detach().numpy()[:, None, None])
        for block in model.blocks:
            a = np.tanh(norm(pool(convolve(a, block.convolution1.weight.detach().numpy(), 1)), block.normalization1))
            a = np.tanh(norm(convolve(a, block.convolution2.weight.detach().numpy(), 1), block.normalization2))
        np.testing.assert_allclose(z, model.output.weight.detach().numpy() @ a.max(axis=(1, 2)) / 5, rtol=1e-9)


def test_mirrored_evaluation_averages_an_image_and_its_mirror_image():
    torch.manual_seed(0)
    model = build("whitened_cnn", input_shape=(3, 12, 12), outputs=4, options={"filters": (6,), "mirrored": True})
    plain = copy.deepcopy(model)
    plain.mirrored = False
    x = torch.randn(5, 3, 12, 12)
    model.eval(), plain.eval()
    torch.testing.assert_close(model(x), (plain(x) + plain(x.flip(3))) / 2)
    torch.testing.assert_close(model(x), model(x.flip(3)))
    assert not torch.allclose(plain(x), plain(x.flip(3)))
    model.train(), plain.train()
    assert torch.equal(model(x), plain(x))


def test_a_block_passes_its_input_on_at_the_start():
    torch.manual_seed(0)
    block = build("whitened_cnn", input_shape=(1, 10, 10), outputs=2, options={"filters": (16,)}).blocks[0]
    maps = torch.randn(2, 8, 9, 9)
    torch.testing.assert_close(block.convolution1(maps)[:, :8], maps)


def test_memory_formats_and_single_values():
    torch.manual_seed(0)
    model = build("whitened_cnn", input_shape=(3, 12, 12), outputs=2, options={"filters": (4, 4)}).eval()
    x = torch.randn(3, 3, 12, 12)
    torch.testing.assert_close(model(x), model(x.contiguous(memory_format=torch.channels_last)))
    layer = BatchNormalization(3)
    layer(torch.randn(1, 3, 1, 1)).sum().backward()  # nothing to take a variance of: the running statistics serve
    assert torch.equal(layer.running_mean, torch.zeros(3))


@pytest.mark.parametrize(
    ("shape", "says"), [((784,), r"\(N, 1, 28, 28\)"), ((3, 1, 40), "at least 2 by 2"), ((28, 28), "network is whitened_cnn")]
)
def test_what_is_no_image_is_refused(shape, says):
    with pytest.raises(ModelError, match=says):
        build("whitened_cnn", input_shape=shape, outputs=2)
