"""`pellucid fit`: train a network on the user's data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pellucid.cli.command import EMBEDDED, Command, GroupedOption, NamedArgument
from pellucid.cli.parameters import given_options, read_file, table_options
from pellucid.cli.session import Session
from pellucid.core.errors import OptionError
from pellucid.core.language import text


def _fit(session: Session, source: str | None, target: str | None, config: str | None, **values: Any) -> None:
    file = read_file(config)
    source = source if source is not None else file.get("data")
    if source is None:
        raise OptionError(
            text("no data are named"),
            text("a table (CSV, TSV, Parquet, JSON lines), time series (.ts), a folder of images or texts, or one of: {names}",
                 names=list(EMBEDDED)),
            text("for example: pellucid fit iris, or: pellucid fit table.csv --target COLUMN"),
        )  # fmt: skip
    sources = _parts(source, values)
    options = given_options(values, file)
    target = target if target is not None else file.get("target")

    from pellucid.cli.progress import TerminalProgress
    from pellucid.cli.results import fit_answer, show_result
    from pellucid.core.memory import keep_freed_memory

    keep_freed_memory()  # before torch takes any
    progress = TerminalProgress(session.err)
    progress.waiting(text("reading the data"))
    try:
        from pellucid.training.fit import train  # torch: a second or two, so only now that the arguments are right

        run = train(sources, target, options, progress, session.started)
    finally:
        progress.close()
    if session.json:
        session.write_json(fit_answer(run))
    else:
        show_result(session.out, run, notes=not session.out.ends_where(session.err))  # there they have been said


def _parts(source: str, values: dict[str, Any]) -> str | tuple[str, ...]:
    """The training data, beside the files that --test and --validation name, which are then no fractions any more.

    Raises:
        OptionError: a file for validation without one for test: a network is measured on samples that choose nothing.
    """
    files = {name: value for name in ("validation", "test") if isinstance(value := values.get(name), str) and Path(value).exists()}
    if not files:
        return source
    if "test" not in files:
        raise OptionError(
            text("--validation names a file, {path}, and --test does not", path=files["validation"]),
            text("a file for the test part, or for both parts"),
            text("give --test FILE; the validation part is then taken from the training data unless you give a file for it too"),
        )
    for name in files:
        del values[name]
    return (source, files["validation"], files["test"]) if "validation" in files else (source, files["test"])


command = Command(
    "fit",
    _fit,
    [
        NamedArgument(
            "source",
            required=False,
            value=text("DATA"),
            says=text(
                "a table (CSV, TSV, Parquet, JSON lines), time series (.ts), a folder with a subfolder of images or texts per class or "
                "with images and their masks, or the name of a built-in data set: {names}",
                names=list(EMBEDDED),
            ),
        ),
        GroupedOption(
            "--target",
            says=text("the column to learn, by name or by number (0 is the first, -1 the last); several with commas"),
            group="task",
            value=text("COLUMN"),
        ),
        *table_options(),
        GroupedOption(
            "--config", says=text("a TOML file with these options; what stands on the command line beats it"), value=text("FILE.toml")
        ),
    ],
    word="训练",
    short=text("train a network on tables, series, images or texts"),
    about=text(
        "Trains a network on DATA, measures it on a part that it has never seen, and keeps everything in a folder of its own, the run. "
        "What you leave out is chosen to suit the data, and said."
    ),
    examples=(
        ("pellucid fit digits", text("a built-in data set")),
        ("pellucid fit adult.csv --target income", text("a table")),
        ("pellucid fit photos/ --epochs 20", text("a folder per class")),
        ("pellucid fit Vowels_TRAIN.ts", text("time series, with Vowels_TEST.ts beside them")),
    ),
)  # fmt: skip
