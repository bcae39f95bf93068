"""NaN and infinity: where they were born, and what the operation there takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from pellucid.core.language import Text, text
from pellucid.core.records import Finding
from pellucid.diagnosis.dynamic.course import numbers
from pellucid.diagnosis.dynamic.observations import NonFinite, Observations, OperationFact
from pellucid.diagnosis.registry import symptom

GROWN = 1e3  # times what they were at first: numbers that grow by as much before they overflow were driven there


class Operation(NamedTuple):
    """What an operation needs to stay finite, in the forward pass and on the way back."""

    forward: Text
    backward: Text


_DIVISION = text("keep the divisor away from 0: x / (y + 1e-8), or y.clamp_min(1e-8)")
_ROOT = text("the square root's derivative at 0 is infinite: add a small number under the root, torch.sqrt(x + 1e-8)")
_NORM = text("the norm has no second derivative at 0: add a small number under the root, torch.sqrt(x.square().sum(-1) + 1e-8)")
_LOGARITHM = text("take the logarithm of something above 0: torch.log(x + 1e-8), or log_softmax and logsigmoid of the scores")
_DEVIATION = text("the deviation of one value is 0 / 0: give it more values, or correction=0")
_POWER = text("the base is 0 or negative: add a small number before a power below 1, (x + 1e-8) ** p")
_ANGLE = text("keep the argument within (-1, 1): x.clamp(-1 + 1e-6, 1 - 1e-6)")
_EXPONENT = text("bound the exponent, or subtract its maximum first, as torch.softmax and torch.logsumexp do")
_SOFTMAX = text("a row in which every score is -inf has no softmax: leave at least one position of every row unmasked")
_PRODUCT = text("0 times infinity is not a number: write the mask with masked_fill or torch.where instead of multiplying")
_SCORES = text("give the scores to binary_cross_entropy_with_logits instead of probabilities")
SINGULAR: Mapping[str, Operation] = {  # operations that have no finite result or derivative for some finite arguments, however small
    "log": Operation(_LOGARITHM, _LOGARITHM),
    "sqrt": Operation(text("the square root of a negative number: torch.sqrt(x.clamp_min(0) + 1e-8)"), _ROOT),
    "norm": Operation(_NORM, _NORM),
    "std": Operation(_DEVIATION, _DEVIATION),
    "div": Operation(_DIVISION, _DIVISION),
    "pow": Operation(_POWER, _POWER),
    "softmax": Operation(_SOFTMAX, _SOFTMAX),
    "mul": Operation(_PRODUCT, _PRODUCT),
    "acos": Operation(_ANGLE, _ANGLE),
    "binary_cross_entropy": Operation(_SCORES, _SCORES),
}
ALIKE = {
    "log2": "log", "log10": "log", "log1p": "log", "xlogy": "log", "rsqrt": "sqrt", "linalg_vector_norm": "norm", "vector_norm": "norm",
    "truediv": "div", "reciprocal": "div", "exp2": "exp", "expm1": "exp", "asin": "acos",
    "float_power": "pow", "linalg_norm": "norm", "cosine_similarity": "norm", "normalize": "norm", "pairwise_distance": "norm",
    "cdist": "norm", "var": "std", "std_mean": "std", "scaled_dot_product_attention": "softmax", "log_softmax": "softmax",
    "multi_head_attention_forward": "softmax", "logsumexp": "softmax",
}  # fmt: skip
_OVERFLOWN = text("lower the learning rate, or clip the gradient: torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)")
_LARGE = text("numbers of this size overflow: scale inputs and targets to mean 0 and deviation 1, or compute in float32")
_UNUSED = text(
    "torch.where and masks keep the result out, not its derivative, and 0 times infinity is not a number: make the argument safe before "
    "the operation, torch.log(torch.where(mask, x, 1))"
)
_REMEDIES: Mapping[str, Text] = {  # of a place, or of a detail
    "input": text("clean the data: assert torch.isfinite(inputs).all(), and replace missing values before training"),
    "targets": text("clean the targets: assert torch.isfinite(targets).all(), and leave samples without a target out"),
    "ignored": text("leave such batches out, or divide the sum of the losses by max(number of labels, 1)"),
    "empty": text("leave such batches out, or write values.sum() / max(values.numel(), 1)"),
    "masked": text("do not mask the scores of classes that occur as labels, or use torch.finfo(scores.dtype).min instead of -inf"),
    "unused": _UNUSED,
    "backward": text(
        "look for a root, norm, power or division at 0 in the loss: torch.autograd.set_detect_anomaly(True) names the line"
    ),
}  # fmt: skip


@symptom("nan", reads=Observations)
def nan(seen: Observations) -> list[Finding]:
    """The loss or the weights are no longer finite: the earliest place where that was seen, and the operation that gave it."""
    born = seen.nonfinite
    if born is None or (born.where in ("forward", "backward") and seen.loss.nonfinite == 0 and not _updates_with(seen)):
        return []  # a gradient scaler leaves such steps out, and a mask may hold -inf
    operation = None if born.operation is None else operation_name(born.operation)
    place, grew = born.source or born.path or "loss", growth(seen)
    if operation is None and (born.where == "backward" or (born.where == "weights" and grew < GROWN)):
        suspect = suspected(seen)
        operation, place = (None, place) if suspect is None else (suspect.name, suspect.source or suspect.module or place)
    overflown = grew >= GROWN and (operation is None or ALIKE.get(operation, operation) not in SINGULAR) and born.detail is None
    return [
        Finding(
            symptom="nan",
            level="fault",
            confidence=0.97 if operation is None or born.operation is not None else 0.7,  # a suspicion
            where=place if operation else born.path or born.where,
            summary=_said(born, operation, place, grew if overflown else None),
            evidence={
                "step": born.step,
                "finite_until": born.since,
                "kind": born.kind,
                "operation": operation,
                "source": born.source,
                "places": list(born.paths),
                "growth": grew,
                "expected": {"steps_not_finite": "0"},
            },
            remedy=_remedy(born, operation, overflown),
        )
    ]


def growth(seen: Observations) -> float:
    """How many times the largest loss, weight norm or gradient norm until then is what it was at first."""
    end = math.inf if seen.nonfinite is None else seen.nonfinite.step
    looks = sum(look.step <= end for look in seen.looks)
    losses = [high for high, step in zip(seen.loss.trend_high, seen.loss.trend_step, strict=False) if step <= end]
    columns = [
        numbers((seen.loss.first, *losses)),
        *(numbers(column[:looks]) for weight in seen.weights if weight.owners for column in (weight.weight, weight.gradient)),
    ]
    grown = [max(map(abs, column)) / abs(column[0]) for column in columns if column and column[0]]
    return max(grown, default=1.0)


def suspected(seen: Observations) -> OperationFact | None:
    """The last operation of the forward pass whose derivative can be infinite where its result is finite."""
    steep = [fact for fact in seen.static.operations if ALIKE.get(fact.name, fact.name) in ("sqrt", "pow", "acos")]
    return steep[-1] if steep else None


def operation_name(operation: str) -> str:
    """ "SqrtBackward0" and "sqrt" are one operation, and 1 / x and x / y are divisions."""
    if "Backward" not in operation:
        return operation.removeprefix("r") if operation in ("rdiv", "rpow", "rsub", "rmatmul") else operation
    bare = operation.partition("Backward")[0]
    return "".join(f"_{letter.lower()}" if letter.isupper() and place else letter.lower() for place, letter in enumerate(bare))


def _updates_with(seen: Observations) -> bool:
    """Whether an update was made with what was not finite."""
    return any(value is not None and value > 0 for weight in seen.weights for value in weight.nonfinite[-1:])


def _remedy(born: NonFinite, operation: str | None, overflown: bool) -> Text:
    """Fits the cause: a lower learning rate is one only where the numbers grew before."""
    if overflown:
        return _OVERFLOWN
    known = _REMEDIES.get(born.detail or "") or (_REMEDIES.get(born.where) if operation is None else None)
    if known is not None:
        return known
    alike = ALIKE.get(operation or "", operation or "")
    if alike in SINGULAR:
        return SINGULAR[alike].backward if born.where in ("backward", "weights") else SINGULAR[alike].forward
    return _EXPONENT if alike == "exp" else _REMEDIES["backward"] if born.where in ("backward", "weights") else _LARGE


def _said(born: NonFinite, operation: str | None, place: str, grew: float | None) -> Text:
    values = {"what": text("infinity") if born.kind == "inf" else text("NaN"), "step": born.step, "operation": operation, "place": place}
    if born.where == "input":
        return text("The inputs of step {step} hold {what}.", step=born.step, what=values["what"])
    if born.where == "targets":
        return text("The targets of step {step} hold numbers that are not finite, and the loss became {what}.", **values)
    if born.detail == "ignored":
        return text("At step {step} every label is one that the loss leaves out (ignore_index): the mean over nothing is {what}.", **values)
    if born.detail == "empty":
        return text("At step {step} {operation} was taken over nothing, or over no more than one value, which gives {what}.", **values)
    if born.detail == "masked":
        return text("At step {step} the score of a label is -inf, so that {operation} is {what}.", **values)
    if grew is not None:
        return text(
            "At step {step} numbers overflowed to {what} ({place}): before, they had grown to {grew:.1g} times what they were.",
            **{**values, "place": place if operation else born.path or born.where}, grew=grew,
        )  # fmt: skip
    if operation is not None and born.where == "backward":
        if born.detail == "unused":
            return text(
                "At step {step} the gradient became {what} on the way back: {operation} ({place}) has no finite derivative at values whose "
                "results a mask or torch.where had left out.",
                **values,
            )
        return text(
            "At step {step} the gradient became {what} on the way back: {operation} ({place}) gave a finite value and has no finite "
            "derivative there.",
            **values,
        )
    if operation is not None and born.where == "weights":
        return text(
            "At step {step} the weights {path} became {what} and had not grown before: {operation} ({place}) has no finite derivative "
            "at 0.",
            **values, path=born.path or "",
        )  # fmt: skip
    if operation is not None:
        return text("At step {step} {operation} ({place}) gave {what}, and nothing that it took was {what}.", **values)
    if born.where == "weights":
        return text("At step {step} the weights {path} became {what}.", path=born.path or "", what=values["what"], step=born.step)
    return text("At step {step} {place} became {what}.", place=born.path or born.where, what=values["what"], step=born.step)
