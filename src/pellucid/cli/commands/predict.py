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


def _predict(
    session: Session, run: str, source: str | None, words: str | None, output: str | None, header: bool | None, data_dir: str | None
) -> None:
    if (source is None) == (words is None):
        raise OptionError(
            text("there is nothing to predict") if source is None else text("a text and {other}", other=text("a file")),
            text("new data, or one text"),
            text('give DATA, a file or a folder, or --text "..."'),
        )
    table = output is None or Path(output).suffix.lower() in FORMATS
    if not table and Path(str(output)).suffix:
        raise _no_file(output)

    from pellucid.cli import predictions
    from pellucid.training.run import load

    trained = load(run)
    if not table and trained.task.kind != "segmentation":
        raise _no_file(output)
    if words is not None and "vocabulary" not in trained._preprocessing().to_dict():
        raise OptionError(
            text("the run {path} has not learnt from texts", path=run), text("data such as it has learnt from"), text("leave --text out")
        )
    answer = trained.predict([words] if words is not None else source, header=header, data_dir=data_dir, tell=session.tell)
    predictions.tell_skipped(session.err, answer.skipped)
    predictions.tell_notices(session.err, answer.notices)
    if output is not None and table:
        predictions.write_file(answer, Path(output))
    elif output is not None:
        answer.write_masks(output)
    if session.json:
        session.write_json(predictions.as_json(answer, output))
    elif output is not None:
        session.out.line(str(text("{count} predictions are in {path}", count=len(answer), path=output)))
    elif session.out.live:
        predictions.show_table(session.out, answer)
    else:
        predictions.write_csv(answer, session.out.stream)


def _no_file(output: str | None) -> OptionError:
    return OptionError(
        text("the output file is {path!r}", path=output),
        text("a name that ends in one of: {endings}; for predicted masks a folder", endings=list(FORMATS)),
        did_you_mean(Path(str(output)).suffix, FORMATS),
    )


command = Command(
    "predict",
    _predict,
    [
        NamedArgument("run", value=text("RUN"), says=text("the folder of a run")),
        NamedArgument(
            "source", value=text("DATA"), required=False,
            says=text("new samples: a table with the same columns, time series (.ts), an image or a text, or a folder of these"),
        ),
        GroupedOption(
            "--text", "words", value=text('"..."'), group="data", says=text("a text, for a run that has learnt from one column of texts")
        ),
        GroupedOption("--output", says=text("write the predictions to this file; masks into this folder"), group="run",
            value=text("FILE.csv|.jsonl|FOLDER"),),
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
        "as a table; in a pipe all of them are written as CSV. Masks are written into a folder, a PNG for each image, in its size; without "
        "a folder the share of each class is told."
    ),
    examples=(
        ("pellucid predict runs/adult-mlp new.csv", text("to look at")),
        ("pellucid predict runs/adult-mlp new.csv --output predictions.csv", text("to keep")),
        ("pellucid predict runs/streets-unet photos --output masks", text("a class for every pixel")),
    ),
)  # fmt: skip
