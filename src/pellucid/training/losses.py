"""Loss functions: what training makes small. Each is a mean, so that the learning rate does not depend on the batch size.

    name                  on                           equation (N samples, K classes, d targets; z is the network's output)
    mse                   regression (N, d)            1 / (N d) sum (z - y)^2
    mae                   regression (N, d)            1 / (N d) sum |z - y|
    huber                 regression (N, d)            1 / (N d) sum h(z - y), h(e) = e^2 / 2 where |e| <= 1, else |e| - 1/2 (Huber 1964)
    quantile              forecasting (N, h Q)         1 / (N h Q) sum max(t e, (t - 1) e), e = y - z, for the Q levels t of each of h steps
    cross_entropy         logits (N, K)                - 1 / N sum_i ln p_i[y_i], p = softmax(z)
    binary_cross_entropy  logits (N, 1), two classes   - 1 / N sum_i y_i ln p_i + (1 - y_i) ln(1 - p_i), p = sigmoid(z)
                          logits (N, K)                the same of each column against the one-hot target, mean over N K
    dice, focal, ...      scores (N, K, H, W)          of masks (N, H, W), as is cross_entropy there: see masks.losses
    mse, mae, huber       logits, classification       the same of the probabilities (softmax, or sigmoid of one column) against one-hot

The quantile loss is also called pinball loss; at the level 1/2 it is half the absolute error. Source: Koenker and Bassett 1978,
equation 2.1.

The logarithm is natural: cross-entropies are in nats. Textbooks write the squared error with other constant factors (1 / 2 sum, 1 / N sum
over samples of ||z - y||^2); they scale the gradient, so that the learning rate means something else by that factor.

Label smoothing e replaces the one-hot target by (1 - e) one-hot + e / K (Szegedy et al. 2016, section 7). Class weights w make the mean a
weighted one, sum_i w[y_i] l_i / sum_i w[y_i], as in torch.nn.CrossEntropyLoss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.core.errors import DataError, ModelError, OptionError, OptionTypeError, did_you_mean
from pellucid.core.language import Text, text
from pellucid.core.records import Task
from pellucid.data.masks.classes import IGNORED
from pellucid.training.masks.losses import MASK_LOSSES, median_frequency_weights, per_image, terms_of, total

LossFunction = Callable[[Tensor, Tensor], Tensor]
REGRESSION_LOSSES = ("mse", "mae", "huber")
CLASSIFICATION_LOSSES = ("cross_entropy", "binary_cross_entropy")
LOSSES = (*REGRESSION_LOSSES, "quantile", *CLASSIFICATION_LOSSES, *(name for name in MASK_LOSSES if name not in CLASSIFICATION_LOSSES))
_HALF = (torch.bfloat16, torch.float16)
_DISTANCES: dict[str, Callable[..., Tensor]] = {"mse": F.mse_loss, "mae": F.l1_loss, "huber": F.huber_loss}


@dataclass(frozen=True)
class Loss:
    """A loss ready for one task. `loss(output, targets)` is the scalar mean; half-precision outputs are taken to float32 first."""

    name: str
    task: Task
    columns: int  # how many output columns per sample it expects
    mean: LossFunction
    samples: LossFunction
    of_terms: LossFunction | None = None  # what `terms` gives, where it is not the samples' shares

    def __call__(self, output: Tensor, targets: Tensor) -> Tensor:
        return self.mean(output.float() if output.dtype in _HALF else output, targets)

    def per_sample(self, output: Tensor, targets: Tensor) -> Tensor:
        """(N,): each sample's share, scaled so that the mean of all is the loss."""
        return self.samples(output.float() if output.dtype in _HALF else output, targets)

    def terms(self, output: Tensor, targets: Tensor) -> Tensor:
        """(N, parts, 2) of any number of samples: the loss is sum over parts of (sum over samples of the first) / (of the second)."""
        if self.of_terms is not None:
            return self.of_terms(output.float() if output.dtype in _HALF else output, targets)
        shares = self.per_sample(output, targets)
        return torch.stack([shares, torch.ones_like(shares)], dim=1)[:, None]

    def check(self, output: Tensor, targets: Tensor) -> None:
        """Look at one batch before training: shapes and number types that this loss can use.

        Raises:
            ModelError: the output does not fit. DataError: the targets do not.
        """
        n = len(output) if output.ndim else 0
        if self.name not in LOSSES:
            _check_scalar(self, output, targets)
            return
        if self.task.kind == "segmentation":
            _check_masks(self, output, targets)
            return
        if tuple(output.shape) != (n, self.columns):
            raise ModelError(
                text("the network's output has shape {shape}", shape=_shape(output)),
                text("{loss} expects {expected}", loss=self.name, expected=_shape((n, self.columns))),
                text("try output.unsqueeze(1)")
                if tuple(output.shape) == (n,) and self.columns == 1
                else text("give the last layer {columns} output units", columns=self.columns),
            )
        classes = self.task.kind == "classification"
        wanted = (n,) if classes else (n, self.task.outputs)
        if tuple(targets.shape) != wanted:
            kind = text("class indices of shape {shape}", shape=_shape(wanted)) if classes else text("shape {shape}", shape=_shape(wanted))
            raise DataError(
                text("targets has shape {shape}", shape=_shape(targets)),
                text("{loss} expects {expected}", loss=self.name, expected=kind),
                _shape_remedy(targets, wanted),
            )
        if classes and (targets.is_floating_point() or targets.is_complex()):
            raise DataError(
                text("targets has the number type {dtype}", dtype=str(targets.dtype)),
                text("{loss} expects class indices, whole numbers from 0 to {last}", loss=self.name, last=self.task.outputs - 1),
                text("try targets.long()"),
            )
        if classes and n and (int(targets.min()) < 0 or int(targets.max()) >= self.task.outputs):
            raise DataError(
                text("targets holds class indices from {low} to {high}", low=int(targets.min()), high=int(targets.max())),
                text("{loss} expects class indices, whole numbers from 0 to {last}", loss=self.name, last=self.task.outputs - 1),
                text("number the classes from 0"),
            )


def outputs_needed(loss: Any, task: Task) -> int:
    """How many output units a network needs: one for binary cross-entropy of two classes, one per quantile of each step of a forecast, else
    one per class, regression target or step."""
    if loss == "quantile":
        return task.outputs * max(1, len(task.quantiles))
    return 1 if loss == "binary_cross_entropy" and task.kind == "classification" and task.outputs == 2 else task.outputs


def build_loss(
    loss: Any,
    task: Task,
    *,
    class_weight: Tensor | None = None,  # (K,)
    label_smoothing: float = 0.0,
    output_columns: int | None = None,
) -> Loss:
    """The loss called `loss`, or a user's own function of (output, targets), for `task` and networks of `output_columns` outputs.

    Raises:
        OptionError: an unknown name, or a loss, weight or smoothing that the task does not allow.
        ModelError: a number of output columns that the loss cannot use.
    """
    columns = outputs_needed(loss, task) if output_columns is None else output_columns
    if not isinstance(loss, str):
        return _users_own(loss, task, columns, class_weight, label_smoothing)
    if loss not in LOSSES:
        raise OptionError(
            text("loss is {name!r}", name=loss), text("one of the {count} losses", count=len(LOSSES)), did_you_mean(loss, LOSSES)
        )
    if task.kind == "segmentation":
        return _of_masks(loss, task, columns, class_weight, label_smoothing)
    if loss in MASK_LOSSES and loss not in CLASSIFICATION_LOSSES:
        raise OptionError(
            text("loss is {loss} and the task is {task}", loss=loss, task=task.kind),
            text("{loss} is a loss of masks: it belongs to segmentation", loss=loss),
            text("leave --loss out"),
        )
    classes = task.outputs if task.kind == "classification" else 0
    if not classes and loss in CLASSIFICATION_LOSSES:
        raise OptionError(
            text("loss is {loss} and the task is {task}", loss=loss, task=task.kind),
            text("a loss for {task}: {losses}", task=task.kind, losses=list(REGRESSION_LOSSES)),
            text("leave --loss out, or set --task"),
        )
    if loss == "quantile" and not task.quantiles:
        raise OptionError(
            text("loss is {loss} and the task is {task}", loss=loss, task=task.kind),
            text("a loss for {task}: {losses}", task=task.kind, losses=list(LOSSES if classes else REGRESSION_LOSSES)),
            text("leave --loss out, or set --task forecasting"),
        )
    if loss not in CLASSIFICATION_LOSSES and (class_weight is not None or label_smoothing):
        raise OptionError(
            text("{option} is set and the loss is {loss}", option="label_smoothing" if label_smoothing else "class_weight", loss=loss),
            text("it works with: {losses}", losses=list(CLASSIFICATION_LOSSES)),
            text("leave it out, or choose one of these losses"),
        )
    one_column = columns == 1 and classes == 2 and loss != "cross_entropy"
    needed = outputs_needed(loss, task) if loss == "quantile" else task.outputs
    if columns != needed and not one_column:
        raise ModelError(
            text("the network has {columns} output columns", columns=columns),
            text("{loss} expects {expected} for this task", loss=loss, expected=needed),
            text("give the last layer {columns} output units", columns=needed),
        )
    if loss == "quantile":
        return Loss(loss, task, columns, *_quantile(task.quantiles))
    if task.kind == "forecasting":
        return Loss(loss, task, columns, *_of_steps(_DISTANCES[loss]))
    if loss == "cross_entropy":
        return Loss(loss, task, columns, *_cross_entropy(class_weight, label_smoothing))
    if loss == "binary_cross_entropy":
        return Loss(loss, task, columns, *_binary_cross_entropy(classes, columns, class_weight, label_smoothing))
    return Loss(loss, task, columns, *_distance(_DISTANCES[loss], classes, columns))


def _of_masks(loss: str, task: Task, columns: int, weight: Tensor | None, smoothing: float) -> Loss:
    if loss not in MASK_LOSSES:
        raise OptionError(
            text("loss is {loss} and the task is {task}", loss=loss, task=task.kind),
            text("a loss for {task}: {losses}", task=task.kind, losses=list(MASK_LOSSES)),
            text("leave --loss out"),
        )
    if smoothing and "cross_entropy" not in loss:
        raise OptionError(
            text("{option} is set and the loss is {loss}", option="label_smoothing", loss=loss),
            text("it works with: {losses}", losses=[name for name in MASK_LOSSES if "cross_entropy" in name]),
            text("leave it out, or choose one of these losses"),
        )
    if columns != task.outputs:
        raise ModelError(
            text("the network has {columns} output columns", columns=columns),
            text("{loss} expects {expected} for this task", loss=loss, expected=task.outputs),
            text("give the last layer {columns} output units", columns=task.outputs),
        )
    terms = terms_of(loss, weight, smoothing)

    def mean(output: Tensor, targets: Tensor) -> Tensor:
        return total(terms(output, targets))

    def samples(output: Tensor, targets: Tensor) -> Tensor:
        return per_image(terms(output, targets))

    return Loss(loss, task, columns, mean, samples, terms)


def _check_masks(loss: Loss, output: Tensor, targets: Tensor) -> None:
    wanted = (len(targets), loss.columns, *targets.shape[1:])
    if tuple(output.shape) != wanted:
        raise ModelError(
            text("the network's output has shape {shape}", shape=_shape(output)),
            text("{loss} expects {expected}", loss=loss.name, expected=_shape(wanted)),
            text("give a score for every class at every pixel: end with a convolution of {columns} maps, as large as the image",
                 columns=loss.columns),
        )  # fmt: skip
    counting = targets[targets != IGNORED]
    if len(counting) and (int(counting.min()) < 0 or int(counting.max()) >= loss.task.outputs):
        raise DataError(
            text("targets holds class indices from {low} to {high}", low=int(counting.min()), high=int(counting.max())),
            text("{loss} expects class indices, whole numbers from 0 to {last}", loss=loss.name, last=loss.task.outputs - 1),
            text("number the classes from 0"),
        )


def _cross_entropy(weight: Tensor | None, smoothing: float) -> tuple[LossFunction, LossFunction]:
    placed = _Placed(weight)

    def mean(logits: Tensor, targets: Tensor) -> Tensor:  # (N, K), (N,)
        return F.cross_entropy(logits, targets, placed.on(logits), label_smoothing=smoothing)

    def samples(logits: Tensor, targets: Tensor) -> Tensor:
        weight = placed.on(logits)
        losses = F.cross_entropy(logits, targets, weight, label_smoothing=smoothing, reduction="none")
        return losses if weight is None else losses / weight[targets].mean()

    return mean, samples


def _binary_cross_entropy(classes: int, columns: int, weight: Tensor | None, smoothing: float) -> tuple[LossFunction, LossFunction]:
    placed = _Placed(weight)

    def expected(logits: Tensor, targets: Tensor) -> Tensor:  # (N, columns) in [0, 1]
        hot = targets.unsqueeze(1) if columns == 1 else F.one_hot(targets, classes)
        hot = hot.to(logits.dtype)
        return hot * (1.0 - smoothing) + smoothing / classes if smoothing else hot

    def samples(logits: Tensor, targets: Tensor) -> Tensor:
        losses = F.binary_cross_entropy_with_logits(logits, expected(logits, targets), reduction="none").mean(1)
        weight = placed.on(logits)
        if weight is None:
            return losses
        shares = weight[targets]
        return losses * shares / shares.mean()

    def mean(logits: Tensor, targets: Tensor) -> Tensor:
        if weight is None:
            return F.binary_cross_entropy_with_logits(logits, expected(logits, targets))
        return samples(logits, targets).mean()

    return mean, samples


def _distance(distance: Callable[..., Tensor], classes: int, columns: int) -> tuple[LossFunction, LossFunction]:
    def pair(output: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        if not classes:
            return output, targets
        if columns == 1:
            return output.sigmoid(), targets.unsqueeze(1).to(output.dtype)
        return output.softmax(1), F.one_hot(targets, classes).to(output.dtype)

    def mean(output: Tensor, targets: Tensor) -> Tensor:
        return distance(*pair(output, targets))

    def samples(output: Tensor, targets: Tensor) -> Tensor:
        return distance(*pair(output, targets), reduction="none").mean(1)

    return mean, samples


def _quantile(levels: tuple[float, ...]) -> tuple[LossFunction, LossFunction]:
    level_of = torch.tensor(levels, dtype=torch.float64)

    def entries(output: Tensor, targets: Tensor) -> Tensor:  # (N, h Q), (N, h) -> (N, h)
        level = level_of.to(output)
        error = targets[..., None] - output.reshape(*targets.shape, len(levels))
        return torch.maximum(level * error, (level - 1) * error).mean(2)

    return _over_known_steps(entries)


def _of_steps(distance: Callable[..., Tensor]) -> tuple[LossFunction, LossFunction]:
    return _over_known_steps(lambda output, targets: distance(output, targets, reduction="none"))


def _over_known_steps(entries: LossFunction) -> tuple[LossFunction, LossFunction]:
    """Means of the losses `entries(output, targets)` (N, h) of a forecast, each window's over the steps whose targets are not NaN."""

    def samples(output: Tensor, targets: Tensor) -> Tensor:
        known = ~targets.isnan()
        losses = torch.where(known, entries(output, torch.where(known, targets, 0.0)), 0.0)
        return losses.sum(1) / known.sum(1).clamp_min(1)

    def mean(output: Tensor, targets: Tensor) -> Tensor:
        return samples(output, targets).mean()

    return mean, samples


class _Placed:
    """A constant that follows the outputs to their device and number type; the move is made once."""

    def __init__(self, value: Tensor | None) -> None:
        self.value = value

    def on(self, like: Tensor) -> Tensor | None:
        if self.value is not None and (self.value.device != like.device or self.value.dtype != like.dtype):
            self.value = self.value.to(like)
        return self.value


def _users_own(loss: Any, task: Task, columns: int, class_weight: Tensor | None, label_smoothing: float) -> Loss:
    if isinstance(loss, type) or not callable(loss):
        raise OptionTypeError(
            text("loss is {value!r}", value=loss),
            text("a name, or a function of (output, targets) that returns a scalar tensor"),
            text("give for example loss='cross_entropy' or loss=torch.nn.CrossEntropyLoss()"),
        )
    if class_weight is not None or label_smoothing:
        raise OptionError(
            text("{option} is set and the loss is your own function", option="label_smoothing" if label_smoothing else "class_weight"),
            text("it works with: {losses}", losses=list(CLASSIFICATION_LOSSES)),
            text("put it into your function"),
        )

    function = cast("LossFunction", loss)

    def samples(output: Tensor, targets: Tensor) -> Tensor:
        """A function that only tells means is asked for at most 512 groups; the groups' spread is scaled up to that of samples."""
        size = -(-len(output) // 512)
        groups = list(zip(output.split(size), targets.split(size), strict=True))
        means = torch.stack([function(o, t).detach() for o, t in groups])
        if size == 1:
            return means
        sizes = torch.tensor([len(o) for o, _ in groups], device=means.device)
        overall = (means * sizes).sum() / sizes.sum()
        spread = (means - overall) * sizes.to(means.dtype).sqrt()
        spread = spread - (spread * sizes).sum() / sizes.sum()  # the last group may be smaller
        return (overall + spread).repeat_interleave(sizes)

    name = getattr(loss, "__name__", None) or type(loss).__name__
    if task.kind != "forecasting":
        return Loss(str(name), task, columns, function, samples)

    def known(output: Tensor, targets: Tensor) -> Tensor:
        """The user's function knows nothing of steps without a value: they count as forecast rightly."""
        return torch.where(targets.isnan(), output.detach(), targets) if output.shape == targets.shape else targets

    return Loss(
        str(name), task, columns, lambda output, targets: function(output, known(output, targets)),
        lambda output, targets: samples(output, known(output, targets)),
    )  # fmt: skip


def _check_scalar(loss: Loss, output: Tensor, targets: Tensor) -> None:
    try:
        value = loss(output, targets)
    except Exception as error:
        raise ModelError(
            text(
                "your loss {name} failed on output {output} and targets {targets}: {error}",
                name=loss.name,
                output=_shape(output),
                targets=_shape(targets),
                error=f"{type(error).__name__}: {error}",
            ),
            text("a function of (output, targets) that returns a scalar tensor"),
            text("try it alone on one batch"),
        ) from error
    if not isinstance(value, Tensor) or value.ndim:
        raise ModelError(
            text(
                "your loss {name} returned {value}",
                name=loss.name,
                value=_shape(value) if isinstance(value, Tensor) else type(value).__name__,
            ),
            text("a function of (output, targets) that returns a scalar tensor"),
            text("try .mean() at its end"),
        )


def probabilities(output: Tensor, loss: Any, classes: int | None = None) -> Tensor:
    """(N, K) class probabilities from the logits (N, K), or (N, 1) for two classes, of a network trained with `loss`.

    One column: sigmoid. binary_cross_entropy on K columns: each column's sigmoid, divided by their sum. Everything else: softmax.
    """
    if output.shape[1] == 1 and classes != 1:
        return torch.cat([(-output).sigmoid(), output.sigmoid()], dim=1)
    if loss == "binary_cross_entropy":
        return F.logsigmoid(output).softmax(1)  # exp(ln s(z_k)) / sum: no 0 / 0 where every sigmoid is tiny
    return output.softmax(1)


def class_weights(given: Any, task: Task, targets: Any) -> Tensor | None:
    """(K,) float32 weights from the option class_weight and the training targets (N,); None without the option.

    "balanced" is N / (K N_k) for a class seen N_k times (King and Zeng 2001, as in scikit-learn); of masks (N, H, W) it is median-frequency
    balancing (see masks.losses). `given` may also be a weight per class in
    the order of the classes ("1,2.5" or a list), or a mapping of class names to weights, where classes left out weigh 1.

    Raises:
        OptionError: an unknown word or class, another number of weights than classes, a weight that is negative or not finite.
    """
    if given is None:
        return None
    names = list(task.classes)
    expected = text('"balanced", or {count} weights, one per class: {names}', count=len(names), names=names[:20])
    got = text("class_weight is {value!r}", value=given)
    if isinstance(given, str) and given.strip().lower() == "balanced":
        if task.kind == "segmentation":
            return torch.tensor(median_frequency_weights(targets, len(names)), dtype=torch.float32)
        counts = np.bincount(np.asarray(targets, dtype=np.int64), minlength=len(names))
        weights = [counts.sum() / (len(names) * count) if count else 1.0 for count in counts]
    else:
        weights = _given_weights(given, names, got, expected)
    if not all(np.isfinite(weight) and weight >= 0 for weight in weights) or not any(weights):
        raise OptionError(got, expected, text("give finite weights, none negative and at least one above 0"))
    return torch.tensor(weights, dtype=torch.float32)


def _given_weights(given: Any, names: Sequence[str], got: Text, expected: Text) -> list[float]:
    try:
        if isinstance(given, Mapping):
            unknown = [str(name) for name in given if str(name) not in names]
            if unknown:
                raise OptionError(text("class_weight names the class {name!r}", name=unknown[0]), expected, did_you_mean(unknown[0], names))
            return [float(given.get(name, {str(k): v for k, v in given.items()}.get(name, 1.0))) for name in names]
        parts = given.replace(";", ",").split(",") if isinstance(given, str) else list(given)
        weights = [float(part) for part in parts]
    except (TypeError, ValueError) as error:
        if isinstance(error, OptionError):
            raise
        raise OptionTypeError(got, expected, did_you_mean(str(given), ["balanced"])) from None
    if len(weights) != len(names):
        raise OptionError(got, expected, text("give {count} weights instead of {given}", count=len(names), given=len(weights)))
    return weights


def _shape(value: Tensor | tuple[int, ...]) -> str:
    return str(tuple(value.shape) if isinstance(value, Tensor) else value)


def _shape_remedy(targets: Tensor, wanted: tuple[int, ...]) -> Text:
    shape = tuple(targets.shape)
    if shape == (*wanted, 1):
        return text("try targets.squeeze({dimension})", dimension=len(wanted))
    if (*shape, 1) == wanted:
        return text("try targets.unsqueeze(1)")
    if len(wanted) == 1 and len(shape) == 2:
        return text("try targets.argmax(1) if they are one-hot")
    return text("give one target per sample")
