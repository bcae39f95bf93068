"""The ledger: compact, exact, and able to tell how data read again differ."""

import json
from dataclasses import replace

import numpy as np
import pytest

from pellucid import data
from pellucid.core.errors import DataError
from pellucid.core.language import text
from pellucid.data.ledger import Ledger, NumberedNames
from pellucid.data.samples import Quarantined, Samples
from pellucid.data.splitting import LEFT_OUT, Split


def samples_of(contents, names=None, labels=None):
    count = len(contents)
    hashes = [f"{content:032x}" if content is not None else "" for content in contents]
    return Samples(
        kind="array", name="s", task=None, inputs=np.zeros((count, 1)), targets=labels,
        identifiers=names if names is not None else NumberedNames(count), hashes=hashes, input_hashes=hashes,
    )  # fmt: skip


def ledger_of(samples, parts=None):
    codes = np.asarray(parts if parts is not None else np.arange(len(samples)) % 3, dtype=np.int8)
    return Ledger.of(samples, Split(codes, (), np.flatnonzero(codes == LEFT_OUT).tolist()))


@pytest.mark.parametrize(
    "names",
    [
        NumberedNames(6),
        NumberedNames(6, "row ", 2),
        ["train 0", "train 1", "train 2", "test 0", "test 1", "test 2"],
        ["cat/1.jpg", "cat/01.jpg", "dog/001.jpg", "", "7", "猫/1"],
        ["5", "3", "1", "2", "9", "0"],
        ["a007", "a008", "a009", "a010", "a011", "a012"],
    ],
    ids=["numbers", "rows", "parts", "files", "unordered numbers", "padded numbers"],
)
def test_stored_and_read_back(names):
    samples = samples_of([10, 11, None, 12, 10, 13], names)
    samples.quarantined = [Quarantined(identifier="x.jpg", reason=text("the file is empty"))]
    ledger = ledger_of(samples, [0, 1, 2, 0, 3, 2])
    again = Ledger.from_dict(json.loads(json.dumps(ledger.to_dict())))
    assert again == ledger
    assert list(again.identifiers) == list(names)
    assert again.hashes == list(samples.hashes)
    assert again.codes.tolist() == [0, 1, 2, 0, 3, 2]
    assert again.indices("test").tolist() == [2, 5]
    assert again.sizes() == {"train": 2, "validation": 1, "test": 2}
    assert again.duplicates == ((0, 4),)
    assert again.removed == (4,)
    assert again.quarantined[0].reason == text("the file is empty")
    assert again.differences(samples) is None


def test_samples_seen_before_are_counted_by_part():
    """Known by their content alone, wherever they stand and whatever they are called; a sample without a hash is nobody's copy."""
    ledger = ledger_of(samples_of([10, 11, 12, 13, None]), [0, 1, 2, LEFT_OUT, 0])
    assert ledger.seen(samples_of([11, 99, 10, 10, 13, None], ["a", "b", "c", "d", "e", "f"])) == {"train": 2, "validation": 1}
    assert ledger.seen(samples_of([98, 99])) == {}


def test_sixty_thousand_samples_are_compact():
    ledger = ledger_of(samples_of(range(60_000)))
    assert len(json.dumps(ledger.to_dict())) < 1_500_000


BASE = [10, 11, 12, 13, 14, 15]


@pytest.mark.parametrize(
    ("contents", "names", "changed", "missing", "added", "moved"),
    [
        (BASE, None, 0, 0, 0, 0),
        ([10, 11, 99, 13, 14, 15], None, 1, 0, 0, 0),
        ([10, 11, 12, 13, 14], None, 0, 1, 0, 0),
        ([10, 11, 12, 13, 14, 15, 16, 17], None, 0, 0, 2, 0),
        ([11, 10, 12, 13, 14, 15], None, 0, 0, 0, 2),
        ([99, 10, 11, 12, 13, 14, 15], None, 0, 0, 1, 0),
        ([10, 10, 11, 12, 13, 14, 15], None, 0, 0, 1, 0),
        ([90, 91, 92, 93, 94, 95], None, 6, 0, 0, 0),
        ([90, 91], ["x", "y"], 0, 6, 2, 0),
    ],
)
def test_differences(contents, names, changed, missing, added, moved):
    ledger = ledger_of(samples_of(BASE))
    found = ledger.compare(samples_of(contents, names))
    assert (found.changed, found.missing, found.added, found.moved) == (changed, missing, added, moved)
    assert (ledger.differences(samples_of(contents, names)) is None) == (not found)
    if found and not moved:
        assert found.examples


def test_samples_without_hashes_are_counted():
    ledger = ledger_of(samples_of([None] * 6))
    assert ledger.content == ""
    assert ledger.differences(samples_of([None] * 6)) is None
    assert ledger.compare(samples_of([None] * 8)).added == 2
    assert ledger.compare(samples_of([None] * 5)).missing == 1


@pytest.mark.parametrize(
    ("contents", "names", "codes"),
    [
        (BASE, None, [0, 1, 2, 0, 1, 2]),
        (BASE[::-1], None, [2, 1, 0, 2, 1, 0]),
        ([10, 12, 14], None, [0, 2, 1]),
        ([99, 11, 12], None, [0, 1, 2]),  # changed, known by its name
        ([99, 10, 11], ["x", "a", "b"], [3, 0, 1]),  # new: left out
    ],
)
def test_the_same_split_again(contents, names, codes):
    assert ledger_of(samples_of(BASE)).codes_for(samples_of(contents, names)).tolist() == codes


def test_copies_keep_their_places():
    ledger = ledger_of(samples_of([7, 7, 7, 8]), [3, 2, 2, 0])
    assert ledger.codes_for(samples_of([8, 7, 7, 7])).tolist() == [0, 3, 2, 2]


def test_contradictions_are_found():
    samples = samples_of([1, 2, 3, 4])
    samples.input_hashes = ["a" * 32, "a" * 32, "b" * 32, "c" * 32]
    assert ledger_of(samples).contradictions == ((0, 1),)


def test_prepared_again_from_the_ledger():
    X, y = np.random.default_rng(0).normal(size=(80, 4)), np.arange(80) % 3
    samples = data.read((X, y))
    first = data.prepare(samples, seed=5, test=0.3)
    ledger = Ledger.from_dict(json.loads(json.dumps(first.ledger.to_dict())))
    again = data.prepare(data.read((X, y)), ledger=ledger, preprocessing=data.restore(first.preprocessing.to_dict()))
    for part in ("train", "validation", "test"):
        assert np.array_equal(getattr(again, part).indices, getattr(first, part).indices)
        assert np.array_equal(getattr(again, part).inputs, getattr(first, part).inputs)
    assert again.ledger is ledger
    changed = X.copy()
    changed[3] += 1
    assert "data_changed" in [notice.kind for notice in data.prepare(data.read((changed, y)), ledger=ledger).notices]
    with pytest.raises(DataError, match="the data are not those of the run"):
        data.prepare(replace(data.read((X + 1, y)), identifiers=NumberedNames(80, "other ")), ledger=ledger)


def test_numbered_names_are_a_sequence():
    names = NumberedNames(5, "row ", 1)
    assert names[0] == "row 1"
    assert names[-1] == "row 5"
    assert names[1:3] == ["row 2", "row 3"]
    assert list(names) == [f"row {number}" for number in range(1, 6)]
    with pytest.raises(IndexError):
        names[5]
