"""Networks on which explanations elsewhere have gone wrong without a word, small enough to be explained in every test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ReusedReLU(nn.Module):
    """One activation module called three times, once in place, with a functional one between."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(5, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.first(x))
        return self.last(self.relu(F.relu(self.second(x)) - 0.1))


class Residual(nn.Module):
    """Convolutions, batch norm, a sum around them, pooling; functional except for the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.conv = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.norm, self.leave = nn.BatchNorm2d(6), nn.Linear(6 * 16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.enter(x)), 2)
        x = F.relu(x + self.norm(self.conv(x)))
        return F.softmax(self.leave(x.flatten(1)), dim=1)


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.cell, self.leave = kind(3, 6, batch_first=True), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(self.cell(x)[0][:, -1])


class Words(nn.Module):
    """Tokens through an embedding with padding and an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.cell, self.leave = nn.Embedding(30, 6, padding_idx=0), nn.LSTM(6, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.leave(self.cell(self.embed(tokens))[0][:, -1])


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(30, 8), nn.Embedding(16, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.encoder, self.leave = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(8, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        places = self.place(torch.arange(tokens.shape[1]))
        return self.leave(self.encoder(self.embed(tokens) + places).mean(1))


class Categories(nn.Module):
    """Each column of an integer table has an embedding of its own; numbers come beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.embeds = nn.ModuleList([nn.Embedding(7, size) for size in (2, 3, 4)])
        self.leave = nn.Sequential(nn.Linear(9 + 4, 8), nn.Tanh(), nn.Linear(8, 2))

    def forward(self, numbers: Tensor, categories: Tensor) -> Tensor:
        parts = [embed(categories[:, column]) for column, embed in enumerate(self.embeds)]
        return self.leave(torch.cat([numbers, *parts], dim=1))


class Bag(nn.Module):
    def __init__(self, mode: str) -> None:
        super().__init__()
        self.bag, self.leave = nn.EmbeddingBag(30, 6, mode=mode, padding_idx=0), nn.Linear(6, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.leave(torch.tanh(self.bag(tokens)))


class OneHot(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.leave = nn.Sequential(nn.Linear(30, 6), nn.Sigmoid(), nn.Linear(6, 2))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.leave(F.one_hot(tokens, 30).to(self.leave[0].weight).mean(1))


class DropoutLeftOn(nn.Module):
    """F.dropout drops in evaluation mode too unless it is told not to."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.dropout(F.relu(self.first(x)), 0.3))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.last = nn.Linear(4, 6), nn.Conv2d(1, 2, 3), nn.Linear(6 + 8, 3)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.last(torch.cat([torch.tanh(self.left(left)), F.relu(self.right(right)).flatten(1)], 1))


class Named(nn.Module):
    """Keyword inputs, a mask among them, and a dict of outputs, as transformers' models have."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.leave = nn.Embedding(30, 6), nn.Linear(6, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Any]:
        mask = attention_mask[..., None].float()
        state = torch.tanh(self.embed(input_ids)) * mask
        return {"hidden": state, "logits": self.leave(state.sum(1) / mask.sum(1))}


class Written(nn.Module):
    """Writes into its own input, counts its calls in a buffer, and keeps its last activation."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(5, 3)
        self.register_buffer("calls", torch.zeros(()))
        self.seen: Any = None

    def forward(self, x: Tensor) -> Tensor:
        x.mul_(2.0)
        self.calls += 1
        self.seen = torch.sigmoid(x)
        return self.last(self.seen)


class Rounded(nn.Module):
    """Not differentiable."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last((x.detach() > 0).float())


def tabular(n: int = 4, columns: int = 5) -> Tensor:
    return torch.randn(n, columns, generator=torch.Generator().manual_seed(1))


def image(n: int = 3) -> Tensor:
    return torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(2))


def series(n: int = 3) -> Tensor:
    return torch.randn(n, 7, 3, generator=torch.Generator().manual_seed(3))


def tokens(n: int = 3, length: int = 6) -> Tensor:
    return torch.randint(1, 30, (n, length), generator=torch.Generator().manual_seed(4))


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    """The same weights in every test, running statistics that are not their start, and evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = make()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2.0)
    return model.eval()


# name -> network and inputs; every one of them is explained by every method that can be applied
NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Any]]] = {
    "reused ReLU": (ReusedReLU, tabular),
    "residual sum, batch norm, softmax": (Residual, image),
    "LSTM": (lambda: Recurrent(nn.LSTM), series),
    "GRU": (lambda: Recurrent(nn.GRU), series),
    "tokens": (Words, tokens),
    "transformer": (Transformer, tokens),
    "numbers and categories": (Categories, lambda: (tabular(3, 4), tokens(3, 3) % 7)),
    "bag of words, mean": (lambda: Bag("mean"), lambda: tokens() * (torch.arange(6) < 4)),
    "bag of words, sum": (lambda: Bag("sum"), tokens),
    "bag of words, max": (lambda: Bag("max"), tokens),
    "one-hot codes": (OneHot, tokens),
    "dropout left on": (DropoutLeftOn, tabular),
    "two inputs": (TwoInputs, lambda: (tabular(3, 4), image()[:, :1, :4, :4])),
    "keyword inputs, dict of outputs": (Named, lambda: {"input_ids": tokens(), "attention_mask": torch.ones(3, 6, dtype=torch.long)}),
    "writes into its input": (Written, tabular),
    "regression (N, 1)": (lambda: nn.Sequential(nn.Linear(5, 6), nn.SiLU(), nn.Linear(6, 1)), tabular),
    "regression (N,)": (lambda: nn.Sequential(nn.Linear(5, 6), nn.GELU(), nn.Linear(6, 1), nn.Flatten(0)), tabular),
    "float64": (lambda: nn.Sequential(nn.Linear(5, 6), nn.ELU(), nn.Linear(6, 3)).double(), lambda: tabular().double()),
    "weights without gradient": (lambda: ReusedReLU().requires_grad_(False), tabular),
}
