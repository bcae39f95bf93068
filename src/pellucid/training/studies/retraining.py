"""The same training once more: from fewer samples, with another seed, with other options. Nothing of it is kept but its scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np

from pellucid import data
from pellucid.core.errors import DataError
from pellucid.core.language import Text, text
from pellucid.core.system import Signals
from pellucid.core.wording import duration
from pellucid.data.kinds import preprocessing_kind_of
from pellucid.data.ledger import Ledger
from pellucid.data.samples import Prepared, Samples
from pellucid.data.splitting import LEFT_OUT, TRAIN
from pellucid.runs.in_memory import RunInMemory
from pellucid.training.construction import choose_device
from pellucid.training.cost import thread_count
from pellucid.training.fit import plan
from pellucid.training.loop import load_weights
from pellucid.training.metrics import METRICS, primary_metric
from pellucid.training.progress import Progress
from pellucid.training.randomness import own_random_state
from pellucid.training.session import Session, measure

LETTERS = {TRAIN: "t", LEFT_OUT: "-"}
Tell = Callable[[Text], None]


@dataclass
class Retraining:
    """What is to be trained again: the samples as they were read, how they were split, every option, and the network that was chosen."""

    samples: Samples
    ledger: Ledger
    options: Mapping[str, Any]  # resolved
    tell: Tell
    total: int = 0  # trainings planned
    done: int = 0
    seconds: float = 0.0

    @classmethod
    def of(cls, samples: Samples, prepared: Prepared, resolved: Mapping[str, Any], network: Mapping[str, Any], tell: Tell) -> Retraining:
        """The `network` (what run.json says of it) stays the one that was chosen for all of the data, also where fewer would have got
        another.

        Raises:
            DataError: samples that cannot be chosen from.
        """
        reason = preprocessing_kind_of(samples.kind).indivisible(samples)
        if reason is not None:
            raise DataError(reason, text("samples that can be chosen one by one"), text("give a Dataset instead of the DataLoader"))
        options = dict(resolved)
        if not network["custom"]:
            drawn = {*prepared.facts, "mirrored"}  # what build_network takes from the data and the settings
            kept = {name: value for name, value in network["options"].items() if name not in drawn}
            options |= {"network": network["name"], "network_options": {**kept, **(resolved["network_options"] or {})}}
        return cls(samples, prepared.ledger, options, tell)

    @property
    def metric(self) -> str:
        assert self.samples.task is not None
        return primary_metric(self.samples.task)

    @property
    def higher_is_better(self) -> bool:
        return METRICS[self.metric].higher_is_better

    @property
    def part(self) -> str:
        """The part that has the last word: test, or validation where nothing else is held out; train where nothing is."""
        sizes = self.ledger.sizes()
        return next((part for part in ("test", "validation") if sizes[part]), "train")

    def scores(self, seed: int, *, keep: np.ndarray | None = None, changed: Mapping[str, Any] | None = None) -> dict[str, float]:
        """Part -> the primary metric, after training with `seed`; from the samples at positions `keep` alone, with `changed` options.

        Raises: as `fit`.
        """
        begun = perf_counter()
        left = text("; about {time} left", time=duration(self.seconds / self.done * (self.total - self.done))) if self.done else ""
        self.tell(text("{done} of {total} trainings{left}", done=self.done, total=self.total, left=left))
        resolved = {**self.options, **(changed or {}), "seed": seed}
        ledger = self.ledger if keep is None else replace(self.ledger, parts=self._letters(keep))
        prepared = data.prepare(self.samples, ledger=ledger)
        device = choose_device(resolved["device"])
        settings, chosen = plan(prepared, resolved, device)
        session = Session(
            directory=RunInMemory(), prepared=prepared, settings=settings, network=chosen.network,
            network_name=chosen.description["name"], device=device, progress=Progress(), name=self.samples.name,
        )  # fmt: skip
        with own_random_state(settings.seed), thread_count(settings.threads), Signals() as signals:
            loop, settings = session.learn(signals)
            load_weights(chosen.network, loop.best.weights)
            measured = {
                part: {score.name: score.value for score in measure(chosen.network, samples, prepared, settings.loss, device=device,
                                                                    autocast=loop.autocast, intervals=False)}
                for part in ("train", "validation", "test")
                if len(samples := getattr(prepared, part))
            }  # fmt: skip
        self.done, self.seconds = self.done + 1, self.seconds + perf_counter() - begun
        return {part: found[self.metric] for part, found in measured.items() if self.metric in found}

    def _letters(self, keep: np.ndarray) -> str:
        letters = np.array(list(self.ledger.parts))
        letters[self.ledger.codes == TRAIN] = LETTERS[LEFT_OUT]
        letters[keep] = LETTERS[TRAIN]
        return "".join(letters.tolist())
