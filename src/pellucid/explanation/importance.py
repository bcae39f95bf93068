"""importance: what the whole model uses, feature by feature.

importance = pellucid.importance(model, X, y)                     # how far the score falls when a column is shuffled
importance = pellucid.importance(model, X, y, method="shapley")   # the mean size of the column's Shapley values
importance.value, importance.low, importance.high                 # one number per feature, with its 95 % interval
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.core.errors import DataError, OptionError, did_you_mean
from pellucid.core.language import Text, text
from pellucid.core.records import Record
from pellucid.explanation.checks import checked_samples, checked_seed, groups_of, plainly
from pellucid.explanation.methods.coalitions import Game, Inputs, t_quantile
from pellucid.explanation.methods.shapley import shapley_values
from pellucid.explanation.players import Players
from pellucid.explanation.reference import Reference
from pellucid.explanation.subject import Spent, Subject, Tell
from pellucid.explanation.terms import method_name

METHODS = ("permutation", "shapley")
METRICS = ("auto", "accuracy", "r2", "loss")
Metric = Callable[[Tensor, Tensor], Tensor]  # outputs (n, K), targets (n, ...) -> (n,) each sample's score, higher is better


@dataclass(frozen=True, kw_only=True, eq=False)
class Importance(Record):
    """What each of M features is worth to the model, over N samples."""

    method: str  # "permutation" or "shapley"
    metric: str | None  # of "permutation": "accuracy", "r2", "loss" (its negative), or the name of the user's function
    score: float | None  # of the intact model, in that metric; higher is better
    names: tuple[str, ...]  # of the features
    value: tuple[float, ...]  # the fall of the score; or the mean of |Shapley value|
    low: tuple[float, ...]  # 95 % intervals
    high: tuple[float, ...]
    exact: tuple[bool, ...]  # nothing varied: the feature is not used at all
    samples: int
    repeats: int | None  # shuffles of each feature
    notes: tuple[Text, ...]
    spent: Spent
    shapley: Tensor | None = field(default=None, repr=False)  # (N, M) each sample's values, and
    entries: Tensor | None = field(
        default=None, repr=False
    )  # (N, M) what its features are (the mean of a feature's entries): for a plot of both

    def __repr__(self) -> str:
        order = sorted(range(len(self.value)), key=lambda j: -self.value[j])
        rows = [f"{self.names[j]}  {self.value[j]:.4g}  [{self.low[j]:.4g}, {self.high[j]:.4g}]" for j in order[:12]]
        head = text("Importance by {method} over {samples} samples", method=method_name(self.method), samples=self.samples)
        return "\n".join([str(head), *rows, *(["..."] if len(order) > 12 else [])])


@plainly()
def importance(
    model: nn.Module,
    inputs: Any,
    targets: Any = None,
    *,
    method: str = "permutation",
    metric: str | Metric = "auto",
    repeats: int = 10,
    baseline: Any = "auto",
    data: Any = None,
    features: Any = "auto",
    names: Sequence[str] | None = None,
    samples: int | None = None,
    seed: int = 0,
    progress: Callable[[Text], None] | None = None,
) -> Importance:
    """The importance of each feature for any torch.nn.Module, over the samples `inputs` (N, ...).

    "permutation": how far the score falls when the feature's values are exchanged among the samples, `repeats` times. `metric`:
    "accuracy" (class indices as `targets`), "r2" (numbers), "loss" (cross-entropy or squared error; the score is its negative), or a
    function of outputs (n, K) and targets (n, ...) that gives every sample's score (n,). Intervals speak of other samples of the same kind.
    "shapley": the mean over the samples of |Shapley value| of the largest output (of output `targets` where given), against `data` or, if
    there is none, the samples themselves; `baseline`, `features`, `samples`, `seed`, `progress` as in `explain`.

    Raises:
        ModelError, DataError, OptionError: as `explain`; targets that do not fit the metric.
    Sources: L. Breiman 2001, section 10; A. Fisher, C. Rudin, F. Dominici 2019 (model reliance); S. Lundberg et al. 2020 (mean |SHAP|).
    """
    from pellucid.explanation.explain import reporter

    if method not in METHODS:
        raise OptionError(
            text("method is {method!r}", method=method), text("one of {names}", names=list(METHODS)), did_you_mean(str(method), METHODS)
        )
    if isinstance(cast("Any", repeats), bool) or not isinstance(cast("Any", repeats), int) or repeats < 2:
        raise OptionError(text("repeats is {repeats!r}", repeats=repeats), text("an integer >= 2"), text("leave it at 10"))
    samples = checked_samples(samples)
    if method == "permutation" and (data is not None or not (isinstance(baseline, str) and baseline == "auto")):
        raise OptionError(
            text("there is a {name} and the method is permutation", name="baseline" if data is None else "data"),
            text("neither: absent features take the values of the other samples"),
            text('leave it out, or use method="shapley"'),
        )
    generator = torch.Generator().manual_seed(checked_seed(seed))
    tell = reporter(progress)
    subject = Subject.of(
        model, inputs, targets if method == "shapley" else 0, tell=tell
    )  # all outputs are scored: target 0 stands for none
    if subject.samples < 2:
        raise DataError(
            text("there is one sample"),
            text("several samples: importance speaks of the model as a whole"),
            text("use pellucid.explain for one sample"),
        )
    players = Players.of(subject, groups_of(features))
    known = _names(names, players)
    if method == "shapley":
        return _shapley(subject, players, known, baseline, subject.inputs if data is None else data, samples, generator, tell)
    return _permutation(subject, players, known, targets, metric, repeats, generator, tell)


def _permutation(
    subject: Subject,
    players: Players,
    names: tuple[str, ...],
    targets: Any,
    metric: str | Metric,
    repeats: int,
    generator: torch.Generator,
    tell: Tell,
) -> Importance:
    """Each feature's entries come from another sample: in each repeat along a random cycle through all samples, so that none keeps its own.

    The fall h(i, d) of sample i with donor d is the kernel of a two-sample U statistic: a sample counts as receiver and as donor. The
    variance of its mean is that of a_i + b_i (the means of i's falls in both parts) over N, less what finite repeats add to it.
    Source: W. Hoeffding 1948; L. Mentch, G. Hooker 2016.
    """
    N, M = subject.samples, players.count
    truth, name, score, scale = _scored(subject, targets, metric)
    intact = score(subject.predictions, truth).double()
    order = torch.rand(repeats, N, generator=generator, device=generator.device).argsort(1).to(subject.device)
    donors = torch.empty_like(order).scatter_(1, order, order.roll(-1, 1))  # (repeats, N)
    receivers = torch.empty_like(order).scatter_(1, order, order.roll(1, 1))
    alone = ~torch.eye(M, dtype=torch.bool, device=subject.device)
    zero = Reference("samples", subject.inputs, text("the other samples"))
    game = Game(subject, zero, players, tell)

    def copies(numbers: Tensor, part: slice) -> tuple[Tensor, Inputs]:
        rows, others = numbers % N, donors.reshape(-1)[numbers]
        own, foreign = (tuple(entries[which] for entries in subject.inputs) for which in (rows, others))
        return rows, players.mixed(own, foreign, alone[None, part])

    def moved(rows: Tensor, outputs: Tensor) -> Tensor:
        return (outputs - subject.predictions[rows]).abs().amax(1)

    left = game.evaluated(repeats * N, M, copies, lambda rows, outputs: score(outputs, truth[rows]))
    fall = (intact[:, None] - left.reshape(repeats, N, M)) / scale.mean()  # (repeats, N, M)
    value = fall.mean((0, 1))
    received, given = fall.mean(0), fall.gather(1, receivers[..., None].expand(-1, -1, M)).mean(0)  # (N, M)
    influence = received + given - 2 * value - value * (scale / scale.mean() - 1)[:, None]
    rest = fall - received - given[donors] + value
    drawn = rest.square().sum((0, 1)) / (N * (repeats - 2) + 1) / repeats if repeats > 2 else torch.zeros_like(value)
    variance = torch.maximum(influence.var(0) - drawn, drawn) / N
    half = t_quantile(torch.tensor(N - 1.0, dtype=torch.float64)).to(variance) * variance.sqrt()
    exact = game.evaluated(N, M, copies, moved).amax(0) <= game.noise().max()
    if name == "accuracy":  # no answer changed among N samples: at most 3.7 / N of all do, with probability 0.975
        half = torch.where(variance == 0, -math.log(0.025) / N, half)
    half = torch.where(exact, 0.0, half)
    total = float(intact.mean())
    return Importance(
        method="permutation", metric=name, score=1 + total / float(scale.mean()) if name == "r2" else total, names=names,
        value=tuple(value.tolist()), low=tuple((value - half).tolist()), high=tuple((value + half).tolist()), exact=tuple(exact.tolist()),
        samples=N, repeats=repeats, notes=tuple(subject.notes), spent=subject.spent,
    )  # fmt: skip


def _scored(subject: Subject, targets: Any, metric: str | Metric) -> tuple[Tensor, str, Metric, Tensor]:
    """The targets, the metric's name, each sample's score, and what the falls are divided by, (N,) of which the mean counts."""
    if targets is None:
        raise DataError(
            text("there are no targets"),
            text("targets (N, ...): the fall of a score is measured against the truth"),
            text('give the targets, or use method="shapley", which needs none'),
        )
    truth = _numbers(targets).to(subject.device)
    one = torch.ones(subject.samples, dtype=torch.float64, device=subject.device)
    if truth.dim() == 0 or len(truth) != subject.samples:
        raise DataError(
            text("targets have shape {shape}", shape=str(tuple(truth.shape))),
            text("one for each of the {samples} samples", samples=subject.samples),
            text("give the targets of exactly these inputs"),
        )
    if callable(metric):
        return truth, getattr(metric, "__name__", "metric"), _checked(metric), one
    if metric not in METRICS:
        raise OptionError(
            text("metric is {metric!r}", metric=metric), text("one of {names}, or a function", names=list(METRICS)),
            did_you_mean(str(metric), METRICS),
        )  # fmt: skip
    classes = not truth.is_floating_point() and subject.classes > 1
    if metric == "auto":
        metric = "accuracy" if classes else "r2"
    if classes and metric != "r2":
        if truth.dim() != 1 or int(truth.min()) < 0 or int(truth.max()) >= subject.classes:
            raise DataError(
                text("targets have shape {shape} and lie in {low} to {high}", shape=str(tuple(truth.shape)), low=int(truth.min()),
                     high=int(truth.max())),
                text("class indices of shape ({samples},) in 0 to {last}", samples=subject.samples, last=subject.classes - 1),
                text("encode the classes as 0, 1, 2, ..., in the order of the network's outputs"),
            )  # fmt: skip
        truth = truth.long()
        if metric == "accuracy":
            return truth, "accuracy", lambda outputs, truth: (outputs.argmax(1) == truth).double(), one
        return truth, "loss", _negative_cross_entropy(subject.predictions), one
    if metric == "accuracy" or truth[0].numel() != subject.classes:
        raise DataError(
            text("targets have shape {shape} and dtype {dtype}, and the network {outputs} outputs, for the metric {metric}",
                 shape=str(tuple(truth.shape)), dtype=str(truth.dtype), outputs=subject.classes, metric=metric),
            text("class indices for accuracy and several outputs; as many numbers as outputs for r2 and loss"),
            text("give a function metric(outputs, targets) that returns each sample's score, if the outputs mean something else"),
        )  # fmt: skip
    truth = truth.double().reshape(subject.samples, -1)
    spread = (truth - truth.mean(0)).square().sum(1) if metric == "r2" else one
    if not float(spread.mean()):
        raise DataError(text("all targets are equal"), text("targets that differ: r2 compares with their mean"), text('use metric="loss"'))
    return truth, metric, lambda outputs, truth: -(outputs.double() - truth).square().sum(1), spread


def _numbers(targets: Any) -> Tensor:
    try:
        truth = torch.as_tensor(targets).detach()
    except (TypeError, ValueError, RuntimeError):
        truth = None
    if truth is None or truth.is_complex() or not bool(torch.isfinite(truth).all()):
        raise DataError(
            text("targets are no numbers, or NaN or infinite among them: {kind}", kind=type(targets).__name__),
            text("class indices as integers, or finite numbers, one for each sample"),
            text("encode the classes as 0, 1, 2, ..., in the order of the network's outputs"),
        )
    return truth


def _negative_cross_entropy(predictions: Tensor) -> Metric:
    """The logarithm of the true class's probability; outputs that are probabilities already are taken as such."""
    sums = bool((predictions >= 0).all()) and torch.allclose(predictions.sum(1), torch.ones_like(predictions[:, 0]), atol=1e-3)
    tiny = torch.finfo(predictions.dtype).tiny

    def score(outputs: Tensor, truth: Tensor) -> Tensor:
        return -F.nll_loss(outputs.clamp(min=tiny).log() if sums else outputs.log_softmax(1), truth, reduction="none")

    return score


def _checked(metric: Metric) -> Metric:
    def score(outputs: Tensor, truth: Tensor) -> Tensor:
        try:
            found = torch.as_tensor(metric(outputs, truth))
        except Exception as error:  # whatever the user's function raises
            raise OptionError(
                text("metric failed: {error}", error=f"{type(error).__name__}: {error}"),
                text("a function of outputs (n, K) and targets (n, ...)"),
                text("call it on the network's outputs and the targets yourself"),
            ) from error
        if found.shape == (len(outputs),) and not bool(torch.isfinite(found).all()):
            raise OptionError(
                text("metric gave NaN or infinite scores"), text("finite scores, higher is better"),
                text("bound what can overflow, such as the logarithm of a probability"),
            )  # fmt: skip
        if found.shape != (len(outputs),):
            raise OptionError(
                text("metric gave shape {shape} for {n} samples", shape=str(tuple(found.shape)), n=len(outputs)),
                text("one score for each sample, higher is better"),
                text('return the scores before they are averaged (reduction="none")'),
            )
        return found

    return score


def _shapley(
    subject: Subject,
    players: Players,
    names: tuple[str, ...],
    baseline: Any,
    data: Any,
    samples: int | None,
    generator: torch.Generator,
    tell: Tell,
) -> Importance:
    """The mean of |Shapley value|; its t interval speaks of other samples of the same kind."""
    reference = Reference.of(subject, baseline, data, generator)
    game = Game(subject, reference, players, tell)
    found = shapley_values(game, generator, samples)
    size = found.values.abs()
    value = size.mean(0)
    exact = (found.exact & (size <= game.noise())).all(0)
    half = t_quantile(torch.tensor(subject.samples - 1.0, dtype=torch.float64)).to(value) * size.std(0) / math.sqrt(subject.samples)
    half = torch.where(exact, 0.0, half)
    numbers = tuple(entries.to(subject.predictions.dtype) for entries in subject.inputs)
    return Importance(
        method="shapley", metric=None, score=None, names=names, value=tuple(value.tolist()),
        low=tuple((value - half).clamp(min=0).tolist()), high=tuple((value + half).tolist()), exact=tuple(exact.tolist()),
        samples=subject.samples, repeats=None, notes=(*subject.notes, text("reference: {stated}", stated=reference.stated)),
        spent=subject.spent, shapley=found.values, entries=players.summed(numbers) / players.sizes,
    )  # fmt: skip


def _names(names: Sequence[str] | None, players: Players) -> tuple[str, ...]:
    if names is None:
        return players.names or tuple(str(j) for j in range(players.count))
    if len(names) != players.count:
        raise OptionError(
            text("there are {given} names", given=len(names)),
            text("{count}, one for each feature", count=players.count),
            text("give the features' names in their order, or none"),
        )
    return tuple(str(name) for name in names)
