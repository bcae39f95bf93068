"""Small projects as people write them after the first weeks: sequences, attention, generative models, physics, several losses."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from diagnosis.symptoms.newcomers import Found, adam, batches, faulty, healthy, padded, train
from diagnosis.symptoms.programs import cnn, images, mlp, table, tokens, values

# -- sequences -----------------------------------------------------------------------------------------------------------------------


class Sequence(nn.Module):
    """A recurrent layer over a long series, and its last state."""

    def __init__(self, kind: Any, gain: float = 1.0) -> None:
        super().__init__()
        self.recurrent, self.head = kind(1, 24, batch_first=True), nn.Linear(24, 1)
        with torch.no_grad():
            self.recurrent.weight_hh_l0.mul_(gain)

    def forward(self, inputs: Tensor) -> Tensor:
        states, _ = self.recurrent(inputs)
        return self.head(states[:, -1])


def long_series(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    inputs = torch.randn(192, 80, 1, generator=generator)
    return inputs, inputs[:, -8:].sum(1)


def recurrent(kind: Any, gain: float = 1.0) -> Found:
    model = Sequence(kind, gain)
    return train(model, adam(model), batches(long_series, epochs=8), F.mse_loss)


healthy("LSTM over 80 steps")(lambda: recurrent(nn.LSTM))
healthy("GRU over 80 steps")(lambda: recurrent(nn.GRU))
faulty("RNN over 80 steps with large recurrent weights", "exploding_gradient", "weight_hh", "clip")(lambda: recurrent(nn.RNN, 9.0))


class Encoder(nn.Module):
    """PyTorch's own attention over padded sequences."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False), nn.Linear(16, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        padding = (inputs == 0).all(-1)
        hidden = self.encoder(self.embed(inputs), src_key_padding_mask=padding)
        return self.head(hidden.masked_fill(padding[..., None], 0).sum(1) / (~padding).sum(1, keepdim=True).clamp(min=1))


@healthy("encoder with padding")
def _encoder() -> Found:
    model = Encoder()
    return train(model, adam(model, 1e-3), batches(lambda g: padded(g, empty=False), epochs=6))


class Pooled(nn.Module):
    """The mean over what is not padding, divided by a count that may be 0."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(5, 16), nn.Linear(16, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        kept = (inputs != 0).any(-1, keepdim=True).float()
        return self.head((torch.relu(self.embed(inputs)) * kept).sum(1) / kept.sum(1))


@faulty("mean over a sequence that is all padding", "nan", "div (projects.py", "divisor")
def _pooled() -> Found:
    model = Pooled()
    return train(model, adam(model), batches(lambda g: padded(g, empty=True)))


class Tied(nn.Module):
    """A language model whose output uses the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.recurrent, self.head = nn.Embedding(20, 16), nn.GRU(16, 16, batch_first=True), nn.Linear(16, 20)
        self.head.weight = self.embedding.weight

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.recurrent(self.embedding(inputs))[0]).transpose(1, 2)


def successors(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    inputs = (torch.randint(20, (192, 1), generator=generator) + torch.arange(12)) % 20
    return inputs, (inputs + 1) % 20


@healthy("tied weights")
def _tied() -> Found:
    model = Tied()
    return train(model, adam(model, 5e-3), batches(successors, epochs=10))


# -- depth ---------------------------------------------------------------------------------------------------------------------------


@faulty("ten sigmoid layers", "vanishing_gradient", "0.weight", "ReLU")
def _deep_sigmoid() -> Found:
    model = mlp(10, *[32] * 10, 3, activation=nn.Sigmoid)()
    return train(model, torch.optim.SGD(model.parameters(), lr=0.1), batches(table(), epochs=15))


@healthy("ten layers with normalisation")
def _deep_normalised() -> Found:
    model = mlp(10, *[32] * 10, 3, norm=nn.BatchNorm1d)()
    return train(model, adam(model), batches(table()))


# -- generative models ---------------------------------------------------------------------------------------------------------------


class Variational(nn.Module):
    def __init__(self, deviation: Any) -> None:
        super().__init__()
        self.encoder, self.decoder, self.deviation = mlp(64, 32, 8)(), mlp(4, 32, 64)(), deviation

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, spread = self.encoder(inputs).chunk(2, dim=1)
        return self.decoder(mean + self.deviation(spread) * torch.randn_like(mean)), mean, spread


def variational(deviation: Any) -> Found:
    model = Variational(deviation)
    optimizer = adam(model, 1e-3)
    with pellucid.watch(model) as watcher:
        for inputs, _ in batches(images(), epochs=10):
            pixels = (inputs.flatten(1) + 0.3).clamp(0, 1)
            logits, mean, spread = model(pixels)
            divergence = -0.5 * (1 + spread - mean.square() - spread.exp()).sum()
            loss = F.binary_cross_entropy_with_logits(logits, pixels, reduction="sum") + divergence
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return watcher.findings


healthy("variational autoencoder, summed loss")(lambda: variational(lambda spread: torch.exp(0.5 * spread)))
faulty("variational autoencoder, root of a logarithm", "nan", "sqrt (projects.py", "clamp_min(0)")(lambda: variational(torch.sqrt))


def adversarial(watched: str, *, swapped: bool = False) -> Found:
    generator, discriminator = mlp(4, 32, 2)(), mlp(2, 32, 1)()
    first = adam(discriminator if swapped else generator, 1e-3)
    second = adam(discriminator, 1e-3)
    with pellucid.watch(generator if watched == "generator" else discriminator) as watcher:
        for _ in range(120):
            real, fake = torch.randn(32, 2) * 0.5 + 1, generator(torch.randn(32, 4))
            second.zero_grad()
            scores = discriminator(real), discriminator(fake.detach())
            (
                F.binary_cross_entropy_with_logits(scores[0], torch.ones(32, 1))
                + F.binary_cross_entropy_with_logits(scores[1], torch.zeros(32, 1))
            ).backward()
            second.step()
            first.zero_grad()
            F.binary_cross_entropy_with_logits(discriminator(fake), torch.ones(32, 1)).backward()
            first.step()
        return watcher.findings


healthy("GAN, the generator")(lambda: adversarial("generator"))
healthy("GAN, the discriminator")(lambda: adversarial("discriminator"))


# -- physics -------------------------------------------------------------------------------------------------------------------------


@healthy("physics-informed network, Adam and then LBFGS")
def _physics() -> Found:
    """u' = -u, u(0) = 1 on [0, 2]."""
    model = mlp(1, 24, 24, 1, activation=nn.Tanh)()
    places = torch.linspace(0, 2, 40)[:, None]

    def loss() -> Tensor:
        points = places.clone().requires_grad_(True)
        solution = model(points)
        (slope,) = torch.autograd.grad(solution.sum(), points, create_graph=True)
        return (slope + solution).square().mean() + (model(torch.zeros(1, 1)) - 1).square().mean()

    first, second = adam(model), torch.optim.LBFGS(model.parameters(), max_iter=10, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        second.zero_grad()
        value = loss()
        value.backward()
        return value

    with pellucid.watch(model) as watcher:
        for _ in range(60):
            first.zero_grad()
            loss().backward()
            first.step()
        for _ in range(10):
            second.step(closure)
        return watcher.findings


# -- losses --------------------------------------------------------------------------------------------------------------------------


def by_angle(guard: bool) -> Found:
    """Turn one vector into another; the angle between equal ones has no derivative."""

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        cosine = (F.normalize(outputs, dim=1) * F.normalize(targets, dim=1)).sum(1)
        return torch.acos(cosine.clamp(-1 + 1e-6, 1 - 1e-6) if guard else cosine.clamp(-1, 1)).mean()

    model = nn.Linear(3, 3)
    nn.init.eye_(model.weight)
    nn.init.zeros_(model.bias)
    inputs = torch.eye(3).repeat(40, 1)
    return train(model, torch.optim.SGD(model.parameters(), lr=0.01), batches(lambda g: (inputs, inputs)), loss)


faulty("angle between equal vectors", "nan", "acos (loss)", "clamp(-1 + 1e-6")(lambda: by_angle(False))


def by_hand(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy as in the book, of scores that become large."""
    return -torch.log(torch.softmax(300 * outputs, 1)[torch.arange(len(targets)), targets]).mean()


@faulty("logarithm of a softmax", "nan", "log", "log_softmax")
def _log_softmax() -> Found:
    model = mlp(10, 32, 3)()
    return train(model, adam(model, 2e-2), batches(table(flipped=0.2), epochs=20), by_hand)


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.kind, self.value = mlp(10, 32, last=nn.ReLU)(), nn.Linear(32, 3), nn.Linear(32, 1)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.trunk(inputs)
        return self.kind(hidden), self.value(hidden)


def two_tasks(value_loss: Any) -> Found:
    model = TwoHeads()
    optimizer = adam(model)
    with pellucid.watch(model) as watcher:
        for inputs, targets in batches(table()):
            optimizer.zero_grad()
            kind, value = model(inputs)
            (F.cross_entropy(kind, targets) + 0.1 * value_loss(value, inputs[:, :1])).backward()
            optimizer.step()
        return watcher.findings


healthy("two tasks")(lambda: two_tasks(F.mse_loss))
faulty("two tasks, a relative error with a divisor of 0", "nan", "div (loss)", "divisor")(
    lambda: two_tasks(lambda value, target: ((value - target) / (value * 0)).square().mean())
)


@healthy("a contrast of two views")
def _two_views() -> Found:
    model = mlp(10, 32, 8)()
    optimizer = adam(model)
    with pellucid.watch(model) as watcher:
        for inputs, _ in batches(table()):
            first, second = (F.normalize(model(inputs + 0.1 * torch.randn_like(inputs)), dim=1) for _ in range(2))
            optimizer.zero_grad()
            F.cross_entropy(first @ second.T / 0.2, torch.arange(len(inputs))).backward()
            optimizer.step()
        return watcher.findings


@healthy("triplets")
def _triplets() -> Found:
    model = mlp(10, 32, 8)()
    optimizer = adam(model)
    with pellucid.watch(model) as watcher:
        for inputs, _ in batches(table()):
            optimizer.zero_grad()
            near = model(inputs + 0.1 * torch.randn_like(inputs))
            F.triplet_margin_loss(model(inputs), near, model(inputs.roll(1, 0))).backward()
            optimizer.step()
        return watcher.findings


def rarely_zero() -> Found:
    """One row of one batch is 0."""
    model = nn.Sequential(nn.Linear(8, 32, bias=False), Root(), nn.Linear(32, 1))
    optimizer = adam(model)
    with pellucid.watch(model) as watcher:
        for number, (inputs, targets) in enumerate(batches(values())):
            if number == 21:
                inputs[3] = 0
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
        return watcher.findings


class Root(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return torch.sqrt(inputs.abs())


faulty("root of a row that is rarely 0", "nan", "sqrt (projects.py", "1e-8")(rarely_zero)


# -- loops ---------------------------------------------------------------------------------------------------------------------------


def in_parts(clears: bool) -> Found:
    """The gradients of four batches make an update."""
    model = mlp(10, 32, 3)()
    optimizer = adam(model)
    with pellucid.watch(model) as watcher:
        for number, (inputs, targets) in enumerate(batches(table(), 8, epochs=6)):
            (F.cross_entropy(model(inputs), targets) / 4).backward()
            if number % 4 == 3:
                optimizer.step()
                if clears:
                    optimizer.zero_grad()
        return watcher.findings


healthy("accumulated gradients")(lambda: in_parts(True))
faulty("accumulated gradients that are never cleared", "missing_zero_grad", "zero_grad", "zero_grad")(lambda: in_parts(False))


@healthy("a gradient scaler that begins too high")
def _scaled() -> Found:
    """Its first gradients are infinite; those steps are left out."""
    model = mlp(10, 32, 3)()
    optimizer, scaler = adam(model), torch.amp.GradScaler("cpu", init_scale=2.0**127)
    with pellucid.watch(model) as watcher:
        for inputs, targets in batches(table(), epochs=10):
            optimizer.zero_grad()
            scaler.scale(F.cross_entropy(model(inputs), targets)).backward()
            scaler.step(optimizer)
            scaler.update()
        return watcher.findings


@healthy("steps with gradients that are not finite are left out by hand")
def _left_out() -> Found:
    model = mlp(8, 32, 1)()
    optimizer = adam(model)
    with pellucid.watch(model) as watcher:
        for number, (inputs, targets) in enumerate(batches(values())):
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            if number == 20:
                for parameter in model.parameters():
                    parameter.grad = torch.full_like(parameter, math.nan)
            if math.isfinite(nn.utils.clip_grad_norm_(model.parameters(), 10.0)):
                optimizer.step()
        return watcher.findings


# -- size of the gradient ------------------------------------------------------------------------------------------------------------


def summed_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="sum")


@healthy("a summed loss with a rate that fits")
def _summed() -> Found:
    model = mlp(10, 32, 3)()
    return train(model, torch.optim.SGD(model.parameters(), lr=2e-3), batches(table()), summed_cross_entropy)


@healthy("targets in units of their own")
def _large_targets() -> Found:
    model = mlp(8, 32, 1)()

    def draw(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        inputs, targets = values()(generator)
        return inputs, 100 * targets

    return train(model, adam(model, 3e-2), batches(draw, epochs=15), F.mse_loss)


@healthy("inputs in units of their own")
def _large_inputs() -> Found:
    model = mlp(10, 32, 3)()

    def draw(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        inputs, targets = table()(generator)
        return 100 * inputs, targets

    return train(model, adam(model, 1e-3), batches(draw, epochs=15))


# -- size of the steps ---------------------------------------------------------------------------------------------------------------


class WithLoss(nn.Module):
    """Gives its loss beside its scores where it gets the labels, as models of Hugging Face do."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(40, 16)
        self.encoder = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True, activation="gelu")
        self.pooler, self.head = nn.Linear(16, 16), nn.Linear(16, 2)

    def forward(self, inputs: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        scores = self.head(torch.tanh(self.pooler(self.encoder(self.embedding(inputs))[:, 0])))
        return {"logits": scores} if labels is None else {"loss": F.cross_entropy(scores, labels), "logits": scores}


def with_own_loss(rate: float) -> Found:
    model = WithLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    with pellucid.watch(model) as watcher:
        for inputs, targets in batches(tokens(), epochs=10):
            optimizer.zero_grad()
            model(inputs, labels=targets)["loss"].backward()
            optimizer.step()
        return watcher.findings


def at_rate(network: Any, optimizer: Any, data: Any, loss: Any = F.cross_entropy) -> Callable[[float], Found]:
    def program(rate: float) -> Found:
        model = network()
        return train(model, optimizer(model.parameters(), lr=rate), batches(data, epochs=10), loss)

    return program


RATES: dict[str, tuple[Callable[[float], Found], float]] = {  # programs of a learning rate, and one that is too high
    "perceptron, SGD": (at_rate(mlp(10, 64, 64, 3), torch.optim.SGD, table()), 30.0),
    "perceptron, Adam": (at_rate(mlp(10, 64, 64, 3), torch.optim.Adam, table()), 3.0),
    "regression, SGD": (at_rate(mlp(8, 64, 64, 1), torch.optim.SGD, values(), F.mse_loss), 3.0),
    "images, SGD": (at_rate(cnn(), torch.optim.SGD, images()), 10.0),
    "transformer that gives its loss, Adam": (with_own_loss, 3.0),
}
