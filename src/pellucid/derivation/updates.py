"""The update: what the optimiser does to each parameter, its equations executed in NumPy beside what `optimizer.step()` does to a copy.

w is the parameter, g its gradient, eta the learning rate, lambda the weight decay, t the number of the step, counted from 1. Letters
and order are those of the papers; where torch orders them otherwise (bias correction folded into the step size), the value is the same.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.core.errors import OptionError
from pellucid.core.language import Text, text
from pellucid.derivation.comparison import error_of
from pellucid.derivation.tape import Value


@dataclass(frozen=True)
class Line:
    """One equation of an update and the number it gave."""

    equation: str  # LaTeX
    value: np.ndarray


@dataclass(frozen=True, eq=False)
class Update:
    """What one step of the optimiser does to one parameter."""

    parameter: str  # path: "fc1.weight"
    method: str  # "SGD", "Adam", ...: the optimiser's class
    settings: Mapping[str, Any]  # learning rate and the like, as the optimiser holds them for this parameter
    state: Mapping[str, np.ndarray]  # before the step
    old: np.ndarray
    gradient: np.ndarray  # before clipping and weight decay
    lines: tuple[Line, ...]  # in order; the last gives the new value; none where the method has no equation here
    new: np.ndarray  # ours; torch's where there is no equation
    theirs: np.ndarray  # what optimizer.step() made of a copy
    error: float | None  # of ours against torch's; None without an equation
    note: Text | None = None

    @property
    def equations(self) -> tuple[str, ...]:
        return tuple(line.equation for line in self.lines)

    @property
    def checked(self) -> bool:
        return self.error is not None


@dataclass
class _Sheet:
    """A parameter's equations as they are written down."""

    w: np.ndarray
    g: np.ndarray
    state: Mapping[str, np.ndarray]
    settings: Mapping[str, Any]
    t: int  # the number of this step
    lines: list[Line] = field(default_factory=lambda: list[Line]())

    def write(self, equation: str, value: np.ndarray) -> np.ndarray:
        self.lines.append(Line(equation, value))
        return value

    def get(self, name: str) -> np.ndarray:
        """State before the step; zero at the first."""
        return self.state.get(name, np.zeros_like(self.w))

    def decayed(self) -> np.ndarray:
        """g with the L2 term, as every method but AdamW has it; and with its sign turned where the objective is maximised."""
        g = self.g
        if self.settings.get("maximize"):
            g = self.write(r"g \leftarrow -g", -g)
        if self.settings.get("weight_decay"):
            g = self.write(r"g \leftarrow g + \lambda w", g + self.settings["weight_decay"] * self.w)
        return g


def _sgd(sheet: _Sheet) -> np.ndarray:
    """Robbins and Monro 1951; momentum: Polyak 1964; Nesterov: Sutskever et al. 2013, equations 3 and 4, as torch.optim.SGD has them."""
    settings, g, eta = sheet.settings, sheet.decayed(), float(sheet.settings["lr"])
    mu, dampening = settings["momentum"], settings["dampening"]
    if not mu:
        return sheet.write(r"w \leftarrow w - \eta g", sheet.w - eta * g)
    if "momentum_buffer" not in sheet.state:
        v = sheet.write(r"v \leftarrow g", g)
    elif dampening:
        v = sheet.write(r"v \leftarrow \mu v + (1 - \tau) g", mu * sheet.get("momentum_buffer") + (1 - dampening) * g)
    else:
        v = sheet.write(r"v \leftarrow \mu v + g", mu * sheet.get("momentum_buffer") + g)
    if settings["nesterov"]:
        return sheet.write(r"w \leftarrow w - \eta (g + \mu v)", sheet.w - eta * (g + mu * v))
    return sheet.write(r"w \leftarrow w - \eta v", sheet.w - eta * v)


def _adagrad(sheet: _Sheet) -> np.ndarray:
    """Duchi, Hazan and Singer 2011, section 1.1."""
    settings, g = sheet.settings, sheet.decayed()
    s = sheet.write(r"s \leftarrow s + g^2", sheet.get("sum") + g * g)
    eta = float(settings["lr"])
    if settings["lr_decay"]:
        eta = float(sheet.write(r"\eta_t = \eta / (1 + (t - 1) \gamma)", np.asarray(eta / (1 + (sheet.t - 1) * settings["lr_decay"]))))
        return sheet.write(r"w \leftarrow w - \eta_t g / (\sqrt{s} + \epsilon)", sheet.w - eta * g / (np.sqrt(s) + settings["eps"]))
    return sheet.write(r"w \leftarrow w - \eta g / (\sqrt{s} + \epsilon)", sheet.w - eta * g / (np.sqrt(s) + settings["eps"]))


def _rmsprop(sheet: _Sheet) -> np.ndarray:
    """Tieleman and Hinton 2012, lecture 6.5; centred: Graves 2013, equations 38 to 42."""
    settings, g, eta, alpha = sheet.settings, sheet.decayed(), float(sheet.settings["lr"]), sheet.settings["alpha"]
    s = sheet.write(r"s \leftarrow \alpha s + (1 - \alpha) g^2", alpha * sheet.get("square_avg") + (1 - alpha) * g * g)
    if settings["centered"]:
        m = sheet.write(r"m \leftarrow \alpha m + (1 - \alpha) g", alpha * sheet.get("grad_avg") + (1 - alpha) * g)
        u = sheet.write(r"u = g / (\sqrt{s - m^2} + \epsilon)", g / (np.sqrt(s - m * m) + settings["eps"]))
    else:
        u = sheet.write(r"u = g / (\sqrt{s} + \epsilon)", g / (np.sqrt(s) + settings["eps"]))
    if settings["momentum"]:
        v = sheet.write(r"v \leftarrow \mu v + u", settings["momentum"] * sheet.get("momentum_buffer") + u)
        return sheet.write(r"w \leftarrow w - \eta v", sheet.w - eta * v)
    return sheet.write(r"w \leftarrow w - \eta u", sheet.w - eta * u)


def _adam(sheet: _Sheet, *, decoupled: bool = False) -> np.ndarray:
    """Kingma and Ba 2015, algorithm 1; decoupled decay: Loshchilov and Hutter 2019, algorithm 2; AMSGrad: Reddi et al. 2018."""
    settings, w, eta = sheet.settings, sheet.w, float(sheet.settings["lr"])
    beta1, beta2 = (float(beta) for beta in settings["betas"])
    decay = settings.get("weight_decay", 0.0)
    if decoupled or settings.get("decoupled_weight_decay"):
        g = sheet.write(r"g \leftarrow -g", -sheet.g) if settings.get("maximize") else sheet.g
        if decay:
            w = sheet.write(r"w \leftarrow w - \eta \lambda w", w * (1 - eta * decay))
    else:
        g = sheet.decayed()
    m = sheet.write(r"m \leftarrow \beta_1 m + (1 - \beta_1) g", beta1 * sheet.get("exp_avg") + (1 - beta1) * g)
    s = sheet.write(r"s \leftarrow \beta_2 s + (1 - \beta_2) g^2", beta2 * sheet.get("exp_avg_sq") + (1 - beta2) * g * g)
    m_hat = sheet.write(r"\hat{m} = m / (1 - \beta_1^{t})", m / (1 - beta1**sheet.t))
    if settings.get("amsgrad"):
        s = sheet.write(r"s^{\max} \leftarrow \max(s^{\max}, s)", np.maximum(sheet.get("max_exp_avg_sq"), s))
        s_hat = sheet.write(r"\hat{s} = s^{\max} / (1 - \beta_2^{t})", s / (1 - beta2**sheet.t))
    else:
        s_hat = sheet.write(r"\hat{s} = s / (1 - \beta_2^{t})", s / (1 - beta2**sheet.t))
    return sheet.write(r"w \leftarrow w - \eta \hat{m} / (\sqrt{\hat{s}} + \epsilon)", w - eta * m_hat / (np.sqrt(s_hat) + settings["eps"]))


def _adamw(sheet: _Sheet) -> np.ndarray:
    """Loshchilov and Hutter 2019, algorithm 2."""
    return _adam(sheet, decoupled=True)


def _radam(sheet: _Sheet) -> np.ndarray:
    """Liu et al. 2020, algorithm 2, as torch.optim.RAdam has it: epsilon is added before the bias of s is taken out."""
    settings, w, eta, t = sheet.settings, sheet.w, float(sheet.settings["lr"]), sheet.t
    beta1, beta2 = (float(beta) for beta in settings["betas"])
    if settings.get("decoupled_weight_decay"):
        g = sheet.write(r"g \leftarrow -g", -sheet.g) if settings.get("maximize") else sheet.g
        if settings["weight_decay"]:
            w = sheet.write(r"w \leftarrow w - \eta \lambda w", w * (1 - eta * settings["weight_decay"]))
    else:
        g = sheet.decayed()
    m = sheet.write(r"m \leftarrow \beta_1 m + (1 - \beta_1) g", beta1 * sheet.get("exp_avg") + (1 - beta1) * g)
    s = sheet.write(r"s \leftarrow \beta_2 s + (1 - \beta_2) g^2", beta2 * sheet.get("exp_avg_sq") + (1 - beta2) * g * g)
    m_hat = sheet.write(r"\hat{m} = m / (1 - \beta_1^{t})", m / (1 - beta1**t))
    longest = 2 / (1 - beta2) - 1
    sheet.write(r"\rho_\infty = 2 / (1 - \beta_2) - 1", np.asarray(longest))
    length = longest - 2 * t * beta2**t / (1 - beta2**t)
    sheet.write(r"\rho = \rho_\infty - 2 t \beta_2^{t} / (1 - \beta_2^{t})", np.asarray(length))
    if length <= 5:  # the variance of 1 / sqrt(s) is not yet finite: as momentum without a scale
        return sheet.write(r"w \leftarrow w - \eta \hat{m}", w - eta * m_hat)
    r = sheet.write(
        r"r = \sqrt{(\rho - 4) (\rho - 2) \rho_\infty / ((\rho_\infty - 4) (\rho_\infty - 2) \rho)}",
        np.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)),
    )
    scale = np.sqrt(1 - beta2**t) / (np.sqrt(s) + settings["eps"])
    sheet.write(r"l = \sqrt{1 - \beta_2^{t}} / (\sqrt{s} + \epsilon)", scale)
    return sheet.write(r"w \leftarrow w - \eta r l \hat{m}", w - eta * r * scale * m_hat)


METHODS: dict[type, Callable[[_Sheet], np.ndarray]] = {
    torch.optim.SGD: _sgd,
    torch.optim.Adagrad: _adagrad,
    torch.optim.RMSprop: _rmsprop,
    torch.optim.Adam: _adam,
    torch.optim.AdamW: _adamw,
    torch.optim.RAdam: _radam,
}
SYMBOLS = {  # setting of torch's optimisers -> its letter in the equations
    "lr": r"\eta", "momentum": r"\mu", "dampening": r"\tau", "weight_decay": r"\lambda", "alpha": r"\alpha", "eps": r"\epsilon",
    "lr_decay": r"\gamma", "betas": r"(\beta_1, \beta_2)",
}  # fmt: skip


def updates_of(
    optimizer: torch.optim.Optimizer, network: nn.Module, parameters: Mapping[str, Value], clip: float | None = None
) -> list[Update]:
    """One Update per parameter the optimiser holds, by our gradients; `clip` is the largest norm of the whole gradient.

    Neither the optimiser nor the network changes.

    Raises:
        OptionError: not an optimiser, or one that holds none of the network's parameters.
    """
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise OptionError(
            text("optimizer is a {kind}", kind=type(optimizer).__name__),
            text("a torch.optim.Optimizer of the network's parameters"),
            text("give for example optimizer=torch.optim.SGD(model.parameters(), lr=0.1)"),
        )
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    held = [(group, parameter) for group in optimizer.param_groups for parameter in group["params"]]
    known = [(group, parameter) for group, parameter in held if id(parameter) in names]
    if not known:
        raise OptionError(
            text("the optimizer holds {count} parameters, none of them the network's", count=len(held)),
            text("an optimizer of this network's parameters"),
            text("make it after the network: torch.optim.SGD(model.parameters(), lr=0.1)"),
        )
    gradients = {names[id(parameter)]: _gradient(parameters, names[id(parameter)]) for _, parameter in known}
    scale = None
    if clip is not None:  # Pascanu, Mikolov and Bengio 2013, algorithm 1, as torch.nn.utils.clip_grad_norm_ has it
        norm = float(np.sqrt(sum(float((g * g).sum()) for g in gradients.values() if g is not None)))
        scale = min(1.0, clip / (norm + 1e-6))
    theirs = _stepped(optimizer, {names[id(parameter)]: parameter for _, parameter in known}, gradients, scale)
    return list(_sheets(optimizer, known, names, gradients, scale, theirs))


def _gradient(parameters: Mapping[str, Value], name: str) -> np.ndarray | None:
    """None where PyTorch leaves .grad at None: frozen, or the loss does not depend on it. step() then passes the parameter over."""
    value = parameters[name]
    return np.zeros(value.shape) if value.gradient is None and value.autograd is not None else value.gradient


def _sheets(
    optimizer: torch.optim.Optimizer, known: Any, names: Mapping[int, str], gradients: Mapping[str, np.ndarray | None], scale: float | None,
    theirs: Mapping[str, np.ndarray],
) -> Iterator[Update]:  # fmt: skip
    method = METHODS.get(type(optimizer))
    for group, parameter in known:
        name = names[id(parameter)]
        stored: Mapping[str, Any] = optimizer.state.get(parameter, {})
        state = {key: _array(value) for key, value in stored.items() if isinstance(value, Tensor) and key != "step"}
        settings = {key: _plain(value) for key, value in group.items() if key != "params"}
        old, gradient = _array(parameter), gradients[name]
        if gradient is None:
            left = text("no gradient reaches it: {method} leaves it as it is", method=type(optimizer).__name__)
            new, zero = theirs[name], np.zeros_like(old)
            yield Update(name, type(optimizer).__name__, settings, state, old, zero, (), new, new, None, left)
            continue
        sheet = _Sheet(old, gradient, state, settings, int(float(stored.get("step", 0))) + 1)
        note: Text | None = None
        if scale is not None:
            sheet.g = sheet.write(r"g \leftarrow g \min(1, c / \lVert g \rVert)", gradient * scale)
        if method is None:
            sheet.lines.clear()
            if isinstance(optimizer, torch.optim.LBFGS):
                note = text("no value for LBFGS: it evaluates the loss again and again, and one pass does not tell its step")
            else:
                note = text("no equation for {method}; the optimizer's own value", method=type(optimizer).__name__)
            new, error = theirs[name], None
        else:
            new = method(sheet)
            error = error_of(new, theirs[name])
        yield Update(name, type(optimizer).__name__, settings, state, old, gradient, tuple(sheet.lines), new, theirs[name], error, note)


def _stepped(
    optimizer: torch.optim.Optimizer, held: Mapping[str, Tensor], gradients: Mapping[str, np.ndarray | None], scale: float | None
) -> dict[str, np.ndarray]:
    """What optimizer.step() makes of a float64 copy of its parameters with these gradients."""
    copies: dict[int, Any] = {}  # the network is not copied: deepcopy refuses one that holds results, as the old spectral_norm does
    other = copy.deepcopy(optimizer, copies)
    named: dict[str, Tensor] = {name: copies[id(parameter)] for name, parameter in held.items()}
    for parameter in named.values():
        state = other.state.get(parameter, {})
        parameter.data = parameter.data.detach().to("cpu", torch.float64)
        for key, value in state.items():
            if isinstance(value, Tensor) and value.is_floating_point() and key != "step":
                state[key] = value.to("cpu", torch.float64)
            elif isinstance(value, Tensor):
                state[key] = value.cpu()
    for group in other.param_groups:
        group.update({key: value.double() for key, value in group.items() if isinstance(value, Tensor) and value.is_floating_point()})
    for name, parameter in named.items():
        factor, gradient = 1.0 if scale is None else scale, gradients.get(name)
        parameter.grad = None if gradient is None else torch.tensor(gradient * factor, dtype=torch.float64).reshape(parameter.shape)
    if isinstance(other, torch.optim.LBFGS):  # evaluates the loss again and again: one pass does not tell its step
        return {name: _array(named[name]) for name in gradients}
    other.step()
    return {name: _array(named[name]) for name in gradients}


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().to("cpu", torch.float64).numpy().copy()


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
