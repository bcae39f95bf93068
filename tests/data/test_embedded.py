"""The embedded data sets are scikit-learn's, read without it."""

import subprocess
import sys

import numpy as np
import pytest
import sklearn.datasets

from pellucid import data
from pellucid.core.errors import DataError
from pellucid.data.embedded import EMBEDDED, load_embedded

LOADERS = {
    "digits": sklearn.datasets.load_digits,
    "iris": sklearn.datasets.load_iris,
    "wine": sklearn.datasets.load_wine,
    "breast-cancer": sklearn.datasets.load_breast_cancer,
    "diabetes": lambda: sklearn.datasets.load_diabetes(scaled=False),
}


def test_every_embedded_set_is_compared():
    assert set(LOADERS) == set(EMBEDDED)


@pytest.mark.parametrize("name", EMBEDDED)
def test_equal_to_scikit_learn(name):
    oracle = LOADERS[name]()
    X, y = load_embedded(name)
    assert np.array_equal(X, oracle.data)
    assert np.array_equal(y, oracle.target)
    assert EMBEDDED[name].features == tuple(oracle.feature_names)
    samples = data.read(name)
    assert samples.name == name
    if name == "digits":
        assert np.array_equal(samples.inputs[:, 0], oracle.images)
    else:
        assert np.array_equal(samples.inputs.to_numpy(), oracle.data)
        assert samples.inputs.columns == list(oracle.feature_names)
    if name == "diabetes":
        assert samples.task.kind == "regression"
        assert np.array_equal(samples.targets[:, 0], oracle.target)
    else:
        assert samples.task.classes == tuple(str(label) for label in oracle.target_names)
        assert np.array_equal(samples.targets, oracle.target)
    assert not samples.notices


@pytest.mark.parametrize("name", EMBEDDED)
def test_a_network_is_given_the_same_inputs_however_they_come(name):
    samples = data.read(name)
    prepared = data.prepare(samples)
    preprocessing = data.restore(prepared.preprocessing.to_dict())
    expected = prepared.preprocessing.inputs(samples)
    oracle = LOADERS[name]()
    for source in (
        name,
        oracle.data,
        (oracle.data, [str(label) for label in oracle.target_names[oracle.target]] if name != "diabetes" else oracle.target),
    ):
        new = data.read_new(source, preprocessing, task=prepared.task)
        assert np.array_equal(preprocessing.inputs(new), expected)
        assert new.targets is None if source is oracle.data else np.array_equal(new.targets.ravel(), oracle.target)
    assert data.read_reference(samples.reference).hashes == samples.hashes


def test_aliases_and_case():
    assert data.read("breast_cancer").name == data.read("Breast-Cancer").name == "breast-cancer"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("digit", "did you mean 'digits'"),
        ("breast cancer", "did you mean 'breast-cancer'"),
        ("svhn", "neither the name of a data set nor a file or folder"),
        ("photo", "did you mean 'photos'"),
        ("", "there is no file"),
        ("photos/1.csv", "is empty"),
        ("nowhere/1.csv", "does not exist"),
    ],
)
def test_unknown_names(source, words, tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(DataError, match=words):
        data.read(source)


@pytest.mark.parametrize("arguments", [{"target": "price"}, {"task": "regression"}])
def test_an_embedded_set_has_its_own_target(arguments):
    with pytest.raises(DataError, match="its own target"):
        data.read("digits", **arguments)


def test_a_folder_of_that_name_is_mentioned(tmp_path):
    (tmp_path / "iris").mkdir()
    assert "name_or_path" in [notice.kind for notice in data.read("iris").notices]


def test_digits_need_neither_scikit_learn_nor_polars():
    code = """
import sys, time, torch
from pellucid import data
start = time.perf_counter()
data.prepare(data.read("digits"))
seconds = time.perf_counter() - start
assert not {"sklearn", "polars", "PIL", "pandas", "matplotlib", "scipy"} & set(sys.modules), sorted(sys.modules)
assert seconds < 3, seconds  # 0.1 s on an idle machine
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
