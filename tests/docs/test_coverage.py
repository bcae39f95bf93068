"""Every row of docs/coverage.md that names a command: the command works and reproduces the figures of the row, in both languages."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from coverage_table import NOT_YET, ROOT, Figure, Row, figures, rows

ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}  # many tests may run beside this one
ENGLISH = rows("en")
SUBJECTS = """perceptron, multilayer, forward prop, activation, error, cross-entropy, back-propagation, update, momentum, l1, l2, dropout
augmentation, overfitting, underfitting, convolution, pooling, cnn, fcn, rnn, lstm, gru, attention, numpy program, cifar-10 program
sentiment, translation, dialogue, speech, recognition, video, driving, genome, protein, drug, medical, finance, data, privacy, cost
interpretability, shap, decision tree, svm, random forest"""


def test_both_languages_have_the_same_rows_commands_and_figures() -> None:
    chinese = rows("zh")
    assert [(row.command, row.figures) for row in chinese] == [(row.command, row.figures) for row in ENGLISH]
    for one, other in zip(ENGLISH, chinese, strict=True):
        assert _latin(one.subject) & _latin(other.subject) or not _latin(other.subject), (one.subject, other.subject)


def _latin(subject: str) -> set[str]:
    return {word.lower() for word in re.findall("[A-Za-z][A-Za-z0-9-]+", subject)}


def test_every_subject_of_the_introductions_has_a_row() -> None:
    subjects = " ".join(row.subject.lower() for row in ENGLISH)
    for subject in SUBJECTS.replace("\n", ", ").split(", "):
        assert subject in subjects, subject


@pytest.mark.parametrize("language", ["en", "zh"])
def test_rows_without_a_command_state_nothing(language: str) -> None:
    for row in rows(language):
        if row.command is None:
            assert row.result == NOT_YET[language], row.subject
        else:
            assert row.figures, row.subject


def test_a_figure_nobody_could_check_is_refused() -> None:
    assert figures("test accuracy 0.95 ± 0.02; 1,234 parameters", "en") == (
        Figure("test.accuracy", 0.95, 0.02),
        Figure("cost.parameters", 1234.0),
    )
    with pytest.raises(ValueError, match="very good"):
        figures("test accuracy 0.95 ± 0.02; very good", "en")


def answer_of(command: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Run one command and give what its figures are read from."""
    program, *arguments = shlex.split(command)
    if program == "python":
        done = subprocess.run(
            [sys.executable, ROOT / arguments[0], *arguments[1:]],
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
            env=ONE_THREAD,
        )
        assert done.returncode == 0, done.stderr
        accuracies = [float(number) for number in re.findall(r"test accuracy (\d\.\d+)", done.stdout)]
        table = [float(number) for number in re.findall(r"(\d\.\d+)$", done.stdout, flags=re.MULTILINE)]
        error = re.search(r"largest gradient error (\d\.\de-\d+)", done.stdout)
        loss = re.search(r"final loss (\d\.\d+)", done.stdout)
        equal = re.search(r"all (\d+) tensors equal .*: True", done.stdout)
        return {
            "metrics": {"test": {"accuracy": accuracies[0] if accuracies else None}},
            "best": {"accuracy": max(table, default=None)},
            "equal": int(equal[1]) if equal else None,
            "gradient_error": float(error[1]) if error else None,
            "final_loss": float(loss[1]) if loss else None,
        }
    from pellucid.cli.main import run

    assert run([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def measured(answer: dict[str, Any], name: str) -> Any:
    if name in ("test.accuracy", "test.r2"):
        return answer["metrics"]["test"][name.removeprefix("test.")]
    if name.startswith(("cost.", "best.")):
        part, _, key = name.partition(".")
        return answer[part][key]
    if name == "epochs":
        return answer["cost"]["epochs"]
    return answer[name]


SLOW = ("pellucid fit digits", "python examples/exact_resume.py")  # the demonstration itself; three processes, one after the other
COMMANDS = [pytest.param(row, id=row.subject, marks=[pytest.mark.slow] if row.command in SLOW else []) for row in ENGLISH if row.command]


@pytest.mark.parametrize("row", COMMANDS)
def test_the_command_reproduces_its_figures(row: Row, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert row.command is not None
    answer = answer_of(row.command, capsys)
    for figure in row.figures:
        if figure.name == "finding":
            seen = [finding["symptom"] for finding in answer["findings"] if finding["level"] != "good"]
            assert figure.value in seen
        elif figure.name in ("epochs", "gradient_error", "final_loss"):
            assert measured(answer, figure.name) <= figure.value
        else:
            assert measured(answer, figure.name) == pytest.approx(figure.value, abs=figure.spread), row.command
