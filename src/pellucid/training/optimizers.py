"""The optimisers: torch.optim, with the textbook's names, one table of what each does, and fused kernels where they exist.

w is a parameter, g its gradient, eta the learning rate, lambda the weight decay, mu the momentum. Weight decay is L2 regularisation,
g <- g + lambda w, but for adamw, where it is decoupled, w <- w - eta lambda w. The two are equal for plain SGD only (Loshchilov and
Hutter 2019, proposition 1): Adam, RMSProp and Adagrad divide the L2 term by the gradients' scale.

Biases and normalisation parameters (everything with fewer than two dimensions) are not decayed: see `regularization.penalized_parameters`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from pellucid.core.errors import ModelError, OptionError, OptionTypeError, did_you_mean
from pellucid.core.language import text
from pellucid.training.muon import Muon, muon_groups


@dataclass(frozen=True)
class OptimizerEntry:
    """One row of the table."""

    constructor: Callable[..., Optimizer]
    equation: str  # LaTeX
    source: str
    momentum: float | None  # its customary value; None: the method has none
    momentum_name: str = "momentum"  # "betas": the momentum is the first of two
    fused: bool = True  # torch has a fused kernel, on some devices


OPTIMIZERS: dict[str, OptimizerEntry] = {
    "sgd": OptimizerEntry(torch.optim.SGD, r"w \leftarrow w - \eta g", "Robbins and Monro 1951", 0.0),
    "momentum": OptimizerEntry(
        torch.optim.SGD, r"v \leftarrow \mu v + g, \; w \leftarrow w - \eta v", "Polyak 1964; Sutskever et al. 2013, equations 1 and 2", 0.9
    ),
    "nesterov": OptimizerEntry(
        functools.partial(torch.optim.SGD, nesterov=True),
        r"v \leftarrow \mu v + g, \; w \leftarrow w - \eta (g + \mu v)",
        "Nesterov 1983; Sutskever et al. 2013, equations 3 and 4",
        0.9,
    ),
    "adagrad": OptimizerEntry(
        torch.optim.Adagrad,
        r"s \leftarrow s + g^2, \; w \leftarrow w - \eta g / (\sqrt{s} + \epsilon)",
        "Duchi et al. 2011, section 1.1",
        None,
    ),
    "rmsprop": OptimizerEntry(
        torch.optim.RMSprop,
        r"s \leftarrow 0.99 s + 0.01 g^2, \; w \leftarrow w - \eta g / (\sqrt{s} + \epsilon)",
        "Tieleman and Hinton 2012, lecture 6.5",
        0.0,
        fused=False,
    ),
    "adam": OptimizerEntry(
        torch.optim.Adam,
        r"m \leftarrow \mu m + (1 - \mu) g, \; s \leftarrow 0.999 s + 0.001 g^2, "
        r"w \leftarrow w - \eta \hat{m} / (\sqrt{\hat{s}} + \epsilon)",
        "Kingma and Ba 2015, algorithm 1",
        0.9,
        "betas",
    ),
    "adamw": OptimizerEntry(
        torch.optim.AdamW,
        r"w \leftarrow w - \eta \lambda w, \; \text{then as Adam}",
        "Loshchilov and Hutter 2019, algorithm 2",
        0.9,
        "betas",
    ),
    "radam": OptimizerEntry(
        torch.optim.RAdam,
        r"m, s \text{ as Adam}; \rho = \rho_\infty - 2 t \cdot 0.999^t / (1 - 0.999^t), \; \rho_\infty = 1999; \; "
        r"w \leftarrow w - \eta \hat{m} r / \sqrt{\hat{s}} \text{ with } "
        r"r = \sqrt{(\rho - 4) (\rho - 2) \rho_\infty / ((\rho_\infty - 4) (\rho_\infty - 2) \rho)} \text{ if } \rho > 5, "
        r"\text{ else } w \leftarrow w - \eta \hat{m}",
        "Liu et al. 2020, algorithm 2",
        0.9,
        "betas",
        fused=False,
    ),
    "muon": OptimizerEntry(
        Muon,
        r"v \leftarrow \mu v + g, \; U S V^T = g + \mu v, \; w \leftarrow w - \eta \lambda w - \eta U V^T \text{ (hidden layers)}",
        "Jordan et al. 2024, kellerjordan.github.io/posts/muon",
        0.95,
        fused=False,
    ),
}


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The trainable parameters, those that decay (two or more dimensions) first.

    Where nothing decays all are one group: fewer kernel calls per step. Raises ModelError where nothing is trainable.
    """
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if not trainable:
        raise ModelError(
            text("the network has no parameter to train"),
            text("at least one parameter with requires_grad=True"),
            text("unfreeze a layer, or give another network"),
        )
    if not weight_decay:
        return [{"params": trainable, "weight_decay": 0.0}]
    decayed = [parameter for parameter in trainable if parameter.ndim >= 2]
    kept = [parameter for parameter in trainable if parameter.ndim < 2]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def build_optimizer(
    optimizer: Any, network: nn.Module, *, learning_rate: float, momentum: float | None = None, weight_decay: float = 0.0
) -> Optimizer:
    """The optimiser of `network`'s trainable parameters.

    `optimizer` is a name of the table, a class of torch's kind (or a `functools.partial` of one), a function of the network that returns an
    optimiser, or an optimiser of exactly this network's parameters. `momentum=None` takes the method's custom; for Adam it is beta 1.

    Raises:
        OptionError: an unknown name, or an option that the method does not have.
        OptionTypeError: `optimizer` is none of the above.
        ModelError: nothing to train.
    """
    if not isinstance(optimizer, str):
        return _users_own(optimizer, network, learning_rate, momentum, weight_decay)
    name = optimizer.strip().lower()
    if name not in OPTIMIZERS:
        raise OptionError(
            text("optimizer is {name!r}", name=optimizer),
            text("one of the {count} optimisers", count=len(OPTIMIZERS)),
            did_you_mean(optimizer, OPTIMIZERS),
        )
    entry = OPTIMIZERS[name]
    options: dict[str, Any] = {"lr": learning_rate}
    momentum = entry.momentum if momentum is None else momentum
    if entry.momentum is None:
        if momentum:
            raise OptionError(
                text("momentum is {momentum:g} and the optimiser is {name}", momentum=momentum, name=name),
                text("{name} has no momentum", name=name),
                text("leave it out, or choose adam, rmsprop or momentum"),
            )
    elif name == "nesterov" and not momentum:
        raise OptionError(
            text("momentum is 0 and the optimiser is nesterov"),
            text("nesterov looks ahead along its momentum: above 0, customary is 0.9"),
            text("leave momentum out, or choose the optimiser sgd"),
        )
    else:
        options[entry.momentum_name] = (momentum, 0.999) if entry.momentum_name == "betas" else momentum
    if entry.constructor is Muon:
        parameter_groups(network, weight_decay)  # refuses a network with nothing to train
        return Muon(muon_groups(network, weight_decay), **options)
    groups = parameter_groups(network, weight_decay)
    sparse = any(getattr(module, "sparse", False) for module in network.modules())  # fused kernels do not take sparse gradients
    if entry.fused and not sparse:
        try:
            return entry.constructor(groups, **options, fused=True)
        except RuntimeError:  # no fused kernel for this device or number type; the constructor says so before it changes anything
            groups = parameter_groups(network, weight_decay)
    return entry.constructor(groups, **options)


def _users_own(optimizer: Any, network: nn.Module, learning_rate: float, momentum: float | None, weight_decay: float) -> Optimizer:
    factory = optimizer.func if isinstance(optimizer, functools.partial) else optimizer
    if isinstance(factory, type) and issubclass(factory, Optimizer):
        fixed = set(optimizer.keywords) if isinstance(optimizer, functools.partial) else set()
        accepted = set(inspect.signature(factory).parameters) - fixed
        options: dict[str, Any] = {"lr": learning_rate} if "lr" in accepted else {}
        if momentum and "momentum" in accepted:
            options["momentum"] = momentum
        if weight_decay and "weight_decay" not in accepted | fixed:
            raise OptionError(
                text("weight_decay is {decay:g} and {name} does not take it", decay=weight_decay, name=factory.__name__),
                text("an optimiser with the argument weight_decay"),
                text("set weight_decay=0, or choose another optimiser"),
            )
        if "weight_decay" in accepted:
            return optimizer(parameter_groups(network, weight_decay), **options)
        return optimizer(parameter_groups(network, 0.0)[0]["params"], **options)
    made = optimizer if isinstance(optimizer, Optimizer) else optimizer(network) if callable(optimizer) else None
    if not isinstance(made, Optimizer):
        raise OptionTypeError(
            text("optimizer is {value!r}", value=optimizer if made is None else made),
            text("a name, a subclass of torch.optim.Optimizer, or a function of the network that returns an optimiser"),
            text("give for example optimizer=torch.optim.Adam or optimizer=lambda network: torch.optim.Adam(network.parameters())"),
        )
    own = {id(parameter) for parameter in network.parameters()}
    held = [parameter for group in made.param_groups for parameter in group["params"]]
    foreign = sum(id(parameter) not in own for parameter in held)
    if foreign:
        raise OptionError(
            text("the optimiser holds {foreign} of {held} parameters that are not the network's", foreign=foreign, held=len(held)),
            text("an optimiser of the network that is trained"),
            text("give a function instead: optimizer=lambda network: torch.optim.Adam(network.parameters())"),
        )
    return made
