"""What is observed is true: compared with the same quantity computed in the loop itself."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.core.language import use_language
from pellucid.diagnosis.dynamic.observations import Look, Observations
from pellucid.diagnosis.watch import dozing, loss_graph
from pellucid.diagnosis.watch.fingerprints import BatchOrder, Fingerprints
from pellucid.diagnosis.watch.history import BLOCKS, ROWS, LossCourse, Row, Rows
from pellucid.diagnosis.watch.noise_scale import NoiseScale
from pellucid.diagnosis.watch.sampling import EARLY, SHARE, Sampling
from pellucid.diagnosis.watch.statistics import ENTRIES, activation, thinned
from pellucid.diagnosis.watch.watcher import Watcher

INPUTS, TARGETS = torch.randn(64, 8, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 4


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))


def train(model: nn.Module, loss: Any, steps: int = 9, optimizer: torch.optim.Optimizer | None = None, **given: Any) -> Observations:
    optimizer = optimizer or torch.optim.SGD(model.parameters(), 0.1)
    with Watcher(model, announce=False, **given) as watcher:
        for _ in range(steps):
            optimizer.zero_grad()
            loss(model(INPUTS)).backward()
            optimizer.step()
        return watcher.observations


def test_a_look_measures_what_the_loop_computes() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    with Watcher(model, announce=False) as watcher:
        hidden = model[1](model[0](INPUTS))
        loss = F.cross_entropy(model(INPUTS), TARGETS)
        loss.backward()
        before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
        optimizer.step()
        seen = watcher.observations
    relu = seen.layer("1")
    assert relu is not None
    assert relu.rectifier
    assert relu.mean[0] == pytest.approx(hidden.mean().item(), rel=1e-4)
    assert relu.std[0] == pytest.approx(hidden.std(correction=0).item(), rel=1e-4)
    assert relu.zeros[0] == pytest.approx((hidden == 0).float().mean().item(), abs=1e-5)
    assert relu.dead[0] == pytest.approx((hidden == 0).all(dim=0).float().mean().item(), abs=1e-5)
    assert relu.unit_zeros == pytest.approx((hidden == 0).float().mean(dim=0).tolist(), abs=1e-4)
    for name, parameter in model.named_parameters():
        series = seen.weight(name)
        assert series is not None
        assert series.owners == 1
        assert series.weight[0] == pytest.approx(before[name].norm().item(), rel=1e-4)
        assert series.gradient[0] == pytest.approx(gradients[name].norm().item(), rel=1e-4)
        assert series.ratio[0] == pytest.approx(((parameter - before[name]).norm() / before[name].norm()).item(), rel=1e-3)
        assert series.changed
    total = math.sqrt(sum(gradient.square().sum().item() for gradient in gradients.values()))
    assert seen.gradients.norm[0] == pytest.approx(total, rel=1e-4)
    assert seen.gradients.alignment[0] == pytest.approx(1.0, abs=1e-4)  # the first step of SGD goes down the gradient
    assert seen.loss.values[0] == pytest.approx(loss.item(), rel=1e-5)
    assert seen.looks[0].samples == 64


def test_a_functional_activation_is_seen_where_it_arrives() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 4)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.second(F.relu(self.first(inputs) - 100))

    seen = train(Functional(), lambda output: F.cross_entropy(output, TARGETS))
    arrived = seen.layer("second", "input")
    assert arrived is not None
    assert (arrived.kind, arrived.rectifier, arrived.dead[-1]) == ("relu", True, 1.0)
    assert arrived.silent == (seen.looks_made,) * 16
    assert seen.source_of("second") is not None


LOSSES: dict[str, tuple[Any, dict[str, Any]]] = {
    "cross_entropy": (lambda y: F.cross_entropy(y, TARGETS), {"kind": "cross_entropy", "several": 1, "negated": False}),
    "nll of log_softmax": (lambda y: F.nll_loss(F.log_softmax(y, 1), TARGETS), {"kind": "cross_entropy", "normalised": None}),
    "softmax twice": (lambda y: F.cross_entropy(y.softmax(1), TARGETS), {"kind": "cross_entropy", "normalised": "softmax"}),
    "mean squared": (lambda y: F.mse_loss(y, torch.zeros(64, 4)), {"kind": "mse_loss", "broadcast": None}),
    "by hand": (lambda y: ((y - 1) ** 2).mean(), {"kind": "mse_loss"}),
    "absolute by hand": (lambda y: (y - torch.ones(64, 4)).abs().mean(), {"kind": "l1_loss"}),
    "spread": (lambda y: ((y[:, :1] - torch.zeros(64)) ** 2).mean(), {"kind": "mse_loss", "broadcast": ((64, 1), (64, 64))}),
    "binary": (lambda y: F.binary_cross_entropy_with_logits(y, torch.ones(64, 4)), {"kind": "binary_cross_entropy_with_logits"}),
    "sigmoid twice": (lambda y: F.binary_cross_entropy_with_logits(y.sigmoid(), torch.ones(64, 4)), {"normalised": "sigmoid"}),
    "flipped": (lambda y: -F.cross_entropy(y, TARGETS), {"kind": "cross_entropy", "negated": True, "factor": 1.0}),
    "divided": (lambda y: F.cross_entropy(y, TARGETS) / 4, {"kind": "cross_entropy", "factor": 0.25}),
    "two terms": (lambda y: F.cross_entropy(y, TARGETS) + F.mse_loss(y, torch.zeros(64, 4)), {"several": 2}),
    "soft targets": (lambda y: F.cross_entropy(y, torch.full((64, 4), 0.25)), {"kind": "cross_entropy"}),
    "own formula": (lambda y: y.exp().sum(1).log().mean(), {"kind": None}),
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_is_read_from_its_graph(name: str) -> None:
    loss, expected = LOSSES[name]
    seen = train(network(), loss, steps=2)
    assert {key: getattr(seen.loss, key) for key in expected} == expected
    assert (seen.targets.seen is None) == (name in ("by hand", "absolute by hand", "spread", "own formula"))
    if name == "divided":
        torch.manual_seed(0)
    assert seen.loss.values[0] == pytest.approx(seen.loss.first)


def test_a_factor_is_taken_off_the_loss() -> None:
    model = network()
    plain = F.cross_entropy(model(INPUTS), TARGETS).item()
    seen = train(model, lambda y: F.cross_entropy(y, TARGETS) / 4, steps=1)
    assert seen.loss.values == pytest.approx([plain], rel=1e-5)


def test_targets_are_counted() -> None:
    seen = train(network(), lambda y: F.cross_entropy(y, TARGETS), steps=1)
    assert seen.targets.classes == {"0": 16, "1": 16, "2": 16, "3": 16}
    assert (seen.targets.neighbours, seen.targets.equal_neighbours) == (63, 0)
    assert seen.targets.expected_equal == pytest.approx(63 * 15 / 63)


def test_a_named_loss_shows_targets_and_evaluations() -> None:
    model, criterion = network(), nn.HuberLoss()
    values = torch.linspace(0, 1, 256).reshape(64, 4)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    expected: list[float] = []
    with Watcher(model, loss=criterion, announce=False) as watcher:
        for _ in range(3):
            criterion(model(INPUTS), values).backward()
            optimizer.step()
            optimizer.zero_grad()
            with torch.no_grad():
                parts = [criterion(model(INPUTS[a:b]), values[a:b]).item() * (b - a) for a, b in ((0, 48), (48, 64))]
            expected.append(sum(parts) / 64)
        seen = watcher.observations
    assert seen.loss.module == "HuberLoss"
    assert seen.loss.evaluation_steps == (1, 2, 3)
    assert seen.loss.evaluation_values == pytest.approx(expected, rel=1e-5)
    assert seen.targets.mean == pytest.approx(0.5, abs=1e-4)
    assert seen.batches.of == "targets"


@pytest.mark.parametrize(("clears", "expected"), [(True, 0), (False, 5)])
def test_gradients_that_are_not_cleared_are_counted(clears: bool, expected: int) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with Watcher(model, announce=False) as watcher:
        for _ in range(6):
            if clears:
                optimizer.zero_grad()
            F.cross_entropy(model(INPUTS), TARGETS).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            optimizer.step()
        facts = watcher.observations.gradients
    assert (facts.intervals, facts.uncleared) == (5, expected)
    assert all(raw > norm for raw, norm in zip(facts.raw_norm, facts.norm, strict=True) if raw and norm)


def test_owners() -> None:
    model = network()
    twice = [*model[0].parameters(), *model[0].parameters()]
    first = torch.optim.SGD([{"params": twice[:2]}], 0.1)
    second = torch.optim.SGD([model[0].weight], 0.1, maximize=True)
    with Watcher(model, (first, second), announce=False) as watcher:
        for _ in range(3):
            F.cross_entropy(model(INPUTS), TARGETS).backward()
            first.step()
            second.step()
        seen = watcher.observations
    assert {weight.name: weight.owners for weight in seen.weights} == {"0.weight": 2, "0.bias": 1, "2.weight": 0, "2.bias": 0}
    assert seen.unowned == ("2.weight", "2.bias")
    assert [optimizer.maximize for optimizer in seen.optimizers] == [False, True]
    assert [weight.changed for weight in seen.weights] == [True, True, False, False]
    assert seen.steps == 3


class Logarithm(nn.Module):
    """Breaks at step 4: the logarithm of something that is not positive any more."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.calls = nn.Parameter(torch.tensor(1.0)), 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        return torch.log(self.scale - self.offset(inputs))

    def offset(self, inputs: Tensor) -> Tensor:
        return inputs.new_tensor(5.0 if self.calls >= 4 else 0.0)


def test_nan_is_located_where_it_is_born() -> None:
    model = Logarithm()
    seen = train(model, lambda y: y.square(), steps=5)
    found = seen.nonfinite
    assert found is not None
    assert (found.where, found.operation, found.kind) == ("forward", "log", "nan")
    assert found.source is not None
    assert Path(__file__).name in found.source
    assert found.since == found.step - 1


def test_nan_in_the_loss_and_in_the_inputs() -> None:
    model = network()
    in_loss = train(model, lambda y: (y - y.detach()).sum().abs().log(), steps=1).nonfinite
    assert in_loss is not None
    assert (in_loss.where, in_loss.operation, in_loss.kind) == ("loss", "log", "inf")
    with Watcher(network(), announce=False) as watcher:
        F.cross_entropy(watcher._recorder.model(INPUTS * math.nan), TARGETS).backward()
        in_inputs = watcher.observations.nonfinite
    assert in_inputs is not None
    assert in_inputs.where == "input"


def test_modes() -> None:
    model = nn.Sequential(nn.Linear(8, 4), nn.Dropout(0.5))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with Watcher(model, announce=False) as watcher:
        for _ in range(3):
            with torch.no_grad():
                model(INPUTS)
            model.eval()
            F.cross_entropy(model(INPUTS), TARGETS).backward()
            optimizer.step()
            model.train()
        modes = watcher.observations.modes
    assert (modes.training_forwards, modes.training_in_eval, modes.evaluation_forwards, modes.evaluation_in_train) == (3, 3, 3, 3)
    assert modes.dependent == ("1",)


@pytest.mark.parametrize(("batches", "period"), [([0, 1, 2, 3] * 4, 4), ([0, 0, 0, 0], 1), ([0, 1, 2, 3, 3, 1, 0, 2, 1, 3, 2, 0], None)])
def test_the_period_of_batches(batches: list[int], period: int | None) -> None:
    data = torch.randn(4, 16, 40, generator=torch.Generator().manual_seed(1))
    order, marks = BatchOrder(), Fingerprints()
    for step, batch in enumerate(batches):
        order.add(marks.of(data[batch].clone()), "inputs", step)
    facts = order.facts()
    assert facts.period == period
    assert facts.distinct == len(set(batches))
    if period == 4:
        assert facts.repeats >= 8


def test_a_period_is_seen_although_stretches_are_left_out() -> None:
    order = BatchOrder()
    for step in range(2000):
        if step < 512 or step % 256 < 32:
            order.add(hash(step % 300), "inputs", step)
    assert order.facts().period == 300
    assert order.facts().repeats > 100


def test_the_noise_scale_is_the_one_that_was_drawn() -> None:
    generator = torch.Generator().manual_seed(0)
    mean, deviation, batch = torch.randn(2000, generator=generator), 3.0, 16
    scale, truth = NoiseScale(), (2000 * 9.0) / mean.square().sum().item()
    for _ in range(200):
        first, second = (mean + deviation * torch.randn(2000, generator=generator) / math.sqrt(batch) for _ in range(2))
        scale.add(first.square().sum().item(), second.square().sum().item(), torch.dot(first, second).item(), batch)
    assert scale.value == pytest.approx(truth, rel=0.1)


def test_memory_is_bounded_and_the_ends_are_kept() -> None:
    rows, course = Rows(), LossCourse()
    for step in range(5000):
        rows.add(Row(Look(step=step)))
    for step in range(100_000):
        course.append(step, 1.0 + step % 2)
    kept = [row.look.step for row in rows.rows]
    assert len(kept) <= ROWS
    assert kept[0] == 0
    assert kept[-10:] == list(range(4990, 5000))
    assert rows.made == 5000
    facts = course.facts()
    assert len(facts["trend_mean"]) <= BLOCKS
    assert facts["trend_mean"][0] == pytest.approx(1.5)
    assert facts["trend_std"][3] == pytest.approx(0.5)
    assert facts["steps"][-1] == 99_999


def test_looks_cost_their_share_and_no_more() -> None:
    sampling = Sampling()
    looks, step = 0, 0
    for step in range(100_000):
        sampling.stepped(0.001)
        if step >= sampling.next:
            sampling.looked(step, 0.005)
            looks += 1
    expected = 100_000 / (0.005 / (SHARE * 0.001))
    assert math.log2(EARLY) <= looks <= expected + 7


def test_the_report_in_both_forms(tmp_path: Path) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with Watcher(model, announce=False) as watcher:
        for step in range(40):
            optimizer.param_groups[0]["lr"] = 0.1 / (1 + step)
            optimizer.zero_grad()
            F.cross_entropy(model(INPUTS), TARGETS).backward()
            optimizer.step()
        printed = str(watcher.report())
        page = watcher.report(tmp_path / "看.html").read_text(encoding="utf-8")
        assert json.loads(json.dumps(watcher.to_dict(), allow_nan=False))["observations"]["steps"] == 40
        assert watcher.overhead > 0
        with use_language("zh"):
            chinese = str(watcher.report())
    assert "Sequential: 40 steps watched" in printed
    assert "0.weight" in printed
    assert "cross_entropy" in printed
    assert page.count("<svg") >= 10
    assert page.count("<script") == 1  # the one that chooses the language
    assert "src=" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert "nan" not in page.lower().replace("nan ", "")
    assert chinese != printed


def test_thinning_keeps_every_unit() -> None:
    x = torch.zeros(512, 32, 28, 28)
    x[:, 5] = 1.0
    few = thinned(x, 1)
    assert few.shape[1] == 32
    assert few.numel() <= 4 * ENTRIES
    row, zeros = activation(x, 1, None)
    assert zeros.tolist() == [1.0] * 5 + [0.0] + [1.0] * 26
    assert row[6].item() == pytest.approx(31 / 32)


def test_a_batch_that_comes_again_after_steps_not_seen_does_not_end_the_period() -> None:
    order = BatchOrder()
    for step in [*range(1, 401), 500, 601, 602, 603]:  # 400, 500: the same batch, with 99 others between them
        order.add(step % 100, "inputs", step)
    assert order.facts().period == 100
    for repeat in range(3):
        order.add(7, "inputs", 1000 + repeat)  # the same one over and over is another thing
    assert order.facts().period is None


def test_short_steps_are_seen_in_stretches_and_none_is_lost() -> None:
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    inputs, targets = torch.randn(100, 8, 4, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 2
    with Watcher(model, announce=False) as watcher:
        recorder = watcher._recorder
        asleep = 0
        for step in range(2200):
            recorder.sampling.step_seconds = 0.0001  # whatever this machine needs for one
            optimizer.zero_grad()
            F.cross_entropy(model(inputs[step % 100]), targets).backward()
            optimizer.step()
            asleep += recorder.asleep
        seen = watcher.observations
    assert asleep > 1000
    assert seen.steps == 2200
    assert seen.samples == 2200 * 8
    assert seen.modes.training_forwards < 1300
    assert (seen.batches.period, seen.batches.distinct) == (100, 100)
    assert seen.batches.repeats > 500
    assert len(seen.loss.values) == 512
    assert None not in seen.loss.values
    assert seen.gradients.uncleared == 0


class Rooted(nn.Module):
    """Takes square roots, at 0 too once it breaks: the loss stays finite, its gradient does not."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last, self.breaks = nn.Linear(4, 8), nn.Linear(8, 1), False

    def forward(self, inputs: Tensor) -> Tensor:
        squares = self.first(inputs).square()
        return self.last(torch.sqrt(0 * squares if self.breaks else squares + 1.0))


@pytest.mark.parametrize("breaks", [False, True])
def test_between_stretches_evaluations_and_the_birth_of_nan_are_seen(breaks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dozing, "SHORT", 0.0)
    monkeypatch.setattr(dozing, "LIGHT", math.inf)
    monkeypatch.setattr(dozing, "AWAKE", 0)
    monkeypatch.setattr("pellucid.diagnosis.watch.recorder.ALWAYS", 8)
    torch.manual_seed(0)
    model, data = Rooted(), torch.randn(16, 4)
    twin = copy.deepcopy(model)
    with Watcher(model, announce=False) as watcher:
        optimizer = torch.optim.SGD(model.parameters(), 1e-3)
        sampling = watcher._recorder.sampling
        monkeypatch.setattr(sampling, "looked", lambda step, _: setattr(sampling, "next", 2 * step + 1))
        for step in range(200):
            if step == 190:
                assert watcher._recorder.asleep
                with torch.no_grad():
                    model(data)
            model.breaks = breaks and step >= 190
            optimizer.zero_grad()
            model(data).square().mean().backward()
            optimizer.step()
        seen = watcher.observations
    optimizer = torch.optim.SGD(twin.parameters(), 1e-3)
    for step in range(200):
        twin.breaks = breaks and step >= 190
        optimizer.zero_grad()
        twin(data).square().mean().backward()
        optimizer.step()
    assert all(torch.equal(a.nan_to_num(7), b.nan_to_num(7)) for a, b in zip(model.parameters(), twin.parameters(), strict=True))
    assert (seen.modes.evaluation_forwards, seen.modes.evaluation_in_train) == (1, 1)
    assert seen.steps == 200
    born = seen.nonfinite
    assert (born is None) is not breaks
    if born is not None:
        assert (born.step, born.where, born.operation) == (190, "backward", "sqrt")


def written_out(name: str) -> Tensor:
    torch.manual_seed(0)
    scores, labels = nn.Linear(4, 3)(torch.randn(8, 4)), torch.arange(8) % 3
    chosen, log_shares = F.one_hot(labels, 3).float(), F.log_softmax(scores, 1)
    ways: dict[str, Any] = {
        "weighted, minus first": lambda: -(chosen * log_shares).sum(1).mean(),
        "weighted, minus inside": lambda: (-(chosen * log_shares).sum(1)).mean(),
        "weighted, no minus": lambda: (chosen * log_shares).sum(1).mean(),
        "gathered": lambda: -log_shares.gather(1, labels[:, None]).mean(),
        "probabilities": lambda: -(chosen * (scores.softmax(1) + 1e-8).log()).sum(1).mean(),
        "two classes": lambda: -(chosen * scores.sigmoid().log() + (1 - chosen) * (1 - scores.sigmoid()).log()).mean(),
        "a policy's": lambda: -(log_shares.gather(1, labels[:, None])[:, 0] * torch.randn(8)).mean(),
    }
    return ways[name]()


@pytest.mark.parametrize(
    ("name", "kind", "negated"),
    [
        ("weighted, minus first", "cross_entropy", False),
        ("weighted, minus inside", "cross_entropy", False),
        ("weighted, no minus", "cross_entropy", True),
        ("gathered", "cross_entropy", False),
        ("probabilities", "nll_loss", False),
        ("two classes", "binary_cross_entropy", False),
        ("a policy's", None, False),
    ],
)
def test_a_loss_that_is_written_out_is_recognised(name: str, kind: str | None, negated: bool) -> None:
    graph = loss_graph.read(written_out(name))
    assert (graph.kind, graph.negated) == (kind, negated)


def test_a_loss_that_the_model_gives_beside_its_scores_is_recognised() -> None:
    scores = nn.Linear(4, 3)(torch.randn(8, 4))
    loss = F.cross_entropy(scores, torch.arange(8) % 3)
    graph = loss_graph.read(loss / 2, [loss.grad_fn, scores.grad_fn])
    assert (graph.kind, graph.factor, graph.targets) == ("cross_entropy", 0.5, "classes")
