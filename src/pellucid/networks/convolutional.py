"""Convolutional networks for images (C, H, W)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from pellucid.core.language import text
from pellucid.core.options import Option
from pellucid.networks.activations import build_activation, initialize
from pellucid.networks.dense import BATCH_NORM, HIDDEN, INITIALIZATION, hidden_layers
from pellucid.networks.registry import IntegersOption, image_shape, network

POOLINGS: dict[str, type[nn.Module]] = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}


def output_size(size: int, kernel_size: int, stride: int, padding: int) -> int:
    """floor((size + 2 padding - kernel_size) / stride) + 1 positions along one side. Source: Dumoulin and Visin 2016, relationship 6."""
    return (size + 2 * padding - kernel_size) // stride + 1


@network(
    "cnn",
    options=(
        Option("kernel_size", "integer", 3, text("height and width of the convolution kernels"), "network", minimum=1, maximum=31),
        IntegersOption("filters", "text", (32, 64), text("kernels of each convolution layer"), "network", minimum=1, maximum=65_536),
        Option("stride", "integer", 1, text("by how many pixels a kernel moves"), "network", minimum=1, maximum=16),
        Option("pooling", "choice", "max", text("how a window of the feature map becomes one value"), "network", choices=tuple(POOLINGS)),
        Option("pool_size", "integer", 2, text("height and width of the pooling window; 1: no pooling"), "network", minimum=1, maximum=16),
        Option("pool_stride", "integer", 0, text("by how many pixels the window moves; 0: by its size"), "network", minimum=0, maximum=16),
        HIDDEN,
        BATCH_NORM,
        INITIALIZATION,
    ),
)  # fmt: skip
class ConvolutionalNetwork(nn.Module):
    """Blocks of convolution, activation and pooling, then fully connected layers: z = dense(flatten(block_L(... block_1(x)))).

    Convolution, for output channel o at (i, j), input channels c, kernel offsets m and n, stride s, padding p = floor(k / 2) of zeros:

        S[o, i, j] = b[o] + sum_{c, m, n} I[c, s i + m - p, s j + n - p] K[o, c, m, n]

    This is cross-correlation: the kernel is not flipped, as in the introductions to deep learning, which call it convolution. Since K
    is learnt, the flip makes no difference to what can be learnt. Pooling of a window f with stride t, on each channel alone:

        P[i, j] = pool(S[t i : t i + f, t j : t j + f]),   pool = max or mean

    Where a feature map has become smaller than the window, the window shrinks to it, so that images of every size go through. Weights start
    as He et al. 2015 (equation 10) derive for relu: N(0, 2 / (C k k)); batch normalisation, on by default, stands before the activation.

    Source: LeCun et al. 1998; Goodfellow, Bengio and Courville 2016, equations 9.6 and 9.7 and section 9.3.

    Raises:
        ModelError: inputs that are no images (C, H, W).
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        *,
        kernel_size: int = 3,
        filters: tuple[int, ...] = (32, 64),
        stride: int = 1,
        pooling: str = "max",
        pool_size: int = 2,
        pool_stride: int = 0,
        hidden: tuple[int, ...] = (128,),
        batch_norm: bool = True,
        initialization: str = "auto",
        activation: Any = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        channels, height, width = image_shape("cnn", input_shape)
        blocks: list[nn.Module] = []
        padding = kernel_size // 2
        for count in filters:
            blocks.append(nn.Conv2d(channels, count, kernel_size, stride, padding, bias=not batch_norm))
            height, width = (output_size(side, kernel_size, stride, padding) for side in (height, width))
            if batch_norm and height * width > 1:  # the statistics of one sample need more than one position
                blocks.append(nn.BatchNorm2d(count))
            blocks.append(build_activation(activation))
            window = (min(pool_size, height), min(pool_size, width))
            if max(window) > 1:
                step = (pool_stride, pool_stride) if pool_stride else window
                blocks.append(POOLINGS[pooling](window, step))
                height, width = (output_size(side, f, t, 0) for side, f, t in zip((height, width), window, step, strict=True))
            channels = count
        self.blocks = nn.Sequential(*blocks)
        self.flatten = nn.Flatten()
        features = channels * height * width
        layers, features = hidden_layers(features, hidden, activation, dropout, batch_norm=False)
        self.hidden = nn.Sequential(*layers)
        self.output = nn.Linear(features, outputs)
        initialize(self.blocks, initialization, activation)
        initialize(self.hidden, initialization, activation)
        initialize(self.output, initialization, "identity")

    def forward(self, images: Tensor) -> Tensor:  # (N, C, H, W)
        maps = self.blocks(images)  # (N, filters[-1], H', W')
        a = self.hidden(self.flatten(maps))  # (N, hidden[-1])
        return self.output(a)  # (N, K)
