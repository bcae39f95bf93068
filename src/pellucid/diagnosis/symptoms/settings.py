"""What the settings tell before the first step: suspicions that cost nothing, and that trials then prove or not."""

from __future__ import annotations

import math
from statistics import median

from pellucid.core.language import text
from pellucid.core.records import Change, Finding
from pellucid.diagnosis.registry import symptom
from pellucid.diagnosis.static.flow import argument, line_of, place_of, told_place
from pellucid.diagnosis.static.program import Program
from pellucid.diagnosis.symptoms.outputs import class_axis, finding, shown

# Weight decay: customary are 1e-5 to 5e-3 beside the gradient (SGD, Adam) and up to 0.5 apart from it (AdamW; Loshchilov and Hutter 2019).
DECAY, DECAY_APART = 0.1, 2.0
APART = frozenset({"AdamW", "Muon"})
DROPPED = 0.9  # of the values; N. Srivastava et al., Dropout, 2014, section 7.2: hidden units do best at 0.2 to 0.6
RATE = 2e-2  # of Adam and the like: the upper end of published recipes
STEP = 0.5  # rate over the weights' root mean square: the share of a weight that Adam's first steps change
# Digits and two made-up sets, 10 to 60 epochs, accuracy or R2 with Rprop of 1e-2 on all samples, half, a quarter, 64 and 16 of 1347 (450):
# 0.95 0.96 0.95 0.93 0.85; 0.84 0.80 0.75 0.74 0.70.
PART = 0.1  # of the training part, that a batch holds
SEVERAL = 4  # classes that a single number is to tell apart; two of three it can, at either end
ADAPTIVE = frozenset({"Adam", "AdamW", "NAdam", "RAdam", "Adamax"})


@symptom("traced_over_regularised", reads=Program)
def over_regularised(program: Program) -> list[Finding]:
    """A weight decay or a dropout probability far beyond what is customary."""
    limit = DECAY_APART if program.optimizer in APART else DECAY
    if program.decay >= limit:
        return [
            finding(
                "over_regularised", "advice", 0.6, "weight_decay",
                text("The weight decay {decay} is far larger than customary ({limit}): it may hold the weights near 0.",
                     decay=f"{program.decay:g}", limit=f"< {limit:g}"),
                {"weight_decay": program.decay, "expected": {"weight_decay": f"< {limit:g}"}},
                text("a hundredth of the weight decay, or none"), Change(kind="weight_decay", values={"value": 0.0}),
            )
        ]  # fmt: skip
    for operation in program.trace.operations if program.traced else ():
        share = argument(operation, 1, "p", 0.5)
        if "dropout" in operation.name and isinstance(share, float) and share >= DROPPED and argument(operation, 2, "training", True):
            return [
                finding(
                    "over_regularised", "advice", 0.6, line_of(operation) or place_of(operation),
                    text("Dropout at {place} takes {share:.0f} % of the values away.", place=told_place(operation), share=100 * share),
                    {"dropout": share, "expected": {"dropout": "0.1 to 0.6"}},
                    text("a smaller dropout probability, or none"), Change(kind="no_dropout"),
                )
            ]  # fmt: skip
    return []


@symptom("traced_lr_too_high", reads=Program)
def lr_too_high(program: Program) -> list[Finding]:
    """Adam's first steps are as large as the learning rate, whatever the gradient: beside the weights that can be much.

    Source: D. Kingma and J. Ba, Adam, 2015, section 2.1: the effective step is at most about the learning rate.
    """
    if not program.traced or program.optimizer not in ADAPTIVE or program.rate is None or program.rate <= RATE:
        return []
    sizes = [
        float(tensor.double().square().mean().sqrt())
        for name, one in program.trace.parameters.items()
        if name in program.owned and (tensor := program.trace.tensor(one)).dim() >= 2 and bool((tensor != 0).any())
    ]
    if not sizes or program.rate / median(sizes) < STEP:
        return []
    share = program.rate / median(sizes)
    return [
        finding(
            "lr_too_high", "advice", 0.55, "learning_rate",
            text(
                "With {optimizer} a step changes each weight by about the learning rate, {rate}: {share:.0f} % of the weights' size.",
                optimizer=program.optimizer, rate=f"{program.rate:g}", share=100 * share,
            ),
            {"learning_rate": program.rate, "update_over_weight": share, "expected": {"learning_rate": f"< {RATE:g}"}},
            text("learning rate {rate}", rate="0.001"), Change(kind="learning_rate", values={"rate": 1e-3}),
        )
    ]  # fmt: skip


@symptom("traced_wrong_optimizer", reads=Program)
def wrong_optimizer(program: Program) -> list[Finding]:
    """Rprop, which steps by the signs of the gradient alone and adapts each weight's step, on small parts of the training set.

    Source: M. Riedmiller and H. Braun, A direct adaptive method for faster backpropagation learning: the RPROP algorithm, 1993, which
    learns by epoch. Nine batches with a gradient of 0.1 and one of -0.9 ought to cancel and do not: G. Hinton, Neural networks for
    machine learning, 2012, lecture 6e.
    """
    if program.optimizer != "Rprop" or program.own_step or not 0 < program.batch < PART * program.targets.samples:
        return []
    return [
        finding(
            "wrong_optimizer", "advice", 0.6, "optimizer",
            text(
                "Rprop looks at the signs of the gradient alone, and is made for the whole training set at once: a batch holds {batch} of "
                "its {samples} samples.",
                batch=program.batch, samples=program.targets.samples,
            ),
            {"optimizer": "Rprop", "batch_size": program.batch, "expected": {"batch_size": str(program.targets.samples)}},
            text("use Adam, or give Rprop all samples at once"),
            Change(kind="optimizer", values={"name": "adam", "rate": 1e-3}),
        )
    ]  # fmt: skip


@symptom("traced_capacity", reads=Program)
def capacity(program: Program) -> list[Finding]:
    """All that is known of a sample passes through one or two numbers, by which several classes are to be told apart."""
    if not program.traced or len(program.comparisons) != 1 or program.comparisons[0].kind != "cross_entropy":
        return []
    scores = program.flow.tensor(program.comparisons[0].prediction)
    classes = scores.shape[class_axis(scores)] if scores.dim() else 0
    for operation, entries in program.flow.waists():
        if 0 < entries < math.log2(max(classes, 1)) and entries <= 2:
            sure = entries == 1 and classes >= SEVERAL
            return [
                finding(
                    "capacity", "fault" if sure else "advice", 0.85 if sure else 0.55, place_of(operation),
                    text(
                        "All that the network knows of a sample passes through {units} numbers, the output of {path}, and {classes} "
                        "classes are to be told apart by them.",
                        units=entries, path=told_place(operation), classes=classes,
                    ),
                    {"narrowest": entries, "classes": classes, "expected": {"narrowest": f"> {shown(math.log2(classes))}"}},
                    text("more units in the narrowest layer, or more layers"), None,
                )
            ]  # fmt: skip
    return []
