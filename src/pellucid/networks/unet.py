"""U-Net: a class for every pixel, from coarse maps that know what and fine maps that know where."""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.core.language import text
from pellucid.core.options import Option
from pellucid.networks.activations import build_activation, initialize
from pellucid.networks.dense import INITIALIZATION
from pellucid.networks.registry import IntegersOption, image_shape, network

MAPS = IntegersOption("filters", "text", (32, 64, 128, 256), text("maps of each level, the finest first"), "network",
                      minimum=1, maximum=65_536)  # fmt: skip
REDUCTION = Option("reduction", "integer", 1, text("by how much the first convolution makes the picture smaller: 1, 2 or 4"), "network",
                   minimum=1, maximum=4)  # fmt: skip


def double_convolution(channels: int, filters: int, activation: Any, stride: int = 1) -> nn.Sequential:
    """Two convolutions of 3 x 3, each with batch normalisation and the activation: ceil(H / stride) x ceil(W / stride) positions."""
    return nn.Sequential(
        nn.Conv2d(channels, filters, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(filters),
        build_activation(activation),
        nn.Conv2d(filters, filters, 3, padding=1, bias=False),
        nn.BatchNorm2d(filters),
        build_activation(activation),
    )


def halving() -> nn.MaxPool2d:
    """Maximum of 2 x 2 positions; the last row or column of an odd side stands alone, so that no size is refused."""
    return nn.MaxPool2d(2, ceil_mode=True)


def enlarged(maps: Tensor, factor: int, like: Tensor) -> Tensor:
    """(N, K, h, w) bilinearly to factor h x factor w, of which the upper left part as large as `like` (..., H, W) is kept."""
    if factor > 1:
        maps = F.interpolate(maps, scale_factor=float(factor), mode="bilinear", align_corners=False)
    return maps[..., : like.shape[-2], : like.shape[-1]]


@network("unet", options=(MAPS, REDUCTION, INITIALIZATION), tasks=("segmentation",))
class UNet(nn.Module):
    """Down by L levels, up again, each level of the way up joined with the equal level of the way down:

        d_1 = conv(x),   d_l = conv(pool(d_{l-1}))                  l = 2 ... L        pool: maximum of 2 x 2
        u_L = d_L,       u_l = conv([d_l, up(u_{l+1})])             l = L - 1 ... 1    up: transposed convolution, 2 x 2, stride 2
        z = W u_1 + b    at every pixel, (N, K, H, W)

    conv is two convolutions of 3 x 3, [ , ] puts maps behind each other. The scores z have the height and width of the images, whatever
    these are: nothing in the network depends on them.

    Unlike the paper: convolutions are padded with zeros (there each takes a border away, so that the answer is smaller than the image),
    batch normalisation stands before each activation, and `reduction` r > 1 lets the first convolution step by r pixels; the scores are
    then enlarged bilinearly by r at the end, at a cost of 1 / r^2.

    Source: Ronneberger, Fischer and Brox 2015, section 2 and figure 1.

    Raises:
        ModelError: inputs that are no images (C, H, W).
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        *,
        filters: tuple[int, ...] = (32, 64, 128, 256),
        reduction: int = 1,
        initialization: str = "auto",
        activation: Any = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        channels = image_shape("unet", input_shape)[0]
        self.reduction = reduction
        self.pool = halving()
        self.down = nn.ModuleList(
            double_convolution(before, count, activation, reduction if level == 0 else 1)
            for level, (before, count) in enumerate(zip((channels, *filters), filters, strict=False))
        )
        self.dropout = nn.Dropout2d(dropout)  # of the coarsest maps
        pairs = list(itertools.pairwise(filters))[::-1]
        self.up = nn.ModuleList(nn.ConvTranspose2d(coarse, fine, 2, stride=2) for fine, coarse in pairs)
        self.join = nn.ModuleList(double_convolution(2 * fine, fine, activation) for fine, _ in pairs)
        self.output = nn.Conv2d(filters[0], outputs, 1)
        for part in (self.down, self.up, self.join):
            initialize(part, initialization, activation)
        initialize(self.output, initialization, "identity")

    def forward(self, images: Tensor) -> Tensor:  # (N, C, H, W)
        maps, levels = images, []
        for level, block in enumerate(self.down):
            maps = block(maps if level == 0 else self.pool(maps))
            levels.append(maps)
        maps = self.dropout(levels.pop())
        for up, join in zip(self.up, self.join, strict=True):
            fine = levels.pop()
            maps = join(torch.cat([fine, enlarged(up(maps), 1, fine)], dim=1))
        return enlarged(self.output(maps), self.reduction, images)  # (N, K, H, W)
