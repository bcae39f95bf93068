"""What a training that is watched shows of outputs that do not fit its loss: they were normalised before, or never."""

from __future__ import annotations

import math

from pellucid.core.language import text
from pellucid.core.records import Finding
from pellucid.diagnosis.dynamic.course import numbers
from pellucid.diagnosis.dynamic.observations import Observations
from pellucid.diagnosis.registry import symptom

ROUNDING = 0.05  # below 0 by which a loss of log-probabilities may come out in bfloat16, whose steps are 1/256 of a number


@symptom("watched_double_softmax", reads=Observations)
def watched_double_softmax(seen: Observations) -> list[Finding]:
    """The loss applies a softmax to what is a softmax already.

    Scores in [0, 1] for K classes cost at least log(1 + (K - 1) / e), also where the network is sure and right. A log_softmax may be
    applied twice: the second changes nothing.
    """
    shape = seen.loss.output_shape or ()
    classes = shape[1 if len(shape) > 1 else 0] if shape else 0
    if seen.loss.kind != "cross_entropy" or seen.loss.normalised != "softmax" or classes < 2:
        return []
    least = math.log1p((classes - 1) / math.e)
    return [
        Finding(
            symptom="double_softmax",
            cause="double_softmax",
            level="fault",
            confidence=0.95,
            where="loss",
            summary=text(
                "The softmax is applied twice: what the loss gets went through a softmax, and the loss applies its own. With {classes} "
                "classes the loss cannot fall below {least:.3g} (knowing nothing costs {unknowing:.3g}), and the gradients are damped.",
                classes=classes,
                least=least,
                unknowing=math.log(classes),
            ),
            evidence={"activation": "softmax", "least_loss": least, "classes": classes, "expected": {"least_loss": "0"}},
            remedy=text("leave the softmax out and give raw scores to the loss; apply it only where probabilities are shown"),
        )
    ]


@symptom("watched_wrong_output_activation", reads=Observations)
def watched_wrong_output_activation(seen: Observations) -> list[Finding]:
    """Binary cross-entropy with logits gets the result of a sigmoid, in [0, 1]: a target of 0 costs at least ln 2, one of 1 ln(1 + 1/e)."""
    if seen.loss.kind != "binary_cross_entropy_with_logits" or seen.loss.normalised != "sigmoid":
        return []
    negative, positive = math.log(2), math.log1p(1 / math.e)
    return [
        Finding(
            symptom="wrong_output_activation",
            cause="wrong_output_activation",
            level="fault",
            confidence=0.95,
            where="loss",
            summary=text(
                "The sigmoid is applied twice: what the loss gets went through a sigmoid, and the loss applies its own. A target of 0 "
                "costs at least {negative:.3g} then, as much as knowing nothing, and one of 1 at least {positive:.3g}.",
                negative=negative,
                positive=positive,
            ),
            evidence={"activation": "sigmoid", "least_loss": [negative, positive], "expected": {"least_loss": "0"}},
            remedy=text("leave {activation} out: the loss applies its own {own} to raw scores", activation="sigmoid", own="sigmoid"),
        )
    ]


@symptom("watched_missing_output_activation", reads=Observations)
def watched_missing_output_activation(seen: Observations) -> list[Finding]:
    """nll_loss alone, without other terms, is below 0: minus a log-probability never is."""
    loss = seen.loss
    alone = loss.kind == "nll_loss" and loss.several == 1 and not loss.negated and loss.nodes[:1] and "NllLoss" in loss.nodes[0]
    lowest = min((*numbers(loss.values), *numbers(loss.trend_low)), default=0.0)
    if not alone or lowest > -ROUNDING:
        return []
    return [
        Finding(
            symptom="missing_output_activation",
            cause="missing_output_activation",
            level="fault",
            confidence=0.95,
            where="loss",
            summary=text(
                "nll_loss fell to {lowest:.4g}: it is minus the log-probability of the right class, which is never below 0. What it gets "
                "are no log-probabilities, and it has no least value.",
                lowest=lowest,
            ),
            evidence={"lowest_loss": lowest, "loss": "nll_loss", "expected": {"lowest_loss": ">= 0"}},
            remedy=text("use cross_entropy on the raw scores"),
        )
    ]
