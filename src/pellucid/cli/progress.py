"""Training as the terminal shows it: the run's path, what was understood, then a line that moves; in a pipe, one plain line per epoch."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.cli.layout import clock, fill, listing, number, one_line, width_of, words, wrap
from pellucid.cli.names import metric_name, part_name, task_name
from pellucid.cli.terminal import Output, styled
from pellucid.core.language import Text, text
from pellucid.core.records import Expectation, Notice
from pellucid.core.wording import count, duration
from pellucid.training.progress import Plan, Progress, StepReport

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text as Styled

    from pellucid.training.summary import Summary

LABEL = 11  # columns of the labels on the left
SECONDS_BETWEEN_LINES = 1.0  # in a pipe
SECONDS_BETWEEN_PICTURES = 0.1  # in a terminal
SECONDS_BETWEEN_WAITS = 10.0  # in a pipe


class TerminalProgress(Progress):
    """Draws the events of one training on `output`."""

    def __init__(self, output: Output) -> None:
        self.output = output
        self.directory: Path | None = None
        self._plan: Plan | None = None
        self._report: StepReport | None = None
        self._row: Mapping[str, Any] | None = None
        self._unwritten = False  # in a pipe: the last epoch has no line yet
        self._last_line = float("-inf")
        self._epoch_seconds = 0.0
        self._previous_seconds: float | None = None
        self._phase: Text | None = None
        self._live: Live | None = None
        self._notices: list[Text] = []
        self._closed = False
        self._waiting = 0  # columns of a line that will be written over
        self._told_waiting = 0.0  # when a pipe last heard what is waited for

    def waiting(self, name: Text) -> None:
        """In a terminal, a word while nothing can be shown yet, which the next line replaces; in a pipe, now and then a line."""
        now = time.monotonic()
        if not self.output.live:
            self._told_waiting = self._told_waiting or now
            if now - self._told_waiting >= SECONDS_BETWEEN_WAITS:
                self._told_waiting = now
                self._labelled(text("Now"), str(name))
        if self.output.live:
            self._end_waiting()
            line = f"{name} ..."
            self._waiting = width_of(line)
            self.output.console.print(styled((line, "dim")), end="\r", soft_wrap=True)

    def _end_waiting(self) -> None:
        if self._waiting:
            self.output.console.print(" " * self._waiting, end="\r", soft_wrap=True)
            self._waiting = 0

    # -- events ----------------------------------------------------------------------------------------------------------------------

    def started(self, directory: Path) -> None:
        self.directory = directory
        self._labelled(text("Run"), str(directory), style="bold")

    def planned(self, plan: Plan) -> None:
        self._plan = plan
        for label, sentence in plan_lines(plan):
            self._labelled(label, str(sentence))
        self._write_notices()

    def decided(self, settings: Mapping[str, Any], chosen: tuple[str, ...]) -> None:
        sentence = str(_decisions(settings, chosen))
        if sentence:  # a complete configuration leaves nothing to choose
            self._labelled(text("Chosen"), sentence)

    def expected(self, expectation: Expectation) -> None:
        from pellucid.training.summary import expectation_sentence

        sentence = expectation_sentence(expectation)
        if sentence is not None:
            self._labelled(text("Expected"), str(sentence))

    def notice(self, notice: Notice | Text) -> None:
        self._notices.append(notice.summary if isinstance(notice, Notice) else notice)
        if self._plan is not None:  # what the notes are about is said first
            self._write_notices()

    def phase(self, name: Text) -> None:
        self._write_last_line()
        self._phase = name
        if self.output.live:
            self._draw()
        else:
            self._labelled(text("Now"), str(name))

    def step(self, report: StepReport) -> None:
        self._report, self._phase = report, None
        if self.output.live:
            self._draw()

    def epoch(self, row: Mapping[str, Any]) -> None:
        seconds = float(row.get("seconds", 0.0))
        if self._previous_seconds is not None:
            self._epoch_seconds = max(seconds - self._previous_seconds, 0.0)
        elif self._row is None and row["epoch"] == 1:
            self._epoch_seconds = seconds
        self._previous_seconds = seconds
        self._row, self._phase, self._unwritten = row, None, True
        now = time.monotonic()
        if now - self._last_line < (SECONDS_BETWEEN_PICTURES if self.output.live else SECONDS_BETWEEN_LINES):
            return  # small data have hundreds of epochs a second: drawing each would cost more than training
        self._last_line = now
        if self.output.live:
            self._draw()
        else:
            self._write_last_line()

    def finished(self, summary: Summary) -> None:
        self.close()

    def close(self) -> None:
        self._closed = True
        self._end_waiting()
        self._write_notices()
        self._write_last_line()
        if self._live is not None:
            self._phase = None
            self._live.update(self._picture(), refresh=True)
            self._live.stop()
            self._live = None

    # -- lines -----------------------------------------------------------------------------------------------------------------------

    def _labelled(self, label: Text, sentence: str, style: str = "") -> None:
        self._end_waiting()
        first, *rest = wrap(one_line(sentence), self.output.columns - LABEL)
        self.output.line((fill(str(label), LABEL), "dim"), (first, style))
        for line in rest:
            self.output.line(" " * LABEL, (line, style))

    def _write_notices(self) -> None:
        for sentence in self._notices:
            self._labelled(text("Note"), str(sentence), style="yellow")
        self._notices.clear()

    def _write_last_line(self) -> None:
        if self._unwritten and not self.output.live:
            self._unwritten = False
            items = [*self._numbers(), *self._pace()]
            self.output.line(str(text("{epoch}: {items}", epoch=self._where(), items=items)))

    # -- the moving lines --------------------------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        live = self._live
        if live is None:
            from rich.live import Live

            self.output.line("")
            # Redrawn when there is news, by the thread that trains: no second thread, nothing that blinks.
            live = self._live = Live(
                self._picture(), console=self.output.console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
            )
            live.start()
        live.update(self._picture(), refresh=True)

    def _picture(self) -> Styled:
        if self._row is None and self._report is None:
            return styled((f"{self._phase} ...", "dim")) if self._phase is not None else styled("")
        lines = [self._bar_line(), styled(_cut_to_fit(self._numbers(), self.output.full_columns))]
        if self._phase is not None:
            lines.append(styled((f"{self._phase} ...", "dim")))
        return styled("\n").join(lines)

    def _bar_line(self) -> Styled:
        where, pace = self._where(), "   ".join(self._pace())
        room = self.output.columns - width_of(where) - width_of(pace) - 6
        if room < 6:
            return styled(f"{where}   {pace}")
        done = round(room * self._share())
        full, empty = ("━", "─") if self.output.unicode else ("=", "-")
        return styled(f"{where}   ", (full * done, "green"), (empty * (room - done), "dim"), f"   {pace}")

    # -- what the lines say ------------------------------------------------------------------------------------------------------------

    def _epochs(self) -> int:
        if self._report is not None:
            return self._report.epochs
        return int(self._plan.settings.get("epochs") or 0) if self._plan is not None else 0

    def _where(self) -> str:
        done = int(self._row["epoch"]) if self._row is not None else 0
        if self._report is not None and self._live is not None and not self._ended():
            done = max(done, self._report.epoch)
        planned = self._epochs()
        width = len(str(planned))
        return str(text("epoch {epoch}/{epochs}", epoch=f"{done:{width}d}", epochs=planned or "?"))

    def _ended(self) -> bool:
        return self._row is not None and (self._report is None or self._row["step"] >= self._report.step)

    def _share(self) -> float:
        """The part of the planned work that is done, in [0, 1]."""
        done = self._row["epoch"] / max(self._epochs(), 1) if self._row is not None else 0.0
        if self._report is not None:
            done = max(done, self._report.step / max(self._report.steps, 1))
        return min(done, 1.0)

    def _numbers(self) -> list[str]:
        row = self._row
        if row is None:
            return [str(text("loss {value}", value=number(self._report.loss)))] if self._report is not None else []
        newer = self._report is not None and self._report.step > row["step"]
        train = row.get("train", {})
        loss = self._report.loss if newer and self._report is not None else train.get("running_loss", train.get("loss"))
        parts = [str(text("loss {value}", value=number(loss)))]
        part = "validation" if "validation" in row else "train"
        measured = row.get(part, {})
        names = [name for name in ("loss", *main_metrics(measured)) if name in measured and not (part == "train" and name == "loss")]
        return parts + [words(part_name(part), metric_name(name), number(measured[name])) for name in names]

    def _pace(self) -> list[str]:
        samples = self._plan.samples.get("train", 0) if self._plan is not None else 0
        speed = self._report.samples_per_second if self._report is not None else 0.0
        left = self._report.seconds_left if self._report is not None else None
        if self._row is not None and (self._report is None or self._ended()):
            if not speed and self._epoch_seconds:
                speed = samples / self._epoch_seconds
            left = self._epoch_seconds * max(self._epochs() - self._row["epoch"], 0) if self._epoch_seconds else None  # None: just resumed
        pace = [str(text("{speed} samples/s", speed=count(speed)))] if speed else []
        if self._closed and self._row is not None:
            pace.append(str(duration(float(self._row.get("seconds", 0.0)))))
        elif left is not None:
            pace.append(str(text("{time} left", time=clock(left))))
        return pace


def main_metrics(measured: Mapping[str, float]) -> list[str]:
    """The metric that a person asks for first; the others stand in metrics.jsonl."""
    for name in ("accuracy", "r2", "mean_iou"):
        if name in measured:
            return [name]
    return [name for name in measured if not name.startswith("loss")][:1]


def plan_lines(plan: Plan) -> list[tuple[Text, Text | str]]:
    """What was understood and what will be done, as (label, sentence)."""
    parts = [text("{count} {part}", count=count(size), part=part_name(part)) for part, size in plan.samples.items() if size]
    total = sum(plan.samples.values())
    if plan.task in ("classification", "segmentation"):
        goal = text("{task}: {count} classes ({names})", task=task_name(plan.task), count=len(plan.outputs), names=listing(plan.outputs))
    else:
        goal = text("{task}: {names}", task=task_name(plan.task), names=listing(plan.outputs))
    data = text("{name}: {total} samples of {shape} ({parts})", name=plan.name, total=count(total), shape=_shape(plan), parts=parts)
    return [
        (text("Data"), data),
        (text("Task"), goal),
        (text("Network"), text("{network}, {count} parameters", network=plan.network, count=count(plan.parameters))),
        (text("Training"), _settings(plan)),
    ]


def _shape(plan: Plan) -> Text:
    """A table by its columns, where its inputs are more; texts by what they are cut into."""
    if plan.unit is not None:
        told = {"longest": count(plan.input_shape[0]), "vocabulary": count(plan.vocabulary or 0)}
        return (
            text("texts of up to {longest} characters, read one by one; {vocabulary} different ones are known", **told)
            if plan.unit == "character"
            else text("texts of up to {longest} words; {vocabulary} different ones are known", **told)
        )
    if plan.shortest is not None and len(plan.input_shape) == 2 and plan.shortest < plan.input_shape[1]:
        channels, longest = plan.input_shape
        return text(
            "{shortest} to {longest} steps, channels: {channels}", shortest=count(plan.shortest), longest=count(longest), channels=channels
        )
    if plan.columns is None or plan.columns == plan.input_shape[0]:
        return shape_of(plan.input_shape)
    inputs = count(plan.input_shape[0])
    if plan.columns == 1:
        return text("1 column, encoded as {inputs} inputs", inputs=inputs)
    return text("{columns} columns, encoded as {inputs} inputs", columns=count(plan.columns), inputs=inputs)


def shape_of(shape: Sequence[int]) -> Text:
    """One sample's shape in words."""
    if len(shape) == 1:
        return text("1 feature") if shape[0] == 1 else text("{count} features", count=count(shape[0]))
    if len(shape) == 3:
        return text("{height} x {width} pixels, channels: {channels}", channels=shape[0], height=shape[1], width=shape[2])
    return text("shape {shape}", shape=" x ".join(str(length) for length in shape))


def _settings(plan: Plan) -> Text:
    settings = plan.settings
    rate = settings.get("learning_rate")
    parts: list[Text | str] = [
        str(settings.get("optimizer")),
        text("learning rate by a range test") if rate == "auto" else text("learning rate {rate}", rate=rate),
        text("batches of {size}", size=settings.get("batch_size")),
    ]
    if not settings.get("budget") or "epochs" not in plan.chosen:  # with a budget they are chosen when the speed is known
        parts.append(text("at most {epochs} epochs", epochs=settings.get("epochs")))
    if settings.get("until"):
        parts.append(text("until {condition}", condition=settings["until"]))
    if settings.get("budget"):
        parts.append(text("at most {seconds:g} s", seconds=settings["budget"]))
    return text("{parts}", parts=parts)


def _decisions(settings: Mapping[str, Any], chosen: Sequence[str]) -> Text:
    """What was left to Pellucid and is not said by `_settings`: the learning rate that was found, and what holds the network back."""
    words = {
        "learning_rate": text("learning rate"),
        "schedule": text("schedule"),
        "epochs": text("epochs at most"),
        "patience": text("patience"),
        "weight_decay": text("weight decay"),
        "dropout": text("dropout"),
        "augment": text("augmentation"),
        "precision": text("precision"),
    }
    said = [name for name in words if name in chosen and settings.get(name) not in (None, "none", "float32")]
    if not settings.get("budget") and "epochs" in said:  # said before
        said.remove("epochs")
    return text("{parts}", parts=[text("{name} {value}", name=words[name], value=_value(settings[name])) for name in said])


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _cut_to_fit(items: list[str], columns: int) -> str:
    """Whole items, as many as fit on one line: a line that wraps could not be redrawn in place."""
    while len(items) > 1 and width_of("   ".join(items)) >= columns:
        items = items[:-1]
    return "   ".join(items)
