"""The terms of a loss: what is compared with what, and by which loss, be it PyTorch's function or arithmetic written out by hand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pellucid.core.trace import Operation, Reference
from pellucid.diagnosis.static.flow import RESHAPING, Flow, argument

VALUE_LOSSES = frozenset({"mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"})  # compare values with values, without logarithms
NAMED = VALUE_LOSSES | {
    "cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits", "kl_div", "poisson_nll_loss",
    "gaussian_nll_loss", "multi_margin_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss", "soft_margin_loss", "ctc_loss",
    "hinge_embedding_loss", "cosine_embedding_loss", "margin_ranking_loss",
}  # fmt: skip
LOGARITHMS = frozenset({"log", "log2", "log10"})
NORMALISING = {"softmax": "log", "log_softmax": "", "softmin": "log"}
# On the way from a logarithm to its product with the target.
CARRYING = RESHAPING | {"neg", "clamp", "clamp_min", "clamp_max", "masked_fill", "nan_to_num", "mul", "add", "sub", "rsub"}
# On the way from an activation to the loss that change neither which values are possible nor which is larger.
HARMLESS = RESHAPING | {"clamp", "clamp_min", "clamp_max", "add", "nan_to_num", "contiguous", "cat", "stack", "dropout"}


@dataclass(frozen=True)
class Comparison:
    """One term of the loss that meets a prediction with data."""

    kind: str  # PyTorch's name of the loss; "other" where it is none we know
    prediction: Reference  # as that loss gets it: scores for cross_entropy, probabilities for binary_cross_entropy, ...
    target: Reference
    operation: Operation  # the loss function; for one by hand the operation that is its heart
    by_hand: bool = False
    reduction: str | None = None  # of a loss of PyTorch's
    logarithm: Operation | None = None  # by hand: the log that is taken of a probability

    @property
    def values(self) -> bool:
        return self.kind in VALUE_LOSSES


def comparisons_of(flow: Flow) -> tuple[Comparison, ...]:
    """The terms on which the loss depends, in the order in which they were computed."""
    found: list[Comparison] = []
    for operation in flow.trace.operations:
        results = operation.results()
        if not results or results[0].value not in flow.of_loss:
            continue
        term = _named(flow, operation) or _written(flow, operation)
        if term is not None:
            found.append(term)
    return tuple(dict.fromkeys(_without_halves(found)))


def _named(flow: Flow, operation: Operation) -> Comparison | None:
    if operation.name not in NAMED:
        return None
    taken = operation.inputs()
    if len(taken) < 2:
        return None
    prediction, target = taken[0], taken[1]
    if operation.name in VALUE_LOSSES and flow.is_prediction(target) and not flow.is_prediction(prediction):  # mse_loss(targets, outputs)
        prediction, target = target, prediction
    kind, logarithm = operation.name, None
    if kind == "nll_loss":
        kind, prediction, logarithm = _scores(flow, prediction)
    place = 3 if kind in ("cross_entropy", "nll_loss") else 2
    reduction = argument(operation, place, "reduction", "mean") if operation.kwargs else "mean"
    return Comparison(kind, prediction, target, operation, logarithm is not None, str(reduction), logarithm)


def _scores(flow: Flow, logs: Reference) -> tuple[str, Reference, Operation | None]:
    """log_softmax(scores) or log(softmax(scores)) into nll_loss is cross_entropy on the scores; anything else stays nll_loss."""
    _, made = flow.origin(logs, RESHAPING | {"clamp", "clamp_min", "clamp_max"})
    if made is None:
        return "nll_loss", logs, None
    if made.name == "log_softmax":
        return "cross_entropy", made.inputs()[0], None
    if made.name in LOGARITHMS:
        probability = share_of(flow, made.inputs()[0])
        if probability is not None:
            return "cross_entropy", probability, made
    return "nll_loss", logs, made if made.name in LOGARITHMS else None


def share_of(flow: Flow, probability: Reference) -> Reference | None:
    """The scores behind a softmax, past guards such as + 1e-8; None where there is none."""
    for _, made in flow.upward(probability, HARMLESS):
        if made.name in ("softmax", "softmin"):
            return made.inputs()[0]
        if made.name == "div" and len(made.inputs()) == 2:  # exp(x) / exp(x).sum()
            above, below = made.inputs()
            summed, raised = flow.ranges.divisor(below), flow.maker(above)
            if summed is not None and flow.ranges.same(summed.inputs()[0], above) and raised is not None and raised.name == "exp":
                return raised.inputs()[0]
    return None


def _written(flow: Flow, operation: Operation) -> Comparison | None:
    """Losses by hand, at the operation where prediction and data meet."""
    taken = operation.inputs()
    if operation.name == "gather" and len(taken) == 2 and flow.is_reference(taken[1]):
        return _of_logarithm(flow, operation, taken[0], taken[1])
    if operation.name == "getitem" and len(taken) >= 2 and any(flow.is_reference(one) for one in taken[1:]):
        return _of_logarithm(flow, operation, taken[0], next(one for one in reversed(taken) if flow.is_reference(one)))
    if len(taken) != 2 or taken[0] == taken[1]:
        return None
    if operation.name == "mul" and all(flow.is_prediction(one) for one in taken):
        return _weighted_logarithm(flow, operation)
    sides = [one for one in taken if flow.is_prediction(one)], [one for one in taken if flow.is_reference(one)]
    if len(sides[0]) != 1 or len(sides[1]) != 1:
        return None
    prediction, target = sides[0][0], sides[1][0]
    if operation.name in ("mul", "xlogy"):
        return _of_logarithm(flow, operation, prediction, target)
    if operation.name in ("sub", "rsub"):
        return _of_difference(flow, operation, prediction, target)
    return None


def _weighted_logarithm(flow: Flow, operation: Operation) -> Comparison | None:
    """target * weight(p) * log(p), as in a focal loss."""
    for weight, logarithm in (operation.inputs(), reversed(operation.inputs())):
        made = flow.maker(weight)
        targets = [one for one in made.inputs() if flow.is_reference(one)] if made is not None and made.name == "mul" else []
        if len(targets) == 1 and targets[0].value in flow.targets:
            return _of_logarithm(flow, operation, logarithm, targets[0])
    return None


def _of_logarithm(flow: Flow, operation: Operation, prediction: Reference, target: Reference) -> Comparison | None:
    """target * log(p), or log(p)[target]."""
    for value, made in flow.upward(prediction, CARRYING):
        if made.name == "log_softmax":
            return Comparison("cross_entropy", made.inputs()[0], target, operation, True)
        if made.name == "log_sigmoid":
            return Comparison("binary_cross_entropy_with_logits", made.inputs()[0], target, operation, True)
        if made.name in LOGARITHMS:
            scores = share_of(flow, made.inputs()[0])
            if scores is not None:
                return Comparison("cross_entropy", scores, target, operation, True, logarithm=made)
            kind = "nll_loss" if operation.name in ("gather", "getitem") else "binary_cross_entropy"
            inside = made.inputs()[0] if kind == "binary_cross_entropy" else value
            return Comparison(kind, inside, target, operation, True, logarithm=made)
    later = _logarithm_after(flow, operation) if operation.name in ("gather", "getitem") else None
    if later is not None:
        scores = share_of(flow, prediction)
        if scores is not None:
            return Comparison("cross_entropy", scores, target, operation, True, logarithm=later)
        return Comparison("nll_loss", later.results()[0], target, operation, True, logarithm=later)
    return None


def _logarithm_after(flow: Flow, operation: Operation) -> Operation | None:
    """The log that is taken of the chosen probabilities: log(p[target])."""
    waiting = [operation]
    for _ in range(8):
        if not waiting:
            return None
        one = waiting.pop(0)
        if one.name in LOGARITHMS:
            return one
        if one is operation or one.name in HARMLESS:
            waiting += [user for reference in one.results() for user in flow.users.get(reference.value, [])]
    return None


def _of_difference(flow: Flow, operation: Operation, prediction: Reference, target: Reference) -> Comparison | None:
    """(a - b)**2 or |a - b| or a norm of it."""
    users = flow.users.get(operation.results()[0].value, [])
    names = {user.name for user in users}
    if names & {"pow", "square", "mul"} or any("norm" in name for name in names):
        squared = [user for user in users if user.name in ("pow", "square") or (user.name == "mul" and len(set(user.inputs())) == 1)]
        if squared or any("norm" in name for name in names):
            return Comparison("mse_loss", prediction, target, operation, True)
    if "abs" in names:
        return Comparison("l1_loss", prediction, target, operation, True)
    return None


def _without_halves(terms: Iterable[Comparison]) -> list[Comparison]:
    """t * log(p) + (1 - t) * log(1 - p) is one loss: its first half stands for both."""
    kept: list[Comparison] = []
    for term in terms:
        halves = ("binary_cross_entropy", "binary_cross_entropy_with_logits")
        if term.by_hand and any(other.by_hand and other.kind == term.kind and term.kind in halves for other in kept):
            continue
        kept.append(term)
    return kept
