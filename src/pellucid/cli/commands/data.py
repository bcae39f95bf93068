"""`pellucid data`: what is seen in the data before any training."""

from __future__ import annotations

from pellucid.cli.command import EMBEDDED, Command, GroupedOption, NamedArgument
from pellucid.cli.parameters import TableOption
from pellucid.cli.session import Session
from pellucid.core.language import text
from pellucid.core.options import BY_NAME


def _data(
    session: Session, source: str, target: str | None, task: str | None, group: str | None, time: str | None, header: bool | None,
    data_dir: str | None,
) -> None:  # fmt: skip
    kind: str = BY_NAME["task"].check("auto" if task is None else task)

    from pellucid import data
    from pellucid.cli.description import show_description
    from pellucid.cli.progress import TerminalProgress

    progress = TerminalProgress(session.err)
    try:
        samples = data.read(
            source, target, task=kind, group=group, time=time, header=header is not False, data_dir=data_dir, tell=progress.waiting
        )
    finally:
        progress.close()
    description = data.describe(samples)
    if session.json:
        session.write_json(description.to_dict())
    else:
        show_description(session.out, description)


command = Command(
    "data",
    _data,
    [
        NamedArgument(
            "source",
            value=text("DATA"),
            says=text("a table, time series (.ts), a folder, or the name of a built-in data set: {names}", names=list(EMBEDDED)),
        ),
        GroupedOption(
            "--target",
            says=text("the column to learn, by name or by number (0 is the first, -1 the last); several with commas"),
            group="task",
            value=text("COLUMN"),
        ),
        TableOption(BY_NAME["task"]),
        TableOption(BY_NAME["group"]),
        TableOption(BY_NAME["time"]),
        TableOption(BY_NAME["header"]),
        TableOption(BY_NAME["data_dir"]),
    ],
    word="查看数据",
    short=text("what the data look like before training"),
    about=text(
        "Shows what would be learnt from: samples, kinds of columns, missing values, how the classes are spread, duplicates, and columns "
        "that look suspicious, such as an identifier or a copy of the target."
    ),
    examples=(
        ("pellucid data digits", text("a built-in data set")),
        ("pellucid data adult.csv --target income", text("a table")),
    ),
)  # fmt: skip
