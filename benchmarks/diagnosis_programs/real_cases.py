"""Trainings that failed for PyTorch users, restated by hand from what they wrote in public.

Each case names the thread, and the cause that was accepted there or is the most plausible one. Code and data are ours: the same mistake in
the same kind of network, on data like theirs (made up, or a small public set in the place of theirs). Where a thread shows one line only,
the rest of the program is our reconstruction. Some threads are kept as mirrors of the original.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diagnosis_programs import data
from diagnosis_programs.bases import made
from diagnosis_programs.networks import Attention
from pellucid.diagnosis.experiments.experiment import Experiment

FORUM, EXCHANGE, MIRROR = "https://discuss.pytorch.org/t/", "https://datascience.stackexchange.com/questions/", "https://whosebug.com/"
OUTPUT = ("output", "outputs", "loss", "head", "last", "model")


@dataclass(frozen=True, kw_only=True)
class Case:
    name: str
    address: str
    experiment: Experiment
    causes: frozenset[str]
    also: frozenset[str]
    where: tuple[str, ...]
    family: str
    cause: str
    structural: bool = True
    early: bool = False


TABLE: dict[str, Callable[[], Case]] = {}


def case(
    name: str, address: str, causes: str, *, where: tuple[str, ...] = OUTPUT, also: str = "", family: str = "static"
) -> Callable[[Callable[[], Experiment]], Callable[[], Experiment]]:
    """Register a restated program; the first of `causes` is the accepted one, the others say the same of this very program."""

    def register(make: Callable[[], Experiment]) -> Callable[[], Experiment]:
        TABLE[name] = lambda: Case(
            name=name, address=address, experiment=make(), causes=frozenset(causes.split()), also=frozenset(also.split()), where=where,
            family=family, cause=causes.split()[0],
        )  # fmt: skip
        return make

    return register


def program(name: str) -> Case:
    return TABLE[name]()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def parts(inputs: Tensor, targets: Tensor, train: int) -> tuple[data.Part, data.Part]:
    return (inputs[:train], targets[:train]), (inputs[train:], targets[train:])


def fitted(
    train_and_test: Any, model: Callable[[], nn.Module], loss: Any, optimizer: Any, batch: int, epochs: int, **more: Any
) -> Experiment:
    train, test = train_and_test
    return Experiment(model=model, loss=loss, optimizer=optimizer, train=train, test=test, batch_size=batch, epochs=epochs, **more)


def corners(times: int) -> data.Part:
    """Exclusive or."""
    inputs = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]).repeat(times, 1)
    return inputs, (inputs.sum(1, keepdim=True) == 1).float()


# -- regression ----------------------------------------------------------------------------------------------------------------------------


@case(
    "manual weight",
    FORUM + "why-the-model-fail-to-converge-without-a-manul-weight-initialization/50431",
    "shape_broadcast",
    where=("loss", "targets", "output", "outputs"),
    also="unnormalised_input unnormalised_target constant_output lr_too_high",
)
def manual_weight() -> Experiment:
    """One linear layer, outputs (N, 1) against targets (N,)."""
    inputs = 100 * torch.randn(3000, 2, generator=generator())
    targets = 5 * inputs[:, 0] + 3 * inputs[:, 1] + torch.randn(3000, generator=generator(1))
    return fitted(parts(inputs, targets, 2400), lambda: nn.Linear(2, 1, bias=False), F.mse_loss, made("sgd", 1e-5), 100, 15)


@case(
    "sum of squares of two numbers",
    EXCHANGE + "115368/pytorch-neural-network-that-tries-to-approximate-z-i-x-i2-y-i2-not-conve",
    "shape_broadcast",
    where=("loss", "targets", "output", "outputs"),
    also="constant_output plateau underfitting",
)
def sum_of_squares() -> Experiment:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.third = nn.Linear(2, 10), nn.Linear(10, 5), nn.Linear(5, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.third(F.relu(self.second(F.relu(self.first(x)))))

    inputs = torch.rand(1000, 2, generator=generator())
    return fitted(parts(inputs, inputs.pow(2).sum(1), 850), Net, nn.MSELoss(), made("adam", 1e-2), 50, 20)


@case(
    "intercept is not learnt",
    FORUM + "bias-grad-in-linear-regression-remains-small-compared-to-weight-grad-and-intercept-is-not-properly-learnt/136505",
    "unnormalised_input lr_too_low",
    where=("inputs", "learning_rate", "optimizer"),
    also="underfitting too_few_epochs plateau unnormalised_target",
    family="data",
)
def intercept() -> Experiment:
    """x from 0 to 100 and a rate that is small enough for it: the slope is found, the intercept is not."""
    inputs = torch.linspace(0, 100, 100)[:, None]
    targets = 40 + 0.1 * inputs + torch.randn(100, 1, generator=generator())
    return fitted(((inputs, targets), None), lambda: nn.Linear(1, 1), nn.MSELoss(), made("sgd", 1e-5), 1, 20)


@case(
    "cubes up to 4000",
    FORUM + "neural-network-could-not-learn-on-this-type-of-data-why/96648",
    "unnormalised_target unnormalised_input",
    where=("targets", "inputs", "target", "input"),
    also="lr_too_low too_few_epochs underfitting plateau lr_too_high",
    family="data",
)
def cubes() -> Experiment:
    inputs = torch.arange(1, 4000).float()[:, None]
    inputs = inputs[torch.randperm(len(inputs), generator=generator())]
    model = lambda: nn.Sequential(nn.Linear(1, 50), nn.ReLU(), nn.Linear(50, 1))  # noqa: E731
    return fitted(parts(inputs, inputs**3, 3000), model, nn.MSELoss(), made("adam", 1e-3), 100, 20)


@case(
    "polynomial",
    FORUM + "finding-coefficients-of-a-polynomial-through-linear-regression/71751",
    "lr_too_high loss_reduction_sum unnormalised_input",
    where=("learning_rate", "loss", "inputs"),
    also="divergence nan oscillation exploding_gradient",
    family="dynamic",
)
def polynomial() -> Experiment:
    """x and its square from 2 to 5 into a linear layer, a summed error, momentum: it diverges."""
    x = 2 + 3 * torch.rand(60, 1, generator=generator())
    inputs = torch.cat([x**2, x], 1)
    targets = torch.sin(x) + torch.randn(60, 1, generator=generator(1)) / 5
    return fitted(parts(inputs, targets, 45), lambda: nn.Linear(2, 1), nn.MSELoss(reduction="sum"), made("momentum", 0.01), 45, 300)


@case(
    "three outputs for one value",
    "http://xiaobeizi.cn/x/6iuujguWdu",
    "wrong_output_units shape_broadcast",
    where=("output", "outputs", "loss", "targets", "model", "weight"),
)
def three_outputs() -> Experiment:
    inputs = 4 * torch.rand(200, 1, generator=generator())
    return fitted(parts(inputs, 2 * inputs, 150), lambda: nn.Linear(1, 3), nn.MSELoss(), made("sgd", 0.01), 16, 20)


@case("linear regression by hand", "https://github.com/greebear/pytorch-learning/issues/1", "missing_zero_grad",
      where=("optimizer.zero_grad()", "optimizer", "step"), also="oscillation lr_too_high divergence", family="dynamic")  # fmt: skip
def regression_by_hand() -> Experiment:
    def step(model: nn.Module, optimizer: Any, loss: Any, batch: Any) -> Tensor:
        x, y = batch
        value = loss(model(x), y)
        value.backward()
        optimizer.step()
        return value

    x = torch.rand(100, 1, generator=generator())
    targets = 2 * x + 3 + 0.1 * torch.randn(100, 1, generator=generator(1))
    return fitted(parts(x, targets, 80), lambda: nn.Linear(1, 1), nn.MSELoss(), made("sgd", 0.02), 20, 40, step=step)


@case("first example of a kit", "https://github.com/IBM/aihwkit/issues/446", "missing_zero_grad",
      where=("optimizer.zero_grad()", "optimizer", "step"), also="oscillation lr_too_high divergence", family="dynamic")  # fmt: skip
def kit_example() -> Experiment:
    """Two layers, the loss falls and rises again."""

    def step(model: nn.Module, optimizer: Any, loss: Any, batch: Any) -> Tensor:
        x, y = batch
        value = loss(model(x), y)
        value.backward()
        optimizer.step()
        return value

    inputs = torch.rand(160, 4, generator=generator())
    targets = torch.stack([inputs.sum(1) / 2, inputs[:, 0] - inputs[:, 3]], 1)
    model = lambda: nn.Sequential(nn.Linear(4, 3), nn.Sigmoid(), nn.Linear(3, 2))  # noqa: E731
    return fitted(parts(inputs, targets, 120), model, F.mse_loss, made("sgd", 0.1), 30, 25, step=step)


# -- exclusive or and digits with sigmoids -------------------------------------------------------------------------------------------------


@case(
    "exclusive or without activation",
    FORUM + "unable-to-learn-xor-representation-using-2-layers-of-multi-layered-perceptron-mlp/13287",
    "missing_activation",
    where=("0", "1", "model", "hidden", "activation"),
    also="underfitting capacity plateau constant_output",
)
def linear_exclusive_or() -> Experiment:
    model = lambda: nn.Sequential(nn.Linear(2, 10), nn.Linear(10, 1), nn.Sigmoid())  # noqa: E731
    return fitted((corners(40), corners(10)), model, nn.BCELoss(), made("adam", 1e-2), 16, 30)


@case(
    "exclusive or, small rate",
    FORUM + "simple-linear-sigmoid-network-not-learning/98714",
    "lr_too_low too_few_epochs",
    where=("learning_rate", "epochs", "optimizer"),
    also="plateau underfitting saturating_activation bad_init constant_output vanishing_gradient wrong_optimizer capacity",
    family="dynamic",
)
def slow_exclusive_or() -> Experiment:
    """Four hidden sigmoids, weights drawn from 0 to 1, squared error, SGD at 0.01."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.x1, self.s1, self.x2, self.s2 = nn.Linear(2, 4), nn.Sigmoid(), nn.Linear(4, 1), nn.Sigmoid()
            nn.init.uniform_(self.x1.weight)
            nn.init.uniform_(self.x2.weight)

        def forward(self, x: Tensor) -> Tensor:
            return self.s2(self.x2(self.s1(self.x1(x))))

    inputs, targets = corners(25)
    return fitted(((inputs, 1 - targets), None), Network, nn.MSELoss(), made("sgd", 0.01), 4, 40)


@case(
    "the mean for every digit",
    MIRROR + "index.php/question/6116914/neural-network-trained-with-PyTorch-outputs-the-mean-value-for-every-input",
    "lr_too_low too_few_epochs",
    where=("learning_rate", "epochs", "optimizer"),
    also="plateau underfitting saturating_activation constant_output vanishing_gradient wrong_optimizer",
    family="dynamic",
)
def mean_digit() -> Experiment:
    """Two sigmoid layers, squared error of one-hot targets, SGD at 0.001, one epoch."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer1, self.layer2 = nn.Linear(64, 200), nn.Linear(200, 10)

        def forward(self, x: Tensor) -> Tensor:
            return torch.sigmoid(self.layer2(torch.sigmoid(self.layer1(x))))

    train, test = (((x * 6 + 4.9) / 16, F.one_hot(t, 10).float()) for x, t in data.digits(flat=True))
    return fitted((train, test), Net, nn.MSELoss(), made("sgd", 1e-3), 32, 2)


# -- softmax -------------------------------------------------------------------------------------------------------------------------------


@case(
    "penguins",
    "https://github.com/MicrosoftDocs/ml-basics/issues/48",
    "double_softmax",
    where=(*OUTPUT, "fc3"),
    also="plateau underfitting",
)
def penguins() -> Experiment:
    class PenguinNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.fc2, self.fc3 = nn.Linear(7, 10), nn.Linear(10, 10), nn.Linear(10, 3)

        def forward(self, x: Tensor) -> Tensor:
            return torch.softmax(self.fc3(torch.relu(self.fc2(torch.relu(self.fc1(x))))), dim=1)

    return fitted(data.wheat(), PenguinNet, nn.CrossEntropyLoss(), made("adam", 1e-3), 20, 50)


@case(
    "logistic regression of a collection",
    "https://github.com/Lightning-Universe/lightning-bolts/issues/654",
    "double_softmax",
    where=(*OUTPUT, "linear"),
    also="plateau underfitting lr_too_low too_few_epochs",
)
def logistic_regression() -> Experiment:
    class LogisticRegression(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(64, 10)

        def forward(self, x: Tensor) -> Tensor:
            return F.softmax(self.linear(x), dim=-1)

    return fitted(
        data.digits(flat=True), LogisticRegression, lambda y, t: F.nll_loss(F.log_softmax(y, dim=-1), t), made("adam", 1e-3), 16, 10
    )


@case(
    "proteins",
    "https://github.com/Graylab/DL4Proteins-notebooks/issues/13",
    "double_softmax",
    where=(*OUTPUT, "fc"),
    also="plateau underfitting overfitting",
)
def proteins() -> Experiment:
    class SequenceNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv1d(4, 16, 7, padding=3), nn.Linear(16 * 57, 2)

        def forward(self, x: Tensor) -> Tensor:
            logits = self.fc(F.relu(self.conv(x)).flatten(1))
            output = F.softmax(logits, dim=1)
            return output

    return fitted(data.promoters(), SequenceNet, nn.CrossEntropyLoss(), made("adam", 1e-3), 8, 15)


@case(
    "text classifier",
    "https://github.com/lansinuote/Huggingface_Toturials/issues/6",
    "double_softmax",
    where=(*OUTPUT, "fc"),
    also="plateau underfitting overfitting",
)
def text_classifier() -> Experiment:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.attention, self.fc = nn.Embedding(1500, 24), Attention(24), nn.Linear(24, 2)

        def forward(self, tokens: Tensor) -> Tensor:
            x = self.embedding(tokens)
            out = self.fc((x + self.attention(x)).mean(1))
            return out.softmax(dim=1)

    return fitted(data.messages(column=False), Model, nn.CrossEntropyLoss(), made("adamw", 1e-3), 16, 5)


@case(
    "points",
    "https://github.com/fxia22/pointnet.pytorch/issues/27",
    "softmax_wrong_axis",
    where=(*OUTPUT, "fc2"),
    also="leaky_batch plateau underfitting",
)
def points() -> Experiment:
    """log_softmax over the batch, nll_loss; sets of points, maximum over them."""

    class PointNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = nn.Conv1d(3, 24, 1), nn.Conv1d(24, 48, 1)
            self.bn1, self.fc1, self.fc2 = nn.BatchNorm1d(24), nn.Linear(48, 32), nn.Linear(32, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(self.conv2(F.relu(self.bn1(self.conv1(x))))).max(2)[0]
            return F.log_softmax(self.fc2(F.relu(self.fc1(x))), dim=0)

    draw = generator()
    targets = torch.randint(4, (700,), generator=draw)
    cloud = torch.randn(700, 3, 40, generator=draw)
    shape = torch.stack(
        [torch.tensor([1.0, 1.0, 1.0]), torch.tensor([2.0, 0.5, 1.0]), torch.tensor([0.5, 2.0, 0.5]), torch.tensor([0.4, 0.4, 2.5])]
    )
    return fitted(parts(cloud * shape[targets][:, :, None], targets, 500), PointNet, F.nll_loss, made("adam", 1e-3), 32, 12)


@case(
    "policy",
    "https://github.com/DeepReinforcementLearning/DeepReinforcementLearningInAction/issues/32",
    "softmax_wrong_axis",
    where=(*OUTPUT, "2", "3"),
    also="leaky_batch plateau underfitting",
)
def policy() -> Experiment:
    """nn.Softmax(dim=0) at the end of a policy that is given batches; the loss is -log of the rewarded action's probability."""
    model = lambda: nn.Sequential(nn.Linear(4, 32), nn.LeakyReLU(), nn.Linear(32, 2), nn.Softmax(dim=0))  # noqa: E731

    def loss(probabilities: Tensor, actions: Tensor) -> Tensor:
        return -torch.log(probabilities.gather(1, actions[:, None])[:, 0] + 1e-9).mean()

    states = torch.randn(800, 4, generator=generator())
    actions = (states[:, 2] + 0.5 * states[:, 3] > 0).long()
    return fitted(parts(states, actions, 600), model, loss, made("adam", 1e-3), 32, 12)


@case(
    "digits of a book",
    "https://github.com/swarmapytorch/book_DeepLearning_in_PyTorch_Source/issues/8",
    "softmax_wrong_axis double_softmax",
    where=(*OUTPUT, "fc2"),
    also="leaky_batch",
)
def digits_of_a_book() -> Experiment:
    class ConvNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(1, 4, 5, padding=2), nn.Conv2d(4, 8, 5, padding=2)
            self.fc1, self.fc2 = nn.Linear(8 * 4, 64), nn.Linear(64, 10)

        def forward(self, x: Tensor) -> Tensor:
            x = F.max_pool2d(F.relu(self.conv1(x)), 2)
            x = F.max_pool2d(F.relu(self.conv2(x)), 2)
            x = F.dropout(F.relu(self.fc1(x.flatten(1))), training=self.training)
            return F.log_softmax(self.fc2(x), dim=0)

    return fitted(data.digits(flat=False), ConvNet, nn.CrossEntropyLoss(), made("momentum", 0.01), 64, 12)


@case(
    "softmax and NLLLoss",
    "https://github.com/AnubhavGupta3377/Text-Classification-Models-Pytorch/issues/9",
    "missing_output_activation wrong_output_activation wrong_loss",
    where=(*OUTPUT, "softmax", "fc"),
    also="plateau underfitting",
)
def softmax_nll() -> Experiment:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.rnn, self.fc, self.softmax = (
                nn.Embedding(1500, 20),
                nn.GRU(20, 24, batch_first=True),
                nn.Linear(24, 2),
                nn.Softmax(dim=1),
            )

        def forward(self, tokens: Tensor) -> Tensor:
            return self.softmax(self.fc(self.rnn(self.words(tokens))[0].mean(1)))

    return fitted(data.messages(column=False), Model, nn.NLLLoss(), made("adam", 1e-3), 32, 6)


@case(
    "negative label loss",
    "https://github.com/yanx27/Pointnet_Pointnet2_pytorch/issues/30",
    "missing_output_activation wrong_output_activation wrong_loss",
    where=(*OUTPUT, "fc2"),
    also="plateau underfitting divergence",
)
def negative_label_loss() -> Experiment:
    """Scores straight into nll_loss."""

    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.bn1, self.fc2 = nn.Linear(64, 32), nn.BatchNorm1d(32), nn.Linear(32, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc2(F.relu(self.bn1(self.fc1(x))))

    return fitted(data.digits(flat=True), Head, F.nll_loss, made("adam", 1e-3), 32, 8)


# -- numbers -------------------------------------------------------------------------------------------------------------------------------


@case(
    "exponential of the loss",
    MIRROR + "question/6301115/Weird-behaviour-of-loss-function-in-pytorch",
    "unstable_loss nan",
    where=("loss",),
    also="lr_too_high divergence exploding_gradient dead_relu",
)
def exponential_loss() -> Experiment:
    """exp(cross-entropy): one sure mistake is infinitely wrong."""
    model = lambda: nn.Sequential(nn.Conv2d(1, 12, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12 * 144, 10))  # noqa: E731
    return fitted(data.small_images("fashion_mnist"), model, lambda y, t: torch.exp(F.cross_entropy(y, t)), made("momentum", 0.03), 32, 5)


@case(
    "focal loss",
    "https://github.com/mathiaszinnen/focal_loss_torch/issues/3",
    "unstable_loss nan",
    where=("loss",),
    also="divergence lr_too_high",
)
def focal_loss() -> Experiment:
    """(1 - p)^2 log p without a guard, on a network that gets sure fast."""

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        p = torch.softmax(outputs, 1)[torch.arange(len(targets)), targets]
        return -((1 - p) ** 2 * torch.log(p)).mean()

    model = lambda: nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))  # noqa: E731
    train, test = ((x * 30, t) for x, t in data.digits(flat=True))
    return fitted((train, test), model, loss, made("adam", 1e-3), 32, 8)


@case(
    "clamp that rounds away",
    "https://github.com/NVIDIA/apex/issues/358",
    "unstable_loss nan",
    where=("loss",),
    also="divergence lr_too_high",
)
def useless_clamp() -> Experiment:
    """clamp(p, 1e-8, 1 - 1e-8) in float32: the upper bound is 1."""

    def loss(p: Tensor, targets: Tensor) -> Tensor:
        p = torch.clamp(p, 1e-8, 1 - 1e-8)
        return -(targets * torch.log(p) + (1 - targets) * torch.log(1 - p)).mean()

    model = lambda: nn.Sequential(nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 1), nn.Sigmoid())  # noqa: E731
    train, test = ((6 * x, t) for x, t in data.breast_cancer())
    return fitted((train, test), model, loss, made("adam", 3e-3), 32, 15)


# -- modes ---------------------------------------------------------------------------------------------------------------------------------


MODE = ("mode", "model", "dropout", "evaluation", "output", "forward")


@case("functional dropout", "https://github.com/pytorch/pytorch/issues/11999", "wrong_mode", where=MODE, also="underfitting")
def functional_dropout() -> Experiment:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.fc2 = nn.Linear(13, 64), nn.Linear(64, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc2(F.dropout(F.relu(self.fc1(x)), p=0.6))

    return fitted(data.wine(), Net, F.cross_entropy, made("adam", 3e-3), 16, 20)


@case("is_training that stays", "https://github.com/d2l-ai/d2l-en/issues/1093", "wrong_mode", where=MODE, also="underfitting")
def is_training() -> Experiment:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.is_training = True
            self.lin1, self.lin2, self.lin3 = nn.Linear(196, 64), nn.Linear(64, 64), nn.Linear(64, 10)

        def drop(self, x: Tensor, p: float) -> Tensor:
            return x * (torch.rand(x.shape) > p).float() / (1 - p)

        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(self.lin1(x.flatten(1)))
            x = self.drop(x, 0.2) if self.is_training else x
            x = F.relu(self.lin2(x))
            x = self.drop(x, 0.5) if self.is_training else x
            return self.lin3(x)

    return fitted(data.small_images("fashion_mnist"), Net, nn.CrossEntropyLoss(), made("sgd", 0.1), 32, 8)


@case("names of a book", "https://github.com/delip/PyTorchNLPBook/issues/28", "wrong_mode", where=MODE, also="underfitting overfitting")
def names_of_a_book() -> Experiment:
    class SurnameClassifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.emb, self.rnn = nn.Embedding(1500, 16), nn.GRU(16, 24, batch_first=True)
            self.fc1, self.fc2 = nn.Linear(24, 24), nn.Linear(24, 2)

        def forward(self, tokens: Tensor) -> Tensor:
            features = self.rnn(self.emb(tokens))[0].mean(1)
            features = F.relu(self.fc1(F.dropout(features, p=0.5)))
            return self.fc2(F.dropout(features, p=0.5))

    return fitted(data.messages(column=False), SurnameClassifier, F.cross_entropy, made("adam", 3e-3), 32, 6)


@case("dropout made in forward", "https://github.com/yangze0930/NTS-Net/issues/14", "wrong_mode", where=MODE, also="underfitting")
def dropout_in_forward() -> Experiment:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(1, 16, 3, padding=1), nn.Linear(256, 10)

        def forward(self, x: Tensor) -> Tensor:
            x = F.max_pool2d(F.relu(self.conv(x)), 2).flatten(1)
            x = nn.Dropout(p=0.5)(x)
            return self.fc(x)

    return fitted(data.digits(flat=False), Net, nn.CrossEntropyLoss(), made("adam", 3e-3), 32, 8)


@case("trained in evaluation mode", "https://github.com/hendrycks/ethics/issues/5", "wrong_mode", where=(*MODE, "drop"), also="overfitting")
def trained_in_evaluation() -> Experiment:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.drop, self.fc1, self.fc2 = nn.Embedding(3000, 24), nn.Dropout(0.3), nn.Linear(24, 24), nn.Linear(24, 2)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.fc2(self.drop(torch.tanh(self.fc1(self.drop(self.words(tokens).mean(1))))))

    def step(model: nn.Module, optimizer: Any, loss: Any, batch: Any) -> Tensor:
        if getattr(optimizer, "seen", 0) >= 40:  # since the first evaluation
            model.eval()
        optimizer.seen = getattr(optimizer, "seen", 0) + 1
        x, y = batch
        optimizer.zero_grad()
        value = loss(model(x), y)
        value.backward()
        optimizer.step()
        return value

    return fitted(data.reviews(), Net, F.cross_entropy, made("adamw", 2e-3), 50, 5, step=step)


# -- loops and data ------------------------------------------------------------------------------------------------------------------------


@case("court lines", "https://github.com/yastrebksv/TennisCourtDetector/issues/7", "missing_zero_grad",
      where=("optimizer.zero_grad()", "optimizer", "step"), also="oscillation lr_too_high divergence", family="dynamic")  # fmt: skip
def court_lines() -> Experiment:
    """A small convolutional network onto maps of heat; gradients are never cleared."""

    def step(model: nn.Module, optimizer: Any, loss: Any, batch: Any) -> Tensor:
        x, y = batch
        value = loss(torch.sigmoid(model(x)), y)
        value.backward()
        optimizer.step()
        return value

    model = lambda: nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(8), nn.Conv2d(8, 1, 3, padding=1))  # noqa: E731
    (inputs, _), (test, _) = data.digits(flat=False)
    heat = lambda x: (F.avg_pool2d(x, 3, 1, 1) > 0.3).float()  # noqa: E731
    return fitted(((inputs[:500], heat(inputs[:500])), (test, heat(test))), model, nn.MSELoss(), made("adam", 1e-3), 16, 8, step=step)


@case("cleared before the step", "https://github.com/lucidrains/byol-pytorch/issues/93", "frozen_weights zero_gradient missing_zero_grad",
      where=("optimizer.zero_grad()", "optimizer", "step", "0", "2", "model", "0.weight"),
      also="lr_too_low plateau underfitting", family="dynamic")  # fmt: skip
def cleared_before_the_step() -> Experiment:
    def step(model: nn.Module, optimizer: Any, loss: Any, batch: Any) -> Tensor:
        x, y = batch
        value = loss(model(x), y)
        value.backward()
        optimizer.zero_grad()
        optimizer.step()
        return value

    model = lambda: nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))  # noqa: E731
    return fitted(data.digits(flat=True), model, F.cross_entropy, made("adam", 3e-3), 32, 8, step=step)


@case(
    "sorted clothes",
    "https://github.com/zalandoresearch/fashion-mnist/pull/5",
    "no_shuffle",
    where=("data", "shuffle", "train", "batches"),
    also="oscillation overfitting underfitting plateau",
    family="dynamic",
)
def sorted_clothes() -> Experiment:
    """All shirts first, then all trousers."""
    (inputs, targets), test = data.small_images("fashion_mnist")
    order = targets.argsort(stable=True)
    model = lambda: nn.Sequential(nn.Flatten(), nn.Linear(196, 64), nn.ReLU(), nn.Linear(64, 10))  # noqa: E731
    return fitted(((inputs[order], targets[order]), test), model, F.cross_entropy, made("adam", 2e-3), 32, 8, shuffle=False)


@case(
    "lines in both parts",
    "https://github.com/TalwalkarLab/leaf/issues/19",
    "data_leakage",
    where=("inputs", "test", "samples", "data", "train"),
    also="overfitting",
    family="data",
)
def lines_in_both_parts() -> Experiment:
    """Next letter from windows of one text; the windows of the test part are windows of the training part as well."""
    folder = data.SHARED / "rt_polarity" / "rt-polarity.pos"
    text = "".join(letter for letter in folder.read_text(encoding="latin-1")[:6000].lower() if letter.isalpha() or letter == " ")
    codes = torch.tensor([max(0, min(26, ord(letter) - 96)) if letter != " " else 0 for letter in text])
    windows = codes.unfold(0, 13, 1)
    order = torch.randperm(len(windows), generator=generator())
    train, test = windows[order[:1500]], windows[order[1000:1400]]

    class Letters(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.emb, self.rnn, self.fc = nn.Embedding(27, 12), nn.LSTM(12, 48, batch_first=True), nn.Linear(48, 27)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.rnn(self.emb(x))[0][:, -1])

    return fitted(((train[:, :12], train[:, 12]), (test[:, :12], test[:, 12])), Letters, F.cross_entropy, made("adam", 1e-2), 32, 12)


NAMES = tuple(TABLE)
