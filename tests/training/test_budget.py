"""A time budget, on a clock that the tests move: the schedule ends when the time does, whatever becomes of the speed; resuming is exact."""

from __future__ import annotations

import itertools
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import pellucid
from pellucid.core.errors import OptionError
from pellucid.training import budget as budget_module
from pellucid.training import decisions, fit
from pellucid.training.budget import Budget, Timekeeper, was_cut_short
from pellucid.training.loop import Loop
from pellucid.training.progress import Progress
from pellucid.training.schedules import Schedule
from pellucid.training.trial import Trial
from training.trainings import table


class Clock:
    """A clock that stands still until somebody moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(budget_module, "clock", made)
    return made


def simulated(
    clock: Clock,
    seconds: float,
    speed: Callable[[float, int], float],
    *,
    planned: float,
    epoch_end: float = 0.0,
    tail: float = 0.0,
    per_epoch: int = 50,
    most: int = 10**9,
    schedule: str = "one_cycle",
    learns_until: int | None = None,
    real_tail: float | None = None,
) -> tuple[Schedule, int, float, list[Schedule]]:
    """A training whose update number n takes speed(spent, n) seconds, as the loop makes it: looks every fifth of a second, measuring after
    epochs. Gives the schedule, the updates made, the seconds spent in all, and what was written."""  # fmt: skip
    written: list[Schedule] = []
    budget = Budget(seconds, clock.now)
    keeper = Timekeeper(
        budget, tail_seconds=tail, step_seconds=planned, epoch_end_seconds=epoch_end, steps_per_epoch=per_epoch, most_steps=most,
        write=written.append,
    )  # fmt: skip
    steps = int((budget.left() - tail) / (planned + epoch_end / per_epoch))
    current = Schedule(schedule, min(steps, most), 0.1)
    keeper.begin(0)
    step, next_look = 0, clock.now + 0.2
    while step < current.end:
        clock.now += speed(budget.spent(), step)
        step += 1
        if clock.now >= next_look:
            current = keeper.look(step, current)
            next_look = clock.now + 0.2
        if step % per_epoch == 0:
            clock.now += epoch_end
            keeper.epoch_measured(epoch_end)
            if learns_until is not None and step > learns_until:
                shorter = keeper.wind_down(step, current)
                if shorter is None:
                    break
                current = shorter
    clock.now += tail if real_tail is None else real_tail
    return current, step, budget.spent(), written


SPEEDS: dict[str, Callable[[float, int], float]] = {
    "as measured": lambda spent, step: 0.01,
    "twice as slow from the start": lambda spent, step: 0.02,
    "twice as slow from half way": lambda spent, step: 0.01 if spent < 30 else 0.02,
    "five times as slow near the end": lambda spent, step: 0.01 if spent < 54 else 0.05,
    "twice as fast from half way": lambda spent, step: 0.01 if spent < 30 else 0.005,
    "others come and go": lambda spent, step: 0.01 if int(spent / 7) % 2 else 0.025,
    "noise": lambda spent, step: 0.01 * (1 + random.Random(step).random()),
    "a long pause": lambda spent, step: 8.0 if step == 2000 else 0.01,
}


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "warmup", "step"])
@pytest.mark.parametrize("name", SPEEDS)
def test_the_command_ends_in_time_and_the_rate_has_come_down(name: str, schedule: str, clock: Clock) -> None:
    made, steps, spent, written = simulated(clock, 60.0, SPEEDS[name], planned=0.01, epoch_end=0.1, tail=3.0, schedule=schedule)
    assert 0.9 * 60 <= spent <= 1.0 * 60
    assert steps == made.end
    assert made.learning_rate(steps - 1) <= 0.012  # a tenth for "step", next to nothing for the others
    assert not was_cut_short(made)
    assert len(written) <= 30  # each is a write to the disk
    assert written[-1:] == ([made] if made.turns else [])
    rates = [made.learning_rate(step) for step in range(steps)]
    if schedule != "step":
        assert max(abs(later - earlier) for earlier, later in itertools.pairwise(rates)) < 0.1 * 0.1  # no jump at a turn


def test_nothing_is_changed_where_the_speed_is_the_measured_one(clock: Clock) -> None:
    made, _, _, written = simulated(clock, 60.0, lambda spent, step: 0.01, planned=0.01, epoch_end=0.1, tail=3.0)
    assert (made.turns, written) == ((), [])


@pytest.mark.parametrize("seconds", [1.0, 5.0, 3600.0])
def test_short_and_long_budgets(seconds: float, clock: Clock) -> None:
    """The speed is 1.7 times slower than measured; the hour's updates take half a second each."""
    step_seconds = seconds / 7200
    made, steps, spent, _ = simulated(clock, seconds, lambda spent, step: 1.7 * step_seconds, planned=step_seconds, tail=0.05 * seconds)
    assert 0.9 * seconds <= spent <= 1.0 * seconds
    assert made.learning_rate(steps - 1) < 0.002


def test_updates_that_are_long_beside_the_budget(clock: Clock) -> None:
    """Twelve were planned; they take half as long again."""
    _, steps, spent, _ = simulated(clock, 60.0, lambda spent, step: 6.0, planned=4.0, tail=6.0, per_epoch=100)
    assert steps in (8, 9)
    assert spent <= 1.1 * 60


def test_what_comes_after_training_is_expected_to_be_slower_too_where_training_is(clock: Clock) -> None:
    _, _, spent, _ = simulated(clock, 60.0, lambda spent, step: 0.02, planned=0.01, tail=6.0, real_tail=12.0)
    assert 0.9 * 60 <= spent <= 1.05 * 60


def test_time_that_is_up_at_once_is_said(clock: Clock) -> None:
    """A pause longer than all that was left: one more update, and the schedule says that it was cut."""
    made, steps, spent, _ = simulated(clock, 60.0, lambda spent, step: 48.5 if step == 1000 else 0.01, planned=0.01)
    assert made.turns[-1].reason == "end"
    assert was_cut_short(made)
    assert steps <= 1003
    keeper = Timekeeper(Budget(60.0, 0.0), tail_seconds=0, step_seconds=None, epoch_end_seconds=0, steps_per_epoch=1, most_steps=9,
                        write=lambda schedule: None)  # fmt: skip
    assert "before the learning rate had come to its end" in str(keeper.reason_to_stop(made)[1])
    assert spent <= 1.1 * 60


def test_no_more_updates_than_are_of_use(clock: Clock) -> None:
    made, steps, spent, written = simulated(clock, 60.0, lambda spent, step: 0.001, planned=0.01, most=4000)
    assert steps == 4000
    assert spent < 10
    assert made.turns == ()
    assert written == []


# ----------------------------------------------------------------------------------------------------------- nothing more is learnt


def test_a_training_that_has_learnt_winds_down_instead_of_being_cut(clock: Clock) -> None:
    made, steps, spent, _ = simulated(clock, 60.0, lambda spent, step: 0.01, planned=0.01, learns_until=2500)
    assert made.turns[-1].reason == "learnt"
    assert steps == pytest.approx(2550 * 1.2, abs=60)
    assert made.learning_rate(steps - 1) < 0.001
    assert spent < 0.6 * 60
    keeper = Timekeeper(Budget(60.0, 0.0), tail_seconds=0, step_seconds=None, epoch_end_seconds=0, steps_per_epoch=1, most_steps=9,
                        write=lambda schedule: None)  # fmt: skip
    assert keeper.reason_to_stop(made)[0] == "patience"


def test_a_rate_that_has_not_yet_risen_has_not_had_its_chance(clock: Clock) -> None:
    """No progress from the first epoch on: the one-cycle schedule still rises through its first 30 %."""
    made, steps, _, _ = simulated(clock, 60.0, lambda spent, step: 0.01, planned=0.01, learns_until=0)
    first = made.turns[-1].step
    assert made.position(first) >= 0.3 * made.total_steps
    assert max(made.learning_rate(step) for step in range(steps)) == pytest.approx(0.1, rel=0.01)


def test_winding_down_is_made_shorter_when_time_runs_out_and_never_longer(clock: Clock) -> None:
    slow = simulated(clock, 60.0, lambda spent, step: 0.01 if step < 4400 else 0.05, planned=0.01, learns_until=4300)
    assert slow[0].turns[-1].reason == "learnt"
    assert slow[2] <= 60
    assert slow[0].learning_rate(slow[1] - 1) < 0.001
    fast = simulated(clock, 60.0, lambda spent, step: 0.01 if step < 3000 else 0.002, planned=0.01, learns_until=2900)
    assert fast[1] == fast[0].turns[-1].total < 4000


def test_a_constant_rate_has_nothing_to_bring_down(clock: Clock) -> None:
    _, steps, _, _ = simulated(clock, 60.0, lambda spent, step: 0.01, planned=0.01, learns_until=1000, schedule="constant")
    assert steps == 1050


# ------------------------------------------------------------------------------------------------------------------- whole trainings

OPTIONS: dict[str, Any] = {
    "network": "mlp", "learning_rate": 0.01, "batch_size": 16, "checkpoint_interval": 0.0, "patience": 10**6, "budget": 10,
    "baselines": False, "report": False,
}  # fmt: skip


class Crash(Exception):  # noqa: N818 (what it is)
    """Thrown in a step."""


Train = Callable[..., Path]


@pytest.fixture
def train(clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Train:
    """A training with a budget of 10 s in which an update takes 20 ms, as the trial says, and 50 ms from the 120th on.

    Every figure in which time has a part is the test clock's, so that two trainings make the same decisions at the same updates.
    """
    update, folders = Loop.update, itertools.count()

    def of(dies_at: int | None = None, resume: Path | None = None) -> Path:
        def slower(loop: Loop, inputs: Any, targets: Any) -> Any:
            if loop.step == dies_at:
                raise Crash
            clock.now += 0.02 if loop.step < 120 else 0.05
            return update(loop, inputs, targets)

        monkeypatch.setattr(Loop, "update", slower)
        if resume is not None:
            return pellucid.load(resume).resume(table(200), started=clock.now).directory
        folder = tmp_path / str(next(folders))
        try:
            fit.train(table(200), None, {**OPTIONS, "directory": folder}, Progress(), started=clock.now)
        except Crash:
            assert dies_at is not None
        return next(folder.iterdir())

    monkeypatch.setattr(Loop, "command_seconds", lambda loop: loop.earlier_seconds + clock.now - loop.started)
    monkeypatch.setattr(Timekeeper, "epoch_measured", lambda keeper, seconds: None)
    monkeypatch.setattr(decisions, "try_out", lambda *arguments, **named: Trial(5, 0.02, 0.0, 0.0, 0.0, 1, 1, 1, None))
    monkeypatch.setattr(decisions, "step_bytes", lambda *arguments: 0)
    return of


def decided(run: Path) -> dict[str, Any]:
    return json.loads((run / "records" / "decisions.json").read_text(encoding="utf-8"))


def rows(run: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    for row in found:
        del row["seconds"]
    return found


@pytest.mark.slow
def test_a_budgeted_training_gone_on_with_reads_what_was_decided(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train()
    turns = decided(whole)["turns"]
    assert len(turns) >= 2
    assert all(turn["step"] > 100 for turn in turns)
    last = rows(whole)[-1]
    assert last["step"] == turns[-1]["total"]
    assert last["learning_rate"] < 0.0005
    expected = pellucid.load(whole)._directory.load_weights()[0]

    # A crash at any update, and every later decision already on the disk: the same bytes in the end.
    for dies_at in (3, 130, turns[0]["step"], turns[0]["step"] + 1, turns[-1]["step"] - 1, turns[-1]["total"] - 1):
        run = train(dies_at=dies_at)
        before = decided(run)["turns"]
        assert before == [turn for turn in turns if turn["step"] <= dies_at]  # decisions are written before they take effect
        shutil.copy(whole / "records" / "decisions.json", run / "records" / "decisions.json")
        with monkeypatch.context() as patched:
            patched.setattr(Timekeeper, "look", lambda keeper, step, schedule: schedule)  # nothing is decided that was not
            train(resume=run)
        assert rows(run) == rows(whole)
        found = pellucid.load(run)._directory.load_weights()[0]
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_budgeted_training_gone_on_with_takes_what_is_left(train: Train, clock: Clock) -> None:
    begun = clock.now
    run = train(dies_at=150)
    spent = clock.now - begun
    clock.now += 5000.0  # the night between two days costs nothing
    again = clock.now
    train(resume=run)
    tail = decisions.RECORDS_SECONDS + decisions.BASELINE_SHARE * 10
    assert 9.0 <= spent + clock.now - again + 2.5 * tail <= 11.0  # all is two and a half times slower now than the trial said
    summary = pellucid.load(run).summary
    assert summary is not None
    assert "time budget" in str(summary.stopped)


def test_a_budget_that_holds_no_training_is_refused_with_the_least_that_does(tmp_path: Path) -> None:
    with pytest.raises(OptionError) as caught:
        pellucid.fit("digits", budget=0.01, directory=tmp_path)
    assert "budget" in str(caught.value.got)
    assert "--budget" in str(caught.value.do)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("reading", "asked"), [(0.0, 0.5), (30.0, 20.0)])
def test_a_budget_that_is_too_short_is_refused_as_soon_as_that_is_known(
    reading: float, asked: float, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the data are read where no reading could be quick enough; after they are read where that took the time; no trial is made."""
    reached: list[str] = []

    def read(*arguments: Any, **named: Any) -> Any:
        reached.append("read")
        clock.now += reading
        return original(*arguments, **named)

    original = fit.data.read
    monkeypatch.setattr(fit.data, "read", read)
    monkeypatch.setattr(fit, "plan", lambda *arguments: reached.append("planned"))
    with pytest.raises(OptionError, match="measuring the result takes"):
        fit.train("iris", None, {"budget": asked, "directory": tmp_path}, Progress(), started=clock.now)
    assert reached == (["read"] if reading else [])
    assert not list(tmp_path.iterdir())
