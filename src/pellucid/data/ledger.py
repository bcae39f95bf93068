"""The data ledger: which samples there were, what each contained, on which side it stood, and what was left out and why.

Stored as `data.json` in every run. From it a resumed training rebuilds exactly the same split, and says how data read again differ.
"""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self, cast, overload

import numpy as np

from pellucid.core.hashing import DIGEST_BYTES, equal_groups
from pellucid.core.language import Text, text
from pellucid.core.records import Record
from pellucid.data.samples import Quarantined, Samples
from pellucid.data.splitting import LEFT_OUT, PARTS, Split

_LETTERS = "tvs-"  # train, validation, test ("s": scored), left out; one letter per sample keeps 60 000 samples at 60 kB
_EXAMPLES = 5


class NumberedNames(Sequence[str]):
    """The names prefix + "0", prefix + "1", ...: what a million rows are called, in no memory."""

    def __init__(self, length: int, prefix: str = "", first: int = 0) -> None:
        self.length, self.prefix, self.first = length, prefix, first

    def __len__(self) -> int:
        return self.length

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        chosen = range(self.first, self.first + self.length)[index]
        return f"{self.prefix}{chosen}" if isinstance(chosen, int) else [f"{self.prefix}{number}" for number in chosen]

    def __iter__(self) -> Iterator[str]:
        return (f"{self.prefix}{number}" for number in range(self.first, self.first + self.length))


@dataclass(frozen=True, kw_only=True)
class Differences(Record):
    """How data read again differ from those of the ledger: false when they do not."""

    changed: int = 0  # same name, other content
    missing: int = 0  # in the ledger, not in the data
    added: int = 0  # in the data, not in the ledger
    moved: int = 0  # same content, at another place
    unhashed: bool = False  # the samples have no content hashes: only their number could be compared
    examples: tuple[str, ...] = ()  # names of changed, missing or added samples

    def __bool__(self) -> bool:
        return bool(self.changed or self.missing or self.added or self.moved)

    def summary(self) -> Text:
        """One sentence for a person."""
        if not self:
            return text("the data are those of the run")
        return text(
            "the data are not those of the run: {changed} changed, {missing} missing, {added} new, {moved} moved (such as {examples})",
            changed=self.changed,
            missing=self.missing,
            added=self.added,
            moved=self.moved,
            examples=list(self.examples) or "-",
        )


@dataclass(frozen=True, kw_only=True)
class Ledger(Record):
    """One row per sample in compact columns: use the properties, not the stored forms."""

    kind: str = ""  # of the data: "table", "images", ...
    name: str = ""
    reference: Mapping[str, Any] | None = None  # how to read the same data again
    samples: int = 0
    parts: str = ""  # one letter per sample: t train, v validation, s test, - left out
    names: Any = None  # identifiers: a list, or [[prefix, first, count], ...] where they are numbered
    content: str = ""  # the samples' content hashes, 16 bytes each, base64; "" where the samples have none
    duplicates: tuple[tuple[int, ...], ...] = ()  # positions of equal samples
    contradictions: tuple[tuple[int, ...], ...] = ()  # positions of equal inputs with different targets
    removed: tuple[int, ...] = ()  # positions of copies taken out because a later part holds the same sample
    quarantined: tuple[Quarantined, ...] = ()
    seed: int = 0
    validation: Any = "auto"  # as asked for
    test: Any = "auto"
    options: Mapping[str, Any] = field(default_factory=lambda: cast("dict[str, Any]", {}))

    @classmethod
    def of(cls, samples: Samples, split: Split, *, seed: int = 0, validation: Any = "auto", test: Any = "auto") -> Self:
        """The ledger of `samples` split as `split` says."""
        groups = equal_groups(samples.hashes)
        return cls(
            kind=samples.kind,
            name=samples.name,
            reference=samples.reference,
            samples=len(samples),
            parts="".join(np.asarray(list(_LETTERS))[split.parts].tolist()),
            names=_packed_names(samples.identifiers),
            content=_packed_hashes(samples.hashes),
            duplicates=tuple(tuple(group) for group in groups),
            contradictions=tuple(_contradictions(samples)),
            removed=tuple(int(position) for position in split.removed),
            quarantined=tuple(samples.quarantined),
            seed=seed,
            validation=validation,
            test=test,
            options={
                "grouped": samples.groups is not None,
                "timed": samples.times is not None,
                "given": samples.fixed_parts is not None,
            },
        )

    @cached_property
    def codes(self) -> np.ndarray:
        """(N,) int8: splitting.TRAIN, VALIDATION, TEST or LEFT_OUT."""
        letters = np.frombuffer(self.parts.encode("ascii"), dtype=np.uint8)
        table = np.full(256, LEFT_OUT, dtype=np.int8)
        table[np.frombuffer(_LETTERS.encode("ascii"), dtype=np.uint8)] = np.arange(len(_LETTERS))
        return table[letters]

    @cached_property
    def identifiers(self) -> Sequence[str]:
        return _unpacked_names(self.names)

    @cached_property
    def hashes(self) -> list[str]:
        if not self.content:
            return [""] * self.samples
        digits = base64.b64decode(self.content).hex()
        width = 2 * DIGEST_BYTES
        empty = "0" * width
        return ["" if digits[i : i + width] == empty else digits[i : i + width] for i in range(0, len(digits), width)]

    def indices(self, part: str) -> np.ndarray:
        """Positions of the samples of "train", "validation", "test" or "" (left out)."""
        return np.flatnonzero(self.codes == PARTS.index(part))

    def sizes(self) -> dict[str, int]:
        return {part: int((self.codes == code).sum()) for code, part in enumerate(PARTS[:3])}

    def seen(self, samples: Samples) -> dict[str, int]:
        """How many of other `samples`, known by their content, stood in each part; nothing where there are no hashes to compare."""
        part_of = {value: code for value, code in zip(self.hashes, self.codes.tolist(), strict=True) if value and code != LEFT_OUT}
        counts = Counter(part_of[value] for value in samples.hashes if value in part_of)
        return {PARTS[code]: counts[code] for code in sorted(counts)}

    def differences(self, samples: Samples) -> Text | None:
        """How `samples`, read again, differ, in one sentence with counts and examples; None where they do not."""
        found = self.compare(samples)
        return found.summary() if found else None

    def compare(self, samples: Samples) -> Differences:
        """How `samples`, read again, differ: by content where both have hashes, else by number alone."""
        if not self.content or not any(samples.hashes):
            difference = len(samples) - self.samples
            return Differences(missing=max(0, -difference), added=max(0, difference), unhashed=True)
        here = list(samples.hashes)
        if here == self.hashes:
            return Differences()
        kept = Counter(self.hashes)
        kept.subtract(here)
        lost = {value: count for value, count in kept.items() if count > 0}
        new = {value: -count for value, count in kept.items() if count < 0}
        lost_names = _names_of(self.hashes, self.identifiers, lost)
        new_names = _names_of(here, samples.identifiers, new)
        changed = Counter(lost_names) & Counter(new_names)
        count = sum(changed.values())
        moved = 0
        if not lost and not new:
            moved = sum(a != b for a, b in zip(self.hashes, here, strict=True))
        examples = dict.fromkeys([*changed, *lost_names, *new_names])
        return Differences(
            changed=count,
            missing=len(lost_names) - count,
            added=len(new_names) - count,
            moved=moved,
            examples=tuple(list(examples)[:_EXAMPLES]),
        )

    def codes_for(self, samples: Samples) -> np.ndarray:
        """The part of every sample of data read again: (N,) int8. Known by its content, else by its name; unknown ones are left out."""
        if len(samples) == self.samples and (list(samples.hashes) == self.hashes or not self.content or not any(samples.hashes)):
            return self.codes.copy()
        codes = np.full(len(samples), LEFT_OUT, dtype=np.int8)
        by_content: dict[str, list[int]] = {}
        for position in range(self.samples - 1, -1, -1):
            by_content.setdefault(self.hashes[position], []).append(position)
        used: set[int] = set()
        unknown: list[int] = []
        for position, value in enumerate(samples.hashes):
            known = by_content.get(value) if value else None
            if known:
                # copies stand on one side, so it does not matter which of them this one is
                codes[position] = self.codes[known[-1]]
                used.add(known.pop() if len(known) > 1 else known[-1])
            else:
                unknown.append(position)
        by_name = {name: position for position, name in enumerate(self.identifiers) if position not in used}
        for position in unknown:
            if samples.identifiers[position] in by_name:
                codes[position] = self.codes[by_name.pop(samples.identifiers[position])]
        return codes


def _contradictions(samples: Samples) -> list[tuple[int, ...]]:
    """Equal inputs whose whole content differs: the same input with different targets."""
    if not samples.input_hashes or not samples.hashes:
        return []
    groups = equal_groups(samples.input_hashes)
    return [tuple(group) for group in groups if len({samples.hashes[position] for position in group}) > 1]


def _names_of(hashes: Sequence[str], names: Sequence[str], wanted: Mapping[str, int]) -> list[str]:
    """The names of the last `wanted[hash]` samples of each hash."""
    left = dict(wanted)
    found: list[str] = []
    for position in range(len(hashes) - 1, -1, -1):
        if left.get(hashes[position], 0) > 0:
            left[hashes[position]] -= 1
            found.append(names[position])
    return found[::-1]


# -- compact forms -------------------------------------------------------------------------------------------------------------------


def _packed_names(names: Sequence[str]) -> Any:
    """Numbered names as [[prefix, first, count], ...], others as they are."""
    if isinstance(names, NumberedNames):
        return {"numbered": [[names.prefix, names.first, names.length]]}
    runs: list[list[Any]] = []
    for name in names:
        match = re.fullmatch(r"(.*?)(0|[1-9][0-9]*)", name, flags=re.DOTALL)
        if match is None:
            return list(names)
        prefix, number = match[1], int(match[2])
        if runs and runs[-1][0] == prefix and number == runs[-1][1] + runs[-1][2]:
            runs[-1][2] += 1
        else:
            runs.append([prefix, number, 1])
            if len(runs) > 16 and len(runs) > len(names) // 4:
                return list(names)
    return {"numbered": runs}


def _unpacked_names(stored: Any) -> Sequence[str]:
    if isinstance(stored, Mapping):
        runs = [NumberedNames(count, prefix, first) for prefix, first, count in cast("Mapping[str, Any]", stored)["numbered"]]
        return runs[0] if len(runs) == 1 else [name for run in runs for name in run]
    return cast("list[str]", stored or [])


def _packed_hashes(hashes: Sequence[str]) -> str:
    if not any(hashes):
        return ""
    empty = "0" * (2 * DIGEST_BYTES)
    return base64.b64encode(bytes.fromhex("".join(value or empty for value in hashes))).decode("ascii")
