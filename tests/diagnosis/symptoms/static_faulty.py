"""Programs with one static fault each, in different styles (layers, functions, losses by hand; tables, images, sequences).

cause -> name -> program. The healthy twins stand in `static_healthy`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diagnosis.symptoms.static_networks import (
    Case,
    N,
    SelfAttention,
    amounts,
    binary,
    classes,
    conv,
    images,
    in_evaluation,
    linear,
    mlp,
    module,
    multi_hot,
    net,
    on_embeddings,
    parameter,
    pictures,
    series,
    sgd,
    table,
    words,
)


def started(factory: Any, how: Any) -> Any:
    """A network whose matrices and kernels start otherwise."""

    def build() -> nn.Module:
        model = factory()
        for p in model.parameters():
            if p.dim() > 1:
                how(p)
        return model

    return build


def frozen(factory: Any, *names: str) -> Any:
    def build() -> nn.Module:
        model = factory()
        for name, p in model.named_parameters():
            if not names or any(name.startswith(one) for one in names):
                p.requires_grad_(False)
        return model

    return build


class WrongAttention(SelfAttention):
    """The weights sum to 1 over the queries."""

    def forward(self, x: Tensor) -> Tensor:
        n, t, _ = x.shape
        q, k, v = (part.view(n, t, self.heads, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        return self.out((torch.softmax(q @ k.transpose(-2, -1), -2) @ v).transpose(1, 2).reshape(n, t, -1))


class NameReader(nn.Module):
    """The recurrent network of a well-known tutorial before its correction: the state passes through linear layers only."""

    def __init__(self) -> None:
        super().__init__()
        self.on, self.out = nn.Linear(5 + 12, 12), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(len(x), 12)
        for t in range(x.shape[1]):
            h = self.on(torch.cat([x[:, t], h], 1))
        return F.log_softmax(self.out(h), 1)


def likelihood(outputs: Tensor, targets: Tensor) -> Tensor:
    return -(targets * torch.log(outputs[:, 0]) + (1 - targets) * torch.log(1 - outputs[:, 0])).mean()


def large(p: Tensor) -> None:
    nn.init.normal_(p, std=2.0)


def sigmoids(depth: int, act: Any = nn.Sigmoid) -> Any:
    return net(linear(10, 24), act, *(m for _ in range(depth - 1) for m in (linear(24, 24), act)), linear(24, 4))


FAULTY: dict[str, dict[str, Case]] = {
    "wrong_output_activation": {
        "ReLU onto values of both signs": Case(
            model=mlp(1, nn.ReLU), loss=lambda o, t: F.mse_loss(o.squeeze(1), t), data=table(amounts), where="5"
        ),
        "sigmoid onto unbounded values, by function": Case(
            model=module(lambda m, x: torch.sigmoid(m.b(F.relu(m.a(x)))).squeeze(1), a=linear(10, 16), b=linear(16, 1)),
            loss=lambda o, t: ((o - t) ** 2).mean(), data=table(amounts), where="static_faulty.py",
        ),
        "softmax onto one value": Case(
            model=mlp(1, lambda: nn.Softmax(-1)), loss=lambda o, t: F.l1_loss(o.squeeze(1), t), data=table(amounts), where="5"
        ),
        "softmax on one unit": Case(
            model=mlp(1, lambda: nn.Softmax(1)), loss=lambda o, t: F.binary_cross_entropy(o, t[:, None]), data=table(binary), where="5"
        ),
        "sigmoid for exclusive classes": Case(
            model=net(conv(1, 6), nn.ReLU, nn.Flatten, linear(216, 4), nn.Sigmoid), loss=F.cross_entropy, data=images(classes), where="4"
        ),
        "tanh before cross-entropy": Case(
            model=module(lambda m, x: torch.tanh(m.out(m.read(x)[0][:, -1])), read=lambda: nn.GRU(5, 8, batch_first=True),
            out=linear(8, 6)),
            loss=F.cross_entropy, data=series(lambda: classes(6)), where="static_faulty.py",
        ),
        "ReLU before cross-entropy": Case(model=mlp(4, nn.ReLU), loss=nn.CrossEntropyLoss(), data=table(classes), where="5"),
        "sigmoid twice": Case(
            model=mlp(1, nn.Sigmoid), loss=lambda o, t: F.binary_cross_entropy_with_logits(o.squeeze(1), t), data=table(binary), where="5"
        ),
        "ReLU before a binary loss": Case(model=mlp(5, nn.ReLU), loss=nn.BCEWithLogitsLoss(), data=table(multi_hot), where="5"),
        "softmax into nll": Case(model=mlp(4, lambda: nn.Softmax(1)), loss=nn.NLLLoss(), data=table(classes), where="5"),
        "softmax for several labels": Case(model=mlp(5, lambda: nn.Softmax(1)), loss=nn.BCELoss(), data=table(multi_hot), where="5"),
        "own sigmoids for exclusive classes": Case(
            model=mlp(4, nn.LogSigmoid), loss=nn.NLLLoss(), data=table(classes), where="5"
        ),
        "tanh onto pictures that are standardised": Case(
            model=net(conv(1, 6, padding=1), nn.ReLU, conv(6, 1, padding=1), nn.Tanh), loss=nn.MSELoss(),
            data=lambda: (x := 2 * torch.randn(N, 1, 8, 8), x), where="3",
        ),
    },
    "missing_output_activation": {
        "raw scores into nll": Case(model=mlp(4), loss=F.nll_loss, data=table(classes), where="4"),
        "raw scores of pictures into nll": Case(
            model=net(conv(1, 6), nn.ReLU, conv(6, 3, 1)), loss=nn.NLLLoss(), data=images(lambda: torch.randint(0, 3, (N, 6, 6))), where="2"
        ),
        "own logarithm of raw scores": Case(
            model=mlp(1), loss=lambda o, t: -(t * torch.log(o[:, 0]) + (1 - t) * torch.log(1 - o[:, 0])).mean(), data=table(binary),
            where="4"
        ),
        "divergence of raw scores": Case(
            model=mlp(4), loss=lambda o, t: F.kl_div(o, t, reduction="batchmean"),
            data=table(lambda: torch.softmax(torch.randn(N, 4), 1)), where="4",
        ),
        "log of chosen raw scores": Case(
            model=module(lambda m, x: m.out(m.read(x)[0][:, -1]), read=lambda: nn.LSTM(5, 8, batch_first=True), out=linear(8, 3)),
            loss=lambda o, t: -torch.log(o.gather(1, t[:, None])).mean(), data=series(lambda: classes(3)), where="out",
        ),
        "rates below zero": Case(
            model=mlp(1), loss=lambda o, t: F.poisson_nll_loss(o.squeeze(1), t, log_input=False),
            data=table(lambda: torch.poisson(torch.full((N,), 3.0))), where="4",
        ),
    },
    "double_softmax": {
        "module": Case(model=mlp(4, lambda: nn.Softmax(1)), loss=nn.CrossEntropyLoss(), data=table(classes), where="5"),
        "function, pictures": Case(
            model=module(lambda m, x: F.softmax(m.out(F.relu(m.body(x)).flatten(1)), dim=1), body=conv(1, 6), out=linear(216, 10)),
            loss=F.cross_entropy, data=images(lambda: classes(10)), where="static_faulty.py",
        ),
        "sequence, reshaped": Case(
            model=module(lambda m, x: m.out(F.relu(m.body(x))).softmax(-1), body=linear(5, 16), out=linear(16, 4)),
            loss=lambda o, t: F.cross_entropy(o.transpose(1, 2), t), data=series(lambda: torch.randint(0, 4, (N, 7))),
            where="static_faulty.py",
        ),
        "in the loss": Case(
            model=mlp(4), loss=lambda o, t: F.nll_loss(F.log_softmax(torch.softmax(o, 1), 1), t), data=table(classes),
            where="static_faulty.py",
        ),
        "by hand": Case(
            model=mlp(4, lambda: nn.Softmax(1)), loss=lambda o, t: -(F.one_hot(t, 4) * F.log_softmax(o, 1)).sum(1).mean(),
            data=table(classes),
            where="5",
        ),
        "two classes, one-hot": Case(
            model=mlp(2, lambda: nn.Softmax(-1)), loss=F.cross_entropy, data=table(lambda: F.one_hot(classes(2), 2).float()), where="5"
        ),
    },
    "softmax_wrong_axis": {
        "over the batch": Case(model=mlp(4, lambda: nn.LogSoftmax(0)), loss=nn.NLLLoss(), data=table(classes), where="5"),
        "over the batch, own likelihood": Case(
            model=mlp(4), loss=lambda o, t: F.nll_loss(torch.log(torch.softmax(o, 0) + 1e-9), t), data=table(classes),
            where="static_faulty.py"
        ),
        "over time": Case(
            model=module(lambda m, x: F.log_softmax(m.out(F.relu(m.body(x))), 1), body=linear(5, 16), out=linear(16, 4)),
            loss=lambda o, t: F.nll_loss(o.transpose(1, 2), t), data=series(lambda: torch.randint(0, 4, (N, 7))), where="static_faulty.py",
        ),
        "over rows of pictures": Case(
            model=net(conv(1, 6, padding=1), nn.ReLU, conv(6, 3, 1), lambda: nn.LogSoftmax(-1)), loss=nn.NLLLoss(),
            data=images(lambda: torch.randint(0, 3, (N, 8, 8))), where="3",
        ),
        "attention over the batch": Case(
            model=module(lambda m, x: m.out((torch.softmax(m.score(h := torch.tanh(m.body(x))), 0) * h).sum(1)), body=linear(5, 12),
                         score=linear(12, 1), out=linear(12, 3)),
            loss=F.cross_entropy, data=series(lambda: classes(3)), where="static_faulty.py",
        ),
        "attention over the queries": Case(
            model=module(lambda m, x: m.out((x + m.attend(x)).mean(1)), attend=lambda: WrongAttention(6, causal=False), out=linear(6, 3)),
            loss=F.cross_entropy, data=lambda: (torch.randn(N, 7, 6), classes(3)), where="attend",
        ),
        "squares of shares over the batch": Case(
            model=mlp(4, lambda: nn.Softmax(0)), loss=nn.MSELoss(), data=table(lambda: F.one_hot(classes(), 4).float()), where="5"
        ),
    },
    "wrong_output_units": {
        "one unit for two classes": Case(
            model=mlp(1), loss=lambda o, t: F.cross_entropy(o, torch.zeros_like(t)), data=table(classes), where="4"
        ),
        "one unit and probabilities": Case(model=mlp(1), loss=nn.CrossEntropyLoss(), data=table(lambda: binary()[:, None]), where="4"),
        "a class too few, late in the data": Case(
            model=mlp(3), loss=nn.CrossEntropyLoss(), shuffle=False, where="4",
            data=table(lambda: torch.cat([classes(3)[: N - 1], torch.tensor([3])])),
        ),
        "one output for three values": Case(model=mlp(1), loss=nn.MSELoss(), data=table(lambda: amounts(3)), where="4"),
        "three outputs for one value": Case(
            model=net(conv(1, 4), nn.ReLU, nn.Flatten, linear(144, 3)), loss=nn.L1Loss(), data=images(lambda: amounts(1)), where="3"
        ),
    },
    "wrong_loss": {
        "squares of class numbers": Case(
            model=mlp(1), loss=lambda o, t: F.mse_loss(o.squeeze(1), t.float()), data=table(classes), where="static_faulty.py"
        ),
        "squares of class numbers, by hand": Case(
            model=net(conv(1, 6), nn.ReLU, nn.Flatten, linear(216, 1)), loss=lambda o, t: ((o[:, 0] - t) ** 2).mean(), data=images(classes),
            where="static_faulty.py",
        ),
        "binary loss of class numbers": Case(
            model=mlp(1), loss=lambda o, t: F.binary_cross_entropy_with_logits(o.squeeze(1), t.float()), data=table(classes),
            where="static_faulty.py",
        ),
        "binary loss of amounts": Case(
            model=mlp(1), loss=lambda o, t: F.binary_cross_entropy_with_logits(o.squeeze(1), t), data=table(amounts),
            where="static_faulty.py"
        ),
        "cross-entropy of values": Case(model=mlp(3), loss=nn.CrossEntropyLoss(), data=table(lambda: amounts(3)), where=""),
        "cross-entropy of several labels": Case(model=mlp(5), loss=nn.CrossEntropyLoss(), data=table(multi_hot), where=""),
        "cross-entropy of rounded values": Case(
            model=mlp(12), loss=lambda o, t: F.cross_entropy(o, t.long()), data=table(lambda: 10 * torch.rand(N)), where="static_faulty.py"
        ),
    },
    "wrong_optimizer": {
        name: Case(
            model=model, loss=F.mse_loss, data=lambda columns=columns: (torch.randn(400, columns), torch.randn(400, 1)),
            optimizer=lambda m, rate=rate: torch.optim.Rprop(m.parameters(), lr=rate), where="optimizer",
        )
        for name, model, columns, rate in (
            ("signs on batches", mlp(1), 10, 1e-2), ("signs on batches, small steps", mlp(1), 10, 1e-3),
            ("signs on batches of a line", net(linear(6, 1)), 6, 1e-2), ("signs on batches, tanh", mlp(1, act=nn.Tanh), 10, 1e-1),
        )
    },
    "unstable_loss": {
        "log of a ReLU": Case(
            model=mlp(4, nn.ReLU), loss=lambda o, t: -torch.log(o.gather(1, t[:, None])).mean(), data=table(classes),
            where="static_faulty.py"
        ),
        "log of a sigmoid of large scores": Case(
            model=mlp(1, nn.Sigmoid), loss=likelihood, data=lambda: (300 * torch.randn(N, 10), binary()), where="static_faulty.py"
        ),
        "log of a softmax of large scores": Case(
            model=mlp(4, lambda: nn.Softmax(1)), loss=lambda o, t: F.nll_loss(torch.log(o), t),
            data=lambda: (400 * torch.randn(N, 10), classes()), where="static_faulty.py",
        ),
        "softmax by hand of large scores": Case(
            model=mlp(4), loss=lambda o, t: -torch.log(o.exp().gather(1, t[:, None])[:, 0] / o.exp().sum(1) + 1e-9).mean(),
            data=lambda: (2000 * torch.randn(N, 10), classes()), where="static_faulty.py",
        ),
        "root at zero": Case(
            model=mlp(4), loss=lambda o, t: torch.sqrt(((o[:, None] - o[None]) ** 2).sum(-1)).mean() + F.cross_entropy(o, t),
            data=table(classes), where="static_faulty.py",
        ),
    },
    "loss_reduction_sum": {
        "sum with a rate for means": Case(
            model=mlp(4), loss=nn.CrossEntropyLoss(reduction="sum"), data=lambda: (3 * torch.randn(N, 10), classes()), optimizer=sgd(0.3)
        ),
        "sum of squares": Case(
            model=mlp(1), loss=lambda o, t: ((o[:, 0] - t) ** 2).sum(), data=table(amounts), optimizer=sgd(0.1), where="static_faulty.py"
        ),
        "sum over pictures": Case(
            model=net(conv(1, 6, padding=1), nn.ReLU, conv(6, 1, padding=1)), loss=lambda o, t: F.mse_loss(o, t, reduction="sum"),
            data=pictures, optimizer=sgd(0.1), where="static_faulty.py",
        ),
        "sum of a binary loss": Case(
            model=mlp(5), loss=nn.BCEWithLogitsLoss(reduction="sum"), data=lambda: (2 * torch.randn(N, 10), multi_hot()), optimizer=sgd(0.3)
        ),
    },
    "shape_broadcast": {
        "column against row": Case(model=mlp(1), loss=nn.MSELoss(), data=table(amounts)),
        "by hand": Case(
            model=mlp(1), loss=lambda o, t: ((o - t) ** 2).mean(), data=table(amounts), where="static_faulty.py"
        ),
        "row against column": Case(
            model=module(lambda m, x: m.body(x).squeeze(1), body=mlp(1)), loss=F.l1_loss, data=table(lambda: amounts(1))
        ),
        "absolute, by hand, pictures": Case(
            model=net(conv(1, 4), nn.ReLU, nn.Flatten, linear(144, 1)), loss=lambda o, t: (o - t).abs().mean(), data=images(amounts),
            where="static_faulty.py",
        ),
        "own binary loss": Case(
            model=mlp(1, nn.Sigmoid), data=table(binary), where="static_faulty.py",
            loss=lambda o, t: -(t * torch.log(o + 1e-7) + (1 - t) * torch.log(1 - o + 1e-7)).mean(),
        ),
    },
    "missing_activation": {
        "layers": Case(model=net(linear(10, 24), linear(24, 16), linear(16, 4)), loss=F.cross_entropy, data=table(classes), where="0"),
        "two layers only": Case(model=net(linear(10, 24), linear(24, 4)), loss=F.cross_entropy, data=table(classes), where="0"),
        "functions": Case(
            model=module(lambda m, x: m.c(m.b(m.a(x))), a=linear(10, 20), b=linear(20, 20), c=linear(20, 1)),
            loss=lambda o, t: F.mse_loss(o.squeeze(1), t), data=table(amounts), where="a",
        ),
        "products by hand": Case(
            model=module(lambda m, x: x @ m.a @ m.b, a=parameter(10, 24), b=parameter(24, 4)), loss=F.cross_entropy, data=table(classes),
            where="a",
        ),
        "convolutions": Case(
            model=net(conv(1, 8), lambda: nn.BatchNorm2d(8), conv(8, 8), lambda: nn.AvgPool2d(2), nn.Flatten, lambda: nn.Dropout(0.1),
                      linear(32, 4)),
            loss=F.cross_entropy, data=images(classes), where="0",
        ),
        "recurrent by hand": Case(model=NameReader, loss=F.nll_loss, data=series(lambda: classes(3)), where="on"),
        "feed-forward part of a sequence network": Case(
            model=on_embeddings(lambda: nn.LayerNorm(8), linear(8, 32), linear(32, 32), linear(32, 16), lambda: nn.Flatten(),
            linear(96, 3)),
            loss=F.cross_entropy, data=words(lambda: classes(3)), where="2",
        ),
    },
    "wrong_hidden_activation": {
        "softmax between layers": Case(
            model=mlp(4, act=lambda: nn.Softmax(1)), loss=F.cross_entropy, data=table(classes), where="1"
        ),
        "softmax of channels": Case(
            model=net(conv(1, 8), lambda: nn.Softmax(1), conv(8, 8), nn.ReLU, nn.Flatten, linear(128, 4)), loss=F.cross_entropy,
            data=images(classes), where="1",
        ),
        "softmax after a recurrent layer": Case(
            model=module(lambda m, x: m.out(F.softmax(m.read(x)[0][:, -1], -1)), read=lambda: nn.GRU(5, 12, batch_first=True),
                         out=linear(12, 3)),
            loss=F.cross_entropy, data=series(lambda: classes(3)), where="static_faulty.py",
        ),
        "sign": Case(
            model=module(lambda m, x: m.b(torch.sign(m.a(x))), a=linear(10, 16), b=linear(16, 4)), loss=F.cross_entropy,
            data=table(classes),
            where="static_faulty.py",
        ),
        "comparison": Case(
            model=module(lambda m, x: m.b((m.a(x) > 0).float()), a=linear(10, 16), b=linear(16, 4)), loss=F.cross_entropy,
            data=table(classes), where="static_faulty.py",
        ),
        "rounding": Case(
            model=module(lambda m, x: m.b(F.dropout(torch.round(m.a(x)), 0.1, m.training)), a=linear(10, 16), b=linear(16, 1)),
            loss=lambda o, t: F.mse_loss(o[:, 0], t), data=table(amounts), where="static_faulty.py",
        ),
    },
    "saturating_activation": {
        "eight sigmoids": Case(model=sigmoids(8), loss=F.cross_entropy, data=table(classes), where="1"),
        "six sigmoids, values": Case(
            model=module(lambda m, x: m.out(m.body(x)).squeeze(1), body=lambda: nn.Sequential(*sigmoids(6)()[:-1]), out=linear(24, 1)),
            loss=F.mse_loss, data=table(amounts), where="body.1",
        ),
        "sigmoids of convolutions": Case(
            model=net(*(m for a in (1, 6, 6, 6, 6, 6) for m in (conv(a, 6, padding=1), nn.Sigmoid)), nn.Flatten, linear(384, 4)),
            loss=F.cross_entropy, data=images(classes), where="1",
        ),
        "hard sigmoids": Case(model=sigmoids(7, nn.Hardsigmoid), loss=F.cross_entropy, data=table(classes), where="1"),
    },
    "bad_init": {
        "zeros": Case(model=started(mlp(4), nn.init.zeros_), loss=F.cross_entropy, data=table(classes), where="0"),
        "ones": Case(model=started(mlp(4), nn.init.ones_), loss=F.cross_entropy, data=table(classes), where="0"),
        "constant kernels": Case(
            model=started(net(conv(1, 6), nn.ReLU, conv(6, 6), nn.ReLU, nn.Flatten, linear(96, 4)), lambda p: nn.init.constant_(p, 0.05)),
            loss=F.cross_entropy, data=images(classes), where="0",
        ),
        "zeros by hand": Case(
            model=module(lambda m, x: torch.tanh(x @ m.a) @ m.b, a=parameter(10, 16, scale=0.0), b=parameter(16, 1, scale=0.0)),
            loss=lambda o, t: F.mse_loss(o.squeeze(1), t), data=table(amounts), where="a",
        ),
        "too large": Case(model=started(mlp(4), large), loss=F.cross_entropy, data=table(classes)),
        "too large, drawn by hand": Case(
            model=module(lambda m, x: F.relu(F.relu(x @ m.a) @ m.b) @ m.c, a=parameter(10, 64, scale=1.5), b=parameter(64, 64, scale=1.0),
                         c=parameter(64, 4, scale=1.0)),
            loss=F.cross_entropy, data=table(classes),
        ),
        "too small": Case(
            model=started(mlp(4), lambda p: nn.init.normal_(p, std=1e-4)), loss=F.cross_entropy, data=table(classes), optimizer=sgd(0.1)
        ),
    },
    "frozen_weights": {
        "most of it": Case(model=frozen(mlp(4), "0", "2"), loss=F.cross_entropy, data=table(classes), where="0", optimizer=sgd(0.1)),
        "the last layer": Case(model=frozen(mlp(4), "4"), loss=F.cross_entropy, data=table(classes), where="4", optimizer=sgd(0.1)),
        "kernels": Case(
            model=frozen(net(conv(1, 16), nn.ReLU, conv(16, 16), nn.ReLU, lambda: nn.AdaptiveAvgPool2d(1), nn.Flatten, linear(16, 4)),
            "0", "2"),
            loss=F.cross_entropy, data=images(classes), where="0", optimizer=sgd(0.1),
        ),
        "the recurrent layer": Case(
            model=frozen(module(lambda m, x: m.out(m.read(x)[0][:, -1]), read=lambda: nn.LSTM(5, 12, batch_first=True), out=linear(12, 3)),
                         "read"),
            loss=F.cross_entropy, data=series(lambda: classes(3)), where="read", optimizer=sgd(0.1),
        ),
    },
    "over_regularised": {
        **{
            f"{name} with a weight decay of {decay:g}": Case(
                model=mlp(4), loss=F.cross_entropy, data=table(classes), where="weight_decay",
                optimizer=lambda model, make=make, decay=decay: make(model.parameters(), 0.01, weight_decay=decay),
            )
            for name, make, decay in (("SGD", torch.optim.SGD, 1.0), ("Adam", torch.optim.Adam, 0.3), ("AdamW", torch.optim.AdamW, 10.0))
        },
        "dropout of 95 %": Case(
            model=net(linear(10, 24), nn.ReLU, lambda: nn.Dropout(0.95), linear(24, 4)), loss=F.cross_entropy, data=table(classes),
            where="2",
        ),
    },
    "lr_too_high": {
        f"{make.__name__} at {rate:g}": Case(
            model=mlp(4), loss=F.cross_entropy, data=table(classes), where="learning_rate",
            optimizer=lambda model, make=make, rate=rate: make(model.parameters(), rate),
        )
        for make, rate in ((torch.optim.Adam, 0.1), (torch.optim.AdamW, 1.0), (torch.optim.NAdam, 0.3), (torch.optim.Adamax, 0.5))
    },
    "capacity": {
        f"{units} unit for {count} classes": Case(
            model=net(linear(10, 16), nn.ReLU, linear(16, units), curve, linear(units, count)), loss=F.cross_entropy,
            data=table(lambda count=count: classes(count)), where="2",
        )
        for units, count, curve in ((1, 4, nn.ReLU), (1, 3, nn.Tanh), (2, 6, nn.ReLU), (1, 8, nn.GELU))
    },
    "unowned_parameters": {
        "layers in a list": Case(
            model=module(lambda m, x: m.b(F.relu(m.layers[1](F.relu(m.layers[0](x))))),
                         layers=lambda: [nn.Linear(10, 16), nn.Linear(16, 16)],
                         b=linear(16, 4)),
            loss=F.cross_entropy, data=table(classes), where="layers[0].weight",
        ),
        "a plain tensor": Case(
            model=module(lambda m, x: m.b(F.relu(x @ m.a)), a=lambda: torch.randn(10, 16).requires_grad_(), b=linear(16, 4)),
            loss=F.cross_entropy, data=table(classes), where="a",
        ),
        "layers in a dict of lists": Case(
            model=module(lambda m, x: m.b(F.relu(m.parts["in"][0](x))), parts=lambda: {"in": [nn.Linear(10, 16)]}, b=linear(16, 4)),
            loss=F.cross_entropy, data=table(classes), where="parts['in'][0].weight",
        ),
        "a layer made in forward": Case(
            model=module(lambda m, x: m.b(F.relu(nn.Linear(10, 16)(x))), b=linear(16, 4)),
            loss=F.cross_entropy, data=table(classes), where="static_faulty.py",
        ),
    },
    "detached_branch": {
        "detach": Case(
            model=module(lambda m, x: m.b(F.relu(m.a(x)).detach()), a=linear(10, 16), b=linear(16, 4)), loss=F.cross_entropy,
            data=table(classes), where="static_faulty.py",
        ),
        "no_grad": Case(
            model=module(lambda m, x: (torch.set_grad_enabled(False), h := F.relu(m.a(x)), torch.set_grad_enabled(True), m.b(h))[-1],
                         a=linear(10, 16), b=linear(16, 4)),
            loss=F.cross_entropy, data=table(classes), where="static_faulty.py",
        ),
        "data": Case(
            model=module(lambda m, x: m.out(m.read(x)[0][:, -1].data), read=lambda: nn.GRU(5, 8, batch_first=True), out=linear(8, 3)),
            loss=F.cross_entropy, data=series(lambda: classes(3)), where="static_faulty.py",
        ),
        "through NumPy": Case(
            model=module(lambda m, x: m.b(torch.tensor(F.relu(m.a(x)).detach().numpy())), a=linear(10, 16), b=linear(16, 4)),
            loss=F.cross_entropy, data=table(classes), where="static_faulty.py",
        ),
        "a loss made anew of a number": Case(
            model=mlp(4), loss=lambda o, t: torch.tensor(F.cross_entropy(o, t).item(), requires_grad=True), data=table(classes),
            where="static_faulty.py",
        ),
        "choice by argmax": Case(
            model=module(lambda m, x: m.out(m.book[m.choose(x).argmax(1)]), choose=linear(10, 6), book=parameter(6, 8), out=linear(8, 4)),
            loss=F.cross_entropy, data=table(classes), where="static_faulty.py",
        ),
    },
    "wrong_mode": {
        "dropout in evaluation": Case(
            model=module(lambda m, x: m.b(F.dropout(F.relu(m.a(x)), 0.5)), a=linear(10, 16), b=linear(16, 4)), loss=F.cross_entropy,
            data=table(classes), where="static_faulty.py",
        ),
        "dropout of channels in evaluation": Case(
            model=module(lambda m, x: m.b(F.dropout2d(F.relu(m.a(x)), 0.3).flatten(1)), a=conv(1, 6), b=linear(216, 4)),
            loss=F.cross_entropy, data=images(classes), where="static_faulty.py",
        ),
        "a step in evaluation mode": Case(
            model=net(linear(10, 24), nn.ReLU, lambda: nn.Dropout(0.3), linear(24, 4)), loss=F.cross_entropy, data=table(classes),
            step=in_evaluation, where="2",
        ),
        "a step in evaluation mode, batch normalisation": Case(
            model=net(linear(10, 24), lambda: nn.BatchNorm1d(24), nn.ReLU, linear(24, 4)), loss=F.cross_entropy, data=table(classes),
            step=in_evaluation, where="1",
        ),
    },
    "initial_loss": {
        "scores of raw inputs": Case(model=mlp(4), loss=F.cross_entropy, data=lambda: (500 * torch.randn(N, 10), classes())),
        "large last layer": Case(
            model=module(lambda m, x: 40 * m.body(x), body=mlp(4)), loss=F.cross_entropy, data=table(classes)
        ),
        "binary scores of raw inputs": Case(
            model=mlp(1), loss=lambda o, t: F.binary_cross_entropy_with_logits(o[:, 0], t),
            data=lambda: (500 * torch.randn(N, 10), binary())
        ),
        "values of raw inputs": Case(
            model=mlp(1), loss=lambda o, t: F.mse_loss(o[:, 0], t), data=lambda: (300 * torch.randn(N, 10), amounts())
        ),
    },
}  # fmt: skip
