"""A case for each remedy: an experiment, a change, and the experiment that somebody would write by hand in its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from pellucid.diagnosis.experiments.experiment import Experiment

_drawn = torch.Generator().manual_seed(1)
X = torch.randn(60, 6, generator=_drawn)
CLASSES = (X[:, 0] > 0).long() + (X[:, 1] > 0).long()
VALUES = X[:, :1] * 40 + 100
BINARY = (X[:, 0] > 0).float()


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), 0.1)


def experiment(model: Callable[[], nn.Module], loss: Any = F.cross_entropy, targets: Tensor = CLASSES, **settings: Any) -> Experiment:
    settings = {"optimizer": sgd, "train": (X, targets), "batch_size": 16, "epochs": 4, **settings}
    return Experiment(model=model, loss=loss, **settings)


def sequential(*layers: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(*(layer() for layer in layers))


def net(*activations: nn.Module, outputs: int = 3, last: tuple[nn.Module, ...] = ()) -> Callable[[], nn.Module]:
    """Linear layers with activations between them; the weights are drawn in the same order whatever the activations are."""
    return lambda: nn.Sequential(nn.Linear(6, 8), *activations[:1], nn.Linear(8, 8), *activations[1:2], nn.Linear(8, outputs), *last)


class Functional(nn.Module):
    """The same by functions; `how` gets the hidden values of each of two layers."""

    def __init__(self, how: Callable[[int, Tensor], Tensor], outputs: int = 3, end: Callable[[Tensor], Tensor] = lambda x: x) -> None:
        super().__init__()
        self.one, self.two, self.three = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, outputs)
        self.how, self.end = how, end

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.how(0, self.one(inputs))
        return self.end(self.three(self.how(1, self.two(hidden))))


def functional(how: Callable[[int, Tensor], Tensor], outputs: int = 3, end: Callable[[Tensor], Tensor] = lambda x: x) -> Any:
    return lambda: Functional(how, outputs, end)


def plain(model: nn.Module, optimizer: Any, loss: Any, batch: Any) -> Tensor:
    optimizer.zero_grad()
    value = loss(model(batch[0]), batch[1])
    value.backward()
    optimizer.step()
    return value


def never_cleared(model: nn.Module, optimizer: Any, loss: Any, batch: Any) -> Tensor:
    value = loss(model(batch[0]), batch[1])
    value.backward()
    optimizer.step()
    return value


def evaluating(model: nn.Module, optimizer: Any, loss: Any, batch: Any) -> Tensor:
    model.eval()
    return plain(model, optimizer, loss, batch)


def clipped(model: nn.Module, optimizer: Any, loss: Any, batch: Any) -> Tensor:
    optimizer.zero_grad()
    value = loss(model(batch[0]), batch[1])
    value.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    optimizer.step()
    return value


def climbing(model: nn.Module, optimizer: Any, loss: Any, batch: Any) -> Tensor:
    optimizer.zero_grad()
    value = loss(model(batch[0]), batch[1])
    (-value).backward()
    optimizer.step()
    return value


def dead_relu(kind: Any = nn.ReLU) -> Any:
    return net(kind(), kind())


def scaled() -> Tensor:
    return X * torch.tensor([1.0, 10.0, 100.0, 1.0, 1e-3, 1.0]) + 5


def standard(values: Tensor) -> Tensor:
    return (values - values.mean(0)) / values.std(0, unbiased=False)


def hidden_in_a_list() -> nn.Module:
    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = [nn.Linear(6, 8), nn.Linear(8, 3)]
            self.bias = nn.Parameter(torch.zeros(3))

        def forward(self, inputs: Tensor) -> Tensor:
            return self.layers[1](torch.relu(self.layers[0](inputs))) + self.bias

    return Hidden()


def shown_list() -> nn.Module:
    class Shown(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(6, 8), nn.Linear(8, 3)])
            self.bias = nn.Parameter(torch.zeros(3))

        def forward(self, inputs: Tensor) -> Tensor:
            return self.layers[1](torch.relu(self.layers[0](inputs))) + self.bias

    return Shown()


def frozen(names: tuple[str, ...]) -> Callable[[], nn.Module]:
    def factory() -> nn.Module:
        model = net(nn.ReLU(), nn.ReLU())()
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name not in names)
        return model

    return factory


def trainable(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD([parameter for parameter in model.parameters() if parameter.requires_grad], 0.1)


def initialised(how: Callable[[Tensor], Any]) -> Callable[[], nn.Module]:
    def factory() -> nn.Module:
        model = net(nn.ReLU(), nn.ReLU())()
        with torch.no_grad():
            for layer in model:
                if isinstance(layer, nn.Linear):
                    how(layer.weight)
                    layer.bias.zero_()
        return model

    return factory


def constant() -> nn.Module:
    model = net(nn.ReLU(), nn.ReLU())()
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.1)
    return model


def by_hand(outputs: Tensor, targets: Tensor) -> Tensor:
    return -torch.log(torch.softmax(outputs * 200, 1)[torch.arange(len(targets)), targets]).mean()


def guarded(outputs: Tensor, targets: Tensor) -> Tensor:
    return -torch.log(torch.softmax(outputs * 200, 1)[torch.arange(len(targets)), targets].clamp_min(1e-7)).mean()


def cut(how: Callable[[Tensor], Tensor]) -> Any:
    return functional(lambda place, hidden: how(torch.relu(hidden)) if place == 1 else torch.relu(hidden))


class WrongSwish(torch.autograd.Function):
    """x sigmoid(x) with the derivative of the sigmoid."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        s = torch.sigmoid(ctx.saved_tensors[0])
        return gradients[0] * s * (1 - s)


def without_gradient(hidden: Tensor) -> Tensor:
    with torch.no_grad():
        return hidden * 1


def recurrent(dropout: float) -> Callable[[], nn.Module]:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(2, 5, num_layers=2, dropout=dropout, batch_first=True)
            self.last = nn.Linear(5, 3)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.last(F.dropout(self.lstm(inputs.reshape(-1, 3, 2))[0][:, -1], dropout, self.training))

    return Recurrent


def cleared_before(model: nn.Module, optimizer: Any, loss: Any, batch: Any) -> Tensor:
    value = loss(model(batch[0]), batch[1])
    value.backward()
    optimizer.zero_grad()
    model.zero_grad()
    optimizer.step()
    return value


def remade(outputs: int, layers: dict[int, tuple[int, int]]) -> Callable[[], nn.Module]:
    """The network of `net`, some layers of which are drawn anew."""

    def factory() -> nn.Module:
        model = net(nn.ReLU(), nn.ReLU(), outputs=outputs)()
        for place, sizes in layers.items():
            model[place] = nn.Linear(*sizes)  # type: ignore[operator]
        return model

    return factory


def remembering(steps: int) -> Callable[[], nn.Module]:
    """A recurrent network whose gates begin open by hand; with 0 steps as PyTorch makes it."""

    def factory() -> nn.Module:
        model = recurrent(0.0)()
        lstm: Any = model.get_submodule("lstm")
        with torch.no_grad():
            for layer in (0, 1) if steps else ():
                keep = {kind: torch.empty(5).uniform_(1, steps - 1).log() for kind in ("ih", "hh")}
                for kind in ("ih", "hh"):
                    bias = getattr(lstm, f"bias_{kind}_l{layer}")
                    bias[:10] = torch.cat([-keep[kind], keep[kind]]) if kind == "hh" else 0.0
        return model

    return factory


class Spread(nn.Module):
    """Each sample is spread over the batch by a transposition and a view."""

    def __init__(self, spread: bool) -> None:
        super().__init__()
        self.one, self.two, self.spread = nn.Linear(6, 8), nn.Linear(8, 3), spread

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = torch.relu(self.one(inputs))
        return self.two(hidden.t().reshape(hidden.shape) if self.spread else hidden)


class Switched(nn.Module):
    """Noise behind a switch that nobody turns off."""

    def __init__(self, mended: bool = False) -> None:
        super().__init__()
        self.one, self.two, self.is_training, self.mended = nn.Linear(6, 8), nn.Linear(8, 3), True, mended

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = torch.relu(self.one(inputs))
        if self.training if self.mended else self.is_training:
            hidden = hidden * (torch.rand(hidden.shape) > 0.5).float()
        return self.two(hidden)


def with_a_hole(by_hand: bool) -> Tensor:
    holed = X.clone()
    holed[3, 0] = torch.nan
    holed[40, 2] = torch.inf
    if by_hand:
        holed[3, 0], holed[40, 2] = X[torch.arange(60) != 3, 0].mean(), X[torch.arange(60) != 40, 2].mean()
    return holed


def always_dropping(end: bool) -> Callable[[], nn.Module]:
    return functional(lambda place, hidden: F.dropout(torch.relu(hidden), 0.5) if end else torch.relu(hidden))


def column(values: Tensor) -> Tensor:
    return values.reshape(-1, 1)


def one_hot(classes: Tensor) -> Tensor:
    return F.one_hot(classes, 3).float()


def of_rows(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.mse_loss(outputs, targets) if targets.dim() == 2 else F.cross_entropy(outputs, targets)


RELU = dead_relu()
LOADER = DataLoader(TensorDataset(X, CLASSES), batch_size=16)
FULL = {"train": (X[10:], CLASSES[10:])}

# name: (kind, values, before, after written by hand)
CASES: dict[str, tuple[str, dict[str, Any], Experiment, Experiment]] = {
    "learning_rate": (
        "learning_rate",
        {"rate": 0.01},
        experiment(RELU),
        experiment(RELU, optimizer=lambda m: torch.optim.SGD(m.parameters(), 0.01)),
    ),
    "learning_rate of groups": (
        "learning_rate",
        {"rate": 0.01},
        experiment(
            RELU, optimizer=lambda m: torch.optim.SGD([{"params": m[0].parameters()}, {"params": m[2].parameters(), "lr": 0.5}], 0.1)
        ),
        experiment(
            RELU, optimizer=lambda m: torch.optim.SGD([{"params": m[0].parameters()}, {"params": m[2].parameters(), "lr": 0.05}], 0.01)
        ),
    ),
    "optimizer": (
        "optimizer",
        {"name": "adam", "rate": 0.01},
        experiment(RELU, optimizer=lambda m: torch.optim.SGD(m.parameters(), 0.1, weight_decay=0.1)),
        experiment(RELU, optimizer=lambda m: torch.optim.Adam(m.parameters(), 0.01, weight_decay=0.1)),
    ),
    "batch_size": ("batch_size", {"size": 8}, experiment(RELU), experiment(RELU, batch_size=8)),
    "batch_size of a loader": (
        "batch_size",
        {"size": 8},
        experiment(RELU, train=LOADER),
        experiment(RELU, train=DataLoader(TensorDataset(X, CLASSES), batch_size=8)),
    ),
    "epochs": ("epochs", {"epochs": 1}, experiment(RELU), experiment(RELU, epochs=1)),
    "shuffle": ("shuffle", {}, experiment(RELU, shuffle=False), experiment(RELU)),
    "shuffle of a loader": (
        "shuffle",
        {},
        experiment(RELU, train=LOADER),
        experiment(RELU, train=DataLoader(TensorDataset(X, CLASSES), batch_size=16, shuffle=True)),
    ),
    "weight_decay": (
        "weight_decay",
        {"value": 0.0},
        experiment(RELU, optimizer=lambda m: torch.optim.SGD(m.parameters(), 0.1, weight_decay=1.0)),
        experiment(RELU),
    ),
    "clip": ("clip", {"norm": 0.1}, experiment(RELU), experiment(RELU, step=clipped)),
    "zero_grad": ("zero_grad", {}, experiment(RELU, step=never_cleared), experiment(RELU)),
    "minimise an optimizer": (
        "minimise",
        {},
        experiment(RELU, optimizer=lambda m: torch.optim.SGD(m.parameters(), 0.1, maximize=True)),
        experiment(RELU),
    ),
    "minimise a step": ("minimise", {}, experiment(RELU, step=climbing), experiment(RELU)),
    "train_mode": ("train_mode", {}, experiment(net(nn.Dropout(0.5)), step=evaluating), experiment(net(nn.Dropout(0.5)))),
    "own_parameters": ("own_parameters", {}, experiment(hidden_in_a_list), experiment(shown_list)),
    "unfreeze": (
        "unfreeze",
        {"names": ["0", "2.bias"]},
        experiment(frozen(("0.weight", "0.bias", "2.bias")), optimizer=trainable),
        experiment(RELU),
    ),
    "reinitialise kaiming": (
        "reinitialise",
        {"scheme": "he"},
        experiment(RELU),
        experiment(initialised(lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"))),
    ),
    "reinitialise xavier": ("reinitialise", {"scheme": "xavier"}, experiment(RELU), experiment(initialised(nn.init.xavier_uniform_))),
    "loss": ("loss", {"name": "cross_entropy"}, experiment(RELU, lambda o, t: F.multi_margin_loss(o, t)), experiment(RELU)),
    "loss of a column": (
        "loss",
        {"name": "bce_with_logits"},
        experiment(net(nn.ReLU(), outputs=1), lambda o, t: F.mse_loss(o[:, 0], t), BINARY),
        experiment(net(nn.ReLU(), outputs=1), F.binary_cross_entropy_with_logits, column(BINARY)),
    ),
    "loss of one-hot rows": ("loss", {"name": "mse"}, experiment(RELU), experiment(RELU, lambda o, t: F.mse_loss(o, one_hot(t)))),
    "loss_mean": ("loss_mean", {}, experiment(RELU, lambda o, t: F.cross_entropy(o, t, reduction="sum")), experiment(RELU)),
    "class_weight": ("class_weight", {}, experiment(RELU), experiment(RELU, nn.CrossEntropyLoss(len(X) / (3 * torch.bincount(CLASSES))))),
    "reshape_targets": (
        "reshape_targets",
        {},
        experiment(net(nn.ReLU(), outputs=1), lambda o, t: ((o - t) ** 2).mean(), BINARY),
        experiment(net(nn.ReLU(), outputs=1), F.mse_loss, column(BINARY)),
    ),
    "reshape_targets of classes": ("reshape_targets", {}, experiment(RELU, targets=column(CLASSES)), experiment(RELU)),
    "reshape_outputs of a loss that squeezes them": (
        "reshape_outputs",
        {},
        experiment(net(nn.ReLU(), outputs=1), lambda o, t: (o.squeeze(1) - t).pow(2).mean(), column(BINARY)),
        experiment(net(nn.ReLU(), outputs=1), F.mse_loss, column(BINARY)),
    ),
    "reshape_outputs": (
        "reshape_outputs",
        {},
        experiment(net(nn.ReLU(), outputs=1), lambda o, t: ((o - t) ** 2).mean(), BINARY),
        experiment(net(nn.ReLU(), outputs=1), F.mse_loss, column(BINARY)),
    ),
    "standardise_inputs": (
        "standardise_inputs",
        {},
        experiment(RELU, train=(scaled(), CLASSES)),
        experiment(RELU, train=(standard(scaled()), CLASSES)),
    ),
    "standardise_inputs of images": (
        "standardise_inputs",
        {},
        experiment(
            sequential(nn.Flatten, lambda: nn.Linear(6, 3)), train=((X * 20 + 128).clamp(0, 255).byte().reshape(60, 1, 3, 2), CLASSES)
        ),
        experiment(
            sequential(lambda: nn.Linear(6, 3)),
            train=(((images := (X * 20 + 128).clamp(0, 255).byte().float()) - images.mean()) / images.std(unbiased=False), CLASSES),
        ),
    ),
    "standardise_targets": (
        "standardise_targets",
        {},
        experiment(net(nn.ReLU(), outputs=1), F.mse_loss, VALUES),
        experiment(net(nn.ReLU(), outputs=1), F.mse_loss, standard(VALUES)),
    ),
    "targets_as_classes": ("targets_as_classes", {}, experiment(RELU, of_rows, one_hot(CLASSES)), experiment(RELU)),
    "targets_as_classes of floats": ("targets_as_classes", {}, experiment(RELU, targets=column(CLASSES.float())), experiment(RELU)),
    "targets_from_zero": (
        "targets_from_zero",
        {},
        experiment(net(nn.ReLU(), outputs=4), targets=CLASSES + 1),
        experiment(net(nn.ReLU(), outputs=4)),
    ),
    "targets_from_zero of signs": (
        "targets_from_zero",
        {},
        experiment(net(nn.ReLU(), outputs=1), lambda o, t: F.binary_cross_entropy_with_logits(o[:, 0], t), BINARY * 2 - 1),
        experiment(net(nn.ReLU(), outputs=1), lambda o, t: F.binary_cross_entropy_with_logits(o[:, 0], t), BINARY),
    ),
    "drop_samples": ("drop_samples", {"indices": list(range(10))}, experiment(RELU), experiment(RELU, **FULL)),
    "drop_samples of a data set": (
        "drop_samples",
        {"indices": list(range(10)), "part": "train"},
        experiment(RELU, train=TensorDataset(X, CLASSES)),
        experiment(RELU, **FULL),
    ),
    "drop_samples of a loader": (
        "drop_samples",
        {"indices": list(range(10))},
        experiment(RELU, train=LOADER),
        experiment(RELU, shuffle=False, **FULL),
    ),
    "drop_features": (
        "drop_features",
        {"columns": [0, 3]},
        experiment(RELU),
        experiment(RELU, train=(X.index_copy(1, torch.tensor([0, 3]), X[:, [0, 3]].mean(0).expand(60, 2)), CLASSES)),
    ),
    "drop_output_activation of a module": (
        "drop_output_activation",
        {},
        experiment(net(nn.ReLU(), nn.ReLU(), last=(nn.Softmax(1),))),
        experiment(RELU),
    ),
    "drop_output_activation of a function": (
        "drop_output_activation",
        {},
        experiment(functional(lambda _, x: torch.relu(x), 1, lambda x: x.sigmoid().squeeze(1)), F.mse_loss, VALUES[:, 0]),
        experiment(functional(lambda _, x: torch.relu(x), 1, lambda x: x.squeeze(1)), F.mse_loss, VALUES[:, 0]),
    ),
    "drop_output_activation in the loss": (
        "drop_output_activation",
        {},
        experiment(RELU, lambda o, t: F.cross_entropy(F.softmax(o, 1), t)),
        experiment(RELU),
    ),
    "drop_output_activation written in place": (
        "drop_output_activation",
        {},
        experiment(net(nn.ReLU(), nn.ReLU(), last=(nn.ReLU(inplace=True),))),
        experiment(RELU),
    ),
    "output_activation in the place of one": (
        "output_activation",
        {"name": "sigmoid"},
        experiment(net(nn.ReLU(), outputs=1, last=(nn.Softmax(1),)), F.binary_cross_entropy, column(BINARY)),
        experiment(net(nn.ReLU(), outputs=1, last=(nn.Sigmoid(),)), F.binary_cross_entropy, column(BINARY)),
    ),
    "output_activation where there is none": ("output_activation", {"name": "log_softmax"}, experiment(RELU, F.nll_loss), experiment(RELU)),
    "output_activation log": (
        "output_activation",
        {"name": "log"},
        experiment(net(nn.ReLU(), nn.ReLU(), last=(nn.Softmax(1),)), F.nll_loss),
        experiment(RELU),
    ),
    "replace_activation of modules": (
        "replace_activation",
        {"from": "sigmoid", "to": "relu"},
        experiment(net(nn.Sigmoid(), nn.Sigmoid())),
        experiment(RELU),
    ),
    "replace_activation but not the last": (
        "replace_activation",
        {"from": "sigmoid", "to": "tanh"},
        experiment(net(nn.Sigmoid(), nn.Sigmoid(), outputs=1, last=(nn.Sigmoid(),)), F.binary_cross_entropy, column(BINARY)),
        experiment(net(nn.Tanh(), nn.Tanh(), outputs=1, last=(nn.Sigmoid(),)), F.binary_cross_entropy, column(BINARY)),
    ),
    "replace_activation of functions": (
        "replace_activation",
        {"from": "sigmoid", "to": "relu"},
        experiment(functional(lambda _, x: x.sigmoid())),
        experiment(RELU),
    ),
    "replace_activation written in place": (
        "replace_activation",
        {"from": "sigmoid", "to": "gelu"},
        experiment(functional(lambda _, x: (x.sigmoid_(), x)[1])),
        experiment(net(nn.GELU(), nn.GELU())),
    ),
    "replace_activation at a position": (
        "replace_activation",
        {"from": "relu", "to": "tanh", "position": 3},
        experiment(RELU),
        experiment(net(nn.ReLU(), nn.Tanh())),
    ),
    "insert_activation after a module": ("insert_activation", {"after": ["0", "1"], "name": "relu"}, experiment(net()), experiment(RELU)),
    "insert_activation after an operation": (
        "insert_activation",
        {"after": [0, 1], "name": "relu"},
        experiment(functional(lambda _, x: x)),
        experiment(RELU),
    ),
    "softmax_axis": (
        "softmax_axis",
        {"axis": 1},
        experiment(net(nn.ReLU(), nn.ReLU(), last=(nn.LogSoftmax(0),)), F.nll_loss),
        experiment(RELU),
    ),
    "softmax_axis at a position": (
        "softmax_axis",
        {"axis": -1, "position": 1},
        experiment(functional(lambda p, x: x.softmax(0) if p == 0 else x)),
        experiment(functional(lambda p, x: x.softmax(1) if p == 0 else x)),
    ),
    "stable_log": ("stable_log", {"eps": 1e-7}, experiment(RELU, by_hand), experiment(RELU, guarded)),
    "attach detach": ("attach", {}, experiment(cut(lambda x: x.detach())), experiment(RELU)),
    "attach data": ("attach", {}, experiment(cut(lambda x: x.data)), experiment(RELU)),
    "attach no_grad": ("attach", {}, experiment(cut(without_gradient)), experiment(RELU)),
    "differentiate": (
        "differentiate",
        {},
        experiment(functional(lambda _, x: WrongSwish.apply(x))),  # type: ignore[no-untyped-call]
        experiment(functional(lambda _, x: x * torch.sigmoid(x))),
    ),
    "keep_gradient": ("keep_gradient", {}, experiment(RELU, step=cleared_before), experiment(RELU)),
    "no_scheduler": (
        "no_scheduler",
        {},
        experiment(RELU, scheduler=lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.1)),
        experiment(RELU),
    ),
    "shift_targets": (
        "shift_targets",
        {"by": 1},
        experiment(RELU, targets=CLASSES.roll(1)),
        experiment(RELU, train=(X[:59], CLASSES[:59])),
    ),
    "shift_targets of a data set from a row on": (
        "shift_targets",
        {"by": -2, "first": 30},
        experiment(RELU, train=TensorDataset(X, CLASSES)),
        experiment(RELU, train=(X, torch.cat([CLASSES[:30], CLASSES[28:58]]))),
    ),
    "fill_missing": (
        "fill_missing",
        {},
        experiment(RELU, train=(with_a_hole(False), CLASSES)),
        experiment(RELU, train=(with_a_hole(True), CLASSES)),
    ),
    "output_units": (
        "output_units",
        {"units": 3},
        experiment(net(nn.ReLU(), nn.ReLU(), outputs=9)),
        experiment(remade(9, {4: (8, 3)})),
    ),
    "output_units and a loss": (
        "output_units",
        {"units": 3, "loss": "cross_entropy"},
        experiment(net(nn.ReLU(), nn.ReLU(), outputs=1), F.mse_loss, column(CLASSES.float())),
        experiment(remade(1, {4: (8, 3)})),
    ),
    "wider": (
        "wider",
        {"units": 16},
        experiment(RELU),
        experiment(remade(3, {0: (6, 16), 2: (16, 16), 4: (16, 3)})),
    ),
    "gate_bias": ("gate_bias", {"steps": 9}, experiment(remembering(0)), experiment(remembering(9))),
    "samples_alone": ("samples_alone", {}, experiment(lambda: Spread(True)), experiment(lambda: Spread(False))),
    "replace_activation and draw": (
        "replace_activation",
        {"from": "tanh", "to": "relu", "scheme": "kaiming"},
        experiment(net(nn.Tanh(), nn.Tanh())),
        experiment(initialised(lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"))),
    ),
    "insert_activation that normalises": (
        "insert_activation",
        {"after": ["0"], "name": "layer_norm"},
        experiment(RELU),
        experiment(functional(lambda place, x: torch.relu(F.layer_norm(x, (8,)) if place == 0 else x))),
    ),
    "no_dropout of modules": ("no_dropout", {}, experiment(net(nn.Dropout(0.5), nn.Dropout(0.2))), experiment(net())),
    "no_dropout of functions": ("no_dropout", {}, experiment(recurrent(0.5)), experiment(recurrent(0.0))),
}
