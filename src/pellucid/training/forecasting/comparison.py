"""The network beside the forecasts that everybody should try first: the last value, the last season, ridge regression on the lags."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.core.language import Text, text
from pellucid.core.records import Score, Task
from pellucid.core.results import Baseline, Baselines, Difference
from pellucid.core.wording import baseline_name
from pellucid.diagnosis.dynamic.curves import metric_word, shown
from pellucid.networks.forecasting import a_season_before, fit_linear
from pellucid.training.forecasting.measures import FEWEST_BLOCKS
from pellucid.training.metrics import full_scores, paired_difference, primary_metric, quick_metrics


def naive_forecasts(part: Any, preprocessing: Any) -> dict[str, Tensor]:
    """(N, h) in the user's units of all windows of a part: "naive", the last value, and "seasonal_naive" where there is a season."""
    task, channel = preprocessing.task, preprocessing.season_lag > 0
    last: list[Tensor] = []
    season: list[Tensor] = []
    for windows, _ in part.batches(2048):
        last.append(windows[:, 0, -1:].expand(-1, task.horizon).cpu())
        season.append(a_season_before(windows, task.horizon, task.season, channel).cpu())
    found = {"naive": preprocessing.restore_targets(torch.cat(last))}
    if task.season > 1:
        found["seasonal_naive"] = preprocessing.restore_targets(torch.cat(season))
    return found


def simple_scores(network: Any, prepared: Any, parts: Mapping[str, Any]) -> tuple[str, dict[str, float]]:
    """(name of the simple forecast that errs least on the last of `parts`, part -> its error in the primary metric): the naive forecasts,
    the mean of the training part and the linear forecast that `network` departs from."""
    task, restore = prepared.task, prepared.preprocessing.restore_targets
    primary, device = primary_metric(task), next(iter(network.parameters())).device
    values = prepared.train.values[prepared.train.origins].cpu()
    errors: dict[str, dict[str, float]] = {}
    for name, part in parts.items():
        pairs = [(network.linear(windows.to(device)).cpu(), targets.cpu()) for windows, targets in part.batches(2048)]
        targets = restore(torch.cat([targets for _, targets in pairs]))
        forecasts = naive_forecasts(part, prepared.preprocessing) | {
            "ridge": restore(torch.cat([answer for answer, _ in pairs])),
            "constant": restore(values.nanmean()).expand(targets.shape),
        }
        for model, forecast in forecasts.items():
            errors.setdefault(model, {})[name] = quick_metrics(forecast, targets, task, part).get(primary, math.nan)
    last = list(parts)[-1]
    best = min(errors, key=lambda model: errors[model][last] if math.isfinite(errors[model][last]) else math.inf)
    return best, {part: error for part, error in errors[best].items() if math.isfinite(error)}


def compare_forecasts(
    prepared: Any,
    *,
    part: str,
    outputs: Tensor,
    targets: Tensor,
    seed: int = 0,
    notes: Sequence[Text] = (),
    tell: Callable[[Text], None] = lambda phase: None,
) -> Baselines:
    """The simple forecasts on the origins of `part` beside the network's `outputs` and the `targets`, both in the user's units."""
    start = time.perf_counter()
    task: Task = prepared.task
    source, primary = getattr(prepared, part), primary_metric(task)

    def measured(name: str, model: str, output: Tensor, fit_seconds: float = 0.0, predict_seconds: float = 0.0) -> Baseline:
        value, interval = paired_difference(outputs, output, targets, task, seed=seed, part=source)
        difference = Difference(metric=primary, value=value, interval=interval, higher_is_better=False) if math.isfinite(value) else None
        scores = tuple(full_scores(output, targets, task, seed=seed, part=source))
        return Baseline(
            name=name, model=model, scores=scores, difference=difference, fit_seconds=fit_seconds, predict_seconds=predict_seconds,
            train_samples=len(prepared.train),
        )  # fmt: skip

    equations = {"naive": "y(t+h) = y(t)", "seasonal_naive": f"y(t+h) = y(t+h-{task.season})"}
    baselines = [measured(name, equations[name], output) for name, output in naive_forecasts(source, prepared.preprocessing).items()]
    if "seasonal_naive" not in {baseline.name for baseline in baselines}:
        skipped = text("the training part shows no season")
        baselines.append(Baseline(name="seasonal_naive", model=equations["seasonal_naive"], skipped=skipped))
    tell(text("baseline: {model}", model=baseline_name("ridge", primary)))
    begun = time.perf_counter()
    linear = fit_linear(prepared.train)
    fitted = time.perf_counter()
    answers = torch.cat([linear(windows.cpu()) for windows, _ in source.batches(2048)])
    ridge = f"Ridge(alpha={linear.penalty:g})"
    took = time.perf_counter() - fitted
    baselines.append(measured("ridge", ridge, prepared.preprocessing.restore_targets(answers), fitted - begun, took))
    network = next((score for score in full_scores(outputs, targets, task, seed=seed, part=source) if score.name == primary), None)
    best, conclusion, verdict = _verdict(network, baselines, primary)
    return Baselines(
        primary=primary,
        part=part,
        samples=len(targets),
        train_samples=len(prepared.train),
        network=network,
        baselines=tuple(baselines),
        representation=text("the same windows of {lags} past steps as the network", lags=prepared.input_shape[1]),
        best=best,
        conclusion=conclusion,
        verdict=verdict,
        notes=tuple(notes),
        seconds=time.perf_counter() - start,
    )


def _verdict(network: Score | None, baselines: Sequence[Baseline], primary: str) -> tuple[str | None, str, Text]:
    """(name of the best simple forecast, conclusion, the sentence)."""

    def error(baseline: Baseline) -> float:
        return next((score.value for score in baseline.scores if score.name == primary), math.inf)

    compared = [baseline for baseline in baselines if baseline.difference is not None and math.isfinite(error(baseline))]
    if network is None or not compared:
        return None, "unknown", text("no simple forecast could be compared with the network")
    best = min(compared, key=error)
    assert best.difference is not None
    interval = best.difference.interval
    if interval is None:
        return best.name, "unknown", text(
            "On the {count} origins there {metric} of the network is {network}, that of the best simple forecast, {model}, {score}. Which "
            "of the two is better cannot be told: these origins overlap and make fewer than {fewest} stretches of their own.",
            count=network.samples, metric=metric_word(primary), network=shown(network.value), score=shown(error(best)),
            model=baseline_name(best.name, primary), fewest=FEWEST_BLOCKS,
        )  # fmt: skip
    told = {
        "model": baseline_name(best.name, primary), "metric": metric_word(primary), "network": shown(network.value),
        "score": shown(error(best)), "difference": f"{best.difference.value:+.3f}",
        "low": shown(interval.low), "high": shown(interval.high),
    }  # fmt: skip
    if best.difference.network_is_better:
        return best.name, "better", text(
            "The network errs less than the best simple forecast, {model}: {metric} {network} against {score}, difference {difference}, "
            "95 % interval [{low}, {high}].",
            **told,
        )  # fmt: skip
    if best.difference.network_is_better is False:
        return best.name, "worse", text(
            "The network errs more than {model}: {metric} {network} against {score}, difference {difference}, "
            "95 % interval [{low}, {high}]. On this series the simple forecast is the better choice.",
            **told,
        )  # fmt: skip
    return best.name, "not_shown", text(
        "That the network errs less than {model} is not shown: {metric} {network} against {score}, difference {difference}, 95 % interval "
        "[{low}, {high}]. On this series the simple forecast may be enough.",
        **told,
    )  # fmt: skip
