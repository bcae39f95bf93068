"""What a finding that was told without a change can be proved by: the change that fits it, and what the proof says."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diagnosis.remedies.remedy_cases import Switched
from diagnosis.symptoms.static_networks import linear, module
from pellucid.core.language import text
from pellucid.core.records import Change, Finding, Interval, Verification
from pellucid.diagnosis.dynamic.observations import LayerSeries
from pellucid.diagnosis.experiments.experiment import Experiment
from pellucid.diagnosis.remedies.changes import with_change
from pellucid.diagnosis.static.program import Program
from pellucid.diagnosis.symptoms.activations import born_dead
from pellucid.diagnosis.symptoms.trained_parts import wrong_mode


def experiment(between: Any, **settings: Any) -> Experiment:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        inputs = torch.randn(160, 6)
    labels = inputs[:, :3].argmax(1)
    model = module(lambda m, x: m.b(between(m, m.a(x))), a=linear(6, 24), b=linear(24, 3))
    return Experiment(
        model=model, loss=F.cross_entropy, optimizer=lambda m: torch.optim.Adam(m.parameters(), 1e-2), train=(inputs, labels),
        test=(inputs, labels), batch_size=32, epochs=2, **settings,
    )  # fmt: skip


def made_inside(_: Any, x: Tensor) -> Tensor:
    """A dropout that no call of eval() reaches."""
    return nn.Dropout(0.5)(torch.relu(x))


def registered(m: Any, x: Tensor) -> Tensor:
    return F.dropout(torch.relu(x), 0.5, m.training)


def test_dropout_that_never_stops_is_told_with_a_change_that_stops_it() -> None:
    before = experiment(made_inside)
    (found,) = wrong_mode(Program.of(before))
    assert found.level == "fault"
    assert found.change == Change(kind="train_mode")
    tried = Finding(symptom="wrong_mode", cause="wrong_mode", level="fault", confidence=0.8, where="model", summary=found.summary,
                    evidence={"changed": 0.3}, established_by="controlled")  # fmt: skip
    assert with_change(tried, before).change == Change(kind="train_mode")
    healthy = experiment(registered)
    assert not wrong_mode(Program.of(healthy))
    assert with_change(tried, healthy).change is None  # nothing there that it could change


def dead(born: float) -> Finding:
    summary = wrong_mode(Program.of(experiment(made_inside)))[0].summary
    return Finding(symptom="dead_relu", level="fault", confidence=0.9, where="b", summary=summary,
                   evidence={"dead_share": 1.0, "dead_from_the_first_step": born})  # fmt: skip


def test_units_that_were_never_alive_are_drawn_anew_and_those_that_died_get_smaller_steps() -> None:
    before = experiment(registered)
    assert with_change(dead(1.0), before).change == Change(kind="reinitialise", values={"scheme": "default"})
    later = with_change(dead(0.0), before).change
    assert later is not None
    assert later.kind == "learning_rate"
    assert abs(later.values["rate"] - 1e-3) < 1e-9
    series = LayerSeries(path="a", kind="ReLU", silent=(9, 9, 4, 0), silent_samples=(300, 300, 300, 300))
    assert born_dead(series, 9) == 2 / 3


def test_a_lower_score_without_what_leaked_is_what_the_remedy_is_for() -> None:
    proof = Verification(
        change=Change(kind="drop_samples", values={"indices": [1], "part": "train"}), metric="accuracy", seeds=(1, 2, 3),
        before=(0.9, 0.9, 0.9), after=(0.7, 0.7, 0.7), difference=-0.2, interval=Interval(low=-0.21, high=-0.19), verdict="worse",
    )  # fmt: skip

    class Prover:
        def verify(self, *_: Any) -> Verification:
            return proof

    said: dict[str, Verification] = {}
    for cause in ("data_leakage", "noisy_labels"):
        found = Finding(symptom=cause, cause=cause, summary=text("x"), change=proof.change)
        object.__setattr__(found, "_prover", Prover())
        said[cause] = found.verify()
    assert said["data_leakage"].verdict == "helps"
    assert str(said["data_leakage"]).startswith("The score falls as it should: the earlier one was not true")
    assert said["noisy_labels"].verdict == "worse"
    assert str(said["noisy_labels"]).startswith("The remedy makes it worse")


def told(cause: str, where: str = "model", level: str = "fault", **evidence: Any) -> Finding:
    return Finding(symptom=cause, cause=cause, level=level, where=where, summary=text("x"), evidence=evidence)


def classifier(*layers: Any, **settings: Any) -> Experiment:
    inputs = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
    settings = {"train": (inputs, inputs[:, :3].argmax(1)), "test": (inputs + 0.1, inputs[:, :3].argmax(1)), **settings}
    return Experiment(model=lambda: nn.Sequential(*(layer() for layer in layers)), loss=F.cross_entropy,
                      optimizer=lambda m: torch.optim.Adam(m.parameters(), 1e-2), **settings)  # fmt: skip


def drawn_by(factor: float) -> Any:
    """Six hidden layers whose weights are `factor` times PyTorch's."""

    def scaled() -> nn.Module:
        layer = nn.Linear(6, 6)
        with torch.no_grad():
            layer.weight.mul_(factor)
        return layer

    return [part for _ in range(6) for part in (scaled, nn.ReLU)] + [lambda: nn.Linear(6, 3)]


def sigmoids() -> Any:
    return [part for _ in range(8) for part in (lambda: nn.Linear(6, 6), nn.Sigmoid)] + [lambda: nn.Linear(6, 3)]


PLAIN = (lambda: nn.Linear(6, 8), nn.ReLU, lambda: nn.Linear(8, 3))
CHANGED: dict[str, tuple[Finding, Any, Change | None]] = {
    "capacity": (told("capacity"), PLAIN, Change(kind="wider")),
    "moved": (
        told("labels_misaligned", "targets[30:]", shift=1),
        PLAIN,
        Change(kind="shift_targets", values={"by": 1, "part": "train", "first": 30}),
    ),
    "an order of their own": (told("labels_misaligned", "targets", score=0.3), PLAIN, None),
    "another scale": (
        told("train_test_preprocess_mismatch", "test inputs", ratio_of_deviations=50.0), PLAIN, Change(kind="match_test_inputs"),
    ),
    "another order": (
        told("train_test_preprocess_mismatch", "test inputs", difference_reordered=1.0, columns=[1, 0, 2, 3, 4, 5]),
        PLAIN,
        Change(kind="match_test_inputs", values={"order": [1, 0, 2, 3, 4, 5]}),
    ),
    "other words": (told("train_test_preprocess_mismatch", "test inputs", cosine=0.1), PLAIN, None),
    "too few outputs": (
        told("wrong_output_units", outputs=2, classes=3),
        (lambda: nn.Linear(6, 8), nn.ReLU, lambda: nn.Linear(8, 5)),
        Change(kind="output_units", values={"units": 3}),
    ),
    "missing values": (told("nan", "input"), PLAIN, Change(kind="fill_missing")),
    "samples that mix": (told("leaky_batch"), PLAIN, Change(kind="samples_alone")),
    "samples that mix in statistics": (told("leaky_batch"), (lambda: nn.BatchNorm1d(6), *PLAIN), None),
    "a gradient that vanishes in small weights": (
        told("vanishing_gradient", "0.weight"), drawn_by(0.1), Change(kind="reinitialise", values={"scheme": "kaiming"}),
    ),
    "a gradient that vanishes in sigmoids": (
        told("vanishing_gradient", "0.weight"),
        sigmoids(),
        Change(kind="replace_activation", values={"from": "sigmoid", "to": "relu", "scheme": "kaiming"}),
    ),
    "a gradient that explodes in large weights": (
        told("exploding_gradient", "0.weight"), drawn_by(20.0), Change(kind="reinitialise", values={"scheme": "default"}),
    ),
    "a gradient that explodes for another reason": (
        told("exploding_gradient", "0.weight"), PLAIN, Change(kind="clip", values={"norm": 1.0}),
    ),
    "on purpose": (told("wrong_gradient", level="advice"), PLAIN, None),
    "nothing of one's own": (told("wrong_gradient"), PLAIN, None),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGED)
def test_what_is_said_in_words_gets_the_change_that_fits(name: str) -> None:
    found, layers, change = CHANGED[name]
    assert with_change(found, classifier(*layers)).change == change


def test_a_switch_that_nobody_turns_off_is_found() -> None:
    before = experiment(lambda m, x: x)
    switched = before.changed(model=Switched)
    found = with_change(told("wrong_mode", changed=0.3), switched)
    assert found.change == Change(kind="follow_mode", values={"attribute": "is_training"})
    assert with_change(told("wrong_mode", changed=0.3), before).change is None
