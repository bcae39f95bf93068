"""How watching begins and ends: bad input, copies, failures of the loop and our own, a forgotten watcher, compiled and parallel models."""

from __future__ import annotations

import copy
import gc
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.optimizer import _global_optimizer_pre_hooks

import pellucid
from pellucid.core.errors import InputError, ModelError, OptionError, OptionTypeError
from pellucid.core.language import text, use_language
from pellucid.core.records import Finding
from pellucid.diagnosis import registry
from pellucid.diagnosis.dynamic.observations import Observations
from pellucid.diagnosis.watch import attachment, looking
from pellucid.diagnosis.watch.watcher import Watcher

INPUTS, TARGETS = torch.randn(32, 8, generator=torch.Generator().manual_seed(0)), torch.arange(32) % 3


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))


def steps(model: nn.Module, count: int = 6, optimizer: torch.optim.Optimizer | None = None) -> None:
    optimizer = optimizer or torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(count):
        loss = F.cross_entropy(model(INPUTS), TARGETS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def hooks_of(model: nn.Module) -> int:
    return sum(len(hooks) for module in model.modules() for hooks in (module._forward_hooks, module._forward_pre_hooks))


@pytest.fixture(autouse=True)
def _clean() -> Any:
    backward = torch.autograd.backward
    yield
    assert attachment.attached() == 0
    assert torch.autograd.backward is backward
    assert not _global_optimizer_pre_hooks


def _twice() -> None:
    model = network()
    with pellucid.watch(model):
        pellucid.watch(model)


BAD: dict[str, tuple[Callable[[], Any], type[InputError], str]] = {
    "not a module": (lambda: pellucid.watch("resnet"), OptionTypeError, "str"),  # pyright: ignore[reportArgumentType]
    "a function as a loss": (lambda: pellucid.watch(network(), loss=F.cross_entropy), OptionTypeError, "CrossEntropyLoss"),  # pyright: ignore
    "not an optimizer": (lambda: pellucid.watch(network(), 0.1), OptionTypeError, "float"),  # pyright: ignore[reportArgumentType]
    "another model's optimizer": (lambda: pellucid.watch(network(), torch.optim.SGD(network().parameters(), 0.1)), OptionError, "SGD"),
    "nothing to train": (lambda: pellucid.watch(network().requires_grad_(False)), ModelError, "requires_grad"),
    "no parameters": (lambda: pellucid.watch(nn.ReLU()), ModelError, "requires_grad"),
    "twice": (_twice, ModelError, "already"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name: str) -> None:
    call, kind, words = BAD[name]
    with pytest.raises(kind, match=words) as caught:
        call()
    assert caught.value.expected
    assert caught.value.do


def test_a_closed_watcher_keeps_what_it_found_and_cannot_begin_again() -> None:
    model = network()
    watcher = Watcher(model, announce=False)
    steps(model)
    watcher.close()
    watcher.close()
    seen = watcher.observations
    steps(model)
    assert watcher.observations.steps == seen.steps == 6
    assert "closed" in repr(watcher)
    with pytest.raises(OptionError, match="closed"), watcher:
        pass
    with pellucid.watch(model) as again:  # a new one may follow
        steps(model, 3)
        assert again.observations.steps == 3


def test_everything_goes_when_the_loop_raises() -> None:
    model = network()

    def loop() -> None:
        with pellucid.watch(model):
            steps(model, 3)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        loop()
    assert hooks_of(model) == 0


def test_a_training_of_ours_is_looked_at_more_closely() -> None:
    looks: dict[bool, list[int]] = {}
    for closely in (False, True):
        model = network()
        with Watcher(model, announce=False, closely=closely) as watcher:
            steps(model, 12)
            looks[closely] = [look.step for look in watcher.observations.looks]
    assert looks == {False: [0, 1, 3, 7], True: [0, 1, 2, 3, 4, 5, 6, 7, 8, 10]}


def test_a_model_that_was_not_trained_is_not_praised() -> None:
    with use_language("en"), Watcher(network(), announce=False) as watcher:
        assert "No training step was seen" in str(watcher.report())
        assert "Nothing wrong" not in str(watcher.report())


def test_gradients_of_single_samples_are_left_alone() -> None:
    model = network()

    def loss(parameters: dict[str, Tensor], sample: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(torch.func.functional_call(model, parameters, (sample[None],)), target[None])

    single = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))  # pyright: ignore[reportPrivateImportUsage]
    expected = single(dict(model.named_parameters()), INPUTS, TARGETS)
    with Watcher(model, announce=False) as watcher:
        for _ in range(5):  # looks are due at some of these steps
            found = single({name: value.detach() for name, value in model.named_parameters()}, INPUTS, TARGETS)
            steps(model, 1)
            if watcher.observations.steps == 1:
                assert all(torch.equal(found[name], expected[name]) for name in expected)
        seen = watcher.observations
    assert not watcher._recorder.failed
    assert seen.steps == 5
    assert seen.looks_made >= 2
    assert sum("torch.func" in str(note) for note in seen.unseen) == 1


def test_tracing_a_watched_model_sees_nothing_of_ours() -> None:
    model = network()
    with Watcher(model, announce=False) as watcher:
        steps(model, 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("error", torch.jit.TracerWarning)
            traced = torch.jit.trace(model, INPUTS)
        assert torch.equal(traced(INPUTS), model(INPUTS))
        steps(model, 2)
        assert watcher.observations.steps == 4


class Fragile(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.breaks = nn.Linear(8, 3), False

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.layer(inputs)
        if self.breaks:
            raise ValueError("in the middle of a forward pass")
        return hidden


def test_a_forward_pass_that_raises_during_a_look_is_survived() -> None:
    model = Fragile()
    with Watcher(model, announce=False) as watcher:
        model.breaks = True
        for _ in range(2):
            with pytest.raises(ValueError, match="middle"):
                model(INPUTS)
        model.breaks = False
        steps(model, 5)
        assert watcher.observations.steps == 5
        assert watcher.observations.looks_made >= 2
    assert hooks_of(model) == 0


def test_a_backward_pass_that_raises_is_survived() -> None:
    model = network()
    with Watcher(model, announce=False) as watcher:
        steps(model, 2)
        loss = F.cross_entropy(model(INPUTS), TARGETS)
        loss.backward()
        with pytest.raises(RuntimeError, match="second time"):
            loss.backward()
        steps(model, 3)
        assert watcher.observations.steps == 5
        assert not watcher._recorder.failed


def test_forgetting_the_watcher_ends_it() -> None:
    model = network()
    watcher = Watcher(model, announce=False)
    steps(model, 3)
    del watcher
    gc.collect()
    assert hooks_of(model) == 0
    assert attachment.attached() == 0


def test_a_watcher_that_is_not_kept_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    pellucid.watch(network())
    gc.collect()
    assert "watcher = pellucid.watch(model)" in capsys.readouterr().err


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["deepcopy", "pickle"])
@pytest.mark.parametrize("when", ["before", "in a look"])
def test_copies_of_a_watched_model_are_not_watched(duplicate: Callable[[nn.Module], nn.Module], when: str) -> None:
    model = network()
    with Watcher(model, announce=False) as watcher:
        if when == "in a look":
            model(INPUTS)
        other = duplicate(model)
        steps(other, 3)
        assert watcher.observations.steps == 0
        steps(model, 2)
        assert watcher.observations.steps == 2
    assert torch.equal(other(INPUTS[:1]).isfinite(), torch.ones(1, 3, dtype=torch.bool))


def test_a_pickled_model_needs_no_pellucid_to_load(tmp_path: Path) -> None:
    model = network()
    with Watcher(model, announce=False):
        torch.save(model, tmp_path / "model.pt")
    assert b"pellucid" not in (tmp_path / "model.pt").read_bytes()


def test_our_own_failure_is_one_warning_and_the_training_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise LookupError("a bug of ours")

    monkeypatch.setattr(looking, "finish", broken)
    model = network()
    twin = copy.deepcopy(model)
    steps(twin)
    watcher = Watcher(model, announce=False)
    with pytest.warns(RuntimeWarning, match="a bug of ours") as said:
        steps(model)
    assert len(said) == 1
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))
    assert hooks_of(model) == 0
    assert watcher.closed


def test_a_watcher_is_not_copied() -> None:
    with Watcher(network(), announce=False) as watcher, pytest.raises(OptionTypeError, match="to_dict"):
        copy.deepcopy(watcher)


def test_findings_are_printed_once_in_the_users_language(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def always(seen: Observations) -> list[Finding]:
        return [Finding(symptom="always", summary=text("the loss is {value}", value=1), level="fault", remedy=text("loss"))]

    always.reads = Observations  # pyright: ignore[reportFunctionMemberAccess]
    monkeypatch.setattr(registry, "_symptoms", {"always": always})
    model = network()
    with use_language("en"), pellucid.watch(model) as watcher:
        steps(model, 40)
        assert [finding.symptom for finding in watcher.findings] == ["always"]
    said = capsys.readouterr().err
    assert said.count("the loss is 1") == 1
    assert "step" in said


def test_two_watchers_see_their_own_models() -> None:
    first, second = network(), network()
    with Watcher(first, announce=False) as a, Watcher(second, announce=False) as b:
        one, two = F.cross_entropy(first(INPUTS), TARGETS), F.cross_entropy(second(INPUTS), TARGETS)
        (3 * one).backward()
        two.backward()
        torch.optim.SGD(second.parameters(), 0.1).step()
        assert (a.observations.steps, b.observations.steps) == (0, 1)
        torch.optim.SGD(first.parameters(), 0.1).step()
        assert a.observations.loss.values == pytest.approx([one.item()], rel=1e-5)
        assert b.observations.loss.values == pytest.approx([two.item()], rel=1e-5)


def test_a_compiled_model_degrades_and_says_so() -> None:
    model = network()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled = torch.compile(model, backend="eager")
        with Watcher(compiled, announce=False) as watcher:
            steps(compiled, 5)
            seen = watcher.observations
    assert seen.compiled
    assert seen.steps == 5
    assert seen.gradients.norm[-1] is not None
    assert any("compiled" in str(note) for note in seen.unseen)
    torch._dynamo.reset()


def test_a_compiled_model_learns_the_same() -> None:
    def ends(watched: bool) -> list[torch.Tensor]:
        torch.manual_seed(3)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3))
        compiled = torch.compile(model, backend="eager")
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        watcher = Watcher(compiled, optimizer, announce=False) if watched else None
        for _ in range(40):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(compiled(torch.randn(16, 8)), torch.randint(3, (16,))).backward()
            optimizer.step()
        if watcher is not None:
            watcher.close()
        torch._dynamo.reset()
        return [*(parameter.detach().clone() for parameter in model.parameters()), torch.get_rng_state()]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert all(torch.equal(one, other) for one, other in zip(ends(False), ends(True), strict=True))


def test_cells_of_a_notebook() -> None:
    """Each cell is compiled by itself and shares one name space; the same cell is run again while the last watcher is still there."""
    cells = [
        "import torch, pellucid; from torch import nn; from torch.nn import functional as F",
        "torch.manual_seed(0); model = nn.Linear(4, 2); optimizer = torch.optim.SGD(model.parameters(), 0.1)",
        "watcher = pellucid.watch(model, optimizer)",
        "for _ in range(5):\n"
        "    optimizer.zero_grad(); F.cross_entropy(model(torch.randn(8, 4)), torch.randint(2, (8,))).backward(); optimizer.step()",
    ]
    names: dict[str, Any] = {"__name__": "__main__"}
    for number in (0, 1, 2, 3, 1, 2, 3, 3):
        exec(compile(cells[number], f"<cell {number}>", "exec"), names)
    assert names["watcher"].observations.steps == 10
    names["watcher"].close()
    assert not names["model"]._forward_pre_hooks


DISTRIBUTED = """
import torch, torch.distributed as distributed, torch.nn.functional as F
from torch import nn
from pellucid.diagnosis.watch.watcher import Watcher
distributed.init_process_group("gloo", init_method="file://{store}", rank=0, world_size=1)
ends = []
for watched in (False, True):
    torch.manual_seed(0)
    model = nn.parallel.DistributedDataParallel(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watcher = Watcher(model, announce=False) if watched else None
    for _ in range(6):
        loss = F.cross_entropy(model(torch.randn(16, 8)), torch.randint(3, (16,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    ends.append([parameter.detach().clone() for parameter in model.parameters()])
assert all(torch.equal(a, b) for a, b in zip(*ends)), "the weights differ"
assert watcher.observations.steps == 6 and watcher.observations.looks_made >= 3
assert watcher.observations.weights[0].owners == 1
watcher.close()
distributed.destroy_process_group()
print("equal")
"""


@pytest.mark.slow
def test_distributed_data_parallel(tmp_path: Path) -> None:
    code = DISTRIBUTED.replace("{store}", str(tmp_path / "store"))
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=240, check=False)
    assert done.stdout.strip().endswith("equal"), done.stderr


class Counted(nn.Module):
    """A network that keeps a count among its parameters, as Keras keeps the states of its random generators."""

    def __init__(self) -> None:
        super().__init__()
        self.network = network()
        self.count = nn.Parameter(torch.zeros(2, dtype=torch.int32), requires_grad=False)

    def forward(self, inputs: Tensor) -> Tensor:
        self.count += 1
        return self.network(inputs)


def test_integers_among_the_parameters_are_left_alone() -> None:
    model = Counted()
    with pellucid.watch(model) as watcher:
        steps(model)
    assert watcher.observations.looks_made == 3
    assert "count" not in {weight.name for weight in watcher.observations.weights}
    assert not watcher.findings


def test_that_nothing_is_ever_updated_is_told_in_the_loop(capsys: pytest.CaptureFixture[str]) -> None:
    model = network()
    with pellucid.watch(model):
        for _ in range(199):
            F.cross_entropy(model(INPUTS), TARGETS).backward()
        assert "Pellucid" not in capsys.readouterr().err
        F.cross_entropy(model(INPUTS), TARGETS).backward()
        assert "The model is never updated: 200 backward passes" in capsys.readouterr().err
