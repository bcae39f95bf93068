"""Healthy programs: the repository's recipes, and data that are small, noisy, imbalanced or of odd scales but fine."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset

from diagnosis_programs import data
from diagnosis_programs.bases import BASES, made
from diagnosis_programs.healthy import cosine, healthy
from diagnosis_programs.networks import Convolutional1d, Design, Recurrent, sequential
from pellucid.diagnosis.experiments.experiment import Experiment


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def adam(rate: float = 3e-3, **options: Any) -> Any:
    return made("adam", rate, **options)


def mlp(*sizes: int, hidden: str = "relu", **design: Any) -> Any:
    return lambda: sequential(sizes[0], sizes[1:-1], sizes[-1], Design(hidden=hidden, **design))


def clouds(samples: int, features: int, shares: tuple[float, ...], *, apart: float = 2.0, seed: int = 0) -> data.Part:
    """One cloud for each class around a corner of its own; `shares` of the samples."""
    draw = generator(seed)
    centres = apart * torch.randn(len(shares), features, generator=generator(99))
    targets = torch.multinomial(torch.tensor(shares), samples, replacement=True, generator=draw)
    return centres[targets] + torch.randn(samples, features, generator=draw), targets


def surface(samples: int, features: int = 6, *, noise: float = 0.1, seed: int = 0) -> data.Part:
    """A smooth function of some features, standardised to about 1, with noise."""
    inputs = torch.randn(samples, features, generator=generator(seed))
    values = torch.sin(inputs[:, 0]) + 0.6 * inputs[:, 1] * torch.tanh(inputs[:, 2]) + 0.5 * inputs[:, 3]
    return inputs, (values + noise * torch.randn(samples, generator=generator(seed + 1)))[:, None]


def table_experiment(train: Any, test: Any, network: Any, loss: Any, **changes: Any) -> Experiment:
    given: dict[str, Any] = {"optimizer": adam(), "batch_size": 32, "epochs": 15, **changes}
    return Experiment(model=network, loss=loss, train=train, test=test, **given)


# -- the repository's recipes -----------------------------------------------------------------------------------------------------------


def recipe(name: str, images: bool, **options: Any) -> Experiment:
    """A network of ours in a plain loop."""
    from pellucid.networks.registry import entry

    train, test = data.digits(flat=not images)
    shape = tuple(train[0].shape[1:])
    return Experiment(
        model=lambda: entry(name).constructor(shape, 10, **options),
        loss=F.cross_entropy,
        optimizer=adam(),
        train=train,
        test=test,
        epochs=8,
    )


for _name, _images, _options in (
    ("logistic", False, {}), ("mlp", False, {}), ("mlp", False, {"hidden": (64, 32), "batch_norm": True}), ("mlp", True, {"hidden": (48,)}),
    ("mlp", False, {"hidden": (48, 48), "activation": "gelu", "dropout": 0.1}), ("mlp", False, {"hidden": (48,), "activation": "tanh"}),
):  # fmt: skip
    healthy(f"recipe/{_name} {_options} {'images' if _images else 'table'}", least=0.9)(partial(recipe, _name, _images, **_options))


@healthy("recipe/cifar10_classic", least=0.9)
def cifar10_classic() -> Experiment:
    """The classic small convolutional network of the examples, on digits."""
    train, test = data.digits(flat=False)

    def build() -> nn.Module:
        first = (nn.Conv2d(1, 16, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        second = (nn.Conv2d(16, 32, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(32 * 4, 64), nn.ReLU(), nn.Linear(64, 10))

    return Experiment(
        model=build, loss=nn.CrossEntropyLoss(), optimizer=made("momentum", 0.01), train=train, test=test, batch_size=64, epochs=15
    )


class ResidualNetwork(nn.Module):
    """As in examples/own_network.py."""

    def __init__(self, channels: int = 12, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, channels, kernel_size=3, padding=1)
        self.block = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1)
        )
        self.head = nn.Linear(channels * 16, classes)

    def forward(self, images: Tensor) -> Tensor:
        hidden = torch.relu(self.stem(images))
        hidden = torch.relu(hidden + self.block(hidden))
        return self.head(F.max_pool2d(hidden, 2).flatten(1))


@healthy("recipe/own_network", least=0.9)
def own_network() -> Experiment:
    train, test = data.digits(flat=False)
    return Experiment(model=ResidualNetwork, loss=F.cross_entropy, optimizer=adam(5e-3), train=train, test=test, epochs=5)


@healthy("recipe/exclusive or by hand", least=0.9)
def exclusive_or() -> Experiment:
    """A 2-8-1 network of sigmoids with a squared error at a rate of 1, as in the textbook; enough corners to have batches."""
    inputs = torch.randint(2, (200, 2), generator=generator()).float()
    targets = (inputs.sum(1, keepdim=True) == 1).float()

    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(2, 8), nn.Sigmoid(), nn.Linear(8, 1), nn.Sigmoid())

    noisy = inputs + 0.05 * torch.randn(inputs.shape, generator=generator(1))
    return Experiment(
        model=build, loss=lambda o, t: 0.5 * ((o - t) ** 2).mean(), optimizer=made("momentum", 1.0), train=(noisy[:150], targets[:150]),
        test=(noisy[150:], targets[150:]), batch_size=25, epochs=100,
    )  # fmt: skip


@healthy("recipe/your loop", least=0.9)
def your_loop() -> Experiment:
    """A bare classifier as the examples of watch train it, from a DataLoader."""
    train, test = data.digits(flat=True)
    return Experiment(
        model=lambda: nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)), loss=nn.CrossEntropyLoss(), optimizer=adam(),
        train=DataLoader(TensorDataset(*train), batch_size=64, shuffle=True), test=DataLoader(TensorDataset(*test), batch_size=250),
        epochs=12,
    )  # fmt: skip


# -- small data ------------------------------------------------------------------------------------------------------------------------


@healthy("small/iris", least=0.85, advice="insufficient_data")
def iris() -> Experiment:
    inputs, targets = data.embedded("iris")
    parts = data.standardised(data.split(torch.tensor(inputs, dtype=torch.float32), torch.tensor(targets), 100, 50))
    return table_experiment(*parts, mlp(4, 16, 3), F.cross_entropy, optimizer=adam(1e-2), batch_size=10, epochs=25)


@healthy("small/wine, 60 samples", least=0.85, advice="insufficient_data overfitting")
def small_wine() -> Experiment:
    (inputs, targets), test = data.wine()
    return table_experiment((inputs[:60], targets[:60]), test, mlp(13, 16, 3), F.cross_entropy, batch_size=10, epochs=25)


@healthy("small/promoters", least=0.7, advice="insufficient_data overfitting")
def small_promoters() -> Experiment:
    train, test = data.promoters()
    network = lambda: nn.Sequential(nn.Flatten(), nn.Linear(228, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 2))  # noqa: E731
    return Experiment(
        model=network, loss=F.cross_entropy, optimizer=adam(3e-3, weight_decay=1e-3), train=train, test=test, batch_size=8, epochs=20
    )


@healthy("small/italy, 67 days", least=0.85, advice="insufficient_data overfitting")
def small_italy() -> Experiment:
    (inputs, targets), test = data.italy_power()
    return Experiment(
        model=lambda: Convolutional1d(1, 2, Design()), loss=F.cross_entropy, optimizer=adam(),
        train=(inputs[:67].transpose(1, 2), targets[:67]), test=(test[0].transpose(1, 2), test[1]), batch_size=8, epochs=15,
    )  # fmt: skip


@healthy("small/diabetes", least=0.35, advice="overfitting noisy_labels insufficient_data")
def diabetes() -> Experiment:
    inputs, targets = data.embedded("diabetes")
    parts = data.split(torch.tensor(inputs, dtype=torch.float32), torch.tensor(targets, dtype=torch.float32)[:, None], 300, 142)
    return table_experiment(
        *data.standardised(parts, targets=True), mlp(10, 8, 1), F.mse_loss, optimizer=adam(2e-3, weight_decay=1e-3), epochs=20
    )


@healthy("small/linear regression on 40 points", least=0.85)
def straight_line() -> Experiment:
    inputs = torch.rand(60, 1, generator=generator())
    targets = 0.7 * inputs + 0.3 + 0.02 * torch.randn(60, 1, generator=generator(1))
    return table_experiment(
        (inputs[:40], targets[:40]), (inputs[40:], targets[40:]), lambda: nn.Linear(1, 1), nn.MSELoss(), optimizer=made("sgd", 0.3),
        batch_size=10, epochs=60,
    )  # fmt: skip


@healthy("small/no test part", least=0.9)
def no_test() -> Experiment:
    return table_experiment(data.wine()[0], None, mlp(13, 24, 3), F.cross_entropy)


# -- noisy data ------------------------------------------------------------------------------------------------------------------------


def overlapping(apart: float, seed: int) -> Experiment:
    """Two clouds of which no rule can tell all: the best possible score is far below 1."""
    inputs, targets = clouds(1000, 8, (0.5, 0.5), apart=apart, seed=seed)
    return table_experiment((inputs[:700], targets[:700]), (inputs[700:], targets[700:]), mlp(8, 16, 2), F.cross_entropy, epochs=10)


for _apart in (0.25, 0.35, 0.5):
    healthy(f"noisy/clouds {_apart}", least=0.6, advice="noisy_labels overfitting")(partial(overlapping, _apart, 3))


def noisy_surface(noise: float) -> Experiment:
    inputs, targets = surface(1200, noise=noise)
    return table_experiment((inputs[:900], targets[:900]), (inputs[900:], targets[900:]), mlp(6, 24, 1), F.mse_loss, epochs=12)


for _noise, _least in ((0.5, 0.6), (1.0, 0.3), (1.6, 0.12)):
    healthy(f"noisy/surface {_noise}", least=_least, advice="overfitting noisy_labels")(partial(noisy_surface, _noise))


@healthy("noisy/two labels in a hundred are wrong", least=0.9, advice="noisy_labels")
def few_wrong() -> Experiment:
    (inputs, targets), test = data.digits(flat=True)
    wrong = torch.rand(len(targets), generator=generator()) < 0.02
    targets = torch.where(wrong, torch.randint(10, targets.shape, generator=generator(1)), targets)
    return table_experiment((inputs, targets), test, mlp(64, 48, 10), F.cross_entropy, epochs=8)


@healthy("noisy/heavy tails with Huber", least=0.7)
def heavy_tails() -> Experiment:
    inputs, targets = surface(1200, noise=0.1)
    far = torch.rand(900, 1, generator=generator(5)) < 0.03
    train = targets[:900] + far * 10 * torch.randn(900, 1, generator=generator(6))
    return table_experiment((inputs[:900], train), (inputs[900:], targets[900:]), mlp(6, 24, 1), nn.HuberLoss(), epochs=15)


@healthy("noisy/pixels", least=0.8)
def noisy_pixels() -> Experiment:
    (inputs, targets), (test_inputs, test_targets) = data.digits(flat=False)
    noise = 0.7 * torch.randn(inputs.shape, generator=generator()), 0.7 * torch.randn(test_inputs.shape, generator=generator(1))
    return BASES["digits-cnn"].experiment(train=(inputs + noise[0], targets), test=(test_inputs + noise[1], test_targets))


# -- imbalanced but fine -----------------------------------------------------------------------------------------------------------------


def imbalanced(share: float) -> Experiment:
    inputs, targets = clouds(2000, 6, (1 - share, share), apart=1.5)
    return table_experiment((inputs[:1400], targets[:1400]), (inputs[1400:], targets[1400:]), mlp(6, 16, 2), F.cross_entropy, epochs=6)


for _share in (0.04, 0.1, 0.2):
    healthy(f"imbalanced/clouds {_share}", least=0.95, advice="class_imbalance")(partial(imbalanced, _share))


@healthy("imbalanced/weighted", least=0.85, advice="class_imbalance")
def weighted() -> Experiment:
    """Rare cases count more in the loss."""
    inputs, targets = clouds(2000, 6, (0.93, 0.07), apart=1.0)
    loss = nn.CrossEntropyLoss(weight=torch.tensor([0.3, 2.0]))
    return table_experiment((inputs[:1400], targets[:1400]), (inputs[1400:], targets[1400:]), mlp(6, 16, 2), loss, epochs=8)


@healthy("imbalanced/positive weight", least=0.85, advice="class_imbalance")
def positive_weight() -> Experiment:
    inputs, targets = clouds(2000, 6, (0.9, 0.1), apart=1.0)
    values = targets.float()[:, None]
    loss = nn.BCEWithLogitsLoss(pos_weight=torch.tensor([4.0]))
    return table_experiment((inputs[:1400], values[:1400]), (inputs[1400:], values[1400:]), mlp(6, 16, 1), loss, epochs=8)


@healthy("imbalanced/six classes", least=0.9, advice="class_imbalance")
def six_classes() -> Experiment:
    inputs, targets = clouds(1600, 8, (0.4, 0.25, 0.15, 0.1, 0.06, 0.04), apart=1.6)
    return table_experiment((inputs[:1200], targets[:1200]), (inputs[1200:], targets[1200:]), mlp(8, 32, 6), F.cross_entropy, epochs=10)


@healthy("imbalanced/spam as it comes", least=0.9, advice="class_imbalance")
def spam_as_it_comes() -> Experiment:
    (inputs, targets), test = data.messages(column=False)
    kept = (targets == 0) | (torch.rand(len(targets), generator=generator()) < 0.3)
    test_kept = (test[1] == 0) | (torch.rand(len(test[1]), generator=generator(1)) < 0.3)
    return BASES["spam-bag"].experiment(train=(inputs[kept], targets[kept]), test=(test[0][test_kept], test[1][test_kept]))


@healthy("imbalanced/focal", least=0.9, advice="class_imbalance")
def focal() -> Experiment:
    """Lin et al. 2017, by hand."""

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        log_p = F.log_softmax(outputs, 1)[torch.arange(len(targets)), targets]
        return -((1 - log_p.exp()) ** 2 * log_p).mean()

    inputs, targets = clouds(2000, 6, (0.92, 0.08), apart=1.4)
    return table_experiment((inputs[:1400], targets[:1400]), (inputs[1400:], targets[1400:]), mlp(6, 16, 2), loss, epochs=8)


# -- scales and kinds of inputs ------------------------------------------------------------------------------------------------------------


@healthy("inputs/between 0 and 1", least=0.9)
def between_0_and_1() -> Experiment:
    (inputs, targets), (test_inputs, test_targets) = data.digits(flat=False)
    return BASES["digits-cnn"].experiment(train=((inputs * 6 + 4.9) / 16, targets), test=((test_inputs * 6 + 4.9) / 16, test_targets),
                                          optimizer=made("momentum", 0.05))  # fmt: skip


@healthy("inputs/raw, normalised by the first layer", least=0.85)
def normalised_inside() -> Experiment:
    """Raw columns, and nn.BatchNorm1d as the first layer."""
    inputs, targets = data.embedded("wine")
    parts = data.split(torch.tensor(inputs, dtype=torch.float32), torch.tensor(targets), 120, 58)
    network = lambda: nn.Sequential(nn.BatchNorm1d(13), nn.Linear(13, 24), nn.ReLU(), nn.Linear(24, 3))  # noqa: E731
    return table_experiment(*parts, network, F.cross_entropy, batch_size=20, epochs=20)


class Scaled(nn.Module):
    """The model standardises its inputs itself with constants that it keeps as buffers."""

    def __init__(self, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)
        self.body = nn.Sequential(nn.Linear(13, 24), nn.ReLU(), nn.Linear(24, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.body((x - self.mean) / self.deviation)


@healthy("inputs/raw, standardised in forward", least=0.85)
def scaled_inside() -> Experiment:
    inputs, targets = data.embedded("wine")
    train, test = data.split(torch.tensor(inputs, dtype=torch.float32), torch.tensor(targets), 120, 58)
    return table_experiment(train, test, lambda: Scaled(train[0].mean(0), train[0].std(0)), F.cross_entropy, epochs=20, batch_size=20)


@healthy("inputs/bytes divided in forward", least=0.75)
def bytes_divided() -> Experiment:
    """Grey values 0 to 255; the network divides them."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Flatten(), nn.Linear(196, 64), nn.ReLU(), nn.Linear(64, 10))

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x / 255.0)

    images, labels = data.idx("fashion_mnist", "t10k-images-idx3-ubyte"), data.idx("fashion_mnist", "t10k-labels-idx1-ubyte")
    inputs = F.avg_pool2d(torch.tensor(images[:1800, None], dtype=torch.float32), 2)
    targets = torch.tensor(labels[:1800].astype("int64"))
    return Experiment(
        model=Net,
        loss=F.cross_entropy,
        optimizer=adam(3e-3),
        train=(inputs[:1300], targets[:1300]),
        test=(inputs[1300:], targets[1300:]),
        epochs=12,
    )


@healthy("inputs/counts and yes-no columns", least=0.75)
def counts() -> Experiment:
    draw = generator()
    counted = torch.poisson(torch.full((1000, 4), 2.0), generator=draw)
    yes = (torch.rand(1000, 6, generator=draw) < 0.15).float()
    targets = ((counted[:, 0] + 3 * yes[:, 0] + 2 * yes[:, 3] - counted[:, 1]) > 0.5).long()
    inputs = torch.cat([counted, yes], 1)
    return table_experiment((inputs[:700], targets[:700]), (inputs[700:], targets[700:]), mlp(10, 24, 2), F.cross_entropy)


@healthy("inputs/sparse bag of words", least=0.85)
def sparse_bag() -> Experiment:
    (inputs, targets), (test_inputs, test_targets) = data.messages(column=False)

    def bag(codes: Tensor) -> Tensor:
        return torch.zeros(len(codes), 1500).scatter_(1, codes, 1.0)[:, 2:602]

    return table_experiment((bag(inputs), targets), (bag(test_inputs), test_targets), mlp(600, 24, 2), F.cross_entropy, epochs=6)


@healthy("inputs/a constant column and an index", least=0.9)
def constant_column() -> Experiment:
    """One column is always 1, as a bias by hand; one is noise."""
    (inputs, targets), (test_inputs, test_targets) = data.wine()

    def wider(x: Tensor, seed: int) -> Tensor:
        return torch.cat([torch.ones(len(x), 1), x, torch.randn(len(x), 1, generator=generator(seed))], 1)

    return table_experiment((wider(inputs, 0), targets), (wider(test_inputs, 1), test_targets), mlp(15, 24, 3), F.cross_entropy, epochs=20)


@healthy("inputs/strongly correlated columns", least=0.9)
def correlated() -> Experiment:
    inputs, targets = data.embedded("breast_cancer")
    parts = data.standardised(data.split(torch.tensor(inputs, dtype=torch.float32), torch.tensor(targets), 380, 189))
    return table_experiment(*parts, mlp(30, 16, 2), F.cross_entropy, epochs=8)


@healthy("inputs/from a data set of its own", least=0.9)
def own_data_set() -> Experiment:
    class Rows(Dataset[Any]):
        def __init__(self, part: data.Part) -> None:
            self.inputs, self.targets = part

        def __len__(self) -> int:
            return len(self.inputs)

        def __getitem__(self, index: int) -> Any:
            return self.inputs[index], self.targets[index]

    train, test = data.wine()
    return table_experiment(Rows(train), Rows(test), mlp(13, 24, 3), F.cross_entropy, epochs=20)


@healthy("inputs/two in a dict", least=0.85)
def two_inputs() -> Experiment:
    """Numbers and a category with an embedding."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.place, self.body = nn.Embedding(5, 4), nn.Sequential(nn.Linear(10, 24), nn.ReLU(), nn.Linear(24, 1))

        def forward(self, given: dict[str, Tensor]) -> Tensor:
            return self.body(torch.cat([given["numbers"], self.place(given["place"])], 1))

    inputs, targets = surface(1000)
    place = torch.randint(5, (1000,), generator=generator(8))
    targets = targets + 0.4 * (place.float()[:, None] - 2)

    def part(start: int, stop: int) -> Any:
        return {"numbers": inputs[start:stop], "place": place[start:stop]}, targets[start:stop]

    return Experiment(model=Two, loss=F.mse_loss, optimizer=adam(5e-3), train=part(0, 700), test=part(700, 1000), epochs=20)


@healthy("inputs/windows of one series in time order", least=0.6)
def windows() -> Experiment:
    train, test = data.sunspots()
    return BASES["sunspots-lstm"].experiment(train=train, test=test, shuffle=False, epochs=12)


@healthy("targets/in a unit of their own, with a fitting network", least=0.6)
def unit_of_its_own() -> Experiment:
    """Thousands of dollars; the last layer starts at their mean and multiplies by their deviation."""

    class Priced(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(7, 48), nn.ReLU(), nn.Linear(48, 1))

        def forward(self, x: Tensor) -> Tensor:
            return 200 + 100 * self.body(x)

    (inputs, targets), (test_inputs, test_targets) = data.housing()
    return Experiment(
        model=Priced, loss=nn.L1Loss(), optimizer=adam(5e-3), train=(inputs, 200 + 100 * targets),
        test=(test_inputs, 200 + 100 * test_targets), batch_size=64, epochs=12,
    )  # fmt: skip


@healthy("targets/three values at once", least=0.7)
def three_values() -> Experiment:
    inputs, targets = surface(1000)
    several = torch.cat([targets, inputs[:, :1] * 0.5 + 0.2 * inputs[:, 1:2], torch.cos(inputs[:, 2:3])], 1)
    return table_experiment((inputs[:700], several[:700]), (inputs[700:], several[700:]), mlp(6, 32, 3), F.mse_loss, epochs=25)


@healthy("targets/a class that the test part lacks", least=0.9)
def missing_in_test() -> Experiment:
    (inputs, targets), (test_inputs, test_targets) = data.digits(flat=True)
    kept = test_targets != 7
    return table_experiment((inputs, targets), (test_inputs[kept], test_targets[kept]), mlp(64, 48, 10), F.cross_entropy, epochs=8)


# -- rates, sizes and schedules ---------------------------------------------------------------------------------------------------------


def with_setting(base: str, **changes: Any) -> Experiment:
    return BASES[base].experiment(**changes)


def warm_up(optimizer: Any) -> Any:
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: min(1.0, (epoch + 1) / 4))


def steps_down(optimizer: Any) -> Any:
    return torch.optim.lr_scheduler.MultiStepLR(optimizer, [10, 15], 0.1)


for _name, _base, _changes in (
    ("batches of 8", "digits-mlp", {"batch_size": 8, "epochs": 6, "optimizer": made("sgd", 0.03)}),
    ("batches of 250", "digits-mlp", {"batch_size": 250, "epochs": 60, "optimizer": adam(1e-2)}),
    ("the whole set at once", "wine", {"batch_size": 120, "epochs": 120, "optimizer": adam(1e-2)}),
    ("batches of one", "wine", {"batch_size": 1, "epochs": 3, "optimizer": made("sgd", 0.01)}),
    ("warm-up", "digits-cnn", {"scheduler": warm_up}),
    ("steps down", "digits-mlp", {"scheduler": steps_down}),
    ("cosine to zero", "housing", {"scheduler": cosine(20)}),
    ("strong weight decay that fits", "digits-mlp", {"optimizer": made("adamw", 3e-3, weight_decay=0.1)}),
    ("small rate, many epochs", "digits-mlp", {"optimizer": adam(3e-4), "epochs": 40}),
    ("large rate that works", "digits-mlp", {"optimizer": made("sgd", 0.4)}),
    ("Adagrad at its rate", "cancer", {"optimizer": made("adagrad", 0.05)}),
    ("Adadelta at its rate", "digits-mlp", {"optimizer": made("adadelta", 1.0)}),
    ("Adamax", "seeds", {"optimizer": made("adamax", 1e-2)}),
    ("averaged SGD", "income", {"optimizer": made("asgd", 0.05)}),
    ("few epochs that suffice", "spam-bag", {"epochs": 4}),
):  # fmt: skip
    healthy(f"setting/{_name}", least=BASES[_base].least - 0.03)(partial(with_setting, _base, **_changes))


@healthy("setting/no hidden layer where none is needed", least=0.9)
def no_hidden_layer() -> Experiment:
    return table_experiment(*data.wine(), lambda: nn.Linear(13, 3), F.cross_entropy, optimizer=adam(1e-2), epochs=20)


@healthy("setting/bidirectional", least=0.8)
def bidirectional() -> Experiment:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = nn.GRU(12, 16, batch_first=True, bidirectional=True), nn.Linear(32, 9)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.rnn(x)[0].mean(1))

    return BASES["vowels-lstm"].experiment(model=Both, epochs=15)


@healthy("setting/plain recurrent network", least=0.8)
def plain_recurrent() -> Experiment:
    return BASES["vowels-lstm"].experiment(model=lambda: Recurrent(nn.RNN, 12, 9, Design()), optimizer=adam(3e-3))
