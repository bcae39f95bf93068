"""Weights that a model computes with and that are none of its parameters: kept in a list, a dict or a plain attribute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from torch import Tensor, nn

DEEP = 4  # containers within containers that are looked into


def unregistered(model: nn.Module) -> dict[str, Tensor]:
    """Path -> tensor that requires its gradient: `layers[0].weight`, `blocks.0.scale`. `model.parameters()` has none of them."""
    registered = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    found: dict[str, Tensor] = {}
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if name.startswith("_"):  # what torch.nn.Module holds itself
                continue
            for place, tensor in _weights(value, f"{path}.{name}" if path else name, 0):
                if id(tensor) not in registered:
                    registered.add(id(tensor))
                    found[place] = tensor
    return found


def _weights(value: Any, place: str, depth: int) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        if value.requires_grad and value.is_leaf:
            yield place, value
    elif isinstance(value, nn.Module):
        for name, parameter in value.named_parameters():
            if parameter.requires_grad:
                yield f"{place}.{name}", parameter
    elif depth < DEEP and isinstance(value, Mapping):
        for key, item in cast("Mapping[Any, Any]", value).items():
            yield from _weights(item, f"{place}[{key!r}]", depth + 1)
    elif depth < DEEP and isinstance(value, (list, tuple)):
        for position, item in enumerate(cast("list[Any]", value)):
            yield from _weights(item, f"{place}[{position}]", depth + 1)
