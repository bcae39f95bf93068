"""The defaults for small tables beside their alternatives: dropout and weight decay of `fit`, batch and learning rate of the estimators.

    python benchmarks/small_data_defaults.py [--splits 24] [--repeats 4] [--only fit,estimators]

`fit`: splits drawn by the seeds 100 to 123, which no other benchmark uses; every alternative changes one setting, learns from the same
training samples and is scored on the same test samples as the default and as logistic regression. Estimators: repeated 5-fold
cross-validation. A difference is that to the default, with the standard error over splits or folds; these overlap, so that it is rather too
small. Accuracy (and R2) is all that is compared: it may run beside anything.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from statistics import mean, stdev
from typing import Any

import numpy as np
from accuracy import split_of
from measurement import report
from sklearn import datasets
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import RepeatedKFold, RepeatedStratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import pellucid
from pellucid import NetworkClassifier, NetworkRegressor

FIRST_SEED = 100
TABLES = {"wine": datasets.load_wine, "breast-cancer": datasets.load_breast_cancer}
ALTERNATIVES: dict[str, dict[str, Any]] = {
    "default": {},
    "weight_decay 0.01": {"weight_decay": 0.01},
    "weight_decay 0.1": {"weight_decay": 0.1},
    "weight_decay 1": {"weight_decay": 1.0},
    "dropout 0": {"dropout": 0.0},
    "dropout 0.2": {"dropout": 0.2},
}
FOLDED: dict[str, tuple[bool, Callable[..., Any]]] = {
    "iris": (False, datasets.load_iris),
    "wine": (False, datasets.load_wine),
    "breast-cancer": (False, datasets.load_breast_cancer),
    "diabetes": (True, datasets.load_diabetes),
}
PACES: dict[str, dict[str, Any]] = {
    "default": {},
    "batch 32, rate 0.002": {"batch_size": 32, "learning_rate": 0.002},
    "batch 32, rate 0.01": {"batch_size": 32, "learning_rate": 0.01},
    "batch 16, rate 0.002": {"batch_size": 16, "learning_rate": 0.002},
    "batch 16, rate 0.005": {"batch_size": 16, "learning_rate": 0.005},
}


def of_fit(name: str, splits: int) -> dict[str, list[float]]:
    """Alternative -> test accuracy per split; and logistic regression's."""
    X, y = TABLES[name](return_X_y=True)
    scores: dict[str, list[float]] = {alternative: [] for alternative in (*ALTERNATIVES, "logistic regression")}
    for seed in range(FIRST_SEED, FIRST_SEED + splits):
        with tempfile.TemporaryDirectory() as folder:
            for alternative, options in ALTERNATIVES.items():
                run = pellucid.fit(name, seed=seed, directory=folder, baselines=False, report=False, **options)
                scores[alternative].append(run.metrics["test"]["accuracy"])
            parts = split_of(run)
        linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(X[parts == "train"], y[parts == "train"])
        scores["logistic regression"].append(float(linear.score(X[parts == "test"], y[parts == "test"])))
    return scores


def of_estimators(name: str, repeats: int) -> dict[str, list[float]]:
    """Pace -> score per fold."""
    regression, load = FOLDED[name]
    X, y = load(return_X_y=True)
    folds = (RepeatedKFold if regression else RepeatedStratifiedKFold)(n_splits=5, n_repeats=repeats, random_state=FIRST_SEED)
    made = NetworkRegressor if regression else NetworkClassifier
    return {pace: cross_val_score(made(random_state=0, **options), X, y, cv=folds).tolist() for pace, options in PACES.items()}


def rows_of(what: str, name: str, scores: dict[str, list[float]]) -> list[dict[str, Any]]:
    """A row per alternative, and one with what is behind the difference to the default."""
    return [
        {
            "what": what,
            "data": name,
            "setting": setting,
            "score": f"{mean(values):.4f} ± {stdev(values):.4f}",
            "difference to the default": "" if setting == "default" else _difference(values, scores["default"]),
        }
        for setting, values in scores.items()
    ]


def _difference(values: Sequence[float], reference: Sequence[float]) -> str:
    pairs = np.subtract(values, reference)
    return f"{pairs.mean():+.4f} ± {pairs.std(ddof=1) / len(pairs) ** 0.5:.4f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--splits", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--only", default="fit,estimators")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    details: dict[str, Any] = {}
    for what, names, measure in (
        ("fit", TABLES, lambda name: of_fit(name, arguments.splits)),
        ("estimators", FOLDED, lambda name: of_estimators(name, arguments.repeats)),
    ):
        for name in names if what in arguments.only.split(",") else ():
            scores = measure(name)
            rows += rows_of(what, name, scores)
            details[f"{what}: {name}"] = scores
            for row in rows_of(what, name, scores):
                print(*row.values(), sep="  ", flush=True)
    report("small_data_defaults", rows, {"splits": arguments.splits, "repeats": arguments.repeats, "details": details})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
