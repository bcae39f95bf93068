"""How a recording gets to see a pass: one mode for torch functions, one for kernels, and two methods that PyTorch shows to no mode.

All of it lives only while our own pass runs, and only in its thread. Left standing in a user's program, a mode can be popped by their
`with torch.device(...)`, and switches off fast paths.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from threading import Lock
from typing import Any

import torch
from torch.autograd.function import _SingleLevelFunction
from torch.overrides import TorchFunctionMode

from pellucid.core.trace.recording import Recording


@contextmanager
def recorded_by(recording: Recording) -> Generator[None]:
    """Everything that this thread does with tensors inside the block is recorded."""
    with recording, _Calls(recording), _opaque_functions(recording):
        yield


class _Calls(TorchFunctionMode):
    """Hands every torch function that Python calls to the recording. PyTorch switches it off meanwhile: inner calls are inside."""

    def __init__(self, recording: Recording) -> None:
        super().__init__()
        self.recording = recording

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        return self.recording.call(func, args, kwargs or {})


_recording: ContextVar[Recording | None] = ContextVar("pellucid_recording", default=None)
_patched = 0
_patching = Lock()


def _seen(function: Any, original: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    recording = _recording.get()
    if recording is None or recording.depth or recording.busy or torch._C._are_functorch_transforms_active():
        return original(*args, **kwargs)
    return recording.opaque(function, original, args, kwargs)


def _apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
    original: Any = super(_SingleLevelFunction, cls)
    return _seen(cls, original.apply, args, kwargs)


_scripted_call: Any = torch.jit.ScriptFunction.__call__


def _call_scripted(function: Any, *args: Any, **kwargs: Any) -> Any:
    return _seen(function, partial(_scripted_call, function), args, kwargs)


@contextmanager
def _opaque_functions(recording: Recording) -> Generator[None]:
    """Let the recording see autograd.Function.apply and calls of scripted functions, which PyTorch shows to no mode.

    For the time of the pass two methods stand between Python and C++; in other threads they do nothing but pass on.
    """
    global _patched
    token = _recording.set(recording)
    with _patching:
        _patched += 1
        if _patched == 1:
            setattr(_SingleLevelFunction, "apply", classmethod(_apply))  # noqa: B010
            setattr(torch.jit.ScriptFunction, "__call__", _call_scripted)  # noqa: B010
    try:
        yield
    finally:
        _recording.reset(token)
        with _patching:
            _patched -= 1
            if not _patched:
                delattr(_SingleLevelFunction, "apply")
                setattr(torch.jit.ScriptFunction, "__call__", _scripted_call)  # noqa: B010
