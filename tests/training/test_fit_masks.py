"""Training on images with masks, from a folder: learnt, measured, shown, predicted at any size, gone on with."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import pellucid
from data.mask_scenes import scene, write_scenes
from pellucid.cli import main
from pellucid.core.errors import DataError, Interrupted, ModelError, OptionError
from pellucid.core.results import Baselines, Evaluation, MaskPictures
from pellucid.training.explaining import explain_run
from pellucid.training.run import Run

SMALL: dict[str, Any] = {"network_options": {"filters": (8, 16)}}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    place = tmp_path_factory.mktemp("masks")
    folder = write_scenes(place / "scenes", 30, sizes=((24, 32), (24, 32), (32, 24)))
    return pellucid.fit(folder, "sky,ground,box", epochs=12, directory=place / "runs", **SMALL), folder


def test_defaults_are_chosen_and_said(trained):
    run, _ = trained
    assert run.task.kind == "segmentation"
    assert run.summary is not None
    assert run.summary.primary == "mean_iou"
    settings = run.settings
    assert (settings["loss"], settings["augment"], settings["batch_size"]) == ("cross_entropy", "flip,light", 8)
    record = json.loads((run.directory / "run.json").read_text())
    assert record["network"]["name"] == "unet"
    assert record["network"]["outputs"] == 3
    assert record["config"]["network"] == "auto"


def test_it_learns_more_than_where_things_lie(trained):
    run, _ = trained
    scores = {score.name: score for score in run.scores["test"]}
    assert set(scores) == {"mean_iou", "pixel_accuracy", "dice"}
    assert scores["mean_iou"].value > 0.6
    assert scores["pixel_accuracy"].value > 0.85
    assert scores["mean_iou"].interval is not None
    baselines = Baselines.from_dict(run._directory.read_record("baselines"))
    found = {baseline.name: baseline for baseline in baselines.baselines}
    assert set(found) == {"constant", "linear", "random_forest"}
    assert found["constant"].difference is not None
    assert found["constant"].difference.network_is_better


def test_every_class_and_every_pixel_is_told(trained):
    run, _ = trained
    part = Evaluation.from_dict(run._directory.read_record("evaluation")).parts["test"]
    assert [row.name for row in part.per_class] == ["sky", "ground", "box"]
    ious = [row.iou.value for row in part.per_class if row.iou is not None]
    assert np.mean(ious) == pytest.approx(run.metrics["test"]["mean_iou"])
    assert part.confusion is not None
    pixels = sum(sum(row) for row in part.confusion.counts)
    assert pixels == sum(row.samples for row in part.per_class) == part.samples * (24 * 32 - 4)
    pictures = MaskPictures.from_dict(run._directory.read_record("masks"))
    assert [name for name, _ in pictures.legend] == ["sky", "ground", "box"]
    worst = [picture.pixel_accuracy for picture in pictures.pictures if picture.choice == "worst"]
    assert worst == sorted(worst)
    page = (run.directory / "report.html").read_text(encoding="utf-8")
    assert pictures.pictures[0].mistakes in page


def test_any_size_is_predicted_by_itself_and_as_large_as_it_is(trained, tmp_path):
    run, folder = trained
    random = np.random.default_rng(1)
    for name, size in (("wide", (19, 70)), ("tall", (33, 7)), ("same", (24, 32))):
        Image.fromarray(scene(random, *size)[0]).save(tmp_path / f"{name}.png")
    together = run.predict(tmp_path)
    assert together.masks is not None
    assert [mask.shape for mask in together.masks] == [(24, 32), (33, 7), (19, 70)]
    for name, mask in zip(together.identifiers, together.masks, strict=True):
        alone = run.predict(tmp_path / name).masks
        assert alone is not None
        assert np.array_equal(alone[0], mask)  # what else is in the folder changes nothing
    shares = together.to_dict()
    assert sum(shares[f"share of {name}"][0] for name in ("sky", "ground", "box")) == pytest.approx(1)
    assert len(run.predict(folder)) == 30  # its masks are not taken for images
    pixels = np.asarray(Image.open(tmp_path / "same.png")).transpose(2, 0, 1)
    from_array = run.predict(pixels).masks
    assert from_array is not None
    assert np.array_equal(from_array[0], together.masks[0])
    with pytest.raises(DataError, match="uint8"):
        run.predict(pixels.astype(np.float32))


def test_masks_are_written_as_they_were_learnt(trained, tmp_path, capsys):
    run, folder = trained
    assert main.run(["predict", str(run.directory), str(folder), "--output", str(tmp_path / "out")]) == 0
    answer = run.predict(folder)
    assert answer.masks is not None
    assert len(list((tmp_path / "out").iterdir())) == 30
    first = np.asarray(Image.open(tmp_path / "out" / Path(answer.identifiers[0]).name))
    assert np.array_equal(first, answer.masks[0])
    capsys.readouterr()
    assert main.run(["predict", str(run.directory), str(folder), "--output", str(tmp_path / "shares.csv")]) == 0
    assert (tmp_path / "shares.csv").read_text().startswith("sample,share of sky,share of ground,share of box\n")
    assert main.run(["predict", str(run.directory), str(folder), "--output", str(tmp_path / "masks.tif")]) != 0


def test_a_folder_of_masks_is_measured(trained, tmp_path):
    run, folder = trained
    fresh = run.evaluate(write_scenes(tmp_path, 8, seed=5))
    assert fresh.samples == 8
    assert fresh.metrics["mean_iou"] > 0.5
    assert fresh.notices == ()
    seen = run.evaluate(folder)
    assert any(notice.kind == "seen_before" for notice in seen.notices)
    with pytest.raises(DataError, match="masks"):
        run.evaluate(tmp_path / "images")


def test_a_class_is_explained_by_the_pixels_answered_so(trained):
    run, folder = trained
    name = next(path.name for path in sorted((folder / "images").iterdir()))
    explained = explain_run(run, folder / "images" / name, target="ground", method="grad_cam")
    masks = run.predict(folder / "images" / name).masks
    assert masks is not None
    assert f"ground in {100 * (masks[0] == 1).mean():.1f} % of the pixels" in str(explained.sample.answer)
    _, part = run._new(folder / "images" / name, None, "ignored", None)
    with torch.no_grad():
        scores = run.model(next(iter(part.batches(1)))[0])[0, 1].numpy()
    assert float(explained.explanation.value[0]) == pytest.approx(scores[masks[0] == 1].mean(), rel=1e-5)


def test_gone_on_with_after_an_interruption_it_is_the_same(tmp_path, monkeypatch):
    from pellucid.training.loop import Loop

    folder = write_scenes(tmp_path / "scenes", 20)
    options: dict[str, Any] = {
        "epochs": 3,
        "baselines": False,
        "report": False,
        "augment": "flip,scale,crop:16x16",
        "loss": "focal+dice",
        **SMALL,
    }
    whole = pellucid.fit(folder, directory=tmp_path / "whole", **options)
    update = Loop.update

    def interrupted(self: Loop, *batch: torch.Tensor) -> torch.Tensor:
        if self.step == 3:
            os.kill(os.getpid(), signal.SIGINT)
            self._next_look = 0
        return update(self, *batch)

    monkeypatch.setattr(Loop, "update", interrupted)
    with pytest.raises(Interrupted):
        pellucid.fit(folder, directory=tmp_path / "broken", **options)
    monkeypatch.undo()
    (directory,) = (tmp_path / "broken").iterdir()
    resumed = pellucid.load(directory).resume()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_what_does_not_belong_to_masks_is_refused(tmp_path):
    folder = write_scenes(tmp_path / "scenes")
    refused: list[dict[str, Any]] = [{"loss": "mse"}, {"augment": "mixup"}, {"network": "mlp"}, {"until": "accuracy>=0.9"}]
    for options in refused:
        with pytest.raises((OptionError, ModelError)):
            pellucid.fit(folder, directory=tmp_path / "runs", **options)
    with pytest.raises(OptionError, match="crop"):
        pellucid.fit("iris", augment="crop", directory=tmp_path / "runs")


@pytest.mark.parametrize("network", ["fcn", "unet"])
@pytest.mark.parametrize("loss", ["cross_entropy", "dice"])
@pytest.mark.slow
def test_both_networks_and_balanced_classes(tmp_path, network, loss):
    folder = write_scenes(tmp_path / "scenes", 40, sizes=((32, 40),))
    run = pellucid.fit(folder, network=network, loss=loss, class_weight="balanced", epochs=20, directory=tmp_path / "runs",
                       network_options={"filters": (8, 16, 16)}, baselines=False)  # fmt: skip
    assert run.metrics["test"]["mean_iou"] > 0.6
