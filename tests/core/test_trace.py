"""A trace is complete and exact: its numbers are the plain pass's, doing it again gives the same, and its gradients are autograd's."""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
import traced_networks as networks
from torch import Tensor, nn

from pellucid.core.trace import trace
from pellucid.core.trace.records import tensors


@dataclass
class Case:
    make: Any
    inputs: Any = field(default_factory=lambda: torch.randn(3, 4))
    names: tuple[str, ...] = ()  # operations that must be there, in this order
    float64: bool = True  # whether the operations can be replayed in float64


def _sequence() -> Tensor:
    return torch.randn(3, 5, 4)


torch_state = torch.get_rng_state()
torch.manual_seed(0)
CASES = {
    "reused modules": Case(networks.Reused, names=("linear", "relu", "linear", "relu", "linear")),
    "residuals": Case(networks.Residual, names=("linear", "relu", "add", "relu", "mul", "add", "sub", "linear")),
    "in place": Case(networks.InPlace, names=("linear", "relu", "add", "add", "add", "elu", "linear")),
    "write through a view": Case(networks.WriteThroughView, names=("linear", "getitem", "mul", "add", "setitem", "view", "getitem", "add")),
    "write to a base": Case(networks.WriteBaseAfterView, names=("linear", "t", "sigmoid", "t", "linear", "sum", "mul")),
    "write to the input": Case(networks.WriteToInput, names=("mul", "setitem", "linear")),
    "masked writes": Case(networks.MaskedWrites,
        names=("linear", "lt", "setitem", "gt", "masked_fill", "tensor", "index_fill", "zeros", "getitem")),
    "several inputs": Case(networks.SeveralInputs, (torch.randn(3, 4), {"shift": [torch.randn(4), 1]}, 0.5),
        names=("add", "linear", "mul")),
    "keyword inputs": Case(
        networks.SeveralInputs, {"x": torch.randn(3, 4), "options": {"shift": [torch.randn(4)]}, "scale": 2, "bias": torch.randn(4)}
    ),
    "tied weights": Case(networks.Tied, names=("linear", "linear", "linear", "linear", "sum", "add")),
    "convolutions": Case(
        networks.Convolutional, torch.randn(2, 1, 8, 8),
        names=("conv2d", "batches_seen", "batch_norm", "relu", "max_pool2d", "conv2d", "group_norm", "gelu", "conv_transpose2d",
               "interpolate", "cat"),
    ),
    "dropout": Case(networks.Dropouts, names=("linear", "dropout", "alpha_dropout", "rrelu", "dropout", "linear")),
    "noise": Case(networks.Noise),
    "lstm": Case(lambda: networks.Recurrent("LSTM"), _sequence(), names=("zeros", "zeros", "lstm", "getitem", "linear")),
    "bidirectional lstm": Case(lambda: networks.Recurrent("LSTM", bidirectional=True), _sequence()),
    "gru": Case(lambda: networks.Recurrent("GRU"), _sequence(), names=("zeros", "gru", "getitem", "linear")),
    "rnn": Case(lambda: networks.Recurrent("RNN", nonlinearity="relu"), _sequence(), names=("zeros", "rnn_relu", "getitem", "linear")),
    "packed sequence": Case(networks.Packed, _sequence()),
    "cells": Case(networks.Cells, _sequence(), names=("zeros", "unbind", "zeros", "lstm_cell", "gru_cell")),
    "attention": Case(networks.Attention, _sequence(), names=("transpose", "multi_head_attention_forward", "transpose", "getitem")),
    "transformer": Case(networks.Transformer, torch.randint(0, 7, (3, 5))),
    "indexing": Case(networks.Indexing,
        names=("einsum", "argsort", "gather", "gt", "neg", "where", "add", "topk", "getitem", "mT", "matmul")),
    "autograd.Function": Case(networks.CustomGradient, names=("linear", "Square", "Square", "add", "linear")),
    "checkpoint": Case(lambda: networks.Checkpointed(False), names=("add", "linear", "tanh", "dropout", "linear")),
    "reentrant checkpoint": Case(lambda: networks.Checkpointed(True), names=("add", "linear", "tanh", "dropout", "linear")),
    "with torch.device": Case(networks.DeviceBlock, names=("linear", "ones", "add", "arange", "add", "linear")),
    "no_grad": Case(networks.NoGradient),
    "torch.func": Case(networks.Transformed),
    "functional_call": Case(networks.FunctionalCall, names=("mul", "mul", "linear", "linear")),
    "scripted function": Case(networks.Scripted, names=("linear", "_wave", "relu", "linear")),
    "gradient inside": Case(networks.InnerGradient),
    "parametrisations": Case(networks.WeightNormalised),
    "autocast": Case(networks.Autocast),
    "attributes and buffers": Case(networks.Attribute),
    "complex": Case(networks.Complex),
    "shared block": Case(networks.Shared, names=("linear", "relu", "tanh", "linear")),
    "dataclass output": Case(networks.DataclassOutput, names=("linear", "linear")),
    "ordered output": Case(networks.OrderedOutput, names=("linear",)),
    "sequential": Case(lambda: nn.Sequential(nn.Linear(4, 4), nn.Softmax(1)), names=("linear", "softmax")),
    "identity": Case(nn.Identity, torch.randn(3, 4, requires_grad=True)),
}  # fmt: skip
torch.set_rng_state(torch_state)


def _loss(outputs: Any) -> Tensor:
    return sum((tensor.float() * torch.linspace(1, 2, tensor.numel()).view(tensor.shape)).sum() for tensor in tensors(outputs))


def _called(model: nn.Module, inputs: Any) -> Any:
    given = copy.deepcopy(inputs)
    return model(**given) if isinstance(given, dict) else model(*given) if isinstance(given, tuple) else model(given)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", CASES)
def test_trace_is_the_forward_pass(name: str, training: bool) -> None:
    case = CASES[name]
    torch.manual_seed(1)
    model = case.make().train(training)
    before, mode = copy.deepcopy(model.state_dict()), {path: module.training for path, module in model.named_modules()}
    given = copy.deepcopy(case.inputs)
    torch.manual_seed(2)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()

    recorded = trace(model, case.inputs, loss=_loss)

    # nothing of the user's has changed
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == (random.getstate(), np.random.get_state()[1].tolist())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert mode == {path: module.training for path, module in model.named_modules()}
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(mine, its) for mine, its in zip(tensors(given), tensors(case.inputs), strict=True))
    assert all(
        not module._forward_hooks and not module._forward_pre_hooks for module in model.modules() if "norm" not in type(module).__name__
    )

    # the same numbers as the plain pass
    plain = copy.deepcopy(model)
    outputs = _called(plain, case.inputs)
    for mine, reference in zip(tensors(outputs), tensors(recorded.tensors(recorded.outputs)), strict=True):
        torch.testing.assert_close(reference, mine.detach(), rtol=1e-5, atol=1e-6)
    names = [operation.name for operation in recorded.operations if operation.stage == "forward"]
    expected = [name for name in case.names if training or name != "batches_seen"]
    assert names[: len(expected)] == [name.replace("batches_seen", "add") for name in expected]

    # done again, every value is equal bit for bit
    again = recorded.replay()
    for first, second in zip(recorded.values, again.values, strict=True):
        if not first.name.startswith("empty"):  # memory as it was found
            assert torch.equal(first.tensor, second.tensor), first.name
            assert first.requires_grad == second.requires_grad, first.name

    # its gradients are autograd's, also after a replay
    if name == "identity":
        return
    torch.manual_seed(2)
    fresh = copy.deepcopy(model)
    _loss(_called(fresh, case.inputs)).backward()
    for attempt in (recorded, again):
        gradients = attempt.gradients()
        for path, parameter in fresh.named_parameters():
            mine = gradients.get(recorded.parameters[path])
            if parameter.grad is None:
                assert mine is None or not mine.any()
            else:
                torch.testing.assert_close(mine, parameter.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", CASES)
def test_replay_in_float64(name: str, training: bool) -> None:
    case = CASES[name]
    torch.manual_seed(1)
    model = case.make().train(training)
    recorded = trace(model, case.inputs, loss=_loss, seed=3)
    again = recorded.replay(dtype=torch.float64)
    for first, second in zip(recorded.values, again.values, strict=True):
        if first.kind == "draw" or first.name.startswith("empty"):
            continue
        expected = {torch.float32: torch.float64, torch.bfloat16: torch.float64, torch.complex64: torch.complex128}
        assert second.tensor.dtype == expected.get(first.tensor.dtype, first.tensor.dtype), first.name
        tolerance = 0.1 if name == "autocast" else 1e-4
        torch.testing.assert_close(second.tensor, first.tensor.to(second.tensor.dtype), rtol=tolerance, atol=tolerance)
