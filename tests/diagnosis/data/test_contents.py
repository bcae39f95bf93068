"""What is read of the samples, and what is known of their use."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset

from diagnosis.symptoms.data_sets import colours, curved, digits, experiment, logistic, regression, split, squared, texts, waves
from pellucid.diagnosis.data.contents import ROWS, Contents, Part, kind_of, runs
from pellucid.diagnosis.data.probes import Probe, indicator
from pellucid.diagnosis.experiments.experiment import Experiment

KINDS = {
    "table": (curved, "table"),
    "images": (digits, "images"),
    "colour images": (colours, "images"),
    "series": (waves, "sequences"),
    "tokens": (texts, "tokens"),
}


def train_of(made: Experiment) -> Part:
    part = Contents.of(made).train
    assert part is not None
    return part


@pytest.mark.parametrize("name", KINDS)
def test_kinds_are_told_apart(name: str) -> None:
    make, kind = KINDS[name]
    contents = Contents.of(experiment(split(make())))
    assert contents.kind == kind
    assert not contents.notes
    assert contents.terms
    assert contents.terms[0].kind == "cross_entropy"
    assert contents.terms[0].original
    assert contents.parameters > 0


def test_whole_numbers_that_are_no_tokens() -> None:
    assert kind_of(torch.randint(0, 2, (10, 4))) == "table"
    assert kind_of(torch.randint(-3, 9, (10, 4))) == "table"
    assert kind_of(torch.randint(0, 255, (10, 4), dtype=torch.uint8)) == "table"
    assert kind_of(torch.randn(10)) == "table"


@pytest.mark.parametrize(("size", "limit"), [(5, 10), (1000, 100), (100_000, 20_000), (101, 100), (7, 1)])
def test_runs_of_neighbours_cover_the_part(size: int, limit: int) -> None:
    places = runs(size, limit)
    assert len(places) <= max(limit, 1)
    assert bool((places.diff() > 0).all())
    assert int(places[0]) == 0
    assert int(places[-1]) < size
    if size > limit > 20:
        assert int(places[-1]) == size - 1
        assert float((places.diff() == 1).float().mean()) > 0.7


def test_statistics_of_columns_are_those_of_numpy() -> None:
    pair = regression()
    columns = train_of(experiment((pair, None))).columns
    values = pair[0].numpy()
    np.testing.assert_allclose(columns.mean, values.mean(0), atol=1e-6)
    np.testing.assert_allclose(columns.std, values.std(0), rtol=1e-5)
    assert columns.finite
    assert not bool(columns.constant.any())


def test_missing_numbers_are_left_out_of_the_statistics() -> None:
    inputs, labels = curved(200)
    inputs = inputs.clone()
    inputs[::7, 2] = torch.nan
    columns = train_of(experiment(((inputs, labels), None))).columns
    assert not columns.finite
    np.testing.assert_allclose(columns.mean, np.nanmean(inputs.numpy(), 0), atol=1e-6)


def test_equal_inputs_have_equal_keys_and_others_do_not() -> None:
    inputs, labels = curved(500)
    inputs = torch.cat([inputs, inputs[:50], -0.0 * inputs[:1], 0.0 * inputs[:1]])
    keys = train_of(experiment(((inputs, torch.cat([labels, labels[:52]])), None))).keys
    assert len(keys.unique()) == 501
    assert torch.equal(keys[:50], keys[500:550])
    assert keys[550] == keys[551], "minus zero is zero"


def test_every_sample_of_a_large_part_has_a_key_and_few_are_read() -> None:
    inputs = torch.randn(60_000, 4, generator=torch.Generator().manual_seed(0))
    part = train_of(experiment(((inputs, (inputs[:, 0] > 0).long()), None)))
    assert part.size == len(part.keys) == 60_000
    assert len(part.inputs) == ROWS
    assert torch.equal(part.inputs, inputs[part.rows])


# -- use -----------------------------------------------------------------------------------------------------------------------------------


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(8, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.body(inputs / 10)


def test_the_entry_is_what_the_first_layer_gets() -> None:
    contents = Contents.of(experiment(split(curved()), model=Scaled))
    assert contents.entry is not None
    assert contents.entry_kind == "linear"
    assert float(contents.entry.std()) == pytest.approx(0.1, rel=0.2)


def test_targets_that_the_loss_changes_are_not_the_users() -> None:
    changed = Contents.of(experiment(split(regression()), lambda outputs, targets: squared(outputs, targets.log1p())))
    assert not changed.loses("mse_loss")
    kept = Contents.of(experiment(split(curved(classes=2)), logistic, 1))
    assert kept.loses("binary_cross_entropy_with_logits")


def test_a_loss_that_multiplies_by_zero_is_silent() -> None:
    def product(outputs: Tensor, targets: Tensor) -> Tensor:
        return (1 - targets * outputs[:, 0]).clamp_min(0).mean()

    assert Contents.of(experiment(split(curved(classes=2)), product, 1)).silent == (0.0,)
    assert Contents.of(experiment(split(curved()))).silent == ()


# -- odd programs ------------------------------------------------------------------------------------------------------------------------


def test_a_model_that_raises_leaves_a_note() -> None:
    class Raising(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 4)

        def forward(self, inputs: Tensor) -> Tensor:
            raise RuntimeError("no")

    contents = Contents.of(experiment(split(curved()), model=Raising))
    assert contents.notes
    assert contents.train is not None


def test_a_data_set_that_raises_leaves_a_note() -> None:
    class Broken(Dataset[Any]):
        def __len__(self) -> int:
            return 10

        def __getitem__(self, index: int) -> Any:
            raise OSError("no such file")

    contents = Contents.of(experiment(split(curved())).changed(train=Broken()))
    assert contents.train is None
    assert contents.notes


@pytest.mark.parametrize("kind", ["loader", "shuffled loader", "data set", "dict"])
def test_other_forms_of_data(kind: str) -> None:
    inputs, labels = curved(300)
    made = experiment(((inputs, labels), None))
    if kind == "dict":

        class Named(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.body = nn.Linear(8, 4)

            def forward(self, numbers: Tensor) -> Tensor:
                return self.body(numbers)

        made = made.changed(train=({"numbers": inputs}, labels), model=Named)
    else:
        stored = TensorDataset(inputs, labels)
        made = made.changed(train=stored if kind == "data set" else DataLoader(stored, batch_size=32, shuffle="shuffled" in kind))
    contents = Contents.of(made)
    assert contents.train is not None
    assert contents.train.size == 300
    assert contents.train.ordered == (kind != "shuffled loader")
    assert contents.train.whole is None or kind == "dict"


def test_nothing_of_the_users_changes() -> None:
    inputs, labels = curved(300)
    before, state = inputs.clone(), torch.random.get_rng_state()
    contents = Contents.of(experiment(split((inputs, labels))))
    assert contents.across is not None
    assert torch.equal(inputs, before)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_symptoms_load_neither_scikit_learn_nor_scipy() -> None:
    code = (
        "import sys; import pellucid.diagnosis.registry as r; r.symptoms(); "
        "print([name for name in ('sklearn', 'scipy', 'pandas', 'matplotlib') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_sixty_thousand_images_are_read_in_a_moment() -> None:
    """The size of MNIST; the whole evidence, probes included, in processor time: the machine may be busy."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(60_000, 1, 28, 28, generator=generator)
    labels = torch.randint(10, (60_000,), generator=generator)
    made = experiment(((images, labels), (images[:10_000] + 0.1, labels[:10_000])))
    Contents.of(experiment(split(curved(100))))  # what torch loads at the first optimiser
    began = time.process_time()
    contents = Contents.of(made)
    assert contents.train is not None
    assert len(contents.train.keys) == 60_000
    assert contents.across is not None
    assert time.process_time() - began < 4.0  # half of it on a quiet machine


# -- probes ------------------------------------------------------------------------------------------------------------------------------


def test_leave_one_out_is_leaving_one_out() -> None:
    """The same ridge regression, fitted again without each of some rows."""
    inputs, targets = regression(120)
    probe = Probe(inputs, "table")
    left_out = probe.left_out(targets)
    features, best = probe.features.double(), None
    centred = (targets - targets.mean(0)).double()
    for penalty in (1e-4, 1e-3, 1e-2, 1e-1, 1.0):
        predicted: list[float] = []
        for row in range(0, 120, 10):
            kept = torch.arange(120) != row
            gram = features[kept].T @ features[kept] + penalty * 120 * torch.eye(features.shape[1], dtype=torch.float64)
            predicted.append(float(features[row] @ torch.linalg.solve(gram, features[kept].T @ centred[kept])[:, 0]))
        difference = (torch.tensor(predicted) + targets.mean() - left_out[::10, 0]).abs().max()
        best = min(float(difference), best) if best is not None else float(difference)
    assert best is not None
    assert best < 1e-4


@pytest.mark.parametrize(("name", "least"), [("table", 0.8), ("images", 0.95), ("series", 0.95), ("tokens", 0.8)])
def test_a_probe_finds_what_is_there(name: str, least: float) -> None:
    inputs, labels = KINDS[name][0]()
    classes = int(labels.max()) + 1
    predicted = Probe(inputs, KINDS[name][1]).left_out(indicator(labels, classes))
    assert float((predicted.argmax(1) == labels).float().mean()) > least
    chance = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
    nothing = Probe(inputs, KINDS[name][1]).left_out(indicator(chance, classes))
    share = float(F.one_hot(chance).float().mean(0).max())
    assert float((nothing.argmax(1) == chance).float().mean()) < share + 0.1
