"""Series from a file to an answer: fit, report, predict, evaluate, explain, resume; and what stands beside the network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pellucid
from pellucid.networks.registry import build, names
from pellucid.networks.sequences import POOLINGS
from pellucid.training.baselines import series as classical
from pellucid.training.explaining import explain_run

HEADER = (
    "@problemName Bumps\n@timeStamps false\n@missing false\n@univariate false\n@equalLength false\n@classLabel true early late\n@data\n"
)


def bumps(count: int, seed: int) -> str:
    """Two channels of noise, 20 to 30 steps; the bump of a series stands in its first half or in its second."""
    draw = np.random.default_rng(seed)
    lines: list[str] = []
    for number in range(count):
        length = int(draw.integers(20, 31))
        channels = draw.normal(0, 0.3, size=(2, length))
        start = 2 if number % 2 else length - 8
        channels[0, start : start + 5] += 3.0
        lines.append(
            ":".join(",".join(f"{value:.4f}" for value in channel) for channel in channels) + (":early" if number % 2 else ":late")
        )
    return HEADER + "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("series")
    (folder / "Bumps_TRAIN.ts").write_text(bumps(40, 0), encoding="utf-8")
    (folder / "Bumps_TEST.ts").write_text(bumps(24, 1), encoding="utf-8")
    options = {"filters": (8, 8), "kernel_size": (5,)}
    run = pellucid.fit(folder / "Bumps_TRAIN.ts", network="cnn1d", network_options=options, epochs=12, directory=folder / "runs")
    return run, folder


def test_a_run_of_series(trained: Any) -> None:
    run, folder = trained
    records = run.directory / "records"
    baselines = json.loads((records / "baselines.json").read_text(encoding="utf-8"))
    fitted = {entry["name"] for entry in baselines["baselines"] if entry["scores"]}
    assert {"nearest_neighbour", "random_forest", "linear"} <= fitted
    mistakes = json.loads((records / "mistakes.json").read_text(encoding="utf-8"))["mistakes"]
    assert all(len(mistake["curves"]) == 2 for mistake in mistakes)
    page = (run.directory / "report.html").read_text(encoding="utf-8")
    for word in ("Training series", "early", "late", "Bumps_TEST.ts", "as the source gives it"):
        assert word in page
    answers = run.predict(folder / "Bumps_TEST.ts")
    assert len(answers) == 24
    assert run.evaluate(folder / "Bumps_TEST.ts").scores[0].value == pytest.approx(run.metrics["test"]["accuracy"])
    longer = np.full((1, 2, 60), np.nan)
    longer[0, :, :25] = np.random.default_rng(2).normal(size=(2, 25))
    np.testing.assert_allclose(run.predict(longer).probabilities, run.predict(longer[..., :25]).probabilities, atol=1e-6)


def test_a_series_is_explained_step_by_step(trained: Any) -> None:
    run, _ = trained
    explained = explain_run(run, row="Bumps_TEST.ts row 2")
    (part,) = explained.sample.parts
    assert part.kind == "steps"
    assert part.names == ("1", "2")
    assert part.series is not None
    assert part.values.shape == part.series.shape
    assert part.series[0].max() > 2  # as the file has it


@pytest.mark.slow
def test_going_on_changes_nothing(trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pellucid.core.errors import Interrupted
    from pellucid.training.loop import Loop

    _, folder = trained
    given: dict[str, Any] = {
        "network": "gru", "network_options": {"hidden_size": 4}, "epochs": 4, "augment": "jitter,time_warp", "baselines": False,
        "report": False, "learning_rate": 0.01, "checkpoint_interval": 0.0,
    }  # fmt: skip
    whole = pellucid.fit(folder / "Bumps_TRAIN.ts", directory=tmp_path / "whole", **given)
    update, count = Loop.update, [0]

    def stopping(loop: Loop, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        count[0] += 1
        if count[0] == 6:
            raise Interrupted(str(loop.directory.path))
        return update(loop, inputs, targets)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "update", stopping)
        with pytest.raises(Interrupted):
            pellucid.fit(folder / "Bumps_TRAIN.ts", directory=tmp_path / "part", **given)
    (path,) = (tmp_path / "part").iterdir()
    resumed = pellucid.load(path).resume()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


@pytest.mark.parametrize("name", [name for name in ("rnn", "lstm", "gru", "cnn1d", "resnet1d", "transformer") if name in names()])
def test_every_network_for_series_reads_any_length(name: str) -> None:
    torch.manual_seed(0)
    for pooling in POOLINGS:
        network = build(name, input_shape=(3, 20), outputs=2, options={"pooling": pooling}).eval()
        for steps in (1, 2, 33):
            assert network(torch.randn(2, 3, steps)).isfinite().all()


def test_summaries_by_hand_and_padding_never_counts() -> None:
    torch.manual_seed(0)
    batch = torch.randn(4, 2, 17, dtype=torch.float64)
    batch[1, :, 9:] = batch[2, :, 1:] = batch[3] = torch.nan
    more = torch.cat([batch, torch.full((4, 2, 6), torch.nan, dtype=torch.float64)], 2)
    summed = classical.summary(batch)
    assert summed.shape == (4, classical.summary_width(2))
    torch.testing.assert_close(summed, classical.summary(more))
    torch.testing.assert_close(classical.stretched(batch, 8), classical.stretched(more, 8))
    for row, length in ((0, 17), (1, 9)):
        x = batch[row, 1, :length].numpy()
        own = summed[row, 25:50].tolist()  # of the second channel
        quarter = x[: -(-length // 4)]
        lag = float(((x - x.mean())[2:] * (x - x.mean())[:-2]).sum() / ((x - x.mean()) ** 2).sum())
        slope = float(np.polyfit(np.arange(length), x, 1)[0])
        expected = [x.mean(), x.std(), x.max(), x.min(), slope, own[5], lag, *own[7:9], np.abs(np.diff(x)).mean()]
        np.testing.assert_allclose(own[:10], expected, atol=1e-9)
        assert own[10] == pytest.approx(float(np.mean(np.diff(x > x.mean()) != 0)))
        assert own[11:13] == pytest.approx([x.argmax() / length, x.argmin() / length])
        np.testing.assert_allclose(own[13:15], [quarter.mean(), quarter.std()], atol=1e-9)
    one = batch[1, 0, :9].numpy()
    np.testing.assert_allclose(classical.stretched(batch, 17)[1, :17], np.interp(np.linspace(0, 8, 17), np.arange(9), one), atol=1e-6)


@pytest.mark.slow
@pytest.mark.shared_data
@pytest.mark.parametrize(("name", "least"), [("ItalyPowerDemand", 0.94), ("GunPoint", 0.94), ("JapaneseVowels", 0.94)])
def test_published_sets(name: str, least: float, shared_data: Path, tmp_path: Path) -> None:
    run = pellucid.fit(shared_data / "timeseries" / f"{name}_TRAIN.ts", directory=tmp_path, baselines=False, report=False)
    assert run.metrics["test"]["accuracy"] >= least
