"""Findings are said once each, when they are found, beside the program's own output."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING

import torch

from pellucid.core.language import text
from pellucid.core.records import Finding
from pellucid.diagnosis.causes import examine
from pellucid.diagnosis.watch.sampling import EARLY

if TYPE_CHECKING:
    from pellucid.diagnosis.watch.recorder import Recorder

INTERVAL = 5.0  # seconds between announcements, after the first looks
MOST = 24  # findings announced by one watcher


class Announcer:
    """Prints new findings to standard error, in the user's language, and never raises."""

    def __init__(self) -> None:
        self._said: set[tuple[str, str | None, str]] = set()
        self._next = 0.0

    def judged(self, recorder: Recorder) -> None:
        """Look for symptoms and say what is new."""
        if _not_first_process() or len(self._said) >= MOST:
            return
        now = time.perf_counter()
        if now < self._next and recorder.step > EARLY and not recorder.closed:
            return
        new = [finding for finding in examine(recorder.observations()) if finding.level != "good" and self._key(finding) not in self._said]
        for finding in new[: MOST - len(self._said)]:
            self._said.add(self._key(finding))
            said = text("Pellucid, step {step}: {summary}", step=recorder.step, summary=finding.summary)
            self._print(str(said))
            if finding.remedy is not None:
                self._print("  " + str(text("What to do: {what}", what=finding.remedy)))
        if new:
            self._next = now + INTERVAL

    def forgotten(self) -> None:
        self._print(str(text("Pellucid: this watcher was not kept, and watches nothing. Write watcher = pellucid.watch(model).")))

    @staticmethod
    def _key(finding: Finding) -> tuple[str, str | None, str]:
        return finding.symptom, finding.where, finding.level

    @staticmethod
    def _print(line: str) -> None:
        stream = sys.stderr
        if stream is None:
            return
        with contextlib.suppress(OSError, ValueError):
            encoding = getattr(stream, "encoding", None) or "utf-8"
            stream.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
            stream.flush()


def _not_first_process() -> bool:
    """Of several processes that train together one speaks."""
    distributed = torch.distributed
    return distributed.is_available() and distributed.is_initialized() and distributed.get_rank() != 0
