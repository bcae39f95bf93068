"""Borders put around a tensor, and blocks of channels turned into pixels and back."""

from __future__ import annotations

import numpy as np
import torch

from pellucid.core.language import text
from pellucid.derivation.registry import Unsupported, rule

_SHUFFLE = "Shi et al. 2016, Real-time single image and video super-resolution using an efficient sub-pixel convolutional network, eq. 4"


def padded_positions(size, before, after, mode):
    """Which position of the input each position of the output shows; -1 for the constant border."""
    places = np.arange(-before, size + after)
    if mode == "constant":
        return np.where((places < 0) | (places >= size), -1, places)
    if mode == "replicate":
        return np.clip(places, 0, size - 1)
    if mode == "circular":  # of what negative amounts leave
        first, last = max(-before, 0), size - max(-after, 0)
        return (np.arange(-max(before, 0), last - first + max(after, 0))) % (last - first) + first
    if mode == "reflect":
        places = np.abs(places) % max(2 * (size - 1), 1)
        return np.where(places >= size, 2 * (size - 1) - places, places)
    raise Unsupported(
        text("padding of mode {mode!r}", mode=mode),
        text("constant, reflect, replicate or circular"),
        text("choose one of these modes"),
    )


def _sides(pad):
    """[(axis, before, after)] from the last axis backwards."""
    pad = [int(amount) for amount in pad]
    return [(-1 - position // 2, *pad[position : position + 2]) for position in range(0, len(pad), 2)]


@rule(
    "pad", function=torch.nn.functional.pad,
    forward=r"Y_{i} = \given{mode=constant}{\begin{cases} X_{i - p} & \text{inside} \\ v & \text{in the border} \end{cases}}"
    r"\given{mode!=constant}{X_{\pi(i)}}",
    backward={
        "input": r"\given{mode=constant}{\bar{X}_{i} = \bar{Y}_{i + p}}"
        r"\given{mode!=constant}{\bar{X}_{u} = \sum_{i: \pi(i) = u} \bar{Y}_{i}}"
    },
    symbols={"X": "input", "Y": "output", "p": "pad", "v": "value"},
    where={"i": text("a position in Y"), "u": text("a position in X"), r"\pi": text("the position in X that a position in Y repeats")},
    source="Goodfellow, Bengio and Courville 2016, Deep Learning, section 9.5",
)  # fmt: skip
class pad_:
    def forward(input, pad, mode="constant", value=None):
        Y = input
        if mode == "constant":
            for axis, before, after in _sides(pad):  # negative amounts cut off
                Y = np.moveaxis(np.moveaxis(Y, axis, 0)[max(-before, 0) : Y.shape[axis] - max(-after, 0)], 0, axis)
            widths = [(0, 0)] * input.ndim
            for axis, before, after in _sides(pad):
                widths[axis] = (max(before, 0), max(after, 0))
            return np.pad(Y, widths, constant_values=0 if value is None else value)
        for axis, before, after in _sides(pad):
            Y = np.take(Y, padded_positions(input.shape[axis], before, after, mode), axis=axis)
        return Y

    def backward(dY, Y, input, pad, mode="constant", value=None):
        gradient = dY
        for axis, before, after in _sides(pad):
            places = padded_positions(input.shape[axis], before, after, mode)
            inside, along = places >= 0, np.moveaxis(gradient, axis, 0)
            part = np.zeros((input.shape[axis], *along.shape[1:]))
            np.add.at(part, places[inside], along[inside])
            gradient = np.moveaxis(part, 0, axis)
        return {"input": gradient}


@rule(
    "constant_pad_nd", function=torch.constant_pad_nd,
    forward=r"Y_{i} = \begin{cases} X_{i - p} & \text{inside} \\ v & \text{in the border} \end{cases}",
    backward={"input": r"\bar{X}_{i} = \bar{Y}_{i + p}"},
    symbols={"X": "input", "Y": "output", "p": "pad", "v": "value"}, where={"i": text("a position")},
    source="Goodfellow, Bengio and Courville 2016, Deep Learning, section 9.5",
)  # fmt: skip
class constant_pad_nd:
    def forward(input, pad, value=0):
        return pad_.forward(input, pad, value=value)

    def backward(dY, Y, input, pad, value=0):
        return pad_.backward(dY, Y, input, pad)


def _shuffled(X, r):
    """(..., C r r, H, W) -> (..., C, H r, W r)."""
    *batch, channels, height, width = X.shape
    blocks = X.reshape(*batch, channels // r**2, r, r, height, width)
    return np.moveaxis(blocks, (-4, -3), (-3, -1)).reshape(*batch, channels // r**2, height * r, width * r)


def _unshuffled(X, r):
    """(..., C, H r, W r) -> (..., C r r, H, W)."""
    *batch, channels, height, width = X.shape
    blocks = X.reshape(*batch, channels, height // r, r, width // r, r)
    return np.moveaxis(blocks, (-3, -1), (-4, -3)).reshape(*batch, channels * r**2, height // r, width // r)


@rule(
    "pixel_shuffle", function=torch.pixel_shuffle,
    forward=r"Y_{c,\, r h + a,\, r w + b} = X_{r^{2} c + r a + b,\, h,\, w}",
    backward={"input": r"\bar{X}_{r^{2} c + r a + b,\, h,\, w} = \bar{Y}_{c,\, r h + a,\, r w + b}"},
    symbols={"X": "input", "Y": "output", "r": "upscale_factor"},
    where={
        "c": text("a channel of Y"), "h": text("a row of X"), "w": text("a column of X"),
        "a": text("a row in the block"), "b": text("a column in the block"),
    },
    source=_SHUFFLE,
)  # fmt: skip
class pixel_shuffle:
    def forward(input, upscale_factor):
        return _shuffled(input, upscale_factor)

    def backward(dY, Y, input, upscale_factor):
        return {"input": _unshuffled(dY, upscale_factor)}


@rule(
    "pixel_unshuffle", function=torch.pixel_unshuffle,
    forward=r"Y_{r^{2} c + r a + b,\, h,\, w} = X_{c,\, r h + a,\, r w + b}",
    backward={"input": r"\bar{X}_{c,\, r h + a,\, r w + b} = \bar{Y}_{r^{2} c + r a + b,\, h,\, w}"},
    symbols={"X": "input", "Y": "output", "r": "downscale_factor"},
    where={
        "c": text("a channel of X"), "h": text("a row of Y"), "w": text("a column of Y"),
        "a": text("a row in the block"), "b": text("a column in the block"),
    },
    source=_SHUFFLE,
)  # fmt: skip
class pixel_unshuffle:
    def forward(input, downscale_factor):
        return _unshuffled(input, downscale_factor)

    def backward(dY, Y, input, downscale_factor):
        return {"input": _shuffled(dY, downscale_factor)}


def _dealt(X, groups):
    """Channel (group, place) goes to (place, group)."""
    blocks = X.reshape(X.shape[0], groups, X.shape[1] // groups, *X.shape[2:])
    return np.swapaxes(blocks, 1, 2).reshape(X.shape)


@rule(
    "channel_shuffle", "native_channel_shuffle", function=torch.channel_shuffle,
    forward=r"Y_{g c + k} = X_{C k / g + c}", backward={"input": r"\bar{X}_{C k / g + c} = \bar{Y}_{g c + k}"},
    symbols={"X": "input", "Y": "output", "g": "groups"},
    where={"C": text("the number of channels"), "k": text("a group"), "c": text("a channel's place in its group")},
    source="Zhang, Zhou, Lin and Sun 2018, ShuffleNet, section 3.1",
)  # fmt: skip
class channel_shuffle:
    def forward(input, groups):
        return _dealt(input, groups)

    def backward(dY, Y, input, groups):
        return {"input": _dealt(dY, input.shape[1] // groups)}
