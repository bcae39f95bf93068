"""Kill a training in the middle, go on, and compare with a training that was never interrupted: the weights are equal, byte for byte.

python examples/exact_resume.py
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import torch

import pellucid

OPTIONS = {"network": "mlp", "epochs": 25, "learning_rate": 0.003, "seed": 7, "checkpoint_interval": 0.0}


def main() -> None:
    whole = pellucid.fit("digits", **OPTIONS, directory="runs/whole")

    # The same training in a process of its own, killed without warning once it has written some epochs.
    program = f"import pellucid; pellucid.fit('digits', **{OPTIONS!r}, directory='runs/killed')"
    process = subprocess.Popen([sys.executable, "-c", program])
    while process.poll() is None and epochs_written() < 5:
        time.sleep(0.002)
    process.kill()
    process.wait()
    [folder] = Path("runs/killed").iterdir()
    print(f"killed after {epochs_written()} of 25 epochs; the run is {pellucid.load(folder).status}")

    resumed = pellucid.load(folder).resume()
    ours, theirs = resumed.model.state_dict(), whole.model.state_dict()
    same = all(torch.equal(ours[name], theirs[name]) for name in theirs)
    print(f"resumed to {len(resumed.history)} epochs; all {len(theirs)} tensors equal to those never interrupted: {same}")


def epochs_written() -> int:
    files = list(Path("runs/killed").glob("*/metrics.jsonl"))
    return files[0].read_bytes().count(b"\n") if files else 0


if __name__ == "__main__":
    main()
