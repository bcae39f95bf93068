"""`NetworkClassifier` and `NetworkRegressor` beside scikit-learn's own multilayer perceptron (and skorch, where it is installed).

    python benchmarks/estimators.py [--data-dir ../shared/data] [--only iris,wine] [--repeats 2]

Repeated 5-fold cross-validation with its defaults for everyone; the folds are the same for all, and in each fold the estimators are
fitted one after another in a new random order. The peers stand behind a StandardScaler (and a standardised target in regressions), which
Pellucid has inside: its seconds hold that work too. scikit-learn's network may take 1,000 iterations, so that it ends by its own
tolerance, and stops early on large data. `difference` is the mean over folds with the standard error of paired folds, which overlap:
rather too small. `ratio` is that of the median seconds with its 95 % bootstrap interval; the processor's time hardly depends on what else
the machine does. The aim is a small fit (at most 200 samples) in 0.3 s.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import numpy as np
import polars
from measurement import met, ratio, report, verdict
from sklearn import datasets
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import RepeatedKFold, RepeatedStratifiedKFold
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pellucid import NetworkClassifier, NetworkRegressor

SMALL, SECONDS = 200, 0.3
LARGE = 5000  # samples from which scikit-learn's network stops early


@dataclass(frozen=True)
class Case:
    """One data set: its name, and what reads it from the folder of shared data, None where that is absent."""

    name: str
    regression: bool
    load: Callable[[Path], tuple[np.ndarray, np.ndarray] | None]


def _embedded(loader: Callable[..., Any]) -> Callable[[Path], tuple[np.ndarray, np.ndarray] | None]:
    return lambda folder: loader(return_X_y=True)


def _california(folder: Path) -> tuple[np.ndarray, np.ndarray] | None:
    path = folder / "tabular/california_housing.csv"
    if not path.is_file():
        return None
    table = polars.read_csv(path).drop_nulls()
    numbers = table.drop("median_house_value").select(polars.selectors.numeric())
    return numbers.to_numpy(), table["median_house_value"].to_numpy()


CASES = (
    Case("blobs of 200 x 10", False, _embedded(lambda return_X_y: datasets.make_classification(200, 10, n_informative=6, random_state=0))),
    Case("iris", False, _embedded(datasets.load_iris)),
    Case("wine", False, _embedded(datasets.load_wine)),
    Case("breast-cancer", False, _embedded(datasets.load_breast_cancer)),
    Case("digits", False, _embedded(datasets.load_digits)),
    Case("diabetes", True, _embedded(datasets.load_diabetes)),
    Case("california", True, _california),
)


def estimators(case: Case, features: int, classes: int, samples: int, seed: int) -> dict[str, Any]:
    """Ours first, then the peers."""
    network: dict[str, Any] = {"max_iter": 1000, "early_stopping": samples >= LARGE, "random_state": seed}
    if case.regression:
        peer = TransformedTargetRegressor(MLPRegressor(**network), transformer=StandardScaler())
        return {"Pellucid": NetworkRegressor(random_state=seed), "MLPRegressor": make_pipeline(StandardScaler(), peer)}
    made = {"Pellucid": NetworkClassifier(random_state=seed), "MLPClassifier": make_pipeline(StandardScaler(), MLPClassifier(**network))}
    if importlib.util.find_spec("skorch") is not None:
        made["skorch"] = make_pipeline(StandardScaler(), _skorch(features, classes))
    return made


def _skorch(features: int, classes: int) -> Any:
    """The same network as ours by skorch: its own defaults but for the optimiser and the number of epochs."""
    import torch
    from skorch import NeuralNetClassifier
    from torch import nn

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(features, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, classes))

        def forward(self, inputs: Any) -> Any:
            return self.layers(inputs.float())

    return NeuralNetClassifier(
        Network,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        lr=0.002,
        max_epochs=100,
        batch_size=32,
        train_split=None,
        verbose=0,
    )


def measure(case: Case, X: np.ndarray, y: np.ndarray, repeats: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A row per estimator, and every fold's score and seconds."""
    folds = (RepeatedKFold if case.regression else RepeatedStratifiedKFold)(n_splits=5, n_repeats=repeats, random_state=0)
    drawn = random.Random(0)
    scores: dict[str, list[float]] = {}
    seconds: dict[str, list[float]] = {}
    processor: dict[str, list[float]] = {}
    for fold, (train, test) in enumerate(folds.split(X, y)):
        made = estimators(case, X.shape[1], len(np.unique(y)), len(train), seed=fold)
        names = list(made)
        drawn.shuffle(names)
        for name in names:
            estimator = clone(made[name])
            start, used = time.perf_counter(), time.process_time()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                estimator.fit(X[train], y[train])
            seconds.setdefault(name, []).append(time.perf_counter() - start)
            processor.setdefault(name, []).append(time.process_time() - used)
            scores.setdefault(name, []).append(float(estimator.score(X[test], y[test])))
    small = len(X) <= SMALL
    rows = []
    for name in made:
        difference = [ours - theirs for ours, theirs in zip(scores["Pellucid"], scores[name], strict=True)]
        middle, low, high = ratio(seconds[name], seconds["Pellucid"])
        ours = name == "Pellucid"
        rows.append(
            {
                "data": case.name,
                "estimator": name,
                "metric": "R2" if case.regression else "accuracy",
                "score": f"{mean(scores[name]):.4f} ± {stdev(scores[name]):.4f}",
                "difference": "" if ours else f"{mean(difference):+.4f} ± {stdev(difference) / len(difference) ** 0.5:.4f}",
                "seconds": f"{median(seconds[name]):.3f} ({min(seconds[name]):.3f} to {max(seconds[name]):.3f})",
                "processor (s)": f"{median(processor[name]):.3f}",
                "ratio": "" if ours else f"{middle:.2f} [{low:.2f}, {high:.2f}]",
                "aim": f"<= {SECONDS:g} s" if ours and small else "",
                "met": met(median(seconds[name]) <= SECONDS) if ours and small else "",
            }
        )
    return rows, {"scores": scores, "seconds": seconds, "processor_seconds": processor}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data-dir", type=Path, default=Path(__file__).resolve().parent.parent.parent / "shared" / "data")
    parser.add_argument("--only", default="", help="names of data sets, with commas")
    parser.add_argument("--repeats", type=int, default=2, help="of the 5-fold cross-validation")
    arguments = parser.parse_args()
    NetworkClassifier(epochs=1).fit(*datasets.load_iris(return_X_y=True))  # what torch imports at its first step is not a fit's
    rows: list[dict[str, Any]] = []
    details: dict[str, Any] = {}
    for case in CASES:
        if arguments.only and case.name not in arguments.only.split(","):
            continue
        data = case.load(arguments.data_dir)
        if data is None:
            print(f"{case.name}: skipped, it is not in {arguments.data_dir}")
            continue
        added, details[case.name] = measure(case, *data, arguments.repeats)
        rows += added
        for row in added:
            print(f"{row['data']}: {row['estimator']} {row['score']} in {row['seconds']} s", flush=True)
    report("estimators", rows, {"repeats": arguments.repeats, "details": details})
    return verdict(rows)


if __name__ == "__main__":
    raise SystemExit(main())
