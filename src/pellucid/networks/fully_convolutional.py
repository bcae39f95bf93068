"""The fully convolutional network: a classifier whose dense layers are convolutions too, so that it answers for every pixel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pellucid.core.language import text
from pellucid.core.options import Option
from pellucid.networks.activations import build_activation, initialize
from pellucid.networks.dense import INITIALIZATION
from pellucid.networks.registry import image_shape, network
from pellucid.networks.unet import MAPS, REDUCTION, double_convolution, enlarged, halving


@network(
    "fcn",
    options=(
        MAPS,
        Option("skips", "integer", 2, text("how many finer levels give scores beside the coarsest"), "network", minimum=0, maximum=16),
        REDUCTION,
        INITIALIZATION,
    ),
    tasks=("segmentation",),
)
class FullyConvolutionalNetwork(nn.Module):
    """Scores at L levels, added from the coarsest to the finest, without a dense layer:

        d_1 = conv(x),   d_l = conv(pool(d_{l-1}))          l = 2 ... L          pool: maximum of 2 x 2
        s_L = W_L f(V d_L)                                  K maps of scores; V, a convolution of 3 x 3, stands for the dense layers
        s_l = W_l d_l + up(s_{l+1})                         l = L - 1 ... L - skips
        z = s_{L-skips} enlarged bilinearly to the size of the images, (N, K, H, W)

    conv is two convolutions of 3 x 3. up is a transposed convolution of 4 x 4 with stride 2, which begins as bilinear interpolation and is
    learnt; the last enlargement is bilinear and fixed. With L = 5 and skips = 2 the finest scores stand at every eighth position of d_1:
    the paper's FCN-8s; skips = 0 is its FCN-32s. Nothing depends on the height and width of the images.

    Unlike the paper: the convolutions are drawn at random, not those of a trained VGG network, and have batch normalisation; the image is
    not enlarged by a border of 100 pixels.

    Source: Long, Shelhamer and Darrell 2015, sections 3.3 and 4.2 and figure 3.

    Raises:
        ModelError: inputs that are no images (C, H, W).
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        *,
        filters: tuple[int, ...] = (32, 64, 128, 256),
        skips: int = 2,
        reduction: int = 1,
        initialization: str = "auto",
        activation: Any = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        channels = image_shape("fcn", input_shape)[0]
        skips = min(skips, len(filters) - 1)
        self.pool = halving()
        self.down = nn.ModuleList(
            double_convolution(before, count, activation, reduction if level == 0 else 1)
            for level, (before, count) in enumerate(zip((channels, *filters), filters, strict=False))
        )
        self.coarsest = nn.Sequential(
            nn.Conv2d(filters[-1], filters[-1], 3, padding=1, bias=False),
            nn.BatchNorm2d(filters[-1]),
            build_activation(activation),
            nn.Dropout2d(dropout),
        )
        used = filters[len(filters) - 1 - skips :][::-1]  # the coarsest first
        self.scores = nn.ModuleList(nn.Conv2d(count, outputs, 1) for count in used)
        self.up = nn.ModuleList(nn.ConvTranspose2d(outputs, outputs, 4, stride=2, padding=1, bias=False) for _ in range(skips))
        self.factor = reduction * 2 ** (len(filters) - 1 - skips)
        for part in (self.down, self.coarsest):
            initialize(part, initialization, activation)
        initialize(self.scores, initialization, "identity")
        for layer in self.up:
            layer.weight.data = bilinear_kernel(outputs)

    def forward(self, images: Tensor) -> Tensor:  # (N, C, H, W)
        maps, levels = images, []
        for level, block in enumerate(self.down):
            maps = block(maps if level == 0 else self.pool(maps))
            levels.append(maps)
        scores = self.scores[0](self.coarsest(levels.pop()))  # (N, K, h, w)
        for layer, up in zip(list(self.scores)[1:], self.up, strict=True):
            fine = levels.pop()
            scores = layer(fine) + enlarged(up(scores), 1, fine)
        return enlarged(scores, self.factor, images)  # (N, K, H, W)


def bilinear_kernel(maps: int) -> Tensor:
    """(maps, maps, 4, 4): a transposed convolution with stride 2 that enlarges each map by itself, bilinearly. Source: section 3.3.

    The weight falls linearly with the distance from the middle: (1/4, 3/4, 3/4, 1/4) along each side.
    """
    line = torch.tensor([0.25, 0.75, 0.75, 0.25])
    kernel = torch.zeros(maps, maps, 4, 4)
    kernel[range(maps), range(maps)] = line[:, None] * line
    return kernel
