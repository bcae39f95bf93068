"""What a training will take is measured and said before it begins, kept, and compared with what it took; memory that is short is seen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import pellucid
from pellucid.core.errors import MemoryShortage
from pellucid.core.language import text
from pellucid.core.records import Cost, Expectation
from pellucid.training import decisions, fit
from pellucid.training.loop import Loop
from pellucid.training.progress import Progress
from pellucid.training.summary import cost_sentences, expectation_sentence
from training.trainings import table

QUICK: dict[str, Any] = {"network": "mlp", "learning_rate": 0.01, "epochs": 2, "baselines": False, "report": False}


class Heard(Progress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.expectation: Expectation | None = None

    def notice(self, notice: Any) -> None:
        self.said.append(str(getattr(notice, "summary", notice)))

    def expected(self, expectation: Expectation) -> None:
        self.expectation = expectation


def record(run: Any, name: str) -> dict[str, Any]:
    return json.loads((run.directory / "records" / f"{name}.json").read_text(encoding="utf-8"))


def test_the_expectation_is_told_and_kept(tmp_path: Path) -> None:
    heard = Heard()
    run = fit.train(table(200), None, {**QUICK, "batch_size": 16, "directory": tmp_path}, heard)
    expected = Expectation.from_dict(record(run, "plan"))
    assert heard.expectation == expected
    model = run.model
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert expected.parameter_bytes == 4 * parameters
    assert 8 * parameters <= expected.optimizer_bytes <= 9 * parameters  # AdamW: two averages, and a step count for each tensor
    assert (expected.epochs, expected.steps, expected.batch_size) == (2, 2 * 8, 16)  # of 200 samples 128 are for training
    assert expected.seconds >= expected.training_seconds + expected.measuring_seconds
    assert expected.training_seconds >= expected.steps * expected.step_seconds
    cost = run.summary.cost
    assert (cost.expected_seconds, cost.expected_memory_bytes) == (expected.seconds, expected.memory_bytes)
    assert cost.seconds >= cost.training_seconds


def test_what_the_backward_pass_keeps_is_counted(tmp_path: Path) -> None:
    """A linear layer keeps its input, a ReLU its output: known by hand."""
    network = nn.Sequential(nn.Linear(5, 64), nn.ReLU(), nn.Linear(64, 2))
    run = pellucid.fit(table(200), batch_size=16, directory=tmp_path, **{**QUICK, "network": network})
    kept = record(run, "plan")["activation_bytes"]
    by_hand = 4 * 16 * (5 + 64 + 64 + 2)
    assert by_hand - 4 * 16 * 64 <= kept <= 2 * by_hand  # the two of 64 may share their memory; the loss keeps a little


@pytest.mark.parametrize(
    ("seconds", "memory", "sooner", "sentence"),
    [
        (200.0, 2**30 * 1.1, False, "about 3 min 20 s, 1.1 GiB of memory"),
        (12.0, None, True, "about 12 s, less where early stopping or a condition ends it sooner"),
        (4.0, 2**30, False, None),
    ],
)
def test_the_sentence_before(seconds: float, memory: float | None, sooner: bool, sentence: str | None) -> None:
    expected = Expectation(
        seconds=seconds, training_seconds=1, measuring_seconds=1, memory_bytes=None if memory is None else int(memory),
        available_bytes=None, epochs=1, steps=1, batch_size=1, step_seconds=1, measured_steps=1, parameter_bytes=1,
        optimizer_bytes=1, activation_bytes=1, data_bytes=1, may_end_sooner=sooner,
    )  # fmt: skip
    assert (None if (said := expectation_sentence(expected)) is None else str(said)) == sentence


def test_the_sentence_afterwards() -> None:
    cost = Cost(seconds=180, training_seconds=170, checkpoint_seconds=0, epochs=3, steps=10, samples=100, parameters=5,
                peak_memory_bytes=2**30, expected_seconds=200.0, expected_memory_bytes=2**31)  # fmt: skip
    told = [str(sentence) for sentence in cost_sentences(cost, text("all 3 epochs are done"))]
    assert "Before the first step 3 min 20 s, 2.0 GiB were expected; it took 3 min 0 s, 1.0 GiB." in told


# ----------------------------------------------------------------------------------------------------------------------------- memory


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which a step with more than 8 samples does not fit."""
    update = Loop.update

    def limited(loop: Loop, inputs: Any, targets: Any) -> Any:
        if len(inputs) > 8:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes.")
        return update(loop, inputs, targets)

    monkeypatch.setattr(Loop, "update", limited)


def test_a_batch_that_does_not_fit_is_halved_until_it_does(small_memory: None, tmp_path: Path) -> None:
    heard = Heard()
    run = fit.train(table(1200), None, {**QUICK, "directory": tmp_path}, heard)
    assert run.config["batch_size"] == "auto"
    assert record(run, "decisions")["batch_size"] == run.settings["batch_size"] == record(run, "plan")["batch_size"] == 8
    assert [line for line in heard.said if "batches of 8 are used" in line]
    assert run.history[-1]["step"] == 2 * 96  # 768 training samples


def test_the_users_own_batch_is_not_changed(small_memory: None, tmp_path: Path) -> None:
    with pytest.raises(MemoryShortage) as caught:
        pellucid.fit(table(200), batch_size=16, directory=tmp_path, **QUICK)
    assert "--batch-size 8" in str(caught.value.do)


def test_a_halved_batch_is_read_and_not_decided_again(small_memory: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Crash(Exception):  # noqa: N818
        pass

    def crash(loop: Loop, loss: Any, samples: int) -> None:
        raise Crash

    monkeypatch.setattr(Loop, "_count", crash)
    with pytest.raises(Crash):
        pellucid.fit(table(1200), directory=tmp_path, **QUICK)
    monkeypatch.undo()  # memory is there again
    resumed = pellucid.load(next(tmp_path.iterdir())).resume(table(1200))
    assert resumed.history[-1]["step"] == 2 * 96


@pytest.mark.parametrize(
    ("options", "batch_size", "said"),
    [
        ({}, 2, "batches of 2 are used"),
        ({"batch_size": 32}, 32, "use --batch-size 16"),
    ],
)
def test_memory_that_will_not_do_is_said_before(
    options: dict[str, Any], batch_size: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step needs a mebibyte a sample, and two and a half can be taken."""
    monkeypatch.setattr(decisions, "step_bytes", lambda loop, inputs, targets, size: size * 2**20)
    monkeypatch.setattr(decisions, "available_bytes", lambda device: int(2.5 * 2**20))
    heard = Heard()
    run = fit.train(table(200), None, {**QUICK, **options, "directory": tmp_path}, heard)
    assert record(run, "plan")["batch_size"] == batch_size
    assert [line for line in heard.said if said in line]


def test_a_loader_is_told_that_its_batches_are_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "step_bytes", lambda *arguments: 2**40)
    monkeypatch.setattr(decisions, "available_bytes", lambda device: 2**30)
    X, y = table(200)
    part = TensorDataset(torch.from_numpy(X), torch.from_numpy(y))
    heard = Heard()
    fit.train((DataLoader(part, batch_size=32), DataLoader(part, batch_size=32)), None, {**QUICK, "directory": tmp_path}, heard)
    assert [line for line in heard.said if "a batch of your loader needs about 1.0 TiB of memory, and 1.0 GiB can be taken" in line]


def test_more_samples_need_more_memory(tmp_path: Path) -> None:
    """The estimate from four samples against what a step on many really keeps."""
    seen: dict[int, int] = {}
    counted = decisions.step_bytes

    class Asked(Exception):  # noqa: N818
        pass

    for size in (64, 256):

        def asked(loop: Loop, inputs: Any, targets: Any, batch_size: int) -> int:
            seen[batch_size] = counted(loop, inputs, targets, batch_size)
            return 0

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(decisions, "step_bytes", asked)
            run = pellucid.fit("digits", batch_size=size, directory=tmp_path, **{**QUICK, "network": "cnn", "epochs": 1})
        plan = record(run, "plan")
        assert seen[size] >= plan["activation_bytes"] >= 0.4 * (seen[size] - plan["parameter_bytes"] - plan["optimizer_bytes"])
    assert seen[256] > 2 * seen[64]


# ------------------------------------------------------------------------------------------------------------------ expected and actual

CHILD = """
import json, sys, time
time.perf_counter = time.process_time  # the seconds of this process alone: others who want the processor do not count
import torch
torch.set_num_threads(1)
from pellucid.training.fit import train
from pellucid.training.progress import Progress
options = json.loads(sys.argv[1])
begun = time.process_time()
run = train(options.pop("data"), options.pop("target"), options, Progress(), started=begun)
took = time.process_time() - begun
print(json.dumps({"took": took, "kind": run.summary.stopped.to_dict()["text"], **run.summary.cost.to_dict()}))
"""


def in_processor_seconds(options: dict[str, Any]) -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PELLUCID_LANGUAGE": "en"}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(options)], capture_output=True, text=True, encoding="utf-8", env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", ["digits", pytest.param("adult", marks=pytest.mark.shared_data)])
def test_expected_and_actual_agree(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    data: dict[str, Any] = {"data": "digits", "target": None}
    if name == "adult":
        data = {"data": str(request.getfixturevalue("shared_data") / "tabular" / "adult-train.csv"), "target": -1}
    cost = in_processor_seconds({**data, "patience": 10**6, "baselines": False, "directory": str(tmp_path)})
    assert cost["seconds"] == pytest.approx(cost["took"], rel=0.15, abs=0.5)
    assert cost["expected_seconds"] / 1.5 <= cost["took"] <= cost["expected_seconds"] * 1.5
    assert cost["expected_memory_bytes"] / 1.5 <= cost["peak_memory_bytes"] <= cost["expected_memory_bytes"] * 1.5


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("source", "seconds"), [("digits", 15.0), ("diabetes", 10.0)])
def test_a_command_ends_within_a_tenth_of_its_budget(source: str, seconds: float, tmp_path: Path) -> None:
    """With baselines and report."""
    cost = in_processor_seconds({"data": source, "target": None, "budget": seconds, "directory": str(tmp_path)})
    assert cost["took"] <= 1.1 * seconds
    assert cost["took"] >= 0.9 * seconds or "nothing more was learnt" in cost["kind"] or "epochs are done" in cost["kind"]
