"""A loss that the user names: its hook sees targets whatever its graph shows, and the loss of evaluations, which have no graph."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pellucid.diagnosis.watch.attachment import Hook
from pellucid.diagnosis.watch.fingerprints import Fingerprints

if TYPE_CHECKING:
    from pellucid.diagnosis.watch.recorder import Recorder

PHASES = 256
CLASS_INDEX_LOSSES = (nn.CrossEntropyLoss, nn.NLLLoss, nn.MultiMarginLoss)


class LossModule:
    """The hook's state: evaluation phases, and the shapes of what was compared."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.recorder: Recorder | None = None
        self.kind = type(module).__name__
        self.orders = True  # batches are recognised by their targets
        self.shapes: tuple[tuple[int, ...], tuple[int, ...]] | None = None
        self.phases: deque[tuple[int, float, int]] = deque(maxlen=PHASES)
        self._sums: list[tuple[Tensor, int]] = []
        self._sum, self._samples = 0.0, 0
        self._handle: Any = None
        self._fingerprints = Fingerprints()

    def attach(self, recorder: Recorder) -> Callable[[], None]:
        self.recorder = recorder
        self._handle = self.module.register_forward_hook(_LossHook(self))

        def detach() -> None:
            if self._handle is not None:
                self._handle.remove()
                self._handle = None

        return detach

    def called(self, args: tuple[Any, ...], output: Any) -> None:
        recorder = self.recorder
        if recorder is None or len(args) < 2 or not isinstance(args[1], Tensor):
            self.orders = False
            return
        outputs, targets = args[0], args[1]
        samples = targets.shape[0] if targets.dim() else 1
        if not torch.is_grad_enabled():
            if isinstance(output, Tensor) and output.numel() == 1:
                self._sums.append((output.detach(), samples))
                if len(self._sums) >= 256:
                    self._read()
            return
        if isinstance(outputs, Tensor):
            self.shapes = tuple(outputs.shape), tuple(targets.shape)
        if self.orders:
            mark = self._fingerprints.of(targets)
            self.orders = mark is not None
            recorder.order.add(mark, "targets", recorder.forwards)
        look = recorder.look
        if look is not None:
            classes = isinstance(self.module, CLASS_INDEX_LOSSES) and not targets.is_floating_point()
            flat = targets.detach().reshape(-1)[:4096].to(torch.float32)
            look.readings.add(("targets", "classes" if classes else "values", targets.numel() == samples), flat)

    def _read(self) -> None:
        if not self._sums:
            return
        values = torch.stack([value.to(torch.float32).reshape(()) for value, _ in self._sums]).tolist()
        for value, (_, samples) in zip(values, self._sums, strict=True):
            self._sum += value * samples
            self._samples += samples
        self._sums.clear()

    def phase_ends(self, step: int) -> None:
        """Training goes on, or ends: the mean over the evaluation's samples."""
        self._read()
        if self._samples:
            self.phases.append((step, self._sum / self._samples, self._samples))
        self._sum, self._samples = 0.0, 0


class _LossHook(Hook):
    def __init__(self, state: LossModule) -> None:
        self.state = state

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if torch.compiler.is_compiling():
            return
        try:
            self.state.called(args, output)
        except Exception as error:
            if self.state.recorder is not None:
                self.state.recorder.fail(error)
