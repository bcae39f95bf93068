"""How a watcher gets to see a loop: a hook on the model's call, PyTorch's hooks of optimizer steps, and torch.autograd.backward.

Four events are passed on to every recorder alive: a forward pass of the model begins, a backward pass begins and ends, an optimizer's
step begins and ends. With the last watcher everything is put back. Nothing here may raise into the user's loop, and no torch function
mode is left standing: a user's `with torch.device(...)` could pop it.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook


class Recorder(Protocol):
    """What the events reach."""

    def forward(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None: ...

    def backward_begins(self, tensors: Any) -> None: ...

    def backward_ends(self) -> None: ...

    def step_begins(self, optimizer: torch.optim.Optimizer, closure: bool) -> None: ...

    def step_ends(self, optimizer: torch.optim.Optimizer) -> None: ...

    def fail(self, error: Exception) -> None: ...


_recorders: tuple[Recorder, ...] = ()
_lock = threading.Lock()
_ours: Callable[..., Any] | None = None  # what stands in the place of torch.autograd.backward
_originals: dict[Callable[..., Any], Callable[..., Any]] = {}
_handles: tuple[Any, ...] = ()
_here = threading.local()


class Hook:
    """A hook on a module that a copy of the module does not take along.

    Pickled or deep-copied, with the model that carries it, it becomes a bound method of the standard library that does nothing, so that
    such a model can be loaded where Pellucid is not installed.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (contextlib.nullcontext(), "__exit__")


class ModelHook(Hook):
    """Tells the recorder that the model is called. Compiled code does not contain it."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder: Recorder | None = recorder

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if torch.compiler.is_compiling():  # first: a compiler that reads this finds a constant, and nothing of ours behind it
            return
        recorder = self.recorder
        if recorder is None:
            return
        try:
            recorder.forward(args, kwargs)
        except Exception as error:
            recorder.fail(error)


class Attachment:
    """The hooks of one watched model. Asleep, its calls are not seen: a hook makes the call of a small model a hundredth slower."""

    def __init__(self, model: nn.Module, recorder: Recorder) -> None:
        global _recorders
        self.recorder = recorder
        self._model, self._hook = model, ModelHook(recorder)
        self._handle: Any = None
        self.wake()
        with _lock:
            _recorders = (*_recorders, recorder)
            if len(_recorders) == 1:
                _stand_between()

    def wake(self) -> None:
        if self._handle is None and self._hook.recorder is not None:
            self._handle = self._model.register_forward_pre_hook(self._hook, with_kwargs=True)

    def sleep(self) -> None:
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def detach(self) -> None:
        """Take everything away; may be called more than once."""
        global _recorders
        self._hook.recorder = None
        self.sleep()
        with _lock:
            if self.recorder in _recorders:
                _recorders = tuple(other for other in _recorders if other is not self.recorder)
                if not _recorders:
                    _step_back()


def attached() -> int:
    """How many recorders are alive."""
    return len(_recorders)


def _stand_between() -> None:
    """Torch's backward goes through us: Tensor.backward calls torch.autograd.backward by that name."""
    global _ours, _handles
    original: Callable[..., Any] = torch.autograd.backward

    @functools.wraps(original)
    def backward(*args: Any, **kwargs: Any) -> None:
        recorders = _recorders if _ours is backward else ()  # a wrapper that somebody put around ours may outlive the last watcher
        if not recorders or getattr(_here, "inside", False):  # inside: checkpoints that recompute call backward from backward
            return original(*args, **kwargs)
        tensors: Any = args[0] if args else kwargs.get("tensors")
        for recorder in recorders:
            try:
                recorder.backward_begins(tensors)
            except Exception as error:
                recorder.fail(error)
        _here.inside = True
        try:
            original(*args, **kwargs)
        finally:
            _here.inside = False
        for recorder in recorders:
            try:
                recorder.backward_ends()
            except Exception as error:
                recorder.fail(error)
        return None

    _ours = torch.autograd.backward = backward
    _handles = (register_optimizer_step_pre_hook(_step_begins), register_optimizer_step_post_hook(_step_ends))
    _originals[backward] = original


def _step_back() -> None:
    global _ours, _handles
    if _ours is not None:
        original = _originals.pop(_ours)
        if torch.autograd.backward is _ours:
            torch.autograd.backward = original
        _ours = None
    for handle in _handles:
        handle.remove()
    _handles = ()


def _step_begins(optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    closure = (len(args) > 1 and args[1] is not None) or kwargs.get("closure") is not None
    for recorder in _recorders:
        try:
            recorder.step_begins(optimizer, closure)
        except Exception as error:
            recorder.fail(error)


def _step_ends(optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    for recorder in _recorders:
        try:
            recorder.step_ends(optimizer)
        except Exception as error:
            recorder.fail(error)
