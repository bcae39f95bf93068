"""The program from outside: languages, encodings, exit codes, help. Training itself is in test_commands.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.conftest import Called
from pellucid import __version__
from pellucid.cli.command import COMMANDS
from pellucid.cli.layout import width_of
from pellucid.core.errors import DataError, DivergenceError, Interrupted, PellucidError, StorageError


def program(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """The program as a shell starts it."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHONIOENCODING", "PYTHONUTF8"))}
    return subprocess.run([sys.executable, "-m", "pellucid", *arguments], capture_output=True, env={**clean, **environment}, check=False)


# -- help ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("columns", [70, 80, 140])
@pytest.mark.parametrize("word", ["", *COMMANDS])
def test_help_fits_the_window(call: Callable[..., Called], monkeypatch: pytest.MonkeyPatch, word: str, columns: int, language: str) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    code, out, err = call(*([word] if word else []), "--help", "--language", language)
    assert (code, err) == (0, "")
    assert not [line for line in out.splitlines() if width_of(line) > columns]
    assert "\x1b" not in out
    if language == "zh":
        assert "用法：" in out
        assert "训练" in out or word not in ("", "fit")


def test_the_first_screen(call: Callable[..., Called], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    _, english, _ = call("--help")
    _, chinese, _ = call("--help", "--language", "zh")
    assert len(english.splitlines()) <= 24
    assert len(chinese.splitlines()) <= 24
    assert english.count("pellucid fit") == 2
    for word in COMMANDS:
        assert f"  {word} " in english
    for word in ("训练", "预测", "评估", "续训"):
        assert word in chinese
    assert call() == call("--help")


def test_help_of_fit_shows_every_option_with_default_and_range(call: Callable[..., Called]) -> None:
    from pellucid.core.options import OPTIONS

    _, out, _ = call("fit", "--help")
    flat = " ".join(out.split())
    for row in OPTIONS:
        assert (f"--{row.name.replace('_', '-')}" if row.kind != "mapping" else "--network-option") in out
        for choice in row.choices:
            assert choice in flat
    assert "above 0; at most 1000; default auto" in flat
    assert "at least 0; at most 100; default 0" in flat
    assert "default 30 s" in flat


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from pellucid.cli.main import run; run(['--help']); print([m for m in ('torch', 'numpy', 'rich') if m in sys.modules])"
    )
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        seconds.append(time.perf_counter() - start)
        assert done.stdout.splitlines()[-1] == "[]"
    assert min(seconds) < 1.0  # 0.3 on a quiet machine: benchmarks measure it; here only a heavy import is caught


@pytest.mark.parametrize("arguments", [["--version"], ["--version", "--language", "zh"]])
def test_version(call: Callable[..., Called], arguments: list[str]) -> None:
    assert call(*arguments) == (0, f"pellucid {__version__}\n", "")


def test_version_as_json(call: Callable[..., Called]) -> None:
    assert json.loads(call("--json", "--version")[1]) == {"version": __version__}


# -- wrong arguments -----------------------------------------------------------------------------------------------------------------

WRONG = [
    (["fit"], "pellucid fit iris"),
    (["iris"], "did you mean: pellucid fit iris"),
    (["iris", "--epochs", "3"], "pellucid fit iris --epochs 3"),
    (["fitt", "iris"], "did you mean 'fit'?"),
    (["fit", "iris", "--epoch", "3"], "'--epochs'"),
    (["fit", "iris", "--lr", "3"], "'--learning-rate'"),
    (["fit", "iris", "--model=cnn"], "'--network'"),
    (["fit", "iris", "--epochs"], "'--epochs'"),
    (["fit", "iris", "--epochs", "many"], "epochs"),
    (["fit", "iris", "--epochs", "-1"], "epochs"),
    (["fit", "iris", "--optimizer", "adma"], "did you mean 'adam'?"),
    (["fit", "iris", "--network-option", "hidden"], "--network-option filters=32"),
    (["fit", "iris", "wine"], "wine"),
    (["fit", "iris", "--json=1"], "--json"),
    (["fit", "--config", "absent.toml"], "absent.toml"),
    (["predict"], "RUN"),
    (["predict", "runs/x"], "DATA"),
    (["predict", "runs/x", "new.csv", "--output", "p.xlsx"], ".csv"),
    (["runs", "--compare", "runs/x"], "--compare runs/iris-mlp runs/iris-logistic"),
    (["runs", "--status", "finishd"], "did you mean 'finished'?"),
    (["--bad"], "--bad"),
    (["--language"], "--language"),
    (["--language", "xx"], "--language en"),
]


@pytest.mark.parametrize(("arguments", "says"), WRONG, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_a_wrong_call_is_told_in_three_lines(
    call: Callable[..., Called], monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert says in err
    assert 2 <= len([line for line in err.splitlines() if not line.startswith(" ")]) <= 3
    assert "Traceback" not in err


@pytest.mark.parametrize(("arguments", "says"), WRONG, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_a_wrong_call_in_chinese(call: Callable[..., Called], monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str) -> None:
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    monkeypatch.setenv("COLUMNS", "200")
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("错误：")
    assert "Error" not in err
    assert "What to do" not in err


def test_underscores_are_dashes(call: Callable[..., Called]) -> None:
    code, _, err = call("fit", "iris", "--learning_rate", "-1")
    assert code == 2
    assert "learning_rate is -1" in err


def test_json_stays_the_only_thing_on_standard_output(call: Callable[..., Called]) -> None:
    for arguments in (["fit", "--json"], ["fit", "iris", "--epoch", "3", "--json"], ["--json", "fitt"]):
        code, out, err = call(*arguments)
        assert code == 2
        assert set(json.loads(out)["error"]) == {"kind", "got", "expected", "do"}
        assert err


# -- every way out -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "begins"),
    [
        (DataError("got this", "wanted that", "do so"), 2, "Error: got this\nExpected: wanted that\nWhat to do: do so\n"),
        (DivergenceError("the loss became NaN"), 1, "Error: the loss became NaN\n"),
        (StorageError("disk full", "room", "free some"), 1, "Error: disk full\n"),
        (Interrupted("stopped by Ctrl-C", None, "go on with: pellucid resume x"), 130, "stopped by Ctrl-C\nWhat to do: go on"),
        (Interrupted("ended", exit_code=143), 143, "ended\n"),
        (KeyboardInterrupt(), 130, "\nInterrupted.\n"),
        (ZeroDivisionError("by nothing"), 1, "Error: Pellucid failed where it should not: ZeroDivisionError: by nothing\nWhat to do: "),
        (MemoryError(), 1, "Error: Pellucid failed where it should not: MemoryError: -\n"),
        (DataError("a\x1b[2J name\nof two lines"), 2, "Error: a [2J name of two lines\n"),
    ],
)
def test_exit_codes(call: Callable[..., Called], monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, begins: str) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("pellucid.cli.commands.fit.read_file", fail)
    got, out, err = call("fit", "iris")
    assert (got, out) == (code, "")
    assert err.startswith(begins)
    assert "Traceback" not in err
    if not isinstance(error, (KeyboardInterrupt, Interrupted)):
        assert "Traceback" in call("fit", "iris", "--traceback")[2]
        monkeypatch.setenv("PELLUCID_DEBUG", "1")
        assert "Traceback" in call("fit", "iris")[2]
        told = json.loads(call("fit", "iris", "--json")[1])["error"]
        assert told["kind"] == type(error).__name__
        assert told["got"] == (str(error.got) if isinstance(error, PellucidError) else str(error))


def test_nothing_of_the_process_is_changed(call: Callable[..., Called]) -> None:
    import gettext

    before = dict(os.environ), gettext.bindtextdomain("messages")
    call("--help", "--language", "zh")
    assert (dict(os.environ), gettext.bindtextdomain("messages")) == before


# -- consoles ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "gbk", "ascii", "latin-1", "cp1252", "gb18030", "utf-16"])
@pytest.mark.parametrize("arguments", [["--help"], ["fit", "--help"], ["fit", "没有_这个😀é.csv", "--epochs", "²"]])
def test_output_never_fails_on_a_console_that_is_not_utf8(arguments: list[str], encoding: str) -> None:
    done = program(*arguments, LANG="zh_CN.UTF-8", PYTHONIOENCODING=encoding)
    assert done.returncode == (0 if "--help" in arguments else 2)
    assert b"Traceback" not in done.stderr
    said = (done.stdout + done.stderr).decode(encoding)
    chinese = encoding not in ("ascii", "latin-1", "cp1252")
    assert ("用法" in said or "错误" in said) == chinese  # Chinese where the console can write it, else English, never rows of ?
    assert "???" not in said


@pytest.mark.parametrize(
    ("environment", "chinese"),
    [
        ({}, False), ({"LANG": "zh_CN.UTF-8"}, True), ({"LANG": "en_US.UTF-8"}, False),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C.UTF-8"}, False),
        ({"LANG": "zh_TW.UTF-8"}, True), ({"LANGUAGE": "zh_CN:en", "LANG": "en_US.UTF-8"}, True), ({"PELLUCID_LANGUAGE": "zh"}, True),
        ({"PELLUCID_LANGUAGE": "en", "LANG": "zh_CN.UTF-8"}, False),
    ],
)  # fmt: skip
def test_the_locale_decides_the_language(
    call: Callable[..., Called], monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], chinese: bool
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert ("用法" in call("--help")[1]) == chinese
    assert "用法" in call("--help", "--language=zh")[1]
    assert "用法" not in call("--language", "en", "--help")[1]
    assert "用法" in call("fit", "--help", "--language", "zh_CN")[1]


def test_a_reader_that_leaves_is_no_error() -> None:
    command = f"{sys.executable} -m pellucid fit --help | head -n 1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage:")
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
@pytest.mark.parametrize(
    ("redirection", "code", "says"),
    [
        ("> /dev/full", 1, "Error: the output cannot be written"),
        (">&-", 0, ""),
        ("2>&-", 0, ""),
        ("2>&- >&-", 0, ""),
        ("< /dev/null", 0, ""),
    ],
)
def test_strange_streams(redirection: str, code: int, says: str) -> None:
    done = subprocess.run(["sh", "-c", f"{sys.executable} -m pellucid --help {redirection}"], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stderr.startswith(says)
    assert bool(done.stderr) == bool(says)


def test_the_reader_has_left_before_the_first_word(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-m", "pellucid", "--help"], stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert done.returncode == 1
    assert done.stderr == b""
