"""One explained sample in its user's own terms: what each number belongs to, by name and value, instead of tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from pellucid.core.errors import OptionError
from pellucid.core.language import Text, text
from pellucid.explanation.drawing.colours import as_picture

if TYPE_CHECKING:
    from pellucid.explanation.explanation import Explanation


@dataclass(frozen=True)
class Part:
    """One input of one sample, of one of four kinds; `low` and `high` have the shape of `values`, equal to them where exact."""

    kind: str  # "pixels", "columns", "words", "steps"
    values: np.ndarray  # attributions: pixels (H, W); columns (F,); words (T,); steps (C, T)
    low: np.ndarray
    high: np.ndarray
    names: tuple[str, ...] = ()  # of the columns; the words themselves; of the channels of a series
    shown: tuple[str, ...] = ()  # the columns' own values as the user wrote them
    image: np.ndarray | None = None  # (H, W, 3) uint8
    series: np.ndarray | None = None  # (C, T)

    @property
    def sampled(self) -> bool:
        """Whether anything was left open by sampling."""
        return bool((self.low != self.values).any() or (self.high != self.values).any())


@dataclass(frozen=True)
class Sample:
    """One sample, what the network says of it, and what was asked."""

    title: Text | str
    parts: tuple[Part, ...]
    answer: Text | None = None  # "the network says cat, probability 93 %"
    explained: Text | str | None = None  # the output that was explained, by its name
    sums: Text | None = None  # the output at the reference, for this sample, and what the contributions make of the difference


def sums_of(explanation: Explanation) -> list[Text | None]:
    """One line of arithmetic for each sample; None where the output at the reference is not known any more."""
    parts = explanation.attributions if isinstance(explanation.attributions, tuple) else (explanation.attributions,)
    total = torch.stack([part.detach().double().reshape(len(part), -1).sum(1).cpu() for part in parts]).sum(0).tolist()
    if explanation.value_absent is None:
        return [None] * len(total)
    said: list[Text | None] = []
    for before, value, contributed in zip(explanation.value_absent.tolist(), explanation.value.double().tolist(), total, strict=True):
        change = text(
            "the output explained is {before} at the reference and {value} for this sample: a change of {change}",
            before=_signed(f"{before:.4g}"), value=_signed(f"{value:.4g}"), change=_signed(f"{value - before:+.4g}"),
        )  # fmt: skip
        if explanation.gap is None:
            said.append(text("{change}; the contributions of this method need not add up to it", change=change))
        else:
            said.append(text("{change}; all contributions together: {total}", change=change, total=_signed(f"{contributed:+.4g}")))
    return said


def _signed(number: str) -> str:
    """With the minus that typographers use."""
    return number.replace("-", "−")


def samples_of(
    explanation: Explanation,
    *,
    names: Any = None,
    values: Any = None,
    images: Any = None,
    classes: Sequence[str] | None = None,
    titles: Sequence[str] | None = None,
) -> list[Sample]:
    """The samples of an explanation.

    `names`: of columns or of the channels of a series (a list), the words of token inputs (a list for each sample, or a vocabulary: a list
    or dict from number to word). `values`: the columns' values before preprocessing, a row for each sample. `images`: the pictures before
    preprocessing, (N, H, W, 3) or (N, C, H, W). `classes`: the outputs' names. `titles`: the samples' names.

    Raises:
        OptionError: another number of names, values, images, classes or titles than there are columns, outputs or samples.
    """
    made = explanation.evidence
    assert made is not None
    inputs = made.subject.inputs
    attributions, low, high = (
        item if isinstance(item, tuple) else (item,) for item in (explanation.attributions, *explanation.interval)
    )  # fmt: skip
    count = len(inputs[0])
    sums = sums_of(explanation)
    for given, what in ((values, "values"), (images, "images"), (titles, "titles")):
        if given is not None and len(given) != count:
            raise OptionError(
                text("{name} holds {got} samples", name=what, got=len(given)), text("{count}, as many as were explained", count=count),
                text("give one for each sample, in their order"),
            )  # fmt: skip
    if classes is not None and len(classes) != made.subject.classes:
        raise OptionError(
            text("classes holds {got} names", got=len(classes)), text("{count}, one for each output", count=made.subject.classes),
            text("give them in the order of the network's outputs"),
        )  # fmt: skip
    samples: list[Sample] = []
    for row in range(count):
        parts = tuple(
            _part(explanation, place, inputs[place][row], tuple(_array(item[place][row]) for item in (attributions, low, high)), names,
                  None if values is None else values[row], None if images is None else images[row], row)
            for place in range(len(inputs)) if not made.subject.masks[place]
        )  # fmt: skip
        target = None if explanation.target is None else int(explanation.target[row])
        predicted = None if explanation.predicted is None else int(explanation.predicted[row])
        samples.append(
            Sample(
                titles[row] if titles is not None else text("sample {number}", number=row),
                parts,
                answer=None if predicted is None else text("the network says {name}", name=_name(classes, predicted)),
                explained=None if target is None else _name(classes, target),
                sums=sums[row],
            )
        )
    return samples


def _name(classes: Sequence[str] | None, index: int) -> Text | str:
    return str(classes[index]) if classes is not None else text("output {number}", number=index)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()


def _part(
    explanation: Explanation, place: int, given: Tensor, numbers: tuple[np.ndarray, ...], names: Any, values: Any,
    image: Any, row: int,
) -> Part:  # fmt: skip
    """One input of one sample; images are added up over their channels."""
    made = explanation.evidence
    assert made is not None
    if not given.is_floating_point():
        flat = [item.reshape(-1) for item in numbers]
        return Part("words", *flat, names=_words(names, given, row))
    if given.ndim <= 1:
        flat = [item.reshape(-1) for item in numbers]
        known = made.players.names or [f"x{number}" for number in range(flat[0].size)]
        labels = _listed(names, flat[0].size, text("columns"), known)
        shown = tuple(str(item) for item in values) if values is not None else tuple(f"{value:.4g}" for value in given.reshape(-1).tolist())
        if len(shown) != len(labels):
            raise OptionError(
                text("values hold {got} columns", got=len(shown)), text("{count} columns", count=len(labels)), text("give a value for each")
            )  # fmt: skip
        return Part("columns", *flat, names=labels, shown=shown)
    if given.ndim == 2:
        from pellucid.explanation.players import time_axis

        first = time_axis(made.subject, cast("tuple[int, int]", tuple(given.shape))) == 0
        turned = [item.T if first else item for item in numbers]  # (C, T)
        channels = _listed(names, len(turned[0]), text("channels"), [str(number) for number in range(len(turned[0]))])
        return Part("steps", *turned, names=channels, series=_array(given).T if first else _array(given))
    if given.ndim > 3:  # a volume: the slice that matters most
        depth = int(np.abs(numbers[0]).sum(axis=(0, 2, 3)).argmax())
        numbers, given = tuple(item[:, depth] for item in numbers), given[:, depth]
    flat = [item.sum(axis=0) for item in numbers]
    return Part("pixels", *flat, image=as_picture(_array(given) if image is None else np.asarray(image)))


def _listed(names: Any, count: int, what: Text, otherwise: Sequence[str]) -> tuple[str, ...]:
    if names is None:
        return tuple(otherwise)
    if len(names) != count:
        raise OptionError(
            text("names holds {got} names", got=len(names)), text("{count}, one for each of the {what}", count=count, what=what),
            text("give them in the order of the inputs"),
        )  # fmt: skip
    return tuple(str(name) for name in names)


def _words(names: Any, tokens: Tensor, row: int) -> tuple[str, ...]:
    """The words of one sample of whole numbers: given for each sample, or looked up in a vocabulary."""
    numbers = [int(number) for number in tokens.reshape(-1).tolist()]
    if names is None:
        return tuple(str(number) for number in numbers)
    if isinstance(names, Mapping):
        known = cast("Mapping[Any, Any]", names)
        return tuple(str(known.get(number, number)) for number in numbers)
    if names and isinstance(names[0], (list, tuple)):
        words = cast("Sequence[Any]", names[row])
        if len(words) != len(numbers):
            raise OptionError(
                text("sample {number} has {got} words", number=row, got=len(words)),
                text("{count}, one for each token", count=len(numbers)),
                text("give the padding a word too, for example an empty one"),
            )
        return tuple(str(word) for word in words)
    if max(numbers) >= len(names):
        raise OptionError(
            text("names is a vocabulary of {got} words", got=len(names)), text("a word for the token {number}", number=max(numbers)),
            text("give the words of each sample, or the whole vocabulary"),
        )  # fmt: skip
    return tuple(str(names[number]) for number in numbers)
