"""What happens below an operation: every kernel PyTorch calls for it, its writes into memory and its random draws.

Both the recording of a trace and its replay run under an `Execution`. It keeps values as they were: before a kernel writes into memory,
the values that live there are copied (and only then, so that a pass without in-place operations copies nothing).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Hashable, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.utils._python_dispatch import TorchDispatchMode

from pellucid.core.trace.records import Surroundings, tensors

# Random kernels whose result is the draw itself. (In-place ones, such as bernoulli_, leave their draw in their first argument.)
_DRAWS = frozenset({
    "bernoulli", "cauchy", "exponential", "geometric", "log_normal", "multinomial", "normal", "poisson", "rand", "rand_like", "randint",
    "randint_like", "randn", "randn_like", "random", "randperm", "uniform", "_standard_gamma",
})  # fmt: skip
# Random kernels that return (result, mask), result = input * mask / (1 - p).
_DROPOUTS = frozenset({"native_dropout", "_fused_dropout"})
# Random kernels that write their draw into their second argument: result = input * noise.
_NOISES = frozenset({"rrelu_with_noise", "rrelu_with_noise_"})


class Execution(TorchDispatchMode):
    """Sees every kernel while a pass runs, keeps the values that writes would change, and hands random draws to `draw`."""

    supports_higher_order_operators = True

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Else PyTorch wraps our method for torch.compile, whose import alone takes most of a second."""
        return False

    def __init__(self) -> None:
        super().__init__()
        self.depth = 0  # more than zero inside an operation
        self.busy = False  # our own tensor work: let it through unseen
        self.writes: Counter[Hashable] = Counter()  # per storage: how often it was written to
        self.contents: dict[int, Tensor] = {}  # value index -> its content, detached
        self._resident: defaultdict[Hashable, list[int]] = defaultdict(list)  # storage -> values whose content still lives there
        self._alive: list[Any] = []  # tensors and storages, so that no address is used twice

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if self.busy:
            return func(*args, **kwargs)
        if self.depth == 0:
            return self.outside(func, args, kwargs)
        return self.execute(func, args, kwargs)

    def outside(self, kernel: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """A kernel that no recorded operation called."""
        return self.execute(kernel, args, kwargs)

    def execute(self, kernel: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Run one kernel, with its writes and draws kept."""
        if not isinstance(kernel, torch._ops.OpOverload):  # a higher-order operator says nothing about writes and draws
            return kernel(*args, **kwargs)
        if _composite(kernel):  # seen whole in inference mode, where autograd does not take it apart; its draws and writes are inside
            with self:
                result = kernel.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        written = _written(kernel, args, kwargs)
        for tensor in written:
            self.rescue(tensor)
        result = self.draw(kernel, args, kwargs) if _random(kernel, args, kwargs) else kernel(*args, **kwargs)
        for tensor in written:
            self.writes[storage_of(tensor)] += 1
        return result

    def draw(self, kernel: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Run a random kernel."""
        raise NotImplementedError

    def keep(self, value: int, tensor: Tensor) -> None:
        """Note the content of a value as it is now."""
        storage = storage_of(tensor)
        if tensor.is_inference():  # copied at once: autograd refuses inference tensors, also to those who read the trace later
            with self.own_work(), torch.inference_mode(False):
                self.contents[value] = tensor.detach().clone()
        else:
            with self.own_work():
                self.contents[value] = tensor.detach()
            self._resident[storage].append(value)
        self._alive.append(tensor)
        if storage[0] == "storage":
            self._alive.append(tensor.untyped_storage())

    def rescue(self, tensor: Tensor) -> None:
        """Copy the values that live where a kernel is about to write."""
        residents = self._resident.pop(storage_of(tensor), None)
        if residents:
            with self.own_work(), torch.inference_mode(False), torch.no_grad():
                for value in residents:
                    self.contents[value] = self.contents[value].clone()

    @contextmanager
    def own_work(self) -> Generator[None]:
        """Tensor work of ours inside the block is neither recorded nor counted."""
        before, self.busy = self.busy, True
        try:
            yield
        finally:
            self.busy = before


def storage_of(tensor: Tensor) -> tuple[str, int]:
    """The memory a tensor lives in; a tensor without plain storage (sparse, nested) stands for itself."""
    if tensor.layout != torch.strided or tensor.is_nested:
        return ("tensor", id(tensor))
    try:
        return ("storage", tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):  # a wrapper of torch.func, a tensor subclass without memory of its own
        return ("tensor", id(tensor))


def gradient_edge(tensor: Tensor) -> GradientEdge | None:
    """Where the gradient with respect to this tensor, as it is now, arrives."""
    if not tensor.requires_grad:
        return None
    with torch.inference_mode(False), torch.enable_grad():
        if tensor.grad_fn is None:  # a leaf; or a view made under no_grad, which claims to require a gradient and has no place in the graph
            view = tensor.view_as(tensor).grad_fn
            if view is None or view.next_functions[0][0] is None:
                return None
        return get_gradient_edge(tensor)


@cache
def _written_positions(kernel: torch._ops.OpOverload) -> tuple[tuple[int, str], ...]:
    arguments = kernel._schema.arguments
    return tuple((i, a.name) for i, a in enumerate(arguments) if a.alias_info is not None and a.alias_info.is_write)


@cache
def _statistics_positions(kernel: torch._ops.OpOverload) -> dict[str, int]:
    """Batch normalisation's kernels update running statistics without saying so in their schema."""
    positions = {argument.name: i for i, argument in enumerate(kernel._schema.arguments)}
    if kernel._schema.name.endswith("_backward") or not {"running_mean", "running_var"} <= set(positions):
        return {}
    return {name: positions[name] for name in ("running_mean", "running_var", "training", "train") if name in positions}


def _written(kernel: torch._ops.OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Tensor]:
    """The argument tensors that the kernel writes to."""

    def argument(position: int, name: str) -> Any:
        return kwargs[name] if name in kwargs else args[position] if position < len(args) else None

    found = [argument(position, name) for position, name in _written_positions(kernel)]
    statistics = _statistics_positions(kernel)
    training = any(argument(statistics[name], name) for name in ("training", "train") if name in statistics)
    if training:
        found += [argument(statistics[name], name) for name in ("running_mean", "running_var")]
    return tensors(found)


@cache
def _composite(kernel: torch._ops.OpOverload) -> bool:
    key = torch._C.DispatchKey.CompositeImplicitAutograd
    return kernel.has_kernel_for_dispatch_key(key) and not kernel.has_kernel_for_dispatch_key(torch._C.DispatchKey.CPU)


def kernel_name(kernel: torch._ops.OpOverload) -> str:
    return kernel._schema.name.split("::")[-1]


def _random(kernel: torch._ops.OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether this call of the kernel draws random numbers."""
    name = kernel_name(kernel)
    if torch.Tag.nondeterministic_seeded not in kernel.tags and name not in ("random", "random_"):
        return False
    for position, argument in enumerate(kernel._schema.arguments):  # dropout inside a fused kernel may be switched off
        if argument.name in ("dropout_p", "dropout", "train", "training"):
            given = kwargs.get(argument.name, args[position] if position < len(args) else argument.default_value)
            if given is False or given == 0:
                return False
    return True


def shows_draw(kernel: torch._ops.OpOverload) -> bool:
    """Whether the draw of a random kernel can be seen from outside."""
    name = kernel_name(kernel)
    return name in _DROPOUTS | _NOISES | _DRAWS or (name.endswith("_") and name[:-1] in _DRAWS)


def drawn(kernel: torch._ops.OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> Tensor:
    """The random draw that a kernel made, for kernels that show it."""
    name = kernel_name(kernel)
    if name in _DROPOUTS:
        return result[1]
    if name in _NOISES:
        return args[1]
    return args[0] if name.endswith("_") else result


def repeated(kernel: torch._ops.OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any], draw: Tensor) -> Any:
    """What the kernel gives when it makes this draw."""
    name = kernel_name(kernel)
    if name in _DROPOUTS:
        x: Tensor = args[0]
        p = kwargs["p"] if "p" in kwargs else args[1]
        wide = torch.promote_types(x.dtype, torch.float32)  # the kernels compute half precision in float32
        return ((x.to(wide) * draw) * (0.0 if p == 1 else 1.0 / (1.0 - p))).to(x.dtype), draw.clone()
    if name in _NOISES:
        args[1].copy_(draw)
        return args[0].mul_(draw) if name.endswith("_") else args[0] * draw.to(args[0].dtype)
    if name.endswith("_"):
        return args[0].copy_(draw)
    if "out" in kwargs:
        return kwargs["out"].copy_(draw)
    dtype = kwargs.get("dtype") or (args[0].dtype if args and isinstance(args[0], Tensor) and args[0].is_floating_point() else None)
    return draw.to(dtype, copy=True) if dtype and draw.is_floating_point() else draw.clone()


def generator_access(device: torch.device) -> tuple[Callable[[], Tensor], Callable[[Tensor], None]]:
    """Reading and setting the state of a device's random generator."""
    if device.type == "cpu":
        return torch.get_rng_state, torch.set_rng_state
    module = torch.get_device_module(device)
    if device.type == "mps":  # there is only one
        return module.get_rng_state, module.set_rng_state
    return partial(module.get_rng_state, device), partial(module.set_rng_state, device=device)


def _device_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> torch.device:
    return next((tensor.device for tensor in tensors((args, kwargs))), torch.device("cpu"))


def generator_state(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """The state of the random generator that a kernel with these arguments uses."""
    return generator_access(_device_of(args, kwargs))[0]()


def run_from_state(kernel: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], state: Tensor) -> Any:
    """Run a kernel from this state of the random generator, and put the generator back."""
    read, write = generator_access(_device_of(args, kwargs))
    before = read()
    write(state.cpu())
    try:
        return kernel(*args, **kwargs)
    finally:
        write(before)


def surroundings_now(device_types: tuple[str, ...], makes_from_nothing: bool) -> Surroundings:
    """The modes in force; `makes_from_nothing` when no argument is a tensor, so that the default device decides."""
    autocast = tuple((kind, torch.get_autocast_dtype(kind)) for kind in device_types if torch.is_autocast_enabled(kind))
    device = torch.get_default_device() if makes_from_nothing else None
    return Surroundings(torch.is_grad_enabled(), torch.is_inference_mode_enabled(), autocast, device)


@contextmanager
def surrounded(modes: Surroundings, mixed_precision: bool) -> Generator[None]:
    """Run the block under the modes that were in force when the operation was recorded."""
    with ExitStack() as stack:
        if modes.inference != torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(modes.inference))
        stack.enter_context(torch.set_grad_enabled(modes.gradient))
        for kind, dtype in modes.autocast if mixed_precision else ():
            stack.enter_context(torch.autocast(kind, dtype=dtype))
        if modes.default_device is not None:
            stack.enter_context(modes.default_device)
        yield


@contextmanager
def visible_dropout(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Generator[None]:
    """On an accelerator, fused attention and recurrent kernels keep their dropout masks to themselves: use the plain ones when they drop.

    Scaled dot-product attention takes its mathematical form, recurrent networks leave cuDNN. Nothing changes without dropout.
    """
    device = _device_of(args, kwargs).type
    with ExitStack() as stack:
        if device != "cpu" and name in ("scaled_dot_product_attention", "multi_head_attention_forward"):
            if name == "multi_head_attention_forward":
                drops = kwargs.get("dropout_p", args[10] if len(args) > 10 else 0.0) and kwargs.get("training", True)
            else:
                drops = kwargs.get("dropout_p", args[4] if len(args) > 4 else 0.0)
            if drops:
                stack.enter_context(torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH))
        elif device != "cpu" and name in ("lstm", "gru", "rnn_tanh", "rnn_relu"):
            numbers = [item for item in args if isinstance(item, float)]  # the only float argument is the dropout probability
            if any(numbers):
                stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        yield
