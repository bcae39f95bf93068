"""PyTorch's own sample inputs for every function with a rule: at least nine in ten match; each refusal says why, by a listed reason.

A sample's call is traced, and each traced operation of the function's rule is checked as a case is. Samples of complex numbers and sparse
tensors are none of ours. In the default suite every third function has at most SAMPLES samples, evenly chosen; all of them run in slow.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from derivation.rules.checking import calls, check
from pellucid.core.errors import TraceError
from pellucid.core.trace.names import ALIASES
from pellucid.core.trace.records import tensors
from pellucid.derivation.registry import Unsupported, find_rule
from turns import in_turn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_methods_invocations import op_db

SAMPLES = 3
SHARE = 0.9
TOLERANCE = 1e-9

# Calls that a rule says it does not cover, by words of the refusal.
REFUSALS: dict[str, tuple[str, ...]] = {}

# Functions whose samples are checked less exactly, and why.
LOOSE = {
    "float": 1e-6,  # a derivation stays in float64 where the program narrows
    "half": 1e-2,
    "bfloat16": 1e-1,
}

# Functions of op_db that are no rule's matter although they bear the name of one.
OTHERS = {"masked", "_refs", "sparse", "signal"}


def rule_of(entry: Any) -> str | None:
    """The rule that an entry of op_db is about."""
    if entry.name.split(".")[0] in OTHERS:
        return None
    if entry.name == "unfold":  # of a tensor; that of torch.nn.functional has its entry under nn
        return "unfold_dimension"
    for name in (entry.name.rsplit(".", 1)[-1], entry.name.replace(".", "_")):
        name = name.removeprefix("special_")
        if name.startswith("linalg_") or "linalg" not in entry.name or f"linalg_{name}" in ALIASES:
            rule = find_rule(ALIASES.get(name, name))
            if rule is not None:
                return rule.name
    return None


ENTRIES = {f"{entry.name}{'.' if entry.variant_test_name else ''}{entry.variant_test_name}": entry for entry in op_db}
NAMED = {name: rule for name, entry in ENTRIES.items() if (rule := rule_of(entry)) is not None}


@dataclass
class Outcome:
    """What became of a function's samples."""

    matched: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    @property
    def tried(self) -> int:
        return self.matched + self.refused.total() + len(self.wrong)

    @property
    def share(self) -> float:
        return self.matched / self.tried if self.tried else 1.0


def samples_of(entry: Any, limit: int | None) -> Iterator[tuple[Any, bool]]:
    """Sample inputs, evenly chosen, and whether they can have gradients."""
    types = entry.dtypes
    dtype = next((one for one in (torch.float64, torch.int64, torch.bool) if one in types), None)
    if dtype is None:
        return
    gradients = dtype == torch.float64 and entry.supports_autograd
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        samples = list(entry.sample_inputs("cpu", dtype, requires_grad=gradients))
    step = 1 if limit is None else max(1, -(-len(samples) // limit))
    for sample in samples[::step]:
        yield sample, gradients


def ours(sample: Any) -> bool:
    """Real dense tensors only."""
    found = tensors((sample.input, sample.args, sample.kwargs))
    return all(isinstance(tensor, Tensor) and tensor.layout == torch.strided and not tensor.is_complex() for tensor in found)


def outcome_of(name: str, limit: int | None) -> Outcome:
    """All samples of a function against its rule."""
    entry, rule_name, outcome = ENTRIES[name], NAMED[name], Outcome()
    for sample, gradients in samples_of(entry, limit):
        if not ours(sample):
            continue
        shown = f"{sample.summary()[:300]}"
        try:
            args = (sample.input, *sample.args)
            found = calls(entry.op, args, sample.kwargs, gradients=gradients)
            mine = [call for call in found if call.rule is not None and call.rule.name in (rule_name, f"{rule_name}_with_indices")]
            if not mine:
                continue  # another function does it, or PyTorch returns its argument
            errors = [check(call)[:2] for call in mine]
        except TraceError:
            continue  # nothing is computed, or PyTorch refuses its own sample
        except Unsupported as refusal:
            outcome.refused[str(refusal.got)] += 1
            continue
        except Exception as error:
            outcome.wrong.append(f"{shown}: {type(error).__name__}: {error}")
            continue
        if all(max(pair) <= LOOSE.get(name, TOLERANCE) for pair in errors):
            outcome.matched += 1
        else:
            outcome.wrong.append(f"{shown}: {errors}")
    return outcome


def judged(name: str, limit: int | None) -> None:
    outcome = outcome_of(name, limit)
    assert outcome.share >= SHARE, "\n".join([f"{outcome.share:.0%} match", *outcome.wrong, *outcome.refused])
    for reason in outcome.refused:
        assert any(words in reason for words in REFUSALS.get(NAMED[name], ())), f"an unlisted refusal: {reason}"


@pytest.mark.parametrize("name", in_turn(NAMED, 5))
def test_samples(name: str) -> None:
    judged(name, SAMPLES)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMED)
def test_all_samples(name: str) -> None:
    judged(name, None)
