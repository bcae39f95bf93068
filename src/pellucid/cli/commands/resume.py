"""`pellucid resume`: go on with an interrupted training."""

from __future__ import annotations

from pellucid.cli.command import Command, NamedArgument
from pellucid.cli.session import Session
from pellucid.core.language import text


def _resume(session: Session, run: str) -> None:
    from pellucid.cli.progress import TerminalProgress
    from pellucid.cli.results import fit_answer, show_result
    from pellucid.core.memory import keep_freed_memory

    keep_freed_memory()  # before torch takes any
    progress = TerminalProgress(session.err)
    progress.waiting(text("reading the data"))
    try:
        from pellucid.training.run import load

        finished = load(run).resume(progress=progress, started=session.started)
    finally:
        progress.close()
    if session.json:
        session.write_json(fit_answer(finished))
    else:
        show_result(session.out, finished, notes=not (session.out.live and session.err.live))  # a terminal has the notes already


command = Command(
    "resume",
    _resume,
    [NamedArgument("run", value=text("RUN"), says=text("the folder of an interrupted training"))],
    word="续训",
    short=text("go on with an interrupted training"),
    about=text(
        "Goes on where the last checkpoint was written. On the same machine the result is the one of a training never interrupted, "
        "bit for bit."
    ),
    examples=(("pellucid resume runs/digits-cnn", text("as Ctrl-C has said")),),
)  # fmt: skip
