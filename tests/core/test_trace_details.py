"""What a trace says of each operation: module, source line, values at the time of the call, draws; and what stays as it was."""

from __future__ import annotations

import threading
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import traced_networks as networks
from torch import Tensor, nn

from pellucid.core.errors import TraceError
from pellucid.core.trace import Reference, Trace, trace
from pellucid.core.trace.records import references, tensors


class Forward(nn.Module):
    """A network whose forward is the function given; it has one layer to use."""

    def __init__(self, function: Any, size: int = 4) -> None:
        super().__init__()
        self.function, self.layer = function, nn.Linear(size, size)

    def forward(self, *args: Any) -> Any:
        return self.function(self, *args)


def _only(recorded: Trace, name: str) -> Any:
    (found,) = [operation for operation in recorded.operations if operation.name == name]
    return found


@pytest.mark.parametrize(
    ("make", "inputs", "paths"),
    [
        (networks.Reused, torch.zeros(3, 4), ["a", "activation", "a", "activation", "b"]),
        (networks.Residual, torch.zeros(3, 4), ["a", "", "", "", "", "", "", "b"]),
        (networks.Shared, torch.zeros(3, 4), ["left.0", "left.1", "right.0", "right.1"]),
        (lambda: nn.Sequential(nn.Sequential(nn.Linear(4, 4)), nn.ReLU()), torch.zeros(3, 4), ["0.0", "1"]),
        (networks.FunctionalCall, torch.zeros(3, 4), ["", "", "a", "b"]),
        (lambda: networks.Checkpointed(False), torch.zeros(3, 4), ["", "a", "", "", "b"]),
        (lambda: nn.DataParallel(nn.Sequential(nn.Linear(4, 4))), torch.zeros(3, 4), ["0"]),
    ],
)
def test_module_paths(make: Any, inputs: Tensor, paths: list[str]) -> None:
    assert [operation.module for operation in trace(make(), inputs).operations] == paths


def test_module_path_after_an_exception_that_the_network_catches() -> None:
    def forward(self: Forward, x: Tensor) -> Tensor:
        try:
            self.layer(x[:, :1])
        except RuntimeError:
            x = x * 2
        return self.layer(x)

    assert [(operation.name, operation.module) for operation in trace(Forward(forward), torch.zeros(3, 4)).operations] == [
        ("getitem", ""), ("mul", ""), ("linear", "layer"),
    ]  # fmt: skip


def test_source_lines_are_the_programs() -> None:
    def forward(self: Forward, x: Tensor) -> Tensor:
        x = self.layer(x)
        return F.relu(x) + torch.vmap(torch.sin)(x)

    first = forward.__code__.co_firstlineno
    recorded = trace(Forward(forward), torch.zeros(3, 4), loss=lambda outputs: outputs.sum())
    assert [operation.source.line - first for operation in recorded.operations[:-1]] == [1, 2, 2, 2]
    assert {operation.source.file for operation in recorded.operations} == {str(Path(__file__))}
    assert recorded.operations[-1].stage == "loss"
    # a network all of whose code is torch's: the line that asked for the trace
    (operation,) = trace(nn.Sequential(nn.Linear(4, 4)), torch.zeros(3, 4)).operations
    assert operation.source.function == "test_source_lines_are_the_programs"


def test_values_at_the_time_of_the_call() -> None:
    recorded = trace(networks.WriteThroughView(), torch.randn(3, 4), loss=torch.sum)
    h = recorded.tensor(recorded.operations[0].outputs)
    scaled = torch.cat([h[:, :1] * 2, h[:, 1:]], 1)
    written = torch.cat([scaled[:, :1], scaled[:, :1] + 1, scaled[:, 2:]], 1)
    last = [operation for operation in recorded.operations if operation.name == "linear"][-1]
    assert torch.equal(recorded.arguments(last)[0][0], written + 1)
    (multiplied,) = [operation for operation in recorded.operations if operation.name == "mul"]
    assert torch.equal(recorded.arguments(multiplied)[0][0], h[:, 0])
    assert torch.equal(recorded.tensor(multiplied.outputs), h[:, 0] * 2)
    assert torch.equal(recorded.arguments(_only(recorded, "setitem"))[0][0], scaled)
    assert multiplied.in_place
    assert not last.in_place


def test_gradients_of_values_around_writes() -> None:
    """h is written in place twice; each of its three values has a gradient of its own."""
    weights = torch.tensor([[1.0, -2.0, 3.0, -4.0]])

    def forward(self: Forward, x: Tensor) -> Tensor:
        h = x * 1  # h0
        h.mul_(torch.tensor([1.0, 1.0, 0.0, 1.0]))  # h1
        h[:, 0] = 5.0  # h2 = h1, but for the first column
        return h * weights

    x = torch.tensor([[1.0, 2.0, -3.0, 4.0]])
    recorded = trace(Forward(forward), x, loss=torch.sum, input_gradients=True)
    gradients = recorded.gradients()
    first, second = (operation for operation in recorded.operations[:3] if operation.name == "mul")
    values = [first.outputs, second.outputs, _only(recorded, "setitem").written[0][1]]
    assert [recorded.tensor(value).tolist() for value in values] == [[[1, 2, -3, 4]], [[1, 2, 0, 4]], [[5, 2, 0, 4]]]
    assert [gradients[value].tolist() for value in values] == [[[0, -2, 0, -4]], [[0, -2, 3, -4]], [[1, -2, 3, -4]]]
    assert gradients[recorded.inputs].tolist() == [[0, -2, 0, -4]]
    assert len({recorded[value].variable for value in values}) == 1
    assert [recorded[value].previous for value in values] == [None, values[0].value, values[1].value]


def test_views_share_storage() -> None:
    recorded = trace(Forward(lambda self, x: (x.view(-1), x.t(), x + 1, x.mT.contiguous())), torch.zeros(3, 4))
    view, transposed, added, copied = recorded.outputs
    storage = [recorded[reference].storage for reference in (recorded.inputs, view, transposed, added, copied)]
    assert storage[0] == storage[1] == storage[2]
    assert len(set(storage)) == 3


def test_dropout_mask_is_recorded() -> None:
    recorded = trace(networks.Dropouts().train(), torch.randn(3, 4), loss=torch.sum)
    first = recorded.operations[1]
    (mask,) = (recorded.tensor(reference) for reference in first.draws)
    assert set(mask.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(recorded.tensor(first.outputs), recorded.arguments(first)[0][0] * (mask / 0.5))
    # other inputs, the same mask
    again = recorded.replay(torch.ones(3, 4))
    assert torch.equal(again.tensor(first.outputs) == 0, mask == 0)


@pytest.mark.parametrize(
    "function",
    [
        lambda self, x: torch.native_dropout(self.layer(x), 0.5, True)[0],  # what accelerators use
        lambda self, x: F.dropout1d(self.layer(x)[None], 0.5, True),
        lambda self, x: F.rrelu_(self.layer(x) * 1, training=True),
        lambda self, x: torch.rand(3, 4, out=torch.empty(3, 4)) * x,
        lambda self, x: torch.poisson(x.abs() * 5) + x.new_empty(3, 4).random_(0, 9) + torch.multinomial(x.abs() + 1, 4, True),
        lambda self, x: nn.init.normal_(torch.zeros(3, 4)) * x,
        lambda self, x: torch.vmap(lambda row: row * torch.rand(4), randomness="different")(self.layer(x)),
        lambda self, x: F.fractional_max_pool2d(x[None], 2, output_size=2),
        lambda self, x: x + hidden_noise(x),
    ],
)
def test_random_draws_are_replayed(function: Any) -> None:
    recorded = trace(Forward(function), torch.randn(3, 4), loss=torch.sum)
    assert any(operation.draws for operation in recorded.operations)
    torch.rand(7)
    state = torch.get_rng_state()
    again = recorded.replay()
    assert all(
        torch.equal(recorded.tensor(reference), again.tensor(reference))
        for operation in recorded.operations if operation.name not in ("empty", "new_empty")
        for reference in operation.results()
    )  # fmt: skip
    assert torch.equal(state, torch.get_rng_state())


@torch.library.custom_op("pellucid_test::hidden_noise", mutates_args=(), tags=[torch.Tag.nondeterministic_seeded])
def hidden_noise(x: Tensor) -> Tensor:
    """A kernel that keeps its draw to itself, as fused attention on accelerators does."""
    return x * torch.rand(()).item()


def test_seed() -> None:
    network, x = networks.Dropouts(), torch.randn(3, 4)
    first, second, other = (trace(network, x, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.tensor(first.outputs), second.tensor(second.outputs))
    assert not torch.equal(first.tensor(first.outputs), other.tensor(other.outputs))
    torch.manual_seed(5)
    drawn = trace(network, x)
    torch.manual_seed(5)
    assert torch.equal(drawn.tensor(drawn.outputs), network(x).detach())


def test_leaves_and_names() -> None:
    network = networks.Tied()
    recorded = trace(network, torch.randn(3, 4), torch.tensor([0, 1, 2]), nn.CrossEntropyLoss(weight=torch.ones(3)))
    assert recorded.parameters["a.weight"] == recorded.parameters["c.weight"]
    assert set(recorded.parameters) == {"a.weight", "a.bias", "b.weight", "b.bias", "c.weight", "c.bias"}
    assert [value.name for value in recorded.values if value.kind == "constant"] == ["loss.weight"]
    assert (recorded[recorded.inputs].name, recorded[recorded.targets].name) == ("input", "target")
    assert [operation.name for operation in recorded.users(recorded.parameters["a.weight"])] == ["linear"] * 3
    assert recorded[recorded.loss].kind == "operation"
    structure = trace(networks.SeveralInputs(), (torch.zeros(3, 4), {"shift": [torch.zeros(4), 1]}, 0.5))
    assert [recorded.name for recorded in structure.values if recorded.kind == "input"] == ["input[0]", "input[1]['shift'][0]"]
    assert isinstance(structure.outputs[1]["hidden"][1], Reference)
    answer = trace(networks.DataclassOutput(), torch.zeros(3, 4))
    assert set(answer.outputs) == {"logits", "hidden"}
    attributes = trace(networks.Attribute(), torch.zeros(3, 4))
    assert "mask" in [value.name for value in attributes.values]


def test_who_requires_gradients() -> None:
    network = nn.Linear(4, 4)
    network.bias.requires_grad_(False)
    x = torch.randn(3, 4)
    recorded = trace(network, x, loss=torch.sum)
    flags = {value.name: value.requires_grad for value in recorded.values}
    assert flags == {"weight": True, "bias": False, "input": False, "linear_0": True, "sum_1": True}
    assert trace(network, x, input_gradients=True)[Reference(2)].requires_grad
    assert trace(network, x.clone().requires_grad_())[Reference(2)].requires_grad
    tokens = trace(networks.Transformer(), torch.zeros(3, 5, dtype=torch.long), input_gradients=True)
    assert not tokens[tokens.inputs].requires_grad


@pytest.mark.parametrize("surrounding", [torch.no_grad, torch.inference_mode, lambda: torch.device("cpu"), torch.enable_grad])
def test_surroundings_of_the_caller(surrounding: Any) -> None:
    network, x = networks.Residual(), torch.randn(3, 4)
    with surrounding():
        recorded = trace(network, x, loss=torch.sum)
        gradients = recorded.gradients()
    network(x).sum().backward()
    torch.testing.assert_close(gradients[recorded.parameters["a.weight"]], network.a.weight.grad)


def test_nothing_outside_is_written_to() -> None:
    table, statistics, seen = torch.ones(4), nn.BatchNorm1d(4), []

    def forward(self: Forward, x: Tensor) -> Tensor:
        table.mul_(2)
        seen.append(table.sum().item())
        return statistics(self.layer(x)) * table

    network = Forward(forward)
    recorded = trace(network, torch.randn(3, 4), loss=torch.sum)
    assert table.tolist() == [1, 1, 1, 1]
    assert seen == [8.0]
    assert statistics.num_batches_tracked == 0
    assert statistics.running_mean.tolist() == [0, 0, 0, 0]
    assert torch.equal(recorded.replay().tensor(recorded.outputs), recorded.tensor(recorded.outputs))


def test_loss_that_reads_the_users_network() -> None:
    """A penalty on the parameters, through a closure over the original network: gradients arrive at the copy's parameters."""
    network, x, y = nn.Linear(4, 2), torch.randn(3, 4), torch.randn(3, 2)

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.mse_loss(outputs, targets) + sum(parameter.abs().sum() for parameter in network.parameters())

    recorded = trace(network, x, y, loss)
    gradients = recorded.gradients()
    assert all(parameter.grad is None for parameter in network.parameters())
    loss(network(x), y).backward()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(gradients[recorded.parameters[name]], parameter.grad)


def test_replay_on_other_leaves() -> None:
    network, x = networks.Residual(), torch.randn(3, 4)
    recorded = trace(network, x, loss=torch.sum)
    other = torch.randn(5, 4)
    weight = torch.randn(3, 4)
    again = recorded.replay(other, parameters={"b.weight": weight})
    with torch.no_grad():
        network.b.weight.copy_(weight)
    torch.testing.assert_close(again.tensor(again.outputs), network(other).detach())
    assert torch.equal(recorded.replay().tensor(recorded.outputs), recorded.tensor(recorded.outputs))  # the recorded leaves are intact


@pytest.mark.parametrize("frozen", [False, True])
def test_fast_path_of_transformers_is_off(frozen: bool) -> None:
    """In evaluation mode PyTorch would run a whole encoder layer in one call that no gradient passes."""
    network = networks.Transformer().eval().requires_grad_(not frozen)
    tokens = torch.randint(0, 7, (3, 5))
    with torch.no_grad():
        fast = network(tokens)
        recorded = trace(network, tokens)
    names = [operation.name for operation in recorded.operations]
    assert names.count("multi_head_attention_forward") == 2
    assert names.count("layer_norm") == 4
    torch.testing.assert_close(recorded.tensor(recorded.outputs), fast, rtol=1e-4, atol=1e-5)


def test_compiled_networks_are_traced_as_python() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    scaled = torch.compile(lambda x: x.sin() + 1, backend="eager")
    scaled(torch.zeros(2))
    for model in (torch.compile(network, backend="eager"), nn.Sequential(torch.compile(network, backend="eager"))):
        recorded = trace(model, torch.zeros(3, 4), loss=lambda outputs: scaled(outputs).sum())
        assert [operation.name for operation in recorded.operations] == ["linear", "relu", "sin", "add", "sum"]


def test_two_threads_at_once() -> None:
    results: dict[int, list[str]] = {}

    def work(number: int) -> None:
        results[number] = [operation.name for operation in trace(networks.CustomGradient(), torch.randn(3, 4)).operations]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(results.values()) == [["linear", "Square", "Square", "add", "linear"]] * 4
    assert "apply" not in vars(torch.autograd.function._SingleLevelFunction)


def test_networks_that_cannot_be_deep_copied() -> None:
    class Cached(networks.Residual):
        def __init__(self) -> None:
            super().__init__()
            self.lock, self.seen, self.last = threading.Lock(), {"all": [torch.zeros(1)]}, None

        def forward(self, x: Tensor) -> Tensor:
            with self.lock:
                self.last = super().forward(x)  # a result: copy.deepcopy refuses it the next time
                self.seen["all"].append(self.last)
                return self.last

    network, x = Cached(), torch.randn(3, 4)
    network(x)
    recorded = trace(network, x, loss=torch.sum)
    assert [str(note) for note in recorded.notes] == ["the attribute lock cannot be copied: the traced pass used your network's own"]
    assert len(network.seen["all"]) == 2
    torch.testing.assert_close(recorded.tensor(recorded.outputs), network(x).detach())


def test_old_weight_norm() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        network = nn.utils.weight_norm(nn.Linear(4, 3))
    network(torch.zeros(3, 4))
    recorded = trace(network, torch.randn(3, 4), loss=torch.sum)
    assert {"weight_g", "weight_v"} <= {recorded[reference].name for reference in recorded.gradients()}


@pytest.mark.parametrize(
    ("function", "note"),
    [
        (lambda self, x: self.layer(x) * x.sum().item(), "values are read into Python by item (FILE): a replay uses those read"),
        (lambda self, x: networks.scripted(self.layer(x)), "the TorchScript function _wave at FILE hides the operations inside it"),
        (lambda self, x: networks.Checkpointed(True)(x), "torch.utils.checkpoint at FILE is traced as if it were not there"),
        (lambda self, x: self.layer(x) + computed_before, "constant_1 (at FILE) was computed before the pass: it is a constant here"),
        (lambda self, x: self.layer(x) + hidden_noise(x), "hidden_noise hides its random draws: the state of the random generator is kept"),
    ],
)
def test_notes(function: Any, note: str) -> None:
    recorded = trace(Forward(function), torch.randn(3, 4))
    here = f"{function.__code__.co_filename}:{function.__code__.co_firstlineno}"
    found = [str(text).replace(here, "FILE") for text in recorded.notes]
    assert len(found) == 1
    if "checkpoint" in note:
        assert found[0].endswith("is traced as if it were not there")
    else:
        assert found[0].startswith(note)


computed_before = torch.ones(4, requires_grad=True) * 2


def test_summary() -> None:
    recorded = trace(networks.Residual(), torch.randn(3, 4), torch.tensor([0, 1, 2]), F.cross_entropy)
    lines = str(recorded).splitlines()
    assert lines[1].split()[:6] == ["0", "linear", "a", "input", "a.weight", "a.bias"]
    assert "linear_0[3, 4]" in lines[1]
    assert lines[1].split()[-1].startswith("traced_networks.py:")
    assert len(lines) == len(recorded.operations) + 1
    assert recorded.summary(limit=2).splitlines()[-1] == f"... and {len(recorded.operations) - 2} more operations"
    assert repr(recorded) == f"Trace({len(recorded.operations)} operations, {len(recorded.values)} values)"


class _Quantised(nn.Module):
    __module__ = "torch.ao.nn.quantized.modules.linear"


def _lazy() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.Sequential(nn.LazyLinear(3))


def _scripted() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return nn.Sequential(nn.ReLU(), torch.jit.trace(nn.Linear(4, 4), torch.zeros(3, 4)))


X = torch.zeros(3, 4)


@pytest.mark.parametrize(
    ("make", "arguments", "parts"),
    [
        (lambda: lambda x: x, (X,), ("the network is a function", "torch.nn.Module")),
        (_scripted, (X,), ("TorchScript module: 1",)),
        (lambda: nn.Sequential(nn.ReLU(), _Quantised()), (X,), ("quantised module: 1 (_Quantised)",)),
        (_lazy, (X,), ("0.weight, whose shape is not known",)),
        (lambda: nn.Linear(4, 4, device="meta"), (X,), ("weight, which is on the meta device",)),
        (lambda: nn.Sequential(nn.Linear(4, 4), nn.Linear(3, 3)), (X,), ("mat1 and mat2", "float32 (3, 4)", "look at module 1;")),
        (networks.SeveralInputs, ((X, {"shift": [1]}),), ("scale", "(float32 (3, 4), {shift: (1)})")),
        (lambda: Forward(lambda self, x: "text"), (X,), ("the network returned 'text', which holds no tensor",)),
        (lambda: Forward(lambda self, x: torch.from_numpy(self.layer(x).detach().numpy())), (X,), ("depends on no recorded operation",)),
        (lambda: nn.Linear(4, 4), (X, X), ("targets were given, but no loss",)),
        (lambda: nn.Linear(4, 4), (X, X, lambda a, b: a - b), ("the loss returned float32 (3, 4)", 'reduction="mean"')),
        (lambda: nn.Linear(4, 4), (X, None, lambda a: 1.5), ("the loss returned 1.5",)),
        (lambda: nn.Linear(4, 4), (X, torch.zeros(2), F.cross_entropy), ("the loss raised", "float32 (3, 4)", "float32 (2,)")),
    ],
)
def test_refusals(make: Any, arguments: tuple[Any, ...], parts: tuple[str, ...]) -> None:
    with pytest.raises(TraceError) as caught:
        trace(make(), *arguments)
    assert all(part in str(caught.value) for part in parts), str(caught.value)
    assert len(caught.value.sentences()) == 3


@pytest.mark.parametrize(
    ("act", "part"),
    [
        (lambda recorded: recorded.gradients(), "the trace has no loss"),
        (lambda recorded: recorded.gradients(recorded.outputs), "has shape (3, 4)"),
        (lambda recorded: recorded.replay((X, X)), "inputs holds 2 tensors"),
        (lambda recorded: recorded.replay(torch.zeros(3, 5)), "replaying operation 0, linear, raised RuntimeError"),
        (lambda recorded: recorded.replay(parameters={"0.wieght": X}), "did you mean '0.weight'?"),
    ],
)
def test_refusals_of_a_trace(act: Any, part: str) -> None:
    with pytest.raises(TraceError) as caught:
        act(trace(nn.Sequential(nn.Linear(4, 4)), X))
    assert part in str(caught.value)


def test_everything_is_put_back_when_the_network_raises() -> None:
    network = Forward(lambda self, x: self.layer(torch.rand(1, 2)))
    state = torch.get_rng_state()
    with pytest.raises(TraceError):
        trace(network, X)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.overrides._get_current_function_mode_stack() == []
    assert torch.utils._python_dispatch._get_current_dispatch_mode_stack() == []
    assert "apply" not in vars(torch.autograd.function._SingleLevelFunction)
    assert torch.jit.ScriptFunction.__call__.__name__ == "__call__"


def test_half_precision_and_references() -> None:
    recorded = trace(nn.Linear(4, 4).bfloat16(), X.bfloat16(), loss=torch.sum)
    assert recorded.tensor(recorded.outputs).dtype == torch.bfloat16
    assert recorded.replay(dtype=torch.float64).tensor(recorded.outputs).dtype == torch.float64
    operation = recorded.operations[0]
    assert references((operation.args, operation.kwargs)) == operation.inputs()
    assert len(tensors(recorded.arguments(operation))) == 3


def test_a_conversion_that_another_precision_makes_needless_still_gives_a_new_tensor() -> None:
    class Converts(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            converted = x.float()
            converted.mul_(3)
            return converted + x.float()  # x itself was not multiplied

    recorded = trace(Converts(), torch.ones(2, dtype=torch.bfloat16))
    assert recorded.replay(dtype=torch.float64).tensors(recorded.outputs).tolist() == [4.0, 4.0]
