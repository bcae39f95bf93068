"""What PyTorch has functions for, written out by hand: wrongly, each with a right twin."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diagnosis.symptoms.static_networks import (
    Case,
    N,
    amounts,
    classes,
    conv,
    images,
    linear,
    mlp,
    module,
    net,
    parameter,
    series,
    sgd,
    table,
)


def attended(axis: int) -> Any:
    """Attention by einsum, whose weights sum to 1 along an axis of (samples, queries, keys)."""

    def forward(m: Any, x: Tensor) -> Tensor:
        weights = torch.einsum("nqd,nkd->nqk", m.query(x), m.key(x)).softmax(axis)
        return m.out(torch.einsum("nqk,nkd->nqd", weights, m.value(x)).mean(1))

    return module(forward, query=linear(5, 8), key=linear(5, 8), value=linear(5, 8), out=linear(8, 3))


def logistics(depth: int) -> Any:
    """A chain of 1 / (1 + exp(-x))."""

    def forward(m: Any, x: Tensor) -> Tensor:
        for layer in m.body:
            x = 1 / (1 + torch.exp(-layer(x)))
        return m.out(x)

    return module(
        forward, body=lambda: nn.ModuleList(nn.Linear(a, 24) for a in [10] + [24] * (depth - 1)), out=linear(24, 4)
    )  # fmt: skip


def gated(m: Any, x: Tensor) -> Tensor:
    """By hand, but as gates: SiLU."""
    for layer in m.body:
        x = layer(x)
        x = x * (1 / (1 + torch.exp(-x)))
    return m.out(x)


def alike(kind: Any) -> Any:
    """A recurrent network whose weights all start at one value."""

    def make() -> nn.Module:
        model = module(lambda m, x: m.out(m.read(x)[0][:, -1]), read=lambda: kind(5, 8, batch_first=True), out=linear(8, 3))()
        for weight in model.parameters():
            nn.init.constant_(weight, 0.1)
        return model

    return make


def shares(scores: Tensor) -> Tensor:
    raised = (scores - scores.amax(1, keepdim=True)).exp()
    return raised / raised.sum(1, keepdim=True)


def among_others(outputs: Tensor, targets: Tensor) -> Tensor:
    """The supervised contrastive loss (P. Khosla et al., 2020)."""
    rows = F.normalize(outputs, dim=1)
    alone = torch.eye(len(rows), dtype=torch.bool)
    likelihood = F.log_softmax((rows @ rows.t() / 0.2).masked_fill(alone, -1e9), 1)
    same = (targets[:, None] == targets[None]) & ~alone
    return -(likelihood * same).sum() / same.sum().clamp(min=1)


FAULTY_BY_HAND: dict[str, dict[str, Case]] = {
    "wrong_output_activation": {
        "scores cut at 0 by clamp": Case(
            model=module(lambda m, x: m.b(m.a(x).tanh()).clamp(min=0), a=linear(10, 16), b=linear(16, 4)),
            loss=F.cross_entropy, data=table(classes), where="static_by_hand.py",
        ),
    },
    "double_softmax": {
        "a softmax by hand": Case(
            model=module(lambda m, x: shares(m.body(x)), body=mlp(4)), loss=nn.CrossEntropyLoss(), data=table(classes),
            where="static_by_hand.py",
        ),
    },
    "softmax_wrong_axis": {
        "attention by einsum": Case(
            model=attended(1), loss=F.cross_entropy, data=series(lambda: classes(3)), where="static_by_hand.py"
        ),
    },
    "saturating_activation": {
        "sigmoids by hand": Case(model=logistics(6), loss=F.cross_entropy, data=table(classes), where="static_by_hand.py"),
    },
    "flipped_gradient": {
        "the likelihood's logarithm": Case(
            model=mlp(4), loss=lambda o, t: o.log_softmax(1).gather(1, t[:, None]).mean(), data=table(classes), where="static_by_hand.py"
        ),
        "minus the cross-entropy": Case(
            model=mlp(4), loss=lambda o, t: -F.cross_entropy(o, t), data=table(classes), where="static_by_hand.py"
        ),
        "minus the squares": Case(
            model=mlp(1), loss=lambda o, t: -((o.squeeze(1) - t) ** 2).mean(), data=table(amounts), where="static_by_hand.py"
        ),
        "one-hot rows times logarithms": Case(
            model=mlp(4), loss=lambda o, t: (F.one_hot(t, 4) * F.log_softmax(o, 1)).sum(1).mean(), data=table(classes),
            where="static_by_hand.py",
        ),
    },
    "bad_init": {
        "an LSTM of equal units": Case(model=alike(nn.LSTM), loss=F.cross_entropy, data=series(lambda: classes(3)), where="read"),
        "a GRU of equal units": Case(model=alike(nn.GRU), loss=F.cross_entropy, data=series(lambda: classes(3)), where="read"),
    },
}  # fmt: skip
HEALTHY_BY_HAND: dict[str, Case] = {
    "hidden values cut at 0 by clamp": Case(
        model=module(lambda m, x: m.b(m.a(x).clamp(min=0)), a=linear(10, 16), b=linear(16, 4)), loss=F.cross_entropy, data=table(classes)
    ),
    "a softmax by hand, and its logarithm": Case(
        model=module(lambda m, x: shares(m.body(x)), body=mlp(4)), loss=lambda o, t: F.nll_loss(o.clamp(min=1e-7).log(), t),
        data=table(classes),
    ),
    "attention by einsum": Case(model=attended(2), loss=F.cross_entropy, data=series(lambda: classes(3))),
    "gates by hand": Case(
        model=module(gated, body=lambda: nn.ModuleList(nn.Linear(a, 24) for a in (10, 24, 24)), out=linear(24, 4)),
        loss=F.cross_entropy, data=table(classes),
    ),
    "rows of a table, mixed by shares": Case(
        model=module(lambda m, x: m.out(F.gumbel_softmax(m.choose(x)) @ m.rows), choose=linear(10, 8), rows=parameter(8, 12),
                     out=linear(12, 4)),
        loss=F.cross_entropy, data=table(classes),
    ),
    "sparse gradients": Case(
        model=module(lambda m, x: m.out(m.rows(x)), rows=lambda: nn.EmbeddingBag(30, 8, sparse=True), out=linear(8, 3)),
        loss=F.cross_entropy, data=lambda: (torch.randint(0, 30, (N, 6)), classes(3)), optimizer=sgd(0.1),
    ),
    "each sample among all others": Case(model=mlp(8), loss=among_others, data=table(classes)),
    "a sum over the entries of a sample": Case(
        model=mlp(40), loss=lambda o, t: F.binary_cross_entropy_with_logits(o, t, reduction="sum") / len(t),
        data=table(lambda: (torch.arange(N * 40).reshape(N, 40) % 3 > 0).float()),
    ),
    "minus the logarithm of the likelihood": Case(
        model=mlp(4), loss=lambda o, t: -o.log_softmax(1).gather(1, t[:, None]).mean(), data=table(classes)
    ),
    "minus the similarity": Case(
        model=mlp(4), loss=lambda o, t: -F.cosine_similarity(o, t).mean(), data=table(lambda: torch.randn(N, 4))
    ),
    "a policy's gain": Case(
        model=mlp(4), loss=lambda o, t: -(o.log_softmax(1).gather(1, t[:, :1].long())[:, 0] * t[:, 1]).mean(),
        data=table(lambda: torch.stack([classes().float(), torch.randn(N)], 1)),
    ),
    "a game: logarithms of what meets no target": Case(
        model=mlp(1), loss=lambda o, t: (1 - o.sigmoid() + 1e-6).log().mean(), data=table(classes)
    ),
    "two numbers for three classes": Case(
        model=net(conv(1, 2), nn.ReLU, lambda: nn.AdaptiveMaxPool2d(1), nn.Flatten, linear(2, 3)), loss=F.cross_entropy,
        data=images(lambda: classes(3)),
    ),
}  # fmt: skip
