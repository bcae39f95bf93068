"""Arrays of every make and shape: what is taken, as what, and what is refused with which words."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import torch
from sklearn.preprocessing import StandardScaler

from pellucid import data
from pellucid.core.errors import DataError
from pellucid.data.arrays.checks import as_array
from pellucid.data.arrays.preprocessing import mean_and_scale

random = np.random.default_rng(0)
X = random.normal(size=(60, 3))
Y = (X[:, 0] > 0).astype(int)


@pytest.mark.parametrize(
    "value",
    [
        X,
        X.tolist(),
        tuple(map(tuple, X.tolist())),
        torch.tensor(X),
        torch.tensor(X, requires_grad=True),
        torch.tensor(X).to_sparse(),
        scipy.sparse.csr_matrix(X),
        scipy.sparse.coo_array(X),
        np.ma.masked_array(X, mask=np.zeros_like(X)),
        X.astype(np.longdouble),
        list(X),
        [torch.tensor(row) for row in X],
        np.asfortranarray(X),
        np.array(X.tolist(), dtype=">f8"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_make_of_array_is_the_same_data(value):
    samples = data.read((value, Y))
    assert samples.kind == "array"
    assert np.array_equal(samples.inputs, X)
    assert list(samples.hashes) == list(data.read((X, Y)).hashes)
    assert samples.task.kind == "classification"


@pytest.mark.parametrize(
    ("shape", "dtype", "input_shape", "notice"),
    [
        ((60, 5), np.float32, (5,), None),
        ((60, 5), np.int16, (5,), None),
        ((60, 5), np.bool_, (5,), None),
        ((60, 5), np.float16, (5,), None),
        ((60, 8, 9), np.uint8, (1, 8, 9), "grey_images"),
        ((60, 3, 8, 9), np.uint8, (3, 8, 9), None),
        ((60, 8, 9, 3), np.uint8, (3, 8, 9), "channels_last"),
        ((60, 8, 9, 1), np.float32, (1, 8, 9), "channels_last"),
        ((60, 8, 9, 4), np.float64, (4, 8, 9), "channels_last"),
        ((60, 3, 3, 3), np.float64, (3, 3, 3), None),
        ((60, 2, 8, 9), np.float64, (2, 8, 9), None),
        ((60, 2, 3, 4, 5), np.float32, (2, 3, 4, 5), None),
    ],
)
def test_shapes(shape, dtype, input_shape, notice):
    values = (random.random(shape) * 200 - (100 if dtype == np.bool_ else 0)).clip(0).astype(dtype)
    samples = data.read((values, np.arange(60) % 3))
    prepared = data.prepare(samples)
    assert prepared.input_shape == input_shape
    assert [item.kind for item in samples.notices if item.kind in ("grey_images", "channels_last")] == ([notice] if notice else [])
    inputs, targets = next(prepared.train.batches(7))
    assert inputs.shape == (7, *input_shape)
    assert inputs.dtype == torch.float32
    assert targets.dtype == torch.int64
    whole = torch.cat([batch for batch, _ in prepared.train.batches(7)])
    axes = [axis for axis in range(whole.ndim) if axis != 1]
    assert torch.allclose(whole.mean(dim=axes), torch.zeros(input_shape[0]), atol=1e-5)
    assert torch.allclose(whole.std(dim=axes, correction=0), torch.ones(input_shape[0]), atol=1e-3)
    restored = data.restore(prepared.preprocessing.to_dict())
    assert torch.equal(restored.inputs(samples), prepared.preprocessing.inputs(samples))


@pytest.mark.parametrize(
    ("y", "kind", "outputs", "notice"),
    [
        (Y, "classification", ("0", "1"), None),
        (Y.reshape(-1, 1), "classification", ("0", "1"), None),
        (Y.astype(bool), "classification", ("false", "true"), None),
        (Y.astype(float), "classification", ("0", "1"), None),
        (Y.astype(np.uint8) + 5, "classification", ("5", "6"), None),
        (np.where(Y, "猫", "dog"), "classification", ("dog", "猫"), None),
        (np.where(Y, "猫", "dog").astype(object), "classification", ("dog", "猫"), None),
        (np.where(Y, "猫", "dog").tolist(), "classification", ("dog", "猫"), None),
        (torch.tensor(Y), "classification", ("0", "1"), None),
        (pd.Series(Y, name="sex"), "classification", ("0", "1"), None),
        (pl.Series("sex", Y), "classification", ("0", "1"), None),
        (np.eye(3)[np.arange(60) % 3], "classification", ("0", "1", "2"), "one_hot"),
        (np.eye(3, dtype=bool)[np.arange(60) % 3], "classification", ("0", "1", "2"), "one_hot"),
        (X[:, 0], "regression", ("target",), None),
        (X[:, :1], "regression", ("target",), None),
        (X[:, :2], "regression", ("target 0", "target 1"), None),
        ((X > 0).astype(int), "regression", ("target 0", "target 1", "target 2"), "several_labels"),
        (np.arange(60), "regression", ("target",), None),
    ],
    ids=str,
)
def test_targets(y, kind, outputs, notice):
    samples = data.read((X, y))
    assert samples.task.kind == kind
    assert (samples.task.classes or samples.task.targets) == outputs
    assert notice is None or notice in [item.kind for item in samples.notices]
    targets = next(data.prepare(samples, validation=5, test=5).train.batches(50))[1]
    assert targets.dtype == (torch.int64 if kind == "classification" else torch.float32)
    assert targets.shape == ((50,) if kind == "classification" else (50, len(outputs)))


def test_task_asked_for_is_kept():
    assert data.read((X, Y), task="regression").task.kind == "regression"
    assert data.read((X, np.eye(3)[np.arange(60) % 3]), task="regression").task.targets == ("target 0", "target 1", "target 2")
    assert data.read((X, np.round(X[:, 0])), task="classification").task.kind == "classification"


class Stubborn:
    def __array__(self, dtype=None, copy=None):
        raise ValueError("never")


with_nan, with_infinity = X.copy(), X.copy()
with_nan[7, 2] = with_nan[9, 0] = np.nan
with_infinity[5, 1] = np.inf
REFUSED = [
    ((X, Y[:-1]), "X has 60 samples and y has 59"),
    ((X, 3.0 * np.ones(60)), "in all 60 rows"),
    ((X, ["a"] * 60), "in all 60 rows"),
    ((X, ["a"] * 59 + ["b"]), "at least two classes"),
    ((X, ["a"] * 30 + ["b"] * 29 + ["c"]), "the first is that of sample 59: the only sample of the class 'c'"),
    ((X, [None] * 60), "fill in or leave out"),
    ((X, np.full(60, np.nan)), "none of its values is a number"),
    ((X, np.where(np.arange(60) == 4, np.nan, X[:, 0])), r"y\[4\] is nan; 1 of 60"),
    ((X, np.where(np.arange(60) == 4, np.inf, X[:, 0])), r"y\[4\] is inf; 1 of 60"),
    ((X, Y.astype(complex)), "complex"),
    ((X, np.zeros((60, 2, 2))), r"y has shape \(60, 2, 2\)"),
    ((X, np.asarray(["2020-01-01"] * 60, dtype="M8[D]")), "dates or times"),
    ((X, {"a": 1}), "pellucid|pair|tuple"),
    ((with_nan, Y), r"X\[7, 2\] is nan; 2 of 180 values"),
    ((with_infinity, Y), r"X\[5, 1\] is inf; 1 of 180 values"),
    ((torch.tensor(with_nan), Y), r"X\[7, 2\] is nan"),
    ((X * 1e300, Y), r"X goes up to .*e\+300"),
    ((X, X[:, 0] * 1e300), r"the target .* goes up to .*e\+300"),
    ((X, X[:, 0] * 1e-300), "varies by"),
    ((X.astype(complex), Y), "complex numbers"),
    ((torch.tensor(X).to(torch.complex64), Y), "complex numbers"),
    ((X.astype(object), Y), "array of Python objects"),
    ((np.asarray([{"a": 1}] * 60, dtype=object).reshape(60, 1), Y), "array of Python objects"),
    ((X.astype(str), Y), "X holds texts"),
    ((X[:, 0], Y), r"X.reshape\(-1, 1\)"),
    ((np.zeros((0, 3)), []), "it is empty"),
    ((np.zeros((60, 0)), Y), "it is empty"),
    (([[1.0, 2.0], [3.0]] + [[1.0, 2.0]] * 8, [0, 1] * 5), r"X\[0\] has shape \(2,\) and X\[1\] has shape \(1,\)"),
    (([torch.zeros(2), torch.zeros(3)] + [torch.zeros(2)] * 8, [0, 1] * 5), r"X\[1\] has shape \(3,\)"),
    (([["a", 1.0], ["b", 2.0]] * 5, [0, 1] * 5), "X holds texts"),
    ((X, [1, "a"] * 30), "mixes texts and numbers: entry 1 is 'a'"),
    ((np.ma.masked_array(X, mask=X > 1), Y), "masked array with masked values"),
    ((np.zeros(60, dtype=[("a", float), ("b", int)]), Y), "structured array with the fields a, b"),
    ((np.zeros((60, 2), dtype="M8[s]"), Y), "dates or times"),
    ((torch.zeros(60, 3, device="meta"), Y), "meta device"),
    (([torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)], layout=torch.jagged)] * 2, [0, 1]), "nested tensor"),
    ((scipy.sparse.csr_matrix((10**6, 10**9)), np.zeros(10**6)), "sparse X, written out, take"),
    ((Stubborn(), Y), "cannot be turned into an array"),
]


@pytest.mark.parametrize(("pair", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_refusals(pair, words):
    with pytest.raises(DataError, match=words) as caught:
        data.prepare(data.read(pair))
    assert len(caught.value.sentences()) == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"source": (X, Y), "target": Y}, "also a target"),
        ({"source": X, "target": "income"}, "arrays have no column names"),
        ({"source": (X, Y), "group": "age"}, "arrays have no column names"),
        ({"source": (X, Y), "group": Y[:10]}, "group has shape"),
        ({"source": (X, Y), "time": np.zeros((60, 2))}, "time has shape"),
        ({"source": (X, Y), "task": "clasification"}, "did you mean 'classification'"),
        ({"source": ((X, Y), (X[:, :2], Y))}, r"the test part has samples of shape \(2,\)"),
        ({"source": ((X, Y), (X[:9], Y))}, "X of the test part has 9 samples and y has 60"),
        ({"source": ((X, Y), (X, Y + 1))}, "does not occur in the training part"),
        ({"source": ((X, Y), (X, np.eye(2)[Y]))}, "targets of one kind"),
        ({"source": ((X, Y), (X, ["a", "b"] * 30))}, "targets of one kind"),
    ],
)
def test_refused_arguments(arguments, words):
    with pytest.raises(DataError, match=words):
        data.prepare(data.read(**arguments))


def test_arrays_without_targets_can_be_read_but_not_prepared():
    samples = data.read(X)
    assert samples.task is None
    assert samples.targets is None
    with pytest.raises(DataError, match="no target"):
        data.prepare(samples)


def test_the_users_arrays_are_never_changed():
    inputs, targets, tensor = X.copy(), X[:, 0].copy(), torch.tensor(X)
    inputs.flags.writeable = targets.flags.writeable = False
    prepared = data.prepare(data.read((inputs, targets)))
    for batch, target in prepared.train.batches(8):
        batch += 1
        target += 1
    tensor_before = tensor.clone()
    for batch, _ in data.prepare(data.read((tensor, torch.tensor(Y)))).train.batches(8):
        batch.zero_()
    assert torch.equal(tensor, tensor_before)
    images = (random.random((40, 1, 6, 6)) * 255).astype(np.uint8)
    images.flags.writeable = False
    for batch, _ in data.prepare(data.read((images, np.arange(40) % 2))).train.batches(8):
        batch.zero_()


def test_standardisation_is_scikit_learns():
    values = np.concatenate([X * [1, 1000, 1e-6] + [1e6, 0, 5], np.full((60, 1), 0.1), np.zeros((60, 1))], axis=1)
    rows = np.arange(0, 60, 2)
    mean, scale = mean_and_scale(values, rows)
    oracle = StandardScaler().fit(values[rows])
    assert np.allclose(mean, oracle.mean_, rtol=1e-12)
    assert np.allclose(scale, oracle.scale_, rtol=1e-9)
    prepared = data.prepare(data.read((values, Y)), seed=3)
    train = prepared.train.indices
    assert np.allclose(prepared.train.inputs.numpy(), StandardScaler().fit(values[train]).transform(values[train]), atol=1e-5)
    assert np.allclose(
        prepared.test.inputs.numpy(), StandardScaler().fit(values[train]).transform(values[prepared.test.indices]), atol=1e-5
    )


@pytest.mark.parametrize("shape", [(40, 5), (40, 3, 4, 5)])
def test_bytes_are_measured_exactly(shape):
    values = random.integers(0, 256, shape).astype(np.uint8)
    values[:, 0] = 7
    rows = np.arange(10, 40)
    axes = (0, *range(2, len(shape)))
    mean, scale = mean_and_scale(values, rows)
    assert np.allclose(mean, values[rows].mean(axis=axes), rtol=1e-13)
    assert np.allclose(scale[1:], values[rows].std(axis=axes)[1:], rtol=1e-12)
    assert mean[0] == 7
    assert scale[0] == 1


def test_large_byte_images_stay_bytes_until_the_batch(monkeypatch):
    images = random.integers(0, 256, (50, 3, 6, 6)).astype(np.uint8)
    samples = data.read((images, np.arange(50) % 2))
    early = data.prepare(samples)
    monkeypatch.setattr("pellucid.data.arrays.preprocessing._BYTES_KEPT_FROM", 0)
    late = data.prepare(samples)
    assert early.train.inputs.dtype == torch.float32
    assert late.train.inputs.dtype == torch.uint8
    for (a, _), (b, _) in zip(early.train.batches(8), late.train.batches(8), strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    restored = data.restore(late.preprocessing.to_dict())
    assert torch.equal(restored.finish(late.train.inputs), late.preprocessing.finish(late.train.inputs))


def test_regression_targets_are_standardised_and_come_back():
    y = np.stack([1e6 + 1000 * X[:, 0], X[:, 1]], axis=1)
    prepared = data.prepare(data.read((X, y)))
    targets = prepared.train.targets
    assert torch.allclose(targets.mean(dim=0), torch.zeros(2), atol=1e-5)
    assert torch.allclose(targets.std(dim=0, correction=0), torch.ones(2), atol=1e-5)
    assert np.allclose(prepared.preprocessing.restore_targets(targets).numpy(), y[prepared.train.indices], rtol=1e-6)
    restored = data.restore(prepared.preprocessing.to_dict())
    assert torch.equal(restored.restore_targets(targets), prepared.preprocessing.restore_targets(targets))


def test_large_offsets_do_not_lose_the_difference():
    seconds = 1.7e9 + np.arange(60.0)  # float32 cannot tell these apart
    prepared = data.prepare(data.read((seconds.reshape(-1, 1), Y)), validation=0, test=0)
    assert len(torch.unique(prepared.train.inputs)) == 60


def test_what_would_not_fit_is_refused(monkeypatch):
    samples = data.read((X, Y))
    monkeypatch.setattr("pellucid.core.memory.available_memory_bytes", lambda: 100)
    with pytest.raises(DataError, match=r"samples of shape \(3,\) take .* of memory"):
        data.prepare(samples)


# -- new data ------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained():
    images = random.integers(0, 17, (60, 1, 8, 8)).astype(np.uint8)
    return data.prepare(data.read((images, np.where(Y, "cat", "dog")))).preprocessing


@pytest.mark.parametrize(
    ("shape", "count"),
    [((5, 1, 8, 8), 5), ((1, 8, 8), 1), ((5, 8, 8), 5), ((8, 8), 1), ((5, 64), 5), ((5, 8, 8, 1), 5), ((8, 8, 1), 1)],
)
def test_new_arrays_find_their_shape(trained, shape, count):
    values = random.random(shape) * 16
    samples = data.read_new(values, trained)
    assert samples.inputs.shape == (count, 1, 8, 8)
    assert trained.inputs(samples).shape == (count, 1, 8, 8)
    assert samples.targets is None
    assert np.array_equal(np.sort(samples.inputs.ravel()), np.sort(values.ravel()))


@pytest.mark.parametrize(
    ("y", "indices"),
    [(["dog", "cat"], [1, 0]), (np.asarray(["Dog", "cat."]), [1, 0]), (np.asarray([[0, 1], [1, 0]]), [1, 0])],
)
def test_new_targets_are_the_known_classes(trained, y, indices):
    samples = data.read_new((np.zeros((2, 1, 8, 8)), y), trained)
    assert samples.targets.tolist() == indices
    assert samples.task.classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (np.zeros((5, 7, 7)), r"X has shape \(5, 7, 7\)"),
        (np.full((5, 8, 8), np.nan), "NaN"),
        ((np.zeros((2, 8, 8)), ["dog", "cow"]), "y holds the classes cow"),
        ((np.zeros((2, 8, 8)), ["dog"]), "X has 2 samples and y has 1"),
        ("nowhere.csv", "there is no file or folder"),
        (np.zeros((2, 8, 8)).astype(str), "X holds texts"),
    ],
)
def test_new_data_that_do_not_fit(trained, source, words):
    with pytest.raises(DataError, match=words):
        data.read_new(source, trained)


def test_another_scale_is_mentioned(trained):
    assert [notice.kind for notice in data.read_new(random.random((4, 8, 8)) * 0.3, trained).notices] == ["other_scale"]


def test_array_files(tmp_path):
    np.savez(tmp_path / "both.npz", X=X, y=Y)
    np.save(tmp_path / "inputs.npy", X)
    np.savez(tmp_path / "other.npz", a=X)
    np.savez(tmp_path / "objects.npz", X=X.astype(object), y=Y)
    (tmp_path / "broken.npz").write_bytes(b"PK nothing")
    samples = data.read(tmp_path / "both.npz")
    assert np.array_equal(samples.inputs, X)
    assert data.read_reference(samples.reference).hashes == samples.hashes
    preprocessing = data.prepare(samples).preprocessing
    assert len(data.read_new(tmp_path / "inputs.npy", preprocessing)) == 60
    assert data.read_new(str(tmp_path / "both.npz"), preprocessing).targets.tolist() == Y.tolist()
    (tmp_path / "new.csv").write_text("a,b,c\n1,2,3\n4,5,6\n")
    assert data.read_new(tmp_path / "new.csv", preprocessing).inputs.tolist() == [[1, 2, 3], [4, 5, 6]]
    for name, words in (
        ("inputs.npy", "inputs without targets"),
        ("other.npz", "holds the arrays a"),
        ("objects.npz", "cannot be read as a NumPy file"),
        ("broken.npz", "cannot be read as a NumPy file"),
    ):
        with pytest.raises(DataError, match=words):
            data.read(tmp_path / name)


def test_as_array_does_not_copy():
    assert np.shares_memory(as_array(X, "X"), X)
    tensor = torch.tensor(X)
    assert as_array(tensor, "X").__array_interface__["data"][0] == tensor.data_ptr()
