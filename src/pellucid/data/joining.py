"""Samples that were read apart, as one: the training, validation and test parts that the user brings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pellucid.core.errors import DataError
from pellucid.core.language import text
from pellucid.data.samples import Samples
from pellucid.data.splitting import part_word


def join_parts(parts: Mapping[str, Samples]) -> Samples:
    """Samples of one kind whose inputs are arrays; classes are matched by their names.

    Raises:
        DataError: parts of different kinds, tasks or shapes; classes that training never sees.
    """
    train = parts["train"]
    for part, samples in parts.items():
        kinds = (samples.kind, samples.task.kind if samples.task else None)
        if kinds != (train.kind, train.task.kind if train.task else None):
            raise DataError(
                text(
                    "the training part is of kind {a} and the {part} part of kind {b}", a=train.kind, part=part_word(part), b=samples.kind
                ),
                text("parts of one kind, all with a target"),
                text("give all parts in the same form"),
            )
        if np.shape(samples.inputs)[1:] != np.shape(train.inputs)[1:]:
            raise DataError(
                text("the {part} part has samples of shape {got}", part=part_word(part), got=str(np.shape(samples.inputs)[1:])),
                text("samples of shape {shape}, as in the training part", shape=str(np.shape(train.inputs)[1:])),
                text("give all parts the same columns, in the same order"),
            )
    return replace(
        train,
        inputs=np.concatenate([samples.inputs for samples in parts.values()]),
        targets=None if train.task is None else np.concatenate([_targets_like(samples, train, part) for part, samples in parts.items()]),
        identifiers=[f"{part}: {name}" for part, samples in parts.items() for name in samples.identifiers],
        hashes=[value for samples in parts.values() for value in samples.hashes],
        input_hashes=[value for samples in parts.values() for value in samples.input_hashes],
        reference=None,
        fixed_parts=np.repeat(list(parts), [len(samples) for samples in parts.values()]),
        groups=_per_sample([samples.groups for samples in parts.values()]),
        times=_per_sample([samples.times for samples in parts.values()]),
        quarantined=[item for samples in parts.values() for item in samples.quarantined],
        notices=[notice for samples in parts.values() for notice in samples.notices],
    )


def _targets_like(samples: Samples, train: Samples, part: str) -> np.ndarray:
    """Targets of a part with the training part's class indices."""
    if samples.targets is None or samples.task is None or train.task is None:
        raise DataError(
            text("the {part} part has no target", part=part_word(part)), text("a target in every part"), text("name the target")
        )
    if samples.task.kind == "regression" or samples.task.classes == train.task.classes:
        return samples.targets
    number = {name: index for index, name in enumerate(train.task.classes)}
    unknown = [name for name in samples.task.classes if name not in number]
    if unknown:
        raise DataError(
            text("the classes {classes} stand only in the {part} part", classes=unknown[:10], part=part_word(part)),
            text("classes that the training part has too"),
            text("add training samples of these classes, or take them out of the {part} part", part=part_word(part)),
        )
    return np.asarray([number[name] for name in samples.task.classes], dtype=np.int64)[samples.targets]


def _per_sample(values: Sequence[np.ndarray | None]) -> Any:
    return np.concatenate([value for value in values if value is not None]) if all(value is not None for value in values) else None
