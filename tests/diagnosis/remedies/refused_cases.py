"""Cases of remedies that show in the score only, and of changes that cannot be made."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diagnosis.remedies.remedy_cases import CLASSES, RELU, VALUES, Switched, X, experiment, functional, net, sequential
from pellucid.diagnosis.experiments.experiment import Experiment

# What is done to the test part, or in evaluation, shows in the score only: the same four.
TESTED: dict[str, tuple[str, dict[str, Any], Experiment, Experiment]] = {
    "match_test_inputs": (
        "match_test_inputs",
        {},
        experiment(RELU, test=(50 * X + 60, CLASSES)),
        experiment(RELU, test=(X, CLASSES)),
    ),
    "match_test_inputs in their order": (
        "match_test_inputs",
        {"order": [5, 0, 1, 2, 3, 4]},
        experiment(RELU, test=(X.roll(-1, 1), CLASSES)),
        experiment(RELU, test=(X, CLASSES)),
    ),
    "rename_test_targets": (
        "rename_test_targets",
        {"classes": [1, 2, 0]},
        experiment(RELU, test=(X, (CLASSES + 1) % 3)),
        experiment(RELU, test=(X, CLASSES)),
    ),
    "shift_targets of the test part": (
        "shift_targets",
        {"by": 1, "part": "test"},
        experiment(RELU, test=(X, CLASSES.roll(1))),
        experiment(RELU, test=(X[:59], CLASSES[:59])),
    ),
    "follow_mode": (
        "follow_mode",
        {"attribute": "is_training"},
        experiment(Switched, test=(X, CLASSES)),
        experiment(lambda: Switched(True), test=(X, CLASSES)),
    ),
}


class Looping(nn.Module):
    """Calls relu as often as the batch is long."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = inputs
        for _ in range(len(inputs) if self.training else 2):
            outputs = torch.relu(outputs)
        return self.linear(outputs)


def partial_step(model: nn.Module, optimizer: Any, loss: Any, batch: Any) -> Tensor:
    optimizer.zero_grad()
    hidden = batch[0]
    for layer in model:
        hidden = layer(hidden)
    value = loss(hidden, batch[1])
    value.backward()
    optimizer.step()
    return value


NOT_APPLICABLE: dict[str, tuple[str, dict[str, Any], Experiment, str]] = {
    "unknown kind": ("learning_rat", {}, experiment(RELU), "did you mean 'learning_rate'"),
    "missing value": ("learning_rate", {}, experiment(RELU), "give"),
    "unknown value": ("clip", {"norm": 1, "kind": 2}, experiment(RELU), "leave out kind"),
    "wrong type": ("learning_rate", {"rate": "fast"}, experiment(RELU), "could not convert"),
    "no activation": ("drop_output_activation", {}, experiment(net()), "no activation was found"),
    "no such activation": ("replace_activation", {"from": "tanh", "to": "relu"}, experiment(RELU), "calls no tanh"),
    "no such name": ("insert_activation", {"after": "encoder", "name": "relu"}, experiment(RELU), "named 'encoder'"),
    "unknown activation": ("insert_activation", {"after": "0", "name": "rule"}, experiment(RELU), "'rule' is none of"),
    "position out of range": ("replace_activation", {"from": "relu", "to": "tanh", "position": 99}, experiment(RELU), "no operation 99"),
    "position of another": ("replace_activation", {"from": "relu", "to": "tanh", "position": 0}, experiment(RELU), "is linear, not relu"),
    "several softmax": ("softmax_axis", {"axis": 1}, experiment(functional(lambda _, x: x.softmax(0))), "2 calls of softmax"),
    "no softmax": ("softmax_axis", {"axis": 1}, experiment(RELU), "no softmax"),
    "no logarithm": ("stable_log", {}, experiment(RELU), "takes a logarithm"),
    "nothing cut": ("attach", {}, experiment(RELU), "cuts a gradient"),
    "no function of one's own": ("differentiate", {}, experiment(RELU), "calls no autograd.Function"),
    "nothing dropped": ("no_dropout", {}, experiment(RELU), "drops nothing"),
    "trains already": ("train_mode", {}, experiment(RELU), "training mode"),
    "cleared already": ("zero_grad", {}, experiment(RELU), "clears the gradients"),
    "shuffled already": ("shuffle", {}, experiment(RELU), "already"),
    "owned already": ("own_parameters", {}, experiment(RELU), "has every weight"),
    "another number of calls": ("replace_activation", {"from": "relu", "to": "tanh"}, experiment(Looping), "another number of times"),
    "parts of the model": ("replace_activation", {"from": "relu", "to": "tanh"}, experiment(RELU, step=partial_step), "parts of the model"),
    "tokens": (
        "standardise_inputs",
        {},
        experiment(lambda: nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(24, 3)), train=(X.abs().long(), CLASSES)),
        "no columns of real numbers",
    ),
    "classes have no scale": ("standardise_targets", {}, experiment(RELU), "no values of a regression"),
    "one class": ("class_weight", {}, experiment(RELU, targets=torch.zeros(60).long()), "one class only"),
    "from zero already": ("targets_from_zero", {}, experiment(RELU), "already"),
    "not whole": ("targets_as_classes", {}, experiment(net(outputs=1), F.mse_loss, VALUES), "no whole numbers"),
    "no such part": ("drop_samples", {"indices": [1], "part": "test"}, experiment(RELU), "no part 'test'"),
    "no sample left": ("drop_samples", {"indices": list(range(60))}, experiment(RELU), "all samples"),
    "no such column": ("drop_features", {"columns": [17]}, experiment(RELU), "no table with columns"),
    "no such parameter": ("unfreeze", {"names": ["encoder"]}, experiment(RELU), "named 'encoder'"),
    "no such scheme": ("reinitialise", {"scheme": "ones"}, experiment(RELU), "'ones' is none of"),
    "no such loss": ("loss", {"name": "best"}, experiment(RELU), "'best' is none of"),
    "no such optimizer": ("optimizer", {"name": "best", "rate": 1}, experiment(RELU), "'best' is none of"),
    "no gradient is cleared": ("keep_gradient", {}, experiment(RELU), "clears no gradient"),
    "no schedule": ("no_scheduler", {}, experiment(RELU), "no scheduler"),
    "no shift": ("shift_targets", {"by": 0}, experiment(RELU), "no target would be another"),
    "no test part": ("match_test_inputs", {}, experiment(RELU), "no part 'test'"),
    "no order": ("match_test_inputs", {"order": [0, 0]}, experiment(RELU, test=(X, CLASSES)), "no order of 6"),
    "the same numbers": ("rename_test_targets", {"classes": [0, 1, 2]}, experiment(RELU, test=(X, CLASSES)), "no other order"),
    "tokens are never missing": (
        "fill_missing",
        {},
        experiment(lambda: nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(24, 3)), train=(X.abs().long(), CLASSES)),
        "no real numbers",
    ),
    "outputs for no class": ("output_units", {"units": 2}, experiment(RELU), "out of bounds"),
    "wide enough": ("wider", {"units": 8}, experiment(RELU), "no hidden layer has fewer"),
    "no gates": ("gate_bias", {"steps": 9}, experiment(RELU), "no LSTM or GRU"),
    "a batch's statistics": (
        "samples_alone",
        {},
        experiment(sequential(lambda: nn.BatchNorm1d(6), lambda: nn.Linear(6, 3))),
        "needs several samples",
    ),
    "a mean of nothing else": (
        "samples_alone",
        {},
        experiment(functional(lambda _, x: torch.relu(x), end=lambda x: x - x.mean(0))),
        "every sample gets the same answer",
    ),
    "no switch": ("follow_mode", {"attribute": "is_training"}, experiment(RELU), "no switch|has a switch"),
    "a model that raises": ("stable_log", {}, experiment(sequential(lambda: nn.Linear(5, 3))), "raised"),
}
