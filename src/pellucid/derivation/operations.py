"""One recorded operation by itself, done again by PyTorch: for operations without a rule, and to tell which of several steps is wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from pellucid.core.trace import Operation, Reference, Trace
from pellucid.core.trace.records import Value, mapped
from pellucid.core.trace.replay import Replay


class Alone:
    """An operation cut out of its trace: its arguments are leaves, and nothing else is computed."""

    def __init__(self, trace: Trace, operation: Operation) -> None:
        taken = [*operation.inputs(), *(before for before, _ in operation.written)]
        made = [reference for reference in operation.results() if reference not in taken]
        self.index: dict[int, int] = {}  # the trace's value -> its place here
        self.values: list[Value] = []
        for reference in (*taken, *operation.draws, *made):
            if reference.value not in self.index:
                self.index[reference.value] = len(self.values)
                leaf = {"operation": None, "previous": None} if reference not in made else {"operation": 0}
                self.values.append(dataclasses.replace(trace[reference], index=len(self.values), **leaf))

        def renamed(reference: Reference) -> Reference:
            return Reference(self.index[reference.value])

        self.operation = dataclasses.replace(
            operation, index=0, **{name: mapped(getattr(operation, name), Reference, renamed) for name in ("args", "outputs", "draws")},
            kwargs=mapped(dict(operation.kwargs), Reference, renamed),
            written=tuple((renamed(before), renamed(after)) for before, after in operation.written),
        )  # fmt: skip
        self.tensors: dict[int, Tensor | None] = {}  # of the last run: what the trace's values are there
        self.inputs, self.results = [r.value for r in dict.fromkeys(taken)], [r.value for r in made]

    def run(self, leaves: Mapping[int, np.ndarray] | None = None) -> dict[int, Value]:
        """The values it takes and makes, by the trace's numbers; `leaves` in the place of recorded arguments."""
        given = {self.index[value]: torch.from_numpy(np.array(array)) for value, array in (leaves or {}).items()}
        with torch.inference_mode(False), torch.enable_grad():
            replay = Replay([self.operation], self.values, torch.float64, torch.device("cpu"))
            values = replay.run(given)
        self.tensors = {value: replay.variables.get(self.values[place].variable) for value, place in self.index.items()}
        return {value: values[place] for value, place in self.index.items()}


def local_gradients(alone: Alone, arriving: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
    """PyTorch's gradient of each argument of one operation, given the gradients that arrive at its results (by the trace's numbers)."""
    values = alone.run()
    outputs = [
        (alone.tensors[index], gradient) for index, gradient in arriving.items() if index in values and values[index].edge is not None
    ]
    wanted = {index: edge for index in alone.inputs if (edge := values[index].edge) is not None}
    if not outputs or not wanted:
        return {}
    with torch.inference_mode(False), torch.enable_grad():  # one number: with grad_outputs PyTorch would load sympy, which takes a second
        terms = [(tensor * torch.from_numpy(np.array(gradient)).conj()).sum().real for tensor, gradient in outputs if tensor is not None]
        found = torch.autograd.grad(torch.stack(terms).sum(), list(wanted.values()), allow_unused=True)
    return {
        index: gradient.detach().resolve_conj().resolve_neg().numpy()
        for index, gradient in zip(wanted, found, strict=True)
        if gradient is not None
    }
