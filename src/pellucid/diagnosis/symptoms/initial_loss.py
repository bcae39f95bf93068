"""What the loss is before the first step, and where it can go: above that of knowing nothing, or down without end."""

from __future__ import annotations

import math

from pellucid.core.language import Text, text
from pellucid.core.records import Change, Finding
from pellucid.diagnosis.registry import symptom
from pellucid.diagnosis.static.flow import line_of
from pellucid.diagnosis.static.program import Program
from pellucid.diagnosis.symptoms.losses import BINARY, place_in_loss
from pellucid.diagnosis.symptoms.outputs import class_axis, finding, shown

SURPRISED = 3.0  # first loss over that of knowing nothing
# A minus sign before them makes them fall without end.
BOUNDED = frozenset({
    "cross_entropy", "binary_cross_entropy", "binary_cross_entropy_with_logits", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss",
})  # fmt: skip


# -- flipped_gradient --------------------------------------------------------------------------------------------------------------------


@symptom("traced_flipped_gradient", reads=Program)
def flipped_gradient(program: Program) -> list[Finding]:
    """A loss that is at most 0 and can fall without end, made of terms that are at least 0: a minus sign too many, or one too few.

    A policy's gain, log p times an advantage of either sign, is above 0 as well; a similarity ends at -1.
    """
    if not program.traced or program.trace.loss is None or not program.comparisons:
        return []
    reach = program.flow.ranges[program.trace.loss]
    if reach.high > 0 or reach.low > -math.inf or any(one.kind not in BOUNDED for one in program.comparisons):
        return []
    if any(one.target.value not in program.flow.targets for one in program.comparisons):
        return []  # what meets no target may be an entropy, or a generator's log(1 - p)
    term = program.comparisons[0]
    return [
        finding(
            "flipped_gradient", "fault", 0.93, line_of(term.operation) or place_in_loss(term),
            text(
                "The loss has the wrong sign: it is at most 0 and falls without end ({loss} before the first step), the more wrong the "
                "answers are. What is minimised is minus {name}.",
                loss=shown(program.loss or 0.0), name=term.kind,
            ),
            {"loss": program.loss, "highest_loss": reach.high, "term": term.kind, "expected": {"lowest_loss": "0"}},
            text("turn the sign round: minimise minus the logarithm of the likelihood, or the loss itself"), Change(kind="minimise"),
        )
    ]  # fmt: skip


# -- initial_loss ------------------------------------------------------------------------------------------------------------------------


@symptom("initial_loss", reads=Program)
def initial_loss(program: Program) -> list[Finding]:
    """The first loss against theory: a network that knows nothing pays ln K, or the targets' mean square. What is above has a cause.

    Source: A. Karpathy, A recipe for training neural networks, 2019 ("verify loss @ init").
    """
    known = knowing_nothing(program)
    if known is None or program.loss is None or not math.isfinite(program.loss) or program.loss < SURPRISED * known[0]:
        return []
    theory, name = known
    return [
        finding(
            "initial_loss", "advice", 0.6, place_in_loss(program.comparisons[0]),
            text(
                "The first loss is {loss}, and a network that knows nothing would pay {theory} ({name}): it starts sure of wrong answers.",
                loss=shown(program.loss), theory=shown(theory), name=name,
            ),
            {"loss": program.loss, "theory": theory, "expected": {"loss": f"about {theory:.3g}"}},
            text("look at the scale of the inputs and of the first weights; start the last layer smaller"), None,
        )
    ]  # fmt: skip


def knowing_nothing(program: Program) -> tuple[float, Text] | None:
    """What a network pays that knows nothing, and how that is called; None for a loss whose value theory does not tell."""
    averaged = program.growth is not None and 0.8 <= program.growth <= 1.2
    if not averaged or len(program.comparisons) != 1 or program.comparisons[0].by_hand:
        return None
    comparison = program.comparisons[0]
    output, wanted = program.flow.tensor(comparison.prediction), program.flow.tensor(comparison.target).double()
    if comparison.reduction not in ("mean", "sum"):
        return None
    # a sum that does not grow with the batch is one over the entries of a sample
    entries = wanted.numel() / max(program.samples, 1) if comparison.reduction == "sum" else 1.0
    if comparison.kind == "cross_entropy" and output.dim() and output.shape[class_axis(output)] > 1:
        return entries * math.log(output.shape[class_axis(output)]), text("ln K for K classes")
    if comparison.kind in BINARY:
        return entries * math.log(2), text("ln 2")
    if comparison.kind == "mse_loss" and output.shape == wanted.shape and bool((wanted != 0).any()):
        return entries * float((wanted**2).mean()), text("the mean square of the targets")
    return None
