"""Networks and losses with nothing wrong, of all common kinds and some unusual ones: a static fault about one of them is a false alarm.

`ADVICE` names what may be advised although nothing is wrong.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from diagnosis.symptoms.static_losses import (
    chain,
    clipped_ratio,
    contrastive,
    cox,
    ctc,
    decorrelated,
    dice,
    elbo,
    focal,
    focal_of_classes,
    mixing,
    mixture_of_densities,
    nearest_points,
    normalising,
    overlap,
    pairs,
    pinball,
    policy,
    ranking,
    smoothed,
    squeezing,
)
from diagnosis.symptoms.static_networks import (
    VAE,
    Backbone,
    Block,
    Case,
    Cosine,
    Coupling,
    Decoder,
    Experts,
    HandMadeGates,
    HandMadeRecurrent,
    LearntQueries,
    LowRank,
    Module,
    N,
    PreActivation,
    Siren,
    SqueezeExcite,
    Teacher,
    TopExpert,
    VectorQuantised,
    ViT,
    amounts,
    binary,
    classes,
    conv,
    images,
    linear,
    mlp,
    module,
    multi_hot,
    net,
    on_embeddings,
    parameter,
    parts,
    pictures,
    prototypes,
    series,
    sgd,
    table,
    tagger,
    unet,
    words,
)

ADVICE: dict[str, set[str]] = {
    "one-hot with BCE": {"wrong_loss"},
    "softmax and own likelihood": {"unstable_loss"},
    "own binary cross-entropy, unguarded": {"unstable_loss"},
    "Brier score": {"wrong_loss"},
    "least-squares discriminator": {"wrong_loss"},
    "summed loss with a fitting rate": {"loss_reduction_sum"},
    "softmax of scores by hand": {"unstable_loss"},
    "prototypes": {"initial_loss"},
    "two sigmoid layers": {"saturating_activation"},
    "spare classes": {"wrong_output_units"},
}


def loaded_layer() -> nn.Module:
    """The same weights at each call, as from a file."""
    layer = nn.Linear(10, 16)
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(-0.5, 0.5, 160).sin().reshape(16, 10))
    return layer


HEALTHY: dict[str, Case] = {
    "logistic regression": Case(model=net(linear(10, 4)), loss=F.cross_entropy, data=table(classes)),
    "linear regression": Case(model=net(linear(10, 1)), loss=lambda o, t: F.mse_loss(o.squeeze(1), t), data=table(amounts)),
    "MLP": Case(model=mlp(4), loss=F.cross_entropy, data=table(classes)),
    "MLP with batch normalisation": Case(
        model=net(linear(10, 24), lambda: nn.BatchNorm1d(24), nn.ReLU, linear(24, 4)), loss=nn.CrossEntropyLoss(), data=table(classes)
    ),
    "tanh network": Case(model=mlp(4, act=nn.Tanh), loss=F.cross_entropy, data=table(classes)),
    "one sigmoid layer": Case(model=net(linear(10, 16), nn.Sigmoid, linear(16, 4)), loss=F.cross_entropy, data=table(classes)),
    "two sigmoid layers": Case(model=mlp(4, act=nn.Sigmoid), loss=F.cross_entropy, data=table(classes)),
    "eight ReLU layers": Case(
        model=net(linear(10, 24), nn.ReLU, *(m for _ in range(7) for m in (linear(24, 24), nn.ReLU)), linear(24, 4)),
        loss=F.cross_entropy, data=table(classes),
    ),
    "log-softmax and nll": Case(model=mlp(4, lambda: nn.LogSoftmax(1)), loss=F.nll_loss, data=table(classes)),
    "log-softmax twice": Case(model=mlp(4, lambda: nn.LogSoftmax(1)), loss=F.cross_entropy, data=table(classes)),
    "softmax and own likelihood": Case(
        model=mlp(4, lambda: nn.Softmax(1)), loss=lambda o, t: -torch.log(o[torch.arange(len(t)), t]).mean(), data=table(classes)
    ),
    "softmax and guarded likelihood": Case(
        model=mlp(4, lambda: nn.Softmax(1)), loss=lambda o, t: F.nll_loss(torch.log(o + 1e-8), t), data=table(classes)
    ),
    "softmax of scores by hand": Case(
        model=mlp(4), loss=lambda o, t: -torch.log((o.exp() / o.exp().sum(1, keepdim=True)).gather(1, t[:, None]) + 1e-9).mean(),
        data=table(classes),
    ),
    "temperature": Case(model=mlp(4), loss=lambda o, t: F.cross_entropy(o / 2.5, t, label_smoothing=0.1), data=table(classes)),
    "smoothing by hand": Case(model=mlp(4), loss=smoothed, data=table(classes)),
    "probabilities as targets": Case(
        model=mlp(4), loss=F.cross_entropy, data=table(lambda: torch.softmax(torch.randn(N, 4), 1))
    ),
    "distillation": Case(
        model=mlp(4), loss=lambda o, t: 4 * F.kl_div(F.log_softmax(o / 2, 1), t, reduction="batchmean"),
        data=table(lambda: torch.softmax(torch.randn(N, 4), 1)),
    ),
    "class weights": Case(
        model=mlp(4), loss=lambda o, t: F.cross_entropy(o, t, weight=torch.tensor([1.0, 2.0, 3.0, 0.5])), data=table(classes)
    ),
    "focal loss of classes": Case(model=mlp(4), loss=focal_of_classes, data=table(classes)),
    "spare classes": Case(model=mlp(30), loss=F.cross_entropy, data=table(classes)),
    "multi-class hinge": Case(model=mlp(4), loss=F.multi_margin_loss, data=table(classes)),
    "hinge": Case(model=mlp(1), loss=lambda o, t: F.relu(1 - o.squeeze(1) * t).mean(), data=table(lambda: 2 * binary() - 1)),
    "binary with scores": Case(
        model=mlp(1), loss=lambda o, t: F.binary_cross_entropy_with_logits(o.squeeze(1), t), data=table(binary)
    ),
    "binary with sigmoid": Case(
        model=mlp(1, nn.Sigmoid), loss=lambda o, t: F.binary_cross_entropy(o.squeeze(1), t), data=table(binary)
    ),
    "binary with sigmoid, column targets": Case(
        model=mlp(1, nn.Sigmoid), loss=nn.BCELoss(), data=table(lambda: binary()[:, None])
    ),
    "binary with two scores": Case(model=mlp(2), loss=lambda o, t: F.cross_entropy(o, t.long()), data=table(binary)),
    "own binary cross-entropy, guarded": Case(
        model=mlp(1, nn.Sigmoid), data=table(binary),
        loss=lambda o, t: -(t * torch.log(o[:, 0] + 1e-7) + (1 - t) * torch.log(1 - o[:, 0] + 1e-7)).mean(),
    ),
    "own binary cross-entropy, unguarded": Case(
        model=mlp(1, nn.Sigmoid), data=table(binary),
        loss=lambda o, t: -(t * torch.log(o[:, 0]) + (1 - t) * torch.log(1 - o[:, 0])).mean(),
    ),
    "logsigmoid": Case(
        model=mlp(1), data=table(binary), loss=lambda o, t: -(t * F.logsigmoid(o[:, 0]) + (1 - t) * F.logsigmoid(-o[:, 0])).mean()
    ),
    "focal loss": Case(model=mlp(1), loss=focal, data=table(binary)),
    "multi-label with scores": Case(model=mlp(5), loss=nn.BCEWithLogitsLoss(), data=table(multi_hot)),
    "multi-label with sigmoid": Case(model=mlp(5, nn.Sigmoid), loss=nn.BCELoss(), data=table(multi_hot)),
    "multi-label margin": Case(model=mlp(5), loss=F.multilabel_soft_margin_loss, data=table(multi_hot)),
    "shared labels with cross-entropy": Case(
        model=mlp(5), loss=F.cross_entropy, data=table(lambda: F.normalize((torch.rand(N, 5) > 0.6).float() + 1e-6, p=1, dim=1))
    ),
    "one-hot with BCE": Case(
        model=mlp(4), loss=F.binary_cross_entropy_with_logits, data=table(lambda: F.one_hot(classes(), 4).float())
    ),
    "one-hot with cross-entropy": Case(model=mlp(4), loss=F.cross_entropy, data=table(lambda: F.one_hot(classes(), 4).float())),
    "Brier score": Case(
        model=mlp(4, lambda: nn.Softmax(-1)), loss=F.mse_loss, data=table(lambda: F.one_hot(classes(), 4).float())
    ),
    "regression": Case(model=mlp(1), loss=lambda o, t: F.mse_loss(o[:, 0], t), data=table(amounts)),
    "regression of three values": Case(model=mlp(3), loss=nn.MSELoss(), data=table(lambda: amounts(3))),
    "regression, own mean square": Case(model=mlp(1), loss=lambda o, t: ((o.squeeze() - t) ** 2).mean(), data=table(amounts)),
    "regression, root of the mean square": Case(
        model=mlp(1), loss=lambda o, t: torch.sqrt(F.mse_loss(o.squeeze(-1), t)), data=table(amounts)
    ),
    "Huber": Case(model=mlp(1), loss=lambda o, t: F.huber_loss(o.view(-1), t), data=table(amounts)),
    "shares with sigmoid": Case(
        model=mlp(1, nn.Sigmoid), loss=lambda o, t: F.mse_loss(o.squeeze(1), t), data=table(lambda: torch.rand(N))
    ),
    "ratings from one to five": Case(
        model=module(lambda m, x: 1 + 4 * torch.sigmoid(m.body(x).squeeze(1)), body=mlp(1)),
        loss=F.mse_loss, data=table(lambda: torch.randint(1, 6, (N,)).float()),
    ),
    "counts as amounts": Case(
        model=mlp(1), loss=lambda o, t: F.mse_loss(o.squeeze(1), t.float()), data=table(lambda: torch.poisson(torch.full((N,), 6.0)).long())
    ),
    "tanh onto targets in [-1, 1]": Case(
        model=mlp(2, nn.Tanh), loss=F.mse_loss, data=table(lambda: 2 * torch.rand(N, 2) - 1)
    ),
    "positive amounts": Case(
        model=mlp(1, nn.Softplus), loss=lambda o, t: F.l1_loss(o.squeeze(1), t), data=table(lambda: amounts().abs())
    ),
    "ReLU onto positive amounts": Case(
        model=mlp(1, nn.ReLU), loss=lambda o, t: F.mse_loss(o.squeeze(1), t), data=table(lambda: amounts().abs())
    ),
    "counts": Case(
        model=mlp(1), loss=lambda o, t: F.poisson_nll_loss(o.squeeze(1), t), data=table(lambda: torch.poisson(torch.full((N,), 3.0)))
    ),
    "Gaussian likelihood": Case(
        model=module(lambda m, x: (m.mean(h := F.relu(m.body(x))), F.softplus(m.spread(h)) + 1e-4), body=linear(10, 16), mean=linear(16, 1),
                     spread=linear(16, 1)),
        loss=lambda o, t: F.gaussian_nll_loss(o[0][:, 0], t, o[1][:, 0]), data=table(amounts),
    ),
    "mixture density": Case(
        model=module(lambda m, x: (h := torch.tanh(m.body(x)), (m.shares(h), m.mean(h), m.spread(h)))[1], body=linear(10, 16),
                     shares=linear(16, 3), mean=linear(16, 3), spread=linear(16, 3)),
        loss=mixture_of_densities, data=table(amounts),
    ),
    "quantiles": Case(model=mlp(3), loss=pinball, data=table(amounts)),
    "proportional hazards": Case(model=mlp(1), loss=cox, data=table(lambda: torch.rand(N))),
    "ranking of pairs": Case(model=mlp(1), loss=ranking, data=table(amounts)),
    "policy gradient": Case(
        model=mlp(4), loss=policy, data=table(lambda: torch.stack([torch.randint(0, 4, (N,)).float(), torch.randn(N)], 1))
    ),
    "CNN": Case(
        model=net(conv(1, 8, padding=1), nn.ReLU, lambda: nn.MaxPool2d(2), conv(8, 12, padding=1), nn.ReLU, lambda: nn.AdaptiveAvgPool2d(1),
                  nn.Flatten, lambda: nn.Dropout(0.3), linear(12, 4)),
        loss=F.cross_entropy, data=images(classes),
    ),
    "ResNet": Case(
        model=net(conv(1, 8, padding=1, bias=False), lambda: nn.BatchNorm2d(8), nn.ReLU, lambda: Block(8, 8), lambda: Block(8, 16, 2),
                  lambda: nn.AdaptiveAvgPool2d(1), nn.Flatten, linear(16, 4)),
        loss=F.cross_entropy, data=images(classes),
    ),
    "pre-activation ResNet": Case(
        model=net(conv(1, 8, padding=1), lambda: PreActivation(8), lambda: PreActivation(8), lambda: nn.BatchNorm2d(8), nn.ReLU,
                  lambda: nn.AdaptiveAvgPool2d(1), nn.Flatten, linear(8, 4)),
        loss=F.cross_entropy, data=images(classes),
    ),
    "separable convolutions": Case(
        model=net(conv(1, 8, padding=1), nn.ReLU, conv(8, 8, padding=1, groups=8), conv(8, 16, 1), nn.ReLU, lambda: nn.AdaptiveMaxPool2d(1),
                  nn.Flatten, linear(16, 4)),
        loss=F.cross_entropy, data=images(classes),
    ),
    "linear bottlenecks": Case(
        model=net(conv(1, 24, padding=1), nn.ReLU6, conv(24, 6, 1), lambda: nn.BatchNorm2d(6), conv(6, 36, 1), lambda: nn.BatchNorm2d(36),
                  nn.ReLU6, lambda: nn.AdaptiveAvgPool2d(1), nn.Flatten, linear(36, 4)),
        loss=F.cross_entropy, data=images(classes),
    ),
    "factorised kernels": Case(
        model=net(lambda: nn.Conv2d(1, 8, (3, 1)), lambda: nn.Conv2d(8, 8, (1, 3)), nn.ReLU, nn.Flatten, linear(288, 4)),
        loss=F.cross_entropy, data=images(classes),
    ),
    "squeeze and excite": Case(
        model=net(conv(1, 8), nn.ReLU, lambda: SqueezeExcite(8), conv(8, 8), nn.ReLU, nn.Flatten, linear(128, 4)),
        loss=F.cross_entropy, data=images(classes),
    ),
    "U-Net": Case(
        model=module(unet, down1=conv(1, 8, padding=1), down2=conv(8, 16, padding=1), up=lambda: nn.ConvTranspose2d(16, 8, 2, 2),
                     join=conv(16, 8, padding=1), out=conv(8, 3, 1)),
        loss=F.cross_entropy, data=images(lambda: torch.randint(0, 3, (N, 8, 8))),
    ),
    "segmentation with Dice": Case(
        model=net(conv(1, 8, padding=1), nn.ReLU, conv(8, 1, 1)), loss=dice, data=images(lambda: (torch.rand(N, 1, 8, 8) > 0.7).float())
    ),
    "masked segmentation": Case(
        model=net(conv(1, 8, padding=1), nn.ReLU, conv(8, 3, 1)), loss=nn.CrossEntropyLoss(ignore_index=255),
        data=images(lambda: torch.where(torch.rand(N, 8, 8) < 0.1, 255, torch.randint(0, 3, (N, 8, 8)))),
    ),
    "autoencoder": Case(
        model=net(nn.Flatten, linear(64, 16), nn.ReLU, linear(16, 4), linear(4, 16), nn.ReLU, linear(16, 64), nn.Sigmoid,
                  lambda: nn.Unflatten(1, (1, 8, 8))),
        loss=F.mse_loss, data=pictures,
    ),
    "linear autoencoder": Case(model=net(linear(10, 3), linear(3, 10)), loss=F.mse_loss, data=lambda: (x := torch.randn(N, 10), x)),
    "variational autoencoder": Case(model=VAE, loss=elbo, data=pictures),
    "vector quantisation": Case(
        model=VectorQuantised, loss=lambda o, t: F.mse_loss(o[0], t) + o[1], data=lambda: (x := torch.randn(N, 10), x)
    ),
    "super-resolution": Case(
        model=net(conv(1, 16, padding=1), nn.ReLU, conv(16, 4, padding=1), lambda: nn.PixelShuffle(2)), loss=F.l1_loss,
        data=lambda: (torch.rand(N, 1, 4, 4), torch.rand(N, 1, 8, 8)),
    ),
    "residual denoiser": Case(
        model=module(lambda m, x: x - m.body(x), body=net(conv(1, 8, padding=1), nn.ReLU, conv(8, 1, padding=1))), loss=F.mse_loss,
        data=lambda: (x := torch.randn(N, 1, 8, 8), x * 0.8),
    ),
    "diffusion step": Case(
        model=module(lambda m, x, t: m.out(F.silu(m.body(torch.cat([x, torch.sin(t)], 1)))), body=linear(11, 32), out=linear(32, 10)),
        loss=F.mse_loss, data=lambda: ((torch.randn(N, 10), torch.rand(N, 1)), torch.randn(N, 10)),
    ),
    "least-squares discriminator": Case(
        model=mlp(1, act=lambda: nn.LeakyReLU(0.2)), loss=lambda o, t: 0.5 * ((o.squeeze(1) - t) ** 2).mean(), data=table(binary)
    ),
    "critic": Case(model=mlp(1, act=lambda: nn.LeakyReLU(0.2)), loss=lambda o, t: (o.squeeze(1) * (1 - 2 * t)).mean(), data=table(binary)),
    "generator-like": Case(
        model=net(linear(10, 32), nn.ReLU, linear(32, 64), nn.Tanh, lambda: nn.Unflatten(1, (1, 8, 8))), loss=F.l1_loss,
        data=lambda: (torch.randn(N, 10), 2 * torch.rand(N, 1, 8, 8) - 1),
    ),
    "LSTM classifier": Case(
        model=module(lambda m, x: m.out(m.read(x)[1][0][-1]), read=lambda: nn.LSTM(5, 12, batch_first=True), out=linear(12, 3)),
        loss=F.cross_entropy, data=series(lambda: classes(3)),
    ),
    "GRU forecaster": Case(
        model=module(lambda m, x: m.out(m.read(x)[0][:, -1]).squeeze(-1), read=lambda: nn.GRU(5, 12, 2, batch_first=True),
        out=linear(12, 1)),
        loss=F.mse_loss, data=series(amounts),
    ),
    "recurrent by hand": Case(model=HandMadeRecurrent, loss=F.cross_entropy, data=series(lambda: classes(3))),
    "gates by hand": Case(model=HandMadeGates, loss=F.cross_entropy, data=series(lambda: classes(3))),
    "temporal convolutions": Case(
        model=module(lambda m, x: m.out(F.relu(m.b(F.relu(m.a(x.transpose(1, 2))))).mean(2)), a=lambda: nn.Conv1d(5, 8, 3),
                     b=lambda: nn.Conv1d(8, 8, 3, dilation=2), out=linear(8, 3)),
        loss=F.cross_entropy, data=series(lambda: classes(3)),
    ),
    "tagger": Case(
        model=module(tagger, embed=lambda: nn.Embedding(20, 8), read=lambda: nn.LSTM(8, 8, batch_first=True, bidirectional=True),
                     out=linear(16, 5)),
        loss=F.cross_entropy, data=words(lambda: torch.randint(0, 5, (N, 6))),
    ),
    "tagger, log-softmax over the last axis": Case(
        model=module(lambda m, x: F.log_softmax(m.out(F.relu(m.body(x))), -1), body=linear(5, 16), out=linear(16, 4)),
        loss=lambda o, t: F.nll_loss(o.transpose(1, 2), t), data=series(lambda: torch.randint(0, 4, (N, 7))),
    ),
    "tagger, flattened": Case(
        model=module(lambda m, x: m.out(F.relu(m.body(x))), body=linear(5, 16), out=linear(16, 4)),
        loss=lambda o, t: F.cross_entropy(o.reshape(-1, 4), t.reshape(-1)), data=series(lambda: torch.randint(0, 4, (N, 7))),
    ),
    "speech with CTC": Case(
        model=module(lambda m, x: m.out(m.read(x)[0]), read=lambda: nn.GRU(5, 12, batch_first=True), out=linear(12, 6)),
        loss=ctc, data=series(lambda: torch.randint(1, 6, (N, 2)), 12),
    ),
    "bag of words": Case(
        model=on_embeddings(lambda: Module(lambda m, x: x.mean(1)), linear(8, 3)), loss=F.cross_entropy, data=words(lambda: classes(3))
    ),
    "embedding and projection": Case(
        model=on_embeddings(linear(8, 16), lambda: Module(lambda m, x: F.relu(x).mean(1)), linear(16, 3)), loss=F.cross_entropy,
        data=words(lambda: classes(3)),
    ),
    "matrix factorisation": Case(
        model=module(lambda m, x: (m.a(x[:, 0]) * m.b(x[:, 1])).sum(1), a=lambda: nn.Embedding(20, 4), b=lambda: nn.Embedding(20, 4)),
        loss=F.mse_loss, data=words(amounts, 2),
    ),
    "language model": Case(
        model=Decoder, loss=lambda o, t: F.cross_entropy(o.flatten(0, 1), t.flatten()), data=words(lambda: torch.randint(0, 20, (N, 6)))
    ),
    "vision transformer": Case(model=ViT, loss=F.cross_entropy, data=images(classes)),
    "attention pooling": Case(
        model=module(lambda m, x: m.out((torch.softmax(m.score(h := torch.tanh(m.body(x))), 1) * h).sum(1)), body=linear(5, 12),
                     score=linear(12, 1), out=linear(12, 3)),
        loss=F.cross_entropy, data=series(lambda: classes(3)),
    ),
    "multi-head attention": Case(
        model=module(lambda m, x: m.out(m.norm(x + m.attend(x, x, x)[0]).mean(1)),
        attend=lambda: nn.MultiheadAttention(5, 1, batch_first=True),
                     norm=lambda: nn.LayerNorm(5), out=linear(5, 3)),
        loss=F.cross_entropy, data=series(lambda: classes(3)),
    ),
    "memory of slots": Case(
        model=module(lambda m, x: m.out(F.relu(torch.softmax(m.key(x), -1) @ m.slots)), key=linear(10, 6), slots=parameter(6, 12),
                     out=linear(12, 4)),
        loss=F.cross_entropy, data=table(classes),
    ),
    "gated linear unit": Case(
        model=net(linear(10, 32), nn.GLU, linear(16, 4)), loss=F.cross_entropy, data=table(classes)
    ),
    "SwiGLU": Case(
        model=module(lambda m, x: m.down(F.silu(m.gate(x)) * m.up(x)), gate=linear(10, 24), up=linear(10, 24), down=linear(24, 4)),
        loss=F.cross_entropy, data=table(classes),
    ),
    "highway": Case(
        model=module(lambda m, x: m.out((g := torch.sigmoid(m.gate(x))) * F.relu(m.body(x)) + (1 - g) * x), gate=linear(10, 10),
                     body=linear(10, 10), out=linear(10, 4)),
        loss=F.cross_entropy, data=table(classes),
    ),
    "maxout": Case(
        model=module(lambda m, x: m.out(m.body(x).view(len(x), 12, 2).amax(-1)), body=linear(10, 24), out=linear(12, 4)),
        loss=F.cross_entropy, data=table(classes),
    ),
    "mixture of experts": Case(model=Experts, loss=F.cross_entropy, data=table(classes)),
    "best expert": Case(model=TopExpert, loss=F.cross_entropy, data=table(classes)),
    "mixture of softmaxes": Case(
        model=module(
            lambda m, x: torch.log((m.shares(x).softmax(1)[:, :, None] * m.body(x).view(-1, 2, 4).softmax(2)).sum(1) + 1e-8),
            shares=linear(10, 2), body=linear(10, 8),
        ),
        loss=F.nll_loss, data=table(classes),
    ),
    "siamese": Case(
        model=module(lambda m, a, b: (m.body(a), m.body(b)), body=mlp(4)), loss=pairs,
        data=lambda: ((torch.randn(N, 10), torch.randn(N, 10)), binary()),
    ),
    "contrastive": Case(
        model=module(lambda m, a, b: (m.body(a), m.body(b)), body=mlp(6)), loss=contrastive,
        data=lambda: ((torch.randn(N, 10), torch.randn(N, 10)), torch.arange(N)),
    ),
    "triplets": Case(
        model=module(lambda m, a, b, c: (m.body(a), m.body(b), m.body(c)), body=mlp(4)), loss=lambda o, t: F.triplet_margin_loss(*o),
        data=lambda: ((torch.randn(N, 10), torch.randn(N, 10), torch.randn(N, 10)), torch.arange(N)),
    ),
    "prototypes": Case(
        model=module(prototypes, body=mlp(3), centres=parameter(4, 3, scale=1.0)), loss=F.cross_entropy, data=table(classes)
    ),
    "cosine head": Case(model=Cosine, loss=F.cross_entropy, data=table(classes)),
    "teacher and student": Case(
        model=Teacher, loss=lambda o, t: 2 - 2 * F.cosine_similarity(o[0], o[1].detach()).mean(), data=table(classes)
    ),
    "two tasks": Case(
        model=module(lambda m, x: (m.a(h := F.relu(m.body(x))), m.b(h)), body=linear(10, 16), a=linear(16, 4), b=linear(16, 1)),
        loss=lambda o, t: F.cross_entropy(o[0], t[:, 0].long()) + 0.5 * F.mse_loss(o[1].squeeze(1), t[:, 1]),
        data=table(lambda: torch.stack([classes().float(), torch.randn(N)], 1)),
    ),
    "low-rank correction": Case(model=LowRank, loss=F.cross_entropy, data=table(classes), optimizer=sgd(0.1)),
    "frozen backbone": Case(model=lambda: Backbone("frozen"), loss=F.cross_entropy, data=table(classes)),
    "backbone without gradients": Case(
        model=lambda: Backbone("no_grad"), loss=F.cross_entropy, data=table(classes),
        optimizer=lambda model: torch.optim.Adam(parts(model, "head"), 1e-3),
    ),
    "random features": Case(
        model=module(lambda m, x: m.out(torch.cos(x @ m.directions.detach())), directions=parameter(10, 64, scale=2.0), out=linear(64, 4)),
        loss=F.cross_entropy, data=table(classes), optimizer=lambda model: torch.optim.Adam(parts(model, "out"), 1e-3),
    ),
    "straight-through": Case(
        model=module(lambda m, x: m.out((h := torch.tanh(m.body(x))) + (torch.sign(h) - h).detach()), body=linear(10, 16),
        out=linear(16, 4)),
        loss=F.cross_entropy, data=table(classes),
    ),
    "Gumbel choice": Case(
        model=module(lambda m, x: m.out(F.gumbel_softmax(m.body(x), hard=True)), body=linear(10, 8), out=linear(8, 4)),
        loss=F.cross_entropy, data=table(classes),
    ),
    "sine network": Case(
        model=Siren, loss=lambda o, t: F.mse_loss(o.squeeze(1), t), data=lambda: (2 * torch.rand(N, 2) - 1, torch.randn(N))
    ),
    "graph convolution": Case(
        model=module(lambda m, x: m.b(F.relu(m.a(x)) @ torch.eye(16)), a=linear(10, 16), b=linear(16, 4)),
        loss=F.cross_entropy, data=table(classes),
    ),
    "ensemble of heads": Case(
        model=module(lambda m, x: torch.stack([head(x).squeeze(1) for head in m.heads]).mean(0),
                     heads=lambda: nn.ModuleList(nn.Sequential(nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 1)) for _ in range(3))),
        loss=F.mse_loss, data=table(amounts),
    ),
    "summed loss with Adam": Case(model=mlp(4), loss=nn.CrossEntropyLoss(reduction="sum"), data=table(classes)),
    "summed loss with a fitting rate": Case(
        model=mlp(4), loss=nn.CrossEntropyLoss(reduction="sum"), data=table(classes), optimizer=sgd(1e-3)
    ),
    "zero head": Case(
        model=module(lambda m, x: F.linear(F.relu(m.body(x)), m.head, m.bias), body=linear(10, 16),
                     head=lambda: nn.Parameter(torch.zeros(4, 16)), bias=lambda: nn.Parameter(torch.zeros(4))),
        loss=F.cross_entropy, data=table(classes),
    ),
    "small normal weights": Case(
        model=module(lambda m, x: F.relu(x @ m.a) @ m.b, a=parameter(10, 24, scale=0.1), b=parameter(24, 4, scale=0.1)),
        loss=F.cross_entropy, data=table(classes),
    ),
    "learnt queries": Case(model=LearntQueries, loss=F.cross_entropy, data=series(lambda: classes(3))),
    "residual network of a table": Case(
        model=module(lambda m, x: m.out((h := m.into(x)) + m.b(F.relu(m.a(h)))), into=linear(10, 16), a=linear(16, 16), b=linear(16, 16),
                     out=linear(16, 4)),
        loss=F.cross_entropy, data=table(classes),
    ),
    "normalising flow": Case(
        model=Coupling, loss=lambda o, t: (0.5 * (o[0] ** 2).sum(1) - o[1]).mean(), data=lambda: (x := torch.randn(N, 10), x)
    ),
    "conditional random field": Case(
        model=module(lambda m, x: (m.score(x), m.steps), score=linear(5, 4), steps=parameter(4, 4)), loss=chain,
        data=series(lambda: torch.randint(0, 4, (N, 7))),
    ),
    "ordered thresholds": Case(
        model=mlp(3), loss=lambda o, t: F.binary_cross_entropy_with_logits(o, (t[:, None] > torch.arange(3)).float()), data=table(classes)
    ),
    "decorrelated views": Case(
        model=module(lambda m, a, b: (m.body(a), m.body(b)), body=mlp(6)), loss=decorrelated,
        data=lambda: ((torch.randn(N, 10), torch.randn(N, 10)), torch.zeros(N)),
    ),
    "proximal policy": Case(
        model=mlp(4), loss=clipped_ratio,
        data=table(lambda: torch.stack([torch.randint(0, 4, (N,)).float(), -torch.rand(N) - 1, torch.randn(N)], 1)),
    ),
    "places in a sequence": Case(
        model=module(lambda m, x: torch.log_softmax(m.score(torch.tanh(m.body(x))).squeeze(2), 1), body=linear(5, 12), score=linear(12, 1)),
        loss=F.nll_loss, data=series(lambda: torch.randint(0, 7, (N,))),
    ),
    "word pairs": Case(
        model=module(lambda m, x: (m.a(x[:, 0]) * m.b(x[:, 1])).sum(1), a=lambda: nn.Embedding(20, 8), b=lambda: nn.Embedding(20, 8)),
        loss=lambda o, t: -F.logsigmoid(o * (2 * t - 1)).mean(), data=words(binary, 2),
    ),
    "radial basis functions": Case(
        model=module(lambda m, x: m.out(torch.exp(-torch.cdist(x, m.centres) ** 2 / 20)), centres=parameter(12, 10, scale=1.0),
                     out=linear(12, 4)),
        loss=F.cross_entropy, data=table(classes),
    ),
    "overlap of boxes": Case(model=mlp(4, nn.Sigmoid), loss=overlap, data=table(lambda: torch.rand(N, 4))),
    "point clouds": Case(
        model=module(lambda m, x: m.body(x).view(-1, 6, 3), body=mlp(18)), loss=nearest_points, data=table(lambda: torch.randn(N, 5, 3))
    ),
    "targets scaled in the loss": Case(
        model=mlp(1, nn.Sigmoid), loss=lambda o, t: F.mse_loss(o[:, 0], t / 100), data=table(lambda: 100 * torch.rand(N))
    ),
    "a step that squashes": Case(model=mlp(4), loss=F.nll_loss, data=table(classes), step=normalising),
    "a step that squeezes": Case(model=mlp(1), loss=F.mse_loss, data=table(amounts), step=squeezing),
    "a step with mixed samples": Case(model=mlp(4), loss=F.cross_entropy, data=table(classes), step=mixing),
    "soft labels of several annotators": Case(
        model=mlp(1), loss=lambda o, t: F.binary_cross_entropy_with_logits(o.squeeze(1), t), data=table(lambda: torch.rand(N))
    ),
    "angles as sine and cosine": Case(
        model=module(lambda m, x: F.normalize(m.body(x), dim=1), body=mlp(2)), loss=F.mse_loss,
        data=table(lambda: F.normalize(torch.randn(N, 2), dim=1)),
    ),
    "heads for boxes": Case(
        model=module(lambda m, x: torch.sigmoid(m.body(x)), body=mlp(4)), loss=F.smooth_l1_loss, data=table(lambda: torch.rand(N, 4))
    ),
    "random features in a plain tensor": Case(
        model=module(lambda m, x: m.b(torch.cos(x @ m.a)), a=lambda: torch.randn(10, 64), b=linear(64, 4)),
        loss=F.cross_entropy, data=table(classes),
    ),
    "a loaded network hidden in a list": Case(
        model=module(lambda m, x: m.b(m.hidden[0](x)), hidden=lambda: [loaded_layer()], b=linear(16, 4)),
        loss=F.cross_entropy, data=table(classes),
    ),
    "weights with noise in each pass": Case(
        model=module(lambda m, x: F.linear(x, m.a + 0.1 * torch.randn(4, 10)), a=parameter(4, 10, scale=0.3)),
        loss=F.cross_entropy, data=table(classes),
    ),
    "a linear autoencoder of tied weights": Case(
        model=module(lambda m, x: F.linear(F.linear(x, m.a), m.a.t()), a=parameter(7, 10, scale=0.3)),
        loss=F.mse_loss, data=lambda: (torch.randn(N, 10),) * 2,
    ),
}  # fmt: skip
