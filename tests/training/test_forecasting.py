"""Forecasts from table to report: the network around, its measures, the naive forecasts beside it, the next steps."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

import pellucid
from pellucid import data
from pellucid.cli import predictions
from pellucid.core.errors import OptionError
from pellucid.core.records import Task
from pellucid.networks import build
from pellucid.networks.forecasting import Forecaster, a_season_before, fit_linear
from pellucid.training.forecasting.measures import block_means
from pellucid.training.losses import build_loss
from pellucid.training.metrics import full_scores, paired_difference, quick_metrics

LEVELS = (0.025, 0.1, 0.5, 0.9, 0.975)
TASK = Task(kind="forecasting", targets=("y",), horizon=3, season=4, scale=2.0, quantiles=LEVELS)


def sales(count: int = 120) -> pl.DataFrame:
    """Monthly, rising, with swings in proportion to the level."""
    t = np.arange(count)
    noise = np.random.default_rng(5).normal(size=count)
    values = 100 * np.exp(0.012 * t + 0.25 * np.sin(2 * np.pi * t / 12) + 0.02 * noise)
    return pl.DataFrame({"month": [f"{2000 + m // 12}-{m % 12 + 1:02d}" for m in range(count)], "sold": values})


def prepared(**options: Any) -> Any:
    return data.prepare(data.read(sales(), "sold", task="forecasting", **options))


def forecaster(parts: Any, network: str = "mlp", quantiles: tuple[float, ...] = LEVELS) -> Forecaster:
    torch.manual_seed(0)
    outputs = parts.task.horizon * max(1, len(quantiles))
    inner = build(network, input_shape=parts.input_shape, outputs=outputs)
    made = Forecaster(inner, parts.input_shape, horizon=parts.task.horizon, quantiles=quantiles, season_channel=False)
    made.initialize_from_part(parts.train)
    return made.eval()


# -- the network -------------------------------------------------------------------------------------------------------------------------


def test_the_linear_forecast_is_ridge_regression() -> None:
    """Hoerl and Kennard's normal equations, solved directly."""
    parts = prepared()
    linear = fit_linear(parts.train)
    windows, targets = next(parts.train.batches(10_000))
    features, wanted = windows.flatten(1).numpy().astype(np.float64), targets.numpy().astype(np.float64)
    last = features[:, -1:] * linear.relative
    features = features - last
    spread = features.std(0)
    features = (features - features.mean(0)) / np.where(spread > 1e-6, spread, 1.0)
    mean = (wanted - last).mean(0)
    normal = features.T @ features + linear.penalty * np.eye(features.shape[1])
    weights = np.linalg.solve(normal, features.T @ (wanted - last - mean))
    assert np.allclose(linear(windows).numpy(), features @ weights + mean + last, atol=1e-4)


@pytest.mark.parametrize("network", ["mlp", "perceptron", "gru", "cnn1d"])
def test_a_forecast_starts_at_the_linear_one_and_its_quantiles_never_cross(network: str) -> None:
    parts = prepared()
    made = forecaster(parts, network)
    windows, _ = next(parts.train.batches(16))
    linear = fit_linear(parts.train)(windows)
    found = made(windows).detach().reshape(16, parts.task.horizon, -1)
    assert torch.allclose(found[..., 2], linear, atol=1e-5)
    for parameter in made.network.parameters():  # whatever it says
        nn.init.normal_(parameter, std=3.0)
    made.calibrate(made(windows).detach(), next(parts.train.batches(16))[1])
    wild = made(torch.randn(64, *parts.input_shape) * 5).detach().reshape(64, parts.task.horizon, -1)
    assert (wild.diff(dim=-1) >= 0).all()


def test_distances_at_first_are_the_errors_of_the_linear_forecast() -> None:
    parts = prepared()
    windows, targets = next(parts.train.batches(10_000))
    found = forecaster(parts)(windows).detach().reshape(len(windows), parts.task.horizon, -1)
    inside = (targets >= found[..., 1]) & (targets <= found[..., 3])
    assert inside.float().mean().item() == pytest.approx(0.8, abs=0.05)


def test_calibration_holds_the_shares() -> None:
    parts = prepared()
    made = forecaster(parts)
    generator = torch.Generator().manual_seed(0)
    windows = torch.randn(200, *parts.input_shape, generator=generator)
    outputs = made(windows).detach()
    targets = outputs.reshape(200, -1, 5)[..., 2] + 3 * torch.randn(200, parts.task.horizon, generator=generator)
    made.calibrate(outputs, targets)
    found = made(windows).detach().reshape(200, -1, 5)
    for low, high, share in ((1, 3, 0.8), (0, 4, 0.95)):
        inside = (targets >= found[..., low]) & (targets <= found[..., high])
        assert inside.float().mean().item() == pytest.approx(share, abs=0.005)


def test_a_season_before() -> None:
    windows = torch.arange(10.0).reshape(1, 1, 10)
    assert a_season_before(windows, 5, 4, False).tolist() == [[6, 7, 8, 9, 6]]
    assert a_season_before(windows, 3, 1, False).tolist() == [[9, 9, 9]]
    assert a_season_before(torch.cat([windows, windows + 100], 1), 3, 40, True).tolist() == [[107, 108, 109]]


# -- measures ----------------------------------------------------------------------------------------------------------------------------


def test_measures_against_their_equations() -> None:
    generator = np.random.default_rng(0)
    y = generator.normal(5, 1, size=(40, 3))
    q = np.sort(generator.normal(5, 1, size=(40, 3, 5)), axis=-1)
    scores = {score.name: score for score in full_scores(torch.tensor(q.reshape(40, 15)), torch.tensor(y), TASK)}
    z = q[..., 2]
    expected = {
        "mae": np.mean([abs(y[i, j] - z[i, j]) for i in range(40) for j in range(3)]),
        "rmse": np.sqrt(np.mean((y - z) ** 2)),
        "mase": np.abs(y - z).mean() / 2.0,
        "smape": np.mean([200 * abs(y[i, j] - z[i, j]) / (abs(y[i, j]) + abs(z[i, j])) for i in range(40) for j in range(3)]),
        "coverage_80": np.mean([q[i, j, 1] <= y[i, j] <= q[i, j, 3] for i in range(40) for j in range(3)]),
        "coverage_95": np.mean([q[i, j, 0] <= y[i, j] <= q[i, j, 4] for i in range(40) for j in range(3)]),
    }
    assert {name: score.value for name, score in scores.items()} == pytest.approx(expected)
    for score in scores.values():
        assert score.interval is not None
        assert score.interval.low < score.value < score.interval.high
    assert not scores["mase"].higher_is_better
    points = {score.name for score in full_scores(torch.tensor(z), torch.tensor(y), TASK)}
    assert points == {"mae", "rmse", "mase", "smape"}  # one value has no interval


def test_blocks_know_that_neighbouring_windows_err_alike() -> None:
    """Each error stands in h windows: blocks give the interval of the few independent ones, single windows one that is too narrow."""
    generator = np.random.default_rng(1)
    terms = np.convolve(generator.normal(size=611), np.ones(12) / 12, mode="valid")[:, None]
    alone, blocks = (block_means(terms, horizon, np.random.default_rng(0)) for horizon in (1, 12))
    assert alone is not None
    assert blocks is not None
    assert 2.0 < blocks.std() / alone.std() < 5.0
    assert blocks.mean() == pytest.approx(terms.mean(), abs=0.01)
    assert block_means(terms[:91], 12, generator) is None  # three blocks of 23: nobody can tell
    few = np.convolve(generator.normal(size=(60, 132)).ravel(), np.ones(12) / 12, mode="same").reshape(60, 132)[:, 12:]
    held = 0
    for series in few:  # whose mean is 0
        draws = block_means(series[:, None], 12, np.random.default_rng(0))
        assert draws is not None
        low, high = np.quantile(draws, [0.025, 0.975])
        held += low < 0 < high
    assert held >= 52  # of 57 wanted: five blocks


def test_mase_of_several_series_is_the_mean_of_each_ones_own() -> None:
    y = torch.randn(10, 3, generator=torch.Generator().manual_seed(0)).double()
    z = y + torch.tensor([1.0] * 4 + [30.0] * 6)[:, None]
    part = SimpleNamespace(series=np.asarray([0] * 4 + [2] * 6), series_scales=np.asarray([2.0] * 4 + [10.0] * 6))
    assert quick_metrics(z, y, TASK, part)["mase"] == pytest.approx((1 / 2 + 30 / 10) / 2)
    some = SimpleNamespace(part=part, chosen=torch.tensor([0, 1, 9]))
    assert quick_metrics(z[[0, 1, 9]], y[[0, 1, 9]], TASK, some)["mase"] == pytest.approx((1 / 2 + 30 / 10) / 2)
    value, _ = paired_difference(z, y, y, TASK, part=part)
    assert value == pytest.approx((1 / 2 + 30 / 10) / 2)


@pytest.mark.parametrize("name", ["quantile", "mse", "mae"])
def test_a_step_without_a_value_is_neither_learnt_nor_scored(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(6, 3, generator=generator)
    z = torch.randn(6, 15 if name == "quantile" else 3, generator=generator, requires_grad=True)
    y[2, 1] = y[4, 0] = math.nan
    loss = build_loss(name, TASK)
    whole = [build_loss(name, replace(TASK, horizon=1))(z[row].reshape(3, -1)[step][None], y[row, step].reshape(1, 1)) for row, step in
             [(2, 0), (2, 2)]]  # fmt: skip
    assert loss.per_sample(z, y)[2].item() == pytest.approx(sum(value.item() for value in whole) / 2, rel=1e-5)
    assert loss(z, y).item() == pytest.approx(loss.per_sample(z, y).mean().item())
    loss(z, y).backward()
    assert z.grad is not None
    assert z.grad.reshape(6, 3, -1)[2, 1].abs().sum() == 0
    assert z.grad.isfinite().all()
    assert quick_metrics(z.detach(), y, TASK)["mae"] == pytest.approx(np.nanmean(np.nanmean(
        np.abs(z.detach().reshape(6, 3, -1)[..., -1 if name != "quantile" else 2].numpy() - y.numpy()), 1)), rel=1e-6)  # fmt: skip


def test_the_linear_forecast_of_targets_with_gaps_is_that_of_the_others_alone() -> None:
    parts = prepared()
    parts.train.values[30] = math.nan
    linear = fit_linear(parts.train)
    windows, targets = next(parts.train.batches(10_000))
    features = windows.flatten(1).double() - windows[:, 0, -1:].double() * linear.relative
    features = (features - linear.mean) / linear.scale
    step = 5
    known = ~targets[:, step].isnan()
    assert 0 < int((~known).sum()) < len(known)
    wanted = (targets[:, step] - windows[:, 0, -1] * linear.relative).double()[known]
    some = torch.cat([features[known], torch.ones(int(known.sum()), 1)], 1)
    # the intercept is that of the filled targets, whose mean over all windows the fit keeps
    penalty = torch.diag(torch.tensor([linear.penalty] * features.shape[1] + [0.0])).double()
    weights = torch.linalg.solve(some.T @ some + penalty, some.T @ wanted)
    assert torch.allclose(linear.weight[step].double(), weights[:-1], atol=1e-3)


def test_the_difference_is_paired() -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(200, 3, generator=generator)
    good, bad = y + 0.1, y + 0.3
    value, interval = paired_difference(good, bad, y, TASK)
    assert value == pytest.approx(-0.1)
    assert interval is not None
    assert interval.low == pytest.approx(-0.1, abs=1e-6)


# -- from table to report ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("forecasting")
    sales().write_csv(folder / "sales.csv")
    return pellucid.fit(folder / "sales.csv", "sold", task="forecasting", epochs=4, directory=folder / "runs")


def test_fit_says_what_it_found_and_beats_the_season(run: Any) -> None:
    said = "\n".join(str(notice.summary) for notice in run.notices)
    assert "sold repeats itself every 12 steps" in said
    assert "its logarithm is learnt" in said
    assert run.task.horizon == run.task.season == 12
    baselines = json.loads((run.directory / "records" / "baselines.json").read_text(encoding="utf-8"))
    errors = {row["name"]: row["scores"][0]["value"] for row in baselines["baselines"]}
    assert set(errors) == {"naive", "seasonal_naive", "ridge"}
    assert run.metrics["test"]["mase"] < errors["seasonal_naive"]
    assert {"coverage_80", "coverage_95"} <= set(run.metrics["test"])
    report = (run.directory / "report.html").read_text(encoding="utf-8")
    assert "Forecasts and what came true" in report
    assert "预测与实际" in report


def test_predict_gives_the_next_steps_with_their_times(run: Any, tmp_path: Path) -> None:
    recent = sales()[-40:]
    answer = run.predict(recent)
    columns = answer.to_dict()
    assert list(columns) == ["month", "sold", "lower 80 %", "upper 80 %", "lower 95 %", "upper 95 %"]
    assert columns["month"] == [f"2010-{month:02d}" for month in range(1, 13)]
    ends = np.asarray([columns[name] for name in ("lower 95 %", "lower 80 %", "sold", "upper 80 %", "upper 95 %")])
    assert (np.diff(ends, axis=0) > 0).all()
    whole = run.predict(run.directory.parent.parent / "sales.csv").to_dict()
    assert whole == columns  # more of the past than the lags changes nothing
    predictions.write_file(answer, tmp_path / "next.csv")
    rows = list(csv.DictReader((tmp_path / "next.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["month"] for row in rows] == columns["month"]
    assert [float(row["sold"]) for row in rows] == columns["sold"]


def test_evaluate_measures_every_origin(run: Any) -> None:
    later = sales(164)[-44:]
    evaluation = run.evaluate(later)
    assert evaluation.samples == 44 - 24 - 12 + 1
    assert not any(notice.kind == "seen_before" for notice in evaluation.notices)
    assert evaluation.metrics["mase"] < 2


def test_loading_gives_the_same_forecast(run: Any) -> None:
    again = pellucid.load(run.directory)
    assert again.predict(sales()).to_dict() == run.predict(sales()).to_dict()


def test_one_value_instead_of_quantiles(tmp_path: Path) -> None:
    point = pellucid.fit(sales(), "sold", task="forecasting", loss="mae", horizon=3, lags=12, epochs=1, directory=tmp_path, report=False)
    assert "coverage_80" not in point.metrics["test"]
    assert list(point.predict(sales()).to_dict()) == ["month", "sold"]
    assert len(point.predict(sales())) == 3


def test_a_loss_for_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="a loss for forecasting"):
        pellucid.fit(sales(), "sold", task="forecasting", loss="cross_entropy", directory=tmp_path)


@pytest.mark.slow
def test_an_own_network_and_several_series(tmp_path: Path) -> None:
    both = pl.concat([sales().with_columns(place=pl.lit(place), sold=pl.col("sold") * factor) for place, factor in (("a", 1), ("b", 30))])

    def own(input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(input_shape)), outputs))

    run = pellucid.fit(both, "sold", task="forecasting", group="place", network=own, epochs=2, directory=tmp_path, report=False)
    columns = run.predict(both).to_dict()
    assert columns["place"] == ["a"] * 12 + ["b"] * 12
    first, second = np.asarray(columns["sold"][:12]), np.asarray(columns["sold"][12:])
    assert np.allclose(second / first, 30, rtol=0.3)
    assert pellucid.load(run.directory, network=own).predict(both).to_dict() == columns


@pytest.mark.slow
def test_resuming_changes_nothing(tmp_path: Path) -> None:
    from pellucid.core.errors import Interrupted
    from pellucid.training.fit import train
    from pellucid.training.progress import Progress

    class Stop(Progress):
        def epoch(self, row: Any) -> None:
            if row["epoch"] == 3:
                import signal

                signal.raise_signal(signal.SIGINT)

    sales().write_csv(tmp_path / "sales.csv")
    options = {"task": "forecasting", "epochs": 8, "checkpoint_interval": 0.0, "report": False, "baselines": False}
    straight = train(tmp_path / "sales.csv", "sold", {**options, "directory": tmp_path / "straight"}, Progress())
    with pytest.raises(Interrupted):
        train(tmp_path / "sales.csv", "sold", {**options, "directory": tmp_path / "stopped"}, Stop())
    stopped = next((tmp_path / "stopped").iterdir())
    resumed = pellucid.load(stopped).resume()
    for one, other in zip(straight.model.state_dict().values(), resumed.model.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert straight.metrics == resumed.metrics


@pytest.mark.slow
@pytest.mark.shared_data
@pytest.mark.parametrize(("name", "target"), [("airline-passengers", "Passengers"), ("daily-min-temperatures", "Temp")])
def test_the_seasonal_naive_forecast_is_beaten(name: str, target: str, shared_data: Path, tmp_path: Path) -> None:
    run = pellucid.fit(shared_data / "timeseries" / f"{name}.csv", target, task="forecasting", directory=tmp_path, report=False)
    baselines = json.loads((run.directory / "records" / "baselines.json").read_text(encoding="utf-8"))
    season = next(row for row in baselines["baselines"] if row["name"] == "seasonal_naive")
    assert season["difference"]["value"] < 0
    interval = season["difference"]["interval"]
    assert interval is None if name == "airline-passengers" else interval["high"] < 0  # 18 origins that overlap tell nothing


@pytest.mark.slow
def test_a_forecast_is_explained_by_the_steps_before_it(run: Any) -> None:
    from pellucid.core.errors import DataError
    from pellucid.training.explaining import explain_run

    explained = explain_run(run, row="2009-01", target="12")
    attributions = np.asarray(explained.explanation.attributions)
    assert attributions.shape == (1, 1, 24)
    assert float(explained.answer) > 100  # in the user's unit, not standardised
    assert attributions[0, 0, [11, 23]].sum() > 0.3 * attributions.sum()  # the same month a year and two before
    assert explained.part == "test"
    with pytest.raises(DataError, match="no forecast can begin at 2000-03"):
        explain_run(run, row="2000-03")
