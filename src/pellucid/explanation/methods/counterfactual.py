"""Counterfactuals of table rows: the nearest change, of few columns, after which the network answers otherwise.

    from pellucid.explanation.methods.counterfactual import counterfactuals
    found = counterfactuals(model, X[:3], data=X_train)
    found[0].columns, found[0].changed        # which columns, and the row after the change

Candidates for a column are values that occur in `data`: what the network answers far from its data explains nothing.
Sources: S. Wachter, B. Mittelstadt, C. Russell 2018 (distance in units of each column's spread); R. Mothilal, A. Sharma, C. Tan 2020
(few columns, by putting back what is not needed).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.core.errors import DataError, OptionError
from pellucid.core.language import Text, text
from pellucid.core.records import Record
from pellucid.explanation.explain import reporter
from pellucid.explanation.reference import like_inputs
from pellucid.explanation.subject import Subject

PER_COLUMN = 0.25  # what changing another column costs, in the same units as the way: two columns are taken where they save that much
BEAM = 8  # changes of a row that are kept while another column is added
GRID = 32  # values of a column that are tried
NEIGHBOURS = 4  # nearest rows of the data with the other answer, from which a change is made as well
FEW_VALUES = 10  # a column with no more is taken as codes or counts: it only takes values that occur
REFINED = 3  # changes of a row, the cheapest ones, that are made as small as they can be
FINER = 2  # times that a continuous column's change is divided by GRID: to a thousandth of it


@dataclass(frozen=True, kw_only=True)
class Counterfactual(Record):
    """The nearest change that was found for one row."""

    found: bool
    answer: int  # the class before; for a single output 0 below the threshold and 1 above
    wanted: int | None  # the class asked for; None: any other
    new_answer: int | None  # predicted again for `changed` by the network itself; None where nothing was found
    original: tuple[float, ...]
    changed: tuple[float, ...] | None
    columns: tuple[int, ...]  # that differ
    names: tuple[str, ...]  # of these columns
    distance: float | None  # sum of |change| over the column's spread in the data (its standard deviation)
    tried: int  # changed rows that were predicted
    summary: Text


def counterfactuals(
    model: nn.Module,
    inputs: Any,
    wanted: int | None = None,
    *,
    data: Any,
    threshold: float | None = None,
    fixed: Sequence[int] = (),
    names: Sequence[str] | None = None,
    most_columns: int = 4,
    progress: Callable[[Text], None] | None = None,
) -> tuple[Counterfactual, ...]:
    """For each row of `inputs` (N, M) the nearest change of at most `most_columns` columns after which the network answers `wanted`.

    cost = sum_j |change_j| / spread_j + PER_COLUMN times the number of changed columns.

    `wanted`: a class; None: any other than now. `data` (R, M): rows like those the network was trained on. `threshold`: of a network with
    one output, where the answer changes (0 for logits, 0.5 for probabilities). `fixed`: columns that nobody can change. Where nothing was
    found the record says so, and nothing closer than what it gives is promised not to exist: the search is over values of `data`.

    Raises:
        ModelError, DataError, OptionError: as `explain`; no table, or a class that does not exist.
    """
    subject = Subject.of(model, inputs, 0, tell=reporter(progress))
    if len(subject.inputs) != 1 or subject.kind != "table":
        raise DataError(
            text("the inputs are of the kind {kind!r}", kind=subject.kind),
            text("one table: a floating-point tensor (N, M)"),
            text("use pellucid.explain for other inputs"),
        )
    if (subject.classes == 1) != (threshold is not None):
        raise OptionError(
            text("the network has {outputs} outputs and threshold is {threshold}", outputs=subject.classes, threshold=threshold),
            text("a threshold for one output, none for several"),
            text("with one output, give the value at which the answer changes: 0 for logits, 0.5 for probabilities"),
        )
    classes = max(2, subject.classes)
    if wanted is not None and not 0 <= wanted < classes:
        raise OptionError(
            text("wanted is {wanted}", wanted=wanted), text("0 to {last}", last=classes - 1), text("classes are counted from 0")
        )
    M = subject.inputs[0].shape[1]
    if any(not 0 <= column < M for column in fixed) or (names is not None and len(names) != M) or most_columns < 1:
        raise OptionError(
            text("fixed columns {fixed}, {names} names, most_columns {most}", fixed=list(fixed), names=len(names or ()), most=most_columns),
            text("columns in 0 to {last}, {count} names or none, at least one column", last=M - 1, count=M),
            text("count columns from 0"),
        )
    background = like_inputs(subject, data, text("the background (data)"))[0]
    search = _Search(subject, background, threshold, frozenset(fixed), most_columns)
    found = list[Counterfactual]()
    for i in range(subject.samples):
        found.append(search.nearest(i, wanted, tuple(map(str, names)) if names is not None else tuple(map(str, range(M)))))
        subject.tell(i + 1, subject.samples)
    return tuple(found)


class _Search:
    """The search over changed rows of one table."""

    def __init__(self, subject: Subject, background: Tensor, threshold: float | None, fixed: frozenset[int], most_columns: int) -> None:
        self.subject, self.background, self.threshold, self.most_columns = subject, background, threshold, most_columns
        self.columns = [j for j in range(background.shape[1]) if j not in fixed]
        self.spread = background.std(0, correction=0)
        self.spread = torch.where(self.spread > 0, self.spread, torch.ones_like(self.spread))
        values = [background[:, j].unique() for j in range(background.shape[1])]
        self.codes = torch.tensor([len(of) <= FEW_VALUES for of in values], device=background.device)
        self.grid = [of[torch.linspace(0, len(of) - 1, min(GRID, len(of)), device=of.device).round().long()] for of in values]
        self.tried = 0
        self.answers = self._scores(background).argmax(1)

    def nearest(self, row: int, wanted: int | None, names: tuple[str, ...]) -> Counterfactual:
        """Of everything that flips the answer: first what the beam finds column by column, then what the nearest other rows leave."""
        original, self.tried = self.subject.inputs[0][row], 0
        answer = int(self._scores(original[None]).argmax())
        best: Tensor | None = None
        if wanted != answer:
            starts = [*self._beam(original, answer, wanted), *self._neighbours(original, answer, wanted)]
            sparse = [self._put_back(original, changed, answer, wanted) for changed in starts]
            sparse = [changed for changed in sparse if int((changed != original).sum()) <= self.most_columns]
            sparse.sort(key=lambda changed: float(self._cost(original, changed)))
            near = [self._nearest_values(original, changed, answer, wanted) for changed in sparse[:REFINED]]
            # one by one: what stands on the edge may fall on either side with the rounding of another batch
            valid = [
                changed for changed in near + sparse[:1] if bool(self._flips(self._scores(changed[None]).argmax(1), answer, wanted)[0])
            ]
            best = min(valid, key=lambda changed: float(self._cost(original, changed)), default=None)
        if best is None:
            reason = (
                text("the network gives class {answer} already", answer=answer) if wanted == answer
                else text("no change of up to {most} columns was found that changes class {answer} ({tried} tried)",
                          most=self.most_columns, answer=answer, tried=self.tried)
            )  # fmt: skip
            return Counterfactual(
                found=False, answer=answer, wanted=wanted, new_answer=None, original=tuple(original.tolist()), changed=None, columns=(),
                names=(), distance=None, tried=self.tried, summary=reason,
            )  # fmt: skip
        again = int(self._scores(best[None]).argmax())
        columns = tuple((best != original).nonzero()[:, 0].tolist())
        steps = [
            text("{name} from {before:.4g} to {after:.4g}", name=names[j], before=float(original[j]), after=float(best[j])) for j in columns
        ]
        return Counterfactual(
            found=True, answer=answer, wanted=wanted, new_answer=again, original=tuple(original.tolist()), changed=tuple(best.tolist()),
            columns=columns, names=tuple(names[j] for j in columns), distance=float(((best - original).abs() / self.spread).sum()),
            tried=self.tried,
            summary=text("class {answer} becomes {new} with {changes}", answer=answer, new=again, changes=steps),
        )  # fmt: skip

    def _scores(self, rows: Tensor) -> Tensor:
        """(n, classes): the largest is the answer."""
        outputs = self.subject.outputs((rows,))
        self.tried += len(rows)
        return outputs if self.threshold is None else torch.cat([self.threshold - outputs, outputs - self.threshold], 1)

    def _flips(self, answers: Tensor, answer: int, wanted: int | None) -> Tensor:
        return answers != answer if wanted is None else answers == wanted

    def _margin(self, scores: Tensor, answer: int, wanted: int | None) -> Tensor:
        """How far the wanted side leads: positive once the answer has changed."""
        side = torch.zeros(scores.shape[1], dtype=torch.bool, device=scores.device)
        side[[k for k in range(len(side)) if k != answer] if wanted is None else wanted] = True
        return scores[:, side].amax(1) - scores[:, ~side].amax(1)

    def _cost(self, original: Tensor, changed: Tensor) -> Tensor:
        """Of changed rows (..., M)."""
        moved = (changed - original).abs() / self.spread
        return moved.sum(-1) + PER_COLUMN * (moved > 0).sum(-1)

    def _beam(self, original: Tensor, answer: int, wanted: int | None) -> list[Tensor]:
        """Column by column those changes are kept that gain most, altogether or for their cost, as long as a column more can be nearer."""
        beam, found = original[None], list[Tensor]()
        before = float(self._margin(self._scores(beam), answer, wanted))
        for number in range(1, min(self.most_columns, len(self.columns)) + 1):
            if found and min(float(self._cost(original, row)) for row in found) <= PER_COLUMN * number:
                break
            candidates = list[Tensor]()
            for j in self.columns:
                free = beam[beam[:, j] == original[j]]
                values = self.grid[j][self.grid[j] != original[j]]
                if len(free) and len(values):
                    copies = free.repeat_interleave(len(values), 0)
                    copies[:, j] = values.repeat(len(free))
                    candidates.append(copies)
            if not candidates:
                break
            tried = torch.cat(candidates)
            scores, cost = self._scores(tried), self._cost(original, tried)
            flipped = self._flips(scores.argmax(1), answer, wanted)
            found += list(tried[flipped][cost[flipped].argsort()[: BEAM // 2]])
            gain = torch.where(flipped, -torch.inf, self._margin(scores, answer, wanted) - before)
            kept = torch.cat([gain.argsort(descending=True)[: BEAM // 2], (gain / cost).argsort(descending=True)[: BEAM // 2]]).unique()
            beam = tried[kept]
        return found

    def _neighbours(self, original: Tensor, answer: int, wanted: int | None) -> list[Tensor]:
        """The nearest rows of the data that have the other answer; fixed columns stay."""
        others = self.background[self._flips(self.answers, answer, wanted)]
        if not len(others):
            return []
        way = ((others - original).abs() / self.spread).sum(1)
        rows = original.repeat(min(NEIGHBOURS, len(others)), 1)
        rows[:, self.columns] = others[way.argsort()[:NEIGHBOURS]][:, self.columns]
        return list(rows[self._flips(self._scores(rows).argmax(1), answer, wanted)])

    def _put_back(self, original: Tensor, changed: Tensor, answer: int, wanted: int | None) -> Tensor:
        """Column by column, the one that matters least first, back to what it was, as long as the answer stays changed."""
        while True:
            columns = (changed != original).nonzero()[:, 0]
            if len(columns) == 1:
                return changed
            tried = changed.repeat(len(columns), 1)
            tried[torch.arange(len(columns), device=tried.device), columns] = original[columns]
            scores = self._scores(tried)
            margin = torch.where(self._flips(scores.argmax(1), answer, wanted), self._margin(scores, answer, wanted), -torch.inf)
            if not bool((margin > -torch.inf).any()):
                return changed
            changed = tried[margin.argmax()]

    def _nearest_values(self, original: Tensor, changed: Tensor, answer: int, wanted: int | None) -> Tensor:
        """Each changed column, the one that went furthest first, as near to what it was as the answer stays changed."""
        moved = (changed - original).abs() / self.spread
        for j in moved.argsort(descending=True)[: int((moved > 0).sum())].tolist():
            start = original[j]
            for _ in range(1 if bool(self.codes[j]) else FINER):
                if bool(self.codes[j]):
                    low, high = sorted((float(start), float(changed[j])))
                    values = self.grid[j][(self.grid[j] > low) & (self.grid[j] < high)]
                    values = values[(values - start).abs().argsort()]
                else:
                    values = start + (changed[j] - start) * torch.arange(1, GRID, device=changed.device) / GRID
                tried = changed.repeat(len(values) + 1, 1)  # nearest first; the last one is the change as it is
                tried[:-1, j] = values
                flips = self._flips(self._scores(tried).argmax(1), answer, wanted)
                first = int(flips.int().argmax()) if bool(flips.any()) else len(values)
                start, changed = (start if first == 0 else tried[first - 1, j]), tried[first]
        return changed
