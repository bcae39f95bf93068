"""Controlled experiments: each fault is established by the change that mends it, and a healthy training is left alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.core.language import text
from pellucid.core.records import Change, Finding
from pellucid.diagnosis.controlled.batch_checks import checked
from pellucid.diagnosis.controlled.one_pass import compared_by, narrowest
from pellucid.diagnosis.controlled.reference_network import inputs_exchanged, reference_experiment
from pellucid.diagnosis.controlled.trials import Arm, Effect, Trials
from pellucid.diagnosis.experiments.experiment import Experiment
from pellucid.diagnosis.experiments.samples import samples_in
from pellucid.diagnosis.experiments.scoring import Scoring
from pellucid.diagnosis.registry import symptoms

K = 4


def rings(samples: int, seed: int) -> tuple[Tensor, Tensor]:
    """Four classes by angle of two of eight columns: a curved boundary that a network learns within some hundred steps."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(samples, 8, generator=generator)
    angle = torch.atan2(inputs[:, 1], inputs[:, 0])
    return inputs, ((angle + math.pi) / (2 * math.pi) * K).long().clamp(0, K - 1)


TRAIN, TEST = rings(640, 0), rings(400, 1)


def mlp(width: int = 32, *more: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(8, width), nn.ReLU(), *more, nn.Linear(width, K))


def adam(rate: float = 3e-3, **others: Any) -> Any:
    return lambda model: torch.optim.Adam(model.parameters(), rate, **others)


BASE: dict[str, Any] = {
    "model": mlp,
    "loss": F.cross_entropy,
    "optimizer": adam(),
    "train": TRAIN,
    "test": TEST,
    "batch_size": 32,
    "epochs": 12,
}
ORDER = torch.randperm(640, generator=torch.Generator().manual_seed(5))
FAULTS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "Adam at 1e-6": ({"optimizer": adam(1e-6)}, {"lr_too_low"}),
    "SGD at 1e-5": ({"optimizer": lambda model: torch.optim.SGD(model.parameters(), 1e-5)}, {"lr_too_low"}),
    "Adam at 3": ({"optimizer": adam(3.0)}, {"lr_too_high"}),
    "one batch of everything": ({"batch_size": 640}, {"bad_batch_size"}),
    "one epoch": ({"epochs": 1}, {"too_few_epochs"}),
    "one unit": ({"model": lambda: mlp(1)}, {"capacity"}),
    "dropout 0.97": ({"model": lambda: mlp(32, nn.Dropout(0.97))}, {"over_regularised"}),
    "weight decay 30": ({"optimizer": lambda model: torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=300.0)}, {"over_regularised"}),
    "inputs of size 1e-4": ({"train": (TRAIN[0] * 1e-4, TRAIN[1]), "test": (TEST[0] * 1e-4, TEST[1])}, {"unnormalised_input"}),
    "targets exchanged": ({"train": (TRAIN[0], TRAIN[1][ORDER])}, {"uninformative_input"}),
    "squares of class numbers": (
        {"loss": lambda outputs, targets: F.mse_loss(outputs, targets.float()[:, None].expand_as(outputs)), "epochs": 40},
        {"wrong_loss"},
    ),
    "inputs forgotten": ({"model": lambda: Forgetful()}, {"not_learnt_by_heart"}),
}


class Forgetful(nn.Module):
    """The same answer for every sample."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = nn.Linear(8, K)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.answer(inputs * 0)


def found(trials: Trials | None) -> list[Finding]:
    assert trials is not None
    return [finding for function in symptoms(reads=Trials).values() for finding in function(trials) or ()]


QUICK = ("one batch of everything", "one epoch", "inputs of size 1e-4")


@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in FAULTS])
def test_the_change_that_mends_it_names_the_cause(name: str) -> None:
    parts, expected = FAULTS[name]
    faults = [finding for finding in found(Trials.of(Experiment(**{**BASE, **parts}), 60.0)) if finding.level == "fault"]
    assert {finding.symptom for finding in faults} == expected, [str(finding.summary) for finding in faults]
    for finding in faults:
        assert finding.established_by == "controlled"
        assert finding.cause is None or finding.change is not None or finding.cause in ("capacity", "uninformative_input", "wrong_loss")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_nothing_of_a_healthy_training_is_a_fault(seed: int) -> None:
    healthy = {**BASE, "train": rings(640, 10 + seed), "epochs": 20}
    assert not [finding for finding in found(Trials.of(Experiment(**healthy), 60.0)) if finding.level == "fault"]


@pytest.mark.slow
def test_the_remedy_of_an_earlier_finding_is_tried_and_explains_what_it_mends() -> None:
    change = Change(kind="learning_rate", values={"rate": 3e-3})
    earlier = Finding(symptom="lr_too_low", summary=text("updates that are too small"), change=change)
    trials = Trials.of(Experiment(**{**BASE, "optimizer": adam(1e-6)}), 60.0, [earlier])
    assert not [finding for finding in found(trials) if finding.symptom == "lr_too_low"], "it is established already"
    assert trials is not None
    effect = trials.effect_of(change)
    assert effect is not None
    assert effect.proved
    assert effect.interval.low > 0


def test_the_users_random_state_is_put_back() -> None:
    before = torch.random.get_rng_state()
    Trials.of(Experiment(**{**BASE, "epochs": 2}), 5.0)
    assert torch.equal(before, torch.random.get_rng_state())


def test_too_little_time_gives_no_trials() -> None:
    assert Trials.of(Experiment(**BASE), 0.01) is None


def compared(before: tuple[float, ...], after: tuple[float, ...], samples: int = 1000, constant: float = 0.5) -> Effect:
    """The effect of a change from accuracies without it to accuracies with it."""
    sides = [
        Arm(change=None, scores=dict(enumerate(scores)), train_scores={0: 1.0}, losses={0: 0.1}) for scores in (before, after)
    ]  # fmt: skip
    return Trials(
        metric="accuracy", steps=100, whole=True, constant=constant, reference=sides[0], arms={}, noise=0.002, samples=samples
    ).effect(sides[1])  # fmt: skip


def test_a_gain_that_nobody_would_act_on_is_told_from_one_that_is_left_out_at_a_cost() -> None:
    small, some, large = (compared((0.94, 0.94), (after, after)) for after in (0.965, 0.99, 0.999))
    assert small.proved
    assert not small.material
    assert some.material
    assert not some.heavy
    assert compared((0.7, 0.72), (0.9, 0.91)).heavy
    assert not large.heavy, "an eighth of what can be learnt"


def test_a_gain_on_few_samples_is_not_proved_by_seeds() -> None:
    """All seeds are scored on the same test part."""
    assert compared((0.90, 0.90), (0.95, 0.95), samples=2000).proved
    assert not compared((0.90, 0.90), (0.95, 0.95), samples=60).proved


def test_a_smaller_rate_that_mends_dead_units_names_the_rate() -> None:
    def arm(rate: float | None, score: float) -> Arm:
        change = None if rate is None else Change(kind="learning_rate", values={"rate": rate})
        return Arm(change=change, scores={0: score, 1: score}, train_scores={0: score}, losses={0: 0.1})

    def told(cause: str, at: float) -> list[str]:
        trials = Trials(
            metric="accuracy", steps=100, whole=True, constant=0.1, reference=arm(None, 0.1), arms={f"remedy of {cause}": arm(at, 0.9)},
            noise=0.01, samples=1000, optimizer="Adam", rate=0.1,
        )  # fmt: skip
        return [finding.symptom for finding in found(trials)]

    assert told("dead_relu", 1e-3) == ["lr_too_high"]
    assert told("plateau", 1.0) == ["lr_too_low"]
    assert told("lr_too_high", 1e-3) == [], "it is told already"


def test_inputs_are_exchanged_among_no_more_samples_than_are_used() -> None:
    inputs = torch.zeros(1, 4).expand(50_000_000, 4)
    targets = torch.zeros(1, dtype=torch.long).expand(50_000_000)
    many = Experiment(**{**BASE, "train": (inputs, targets), "test": (inputs, targets), "batch_size": 64})
    exchanged = inputs_exchanged(many, 100)
    assert exchanged is not None
    assert samples_in(exchanged.train) == 10_000
    plain = reference_experiment(many, Scoring("accuracy", 2))
    assert plain is not None
    assert samples_in(plain.train) == samples_in(plain.test) == 20_000


@pytest.mark.parametrize(
    ("layers", "entries"),
    [
        ((nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1), nn.Tanh(), nn.Linear(1, K)), 1),
        ((nn.Unflatten(1, (1, 8)), nn.Conv1d(1, 3, 3), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(3, K)), 3),
        ((nn.AdaptiveAvgPool1d(2), nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, K)), 2),
        ((nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, K)), 16),
    ],
    ids=["a unit", "a pooled convolution", "a pooled input", "none"],
)
def test_the_narrowest_place_is_what_alone_is_passed_on(layers: tuple[nn.Module, ...], entries: int) -> None:
    model = nn.Sequential(*layers)
    assert narrowest(Experiment(**{**BASE, "model": lambda: model}), model)[1] == entries


def test_a_training_that_breaks_down_at_once_is_tried_with_what_mends_it() -> None:
    """The first loss is summed over 32 samples, and the rate fits their mean: NaN or infinity before there are enough steps for a trial."""
    settings = {"loss": lambda o, t: F.mse_loss(o, F.one_hot(t, K).float(), reduction="sum"), "epochs": 2}
    experiment = Experiment(**{**BASE, **settings, "optimizer": lambda model: torch.optim.SGD(model.parameters(), 0.5)})
    earlier = Finding(symptom="loss_reduction_sum", cause="loss_reduction_sum", summary=text("a sum"), change=Change(kind="loss_mean"))
    assert not experiment.run(0).finite
    trials = Trials.of(experiment, 20.0, [earlier])
    assert trials is not None
    effect = trials.effect_of(earlier.change)
    assert effect is not None
    assert effect.heavy


def test_what_the_loss_compares_is_read_in_one_pass() -> None:
    assert compared_by(Experiment(**BASE), mlp()) == {"cross_entropy"}
    squares = {"loss": lambda outputs, targets: F.mse_loss(outputs, F.one_hot(targets, K).float())}
    assert compared_by(Experiment(**{**BASE, **squares}), mlp()) == {"mse_loss"}


# -- one batch ---------------------------------------------------------------------------------------------------------------------------


class Square(torch.autograd.Function):
    """x^2 with the derivative of x^3."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return 3 * ctx.saved_tensors[0] ** 2 * gradients[0]


class WrongSlope(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(8, 16), nn.Linear(16, K)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(Square.apply(self.body(inputs)))  # type: ignore[no-untyped-call]


class Mixed(nn.Module):
    """Attention over the samples of the batch: batch_first is missing."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(8, 2), nn.Linear(8, K)

    def forward(self, inputs: Tensor) -> Tensor:
        sequence = inputs[:, None]
        return self.head(self.attention(sequence, sequence, sequence)[0][:, 0])


ALONE = {
    "mlp": mlp,
    "batch normalisation": lambda: mlp(32, nn.BatchNorm1d(32)),
    "layer normalisation": lambda: mlp(32, nn.LayerNorm(32)),
    "dropout": lambda: mlp(32, nn.Dropout(0.5)),
    "tanh": lambda: nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, K)),
}


@pytest.mark.parametrize("name", ALONE)
def test_a_right_network_passes_the_checks_of_one_batch(name: str) -> None:
    batch = checked(Experiment(**{**BASE, "model": ALONE[name]}), 20.0)
    assert not batch.notes
    assert batch.wrong_gradient == ()
    assert batch.gradient_error is not None
    assert batch.gradient_error < 1e-3
    assert batch.dependence is not None
    assert batch.dependence < 1e-4
    assert batch.by_heart is not None
    assert batch.by_heart > 0.5


def test_a_wrong_derivative_is_named_where_it_is() -> None:
    batch = checked(Experiment(**{**BASE, "model": WrongSlope}), 20.0)
    assert set(batch.wrong_gradient) == {"body.weight", "body.bias"}


class Reversed(torch.autograd.Function):
    """Gradient reversal (Ganin and Lempitsky, 2015): nothing changes but the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return -0.3 * gradients[0]


class Adversarial(nn.Module):
    """Two heads, one of which the body shall not serve."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head, self.domain = nn.Linear(8, 16), nn.Linear(16, K), nn.Linear(16, K)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = torch.tanh(self.body(inputs))
        return self.head(hidden) + self.domain(Reversed.apply(hidden))  # type: ignore[no-untyped-call]


def test_a_gradient_that_is_turned_round_on_purpose_is_not_wrong() -> None:
    batch = checked(Experiment(**{**BASE, "model": Adversarial}), 20.0)
    assert batch.gradient_error is not None
    assert batch.gradient_error > 0.1
    assert batch.wrong_gradient == ()


def test_a_rate_that_learns_one_batch_is_found_where_the_users_does_not() -> None:
    slow = checked(Experiment(**{**BASE, "optimizer": lambda model: torch.optim.SGD(model.parameters(), 1e-3)}), 20.0)
    assert slow.quicker in (100.0, 1000.0)
    assert checked(Experiment(**BASE), 20.0).quicker is None


def test_the_slope_of_a_huge_loss_is_not_known() -> None:
    """1e20: the difference of two such numbers is rounding, whatever the gradient."""
    inputs = torch.arange(4000.0)[:, None]
    settings = {**BASE, "model": lambda: nn.Sequential(nn.Linear(1, 8), nn.ReLU(), nn.Linear(8, 1)), "loss": F.mse_loss, "test": None}
    batch = checked(Experiment(**{**settings, "train": (inputs, inputs**3)}), 20.0)
    assert batch.wrong_gradient == ()


def test_sigmoids_that_start_flat_can_be_learnt_by_heart() -> None:
    """Exclusive or: at the user's small rate, and at Adam's default, 200 updates move nothing; the network is right all the same."""
    inputs = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]]).repeat(8, 1)
    targets = (inputs.sum(1, keepdim=True) == 1).float()
    batch = checked(
        Experiment(
            model=lambda: nn.Sequential(nn.Linear(2, 8), nn.Sigmoid(), nn.Linear(8, 1), nn.Sigmoid()), loss=F.binary_cross_entropy,
            optimizer=lambda model: torch.optim.SGD(model.parameters(), 0.01), train=(inputs, targets), batch_size=16, epochs=2,
        ),
        20.0,
    )  # fmt: skip
    assert batch.last_loss is not None
    assert batch.last_loss > 0.6
    assert batch.adam_loss is not None
    assert batch.adam_loss < 0.1


def test_samples_that_influence_each_other_are_seen() -> None:
    batch = checked(Experiment(**{**BASE, "model": Mixed}), 20.0)
    assert batch.dependence is not None
    assert batch.dependence > 0.01


class AlwaysDropping(nn.Module):
    """A dropout by hand that does not know the mode."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(8, 32), nn.Linear(32, K)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = torch.relu(self.body(inputs))
        return self.head(hidden * (torch.rand(hidden.shape) > 0.5) * 2)


def test_a_dropout_that_is_never_switched_off_is_seen() -> None:
    batch = checked(Experiment(**{**BASE, "model": AlwaysDropping}), 20.0)
    assert batch.drawn is not None
    assert batch.drawn > 0.01
    assert batch.dependence is not None
    assert batch.dependence < 1e-4
    kept = checked(Experiment(**{**BASE, "model": ALONE["dropout"]}), 20.0)
    assert kept.drawn == 0.0


def test_a_model_that_raises_leaves_a_note() -> None:
    class Raising(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, K)

        def forward(self, inputs: Tensor) -> Tensor:
            raise RuntimeError("no")

    assert checked(Experiment(**{**BASE, "model": Raising}), 5.0).notes
