"""Prose in a table's column as numbers: TF-IDF of its commonest words, Chinese text by characters and pairs of characters.

    tf-idf(t, d) = (1 + ln count(t, d)) * (ln((1 + n) / (1 + df(t))) + 1),  each row divided by its Euclidean norm

n documents (training rows), df(t) of them contain the term t. Source: Manning, Raghavan, Schuetze, Introduction to Information
Retrieval, 2008, section 6.4.1 (sublinear tf); the smoothed idf is scikit-learn's `TfidfVectorizer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl

TERMS, MOST_TERMS = 256, 1024  # terms kept: the smaller number, growing with the rows up to the larger
_ROWS_PER_TERM = 8  # more terms need more rows to learn from
_MOST_NUMBERS = 1 << 28  # rows times terms held in memory (1 GiB as float32)
_WORDS = r"[\p{Han}\p{Hiragana}\p{Katakana}]|[\w--[\p{Han}\p{Hiragana}\p{Katakana}]]+"
_PAIR = r"[\p{Han}\p{Hiragana}\p{Katakana}]{2}"
_FIRST_OF_RUN = r"(^|[^\p{Han}\p{Hiragana}\p{Katakana}])[\p{Han}\p{Hiragana}\p{Katakana}]"


def terms_of(values: pl.Series) -> pl.DataFrame:
    """The terms of every text: columns "row", "term", "count". Lower case; words of letters and digits; Chinese characters and pairs."""
    texts = values.fill_null("").str.to_lowercase()
    lists = [texts.str.extract_all(_WORDS)]
    if texts.str.contains(_PAIR).any():
        # every pair of neighbours: those from the first character of a run of characters on, then those from its second
        shifted = texts.str.replace_all(_FIRST_OF_RUN, "${1} ")
        lists += [texts.str.extract_all(_PAIR), shifted.str.extract_all(_PAIR)]
    rows = pl.Series("row", np.arange(values.len(), dtype=np.int64))
    pieces = [pl.DataFrame({"row": rows, "term": terms}).explode("term").drop_nulls("term") for terms in lists]
    return pl.concat(pieces).group_by("row", "term").len("count").with_columns(pl.col("count").cast(pl.Float64))


@dataclass(frozen=True)
class TextEncoding:
    """The vocabulary of a column of texts and how rare each term is."""

    kind: ClassVar[str] = "text"
    terms: tuple[str, ...]  # commonest first
    idf: tuple[float, ...]
    scale: float  # brings the features, whose squares sum to one in a row, to about the size of standardised numbers

    @staticmethod
    def fit(values: pl.Series) -> TextEncoding:
        """Look at the training rows' texts: the terms that most of them contain."""
        rows = values.len()
        limit = min(MOST_TERMS, max(TERMS, rows // _ROWS_PER_TERM), max(1, _MOST_NUMBERS // max(1, rows)))
        found = terms_of(values).group_by("term").agg(pl.len().alias("documents"))
        if rows >= 20:
            found = found.filter(pl.col("documents") > 1)
        found = found.sort(["documents", "term"], descending=[True, False]).head(limit)
        documents = found["documents"].to_numpy().astype(np.float64)
        idf = np.log((1 + rows) / (1 + documents)) + 1
        terms = tuple(found["term"].to_list())
        return TextEncoding(terms, tuple(idf.tolist()), float(np.sqrt(max(1, len(terms)))) / 4)

    @property
    def features(self) -> list[str]:
        return [f"contains {term!r}" for term in self.terms]

    def encode(self, values: pl.Series) -> np.ndarray:
        """(n, terms) float32. A missing text has no terms."""
        matrix = np.zeros((values.len(), len(self.terms)), dtype=np.float32)
        if not self.terms or not values.len():
            return matrix
        vocabulary = pl.DataFrame({"term": list(self.terms), "position": np.arange(len(self.terms))})
        found = terms_of(values).join(vocabulary, on="term", how="inner")
        row, position = found["row"].to_numpy(), found["position"].to_numpy()
        weights = (1 + np.log(found["count"].to_numpy())) * np.asarray(self.idf)[position]
        squares = np.bincount(row, weights=weights**2, minlength=values.len())
        matrix[row, position] = (self.scale * weights / np.sqrt(squares)[row]).astype(np.float32)
        return matrix

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "terms": list(self.terms), "idf": list(self.idf), "scale": self.scale}

    @staticmethod
    def from_dict(stored: Mapping[str, Any]) -> TextEncoding:
        return TextEncoding(tuple(stored["terms"]), tuple(stored["idf"]), float(stored["scale"]))
