"""Every row of docs/coverage.md that names a command: the command works and reproduces the figures of the row, in both languages."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
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


def answer_of(row: Row, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Run the row's command, but for what the row states nothing about, and give what its figures are read from."""
    command = row.command
    assert command is not None
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
        share = re.search(r"columns that decide: (\d\.\d+)", done.stdout)
        losses = re.search(r"(\d+) losses equal bit for bit", done.stdout)
        equal = re.search(r"all (\d+) tensors equal .*: True", done.stdout)
        return {
            "metrics": {"test": {"accuracy": accuracies[0] if accuracies else None}},
            "best": {"accuracy": max(table, default=None)},
            "equal": int(equal[1]) if equal else None,
            "losses": int(losses[1]) if losses else None,
            "gradient_error": float(error[1]) if error else None,
            "final_loss": float(loss[1]) if loss else None,
            "share": float(share[1]) if share else None,
        }
    from pellucid.cli.main import run

    if arguments[0] == "fit":
        arguments.append("--no-report")
        if not any(figure.name.startswith(("models.", "conclusion")) for figure in row.figures):
            arguments.append("--no-baselines")
    assert run([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def measured(answer: dict[str, Any], name: str) -> Any:
    if name in ("test.accuracy", "test.r2"):
        return answer["metrics"]["test"][name.removeprefix("test.")]
    if name.startswith(("cost.", "best.")):
        part, _, key = name.partition(".")
        return answer[part][key]
    if name.startswith("models."):
        return answer["baselines"]["models"][name.removeprefix("models.")]
    if name == "conclusion":
        return answer["baselines"]["conclusion"]
    if name == "epochs":
        return answer["cost"]["epochs"]
    return answer[name]


SLOW = (
    "python examples/derive_networks.py cnn",
    "python examples/derive_networks.py mlp",
    "python examples/explain_a_prediction.py",
    "pellucid fit digits",  # the demonstration itself
    "python examples/compare_optimizers.py",
    "python examples/own_network.py",
    "python examples/own_dataset.py",
    "python examples/exact_resume.py",  # three processes, one after the other
    *(f"python examples/derive_networks.py {name}" for name in ("fcn", "rnn", "gru", "attention")),  # mlp and cnn stand for them
    "python examples/cifar10_pellucid.py --epochs 2",  # 200,000 images
)


def uses_shared_data(command: str) -> bool:
    return "cifar10" in command or ".csv" in command


COMMANDS = [
    pytest.param(
        row, id=row.subject,
        marks=[*([pytest.mark.slow] if row.command in SLOW else []), *([pytest.mark.shared_data] if uses_shared_data(row.command) else [])],
    )
    for row in ENGLISH if row.command and "examples/claims/" not in row.command
]  # fmt: skip
CLAIMS = [row for row in ENGLISH if row.command and "examples/claims/" in row.command]


def test_claims_are_what_their_scripts_have_found() -> None:
    """The scripts themselves are run by tests/examples/test_claims.py."""
    assert {Path(str(row.command).split()[1]).name for row in CLAIMS} == {
        f"{path.stem}.py" for path in (ROOT / "examples" / "claims" / "results").glob("*.json")
    }
    for row in CLAIMS:
        script = ROOT / str(row.command).split()[1]
        rows = json.loads((script.parent / "results" / f"{script.stem}.json").read_text(encoding="utf-8"))["rows"]
        shown = {cell["shown"] for cells in rows.values() for cell in cells.values()}
        assert {figure.value for figure in row.figures} <= shown, row.subject


@pytest.mark.parametrize("row", COMMANDS)
def test_the_command_reproduces_its_figures(
    row: Row, capsys: pytest.CaptureFixture[str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    assert row.command is not None
    for table in re.findall(r"\S+\.csv", row.command):
        shutil.copy(request.getfixturevalue("shared_data") / "tabular" / table, table)
    answer = answer_of(row, capsys)
    for figure in row.figures:
        if figure.name == "finding":
            seen = [finding["symptom"] for finding in answer["findings"] if finding["level"] != "good"]
            assert figure.value in seen
        elif figure.name == "conclusion":
            assert measured(answer, figure.name) == figure.value
        elif figure.name in ("epochs", "gradient_error", "final_loss"):
            assert measured(answer, figure.name) <= figure.value
        else:
            assert measured(answer, figure.name) == pytest.approx(figure.value, abs=figure.spread), row.command
