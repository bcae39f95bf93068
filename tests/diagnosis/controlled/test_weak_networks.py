"""Networks that cannot learn what others learn: too small, without memory, with a wrong derivative, or on inputs that say nothing."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from pellucid.core.language import text
from pellucid.core.records import Finding
from pellucid.diagnosis.controlled.batch_checks import checked
from pellucid.diagnosis.data.probes import Probe, indicator
from pellucid.diagnosis.joining import as_seen


def of(model: Any, train: Any, test: Any, rate: float = 3e-3, **others: Any) -> pellucid.Experiment:
    settings = {"loss": F.cross_entropy, "batch_size": 32, "epochs": 15, **others}
    return pellucid.Experiment(
        model=model, optimizer=lambda model: torch.optim.Adam(model.parameters(), rate), train=train, test=test, **settings
    )


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def signs(samples: int, seed: int) -> tuple[Tensor, Tensor]:
    """Whether two of six columns have the same sign."""
    inputs = torch.randn(samples, 6, generator=drawn(seed))
    return inputs, (inputs[:, 0] * inputs[:, 1] > 0).long()


def groups(samples: int, seed: int) -> tuple[Tensor, Tensor]:
    centres = torch.randn(4, 12, generator=drawn(7))
    targets = torch.randint(0, 4, (samples,), generator=drawn(seed))
    return centres[targets] + torch.randn(samples, 12, generator=drawn(seed + 50)), targets


def marked(samples: int, seed: int, place: int) -> tuple[Tensor, Tensor]:
    """Sequences of noise whose class is told at one step."""
    inputs, targets = torch.randn(samples, 40, 3, generator=drawn(seed)), torch.randint(0, 3, (samples,), generator=drawn(seed + 50))
    inputs[:, place] = 2 * F.one_hot(targets, 3).float() + 0.2 * inputs[:, place]
    return inputs, targets


def curve(samples: int, seed: int, noise: float) -> tuple[Tensor, Tensor]:
    inputs = torch.randn(samples, 8, generator=drawn(seed))
    values = torch.sin(2 * inputs[:, 0]) + inputs[:, 1] * inputs[:, 2] + noise * torch.randn(samples, generator=drawn(seed + 50))
    return inputs, values[:, None]


class Forgetting(nn.Module):
    """A recurrent network whose memory of a step is gone after two more."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent, self.last = nn.RNN(3, 24, batch_first=True), nn.Linear(24, 3)
        with torch.no_grad():
            self.recurrent.all_weights[0][1].mul_(0.05)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(self.recurrent(inputs)[0][:, -1])


class Last(nn.Module):
    """Looks at the last step alone, as after a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(3, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(inputs[:, -1])


class WrongReLU(torch.autograd.Function):
    """A ReLU with the derivative of the other half."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] * (ctx.saved_tensors[0] < 0)


class Sign(torch.autograd.Function):
    """Binary units with a straight-through estimator (Hubara et al., Binarized neural networks, 2016, equation 4)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.sign(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] * (ctx.saved_tensors[0].abs() <= 1)


class Activated(nn.Module):
    def __init__(self, function: Any, width: int = 32) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(12, width), nn.Linear(width, width), nn.Linear(width, 4)
        self.function = function

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(self.function(self.second(self.function(self.first(inputs)))))


def mlp(inputs: int, width: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs))


def narrow(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 1), nn.Tanh(), nn.Linear(1, outputs))


def exchanged(part: tuple[Tensor, Tensor], seed: int) -> tuple[Tensor, Tensor]:
    return part[0], part[1][torch.randperm(len(part[1]), generator=drawn(seed))]


FAULTY = {
    "one unit for signs": ("capacity", lambda: of(lambda: narrow(6, 2), signs(800, 0), signs(400, 1), 1e-2)),
    "a line for signs": ("capacity", lambda: of(lambda: nn.Linear(6, 2), signs(800, 0), signs(400, 1), 1e-2)),
    "a line for a curve": (
        "capacity",
        lambda: of(lambda: nn.Linear(8, 1), curve(600, 0, 0.2), curve(300, 1, 0.2), 1e-2, loss=F.mse_loss, epochs=30),
    ),
    "told at the first of forty steps": ("vanishing_gradient", lambda: of(Forgetting, marked(500, 0, 0), marked(250, 1, 0))),
    "the derivative of the other half": (
        "wrong_gradient",
        lambda: of(lambda: Activated(WrongReLU.apply), groups(600, 0), groups(300, 1), 1e-3),
    ),
    "values in another order": (
        "uninformative_input",
        lambda: of(lambda: mlp(8, 32, 1), exchanged(curve(600, 0, 0.2), 3), exchanged(curve(300, 1, 0.2), 4), 1e-3, loss=F.mse_loss),
    ),
    "images of noise": (
        "uninformative_input",
        lambda: of(
            lambda: nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4)),
            (torch.randn(500, 1, 12, 12, generator=drawn(0)), torch.randint(0, 4, (500,), generator=drawn(1))),
            (torch.randn(250, 1, 12, 12, generator=drawn(2)), torch.randint(0, 4, (250,), generator=drawn(3))),
        ),
    ),
}
HEALTHY = {
    "told at the last step": lambda: of(Forgetting, marked(500, 0, 39), marked(250, 1, 39)),
    "binary units": lambda: of(lambda: Activated(Sign.apply, 64), groups(600, 0), groups(300, 1), 1e-3),
    "a line for groups": lambda: of(lambda: nn.Linear(12, 4), groups(600, 0), groups(300, 1), 1e-2),
    "a curve under noise": lambda: of(lambda: mlp(8, 32, 1), curve(800, 0, 2.0), curve(400, 1, 2.0), 1e-3, loss=F.mse_loss, epochs=8),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTY)
def test_what_holds_a_network_back_is_named_as_a_fault(name: str) -> None:
    cause, experiment = FAULTY[name]
    findings = pellucid.diagnose(experiment(), budget="60s")
    assert any(cause in (one.cause, one.symptom) and one.level == "fault" for one in findings[:3]), str(findings)


@pytest.mark.slow
@pytest.mark.parametrize("name", HEALTHY)
def test_twins_that_learn_are_left_alone(name: str) -> None:
    findings = pellucid.diagnose(HEALTHY[name](), budget="60s")
    assert not [one for one in findings if one.level == "fault"], str(findings)


def test_a_gradient_that_fades_through_time_is_measured() -> None:
    short = {"train": marked(32, 0, 0), "test": None}
    faded = checked(of(Forgetting, **short), 20.0).faded
    assert faded is not None
    assert 0 < faded < 1e-20
    assert checked(of(Last, **short), 20.0).faded is None  # masked, not faded
    even = checked(of(lambda: nn.Sequential(nn.Flatten(), nn.Linear(120, 3)), **short), 20.0).faded
    assert even is not None
    assert even > 0.1


def test_a_straight_through_estimator_is_told_from_a_wrong_derivative() -> None:
    """The loss is flat where the estimator promises a slope."""
    wrong, binary = (
        checked(of(lambda function=function: Activated(function), groups(32, 0), None), 20.0) for function in (WrongReLU.apply, Sign.apply)
    )
    assert wrong.wrong_gradient
    assert not wrong.surrogate
    assert binary.wrong_gradient
    assert binary.surrogate


@pytest.mark.parametrize("samples", [100, 250])
def test_a_probe_with_more_features_than_samples_tells_nothing_of_noise(samples: int) -> None:
    """Its left-out predictions are exact, however much of its own prediction a row makes."""
    inputs, targets = torch.randn(samples, 80, generator=drawn(0)), torch.randint(0, 4, (samples,), generator=drawn(1))
    told = Probe(inputs, "table").left_out(indicator(targets, 4)).argmax(1) == targets
    assert float(told.float().mean()) < 0.25 + 4 * math.sqrt(0.25 * 0.75 / samples)


def test_a_fault_of_the_activations_is_seen_as_a_vanishing_gradient() -> None:
    finding = Finding(symptom="saturating_activation", cause="saturating_activation", level="fault", summary=text("tanh"))
    assert as_seen(finding).symptom == "vanishing_gradient"
    assert as_seen(finding).cause == "saturating_activation"
