"""The classical remedies against over- and under-fitting, tried on the user's data and compared. What helps is a question of the data.

    over    L2 (weight decay), L1, dropout, label smoothing, augmentation, mixup, a smaller network
    under   more passes, a larger network, less regularisation

Each is one option of `fit` changed. A remedy and the training without it share seeds, so that differences are paired; their intervals are
Student's, corrected for the number of remedies (Bonferroni). The validation part compares; the test part is asked once, of the best.
Source: Goodfellow, Bengio and Courville 2016, chapter 7 and section 11.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pellucid.core.errors import DataError, InputError
from pellucid.core.language import Text, text
from pellucid.core.numerics import mean_interval
from pellucid.core.records import Interval
from pellucid.core.studies import RemedyTrial, RemedyTrials
from pellucid.training.augmentation import MIXUP_ALPHA, automatic_augmentation
from pellucid.training.settings import Settings, has_dropout
from pellucid.training.studies.retraining import Retraining

SEEDS = 5  # Student's quantile of 4 degrees, corrected for ten remedies, is 4.6; of 2 degrees it would be 14
WIDTHS = ("hidden", "filters", "units")  # options of networks that say how wide they are
_CUSTOMARY_DECAY = 0.1


@dataclass(frozen=True)
class Remedy:
    """One change of `fit`'s options."""

    name: str
    against: str  # "over" or "under"
    changes: Mapping[str, Any] | Text  # or why it cannot be tried


def remedies(settings: Settings, network: Mapping[str, Any], again: Retraining) -> list[Remedy]:
    """Every classical remedy, with the options that it changes here."""
    decay = settings.weight_decay
    task = again.samples.task
    own = text("the network is your own: change it there")
    smaller, larger = (_width(network, factor) or own for factor in (0.5, 2.0))
    dropout: Mapping[str, Any] | Text = own if network["custom"] or not has_dropout(network["name"]) else {}
    labels = task is not None and task.kind == "classification"
    no_labels = text("labels are smoothed where there are classes")
    augmented = automatic_augmentation(tuple(network["input_shape"]), False)
    augmentation: Mapping[str, Any] | Text = {"augment": augmented}
    if augmented == "none":
        augmentation = text("nothing is known that leaves samples of this kind as they are")
    elif settings.augment != "none":
        augmentation = text("the training has it already: {name}", name=settings.augment)
    mixed = "mixup" in settings.augment
    return [
        Remedy("l2", "over", {"weight_decay": 4 * (decay or _CUSTOMARY_DECAY)}),
        Remedy("l1", "over", {"l1": 1e-4} if not settings.l1 else {"l1": 4 * settings.l1}),
        Remedy("dropout", "over", {"dropout": min(0.8, settings.dropout + 0.25)} if isinstance(dropout, dict) else dropout),
        Remedy("label_smoothing", "over", {"label_smoothing": settings.label_smoothing + 0.1} if labels else no_labels),
        Remedy("augmentation", "over", augmentation),
        Remedy("mixup", "over", text("the training has it already: {name}", name=settings.augment) if mixed
               else {"augment": f"mixup:{MIXUP_ALPHA}" if settings.augment == "none" else f"{settings.augment},mixup:{MIXUP_ALPHA}"}),
        Remedy("smaller", "over", smaller),
        Remedy("longer", "under", {"epochs": 2 * settings.epochs}),
        Remedy("larger", "under", larger),
        Remedy("less", "under", {"weight_decay": decay / 4, "l1": 0.0,
                                 **({"dropout": settings.dropout / 4} if isinstance(dropout, dict) else {})}),
    ]  # fmt: skip


def _width(network: Mapping[str, Any], factor: float) -> dict[str, Any] | None:
    """The network with each layer `factor` times as wide; None where nothing says how wide it is."""
    options = network["options"]
    name = next((name for name in WIDTHS if options.get(name)), None)
    if network["custom"] or name is None:
        return None
    widths = options[name] if isinstance(options[name], (list, tuple)) else (options[name],)
    changed = tuple(max(1, round(factor * width)) for width in widths)
    return {"network_options": {name: changed if isinstance(options[name], (list, tuple)) else changed[0]}}


def try_remedies(again: Retraining, settings: Settings, network: Mapping[str, Any], *, seeds: int = SEEDS) -> RemedyTrials:
    """Train with each remedy and without, `seeds` times each; see the module for how they are compared.

    Raises:
        DataError: no validation part to compare on.
    """
    sizes = again.ledger.sizes()
    if not sizes["validation"]:
        raise DataError(
            text("there is no validation part"),
            text("samples to compare the remedies on, which are neither learnt from nor kept for the final score"),
            text("leave --validation out, or give it a fraction above 0"),
        )
    candidates = remedies(settings, network, again)
    tried = [remedy for remedy in candidates if not isinstance(remedy.changes, Text)]
    skipped = {remedy.name: remedy.changes for remedy in candidates if isinstance(remedy.changes, Text)}
    again.total += seeds * (1 + len(tried))
    begun, first = again.seconds, int(settings.seed)
    before = [again.scores(first + seed) for seed in range(seeds)]
    after: dict[str, list[dict[str, float]]] = {}
    for remedy in tried:
        try:
            after[remedy.name] = [again.scores(first + seed, changed=_merged(again, remedy.changes)) for seed in range(seeds)]
        except InputError as error:  # refused for this kind of data: mixup of tokens
            skipped[remedy.name] = text("refused: {reason}", reason=str(error).split("\n")[0])
            again.total -= seeds
    level = 1 - 0.05 / max(1, len(after))
    trials = [_trial(remedy, before, after[remedy.name], again.higher_is_better, level) for remedy in tried if remedy.name in after]
    trials.sort(key=lambda trial: -trial.difference)
    best = next((trial.name for trial in trials if trial.helps), None)
    tested = sizes["test"] > 0
    return RemedyTrials(
        metric=again.metric, higher_is_better=again.higher_is_better,
        scores=_of(before, "validation"), train_scores=_of(before, "train"), trials=tuple(trials), best=best,
        test_before=_of(before, "test") if tested else (), test_after=_of(after[best], "test") if tested and best else (),
        skipped=skipped, seconds=again.seconds - begun,
    )  # fmt: skip


def _merged(again: Retraining, changes: Any) -> dict[str, Any]:
    """The changes; those of the network's own options beside the others that it has."""
    if "network_options" not in changes:
        return dict(changes)
    return {**changes, "network_options": {**(again.options["network_options"] or {}), **changes["network_options"]}}


def _of(rows: list[dict[str, float]], part: str) -> tuple[float, ...]:
    return tuple(row[part] for row in rows)


def _trial(remedy: Remedy, before: list[dict[str, float]], after: list[dict[str, float]], rising: bool, level: float) -> RemedyTrial:
    change = np.subtract(_of(after, "validation"), _of(before, "validation")) * (1 if rising else -1)
    interval = mean_interval(change, level)
    if not change.any():
        interval = Interval(low=0.0, high=0.0, level=level)
    helps = True if interval.low > 0 else False if interval.high < 0 else None
    options = dict(remedy.changes) if isinstance(remedy.changes, Mapping) else {}
    return RemedyTrial(
        name=remedy.name, options=options, against=remedy.against, scores=_of(after, "validation"), train_scores=_of(after, "train"),
        difference=float(change.mean()), interval=interval, helps=helps,
    )  # fmt: skip
