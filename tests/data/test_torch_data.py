"""torch Datasets and DataLoaders: used as they are, never changed, and every mistake named with its index."""

import random
from itertools import islice

import numpy as np
import pytest
import torch
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
    random_split,
)

from pellucid import data
from pellucid.core.errors import DataError
from pellucid.data.samples import ResidentPart
from pellucid.data.torch_data.parts import LoaderPart, TorchPart

N = 60
X = torch.randn(N, 3, generator=torch.Generator().manual_seed(0))
Y = torch.arange(N) % 3
PAIRS = TensorDataset(X, Y)


class Plain(Dataset):
    """A map-style Dataset of the user's; `change` is what it does to each sample."""

    def __init__(self, inputs=X, targets=Y, change=None, **attributes):
        self.inputs, self.values, self.change, self.reads = inputs, targets, change, 0
        for name, value in attributes.items():
            setattr(self, name, value)

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, index):
        self.reads += 1
        sample = self.inputs[index], self.values[index]
        return self.change(index, *sample) if self.change else sample


class Unrelated:
    """Behaves as a Dataset without being one."""

    def __len__(self):
        return N

    def __getitem__(self, index):
        return X[index], int(Y[index])


class OwnGenerator(Dataset):
    def __init__(self):
        self.generator = torch.Generator().manual_seed(1)

    def __len__(self):
        return N

    def __getitem__(self, index):
        return X[index] + torch.randn(3, generator=self.generator), Y[index]


def noisy(index, x, y):
    return x + torch.randn(3), y


def rarely_noisy(index, x, y):
    return (x + 1 if random.random() < 1e-9 else x), y


def numpy_noise(index, x, y):
    return x + np.float32(np.random.rand()), y


def collate_backwards(samples):
    return torch.stack([x for x, _ in samples]).flip(1), torch.tensor([int(y) for _, y in samples])


# -- what becomes of a Dataset -------------------------------------------------------------------------------------------------------

KEPT = [
    PAIRS,
    Subset(PAIRS, range(N)),
    Subset(Subset(PAIRS, list(range(N))), torch.arange(N)),
    ConcatDataset([Subset(PAIRS, range(20)), Subset(PAIRS, range(20, N))]),
    Plain(),
    Plain(X.numpy(), Y.numpy()),
    Plain(X, Y.tolist()),
    Plain(targets=Y.tolist()),
    Unrelated(),
    [(x, int(y)) for x, y in PAIRS],
]


@pytest.mark.parametrize("dataset", KEPT, ids=lambda dataset: type(dataset).__name__)
def test_deterministic_data_sets_live_in_memory(dataset):
    samples = data.read(dataset)
    prepared = data.prepare(samples)
    assert samples.kind == "torch"
    assert samples.task.classes == ("0", "1", "2")
    assert prepared.input_shape == (3,)
    assert prepared.ledger.sizes() == {"train": 38, "validation": 10, "test": 12}
    assert list(samples.hashes) == list(data.read(PAIRS).hashes)
    for part in (prepared.train, prepared.validation, prepared.test):
        assert isinstance(part, ResidentPart)
        assert torch.equal(part.inputs, X[part.indices])  # nothing is scaled
        assert torch.equal(part.targets, Y[part.indices])
    assert not [notice for notice in prepared.notices if notice.kind == "random_dataset"]


@pytest.mark.parametrize(
    "dataset",
    [Plain(change=noisy), Plain(change=rarely_noisy), Plain(change=numpy_noise), OwnGenerator()],
    ids=["torch", "rare", "numpy", "own"],
)
def test_random_data_sets_are_never_kept(dataset):
    prepared = data.prepare(data.read(dataset))
    assert isinstance(prepared.train, TorchPart)
    assert prepared.train.ordered
    assert "random_dataset" in [notice.kind for notice in prepared.notices]
    assert prepared.ledger.content == ""
    order = torch.randperm(len(prepared.train))
    batches = list(prepared.train.batches(16, order))
    assert [len(targets) for _, targets in batches] == [16, 16, 6]
    assert torch.equal(torch.cat([targets for _, targets in batches]), Y[prepared.train.indices[order.numpy()]])


def test_an_augmenting_data_set_gives_new_samples_in_every_epoch():
    prepared = data.prepare(data.read(Plain(change=noisy)))
    first, second = (torch.cat([inputs for inputs, _ in prepared.train.batches(64)]) for _ in range(2))
    assert not torch.equal(first, second)
    torch.manual_seed(3)
    third = torch.cat([inputs for inputs, _ in prepared.train.batches(64)])
    torch.manual_seed(3)
    assert torch.equal(torch.cat([inputs for inputs, _ in prepared.train.batches(64)]), third)


@pytest.mark.parametrize("source", [Plain(change=noisy), Plain(change=numpy_noise), DataLoader(Plain(change=noisy), 8, shuffle=True)])
def test_reading_leaves_the_global_random_states_alone(source):
    def states():
        return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), np.random.get_state()[2], random.getstate()

    before = states()
    data.prepare(data.read(source))
    assert states() == before


def test_the_users_generator_and_tensors_are_not_changed():
    generator = torch.Generator().manual_seed(7)
    loader = DataLoader(PAIRS, 8, shuffle=True, generator=generator)
    state, x, y = generator.get_state(), X.clone(), Y.clone()
    prepared = data.prepare(data.read(loader))
    assert torch.equal(generator.get_state(), state)
    for inputs, targets in data.prepare(data.read(PAIRS)).train.batches(8):
        inputs.zero_()
        targets.zero_()
    list(prepared.train.batches())
    assert torch.equal(X, x)
    assert torch.equal(Y, y)


def test_a_large_data_set_is_not_kept(monkeypatch):
    monkeypatch.setattr("pellucid.data.torch_data.looking.available_memory_bytes", lambda: 1000)
    assert isinstance(data.prepare(data.read(Plain())).train, TorchPart)


def test_targets_in_an_attribute_save_reading(monkeypatch):
    monkeypatch.setattr("pellucid.data.torch_data.looking._SECONDS_TO_READ", 0.0)
    dataset = Plain(targets=Y, classes=["ant", "bee", "cat"])
    dataset.targets = Y.tolist()
    samples = data.read(dataset)
    assert dataset.reads < 40  # a few were tried; not all were read
    assert samples.task.classes == ("ant", "bee", "cat")
    assert samples.targets.tolist() == Y.tolist()
    lying = Plain(change=lambda index, x, y: (x, 2 - y))
    lying.targets = Y.tolist()  # a target_transform has changed them since
    assert data.read(lying).targets.tolist() == (2 - Y).tolist()


@pytest.mark.parametrize(
    ("targets", "task", "kind", "outputs", "encoded"),
    [
        (Y, "auto", "classification", ("0", "1", "2"), Y),
        (Y.to(torch.uint8), "auto", "classification", ("0", "1", "2"), Y),
        (Y.reshape(-1, 1), "auto", "classification", ("0", "1", "2"), Y),
        (Y > 0, "auto", "classification", ("0", "1"), (Y > 0).long()),
        ((Y > 0).float(), "auto", "classification", ("0", "1"), (Y > 0).long()),
        ((Y > 0).float().reshape(-1, 1), "auto", "classification", ("0", "1"), (Y > 0).long()),
        (Y + 5, "auto", "classification", ("5", "6", "7"), Y),
        ((Y > 0).long() * 255, "auto", "classification", ("0", "255"), (Y > 0).long()),
        (Y * 2, "auto", "classification", ("0", "1", "2", "3", "4"), Y * 2),  # class indices, some of which do not occur
        (torch.eye(3)[Y], "auto", "classification", ("0", "1", "2"), Y),
        (Y.float() + 0.5, "auto", "regression", ("target",), (Y.float() + 0.5).reshape(-1, 1)),
        (Y.double() + 0.5, "auto", "regression", ("target",), (Y.float() + 0.5).reshape(-1, 1)),
        (Y, "regression", "regression", ("target",), Y.float().reshape(-1, 1)),
        (Y.float(), "classification", "classification", ("0", "1", "2"), Y),
        (X[:, :2], "auto", "regression", ("target 0", "target 1"), X[:, :2]),
    ],
)
@pytest.mark.parametrize("how", ["tensors", "plain", "loader"])
def test_targets(targets, task, kind, outputs, encoded, how):
    sources = {"tensors": TensorDataset(X, targets), "plain": Plain(targets=targets), "loader": DataLoader(Plain(targets=targets), 16)}
    samples = data.read(sources[how], task=task)
    assert samples.task.kind == kind
    assert (samples.task.classes or samples.task.targets) == outputs
    prepared = data.prepare(samples, validation=0, test=0)
    found = torch.cat([target for _, target in prepared.train.batches(16)])
    assert found.dtype == (torch.int64 if kind == "classification" else torch.float32)
    assert torch.equal(found, encoded)
    assert prepared.preprocessing.restore_targets(found) is found
    restored = data.restore(prepared.preprocessing.to_dict())
    assert torch.equal(restored.encoding.apply(targets), encoded)


@pytest.mark.parametrize(
    ("dtype", "finished"),
    [
        (torch.float64, torch.float32),
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.uint8, torch.float32),
        (torch.bool, torch.float32),
        (torch.int64, torch.int64),  # tokens
        (torch.int32, torch.int32),
    ],
)
@pytest.mark.parametrize("wrap", [lambda dataset: dataset, lambda dataset: DataLoader(dataset, 4)])
def test_number_types(dtype, finished, wrap):
    inputs = torch.arange(N * 3).reshape(N, 3).to(dtype)
    prepared = data.prepare(data.read(wrap(TensorDataset(inputs, Y))))
    batch, _ = next(prepared.train.batches(4))
    assert batch.dtype == finished


# -- loaders -------------------------------------------------------------------------------------------------------------------------


def test_a_loader_keeps_its_own_ways():
    generator = torch.Generator().manual_seed(5)
    loader = DataLoader(PAIRS, batch_size=7, shuffle=True, collate_fn=collate_backwards, drop_last=True, generator=generator)
    prepared = data.prepare(data.read((loader, DataLoader(PAIRS, batch_size=9))), validation=0)
    assert isinstance(prepared.train, LoaderPart)
    assert prepared.train.loader is loader
    assert not prepared.train.ordered
    state = prepared.train.state()
    first = list(prepared.train.batches(1000))
    assert [len(targets) for _, targets in first] == [7] * 8
    prepared.train.restore(state)
    for (a, b), (c, d) in zip(first, prepared.train.batches(), strict=True):
        assert torch.equal(a, c)
        assert torch.equal(b, d)
    prepared.train.restore(state)
    for (a, b), (c, d) in zip(first, loader, strict=True):  # exactly what the loader itself yields
        assert torch.equal(a, c)
        assert torch.equal(b, d)


def test_the_same_pair_is_not_its_own_test():
    prepared = data.prepare(data.read((PAIRS, Subset(PAIRS, range(10)))), validation=0)
    assert len(prepared.test) == 10
    assert len(prepared.train) == N - 10
    assert len(prepared.ledger.removed) == 10


def test_a_loader_is_split_with_its_settings():
    loader = DataLoader(PAIRS, batch_size=7, shuffle=True, collate_fn=collate_backwards, drop_last=True)
    prepared = data.prepare(data.read(loader))
    assert prepared.ledger.sizes() == {"train": 38, "validation": 10, "test": 12}
    part = prepared.train.loader
    assert part.collate_fn is collate_backwards
    assert part.batch_size == 7
    assert part.drop_last
    seen = torch.cat([targets for _, targets in prepared.train.batches()])
    assert len(seen) == 35
    fixed = data.prepare(data.read(DataLoader(PAIRS, batch_size=7)))
    inputs = torch.cat([inputs for inputs, _ in fixed.train.batches()])
    assert torch.equal(inputs, X[fixed.train.indices])  # a loader that does not shuffle is not made to
    assert next(islice(fixed.test.batches(), 1))[0].shape == (7, 3)


def test_a_loader_with_its_own_sampler_is_not_split():
    def loader():
        return DataLoader(PAIRS, batch_size=8, sampler=WeightedRandomSampler(torch.ones(N), 40))

    prepared = data.prepare(data.read(loader()))
    assert prepared.ledger.sizes() == {"train": N, "validation": 0, "test": 0}
    assert len(prepared.train) == 40  # in an epoch
    assert "nothing_held_out" in [notice.kind for notice in prepared.notices]
    assert sum(len(targets) for _, targets in prepared.train.batches()) == 40
    with pytest.raises(DataError, match="chooses its samples by a WeightedRandomSampler"):
        data.prepare(data.read(loader()), validation=0.2)
    three = data.prepare(data.read((loader(), PAIRS, DataLoader(PAIRS, 5))))
    assert three.ledger.sizes() == {"train": N, "validation": N, "test": N}


def test_random_split_is_taken_as_parts():
    parts = random_split(PAIRS, [40, 10, 10], generator=torch.Generator().manual_seed(0))
    prepared = data.prepare(data.read(parts))
    assert prepared.ledger.sizes() == {"train": 40, "validation": 10, "test": 10}
    assert torch.equal(prepared.test.inputs, X[list(parts[2].indices)])
    two = data.prepare(data.read(tuple(random_split(PAIRS, [48, 12]))))
    assert two.ledger.sizes() == {"train": 38, "validation": 10, "test": 12}


def test_the_same_split_again_from_the_ledger():
    for source in (PAIRS, Plain(change=noisy), DataLoader(Plain(change=noisy), 8)):
        first = data.prepare(data.read(source), seed=4)
        again = data.prepare(data.read(source), ledger=first.ledger, preprocessing=data.restore(first.preprocessing.to_dict()))
        for part in ("train", "validation", "test"):
            assert np.array_equal(getattr(first, part).indices, getattr(again, part).indices)


# -- refusals ------------------------------------------------------------------------------------------------------------------------


class NoLength(Dataset):
    def __getitem__(self, index):
        return X[index], Y[index]


class Stream(IterableDataset):
    def __iter__(self):
        return iter(PAIRS)


class Failing(Plain):
    def __getitem__(self, index):
        if index > 40:
            raise KeyError("missing file")
        return super().__getitem__(index)


class NegativeLength(Plain):
    def __len__(self):
        return -1


def failing_collate(samples):
    raise KeyError("no image")


class Picture:
    __module__ = "PIL.Image"


with_nan = X.clone()
with_nan[17, 1] = torch.nan
REFUSED = [
    (NoLength(), "has no length"),
    (NegativeLength(), "has no length"),
    (Stream(), "IterableDataset"),
    (DataLoader(Stream(), 4), "IterableDataset"),
    (Plain(X[:0], Y[:0]), "has no samples"),
    (TensorDataset(X[:0], Y[:0]), "has no samples"),
    (TensorDataset(X), "a TensorDataset of 1 tensors"),
    (TensorDataset(X, Y, Y), "a TensorDataset of 3 tensors"),
    (Plain(change=lambda index, x, y: x), "an input without a target"),
    (Plain(change=lambda index, x, y: (x,)), "is a tuple with 1 elements"),
    (Plain(change=lambda index, x, y: (x, y, y)), "is a tuple with 3 elements"),
    (Plain(change=lambda index, x, y: {"image": x, "label": y}), "a dictionary with the keys image, label"),
    (Plain(change=lambda index, x, y: ("text", y)), r"the input of dataset\[0\] is a str"),
    (Plain(change=lambda index, x, y: (x, "cat")), r"the target of dataset\[0\] is a str"),
    (Plain(change=lambda index, x, y: (x.tolist(), y)), "a list of numbers"),
    (Plain(change=lambda index, x, y: (Picture(), y)), "ToTensor"),
    (Plain(change=lambda index, x, y: (x[: 2 + (index > 5)], y)), r"an input of shape \(2,\) and dataset\[.*\] of shape \(3,\)"),
    (Plain(change=lambda index, x, y: (x[0], y)), "every input is a single number"),
    (Plain(change=lambda index, x, y: (torch.complex(x, x), y)), "complex"),
    (Plain(change=lambda index, x, y: (x, torch.complex(x, x)[0])), "complex"),
    (TensorDataset(torch.complex(X, X), Y), "complex"),
    (TensorDataset(with_nan, Y), r"the inputs hold nan at \[17, 1\]"),
    (TensorDataset(X, torch.where(torch.arange(N) == 9, torch.inf, X[:, 0])), "the target of sample 9 is inf"),
    (TensorDataset(X, torch.zeros(N, 4, 4)), r"targets of shape \(4, 4\)"),
    (TensorDataset(X, torch.zeros(N).long()), "all 60 targets are 0"),
    (TensorDataset(X, torch.full((N,), 2.5)), "all 60 targets are 2.5"),
    (Failing(), r"dataset\[.*\] raised KeyError: 'missing file'"),
    (DataLoader(Plain(change=lambda index, x, y: x), 4), "is a Tensor with 1 elements: inputs without targets"),
    (DataLoader(PAIRS, 4, collate_fn=lambda samples: {"x": 1}), "a dictionary with the keys x"),
    (DataLoader(PAIRS, 4, collate_fn=lambda samples: ("a", "b")), "its inputs are a str"),
    (DataLoader(PAIRS, 100, drop_last=True), "yields no batch"),
    (DataLoader(PAIRS, 4, collate_fn=failing_collate), "the DataLoader failed: KeyError: 'no image'"),
    (DataLoader(Plain(change=lambda index, x, y: (x[: 2 + (index > 1)], y)), 4), "the DataLoader failed: RuntimeError: stack expects"),
    (Subset(PAIRS, [0, 1, 10**6]), "a Subset takes sample 1000000 of"),
    (DataLoader(PAIRS, 4, collate_fn=lambda samples: (torch.zeros(4, 2), torch.zeros(3))), "batch of inputs of shape"),
    ((PAIRS, TensorDataset(X[:, :2], Y)), r"the test part has inputs of shape \(2,\)"),
    ((PAIRS, TensorDataset(X, Y + 1)), "the classes 3 stand only in the test part"),
    ((TensorDataset(X, X[:, 0]), TensorDataset(X, X[:, :2])), "the test part has 2 targets per sample"),
    ((TensorDataset(X, Y + 5), TensorDataset(X, Y + 6)), "a target is 8, which the training part never has"),
]


@pytest.mark.parametrize(("source", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_refusals(source, words):
    with pytest.raises(DataError, match=words) as caught:
        data.read(source)
    assert len(caught.value.sentences()) == 3


def test_a_target_beside_a_data_set_is_refused():
    with pytest.raises(DataError, match="also a target"):
        data.read(PAIRS, Y)
    with pytest.raises(DataError, match="not one-hot"):
        data.read(TensorDataset(X, X[:, :2]), task="classification")


# -- new data ------------------------------------------------------------------------------------------------------------------------


class OnlyInputs(Dataset):
    def __len__(self):
        return N

    def __getitem__(self, index):
        return X[index]


@pytest.mark.parametrize(
    ("source", "has_targets"),
    [
        (PAIRS, True),
        (Plain(), True),
        (DataLoader(PAIRS, 8, shuffle=True), True),
        ((X, Y), True),
        (OnlyInputs(), False),
        (TensorDataset(X), False),
        (DataLoader(OnlyInputs(), 8, shuffle=True), False),
        (X, False),
        (X.numpy(), False),
        (X.double(), False),
    ],
)
def test_new_data(source, has_targets):
    preprocessing = data.restore(data.prepare(data.read(PAIRS)).preprocessing.to_dict())
    samples = data.read_new(source, preprocessing)
    assert torch.equal(preprocessing.inputs(samples), X)
    assert (samples.targets is not None) == has_targets
    if has_targets:
        assert torch.equal(preprocessing.targets(samples), Y)
    assert len(data.read_new(X[0], preprocessing)) == 1


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (TensorDataset(X[:, :2], Y), r"inputs of shape \(2,\)"),
        (X[:, :2], r"inputs of shape \(60, 2\)|inputs of shape \(2,\)"),
        (with_nan, "X.17, 1. is nan"),
        ("digits", "inputs of shape"),
        ("x.csv", "there is no file or folder"),
        ((PAIRS, PAIRS), "a pair whose second element is a TensorDataset"),
        (Plain(change=lambda index, x, y: "text"), "is a str"),
    ],
)
def test_new_data_that_do_not_fit(source, words):
    with pytest.raises(DataError, match=words):
        data.read_new(source, data.prepare(data.read(PAIRS)).preprocessing)


def test_evaluation_of_a_regression_is_in_the_users_units():
    values = 1000 + 50 * X[:, 0]
    prepared = data.prepare(data.read(TensorDataset(X, values)))
    samples = data.read_new((X, values), prepared.preprocessing)
    assert torch.allclose(prepared.preprocessing.targets(samples)[:, 0], values)
