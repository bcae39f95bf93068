"""A convolutional network that learns small photographs fast: its first layer is computed from the training images, not learnt."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.core.errors import ModelError
from pellucid.core.language import text
from pellucid.core.options import Option
from pellucid.networks.activations import build_activation
from pellucid.networks.registry import IntegersOption, image_shape, network

PATCH = 2  # height and width of the whitened patches
WHITENING_FLOOR = 5e-4  # added to the eigenvalues: directions in which natural images hardly vary are not blown up to noise


def patch_covariance(images: Tensor) -> Tensor:
    """(C p p, C p p): the second moments E[v v^T] of the p x p patches v of images (N, C, H, W), p = 2, in float64."""
    channels = images.shape[1]
    total = torch.zeros(channels * PATCH**2, channels * PATCH**2, dtype=torch.float64)
    count = 0
    for some in images.split(500):
        patches = F.unfold(some.double(), PATCH)  # (n, C p p, positions)
        total += torch.einsum("nip,njp->ij", patches, patches).cpu()
        count += patches.shape[0] * patches.shape[2]
    return total / max(count, 1)


def whitening_filters(images: Tensor) -> Tensor:
    """(2 C p p, C, p, p): filters whose answers on the patches of `images` (N, C, H, W) are uncorrelated and of variance about 1.

    With the eigenvalues l_k and orthonormal eigenvectors e_k of the patches' second moments, filter k is e_k / sqrt(l_k + 0.0005); each
    comes a second time with the opposite sign, so that a rectifier behind it loses nothing. An eigenvector's sign is free: the component
    of largest size is positive here, so that the same images give the same filters.

    Source: Krizhevsky 2009, appendix A (whitening of patches); as a frozen first layer Page 2019 (How to train your ResNet, part 8) and
    Jordan 2024 (arXiv 2404.00498, section 3.2).
    """
    values, vectors = torch.linalg.eigh(patch_covariance(images))  # ascending; vectors in columns
    vectors = vectors.T
    vectors = vectors * torch.sign(vectors.gather(1, vectors.abs().argmax(dim=1, keepdim=True)))
    filters = vectors / torch.sqrt(values.clamp(min=0.0) + WHITENING_FLOOR)[:, None]
    return torch.cat([filters, -filters]).reshape(-1, images.shape[1], PATCH, PATCH).float()


class BatchNormalization(nn.BatchNorm2d):
    """a = (x - mean) / sqrt(variance + 1e-5) + b with the statistics of the batch, and b alone learnt.

    A scale would have no effect that the next layer's filters cannot have. The running statistics follow quickly, 0.4 of each batch: a
    training of few updates is measured with statistics of its last updates. One value per channel has no variance: then, as in evaluation,
    the running statistics serve.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, momentum=0.4)
        self.weight.requires_grad_(False)

    def forward(self, input: Tensor) -> Tensor:  # (N, C, H, W)
        if self.training and input.shape[0] * input.shape[2] * input.shape[3] == 1:
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(input)


class Block(nn.Module):
    """a = f(norm(K_2 * f(norm(pool(K_1 * x))))): two convolutions of 3 x 3, the first followed by max pooling of 2 x 2.

    The first filters copy a channel each (an identity, nn.init.dirac_), the others are drawn at random: at the start the block passes its
    input on. Source: Jordan 2024, section 3.3.
    """

    def __init__(self, channels: int, filters: int, size: tuple[int, int], activation: Any) -> None:
        super().__init__()
        self.convolution1 = nn.Conv2d(channels, filters, 3, padding=1, bias=False)
        window = (min(2, size[0]), min(2, size[1]))
        self.pooling = nn.MaxPool2d(window) if max(window) > 1 else nn.Identity()
        self.size = (size[0] // window[0], size[1] // window[1])  # of the feature maps that come out
        self.normalization1 = BatchNormalization(filters)
        self.convolution2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.normalization2 = BatchNormalization(filters)
        self.activation = build_activation(activation)
        for convolution in (self.convolution1, self.convolution2):
            with torch.no_grad():
                nn.init.dirac_(convolution.weight[: convolution.in_channels])

    def forward(self, maps: Tensor) -> Tensor:  # (N, channels, H, W)
        maps = self.activation(self.normalization1(self.pooling(self.convolution1(maps))))  # (N, filters, H / 2, W / 2)
        return self.activation(self.normalization2(self.convolution2(maps)))


@network(
    "whitened_cnn",
    options=(
        IntegersOption("filters", "text", (64, 256, 256), text("filters of each block of two convolutions"), "network",
                       minimum=1, maximum=65_536),
        Option("mirrored", "flag", False, text("when not training, average the scores of an image and of its mirror image"), "network"),
    ),
)  # fmt: skip
class WhitenedConvolutionalNetwork(nn.Module):
    """Whitening of 2 x 2 patches, blocks of two convolutions, the maximum over all positions, a linear layer: z = W a / F.

        w = f(V * x + b)                       V: `whitening_filters` of the training images, not learnt; b learnt
        a = max_ij block_L(... block_1(w))     L blocks; see `Block`
        z_k = 1 / F sum_c W[k, c] a[c]         F filters in the last block

    Neighbouring pixels of photographs are strongly correlated, and a gradient step along a correlated direction disturbs all others; behind
    a whitening layer the learnt filters see uncorrelated inputs of equal variance. `initialize_from` computes it; until then V is random.

    With mirrored=True the scores of an image in evaluation mode are (z(x) + z(mirror image of x)) / 2. It is right where a mirrored image
    is as good an example of its class, and wrong for digits and letters.

    Source: Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU" (arXiv 2404.00498), section 3 and listing 2; the blocks' form is
    Page's (2019). The activation is GELU (Hendrycks and Gimpel 2016).

    Raises:
        ModelError: inputs that are no images (C, H, W) of at least 2 by 2 pixels.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        *,
        filters: tuple[int, ...] = (64, 256, 256),
        mirrored: bool = False,
        activation: Any = "gelu",
    ) -> None:
        super().__init__()
        channels, height, width = image_shape("whitened_cnn", input_shape)
        if min(height, width) < PATCH:
            raise ModelError(
                text("network is whitened_cnn and an image has {height} by {width} pixels", height=height, width=width),
                text("at least {size} by {size} pixels", size=PATCH),
                text("choose network cnn or mlp"),
            )
        self.mirrored = mirrored
        self.whitening = nn.Conv2d(channels, 2 * channels * PATCH**2, PATCH)
        self.whitening.weight.requires_grad_(False)
        nn.init.zeros_(self.whitening.bias)  # pyright: ignore[reportArgumentType]
        self.activation = build_activation(activation)
        blocks: list[Block] = []
        features, size = self.whitening.out_channels, (height - PATCH + 1, width - PATCH + 1)
        for count in filters:
            blocks.append(Block(features, count, size, activation))
            features, size = count, blocks[-1].size
        self.blocks = nn.Sequential(*blocks)
        self.pooling = nn.MaxPool2d(size)
        self.flatten = nn.Flatten()
        self.output = nn.Linear(features, outputs, bias=False)
        nn.init.normal_(self.output.weight)

    def initialize_from(self, images: Tensor) -> None:
        """Compute the whitening layer from training images (N, C, H, W) as the network will get them."""
        with torch.no_grad():
            self.whitening.weight.copy_(whitening_filters(images))

    def scale_scores(self, factor: float) -> None:
        """Multiply all scores by `factor` from now on; the answers stay what they are, their probabilities change."""
        with torch.no_grad():
            self.output.weight.mul_(factor)

    def scale_free_parameters(self) -> list[nn.Parameter]:
        """The blocks' filters: batch normalisation follows each, so that their size has no effect."""
        return [parameter for parameter in self.blocks.parameters() if parameter.ndim == 4]

    def forward(self, images: Tensor) -> Tensor:  # (N, C, H, W)
        scores = self._scores(images)
        if self.mirrored and not self.training:
            scores = 0.5 * (scores + self._scores(images.flip(3)))
        return scores  # (N, K)

    def _scores(self, images: Tensor) -> Tensor:
        images = images.contiguous(memory_format=torch.channels_last)  # convolutions are faster where a pixel's channels are neighbours
        maps = self.activation(self.whitening(images))  # (N, 8 C, H - 1, W - 1)
        maps = self.blocks(maps.contiguous(memory_format=torch.channels_last))  # again: one channel alone has no order to keep
        features = self.flatten(self.pooling(maps))  # (N, filters[-1])
        return self.output(features) / features.shape[1]
