"""The data sets that scikit-learn ships as files: digits, iris, wine, breast-cancer, diabetes; read without importing it (1 s)."""

from __future__ import annotations

import gzip
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.core.errors import DataError
from pellucid.core.language import text
from pellucid.core.records import Task
from pellucid.data.arrays.reading import array_samples
from pellucid.data.arrays.targets import Targets
from pellucid.data.samples import Samples

_WINE = (
    "alcohol", "malic_acid", "ash", "alcalinity_of_ash", "magnesium", "total_phenols", "flavanoids", "nonflavanoid_phenols",
    "proanthocyanins", "color_intensity", "hue", "od280/od315_of_diluted_wines", "proline",
)  # fmt: skip
_CELLS = (
    "radius",
    "texture",
    "perimeter",
    "area",
    "smoothness",
    "compactness",
    "concavity",
    "concave points",
    "symmetry",
    "fractal dimension",
)


@dataclass(frozen=True)
class EmbeddedSet:
    """One data set as scikit-learn's `load_*` gives it."""

    features: tuple[str, ...]
    classes: tuple[str, ...] = ()  # empty: a regression
    inputs: str = ""  # the file of the inputs; where `targets` is empty its last column is the target
    targets: str = ""
    delimiter: str | None = ","
    header_lines: int = 1
    image: tuple[int, ...] = ()  # (C, H, W) where the features are pixels


EMBEDDED = {
    "digits": EmbeddedSet(
        features=tuple(f"pixel_{row}_{column}" for row in range(8) for column in range(8)),
        classes=tuple(str(digit) for digit in range(10)),
        inputs="digits.csv.gz",
        header_lines=0,
        image=(1, 8, 8),
    ),
    "iris": EmbeddedSet(
        features=("sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"),
        classes=("setosa", "versicolor", "virginica"),
        inputs="iris.csv",
    ),
    "wine": EmbeddedSet(features=_WINE, classes=("class_0", "class_1", "class_2"), inputs="wine_data.csv"),
    "breast-cancer": EmbeddedSet(
        features=(*(f"mean {name}" for name in _CELLS), *(f"{name} error" for name in _CELLS), *(f"worst {name}" for name in _CELLS)),
        classes=("malignant", "benign"),
        inputs="breast_cancer.csv",
    ),
    "diabetes": EmbeddedSet(
        features=("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"),
        inputs="diabetes_data_raw.csv.gz",
        targets="diabetes_target.csv.gz",
        delimiter=None,
        header_lines=0,
    ),
}
ALIASES = {"breast_cancer": "breast-cancer"}


def embedded_name(source: object) -> str | None:
    """The data set that `source` names, or None."""
    if not isinstance(source, str):
        return None
    name = ALIASES.get(source.lower(), source.lower())
    return name if name in EMBEDDED else None


def load_embedded(name: str) -> tuple[np.ndarray, np.ndarray]:
    """X (N, F), float64, and y (N,): class indices or, for diabetes, a measure of the disease's progression after a year.

    Diabetes comes in the units it was measured in (scikit-learn's `load_diabetes(scaled=False)`).

    Raises:
        DataError: scikit-learn's data files are not there.
    """
    found = EMBEDDED[name]
    table = _numbers(found.inputs, found)
    if found.targets:
        return table, _numbers(found.targets, found).reshape(-1)
    return table[:, :-1], table[:, -1]


def _numbers(file: str, found: EmbeddedSet) -> np.ndarray:
    path = _folder() / file
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            text("{path} cannot be read: {reason}", path=str(path), reason=error.strerror or str(error)),
            text("scikit-learn's own data files"),
            text("install scikit-learn again: pip install --force-reinstall scikit-learn"),
        ) from None
    lines = (gzip.decompress(content) if file.endswith(".gz") else content).decode("ascii").splitlines()
    return np.loadtxt(lines[found.header_lines :], delimiter=found.delimiter, ndmin=2)


def _folder() -> Path:
    """Where scikit-learn is installed; its package is not imported."""
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise DataError(
            text("scikit-learn is not installed, and the embedded data sets are its files"),
            text("the package scikit-learn"),
            text("install it: pip install scikit-learn"),
        )
    return Path(package.origin).parent / "datasets" / "data"


def read_embedded(name: str, *, group: Any = None, time: Any = None) -> Samples:
    """An embedded data set as Samples: digits as an array (N, 1, 8, 8) of bytes 0..16, the others as a table with named columns."""
    found = EMBEDDED[name]
    if found.image:
        task = Task(kind="classification", targets=("digit",), classes=found.classes)
        pixels, labels = embedded_images(name)
        return array_samples(pixels, Targets(task, labels, []), name=name, group=group, time=time)
    return _as_table(name, found, load_embedded(name)[1], group, time)


def embedded_images(name: str) -> tuple[np.ndarray, np.ndarray]:
    """(N, C, H, W) uint8 and class indices (N,) of an embedded set of images."""
    X, y = load_embedded(name)
    return X.astype(np.uint8).reshape(-1, *EMBEDDED[name].image), y.astype(np.int64)


def embedded_frame(name: str) -> Any:
    """A tabular data set as a polars frame: the features under scikit-learn's names, then "target"."""
    import polars as pl  # 0.2 s, which digits does without

    found = EMBEDDED[name]
    X, y = load_embedded(name)
    target = [found.classes[int(label)] for label in y] if found.classes else y
    return pl.DataFrame({**{feature: X[:, column] for column, feature in enumerate(found.features)}, "target": target})


def _as_table(name: str, found: EmbeddedSet, y: np.ndarray, group: Any, time: Any) -> Samples:
    from pellucid.data.tables.reading import read_frame

    samples = read_frame(embedded_frame(name), "target", task="classification" if found.classes else "regression", group=group, time=time)
    samples.name = name
    if found.classes:  # in scikit-learn's order
        samples.task = Task(kind="classification", targets=("target",), classes=found.classes)
        samples.targets = y.astype(np.int64)
    return samples
