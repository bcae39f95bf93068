"""Small networks, one for each way in which a program can hide an operation from someone who looks at modules only."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Network(nn.Module):
    """Linear layers `a` (4 to 4) and `b` (4 to 3) for the subclasses below to use."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 3)


class Reused(Network):
    def __init__(self) -> None:
        super().__init__()
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.activation(self.a(self.activation(self.a(x)))))


class Residual(Network):
    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.a(x))
        return self.b(x + h + torch.relu(h) * 2 - 1)


class InPlace(Network):
    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x).relu_()
        h = h + 0
        h += 1
        h.add_(x)
        h = F.elu(h, inplace=True)
        return self.b(h)


class WriteThroughView(Network):
    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        column = h[:, 0]
        column.mul_(2)  # h changes too
        h[:, 1] = column + 1
        row = h.view(-1)[:4]
        h.add_(1)  # row changes too
        return self.b(h) + row.sum()


class WriteBaseAfterView(Network):
    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        view = h.t()
        h.sigmoid_()
        return self.b(view.t()) * view.sum()


class WriteToInput(Network):
    def forward(self, x: Tensor) -> Tensor:
        x.mul_(2)
        x[:, 0] = 1
        return self.b(x)


class MaskedWrites(Network):
    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        h[h < 0] = 0
        h = h.masked_fill(h > 1, 1.0)
        h.index_fill_(1, torch.tensor([1]), 0.5)
        h = h.scatter_add(1, torch.zeros(3, 1, dtype=torch.long), h[:, :1])
        return self.b(h)


class SeveralInputs(Network):
    def forward(self, x: Tensor, options: dict, scale: float, *, bias: Tensor | None = None) -> tuple[Tensor, dict[str, list[Tensor]]]:
        h = self.a(x + options["shift"][0]) * scale
        if bias is not None:
            h = h + bias
        return self.b(h), {"hidden": [h, h.mean()]}


class Tied(Network):
    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Linear(4, 4)
        self.c.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.c(self.a(x))) + F.linear(x, self.a.weight).sum()


class Convolutional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.deep = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(4, 8, 3, padding=1, groups=2), nn.GroupNorm(2, 8), nn.GELU())
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.dropout, self.head = nn.Dropout2d(0.5), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        shallow = self.down(x)
        deep = F.interpolate(self.up(self.deep(shallow)), size=shallow.shape[2:], mode="bilinear", align_corners=False)
        joined = torch.cat([shallow, deep], dim=1)
        return self.head(self.dropout(joined)).mean((2, 3))


class Dropouts(Network):
    def forward(self, x: Tensor) -> Tensor:
        h = F.dropout(self.a(x), 0.5, self.training)
        h = F.alpha_dropout(h, 0.3, self.training)
        h = F.rrelu(h, training=self.training)
        h = F.dropout(h, 0.2, self.training, inplace=True)
        return self.b(h)


class Noise(Network):
    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x + 0.1 * torch.randn_like(x)) * torch.rand(4)
        h = h + torch.empty(4).uniform_(0, 1) + torch.bernoulli(torch.full((4,), 0.5)) + torch.normal(torch.zeros(4), torch.ones(4))
        h = h[torch.randperm(len(h))]
        return self.b(h * torch.randint(1, 3, (4,)) + F.gumbel_softmax(h, hard=True))


class Recurrent(nn.Module):
    def __init__(self, kind: str, layers: int = 2, **options: object) -> None:
        super().__init__()
        self.recurrent = getattr(nn, kind)(4, 5, layers, batch_first=True, dropout=0.4, **options)
        self.head = nn.LazyLinear(3)
        self.head(self.recurrent(torch.zeros(1, 2, 4))[0])

    def forward(self, x: Tensor) -> Tensor:
        hidden, _ = self.recurrent(x)
        return self.head(hidden[:, -1])


class Packed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.recurrent, self.head = nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([5, 3, 2]), batch_first=True)
        hidden, _ = nn.utils.rnn.pad_packed_sequence(self.recurrent(packed)[0], batch_first=True)
        return self.head(hidden.sum(1))


class Cells(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.gate, self.head = nn.LSTMCell(4, 5), nn.GRUCell(5, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        state, h = None, torch.zeros(len(x), 5)
        for step in x.unbind(1):
            state = self.cell(step, state)
            h = self.gate(state[0], h)
        return self.head(h)


class Attention(nn.Module):
    def __init__(self, dropout: float = 0.3) -> None:
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(4, 2, dropout, batch_first=True), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h, weights = self.attention(x, x, x)
        return self.head(h[:, 0] + F.scaled_dot_product_attention(x, x, x, is_causal=True).mean(1)) + weights.mean()


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.3, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.embedding, self.head = nn.Embedding(7, 4), nn.Linear(4, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.encoder(self.embedding(tokens)).mean(1))


class Indexing(Network):
    def forward(self, x: Tensor) -> Tensor:
        h = torch.einsum("ni,ij->nj", x, self.a.weight)
        order = h.argsort(dim=1, descending=True)
        h = h.gather(1, order) + torch.where(x > 0, x, -x)
        top, where = h.topk(2, dim=1)
        return self.b(h[..., [2, 0, 1, 3]] @ h.mT @ h) + top.sum() + where.float().mean() + h[0, None, 1:].sum() + h.amax(1, keepdim=True)


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.relu().square() + torch.rand(())

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * 3 * x


square = Square.apply  # kept at import, as many programs do


class CustomGradient(Network):
    def forward(self, x: Tensor) -> Tensor:
        return self.b(Square.apply(self.a(x)) + square(x))


class Checkpointed(Network):
    def __init__(self, use_reentrant: bool) -> None:
        super().__init__()
        self.use_reentrant = use_reentrant

    def inner(self, x: Tensor) -> Tensor:
        return F.dropout(self.a(x).tanh(), 0.5, self.training)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(checkpoint(self.inner, x + self.a.bias, use_reentrant=self.use_reentrant))


class DeviceBlock(Network):
    def forward(self, x: Tensor) -> Tensor:
        with torch.device("cpu"):
            h = self.a(x) + torch.ones(4)
        return self.b(h + torch.arange(4))


class NoGradient(Network):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            scale = self.a(x).abs().mean() + 1
        with torch.inference_mode():
            shift = x.mean() * 2
        h = self.a(x) / scale + shift.item()
        return self.b(h - h.detach().mean() + h.data[0])


class Transformed(Network):
    def forward(self, x: Tensor) -> Tensor:
        h = torch.vmap(lambda row: (row.sin() * 2).cumsum(0))(self.a(x))
        slope = torch.func.grad(lambda t: (t.tanh() ** 2).sum())(h)
        return self.b(slope + h)


class FunctionalCall(Network):
    def forward(self, x: Tensor) -> Tensor:
        doubled = {name: value * 2 for name, value in self.a.named_parameters()}
        return self.b(torch.func.functional_call(self.a, doubled, (x,)))


def _wave(x: Tensor) -> Tensor:
    return torch.sin(x) * 2 + x


with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript is deprecated, and still met
    scripted = torch.jit.script(_wave)


class Scripted(Network):
    def forward(self, x: Tensor) -> Tensor:
        return self.b(scripted(self.a(x)).relu())


class InnerGradient(Network):
    def forward(self, x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        energy = self.a(x).square().sum()
        (slope,) = torch.autograd.grad(energy, x, create_graph=True)
        return self.b(slope)


class WeightNormalised(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
        self.b = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x))


class Autocast(Network):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            h = self.a(x).relu()
        return self.b(h.float())


class Attribute(Network):
    def __init__(self) -> None:
        super().__init__()
        self.mask = torch.tensor([1.0, 0.0, 1.0, 1.0])
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        self.count = self.count + 1
        self.mask.mul_(2)
        return self.b(self.a(x) * self.mask + self.count)


class Complex(Network):
    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(self.a(x))
        return self.b(torch.fft.irfft(spectrum.conj() * spectrum, n=4) + spectrum.real.sum() + torch.linalg.norm(spectrum).real)


class Shared(nn.Module):
    """One block under two parents."""

    def __init__(self) -> None:
        super().__init__()
        block = nn.Linear(4, 4)
        self.left, self.right = nn.Sequential(block, nn.ReLU()), nn.Sequential(nn.Tanh(), block)

    def forward(self, x: Tensor) -> Tensor:
        return self.right(self.left(x))


@dataclass
class Answer:
    logits: Tensor
    hidden: tuple[Tensor, ...]


class DataclassOutput(Network):
    def forward(self, x: Tensor) -> Answer:
        h = self.a(x)
        return Answer(self.b(h), (h,))


class OrderedOutput(Network):
    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        return OrderedDict(logits=self.b(x), last=x)
