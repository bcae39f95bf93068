"""`pellucid report`: all that is known of a run as one page to hand on."""

from __future__ import annotations

from pellucid.cli.command import Command, GroupedOption, NamedArgument
from pellucid.cli.session import Session
from pellucid.core.language import text


def _report(session: Session, run: str, show: bool) -> None:
    from pellucid.report import write

    path = write(run).resolve()
    if session.json:
        session.write_json({"run": run, "report": str(path)})
    else:
        session.out.line(str(path))
    if show:
        import webbrowser

        if not webbrowser.open(path.as_uri()):
            session.err.line(str(text("no browser could be opened; the file is complete")))


command = Command(
    "report",
    _report,
    [
        NamedArgument("run", value=text("RUN"), says=text("the folder of a run")),
        GroupedOption("--open", "show", is_flag=True, says=text("show it in the browser"), group="run"),
    ],
    word="报告",
    short=text("draw the report of a run again: one HTML file in both languages"),
    about=text(
        "Draws report.html into RUN from its records alone: the answer first, then data, network, training curves, scores, mistakes, "
        "cost, a paragraph for a paper and all that is needed to reproduce it. One file, both languages, nothing fetched from elsewhere."
    ),
    examples=(
        ("pellucid report runs/iris-mlp", text("prints where it is")),
        ("pellucid report runs/iris-mlp --open", text("and shows it")),
    ),
)
