"""`pellucid evaluate`: how well a trained network does on other data with known answers."""

from __future__ import annotations

from pellucid.cli.command import Command, GroupedOption, NamedArgument
from pellucid.cli.parameters import TableOption
from pellucid.cli.session import Session
from pellucid.core.language import text
from pellucid.core.options import BY_NAME


def _evaluate(session: Session, run: str, source: str, header: bool | None, data_dir: str | None) -> None:
    from pellucid.cli import predictions, results
    from pellucid.training.run import load

    trained = load(run)
    evaluation = trained.evaluate(source, header=header, data_dir=data_dir, tell=session.tell)
    predictions.tell_skipped(session.err, evaluation.skipped)
    predictions.tell_notices(session.err, evaluation.notices)
    if session.json:
        answer = {**evaluation.to_dict(), "notices": results.notice_rows(evaluation.notices)}
        session.write_json({"run": str(trained.directory), "metrics": evaluation.metrics, **answer})
    else:
        results.show_evaluation(session.out, evaluation)


command = Command(
    "evaluate",
    _evaluate,
    [
        NamedArgument("run", value=text("RUN"), says=text("the folder of a run")),
        NamedArgument(
            "source", value=text("DATA"), says=text("samples with known answers: a table with the target's column, or a folder per class")
        ),
        GroupedOption(
            "--header/--no-header", default=None,
            says=text("the table's first line holds the column names (default: as the run's own data)"), group="data",
        ),
        TableOption(BY_NAME["data_dir"]),
    ],
    word="评估",
    short=text("measure a trained network on other data with known answers"),
    about=text("Measures the network on every sample of DATA and gives each metric with its 95 % interval."),
    examples=(("pellucid evaluate runs/adult-mlp adult-2025.csv", text("a later year's data")),),
)  # fmt: skip
