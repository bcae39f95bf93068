"""Layer-wise relevance propagation: the output handed back through every operation in proportion to what its inputs brought to it.

The derivative of each operation is exchanged for relevance per unit of activation, R / a, on one pass of the sample itself (there is no
reference): what is linear hands it back by its derivative, so that sums, pooling and reshapes share it by what came through them;
functional calls, activations used twice and residual sums are met where they run. Batch norm after a layer with weights is folded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pellucid.core.errors import ModelError
from pellucid.core.language import Text, text
from pellucid.explanation.methods.multipliers import POOLS, Replaced, Rules, Untreated
from pellucid.explanation.players import Players
from pellucid.explanation.reference import Reference
from pellucid.explanation.registry import Attributed, applicable, method
from pellucid.explanation.subject import Subject, Tell

EPSILON = 1e-6  # of a layer's largest output: it keeps quotients finite and takes nothing that could be seen
CONVOLUTIONS = {"conv1d", "conv2d", "conv3d"}
ACTIVATIONS = {
    "relu", "relu6", "leaky_relu", "prelu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "softsign", "sigmoid", "tanh",
    "hardsigmoid", "hardswish", "hardtanh", "clamp", "clamp_min",
}  # fmt: skip
SUMS = {"add", "sub", "rsub", "cat", "stack", "hstack", "vstack", "dstack", "where", "setitem", "broadcast_tensors"}


class Relevance(Rules):
    """The rules of one pass. `plus`: z+ in convolutions, else epsilon everywhere.

    epsilon  R_j = sum_k a_j w_jk / (z_k + e sign z_k) R_k              Source: Bach et al. 2015, equations 56 and 58
    z+       R_j = sum_k (a_j w_jk)^+ / (sum_i (a_i w_ik)^+ + b_k^+) R_k  Source: Bach et al. 2015, equation 60, alpha = 1 and beta = 0
    An activation hands its relevance on as it is; a maximum, to the entry that was largest.
    """

    def __init__(self, plus: bool) -> None:
        super().__init__()
        self.plus = plus
        self.made: dict[int, tuple[Tensor, int, Callable[..., Tensor]]] = {}  # id of a layer's output: it, its version, the layer again

    def _ruled(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], dependent: list[Tensor]) -> Any:
        one = all(tensor is dependent[0] for tensor in dependent)
        if name in ACTIVATIONS and one:
            return _handed_on(func(dependent[0].detach(), *args[1:], **{k: v for k, v in kwargs.items() if k != "input"}), dependent[0])
        if (name in POOLS or name in ("max", "amax")) and one:
            return func(*args, **kwargs)  # its derivative is that of the largest entry
        if name in (*CONVOLUTIONS, "linear") and one and (args[0] if args else kwargs["input"]) is dependent[0]:
            return self._weighted(name, func, args, kwargs, dependent[0])
        if name == "batch_norm" and one:
            return self._normalised(args, kwargs, dependent[0])
        if (len(dependent) > 1 and name not in SUMS) or (name in ("div", "true_divide") and args[0] is not dependent[0]):
            raise Untreated(name)
        return NotImplemented

    def _weighted(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], x: Tensor) -> Tensor:
        bound = {**dict(zip(("input", "weight", "bias"), args, strict=False)), **kwargs}
        more = {key: value for key, value in bound.items() if key not in ("input", "weight", "bias")}

        def layer(gain: Tensor | float = 1.0, shift: Tensor | float = 0.0) -> Tensor:
            """The layer with its outputs times `gain` plus `shift`, each (channels,)."""
            weight, bias = bound["weight"].detach(), bound.get("bias")
            if isinstance(gain, Tensor):
                weight = weight * gain.reshape(-1, *[1] * (weight.dim() - 1))
            bias = shift + (0.0 if bias is None else bias.detach() * gain)
            bias = bias if isinstance(bias, Tensor) else weight.new_full((len(weight),), bias)

            def run(a: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
                return func(a, w, b, *args[3:], **more)

            with torch.no_grad():
                value = run(x, weight, bias)
                share = value / _away_from_zero(value)
            if not (self.plus and name in CONVOLUTIONS):
                return Replaced.apply(run(x, weight, None) * share, value)
            raising = run(x.clamp(min=0), weight.clamp(min=0), None) + run(x.clamp(max=0), weight.clamp(max=0), None)
            with torch.no_grad():
                z = raising + bias.clamp(min=0).reshape(-1, *[1] * (value.dim() - 2))
                share = value / _away_from_zero(z)
            return Replaced.apply(raising * share, value)

        result = layer()
        self.made[id(result)] = (result, result._version, layer)
        return result

    def _normalised(self, args: tuple[Any, ...], kwargs: dict[str, Any], x: Tensor) -> Tensor:
        """Batch norm as part of the layer before it; elsewhere it hands relevance on as it is."""
        names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
        bound = {**dict(zip(names, args, strict=False)), **kwargs}
        mean, variance, weight, bias = (None if bound.get(k) is None else bound[k].detach() for k in names[1:5])
        if mean is None or variance is None or bound.get("training"):
            raise Untreated("batch_norm without running statistics")
        gain = torch.rsqrt(variance + bound.get("eps", 1e-5))
        gain = gain if weight is None else gain * weight
        shift = (0.0 if bias is None else bias) - mean * gain
        _, version, layer = self.made.get(id(x), (None, None, None))
        if layer is not None and version == x._version:  # nothing was written into it since
            return layer(gain, shift)
        shape = (-1, *[1] * (x.dim() - 2))
        return _handed_on(x.detach() * gain.reshape(shape) + shift.reshape(shape), x)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
        raise Untreated("attention")


def _handed_on(value: Tensor, x: Tensor) -> Tensor:
    """f(x) whose relevance goes to x as it is: R / x = R / f(x) * f(x) / x."""
    return Replaced.apply(x * (value / _away_from_zero(x.detach())), value)


def _away_from_zero(z: Tensor) -> Tensor:
    """z + e sign z, e small against the sample's largest entry."""
    largest = z.abs().reshape(len(z), -1).amax(1).reshape(-1, *[1] * (z.dim() - 1))
    return z + torch.where(z < 0, -1.0, 1.0).to(z) * (EPSILON * largest + torch.finfo(z.dtype).tiny)


@method("lrp", family="gradient", needs=("gradient", "relevance"), compares=False, draws=False)
def lrp(
    subject: Subject, *, reference: Reference, players: Players, generator: torch.Generator, samples: int | None, tell: Tell
) -> Attributed:
    """The relevance of each entry: z+ in convolutions, epsilon elsewhere; in a network without convolutions epsilon everywhere.

    Source: the composite LRP_CMP with alpha = 1 of Kohlbrenner et al. 2020, without a flat rule for the first layer.
    """
    return _relevance(subject, plus=True)


@method("lrp_epsilon", family="gradient", needs=("gradient", "relevance"), compares=False, draws=False)
def lrp_epsilon(
    subject: Subject, *, reference: Reference, players: Players, generator: torch.Generator, samples: int | None, tell: Tell
) -> Attributed:
    """The relevance of each entry with the epsilon rule everywhere. Where all activations are ReLU this is input x gradient.

    Source: Bach et al. 2015, equations 56 and 58; as a derivative whose activations have f(z) / z for f'(z): Ancona et al. 2018,
    proposition 1.
    """
    return _relevance(subject, plus=False)


def _relevance(subject: Subject, plus: bool) -> Attributed:
    points = subject.points(subject.inputs)

    def run(rows: slice) -> tuple[Tensor, list[Tensor]]:
        own = tuple(tensor[rows] for tensor in subject.inputs)
        with subject.surrounded(gradient=True):
            leaves = tuple(point[rows].detach().requires_grad_() for point in points)
            outputs = subject.run_points(leaves, own, meet=Relevance(plus).meet)
            values = subject.chosen(outputs, None if subject.target is None else subject.target[rows])
            slopes = subject.slopes(values, leaves)
        return values.detach(), [torch.zeros_like(x) if s is None else x.detach() * s for x, s in zip(leaves, slopes, strict=True)]

    try:
        pieces = subject.batched(subject.samples, run)
    except Untreated as error:
        raise ModelError(
            _no_rule(error),
            text("layers with weights, their normalisation, activations, sums and pooling"),
            text("these can be applied: {names}", names=[name for name in applicable(subject) if not name.startswith("lrp")]),
        ) from None
    values = torch.cat([value for value, _ in pieces])
    found = [torch.cat(parts) for parts in zip(*(parts for _, parts in pieces), strict=True)]
    rest = values - sum((part.reshape(len(part), -1).sum(1) for part in found), torch.zeros_like(values))
    held = (rest.abs() / values.abs().clamp(min=torch.finfo(values.dtype).tiny)).max()
    note = text("the relevance of the entries adds up to the output itself but for {share} of it, which constants such as biases hold "
                "(the sample with the most)", share=f"{float(held):.3g}")  # fmt: skip
    return Attributed(subject.gathered(found), notes=(note,))


def obstacle(subject: Subject) -> Text | None:
    """Which operation has no rule; None where all of them have one."""
    if any(isinstance(module, torch.jit.ScriptModule) for module in subject.model.modules()):
        return text("the operations inside TorchScript cannot be seen")
    first = tuple(tensor[:1] for tensor in subject.inputs)
    points = subject.points(first)
    try:
        with subject.surrounded(gradient=True):
            subject.run_points(tuple(point.detach().requires_grad_() for point in points), first, meet=Relevance(plus=False).meet)
    except Untreated as error:
        return _no_rule(error)
    return None


def _no_rule(error: Untreated) -> Text:
    return text("layer-wise relevance propagation has no rule for the operation {name}", name=error.name)
