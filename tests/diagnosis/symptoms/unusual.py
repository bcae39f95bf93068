"""Programs that are right and not everyday: losses that stay level by nature, optimisers and schedules of their own, tiny data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diagnosis.symptoms.healthy import IMAGES, NEXT, TABLE, VALUES, Pair, cosine, same_images
from diagnosis.symptoms.programs import (
    Batch,
    Program,
    Recurrent,
    Training,
    adam,
    clipped,
    cnn,
    evaluated,
    mlp,
    plain,
    sgd,
    table,
    values,
)

# -- losses --------------------------------------------------------------------------------------------------------------------------


def focal(outputs: Tensor, targets: Tensor) -> Tensor:
    losses = F.cross_entropy(outputs, targets, reduction="none")
    return ((1 - torch.exp(-losses)) ** 2 * losses).mean()


def penalised(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets) - 0.1 * torch.distributions.Categorical(logits=outputs).entropy().mean()


def pinball(outputs: Tensor, targets: Tensor) -> Tensor:
    """The 90 % quantile."""
    errors = targets - outputs
    return torch.maximum(0.9 * errors, -0.1 * errors).mean()


def counts(outputs: Tensor, targets: Tensor) -> Tensor:
    """Poisson regression: falls below 0."""
    return F.poisson_nll_loss(outputs, torch.round(torch.exp(targets)))


def hinge(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.multi_margin_loss(outputs, targets)


def two_tasks(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs[:, :3], targets) + 0.5 * F.mse_loss(outputs[:, 3], targets.float())


def neighbours(outputs: Tensor, targets: Tensor) -> Tensor:
    """Contrastive (InfoNCE): each half of a sample must find its other half among the batch's."""
    first, second = F.normalize(outputs.chunk(2, dim=1)[0], dim=1), F.normalize(outputs.chunk(2, dim=1)[1], dim=1)
    return F.cross_entropy(first @ second.T / 0.2, torch.arange(len(outputs)))


def triplets(outputs: Tensor, targets: Tensor) -> Tensor:
    order = torch.randperm(len(outputs))
    same, apart = targets == targets[order], targets != targets[order.flip(0)]
    kept = same & apart
    if not kept.any():
        return 0.0 * outputs.sum()
    return F.triplet_margin_loss(outputs[kept], outputs[order][kept], outputs[order.flip(0)][kept])


def soft(outputs: Tensor, targets: Tensor) -> Tensor:
    """Targets as probabilities."""
    return F.cross_entropy(outputs, 0.9 * F.one_hot(targets, 3).float() + 0.1 / 3)


def ink(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(outputs, (targets + 0.3).clamp(0, 1))


# -- steps ---------------------------------------------------------------------------------------------------------------------------


def always_clipped(training: Training, inputs: Tensor, targets: Tensor) -> None:
    training.optimizer.zero_grad()
    training.loss(training.model(inputs), targets).backward()
    nn.utils.clip_grad_norm_(training.model.parameters(), 0.05)
    training.optimizer.step()


def averaged(training: Training, inputs: Tensor, targets: Tensor) -> None:
    """A moving average of the weights, which is what will be used."""
    plain(training, inputs, targets)
    average = training.kept.setdefault("average", torch.optim.swa_utils.AveragedModel(training.model))
    average.update_parameters(training.model)


def noisy_steps(training: Training, inputs: Tensor, targets: Tensor) -> None:
    """Langevin dynamics: noise beside the gradient."""
    plain(training, inputs, targets)
    with torch.no_grad():
        for parameter in training.model.parameters():
            parameter += 2e-3 * torch.randn_like(parameter)


def denoising(training: Training, inputs: Tensor, targets: Tensor) -> None:
    """Diffusion: the noise in a sample is to be told from sample and strength; most of the loss stays."""
    strength, noise = torch.rand(len(inputs), 1), torch.randn_like(inputs)
    training.optimizer.zero_grad()
    outputs = training.model(torch.cat([(1 - strength).sqrt() * inputs + strength.sqrt() * noise, strength], dim=1))
    F.mse_loss(outputs, noise).backward()
    training.optimizer.step()


def residual_of_equation(training: Training) -> Tensor:
    """u'' = -u with u(0) = 0 and u'(0) = 1, without data."""
    time = (3 * torch.rand(64, 1)).requires_grad_(True)
    first = torch.autograd.grad(training.model(time).sum(), time, create_graph=True)[0]
    second = torch.autograd.grad(first.sum(), time, create_graph=True)[0]
    start = torch.zeros(1, 1, requires_grad=True)
    value = training.model(start)
    slope = torch.autograd.grad(value.sum(), start, create_graph=True)[0]
    equation = second + training.model(time)
    return F.mse_loss(equation, torch.zeros_like(equation)) + value.square().mean() + (slope - 1).square().mean()


def physics(training: Training, inputs: Tensor, targets: Tensor) -> None:
    """Adam first, then LBFGS."""
    if training.number < 100:
        training.optimizer.zero_grad()
        residual_of_equation(training).backward()
        training.optimizer.step()
        return
    second = training.kept.setdefault("second", torch.optim.LBFGS(training.model.parameters(), max_iter=4, line_search_fn="strong_wolfe"))

    def closure() -> Tensor:
        second.zero_grad()
        loss = residual_of_equation(training)
        loss.backward()
        return loss

    second.step(closure)


def played(watched: str, kind: str) -> Any:
    """One step of a GAN with the Wasserstein loss and weight clipping, or with the least-squares loss."""

    def step(training: Training, inputs: Tensor, targets: Tensor) -> None:
        if "other" not in training.kept:
            pair = Pair()
            other = pair.discriminator if watched == "generator" else pair.generator
            training.kept["other"] = other, torch.optim.RMSprop(other.parameters(), lr=5e-4)
        other, optimizer = training.kept["other"]
        generator, critic = (training.model, other) if watched == "generator" else (other, training.model)
        of_generator, of_critic = (training.optimizer, optimizer) if watched == "generator" else (optimizer, training.optimizer)
        real, fake = critic(inputs), critic(generator(torch.randn(len(inputs), 4)).detach())
        of_critic.zero_grad()
        (fake.mean() - real.mean() if kind == "Wasserstein" else F.mse_loss(real, torch.ones_like(real)) + fake.square().mean()).backward()
        of_critic.step()
        if kind == "Wasserstein":
            with torch.no_grad():
                for parameter in critic.parameters():
                    parameter.clamp_(-0.1, 0.1)
        of_generator.zero_grad()
        scores = critic(generator(torch.randn(len(inputs), 4)))
        (-scores.mean() if kind == "Wasserstein" else F.mse_loss(scores, torch.ones_like(scores))).backward()
        of_generator.step()

    return step


def q_learning(training: Training, inputs: Tensor, targets: Tensor) -> None:
    """Values of actions from rewards and a copy of the network that is renewed now and then: the loss may rise while it learns."""
    if training.number % 20 == 0:
        copied = mlp(10, 32, 32, 3)()
        copied.load_state_dict(training.model.state_dict())
        training.kept["copy"] = copied
    actions = torch.randint(3, (len(inputs),))
    with torch.no_grad():
        following = training.kept["copy"](inputs.roll(1, 0)).max(1).values
    wanted = (actions == targets).float() + 0.9 * following
    training.optimizer.zero_grad()
    chosen = training.model(inputs).gather(1, actions[:, None])[:, 0]
    F.mse_loss(chosen, wanted).backward()
    training.optimizer.step()


def actor_and_critic(training: Training, inputs: Tensor, targets: Tensor) -> None:
    training.optimizer.zero_grad()
    outputs = training.model(inputs)
    policy, value = torch.distributions.Categorical(logits=outputs[:, :3]), outputs[:, 3]
    actions = policy.sample()
    rewards = (actions == targets).float()
    gain = (rewards - value).detach()
    (-(gain * policy.log_prob(actions)).mean() + 0.5 * F.mse_loss(value, rewards) - 0.01 * policy.entropy().mean()).backward()
    training.optimizer.step()


def half_frozen(training: Training, inputs: Tensor, targets: Tensor) -> None:
    """Features of a network that was trained before, without gradients; the head learns."""
    model: Any = training.model
    with torch.no_grad():
        features = model[:5](inputs)
    training.optimizer.zero_grad()
    training.loss(model[5:](features), targets).backward()
    training.optimizer.step()


# -- optimisers, schedules, data -----------------------------------------------------------------------------------------------------


class LayerWise(torch.optim.Optimizer):
    """LARS: each layer's step is a share of its weights."""

    def __init__(self, parameters: Any, lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    share = parameter.norm() / (parameter.grad.norm() + 1e-9) if parameter.dim() > 1 else 1.0
                    parameter -= group["lr"] * share * parameter.grad


def restarted(optimizer: Any, steps: int) -> Any:
    return torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 30, eta_min=0.0)


def per_epoch(optimizer: Any, steps: int) -> Any:
    """Divided by 10 at half and at three quarters."""
    return torch.optim.lr_scheduler.MultiStepLR(optimizer, [steps // 2, 3 * steps // 4])


def linear(optimizer: Any, steps: int) -> Any:
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / 20, max(0.0, 1 - step / steps)))


def sines(model: Any) -> None:
    """SIREN's first weights."""
    for number, layer in enumerate(module for module in model.modules() if isinstance(module, nn.Linear)):
        bound = 1 / layer.in_features if number == 0 else (6 / layer.in_features) ** 0.5 / 10
        nn.init.uniform_(layer.weight, -bound, bound)


class Sine(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return torch.sin(10 * inputs)


def rare_labels(generator: torch.Generator) -> Batch:
    inputs = torch.randn(320, 10, generator=generator)
    scores = inputs @ torch.randn(10, 12, generator=generator)
    return inputs, (scores > 2 * scores.std()).float()


def groups(model: Any) -> Any:
    """Smaller rates for earlier layers."""
    return torch.optim.Adam(
        [{"params": model[0].parameters(), "lr": 1e-5}, {"params": model[2].parameters(), "lr": 3e-4}, {"params": model[4].parameters()}],
        lr=3e-3,
    )


PHYSICS = Program(data=values(64, 1), network=mlp(1, 32, 32, 1, activation=nn.Tanh), optimizer=adam(5e-3), step=physics, batch=64,
                  epochs=130)  # fmt: skip
GAME = replace(TABLE, network=lambda: Pair().discriminator, optimizer=adam(5e-4))

UNUSUAL: dict[str, Program] = {
    # losses
    "focal loss": replace(TABLE, loss=focal, optimizer=adam()),
    "entropy rewarded": replace(TABLE, loss=penalised, optimizer=adam()),
    "targets as probabilities": replace(TABLE, loss=soft, optimizer=adam()),
    "hinge loss": replace(TABLE, loss=hinge, optimizer=sgd(0.1)),
    "two tasks": replace(TABLE, network=mlp(10, 32, 32, 4), loss=two_tasks, optimizer=adam()),
    "rare labels": replace(TABLE, data=rare_labels, network=mlp(10, 32, 12), loss=F.binary_cross_entropy_with_logits, optimizer=adam()),
    "quantile": replace(VALUES, loss=pinball),
    "counts": replace(VALUES, loss=counts, optimizer=adam(1e-3)),
    "contrastive, InfoNCE": replace(TABLE, network=mlp(10, 64, 32), loss=neighbours, optimizer=adam(), batch=64),
    "contrastive, triplets": replace(TABLE, network=mlp(10, 64, 8), loss=triplets, optimizer=adam(1e-3)),
    "autoencoder of ink": replace(IMAGES, data=same_images(), network=mlp(64, 32, 8, 32, 64), loss=ink),
    "diffusion": replace(TABLE, network=mlp(11, 64, 64, 10), step=denoising, optimizer=adam(1e-3), epochs=40),
    # losses that stay level or rise by nature
    "physics, Adam then LBFGS": PHYSICS,
    "Wasserstein critic": replace(GAME, step=played("critic", "Wasserstein")),
    "Wasserstein generator": replace(GAME, network=lambda: Pair().generator, step=played("generator", "Wasserstein")),
    "least-squares discriminator": replace(GAME, step=played("critic", "least squares"), epochs=30),
    "least-squares generator": replace(GAME, network=lambda: Pair().generator, step=played("generator", "least squares"), epochs=30),
    "values of actions": replace(TABLE, step=q_learning, optimizer=adam(1e-3), epochs=30),
    "actor and critic": replace(TABLE, network=mlp(10, 32, 4), step=actor_and_critic, optimizer=adam(), epochs=30),
    # steps and schedules
    "gradient always clipped": replace(TABLE, step=always_clipped, optimizer=sgd(1.0), epochs=20),
    "moving average of the weights": replace(TABLE, step=averaged, optimizer=sgd(0.05, momentum=0.9), evaluate=evaluated),
    "noisy steps": replace(TABLE, step=noisy_steps),
    "cosine with restarts": replace(TABLE, optimizer=adam(5e-3), scheduler=restarted, epochs=18),
    "rate divided twice": replace(IMAGES, optimizer=sgd(0.1, momentum=0.9), scheduler=per_epoch, epochs=12),
    "linear to 0 after warm-up": replace(TABLE, optimizer=adam(5e-3), scheduler=linear),
    "annealed for long after all is learnt": replace(TABLE, data=table(60), batch=16, optimizer=adam(5e-3), scheduler=cosine, epochs=120),
    "LARS, large batches": replace(TABLE, data=table(2048), batch=512, epochs=40, optimizer=lambda m: LayerWise(m.parameters(), 0.02)),
    "Adadelta": replace(TABLE, optimizer=lambda m: torch.optim.Adadelta(m.parameters(), lr=1.0)),
    "Rprop, full batch": replace(TABLE, batch=1000, epochs=80, optimizer=lambda m: torch.optim.Rprop(m.parameters(), lr=1e-3)),
    "NAdam": replace(TABLE, optimizer=lambda m: torch.optim.NAdam(m.parameters(), lr=2e-3)),
    "a rate for each layer": replace(TABLE, optimizer=groups),
    "momentum 0.99": replace(TABLE, optimizer=sgd(3e-3, momentum=0.99), epochs=25),
    # networks and data
    "dropout 0.8": replace(TABLE, network=mlp(10, 256, 3, dropout=0.8), optimizer=adam(), epochs=20, evaluate=evaluated),
    "sines": replace(VALUES, network=mlp(8, 64, 64, 1, activation=Sine), prepare=sines, optimizer=adam(5e-4), epochs=20),
    "features without gradients": replace(IMAGES, network=cnn(), prepare=lambda m: m[:5].requires_grad_(False), step=half_frozen,
                                          optimizer=lambda m: torch.optim.Adam(m[5:].parameters(), lr=2e-2), epochs=24),
    "language model, GRU, clipped": replace(NEXT, network=lambda: Recurrent(nn.GRU, 20, 20, every=True), step=clipped),
    "twelve rows": replace(TABLE, data=table(12), batch=12, epochs=100, optimizer=adam(1e-2)),
    "one sample at a time, regression": replace(VALUES, data=values(160), batch=1, epochs=4, optimizer=sgd(5e-3)),
    "one sample at a time, long": replace(TABLE, data=table(200), batch=1, epochs=8, optimizer=sgd(0.01)),
    "two samples at a time, momentum": replace(TABLE, data=table(160), batch=2, epochs=6, optimizer=sgd(3e-3, momentum=0.9)),
}  # fmt: skip
