"""Texts as numbers: cut into tokens, each the number of its place in a vocabulary of the training part; 0 is padding, 1 what is unknown.

Tokens are words and marks, in lower case, or characters; Chinese and Japanese, which are written without blanks, are read by characters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from pellucid.core.language import Text, text
from pellucid.data.sequences import UNKNOWN

_FIRST = 2  # number of the commonest token
MOST_TOKENS = 30_000
_UNBROKEN = r"[\p{Han}\p{Hiragana}\p{Katakana}]"
_UNBROKEN_SHARE = 0.3  # of the letters: from there on a text is read by characters
# one unbroken letter; or a word, with its apostrophe; or a number; or one mark
_WORDS = rf"{_UNBROKEN}|[\w--[\p{{Han}}\p{{Hiragana}}\p{{Katakana}}]]+(?:['’][\w--[\p{{Han}}\p{{Hiragana}}\p{{Katakana}}]]+)*|[^\w\s]"
_CHARACTERS = r"\S"
_SAYING = r"[^\s\p{P}\p{Z}\p{C}]"  # a letter, a number or a symbol: an emoji says something


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


def wordless(texts: pl.Series) -> dict[int, Text]:
    """Place -> reason, of the texts that say nothing: missing or blank ones, and those of nothing but punctuation."""
    given = texts.fill_null("")
    found = np.flatnonzero((~given.str.contains(_SAYING)).to_numpy()).tolist()
    return {
        place: text("the text is empty") if not given[place].strip() else text("the text holds nothing but punctuation") for place in found
    }


def unit_of(texts: pl.Series) -> str:
    """ "character" where much of what is written has no blanks between its words, else "word"."""
    sample = texts.drop_nulls().head(2000)
    unbroken, letters = (int(sample.str.count_matches(pattern).sum() or 0) for pattern in (_UNBROKEN, r"\w"))
    return "character" if unbroken > _UNBROKEN_SHARE * max(1, letters) else "word"


def cut(texts: pl.Series, unit: str) -> pl.Series:
    """A list of tokens for each text; an empty list for one that is missing or blank."""
    return texts.fill_null("").str.to_lowercase().str.extract_all(_WORDS if unit == "word" else _CHARACTERS)


def unknown_share(texts: pl.Series, vocabulary: Vocabulary) -> float:
    """Of the tokens of further texts like `texts`, from which `vocabulary` was made, the share that it will not hold.

    Of N tokens n_1 stand once and n_2 twice: a share n_1 / N of further tokens stood in `texts` not at all, 2 n_2 / N stood there once.
    To the first comes what of the second the vocabulary leaves out, and the share in `texts` of commoner tokens that it leaves out.
    Source: Good 1953, The population frequencies of species and the estimation of population parameters.
    """
    found = cut(texts, vocabulary.unit).explode().drop_nulls().rename("token").to_frame().group_by("token").len("count")
    if not found.height:
        return 0.0
    total, known = int(found["count"].sum()), pl.Series(vocabulary.tokens, dtype=pl.String)
    once, twice = (int((found["count"] == times).sum()) for times in (1, 2))
    left_out = found.filter(~pl.col("token").is_in(known.implode()))
    of_once = int((left_out["count"] == 1).sum()) / max(1, once)
    often = int(left_out.filter(pl.col("count") > 1)["count"].sum())
    return min(1.0, (once + of_once * 2 * twice + often) / total)


def pieces(given: str, unit: str) -> Sequence[tuple[str, bool]]:
    """`given` cut so that joining gives it back: (piece, whether it is a token)."""
    found: list[tuple[str, bool]] = []
    end = 0
    lowered = given.lower()
    exact = lowered if len(lowered) == len(given) else given
    tokens = cut(pl.Series([exact], dtype=pl.String), unit).to_list()[0]
    for token in tokens:
        start = exact.lower().find(token, end) if exact is given else exact.find(token, end)
        if start > end:
            found.append((given[end:start], False))
        found.append((given[start : start + len(token)], True))
        end = start + len(token)
    if end < len(given):
        found.append((given[end:], False))
    return found
