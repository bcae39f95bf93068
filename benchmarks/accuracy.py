"""What `pellucid.fit` reaches with nothing but the data, beside scikit-learn on the same split; several seeds, with their spread.

    python benchmarks/accuracy.py [--data-dir ../shared/data] [--only digits,wine] [--seeds 10] [--large-seeds 3]

A seed draws the split and the initial weights. Every model learns from the same training samples and is scored once on the same test
samples, those of the run's ledger; Pellucid's validation part chooses its weights and is used by no other model. Nothing is tuned on test
samples. Peers: logistic or ridge regression and a multilayer perceptron on standardised and one-hot encoded columns, gradient boosting on
ordinal ones; all with scikit-learn's defaults but for enough iterations, and early stopping on large data. Adult and California housing are
read from --data-dir and skipped where that folder is absent; Adult keeps its published test part.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import polars
from measurement import met, report, verdict
from sklearn import datasets
from sklearn.compose import TransformedTargetRegressor, make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

import pellucid
from pellucid.data.ledger import Ledger

ADULT_COLUMNS = [
    *("age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation", "relationship", "race", "sex"),
    *("capital_gain", "capital_loss", "hours_per_week", "native_country", "income"),
]
ADULT_NUMBERS = ["age", "fnlwgt", "education_num", "capital_gain", "capital_loss", "hours_per_week"]
MARGIN = 0.005  # how far below logistic regression the mean may lie


@dataclass(frozen=True)
class Case:
    """One data set and its aim."""

    name: str
    metric: str  # "accuracy" or "r2"
    aim: float | None  # None: not below logistic regression by more than MARGIN
    seconds: float | None = None  # aim for the time of one training
    large: bool = False

    def load(self, folder: Path) -> tuple[Any, str | None, polars.DataFrame, np.ndarray]:
        """What `fit` is given (data, target), and the same rows in the same order as a table and targets for the peers."""
        if self.name == "adult":
            tables = [_adult(folder / f"tabular/adult-{part}.csv") for part in ("train", "test")]
            table = polars.concat(tables)
            return tuple(tables), "income", table.drop("income"), table["income"].to_numpy()
        if self.name == "california":
            path = folder / "tabular/california_housing.csv"
            table = polars.read_csv(path)
            return str(path), "median_house_value", table.drop("median_house_value"), table["median_house_value"].to_numpy()
        loaded = {"digits": datasets.load_digits, "wine": datasets.load_wine, "breast-cancer": datasets.load_breast_cancer}[self.name]()
        return self.name, None, polars.DataFrame(np.asarray(loaded.data)), np.asarray(loaded.target)


CASES = (
    Case("digits", "accuracy", 0.98, seconds=20.0),
    Case("wine", "accuracy", None),
    Case("breast-cancer", "accuracy", None),
    Case("adult", "accuracy", 0.855, large=True),
    Case("california", "r2", 0.78, large=True),
)


def _adult(path: Path) -> polars.DataFrame:
    """The published table has no header, blanks after commas, and a dot after each label of the test part."""
    table = polars.read_csv(path, has_header=False, new_columns=ADULT_COLUMNS, null_values=[" ?", "?"])
    table = table.with_columns(polars.col(polars.String).str.strip_chars(" .")).drop_nulls("income")
    return table.with_columns(polars.col(ADULT_NUMBERS).cast(polars.Int64))  # the blanks had made them words


# -- the peers ---------------------------------------------------------------------------------------------------------------------------


def peers(metric: str, seed: int, large: bool) -> dict[str, Any]:
    """Name -> a pipeline that takes a frame. Early stopping by a tenth of the samples helps where there are many and harms where few."""
    network: dict[str, Any] = {"max_iter": 1000, "early_stopping": large, "random_state": seed}
    numbers, words = make_column_selector(dtype_include="number"), make_column_selector(dtype_exclude="number")
    one_hot = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=10, sparse_output=False)
    ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1)

    def dense() -> Any:
        return make_column_transformer((make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers), (one_hot, words))

    trees = make_column_transformer(("passthrough", numbers), (ordinal, words))
    if metric == "accuracy":
        return {
            "logistic regression": make_pipeline(dense(), LogisticRegression(max_iter=2000)),
            "MLP": make_pipeline(dense(), MLPClassifier(**network)),
            "gradient boosting": make_pipeline(trees, HistGradientBoostingClassifier(random_state=seed)),
        }
    return {
        "ridge regression": make_pipeline(dense(), Ridge()),
        "MLP": make_pipeline(dense(), TransformedTargetRegressor(MLPRegressor(**network), transformer=StandardScaler())),
        "gradient boosting": make_pipeline(trees, HistGradientBoostingRegressor(random_state=seed)),
    }


def peer_scores(case: Case, table: polars.DataFrame, targets: np.ndarray, parts: np.ndarray, seed: int) -> dict[str, tuple[float, float]]:
    """Name -> (score on the test part, seconds)."""
    frame, scores = table.to_pandas(), {}
    train, test = parts == "train", parts == "test"
    for name, model in peers(case.metric, seed, case.large).items():
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            warnings.simplefilter("ignore", UserWarning)  # categories that the training part lacks: encoded as unknown, as meant
            model.fit(frame[train], targets[train])
            scores[name] = (float(model.score(frame[test], targets[test])), time.perf_counter() - start)
    return scores


# -- Pellucid ----------------------------------------------------------------------------------------------------------------------------


def fitted(case: Case, data: Any, target: str | None, seed: int, folder: str) -> tuple[dict[str, Any], np.ndarray]:
    """What one training reached, and each sample's part of the split, in the order of the table."""
    start = time.perf_counter()
    run = pellucid.fit(data, target, seed=seed, directory=folder)
    seconds = time.perf_counter() - start
    assert run.summary is not None
    measured = {
        "score": run.metrics["test"][case.metric],
        "train": run.metrics["train"][case.metric],
        "validation": run.metrics["validation"][case.metric],
        "seconds": seconds,
        "epochs": run.summary.cost.epochs,
        "verdict": [(finding.symptom, finding.level) for finding in run.findings],
        "learning_rate": run.settings["learning_rate"],
    }
    return measured, split_of(run)


def split_of(run: Any) -> np.ndarray:
    """(N,) "train", "validation", "test" or "" per sample, from the run's ledger."""
    ledger = Ledger.from_dict(json.loads((run.directory / "data.json").read_text(encoding="utf-8")))
    parts = np.full(ledger.samples, "", dtype="<U10")
    for part in ("train", "validation", "test"):
        parts[ledger.indices(part)] = part
    return parts


def measure(case: Case, seeds: int, folder: Path, say: Callable[[str], None]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The row of the table, and the details of every seed."""
    data, target, table, targets = case.load(folder)
    details = []
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as runs:
            ours, parts = fitted(case, data, target, seed, runs)
        assert len(parts) == len(table), f"the ledger has {len(parts)} samples, the table {len(table)}"
        theirs = peer_scores(case, table, targets, parts, seed)
        details.append({"seed": seed, "pellucid": ours, "peers": theirs, "samples": {p: int((parts == p).sum()) for p in set(parts)}})
        say(
            f"{case.name} seed {seed}: {ours['score']:.4f} in {ours['seconds']:.1f} s; "
            + str({n: round(s, 4) for n, (s, _) in theirs.items()})
        )
    return _row(case, details), details


def _row(case: Case, details: list[dict[str, Any]]) -> dict[str, Any]:
    scores = [detail["pellucid"]["score"] for detail in details]
    seconds = [detail["pellucid"]["seconds"] for detail in details]
    theirs = {name: [detail["peers"][name][0] for detail in details] for name in details[0]["peers"]}
    linear = next(iter(theirs))
    if case.aim is not None:
        aim, reached = f">= {case.aim:g}", mean(scores) >= case.aim
    else:
        aim, reached = f">= logistic - {MARGIN:g}", mean(scores) >= mean(theirs[linear]) - MARGIN
    if case.seconds is not None:
        aim, reached = f"{aim} in < {case.seconds:g} s", reached and mean(seconds) < case.seconds
    return {
        "data": case.name,
        "metric": "accuracy" if case.metric == "accuracy" else "R2",
        "seeds": len(details),
        "Pellucid": _spread(scores),
        "seconds": f"{mean(seconds):.1f}",
        "linear": _spread(theirs[linear]),
        "MLP": _spread(theirs["MLP"]),
        "gradient boosting": _spread(theirs["gradient boosting"]),
        "aim": aim,
        "met": met(reached),
    }


def _spread(values: list[float]) -> str:
    return f"{mean(values):.4f} ± {stdev(values):.4f}" if len(values) > 1 else f"{values[0]:.4f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    default = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
    parser.add_argument("--data-dir", type=Path, default=default)
    parser.add_argument("--only", default="", help="names of data sets, with commas")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--large-seeds", type=int, default=3)
    arguments = parser.parse_args()
    rows, details = [], {}
    for case in CASES:
        if arguments.only and case.name not in arguments.only.split(","):
            continue
        if case.large and not (arguments.data_dir / "tabular").is_dir():
            print(f"{case.name}: skipped, {arguments.data_dir} is absent")
            continue
        row, details[case.name] = measure(case, arguments.large_seeds if case.large else arguments.seeds, arguments.data_dir, print)
        rows.append(row)
    report("accuracy", rows, {"details": details})
    return verdict(rows)


if __name__ == "__main__":
    raise SystemExit(main())
