"""One look: hooks on the modules for one forward pass, the gradients and weights around one update, all read at once."""

from __future__ import annotations

import math
import time
import weakref
from collections.abc import Collection, Hashable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.diagnosis.watch.attachment import Hook, traced, transformed
from pellucid.diagnosis.watch.sampling import EARLY
from pellucid.diagnosis.watch.static_look import StaticLook
from pellucid.diagnosis.watch.statistics import Bounds, Readings, activation, alike, norms, sample_of, thinned, units_shown, zeros

clock = time.perf_counter
LAYERS = 120  # hooked at most
WEIGHTS = 240  # parameters measured singly at most
PAIRED = 2**20  # entries of the gradient that are compared with the next step's
SILENT_KINDS = ("Dropout", "AlphaDropout", "FeatureAlphaDropout", "Flatten", "Unflatten", "Identity")  # add nothing of their own
RECTIFIERS = ("ReLU", "ReLU6", "Threshold", "RReLU")
BOUNDS: dict[str, Bounds] = {
    "Sigmoid": (0.0, 1.0),
    "Tanh": (-1.0, 1.0),
    "Hardsigmoid": (0.0, 1.0),
    "Softsign": (-1.0, 1.0),
    "ReLU6": (None, 6.0),
}


class Layers:
    """Which modules are looked at, and what is known of them before: paths, kinds, bounds."""

    def __init__(self, model: nn.Module) -> None:
        found: list[tuple[str, nn.Module]] = []
        for path, module in model.named_modules():
            own = any(True for _ in module.parameters(recurse=False))
            leaf = next(module.children(), None) is None
            if path and (leaf or own) and not isinstance(module, (nn.ModuleList, nn.ModuleDict)):
                found.append((path, module))
        chosen = found
        if len(found) > LAYERS:
            chosen = [found[position * len(found) // LAYERS] for position in range(LAYERS)]
        self.modules = chosen
        self.paths = {path for path, _ in chosen}
        self.left_out = len(found) - len(chosen)
        self.root = model


class ModuleHook(Hook):
    """Measures what a module takes and gives, once per look."""

    def __init__(self, look: Look, path: str) -> None:
        self.look, self.path = look, path

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if torch.compiler.is_compiling() or traced() or transformed():
            return
        look, start = self.look, clock()
        try:
            self.ran(module, args, output)
        except Exception as error:
            look.failed = look.failed or error
        look.hooks += clock() - start

    def ran(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self.look.module_ran(self.path, module, args, output)


class RootHook(ModuleHook):
    """The model's own forward pass has ended: its output, and the end of the hooks on its modules."""

    def ran(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self.look.model_ran(module, args, output)


class Look:
    """What is measured at one step. Made before its forward pass, read after its update."""

    def __init__(self, step: int, alarm: bool, layers: Layers, static: StaticLook | None) -> None:
        self.step, self.alarm, self.layers, self.static = step, alarm, layers, static
        self.readings = Readings()
        self.failed: Exception | None = None
        self.cost = 0.0  # seconds
        self.hooks = 0.0  # seconds in hooks on modules and tensors, which run between the events of a loop
        self.training: bool | None = None
        self.samples: int | None = None
        self.attached = self.forward_done = False
        self.updated, self.backwards = False, 1
        self.shapes: dict[tuple[str, str], tuple[int, ...]] = {}
        self.kinds: dict[tuple[str, str], tuple[str, bool, Bounds | None]] = {}
        self.units: dict[tuple[str, str], int] = {}
        self.measured: dict[tuple[str, str], int] = {}  # samples
        self.output_nodes: list[Any] = []
        self.output: Tensor | None = None
        self.missing: set[str] = set()
        self.read: set[str] = set()
        self.counted: set[str] = set()  # of these, what belongs to the whole gradient: what the optimizer that steps holds
        self.raw: list[str] = []  # whose gradients were measured after the last backward pass
        self.before: dict[str, Tensor] = {}
        self.gradient: dict[str, Tensor] = {}
        self.parameters: dict[str, Tensor] = {}
        self.graph: Any = None
        self.batch: tuple[tuple[Any, ...], dict[str, Any]] | None = None  # until it is read
        self._handles: list[Any] = []
        self._entries: dict[Hashable, int] = {}
        self._given: dict[int, tuple[weakref.ref[Tensor], int]] = {}
        self._memory: set[int] = set()
        self._channels_first: set[tuple[int, ...]] = set()

    # -- the forward pass --------------------------------------------------------------------------------------------------------------

    def attach(self) -> None:
        """Hook the modules, until the model's forward pass ends."""
        self.attached = True
        for path, module in self.layers.modules:
            self._handles.append(module.register_forward_hook(ModuleHook(self, path)))
        self._handles.append(self.layers.root.register_forward_hook(RootHook(self, "")))

    def detach(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self.attached = False

    def module_ran(self, path: str, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self.forward_done or self.failed is not None:
            return
        with torch.no_grad():
            kind = type(module).__name__
            taken = args[0] if args and isinstance(args[0], Tensor) else None
            given = _tensor(output)
            if kind.startswith(SILENT_KINDS):
                if given is not None and (taken is None or self._was_given(taken)):
                    self._remember(given)
                return
            own = any(True for _ in module.parameters(recurse=False))
            if own and taken is not None and taken.is_floating_point() and not self._was_given(taken):
                self._measure_input(path, kind, taken)
            if given is None or (path, "output") in self.shapes:
                return
            bounds = BOUNDS.get(kind)
            if kind == "Hardtanh":
                bounds = (float(module.min_val), float(module.max_val))  # pyright: ignore[reportArgumentType]
            self._measure((path, "output"), kind, given, kind in RECTIFIERS, bounds)
            self._remember(given)

    def model_ran(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self.forward_done:
            return
        self.forward_done = True
        self.detach()
        outputs = _tensors(output)
        self.output_nodes = [tensor.grad_fn for tensor in outputs if tensor.grad_fn is not None]
        first = next((tensor for tensor in outputs if tensor.is_floating_point()), None)
        if first is not None:
            with torch.no_grad():
                self.output = first.detach()
                self._measure(("", "output"), type(module).__name__, first, False, None)
        self._given.clear()
        self._memory.clear()

    def _was_given(self, tensor: Tensor) -> bool:
        """Whether a module that was measured gave this tensor, or one that it is a plain view of, and nobody wrote into it since."""
        known = self._given.get(id(tensor))
        if known is not None and known[0]() is tensor:
            return known[1] == tensor._version
        return tensor._is_view() and tensor.data_ptr() in self._memory and tensor._version == 0

    def _remember(self, tensor: Tensor) -> None:
        self._given[id(tensor)] = weakref.ref(tensor), tensor._version
        self._memory.add(tensor.data_ptr())

    def _measure_input(self, path: str, kind: str, tensor: Tensor) -> None:
        key = (path, "input")
        if key in self.shapes:
            return
        maker = self.static.makers.get(path) if self.static else None
        if maker is not None and maker.module in self.layers.paths and maker.module != path:
            return  # a module that is looked at made it
        if kind.startswith(("Conv", "BatchNorm", "InstanceNorm", "GroupNorm")):
            self._channels_first.add(tuple(tensor.shape))
        self._measure(key, maker.name if maker else "", tensor, bool(maker and maker.rectifies), maker.bounds if maker else None)

    def _measure(self, key: tuple[str, str], kind: str, tensor: Tensor, rectifier: bool, bounds: Bounds | None) -> None:
        if not tensor.numel() or tensor.is_sparse or tensor.is_nested or tensor.is_quantized or tensor.device.type == "meta":
            return
        shape = tuple(tensor.shape)
        if kind.startswith(("Conv", "BatchNorm", "InstanceNorm", "GroupNorm")):
            self._channels_first.add(shape)
        unit = 1 if len(shape) > 3 or (len(shape) == 3 and shape in self._channels_first) else max(len(shape) - 1, 0)
        if kind.startswith("LayerNorm"):
            unit = len(shape) - 1
        few = thinned(tensor.detach() if tensor.dim() else tensor.detach().reshape(1), unit)
        numbers, off = activation(few, unit, bounds)
        shown = units_shown(off.numel())
        self.readings.add(("layer", key), numbers)
        self.readings.add(("units", key), off if len(shown) == off.numel() else off[shown])
        self.shapes[key], self.kinds[key], self.units[key] = shape, (kind, rectifier, bounds), off.numel()
        self.measured[key] = few.shape[0]
        if tensor.requires_grad and key[1] == "output":
            self._entries[key] = tensor.numel()
            tensor.register_hook(_GradientHook(weakref.ref(self), key))

    def gradient_arrived(self, key: Hashable, gradient: Tensor) -> None:
        entries = self._entries.pop(key, 0)
        if entries:
            with torch.no_grad():
                self.readings.add(("gradient", key), norms([gradient])[0].float() / math.sqrt(entries))

    # -- the update --------------------------------------------------------------------------------------------------------------------

    def keep_weights(self, named: Mapping[str, Tensor]) -> None:
        """A copy of the weights (of large ones, of every n-th entry) before the update."""
        with torch.no_grad():
            for name, parameter in named.items():
                if name not in self.before and parameter.device.type != "meta":
                    self.before[name] = sample_of(parameter).clone()
                    self.parameters[name] = parameter
                    if (
                        self.step < EARLY
                        and parameter.dim() > 1
                        and parameter.shape[0] > 1
                        and parameter.numel()
                        and not parameter.is_complex()
                    ):
                        self.readings.add(("alike", name), alike(parameter))

    def read_gradients(self, named: Mapping[str, Tensor], held: Collection[str] | None = None) -> None:
        """Measure .grad of these parameters, as the optimizer is about to use it.

        Those not among `held`, the names that it holds, are measured singly: what nobody clears grows and is no part of the gradient.
        """
        todo = {name: parameter for name, parameter in named.items() if name not in self.read and parameter.requires_grad}
        self.read |= todo.keys()
        self.missing |= {name for name, parameter in todo.items() if parameter.grad is None}
        arrived = {name: parameter.grad for name, parameter in todo.items() if parameter.grad is not None}
        if not arrived:
            return
        with torch.no_grad():
            for name, norm in zip(arrived, norms(list(arrived.values())), strict=True):
                self.readings.add(("g", name), norm)
            for name, gradient in arrived.items():
                kept = sample_of(todo[name], gradient)
                self.readings.add(("0", name), zeros(kept))
                if held is None or name in held:
                    self.counted.add(name)
                    self.gradient[name] = kept.clone()

    def forget_gradients(self) -> None:
        """They will be read again, later in this window."""
        self.readings.forget(lambda key: isinstance(key, tuple) and key[0] in ("g", "0"))
        self.read.clear()
        self.counted.clear()
        self.missing.clear()
        self.gradient.clear()

    def raw_norm(self, named: Mapping[str, Tensor]) -> None:
        """The norms of all gradients right after a backward pass; which of them the optimizer uses is known when it steps."""
        arrived = {name: parameter.grad for name, parameter in named.items() if parameter.grad is not None}
        if arrived:
            with torch.no_grad():
                self.readings.add("raw", torch.stack([norm.float() for norm in norms(list(arrived.values()))]))
            self.raw = list(arrived)

    def read_update(self) -> None:
        """Measure the weights before the update and the change since."""
        names = [name for name, before in self.before.items() if _comparable(before, self.parameters[name])]
        with torch.no_grad():
            changes = [sample_of(self.parameters[name]) - self.before[name] for name in names]
            before = [self.before[name] for name in names]
            for name, weight, change in zip(names, norms(before), norms(changes), strict=True):
                self.readings.add(("w", name), weight)
                self.readings.add(("u", name), change)
            together = [(self.gradient[name], change) for name, change in zip(names, changes, strict=True) if name in self.gradient]
            together = [(g, u) for g, u in together if g.shape == u.shape and not g.is_complex()]
            if together:
                self.readings.add("gu", _product(together))
                self.readings.add("gg", _squares([g for g, _ in together]))
                self.readings.add("uu", _squares([u for _, u in together]))

    def pair(self) -> dict[str, Tensor]:
        """Part of this step's gradient, to be compared with the next step's."""
        kept, entries = {}, 0
        for name, gradient in self.gradient.items():
            if entries >= PAIRED:
                break
            kept[name] = gradient
            entries += gradient.numel()
        return kept


class _GradientHook(Hook):
    """Measures the gradient that arrives at a tensor, and lets it pass."""

    def __init__(self, look: weakref.ref[Look], key: Hashable) -> None:
        self.look, self.key = look, key

    def __call__(self, gradient: Tensor) -> None:
        look, start = self.look(), clock()
        if look is None:
            return
        try:
            look.gradient_arrived(self.key, gradient)
        except Exception as error:
            look.failed = look.failed or error
        look.hooks += clock() - start


def compare(first: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> Tensor | None:
    """(|g|^2, |h|^2, g.h) of an earlier gradient g and the present one h, over the entries of g; None where parameters are missing."""
    pairs: list[tuple[Tensor, Tensor]] = []
    with torch.no_grad():
        for name, earlier in first.items():
            parameter = parameters.get(name)
            if parameter is None or parameter.grad is None or earlier.is_complex():
                return None
            later = sample_of(parameter, parameter.grad)
            if later.shape != earlier.shape:
                return None
            pairs.append((earlier, later))
        if not pairs:
            return None
        return torch.stack([_squares([g for g, _ in pairs]), _squares([h for _, h in pairs]), _product(pairs)])


def _product(pairs: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """The inner product of two lists of flat tensors."""
    products = [torch.dot(a.float(), b.float()) for a, b in pairs]
    device = products[0].device
    return torch.stack([product.to(device) for product in products]).sum()


def _squares(tensors: list[Tensor]) -> Tensor:
    """The squared norm of a list of flat tensors."""
    each = norms(tensors)
    return torch.stack([norm.to(each[0].device, torch.float32) for norm in each]).square().sum()


def _comparable(before: Tensor, now: Tensor) -> bool:
    """The parameter was neither reshaped nor moved since."""
    sample = sample_of(now)
    return sample.shape == before.shape and sample.device == before.device and sample.dtype == before.dtype


def _tensors(structure: Any, limit: int = 16) -> list[Tensor]:
    """The tensors in what a module gave: a tensor, a tuple, a dict, a dataclass of them."""
    found: list[Tensor] = []
    waiting: list[Any] = [structure]
    while waiting and len(found) < limit:
        item = waiting.pop(0)
        if isinstance(item, Tensor):
            found.append(item)
        elif isinstance(item, Mapping):
            waiting = [*item.values(), *waiting]
        elif isinstance(item, (list, tuple)):
            waiting = [*item, *waiting]
        elif hasattr(item, "__dataclass_fields__"):
            waiting = [*vars(item).values(), *waiting]
    return found


def _tensor(structure: Any) -> Tensor | None:
    return next((tensor for tensor in _tensors(structure) if tensor.is_floating_point() or tensor.is_complex()), None)
