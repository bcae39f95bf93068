"""`pellucid diagnose`: why a training does worse than it could, with evidence, and remedies that are proved by training again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pellucid.cli.command import Command, GroupedOption, NamedArgument
from pellucid.cli.layout import shorten
from pellucid.cli.output_files import checked_output, made_ready
from pellucid.cli.session import Session
from pellucid.core.errors import PellucidError
from pellucid.core.language import Text, text

if TYPE_CHECKING:
    from pellucid.core.records import Verification
    from pellucid.diagnosis.diagnose import Diagnosis

PROVED = 3  # remedies, those of the first findings that have one


def _diagnose(session: Session, run: str, budget: str, verify: bool, output: str | None) -> None:
    file = checked_output(output, (".html",))

    from pellucid.cli.progress import TerminalProgress
    from pellucid.diagnosis.diagnose import diagnose
    from pellucid.diagnosis.report import Report, write
    from pellucid.training.experiment import left_out
    from pellucid.training.run import load

    progress = TerminalProgress(session.err)
    proofs: dict[int, Verification] = {}
    try:
        progress.waiting(text("reading the run and its data"))
        trained = load(run)
        found = diagnose(trained, budget, tell=lambda said: progress.waiting(_fitting(session, said)))
        found.left_out = (*left_out(trained), *found.left_out)
        if verify:
            proofs = _proved(session, found, budget, progress)
    finally:
        progress.close()
    if file is not None:
        write(made_ready(file), found, proofs)
    if session.json:
        session.write_json(_answer(run, output, found, proofs))
        return
    for line in Report(found, proofs).lines():
        indent = len(line) - len(line.lstrip(" "))
        session.out.prose(line.strip(), first=" " * indent, rest=" " * (indent + 2)) if line.strip() else session.out.line("")
    if output is not None:
        session.out.line("")
        session.out.prose(str(text("all of it, with curves: {path}", path=output)))


def _fitting(session: Session, said: Text) -> Text:
    """What is being done, on one line of a terminal, so that the next line can replace it."""
    return text("{sentence}", sentence=shorten(str(said), session.err.columns - 5)) if session.err.live else said


def _proved(session: Session, found: Diagnosis, budget: str, progress: Any) -> dict[int, Verification]:
    """The remedies of the first findings, trained again from several seeds, within the budget once more."""
    from pellucid.diagnosis.causes import titled
    from pellucid.diagnosis.experiments.verification import BUDGET
    from pellucid.diagnosis.report import name_of

    chosen = [place for place, finding in enumerate(found) if finding.change is not None and finding.level != "good"][:PROVED]
    proofs: dict[int, Verification] = {}
    seconds = BUDGET.check(budget)
    for place in chosen:
        cause = titled(name_of(found[place]))
        said = text("proving the remedy of {cause}", cause=cause)
        progress.waiting(_fitting(session, said))
        try:
            proofs[place] = found[place].verify(budget=seconds / len(chosen))
        except PellucidError as error:
            session.tell(text("{cause}: {reason}", cause=cause, reason=str(error.got)))
    return proofs


def _answer(run: str, output: str | None, found: Diagnosis, proofs: dict[int, Verification]) -> dict[str, Any]:
    """What --json prints: sentences in the user's language, numbers beside them."""
    return {
        "run": run,
        "output": output,
        "findings": [
            {
                **finding.to_dict(), "summary": str(finding.summary), "remedy": None if finding.remedy is None else str(finding.remedy),
                "verification": {**proofs[place].to_dict(), "summary": str(proofs[place].summary)} if place in proofs else None,
            }
            for place, finding in enumerate(found)
        ],
        "left_out": [str(note) for note in found.left_out],
        "seconds": found.seconds,
    }  # fmt: skip


command = Command(
    "diagnose",
    _diagnose,
    [
        NamedArgument("run", value=text("RUN"), says=text("the folder of a run")),
        GroupedOption(
            "--budget", default="60s", value=text("TIME"), group="run",
            says=text("how long the diagnosis may take, for example 60s or 5min (default: 60s); --verify takes as long once more"),
        ),
        GroupedOption(
            "--verify", is_flag=True, group="run", says=text("prove the remedies: train with and without each, from three seeds or more")
        ),
        GroupedOption("--output", value=text("FILE.html"), group="run", says=text("write a page with all evidence to this file")),
    ],
    word="诊断",
    short=text("say why a training fails, and prove the remedy"),
    about=text(
        "Reads the data of RUN again, looks at the program, the data and the training while it runs once more, and tries by short "
        "trainings what a good engineer would try. Each finding says its cause, its place, its numbers and what to do; --verify trains "
        "with and without the remedies and says whether they help. Nothing of the run is changed."
    ),
    examples=(
        ("pellucid diagnose runs/iris-mlp", text("in the terminal, within a minute")),
        ("pellucid diagnose runs/iris-mlp --verify --budget 5min", text("with proofs")),
    ),
)  # fmt: skip
