"""Where the thresholds of the watched symptoms come from: the statistic of each in healthy programs and in programs with its fault.

    python benchmarks/watch_thresholds.py [--seeds 5]

The programs are those of tests/diagnosis/symptoms: networks of many kinds, optimisers, data and loops, and the same with one thing wrong.
For each statistic the extremes over healthy and faulty programs stand beside the threshold: the margin is the factor from the threshold to
the nearest healthy program. Then every program is examined: how many faults are found, as a root or as a consequence, and how many
healthy programs raise an alarm. The exit status is 1 where more than 1 % of the healthy trainings raise a fault, more than 5 % an
advice, or less than 95 % of the faults are found.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from measurement import met, report, table, verdict

sys.path.pop(0)  # this folder, whose diagnosis.py would hide the tests' package of that name
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from diagnosis.symptoms.faults import FAULTY
from diagnosis.symptoms.healthy import ADVICE, HEALTHY
from diagnosis.symptoms.programs import observed
from diagnosis.symptoms.unusual import UNUSUAL
from pellucid.diagnosis.causes import examine
from pellucid.diagnosis.dynamic.course import course_of, latest, numbers
from pellucid.diagnosis.dynamic.observations import Observations
from pellucid.diagnosis.symptoms import activations, gradients, program, step_size


@dataclass(frozen=True)
class Statistic:
    """A number of a training. `high`: the fault lies above the threshold. `asked`: whether the symptom asks this training at all."""

    symptom: str
    name: str
    of: Callable[[Observations], float | None]
    threshold: float
    high: bool
    asked: Callable[[Observations], bool] = lambda seen: True


def does_not_learn(seen: Observations) -> bool:
    course = course_of(seen)
    return course is not None and course.minimised and not course.learns


def has_much_left(seen: Observations) -> bool:
    """Not one that goes on from a state in which it has learnt: its steps are small rightly."""
    course = course_of(seen)
    return does_not_learn(seen) and course is not None and (course.trivial is None or course.now >= step_size.MUCH_LEFT * course.trivial)


def dead(seen: Observations) -> float | None:
    return max(
        (activations.dead_share(layer) for layer in seen.layers if layer.rectifier and layer.units >= activations.SEVERAL), default=None
    )


def saturated(seen: Observations) -> float | None:
    hidden = [layer for layer in seen.layers if layer.bounds is not None and latest(layer.saturated, activations.LOOKS)]
    return max((min(latest(layer.saturated, activations.LOOKS)) for layer in hidden[:-1]), default=None)


def spread(seen: Observations) -> float | None:
    output = seen.layer("")
    recent = activations.relative_spread(output)[-activations.LOOKS :] if output is not None else ()
    return max(recent, default=None)


def largest_step(seen: Observations) -> float | None:
    return max((ratio for weight in gradients.matrices(seen) for ratio in numbers(weight.ratio)), default=None)


def largest_fall(seen: Observations) -> float | None:
    return max(step_size.demanded_falls(seen), default=None)


def uncleared(seen: Observations) -> float | None:
    return seen.gradients.uncleared / seen.gradients.intervals if seen.gradients.intervals else None


def order(seen: Observations) -> float | None:
    facts = seen.targets
    if facts.seen != "classes" or facts.expected_equal is None or facts.neighbours < 30:
        return None
    return (facts.equal_neighbours - facts.expected_equal) / max(facts.neighbours - facts.expected_equal, 1e-9)


def alignment(seen: Observations) -> float | None:
    known = numbers(seen.gradients.alignment)
    return median(known) if known else None


def turning(seen: Observations) -> float | None:
    values = numbers(seen.loss.values)[-step_size.WINDOW :]
    return step_size.turning_points(values) if len(values) == step_size.WINDOW else None


def second_step(seen: Observations) -> float | None:
    steps = sorted(step_size.relative_steps(seen))
    return steps[-2] if len(steps) > 1 else None


STATISTICS = [
    Statistic("vanishing_gradient", "gradient per weight, first layer / last", gradients.backward_ratio, gradients.FADED, False),
    Statistic("exploding_gradient", "gradient per activation, first layer / last", gradients.backward_growth, gradients.GROWN, True),
    Statistic("exploding_gradient", "|g| |w| / L", lambda seen: gradients.sensitivity(seen)[0], gradients.SENSITIVE, True),
    Statistic("lr_too_high", "update / weight, second largest", second_step, step_size.LARGE_STEP, True, does_not_learn),
    Statistic("lr_too_high", "promised fall / loss", largest_fall, step_size.UNSTABLE, True, does_not_learn),
    Statistic("lr_too_low", "largest update / weight", largest_step, step_size.SMALL_STEP, False, has_much_left),
    Statistic("oscillation", "turning points", turning, step_size.ALTERNATING, True, does_not_learn),
    Statistic("dead_relu", "share of dead units", dead, activations.DEAD_ADVICE, True),
    Statistic("saturation", "share at the bounds", saturated, activations.SATURATED, True),
    Statistic("constant_output", "deviation across samples / size", spread, activations.SAME, False),
    Statistic("missing_zero_grad", "share of updates without clearing", uncleared, program.HABIT, True),
    Statistic("flipped_gradient", "cosine of update and -gradient", alignment, program.UPHILL, False),
    Statistic("no_shuffle", "from random order (0) to sorted (1)", order, program.SORTED, True),
]  # fmt: skip


def row_of(statistic: Statistic, healthy: list[Observations], faulty: list[Observations]) -> dict[str, Any]:
    well = [value for seen in healthy if statistic.asked(seen) and (value := statistic.of(seen)) is not None]
    ill = [value for seen in faulty if (value := statistic.of(seen)) is not None]
    nearest = (max if statistic.high else min)(well, default=None)
    separates = nearest is None or (nearest < statistic.threshold if statistic.high else nearest > statistic.threshold)
    return {
        "symptom": statistic.symptom,
        "statistic": statistic.name,
        "threshold": f"{'>' if statistic.high else '<'} {statistic.threshold:g}",
        "healthy": f"{min(well):.2g} ... {max(well):.2g} ({len(well)})" if well else "none asked",
        "with the fault": f"{min(ill):.2g} ... {max(ill):.2g} ({len(ill)})" if ill else "-",
        "met": met(separates),
    }


def told(seen: Observations) -> set[str]:
    names: set[str] = set()
    for finding in examine(seen):
        names |= {finding.symptom, *(str(consequence["symptom"]) for consequence in finding.evidence.get("consequences", ()))}
    return names


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    seeds = range(parser.parse_args().seeds)
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="Using a target size")
    right = {**HEALTHY, **UNUSUAL}
    healthy = {(name, seed): observed(program, seed) for name, program in right.items() for seed in seeds}
    faulty = {
        symptom: {(name, seed): observed(programs[name], seed) for name in programs for seed in seeds}
        for symptom, programs in FAULTY.items()
    }
    rows = [row_of(one, list(healthy.values()), list(faulty[one.symptom].values())) for one in STATISTICS]

    recall: list[dict[str, Any]] = []
    for symptom, runs in faulty.items():
        name = symptom.removeprefix("watched_")
        roots = sum(any(finding.symptom == name for finding in examine(seen)) for seen in runs.values())
        found = sum(name in told(seen) for seen in runs.values())
        recall.append(
            {"symptom": name, "programs x seeds": len(runs), "found": found, "as the root": roots, "met": met(found >= 0.95 * len(runs))}
        )
    alarms: list[dict[str, Any]] = []
    for (name, seed), seen in healthy.items():
        for finding in examine(seen):
            if (finding.symptom, finding.level) != (ADVICE.get(name), "advice"):
                alarms.append({"program": name, "seed": seed, "level": finding.level, "finding": str(finding.summary)})
    faults = sum(alarm["level"] == "fault" for alarm in alarms)
    print(table(recall))
    print(f"\n{len(healthy)} healthy trainings ({len(right)} programs): {faults} faults, {len(alarms) - faults} advices")
    for alarm in alarms:
        print(f"    {alarm['program']}, seed {alarm['seed']}: {alarm['level']}: {alarm['finding']}")
    print()
    report("watch_thresholds", rows, {"recall": recall, "healthy": len(healthy), "alarms": alarms})
    few = faults <= 0.01 * len(healthy) and len(alarms) - faults <= 0.05 * len(healthy)
    return verdict([*rows, *recall, {"alarms": len(alarms), "met": met(few)}])


if __name__ == "__main__":
    raise SystemExit(main())
