"""Masks by classical models: a class for every pixel from its colour, its place and what lies around it.

    colour     the C values of the pixel
    place      row / height and column / width
    around     of windows of 5 x 5 and 17 x 17: the mean of each channel, and the standard deviation of the mean channel
    edge       |gradient| of the mean channel, by Sobel's operator

This is how pixels were labelled before networks: Shotton et al. 2009 (TextonBoost) and Brostow et al. 2008 on the road scenes of CamVid go
further in the same way. Models learn from pixels drawn at random, as many as the time allows, and are measured, as the network beside them
is, on a grid of pixels of every image.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.core.language import Text, text
from pellucid.core.results import Baseline, Baselines
from pellucid.core.wording import baseline_name
from pellucid.data.masks.classes import VOID
from pellucid.training.baselines.comparison import difference_of, verdict_of
from pellucid.training.baselines.models import load_models
from pellucid.training.masks.measures import commonest_at_each_place, like
from pellucid.training.metrics import full_scores, primary_metric

WINDOWS = (5, 17)
_MEASURED = 200_000  # pixels of the grid, about
_FIRST, _MOST = 4_000, 100_000  # pixels learnt from: to see how long it takes, and at most


def compare_masks(
    prepared: Any,
    *,
    part: str,
    outputs: Tensor,
    targets: Tensor,
    seconds: float,
    seed: int,
    threads: int,
    notes: Sequence[Text] = (),
    tell: Callable[[Text], None] = lambda phase: None,
) -> Baselines:
    """The classical models, learnt from `prepared.train` and measured on `part` beside the network's class maps `outputs` (N, H, W)."""
    load_models()  # a second or two, once in a program: not what the models take
    start = time.perf_counter()
    task, source, train = prepared.task, getattr(prepared, part), prepared.train
    primary = primary_metric(task)
    step = max(1, math.ceil(math.sqrt(targets.numel() / _MEASURED)))
    coarse = targets[:, step // 2 :: step, step // 2 :: step]
    answers = outputs[:, step // 2 :: step, step // 2 :: step]
    network = next((score for score in full_scores(answers, coarse, task, seed=seed) if score.name == primary), None)

    def measured(name: str, model: str, maps: Tensor, fit: float, predict: float, pixels: int, notes: tuple[Text, ...] = ()) -> Baseline:
        return Baseline(
            name=name, model=model, scores=tuple(full_scores(maps, coarse, task, seed=seed)),
            difference=difference_of(answers, maps, coarse, task, seed), fit_seconds=fit, predict_seconds=predict, train_samples=pixels,
            notes=notes,
        )  # fmt: skip

    constant = like(commonest_at_each_place(train.targets, task.outputs), targets)[:, step // 2 :: step, step // 2 :: step]
    baselines = [measured("constant", "the commonest class of each pixel", constant, 0.0, 0.0, len(train))]
    grid = [
        pixel_features(source.inputs[place], source.sizes[place])[:, step // 2 :: step, step // 2 :: step] for place in range(len(source))
    ]
    for name, build in _models(seed, threads).items():
        left = seconds - (time.perf_counter() - start)
        tell(text("baseline: {model}", model=baseline_name(name, primary)))
        if left <= 0:
            baselines.append(Baseline(name=name, model=type(build()).__name__, skipped=text("the time was used up")))
            continue
        model, pixels, spent = _fitted(build, train, left / 4, seed)
        begun = time.perf_counter()
        maps = torch.full_like(answers, VOID)
        for place, features in enumerate(grid):
            found = model.predict(features.flatten(1).T.numpy()).reshape(features.shape[1:])
            maps[place, : features.shape[1], : features.shape[2]] = torch.from_numpy(found.astype(np.uint8))
        note = text("learnt from {count} pixels of the training images, drawn at random", count=pixels)
        baselines.append(measured(name, str(model).replace("\n", " "), maps, spent, time.perf_counter() - begun, len(train), (note,)))
    best, conclusion, verdict = verdict_of(network, baselines, len(targets), task)
    return Baselines(
        primary=primary,
        part=part,
        samples=len(targets),
        train_samples=len(train),
        network=network,
        baselines=tuple(baselines),
        representation=text(
            "each pixel by itself: its colour, its place, means and deviations of windows around it, and the edge it is on"
        ),
        best=best,
        conclusion=conclusion,
        verdict=verdict,
        notes=(*notes, text("all, the network too, are compared on every {step}th row and column of the images", step=step))
        if step > 1
        else tuple(notes),
        seconds=time.perf_counter() - start,
    )


def _models(seed: int, threads: int) -> dict[str, Callable[[], Any]]:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return {
        "linear": lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)),
        "random_forest": lambda: RandomForestClassifier(50, min_samples_leaf=5, n_jobs=threads, random_state=seed % 2**32),
    }


def _fitted(build: Callable[[], Any], train: Any, seconds: float, seed: int) -> tuple[Any, int, float]:
    """(model, pixels it has learnt from, seconds): from few pixels first, then from as many as the time allows."""
    begun = time.perf_counter()
    model, pixels = build(), _FIRST
    model.fit(*pixels_of(train, pixels, seed))
    spent = time.perf_counter() - begun
    more = int(min(_MOST, pixels * (seconds - spent) / max(1.5 * spent, 1e-3)))
    if more >= 2 * pixels:
        model, pixels, begun = build(), more, time.perf_counter()
        model.fit(*pixels_of(train, pixels, seed))
        spent = time.perf_counter() - begun
    return model, pixels, spent


def pixels_of(part: Any, pixels: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """((n, features), (n,) classes) of about `pixels` pixels that count, as many of every image."""
    random = np.random.default_rng(seed)
    each = max(1, math.ceil(pixels / len(part)))
    places = random.permutation(len(part))[: math.ceil(pixels / each)]
    found: list[np.ndarray] = []
    classes: list[np.ndarray] = []
    for place in places.tolist():
        height, width = part.sizes[place].tolist()
        mask = part.targets[place, :height, :width].reshape(-1).numpy()
        counting = np.flatnonzero(mask != VOID)
        drawn = random.choice(counting, size=min(each, len(counting)), replace=False)
        found.append(pixel_features(part.inputs[place], part.sizes[place]).flatten(1)[:, torch.from_numpy(drawn)].T.numpy())
        classes.append(mask[drawn])
    return np.concatenate(found), np.concatenate(classes).astype(np.int64)


def pixel_features(image: Tensor, size: np.ndarray) -> Tensor:
    """(features, h, w) float32 of bytes (C, H, W), of which the image fills `size` (h, w)."""
    height, width = (int(side) for side in size)
    pixels = image[None, :, :height, :width].float() / 255
    mean = pixels.mean(1, keepdim=True)
    rows = torch.linspace(0, 1, height).view(1, 1, height, 1).expand(1, 1, height, width)
    columns = torch.linspace(0, 1, width).view(1, 1, 1, width).expand(1, 1, height, width)
    found = [pixels, rows, columns]
    for window in WINDOWS:
        around = F.avg_pool2d(torch.cat([pixels, mean, mean**2], 1), window, 1, window // 2, count_include_pad=False)
        found += [around[:, :-2], (around[:, -1:] - around[:, -2:-1] ** 2).clamp_min(0).sqrt()]
    sobel = torch.tensor([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])
    gradient = F.conv2d(F.pad(mean, (1, 1, 1, 1), mode="replicate"), torch.stack([sobel, sobel.T])[:, None])
    return torch.cat([*found, gradient.square().sum(1, keepdim=True).sqrt()], 1)[0]
