"""Texts as numbers: cut into tokens, each the number of its place in a vocabulary of the training part; 0 is padding, 1 what is unknown.

Tokens are words and marks, in lower case, or characters; Chinese and Japanese, which are written without blanks, are read by characters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from pellucid.data.sequences import UNKNOWN

_FIRST = 2  # number of the commonest token
MOST_TOKENS = 30_000
_UNBROKEN = r"[\p{Han}\p{Hiragana}\p{Katakana}]"
_UNBROKEN_SHARE = 0.3  # of the letters: from there on a text is read by characters
# one unbroken letter; or a word, with its apostrophe; or a number; or one mark
_WORDS = rf"{_UNBROKEN}|[\w--[\p{{Han}}\p{{Hiragana}}\p{{Katakana}}]]+(?:['’][\w--[\p{{Han}}\p{{Hiragana}}\p{{Katakana}}]]+)*|[^\w\s]"
_CHARACTERS = r"\S"


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of the training texts, commonest first."""

    unit: str  # "word" or "character"
    tokens: tuple[str, ...]

    @staticmethod
    def fit(texts: pl.Series, most: int = MOST_TOKENS) -> Vocabulary:
        """Look at the training texts: tokens that occur twice, of few texts those that occur once too."""
        unit = unit_of(texts)
        found = cut(texts, unit).explode().drop_nulls().rename("token").to_frame()
        counted = found.group_by("token").len("count")
        if counted.height > 500:
            counted = counted.filter(pl.col("count") > 1)
        counted = counted.sort(["count", "token"], descending=[True, False]).head(most)
        return Vocabulary(unit, tuple(counted["token"].to_list()))

    def __len__(self) -> int:
        """How many numbers there are, padding and the unknown included."""
        return len(self.tokens) + _FIRST

    def numbers(self, texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
        """The tokens of all texts as numbers, one text after the other, int32; and (n + 1,) where each begins. No text is without a token:
        one of which nothing is left holds the unknown."""
        lists = cut(texts, self.unit)
        index = {token: place + _FIRST for place, token in enumerate(self.tokens)}
        lengths = lists.list.len().to_numpy()
        held = np.maximum(lengths, 1)
        numbers = np.full(int(held.sum()), UNKNOWN, dtype=np.int32)
        found = lists.explode().drop_nulls().replace_strict(index, default=UNKNOWN, return_dtype=pl.Int32)
        numbers[np.repeat(lengths > 0, held)] = found.to_numpy()
        return numbers, np.concatenate([[0], np.cumsum(held)]).astype(np.int64)

    def to_dict(self) -> dict[str, Any]:
        return {"unit": self.unit, "tokens": list(self.tokens)}

    @staticmethod
    def from_dict(stored: Mapping[str, Any]) -> Vocabulary:
        return Vocabulary(stored["unit"], tuple(stored["tokens"]))


def unit_of(texts: pl.Series) -> str:
    """ "character" where much of what is written has no blanks between its words, else "word"."""
    sample = texts.drop_nulls().head(2000)
    unbroken, letters = (int(sample.str.count_matches(pattern).sum() or 0) for pattern in (_UNBROKEN, r"\w"))
    return "character" if unbroken > _UNBROKEN_SHARE * max(1, letters) else "word"


def cut(texts: pl.Series, unit: str) -> pl.Series:
    """A list of tokens for each text; an empty list for one that is missing or blank."""
    return texts.fill_null("").str.to_lowercase().str.extract_all(_WORDS if unit == "word" else _CHARACTERS)


def pieces(text: str, unit: str) -> Sequence[tuple[str, bool]]:
    """`text` cut so that joining gives it back: (piece, whether it is a token)."""
    found: list[tuple[str, bool]] = []
    end = 0
    lowered = text.lower()
    exact = lowered if len(lowered) == len(text) else text
    tokens = cut(pl.Series([exact], dtype=pl.String), unit).to_list()[0]
    for token in tokens:
        start = exact.lower().find(token, end) if exact is text else exact.find(token, end)
        if start > end:
            found.append((text[end:start], False))
        found.append((text[start : start + len(token)], True))
        end = start + len(token)
    if end < len(text):
        found.append((text[end:], False))
    return found
