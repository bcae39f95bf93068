"""The studies that `fit` was asked for, after a training that is already finished and whole: none of them may spoil it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pellucid.core.errors import InputError
from pellucid.core.language import Text, text
from pellucid.core.records import Record
from pellucid.runs.directory import RunDirectory
from pellucid.training.progress import Progress
from pellucid.training.run import Run
from pellucid.training.settings import Settings
from pellucid.training.studies.learning_curve import learning_curve
from pellucid.training.studies.remedies import try_remedies
from pellucid.training.studies.retraining import Retraining

CURVE, REMEDIES = text("learning curve"), text("remedies")


def study(
    run: Run, samples: Any, prepared: Any, resolved: Mapping[str, Any], settings: Settings, network: Mapping[str, Any],
    progress: Progress,
) -> None:  # fmt: skip
    """Write records/learning_curve.json and records/remedies.json, as far as they were asked for, and draw the report again."""

    def again(name: Text) -> Retraining:
        def tell(where: Text) -> None:
            progress.waiting(text("{name}: {where}", name=name, where=where))

        return Retraining.of(samples, prepared, resolved, network, tell)

    directory = RunDirectory.open(run.directory)
    asked: list[tuple[str, Text, Callable[[], Record]]] = []
    if resolved["learning_curve"]:
        asked.append(("learning_curve", CURVE, lambda: learning_curve(again(CURVE))))
    if resolved["remedy"]:
        asked.append(("remedies", REMEDIES, lambda: try_remedies(again(REMEDIES), settings, network)))
    for name, title, made in asked:
        try:
            directory.write_record(name, made())
        except InputError as error:  # the training is whole; why the study is not is said
            progress.notice(text("{name} is missing: {reason}", name=title, reason=str(error).replace("\n", "; ")))
    if asked and resolved["report"]:
        run.report()
