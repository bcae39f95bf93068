"""Parts of a network that do not take part in the training: frozen, cut off from the gradient, or in the wrong mode."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from pellucid.core.language import text
from pellucid.core.records import Change, Finding
from pellucid.core.trace import Operation, Reference
from pellucid.diagnosis.registry import symptom
from pellucid.diagnosis.static.flow import argument, line_of, place_of, told_place
from pellucid.diagnosis.static.program import Program
from pellucid.diagnosis.static.ranges import WEIGHTED
from pellucid.diagnosis.symptoms.layers import STEPS
from pellucid.diagnosis.symptoms.outputs import finding

FROZEN = 0.5  # share of the weights


# -- frozen_weights ----------------------------------------------------------------------------------------------------------------------


def drawn_at_random(program: Program, names: list[str]) -> list[str]:
    """The matrices among the parameters that are drawn anew at each call of the factory: neither loaded nor a copy of a trained one.

    A factory that sets its own seed gives everything the same each time; then nothing can be told apart.
    """
    matrices = {name: program.trace.tensor(one) for name, one in program.trace.parameters.items() if program.trace.tensor(one).dim() >= 2}
    seeded = set(matrices) <= program.same
    twins = [matrices[name] for name in matrices if name in program.trainable and name not in names]
    return [
        name for name in names
        if name in matrices and (seeded or name not in program.same) and not any(torch.equal(matrices[name], other) for other in twins if
                                                                                other.shape == matrices[name].shape)
    ]  # fmt: skip


@symptom("traced_frozen_weights", reads=Program)
def frozen_weights(program: Program) -> list[Finding]:
    """Weights drawn at random that are not to be trained: most of them, or the last layer's. A loaded network is left as it is."""
    if not program.traced:
        return []
    used = {name for layer in program.layers for name in layer.weights}
    frozen = drawn_at_random(program, [name for name in program.trace.parameters if name in used and name not in program.trainable])
    sizes = {name: program.trace.tensor(program.trace.parameters[name]).numel() for name in used}
    share = sum(sizes[name] for name in frozen) / max(sum(sizes.values()), 1)
    head = bool(program.layers) and any(name in frozen for name in program.layers[-1].weights)
    if not frozen:
        return []
    seeded = used <= program.same
    fault = (share >= FROZEN or head) and not seeded
    return [
        finding(
            "frozen_weights", "fault" if fault else "advice", 0.9 if fault else 0.5, frozen[0],
            text(
                "{share:.0f} % of the weights keep the random values they start with: {names} have requires_grad=False, and no weights "
                "were loaded into them.",
                share=100 * share, names=frozen[:4],
            ),
            {"frozen_share": share, "parameters": frozen, "last_layer": head, "expected": {"frozen_share": "0"}},
            text("set requires_grad=True for them, or load trained weights"),
            Change(kind="unfreeze", values={"names": frozen}),
        )
    ]  # fmt: skip


# -- unowned_parameters ------------------------------------------------------------------------------------------------------------------


@symptom("traced_unowned_parameters", reads=Program)
def unowned_parameters(program: Program) -> list[Finding]:
    """Weights that the loss depends on and that `model.parameters()` does not have: kept in a list or dict, or made anew in each pass.

    A network that is hidden on purpose, such as a loaded one that judges images, has the same weights whatever the seed: it is none.
    """
    if not program.traced:
        return []
    used = [program.flow.tensor(Reference(value.index)) for value in program.trace.values
            if value.kind == "constant" and value.leaf and value.requires_grad and value.index in program.flow.of_loss]  # fmt: skip
    names = [
        path for path, tensor in program.hidden.items()
        if tensor.dim() >= 2 and path not in program.same and any(one.shape == tensor.shape and torch.equal(one, tensor) for one in used)
    ]  # fmt: skip
    if not names:
        return list(_made_anew(program))
    return [
        finding(
            "unowned_parameters", "fault", 0.93, names[0],
            text(
                "{count} weight matrices are no parameters of the model, so that no optimizer trains them: {names}. PyTorch finds modules "
                "and parameters in attributes, not in lists, dicts and plain tensors.",
                count=len(names), names=names[:4],
            ),
            {"parameters": names, "expected": {"parameters": "[]"}},
            text("hold modules in nn.ModuleList or nn.ModuleDict, tensors as nn.Parameter"),
            Change(kind="own_parameters"),
        )
    ]  # fmt: skip


def _made_anew(program: Program) -> Iterator[Finding]:
    """A layer that is made inside `forward`: its weights require their gradient, and are gone after the step."""
    for operation in program.trace.operations:
        taken = [one for one in operation.inputs() if program.flow.tensor(one).dim() >= 2]
        fresh = [
            one for one in taken
            if program.trace[one].requires_grad and all(program.trace.values[value].kind in ("draw", "operation")
                                                        for value in program.flow.ancestors(one))
        ]  # fmt: skip
        if operation.name in WEIGHTED and fresh and len(taken) > len(fresh) and operation.results()[0].value in program.flow.of_loss:
            yield finding(
                "unowned_parameters", "fault", 0.93, line_of(operation) or place_of(operation),
                text(
                    "The weights that {operation} takes at {place} are made anew in every forward pass: no optimizer trains them.",
                    operation=operation.name, place=line_of(operation) or told_place(operation),
                ),
                {"operation": operation.name, "shape": list(program.flow.tensor(fresh[0]).shape), "expected": {"parameters": "[]"}},
                text("make the layer once, in __init__, and call it in forward"), None,
            )  # fmt: skip
            return


# -- detached_branch ---------------------------------------------------------------------------------------------------------------------


@symptom("detached_branch", reads=Program)
def detached_branch(program: Program) -> list[Finding]:
    """Weights that take part in the answer and are to be trained, but whose gradient is cut off on the way: detach, no_grad, NumPy, argmax.

    A part that stays as it is on purpose (loaded weights, the copy of a teacher, weights that no optimizer has) is none.
    """
    if not program.traced or not program.differentiable:
        return []
    waiting = [name for name in program.trace.parameters if name in program.trainable & program.owned and name not in program.gradients]
    lost = drawn_at_random(program, waiting)
    by_cut: dict[str, tuple[Operation, str, list[str]]] = {}
    for name in lost:
        found = _cut(program, program.trace.parameters[name])
        if found is not None and found[0].name not in STEPS:
            by_cut.setdefault(line_of(found[0]) or found[0].name, (*found, []))[2].append(name)
    if not by_cut:
        return []
    operation, how, names = max(by_cut.values(), key=lambda cut: len(cut[2]))
    where = line_of(operation) or place_of(operation)
    return [
        finding(
            "detached_branch", "advice" if program.own_step else "fault", 0.5 if program.own_step else 0.92, where,
            text(
                "{names} take part in the answer but get no gradient: it is cut off at {place} by {how}.",
                names=names[:4], place=where, how=how,
            ),
            {"parameters": names, "operation": operation.name, "module": operation.module, "expected": {"parameters": "[]"}},
            text("leave {how} out there, or give these weights requires_grad=False if they are to stay as they are", how=how),
            Change(kind="attach", values={"position": operation.index} if how != "no_grad" else {})
            if how in ("detach", "no_grad", "data") else None,
        )
    ]  # fmt: skip


def _cut(program: Program, parameter: Reference) -> tuple[Operation, str] | None:
    """Where the gradient's way from the loss to a parameter ends: the operation, and what it is called."""
    flow = program.flow
    waiting, known = [parameter], set[int]()
    used = False
    while waiting:
        one = waiting.pop(0)
        if one.value in known:
            continue
        known.add(one.value)
        for operation in flow.users.get(one.value, ()):
            for result in operation.results():
                if program.trace[result].operation != operation.index:
                    continue
                used = used or operation.stage == "forward"
                if program.trace[result].requires_grad:
                    waiting.append(result)
                elif result.value in flow.of_loss:
                    if not operation.surroundings.gradient:
                        return operation, "no_grad"
                    return operation, operation.name
    if not used or parameter.value in flow.of_loss:
        return None
    for operation in program.trace.operations:  # through NumPy or Python numbers and back
        made = operation.name in ("tensor", "as_tensor", "from_numpy", "scalar_tensor")
        if made and not operation.inputs() and any(one.value in flow.of_loss for one in operation.results()):
            return operation, "numpy"
    return None


# -- wrong_mode --------------------------------------------------------------------------------------------------------------------------


@symptom("traced_wrong_mode", reads=Program)
def wrong_mode(program: Program) -> list[Finding]:
    """Dropout that also runs in evaluation mode, or never; a step of the user's own that trains in evaluation mode."""
    return [*_step_in_evaluation(program), *_drops_in_evaluation(program), *_never_drops(program)][:1]


def _step_in_evaluation(program: Program) -> Iterator[Finding]:
    layers = [*program.depends_on_mode, *_functions_of_mode(program)]
    if not program.step_modes or any(program.step_modes) or not layers:
        return
    yield finding(
        "wrong_mode", "fault", 0.93, layers[0],
        text(
            "The step trains the network in evaluation mode, in which these layers do not work as in training: {layers}.",
            layers=layers[:4],
        ),
        {"training_passes_in_training_mode": 0, "layers": layers,
         "expected": {"training_passes_in_training_mode": "all"}},
        text("call model.train() before the forward pass of each step"),
        Change(kind="train_mode"),
    )  # fmt: skip


def _functions_of_mode(program: Program) -> list[str]:
    """Where a function of no module drops values in training mode and not in evaluation mode."""
    if not program.traced or program.depends_on_mode:
        return []
    always = {(one.name, line_of(one)) for one in program.drops_in_evaluation}
    places = [
        line_of(one) or place_of(one)
        for one in program.trace.operations
        if "dropout" in one.name and one.draws and one.stage == "forward" and (one.name, line_of(one)) not in always
    ]
    return list(dict.fromkeys(places))


def _drops_in_evaluation(program: Program) -> Iterator[Finding]:
    if not program.drops_in_evaluation:
        return
    operation = program.drops_in_evaluation[0]
    yield finding(
        "wrong_mode", "fault", 0.85, line_of(operation) or place_of(operation),
        text(
            "{name} at {place} drops values in evaluation mode too, so that scores and predictions are noisy.",
            name=operation.name, place=line_of(operation) or told_place(operation),
        ),
        {"operation": operation.name, "expected": {"training": "self.training"}},
        text("write F.dropout(x, p, training=self.training), or use torch.nn.Dropout"), Change(kind="train_mode"),
    )  # fmt: skip


def _never_drops(program: Program) -> Iterator[Finding]:
    if not program.traced or program.evaluates:
        return
    for operation in program.trace.operations:
        if operation.name == "dropout" and argument(operation, 1, "p", 0.5) and argument(operation, 2, "training", True) is False:
            yield finding(
                "wrong_mode", "advice", 0.6, line_of(operation) or place_of(operation),
                text(
                    "Dropout at {place} does nothing in training: its layer is in evaluation mode, or it is called with training=False.",
                    place=line_of(operation) or told_place(operation),
                ),
                {"operation": "dropout", "expected": {"training": "self.training"}},
                text("leave it out, or pass training=self.training"), Change(kind="train_mode"),
            )  # fmt: skip
            return
