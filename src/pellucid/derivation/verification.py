"""The backward pass, walked by rules and compared with autograd at every value; where they part, the step that is to blame.

After a disagreement the walk goes on with autograd's gradient, so that one wrong step is named and not everything before it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from pellucid.core.language import Text, text
from pellucid.core.records import Finding
from pellucid.core.trace import Operation, Reference
from pellucid.core.trace.records import references
from pellucid.derivation.comparison import TOLERANCE, Magnitudes, error_of
from pellucid.derivation.custom import verdict_on
from pellucid.derivation.operations import Alone, local_gradients
from pellucid.derivation.recorded import Recorded, array_of
from pellucid.derivation.registry import Unsupported
from pellucid.derivation.tape import Error, Step, Value


def verified(recorded: Recorded) -> list[Finding]:
    """Walk back, fill in every gradient and error, and say what is wrong or worth knowing."""
    return _Verification(recorded).findings


class _Verification:
    def __init__(self, recorded: Recorded) -> None:
        self.recorded, self.tape, self.trace = recorded, recorded.tape, recorded.trace
        self.findings: list[Finding] = []
        self.magnitudes = Magnitudes(self.tape, recorded.loss)
        self._apart: dict[int, set[int]] = {}  # value that disagrees -> the steps to blame
        self.theirs = self.trace.gradients()
        self.tape.backward(recorded.loss, self._settle, self._rescue)
        self._errors()
        for step in self.tape.steps:
            if step.status == "wrong" and step.error.forward is not None and step.error.forward > TOLERANCE:
                self._fault(
                    step,
                    text("the equation of step {index} gives another result than PyTorch's {name}", **_place(step)),
                    step.error.forward,
                )
        self._custom_functions()
        self._stops()
        self._not_finite()

    # -- value by value ----------------------------------------------------------------------------------------------------------------

    def _settle(self, value: Value, ours: np.ndarray | None) -> np.ndarray | None:
        index = self.recorded.comparable.get(value.index)
        if index is None:
            return ours
        found = self.theirs.pop(Reference(index), None)
        if found is None and ours is None:
            return None
        theirs = np.zeros(value.shape) if found is None else array_of(found)
        value.autograd = theirs
        mine = np.zeros(value.shape) if ours is None else ours
        error = self.magnitudes.error(value, mine, theirs)
        users = [self.tape.steps[use - 1] for use in dict.fromkeys(value.uses)]
        users = [step for step in users if not step.identity]
        if error > TOLERANCE and any(step.opaque for step in users):
            value.gradient = theirs  # autograd's, as the step itself says
            return theirs
        value.error = error
        if error <= TOLERANCE:
            return ours
        self._blame(value, theirs, users)
        return theirs

    def _rescue(self, step: Step, error: Exception) -> None:
        """The backward of a step's rule raised: PyTorch's gradients of this step stand in for it."""
        operation = step.operation_index
        if operation is not None and sum(other.operation_index == operation for other in self.tape.steps) == 1:
            step.pullback = self.recorded.pullback(step, self.trace.operations[operation])
        else:
            step.pullback, step.rule = None, None
        if isinstance(error, Unsupported):
            step.status, step.note = "no equation", error.got if isinstance(error.got, Text) else None
        else:
            step.status = "wrong"
            step.note = text("its rule raised {error}", error=f"{type(error).__name__}: {error}")
            self._fault(
                step,
                text("the backward equation of step {index}, {name}, could not be computed: {error}", error=str(error), **_place(step)),
                np.inf,
            )

    def _carried(self, value: Value) -> np.ndarray | None:
        return value.autograd if value.error is not None and value.error > TOLERANCE else value.gradient

    def _blame(self, value: Value, theirs: np.ndarray, users: Sequence[Step]) -> None:
        """Which of the steps that take this value contribute a wrong gradient: each is asked for by itself."""
        guilty: set[int] = set()
        for operation in dict.fromkeys(step.operation_index for step in users if step.operation_index is not None):
            steps = [step for step in self.tape.steps if step.operation_index == operation]
            if any(step.pullback for step in steps):
                continue
            expected = self._alone(steps, operation).get(self.recorded.traced[value.index], np.zeros(value.shape))
            parts = [g for step in steps for place, g in step.gradients.items() if g is not None and step.places[place] is value]
            ours = np.sum(parts, axis=0) if parts else np.zeros(value.shape)
            error = error_of(ours, expected, float(np.abs(theirs).max(initial=0.0)))
            if error > TOLERANCE:
                guilty |= {step.index for step in users if step.operation_index == operation}
                for step in users:
                    if step.index in guilty and step.operation_index == operation:
                        self._wrong(step, value, error)
        if not guilty:
            culprit = self._overwriter(users)
            if culprit is not None:
                self._overwritten(value, users, culprit)
            else:
                for step in users:
                    guilty.add(step.index)
                    self._wrong(step, value, value.error or np.inf)
        self._apart[value.index] = guilty

    def _alone(self, steps: Sequence[Step], operation: int) -> dict[int, np.ndarray]:
        """PyTorch's gradients of one operation by itself, from what arrives at its results."""
        arriving: dict[int, np.ndarray] = {}
        results = {reference.value for reference in self.trace.operations[operation].results()}
        for step in steps:
            for output in step.outputs:
                gradient = self._carried(output)
                if gradient is not None and self.recorded.traced.get(output.index) in results:
                    arriving[self.recorded.traced[output.index]] = gradient
        alone = self.recorded.alone.setdefault(operation, Alone(self.trace, self.trace.operations[operation]))
        return local_gradients(alone, arriving)

    def _wrong(self, step: Step, value: Value, error: float) -> None:
        if not all(_finite(output.array) for output in step.outputs):
            return  # a derivative at a result that is NaN is no derivative: where the NaN is born is told, nobody is accused
        first = step.status != "wrong"
        step.status = "wrong"
        step.error = Error(step.error.forward, max(error, step.error.backward or 0.0))
        if first:
            place = next((name for name, known in step.places.items() if known is value), value.name)
            summary = text(
                "step {index}, {name}: its equation for the gradient of {place} gives another result than autograd",
                place=place,
                **_place(step),
            )
            self._fault(step, summary, error)

    def _errors(self) -> None:
        """Each step answers for the gradients that it contributes to, unless another was to blame."""
        for step in self.tape.steps:
            errors = [step.error.backward] if step.error.backward is not None else []
            for place, value in step.places.items():
                if place in step.gradients and value.error is not None and value.index not in self._apart:
                    errors.append(value.error)
            step.error = Error(step.error.forward, max(errors, default=None))

    # -- memory that was overwritten ---------------------------------------------------------------------------------------------------

    def _overwriter(self, users: Sequence[Step]) -> tuple[Operation, str] | None:
        """A later write, unseen by autograd, into memory that these steps' gradients need: numbers were changed under its hands."""
        for step in users:
            if step.operation_index is None:
                continue
            operation = self.trace.operations[step.operation_index]
            needed = {self.trace[r].storage: self._name(r) for r in (*operation.inputs(), *operation.results())}
            for later in self.trace.operations[step.operation_index + 1 :]:
                for before, after in later.written:
                    edges = self.trace[before].edge, self.trace[after].edge
                    unseen = edges[1] is None or (edges[0] is not None and edges[0].node is edges[1].node)
                    if unseen and self.trace[before].storage in needed:
                        return later, needed[self.trace[before].storage]
        return None

    def _name(self, reference: Reference) -> str:
        value = self.recorded.values.get(reference.value)
        return value.name if value is not None else self.trace[reference].name

    def _overwritten(self, value: Value, users: Sequence[Step], culprit: tuple[Operation, str]) -> None:
        later, name = culprit
        steps = [step for step in self.tape.steps if step.operation_index == later.index]
        for step in steps:
            step.status = "wrong"
        where = str(later.source) if later.source else later.module
        summary = text(
            "{operation} at {where} overwrites {name} where autograd does not see it: the gradient of {user} is then computed with the "
            "changed numbers",
            operation=later.name, where=where, name=name, user=[f"{step.operation} ({step.index})" for step in users],
        )  # fmt: skip
        if any(finding.summary == summary for finding in self.findings):
            return
        self.findings.append(
            Finding(
                symptom="overwritten_memory",
                level="fault",
                confidence=1.0,
                where=where,
                summary=summary,
                evidence={"value": value.name, "error": value.error, "step": steps[0].index if steps else None},
                remedy=text("compute a new tensor instead of writing into this one through .data, detach() or NumPy"),
                established_by="static",
            )
        )

    # -- what else is worth knowing ----------------------------------------------------------------------------------------------------

    def _fault(self, step: Step, summary: Text, error: float) -> None:
        remedy = text("correct the rule {name}; pellucid.check_rule compares one with PyTorch", name=step.rule.name) if step.rule else None
        self.findings.append(
            Finding(
                symptom="wrong_equation", level="fault", confidence=1.0, where=_where(step), summary=summary, remedy=remedy,
                evidence={"step": step.index, "error": error}, established_by="static",
            )
        )  # fmt: skip

    def _custom_functions(self) -> None:
        for step in self.tape.steps:
            if (
                step.operation_index is None
                or step.status != "no equation"
                or self.trace.operations[step.operation_index].level != "autograd"
            ):
                continue
            arriving = {self.recorded.traced[v.index]: g for v in step.outputs if v.differentiable and (g := self._carried(v)) is not None}
            if not arriving:
                continue
            if any(self.trace[draw].tensor.dtype == torch.uint8 for draw in self.trace.operations[step.operation_index].draws):
                # the generator's state: what it draws depends on the argument, as in Dirichlet's rejection sampling
                step.note = text("an autograd.Function that draws out of sight: autograd's value; central differences cannot follow it")
                continue
            verdict = verdict_on(self.recorded.alone[step.operation_index], arriving)
            argument = next((v.name for v in step.inputs if self.recorded.traced.get(v.index) == verdict.argument), "")
            evidence = {"step": step.index, "argument": argument, "finite_differences": verdict.slope, "backward": verdict.claimed}
            if verdict.kind == "agrees":
                step.note = text("an autograd.Function: autograd's value, which agrees with central differences")
            elif verdict.kind == "unknown":
                step.note = text("an autograd.Function: autograd's value; its forward could not be run again for central differences")
            elif verdict.kind == "differs":
                step.status = "differs"
                step.note = text(
                    "an autograd.Function made to have another gradient than its derivative, such as a straight-through estimator"
                )
                summary = text(
                    "step {index}, {name}: its own backward differs from the derivative: {slope} by central differences, {claimed} by it",
                    slope=f"{verdict.slope:.6g}", claimed=f"{verdict.claimed:.6g}", **_place(step),
                )  # fmt: skip
                self._note(step, "differs_from_derivative", summary, evidence)
            else:
                step.status = "wrong"
                step.note = text("an autograd.Function whose backward is not the derivative of its forward")
                step.error = Error(step.error.forward, verdict.error)
                summary = text(
                    "step {index}, {name}: its own backward is wrong for {argument}: along a random direction the loss changes by {slope}, "
                    "backward says {claimed}",
                    argument=argument, slope=f"{verdict.slope:.6g}", claimed=f"{verdict.claimed:.6g}", **_place(step),
                )  # fmt: skip
                remedy = text("correct backward of {name}; torch.autograd.gradcheck tests it alone", name=step.operation)
                self.findings.append(
                    Finding(
                        symptom="wrong_backward", level="fault", confidence=1.0, where=_where(step), summary=summary, remedy=remedy,
                        evidence=evidence, established_by="controlled",
                    )
                )  # fmt: skip

    def _note(self, step: Step, symptom: str, summary: Text, evidence: dict[str, object], remedy: Text | None = None) -> None:
        self.findings.append(
            Finding(
                symptom=symptom, level="advice", confidence=1.0, where=_where(step), summary=summary, evidence=evidence, remedy=remedy,
                established_by="static",
            )
        )  # fmt: skip

    def _stops(self) -> None:
        """Where the gradient stops although the loss depends on parameters beyond."""
        for step in self.recorded.unseen:
            summary = text(
                "step {index}, {name}, writes where autograd does not see it: gradients are those of the program without this write",
                **_place(step),
            )
            self._note(step, "unseen_write", summary, {"step": step.index})
        if not self.recorded.stops:
            return
        steps = self.tape.steps
        from_parameters = {value.index for value in self.tape.values if value.kind == "parameter" and value.requires_gradient}
        for step in steps:
            if any(value.index in from_parameters for value in step.inputs):
                from_parameters |= {value.index for value in step.outputs}
        to_loss = {self.recorded.loss.index}
        for step in reversed(steps):
            if any(value.index in to_loss and value.differentiable for value in step.outputs):
                to_loss |= {value.index for place, value in step.places.items() if _has_derivative(step, place)}
        stops = [
            stop
            for stop in self.recorded.stops
            if any(v.index in to_loss for v in stop.step.outputs) and any(v.index in from_parameters for v in stop.step.inputs)
        ]
        runs: list[list[Step]] = []
        for before, stop in zip([None, *stops], stops, strict=False):
            if before is not None and before.reason == stop.reason and before.step.index == stop.step.index - 1:
                runs[-1].append(stop.step)
            else:
                runs.append([stop.step])
        reasons = {stop.step.index: stop.reason for stop in stops}
        for run in runs:
            first, last, reason = run[0], run[-1], reasons[run[0].index]
            if first is last:
                summary = text("the gradient stops at step {index}, {name}: {reason}", reason=reason, **_place(first))
            else:
                summary = text("the gradient stops at steps {first} to {last}: {reason}", first=first.index, last=last.index, reason=reason)
            for step in run:
                step.note = step.note or text("autograd lets no gradient through here ({reason})", reason=reason)
            remedy = text("take {reason} away if what comes before it should learn", reason=reason)
            self._note(first, "gradient_stops", summary, {"steps": [step.index for step in run], "reason": reason}, remedy)

    def _not_finite(self) -> None:
        """Where the first NaN or infinity is born, forward and backward."""
        loss = self.recorded.loss.array
        gradients = [value.autograd for value in self.tape.values if value.step is None and value.autograd is not None]
        outputs = [self.recorded.values[reference.value].array for reference in references(self.trace.outputs)]
        if all(_finite(array) for array in (loss, *gradients, *outputs)):
            return
        for value in self.tape.values:
            if value.step is None and value.kind != "draw" and not _finite(value.array):
                summary = text("{name} holds NaN or infinite numbers before the first step", name=value.name)
                self.findings.append(
                    Finding(
                        symptom="not_finite", level="fault", confidence=1.0, where=value.name, summary=summary,
                        remedy=text("look at what {name} was made from", name=value.name), established_by="static",
                    )
                )  # fmt: skip
                return
        backward = _finite(loss) and all(_finite(array) for array in outputs)
        for step in reversed(self.tape.steps) if backward else self.tape.steps:
            arriving = [value.gradient for value in step.outputs] if backward else [value.array for value in step.inputs]
            leaving = list(step.gradients.values()) if backward else [value.array for value in step.outputs]
            if all(_finite(array) for array in arriving) and not all(_finite(array) for array in leaving):
                if backward:
                    summary = text(
                        "NaN or infinite gradients are born at step {index}, {name}: what arrives there is finite", **_place(step)
                    )
                else:
                    summary = text("NaN or infinite numbers are born at step {index}, {name}: its arguments are finite", **_place(step))
                remedy = text("look at the numbers of this step: a division by zero, a logarithm or root of zero, an overflow")
                self.findings.append(
                    Finding(
                        symptom="not_finite", level="fault", confidence=1.0, where=_where(step), summary=summary, remedy=remedy,
                        evidence={"step": step.index}, established_by="static",
                    )
                )  # fmt: skip
                if backward or not _finite(loss):
                    return


def _finite(array: np.ndarray | None) -> bool:
    return array is None or array.dtype.kind not in "fc" or bool(np.isfinite(array).all())


def _has_derivative(step: Step, place: str) -> bool:
    """Whether the step's function can be differentiated with respect to what stands in this place."""
    if not step.places[place].differentiable:
        return False
    return step.rule is None or place.partition("[")[0] in step.rule.backward_equations


def _place(step: Step) -> dict[str, object]:
    module = f" ({step.module})" if step.module else ""
    return {"index": step.index, "name": f"{step.operation}{module}"}


def _where(step: Step) -> str:
    return str(step.source) if step.source else step.module or step.operation
