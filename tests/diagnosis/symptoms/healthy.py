"""Programs with nothing wrong, of many kinds: a finding about one of them is a false alarm.

`ADVICE` names the programs about which an advice is right although nothing is wrong.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diagnosis.symptoms.programs import (
    Batch,
    Program,
    Recurrent,
    Training,
    Transformer,
    accumulating,
    adam,
    clipped,
    cnn,
    evaluated,
    he,
    images,
    initialised,
    mlp,
    next_tokens,
    plain,
    residual,
    sgd,
    table,
    tokens,
    twice,
    values,
    waves,
    with_closure,
)


def cosine(optimizer: Any, steps: int) -> Any:
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)


def warm_up(optimizer: Any, steps: int) -> Any:
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, step / 40))


def one_cycle(peak: float) -> Any:
    return lambda optimizer, steps: torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, total_steps=steps + 1)


def freeze_first(model: Any) -> None:
    model[0].requires_grad_(False)


def zero_head(model: Any) -> None:
    nn.init.zeros_(list(model.modules())[-1].weight)


def frozen_norms(training: Training, inputs: Tensor, targets: Tensor) -> None:
    """Batch normalisation keeps its statistics, as when a trained network is tuned further."""
    for module in training.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    plain(training, inputs, targets)


def smoothed(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, label_smoothing=0.1)


def binary(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(outputs[:, 0], targets.float())


def of_probabilities(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.binary_cross_entropy(outputs[:, 0], targets.float())


def several_labels(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(outputs, F.one_hot(targets, 3).float())


def weighted(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, weight=torch.tensor([0.3, 3.0]))


def by_hand(outputs: Tensor, targets: Tensor) -> Tensor:
    return ((outputs - targets) ** 2).mean()


def likelihood(outputs: Tensor, targets: Tensor) -> Tensor:
    """Gaussian with a learnt deviation: falls below 0."""
    return (0.5 * (targets[:, 0] - outputs[:, 0]).square() * torch.exp(-outputs[:, 1]) + 0.5 * outputs[:, 1]).mean()


def same_images(samples: int = 300) -> Any:
    def draw(generator: torch.Generator) -> Batch:
        inputs, _ = images(samples)(generator)
        return inputs.flatten(1), inputs.flatten(1)

    return draw


class Autoencoder(nn.Module):
    """A variational autoencoder: gives its loss itself."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8)), mlp(4, 32, 64)()

    def forward(self, inputs: Tensor) -> Tensor:
        mean, log_variance = self.encoder(inputs).chunk(2, dim=1)
        latent = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        divergence = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(1).mean()
        return F.mse_loss(self.decoder(latent), inputs) + 1e-2 * divergence


class Embeddings(nn.Module):
    """A bag of tokens with sparse gradients; most rows are never touched."""

    def __init__(self) -> None:
        super().__init__()
        self.bag, self.head = nn.EmbeddingBag(2000, 16, sparse=True), nn.Linear(16, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.bag(inputs))


class Pair(nn.Module):
    """A generator and its discriminator; both are trained, the generator through the discriminator."""

    def __init__(self) -> None:
        super().__init__()
        self.generator, self.discriminator = mlp(4, 32, 10, norm=nn.BatchNorm1d)(), mlp(10, 32, 1)()


def adversarial(part: str) -> Any:
    """One step of a GAN in which `part` is the watched model."""

    def step(training: Training, inputs: Tensor, targets: Tensor) -> None:
        other, optimizer = training.kept.setdefault("other", _other(part))
        generator, discriminator = (training.model, other) if part == "generator" else (other, training.model)
        first, second = (training.optimizer, optimizer) if part == "generator" else (optimizer, training.optimizer)
        noise = torch.randn(len(inputs), 4)
        with torch.no_grad():
            fake = generator(noise)
        second.zero_grad()
        real_scores, fake_scores = discriminator(inputs), discriminator(fake)
        real, false = torch.ones_like(real_scores), torch.zeros_like(fake_scores)
        loss = F.binary_cross_entropy_with_logits(real_scores, real) + F.binary_cross_entropy_with_logits(fake_scores, false)
        loss.backward()
        second.step()
        first.zero_grad()
        scores = discriminator(generator(noise))
        F.binary_cross_entropy_with_logits(scores, torch.ones_like(scores)).backward()
        first.step()

    return step


def _other(part: str) -> tuple[nn.Module, Any]:
    pair = Pair()
    other = pair.discriminator if part == "generator" else pair.generator
    return other, adam(1e-3)(other)


def own_loss(training: Training, inputs: Tensor, targets: Tensor) -> None:
    """The model gives its loss."""
    training.optimizer.zero_grad()
    training.model(inputs).backward()
    training.optimizer.step()


def mixed_up(training: Training, inputs: Tensor, targets: Tensor) -> None:
    share, order = 0.7, torch.randperm(len(inputs))
    training.optimizer.zero_grad()
    outputs = training.model(share * inputs + (1 - share) * inputs[order])
    (share * F.cross_entropy(outputs, targets) + (1 - share) * F.cross_entropy(outputs, targets[order])).backward()
    training.optimizer.step()


def by_reward(training: Training, inputs: Tensor, targets: Tensor) -> None:
    """Policy gradient: the loss has either sign and need not fall."""
    training.optimizer.zero_grad()
    chosen = torch.distributions.Categorical(logits=training.model(inputs))
    actions = chosen.sample()
    rewards = (actions == targets).float()
    (-(rewards - rewards.mean()) * chosen.log_prob(actions)).mean().backward()
    training.optimizer.step()


def attacked(training: Training, inputs: Tensor, targets: Tensor) -> None:
    """Adversarial training: examples are made in evaluation mode, with backward passes of their own."""
    training.model.eval()
    moved = inputs.clone().requires_grad_(True)
    training.loss(training.model(moved), targets).backward()
    training.model.train()
    training.optimizer.zero_grad()
    assert moved.grad is not None
    training.loss(training.model((moved + 0.05 * moved.grad.sign()).detach()), targets).backward()
    training.optimizer.step()


def sharpness_aware(training: Training, inputs: Tensor, targets: Tensor) -> None:
    """SAM: up by a little along the gradient, and the update with the gradient from there."""
    training.optimizer.zero_grad()
    training.loss(training.model(inputs), targets).backward()
    moves = [(p, 0.02 * p.grad / (p.grad.norm() + 1e-12)) for p in training.model.parameters() if p.grad is not None]
    with torch.no_grad():
        for parameter, move in moves:
            parameter += move
    training.optimizer.zero_grad()
    training.loss(training.model(inputs), targets).backward()
    with torch.no_grad():
        for parameter, move in moves:
            parameter -= move
    training.optimizer.step()


def distilled(training: Training, inputs: Tensor, targets: Tensor) -> None:
    teacher = training.kept.setdefault("teacher", mlp(10, 32, 3)())
    with torch.no_grad():
        soft = torch.softmax(3 * teacher(inputs), dim=1)
    training.optimizer.zero_grad()
    outputs = training.model(inputs)
    (0.5 * F.cross_entropy(outputs, targets) + 0.5 * F.cross_entropy(outputs, soft)).backward()
    training.optimizer.step()


def in_bfloat16(training: Training, inputs: Tensor, targets: Tensor) -> None:
    training.optimizer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        loss = training.loss(training.model(inputs), targets)
    loss.backward()
    training.optimizer.step()


def several_dropouts(training: Training, held_out: Any) -> None:
    """Monte Carlo dropout: evaluation mode, and dropout alone at work."""
    training.model.eval()
    for module in training.model.modules():
        if isinstance(module, nn.Dropout):
            module.train()
    with torch.no_grad():
        for inputs, _ in held_out:
            for _ in range(3):
                training.model(inputs)
    training.model.train()


def summed(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="sum")


def summed_squares(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.mse_loss(outputs, targets, reduction="sum")


def small(outputs: Tensor, targets: Tensor) -> Tensor:
    return 1e-4 * F.cross_entropy(outputs, targets)


def ten_thousand(outputs: Tensor, targets: Tensor) -> Tensor:
    """Targets in a unit of their own: a loss in the tens of thousands."""
    return F.mse_loss(outputs, 200 + 50 * targets)


def labelled_pixels(samples: int = 200) -> Any:
    """Each pixel is ink or not: targets (N, H, W)."""

    def draw(generator: torch.Generator) -> Batch:
        inputs, _ = images(samples)(generator)
        return inputs + 0.3 * torch.randn(inputs.shape, generator=generator), (inputs[:, 0] > 0.2).long()

    return draw


def grouped(draw: Any) -> Any:
    """Batches of two classes with sixteen samples each, as losses over pairs want them."""

    def drawn(generator: torch.Generator) -> Batch:
        inputs, targets = draw(generator)
        order: list[Tensor] = []
        for _ in range(len(targets) // 32):
            chosen = torch.randperm(int(targets.max()) + 1, generator=generator)[:2]
            order += [
                torch.nonzero(targets == c).flatten()[torch.randint(int((targets == c).sum()), (16,), generator=generator)] for c in chosen
            ]
        return inputs[torch.cat(order)], targets[torch.cat(order)]

    return drawn


def learnt_before(generator: torch.Generator) -> Batch:
    return table()(torch.Generator().manual_seed(77))


def trained_before(model: Any) -> None:
    """The network comes with weights that have learnt the very task."""
    inputs, targets = learnt_before(torch.Generator())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(300):
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    optimizer.zero_grad()


class Gated(nn.Module):
    """Channels weighed by a sigmoid of their mean (squeeze and excitation); the gate's few units may die, and the network learns."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.gate, self.second = nn.Conv2d(1, 12, 3, padding=1), mlp(12, 4, 12, last=nn.Sigmoid)(), nn.Conv2d(12, 24, 3)
        self.head = nn.Linear(96, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = F.relu(self.first(inputs))
        hidden = F.relu(self.second(hidden * self.gate(hidden.mean((2, 3)))[:, :, None, None]))
        return self.head(F.adaptive_avg_pool2d(hidden, 2).flatten(1))


def monitored(training: Training, inputs: Tensor, targets: Tensor) -> None:
    """A loss that is written down after every step, in evaluation mode."""
    plain(training, inputs, targets)
    training.model.eval()
    with torch.no_grad():
        training.model(inputs)
    training.model.train()


class Several:
    """Optimisers that step together."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts

    def zero_grad(self) -> None:
        for part in self.parts:
            part.zero_grad()

    def step(self) -> None:
        for part in self.parts:
            part.step()


def two_optimizers(model: Any) -> Several:
    """One for the first layer, one for the rest."""
    return Several(torch.optim.SGD(model[0].parameters(), lr=0.02), torch.optim.Adam(model[2:].parameters(), lr=3e-3))


def sparse(model: Any) -> Several:
    return Several(torch.optim.SparseAdam(model.bag.parameters(), lr=1e-2), torch.optim.Adam(model.head.parameters(), lr=1e-2))


IMAGES = Program(data=images(), network=cnn(), optimizer=adam(), epochs=8)
TABLE = Program(data=table(), network=mlp(10, 32, 32, 3), optimizer=sgd())
VALUES = Program(data=values(), network=mlp(8, 32, 32, 1), loss=F.mse_loss, optimizer=adam())
TOKENS = Program(data=tokens(), network=Transformer, optimizer=adam(2e-3))
NEXT = replace(TOKENS, data=next_tokens(), optimizer=adam())
BINARY = replace(TABLE, data=table(classes=2), network=mlp(10, 32, 1), loss=binary)

HEALTHY: dict[str, Program] = {
    # tables
    "mlp, SGD": TABLE,
    "mlp, SGD with momentum": replace(TABLE, optimizer=sgd(0.02, momentum=0.9)),
    "mlp, Nesterov and weight decay": replace(TABLE, optimizer=sgd(0.02, momentum=0.9, nesterov=True, weight_decay=1e-3)),
    "mlp, Adam": replace(TABLE, optimizer=adam()),
    "mlp, AdamW with much decay": replace(TABLE, optimizer=lambda m: torch.optim.AdamW(m.parameters(), lr=3e-3, weight_decay=0.3)),
    "mlp, RMSprop": replace(TABLE, optimizer=lambda m: torch.optim.RMSprop(m.parameters(), lr=1e-3)),
    "mlp, Adagrad": replace(TABLE, optimizer=lambda m: torch.optim.Adagrad(m.parameters(), lr=2e-2)),
    "mlp, full batch": replace(TABLE, batch=1000, epochs=150, optimizer=sgd(0.3)),
    "mlp, full batch, at the edge of stability": replace(TABLE, batch=1000, epochs=100, optimizer=sgd(1.0)),
    "mlp, LBFGS on 60 rows": replace(TABLE, data=table(60), batch=60, epochs=25, step=with_closure,
                                     optimizer=lambda m: torch.optim.LBFGS(m.parameters(), lr=0.5, max_iter=5)),
    "mlp, 60 rows until all are learnt": replace(TABLE, data=table(60), batch=16, epochs=120, optimizer=adam(5e-3)),
    "mlp, 60 rows, SGD": replace(TABLE, data=table(60), batch=16, epochs=60),
    "mlp, batch size 1": replace(TABLE, data=table(120), batch=1, epochs=3, optimizer=sgd(0.01)),
    "mlp, noisy labels": replace(TABLE, data=table(400, flipped=0.4), optimizer=adam(1e-3)),
    "mlp, rare classes": replace(TABLE, data=table(400, classes=2, shares=(0.95, 0.05)), network=mlp(10, 32, 2), optimizer=adam()),
    "mlp, weighted rare classes": replace(TABLE, data=table(400, classes=2, shares=(0.93, 0.07)), network=mlp(10, 32, 2), loss=weighted),
    "mlp, high rate with warm-up": replace(TABLE, optimizer=sgd(0.4), scheduler=warm_up, epochs=20),
    "mlp, one cycle": replace(TABLE, optimizer=sgd(0.01, momentum=0.9), scheduler=one_cycle(0.1)),
    "mlp, annealed to 0": replace(TABLE, optimizer=adam(5e-3), scheduler=cosine, epochs=20),
    "mlp, eight layers": replace(TABLE, network=initialised(mlp(10, *[32] * 8, 3), he), optimizer=adam(1e-3), epochs=20),
    "mlp, eight normalised layers": replace(TABLE, network=mlp(10, *[32] * 8, 3, norm=nn.LayerNorm), optimizer=adam(1e-3)),
    "mlp, tanh": replace(TABLE, network=mlp(10, 32, 32, 3, activation=nn.Tanh)),
    "mlp, sigmoid": replace(TABLE, network=mlp(10, 32, 32, 3, activation=nn.Sigmoid), optimizer=adam(5e-3), epochs=25),
    "mlp, GELU": replace(TABLE, network=mlp(10, 32, 32, 3, activation=nn.GELU), optimizer=adam()),
    "mlp, LeakyReLU": replace(TABLE, network=mlp(10, 32, 32, 3, activation=nn.LeakyReLU)),
    "mlp, dropout and batch norm": replace(TABLE, network=mlp(10, 48, 48, 3, dropout=0.3, norm=nn.BatchNorm1d), evaluate=evaluated),
    "mlp, wide": replace(TABLE, network=mlp(10, 512, 3), optimizer=adam(1e-3)),
    "mlp, narrow": replace(TABLE, network=mlp(10, 4, 3), optimizer=adam(1e-2)),
    "mlp, head starts at 0": replace(TABLE, prepare=zero_head, optimizer=adam()),
    "mlp, first layer frozen": replace(TABLE, prepare=freeze_first, optimizer=adam()),
    "mlp, accumulation over 4 batches": replace(TABLE, step=accumulating, batch=8, optimizer=adam()),
    "mlp, clipped": replace(TABLE, step=clipped, optimizer=adam()),
    "mlp, two backward passes": replace(TABLE, step=twice, optimizer=adam()),
    "mlp, two optimizers": replace(TABLE, optimizer=two_optimizers),
    "mlp, label smoothing": replace(TABLE, loss=smoothed, optimizer=adam()),
    "mlp, several labels": replace(TABLE, loss=several_labels, optimizer=adam()),
    "mlp, mixup": replace(TABLE, step=mixed_up, optimizer=adam()),
    "mlp, loss written down": replace(TABLE, step=monitored, network=mlp(10, 32, 3, dropout=0.2)),
    "mlp, evaluated": replace(TABLE, evaluate=evaluated, loss=nn.CrossEntropyLoss, tell=True),
    "mlp, short": replace(TABLE, epochs=3),
    "mlp, binary": BINARY,
    "mlp, sigmoid output, learnt": replace(BINARY, data=table(120, classes=2), network=mlp(10, 64, 1, last=nn.Sigmoid),
                                           loss=of_probabilities, optimizer=adam(1e-2), epochs=60),
    "mlp, adversarial examples": replace(TABLE, step=attacked, network=mlp(10, 32, 3, dropout=0.2), optimizer=adam()),
    "mlp, sharpness-aware": replace(TABLE, step=sharpness_aware, optimizer=sgd(0.02, momentum=0.9)),
    "mlp, distilled": replace(TABLE, step=distilled, optimizer=adam()),
    "mlp, bfloat16": replace(TABLE, step=in_bfloat16, optimizer=adam()),
    "mlp, Monte Carlo dropout": replace(TABLE, network=mlp(10, 48, 3, dropout=0.3), optimizer=adam(), evaluate=several_dropouts),
    "mlp, summed loss": replace(TABLE, loss=summed, optimizer=sgd(1e-3)),
    "mlp, summed loss, Adam": replace(TABLE, loss=summed, optimizer=adam()),
    "mlp, loss times 1e-4": replace(TABLE, loss=small, optimizer=adam()),
    "mlp, batches of two classes": replace(TABLE, data=grouped(table(640)), optimizer=adam()),
    "mlp, goes on where all is learnt": replace(TABLE, data=learnt_before, prepare=trained_before, optimizer=sgd(0.01)),
    "mlp, tuned with a small rate": replace(TABLE, data=learnt_before, prepare=trained_before, optimizer=adam(2e-5)),
    "logistic regression": replace(TABLE, network=mlp(10, 3), optimizer=sgd(0.3)),
    "policy gradient": replace(TABLE, step=by_reward, optimizer=adam()),
    # values
    "regression": VALUES,
    "regression, SGD": replace(VALUES, optimizer=sgd(0.05)),
    "regression, full batch, at the edge of stability": replace(VALUES, batch=1000, epochs=80, optimizer=sgd(0.3)),
    "regression, absolute error": replace(VALUES, loss=F.l1_loss),
    "regression, Huber": replace(VALUES, loss=F.huber_loss, optimizer=sgd(0.1)),
    "regression, by hand": replace(VALUES, loss=by_hand, data=values(column=True)),
    "regression, without noise, to the end": replace(VALUES, data=values(60, noise=0.0), epochs=150, batch=20),
    "regression, little signal": replace(VALUES, data=values(noise=3.0), optimizer=adam(1e-3)),
    "regression, likelihood": replace(VALUES, network=mlp(8, 32, 2), loss=likelihood),
    "regression, summed": replace(VALUES, loss=summed_squares),
    "regression, targets as they come": replace(VALUES, loss=ten_thousand, optimizer=adam(1e-2)),
    "linear regression": replace(VALUES, network=mlp(8, 1), optimizer=sgd(0.1)),
    # images
    "cnn, Adam": IMAGES,
    "cnn, SGD": replace(IMAGES, optimizer=sgd(0.1, momentum=0.9), epochs=10),
    "cnn, batch norm": replace(IMAGES, network=cnn(norm=True), optimizer=sgd(0.1, momentum=0.9), evaluate=evaluated),
    "cnn, dropout": replace(IMAGES, network=cnn(dropout=0.4), evaluate=evaluated),
    "cnn, frozen normalisation": replace(IMAGES, network=cnn(norm=True), step=frozen_norms),
    "residual, SGD": replace(IMAGES, network=residual, optimizer=sgd(0.1, momentum=0.9), evaluate=evaluated),
    "residual, AdamW": replace(IMAGES, network=residual, optimizer=lambda m: torch.optim.AdamW(m.parameters(), lr=3e-3)),
    "segmentation": replace(IMAGES, data=labelled_pixels(), network=lambda: nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 2, 3, padding=1))),
    "gated cnn": replace(IMAGES, network=Gated, optimizer=adam(5e-3), epochs=12),
    "autoencoder": replace(IMAGES, data=same_images(), network=mlp(64, 32, 8, 32, 64), loss=F.mse_loss),
    "variational autoencoder": replace(IMAGES, data=same_images(), network=Autoencoder, step=own_loss),
    # sequences
    "LSTM": replace(TOKENS, network=Recurrent, optimizer=adam(5e-3)),
    "GRU, clipped": replace(TOKENS, network=lambda: Recurrent(nn.GRU), optimizer=adam(5e-3), step=clipped),
    "recurrent": replace(TOKENS, network=lambda: Recurrent(nn.RNN), step=clipped),
    "recurrent ReLU": replace(TOKENS, network=lambda: Recurrent(partial(nn.RNN, nonlinearity="relu")), step=clipped),
    "transformer": TOKENS,
    "transformer, warm-up": replace(TOKENS, optimizer=adam(3e-3), scheduler=warm_up, evaluate=evaluated),
    "transformer, norm last": replace(TOKENS, network=lambda: Transformer(norm_first=False)),
    "language model, transformer": replace(NEXT, network=lambda: Transformer(20, 20, every=True)),
    "language model, tied": replace(NEXT, network=lambda: Transformer(20, 20, every=True, tied=True)),
    "language model, LSTM": replace(NEXT, network=lambda: Recurrent(nn.LSTM, 20, 20, every=True)),
    "sparse embeddings": replace(TOKENS, network=Embeddings, optimizer=sparse),
    "time series in order": Program(data=waves(), network=lambda: Recurrent(nn.LSTM, outputs=1, series=True), loss=F.mse_loss,
                                    optimizer=adam(5e-3), order="fixed"),
    # several models
    "generator": replace(TABLE, network=lambda: Pair().generator, step=adversarial("generator"), optimizer=adam(1e-3)),
    "discriminator": replace(TABLE, network=lambda: Pair().discriminator, step=adversarial("discriminator"), optimizer=adam(1e-3)),
}  # fmt: skip
ADVICE = {"time series in order": "no_shuffle"}
QUICK = (
    "mlp, SGD",
    "mlp, Adam",
    "regression",
    "cnn, Adam",
    "transformer",
    "LSTM",
    "mlp, accumulation over 4 batches",
    "generator",
    "logistic regression",
    "linear regression",
    "mlp, eight layers",
)
