"""`pellucid predict`: what a trained network says about new samples."""

from __future__ import annotations

from pathlib import Path

from pellucid.cli.command import Command, GroupedOption, NamedArgument
from pellucid.cli.parameters import TableOption
from pellucid.cli.session import Session
from pellucid.core.errors import OptionError, did_you_mean
from pellucid.core.language import text
from pellucid.core.options import BY_NAME

FORMATS = (".csv", ".jsonl")


def _predict(session: Session, run: str, source: str, output: str | None, header: bool | None, data_dir: str | None) -> None:
    if output is not None and Path(output).suffix.lower() not in FORMATS:
        raise OptionError(
            text("the output file is {path!r}", path=output),
            text("a name that ends in one of: {endings}", endings=list(FORMATS)),
            did_you_mean(Path(output).suffix, FORMATS),
        )

    from pellucid.cli import predictions
    from pellucid.training.run import load

    answer = load(run).predict(source, header=header, data_dir=data_dir, tell=session.tell)
    predictions.tell_skipped(session.err, answer.skipped)
    predictions.tell_notices(session.err, answer.notices)
    if output is not None:
        predictions.write_file(answer, Path(output))
    if session.json:
        session.write_json(predictions.as_json(answer, output))
    elif output is not None:
        session.out.line(str(text("{count} predictions are in {path}", count=len(answer), path=output)))
    elif session.out.live:
        predictions.show_table(session.out, answer)
    else:
        predictions.write_csv(answer, session.out.stream)


command = Command(
    "predict",
    _predict,
    [
        NamedArgument("run", value=text("RUN"), says=text("the folder of a run")),
        NamedArgument(
            "source", value=text("DATA"), says=text("new samples: a table with the same columns, an image, or a folder of images")
        ),
        GroupedOption("--output", says=text("write the predictions to this file"), group="run", value=text("FILE.csv|.jsonl")),
        GroupedOption(
            "--header/--no-header", default=None,
            says=text("the table's first line holds the column names (default: as the run's own data)"), group="data",
        ),
        TableOption(BY_NAME["data_dir"]),
    ],
    word="预测",
    short=text("predict new samples with a trained network"),
    about=text(
        "Predicts each sample of DATA: the class and the probability of every class, or the value. In a terminal the first ones are shown "
        "as a table; in a pipe all of them are written as CSV."
    ),
    examples=(
        ("pellucid predict runs/adult-mlp new.csv", text("to look at")),
        ("pellucid predict runs/adult-mlp new.csv --output predictions.csv", text("to keep")),
    ),
)  # fmt: skip
