"""The records of a finished training beside its scores: evaluation, worst mistakes, layers, classical baselines.

They are written after the weights and the scores, so that whatever interrupts them costs nothing that was learnt; and none of them may end
a training: where one fails, the user is told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.core.errors import PellucidError
from pellucid.core.language import Text, text
from pellucid.core.records import Score
from pellucid.core.results import Baselines, Evaluation, Forecasts, MaskPictures, PartEvaluation
from pellucid.core.system import Signals
from pellucid.training.assessment import evaluate_part, worst_mistakes
from pellucid.training.evaluation import outputs_of
from pellucid.training.forecasting.forecasts import forecasts_of
from pellucid.training.layers import network_table
from pellucid.training.masks.assessment import mask_pictures
from pellucid.training.metrics import primary_metric
from pellucid.training.progress import Progress
from pellucid.training.settings import Settings

# Below so many numbers in the training part threads win scikit-learn nothing, and beside other programs lose much (see cost.threads_for).
ONE_THREAD_ENTRIES = 2_000_000


@dataclass
class Results:
    """Computes and writes the records of one run. `part` is the part of which everything is told; its outputs and targets stand in its
    order, regression in the user's units."""

    directory: Any  # RunDirectory
    prepared: Any  # Prepared
    samples: Any  # Samples as they were read, or None
    settings: Settings
    progress: Progress
    part: str
    outputs: Tensor
    targets: Tensor
    network: nn.Module | None = None  # with the weights that were kept

    def write_evaluation(self, scores: Sequence[Score]) -> PartEvaluation | None:
        """records/evaluation.json and records/mistakes.json; gives the part's evaluation."""
        task, loss = self.prepared.task, self.settings.loss

        def evaluation() -> Evaluation:
            measured = evaluate_part(self.outputs, self.targets, task, scores, loss=loss, seed=self.settings.seed)
            return Evaluation(task=task.kind, primary=primary_metric(task), parts={self.part: measured})

        evaluated: Evaluation | None = self._computed(evaluation, text("the evaluation in detail"))
        self._write("evaluation", evaluated)
        if task.kind == "segmentation":
            self._write("masks", self._computed(self._mask_pictures, text("the pictures of masks")))
            return evaluated.parts[self.part] if evaluated is not None else None
        if task.kind == "forecasting":
            self._write("forecasts", self._computed(self._forecasts, text("the picture of the forecasts")))
            return evaluated.parts[self.part] if evaluated is not None else None
        mistakes = self._computed(
            lambda: worst_mistakes(
                self.outputs, self.targets, task, part=self.part, source=getattr(self.prepared, self.part), samples=self.samples,
                preprocessing=self.prepared.preprocessing, loss=loss,
            ),
            text("the list of the worst mistakes"),
        )  # fmt: skip
        self._write("mistakes", mistakes)
        return evaluated.parts[self.part] if evaluated is not None else None

    def _mask_pictures(self) -> MaskPictures:
        return mask_pictures(
            self.outputs, self.targets, self.prepared.task, part=self.part, source=getattr(self.prepared, self.part), samples=self.samples,
            preprocessing=self.prepared.preprocessing, seed=self.settings.seed,
        )  # fmt: skip

    def _forecasts(self) -> Forecasts:
        assert self.network is not None
        return forecasts_of(
            self.outputs, self.targets, self.prepared.task, part=self.part, source=getattr(self.prepared, self.part), samples=self.samples,
            preprocessing=self.prepared.preprocessing, network=self.network,
        )  # fmt: skip

    def write_network(self, network: nn.Module, inputs: Tensor) -> None:
        """records/network.json from one forward pass of a copy with the batch `inputs`."""
        self._write("network", self._computed(lambda: network_table(network, inputs), text("the table of layers")))

    def write_baselines(
        self,
        network: nn.Module,
        *,
        signals: Signals,
        seconds: float,
        threads: int,
        device: torch.device,
        autocast: torch.dtype | None = None,
    ) -> Baselines | None:
        """records/baselines.json. A signal ends the calculation at once; then nothing is written and the caller ends the session."""

        def answer(batch: Tensor) -> Tensor:
            found = outputs_of(network, _Batch(batch), device=device, batch_size=len(batch), autocast=autocast)[0]
            return self.prepared.preprocessing.restore_targets(found) if self.prepared.task.numeric else found

        baselines: Baselines | None = None
        with signals.at_once():
            baselines = self._computed(lambda: self._compared(answer, seconds, threads), text("the comparison with classical models"))
        if baselines is not None and not signals.received:
            self._write("baselines", baselines)
        return baselines

    def _compared(self, answer: Callable[[Tensor], Tensor], seconds: float, threads: int) -> Baselines:
        task = self.prepared.task
        if self.part == "train":
            return Baselines(
                primary=primary_metric(task), part=self.part, samples=0, train_samples=len(self.targets), network=None, baselines=(),
                representation=text("none"), verdict=text("No part was held out, so the network was not compared with classical models."),
            )  # fmt: skip
        notes: list[Text] = []
        if self.part == "validation":
            notes.append(text("the validation part chose the network's weights, which favours the network a little"))
        if self.settings.class_weight is not None:
            notes.append(text("the class weights of the training do not apply to the classical models"))
        from threadpoolctl import threadpool_limits

        from pellucid.training.baselines import compare
        from pellucid.training.baselines.pixels import compare_masks
        from pellucid.training.forecasting.comparison import compare_forecasts

        if len(self.prepared.train) * math.prod(self.prepared.input_shape) < ONE_THREAD_ENTRIES:
            threads = 1
        with threadpool_limits(limits=threads):
            if task.kind == "segmentation":
                return compare_masks(
                    self.prepared, part=self.part, outputs=self.outputs, targets=self.targets, seconds=seconds, seed=self.settings.seed,
                    threads=threads, notes=notes, tell=self.progress.phase,
                )  # fmt: skip
            if task.kind == "forecasting":
                return compare_forecasts(
                    self.prepared, part=self.part, outputs=self.outputs, targets=self.targets, seed=self.settings.seed, notes=notes,
                    tell=self.progress.phase,
                )  # fmt: skip
            return compare(
                self.prepared, part=self.part, outputs=self.outputs, targets=self.targets, answer=answer, loss=self.settings.loss,
                seconds=seconds, seed=self.settings.seed, threads=threads, notes=notes, tell=self.progress.phase,
            )  # fmt: skip

    def _computed(self, compute: Callable[[], Any], what: Text) -> Any:
        """What `compute` gives; None where it fails, and the user is told."""
        try:
            return compute()
        except PellucidError:
            raise
        except Exception as error:
            reason = str(error).strip().split("\n")[0]
            self.progress.notice(text("{what} is missing: {type}: {reason}", what=what, type=type(error).__name__, reason=reason))
            return None

    def _write(self, name: str, record: Any) -> None:
        if record is not None:
            self.directory.write_record(name, record)


@dataclass
class _Batch:
    """One batch of inputs as a part."""

    inputs: Tensor

    def batches(self, batch_size: int) -> Any:
        yield self.inputs, torch.zeros(len(self.inputs))
