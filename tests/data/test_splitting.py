"""Splitting: no copy on two sides, groups whole, classes in their shares, times in order, the same for the same seed."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.core.errors import DataError
from pellucid.data.splitting import LEFT_OUT, TEST, TRAIN, VALIDATION, split


def hashes_of(contents):
    return [f"{content:032x}" for content in contents]


labelled = st.integers(12, 300).flatmap(
    lambda n: st.tuples(st.lists(st.integers(0, 4), min_size=n, max_size=n), st.integers(0, 2**31), st.sampled_from(["auto", 0.1, 0.3]))
)


@settings(deadline=None, max_examples=60)
@given(labelled)
def test_every_sample_has_one_part_and_every_class_its_share(case):
    labels, seed, test = np.asarray(case[0]), case[1], case[2]
    result = split(len(labels), labels=labels, seed=seed, test=test, hashes=hashes_of(range(len(labels))))
    assert result.parts.shape == labels.shape
    assert set(result.parts.tolist()) <= {TRAIN, VALIDATION, TEST}
    assert (result.parts == TEST).any()
    counts = {part: np.bincount(labels[result.parts == part], minlength=5) for part in (TRAIN, VALIDATION, TEST)}
    sizes = np.bincount(labels, minlength=5)
    wanted = 0.2 if test == "auto" else test
    assert (counts[TRAIN][sizes > 0] >= 1).all()
    spare = sizes > 2  # rare classes first of all keep a sample in training
    assert (np.abs(counts[TEST] - sizes * max(1, round(wanted * len(labels))) / len(labels))[spare] <= 1 + 1e-9).all()
    again = split(len(labels), labels=labels, seed=seed, test=test, hashes=hashes_of(range(len(labels))))
    assert (again.parts == result.parts).all()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 60), min_size=40, max_size=200), st.integers(0, 2**31))
def test_copies_stay_on_one_side(contents, seed):
    labels = np.asarray(contents) % 3
    result = split(len(contents), labels=labels, seed=seed, hashes=hashes_of(contents))
    sides = {}
    for content, part in zip(contents, result.parts.tolist(), strict=True):
        sides.setdefault(content, set()).add(part)
    assert all(len(parts) == 1 for parts in sides.values())
    assert LEFT_OUT not in result.parts
    assert not result.removed


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 500)), min_size=40, max_size=200), st.integers(0, 2**31))
def test_groups_stay_whole_and_copies_leave_the_earlier_side(rows, seed):
    groups, contents = np.asarray([row[0] for row in rows]), [row[1] for row in rows]
    if len(set(groups.tolist())) < 3:
        return
    result = split(len(rows), groups=groups, labels=np.asarray(contents) % 2, seed=seed, hashes=hashes_of(contents))
    for values, what in ((groups.tolist(), "group"), (contents, "content")):
        sides = {}
        for value, part in zip(values, result.parts.tolist(), strict=True):
            if part != LEFT_OUT:
                sides.setdefault(value, set()).add(part)
        assert all(len(parts) == 1 for parts in sides.values()), what
    assert sorted(result.removed) == np.flatnonzero(result.parts == LEFT_OUT).tolist()
    assert not {TEST} & {result.parts[i] for i in result.removed}


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 40), min_size=30, max_size=200).filter(lambda times: len(set(times)) >= 3), st.integers(0, 9))
def test_the_latest_samples_are_the_test_part(times, seed):
    times = np.asarray(times)
    result = split(len(times), times=times, seed=seed)
    assert times[result.parts == TRAIN].max() < times[result.parts == VALIDATION].min()
    assert times[result.parts == VALIDATION].max() < times[result.parts == TEST].min()


@pytest.mark.parametrize(
    ("samples", "arguments", "sizes"),
    [
        (1000, {}, (640, 160, 200)),
        (1000, {"test": 0.1, "validation": 0.3}, (600, 300, 100)),
        (1000, {"test": 50, "validation": 30}, (920, 30, 50)),
        (1000, {"test": 0, "validation": 0}, (1000, 0, 0)),
        (1000, {"test": 0}, (800, 200, 0)),
        (200_000, {}, (185_000, 5_000, 10_000)),
        (10, {}, (6, 2, 2)),
        (9, {}, (9, 0, 0)),  # too few to hold any out
        (9, {"test": 3}, (6, 0, 3)),
        (3, {"test": 1, "validation": 1}, (1, 1, 1)),
    ],
)
def test_sizes(samples, arguments, sizes):
    result = split(samples, **arguments)
    assert tuple(len(result.indices(part)) for part in (TRAIN, VALIDATION, TEST)) == sizes
    assert bool(result.notices) == (samples < 10 and len(arguments) < 2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"samples": 1}, "at least 2 samples"),
        ({"samples": 100, "test": 0.5, "validation": 0.5}, "leave none to train on"),
        ({"samples": 100, "test": 100}, "leave none to train on"),
        ({"samples": 100, "test": 101}, "more than the 100 samples"),
        ({"samples": 100, "validation": 1000}, "more than the 100 samples"),
        ({"samples": 100, "test": -1}, "positive"),
        ({"samples": 100, "groups": np.zeros(100)}, "1 different values"),
        ({"samples": 100, "groups": np.arange(100) % 2}, "at least 3 groups"),
        ({"samples": 100, "groups": np.asarray([1.0] * 99 + [np.nan])}, "sample 99"),
        ({"samples": 100, "groups": np.asarray(["a"] * 50 + [None] * 50, dtype=object)}, "of 50 samples is missing, first in sample 50"),
        ({"samples": 100, "times": np.zeros(100)}, "1 different times"),
        ({"samples": 100, "times": np.arange(100) % 2}, "2 different times"),
        ({"samples": 50, "times": np.full(50, np.datetime64("NaT"))}, "missing"),
        ({"samples": 4, "test": 1, "hashes": hashes_of([7, 7, 7, 7])}, "1 are different"),
        ({"samples": 20, "hashes": hashes_of([5] * 20), "fixed": np.asarray(["train"] * 10 + ["test"] * 10)}, "copy"),
        ({"samples": 20, "fixed": np.asarray(["train"] * 10 + ["test"] * 10), "test": 0.2}, "bring their own test part"),
        ({"samples": 4, "labels": np.arange(4), "test": 1}, "no sample can be spared"),
    ],
)
def test_refusals(arguments, words):
    arguments = dict(arguments)
    with pytest.raises(DataError, match=words) as caught:
        split(arguments.pop("samples"), **arguments)
    assert len(caught.value.sentences()) == 3


def test_copies_across_given_parts_leave_training_and_validation():
    fixed = np.asarray(["train"] * 20 + ["validation"] * 10 + ["test"] * 10)
    contents = list(range(40))
    contents[30] = contents[0]  # a training sample in the test part
    contents[31] = contents[21]  # a validation sample in the test part
    contents[22] = contents[1]  # a training sample in the validation part
    contents[3] = contents[2]  # two copies inside training stay
    result = split(40, fixed=fixed, hashes=hashes_of(contents))
    assert list(result.removed) == [0, 1, 21]
    assert (result.parts[[30, 31, 22, 2, 3]] == [TEST, TEST, VALIDATION, TRAIN, TRAIN]).all()
    (notice,) = result.notices
    assert notice.kind == "duplicates_across_parts"
    assert notice.evidence == {"removed": 3, "from_train": 2, "from_validation": 1}


def test_a_given_test_part_is_kept_and_validation_comes_out_of_training():
    fixed = np.asarray(["train"] * 80 + ["test"] * 20)
    result = split(100, fixed=fixed, labels=np.arange(100) % 2)
    assert (result.parts[80:] == TEST).all()
    assert len(result.indices(VALIDATION)) == 16
    groups = np.arange(100) % 10  # every group on both given sides: said, not mended
    grouped = split(100, fixed=fixed, groups=groups)
    assert [notice.kind for notice in grouped.notices] == ["groups_across_parts"]


def test_few_distinct_samples_are_not_torn_apart():
    contents = [0, 1, 2, 3] * 100  # the truth table of XOR, a hundred times
    result = split(400, labels=np.asarray([0, 1, 1, 0] * 100), hashes=hashes_of(contents))
    assert (result.parts == TRAIN).all()
    assert result.notices[0].evidence["distinct"] == 4


def test_times_with_groups_count_where_the_group_ends():
    groups, times = np.repeat(np.arange(10), 10), np.tile(np.arange(10), 10) + np.repeat(np.arange(10), 10)
    result = split(100, groups=groups, times=times)
    for group in range(10):
        assert len(set(result.parts[groups == group].tolist())) == 1
    assert (result.parts[groups >= 8] == TEST).all()


def test_groups_keep_the_classes_in_balance():
    random_state = np.random.default_rng(0)
    groups = random_state.integers(0, 200, 5000)
    labels = (groups % 5 == 0).astype(int)  # whole groups of one class
    result = split(5000, groups=groups, labels=labels)
    for part, size in ((VALIDATION, 800), (TEST, 1000)):
        chosen = result.parts == part
        assert abs(chosen.sum() - size) < 60
        assert abs(labels[chosen].mean() - labels.mean()) < 0.03


def test_global_random_state_is_neither_read_nor_changed():
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    first = split(200, labels=np.arange(200) % 3, seed=4)
    random.seed(99)
    np.random.seed(99)
    torch.manual_seed(99)
    assert (split(200, labels=np.arange(200) % 3, seed=4).parts == first.parts).all()
    assert not (split(200, labels=np.arange(200) % 3, seed=5).parts == first.parts).all()
    random.setstate(before[0])
    np.random.set_state(("MT19937", before[1], 624, 0, 0.0))
    torch.set_rng_state(before[2])
    split(200, groups=np.arange(200) % 9)
    assert random.getstate() == before[0]
    assert (np.random.get_state()[1] == before[1]).all()
    assert torch.equal(torch.get_rng_state(), before[2])
