"""Schedules against torch.optim.lr_scheduler, step for step, and at their edges."""

from __future__ import annotations

import time

import pytest
import torch
from torch.optim import lr_scheduler

from pellucid.core.errors import OptionError
from pellucid.core.options import BY_NAME
from pellucid.training.schedules import RISES, SCHEDULES, Schedule, Turn

PEAK = 0.4


def of_torch(make, steps):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)
    scheduler = make(optimizer)
    rates = []
    for step in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step + 1 < steps:
            scheduler.step()
    return rates


def warmup_of_torch(optimizer, steps):
    rise = -(-steps // 10)
    up = lr_scheduler.LinearLR(optimizer, start_factor=1 / rise, end_factor=1.0, total_iters=max(rise - 1, 1))
    down = lr_scheduler.LinearLR(optimizer, start_factor=1.0, end_factor=1 / (steps - rise), total_iters=steps - rise - 1)
    return lr_scheduler.SequentialLR(optimizer, [up, down], milestones=[rise])


REFERENCES = {
    "constant": lambda o, steps: lr_scheduler.ConstantLR(o, factor=1.0),
    "step": lambda o, steps: lr_scheduler.StepLR(o, step_size=-(-steps // 3), gamma=0.1),
    "cosine": lambda o, steps: lr_scheduler.CosineAnnealingLR(o, T_max=steps),
    "one_cycle": lambda o, steps: lr_scheduler.OneCycleLR(o, max_lr=PEAK, total_steps=steps, cycle_momentum=False),
    "warmup": warmup_of_torch,
    "linear": lambda o, steps: lr_scheduler.LinearLR(o, start_factor=1.0, end_factor=0.0, total_iters=steps),
}


def test_every_schedule_has_a_reference():
    assert set(REFERENCES) == set(SCHEDULES) == set(BY_NAME["schedule"].choices)


@pytest.mark.filterwarnings("ignore:The epoch parameter in:UserWarning")  # torch's SequentialLR calls itself in the deprecated way
@pytest.mark.parametrize("steps", [20, 97, 300])
@pytest.mark.parametrize("name", SCHEDULES)
def test_against_torch(name, steps):
    schedule = Schedule(name, steps, PEAK)
    rates = [schedule.learning_rate(step) for step in range(steps)]
    assert rates == pytest.approx(of_torch(lambda o: REFERENCES[name](o, steps), steps), rel=1e-9)
    assert max(rates) == pytest.approx(PEAK, rel=0.02)


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 4, 7])
@pytest.mark.parametrize("name", SCHEDULES)
def test_short_trainings_and_steps_past_the_end(name, steps):
    schedule = Schedule(name, steps, PEAK)
    rates = [schedule.learning_rate(step) for step in range(steps + 5)]
    assert all(0 < rate <= PEAK for rate in rates)
    assert len(set(rates[max(steps - 1, 0) :])) == 1  # the last rate stays


def test_apply_sets_every_group():
    a, b = (torch.zeros(1, requires_grad=True) for _ in range(2))
    optimizer = torch.optim.SGD([{"params": [a]}, {"params": [b], "lr": 5.0}], lr=1.0)
    Schedule("cosine", 10, PEAK).apply(optimizer, 5)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([PEAK / 2, PEAK / 2])
    device_rate = torch.tensor(1.0)
    optimizer = torch.optim.SGD([a], lr=device_rate)
    Schedule("cosine", 10, PEAK).apply(optimizer, 5)
    assert optimizer.param_groups[0]["lr"] is device_rate
    assert device_rate.item() == pytest.approx(PEAK / 2)


@pytest.mark.parametrize("name", SCHEDULES)
def test_costs_nothing(name):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = Schedule(name, 10_000, PEAK)
    best = min(_seconds(schedule, optimizer) for _ in range(5))
    assert best < 5e-6  # about 0.5 us on an idle machine; this one may be busy


def _seconds(schedule, optimizer):
    start = time.perf_counter()
    for step in range(1000):
        schedule.apply(optimizer, step)
    return (time.perf_counter() - start) / 1000


def test_unknown():
    with pytest.raises(OptionError, match="did you mean 'cosine'"):
        Schedule("cosin", 1, 1.0)


# --------------------------------------------------------------------------------------------------------------- changes of plan on the way

TURNS = {
    "slower": (Turn(40, 60, "clock"),),
    "faster": (Turn(10, 250, "clock"),),
    "slower, then faster, then learnt": (Turn(20, 50, "clock"), Turn(30, 400, "clock"), Turn(200, 220, "learnt")),
    "at once to the end": (Turn(70, 71, "end"),),
}


@pytest.mark.parametrize("turns", TURNS.values(), ids=TURNS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_turns_go_on_where_the_rate_was_and_end_where_the_schedule_ends(name, turns):
    plain = Schedule(name, 100, PEAK)
    schedule = Schedule(name, 100, PEAK)
    for turn in turns:
        before = schedule
        schedule = schedule.turned(turn)
        steps = range(turn.step)
        assert [schedule.learning_rate(step) for step in steps] == [before.learning_rate(step) for step in steps]  # bit for bit
        if turn.total > turn.step + 1:
            assert schedule.position(turn.step) == pytest.approx(before.position(turn.step))
    assert schedule.end == turns[-1].total
    assert schedule.position(schedule.end - 1) == pytest.approx(99)
    assert schedule.learning_rate(schedule.end - 1) == pytest.approx(plain.learning_rate(99))
    positions = [schedule.position(step) for step in range(schedule.end)]
    assert positions == sorted(positions)


@pytest.mark.parametrize("name", SCHEDULES)
def test_what_is_left_of_the_schedule_is_stretched_evenly(name):
    """A turn half way that doubles what is left: every second rate is one of the plan's."""
    plain = Schedule(name, 101, PEAK)
    turned = plain.turned(Turn(50, 151, "clock"))
    assert [turned.learning_rate(50 + 2 * k) for k in range(51)] == pytest.approx([plain.learning_rate(50 + k) for k in range(51)])


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_has_risen_where_its_rate_can_only_fall(name):
    schedule = Schedule(name, 200, PEAK).turned(Turn(20, 400, "clock"))
    rates = [schedule.learning_rate(step) for step in range(400)]
    assert schedule.decays == (name in RISES) == (rates[-1] < PEAK / 2)
    for step in range(400):
        if schedule.has_risen(step):
            assert all(later <= earlier for earlier, later in zip(rates[step:], rates[step + 1 :], strict=False))
    assert schedule.has_risen(399) == schedule.decays
