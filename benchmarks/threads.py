"""What a second thread is worth for one training step, on a machine to itself and beside another busy program.

    python benchmarks/threads.py [--steps 300] [--rounds 5]

A step is forward, loss, backward and an update by fused AdamW. Every measurement is a process of its own, because a thread pool keeps
its size; "beside a busy program" means that a second process multiplies matrices with one thread per core meanwhile. Medians of rounds in
random order. `pellucid.training.cost.ONE_THREAD_FLOPS` is where training changes from one thread to all.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from statistics import median
from typing import Any

from measurement import report

BUSY = """
import os, torch
parent, a = os.getppid(), torch.randn(1500, 1500)
print("busy", flush=True)
while os.getppid() == parent:  # not longer than the one for whom it is busy
    a @ a
"""


def network_of(name: str) -> tuple[Any, Any, Any]:
    """(network, inputs, targets) of one step."""
    import torch

    from pellucid.networks import registry

    if name == "MLP":
        network = registry.build("mlp", input_shape=(64,), outputs=10, activation="relu", dropout=0.0, options={})
        return network, torch.randn(64, 64), torch.randint(0, 10, (64,))
    size, batch = {"small CNN": (8, 64), "CNN of 28 x 28": (28, 64)}[name]
    network = registry.build("cnn", input_shape=(1, size, size), outputs=10, activation="relu", dropout=0.0, options={})
    return network, torch.randn(batch, 1, size, size), torch.randint(0, 10, (batch,))


CASES = ("MLP", "small CNN", "CNN of 28 x 28")


def operations(name: str) -> float:
    """Floating-point operations of one step."""
    from pellucid.training.cost import flops_per_sample

    network, inputs, _ = network_of(name)
    return (flops_per_sample(network, inputs[:2]) or 0.0) * len(inputs)


def step_milliseconds(name: str, steps: int) -> float:
    """In this process, with the number of threads that it has."""
    import torch

    network, inputs, targets = network_of(name)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    times = []
    for step in range(steps + 10):
        start = time.perf_counter()
        torch.nn.functional.cross_entropy(network(inputs), targets).backward()
        optimizer.step()
        optimizer.zero_grad()
        if step >= 10:
            times.append(time.perf_counter() - start)
    return 1000 * sum(times) / len(times)


def measured(name: str, threads: int, steps: int) -> float:
    """The same in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, __file__, "--measure", name, "--steps", str(steps)]
    return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(step_milliseconds(arguments.measure, arguments.steps))
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    many = max(2, cores)
    times: dict[tuple[str, int, bool], list[float]] = {}
    drawn = random.Random(0)
    for _ in range(arguments.rounds):
        for busy in drawn.sample([False, True], 2):
            environment = {**os.environ, "OMP_NUM_THREADS": str(cores)}
            other = subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE, env=environment) if busy else None
            try:
                if other is not None and other.stdout is not None:
                    other.stdout.readline()
                cases = [(name, threads) for name in CASES for threads in (1, many)]
                for name, threads in drawn.sample(cases, len(cases)):
                    times.setdefault((name, threads, busy), []).append(measured(name, threads, arguments.steps))
            finally:
                if other is not None:
                    other.kill()
                    other.wait()
    rows = [
        {
            "step": name,
            "operations": f"{operations(name):.1e}",
            "beside": "a busy program" if busy else "nothing",
            "1 thread (ms)": _spread(times[name, 1, busy]),
            f"{many} threads (ms)": _spread(times[name, many, busy]),
            "ratio": f"{median(times[name, many, busy]) / median(times[name, 1, busy]):.2f}",
        }
        for name in CASES
        for busy in (False, True)
    ]
    details = {f"{name}, {threads} threads, {'busy' if busy else 'quiet'}": values for (name, threads, busy), values in times.items()}
    report("threads", rows, {"steps": arguments.steps, "rounds": arguments.rounds, "milliseconds": details})
    return 0


def _spread(values: list[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    raise SystemExit(main())
