"""What a derivation costs: seconds and peak memory, beside a plain float64 pass and beside TorchLens with gradients.

    python benchmarks/derive_cost.py [--rounds 3] [--threads 2]

Four things on the same network, batch and loss, each in a process of its own, so that its peak memory is its own:

    forward and backward   float64, plain PyTorch: no equation, no intermediate value kept
    TorchLens              every operation's value and gradient kept, in the network's float32, where torchlens is installed
    derive                 every operation executed a second time in NumPy, every value and gradient compared in float64
    derive, again          the same in a process that has derived before: what the second call costs

Seconds are wall time of the call alone, after imports; of PyTorch and TorchLens the second call. Memory is the process's largest resident
set, imports included.
"""

from __future__ import annotations

import argparse
import copy
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from statistics import median
from typing import Any

from measurement import met, report, verdict

AIMS = {("2-4-1", "derive"): (0.05, None), ("residual CNN, 18 layers", "derive"): (30.0, 2e9)}  # seconds, bytes
ALTERNATIVES = ("forward and backward", "TorchLens", "derive", "derive, again")


def perceptron() -> tuple[Any, Any, Any]:
    import torch
    from torch import nn

    model = nn.Sequential(nn.Linear(2, 4), nn.Sigmoid(), nn.Linear(4, 1), nn.Sigmoid())
    return model, torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), torch.tensor([[0.0], [1.0], [1.0], [0.0]])


def lenet() -> tuple[Any, Any, Any]:
    import torch
    from torch import nn

    model = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
    )  # fmt: skip
    return model, torch.randn(8, 1, 28, 28), torch.randint(0, 10, (8,))


def residual() -> tuple[Any, Any, Any]:
    """He et al. 2016: a stem, four stages of two blocks with 64 to 512 channels, on CIFAR's 32 by 32 pixels."""
    import torch
    from torch import Tensor, nn

    class Block(nn.Module):
        def __init__(self, before: int, after: int, stride: int) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after)
            self.conv2, self.bn2 = nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after)
            self.shortcut = nn.Sequential()
            if stride != 1:
                self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

        def forward(self, x: Tensor) -> Tensor:
            inner = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
            return torch.relu(inner + self.shortcut(x))

    stages = [Block(max(64, width // 2) if first and width > 64 else width, width, 2 if first and width > 64 else 1)
              for width in (64, 128, 256, 512) for first in (True, False)]  # fmt: skip
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10)]
    model = nn.Sequential(nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(), *stages, *head)
    return model, torch.randn(4, 3, 32, 32), torch.randint(0, 10, (4,))


NETWORKS: dict[str, Callable[[], tuple[Any, Any, Any]]] = {
    "2-4-1": perceptron,
    "LeNet, 8 images": lenet,
    "residual CNN, 18 layers": residual,
}


def once(network: str, alternative: str, threads: int) -> dict[str, Any]:
    """One measurement, in this process."""
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model, x, y = NETWORKS[network]()
    loss = F.cross_entropy if y.dtype == torch.int64 else F.mse_loss
    details: dict[str, Any] = {}

    def plain() -> None:
        twin = copy.deepcopy(model).double()
        target = y.double() if y.is_floating_point() else y
        loss(twin(x.double()), target).backward()

    def torchlens() -> None:
        log = lens.trace(model, x.clone().requires_grad_(), capture=lens.options.CaptureOptions(save_grads=True))
        log.log_backward(loss(log[log.output_layers[0]].out, y))
        details["gradients"] = len([label for label in log.layer_labels if log[label].grad is not None])

    def derived() -> None:
        check = pellucid.derive(model, x, y, loss).check()
        details.update(passed=check.passed, worst_gradient=check.worst_gradient, without_equation=check.without_equation)

    run: Callable[[], None] = plain
    if alternative == "TorchLens":
        import torchlens as lens  # pyright: ignore[reportMissingImports]

        run = torchlens
    elif alternative.startswith("derive"):
        import pellucid
        import pellucid.derivation.derive

        run = derived
    if alternative != "derive":
        run()
    began = time.perf_counter()
    run()
    seconds = time.perf_counter() - began
    unit = 1 if sys.platform == "darwin" else 1024
    return {"seconds": seconds, "bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, **details}


def measured(network: str, alternative: str, threads: int) -> dict[str, Any]:
    """One measurement in a process of its own."""
    command = [sys.executable, __file__, "--child", network, alternative, "--threads", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{network}, {alternative}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--child", nargs=2, metavar=("NETWORK", "ALTERNATIVE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(once(*arguments.child, arguments.threads)))
        return 0
    alternatives = [name for name in ALTERNATIVES if name != "TorchLens" or find_spec("torchlens")]
    rows, details = [], {}
    for network in NETWORKS:
        found = {name: [measured(network, name, arguments.threads) for _ in range(arguments.rounds)] for name in alternatives}
        for name, measurements in found.items():
            seconds, memory = median(m["seconds"] for m in measurements), max(m["bytes"] for m in measurements)
            in_time, in_memory = AIMS.get((network, name), (None, None))
            aims = ([f"< {in_time:g} s"] if in_time else []) + ([f"< {in_memory / 1e9:g} GB"] if in_memory else [])
            reached = (in_time is None or seconds < in_time) and (in_memory is None or memory < in_memory)
            rows.append({
                "network": network, "what": name, "median (s)": f"{seconds:.3f}", "peak memory (GB)": f"{memory / 1e9:.2f}",
                "worst gradient error": f"{measurements[0]['worst_gradient']:.1e}" if "worst_gradient" in measurements[0] else "",
                "aim": ", ".join(aims), "met": met(reached) if aims else "",
            })  # fmt: skip
        details[network] = found
    report("derive_cost", rows, {"rounds": arguments.rounds, "threads": arguments.threads, "measurements": details})
    return verdict(rows)


if __name__ == "__main__":
    raise SystemExit(main())
