"""Real tables: each is read without surprise, and what its columns become lets a plain network learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pellucid.data.description import describe
from pellucid.data.tables.preprocessing import TablePreprocessing
from pellucid.data.tables.reading import TableSamples, read_table, read_table_parts

pytestmark = pytest.mark.shared_data

TABLES = [  # file, target, rows, kind, classes or targets, kinds of the input columns, missing values
    ("tabular/adult-train.csv", 14, 32561, "classification", ("<=50K", ">50K"), {"numeric": 6, "categorical": 8}, 4262),
    ("tabular/adult-test.csv", -1, 16281, "classification", ("<=50K.", ">50K."), {"numeric": 6, "categorical": 8}, 2203),
    ("tabular/california_housing.csv", "median_house_value", 20640, "regression", None, {"numeric": 8, "categorical": 1}, 207),
    ("tabular/winequality-red.csv", -1, 1599, "classification", tuple("345678"), {"numeric": 11}, 0),
    ("tabular/winequality-white.csv", -1, 4898, "classification", tuple("3456789"), {"numeric": 11}, 0),
    ("tabular/pima-indians-diabetes.csv", -1, 768, "classification", ("0", "1"), {"numeric": 8}, 0),
    ("tabular/breast-cancer-wisconsin.csv", -1, 699, "classification", ("2", "4"), {"numeric": 9}, 16),
    ("tabular/glass.csv", -1, 214, "classification", ("1", "2", "3", "5", "6", "7"), {"numeric": 9}, 0),
    ("tabular/wheat-seeds.csv", -1, 210, "classification", ("1", "2", "3"), {"numeric": 7}, 0),
    ("tabular/wine.csv", -1, 178, "classification", ("1", "2", "3"), {"numeric": 13}, 0),
    ("tabular/iris.csv", -1, 150, "classification", ("Iris-setosa", "Iris-versicolor", "Iris-virginica"), {"numeric": 4}, 0),
    ("tabular/horse-colic.csv", 23, 300, "classification", ("1", "2"), {"numeric": 24, "categorical": 3}, 1605),
    ("tabular/auto-mpg.csv", "MPG", 392, "regression", None, {"numeric": 9}, 0),
    ("tabular/heart-train.csv", "chd", 413, "classification", ("0", "1"), {"numeric": 8, "categorical": 1}, 0),
    ("tabular/german-credit.csv", -1, 1000, "classification", ("1", "2"), {"numeric": 7, "categorical": 13}, 0),
    ("tables_small/table-1.csv", -1, 21, "classification", ("0", "1"), {"numeric": 3}, 0),
    ("tables_small/table-2.csv", -1, 21, "classification", ("0", "1"), {"numeric": 7, "constant": 4}, 0),
    ("tables_small/table-3.csv", -1, 1000, "classification", ("0", "1"), {"numeric": 1}, 0),
    ("tables_small/table-4.csv", -1, 17, "regression", None, {"numeric": 2}, 0),
    ("sms_spam/sms.tsv", 0, 5574, "classification", ("ham", "spam"), {"text": 1}, 0),
    ("chinese_reviews/waimai_10k.csv", "label", 11987, "classification", ("0", "1"), {"text": 1}, 0),
    ("moleculenet/HIV.csv", "HIV_active", 41913, "classification", ("0", "1"), {"categorical": 1, "identifier": 1}, 0),
    ("timeseries/airline-passengers.csv", "Passengers", 144, "regression", None, {"date": 1}, 0),
    ("timeseries/daily-min-temperatures.csv", "Temp", 3650, "regression", None, {"date": 1}, 0),
]  # fmt: skip


@pytest.mark.parametrize(("file", "target", "rows", "kind", "classes", "kinds", "missing"), TABLES)
def test_real_tables_are_read_without_surprise(
    shared_data: Path, file: str, target: Any, rows: int, kind: str, classes: Any, kinds: dict[str, int], missing: int
) -> None:
    samples = read_table(shared_data / file, target)
    assert len(samples) + len(samples.quarantined) == rows
    assert samples.task is not None
    assert samples.task.kind == kind
    if classes is not None:
        assert samples.task.classes == classes
    found = describe(samples)
    counted: dict[str, int] = {}
    for column in found.columns:
        counted[column.kind] = counted.get(column.kind, 0) + 1
    assert counted == kinds
    assert found.missing == missing
    fitted = TablePreprocessing.fit(samples, np.arange(len(samples)))
    assert torch.isfinite(fitted.inputs(samples)).all()


def test_the_two_files_of_adult_fit_together(shared_data: Path) -> None:
    """The labels of the test file end in a dot."""
    files = shared_data / "tabular"
    samples = read_table_parts({"train": (files / "adult-train.csv", 14), "test": (files / "adult-test.csv", 14)})
    assert samples.task is not None
    assert samples.task.classes == ("<=50K", ">50K")
    assert len(samples) == 32561 + 16281
    assert samples.fixed_parts is not None
    assert samples.targets is not None
    assert samples.targets[samples.fixed_parts == "test"].mean() == pytest.approx(0.2362, abs=1e-4)


def test_a_molecule_table_warns_of_the_column_that_tells_the_answer(shared_data: Path) -> None:
    samples = read_table(shared_data / "moleculenet" / "HIV.csv", "HIV_active")
    assert [notice.where for notice in samples.notices if notice.kind == "determines_target"] == ["activity"]


def network_score(samples: TableSamples, seed: int, epochs: int) -> float:
    """Accuracy or R2 on a fifth of the rows, of a plain network of three layers, trained by AdamW on what the preprocessing gives."""
    order = np.random.default_rng(seed).permutation(len(samples))
    test, train = order[: len(order) // 5], order[len(order) // 5 :]
    fitted = TablePreprocessing.fit(samples, train)
    inputs, targets = fitted.inputs(samples), fitted.targets(samples)
    assert samples.task is not None
    torch.manual_seed(seed)
    layers: list[torch.nn.Module] = []
    width = inputs.shape[1]
    for _ in range(2):
        layers += [torch.nn.Linear(width, 128), torch.nn.ReLU(), torch.nn.Dropout(0.2)]
        width = 128
    network = torch.nn.Sequential(*layers, torch.nn.Linear(width, samples.task.outputs))
    classification = samples.task.kind == "classification"
    loss = torch.nn.CrossEntropyLoss() if classification else torch.nn.MSELoss()
    steps = epochs * (len(train) // 128)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    rows = torch.from_numpy(train)
    for _ in range(epochs):
        for chosen in rows[torch.randperm(len(rows))][: len(rows) // 128 * 128].split(128):
            optimizer.zero_grad()
            loss(network(inputs[chosen]), targets[chosen]).backward()
            optimizer.step()
            schedule.step()
    network.eval()
    with torch.no_grad():
        outputs, truth = network(inputs[test]), targets[test]
    if classification:
        return float((outputs.argmax(dim=1) == truth).float().mean())
    return float(1 - ((outputs - truth) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "target", "epochs", "least"),
    [("adult-train.csv", 14, 10, 0.855), ("california_housing.csv", "median_house_value", 20, 0.80)],
)
def test_a_plain_network_learns_from_the_features(shared_data: Path, file: str, target: Any, epochs: int, least: float) -> None:
    samples = read_table(shared_data / "tabular" / file, target)
    assert np.mean([network_score(samples, seed, epochs) for seed in (0, 1)]) >= least
