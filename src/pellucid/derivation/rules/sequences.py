"""Sequences of several lengths: padded to one tensor, packed time by time, and back."""

from __future__ import annotations

import numpy as np
import torch

from pellucid.core.language import text
from pellucid.derivation.registry import rule

_SOURCE = "Paszke et al. 2019, PyTorch: an imperative style, high-performance deep learning library, section 4"
_WHERE = {
    "t": text("a time"),
    "n": text("a sequence"),
    "r": text("the row of a sequence's time in the packed tensor, all of one time together"),
}


def batch_sizes_of(lengths):
    """How many sequences are going on at each time."""
    lengths = np.asarray(lengths)
    return (lengths[None, :] > np.arange(int(lengths.max(initial=0)))[:, None]).sum(axis=1)


def rows_of(batch_sizes):
    """(the time, the sequence) of each packed row."""
    sizes = np.asarray(batch_sizes)
    times = np.repeat(np.arange(len(sizes)), sizes)
    return times, np.arange(len(times)) - np.repeat(np.cumsum(sizes) - sizes, sizes)


@rule(
    "_pack_padded_sequence", function=torch._VF._pack_padded_sequence,
    forward=r"Y_{r(t, n)} = X_{t n}", backward={"input": r"\bar{X}_{t n} = \bar{Y}_{r(t, n)}, \quad 0 \text{ in the padding}"},
    symbols={"X": "input", "Y": "output"}, where=_WHERE, source=_SOURCE,
)  # fmt: skip
class pack_padded_sequence:
    def forward(input, lengths, batch_first):
        sizes = batch_sizes_of(lengths)
        return (np.swapaxes(input, 0, 1) if batch_first else input)[rows_of(sizes)], sizes

    def backward(dY, Y, input, lengths, batch_first):
        dX = np.zeros(input.shape)
        (np.swapaxes(dX, 0, 1) if batch_first else dX)[rows_of(Y[1])] = dY[0]
        return {"input": dX}


@rule(
    "_pad_packed_sequence", function=torch._VF._pad_packed_sequence,
    forward=r"Y_{t n} = X_{r(t, n)}, \quad v \text{ in the padding}", backward={"data": r"\bar{X}_{r(t, n)} = \bar{Y}_{t n}"},
    symbols={"X": "data", "v": "padding_value", "Y": "output"}, where=_WHERE, source=_SOURCE,
)  # fmt: skip
class pad_packed_sequence:
    def forward(data, batch_sizes, batch_first, padding_value, total_length):
        times, sequences = rows_of(batch_sizes)
        padded = np.full((max(len(batch_sizes), total_length), int(batch_sizes[0]), *data.shape[1:]), padding_value, dtype=data.dtype)
        padded[times, sequences] = data
        return np.swapaxes(padded, 0, 1) if batch_first else padded, np.bincount(sequences)

    def backward(dY, Y, data, batch_sizes, batch_first, padding_value, total_length):
        return {"data": (np.swapaxes(dY[0], 0, 1) if batch_first else dY[0])[rows_of(batch_sizes)]}


@rule(
    "pad_sequence", function=torch._C._nn.pad_sequence,
    forward=r"Y_{t n} = (X_{n})_{t}, \quad v \text{ in the padding}", backward={"sequences": r"(\bar{X}_{n})_{t} = \bar{Y}_{t n}"},
    symbols={"X": "sequences", "v": "padding_value", "Y": "output"}, where={key: _WHERE[key] for key in "tn"}, source=_SOURCE,
)  # fmt: skip
class pad_sequence:
    def forward(sequences, batch_first=False, padding_value=0.0, padding_side="right"):
        padded = np.full(
            (max(map(len, sequences)), len(sequences), *sequences[0].shape[1:]), padding_value, dtype=sequences[0].dtype
        )  # fmt: skip
        for n, sequence in enumerate(sequences):
            padded[_times(len(sequence), len(padded), padding_side), n] = sequence
        return np.swapaxes(padded, 0, 1) if batch_first else padded

    def backward(dY, Y, sequences, batch_first=False, padding_value=0.0, padding_side="right"):
        padded = np.swapaxes(dY, 0, 1) if batch_first else dY
        return {"sequences": [padded[_times(len(sequence), len(padded), padding_side), n] for n, sequence in enumerate(sequences)]}


def _times(length, longest, padding_side):
    return slice(0, length) if padding_side == "right" else slice(longest - length, longest)
