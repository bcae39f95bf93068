"""`pellucid.diagnose`: from an experiment to findings with roots first, and the report of it."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import pellucid
from diagnosis.remedies.remedy_cases import climbing, never_cleared
from pellucid.core.errors import ModelError, OptionError, OptionTypeError
from pellucid.core.language import text, use_language
from pellucid.core.records import Change, Finding
from pellucid.diagnosis import diagnose as module
from pellucid.diagnosis.causes import examine
from pellucid.diagnosis.diagnose import Diagnosis, diagnose
from pellucid.diagnosis.experiments.experiment import Experiment
from pellucid.diagnosis.joining import joined
from pellucid.diagnosis.remedies.changes import with_change

_drawn = torch.Generator().manual_seed(4)
X = torch.randn(500, 6, generator=_drawn)
Y = (X[:, 0] > 0).long() + (X[:, 1] > 0).long()


def net(*last: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3), *last)


def experiment(rate: float = 0.1, **settings: Any) -> Experiment:
    return Experiment(
        **{
            "model": net, "loss": F.cross_entropy, "optimizer": lambda model: torch.optim.SGD(model.parameters(), rate, momentum=0.9),
            "train": (X[:400], Y[:400]), "test": (X[400:], Y[400:]), "batch_size": 32, "epochs": 8, **settings,
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def saturated() -> Diagnosis:
    return diagnose(experiment(model=lambda: net(nn.Softmax(1))), budget="4s")


def test_a_fault_of_the_program(saturated: Diagnosis) -> None:
    first = saturated[0]
    assert (first.cause, first.level, first.established_by) == ("double_softmax", "fault", "static")
    assert first.change is not None
    assert first.change.kind == "drop_output_activation"
    assert saturated.trial is not None
    assert saturated.trial.complete
    assert saturated.findings == tuple(saturated)
    assert set(saturated.seconds) - {"loading"} == {"check", "static", "data", "dynamic", "labels", "controlled"}


def test_its_remedy_can_be_proved(saturated: Diagnosis) -> None:
    proof = saturated[0].verify()
    assert proof.change == saturated[0].change
    assert proof.metric == "accuracy"
    assert proof.difference > 0
    assert proof.verdict in ("helps", "no difference")


def test_a_healthy_training_has_no_fault() -> None:
    found = diagnose(experiment(epochs=25), budget="4s")
    assert [finding.symptom for finding in found if finding.level == "fault"] == []


def test_one_root_with_its_consequences() -> None:
    found = diagnose(experiment(20.0), budget="4s")
    faults = [finding for finding in found if finding.level == "fault"]
    assert [finding.symptom for finding in faults] == ["lr_too_high"]
    assert faults[0].evidence["consequences"]


@pytest.mark.slow
def test_a_logarithm_is_a_fault_once_the_training_breaks_at_it() -> None:
    def loss(probabilities: Tensor, targets: Tensor) -> Tensor:
        return -torch.log(probabilities[torch.arange(len(targets)), targets]).mean()

    calm = experiment(0.05, model=lambda: net(nn.Softmax(1)), loss=loss, epochs=2)
    broken = calm.changed(optimizer=lambda model: torch.optim.Adam(model.parameters(), 1.0))
    levels = [{f.symptom: f for f in diagnose(one, budget="2s")}["unstable_loss"] for one in (calm, broken)]
    assert [finding.level for finding in levels] == ["advice", "fault"]
    assert "broke_at_step" in levels[1].evidence
    assert "nan" in str(levels[1].evidence["consequences"])


def test_the_same_seed_gives_the_same_findings() -> None:
    """What is established, and how surely, depends on how many trials the clock leaves; what is wrong does not."""
    first, again = ([f.symptom for f in diagnose(experiment(20.0), budget="2s") if f.level == "fault"] for _ in range(2))
    assert first == again


def test_nothing_of_the_user_is_changed() -> None:
    mine = experiment(train=TensorDataset(X[:400], Y[:400]))
    state = torch.get_rng_state()
    diagnose(mine, budget="2s")
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.slow
def test_a_longer_training_is_watched_in_part_and_says_so() -> None:
    long = experiment(epochs=20_000)
    began = time.perf_counter()
    found = diagnose(long, budget=3)
    assert time.perf_counter() - began < 3 * 1.7
    assert found.trial is not None
    assert 0 < found.trial.steps < long.steps
    assert any(f"watched for {found.trial.steps} of its {long.steps} updates" in str(note) for note in found.left_out)
    assert not any(finding.symptom in ("underfitting", "overfitting") for finding in found)


def test_a_budget_too_small_says_what_it_left_out() -> None:
    found = diagnose(experiment(epochs=1000), budget="50ms")
    said = [str(note) for note in found.left_out]
    assert any("updates" in note for note in said)
    assert any(note.startswith("controlled experiments: the budget of 0.1 s leaves") for note in said)


def test_numbers_are_shown_with_their_words_and_what_they_should_be() -> None:
    from pellucid.diagnosis.evidence import bounds, gauge

    assert [bounds(said) for said in ("< 0.1", "> 2e-3", "0.02 to 20, best about 1", "about 1", "0", "finite")] == [
        (None, 0.1), (2e-3, None), (0.02, 20.0), (0.5, 2.0), (0.0, 0.0), None
    ]  # fmt: skip
    assert "#b3402e" in gauge(203.0, "0.02 to 20") != gauge(2.0, "0.02 to 20")
    assert gauge(float("nan"), "< 1") == gauge(1.0, "finite") == ""


def test_progress_is_told_to_who_asks(capsys: pytest.CaptureFixture[str]) -> None:
    told: list[str] = []
    diagnose(experiment(), budget="2s", tell=lambda said: told.append(str(said)))
    assert told[0] == "seeing whether the experiment runs"
    assert "watching your training" in told
    assert any(line.startswith("watching your training: update ") for line in told)
    assert capsys.readouterr().out == capsys.readouterr().err == ""


@pytest.mark.parametrize(("budget", "error"), [("soon", OptionError), (0, OptionError), (-1, OptionError), ([], OptionTypeError)])
def test_a_budget_that_is_no_time(budget: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        diagnose(experiment(), budget=budget)


def test_what_is_no_experiment() -> None:
    with pytest.raises(OptionTypeError, match="what is to be diagnosed is of type Sequential"):
        diagnose(net())


def test_bad_input_ends_it_at_once() -> None:
    model = net()
    with pytest.raises(ModelError, match="twice"):
        diagnose(experiment(model=lambda: model))
    with pytest.raises(ModelError, match="failed: RuntimeError"):
        diagnose(experiment(model=lambda: nn.Linear(5, 3)))


def test_a_loss_that_refuses_the_targets_is_explained_by_the_data() -> None:
    with pytest.raises(ModelError, match="through the model and the loss failed") as raised:
        diagnose(experiment(train=(X[:400], Y[:400] + 1), test=None))
    assert "target" in str(raised.value.do)


def test_a_nan_at_once() -> None:
    broken = X.clone()
    broken[:, 2] = torch.nan
    found = diagnose(experiment(train=(broken, Y), test=None), budget="2s")
    assert found[0].level == "fault"
    assert any("nan" in (finding.symptom, *(one["symptom"] for one in finding.evidence.get("consequences", ()))) for finding in found)


def test_inputs_that_are_no_numbers_are_the_only_thing_told() -> None:
    holes = X[:400].clone()
    holes[::7, 2] = float("nan")
    found = diagnose(experiment(train=(holes, Y[:400]), test=None), budget="2s")
    assert [(finding.symptom, finding.level) for finding in found if finding.level == "fault"] == [("nan", "fault")]
    assert "input" in (found[0].where or "")


def test_class_numbers_that_the_loss_refuses_are_told_in_its_error() -> None:
    with pytest.raises(ModelError, match="class indices from 0 to 2"):
        diagnose(experiment(train=(X[:400], Y[:400] + 1), test=None), budget="2s")


@pytest.mark.slow
def test_wrong_labels_are_named_by_the_users_own_network() -> None:
    drawn = torch.Generator().manual_seed(5)
    wrong = torch.randperm(400, generator=drawn)[:60]
    labels = Y[:400].clone()
    labels[wrong] = (labels[wrong] + 1) % 3
    found = diagnose(experiment(0.05, train=(X[:400], labels), epochs=15), budget="12s")
    mine = next(finding for finding in found if finding.symptom == "noisy_labels")
    assert mine.established_by == "controlled"
    assert len(set(mine.evidence["samples"]) & set(wrong.tolist())) > 30


def test_an_error_in_the_middle_of_a_training_is_a_finding() -> None:
    made: list[int] = []

    def step(model: nn.Module, optimizer: Any, loss: Any, batch: Any) -> Tensor:
        made.append(1)
        if len(made) > 6:
            raise ValueError("no more")
        optimizer.zero_grad()
        value = loss(model(batch[0]), batch[1])
        value.backward()
        optimizer.step()
        return value

    found = diagnose(experiment(step=step), budget="2s")
    (error,) = [finding for finding in found if finding.symptom == "error"]
    assert "ValueError: no more" in str(error.summary)
    assert error.level == "fault"


def test_batches_that_only_the_users_step_understands_are_still_watched() -> None:
    def step(model: nn.Module, optimizer: Any, loss: Any, batch: Any) -> Tensor:
        inputs, targets, _ = batch
        return climbing(model, optimizer, loss, (inputs, targets))

    loader = DataLoader(TensorDataset(X, Y, Y), 32, shuffle=True)
    found = diagnose(experiment(train=loader, test=None, step=step), budget="2s")
    assert [finding.symptom for finding in found if finding.level == "fault"] == ["flipped_gradient"]
    assert found.left_out
    assert not any("AssertionError" in str(note) for note in found.left_out)


def test_a_stage_that_fails_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any) -> None:
        raise KeyError("static")

    monkeypatch.setattr(module._Diagnosing, "static", broken)
    found = diagnose(experiment(20.0), budget="2s")
    assert any(str(note) == "the program could not be looked at: KeyError: 'static'" for note in found.left_out)
    assert any(finding.symptom == "lr_too_high" for finding in found)


@pytest.mark.parametrize(
    ("name", "settings", "kind"),
    [
        ("missing_zero_grad", {"step": never_cleared}, "zero_grad"),
        ("flipped_gradient", {"step": climbing}, "minimise"),
        ("no_shuffle", {"shuffle": False, "train": (X[:400][Y[:400].argsort()], Y[:400].sort().values)}, "shuffle"),
        ("lr_too_high", {"optimizer": lambda m: torch.optim.SGD(m.parameters(), 100.0)}, "learning_rate"),
        ("unowned_parameters", {"optimizer": lambda m: torch.optim.SGD(m[4].parameters(), 0.1)}, "own_parameters"),
    ],
)
def test_what_a_watcher_says_in_words_is_a_change_here(name: str, settings: dict[str, Any], kind: str) -> None:
    trial = experiment(**settings).run(0, watch=True, score=False)
    assert trial.observations is not None
    seen = [finding for finding in examine(trial.observations) if finding.symptom == name]
    assert seen
    assert seen[0].change is None
    found = with_change(seen[0], experiment(**settings))
    assert found.change is not None
    assert found.change.kind == kind
    assert with_change(replace(seen[0], level="good"), experiment(**settings)).change is None


def test_a_change_that_does_not_fit_is_none() -> None:
    assert with_change(finding("missing_zero_grad", "dynamic"), experiment()).change is None  # the plain step clears


# -- joining -----------------------------------------------------------------------------------------------------------------------------


def finding(name: str, by: str, where: str | None = None, **settings: Any) -> Finding:
    return Finding(symptom=name, summary=text("{name} by {by}", name=name, by=by), established_by=by, where=where, **settings)


def test_the_same_cause_is_told_once_by_the_strongest_way() -> None:
    change = Change(kind="learning_rate", values={"rate": 1.0})
    (one,) = joined(
        [
            finding("lr_too_high", "dynamic", "learning_rate", level="fault", confidence=0.7, change=change, evidence={"a": 1, "b": 1}),
            finding("lr_too_high", "controlled", "learning_rate", confidence=0.9, evidence={"b": 2}),
        ]
    )
    assert (one.established_by, one.level, one.confidence, one.change) == ("controlled", "fault", 0.9, change)
    assert (one.evidence["a"], one.evidence["b"]) == (1, 2)
    assert [other["established_by"] for other in one.evidence["also_established_by"]] == ["dynamic"]


def test_places_stay_apart() -> None:
    found = joined(
        [finding("dead_relu", "dynamic", "1"), finding("dead_relu", "dynamic", "3"), finding("missing_activation", "static", "0")]
    )
    assert [(one.symptom, one.where) for one in found] == [("dead_relu", "1"), ("dead_relu", "3"), ("missing_activation", "0")]
    both = joined(
        [finding("frozen_weights", "static", "0"), finding("frozen_weights", "static", "2"), finding("frozen_weights", "dynamic", "2")]
    )
    assert [(one.where, len(one.evidence.get("also_established_by", ()))) for one in both] == [("0", 0), ("2", 1)]


def test_a_cause_of_a_symptom_joins_the_finding_of_that_cause() -> None:
    found = joined(
        [finding("lr_too_high", "dynamic", cause="unnormalised_input"), finding("unnormalised_input", "data", cause="unnormalised_input")]
    )
    assert [(one.symptom, one.established_by) for one in found] == [("unnormalised_input", "data")]


def test_what_is_good_is_not_joined_with_what_is_not() -> None:
    assert len(joined([finding("overfitting", "dynamic", level="good"), finding("overfitting", "data", level="advice")])) == 2


# -- what is shown -----------------------------------------------------------------------------------------------------------------------


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in ("meta", "path", "polyline", "br"):
            self.open.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("meta", "path", "polyline", "br"):
            assert self.open.pop() == tag


def test_the_report(saturated: Diagnosis, tmp_path: Path) -> None:
    shown = str(saturated)
    assert shown == str(saturated.report())
    assert "✗ double_softmax: The softmax is applied twice" in shown
    assert "What to do: leave the softmax out" in shown
    assert "fault, confidence" in shown
    path = saturated.to_html(tmp_path / "diagnosis.html")
    content = path.read_text(encoding="utf-8")
    page = _Page()
    page.feed(content)
    assert page.open == []
    assert page.links == []  # nothing from elsewhere
    assert "double_softmax" in content
    for language in ("en", "zh"):
        assert saturated[0].summary.render(language).split("{")[0][:10] in content
    with use_language("zh"):
        assert str(saturated) != shown
    assert "<svg" in saturated._repr_html_()


def test_as_a_record(saturated: Diagnosis) -> None:
    stored = json.loads(json.dumps(saturated.to_dict()))
    assert [Finding.from_dict(one) for one in stored["findings"]] == list(saturated)
    with pytest.raises(OptionTypeError, match="to_dict"):
        copy.copy(saturated)


def test_public_names() -> None:
    assert pellucid.diagnose is diagnose
    assert pellucid.Experiment is Experiment


def test_every_file_of_symptoms_is_listed_under_what_it_reads() -> None:
    """Watching loads what reads observations, and none of what only a diagnosis needs."""
    from pellucid.diagnosis import registry

    folder = Path(registry.__file__).parent / "symptoms"
    assert sorted({name for names in registry.OURS.values() for name in names}) == sorted(
        path.stem for path in folder.glob("*.py") if path.stem != "__init__"
    )
    loaded = (
        "import sys; from pellucid.diagnosis.registry import symptoms; from pellucid.diagnosis.dynamic.observations import Observations; "
        "assert symptoms(reads=Observations); print([n for n in ('trials', 'contents', 'program', 'experiment') "
        "if 'pellucid.diagnosis.' + n in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout == "[]\n"
