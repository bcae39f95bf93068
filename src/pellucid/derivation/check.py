"""Check: what the comparison of a derivation with PyTorch came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pellucid.core.language import text
from pellucid.core.records import Finding, Record
from pellucid.derivation.comparison import TOLERANCE
from pellucid.derivation.custom import TOLERANCE as DIFFERENCES_TOLERANCE

if TYPE_CHECKING:
    from pellucid.derivation.derive import Derivation


@dataclass(frozen=True, kw_only=True)
class Check(Record):
    """Ours against PyTorch's. Errors are relative: over the magnitude of the terms summed, or the tensor's largest entry where larger."""

    passed: bool  # no fault, every error within `tolerance`
    worst_forward: float  # of every result that has an equation
    worst_forward_step: int | None = None  # the number of that equation
    worst_gradient: float  # of every value that autograd has a gradient for
    worst_gradient_of: str = ""  # that value's name
    worst_update: float | None = None  # of every new parameter that has equations; None without an optimizer
    worst_update_of: str = ""  # that parameter's name
    operations: int  # traced operations on which outputs or loss depend
    gradients: int  # values whose gradients were compared
    without_equation: int  # operations shown with PyTorch's values only
    operations_without_equation: tuple[str, ...] = ()  # their names
    tolerance: float = TOLERANCE
    findings: tuple[Finding, ...] = ()  # faults first
    finite_differences: float | None = None  # the worst error of central differences, where they were asked for
    homework: Mapping[str, Any] | None = None  # gradients or parameters computed elsewhere, compared: see homework.py

    @property
    def faults(self) -> tuple[Finding, ...]:
        """Findings that make the check fail."""
        return tuple(finding for finding in self.findings if finding.level == "fault")

    def __str__(self) -> str:
        lines = [
            text(
                "results: {count} operations compared with PyTorch, largest relative error {error}",
                count=self.operations - self.without_equation, error=f"{self.worst_forward:.2g}",
            ),
            text(
                "gradients: {count} values compared with autograd, largest relative error {error}",
                count=self.gradients, error=f"{self.worst_gradient:.2g}",
            ),
        ]  # fmt: skip
        if self.worst_gradient > self.tolerance:
            lines.append(text("largest at {name}", name=self.worst_gradient_of))
        if self.worst_update is not None and self.worst_update > self.tolerance:
            error = f"{self.worst_update:.2g}"
            lines.append(text("update: largest relative error {error}, at {name}", error=error, name=self.worst_update_of))
        if self.finite_differences is not None:
            lines.append(text("central differences: largest relative error {error}", error=f"{self.finite_differences:.2g}"))
        if self.without_equation:
            names = list(dict.fromkeys(self.operations_without_equation))
            lines.append(text("without an equation, autograd's value: {count} ({names})", count=self.without_equation, names=names))
        for finding in self.findings:
            fault = finding.level == "fault"
            lines.append(text("fault: {what}", what=finding.summary) if fault else text("note: {what}", what=finding.summary))
            if finding.remedy and fault:
                lines.append(text("remedy: {what}", what=finding.remedy))
        head = text("Check passed") if self.passed else text("Check not passed")
        return "\n".join([str(head), *(f"  {line}" for line in lines)])


def check_of(derivation: Derivation) -> Check:
    """The numbers of a derivation's comparison."""
    steps = derivation.steps
    ruled = [step for step in steps if step.rule is not None and step.error.forward is not None]
    worst = max(ruled, key=lambda step: step.error.forward or 0.0, default=None)
    compared = [value for value in derivation.tape.values if value.error is not None]
    furthest = max(compared, key=lambda value: value.error or 0.0, default=None)
    missing = [step for step in steps if step.rule is None and not step.identity]
    faults_first = tuple(sorted(derivation.findings, key=lambda finding: finding.level != "fault"))
    updates = [update for update in derivation.updates if update.error is not None]
    updated = max(updates, key=lambda update: update.error or 0.0, default=None)
    update_error = (updated.error or 0.0) if updated else 0.0
    forward = (worst.error.forward or 0.0) if worst else 0.0
    gradient = (furthest.error or 0.0) if furthest else 0.0
    differences = derivation.differences
    slopes_fit = differences is None or differences.worst <= DIFFERENCES_TOLERANCE or any(f.symptom in _EXPLAINS for f in faults_first)
    return Check(
        passed=max(forward, gradient, update_error) <= TOLERANCE and slopes_fit and not any(f.level == "fault" for f in faults_first),
        worst_forward=forward,
        worst_forward_step=worst.index if worst else None,
        worst_gradient=gradient,
        worst_gradient_of=furthest.name if furthest else "",
        worst_update=update_error if updated else None,
        worst_update_of=updated.parameter if updated else "",
        operations=len({step.operation_index for step in steps if step.operation_index is not None}),
        gradients=len(compared),
        without_equation=len(missing),
        operations_without_equation=tuple(step.operation for step in missing),
        findings=faults_first,
        finite_differences=differences.worst if differences else None,
    )


# central differences see through these: they measure the function itself, not what autograd was told
_EXPLAINS = ("gradient_stops", "differs_from_derivative", "unseen_write")
