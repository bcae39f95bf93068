"""Muon: momentum, made orthogonal, for the weights of hidden layers; Adam for everything else.

The gradient of a hidden weight matrix is dominated by a few directions. Muon replaces the (Nesterov) momentum M = U S V^T of the matrix by
about U V^T: every direction that occurs is learnt at the same speed. A convolution's filters (O, C, h, w) are the matrix (O, C h w).

    v <- mu v + g,   M = g + mu v,   w <- w - eta sqrt(max(1, rows / columns)) NS(M)

Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks" (kellerjordan.github.io/posts/muon); decoupled weight
decay w <- w - eta lambda w as Liu et al. 2025 (arXiv 2502.16982, equation 3). Embeddings, the output layer, biases and normalisation
parameters are Adam's, as both advise.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pellucid.training.cost import bfloat16_is_fast

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # Jordan et al. 2024: the steepest slope at zero that keeps singular values near one
ITERATIONS = 5
ADAM_DECAY = 0.95  # of the mean square
VECTOR_FACTOR = 1 / 3  # biases and normalisation parameters learn with this times the rate (Jordan 2024: 0.08 to 0.24)
EPSILON = 1e-8


def orthogonalized(matrix: Tensor, iterations: int = ITERATIONS) -> Tensor:
    """About U V^T for `matrix` = U S V^T, (rows, columns): each singular value s, of the matrix scaled to norm 1, becomes p(p(...p(s))).

        p(s) = 3.4445 s - 4.7750 s^3 + 2.0315 s^5:   X <- a X + (b X X^T + c (X X^T)^2) X

    After five iterations the singular values lie between about 0.7 and 1.2, but for those that were next to nothing beside the largest: a
    factor that makes no difference to learning. The arithmetic is bfloat16 where the processor has it: the iteration forgives its rounding.
    """
    a, b, c = NEWTON_SCHULZ
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = wide / (wide.norm() + 1e-7)
    if x.dtype == torch.float32 and bfloat16_is_fast(x.device):
        x = x.bfloat16()
    for _ in range(iterations):
        square = x @ x.T
        x = a * x + (b * square + c * (square @ square)) @ x
    return (x if matrix.shape[0] <= matrix.shape[1] else x.T).to(matrix.dtype)


class Muon(Optimizer):
    """Groups with `kind` "orthogonal" are updated by Muon, those with "adam" by Adam (beta 1 is `momentum`, beta 2 0.95).

    "scale_free" is Muon for weights whose size has no effect on the output, since a normalisation follows: before each update they are
    scaled to norm sqrt(rows), so that the rate is the relative size of an update. Source: Jordan 2024, airbench94_muon. A group's
    `rate_factor` multiplies the learning rate.
    """

    def __init__(self, groups: Any, lr: float = 0.02, momentum: float = 0.95, weight_decay: float = 0.0) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "kind": "orthogonal", "rate_factor": 1.0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        for group in self.param_groups:
            rate = float(group["lr"]) * group["rate_factor"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if group["weight_decay"] and group["kind"] != "scale_free":
                    parameter.mul_(1 - rate * group["weight_decay"])
                if group["kind"] == "adam":
                    self._adam(parameter, rate, group["momentum"])
                else:
                    self._muon(parameter, rate, group["momentum"], scale_free=group["kind"] == "scale_free")

    def _muon(self, parameter: Tensor, rate: float, momentum: float, *, scale_free: bool) -> None:
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        velocity = state["momentum_buffer"].mul_(momentum).add_(gradient)
        rows = len(parameter)
        direction = orthogonalized((gradient + momentum * velocity).reshape(rows, -1)).reshape(parameter.shape)
        if scale_free:
            parameter.mul_(rows**0.5 / (parameter.norm() + 1e-7))
        else:
            rate *= max(1.0, rows**2 / parameter.numel()) ** 0.5
        parameter.add_(direction, alpha=-rate)

    def _adam(self, parameter: Tensor, rate: float, momentum: float) -> None:
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None
        if "step" not in state:
            state.update(step=0, exp_avg=torch.zeros_like(parameter), exp_avg_sq=torch.zeros_like(parameter))
        state["step"] += 1
        mean = state["exp_avg"].lerp_(gradient, 1 - momentum)
        square = state["exp_avg_sq"].mul_(ADAM_DECAY).addcmul_(gradient, gradient, value=1 - ADAM_DECAY)
        scale = (square / (1 - ADAM_DECAY ** state["step"])).sqrt_().add_(EPSILON)
        parameter.addcdiv_(mean, scale, value=-rate / (1 - momentum ** state["step"]))


def muon_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The trainable parameters by what they are: hidden weights, embeddings and the output layer, vectors.

    The output layer is the last registered layer with a weight of two or more dimensions. A network that knows which of its weights a
    normalisation follows says so by a method `scale_free_parameters()`.
    """
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    embedded = {id(module.weight) for module in network.modules() if isinstance(module, (nn.Embedding, nn.EmbeddingBag))}
    told = getattr(network, "scale_free_parameters", None)
    free = {id(parameter) for parameter in cast("list[Tensor]", told())} if callable(told) else set[int]()
    matrices = [parameter for parameter in trainable if parameter.ndim >= 2]
    last = id(matrices[-1]) if len(matrices) > 1 else None
    adams = [parameter for parameter in matrices if id(parameter) in embedded or (id(parameter) == last and id(parameter) not in free)]
    taken = {id(parameter) for parameter in adams}
    hidden = [parameter for parameter in matrices if id(parameter) not in taken]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in hidden if id(p) not in free], "kind": "orthogonal", "weight_decay": weight_decay},
        {"params": [p for p in hidden if id(p) in free], "kind": "scale_free", "weight_decay": 0.0},
        {"params": adams, "kind": "adam", "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "kind": "adam", "weight_decay": 0.0, "rate_factor": VECTOR_FACTOR},
    ]
    return [group for group in groups if group["params"]]
