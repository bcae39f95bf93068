"""Keep a finished and an interrupted run of the present format under tests/formats/: python tools/keep_format.py

Done once for each released format, and never again for the same one: later versions must read what this one wrote.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pellucid.training.fit import train
from pellucid.training.progress import Progress

ROOT = Path(__file__).resolve().parents[1] / "tests" / "formats"
FORMAT = 1
OPTIONS: dict[str, Any] = {"network": "mlp", "network_options": {"hidden": (8,)}, "epochs": 6, "checkpoint_interval": 0.0}


class Copier(Progress):
    """Copies the run's directory after the third epoch, as a kill would leave it."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def started(self, directory: Path) -> None:
        self.directory = directory

    def epoch(self, row: Mapping[str, Any]) -> None:
        if row["epoch"] == 3:
            shutil.copytree(self.directory, self.target, ignore=shutil.ignore_patterns(".lock"))


def main() -> None:
    target = ROOT / str(FORMAT)
    if target.exists():
        raise SystemExit(f"{target} exists: a kept format is never written again")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        run = train("iris", None, OPTIONS, Copier(target / "interrupted"))
        shutil.copytree(run.directory, target / "finished", ignore=shutil.ignore_patterns(".lock", "checkpoint-*"))
    for path in target.glob("*/run.json"):  # what only tells of the machine that made it
        record = json.loads(path.read_text(encoding="utf-8"))
        record["environment"].update(platform="Linux", cpu="unknown")
        path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
