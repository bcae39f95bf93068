"""What a fault is, and all of them as one table: (cause, base program, strength) -> an Experiment with that fault and its labels.

A fault is a function of a base program and "mild" or "severe" that gives an `Injected`, or None where it does not apply. Its labels are
written down with it:

- causes: the names that count as right. More than one only where the same program is honestly described by either.
- also: what is true of such a program and follows from the cause. It is no answer, and no false one either.
- where: places that count as right, by name (layer path, "loss", "inputs", ...).
- structural: wrong whatever the numbers are, so that a fault must be told even where it costs nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from torch import nn

from diagnosis_programs.bases import BASES, PARTS, Base
from pellucid.diagnosis.experiments.experiment import Experiment

STRENGTHS = ("mild", "severe")
SAMPLE = 300
Maker = Callable[[Base, bool], "Injected | None"]


@dataclass(frozen=True, kw_only=True)
class Injected:
    """An experiment with one thing wrong, where its labels differ from those of its table row."""

    experiment: Experiment
    where: tuple[str, ...] = ()
    causes: str = ""
    also: str = ""
    structural: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """A fault's labels, and how it is put in."""

    cause: str
    family: str  # "static", "data" or "dynamic": when it can be known
    causes: frozenset[str]
    also: frozenset[str]
    where: tuple[str, ...]
    structural: bool
    early: bool  # must be seen within the first tenth of the steps
    make: Maker


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program whose diagnosis is known."""

    name: str
    part: str
    cause: str
    strength: str
    family: str
    causes: frozenset[str]
    also: frozenset[str]
    where: tuple[str, ...]
    structural: bool
    early: bool
    experiment: Experiment


CODE = {  # cause -> words of the source line at which it stands: a place may be told as FILE:LINE
    name: tuple(words.split())
    for name, words in {
        "wrong_output_activation": "design.output softmax sigmoid relu tanh FUNCTIONS[name]",
        "missing_output_activation": "design.output log softmax nll head out FUNCTIONS[name]",
        "wrong_loss": "loss entropy head out",
        "double_softmax": "design.output softmax sigmoid FUNCTIONS[name]",
        "softmax_wrong_axis": "design.output softmax FUNCTIONS[name]",
        "wrong_output_units": "design.output head out - expand",
        "unstable_loss": "log exp sqrt",
        "loss_reduction_sum": "sum",
        "shape_broadcast": "- mse loss",
        "missing_activation": "design.hidden hidden linear layer",
        "wrong_hidden_activation": "design.hidden activation softmax FUNCTIONS[name]",
        "saturating_activation": "design.hidden activation sigmoid FUNCTIONS[name]",
        "detached_branch": "detach .data no_grad",
        "wrong_mode": "dropout drop eval",
        "leaky_batch": "mixed view mean",
        "wrong_gradient": "apply gradient backward",
        "flipped_gradient": "-value -base.loss backward",
        "missing_zero_grad": "step backward",
    }.items()
}
ROWS: dict[str, Row] = {}


def fault(
    cause: str, *, family: str, where: tuple[str, ...], causes: str = "", also: str = "", structural: bool = False, early: bool = False
) -> Callable[[Maker], Maker]:
    """Register a fault under the name of its cause; `causes` and `also` are names apart by blanks, `cause` itself is always right."""

    def register(make: Maker) -> Maker:
        ROWS[cause] = Row(
            cause=cause, family=family, where=where, causes=frozenset({cause, *causes.split()}), also=frozenset(also.split()),
            structural=structural, early=early, make=make,
        )  # fmt: skip
        return make

    return register


@cache
def rows() -> dict[str, Row]:
    from diagnosis_programs import faults_of_data, faults_of_structure, faults_of_training  # noqa: F401  (register theirs)

    return ROWS


def named(cause: str, base: str, strength: str) -> Program | None:
    """The program of a fault, or None where the fault does not apply to the base program."""
    row, program = rows()[cause], BASES[base]
    made = row.make(program, strength == "severe")
    if made is None:
        return None
    where = made.where or row.where
    return Program(
        name=f"{cause}/{base}/{strength}", part=program.part, cause=cause, strength=strength, family=row.family,
        causes=frozenset(made.causes.split()) or row.causes, also=row.also | frozenset(made.also.split()),
        where=(*where, *numbered(made.experiment, where)), structural=row.structural if made.structural is None else made.structural,
        early=row.early, experiment=made.experiment,
    )  # fmt: skip


def numbered(experiment: Experiment, where: tuple[str, ...]) -> tuple[str, ...]:
    """Of an nn.Sequential, whose numbers shift with what is put in: what stands before the last layer, or that layer and what follows."""
    if not {"last", "layers"} & set(where):
        return ()
    model = experiment.model()
    paths = [path for path, _ in model.named_children()]
    weighty = [path for path, module in model.named_children() if getattr(module, "weight", None) is not None and path.isdigit()]
    if not isinstance(model, nn.Sequential) or not weighty:
        return ()
    return tuple(paths[paths.index(weighty[-1]) :] if "last" in where else paths[: paths.index(weighty[-1])])


def program(name: str) -> Program:
    found = named(*name.split("/"))
    if found is None:
        raise KeyError(name)
    return found


@cache
def sample(number: int = SAMPLE, seed: int = 0) -> tuple[str, ...]:
    """Names of `number` programs: both parts alike, causes in turn, then base programs and strengths by chance."""
    drawn = random.Random(seed)
    chosen: list[str] = []
    for part, share in zip(PARTS, (number // 2, number - number // 2), strict=True):
        waiting = {}
        for cause in rows():
            names = [f"{cause}/{base}/{strength}" for base in PARTS[part] for strength in STRENGTHS if named(cause, base, strength)]
            drawn.shuffle(names)
            waiting[cause] = names
        found: list[str] = []
        while len(found) < share and any(waiting.values()):
            for names in waiting.values():
                if names and len(found) < share:
                    found.append(names.pop())
        chosen += found
    return tuple(chosen)


def part_of(name: str) -> str:
    return BASES[name.split("/")[1]].part


def unlike(base: Base) -> bool:
    """A coin for each base program, so that a fault comes in two forms."""
    return sum(map(ord, base.name)) % 2 == 1


def tensors(base: Base) -> Any:
    """Copies of the data that may be changed: (inputs, targets), (inputs, targets)."""
    (inputs, targets), (test_inputs, test_targets) = base.data()
    return (inputs.clone(), targets.clone()), (test_inputs.clone(), test_targets.clone())
