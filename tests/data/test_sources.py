"""`read` tells sources apart, reads pairs, keeps references, and lets anyone add a kind of data."""

import json
import os
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from pellucid import data
from pellucid.core.errors import DataError
from pellucid.data import kinds

random = np.random.default_rng(0)
X = random.normal(size=(60, 3))
Y = np.arange(60) % 2
FRAME = pl.DataFrame({"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], "label": np.where(Y, "yes", "no")})
INPUTS = FRAME.drop("label")
PAIRS = TensorDataset(torch.tensor(X), torch.tensor(Y))


@pytest.fixture
def folder(tmp_path):
    FRAME.write_csv(tmp_path / "all.csv")
    FRAME[:40].write_csv(tmp_path / "train.csv")
    FRAME[40:50].write_csv(tmp_path / "validation.csv")
    FRAME[50:].write_csv(tmp_path / "test.csv")
    np.savez(tmp_path / "all.npz", X=X, y=Y)
    return tmp_path


TOLD_APART = [
    ("all.csv", "label", "table", 60, None),
    (Path("all.csv"), "label", "table", 60, None),
    (Path("all.csv"), -1, "table", 60, None),
    ("all.npz", None, "array", 60, None),
    ("iris", None, "table", 150, None),
    (FRAME, "label", "table", 60, None),
    (FRAME.lazy(), "label", "table", 60, None),
    (FRAME.to_pandas(), "label", "table", 60, None),
    ((X, Y), None, "array", 60, None),
    (X, Y, "array", 60, None),
    ([X, Y], None, "array", 60, None),
    ((X.tolist(), Y.tolist()), None, "array", 60, None),
    ((INPUTS, FRAME["label"]), None, "table", 60, None),
    ((INPUTS.to_pandas(), FRAME["label"].to_pandas()), None, "table", 60, None),
    ((INPUTS, Y), None, "table", 60, None),
    ((INPUTS, Y.tolist()), None, "table", 60, None),
    ((INPUTS, FRAME.select("label")), None, "table", 60, None),
    (INPUTS, Y, "table", 60, None),
    (INPUTS, FRAME["label"].to_list(), "table", 60, None),
    ((X, FRAME["label"]), None, "array", 60, None),
    (PAIRS, None, "torch", 60, None),
    (DataLoader(PAIRS, 5), None, "torch", 60, None),
    (("train.csv", "test.csv"), "label", "table", 50, ["test", "train"]),
    (["train.csv", "validation.csv", "test.csv"], "label", "table", 60, ["test", "train", "validation"]),
    (("train.csv", FRAME[50:]), "label", "table", 50, ["test", "train"]),
    ((FRAME[:40], FRAME[50:].to_pandas()), "label", "table", 50, ["test", "train"]),
    (((INPUTS[:40], Y[:40]), (INPUTS[40:], Y[40:])), None, "table", 60, ["test", "train"]),
    (((X[:40], Y[:40]), (X[40:], Y[40:])), None, "array", 60, ["test", "train"]),
    (((X[:40], Y[:40]), (X[40:50], Y[40:50]), (X[50:], Y[50:])), None, "array", 60, ["test", "train", "validation"]),
    ((PAIRS, DataLoader(PAIRS, 5)), None, "torch", 120, ["test", "train"]),
]


@pytest.mark.parametrize(("source", "target", "kind", "count", "parts"), TOLD_APART, ids=lambda value: type(value).__name__)
def test_told_apart(folder, source, target, kind, count, parts):
    samples = data.read(source, target)
    assert samples.kind == kind
    assert len(samples) == count == len(samples.hashes)
    assert samples.task.kind == "classification"
    assert (None if samples.fixed_parts is None else sorted(set(samples.fixed_parts))) == parts
    prepared = data.prepare(samples)
    sizes = prepared.ledger.sizes()
    assert sum(sizes.values()) + len(prepared.ledger.removed) == count
    assert sizes["train"] and sizes["validation"] and sizes["test"]  # noqa: PT018
    json.dumps([prepared.ledger.to_dict(), prepared.preprocessing.to_dict(), samples.reference])
    if samples.reference is not None:
        assert data.read_reference(json.loads(json.dumps(samples.reference))).hashes == samples.hashes


@pytest.mark.parametrize(
    ("source", "target", "readable"),
    [
        ("all.csv", "label", True),
        (("train.csv", "test.csv"), "label", True),
        ("digits", None, True),
        ((X, Y), None, False),
        (FRAME, "label", False),
        (("train.csv", FRAME), "label", False),
        (PAIRS, None, False),
    ],
)
def test_only_what_lies_on_a_disk_can_be_read_again(folder, source, target, readable, monkeypatch):
    samples = data.read(source, target)
    assert (samples.reference is not None) == readable
    if readable:
        monkeypatch.chdir("/")  # the reference holds absolute paths
        assert data.read_reference(samples.reference).hashes == samples.hashes


def test_reading_again_what_is_gone(folder):
    reference = data.read("all.csv", "label").reference
    (folder / "all.csv").unlink()
    with pytest.raises(DataError, match=r"all\.csv"):
        data.read_reference(reference)


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        (None, None, "no data"),
        (3, None, "data of type builtins.int"),
        (b"abc", None, "data of type builtins.bytes"),
        ({"a": [1, 2]}, None, "make a frame of it"),
        (lambda: 1, None, "call it"),
        (iter([1, 2]), None, "collect it first"),
        ({1, 2}, None, "data of type builtins.set"),
        (object(), None, "register your own data kind"),
        ("all.cvs", None, "did you mean 'all.csv'"),
        ("nowhere.csv", "label", "nowhere.csv"),
        (Path("nowhere"), None, "there is no file or folder"),
        (".", None, "holds no images, but the tables"),
        ("all.csv", np.zeros(60), "the name or index of one of its columns"),
        (INPUTS, Y[:7], "X has 60 samples and y has 7"),
        (((INPUTS, Y), (X, Y)), None, "of kind table and the test part of kind array"),
        (("train.csv", FRAME.drop("a")), "label", "has no column 'a'"),
        (("train.csv", FRAME.with_columns(label=pl.lit("maybe"))), "label", "cannot be used"),
    ],
)
def test_refusals(folder, source, target, words):
    with pytest.raises(DataError, match=words) as caught:
        data.read(source, target)
    assert len(caught.value.sentences()) == 3


@pytest.mark.parametrize("source", [5, object(), "nonsense", None])
def test_refusals_say_what_is_accepted(source):
    with pytest.raises(DataError) as caught:
        data.read(source)
    assert "folder" in str(caught.value.expected)


def test_frames_are_not_changed(folder):
    before, pandas = FRAME.clone(), FRAME.to_pandas()
    data.prepare(data.read(FRAME, "label"))
    data.prepare(data.read((pandas, FRAME[:10].to_pandas()), "label"))
    data.prepare(data.read(INPUTS, Y))
    assert FRAME.equals(before)
    pd.testing.assert_frame_equal(pandas, before.to_pandas())


@pytest.mark.parametrize("group", ["a column", "values"])
def test_groups_and_times(folder, group):
    frame = FRAME.with_columns(person=pl.Series([index // 4 for index in range(60)]), day=pl.Series(range(60)))
    if group == "a column":
        samples, timed = data.read(frame, "label", group="person"), data.read(frame, "label", time="day")
    else:
        samples, timed = data.read((X, Y), group=[index // 4 for index in range(60)]), data.read((X, Y), time=pl.Series(range(60)))
    prepared = data.prepare(samples)
    sides = [{index // 4 for index in getattr(prepared, part).indices} for part in ("train", "validation", "test")]
    assert sum(map(len, sides)) == 15  # no group on two sides
    assert data.prepare(timed).test.indices.tolist() == list(range(48, 60))


# -- new data for tables -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "has_targets"),
    [
        ("all.csv", True),
        (Path("all.csv"), True),
        (FRAME, True),
        (FRAME.to_pandas(), True),
        (FRAME.select("c", "label", "b", "a"), True),
        (INPUTS, False),
        (X, False),
        (X.tolist(), False),
        (torch.tensor(X), False),
        ((INPUTS, FRAME["label"]), True),
        ((X, FRAME["label"].to_list()), True),
        ((FRAME, FRAME["label"]), True),
        (("all.csv", "label"), True),
    ],
    ids=lambda value: type(value).__name__,
)
def test_new_tables(folder, source, has_targets):
    samples = data.read(FRAME, "label")
    prepared = data.prepare(samples)
    preprocessing = data.restore(json.loads(json.dumps(prepared.preprocessing.to_dict())))
    new = data.read_new(source, preprocessing, task=prepared.task)
    assert torch.allclose(preprocessing.inputs(new), prepared.preprocessing.inputs(samples), atol=1e-5)
    assert (new.targets is not None) == has_targets
    if has_targets:
        assert np.array_equal(new.targets, samples.targets)


def test_one_row(folder):
    preprocessing = data.prepare(data.read(FRAME, "label")).preprocessing
    for source in (X[0], {"a": 1.0, "b": 2.0, "c": 3.0}, {"c": [3.0], "a": [1.0], "b": [2.0]}):
        assert preprocessing.inputs(data.read_new(source, preprocessing)).shape == (1, 3)
    with pytest.raises(DataError, match="3 columns in the order a, b, c"):
        data.read_new(X[:, :2], preprocessing)


# -- kinds of one's own --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setattr(kinds, "_data_kinds", dict(kinds._data_kinds))
    monkeypatch.setattr(kinds, "_preprocessing_kinds", dict(kinds._preprocessing_kinds))
    monkeypatch.setattr(kinds, "_failures", {})
    kinds._load_entry_points.cache_clear()
    yield
    kinds._load_entry_points.cache_clear()


class Recordings(data.DataKind):
    name = "recordings"
    accepts = "a .rec file"

    def recognises(self, source):
        return isinstance(source, (str, Path)) and str(source).endswith(".rec")

    def read(self, source, target=None, *, task="auto", header=True, group=None, time=None):
        seed = int(Path(source).stem)
        if not Path(source).exists():
            raise DataError("gone", "a file", "write it")
        X = np.random.default_rng(seed).normal(size=(40, 5))
        return data.read((X, np.where(X[:, 0] > 0, "loud", "quiet")), task=task)


def test_a_kind_of_ones_own(registry, tmp_path):
    data.data_kind(Recordings)
    for seed in (1, 2):
        (tmp_path / f"{seed}.rec").touch()
    samples = data.read("1.rec")
    assert samples.task.classes == ("loud", "quiet")
    assert samples.reference["source"] == str(tmp_path / "1.rec")
    assert data.read_reference(samples.reference).hashes == samples.hashes
    prepared = data.prepare(samples)
    new = data.read_new("2.rec", data.restore(prepared.preprocessing.to_dict()))
    assert len(new) == 40
    pair = data.read(("1.rec", "2.rec"))
    assert data.prepare(pair).ledger.sizes() == {"train": 32, "validation": 8, "test": 40}
    assert data.read_reference(pair.reference).hashes == pair.hashes
    with pytest.raises(DataError, match=r"a \.rec file"):
        data.read(5)


def test_a_preprocessing_of_ones_own(registry, tmp_path):
    class Doubling:
        kind = "doubled"

        def inputs(self, samples, indices=None):
            return torch.as_tensor(samples.inputs if indices is None else samples.inputs[indices]) * 2

        def targets(self, samples, indices=None):
            return torch.as_tensor(samples.targets if indices is None else samples.targets[indices])

        def finish(self, batch):
            return batch

        def restore_targets(self, outputs):
            return outputs

        def to_dict(self):
            return {"kind": "doubled"}

    @data.preprocessing_kind
    class DoublingKind(data.PreprocessingKind):
        kind = "doubled"

        def fit(self, samples, train):
            return Doubling()

        def restore(self, stored):
            return Doubling()

    @data.data_kind
    class Doubled(Recordings):
        name = "doubled recordings"

        def read(self, source, target=None, **options):
            samples = super().read(source, target, **options)
            samples.kind = "doubled"
            return samples

    (tmp_path / "3.rec").touch()
    samples = data.read("3.rec")
    prepared = data.prepare(samples)
    assert prepared.input_shape == (5,)
    assert np.allclose(prepared.train.inputs, 2 * samples.inputs[prepared.train.indices])
    assert isinstance(data.restore({"kind": "doubled"}), Doubling)
    other = data.prepare(data.read((X, Y))).preprocessing
    with pytest.raises(DataError, match="of kind doubled"):
        data.read_new("3.rec", other)


def test_kinds_of_other_packages(registry, monkeypatch, tmp_path):
    class Good(EntryPoint):
        def load(self):
            return Recordings

    class Bad(EntryPoint):
        def load(self):
            raise ImportError("no module named soundfile")

    points = [Good("recordings", "a:b", kinds.ENTRY_POINT_GROUP), Bad("speech", "c:d", kinds.ENTRY_POINT_GROUP)]
    monkeypatch.setattr(kinds, "entry_points", lambda group: points if group == kinds.ENTRY_POINT_GROUP else [])
    (tmp_path / "1.rec").touch()
    assert len(data.read("1.rec")) == 40
    with pytest.raises(DataError, match=r"speech \(ImportError: no module named soundfile\)"):
        data.read(object())


@pytest.mark.parametrize("missing", ["name", "read", "recognises"])
def test_incomplete_kinds_are_refused(registry, missing):
    members = {"name": "x", "read": lambda self, source: None, "recognises": lambda self, source: False}
    members.pop(missing)
    with pytest.raises(DataError, match=missing):
        data.data_kind(type("Incomplete", (), members))


def test_every_built_in_kind_is_registered_like_any_other():
    assert all(kind.accepts or kind.name == "image file" for kind in kinds.data_kinds())
    for source in (None, 3, "x" * 10_000, "a\0b", object(), [], (), {}, float("nan"), Path("x"), "\n", lambda: 1, [[]], [None], type):
        for kind in kinds.data_kinds():
            assert kind.recognises(source) in (True, False)  # quick, and never raises


def test_restoring_what_nobody_knows():
    with pytest.raises(DataError, match=r"one of: array, forecasting, images, .*table, text, torch"):
        data.restore({"kind": "hologram"})


def test_the_surface():
    assert set(data.__all__) <= set(dir(data))
    for name in data.__all__:
        assert getattr(data, name) is not None
    with pytest.raises(AttributeError):
        data.nothing  # noqa: B018


def test_home_is_understood(monkeypatch, folder):
    monkeypatch.setenv("HOME", str(folder))
    if os.name != "nt":
        assert len(data.read("~/all.csv", "label")) == 60
