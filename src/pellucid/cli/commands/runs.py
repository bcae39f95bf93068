"""`pellucid runs`: the trainings in a folder."""

from __future__ import annotations

from pellucid.cli.command import Command, GroupedOption, NamedArgument
from pellucid.cli.session import Session
from pellucid.core.errors import OptionError
from pellucid.core.language import text


def _runs(
    session: Session,
    folders: tuple[str, ...],
    compare: bool,
    task: str | None,
    network: str | None,
    status: str | None,
    where: tuple[str, ...],
) -> None:
    from pellucid.cli import listing

    if compare:
        if len(folders) < 2:
            raise OptionError(
                text("{count} runs are named to compare", count=len(folders)),
                text("two or more"),
                text("for example: pellucid runs --compare runs/iris-mlp runs/iris-logistic"),
            )
        listing.compare(session, folders)
        return
    if len(folders) > 1:
        raise OptionError(
            text("{count} folders are named", count=len(folders)),
            text("one folder with runs in it"),
            text("to compare runs, add --compare"),
        )
    listing.show(session, folders[0] if folders else "runs", task=task, network=network, status=status, where=where)


command = Command(
    "runs",
    _runs,
    [
        NamedArgument(
            "folders",
            required=False,
            nargs=-1,
            value=text("FOLDER"),
            says=text("the folder that holds the runs (default: runs); with --compare, two or more runs"),
        ),
        GroupedOption("--compare", is_flag=True, says=text("show in what two or more runs differ: configuration and metrics"), group="run"),
        GroupedOption("--task", says=text("only runs of this task: classification, regression"), group="run", value=text("NAME")),
        GroupedOption("--network", says=text("only runs of this network"), group="run", value=text("NAME")),
        GroupedOption(
            "--status",
            says=text("only runs in this state: finished, running, stopped, started, unreadable"),
            group="run",
            value=text("NAME"),
        ),
        GroupedOption(
            "--where",
            multiple=True,
            says=text("only runs for which this holds, for example accuracy>0.9 or batch_size=32; may be repeated"),
            group="run",
            value=text("CONDITION"),
        ),
    ],
    word="训练记录",
    short=text("list, filter and compare runs"),
    about=text("Lists the runs in a folder, the latest first."),
    examples=(
        ("pellucid runs", text("those in runs/")),
        ('pellucid runs --where "accuracy>0.9"', text("the good ones")),
        ("pellucid runs --compare runs/iris-mlp runs/iris-logistic", text("side by side")),
    ),
)
