"""The copy of the network on which all passes run, and what keeps a pass from the user's own.

A deep copy can still lead back to the user's modules: through a function that closes over them (`model.forward = lambda x: model.net(x)`),
a weak reference, an attribute that cannot be copied, a global variable. Functions and weak references are bound to the copy's parts here.
What a pass reaches all the same is met in the first one, before it runs: it is then in evaluation mode and without hooks during each pass,
and put back after it, as are the network's own random generators and whatever it counts or remembers.
"""

from __future__ import annotations

import copy
import functools
import random
import threading
import types
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode

from pellucid.core.errors import ModelError
from pellucid.core.language import Text, text
from pellucid.core.trace.model import shared_copy
from pellucid.core.trace.records import tensors

Result = TypeVar("Result")
_MOST_ROUNDS = 1000  # modules met one after the other; who makes new ones in each pass is found long before
_LONGEST = 10_000  # containers with more entries hold data, not parts of a network
_REGISTERED = ("_parameters", "_buffers", "_modules")
_BACKWARD_HOOKS = ("_backward_hooks", "_backward_pre_hooks")  # they change gradients, which then are no derivatives of the output
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", *_BACKWARD_HOOKS)
_PLAIN = {bool, int, float, str, bytes, type(None), torch.dtype, torch.device}
_GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
_MUTABLE = (list, dict, set, OrderedDict, deque)
_CONTAINERS = (*_MUTABLE, tuple)


class Isolation:
    """A network of its own over the user's weights, in evaluation mode."""

    def __init__(self, user: nn.Module, notes: list[Text]) -> None:
        self.model = _separate(user, notes)
        self.guarded: list[nn.Module] = []  # the user's own that a pass reaches
        self.generators: list[Any] = []  # of the network's own, that a pass draws from
        self.stateful = False  # a pass changes attributes or buffers of the copy
        self.writes_weights = False
        self._made_anew: set[type] = set()  # kinds of modules that forward itself makes, in each pass
        binding = _Binding(user, self.model)
        binding.bind()
        self.hidden = binding.hidden
        self._known_generators = binding.generators
        for module in (self.model, *self.hidden):
            if hasattr(module, "training"):  # frozen TorchScript has no mode
                module.eval()  # whatever it returns: a train() of the user's need not return itself
        for module in self.model.modules():
            for kind in _BACKWARD_HOOKS:
                getattr(module, kind, {}).clear()
        if self.hidden:
            kinds = sorted({type(module).__name__ for module in self.hidden})
            notes.append(text("the network uses modules that it has not registered ({names}): they are in evaluation mode too, and their "
                              "weights do not count as its own", names=kinds))  # fmt: skip

    def first_pass(self, run: Callable[[], Result]) -> Result:
        """The result of a pass that is watched: repeated until all that it reaches outside the copy is known."""
        for _ in range(_MOST_ROUNDS):
            try:
                with self._watched():
                    return run()
            except _Reached as met:
                module = weakref.ref(met.module)
                kind = type(met.module)
            except _Written:
                self._unshare()
                continue
            found = module()
            if found is None or kind in self._made_anew:
                self._made_anew.add(kind)
                continue
            known = {id(part) for part in self.guarded}
            self.guarded += [part for part in found.modules() if id(part) not in known]
            del found
        return run()

    @contextmanager
    def kept(self, model: nn.Module) -> Generator[None]:
        """Around every pass of `model`: the copy, or one made of it."""
        if not (self.guarded or self.stateful or self.generators):
            yield
            return
        state = _State([*self.guarded, *(model.modules() if self.stateful else ())], weights=self.writes_weights)
        drawn = [(generator, _state_of(generator)) for generator in self.generators]
        try:
            for module in self.guarded:
                vars(module)["training"] = False
                for kind in _HOOKS:
                    for key in [key for key, hook in vars(module).get(kind, {}).items() if not _of_torch(hook)]:
                        del vars(module)[kind][key]
            yield
        finally:
            state.put_back()
            for generator, known in drawn:
                _set_state(generator, known)

    @contextmanager
    def _watched(self) -> Generator[None]:
        inside = {id(module) for part in (self.model, *self.hidden) for module in part.modules()}
        inside |= {id(module) for module in self.guarded}
        thread = threading.get_ident()

        def enter(module: nn.Module, _: Any) -> None:
            if id(module) in inside or threading.get_ident() != thread or type(module) in self._made_anew:
                return
            if any(part._parameters or part._buffers or any(getattr(part, kind, None) for kind in _HOOKS) for part in module.modules()):
                raise _Reached(module)

        drawn = [(generator, _state_of(generator)) for generator in self._known_generators]
        state, finished = _State(self.model.modules()), False
        handle = register_module_forward_pre_hook(enter)
        writes = _Writes(self.model, self.guarded, thread, forbidden=not self.writes_weights)
        try:
            with writes:
                yield
            finished = True
        finally:
            handle.remove()
            if state.changed():
                self.stateful = self.stateful or finished
                state.put_back()
            drawn += writes.drawn
            for generator, known in drawn:
                now = _state_of(generator)
                if not (torch.equal(now, known) if isinstance(now, Tensor) else repr(now) == repr(known)):
                    _set_state(generator, known)
                    if not any(generator is met for met in self.generators):
                        self.generators.append(generator)

    def _unshare(self) -> None:
        """Weights of its own: a pass writes into them (an embedding with max_norm does)."""
        self.writes_weights = True
        with torch.no_grad():
            for weight in (weight for part in (self.model, *self.hidden) for weight in part.parameters()):
                weight.data = weight.data.clone()


def _separate(user: nn.Module, notes: list[Text]) -> nn.Module:
    """A copy that has no module in common with the user's.

    Raises:
        ModelError: `__deepcopy__` gives back the user's own.
        TraceError: the network cannot be copied.
    """
    flags = [(weight, weight.requires_grad) for weight in user.parameters()]
    twin = shared_copy(user, notes)
    own = {id(module): path for path, module in user.named_modules()}
    common = next((own[id(module)] or type(module).__name__ for module in twin.modules() if id(module) in own), None)
    if common is not None:
        for weight, flag in flags:
            if weight.requires_grad != flag:
                weight.requires_grad_(flag)
        raise ModelError(
            text("copy.deepcopy of the network gives back its own module {path}", path=common),
            text("a network that copy.deepcopy can copy, so that yours stays as it is"),
            text("look at the __deepcopy__ method of {path}", path=common),
        )
    return twin


class _Reached(BaseException):
    """Not an Exception: no handler of the user's may take it for an error."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module


class _Written(BaseException):
    pass


class _Writes(TorchDispatchMode):
    """Stops a pass before it writes into weights that are the user's, and keeps the states of generators that are given to operations."""

    def __init__(self, model: nn.Module, guarded: Iterable[nn.Module], thread: int, *, forbidden: bool) -> None:
        super().__init__()
        parts = (model, *guarded) if forbidden else ()
        self.weights = {weight.untyped_storage()._cdata for part in parts for weight in part.parameters() if weight.layout == torch.strided}
        self.drawn: list[tuple[Any, Any]] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch imports its compiler when the mode is first used, which takes a second or two

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        generator = kwargs.get("generator")
        if generator is not None and not any(generator is known for known, _ in self.drawn):
            self.drawn.append((generator, _state_of(generator)))
        if self.weights and func._schema.is_mutable:
            for argument, value in zip(func._schema.arguments, args, strict=False):
                if argument.alias_info is not None and argument.alias_info.is_write and any(
                    tensor.layout == torch.strided and tensor.untyped_storage()._cdata in self.weights for tensor in tensors(value)
                ):  # fmt: skip
                    raise _Written
        return func(*args, **kwargs)


class _State:
    """What a pass may change in modules: attributes, the content of containers among them, and tensors that are no weights."""

    def __init__(self, modules: Iterable[nn.Module], *, weights: bool = False) -> None:
        self.modules = [module for module in modules if not isinstance(module, torch.jit.ScriptModule)]
        self.attributes = [dict(vars(module)) for module in self.modules]
        self.contents = [
            {name: copy.copy(value) for name, value in known.items() if type(value) in _MUTABLE and len(value) <= _LONGEST}
            for known in self.attributes
        ]
        held: list[Tensor] = []
        for known in self.attributes:
            for name, value in known.items():
                if name == "_buffers" or (weights and name == "_parameters") or isinstance(value, Tensor):
                    held += tensors(value)
        self.tensors = [(tensor, tensor.detach().clone()) for tensor in held if tensor.layout == torch.strided]

    def changed(self) -> bool:
        return any(vars(module).keys() != known.keys() or any(vars(module)[name] is not value for name, value in known.items())
                   or any(not _same(known[name], content) for name, content in contents.items())
                   for module, known, contents in zip(self.modules, self.attributes, self.contents, strict=True)
                   ) or any(not torch.equal(tensor, known) for tensor, known in self.tensors)  # fmt: skip

    def put_back(self) -> None:
        for module, known, contents in zip(self.modules, self.attributes, self.contents, strict=True):
            for name, content in contents.items():
                value = cast("Any", known[name])
                if not _same(value, content):
                    value.clear()
                    value.extend(content) if isinstance(value, (list, deque)) else value.update(content)
            if vars(module).keys() != known.keys() or any(vars(module)[name] is not value for name, value in known.items()):
                vars(module).clear()
                vars(module).update(known)
        with torch.no_grad():
            for tensor, value in self.tensors:
                if tensor.shape == value.shape and not torch.equal(tensor, value):
                    with torch.inference_mode(tensor.is_inference()):
                        tensor.copy_(value)


def _same(one: Any, two: Any) -> bool:
    """Whether a container holds what it held; identical items are equal without being asked, others may answer anything."""
    try:
        return bool(one == two)
    except Exception:  # tensors and arrays are not compared as a whole
        return False


def _state_of(generator: Any) -> Any:
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    return generator.getstate() if isinstance(generator, random.Random) else generator.get_state()


def _set_state(generator: Any, state: Any) -> None:
    if isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    elif isinstance(generator, random.Random):
        generator.setstate(state)
    else:
        generator.set_state(state)


def _of_torch(hook: Any) -> bool:
    """Weight norm, pruning and the like compute a weight in a hook: part of the network's function."""
    home = getattr(hook, "__module__", None) or type(hook).__module__
    return str(home).startswith("torch.")


class _Binding:
    """Puts the copy's parts in the place of the user's wherever functions, weak references and containers of the copy hold them."""

    def __init__(self, user: nn.Module, twin: nn.Module) -> None:
        self.twin = twin
        self.hidden: list[nn.Module] = []  # copies of modules that are registered nowhere
        self.generators: list[Any] = []
        own = {name.replace("_orig_mod.", ""): module for name, module in user.named_modules(remove_duplicate=False)}
        copies = dict(twin.named_modules(remove_duplicate=False))
        self.bound: dict[int, Any] = {id(module): module for module in copies.values()}
        self._alive: list[Any] = []  # ids stay valid as long as these live
        for name, module in own.items():
            if name.rstrip(".") in copies:
                self._known(module, copies[name.rstrip(".")])

    def bind(self) -> None:
        if isinstance(self.twin, torch.jit.ScriptModule):
            return
        for module in list(self.twin.modules()):
            self._bind_attributes(module)

    def _known(self, mine: nn.Module, its: nn.Module) -> None:
        self.bound[id(mine)] = its
        if isinstance(mine, torch.jit.ScriptModule):
            return
        others = its._parameters | its._buffers
        for name, tensor in (*mine._parameters.items(), *mine._buffers.items()):
            if tensor is not None and others.get(name) is not None:
                self.bound[id(tensor)] = others[name]

    def _bind_attributes(self, module: nn.Module) -> None:
        if isinstance(module, torch.jit.ScriptModule):
            return
        for name, value in list(vars(module).items()):
            kind = type(value)
            if kind in _PLAIN or name in _REGISTERED or (kind in _CONTAINERS and not value):
                continue
            made = self.of(value)
            if made is not value:
                vars(module)[name] = made
        forward = getattr(type(module), "forward", None)
        if isinstance(forward, types.FunctionType) and not _of_torch(forward):
            for name in _names_of(forward.__code__) & forward.__globals__.keys():
                if isinstance(forward.__globals__[name], _GENERATORS):
                    self.of(forward.__globals__[name])
            if "forward" not in vars(module) and _closes_over_modules(forward):
                vars(module)["forward"] = functools.partial(self.of(forward), module)

    def of(self, value: Any) -> Any:
        """`value` with the copy's parts in it; the same object where there is nothing to put in."""
        kind = type(value)
        if id(value) in self.bound:
            return self.bound[id(value)]
        if kind in _PLAIN:
            return value
        self._alive.append(value)
        if isinstance(value, weakref.ref):
            target = cast("Any", value())
            made = value if target is None or (found := self.of(target)) is target else weakref.ref(found)
        elif kind in weakref.ProxyTypes:
            target = cast("Any", value).forward.__self__ if isinstance(value, nn.Module) else None
            made = value if target is None else weakref.proxy(self.of(target))
        elif isinstance(value, nn.Module):
            return self._hide(value)
        elif isinstance(value, _GENERATORS):
            self.generators.append(value)
            made = value
        elif kind is types.FunctionType:
            return value if _of_torch(value) else self._function(value)
        elif kind is types.MethodType:
            made = types.MethodType(self.of(value.__func__), self.of(value.__self__)) if id(value.__self__) in self.bound else value
        elif kind is functools.partial:
            made = functools.partial(self.of(value.func), *map(self.of, value.args), **{k: self.of(v) for k, v in value.keywords.items()})
        elif kind in _CONTAINERS and len(value) <= _LONGEST:
            items = {key: self.of(item) for key, item in value.items()} if isinstance(value, dict) else [self.of(item) for item in value]
            made = kind(items)
        else:
            return value
        self.bound[id(value)] = made
        return made

    def _hide(self, module: nn.Module) -> nn.Module:
        twin = module if any(module is part for part in self.hidden) else self._copied(module)
        self.bound[id(module)] = self.bound[id(twin)] = twin
        return twin

    def _copied(self, module: nn.Module) -> nn.Module:
        try:
            twin = _separate(module, [])
        except Exception:  # it stays the user's own, and is met in the first pass
            return module
        for (_, mine), (_, its) in zip(module.named_modules(), twin.named_modules(), strict=True):
            self._known(mine, its)
            self.bound[id(its)] = its
        self.hidden.append(twin)
        for part in twin.modules():
            self._bind_attributes(part)
        return twin

    def _function(self, function: types.FunctionType) -> Any:
        """A function over copies of what it closes over, so that what it counts or keeps there stays with the copy."""
        cells = [self.bound.setdefault(id(cell), types.CellType()) for cell in function.__closure__ or ()]
        used = _names_of(function.__code__)
        spaces = self.bound.setdefault(id(function.__globals__), dict(function.__globals__))
        made = types.FunctionType(function.__code__, spaces, function.__name__, function.__defaults__, tuple(cells) or None)
        made.__kwdefaults__ = function.__kwdefaults__
        found = self.bound[id(function)] = Bound(made)
        self.bound[id(found)] = found
        for cell, mine in zip(cells, function.__closure__ or (), strict=True):
            if _filled(mine) and not _filled(cell):
                self._alive.append(mine)
                cell.cell_contents = self.of(mine.cell_contents)
        made.__defaults__ = None if function.__defaults__ is None else tuple(map(self.of, function.__defaults__))
        for name in used & spaces.keys():
            value = function.__globals__[name]
            if isinstance(value, (nn.Module, *_GENERATORS)) or type(value) in _CONTAINERS or (
                type(value) is types.FunctionType and value.__globals__ is function.__globals__
            ):  # fmt: skip
                spaces[name] = self.of(value)
        return found


class Bound:
    """A function of the user's over parts of a copy. Unlike a function, a deep copy of it is over parts of the deep copy."""

    def __init__(self, function: types.FunctionType) -> None:
        self.function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Bound:
        mine = self.function
        cells = [memo.setdefault(id(cell), types.CellType()) for cell in mine.__closure__ or ()]
        made = types.FunctionType(mine.__code__, mine.__globals__, mine.__name__, mine.__defaults__, tuple(cells) or None)
        made.__kwdefaults__ = mine.__kwdefaults__
        memo[id(self)] = found = Bound(made)
        for cell, known in zip(cells, mine.__closure__ or (), strict=True):
            if _filled(known) and not _filled(cell):
                value = known.cell_contents
                copied = isinstance(value, (nn.Module, Bound, functools.partial)) or type(value) in _CONTAINERS
                cell.cell_contents = copy.deepcopy(value, memo) if copied else value
        return found


def _closes_over_modules(function: types.FunctionType, depth: int = 3) -> bool:
    for value in [cell.cell_contents for cell in function.__closure__ or () if _filled(cell)]:
        items = value if isinstance(value, (list, tuple)) and len(value) <= _LONGEST else [value]
        if any(isinstance(item, nn.Module) for item in cast("list[Any]", items)):
            return True
        if depth and isinstance(value, types.FunctionType) and _closes_over_modules(value, depth - 1):
            return True
    return False


def _filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 (empty cells raise)
    except ValueError:
        return False
    return True


def _names_of(code: types.CodeType) -> set[str]:
    """The names of globals and attributes in a function and the functions in it."""
    return set(code.co_names).union(*(_names_of(part) for part in code.co_consts if isinstance(part, types.CodeType)))
