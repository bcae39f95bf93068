"""A table whose only column of inputs is text, as tokens for a network that reads them in order. Fitted on the training rows alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import torch
from torch import Tensor

from pellucid.core.language import sample_name, text
from pellucid.core.memory import require_memory
from pellucid.core.records import Notice, Task
from pellucid.core.wording import counted
from pellucid.data.arrays.preprocessing import TargetScaling
from pellucid.data.kinds import PreprocessingKind, preprocessing_kind
from pellucid.data.samples import Quarantined, Samples
from pellucid.data.sequences import PADDING, UNKNOWN, SequencePart
from pellucid.data.tables.columns import Column
from pellucid.data.text.vocabulary import Vocabulary, unknown_share

COLUMN, CLASS = "text", "class"  # of the table that texts in files become
SUFFIXES = (".txt", ".text")

FORMAT = 1
LONGEST = 512  # tokens of a text that are read at most
_ERRORS = 3  # standard errors by which a share must be greater, before it is said to be: one new data set of 740 by chance


@dataclass(frozen=True)
class TextPreprocessing:
    """Made by `fit`; what a table's preprocessing has too (columns, header, ...) serves to read new rows."""

    kind = "text"

    columns: Mapping[str, Column]  # the one column
    vocabulary: Vocabulary
    longest: int  # tokens of a text that are read at most
    task: Task
    target_scaling: TargetScaling
    header: bool = True
    width: int = 0
    content: tuple[str, ...] = ()
    unseen: Mapping[str, Column] = field(default_factory=dict[str, Column])
    encodings: Mapping[str, Any] = field(default_factory=dict[str, Any])  # none: a table's columns have them
    longest_seen: int = 0  # tokens of the longest training text, of what is read of it
    unknown_share: float | None = None  # of the tokens of new texts that resemble the training texts; None: a run that did not note it

    @staticmethod
    def fit(
        samples: Samples, train: np.ndarray, columns: Mapping[str, Column], *, header: bool, width: int, content: tuple[str, ...],
        unseen: Mapping[str, Column],
    ) -> TextPreprocessing:  # fmt: skip
        """Look at the rows `train` alone."""
        assert samples.task is not None
        (name,) = columns
        texts: pl.Series = samples.inputs[name][np.asarray(train)]
        vocabulary = Vocabulary.fit(texts)
        _, begins = vocabulary.numbers(texts)
        return TextPreprocessing(
            columns, vocabulary, LONGEST, samples.task, TargetScaling.fit(samples, np.asarray(train)), header, width, content, unseen,
            longest_seen=min(LONGEST, int(np.diff(begins).max(initial=1))), unknown_share=unknown_share(texts, vocabulary),
        )  # fmt: skip

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(T,): the longest training text."""
        return (self.longest_seen,)

    @property
    def facts(self) -> dict[str, Any]:
        """What a network must know of the inputs."""
        return {"vocabulary": len(self.vocabulary)}

    def tokens(self, samples: Samples, indices: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """All tokens one text after the other, and where each begins."""
        (name,) = self.columns
        texts: pl.Series = samples.inputs[name]
        return self.vocabulary.numbers(texts if indices is None else texts[np.asarray(indices)])

    def inputs(self, samples: Samples, indices: np.ndarray | None = None) -> Tensor:
        """(n, T) int64 tokens, T the longest text of these; 0 behind the shorter ones."""
        tokens, begins = self.tokens(samples, indices)
        count = len(begins) - 1
        require_memory(8 * count * min(self.longest, int(np.diff(begins).max(initial=1))), text("{count} texts", count=count))
        part = SequencePart(tokens, begins, torch.zeros(count), np.arange(count), self.longest)
        return part.padded(np.arange(count)) if count else torch.full((0, 1), PADDING)

    def targets(self, samples: Samples, indices: np.ndarray | None = None) -> Tensor:
        """Classification: (n,) int64. Regression: (n, outputs) float32, standardised by the training rows."""
        return self.target_scaling.apply(samples, indices)

    def part(self, samples: Samples, indices: np.ndarray) -> SequencePart:
        """The samples at `indices`, as tokens of unequal length."""
        tokens, begins = self.tokens(samples, indices)
        return SequencePart(tokens, begins, self.targets(samples, indices), indices, self.longest)

    def news(self, texts: pl.Series, names: Sequence[str]) -> list[Notice]:
        """What of new texts the network cannot read: those without a token that it knows, more unknown tokens than new texts like those
        of the training would hold, texts that go on where reading ends."""
        tokens, begins = self.vocabulary.numbers(texts)
        lengths = np.diff(begins)
        count = len(lengths)
        if not count:
            return []
        unknown = np.add.reduceat(tokens == UNKNOWN, begins[:-1])
        notices: list[Notice] = []
        nothing = np.flatnonzero(unknown == lengths)
        if len(nothing):
            summary = counted(
                len(nothing),
                text("one of {texts} texts holds no word that the network knows ({example}): its answer there is a guess",
                     texts=count, example=sample_name(names[int(nothing[0])])),
                text("{count} of {texts} texts hold no word that the network knows, for example {example}: its answers there are guesses",
                     count=len(nothing), texts=count, example=sample_name(names[int(nothing[0])])),
            )  # fmt: skip
            notices.append(Notice(kind="unknown_texts", summary=summary, evidence={"count": len(nothing), "texts": count}))
        share, expected = float(unknown.sum() / lengths.sum()), self.unknown_share
        if expected is not None and len(nothing) < count and share > expected + _ERRORS * _error(unknown, lengths, share, expected):
            summary = text(
                "{share:.3g} % of the words of these texts are unknown to the network, and about {expected:.3g} % would be of texts like "
                "those it was trained on: what they say it cannot use",
                share=100 * share, expected=100 * expected,
            )  # fmt: skip
            notices.append(Notice(kind="unknown_tokens", summary=summary, evidence={"share": share, "expected": expected}))
        cut_off = int((lengths > self.longest).sum())
        if cut_off:
            summary = counted(
                cut_off,
                text("one of {texts} texts is longer than the {longest} words that the network reads: the rest of it is left out",
                     texts=count, longest=self.longest),
                text("{count} of {texts} texts are longer than the {longest} words that the network reads: the rest of them is left out",
                     count=cut_off, texts=count, longest=self.longest),
            )  # fmt: skip
            notices.append(Notice(kind="cut_texts", summary=summary, evidence={"count": cut_off, "texts": count}))
        return notices

    def finish(self, batch: Tensor) -> Tensor:
        return batch

    def restore_targets(self, outputs: Tensor) -> Tensor:
        """Regression outputs (n, outputs) in the user's units; class scores unchanged."""
        return self.target_scaling.restore(outputs)

    def to_dict(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "kind": self.kind,
            "input_shape": list(self.input_shape),
            "columns": [column.to_dict() for column in self.columns.values()],
            "vocabulary": self.vocabulary.to_dict(),
            "longest": self.longest,
            "longest_seen": self.longest_seen,
            "unknown_share": self.unknown_share,
            "task": self.task.to_dict(),
            "target": self.target_scaling.to_dict(),
            "header": self.header,
            "width": self.width,
            "content": list(self.content),
            "unseen": [column.to_dict() for column in self.unseen.values()],
        }

    @staticmethod
    def from_dict(stored: Mapping[str, Any]) -> TextPreprocessing:
        return TextPreprocessing(
            columns={column.name: column for column in map(Column.from_dict, stored["columns"])},
            vocabulary=Vocabulary.from_dict(stored["vocabulary"]),
            longest=int(stored["longest"]),
            task=Task.from_dict(stored["task"]),
            target_scaling=TargetScaling.from_dict(stored["target"]),
            header=bool(stored["header"]),
            width=int(stored["width"]),
            content=tuple(stored["content"]),
            unseen={column.name: column for column in map(Column.from_dict, stored["unseen"])},
            longest_seen=int(stored.get("longest_seen", stored["longest"])),
            unknown_share=stored.get("unknown_share"),
        )


@preprocessing_kind
class TextPreprocessingKind(PreprocessingKind):
    kind = "text"

    def fit(self, samples: Samples, train: np.ndarray) -> TextPreprocessing:
        from pellucid.data.tables.preprocessing import TablePreprocessing

        fitted = TablePreprocessing.fit(samples, train)
        assert isinstance(fitted, TextPreprocessing)
        return fitted

    def restore(self, stored: Mapping[str, Any]) -> TextPreprocessing:
        return TextPreprocessing.from_dict(stored)

    def read_new(self, source: Any, target: Any, preprocessing: Any, *, header: bool, task: Task | None, targets: str) -> Samples | None:
        """Texts as they are, in a list or as one; .txt files, one by one or in folders. None for tables, which are read as any."""
        if isinstance(source, (str, list, tuple)):
            given = [source] if isinstance(source, str) else list(cast("Sequence[Any]", source))
            if not given or not all(isinstance(entry, str) for entry in given):
                return None
            frame, names, aside = pl.DataFrame({COLUMN: given}), None, []
        elif isinstance(source, Path) and (source.is_dir() or (source.suffix.lower() in SUFFIXES and not _is_table(source, preprocessing))):
            from pellucid.data.text.folders import new_texts

            frame, names, aside = new_texts(source)
        else:
            return None
        return _new_rows(frame, names, aside, preprocessing, target, targets)

    def part(self, samples: Samples, indices: np.ndarray, preprocessing: Any) -> Any:
        return preprocessing.part(samples, indices)

    def new_part(self, samples: Samples, preprocessing: Any, *, labelled: bool) -> Any:
        """Each batch padded to its own longest."""
        tokens, begins = preprocessing.tokens(samples)
        targets = preprocessing.targets(samples) if labelled else torch.zeros(len(samples))
        return SequencePart(tokens, begins, targets, np.arange(len(samples)), preprocessing.longest)


def _error(unknown: np.ndarray, lengths: np.ndarray, share: float, expected: float) -> float:
    """Standard error of a share of tokens, which come in texts: of the ratio estimator (Cochran 1977, Sampling techniques, chapter 6),
    and at least that of tokens drawn one by one, which is all that few texts tell."""
    drawn = np.sqrt(max(expected * (1 - expected), 1 / lengths.sum()) / lengths.sum())
    count = len(lengths)
    spread = np.square(unknown - share * lengths).sum() * count / max(1, count - 1)
    return float(max(drawn, np.sqrt(spread) / lengths.sum()))


def _is_table(path: Path, preprocessing: TextPreprocessing) -> bool:
    """Whether the first line of a .txt file names the column that the network reads."""
    with path.open("rb") as file:
        first = file.readline(65_536).decode("utf-8", "replace")
    (name,) = preprocessing.columns
    return name in [cell.strip(' "\ufeff\r\n') for cell in re.split(r"[,;\t|]", first)] and first.strip() != name


def _new_rows(
    frame: pl.DataFrame, names: list[str] | None, aside: Sequence[Quarantined], preprocessing: TextPreprocessing, target: Any, targets: str
) -> Samples:  # fmt: skip
    """The texts under the name of the column that the network reads, with their targets where these are given or known by their folders."""
    from pellucid.data.tables.files import RawTable
    from pellucid.data.tables.new_rows import read_new_table

    (column,), (wanted,) = preprocessing.columns, preprocessing.task.targets
    if target is not None:
        frame = frame.with_columns(pl.Series(CLASS, [str(value) for value in target]))
    if CLASS in frame.columns and (targets != "optional" or target is not None or set(frame[CLASS]) <= set(preprocessing.task.classes)):
        frame = frame.rename({CLASS: wanted})
    frame = frame.rename({COLUMN: column})
    shown = text("the texts")
    samples = read_new_table(RawTable(frame, name="texts", shown=shown, texts=(column,)), preprocessing, target=targets)
    if names is not None and len(names) == len(samples):
        samples.identifiers = names
    samples.quarantined = [*samples.quarantined, *aside]
    return samples
