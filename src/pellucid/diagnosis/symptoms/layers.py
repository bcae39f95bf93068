"""Layers that cannot do their work: nothing curved between them, a wrong activation, bad first weights, no gradient, the wrong mode."""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import Tensor

from pellucid.core.language import Text, text
from pellucid.core.records import Change, Finding
from pellucid.core.trace import Operation, Reference
from pellucid.diagnosis.registry import symptom
from pellucid.diagnosis.static.flow import AFFINE, RESHAPING, Layer, argument, place_of, told_place
from pellucid.diagnosis.static.program import Program
from pellucid.diagnosis.symptoms.initial_loss import knowing_nothing
from pellucid.diagnosis.symptoms.outputs import axis_of, finding, shown

SATURATING = frozenset({"sigmoid", "tanh", "hardsigmoid", "hardtanh", "softsign"})
STEPS = frozenset({"sign", "heaviside", "round", "floor", "ceil", "trunc", "gt", "ge", "lt", "le", "eq", "ne", "signbit"})
GATES = {"lstm": 4, "lstm_cell": 4, "gru": 3, "gru_cell": 3}  # blocks of a recurrent weight, each with a row for every unit
NORMALISING = frozenset({"batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm", "normalize"})
POOLING = frozenset({"max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d"})
NARROW = 0.5  # of the narrower side: a layer that squeezes so far and opens again is a factorisation on purpose
# Thresholds: accuracy after 12 epochs on scikit-learn's digits, 64 units a layer, Adam 1e-3 / SGD 0.1; ReLU as PyTorch starts it: 0.96 /
# 0.95.
# Gradient per weight of the first layer over that of the last: sigmoids 2 deep 0.023 (0.81 / 0.19), 3 deep 0.003 (0.47 / 0.09), 4 deep 4e-4
# (0.39 / 0.09); tanhs 4 deep 0.4 (0.96 / 0.94), 8 deep 0.07 (0.89 / 0.39), 12 deep 0.01 (0.59 / 0.09).
FADED, FADING = 0.005, 0.05
FLAT = 0.2  # product of the slopes of the chain, above which the weights are to blame, not the activations
DEEP = 3  # saturating layers: two of them are learnt by Adam, given some epochs more
# Gain, the deviation of the first weights times the root of their number of inputs (PyTorch 0.58, Xavier 1, He 1.4), in all three layers:
# 0.03 (0.82 / 0.09), 0.1 (0.92 / 0.20), 3 (0.86 / 0.94), 5 (0.76 / 0.89), 16 (0.39 / 0.12).
LARGE, SMALL = 2.5, 0.2
FAINT, LOST = 2e-3, 3e-4  # the product of the small gains: an advice, a fault
ROUNDING = 1e-6  # of the largest gradient: what is left of sums that are 0, ten times float32's precision
LOUD = 8.0  # root mean square of the last layer's first output over that of the inputs; 13 at a gain of 3


def _units_axis(layer: Layer) -> int:
    """The axis of a weight that counts the units that it feeds."""
    name = layer.operation.name
    return 1 if name.startswith("conv_transpose") else -1 if name in ("matmul", "mm", "addmm", "bmm") else 0


def _weight(program: Program, layer: Layer) -> Tensor | None:
    """The layer's matrix or kernel."""
    names = [name for name in layer.weights if program.trace.tensor(program.trace.parameters[name]).dim() >= 2]
    return program.trace.tensor(program.trace.parameters[names[0]]) if names else None


def _widths(program: Program, layer: Layer) -> tuple[int, int]:
    """Inputs and outputs of a layer; channels, of a convolution."""
    weight = _weight(program, layer)
    if weight is None:
        return 0, 0
    if layer.operation.name.startswith("conv_transpose"):
        return int(weight.shape[0]), int(weight.shape[1])
    units = _units_axis(layer)
    return (int(weight.shape[-2]), int(weight.shape[-1])) if units == -1 else (int(weight.shape[1]), int(weight.shape[0]))


def _root_mean_square(tensor: Tensor) -> float:
    return float(tensor.double().pow(2).mean().sqrt()) if tensor.numel() else 0.0


# -- missing_activation ------------------------------------------------------------------------------------------------------------------


@symptom("missing_activation", reads=Program)
def missing_activation(program: Program) -> list[Finding]:
    """Layers one after the other with nothing curved between them are one linear layer, whatever their number.

    Left out are factorisations on purpose: a narrow layer between two wide ones, a grouped convolution with a pointwise one, and layers
    whose result is also used elsewhere. A single pair in a network that is curved elsewhere is an advice.
    """
    if not program.traced:
        return []
    pairs = [(first, second) for first, second in program.flow.straight if not _on_purpose(program, first, second)]
    pairs = list({(first.place, second.place): (first, second) for first, second in pairs}.values())
    if not pairs:
        return []
    curved = any(_is_curve(program, operation) for operation in program.trace.operations)
    follows = {first.place for first, _ in pairs}
    chained = any(second.place in follows for _, second in pairs)
    fault = not curved or chained
    first, second = pairs[0]
    names = list(dict.fromkeys(layer.name for pair in pairs for layer in pair))
    after = list(dict.fromkeys(layer.operation.module or layer.operation.index for layer, _ in pairs))
    return [
        finding(
            "missing_activation", "fault" if fault else "advice", (0.95 if not curved else 0.85) if fault else 0.65, first.name,
            text(
                "Nothing curved lies between the layers {first} and {second}: together they can do no more than one linear layer ({count} "
                "such pairs; layers: {layers}).",
                first=first.name, second=second.name, count=len(pairs), layers=names[:6],
            ),
            {"pairs": len(pairs), "layers": names, "curved_elsewhere": curved, "expected": {"pairs": "0"}},
            text("put an activation after layer {first}, for example ReLU", first=first.name),
            Change(kind="insert_activation", values={"after": after, "name": "relu"}),
        )
    ]  # fmt: skip


def _on_purpose(program: Program, first: Layer, second: Layer) -> bool:
    before, middle = _widths(program, first)
    _, after = _widths(program, second)
    if first.kind == second.kind == "linear":  # by what goes in and comes out: a weight may be used turned round
        before, middle = program.flow.tensor(first.data).shape[-1], program.flow.tensor(first.output).shape[-1]
        after = program.flow.tensor(second.output).shape[-1]
    if first.operation.name in ("matmul", "mm", "bmm", "einsum") and _shares(program, first):
        return True
    tied = bool(set(first.weights) & set(second.weights))  # a linear autoencoder: there and back by the same weights
    if middle and (middle <= NARROW * min(before, after) or (tied and middle < min(before, after))):
        return True
    for layer in (first, second):
        if layer.kind == "convolution" and argument(layer.operation, 6, "groups", 1) not in (1, None):
            return True
    if second.operation.name in ("matmul", "mm", "bmm") and _scores_attention(program, second):
        return True
    kernels = [_weight(program, layer) for layer in (first, second) if layer.kind == "convolution"]
    shapes = [tuple(kernel.shape[2:]) for kernel in kernels if kernel is not None and kernel.dim() == 4]
    return len(shapes) == 2 and sorted(a * b for a, b in zip(*shapes, strict=True)) != [1, 1] and all(1 in shape for shape in shapes) and \
        shapes[0] != shapes[1]  # fmt: skip


def _shares(program: Program, layer: Layer) -> bool:
    """A table's rows, mixed by shares of 1: an embedding."""
    return any(made.name in ("softmax", "gumbel_softmax", "one_hot") for _, made in program.flow.upward(layer.data, RESHAPING))


def _scores_attention(program: Program, layer: Layer) -> bool:
    """Keys meet queries that are learnt: the product goes into a softmax inside the network."""
    waiting = [layer.output]
    for _ in range(8):
        if not waiting:
            return False
        for user in program.flow.users.get(waiting.pop().value, ()):
            if user.name == "softmax":
                return user.stage == "forward"
            if user.name in RESHAPING | {"mul", "div", "masked_fill", "add"}:
                waiting += user.results()
    return False


def _is_curve(program: Program, operation: Operation) -> bool:
    """Whether a layer's result is bent here, on the way to another layer."""
    flow = program.flow
    result = operation.results()[:1]
    if operation.stage == "loss" or not result or not flow.is_prediction(result[0]) or result[0].value not in flow.of_loss:
        return False
    kinds = {layer.operation.index: layer.kind for layer in flow.layers}
    if kinds.get(operation.index) in ("linear", "convolution", "embedding") or flow.is_affine(operation):
        return False
    later = [layer for layer in flow.layers if layer.operation.index > operation.index and result[0].value in flow.ancestors(layer.data)]
    return bool(later)


# -- wrong_hidden_activation -------------------------------------------------------------------------------------------------------------


@symptom("wrong_hidden_activation", reads=Program)
def wrong_hidden_activation(program: Program) -> list[Finding]:
    """A softmax, which lets the units of a layer compete for a total of 1, or a step, which has no slope, between two layers."""
    if not program.traced:
        return []
    for layer in program.layers:
        if layer.kind not in ("linear", "convolution"):
            continue
        for value, operation in program.flow.upward(layer.data, RESHAPING | NORMALISING | POOLING | {"dropout"}):
            found = None
            if operation.name in ("softmax", "softmin", "log_softmax"):
                found = _hidden_softmax(program, layer, value, operation)
            elif operation.name in STEPS:
                found = _hidden_step(program, layer, operation)
            if found is not None:
                return [found]
    return []


def _hidden_softmax(program: Program, layer: Layer, value: Reference, operation: Operation) -> Finding | None:
    flow = program.flow
    used = [user for user in flow.users.get(value.value, ()) if any(one.value in flow.of_loss for one in user.results())]
    shape = flow.tensor(value).shape
    consumed = 1 if layer.kind == "convolution" else len(shape) - 1
    biased = layer.operation.name not in ("matmul", "mm", "bmm", "einsum") and argument(layer.operation, 2, "bias") is not None
    if len(used) != 1 or axis_of(program, operation) != consumed or not biased or shape[consumed] < 2:
        return None  # used elsewhere too, attention over places, or a look-up in a table of weights
    spread = float(flow.tensor(value).double().std()) if operation.name != "log_softmax" else math.nan
    return finding(
        "wrong_hidden_activation", "fault", 0.88, place_of(operation),
        text(
            "{activation} at {place} is a hidden activation before layer {layer}: its {units} units share a total of 1, so that they hold "
            "almost the same small number for every sample.",
            activation=operation.name, place=told_place(operation), layer=layer.name, units=shape[consumed],
        ),
        {"activation": operation.name, "units": shape[consumed], "deviation": spread, "expected": {"activation": "relu, gelu, tanh"}},
        text("use ReLU there"),
        Change(kind="replace_activation", values={"from": operation.name, "to": "relu", "position": operation.index}),
    )  # fmt: skip


def _hidden_step(program: Program, layer: Layer, operation: Operation) -> Finding | None:
    """A step between two layers: the layers before it get no gradient, unless a straight-through estimator carries it past."""
    before = [one for one in program.layers if one.output.value in program.flow.ancestors(operation.inputs()[0])]
    names = [name for one in before for name in one.weights if name in program.trainable]
    if not names or any(name in program.gradients and bool(program.gradients[name].any()) for name in names):
        return None
    return finding(
        "wrong_hidden_activation", "fault", 0.95, place_of(operation),
        text(
            "{activation} at {place} is a step: its slope is 0 everywhere, and the layers before it get no gradient: {layers}.",
            activation=operation.name, place=told_place(operation), layers=list(dict.fromkeys(one.name for one in before))[:4],
        ),
        {"activation": operation.name, "parameters": names[:6], "expected": {"gradient": "> 0"}},
        text("use ReLU or tanh there, or a straight-through estimator: x + (step(x) - x).detach()"),
        Change(kind="replace_activation", values={"from": operation.name, "to": "tanh", "position": operation.index}),
    )  # fmt: skip


# -- saturating_activation ---------------------------------------------------------------------------------------------------------------


@symptom("saturating_activation", reads=Program)
def saturating_activation(program: Program) -> list[Finding]:
    """A chain of sigmoids or tanhs on the way through which the gradient nearly vanishes, measured at the first weights.

    Source: X. Glorot and Y. Bengio, Understanding the difficulty of training deep feedforward neural networks, 2010, section 3.
    """
    if not program.traced:
        return []
    hidden = hidden_saturating(program)
    by_hand = any(one.name not in SATURATING for one in hidden)
    ratio = gradient_ratio(program)
    if len(hidden) < 2 or ratio is None or ratio[0] >= FADING or math.prod(_slope(program, one) for one in hidden) > FLAT:
        return []
    share, first, last = ratio
    names = list(dict.fromkeys(one.name if one.name in SATURATING else "sigmoid" for one in hidden))
    fault = share < FADED and len(hidden) >= DEEP
    same = [one.index for one in hidden if one.name == hidden[0].name]
    return [
        finding(
            "saturating_activation", "fault" if fault else "advice", 0.88 if fault else 0.6, place_of(hidden[0]),
            text(
                "{count} hidden layers end in {names}; before the first step the gradient per weight of layer {first} is {share} of "
                "that of layer {last}.",
                count=len(hidden), names=names, first=first.name, last=last.name, share=shown(share),
            ),
            {"gradient_ratio": share, "activations": names, "hidden": len(hidden), "expected": {"gradient_ratio": f"> {FADING}"}},
            text("use ReLU or GELU in the hidden layers, with He initialisation; or put normalisations between them"),
            None if by_hand else Change(
                kind="replace_activation", values={"from": hidden[0].name, "to": "relu", "position": same, "scheme": "kaiming"}
            ),
        )
    ]  # fmt: skip


def _slope(program: Program, operation: Operation) -> float:
    """The mean slope of an activation where it is, from what it gave: at most 1/4 for a sigmoid, 1 for tanh near 0."""
    y = program.flow.tensor(operation.results()[0]).double()
    inside = ((y > -1) & (y < 1)).double()
    slopes = {"tanh": 1 - y**2, "softsign": (1 - y.abs()) ** 2, "hardtanh": inside, "hardsigmoid": ((y > 0) & (y < 1)).double() / 6}
    return float(slopes.get(operation.name, y * (1 - y)).mean())


def hidden_saturating(program: Program) -> list[Operation]:
    """Sigmoids and the like through which a layer's whole result goes on to the next layer; gates, which multiply something, are none."""
    found: dict[int, Operation] = {}
    for layer in program.layers:
        for _, operation in program.flow.upward(layer.data, (AFFINE - {"mul", "add", "cat"}) | POOLING | NORMALISING):
            if operation.name in SATURATING or _logistic(program, operation):
                found[operation.index] = operation
    return [found[index] for index in sorted(found)]


def _logistic(program: Program, operation: Operation) -> bool:
    """1 / (1 + exp(-x)), written out."""
    reach = program.flow.ranges[operation.results()[0]]
    if operation.name not in ("div", "rdiv", "reciprocal") or reach.low < 0 or reach.high > 1:
        return False
    given = [one for one in operation.inputs() if program.flow.is_prediction(one)]
    return len(given) == 1 and any(made.name == "exp" for _, made in program.flow.upward(given[0], {"add"}))


def gradient_ratio(program: Program) -> tuple[float, Layer, Layer] | None:
    """Gradient per weight of the first layer with a gradient over that of the last one."""
    sizes = [
        (layer, _root_mean_square(program.gradients[layer.weights[0]]))
        for layer in program.layers
        if layer.kind in ("linear", "convolution") and layer.weights and layer.weights[0] in program.gradients
    ]
    if len({layer.place for layer, _ in sizes}) < 3 or not sizes[-1][1] or not math.isfinite(sizes[0][1] + sizes[-1][1]):
        return None
    return sizes[0][1] / sizes[-1][1], sizes[0][0], sizes[-1][0]


# -- bad_init ----------------------------------------------------------------------------------------------------------------------------


@symptom("bad_init", reads=Program)
def bad_init(program: Program) -> list[Finding]:
    """First weights that keep all units of a layer equal for ever, or that let the signal grow or fade from layer to layer.

    Source: K. He et al., Delving deep into rectifiers, 2015, section 2.2; X. Glorot and Y. Bengio, 2010, section 4.2.
    """
    if not program.traced:
        return []
    for found in (*_equal_units(program), *_wrong_scale(program)):
        return [found]
    return []


def _equal_units(program: Program) -> Iterator[Finding]:
    """All units of a layer start equal and get equal gradients: they stay equal. A last layer of zeros gets different ones and is fine."""
    layers = [layer for layer in program.layers if layer.kind in ("linear", "convolution", "recurrent")]
    constant = [layer for layer in layers if (w := _weight(program, layer)) is not None and bool((w == w.reshape(-1)[0]).all())]
    largest = max((float(gradient.abs().max()) for gradient in program.gradients.values() if gradient.numel()), default=0.0)
    for place, layer in enumerate(layers):
        weight = _weight(program, layer)
        if weight is None or layer.weights[0] not in program.trainable:
            continue
        axis, gates = _units_axis(layer), GATES.get(layer.operation.name, 1)
        if weight.shape[axis] < 2 * gates or not _equal_along(weight, axis, 0.0, gates):
            continue
        gradient = program.gradients.get(layer.weights[0])
        hidden = any(later.data.value != layer.data.value for later in layers[place + 1 :])
        still = gradient is None or float(gradient.abs().max()) <= ROUNDING * largest
        same = gradient is not None and _equal_along(gradient, axis, 1e-4, gates)
        if not (same or still) or not hidden:
            continue
        if still and not any(layer is one for one in constant):
            continue
        value = float(weight.reshape(-1)[0])
        yield finding(
            "bad_init", "fault", 0.95, layer.name,
            text(
                "All {units} units of layer {layer} start with the same weights ({value}) and get the same gradient: they stay one unit.",
                units=weight.shape[axis] // gates, layer=layer.name, value=shown(value),
            ),
            {"units": weight.shape[axis] // gates, "deviation_across_units": 0.0, "layers": [one.name for one in constant],
                "expected": {"deviation_across_units": "> 0"}},
            text("draw the first weights at random: torch.nn.init.kaiming_normal_ or xavier_normal_; biases may be 0"),
            Change(kind="reinitialise", values={"scheme": "default"}),
        )  # fmt: skip


def _equal_along(tensor: Tensor, axis: int, tolerance: float, gates: int) -> bool:
    """Whether all units have the same rows; those of a recurrent layer one for each gate."""
    rows = tensor.movedim(axis, 0).reshape(gates, tensor.shape[axis] // gates, -1).double()
    return float((rows - rows[:, :1]).abs().max()) <= tolerance * float(rows.abs().max())


def _wrong_scale(program: Program) -> Iterator[Finding]:
    gains: dict[str, float] = {}
    for layer in program.layers:
        weight = _weight(program, layer)
        if layer.kind not in ("linear", "convolution") or weight is None or layer.weights[0] not in program.trainable:
            continue
        if _normalised_after(program, layer) or not program.flow.tensor(layer.output).is_floating_point():
            continue
        inputs = weight.numel() // weight.shape[_units_axis(layer)]
        gains[layer.name] = float(weight.double().std()) * math.sqrt(inputs) if inputs > 1 else 1.0
    if not gains:
        return
    first, last = program.layers[0], program.layers[-1]
    entered = max(_root_mean_square(program.flow.tensor(first.data)), 1.0) if first.kind != "embedding" else 1.0
    loudness = _root_mean_square(program.flow.tensor(last.output)) / entered
    large = [name for name, gain in gains.items() if gain > LARGE]
    theory = knowing_nothing(program)
    learnt = theory is not None and program.loss is not None and program.loss < theory[0]  # by a training before this one
    if large and loudness > LOUD and not learnt:
        worst = max(large, key=lambda name: gains[name])
        said = text(
            "The first weights of layer {layer} are too large: their deviation times the root of the number of inputs is {gain} (He's "
            "rule gives 1.4), and the last layer's first outputs have a size of {loudness} times the inputs.",
            layer=worst, gain=shown(gains[worst]), loudness=shown(loudness),
        )  # fmt: skip
        others = [name for name in large if name != worst]
        said = text("{said} So are those of {layers}.", said=said, layers=others[:6]) if others else said
        yield _scale(worst, gains, loudness, 0.85, "fault", said)
        return
    small = [name for name, gain in gains.items() if 0 < gain < SMALL]
    faded, ratio = math.prod(gains[name] for name in small), gradient_ratio(program)
    if len(small) >= 2 and len(small) >= 0.5 * len(gains) and faded < FAINT and (ratio is None or ratio[0] < FADING):
        worst = min(small, key=lambda name: gains[name])
        yield _scale(
            worst, gains, loudness, 0.85 if faded < LOST else 0.55, "fault" if faded < LOST else "advice",
            text(
                "The first weights of layer {layer} and {others} other layers are too small: their deviation times the root of the number "
                "of inputs is {gain} (He's rule gives 1.4), so that the signal fades from layer to layer.",
                layer=worst, others=len(small) - 1, gain=shown(gains[worst]),
            ),
        )  # fmt: skip


def _normalised_after(program: Program, layer: Layer) -> bool:
    """A normalisation follows, which divides the weights' size out."""
    waiting, known = [layer.output], set[int]()
    while waiting:
        one = waiting.pop()
        if one.value in known:
            continue
        known.add(one.value)
        for user in program.flow.users.get(one.value, ()):
            if user.name in NORMALISING or user.name in ("sin", "cos"):
                return True
            if user.name in RESHAPING | {"add", "dropout"}:
                waiting += user.results()
    return False


def _scale(name: str, gains: dict[str, float], loudness: float, confidence: float, level: str, summary: Text) -> Finding:
    return finding(
        "bad_init", level, confidence, name, summary,
        {"gain": gains[name], "gains": gains, "output_over_input": loudness, "expected": {"gain": "0.5 to 1.5"}},
        text("initialise with torch.nn.init.kaiming_normal_ (ReLU) or xavier_normal_ (tanh), or leave PyTorch's own"),
        Change(kind="reinitialise", values={"scheme": "default"}),
    )  # fmt: skip
