"""The reference's influence: does the explanation still hold where "absent" means something else?"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pellucid.core.language import text
from pellucid.explanation.faithfulness.removals import Removals, without
from pellucid.explanation.faithfulness.score import FaithfulnessScore, mean_of
from pellucid.explanation.players import Players
from pellucid.explanation.reference import KINDS, Reference
from pellucid.explanation.subject import Subject

PAIRS, ALL = 3, 24  # of orders, an order and its reverse: of a sample at most, of all samples together
REFERENCES = 2
LEAST = 0.5


def reference_scores(
    maps: Tensor, table: Removals, subject: Subject, reference: Reference, players: Players, data: Any, generator: torch.Generator
) -> tuple[FaithfulnessScore, ...]:
    """For up to two other references: the correlation of predicted with real changes there, per that with the explanation's own reference.

    Reported only: what is true of one meaning of "absent" need not be of another.
    Source: Sturmfels, Lundberg and Lee 2020, section "comparing baselines".
    """
    per, half, pairs = len(table.removed) // len(table.orders), len(table.orders) // 2, min(PAIRS, max(1, ALL // subject.samples))
    orders = torch.tensor([*range(pairs), *range(half, half + pairs)])
    sets = (orders[:, None] * per + torch.arange(per)).reshape(-1)
    removed = table.removed[sets]
    own = Removals(removed, table.outputs[:, sets], table.full, table.orders[orders]).explained(maps)
    sample = torch.arange(subject.samples).repeat_interleave(len(sets))
    found = []
    for kind, other in _others(subject, reference, data, generator):
        outputs = without(subject, other, players, sample, removed.repeat(subject.samples, 1))
        there = Removals(removed, outputs.reshape(subject.samples, len(sets), -1), table.full, table.orders[orders]).explained(maps)
        value, interval, samples = mean_of(there / own.mean() if float(own.mean()) > 1e-6 else torch.zeros_like(there))
        found.append(FaithfulnessScore(
            name=f"reference_{kind}", value=value, interval=interval, samples=samples, passed=True if value >= LEAST else None,
            expected=text("near 1; below {least} the explanation holds for its own reference only", least=LEAST),
            source="Sturmfels, Lundberg and Lee 2020", note=other.stated,
        ))  # fmt: skip
    return tuple(found)


def _others(subject: Subject, reference: Reference, data: Any, generator: torch.Generator) -> list[tuple[str, Reference]]:
    table = subject.kind in ("table", "mixed")  # blurred over columns, a row is nothing
    background = data
    if background is None and subject.samples > 1 and (table or not any(subject.continuous)):
        background = subject.inputs
    if table:
        kinds = ["zero"] if background is None else ["mean", "samples", "zero"]
        kinds = [kind for kind in kinds if kind != reference.kind]
    elif not any(subject.continuous):
        kinds = [] if background is None or reference.kind == "samples" else ["samples"]
    else:
        kinds = [kind for kind in ("zero", "mean", "blur", "noise") if kind in KINDS and kind != reference.kind]
    found: list[tuple[str, Reference]] = []
    for kind in kinds:
        other = Reference.of(subject, kind, background, generator)
        if not any(_same(other, known) for known in (reference, *(made for _, made in found))):
            found.append((kind, other))
    return found[:REFERENCES]


def _same(one: Reference, two: Reference) -> bool:
    return one.count == two.count and all(
        torch.allclose(a.double().mean(0), b.double().mean(0), atol=1e-6) for a, b in zip(one.values, two.values, strict=True)
    )
