"""Embeddings: rows of a table by number, alone or in bags, and one-hot vectors."""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F

from pellucid.core.language import text
from pellucid.derivation.registry import Unsupported, rule

_SOURCE = "Bengio, Ducharme, Vincent and Janvin 2003, A neural probabilistic language model, section 2"


def _refuse_renormalisation(weight, max_norm):
    if max_norm is not None:
        raise Unsupported(
            text("an embedding with max_norm, which changes the weight while it looks it up"),
            text("an embedding without max_norm"),
            text("renormalise the weight before the pass"),
        )
    if weight.dtype.kind != "f":
        raise Unsupported(
            text("torch.embedding, whose arguments come in the other order"),
            text("torch.nn.functional.embedding"),
            text("call that function"),
        )


def _rows(gradient, places, weight, padding_idx, scale_grad_by_freq):
    """The gradient of the table: each row the sum over the places where it was taken."""
    dW, flat = np.zeros(weight.shape), places.reshape(-1)
    rows = gradient.reshape(-1, weight.shape[1])
    if scale_grad_by_freq:
        rows = rows / np.bincount(flat, minlength=len(weight))[flat, None]
    np.add.at(dW, flat, rows)
    if padding_idx is not None and (padding_idx >= 0 or padding_idx >= -len(weight)):
        dW[padding_idx] = 0
    return dW


@rule(
    "embedding", function=F.embedding,
    forward=r"Y_{n} = W_{i_{n}}",
    backward={
        "weight": r"\bar{W}_{k} = \given{scale_grad_by_freq}{\frac{1}{c_{k}}} \sum_{n: i_{n} = k} \bar{Y}_{n}"
        r"\given{padding_idx}{, \quad \bar{W}_{p} = 0}"
    },
    symbols={"W": "weight", "i": "input", "Y": "output", "p": "padding_idx"},
    where={"n": text("a place in the input"), "k": text("a row of the table"), "c": text("how often the row was taken")},
    source=_SOURCE,
    note=text("The row of padding_idx gets the gradient 0, and with scale_grad_by_freq rows are scaled: choices, no derivatives."),
)  # fmt: skip
class embedding:
    def forward(input, weight, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False):
        _refuse_renormalisation(weight, max_norm)
        return weight[input]

    def backward(dY, Y, input, weight, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False):
        return {"weight": _rows(dY, input, weight, padding_idx, scale_grad_by_freq)}


def _bags(input, offsets, include_last_offset):
    """(flat places, the bag of each place, the number of bags)."""
    if input.ndim == 2:
        return input.reshape(-1), np.repeat(np.arange(len(input)), input.shape[1]), len(input)
    starts = offsets[:-1] if include_last_offset else offsets
    ends = np.append(offsets, len(input))[1 : len(starts) + 1]
    return input, np.repeat(np.arange(len(starts)), ends - starts), len(starts)


def _kept(places, weight, padding_idx):
    """Which places count: not those of padding."""
    return np.ones(len(places), bool) if padding_idx is None else places != padding_idx % len(weight)


@rule(
    "embedding_bag", function=F.embedding_bag,
    forward=r"\given{mode!=max}{Y_{b} = \given{mode=mean}{\frac{1}{m_{b}}} \sum_{n \in B_{b}} \given{per_sample_weights}{s_{n}} W_{i_{n}}}"
    r"\given{mode=max}{Y_{b} = \max_{n \in B_{b}} W_{i_{n}}}",
    backward={
        "weight": r"\given{mode!=max}{\bar{W}_{k} = \sum_{b} \sum_{n \in B_{b}: i_{n} = k} \given{per_sample_weights}{s_{n}}"
        r"\given{mode=mean}{\frac{1}{m_{b}}} \bar{Y}_{b}}"
        r"\given{mode=max}{\bar{W}_{k} = \sum_{b} [\text{row } k \text{ has the maximum}] \bar{Y}_{b}}",
        "per_sample_weights": r"\bar{s}_{n} = W_{i_{n}} \cdot \bar{Y}_{b}",
    },
    symbols={"W": "weight", "i": "input", "s": "per_sample_weights", "Y": "output"},
    where={
        "b": text("a bag"), "B": text("the places of a bag"), "m": text("how many they are"), "n": text("a place in the input"),
        "k": text("a row of the table"),
    },
    source=_SOURCE, note=text("Among equal maxima the first row of the bag counts; an empty bag gives 0."),
)  # fmt: skip
class embedding_bag:
    def forward(
        input, weight, offsets=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, mode="mean", sparse=False,
        per_sample_weights=None, include_last_offset=False, padding_idx=None,
    ):  # fmt: skip
        _refuse_renormalisation(weight, max_norm)
        if scale_grad_by_freq:
            raise Unsupported(
                text("embedding_bag with scale_grad_by_freq, where PyTorch divides by the counts of other rows"),
                text("scale_grad_by_freq=False"),
                text("use embedding and a sum"),
            )
        places, bags, count = _bags(input, offsets, include_last_offset)
        kept = _kept(places, weight, padding_idx)
        places, bags = places[kept], bags[kept]
        if mode == "max":
            Y = np.zeros((count, weight.shape[1]))
            for bag in np.unique(bags):
                Y[bag] = weight[places[bags == bag]].max(axis=0)
            return Y
        rows = weight[places] if per_sample_weights is None else weight[places] * per_sample_weights.reshape(-1, 1)[kept]
        Y = np.zeros((count, weight.shape[1]))
        np.add.at(Y, bags, rows)
        return Y / np.maximum(np.bincount(bags, minlength=count), 1)[:, None] if mode == "mean" else Y

    def backward(
        dY, Y, input, weight, offsets=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, mode="mean", sparse=False,
        per_sample_weights=None, include_last_offset=False, padding_idx=None,
    ):  # fmt: skip
        places, bags, count = _bags(input, offsets, include_last_offset)
        kept = _kept(places, weight, padding_idx)
        if mode == "max":
            dW, columns = np.zeros(weight.shape), np.arange(weight.shape[1])
            for bag in np.unique(bags[kept]):
                mine = places[kept & (bags == bag)]
                np.add.at(dW, (mine[weight[mine].argmax(axis=0)], columns), dY[bag])
            return {"weight": dW}
        rows = dY[bags] * kept[:, None]
        if mode == "mean":
            rows = rows / np.maximum(np.bincount(bags[kept], minlength=count), 1)[bags, None]
        gradients = {}
        if per_sample_weights is not None:
            gradients["per_sample_weights"] = (rows * weight[places]).sum(axis=1).reshape(per_sample_weights.shape)
            rows = rows * per_sample_weights.reshape(-1, 1)
        return {"weight": _rows(rows, places, weight, None, False), **gradients}


@rule(
    "one_hot", function=F.one_hot,
    forward=r"Y_{n k} = [i_{n} = k]", backward={}, symbols={"i": "input", "Y": "output"},
    where={"n": text("a place in the input"), "k": text("a class")},
    source="Bishop 2006, Pattern Recognition and Machine Learning, section 4.1.3",
)  # fmt: skip
class one_hot:
    def forward(input, num_classes=-1):
        classes = num_classes if num_classes >= 0 else int(input.max()) + 1
        return (input[..., None] == np.arange(classes)).astype(np.int64)

    def backward(dY, Y, input, num_classes=-1):
        return {}
