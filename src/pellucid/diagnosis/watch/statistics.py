"""Numbers about tensors, computed where the tensors are and read all at once: one wait for the device per look."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

ENTRIES = 2**16  # of an activation: more are thinned out evenly, samples first
LARGE = 2**20  # entries of a parameter from which on every n-th stands for all where a copy is needed
UNITS = 256  # per layer, of which single values are kept

_foreach_norm: Any = getattr(torch, "_foreach_norm")  # noqa: B009 (torch.nn.utils.clip_grad_norm_ uses it; it is not among torch's exports)
Bounds = tuple[float | None, float | None]


class Readings:
    """Small tensors on any device, collected under keys and fetched together."""

    def __init__(self) -> None:
        self._keys: list[Any] = []
        self._tensors: list[Tensor] = []

    def add(self, key: Any, tensor: Tensor) -> None:
        self._keys.append(key)
        self._tensors.append(tensor.detach())

    def forget(self, chosen: Callable[[Any], bool]) -> None:
        kept = [(key, tensor) for key, tensor in zip(self._keys, self._tensors, strict=True) if not chosen(key)]
        self._keys, self._tensors = [key for key, _ in kept], [tensor for _, tensor in kept]

    def fetch(self) -> dict[Any, list[float]]:
        """Every collected tensor as a flat list of numbers, NaN and infinity included."""
        flat: list[list[float]] = [[] for _ in self._keys]
        devices: dict[torch.device, list[int]] = {}
        for position, tensor in enumerate(self._tensors):
            devices.setdefault(tensor.device, []).append(position)
        for positions in devices.values():
            joined = torch.cat([self._tensors[position].reshape(-1).to(torch.float32) for position in positions]).tolist()
            start = 0
            for position in positions:
                end = start + self._tensors[position].numel()
                flat[position] = joined[start:end]
                start = end
        found = dict(zip(self._keys, flat, strict=True))
        self._keys.clear()
        self._tensors.clear()
        return found


class Activation(NamedTuple):
    """What `activation` measures, in this order."""

    mean: float
    std: float
    low: float
    high: float
    sample_std: float
    zeros: float
    dead: float
    saturated: float
    nonfinite: float


def activation(tensor: Tensor, unit_dimension: int, bounds: Bounds | None) -> tuple[Tensor, Tensor]:
    """The nine numbers of `Activation` as one tensor, and per unit the share of zeros, (units,).

    `tensor` is (N, ...), thinned; units lie along `unit_dimension`, which may be 0 where there is only N. What is not a number in the
    field's sense (saturation without bounds) is NaN.

    A few passes over memory, each vectorised: torch.var over the first dimension, torch.std_mean and masks of booleans take 20 to 500
    times as long on a CPU. Variances are those of differences from the first sample: zero, not rounding, where all samples are equal.
    """
    x = (tensor.abs() if tensor.is_complex() else tensor).float()
    samples, entries = x.shape[0], x.numel()
    low, high = torch.aminmax(x)
    away = x - x[:1]  # (N, ...)
    centre = away.mean(0)  # (...), as are the next two
    means = x[0] + centre
    mean = means.mean()
    within = (away.square_().sum() - samples * centre.square().sum()).clamp_min(0) / entries  # the mean over units of their variance
    std = (within + (means - mean).square_().mean()).sqrt()
    rest = [d for d in range(x.dim()) if d != unit_dimension or x.dim() == 1]
    off = _mask("eq", x, 0).mean(dim=rest).reshape(-1)  # (units,)
    per_sample = within.sqrt() if samples > 1 else torch.full_like(mean, math.nan)
    nonfinite = _mask("ne", x * 0, 0).mean()
    return torch.stack([mean, std, low, high, per_sample, off.mean(), off.floor().mean(), saturated(x, bounds, mean), nonfinite]), off


def saturated(x: Tensor, bounds: Bounds | None, like: Tensor) -> Tensor:
    """The share of entries within 1 % of the range from a bound; NaN without bounds."""
    if bounds is None or bounds == (None, None):
        return torch.full_like(like, math.nan)
    low, high = bounds
    width = (high if high is not None else 0.0) - (low if low is not None else 0.0)
    near = torch.zeros_like(like)
    if high is not None:
        near += _mask("gt", x, high - 0.01 * width).mean()
    if low is not None:
        near += _mask("lt", x, low + 0.01 * width).mean()
    return near


def _mask(comparison: str, x: Tensor, bound: float) -> Tensor:
    """1.0 where it holds, else 0.0: without booleans, whose kernels are not vectorised."""
    return getattr(torch, comparison)(x, bound, out=torch.empty_like(x))


def alike(weight: Tensor) -> Tensor:
    """How far the units of a layer are from being one: the largest difference of their weights from the first unit's, over the largest.

    `weight` is (units, ...), or (inputs, units) as in Keras: the smaller of the two answers. A corner of a large one stands for it.
    """
    rows = weight.detach().reshape(weight.shape[0], -1)[:64, :64].float()
    ways = [rows] if weight.dim() > 2 or weight.shape[1] < 2 else [rows, rows.T]
    return torch.stack([(way - way[:1]).abs().max() for way in ways]).min() / rows.abs().max().clamp_min(1e-30)


def zeros(x: Tensor) -> Tensor:
    """The share of entries that are exactly 0."""
    return (x == 0).float().mean() if x.is_complex() else _mask("eq", x, 0).mean(dtype=torch.float32)


def thinned(tensor: Tensor, unit_dimension: int) -> Tensor:
    """A view of about ENTRIES entries: every n-th sample, at least 16 of them; then every n-th position, never fewer units."""
    entries = tensor.numel()
    if entries <= ENTRIES or tensor.dim() == 0:
        return tensor
    samples = tensor.shape[0]
    kept = max(min(samples, 16), samples * ENTRIES // entries)
    step = max(1, samples // kept)
    if step > 1 and unit_dimension != 0:
        tensor = tensor[::step]
    dimensions = [d for d in range(1, tensor.dim()) if d != unit_dimension]
    while tensor.numel() > 4 * ENTRIES:
        widest = max(dimensions, key=lambda d: tensor.shape[d], default=0)
        if not widest or tensor.shape[widest] < 4:
            break
        tensor = tensor[(slice(None),) * widest + (slice(None, None, 2),)]
    return tensor


def units_shown(units: int) -> list[int]:
    """Which units' own values are kept: all, or UNITS of them evenly."""
    return list(range(units)) if units <= UNITS else [position * units // UNITS for position in range(UNITS)]


def dense(gradient: Tensor) -> Tensor:
    """The entries of a gradient that may be sparse; those left out are 0."""
    return gradient.coalesce().values() if gradient.is_sparse else gradient


def norms(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The Euclidean norm of each, without waiting for the device."""
    if not tensors:
        return []
    plain = [dense(tensor.detach()) for tensor in tensors]
    if len({(tensor.device, tensor.dtype) for tensor in plain}) == 1 and plain[0].dtype in (torch.float32, torch.float64):
        return list(_foreach_norm(plain))
    return [torch.linalg.vector_norm(tensor, dtype=None if tensor.is_complex() else torch.float32) for tensor in plain]


def sample_of(parameter: Tensor, like: Tensor | None = None) -> Tensor:
    """All entries, or every n-th of a large tensor, flat, (entries,); the same entries of `like` where it has the same layout.

    A view of the tensor's memory where that is dense; the caller copies what must not change.
    """
    tensor = dense((parameter if like is None else like).detach())
    if parameter.numel() <= LARGE or tensor.numel() != parameter.numel():
        return tensor.reshape(-1)
    flat = tensor.reshape(-1) if tensor.is_contiguous() else tensor.contiguous().reshape(-1)
    return flat[:: -(-parameter.numel() // LARGE)]


def finite(value: float | None, digits: int = 6) -> float | None:
    """A number as it is stored: six digits; None for what is not finite."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{digits}g}")


def column(values: Iterable[float | None]) -> tuple[float | None, ...]:
    return tuple(finite(value) for value in values)
