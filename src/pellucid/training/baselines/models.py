"""The classical models, each with scikit-learn's defaults or one customary choice, which is said. scikit-learn is imported when needed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pellucid.core.records import Task

FOREST = 100  # trees
_TREE_BYTES = 2**29  # what the fitted trees of a model may take
_ENTRIES = 2**26  # samples times classes of a logistic regression


@dataclass(frozen=True)
class Problem:
    """What a model needs to know beforehand."""

    task: Task
    features: int
    categorical: tuple[int, ...]
    seed: int
    threads: int

    @property
    def classification(self) -> bool:
        return self.task.kind == "classification"

    @property
    def outputs(self) -> int:
        return self.task.outputs


@dataclass(frozen=True)
class Candidate:
    """One row of the table of classical models."""

    name: str
    view: str  # of features.Features
    build: Callable[[Problem], Any]
    certain: bool = False  # its answers have no probabilities between 0 and 1
    growth: float = 1.1  # the time of fitting n samples grows as n to this power, until it has been measured
    most_samples: Callable[[Problem], float] = lambda problem: np.inf  # what memory allows
    probabilities: bool = True


def load_models() -> None:
    """Import what the models need."""
    for module in ("ensemble", "linear_model", "multioutput", "neighbors", "svm", "tree"):
        importlib.import_module(f"sklearn.{module}")


def _linear(problem: Problem) -> Any:
    from sklearn.linear_model import LogisticRegression, RidgeCV

    return LogisticRegression(max_iter=1000) if problem.classification else RidgeCV(alphas=np.logspace(-3, 4, 15))


def _tree(problem: Problem) -> Any:
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    return (DecisionTreeClassifier if problem.classification else DecisionTreeRegressor)(min_samples_leaf=5, random_state=problem.seed)


def _forest(problem: Problem) -> Any:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    if problem.classification:
        return RandomForestClassifier(n_estimators=FOREST, random_state=problem.seed, n_jobs=problem.threads)
    # a third of the columns for each cut: Hastie, Tibshirani and Friedman 2009, section 15.3; scikit-learn's default is all of them
    return RandomForestRegressor(n_estimators=FOREST, max_features=1 / 3, random_state=problem.seed, n_jobs=problem.threads)


def _boosting(problem: Problem) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.multioutput import MultiOutputRegressor

    given = {"random_state": problem.seed, "categorical_features": list(problem.categorical) or None}
    if problem.classification:
        return HistGradientBoostingClassifier(**given)
    model = HistGradientBoostingRegressor(**given)
    return model if problem.outputs == 1 else MultiOutputRegressor(model)


def _svm(problem: Problem) -> Any:
    from sklearn.multioutput import MultiOutputRegressor
    from sklearn.svm import SVC, SVR

    if problem.classification:
        return SVC(cache_size=500)
    return SVR(cache_size=500) if problem.outputs == 1 else MultiOutputRegressor(SVR(cache_size=500))


def _neighbour(problem: Problem) -> Any:
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

    return (KNeighborsClassifier if problem.classification else KNeighborsRegressor)(n_neighbors=1)


def _tree_samples(trees: int) -> Callable[[Problem], float]:
    """A tree of n samples has at most about n nodes, and each holds a number per output."""
    return lambda problem: _TREE_BYTES / (trees * 8 * (problem.outputs + 8))


CANDIDATES = (
    Candidate("decision_tree", "trees", _tree, most_samples=_tree_samples(1)),
    Candidate("nearest_neighbour", "neighbours", _neighbour, growth=2.0, certain=True),
    Candidate(
        "linear", "linear", _linear,
        most_samples=lambda problem: _ENTRIES / max(problem.outputs, problem.features),
    ),
    Candidate(
        "gradient_boosting", "trees", _boosting,
        most_samples=lambda problem: np.inf if problem.outputs <= 100 else 0,  # a tree for every class, a hundred times over
    ),
    Candidate("random_forest", "trees", _forest, most_samples=_tree_samples(FOREST)),
    Candidate(
        "svm", "distances", _svm, growth=2.0, probabilities=False, certain=True,
        most_samples=lambda problem: np.inf if problem.outputs <= 100 else 0,  # a machine for every pair of classes
    ),
)  # fmt: skip


def described(model: Any) -> str:
    """scikit-learn's class with what was set: LogisticRegression(max_iter=1000)."""
    inner = getattr(model, "estimator", None)
    if inner is not None:
        return f"{type(model).__name__}({described(inner)})"
    quiet = {"random_state", "n_jobs", "cache_size", "categorical_features"}
    defaults = type(model)().get_params()
    given = {name: value for name, value in model.get_params().items() if name not in quiet and not _equal(value, defaults[name])}
    return f"{type(model).__name__}({', '.join(f'{name}={_short(value)}' for name, value in given.items())})"


def _equal(value: Any, default: Any) -> bool:
    return bool(np.array_equal(np.asarray(value), np.asarray(default))) if isinstance(value, np.ndarray) else value == default


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.min():g} ... {value.max():g}"
    return f"{value:.3g}" if isinstance(value, float) else repr(value)
