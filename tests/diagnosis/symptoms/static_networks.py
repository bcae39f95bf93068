"""What the static programs are made of: data, networks and losses, tiny and of all common kinds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.diagnosis.experiments.experiment import Experiment

N = 96


@dataclass(frozen=True, kw_only=True)
class Case:
    """A program in little: what an Experiment needs."""

    model: Callable[[], nn.Module]
    loss: Callable[[Any, Any], Any]
    data: Callable[[], tuple[Any, Any]]
    optimizer: Callable[[nn.Module], Any] = lambda model: torch.optim.Adam(model.parameters(), 1e-3)
    step: Any = None
    shuffle: bool = True
    where: str = ""  # of a faulty one: part of the finding's place

    def experiment(self) -> Experiment:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            data = self.data()
        return Experiment(
            model=self.model, loss=self.loss, optimizer=self.optimizer, train=data, batch_size=32, epochs=1, step=self.step,
            shuffle=self.shuffle,
        )  # fmt: skip


def sgd(rate: float, **options: Any) -> Callable[[nn.Module], Any]:
    return lambda model: torch.optim.SGD((p for p in model.parameters() if p.requires_grad), rate, **options)


def parts(model: Any, name: str) -> Any:
    """The parameters of one part of a network."""
    return getattr(model, name).parameters()


def in_evaluation(model: Any, optimizer: Any, loss: Any, batch: Any) -> Tensor:
    """A step in evaluation mode."""
    model.eval()
    optimizer.zero_grad()
    value = loss(model(batch[0]), batch[1])
    value.backward()
    optimizer.step()
    return value


# -- data ----------------------------------------------------------------------------------------------------------------------------------


def table(targets: Callable[[], Tensor], columns: int = 10) -> Callable[[], tuple[Tensor, Tensor]]:
    return lambda: (torch.randn(N, columns), targets())


def classes(k: int = 4) -> Tensor:
    return torch.arange(N) % k


def binary() -> Tensor:
    return (torch.arange(N) % 2).float()


def amounts(*shape: int) -> Tensor:
    return torch.randn(N, *shape) * 3


def multi_hot() -> Tensor:
    return (torch.rand(N, 5) > 0.6).float()


def images(targets: Callable[[], Tensor], channels: int = 1, size: int = 8) -> Callable[[], tuple[Tensor, Tensor]]:
    return lambda: (torch.randn(N, channels, size, size), targets())


def pictures(channels: int = 1) -> tuple[Tensor, Tensor]:
    """Pictures in [0, 1] that are to be reproduced."""
    x = torch.rand(N, channels, 8, 8)
    return x, x


def words(targets: Callable[[], Tensor], length: int = 6) -> Callable[[], tuple[Tensor, Tensor]]:
    return lambda: (torch.randint(0, 20, (N, length)), targets())


def series(targets: Callable[[], Tensor], length: int = 7) -> Callable[[], tuple[Tensor, Tensor]]:
    return lambda: (torch.randn(N, length, 5), targets())


# -- networks ------------------------------------------------------------------------------------------------------------------------------


def net(*layers: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """A factory of a sequence, from factories of its layers."""
    return lambda: nn.Sequential(*(layer() for layer in layers))


def linear(a: int, b: int, **options: Any) -> Callable[[], nn.Module]:
    return lambda: nn.Linear(a, b, **options)


def conv(a: int, b: int, k: int = 3, **options: Any) -> Callable[[], nn.Module]:
    return lambda: nn.Conv2d(a, b, k, **options)


def mlp(outputs: int, *end: Callable[[], nn.Module], act: Callable[[], nn.Module] = nn.ReLU, columns: int = 10) -> Callable[[], nn.Module]:
    return net(linear(columns, 24), act, linear(24, 16), act, linear(16, outputs), *end)


class Module(nn.Module):
    """Layers by name and a forward function."""

    def __init__(self, run: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, *inputs: Any) -> Any:
        return self.run(self, *inputs)


def module(run: Callable[..., Any], **layers: Callable[[], Any]) -> Callable[[], nn.Module]:
    return lambda: Module(run, **{name: layer() for name, layer in layers.items()})


def parameter(*shape: int, scale: float = 0.1) -> Callable[[], Any]:
    return lambda: nn.Parameter(scale * torch.randn(*shape))


class Block(nn.Module):
    """Two convolutions and the way round them."""

    def __init__(self, a: int, b: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b)
        self.conv2, self.norm2 = nn.Conv2d(b, b, 3, 1, 1, bias=False), nn.BatchNorm2d(b)
        self.shortcut = nn.Sequential(nn.Conv2d(a, b, 1, stride, bias=False), nn.BatchNorm2d(b)) if a != b else nn.Identity()
        nn.init.zeros_(self.norm2.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class PreActivation(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(width), nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(F.relu(self.norm(x)))


def unet(model: Any, x: Tensor) -> Tensor:
    a = F.relu(model.down1(x))
    b = F.relu(model.down2(F.max_pool2d(a, 2)))
    up = model.up(b)
    return model.out(F.relu(model.join(torch.cat([up, a], 1))))


class SelfAttention(nn.Module):
    """Attention written out, with the mask of a language model."""

    def __init__(self, width: int, heads: int = 2, causal: bool = True) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, t, d = x.shape
        q, k, v = (part.view(n, t, self.heads, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        scores = q @ k.transpose(-2, -1) / math.sqrt(d / self.heads)
        if self.causal:
            scores = scores.masked_fill(torch.ones(t, t, dtype=torch.bool).triu(1), -math.inf)
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, t, d))


class Decoder(nn.Module):
    """A small language model with tied weights."""

    def __init__(self, vocabulary: int = 20, width: int = 16) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(vocabulary, width), nn.Parameter(torch.zeros(6, width))
        self.attend, self.norm1, self.norm2 = SelfAttention(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.feed = nn.Sequential(nn.Linear(width, 32), nn.GELU(), nn.Linear(32, width))
        self.head = nn.Linear(width, vocabulary, bias=False)
        nn.init.normal_(self.embed.weight, std=0.02)
        self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens) + self.place
        x = x + self.attend(self.norm1(x))
        x = x + self.feed(self.norm2(x))
        return self.head(x)


class ViT(nn.Module):
    """Patches, a class token, torch's encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.token = nn.Conv2d(1, 16, 4, 4), nn.Parameter(torch.zeros(1, 1, 16))
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True, norm_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
        return self.head(self.encoder(x)[:, 0])


class VAE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.mean, self.spread = nn.Linear(64, 32), nn.Linear(32, 4), nn.Linear(32, 4)
        self.back, self.out = nn.Linear(4, 32), nn.Linear(32, 64)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = F.relu(self.body(x.flatten(1)))
        mean, spread = self.mean(h), self.spread(h)
        z = mean + torch.exp(0.5 * spread) * torch.randn_like(spread)
        return torch.sigmoid(self.out(F.relu(self.back(z)))), mean, spread


class VectorQuantised(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encode, self.decode = (
            nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 4)),
            nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 10)),
        )
        self.book = nn.Embedding(8, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.encode(x)
        nearest = self.book(torch.cdist(z, self.book.weight).argmin(1))
        extra = F.mse_loss(nearest, z.detach()) + 0.25 * F.mse_loss(z, nearest.detach())
        return self.decode(z + (nearest - z).detach()), extra


class HandMadeRecurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.into, self.on, self.out = nn.Linear(5, 12), nn.Linear(12, 12), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(len(x), 12)
        for t in range(x.shape[1]):
            h = torch.tanh(self.into(x[:, t]) + self.on(h))
        return self.out(h)


class HandMadeGates(nn.Module):
    """An LSTM cell written out."""

    def __init__(self) -> None:
        super().__init__()
        self.gates, self.out = nn.Linear(5 + 8, 32), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h, c = torch.zeros(len(x), 8), torch.zeros(len(x), 8)
        for t in range(x.shape[1]):
            i, f, g, o = self.gates(torch.cat([x[:, t], h], 1)).chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        return self.out(h)


class Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(10, 3)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(10, 12), nn.ReLU(), nn.Linear(12, 4)) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        shares = self.gate(x).softmax(-1)
        return torch.stack([shares[:, i : i + 1] * expert(x) for i, expert in enumerate(self.experts)]).sum(0)


class TopExpert(Experts):
    def forward(self, x: Tensor) -> Tensor:
        weight, chosen = self.gate(x).softmax(-1).topk(1)
        answers = torch.stack([expert(x) for expert in self.experts], 1)
        return weight * answers[torch.arange(len(x)), chosen[:, 0]]


class SqueezeExcite(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.squeeze, self.excite = nn.Linear(width, width // 4), nn.Linear(width // 4, width)

    def forward(self, x: Tensor) -> Tensor:
        s = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3))))))
        return x * s[:, :, None, None]


class Cosine(nn.Module):
    """A head of cosines with a temperature that is learnt."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.weight, self.scale = (
            nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 8)),
            nn.Parameter(torch.randn(4, 8)),
            nn.Parameter(torch.tensor(10.0)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * F.linear(F.normalize(self.body(x)), F.normalize(self.weight))


class LowRank(nn.Module):
    """A frozen layer that was loaded, with a trained correction of rank 2 that starts at zero."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.base, self.head = nn.Linear(10, 16), nn.Linear(16, 4)
        self.base.weight.data.copy_(torch.randn(16, 10, generator=generator) / 3)
        self.base.requires_grad_(False)
        self.a, self.b = nn.Linear(10, 2, bias=False), nn.Linear(2, 16, bias=False)
        nn.init.zeros_(self.b.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.base(x) + self.b(self.a(x))))


class Backbone(nn.Module):
    """A backbone whose weights were loaded, run without gradients, and a new head."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.body, self.head = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU()), nn.Linear(16, 4)
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for p in self.body.parameters():
                p.copy_(torch.randn(p.shape, generator=generator) / 4)
        if how == "frozen":
            self.body.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "no_grad":
            with torch.no_grad():
                features = self.body(x)
        else:
            features = self.body(x)
        return self.head(features)


class Teacher(nn.Module):
    """A student and the slowly moving copy of itself that it is to agree with."""

    def __init__(self) -> None:
        super().__init__()
        self.student, self.teacher = (nn.Sequential(nn.Linear(10, 12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU()) for _ in range(2))
        self.predict = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
        self.teacher.load_state_dict(self.student.state_dict())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            wanted = self.teacher(x + 0.1 * torch.randn_like(x))
        return self.predict(self.student(x)), wanted


class Siren(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.out = nn.Linear(2, 24), nn.Linear(24, 24), nn.Linear(24, 1)
        nn.init.uniform_(self.first.weight, -0.5, 0.5)
        nn.init.uniform_(self.second.weight, -math.sqrt(6 / 24) / 30, math.sqrt(6 / 24) / 30)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.sin(30 * self.second(torch.sin(30 * self.first(x)))))


def prototypes(model: Any, x: Tensor) -> Tensor:
    return -(torch.cdist(model.body(x), model.centres) ** 2)


def on_embeddings(*layers: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return net(lambda: nn.Embedding(20, 8), *layers)


def tagger(model: Any, tokens: Tensor) -> Tensor:
    return model.out(model.read(model.embed(tokens))[0]).transpose(1, 2)


class LearntQueries(nn.Module):
    """Attention of a few learnt queries over a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.queries, self.keys, self.values = nn.Parameter(torch.randn(4, 12)), nn.Linear(5, 12), nn.Linear(5, 12)
        self.out = nn.Linear(48, 3)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.queries @ self.keys(x).transpose(1, 2) / math.sqrt(12)
        return self.out((torch.softmax(scores, -1) @ self.values(x)).flatten(1))


class Coupling(nn.Module):
    """A normalising flow of three couplings."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 10)) for _ in range(3))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        volume = torch.zeros(len(x))
        for part in self.parts:
            a, b = x.chunk(2, 1)
            scale, shift = part(a).chunk(2, 1)
            x = torch.cat([b * torch.tanh(scale).exp() + shift, a], 1)
            volume = volume + torch.tanh(scale).sum(1)
        return x, volume
