"""What a training tells whoever watches: the terminal, a notebook, the studio, a test.

`Progress` itself is silent; a watcher overrides the events it wants. Every event comes from the thread that trains. A watcher must
return at once: its time is part of the training's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.core.language import Text
from pellucid.core.records import Expectation, Notice

if TYPE_CHECKING:
    from pellucid.training.summary import Summary


@dataclass(frozen=True)
class StepReport:
    """Where training stands; sent at most about five times a second."""

    epoch: int  # from 1
    epochs: int  # planned
    step: int  # steps done in all
    steps: int  # planned in all
    loss: float  # mean over the steps since the last report
    learning_rate: float
    samples_per_second: float
    seconds: float  # spent so far, earlier sessions included
    seconds_left: float  # an estimate: the time of the remaining epochs at the present speed


@dataclass(frozen=True)
class Plan:
    """What will be done, known before the first step."""

    name: str  # the data's name
    task: str  # "classification" or "regression"
    outputs: tuple[str, ...]  # class names, or target names
    samples: Mapping[str, int]  # part -> number of samples
    input_shape: tuple[int, ...]
    network: str
    parameters: int
    settings: Mapping[str, Any]  # every resolved option that training uses: epochs, batch_size, optimizer, ...
    chosen: tuple[str, ...]  # names of those settings that were "auto" and were chosen by us
    columns: int | None = None  # of a table, that the network sees; `input_shape` counts the inputs into which they are encoded
    unit: str | None = None  # of texts that are read in order: "word", "character" or "byte_pair"
    vocabulary: int | None = None  # how many of these the network knows
    shortest: int | None = None  # of series: steps of the shortest that is trained on; `input_shape` has those of the longest


class Progress:
    """The events of one training, in this order; each may be overridden."""

    def waiting(self, name: Text) -> None:
        """Nothing is to be seen yet: the data are read, or downloaded. May come before `started`, many times."""

    def started(self, directory: Path) -> None:
        """The run's directory exists. Always the first event but for `waiting`."""

    def planned(self, plan: Plan) -> None:
        """The data are read and the settings chosen."""

    def decided(self, settings: Mapping[str, Any], chosen: tuple[str, ...]) -> None:
        """The learning rate and the number of epochs are known too; `chosen` names what was "auto"."""

    def expected(self, expectation: Expectation) -> None:
        """What the training will take, in time and in memory, is measured."""

    def notice(self, notice: Notice | Text) -> None:
        """Something about the data or the settings that the user should know."""

    def phase(self, name: Text) -> None:
        """A part of the work that is not an epoch begins: the range test, the evaluation."""

    def step(self, report: StepReport) -> None:
        """Some steps are done."""

    def epoch(self, row: Mapping[str, Any]) -> None:
        """An epoch is done; `row` is the line written to metrics.jsonl."""

    def finished(self, summary: Summary) -> None:
        """All is done and written."""

    def close(self) -> None:
        """Nothing more will come: after `finished`, and after an error too."""
