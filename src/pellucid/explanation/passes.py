"""What stands around our own passes through a network: embeddings that can be replaced, and dropout that is drawn once.

Integers have no gradient. A token reaches the network through an embedding, so the pass meets `F.embedding` (and embedding bags and
one-hot codes) wherever its index comes from an integer input, and gives it a tensor of ours: a point that can be moved and differentiated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pellucid.core.trace.names import operation_name
from pellucid.core.trace.records import mapped, tensors

_RANDOM = {"dropout", "dropout1d", "dropout2d", "dropout3d", "feature_dropout", "alpha_dropout", "feature_alpha_dropout"}


@dataclass(eq=False)
class Place:
    """An embedding call of one pass: its output, and for each of its indices which entry of which integer input it came from."""

    output: Tensor  # (n, ..., D)
    input: int  # which input
    entries: Tensor  # (n, ...) flat position within a sample of that input
    kind: str  # "embedding" or "one_hot"
    padding: int | None = None


class Pass(TorchFunctionMode):
    """One pass: `places` are filled in order; with `given`, the k-th embedding call gives given[k] instead of its own output.

    `integers` are the integer inputs by their position. `meet`, where given, is asked about every call: it gives the call's result or
    NotImplemented.
    """

    def __init__(
        self,
        integers: Mapping[int, Tensor],
        given: Sequence[Tensor] | None = None,
        *,
        seed: int = 0,
        meet: Callable[[Any, tuple[Any, ...], Mapping[str, Any]], Any] | None = None,
    ) -> None:
        super().__init__()
        self.given, self.seed, self.meet = given, seed, meet
        self.places: list[Place] = []
        self.lost: list[str] = []  # embeddings whose index comes from an input in a way that we cannot follow
        self.dropouts = 0  # calls that drop at random
        self._alive: list[Tensor] = list(integers.values())  # ids stay valid as long as the tensors live
        self._origin: dict[int, tuple[int, Tensor | None]] = {}  # id of an integer tensor -> its input and its entries' positions
        for position, tensor in integers.items():
            size = tensor[0].numel() if len(tensor) else 0
            entries = torch.arange(size, device=tensor.device).expand(len(tensor), size).reshape(tensor.shape)
            self._origin[id(tensor)] = (position, entries)

    @property
    def needed(self) -> bool:
        """Whether it does more than look for dropout."""
        return bool(self._origin) or self.meet is not None

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        name = operation_name(func)
        if name in _RANDOM and _drops(name, args, kwargs):
            self.dropouts += 1
            if name in ("dropout", "dropout1d", "dropout2d", "dropout3d", "feature_dropout"):
                return self._dropped(name, args, kwargs)
        if self._origin:
            if name in ("embedding", "embedding_bag", "one_hot"):
                met = self._embedded(name, func, args, kwargs)
                if met is not NotImplemented:
                    return met
            elif any(id(tensor) in self._origin for tensor in tensors((args, kwargs))):
                result = func(*args, **kwargs)
                self._follow(name, func, args, kwargs, result)
                return result
        if self.meet is not None:
            met = self.meet(func, args, kwargs)
            if met is not NotImplemented:
                return met
        return func(*args, **kwargs)

    def _embedded(self, name: str, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        bound = dict(zip(("input", "weight") if name != "one_hot" else ("input", "num_classes"), args, strict=False)) | dict(kwargs)
        index = bound.get("input", bound.get("self"))
        if id(index) not in self._origin:
            return NotImplemented
        origin, entries = self._origin[id(index)]
        if entries is None:
            self.lost.append(name)
            return NotImplemented
        if name == "embedding_bag":
            return self._bag(func, args, kwargs, bound, origin, entries)
        output = func(*args, **kwargs)
        kind = "embedding" if name == "embedding" else "one_hot"
        padding = bound.get("padding_idx", args[2] if name == "embedding" and len(args) > 2 else None)
        return self._point(output if kind == "embedding" else output.to(torch.get_default_dtype()), origin, entries, kind, padding)

    def _bag(
        self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], bound: Mapping[str, Any], origin: int, entries: Tensor
    ) -> Any:
        """A bag is an embedding and a mean, sum or maximum: done in two steps, so that its words can be told apart."""
        parameters = ("input", "weight", "offsets", "max_norm", "norm_type", "scale_grad_by_freq", "mode", "sparse", "per_sample_weights")
        bound = {**dict(zip(parameters, args, strict=False)), **bound}
        index, padding, mode = bound["input"], bound.get("padding_idx"), bound.get("mode", "mean")
        if index.dim() != 2 or bound.get("offsets") is not None or bound.get("max_norm") is not None:
            self.lost.append("embedding_bag")
            return NotImplemented
        words = self._point(F.embedding(index, bound["weight"]), origin, entries, "embedding", padding)  # (n, T, D)
        kept = torch.ones_like(index, dtype=torch.bool) if padding is None else index != padding
        weights = bound.get("per_sample_weights")
        kept = kept[..., None]
        if mode == "max":
            found = words.masked_fill(~kept, float("-inf")).amax(1)
            return torch.where(kept.any(1), found, torch.zeros_like(found))
        total = (words * kept * (1 if weights is None else weights[..., None])).sum(1)
        return total if mode == "sum" else total / kept.sum(1).clamp(min=1)

    def _point(self, output: Tensor, origin: int, entries: Tensor, kind: str, padding: int | None) -> Tensor:
        number = len(self.places)
        if self.given is not None and number < len(self.given):
            output = self.given[number]
        self.places.append(Place(output, origin, entries, kind, padding))
        return output.clone() if output.requires_grad and output.is_leaf else output  # the program may write into it

    def _follow(self, name: str, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> None:
        """What is computed from integer inputs: views keep track of which entry is where, sums with constants too, the rest does not."""
        found = [item for item in tensors(result) if not item.is_floating_point() and not item.is_complex() and item.dtype != torch.bool]
        if not found:
            return
        source = next(self._origin[id(tensor)] for tensor in tensors((args, kwargs)) if id(tensor) in self._origin)
        origin, entries = source
        moved: list[Tensor] = []
        if entries is not None and name in MOVES:
            swap = {id_: pair[1] for id_, pair in self._origin.items() if pair[0] == origin}
            again_args, again_kwargs = _swapped((args, dict(kwargs)), swap)
            moved = tensors(func(*again_args, **again_kwargs)) if again_args is not None else []
        for position, item in enumerate(found):
            if name in MOVES and position < len(moved) and moved[position].shape == item.shape:
                place: Tensor | None = moved[position]
            elif name not in MOVES and entries is not None and item.shape == entries.shape and name in _ENTRYWISE:
                place = entries
            else:
                place = None
            self._alive.append(item)
            self._origin[id(item)] = (origin, place)

    def _dropped(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
        """Dropout with one mask for every sample and every pass: one thinned network, the same function whatever the batch holds."""
        bound = dict(zip(("input", "p", "training"), args, strict=False)) | dict(kwargs)
        values, p = bound["input"], float(bound.get("p", 0.5))
        shape = list(values.shape)
        shape[0] = 1
        if name != "dropout":  # whole channels
            shape[2:] = [1] * (len(shape) - 2)
        generator = torch.Generator().manual_seed(self.seed + self.dropouts)
        kept = (torch.rand(shape, generator=generator) >= p).to(values)
        return values * (kept / (1 - p) if p < 1 else kept)


MOVES = {
    "getitem", "select", "narrow", "transpose", "t", "permute", "reshape", "view", "flatten", "unflatten", "squeeze", "unsqueeze", "unbind",
    "chunk", "split", "contiguous", "clone", "detach", "expand", "flip", "roll", "movedim", "index_select", "tensor_split", "view_as", "mT",
}  # fmt: skip
_ENTRYWISE = {"to", "long", "int", "type", "add", "sub", "mul", "remainder", "clamp", "where", "masked_fill", "type_as", "abs"}


def _swapped(structure: Any, swap: Mapping[int, Tensor | None]) -> Any:
    return mapped(structure, Tensor, lambda tensor: swap[id(tensor)] if swap.get(id(tensor)) is not None else tensor)


def _drops(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    bound = dict(zip(("input", "p", "training"), args, strict=False)) | dict(kwargs)
    training = bound.get("training", bound.get("train", name not in ("alpha_dropout", "feature_alpha_dropout")))
    p = bound.get("p", 0.5)
    return bool(training) and p > 0
