"""NaN and infinity: where they were born, and what the operation there takes."""

from __future__ import annotations

from collections.abc import Mapping

from pellucid.core.language import Text, text
from pellucid.core.records import Finding
from pellucid.diagnosis.observations import NonFinite, Observations, OperationFact
from pellucid.diagnosis.registry import symptom

REMEDIES: Mapping[str, Text] = {  # operation -> what keeps it finite
    "log": text("take the logarithm of something above 0: torch.log(x.clamp_min(1e-8)), or log_softmax and logsigmoid of the scores"),
    "sqrt": text("the square root's derivative at 0 is infinite: torch.sqrt(x + 1e-8)"),
    "norm": text("the norm's derivative at 0 is not a number: torch.sqrt(x.square().sum() + 1e-8)"),
    "div": text("keep the divisor away from 0: x / (y + 1e-8), or y.clamp_min(1e-8)"),
    "exp": text("bound the exponent, or subtract its maximum first, as torch.softmax and torch.logsumexp do"),
    "pow": text("the base is 0 or negative: add a small number before a power below 1"),
    "softmax": text("a row in which every score is -inf has no softmax: leave at least one position unmasked"),
    "binary_cross_entropy": text("give the scores to binary_cross_entropy_with_logits instead of probabilities"),
    "mul": text("0 times infinity is not a number: use torch.where on the argument, not on the result"),
    "acos": text("keep the argument within (-1, 1): x.clamp(-1 + 1e-6, 1 - 1e-6)"),
}
ALIKE = {
    "log2": "log", "log10": "log", "log1p": "log", "rsqrt": "sqrt", "std": "sqrt", "var": "sqrt", "linalg_vector_norm": "norm",
    "vector_norm": "norm", "truediv": "div", "reciprocal": "div", "rdiv": "div", "exp2": "exp", "expm1": "exp", "asin": "acos",
    "rpow": "pow", "linalg_norm": "norm", "cosine_similarity": "norm", "normalize": "norm", "scaled_dot_product_attention": "softmax",
}  # fmt: skip


@symptom("nan", reads=Observations)
def nan(seen: Observations) -> list[Finding]:
    """The loss or the weights are no longer finite: the earliest place where that was seen, and the operation that gave it."""
    born = seen.nonfinite
    if born is None or (born.where not in ("weights", "loss", "input") and seen.loss.nonfinite == 0 and not _updates_with(seen)):
        return []  # a gradient scaler leaves such steps out, and a mask may hold -inf
    operation = None if born.operation is None else operation_name(born.operation)
    place = born.source or born.path or "loss"
    if operation is None and born.where == "backward":
        suspect = suspected(seen)
        operation, place = (None, place) if suspect is None else (suspect.name, suspect.source or suspect.module or place)
    return [
        Finding(
            symptom="nan",
            level="fault",
            confidence=0.97,
            where=place if operation else born.path or born.where,
            summary=_said(born, operation, place),
            evidence={
                "step": born.step,
                "finite_until": born.since,
                "kind": born.kind,
                "operation": operation,
                "source": born.source,
                "places": list(born.paths),
                "expected": {"steps_not_finite": "0"},
            },
            remedy=REMEDIES.get(ALIKE.get(operation or "", operation or ""), _REMEDY_OF_PLACE.get(born.where, _STEP)),
        )
    ]


def suspected(seen: Observations) -> OperationFact | None:
    """The last operation of the forward pass whose derivative can be infinite where its result is finite."""
    steep = [fact for fact in seen.static.operations if ALIKE.get(fact.name, fact.name) in ("sqrt", "norm", "pow", "acos")]
    return steep[-1] if steep else None


def operation_name(operation: str) -> str:
    """ "SqrtBackward0" and "sqrt" are one operation."""
    if "Backward" not in operation:
        return operation
    bare = operation.partition("Backward")[0]
    return "".join(f"_{letter.lower()}" if letter.isupper() and place else letter.lower() for place, letter in enumerate(bare))


def _updates_with(seen: Observations) -> bool:
    """Whether an update was made with what was not finite."""
    return any(value is not None and value > 0 for weight in seen.weights for value in weight.nonfinite[-1:])


_STEP = text("lower the learning rate, or clip the gradient: torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)")
_REMEDY_OF_PLACE: Mapping[str, Text] = {
    "input": text("clean the data: assert torch.isfinite(inputs).all(), and replace missing values before training"),
}


def _said(born: NonFinite, operation: str | None, place: str) -> Text:
    what = text("infinity") if born.kind == "inf" else text("NaN")
    if born.where == "input":
        return text("The inputs of step {step} hold {what}.", step=born.step, what=what)
    if operation is not None and born.where == "backward":
        return text(
            "At step {step} the gradient became {what}: the derivative of {operation} ({place}) is infinite at 0.",
            what=what, step=born.step, operation=operation, place=place,
        )  # fmt: skip
    if operation is not None:
        return text(
            "At step {step} {operation} ({place}) gave {what} from finite values.",
            what=what, step=born.step, operation=operation, place=place,
        )  # fmt: skip
    if born.where == "weights":
        return text(
            "At step {step} the weights {path} became {what}: an update overflowed.", path=born.path or "", what=what, step=born.step
        )
    return text("At step {step} {place} became {what}.", place=born.path or born.where, what=what, step=born.step)
