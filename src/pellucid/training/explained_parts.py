"""The parts of an explained sample in its user's own terms: the columns of a table before preprocessing, the words of a text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.core.language import Text, text
from pellucid.data.sequences import UNKNOWN
from pellucid.data.tables.preprocessing import TablePreprocessing
from pellucid.data.tables.prose import TextEncoding
from pellucid.data.text.preprocessing import TextPreprocessing
from pellucid.data.text.vocabulary import pieces as cut_into_pieces
from pellucid.explanation.drawing.samples import Part
from pellucid.explanation.explanation import Explanation

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_PIECES = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+|[\W]+")  # characters, words, what stands between them: as tables read prose
_LETTER = re.compile(rf"[{_CJK}]")


@dataclass(frozen=True)
class Feature:
    """What one input of the network belongs to."""

    column: str
    term: str | None = None  # of a text


def players_of(preprocessing: Any, chosen: Any, inputs: Tensor) -> tuple[Tensor | None, list[Feature] | None]:
    """(F,) the player of each input: a column as a whole; in texts each term that stands in this one, and all that do not together."""
    if not isinstance(preprocessing, TablePreprocessing):
        return None, None
    labels: list[Feature] = []
    for name, encoding in preprocessing.encodings.items():
        terms = encoding.terms if isinstance(encoding, TextEncoding) else [None] * len(encoding.features)
        labels += [Feature(name, term) for term in terms]
    numbers: dict[tuple[str, str | None], int] = {}
    player = [
        numbers.setdefault((label.column, label.term if label.term is not None and bool(value) else None), len(numbers))
        for label, value in zip(labels, inputs[0].tolist(), strict=True)
    ]
    return torch.tensor(player), labels


def table_parts(explanation: Explanation, preprocessing: TablePreprocessing, chosen: Any, labels: list[Feature]) -> list[Part]:
    """The columns with their values before preprocessing; texts word by word."""
    given: list[Any] = [explanation.attributions, *explanation.interval]
    numbers = [np.asarray(item.detach().cpu().double())[0] for item in given]

    def total(entries: np.ndarray) -> list[float]:
        return [float(item[entries].sum()) for item in numbers]

    names = list(dict.fromkeys(label.column for label in labels))
    places = {name: np.asarray([place for place, label in enumerate(labels) if label.column == name]) for name in names}
    sums = np.asarray([total(places[name]) for name in names])
    shown = tuple(_shown(chosen.inputs[name][0]) for name in names)
    parts: list[Part] = []
    for name in names:
        if not isinstance(preprocessing.encodings[name], TextEncoding) or chosen.inputs[name][0] is None:
            continue
        of_term = {labels[place].term: total(np.asarray([place])) for place in places[name]}
        pieces, spread = spread_over_words(
            str(chosen.inputs[name][0]), {term: value for term, value in of_term.items() if term is not None}
        )
        parts.append(Part("words", *spread, names=pieces))
    if len(names) > 1 or not parts:
        parts.insert(0, Part("columns", *(sums[:, place] for place in range(3)), names=tuple(names), shown=shown))
    return parts


def token_part(explanation: Explanation, preprocessing: TextPreprocessing, chosen: Any) -> Part:
    """The text with a number for each of its tokens; what the network does not read has none."""
    (name,) = preprocessing.columns
    found = cut_into_pieces(str(chosen.inputs[name][0] or ""), preprocessing.vocabulary.unit)
    given: list[Any] = [explanation.attributions, *explanation.interval]
    numbers = [np.asarray(item.detach().cpu().double())[0] for item in given]
    spread, place = np.zeros((3, len(found))), 0
    for position, (_, is_token) in enumerate(found):
        if is_token and place < len(numbers[0]):
            spread[:, position] = [item[place] for item in numbers]
        place += is_token
    return Part("words", *spread, names=tuple(piece for piece, _ in found))


def unread(preprocessing: TextPreprocessing, chosen: Any) -> list[Text]:
    """What of a text the network does not know, or does not read."""
    (name,) = preprocessing.columns
    pieces = [piece for piece, is_token in cut_into_pieces(str(chosen.inputs[name][0] or ""), preprocessing.vocabulary.unit) if is_token]
    (numbers, _), longest = preprocessing.tokens(chosen), preprocessing.longest
    said: list[Text] = []
    unknown = [piece for piece, number in zip(pieces[:longest], numbers.tolist(), strict=False) if number == UNKNOWN]
    if pieces and len(unknown) == len(pieces[:longest]):
        said.append(text("none of these words is known to the network, which reads each as the same unknown word"))
    elif unknown:
        said.append(
            text(
                "{unknown} of {count} words are unknown to the network, which reads all such words as one: {examples}",
                unknown=len(unknown), count=len(pieces[:longest]), examples=list(dict.fromkeys(unknown))[:5],
            )
        )  # fmt: skip
    if len(pieces) > longest:
        said.append(text("the network reads the first {longest} of {count} words", longest=longest, count=len(pieces)))
    return said


def spread_over_words(words: str, of_term: dict[str, list[float]]) -> tuple[tuple[str, ...], list[np.ndarray]]:
    """A text cut into words, characters and what stands between them, and for each of these its share of the numbers of its terms: a term
    that stands in several places is shared equally between them, a pair of characters between the two."""
    pieces = tuple(_PIECES.findall(words))
    lowered = [piece.lower() for piece in pieces]
    where: dict[str, list[tuple[int, ...]]] = {}
    for place, piece in enumerate(lowered):
        where.setdefault(piece, []).append((place,))
        following = lowered[place + 1] if place + 1 < len(lowered) else ""
        if _LETTER.fullmatch(piece) and _LETTER.fullmatch(following):
            where.setdefault(piece + following, []).append((place, place + 1))
    spread = np.zeros((3, len(pieces)))
    for term, numbers in of_term.items():
        found = where.get(term, [])
        for places in found:
            spread[:, list(places)] += np.asarray(numbers)[:, None] / len(found) / len(places)
    return pieces, list(spread)


def _shown(value: Any) -> str:
    """A value as the user wrote it."""
    if value is None:
        return "–"
    return f"{value:g}" if isinstance(value, float) else str(value)
