"""What a training that is watched shows of outputs that do not fit its loss: they were normalised before, or never."""

from __future__ import annotations

import math
from functools import partial

from pellucid.core.language import text
from pellucid.core.records import Finding
from pellucid.diagnosis.dynamic.course import LEAST_TARGETS, numbers
from pellucid.diagnosis.dynamic.observations import Observations
from pellucid.diagnosis.findings import established
from pellucid.diagnosis.registry import symptom

FLOOR = 0.1  # least loss that bounded scores allow, over the loss of knowing nothing
UNREACHABLE = 0.05  # share of the targets' variance: a few outliers beyond a sigmoid's 1 are no mistake
WIDTH = {"sigmoid": 1.0, "tanh": 2.0}
ROUNDING = 0.05  # below 0 by which a loss of log-probabilities may come out in bfloat16, whose steps are 1/256 of a number

_established = partial(established, by="dynamic")


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
    return _established(
        "double_softmax",
        text(
            "The softmax is applied twice: what the loss gets went through a softmax, and the loss applies its own. With {classes} "
            "classes the loss cannot fall below {least:.3g} (knowing nothing costs {unknowing:.3g}), and the gradients are damped.",
            classes=classes,
            least=least,
            unknowing=math.log(classes),
        ),
        text("leave the softmax out and give raw scores to the loss; apply it only where probabilities are shown"),
        where="loss",
        confidence=0.95,
        evidence={"activation": "softmax", "least_loss": least, "classes": classes},
        expected={"least_loss": "0"},
    )


@symptom("watched_softmax_wrong_axis", reads=Observations)
def watched_softmax_wrong_axis(seen: Observations) -> list[Finding]:
    """What nll_loss gets was made by a softmax that does not run over the classes: a sample's probabilities do not sum to 1."""
    axis, shape = seen.loss.axis, seen.loss.output_shape
    if axis is None or not shape:
        return []
    return _established(
        "softmax_wrong_axis",
        text(
            "The softmax before the loss runs along axis {axis} of {shape}, and the classes lie along axis 1: it shares its 1 among "
            "samples instead of classes.",
            axis=axis,
            shape=str(tuple(shape)),
        ),
        text("let it run over the classes: dim=1; or give raw scores to cross_entropy, which does so itself"),
        where="loss",
        confidence=0.95,
        evidence={"axis": axis, "shape": list(shape)},
        expected={"axis": "1"},
    )


@symptom("watched_wrong_output_activation", reads=Observations)
def watched_wrong_output_activation(seen: Observations) -> list[Finding]:
    """What the loss compares comes right out of an activation that keeps it from the values that the loss asks for."""
    if seen.loss.kind == "binary_cross_entropy_with_logits" and seen.loss.normalised == "sigmoid":
        return sigmoid_twice()
    if seen.loss.bounded is None or seen.several_models:
        return []
    return scores_bounded(seen, seen.loss.bounded) or targets_out_of_reach(seen, seen.loss.bounded)


def scores_bounded(seen: Observations, activation: str) -> list[Finding]:
    """Scores within bounds, to which the loss applies its own softmax or sigmoid: it cannot become sure.

    Scores within a width w cost at least ln(1 + (K - 1) exp(-w)) for K classes; of two, a score that is never below 0 costs ln 2 where
    the target is 0. A ReLU lets scores become large, but a class whose score is below 0 gets no gradient.
    """
    shape = seen.loss.output_shape or ()
    if seen.loss.kind == "binary_cross_entropy_with_logits":
        classes, own = 2, "sigmoid"
        least = 0.0 if activation != "tanh" else math.log1p(math.exp(-1))
    elif seen.loss.kind == "cross_entropy" and len(shape) > 1 and shape[1] > 1:
        classes, own = shape[1], "softmax"
        least = 0.0 if activation == "relu" else math.log1p((classes - 1) * math.exp(-WIDTH[activation]))
    else:
        return []
    if activation != "relu" and least < FLOOR * math.log(classes):
        return []
    return _established(
        "wrong_output_activation",
        text(
            "The loss applies its own {own}, but the scores it gets went through {activation} before: it cannot fall below "
            "{least:.3g}, and knowing nothing costs {unknowing:.3g}.",
            own=own,
            activation=activation,
            least=least,
            unknowing=math.log(classes),
        )
        if least
        else text(
            "The loss applies its own {own}, but the scores it gets went through {activation} before: none is below 0, and where one "
            "should be, it gets no gradient.",
            own=own,
            activation=activation,
        ),
        text("leave {activation} out: the loss applies its own {own} to raw scores", activation=activation, own=own),
        where="loss",
        confidence=0.9 if least else 0.8,
        evidence={"activation": activation, "least_loss": least, "classes": classes},
        expected={"activation": "None"},
    )


def targets_out_of_reach(seen: Observations, activation: str) -> list[Finding]:
    """Targets of a squared loss where the activation never gets: the share of their variance that no weights can explain."""
    facts = seen.targets
    if seen.loss.kind != "mse_loss" or facts.seen != "values" or facts.samples < LEAST_TARGETS or not facts.std:
        return []
    lost = facts.beyond.get(activation, 0.0) / facts.std**2
    if lost < UNREACHABLE:
        return []
    return _established(
        "wrong_output_activation",
        text(
            "The output cannot reach its targets: it comes right out of {activation}, and the targets go from {low:.3g} to {high:.3g}. "
            "What lies out of reach is {share:.3g} of their variance.",
            activation=activation,
            low=facts.low,
            high=facts.high,
            share=lost,
        ),
        text("leave {activation} out of the last layer, or scale the targets into its range", activation=activation),
        where="output",
        confidence=0.95,
        evidence={"activation": activation, "target_low": facts.low, "target_high": facts.high, "unreachable_variance": lost},
        expected={"unreachable_variance": f"< {UNREACHABLE}"},
    )


def sigmoid_twice() -> list[Finding]:
    """Binary cross-entropy with logits gets the result of a sigmoid, in [0, 1]: a target of 0 costs at least ln 2, one of 1 ln(1 + 1/e)."""
    negative, positive = math.log(2), math.log1p(1 / math.e)
    return _established(
        "wrong_output_activation",
        text(
            "The sigmoid is applied twice: what the loss gets went through a sigmoid, and the loss applies its own. A target of 0 "
            "costs at least {negative:.3g} then, as much as knowing nothing, and one of 1 at least {positive:.3g}.",
            negative=negative,
            positive=positive,
        ),
        text("leave {activation} out: the loss applies its own {own} to raw scores", activation="sigmoid", own="sigmoid"),
        where="loss",
        confidence=0.95,
        evidence={"activation": "sigmoid", "least_loss": [negative, positive]},
        expected={"least_loss": "0"},
    )


@symptom("watched_missing_output_activation", reads=Observations)
def watched_missing_output_activation(seen: Observations) -> list[Finding]:
    """nll_loss alone, without other terms, is below 0: minus a log-probability never is."""
    loss = seen.loss
    alone = loss.kind == "nll_loss" and loss.several == 1 and not loss.negated and loss.nodes[:1] and "NllLoss" in loss.nodes[0]
    lowest = min((*numbers(loss.values), *numbers(loss.trend_low)), default=0.0)
    if not alone or lowest > -ROUNDING:
        return []
    return _established(
        "missing_output_activation",
        text(
            "nll_loss fell to {lowest:.4g}: it is minus the log-probability of the right class, which is never below 0. What it gets "
            "are no log-probabilities, and it has no least value.",
            lowest=lowest,
        ),
        text("use cross_entropy on the raw scores"),
        where="loss",
        confidence=0.95,
        evidence={"lowest_loss": lowest, "loss": "nll_loss"},
        expected={"lowest_loss": ">= 0"},
    )
