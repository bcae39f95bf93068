"""`prepare`: what it refuses, what it says, and that the test part never leaks into what is fitted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid import data
from pellucid.core.errors import DataError
from pellucid.data.embedded import EMBEDDED

random = np.random.default_rng(0)
X = random.normal(size=(60, 3))
Y = np.arange(60) % 3


def kinds_of(prepared):
    return [notice.kind for notice in prepared.notices]


@pytest.mark.parametrize("name", EMBEDDED)
def test_every_sample_once_and_no_copy_on_two_sides(name):
    samples = data.read(name)
    prepared = data.prepare(samples)
    parts = [prepared.train.indices, prepared.validation.indices, prepared.test.indices]
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(samples)))
    hashes = [{samples.hashes[i] for i in indices} for indices in parts]
    assert sum(map(len, hashes)) == len(set(samples.hashes))
    if samples.task.kind == "classification":
        share = np.bincount(samples.targets) / len(samples)
        for indices in parts:
            assert np.abs(np.bincount(samples.targets[indices]) - share * len(indices)).max() <= 2
    again, other = data.prepare(data.read(name)), data.prepare(data.read(name), seed=1)
    assert np.array_equal(again.test.indices, prepared.test.indices)
    assert not np.array_equal(other.test.indices, prepared.test.indices)


@given(st.integers(0, 1000), st.floats(1.0, 100.0))
def test_what_is_fitted_sees_the_training_part_alone(seed, factor):
    samples = data.read((X, X @ [1.0, 2.0, 3.0]))
    prepared = data.prepare(samples, seed=seed)
    held_out = np.setdiff1d(np.arange(60), prepared.train.indices)
    changed = X.copy()
    changed[held_out] *= factor
    y = X @ [1.0, 2.0, 3.0]
    y[held_out] -= factor
    again = data.prepare(data.read((changed, y)), ledger=prepared.ledger)
    assert again.preprocessing.to_dict() == prepared.preprocessing.to_dict()
    assert np.array_equal(again.train.inputs, prepared.train.inputs)


@pytest.mark.parametrize(
    ("source", "arguments", "words"),
    [
        ((X[:1], [1.0]), {}, "at least 2 samples"),
        ((X[:2], [1.5, 2.5]), {"test": 1, "validation": 1}, "leave none to train on"),
        ((X, Y), {"test": 0.6, "validation": 0.4}, "leave none to train on"),
        ((X, Y), {"test": 100}, "more than the 60 samples"),
        ((((X[:30], Y[:30]), (X[30:], Y[30:]))), {"test": 0.2}, "bring their own test part"),
        ((((X[:30], Y[:30]), (X[:30], Y[:30]))), {}, "no training sample is left"),
    ],
)
def test_refusals(source, arguments, words):
    with pytest.raises(DataError, match=words) as caught:
        data.prepare(data.read(source), **arguments)
    assert len(caught.value.sentences()) == 3


def test_targets_that_cannot_be_learnt():
    samples = data.read((X, Y))
    for targets, words in (
        (np.zeros(60, dtype=np.int64), "every sample belongs to the class '0'"),
        (np.where(np.arange(60) == 5, 2, np.arange(60) % 2), "1 classes have a single sample: 2"),
    ):
        samples.targets = targets
        with pytest.raises(DataError, match=words):
            data.prepare(samples)
    numbers = data.read((X, X[:, 0]))
    numbers.targets = np.full((60, 1), 3.0)
    with pytest.raises(DataError, match="the target 'target' is 3 in all 60 samples"):
        data.prepare(numbers)


def test_what_time_hides_is_said():
    late = np.where(np.arange(60) < 55, np.arange(60) % 2, 2)
    prepared = data.prepare(data.read((X, late), time=np.arange(60)))
    assert "unseen_classes" in kinds_of(prepared)
    with pytest.raises(DataError, match="one class only"):
        data.prepare(data.read((X, (np.arange(60) > 45).astype(int)), time=np.arange(60)))
    with pytest.raises(DataError, match="the same in the whole training part"):
        data.prepare(data.read((X, np.where(np.arange(60) > 45, X[:, 0], 0.5)), time=np.arange(60)))


def test_copies_and_contradictions_are_said():
    inputs = X.copy()
    inputs[1] = inputs[0]
    inputs[7] = inputs[4]
    prepared = data.prepare(data.read((inputs, np.where(np.arange(60) == 1, Y[0], Y))))
    assert kinds_of(prepared).count("duplicate_samples") == 1
    assert prepared.ledger.duplicates == ((0, 1), (4, 7))
    assert not prepared.ledger.contradictions
    contradicting = data.prepare(data.read((inputs, np.where(np.arange(60) == 7, 0, Y))))
    assert contradicting.ledger.contradictions == ((0, 1), (4, 7))
    assert "contradictory_samples" in kinds_of(contradicting)


@pytest.mark.parametrize("outputs", [[0, 1, 1, 0], [0, 0, 0, 1], [0, 1, 1, 1]], ids=["xor", "and", "or"])
def test_a_truth_table_is_learnt_whole(outputs):
    prepared = data.prepare(data.read(([[0, 0], [0, 1], [1, 0], [1, 1]], outputs)))
    assert prepared.task.classes == ("0", "1")
    assert prepared.ledger.sizes() == {"train": 4, "validation": 0, "test": 0}
    assert "nothing_held_out" in kinds_of(prepared)


def test_preparing_does_not_change_the_samples():
    samples = data.read((X, Y))
    inputs, targets, notices = samples.inputs.copy(), samples.targets.copy(), list(samples.notices)
    for part in (data.prepare(samples).train, data.prepare(samples).test):
        part.inputs.zero_()
        part.targets.zero_()
    assert np.array_equal(samples.inputs, inputs)
    assert np.array_equal(samples.targets, targets)
    assert list(samples.notices) == notices


# -- real data -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.shared_data
def test_adult_brings_its_own_test_part(shared_data):
    pair = (shared_data / "tabular" / "adult-train.csv", shared_data / "tabular" / "adult-test.csv")
    samples = data.read(pair, -1, header=False)
    prepared = data.prepare(samples)
    train = {samples.hashes[i] for i in prepared.train.indices}
    assert not train & {samples.hashes[i] for i in prepared.test.indices}
    assert len(prepared.test) == (samples.fixed_parts == "test").sum()
    assert data.read_reference(samples.reference).hashes == samples.hashes


@pytest.mark.shared_data
@pytest.mark.slow
def test_mnist_and_cifar_as_arrays(shared_data):
    import gzip

    def idx(name, offset):
        return np.frombuffer(gzip.decompress((shared_data / "mnist" / name).read_bytes()), dtype=np.uint8, offset=offset)

    images = idx("train-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
    labels = idx("train-labels-idx1-ubyte.gz", 8)
    test_images = idx("t10k-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
    test_labels = idx("t10k-labels-idx1-ubyte.gz", 8)
    prepared = data.prepare(data.read(((images, labels), (test_images, test_labels))))
    assert prepared.ledger.sizes() == {"train": 55_000, "validation": 5_000, "test": 10_000}
    assert prepared.input_shape == (1, 28, 28)
