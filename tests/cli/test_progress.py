"""Training as a pipe and as a terminal see it."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pellucid.cli import progress as module
from pellucid.cli.layout import width_of
from pellucid.cli.progress import TerminalProgress, plan_lines, shape_of
from pellucid.cli.terminal import Output, prepare_streams
from pellucid.core.language import text, use_language
from pellucid.core.records import Notice
from pellucid.training.progress import Plan, StepReport


class Stream(io.TextIOWrapper):
    """A standard error of any encoding, a terminal or a pipe."""

    def __init__(self, encoding: str = "utf-8", terminal: bool = False) -> None:
        super().__init__(io.BytesIO(), encoding=encoding, write_through=True)
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal

    def written(self) -> str:
        return self.buffer.getvalue().decode(self.encoding)  # type: ignore[attr-defined]


def plan(**other: Any) -> Plan:
    known: dict[str, Any] = {
        "name": "iris",
        "task": "classification",
        "outputs": ("setosa", "versicolor", "[red]virginica"),
        "samples": {"train": 90, "validation": 30, "test": 30},
        "input_shape": (4,),
        "network": "mlp",
        "parameters": 1234,
        "settings": {"optimizer": "adamw", "learning_rate": "auto", "batch_size": 16, "epochs": 40},
        "chosen": (),
    }
    return Plan(**{**known, **other})


def row(epoch: int, **parts: Any) -> dict[str, Any]:
    known = {
        "train": {"running_loss": 1 / epoch, "loss": 1 / epoch},
        "validation": {"loss": 1.1 / epoch, "loss_stderr": 0.1, "accuracy": 0.9},
    }
    return {"epoch": epoch, "step": epoch * 6, "seconds": epoch * 0.25, "learning_rate": 0.1, **(known | parts)}


def train(progress: TerminalProgress, *, epochs: int = 40, reports: bool = True, planned: Plan | None = None) -> None:
    progress.started(Path("runs/iris 鸢尾花"))
    progress.notice(Notice(kind="duplicate_rows", summary=text("3 rows are duplicates")))
    progress.planned(planned or plan())
    progress.phase(text("learning-rate range test"))
    for epoch in range(1, epochs + 1):
        if reports:
            progress.step(StepReport(epoch, 40, epoch * 6 - 3, 240, 1 / epoch, 0.01, 21300.0, epoch * 0.25, (40 - epoch) * 0.25))
        progress.epoch(row(epoch))
    progress.phase(text("measuring the best network on every part"))
    progress.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time as the progress sees it: it stands still, unless a test moves it."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize("reports", [True, False])
def test_a_pipe_gets_plain_lines(monkeypatch: pytest.MonkeyPatch, clock: list[float], reports: bool) -> None:
    stream = Stream()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("FORCE_COLOR", "1")
    train(TerminalProgress(Output("stderr")), reports=reports)
    written = stream.written()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", written)
    lines = written.splitlines()
    assert lines[0].split(maxsplit=1) == ["Run", "runs/iris 鸢尾花"]
    assert "iris: 150 samples of 4 features (90 training, 30 validation, 30 test)" in written
    assert "3 classes (setosa, versicolor, [red]virginica)" in written
    assert "1 234 parameters" in written
    assert lines.index(next(line for line in lines if "duplicates" in line)) > lines.index(
        next(line for line in lines if "samples of" in line)
    )
    epochs = [line for line in lines if line.startswith("epoch")]
    assert [line.split(":")[0] for line in epochs] == ["epoch  1/40", "epoch 40/40"]  # one a second; the last always
    for part in ("loss 0.0250", "validation loss 0.0275", "validation accuracy 0.9000", "samples/s", "0:00 left"):
        assert part in epochs[-1]
    assert ("21 300 samples/s" if reports else "360 samples/s") in epochs[-1]


def test_one_line_a_second(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    stream = Stream()
    monkeypatch.setattr(sys, "stderr", stream)
    progress = TerminalProgress(Output("stderr"))
    progress.planned(plan())
    for epoch in range(1, 21):
        clock[0] += 0.4
        progress.epoch(row(epoch))
    progress.close()
    progress.close()  # closing twice writes nothing twice
    shown = [int(line.split()[1].split("/")[0]) for line in stream.written().splitlines() if line.startswith("epoch")]
    assert shown == [1, 4, 7, 10, 13, 16, 19, 20]


def test_a_resumed_run_says_no_time_left_before_it_knows(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    stream = Stream()
    monkeypatch.setattr(sys, "stderr", stream)
    progress = TerminalProgress(Output("stderr"))
    progress.planned(plan())
    progress.epoch({**row(21), "seconds": 0.0})
    assert "loss" in stream.written()
    assert "left" not in stream.written()


@pytest.mark.parametrize(("shortest", "says"), [(29, "29 to 69 steps, channels: 2"), (69, "shape 2 x 69")])
def test_series_of_unequal_length_are_called_so(shortest: int, says: str) -> None:
    (_, data), *_ = plan_lines(replace(plan(), input_shape=(2, 69), columns=None, shortest=shortest))
    assert says in str(data)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("columns", [50, 80, 140])
def test_a_terminal_gets_lines_that_fit(monkeypatch: pytest.MonkeyPatch, columns: int, language: str) -> None:
    stream = Stream(terminal=True)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.delenv("NO_COLOR", raising=False)
    with use_language(language):
        train(TerminalProgress(Output("stderr")), epochs=23)
    written = stream.written()
    assert "\x1b[" in written
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written).replace("\r", "\n")
    assert not [line for line in plain.splitlines() if width_of(line) > columns]
    last = [line for line in plain.splitlines() if line.strip()][-2:]
    assert "23/40" in last[0]
    assert ("5.8 s" if language == "en" else "5.8 秒") in last[0]  # at the end: how long it took
    assert "0.0478" in last[1]


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colours_only_where_they_are_wanted(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    stream = Stream(terminal=True)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv(variable, value)
    train(TerminalProgress(Output("stderr")))
    assert not re.search(r"\x1b\[[0-9;]*3[0-7][0-9;]*m", stream.written())
    assert ("\x1b" in stream.written()) == (variable == "NO_COLOR")


@pytest.mark.parametrize("encoding", ["gbk", "ascii", "latin-1"])
@pytest.mark.parametrize("terminal", [True, False])
def test_any_console_can_show_it(monkeypatch: pytest.MonkeyPatch, encoding: str, terminal: bool) -> None:
    stream = Stream(encoding, terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm-256color")
    prepare_streams()
    train(TerminalProgress(Output("stderr")))
    written = stream.written()
    assert ("鸢尾花" in written) == (encoding == "gbk")
    if terminal:
        assert "====" in written  # a bar that every console draws one column wide


def test_a_training_that_fails_leaves_its_last_line(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    stream = Stream()
    monkeypatch.setattr(sys, "stderr", stream)
    progress = TerminalProgress(Output("stderr"))
    progress.started(Path("runs/x"))
    progress.notice(text("what was seen"))
    progress.close()  # an error before the plan: the notes are not lost
    assert "what was seen" in stream.written()


@pytest.mark.parametrize(
    ("shape", "says"),
    [((4,), "4 features"), ((3, 32, 48), "32 x 48 pixels, channels: 3"), ((12, 7), "shape 12 x 7"), ((), "shape ")],
)
def test_shapes_in_words(shape: tuple[int, ...], says: str) -> None:
    assert str(shape_of(shape)) == says


def test_regression_and_a_network_without_validation(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    stream = Stream()
    monkeypatch.setattr(sys, "stderr", stream)
    progress = TerminalProgress(Output("stderr"))
    progress.planned(plan(task="regression", outputs=("price",), samples={"train": 90, "validation": 0, "test": 0}))
    only = {"epoch": 1, "step": 6, "seconds": 0.25, "train": {"running_loss": 0.5, "loss": 0.4, "r2": 0.71, "rmse": 3.0}}
    progress.epoch(only)
    written = stream.written()
    assert "regression: price" in written
    assert "(90 training)" in written
    assert re.search("loss 0.5000, training R.? 0.7100", written)


def test_a_long_wait_is_heard_of_and_a_short_one_leaves_no_trace(monkeypatch):
    """A download in a terminal rewrites one line; in a pipe it says something every ten seconds, a quick reading nothing."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    written = []
    for terminal in (False, True):
        stream = Stream(terminal=terminal)
        monkeypatch.setattr(sys, "stderr", stream)
        progress = TerminalProgress(Output("stderr"))
        for done in range(26):
            progress.waiting(text("downloading {name}: {done:.1f} of {size:.1f} MB", name="a.gz", done=float(done), size=25.0))
            now[0] += 1.0
        progress.started(Path("runs/a"))
        written.append(stream.written())
    piped, shown = written
    assert [line.split()[3] for line in piped.splitlines()[:-1]] == ["10.0", "20.0"]
    assert piped.splitlines()[-1].split()[-1] == "runs/a"
    assert "\n" not in shown[: shown.index("25.0 of")]
    assert "runs/a" in shown


@pytest.mark.parametrize(
    ("settings", "chosen", "said"),
    [
        ({"schedule": "cosine", "precision": "bfloat16"}, ("schedule", "precision"), "schedule cosine, precision bfloat16"),
        ({"schedule": "cosine", "precision": "float32"}, ("schedule", "precision"), "schedule cosine\n"),
        ({"schedule": "cosine", "precision": "bfloat16"}, (), None),
    ],
)
def test_what_was_chosen_is_said_and_nothing_where_all_was_given(
    settings: dict[str, Any], chosen: tuple[str, ...], said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Stream()
    monkeypatch.setattr("sys.stderr", stream)
    TerminalProgress(Output("stderr")).decided(settings, chosen)
    written = stream.written()
    assert (said in written) if said is not None else written == ""


@pytest.mark.parametrize(("error", "together"), [(subprocess.STDOUT, True), (subprocess.PIPE, False), (subprocess.DEVNULL, False)])
def test_whether_both_streams_come_to_one_place_is_known(error: int, together: bool) -> None:
    """There a note that was said before training is not said again with the result."""
    code = "from pellucid.cli.terminal import Output; print(Output('stdout').ends_where(Output('stderr')))"
    found = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=error, encoding="utf-8", check=True)
    assert found.stdout.strip() == str(together)


def test_streams_that_are_no_files_are_two_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", Stream())
    assert not Output("stderr").ends_where(Output("stderr"))
