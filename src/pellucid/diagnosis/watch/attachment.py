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


class Listener(Protocol):
    """What the events reach that do not belong to one model."""

    wants_beginnings: bool  # of steps

    def backward_begins(self, tensors: Any) -> None: ...

    def backward_ends(self) -> None: ...

    def step_begins(self, optimizer: torch.optim.Optimizer, closure: bool) -> None: ...

    def step_ends(self, optimizer: torch.optim.Optimizer) -> None: ...

    def fail(self, error: Exception) -> None: ...


class Recorder(Listener, Protocol):
    """What all events reach."""

    transformed: bool  # the model was called inside a transform of torch.func: such calls are not watched

    def forward(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None: ...


_listeners: tuple[Listener, ...] = ()
_transforms: Any = getattr(torch._C, "_functorch")  # noqa: B009 (what torch.func is built on; it has no stubs)
_lock = threading.Lock()
_ours: Callable[..., Any] | None = None  # what stands in the place of torch.autograd.backward
_originals: dict[Callable[..., Any], Callable[..., Any]] = {}
_begins: Any = None  # the handle of our hook before optimizers' steps
_ends: Any = None  # and after them
_here = threading.local()


def traced() -> bool:
    """Whether torch.jit.trace runs here, which would record what we compute."""
    return torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]


def transformed() -> bool:
    """Whether vmap, grad or another transform of torch.func runs here: its tensors stand for others, and have no values to be read."""
    return _transforms.peek_interpreter_stack() is not None


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
        if recorder is None or traced():
            return
        try:
            if transformed():
                recorder.transformed = True
            else:
                recorder.forward(args, kwargs)
        except Exception as error:
            recorder.fail(error)


class Attachment:
    """The hooks of one watched model. Asleep, neither its calls nor the beginning of steps are seen: hooks that do nothing take 5 us."""

    def __init__(self, model: nn.Module, recorder: Recorder) -> None:
        self.recorder = recorder
        self._model, self._hook = model, ModelHook(recorder)
        self._handle: Any = None
        self._listener: Listener | None = None
        self.wake()

    def wake(self) -> None:
        if self._hook.recorder is None or self._listener is self.recorder:
            return
        self._hook.recorder = self.recorder
        if self._handle is None:
            self._handle = self._model.register_forward_pre_hook(self._hook, with_kwargs=True)
        _put(self.recorder, self._listener)
        self._listener = self.recorder

    def sleep(self, deputy: Listener, called: Recorder | None = None) -> None:
        """From now on backward passes and ends of steps go to the deputy, calls of the model to `called`, and nothing else to anybody."""
        if called is None:
            self._unhook()
        else:
            self._hook.recorder = called
        _put(deputy, self._listener)
        self._listener = deputy

    def detach(self) -> None:
        """Take everything away; may be called more than once."""
        self._hook.recorder = None
        self._unhook()
        _put(None, self._listener)

    def _unhook(self) -> None:
        if self._handle is not None:
            self._handle.remove()
            self._handle = None


def attached() -> int:
    """How many listeners are alive."""
    return len(_listeners)


def _stand_between() -> None:
    """Torch's backward goes through us: Tensor.backward calls torch.autograd.backward by that name."""
    global _ours, _ends
    original: Callable[..., Any] = torch.autograd.backward

    @functools.wraps(original)
    def backward(*args: Any, **kwargs: Any) -> None:
        listeners = _listeners if _ours is backward else ()  # a wrapper that somebody put around ours may outlive the last watcher
        if not listeners or getattr(_here, "inside", False):  # inside: checkpoints that recompute call backward from backward
            return original(*args, **kwargs)
        tensors: Any = args[0] if args else kwargs.get("tensors")
        for listener in listeners:
            try:
                listener.backward_begins(tensors)
            except Exception as error:
                listener.fail(error)
        _here.inside = True
        try:
            original(*args, **kwargs)
        finally:
            _here.inside = False
        for listener in listeners:
            try:
                listener.backward_ends()
            except Exception as error:
                listener.fail(error)
        return None

    _ours = torch.autograd.backward = backward
    _ends = register_optimizer_step_post_hook(_step_ends)
    _originals[backward] = original


def _step_back() -> None:
    global _ours, _ends
    if _ours is not None:
        original = _originals.pop(_ours)
        if torch.autograd.backward is _ours:
            torch.autograd.backward = original
        _ours = None
    if _ends is not None:
        _ends.remove()
        _ends = None


def _put(listener: Listener | None, place: Listener | None) -> None:
    """The listener in the place of another, or of nobody. Beginnings of steps are heard while somebody wants them."""
    global _listeners, _begins
    with _lock:
        before = _listeners
        _listeners = tuple(other for other in before if other is not place) + (() if listener is None else (listener,))
        if _listeners and not before:
            _stand_between()
        elif before and not _listeners:
            _step_back()
        wanted = any(listener.wants_beginnings for listener in _listeners)
        if wanted and _begins is None:
            _begins = register_optimizer_step_pre_hook(_step_begins)
        elif not wanted and _begins is not None:
            _begins.remove()
            _begins = None


def _step_begins(optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    closure = (len(args) > 1 and args[1] is not None) or kwargs.get("closure") is not None
    for listener in _listeners:
        try:
            listener.step_begins(optimizer, closure)
        except Exception as error:
            listener.fail(error)


def _step_ends(optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    for listener in _listeners:
        try:
            listener.step_ends(optimizer)
        except Exception as error:
            listener.fail(error)
