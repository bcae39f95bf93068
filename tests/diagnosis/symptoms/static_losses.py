"""Losses written by hand, and steps of the user's own, of the static programs."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def elbo(outputs: Any, targets: Tensor) -> Tensor:
    again, mean, spread = outputs
    return F.binary_cross_entropy(again, targets.flatten(1), reduction="sum") - 0.5 * (1 + spread - mean**2 - spread.exp()).sum()


def focal(outputs: Tensor, targets: Tensor) -> Tensor:
    p = torch.sigmoid(outputs.squeeze(1))
    p = p.clamp(1e-6, 1 - 1e-6)
    return -(targets * (1 - p) ** 2 * torch.log(p) + (1 - targets) * p**2 * torch.log(1 - p)).mean()


def focal_of_classes(outputs: Tensor, targets: Tensor) -> Tensor:
    cross = F.cross_entropy(outputs, targets, reduction="none")
    return ((1 - torch.exp(-cross)) ** 2 * cross).mean()


def dice(outputs: Tensor, targets: Tensor) -> Tensor:
    p = torch.sigmoid(outputs)
    return 1 - (2 * (p * targets).sum() + 1) / (p.sum() + targets.sum() + 1)


def pinball(outputs: Tensor, targets: Tensor) -> Tensor:
    q = torch.tensor([0.1, 0.5, 0.9])
    error = targets.unsqueeze(1) - outputs
    return torch.maximum(q * error, (q - 1) * error).mean()


def contrastive(outputs: Any, targets: Tensor) -> Tensor:
    """InfoNCE: the other samples of the batch are the wrong answers."""
    a, b = (F.normalize(one, dim=1) for one in outputs)
    return F.cross_entropy(a @ b.T / 0.1, torch.arange(len(a)))


def pairs(outputs: Any, targets: Tensor) -> Tensor:
    distance = F.pairwise_distance(*outputs)
    return (targets * distance**2 + (1 - targets) * F.relu(1 - distance) ** 2).mean()


def mixture_of_densities(outputs: Any, targets: Tensor) -> Tensor:
    shares, mean, spread = outputs
    logs = -0.5 * ((targets[:, None] - mean) / spread.exp()) ** 2 - spread - 0.5 * math.log(2 * math.pi)
    return -torch.logsumexp(F.log_softmax(shares, 1) + logs, 1).mean()


def ctc(outputs: Tensor, targets: Tensor) -> Tensor:
    logs = F.log_softmax(outputs, -1).transpose(0, 1)
    n = len(targets)
    return F.ctc_loss(logs, targets, torch.full((n,), logs.shape[0]), torch.full((n,), targets.shape[1]))


def cox(outputs: Tensor, targets: Tensor) -> Tensor:
    """The partial likelihood of survival: a sum over those still at risk, so over the batch."""
    order = targets.argsort(descending=True)
    risk = outputs.squeeze(1)[order]
    return -(risk - torch.logcumsumexp(risk, 0)).mean()


def ranking(outputs: Tensor, targets: Tensor) -> Tensor:
    s = outputs.squeeze(1)
    difference, sign = s[:, None] - s[None, :], torch.sign(targets[:, None] - targets[None, :])
    return F.softplus(-sign * difference).mean()


def smoothed(outputs: Tensor, targets: Tensor) -> Tensor:
    logs = F.log_softmax(outputs, 1)
    wanted = torch.full_like(logs, 0.1 / 4).scatter_(1, targets[:, None], 0.9 + 0.1 / 4)
    return -(wanted * logs).sum(1).mean()


def policy(outputs: Tensor, targets: Tensor) -> Tensor:
    """A policy gradient: log-probabilities of the actions taken, weighted by what they earned."""
    actions, earned = targets[:, 0].long(), targets[:, 1]
    logs = torch.log_softmax(outputs, 1).gather(1, actions[:, None])[:, 0]
    return -(logs * (earned - earned.mean())).mean() - 0.01 * torch.special.entr(torch.softmax(outputs, 1)).sum(1).mean()


def _stepped(optimizer: Any, value: Tensor) -> Tensor:
    optimizer.zero_grad()
    value.backward()
    optimizer.step()
    return value


def normalising(model: Any, optimizer: Any, loss: Any, batch: Any) -> Tensor:
    return _stepped(optimizer, loss(F.log_softmax(model(batch[0]), 1), batch[1]))


def squeezing(model: Any, optimizer: Any, loss: Any, batch: Any) -> Tensor:
    return _stepped(optimizer, loss(model(batch[0]).squeeze(1), batch[1]))


def mixing(model: Any, optimizer: Any, loss: Any, batch: Any) -> Tensor:
    x, t = batch
    order, share = torch.randperm(len(x)), 0.7
    outputs = model(share * x + (1 - share) * x[order])
    return _stepped(optimizer, share * loss(outputs, t) + (1 - share) * loss(outputs, t[order]))


def chain(outputs: Any, targets: Tensor) -> Tensor:
    """A conditional random field: all ways through the tags against the right one."""
    scores, steps = outputs
    every, right = scores[:, 0], scores[:, 0].gather(1, targets[:, :1])[:, 0]
    for t in range(1, scores.shape[1]):
        every = torch.logsumexp(every[:, :, None] + steps, 1) + scores[:, t]
        right = right + scores[:, t].gather(1, targets[:, t : t + 1])[:, 0] + steps[targets[:, t - 1], targets[:, t]]
    return (torch.logsumexp(every, 1) - right).mean()


def decorrelated(outputs: Any, targets: Tensor) -> Tensor:
    """Two views agree, and their features say different things: a matrix over the batch."""
    a, b = ((one - one.mean(0)) / one.std(0) for one in outputs)
    return ((a.T @ b / len(a) - torch.eye(a.shape[1])) ** 2).sum()


def clipped_ratio(outputs: Tensor, targets: Tensor) -> Tensor:
    """Proximal policy optimisation: actions, their old log-probabilities, advantages."""
    ratio = torch.exp(F.log_softmax(outputs, 1).gather(1, targets[:, :1].long())[:, 0] - targets[:, 1])
    return -torch.min(ratio * targets[:, 2], ratio.clamp(0.8, 1.2) * targets[:, 2]).mean()


def overlap(outputs: Tensor, targets: Tensor) -> Tensor:
    return 1 - (torch.minimum(outputs, targets).sum(1) / torch.maximum(outputs, targets).sum(1)).mean()


def nearest_points(outputs: Tensor, targets: Tensor) -> Tensor:
    """Each point that is made against all that are wanted."""
    return ((outputs[:, :, None] - targets[:, None]) ** 2).sum(-1).min(2).values.mean()
