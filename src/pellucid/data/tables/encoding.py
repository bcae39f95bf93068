"""One column of a table as features for a network, by its kind. Everything is fitted on the training rows alone.

Numbers are standardised; heavily skewed ones pass through asinh((x - median) / spread) first, which is the identity near the median and
a logarithm far from it, on both sides. With enough rows each number also gets a piecewise linear encoding, which lets a network learn
steep and local dependences (longitude and latitude of a house) that it would approach only slowly from the number itself:

    e_t(x) = min(1, max(0, (x - b_{t-1}) / (b_t - b_{t-1}))),  t = 1 ... T,  b_0 < ... < b_T quantiles of the training rows

Source: Gorishniy, Rubachev, Babenko, On Embeddings for Numerical Features in Tabular Deep Learning, NeurIPS 2022, section 3.2, eq. 1
(there the first and the last piece go on beyond the quantiles; here they are clipped, so that one strange number cannot rule a row).
A value that more than one row in T has, such as the zero of a gain that few people make, would take several quantiles for itself: it is
one bound, and the other rows share the rest (benchmarks/LOG.md: adult 0.854 without, 0.871 with it).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import polars as pl

from pellucid.data.tables.prose import TextEncoding
from pellucid.data.targets import natural_order

_SKEWED = 2.0  # |skewness| from which asinh is applied
_LARGEST = 8.0  # standard deviations; what lies further out is moved there
_EXTREME = 1e100  # beyond this, squares overflow: the column is divided by its largest number first
_PIECEWISE_VALUES = 32  # different values a column needs for a piecewise encoding
_LEVELS = 128  # one-hot features per column at most
_RARE_ROWS = 5000  # a level is rare below one row in so many, and below two rows


class ColumnEncoding(Protocol):
    """Fitted on training rows, applied to any; `to_dict` is pure JSON."""

    kind: ClassVar[str]

    @property
    def features(self) -> list[str]: ...

    def encode(self, values: pl.Series) -> np.ndarray:
        """(n, features) float32, finite."""
        ...

    def to_dict(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class NumericEncoding:
    """Standardised, missing values as the median with an indicator; see the module for the piecewise encoding."""

    kind: ClassVar[str] = "numeric"
    unit: float  # the numbers are divided by it first; 1 but for extreme ones
    median: float
    spread: float  # of asinh; 0 where it is not applied
    mean: float
    scale: float  # 0 where the training rows have one value: there is no feature then
    missing: bool  # whether training rows lacked a value: then there is an indicator
    bounds: tuple[float, ...] = ()  # b_0 ... b_T
    piece_means: tuple[float, ...] = ()  # mean of each piece over the training rows, subtracted

    @staticmethod
    def fit(values: pl.Series, pieces: int = 0) -> NumericEncoding:
        present = values.drop_nulls().to_numpy().astype(np.float64)
        missing = bool(values.null_count())
        if not len(present) or present.min() == present.max():
            middle = float(present[0]) if len(present) else 0.0
            return NumericEncoding(1.0, middle, 0.0, middle, 0.0, missing and bool(len(present)))
        largest = float(np.abs(present).max())
        unit = largest if not 1 / _EXTREME < largest < _EXTREME else 1.0
        present = present / unit
        median, spread = float(np.median(present)), 0.0
        if abs(_skewness(present)) > _SKEWED:
            quarters = np.quantile(present, [0.25, 0.75])
            spread = float(quarters[1] - quarters[0]) or float(present.std())
            if not math.isfinite(1 / spread):
                spread = 0.0
        # the median stands in for missing values before mean and scale are taken, as it will when the encoding is applied
        moved = _asinh(np.append(present, np.full(values.null_count(), median)), median, spread)
        mean, scale = float(moved.mean()), float(moved.std())
        if not scale > 1e-14 * abs(mean):
            return NumericEncoding(unit, median, spread, mean, 0.0, missing)
        bounds: tuple[float, ...] = ()
        means: tuple[float, ...] = ()
        if pieces > 1:
            edges = _bounds(present, pieces)
            if len(edges) > 2:
                bounds = tuple(edges.tolist())
                filled = np.append(present, np.full(values.null_count(), median))
                means = tuple(_pieces(filled, edges).mean(axis=0).tolist())
        return NumericEncoding(unit, median, spread, mean, scale, missing, bounds, means)

    @property
    def features(self) -> list[str]:
        names = [""] if self.scale else []
        names += [f"{low * self.unit:.6g} to {high * self.unit:.6g}" for low, high in zip(self.bounds, self.bounds[1:], strict=False)]
        return [*names, "missing"] if self.missing else names

    def encode(self, values: pl.Series) -> np.ndarray:
        absent = values.is_null().to_numpy()
        numbers = values.fill_null(0.0).to_numpy().astype(np.float64) / self.unit
        numbers[absent] = self.median
        columns: list[np.ndarray] = []
        if self.scale:
            with np.errstate(over="ignore"):
                standardised = (_asinh(numbers, self.median, self.spread) - self.mean) / self.scale
            columns.append(np.clip(standardised, -_LARGEST, _LARGEST)[:, None])
        if self.bounds:
            columns.append(_pieces(numbers, np.asarray(self.bounds)) - np.asarray(self.piece_means))
        if self.missing:
            columns.append(absent[:, None])
        return np.concatenate(columns, axis=1, dtype=np.float32) if columns else np.zeros((values.len(), 0), dtype=np.float32)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, **{name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}}

    @staticmethod
    def from_dict(stored: Mapping[str, Any]) -> NumericEncoding:
        given = {name: stored[name] for name in ("unit", "median", "spread", "mean", "scale", "missing")}
        return NumericEncoding(**given, bounds=tuple(stored["bounds"]), piece_means=tuple(stored["piece_means"]))


def _skewness(numbers: np.ndarray) -> float:
    centred = numbers - numbers.mean()
    variance = float((centred**2).mean())
    return float((centred**3).mean()) / variance**1.5 if variance > 0 and variance**1.5 > 0 else 0.0


def _asinh(numbers: np.ndarray, median: float, spread: float) -> np.ndarray:
    if not spread:
        return numbers
    with np.errstate(over="ignore"):
        return np.clip(np.arcsinh((numbers - median) / spread), -700.0, 700.0)


def _bounds(present: np.ndarray, pieces: int) -> np.ndarray:
    """b_0 < ... < b_T; none where the column has too few different values."""
    values, rows = np.unique(present, return_counts=True)
    if len(values) < _PIECEWISE_VALUES:
        return values[:0]
    frequent = values[rows * pieces > len(present)]
    others = present[~np.isin(present, frequent)]
    shared = np.quantile(others, np.linspace(0, 1, pieces + 1 - len(frequent))) if len(others) else others
    edges = np.unique(np.concatenate([frequent, shared]))
    return edges[np.concatenate([[True], np.diff(edges) > 1e-12 * max(1e-300, float(np.abs(edges).max()))])]


def _pieces(numbers: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """(n, T): e_1 ... e_T of each number."""
    with np.errstate(over="ignore"):
        return np.clip((numbers[:, None] - bounds[:-1]) / np.diff(bounds), 0.0, 1.0)


@dataclass(frozen=True)
class BooleanEncoding:
    """-1 for false, 1 for true, 0 where the value is missing."""

    kind: ClassVar[str] = "boolean"
    missing: bool  # whether there is an indicator

    @staticmethod
    def fit(values: pl.Series) -> BooleanEncoding:
        return BooleanEncoding(0 < values.null_count() < values.len())

    @property
    def features(self) -> list[str]:
        return ["", "missing"] if self.missing else [""]

    def encode(self, values: pl.Series) -> np.ndarray:
        numbers = (values.cast(pl.Float32) * 2 - 1).fill_null(0.0).to_numpy()[:, None]
        return np.concatenate([numbers, values.is_null().to_numpy()[:, None]], axis=1, dtype=np.float32) if self.missing else numbers

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "missing": self.missing}

    @staticmethod
    def from_dict(stored: Mapping[str, Any]) -> BooleanEncoding:
        return BooleanEncoding(bool(stored["missing"]))


@dataclass(frozen=True)
class CategoricalEncoding:
    """One-hot: a feature per common level, one for all rare levels, one for missing values.

    The last two exist only where the training rows have such values: a feature that was never on has weights that were never learnt, so
    an unseen level is all zeros instead.
    """

    kind: ClassVar[str] = "categorical"
    levels: tuple[str, ...]
    other: bool
    missing: bool

    @staticmethod
    def fit(values: pl.Series) -> CategoricalEncoding:
        present = values.drop_nulls()
        counted = present.value_counts().rename({present.name: "level"}) if present.len() else pl.DataFrame({"level": [], "count": []})
        least = max(2, round(values.len() / _RARE_ROWS))
        common = counted.filter(pl.col("count") >= least).sort(["count", "level"], descending=[True, False]).head(_LEVELS)
        levels = tuple(sorted((str(level) for level in common["level"].to_list()), key=natural_order))
        other = counted.height > len(levels)
        missing = present.len() < values.len()
        if not levels and not missing:  # all levels are rare: nothing that could be learnt
            other = False
        return CategoricalEncoding(levels, other, missing)

    @property
    def features(self) -> list[str]:
        return [*(f"= {level}" for level in self.levels), *(["other"] if self.other else []), *(["missing"] if self.missing else [])]

    def encode(self, values: pl.Series) -> np.ndarray:
        width = len(self.features)
        matrix = np.zeros((values.len(), width), dtype=np.float32)
        if not width:
            return matrix
        index = {level: number for number, level in enumerate(self.levels)}
        default = len(self.levels) if self.other else -1
        codes = values.replace_strict(index, default=default, return_dtype=pl.Int64).fill_null(default).to_numpy().copy()
        codes[values.is_null().to_numpy()] = width - 1 if self.missing else -1
        rows = np.flatnonzero(codes >= 0)
        matrix[rows, codes[rows]] = 1.0
        return matrix

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "levels": list(self.levels), "other": self.other, "missing": self.missing}

    @staticmethod
    def from_dict(stored: Mapping[str, Any]) -> CategoricalEncoding:
        return CategoricalEncoding(tuple(stored["levels"]), bool(stored["other"]), bool(stored["missing"]))


_DATE_PARTS = ("days", "year", "month", "day", "weekday", "hour")
_PERIODS = {"month": 12.0, "day": 31.0, "weekday": 7.0, "hour": 24.0}  # each as sine and cosine, so that December lies beside January


@dataclass(frozen=True)
class DateEncoding:
    """Days since the training rows' mean date and the year, standardised; month, day, weekday and hour as sine and cosine.

    Parts that never change in the training rows are left out.
    """

    kind: ClassVar[str] = "date"
    parts: tuple[str, ...]
    means: tuple[float, ...]  # of "days" and "year"
    scales: tuple[float, ...]
    missing: bool

    @staticmethod
    def fit(values: pl.Series) -> DateEncoding:
        present = values.drop_nulls()
        parts = {name: _date_part(present, name) for name in _DATE_PARTS}
        varying = tuple(name for name in _DATE_PARTS if len(parts[name]) and parts[name].min() < parts[name].max())
        means = tuple(float(parts[name].mean()) if len(parts[name]) else 0.0 for name in ("days", "year"))
        scales = tuple((float(parts[name].std()) if len(parts[name]) else 0.0) or 1.0 for name in ("days", "year"))
        return DateEncoding(varying, means, scales, 0 < values.null_count() < values.len())

    @property
    def features(self) -> list[str]:
        names: list[str] = []
        for part in self.parts:
            names += [f"{part} sine", f"{part} cosine"] if part in _PERIODS else [part]
        return [*names, "missing"] if self.missing else names

    def encode(self, values: pl.Series) -> np.ndarray:
        absent = values.is_null().to_numpy()
        columns: list[np.ndarray] = []
        for part in self.parts:
            numbers = _date_part(values, part)
            if part in _PERIODS:
                angles = 2 * math.pi * numbers / _PERIODS[part]
                columns += [np.sin(angles), np.cos(angles)]
            else:
                which = 0 if part == "days" else 1
                columns.append(np.clip((numbers - self.means[which]) / self.scales[which], -_LARGEST, _LARGEST))
        features = [np.where(absent, 0.0, column) for column in columns]
        if self.missing:
            features.append(absent.astype(np.float64))
        return np.stack(features, axis=1).astype(np.float32) if features else np.zeros((values.len(), 0), dtype=np.float32)

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind, "parts": list(self.parts), "means": list(self.means), "scales": list(self.scales), "missing": self.missing,
        }  # fmt: skip

    @staticmethod
    def from_dict(stored: Mapping[str, Any]) -> DateEncoding:
        return DateEncoding(tuple(stored["parts"]), tuple(stored["means"]), tuple(stored["scales"]), bool(stored["missing"]))


def _date_part(values: pl.Series, part: str) -> np.ndarray:
    if part == "days":
        numbers = values.dt.timestamp("us").cast(pl.Float64) / 86_400e6
    elif part == "hour":
        numbers = values.dt.hour().cast(pl.Float64) + values.dt.minute().cast(pl.Float64) / 60
    else:
        numbers = getattr(values.dt, part)().cast(pl.Float64)
    return numbers.fill_null(0.0).to_numpy()


_ENCODINGS: dict[str, Any] = {
    encoding.kind: encoding for encoding in (NumericEncoding, BooleanEncoding, CategoricalEncoding, DateEncoding, TextEncoding)
}


def fit_encoding(kind: str, values: pl.Series, pieces: int = 0) -> ColumnEncoding:
    """The encoding of a column of `kind` whose training values are `values`."""
    return NumericEncoding.fit(values, pieces) if kind == "numeric" else _ENCODINGS[kind].fit(values)


def restore_encoding(stored: Mapping[str, Any]) -> ColumnEncoding:
    """What `to_dict` has written."""
    return _ENCODINGS[stored["kind"]].from_dict(stored)
