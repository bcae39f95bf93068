"""A program's facts: what is compared with what, ranges, targets, layers, and what could not be seen."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diagnosis.symptoms.static_healthy import HEALTHY
from diagnosis.symptoms.static_networks import Case, classes, linear, mlp, module, net, sgd, table
from pellucid.diagnosis.experiments.experiment import Experiment
from pellucid.diagnosis.static.program import Program, described_targets

POINTS = 2001


def program_of(name: str) -> Program:
    return Program.of(HEALTHY[name].experiment())


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("MLP", ["cross_entropy"]),
        ("log-softmax and nll", ["cross_entropy"]),
        ("softmax and own likelihood", ["cross_entropy"]),
        ("softmax and guarded likelihood", ["cross_entropy"]),
        ("softmax of scores by hand", ["cross_entropy"]),
        ("smoothing by hand", ["cross_entropy"]),
        ("own binary cross-entropy, guarded", ["binary_cross_entropy"]),
        ("logsigmoid", ["binary_cross_entropy_with_logits"]),
        ("focal loss", ["binary_cross_entropy"]),
        ("regression, own mean square", ["mse_loss"]),
        ("regression, root of the mean square", ["mse_loss"]),
        ("two tasks", ["cross_entropy", "mse_loss"]),
        ("mixture of softmaxes", ["nll_loss"]),
        ("variational autoencoder", ["binary_cross_entropy"]),
        ("counts", ["poisson_nll_loss"]),
    ],
)
def test_the_terms_of_a_loss_are_recognised_however_they_are_written(name: str, kinds: list[str]) -> None:
    assert [comparison.kind for comparison in program_of(name).comparisons] == kinds


@pytest.mark.parametrize(
    ("every", "kind", "distinct"),
    [
        (torch.tensor([0, 1, 2, 2]), "classes", 3),
        (torch.tensor([0, 1, 1]), "binary", 2),
        (torch.tensor([0.0, 1.0, 1.0]), "binary", 2),
        (torch.eye(3), "one_hot", 2),
        (torch.tensor([[1.0, 1.0], [0.0, 1.0]]), "multi_hot", 2),
        (torch.tensor([[0.25, 0.75], [0.5, 0.5]]), "probabilities", 3),
        (torch.tensor([0.1, 0.7]), "bounded", 2),
        (torch.tensor([-0.5, 0.7]), "bounded", 2),
        (torch.tensor([3.5, -2.0]), "values", 2),
        (torch.tensor([math.nan, math.nan]), "other", 0),
        (torch.zeros(0), "other", 0),
    ],
)
def test_the_kind_of_targets(every: Tensor, kind: str, distinct: int) -> None:
    targets = described_targets(every)
    assert (targets.kind, targets.distinct) == (kind, distinct)


RANGES: dict[str, tuple[Callable[[Tensor], Tensor], tuple[float, float]]] = {
    "sigmoid": (torch.sigmoid, (0, 1)),
    "two sigmoids less one": (lambda x: 2 * torch.sigmoid(x) - 1, (-1, 1)),
    "one less": (lambda x: 1 - torch.sigmoid(x), (0, 1)),
    "guarded": (lambda x: torch.sigmoid(x).clamp(1e-3, 0.9), (1e-3, 0.9)),
    "logarithm": (lambda x: torch.log(torch.sigmoid(x) + 1), (0, math.log(2))),
    "hard bounds": (lambda x: F.hardtanh(x, -2, 3), (-2, 3)),
    "softplus": (F.softplus, (0, math.inf)),
    "SiLU": (F.silu, (-0.2785, math.inf)),
    "GELU": (F.gelu, (-0.17, math.inf)),
    "Mish": (F.mish, (-0.3089, math.inf)),
    "hard swish": (F.hardswish, (-0.375, math.inf)),
    "square": (lambda x: x * x, (0, math.inf)),
    "power": (lambda x: torch.tanh(x) ** 2 * 4, (0, 4)),
    "quotient": (lambda x: 1 / (1 + torch.exp(x)), (0, 1)),
    "absolute": (lambda x: -torch.tanh(x).abs(), (-1, 0)),
    "in place": (lambda x: x.clone().sigmoid_(), (0, 1)),
    "softmax, spread": (lambda x: 3 * torch.softmax(x, 0), (0, 3)),
    "softmax by hand": (lambda x: x.exp() / x.exp().sum(), (0, 1)),
    "unit length": (lambda x: x / x.norm(), (-1, 1)),
    "largest of two": (lambda x: torch.max(torch.tanh(x), torch.tensor(0.5)), (0.5, 1)),
    "chosen": (lambda x: torch.where(x > 0, torch.tanh(x), torch.zeros(())), (-1, 1)),
}


@pytest.mark.parametrize("name", RANGES)
def test_a_range_holds_all_values_and_is_no_wider_than_it_must_be(name: str) -> None:
    """Against the values at many points, for functions whose range is known."""
    function, (low, high) = RANGES[name]
    case = Case(
        model=module(lambda m, x: function(m.body(x)[:, 0]), body=linear(10, 1)),
        loss=lambda o, t: F.mse_loss(o, t.float()),
        data=table(classes),
    )
    program = Program.of(case.experiment())
    reach = program.flow.ranges[program.comparisons[0].prediction]
    assert (reach.low, reach.high) == pytest.approx((low, high), abs=1e-3)
    assert reach.reached
    values = function(torch.linspace(-8, 8, POINTS, dtype=torch.float64))
    assert reach.low - 1e-4 <= float(values.min())
    assert float(values.max()) <= reach.high + 1e-4


def same_values() -> tuple[Tensor, Tensor]:
    values = torch.rand(96, 10)
    return values, values


def test_data_that_are_seen_bound_nothing() -> None:
    """An output that is added to the input may go anywhere; one that only repeats the input says nothing about its bounds."""
    anywhere = Case(model=module(lambda m, x: x + m.body(x), body=linear(10, 10)), loss=F.mse_loss, data=same_values)
    upward = Case(model=module(lambda m, x: x + F.relu(m.body(x)), body=linear(10, 10)), loss=F.mse_loss, data=same_values)
    for case, free in ((anywhere, True), (upward, False)):
        program = Program.of(case.experiment())
        assert program.flow.ranges[program.comparisons[0].prediction].reached is free


def test_layers_in_their_order_and_straight_pairs() -> None:
    program = Program.of(
        Case(model=net(linear(10, 24), nn.ReLU, linear(24, 16), linear(16, 4)), loss=F.cross_entropy, data=table(classes)).experiment()
    )
    assert [(layer.name, layer.kind) for layer in program.layers] == [("0", "linear"), ("2", "linear"), ("3", "linear")]
    assert [(first.name, second.name) for first, second in program.flow.straight] == [("2", "3")]


def test_growth_tells_sums_from_means() -> None:
    assert program_of("MLP").growth == pytest.approx(1.0, abs=1e-4)
    assert program_of("summed loss with Adam").growth == pytest.approx(2.0, abs=1e-3)


def test_the_batch_axis_is_followed_through_transpositions() -> None:
    program = Program.of(
        Case(model=module(lambda m, x: m.body(x).T.exp().T, body=mlp(4)), loss=F.cross_entropy, data=table(classes)).experiment()
    )
    turned = next(one for one in program.trace.operations if one.name == "exp")
    assert program.batch_axes[turned.results()[0].value] == (1,)


def test_loaded_weights_are_told_from_drawn_ones() -> None:
    program = program_of("frozen backbone")
    assert "body.0.weight" in program.same
    assert "head.weight" not in program.same
    assert "body.0.weight" not in program.trainable


class Refusing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Any:
        raise ValueError("no answer today")


def test_what_cannot_be_traced_is_said_and_nothing_is_raised() -> None:
    program = Program.of(Case(model=Refusing, loss=F.cross_entropy, data=table(classes), optimizer=sgd(0.1)).experiment())
    assert not program.traced
    assert program.comparisons == ()
    assert "no answer today" in str(program.notes[0])


def test_a_loss_of_pytorch_has_no_line_of_the_program_that_asks() -> None:
    program = program_of("MLP")
    assert program.comparisons[0].operation.source is None
    assert program_of("focal loss").comparisons[0].operation.source is not None


def test_a_loss_that_fails_is_said() -> None:
    case = Case(model=mlp(4), loss=lambda o, t: F.cross_entropy(o, t[:3]), data=table(classes))
    assert "ValueError" in str(Program.of(case.experiment()).notes[0])


def test_nothing_of_the_users_changes() -> None:
    """The random state, and the model that a factory keeps."""
    torch.manual_seed(11)
    before = torch.get_rng_state()
    program_of("CNN")
    assert torch.equal(before, torch.get_rng_state())


def test_a_step_that_does_something_else_leaves_outputs_and_loss_alone() -> None:
    assert program_of("a step that squashes").comparisons == ()
    assert "your step" in str(program_of("a step that squashes").notes[-1])
    assert [one.kind for one in program_of("a step with mixed samples").comparisons] == ["cross_entropy"]


class Rows(torch.utils.data.Dataset[Any]):
    def __len__(self) -> int:
        return 96

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        return torch.full((10,), float(place)), place % 4


@pytest.mark.parametrize("loaded", [False, True])
def test_data_sets_and_loaders(loaded: bool) -> None:
    data: Any = torch.utils.data.DataLoader(Rows(), 32, shuffle=True) if loaded else Rows()
    experiment = Experiment(model=mlp(4), loss=F.cross_entropy, optimizer=sgd(0.1), train=data)
    program = Program.of(experiment)
    assert (program.targets.kind, program.targets.classes, program.targets.samples) == ("classes", 4, 96)
    assert [one.kind for one in program.comparisons] == ["cross_entropy"]
