"""An experiment runs as a loop written by hand does, from seeds, and leaves the user's program as it was."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, TensorDataset, WeightedRandomSampler

from pellucid.core.errors import DataError, ModelError, OptionError, OptionTypeError, PellucidError
from pellucid.diagnosis.experiments import samples
from pellucid.diagnosis.experiments.experiment import Experiment
from pellucid.diagnosis.experiments.scoring import Scoring, constant_score, scoring_of

_drawn = torch.Generator().manual_seed(2)
X = torch.randn(200, 5, generator=_drawn)
Y = (X[:, 0] > 0).long() + (X[:, 1] > 0.5).long()
VALUES = X[:, :1] - 2 * X[:, 1:2]


def net(outputs: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, outputs))


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), 1e-2)


def experiment(**settings: Any) -> Experiment:
    return Experiment(
        **{
            "model": net, "loss": F.cross_entropy, "optimizer": adam, "train": (X[:150], Y[:150]), "test": (X[150:], Y[150:]),
            "batch_size": 32, "epochs": 3, **settings,
        }
    )  # fmt: skip


def by_hand(seed: int, epochs: int = 3, plateau: bool = False) -> list[float]:
    """The loop that the experiment stands for, in plain PyTorch."""
    torch.manual_seed(seed)
    model = net()
    optimizer = adam(model)
    order = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    losses: list[float] = []
    for _ in range(epochs):
        for chosen in torch.randperm(150, generator=order).split(32):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(X[chosen]), Y[chosen])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses


class Own(Dataset[Any]):
    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        self.inputs, self.targets = inputs, targets

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.inputs[index], self.targets[index]


def loader(size: int = 150, **settings: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(X[:size], Y[:size]), **{"batch_size": 32, **settings})


def test_it_is_the_loop_by_hand() -> None:
    assert list(experiment().run(7).losses) == by_hand(7)
    assert list(experiment().run(7, watch=True).losses) == by_hand(7)  # watching and scoring change nothing
    assert list(experiment(test=None).run(7, score=False).losses) == by_hand(7)
    assert list(experiment(train=Own(X[:150], Y[:150])).run(7).losses) == by_hand(7)


PARTS: dict[str, Callable[[], Any]] = {
    "arrays": lambda: (X[:150].double().numpy(), Y[:150].numpy()),
    "lists": lambda: (X[:150].tolist(), Y[:150].tolist()),
    "a data set": lambda: Own(X[:150], Y[:150]),
    "a loader": lambda: loader(shuffle=True),
    "a loader with a generator": lambda: loader(shuffle=True, generator=torch.Generator().manual_seed(5)),
    "a loader with a sampler": lambda: loader(sampler=RandomSampler(range(150), generator=torch.Generator().manual_seed(5))),
    "a loader with weights": lambda: loader(sampler=WeightedRandomSampler([1.0] * 150, 150)),
    "a loader with workers": lambda: loader(shuffle=True, num_workers=1),
}


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("kind", PARTS)
def test_every_kind_of_data_gives_the_same_twice(kind: str) -> None:
    first, again, other = (experiment(train=PARTS[kind]()).run(seed) for seed in (0, 0, 1))
    assert first.error is None
    assert first.losses == again.losses != other.losses
    assert first.score == again.score
    one = experiment(train=PARTS[kind]())
    assert one.run(0).losses == one.run(0).losses  # also from the same objects, whose generators are where they were


def test_nothing_of_the_user_is_changed() -> None:
    generator = torch.Generator().manual_seed(5)
    mine = loader(shuffle=True, generator=generator)
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate(), generator.get_state()  # type: ignore[index]
    before = X.clone(), Y.clone()
    one = experiment(train=mine)
    one.check()
    one.run(3, watch=True)
    one.samples("train", 10)
    list(one.portions("train"))
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == np.random.get_state()[1].tolist()  # type: ignore[index]
    assert states[2] == random.getstate()
    assert torch.equal(states[3], generator.get_state())
    assert torch.equal(before[0], X)
    assert torch.equal(before[1], Y)


def test_scoring_does_not_move_a_loader_that_draws() -> None:
    mine = loader(shuffle=True)
    assert experiment(train=mine).run(0).losses == experiment(train=mine).run(0, score=False).losses


def test_augmentation_by_the_data_set_is_seeded() -> None:
    class Noisy(Own):
        def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
            return self.inputs[index] + 0.1 * torch.randn(5) + random.random() + np.random.rand(), self.targets[index]

    noisy = experiment(train=Noisy(X[:150], Y[:150]))
    assert noisy.run(0).losses == noisy.run(0).losses != noisy.run(0, steps=5).losses
    assert noisy.run(0).losses == noisy.run(0, score=False).losses


def test_limits() -> None:
    assert experiment().run(0, steps=4).steps == 4
    short = experiment(epochs=100_000).run(0, seconds=0.2)
    assert 0 < short.steps < 100_000
    assert not short.complete
    told: list[tuple[int, int]] = []
    whole = experiment().run(0, tell=lambda step, steps: told.append((step, steps)))
    assert whole.complete
    assert told == [(step, whole.steps) for step in range(1, whole.steps + 1)]
    assert whole.steps == experiment().steps == 15
    assert whole.moments[0].step == 0
    assert whole.moments[-1].step == 15


def test_schedulers() -> None:
    rates: list[float] = []

    def step(model: nn.Module, optimizer: Any, loss: Any, batch: Any) -> Tensor:
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.zero_grad()
        value = loss(model(batch[0]), batch[1])
        value.backward()
        optimizer.step()
        return value

    experiment(step=step, scheduler=lambda o: torch.optim.lr_scheduler.StepLR(o, 1, 0.5)).run(0)
    assert rates == [0.01] * 5 + [0.005] * 5 + [0.0025] * 5
    plateau = experiment(scheduler=lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, patience=0)).run(0)
    assert plateau.error is None


def test_several_inputs() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(5, 3), nn.Linear(5, 3)

        def forward(self, left: Tensor, right: Tensor) -> Tensor:
            return self.a(left) + self.b(right)

    positions = experiment(model=Two, train=((X[:150], X[:150]), Y[:150]), test=None).run(0)
    names = experiment(model=Two, train=({"right": X[:150], "left": X[:150]}, Y[:150]), test=None).run(0)
    loaded = experiment(model=Two, train=DataLoader(TensorDataset(X[:150], Y[:150]), 32, collate_fn=_doubled), test=None).run(0)
    assert positions.error is None
    assert positions.losses == names.losses
    assert loaded.error is None


def _doubled(samples: list[tuple[Tensor, Tensor]]) -> Any:
    inputs = torch.stack([one for one, _ in samples])
    return [[inputs, inputs], torch.stack([target for _, target in samples])]


def test_a_step_of_the_users_own_takes_batches_of_any_form() -> None:
    def three(samples: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, int]:
        return torch.stack([one for one, _ in samples]), torch.stack([target for _, target in samples]), 1

    def step(model: nn.Module, optimizer: Any, loss: Any, batch: Any) -> float:
        inputs, targets, _ = batch
        optimizer.zero_grad()
        value = loss(model(inputs), targets)
        value.backward()
        optimizer.step()
        return value.item()

    mine = experiment(train=DataLoader(TensorDataset(X[:150], Y[:150]), 32, collate_fn=three), test=None, step=step)
    mine.check()
    trial = mine.run(0)
    assert trial.error is None
    assert trial.score == -sum(trial.losses[-3:]) / 3  # what its steps gave is all that can be scored


# -- scores ------------------------------------------------------------------------------------------------------------------------------

BINARY = (X[:, 0] > 0).float()
Flat = lambda outputs=1: nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, outputs), nn.Flatten(0))  # noqa: E731


class Sequence(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(1, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.linear(inputs.unsqueeze(-1))


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = net()

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        return inputs.unsqueeze(-1), self.net(inputs)


def learnt() -> nn.Module:
    made = net()
    F.cross_entropy(made(X), Y).backward()
    made.zero_grad()
    return made


def hinge(outputs: Tensor, signs: Tensor) -> Tensor:
    return (1 - outputs * signs).clamp_min(0).mean()


SCORED: dict[str, tuple[dict[str, Any], str]] = {
    "classes": ({}, "accuracy"),
    "one-hot rows": ({"loss": F.mse_loss, "train": (X, F.one_hot(Y).float())}, "accuracy"),
    "probabilities by BCE": (
        {"model": lambda: nn.Sequential(Flat(), nn.Sigmoid()), "loss": F.binary_cross_entropy, "train": (X, BINARY)},
        "accuracy",
    ),
    "scores by BCE": ({"model": Flat, "loss": F.binary_cross_entropy_with_logits, "train": (X, BINARY)}, "accuracy"),
    "0 and 1 by a squared loss": ({"model": Flat, "loss": F.mse_loss, "train": (X, BINARY)}, "accuracy"),
    "signs by a hinge loss": (
        {"model": Flat, "loss": lambda o, t: (1 - o * t).clamp_min(0).mean(), "train": (X, 2 * BINARY - 1)},
        "accuracy",
    ),
    "signs by a squared loss": ({"model": Flat, "loss": F.mse_loss, "train": (X, 2 * BINARY - 1)}, "accuracy"),
    "classes as floats": ({"loss": lambda o, t: F.cross_entropy(o, t.long()), "train": (X, Y.float())}, "accuracy"),
    "several labels": (
        {"model": lambda: net(2), "loss": F.binary_cross_entropy_with_logits, "train": (X, (X[:, :2] > 0).float())},
        "accuracy",
    ),
    "values": ({"model": lambda: net(1), "loss": F.mse_loss, "train": (X, VALUES)}, "r2"),
    "counts": ({"model": Flat, "loss": lambda o, t: F.mse_loss(o, t.float()), "train": (X, (4 * X[:, 0]).round().long())}, "r2"),
    "values of sequences": ({"model": lambda: nn.Linear(5, 5), "loss": F.mse_loss, "train": (X, X.flip(1))}, "r2"),
    "labels of sequences": (
        {"model": Sequence, "loss": lambda o, t: F.cross_entropy(o.flatten(0, 1), t.flatten()), "train": (X, (X > 0).long())},
        "accuracy",
    ),
    "an answer with more beside it": ({"model": Pair, "loss": lambda o, t: F.cross_entropy(o[1], t)}, "accuracy"),
    "targets that the loss never looks at": (
        {"model": Flat, "loss": lambda o, t: (o - 1).pow(2).mean(), "train": (X, VALUES[:, 0])},
        "loss",
    ),
    "a factory that trains": ({"model": learnt}, "accuracy"),
    "embeddings": ({"model": lambda: net(7), "loss": lambda o, t: (o.sum(1, True) - t).pow(2).mean(), "train": (X, VALUES)}, "loss"),
}


@pytest.mark.parametrize("name", SCORED)
def test_answers_are_scored_by_what_they_are(name: str) -> None:
    settings, metric = SCORED[name]
    mine = experiment(**{"train": (X, Y), "test": None, "epochs": 25, "batch_size": 16, **settings})
    mine.check()
    trial = mine.run(0)
    assert scoring_of(mine).metric == metric
    assert trial.error is None
    assert trial.score is not None
    constant = constant_score(mine)
    if metric == "loss":
        assert constant is None
        assert trial.score == -trial.moments[-1].train_loss > -1  # type: ignore[operator]
    else:
        assert constant is not None
        assert trial.score > constant + 0.5 * (1 - constant)


def test_an_accuracy_by_hand() -> None:
    outputs = torch.tensor([[2.0, 1.0], [0.0, 1.0], [math.nan, 1.0], [0.0, 3.0]])
    scoring = Scoring("accuracy", 2)
    assert scoring.score(outputs, torch.tensor([0, 0, 1, 1])) == 0.5  # no answer is a wrong one
    assert scoring.score(outputs, torch.tensor([0, -100, 1, 1])) == pytest.approx(2 / 3)  # -100 does not count
    values = torch.tensor([1.0, 2.0, 3.0])
    assert Scoring("r2").score(values + 1, values) == pytest.approx(1 - 3 / 2)


def test_a_loss_that_is_not_finite_ends_a_training() -> None:
    trial = experiment(loss=lambda o, t: F.cross_entropy(o, t) * math.inf).run(0)
    assert trial.steps == 1
    assert not trial.finite
    assert trial.score == -math.inf


def test_an_error_of_the_users_is_the_trials() -> None:
    def fails(model: nn.Module, optimizer: Any, loss: Any, batch: Any) -> Tensor:
        raise ZeroDivisionError("mine")

    trial = experiment(step=fails).run(0)
    assert isinstance(trial.error, ZeroDivisionError)
    assert trial.score == -math.inf
    assert isinstance(experiment(model=lambda: nn.Linear(4, 3)).run(0).error, RuntimeError)


# -- bad input ---------------------------------------------------------------------------------------------------------------------------

MODEL = net()


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        yield X[0], Y[0]


def steps(result: Callable[[Tensor], Any], update: bool = True) -> Any:
    def step(model: nn.Module, optimizer: Any, loss: Any, batch: Any) -> Any:
        optimizer.zero_grad()
        value = loss(model(batch[0]), batch[1])
        value.backward()
        if update:
            optimizer.step()
        return result(value)

    return step


BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "a model, no factory": ({"model": MODEL}, OptionTypeError, "model is of type Sequential"),
    "an optimizer, no factory": ({"optimizer": adam(MODEL)}, OptionTypeError, "optimizer is of type Adam"),
    "a loss by name": ({"loss": "mse"}, OptionTypeError, r"loss is of type str[\s\S]*write loss=torch"),
    "a step by name": ({"step": "plain"}, OptionTypeError, r"step is of type str[\s\S]*write step="),
    "a scheduler by name": ({"scheduler": "cosine"}, OptionTypeError, r"scheduler is of type str[\s\S]*write scheduler=lambda optimizer"),
    "half a batch": ({"batch_size": 0.5}, OptionTypeError, "batch_size is 0.5"),
    "no epochs": ({"epochs": 0}, OptionError, "epochs is 0"),
    "no data": ({"train": None}, OptionTypeError, "train is NoneType"),
    "inputs only": ({"train": X}, OptionTypeError, "train is float32"),
    "no samples": ({"train": (X[:0], Y[:0])}, DataError, "train holds no sample"),
    "an empty data set": ({"test": TensorDataset(X[:0], Y[:0])}, DataError, "test holds no sample"),
    "an empty loader": ({"train": loader(10, drop_last=True)}, DataError, "train holds no sample"),
    "unequal lengths": ({"train": (X[:10], Y[:9])}, DataError, "10 inputs and 9 targets"),
    "texts": ({"train": (["a", "b"], [0, 1])}, DataError, "which is no tensor"),
    "a stream": ({"train": Stream()}, OptionTypeError, "without a length"),
    "a loader of a stream": ({"train": DataLoader(Stream())}, OptionTypeError, "without a length"),
    "the same model twice": ({"model": lambda: MODEL}, ModelError, "the same model, or the same weights, twice"),
    "a model that is none": ({"model": lambda: 3}, ModelError, "factory gave a int"),
    "a model that raises": ({"model": lambda: nn.Linear(4, 3)}, ModelError, "through the model and the loss failed: RuntimeError"),
    "a factory that raises": ({"model": lambda: 1 / 0}, ModelError, "making the model and its optimizer failed: ZeroDivisionError"),
    "an optimizer of another model": ({"optimizer": lambda _: adam(MODEL)}, ModelError, "holds none of the parameters"),
    "an optimizer that is none": ({"optimizer": lambda m: m.parameters()}, ModelError, "optimizer's factory gave a generator"),
    "the same optimizer twice": (
        {"optimizer": lambda m, known={}: known.setdefault(0, adam(m))},
        ModelError,
        "none of the parameters",
    ),
    "a loss per sample": ({"loss": lambda o, t: F.cross_entropy(o, t, reduction="none")}, ModelError, r"the loss gave float32 \(32,\)"),
    "a loss without gradient": ({"loss": lambda o, t: F.cross_entropy(o.detach(), t)}, ModelError, "does not depend on any weight"),
    "a test part of another shape": ({"test": (X[:, :4], Y)}, ModelError, "the part 'test' through the model and the loss failed"),
    "batches of three": ({"train": DataLoader(TensorDataset(X, Y, Y), 8)}, DataError, "a batch of train is"),
    "a step that never steps": ({"step": steps(lambda v: v, update=False)}, ModelError, "your step made no update in 5 batches"),
    "a step that gives nothing": ({"step": steps(lambda v: None)}, ModelError, "the step gave None"),
    "a step that raises": ({"step": steps(lambda v: v.nothing)}, ModelError, "your step failed on its batch 1: AttributeError"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_message(name: str) -> None:
    settings, kind, said = BAD[name]
    with pytest.raises(kind, match=said) as raised:
        experiment(**settings).check()
    assert isinstance(raised.value, PellucidError)
    assert len(raised.value.sentences()) == 3


def test_a_step_that_steps_now_and_then_is_one() -> None:
    made: list[int] = []

    def step(model: nn.Module, optimizer: Any, loss: Any, batch: Any) -> Any:
        value = loss(model(batch[0]), batch[1])
        value.backward()
        made.append(1)
        if len(made) % 4 == 0:
            optimizer.step()
            optimizer.zero_grad()
        return value

    experiment(step=step).check()


def test_a_run_or_an_experiment() -> None:
    mine = experiment()
    assert Experiment.of(mine) is mine
    with pytest.raises(OptionTypeError, match="of type int"):
        Experiment.of(3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu() -> None:
    mine = experiment(model=lambda: net().cuda())
    state = torch.cuda.get_rng_state()
    first, again = mine.run(0), mine.run(0)
    assert first.losses == again.losses
    assert first.score == again.score
    assert torch.equal(state, torch.cuda.get_rng_state())
    assert all(math.isfinite(loss) for loss in first.losses)


# -- many rows -----------------------------------------------------------------------------------------------------------------------------


def test_an_order_that_is_not_held_is_one_of_all_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "HELD", 100)
    for size in (101, 4097):
        order = torch.cat(list(samples.in_random_order(size, 32, torch.Generator().manual_seed(3))))
        assert torch.equal(order.sort().values, torch.arange(size))
        again = torch.cat(list(samples.in_random_order(size, 32, torch.Generator().manual_seed(4))))
        assert not torch.equal(order, again)
        together = torch.stack([order.double(), torch.arange(size).double()])
        assert abs(float(torch.corrcoef(together)[0, 1])) < 4 / size**0.5


def test_the_first_batch_of_fifty_million_rows_comes_at_once() -> None:
    began = time.perf_counter()
    first = next(samples.in_random_order(50_000_000, 32, torch.Generator().manual_seed(0)))
    assert time.perf_counter() - began < 1.0
    assert len(first.unique()) == 32
    assert samples.evenly(50_000_000, 1000)[-1] == 49_999_999


def test_an_embedding_of_classes_has_no_accuracy() -> None:
    """A loss of pairs asks about distances, whichever columns they lie in; one of class scores asks about columns."""
    inputs, labels = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 3

    def of_pairs(outputs: Tensor, targets: Tensor) -> Tensor:
        apart = torch.cdist(outputs, outputs)
        same = targets[:, None] == targets[None]
        return (same * apart + ~same * (1 - apart).clamp_min(0)).mean()

    def made(loss: Any) -> Experiment:
        return Experiment(
            model=lambda: nn.Linear(6, 5), loss=loss, optimizer=lambda m: torch.optim.Adam(m.parameters()), train=(inputs, labels)
        )

    assert scoring_of(made(of_pairs)).metric == "loss"
    assert scoring_of(made(F.cross_entropy)).metric == "accuracy"
    assert scoring_of(made(nn.CrossEntropyLoss(label_smoothing=0.1))).metric == "accuracy"


def test_several_heads_with_a_column_of_the_targets_each_have_no_accuracy() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(6, 2), nn.Linear(6, 2)

        def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
            return self.one(inputs), self.two(inputs)

    inputs = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    pairs = torch.stack([inputs[:, 0] > 0, inputs[:, 1] > 0], 1).long()
    several = Experiment(
        model=Heads, loss=lambda o, t: F.cross_entropy(o[0], t[:, 0]) + F.cross_entropy(o[1], t[:, 1]),
        optimizer=lambda m: torch.optim.Adam(m.parameters()), train=(inputs, pairs),
    )  # fmt: skip
    assert scoring_of(several).metric == "loss"
