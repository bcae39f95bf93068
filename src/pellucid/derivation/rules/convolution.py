"""Convolutions: cross-correlation, as deep learning calls it, with stride, padding, dilation and groups; its transpose; patches.

All of it is one matrix product. `patches` writes for every output position the entries of the input that the kernel covers (im2col);
`put_back`, its transpose, adds them up again at the places they came from.
"""

from __future__ import annotations

import math

import numpy as np
import torch.nn.functional as F
from numpy.lib.stride_tricks import as_strided

from pellucid.core.language import text
from pellucid.derivation.registry import Unsupported, rule
from pellucid.derivation.rules.conditions import unless

_SOURCE = "Goodfellow, Bengio and Courville 2016, Deep Learning, sections 9.1 and 9.5"
_TRANSPOSED = "Dumoulin and Visin 2016, A guide to convolution arithmetic for deep learning, section 4"


def sizes_of(value, n):
    """One number per spatial dimension."""
    items = [int(item) for item in np.atleast_1d(value)]
    return items * n if len(items) == 1 else items


def padded(x, padding):
    """Zeros around the spatial dimensions (the last ones): (before, after) each. Negative padding cuts."""
    if not any(side for sides in padding for side in sides):
        return x
    x = np.pad(x, [(0, 0)] * (x.ndim - len(padding)) + [(max(a, 0), max(b, 0)) for a, b in padding])
    return x[(..., *(slice(-min(a, 0), size + min(b, 0)) for (a, b), size in zip(padding, x.shape[x.ndim - len(padding) :], strict=True)))]


def patches(x, kernel, stride, dilation):
    """What the kernel covers at each output position, as a view: (N, C, *spatial) -> (C, *kernel, N, *outputs)."""
    n = len(kernel)
    outputs = [(size - d * (k - 1) - 1) // s + 1 for size, k, s, d in zip(x.shape[2:], kernel, stride, dilation, strict=True)]
    if min(outputs) <= 0:
        raise Unsupported(text("a kernel larger than its input"), text("at least one output position"), text("enlarge the padding"))
    steps = x.strides
    strides = (steps[1], *(steps[2 + i] * dilation[i] for i in range(n)), steps[0], *(steps[2 + i] * stride[i] for i in range(n)))
    return as_strided(x, (x.shape[1], *kernel, x.shape[0], *outputs), strides, writeable=False)


def put_back(columns, spatial, stride, dilation):
    """The transpose of `patches`: (C, *kernel, N, *outputs) -> (N, C, *spatial), overlapping entries added up."""
    n = len(spatial)
    C, kernel, N, outputs = columns.shape[0], columns.shape[1 : n + 1], columns.shape[n + 1], columns.shape[n + 2 :]
    x = np.zeros((C, N, *spatial))
    for place in np.ndindex(*kernel):  # one addition of a whole array for each entry of the kernel
        covered = tuple(slice(p * d, p * d + s * (o - 1) + 1, s) for p, d, s, o in zip(place, dilation, stride, outputs, strict=True))
        x[(slice(None), slice(None), *covered)] += columns[(slice(None), *place)]
    return x.swapaxes(0, 1)


def _cut(x, padding):
    """The part of the spatial dimensions that is not padding."""
    if any(min(sides) < 0 for sides in padding):
        x = np.pad(x, [(0, 0), (0, 0)] + [(max(-a, 0), max(-b, 0)) for a, b in padding])
    sizes = x.shape[2:]
    return x[(..., *(slice(max(a, 0), size - max(b, 0)) for (a, b), size in zip(padding, sizes, strict=True)))]


class _Geometry:
    """One call's numbers, and the three maps that are linear in each of their two arguments.

    Letters: N batch, G groups, C channels of the input side, O of the output side, K entries of the kernel, L output positions.
    """

    def __init__(self, weight, stride, padding, dilation, groups):
        self.n = weight.ndim - 2
        self.kernel = weight.shape[2:]
        self.stride, self.dilation, self.groups = sizes_of(stride, self.n), sizes_of(dilation, self.n), int(groups)
        if isinstance(padding, str):  # "same" puts what is odd behind
            total = [d * (k - 1) if padding == "same" else 0 for k, d in zip(self.kernel, self.dilation, strict=True)]
            self.padding = [(size // 2, size - size // 2) for size in total]
        else:
            self.padding = [(size, size) for size in sizes_of(padding, self.n)]
        self.weight = weight.reshape(self.groups, weight.shape[0] // self.groups, math.prod(weight.shape[1:]))  # (G, O, C K)
        self.channels = self.groups * weight.shape[1]

    def columns(self, x):
        """(N, G C, *spatial) -> (G, C K, N L)."""
        found = patches(padded(x, self.padding), self.kernel, self.stride, self.dilation)
        self.outputs = found.shape[self.n + 1 :]  # (N, *outputs)
        return found.reshape(self.groups, self.weight.shape[2], math.prod(self.outputs))

    def rows(self, y):
        """(N, G O, *outputs) -> (G, O, N L)."""
        return y.swapaxes(0, 1).reshape(self.groups, self.weight.shape[1], y.size // max(y.shape[1], 1))

    def forward(self, x):
        y = self.weight @ self.columns(x)  # (G, O, C K) (G, C K, N L)
        return y.reshape(y.shape[0] * y.shape[1], *self.outputs).swapaxes(0, 1)

    def to_input(self, y, spatial):
        """The transpose of `forward` in x."""
        columns = (self.weight.swapaxes(1, 2) @ self.rows(y)).reshape(self.channels, *self.kernel, y.shape[0], *y.shape[2:])
        whole = [size + a + b for size, (a, b) in zip(spatial, self.padding, strict=True)]
        return _cut(put_back(columns, whole, self.stride, self.dilation), self.padding)

    def to_weight(self, y, x, shape):
        """The transpose of `forward` in the weight."""
        return (self.rows(y) @ self.columns(x).swapaxes(1, 2)).reshape(shape)


def _batched(x, n):
    """With a dimension for the examples, where the program had none."""
    if x.ndim not in (n + 1, n + 2):
        raise Unsupported(
            text("an input of {got} dimensions", got=x.ndim), text("{n} or {m}", n=n + 1, m=n + 2), text("check the input's shape")
        )
    return x if x.ndim == n + 2 else x[None]


def _channels(bias, n):
    return 0 if bias is None else bias.reshape(-1, *([1] * n))


def convolve(input, weight, bias, stride, padding, dilation, groups):
    n = weight.ndim - 2
    y = _Geometry(weight, stride, padding, dilation, groups).forward(_batched(input, n)) + _channels(bias, n)
    return y.reshape(y.shape[input.ndim == n + 1 :])


def convolve_backward(dY, input, weight, bias, stride, padding, dilation, groups):
    n = weight.ndim - 2
    geometry, x, dy = _Geometry(weight, stride, padding, dilation, groups), _batched(input, n), _batched(dY, n)
    return {
        "input": geometry.to_input(dy, x.shape[2:]).reshape(input.shape),
        "weight": geometry.to_weight(dy, x, weight.shape),
        "bias": None if bias is None else dy.sum(axis=(0, *range(2, n + 2))),
    }


def transposed(input, weight, bias, stride, padding, output_padding, groups, dilation):
    n = weight.ndim - 2
    x, geometry = _batched(input, n), _Geometry(weight, stride, padding, dilation, groups)
    extra = sizes_of(output_padding, n)
    spatial = [
        (size - 1) * s - 2 * p + d * (k - 1) + 1 + e
        for size, s, (p, _), d, k, e in zip(
            x.shape[2:], geometry.stride, geometry.padding, geometry.dilation, geometry.kernel, extra, strict=True
        )
    ]
    y = geometry.to_input(x, spatial) + _channels(bias, n)
    return y.reshape(y.shape[input.ndim == n + 1 :])


def transposed_backward(dY, input, weight, bias, stride, padding, output_padding, groups, dilation):
    n = weight.ndim - 2
    x, dy, geometry = _batched(input, n), _batched(dY, n), _Geometry(weight, stride, padding, dilation, groups)
    inside = (..., *(slice(size) for size in x.shape[2:]))  # output_padding may leave room for one position more
    dx = geometry.forward(dy)[inside]
    rows = geometry.rows(x)
    columns = geometry.columns(dy).reshape(geometry.groups, geometry.weight.shape[2], *geometry.outputs)[inside]
    dw = rows @ columns.reshape(*columns.shape[:2], rows.shape[2]).swapaxes(1, 2)
    return {
        "input": dx.reshape(input.shape),
        "weight": dw.reshape(weight.shape),
        "bias": None if bias is None else dy.sum(axis=(0, *range(2, n + 2))),
    }


# -- equations: for each number of spatial dimensions the same sentence with other indices -------------------------------------------------


def _places(n):
    """Where the kernel's entry (m, n) meets the output position (i, j): s i + d m - p and s j + d n - p."""
    stride, dilation = unless("stride", 1, "s ", n), unless("dilation", 1, "d ", n)
    padding = unless("padding", 0, r"\given{padding!=valid}{ - p}", n)
    return [f"{stride}{i} + {dilation}{m}{padding}" for i, m in zip("ijl"[:n], "mnq"[:n], strict=True)]


def _meets(n):
    """The condition that they meet at (u, v)."""
    return ",\\; ".join(f"{place} = {u}" for place, u in zip(_places(n), "uvw"[:n], strict=True))


def _where(n, positions, covered):
    """What the letters mean; (i, j) is a position in one tensor, (u, v) in the other."""
    return {
        **{letter: text("a position in {tensor}", tensor=positions) for letter in "ijl"[:n]},
        **{letter: text("a position in the kernel K") for letter in "mnq"[:n]},
        **{letter: text("a position in {tensor}", tensor=covered) for letter in "uvw"[:n]},
    }


def _indices(n, letters):
    return ", ".join(letters[:n])


_WHERE = {
    "c": text("an input channel"), "o": text("an output channel"),
    "G": text("the input channels of the group that an output channel belongs to"), "k": text("an example, where several add up"),
    "s": text("the stride"), "d": text("the dilation"), "p": text("the padding: outside of I there are zeros"),
}  # fmt: skip
_NOTE = text("Deep learning calls this convolution; it is cross-correlation, because the kernel is not flipped.")


def _sums(indices):
    """A sum for each index."""
    return " ".join(rf"\sum_{{{index}}}" for index in indices.split(", "))


_GROUP = r"\given{groups!=1}{ \in G(o)}"


def _conv(n):
    ij, mn, uv, place = _indices(n, "ijl"), _indices(n, "mnq"), _indices(n, "uvw"), ", ".join(_places(n))
    return {
        "forward": rf"S_{{o}}({ij}) = \sum_{{c{_GROUP}}} {_sums(mn)} I_{{c}}({place}) \, K_{{o,c}}({mn})\given{{bias}}{{ + b_{{o}}}}",
        "backward": {
            "input": rf"\bar{{I}}_{{c}}({uv}) = \sum_{{o}} \sum_{{\substack{{{ij},\, {mn}: \\ {_meets(n)}}}}}"
            rf" \bar{{S}}_{{o}}({ij}) \, K_{{o,c}}({mn})",
            "weight": rf"\bar{{K}}_{{o,c}}({mn}) = \sum_{{k}} {_sums(ij)} \bar{{S}}_{{k,o}}({ij}) \, I_{{k,c}}({place})",
            "bias": rf"\bar{{b}}_{{o}} = \sum_{{k}} {_sums(ij)} \bar{{S}}_{{k,o}}({ij})",
        },
        "symbols": {"I": "input", "K": "weight", "b": "bias", "S": "output"},
        "where": {**_WHERE, **_where(n, "S", "I")},
        "source": _SOURCE,
        "note": _NOTE,
    }


def _transposed(n):
    ij, mn, uv, place = _indices(n, "ijl"), _indices(n, "mnq"), _indices(n, "uvw"), ", ".join(_places(n))
    return {
        "forward": rf"S_{{o}}({uv}) = \sum_{{c{_GROUP}}} \sum_{{\substack{{{ij},\, {mn}: \\ {_meets(n)}}}}}"
        rf" I_{{c}}({ij}) \, K_{{c,o}}({mn})\given{{bias}}{{ + b_{{o}}}}",
        "backward": {
            "input": rf"\bar{{I}}_{{c}}({ij}) = \sum_{{o}} {_sums(mn)} \bar{{S}}_{{o}}({place}) \, K_{{c,o}}({mn})",
            "weight": rf"\bar{{K}}_{{c,o}}({mn}) = \sum_{{k}} {_sums(ij)} I_{{k,c}}({ij}) \, \bar{{S}}_{{k,o}}({place})",
            "bias": rf"\bar{{b}}_{{o}} = \sum_{{k}} {_sums(uv)} \bar{{S}}_{{k,o}}({uv})",
        },
        "symbols": {"I": "input", "K": "weight", "b": "bias", "S": "output"},
        "where": {**_WHERE, "p": text("the padding: what is cut off around S"), **_where(n, "I", "S")},
        "source": _TRANSPOSED,
        "note": text("The transpose of a convolution: every entry of the input puts its own copy of the kernel into the output."),
    }


@rule("conv1d", function=F.conv1d, **_conv(1))
class conv1d:
    def forward(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
        return convolve(input, weight, bias, stride, padding, dilation, groups)

    def backward(dY, Y, input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
        return convolve_backward(dY, input, weight, bias, stride, padding, dilation, groups)


@rule("conv2d", function=F.conv2d, **_conv(2))
class conv2d:
    def forward(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
        return convolve(input, weight, bias, stride, padding, dilation, groups)

    def backward(dY, Y, input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
        return convolve_backward(dY, input, weight, bias, stride, padding, dilation, groups)


@rule("conv3d", function=F.conv3d, **_conv(3))
class conv3d:
    def forward(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
        return convolve(input, weight, bias, stride, padding, dilation, groups)

    def backward(dY, Y, input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
        return convolve_backward(dY, input, weight, bias, stride, padding, dilation, groups)


@rule("conv_transpose1d", function=F.conv_transpose1d, **_transposed(1))
class conv_transpose1d:
    def forward(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
        return transposed(input, weight, bias, stride, padding, output_padding, groups, dilation)

    def backward(dY, Y, input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
        return transposed_backward(dY, input, weight, bias, stride, padding, output_padding, groups, dilation)


@rule("conv_transpose2d", function=F.conv_transpose2d, **_transposed(2))
class conv_transpose2d:
    def forward(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
        return transposed(input, weight, bias, stride, padding, output_padding, groups, dilation)

    def backward(dY, Y, input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
        return transposed_backward(dY, input, weight, bias, stride, padding, output_padding, groups, dilation)


@rule("conv_transpose3d", function=F.conv_transpose3d, **_transposed(3))
class conv_transpose3d:
    def forward(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
        return transposed(input, weight, bias, stride, padding, output_padding, groups, dilation)

    def backward(dY, Y, input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
        return transposed_backward(dY, input, weight, bias, stride, padding, output_padding, groups, dilation)


_PATCH = {
    "c": text("a channel"), **{letter: _WHERE[letter] for letter in "sd"}, "p": text("the padding"),
    "i": text("the row of a patch"), "j": text("the column of a patch"),
    "m": text("a row inside the patch"), "n": text("a column inside the patch"),
    "u": text("a row of the image"), "v": text("a column of the image"),
}  # fmt: skip


@rule(
    "unfold", function=F.unfold,
    forward=rf"Y_{{(c, m, n),\, (i, j)}} = X_{{c}}({', '.join(_places(2))})",
    backward={"input": rf"\bar{{X}}_{{c}}(u, v) = \sum_{{\substack{{i, j,\, m, n: \\ {_meets(2)}}}}} \bar{{Y}}_{{(c, m, n),\, (i, j)}}"},
    symbols={"X": "input", "Y": "output"}, where=_PATCH,
    source="Chellapilla, Puri and Simard 2006, High performance convolutional neural networks for document processing",
    note=text("Every patch that a kernel of this size would cover becomes a column (im2col)."),
)  # fmt: skip
class unfold:
    def forward(input, kernel_size, dilation=1, padding=0, stride=1):
        kernel, stride, dilation = sizes_of(kernel_size, 2), sizes_of(stride, 2), sizes_of(dilation, 2)
        x = padded(_batched(input, 2), [(size, size) for size in sizes_of(padding, 2)])
        found = np.moveaxis(patches(x, kernel, stride, dilation), 3, 0)  # (N, C, *kernel, *outputs)
        y = found.reshape(x.shape[0], x.shape[1] * math.prod(kernel), math.prod(found.shape[-2:]))
        return y.reshape(y.shape[input.ndim == 3 :])

    def backward(dY, Y, input, kernel_size, dilation=1, padding=0, stride=1):
        return {"input": added_up(dY, input.shape[-2:], kernel_size, dilation, padding, stride).reshape(input.shape)}


@rule(
    "fold", function=F.fold,
    forward=rf"Y_{{c}}(u, v) = \sum_{{\substack{{i, j,\, m, n: \\ {_meets(2)}}}}} X_{{(c, m, n),\, (i, j)}}",
    backward={"input": rf"\bar{{X}}_{{(c, m, n),\, (i, j)}} = \bar{{Y}}_{{c}}({', '.join(_places(2))})"},
    symbols={"X": "input", "Y": "output"}, where=_PATCH,
    source="Chellapilla, Puri and Simard 2006, High performance convolutional neural networks for document processing",
    note=text("Patches that overlap are added up (col2im): the transpose of unfold."),
)  # fmt: skip
class fold:
    def forward(input, output_size, kernel_size, dilation=1, padding=0, stride=1):
        return added_up(input, output_size, kernel_size, dilation, padding, stride)

    def backward(dY, Y, input, output_size, kernel_size, dilation=1, padding=0, stride=1):
        kernel, stride, dilation = sizes_of(kernel_size, 2), sizes_of(stride, 2), sizes_of(dilation, 2)
        x = padded(_batched(dY, 2), [(size, size) for size in sizes_of(padding, 2)])
        return {"input": np.moveaxis(patches(x, kernel, stride, dilation), 3, 0).reshape(input.shape)}


def added_up(columns, output_size, kernel_size, dilation, padding, stride):
    """(N, C K, L) or (C K, L) -> (N, C, *output_size) or (C, *output_size)."""
    size, kernel, stride, dilation = (sizes_of(value, 2) for value in (output_size, kernel_size, stride, dilation))
    padding = [(side, side) for side in sizes_of(padding, 2)]
    whole = [length + a + b for length, (a, b) in zip(size, padding, strict=True)]
    outputs = [(length - d * (k - 1) - 1) // s + 1 for length, k, s, d in zip(whole, kernel, stride, dilation, strict=True)]
    x = columns if columns.ndim == 3 else columns[None]
    x = np.moveaxis(x.reshape(x.shape[0], x.shape[1] // math.prod(kernel), *kernel, *outputs), 0, 3)
    y = _cut(put_back(x, whole, stride, dilation), padding)
    return y.reshape(y.shape[columns.ndim == 2 :])
