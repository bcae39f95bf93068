"""Linear probes: how well a linear model reads the answer off each layer, beside the same model on raw inputs and on HOG.

    score(layer) = accuracy on held-out samples of softmax(W h + b), h the layer's standardised activations

Rising scores from layer to layer are what the network has made linearly readable; the rows "raw" and "HOG" are what needs no network and
what people made by hand. Source: Alain and Bengio, "Understanding intermediate layers using linear classifier probes", 2016, section 3.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.core.errors import OptionError
from pellucid.core.language import Text, text
from pellucid.core.numerics import bootstrap_interval, wilson_interval
from pellucid.core.records import Interval
from pellucid.explanation.checks import plainly
from pellucid.explanation.features import capture
from pellucid.explanation.features.hog import cell_side, hog

MOST_SAMPLES = 2000  # more make the intervals hardly narrower than they make the solver slow
MOST_FEATURES = 1024  # of one layer; maps are averaged to a coarser grid, anything else is projected at random
HELD_OUT = 0.3
LAYERS = 8  # probed where nobody says which, evenly over the depth
STRENGTHS = (0.01, 0.1, 1.0)  # C of the solver, chosen on a fifth of the samples to learn from
FEWEST = 20
STEPS = 300  # of the solver at most


@dataclass(frozen=True)
class Probe:
    """One linear model."""

    name: str  # the layer's path, "raw" or "HOG"
    kind: str  # "layer", "raw", "hand-made"
    features: int
    score: float  # accuracy; R2 of numbers
    interval: Interval
    difference: Interval | None = None  # to HOG where there is one, else to raw: score - theirs, on the same held-out samples


@dataclass(frozen=True)
class Probes:
    """The table; `best` is the probe of a layer with the highest score."""

    rows: tuple[Probe, ...]
    metric: str  # "accuracy" or "R2"
    samples: int  # held out
    learnt_from: int
    against: str  # what differences are taken to: "HOG" or "raw"
    chance: float  # what always answering the commonest class, or the mean, scores
    notes: tuple[Text, ...] = ()

    @property
    def best(self) -> Probe:
        return max((row for row in self.rows if row.kind == "layer"), key=lambda row: row.score)

    def __str__(self) -> str:
        lines = [str(text("{metric} of linear models on {count} held-out samples", metric=self.metric, count=self.samples))]
        width = max(len(row.name) for row in self.rows)
        for row in self.rows:
            line = f"  {row.name:<{width}}  {row.score:.3f}  [{row.interval.low:.3f}, {row.interval.high:.3f}]"
            if row.difference is not None:
                line += f"   {self.against} {row.difference.low:+.3f} .. {row.difference.high:+.3f}"
            lines.append(line)
        return "\n".join([*lines, *(str(note) for note in self.notes)])


@plainly()
def probes_of(
    network: capture.Network,
    given: capture.Inputs,
    targets: Any,
    *,
    layers: Sequence[str] | None = None,
    seed: int = 0,
    batch_size: int = 256,
) -> Probes:
    """A probe of each of `layers` (None: up to 8, evenly over the depth), of the raw inputs, and of HOG where the inputs are images.

    `targets` (N,): classes (whole numbers) or numbers to predict. All are fitted on the same samples, and scored on the same held-out
    ones, so that differences are paired.

    Raises:
        OptionError: too few samples, another number of targets, a layer that does not exist or is not passed.
    """
    notes: list[Text] = []
    answers = np.asarray(targets.detach().cpu() if isinstance(targets, Tensor) else targets)
    if answers.shape != (len(given[0]),) or len(answers) < FEWEST:
        raise OptionError(
            text("targets of shape {shape} for {count} inputs", shape=str(answers.shape), count=len(given[0])),
            text("one target for each input, {fewest} at least", fewest=FEWEST),
            text("give the class of each input"),
        )
    generator = np.random.default_rng(seed)
    chosen = np.sort(generator.permutation(len(answers))[:MOST_SAMPLES])
    given, answers = tuple(item[torch.from_numpy(chosen)] for item in given), answers[chosen]
    classify = not np.issubdtype(answers.dtype, np.floating)
    held = np.zeros(len(answers), dtype=bool)
    held[generator.permutation(len(answers))[: max(1, round(HELD_OUT * len(answers)))]] = True
    if classify and len(np.unique(answers[~held])) < 2:
        raise OptionError(
            text("the targets hold a single class"), text("at least two classes"), text("give inputs of several classes")
        )  # fmt: skip

    tables: list[tuple[str, str, np.ndarray]] = []
    first = given[0]
    if first.is_floating_point():
        tables.append(("raw", "raw", _table(first, seed, "raw", notes)))
        if first.ndim == 4 and min(first.shape[2:]) >= 4:
            tables.append(("HOG", "hand-made", hog(first.cpu().numpy())))
            side = cell_side(*(int(size) for size in first.shape[2:]))
            notes.append(text("HOG: cells of {side} x {side} pixels, blocks of 2 x 2 cells, 9 orientations", side=side))
    for name, maps in _activations(network, given, layers, batch_size, notes):
        tables.append((name, "layer", _table(maps, seed, name, notes)))
    against = "HOG" if any(name == "HOG" for name, _, _ in tables) else "raw"

    scored: dict[str, np.ndarray] = {}  # each held-out sample's part in the score
    rows: list[Probe] = []
    centre = float(answers[~held].mean()) if not classify else 0.0
    for name, kind, table in tables:
        answered, finished = _answers(table, answers, held, classify, seed)
        if not finished:
            notes.append(text("{name}: the solver was stopped after {steps} steps, before it had converged", name=name, steps=STEPS))
        scored[name] = (answered == answers[held]).astype(float) if classify else answered
        score, interval = _score(answered, answers[held], classify, seed)
        rows.append(Probe(name, kind, table.shape[1], score, interval))
    if against in scored:
        rows = [
            row if row.name == against
            else Probe(row.name, row.kind, row.features, row.score, row.interval,
                       _difference(scored[row.name], scored[against], answers[held], classify, seed))
            for row in rows
        ]  # fmt: skip
    kept = answers[held]
    chance = float((kept == np.bincount(answers[~held]).argmax()).mean()) if classify else _r2(np.full(len(kept), centre), kept)
    return Probes(tuple(rows), "accuracy" if classify else "R2", int(held.sum()), int((~held).sum()), against, chance, tuple(notes))


def _activations(
    network: capture.Network, inputs: capture.Inputs, layers: Sequence[str] | None, batch_size: int, notes: list[Text]
) -> list[tuple[str, Tensor]]:
    """The maps of each layer in the order in which they are passed, all in one pass over the inputs."""
    if layers is None:
        modules = {name: part for name, part in network.model.named_modules() if name and not any(part.children())}
        with_weights = {name: part for name, part in modules.items() if next(part.parameters(), None) is not None}
        names = [name for name, part in with_weights.items() if "Norm" not in type(part).__name__] or list(modules)
    else:
        names = list(layers)
    parts = {name: capture.module_at(network.model, name) for name in names}
    passed: dict[str, list[Tensor]] = {}
    for number, batch in enumerate(capture.batches(inputs, batch_size)):
        with ExitStack() as stack:
            calls = {name: stack.enter_context(capture.recorded(part)) for name, part in parts.items()}
            with network.quiet(), torch.no_grad():
                network.passed(batch)
        for name, part in parts.items():
            if not calls[name]:
                if layers is not None:
                    capture.calls_of(network, part, batch, name)  # says that it is not passed
                continue
            try:
                maps = capture.units_first(part, calls[name], len(batch[0]), name)
            except OptionError:
                if layers is not None:
                    raise
                continue
            if number == 0 or name in passed:
                passed.setdefault(name, []).append(_coarser(maps.float()).cpu())
    found = [(name, torch.cat(maps)) for name, maps in passed.items()]
    if layers is None and len(found) > LAYERS:
        places = np.unique(np.linspace(0, len(found) - 1, LAYERS).round().astype(int))
        notes.append(text("{chosen} of {count} layers are probed, evenly over the depth", chosen=len(places), count=len(found)))
        found = [found[place] for place in places]
    return found


def _coarser(maps: Tensor) -> Tensor:
    """Maps (N, units, ...) averaged to a grid so coarse that a sample has at most MOST_FEATURES numbers where that can be."""
    if maps.ndim < 3 or maps[0].numel() <= MOST_FEATURES:
        return maps
    pools = {3: nn.functional.adaptive_avg_pool1d, 4: nn.functional.adaptive_avg_pool2d, 5: nn.functional.adaptive_avg_pool3d}
    if maps.ndim not in pools:
        return maps
    room = max(1, int((MOST_FEATURES / maps.shape[1]) ** (1 / (maps.ndim - 2)) + 1e-9))
    return pools[maps.ndim](maps, [min(room, size) for size in maps.shape[2:]])  # type: ignore[arg-type]


def _table(maps: Tensor, seed: int, name: str, notes: list[Text]) -> np.ndarray:
    """(N, at most MOST_FEATURES)."""
    flat = maps.reshape(len(maps), -1).float()
    if flat.shape[1] > MOST_FEATURES:
        generator = torch.Generator().manual_seed(seed)
        projection = torch.randn((flat.shape[1], MOST_FEATURES), generator=generator) / flat.shape[1] ** 0.5
        notes.append(
            text("{name}: {count} numbers are projected at random onto {kept}", name=name, count=flat.shape[1], kept=MOST_FEATURES)
        )
        flat = flat @ projection
    return flat.double().cpu().numpy()


def _answers(table: np.ndarray, answers: np.ndarray, held: np.ndarray, classify: bool, seed: int) -> tuple[np.ndarray, bool]:
    """What the linear model fitted on the others says of the held-out samples, and whether its solver came to an end."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(table[~held])
    known, asked, targets = scaler.transform(table[~held]), scaler.transform(table[held]), answers[~held]
    if not classify:
        return RidgeCV(alphas=np.logspace(-2, 5, 15)).fit(known, targets).predict(asked), True
    order = np.random.default_rng(seed).permutation(len(targets))
    tuning, rest = order[: len(order) // 5], order[len(order) // 5 :]
    scores: list[float] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # said once, of the model that is scored
        for strength in STRENGTHS if len(np.unique(targets[rest])) > 1 else STRENGTHS[:1]:
            model = LogisticRegression(C=strength, max_iter=STEPS // 3, tol=1e-3).fit(known[rest], targets[rest])
            scores.append(float((model.predict(known[tuning]) == targets[tuning]).mean()))
        final = LogisticRegression(C=STRENGTHS[int(np.argmax(scores))], max_iter=STEPS, tol=1e-3).fit(known, targets)
    return final.predict(asked), int(final.n_iter_.max()) < STEPS


def _score(answered: np.ndarray, targets: np.ndarray, classify: bool, seed: int) -> tuple[float, Interval]:
    if classify:
        right = int((answered == targets).sum())
        return right / len(targets), wilson_interval(right, len(targets))
    return _r2(answered, targets), bootstrap_interval(_r2, answered, targets, seed=seed)


def _difference(ours: np.ndarray, theirs: np.ndarray, targets: np.ndarray, classify: bool, seed: int) -> Interval:
    """The interval of score - score over the same samples, drawn together."""
    if classify:
        return bootstrap_interval(lambda a, b: a.mean(axis=1) - b.mean(axis=1), ours, theirs, seed=seed, batched=True)
    return bootstrap_interval(lambda a, b, y: _r2(a, y) - _r2(b, y), ours, theirs, targets, seed=seed)


def _r2(answered: np.ndarray, targets: np.ndarray) -> float:
    spread = float(np.square(targets - targets.mean()).sum())
    return 1 - float(np.square(targets - answered).sum()) / spread if spread else float("nan")
