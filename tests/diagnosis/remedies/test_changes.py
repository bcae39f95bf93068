"""What a finding that was told without a change can be proved by: the change that fits it, and what the proof says."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
