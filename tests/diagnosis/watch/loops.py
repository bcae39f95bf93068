"""Training loops as people write them, each a function of a seed and of what to wrap around the model: watched or not.

Every loop gives everything that watching might have changed: losses, weights, buffers, optimizer state and the random state at its end.
"""

from __future__ import annotations

import copy
import io
import random
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

Watching = Callable[..., AbstractContextManager[Any]]


def unwatched(*_: Any, **__: Any) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass
class Outcome:
    """What a loop leaves behind."""

    losses: list[Tensor] = field(default_factory=list)
    state: list[Tensor] = field(default_factory=list)

    def keep(self, *modules: nn.Module | torch.optim.Optimizer) -> Outcome:
        for module in modules:
            self.state += [tensor.clone() for tensor in _tensors(module.state_dict())]
        self.state += [
            torch.get_rng_state(),
            torch.tensor(random.getstate()[1][:8]),
            torch.tensor(np.random.get_state()[1][:8].astype(int)),
        ]
        return self


def _tensors(structure: Any) -> list[Tensor]:
    if isinstance(structure, Tensor):
        return [structure]
    if isinstance(structure, dict):
        return [tensor for item in structure.values() for tensor in _tensors(item)]
    if isinstance(structure, (list, tuple)):
        return [tensor for item in structure for tensor in _tensors(item)]
    return []


def same(a: Outcome, b: Outcome) -> bool:
    """Bit for bit."""
    pairs = list(zip([*a.losses, *a.state], [*b.losses, *b.state], strict=True))
    return all(x.dtype == y.dtype and torch.equal(x, y) for x, y in pairs)


def data(samples: int = 96, features: int = 8, classes: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(samples, features, generator=generator)
    return inputs, (inputs[:, 0] > 0).long() + (inputs[:, 1] > 0.5).long()


def network(dropout: float = 0.2) -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 3))


def plain(watching: Watching, make: Callable[[Any], torch.optim.Optimizer], steps: int = 12) -> Outcome:
    model, outcome = network(), Outcome()
    inputs, targets = data()
    optimizer = make(model.parameters())
    with watching(model):
        for step in range(steps):
            chosen = torch.randint(len(inputs), (16,))
            optimizer.zero_grad()
            loss = F.cross_entropy(model(inputs[chosen]), targets[chosen])
            loss.backward()
            optimizer.step()
            outcome.losses.append(loss.detach())
            random.random(), np.random.rand(), step
    return outcome.keep(model, optimizer)


def sgd(watching: Watching) -> Outcome:
    return plain(watching, lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True))


def adam(watching: Watching) -> Outcome:
    return plain(watching, lambda p: torch.optim.Adam(p, 0.01))


def adam_foreach(watching: Watching) -> Outcome:
    return plain(watching, lambda p: torch.optim.AdamW(p, 0.01, foreach=True))


def adam_fused(watching: Watching) -> Outcome:
    return plain(watching, lambda p: torch.optim.AdamW(p, 0.01, fused=True))


def given_optimizer_and_loss(watching: Watching) -> Outcome:
    model, outcome, criterion = network(), Outcome(), nn.CrossEntropyLoss()
    inputs, targets = data()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with watching(model, optimizer, criterion):
        for _ in range(10):
            optimizer.zero_grad()
            loss = criterion(model(inputs), targets)
            loss.backward()
            optimizer.step()
            outcome.losses.append(loss.detach())
            model.eval()
            with torch.no_grad():
                outcome.losses.append(criterion(model(inputs), targets))
            model.train()
    return outcome.keep(model, optimizer)


def lbfgs(watching: Watching) -> Outcome:
    model, outcome = network(0.0), Outcome()
    inputs, targets = data()
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=4)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs), targets)
        loss.backward()
        return loss

    with watching(model):
        for _ in range(5):
            outcome.losses.append(optimizer.step(closure).detach())
    return outcome.keep(model)


def accumulation(watching: Watching) -> Outcome:
    model, outcome = network(), Outcome()
    inputs, targets = data()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with watching(model):
        for number in range(24):
            part = slice(number % 6 * 16, number % 6 * 16 + 16)
            loss = F.cross_entropy(model(inputs[part]), targets[part]) / 4
            loss.backward()
            outcome.losses.append(loss.detach())
            if number % 4 == 3:
                nn.utils.clip_grad_norm_(model.parameters(), 0.5)
                optimizer.step()
                optimizer.zero_grad()
    return outcome.keep(model, optimizer)


def mixed_precision(watching: Watching) -> Outcome:
    model, outcome = network(), Outcome()
    inputs, targets = data()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=3)
    with watching(model):
        for _ in range(10):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = F.cross_entropy(model(inputs), targets)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            outcome.losses.append(loss.detach())
    return outcome.keep(model, optimizer)


def scheduler(watching: Watching) -> Outcome:
    model, outcome = network(), Outcome()
    inputs, targets = data()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 12)
    with watching(model):
        for _ in range(12):
            loss = F.cross_entropy(model(inputs), targets)
            optimizer.zero_grad(set_to_none=False)
            loss.backward()
            optimizer.step()
            schedule.step()
            outcome.losses += [loss.detach(), torch.tensor(schedule.get_last_lr())]
    return outcome.keep(model, optimizer)


def adversarial(watching: Watching) -> Outcome:
    generator = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 8))
    critic, outcome = nn.Sequential(nn.Linear(8, 16), nn.LeakyReLU(0.2), nn.Dropout(0.3), nn.Linear(16, 1)), Outcome()
    inputs, _ = data()
    of_generator, of_critic = torch.optim.Adam(generator.parameters(), 1e-3), torch.optim.Adam(critic.parameters(), 1e-3)
    with watching(generator), watching(critic):
        for number in range(8):
            real, fake = inputs[number * 8 : number * 8 + 8], generator(torch.randn(8, 4))
            of_critic.zero_grad()
            good = F.binary_cross_entropy_with_logits(critic(real), torch.ones(8, 1))
            bad = F.binary_cross_entropy_with_logits(critic(fake.detach()), torch.zeros(8, 1))
            good.backward()
            bad.backward()
            of_critic.step()
            of_generator.zero_grad()
            fooled = F.binary_cross_entropy_with_logits(critic(fake), torch.ones(8, 1))
            fooled.backward()
            of_generator.step()
            outcome.losses += [good.detach(), bad.detach(), fooled.detach()]
    return outcome.keep(generator, critic, of_generator, of_critic)


class Tied(nn.Module):
    """An embedding and an output layer of one weight, called with a dict, answering with a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(12, 8)
        self.lstm = nn.LSTM(8, 8, num_layers=2, dropout=0.1, batch_first=True)
        self.output = nn.Linear(8, 12)
        self.output.weight = self.embedding.weight

    def forward(self, tokens: Tensor, *, scale: Tensor | None = None) -> dict[str, Any]:
        hidden, state = self.lstm(self.embedding(tokens))
        logits = self.output(hidden)
        return {"logits": logits if scale is None else logits * scale, "state": state}


def tied_weights(watching: Watching) -> Outcome:
    model, outcome = Tied(), Outcome()
    tokens = torch.randint(12, (6, 8, 7), generator=torch.Generator().manual_seed(2))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    with watching(model):
        for batch in [*tokens, *tokens]:
            logits = model(tokens=batch[:, :-1], scale=torch.tensor(2.0))["logits"]
            loss = F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            outcome.losses.append(loss.detach())
    return outcome.keep(model, optimizer)


class Autoencoder(nn.Module):
    """Answers with a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(8, 6), nn.Linear(3, 8)

    def forward(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        mean, logarithm = self.encoder(inputs["x"]).chunk(2, dim=1)
        return self.decoder(mean + torch.randn_like(mean) * logarithm.exp()), mean, logarithm


def dict_inputs_tuple_outputs(watching: Watching) -> Outcome:
    model, outcome = Autoencoder(), Outcome()
    inputs, _ = data()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    with watching(model):
        for _ in range(8):
            again, mean, logarithm = model({"x": inputs})
            loss = ((again - inputs) ** 2).mean() + 0.01 * (mean**2 + (2 * logarithm).exp() - 1 - 2 * logarithm).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            outcome.losses.append(loss.detach())
    return outcome.keep(model, optimizer)


def evaluation_inside(watching: Watching) -> Outcome:
    model, outcome = network(), Outcome()
    loader = DataLoader(TensorDataset(*data()), batch_size=32, shuffle=True)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with watching(model):
        for _ in range(3):
            model.train()
            for inputs, targets in loader:
                optimizer.zero_grad()
                loss = F.cross_entropy(model(inputs), targets)
                loss.backward()
                optimizer.step()
                outcome.losses.append(loss.detach())
            model.eval()
            with torch.no_grad():
                outcome.losses += [F.cross_entropy(model(inputs), targets) for inputs, targets in loader]
    return outcome.keep(model, optimizer)


def loader_workers(watching: Watching) -> Outcome:
    model, outcome = network(), Outcome()
    loader = DataLoader(TensorDataset(*data()), batch_size=24, shuffle=True, num_workers=1, multiprocessing_context="fork")
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with watching(model):
        for inputs, targets in loader:
            loss = F.cross_entropy(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            outcome.losses.append(loss.detach())
    return outcome.keep(model, optimizer)


def twice_backward(watching: Watching) -> Outcome:
    """retain_graph, and a gradient penalty that differentiates a gradient."""
    model, outcome = nn.Sequential(nn.Linear(8, 16), nn.Softplus(), nn.Linear(16, 1)), Outcome()
    inputs, targets = data()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    with watching(model):
        for _ in range(6):
            x = inputs.clone().requires_grad_()
            output = model(x).squeeze(1)
            loss = F.mse_loss(output, targets.float())
            (slope,) = torch.autograd.grad(output.sum(), x, create_graph=True)
            optimizer.zero_grad()
            loss.backward(retain_graph=True)
            (0.1 * slope.pow(2).sum(1).mean()).backward()
            optimizer.step()
            outcome.losses.append(loss.detach())
    return outcome.keep(model, optimizer)


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.first, self.second, self.reentrant = nn.Linear(8, 16), nn.Sequential(nn.Linear(16, 16), nn.Dropout(0.3), nn.Tanh()), reentrant
        self.last = nn.Linear(16, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.first(inputs).relu_()
        return self.last(checkpoint(self.second, hidden, use_reentrant=self.reentrant))


def _checkpointing(watching: Watching, reentrant: bool) -> Outcome:
    model, outcome = Checkpointed(reentrant), Outcome()
    inputs, targets = data()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with watching(model):
        for _ in range(6):
            loss = F.cross_entropy(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            outcome.losses.append(loss.detach())
    return outcome.keep(model, optimizer)


def checkpointing(watching: Watching) -> Outcome:
    return _checkpointing(watching, reentrant=False)


def checkpointing_reentrant(watching: Watching) -> Outcome:
    return _checkpointing(watching, reentrant=True)


def by_hand(watching: Watching) -> Outcome:
    """No optimizer: the textbook's w -= lr * gradient."""
    model, outcome = network(), Outcome()
    inputs, targets = data()
    with watching(model):
        for _ in range(8):
            loss = F.cross_entropy(model(inputs), targets)
            loss.backward()
            with torch.no_grad():
                for parameter in model.parameters():
                    assert parameter.grad is not None
                    parameter -= 0.1 * parameter.grad
                    parameter.grad = None
            outcome.losses.append(loss.detach())
    return outcome.keep(model)


def by_hand_through_data(watching: Watching) -> Outcome:
    model, outcome = network(0.0), Outcome()
    inputs, targets = data()
    with watching(model):
        for _ in range(8):
            model.zero_grad(set_to_none=False)
            loss = F.cross_entropy(model(inputs), targets)
            loss.backward()
            for parameter in model.parameters():
                assert parameter.grad is not None
                parameter.data.sub_(parameter.grad.data, alpha=0.1)
            outcome.losses.append(loss.detach())
    return outcome.keep(model)


def parts_called(watching: Watching) -> Outcome:
    """The model's parts are called, the model itself never."""
    model, outcome = nn.ModuleDict({"encoder": nn.Linear(8, 4), "decoder": nn.Linear(4, 8)}), Outcome()
    inputs, _ = data()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    with watching(model):
        for _ in range(8):
            loss = F.mse_loss(model["decoder"](torch.tanh(model["encoder"](inputs))), inputs)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            outcome.losses.append(loss.detach())
    return outcome.keep(model, optimizer)


class Shrinking(nn.Module):
    """Layers that take their shape from their first input, in-place activations, a residual sum, channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.LazyConv2d(6, 3, padding=1)
        self.norm, self.second = nn.BatchNorm2d(6), nn.Conv2d(6, 6, 3, padding=1)
        self.last = nn.LazyLinear(3)

    def forward(self, images: Tensor) -> Tensor:
        hidden = F.relu(self.norm(self.first(images)), inplace=True)
        hidden = F.max_pool2d(hidden + self.second(hidden), 2)
        return self.last(F.dropout(hidden.flatten(1), 0.1, self.training))


def lazy_convolutions(watching: Watching) -> Outcome:
    model, outcome = Shrinking(), Outcome()
    images = torch.randn(32, 1, 8, 8, generator=torch.Generator().manual_seed(3)).contiguous(memory_format=torch.channels_last)
    targets = torch.randint(3, (32,), generator=torch.Generator().manual_seed(4))
    optimizer: Any = None
    with watching(model):
        for _ in range(6):
            loss = F.cross_entropy(model(images), targets)
            optimizer = optimizer or torch.optim.SGD(model.parameters(), 0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            outcome.losses.append(loss.detach())
    return outcome.keep(model, optimizer)


def two_optimizers(watching: Watching) -> Outcome:
    model, outcome = network(), Outcome()
    inputs, targets = data()
    first, second = torch.optim.SGD(model[0].parameters(), 0.1), torch.optim.Adam([*model[1].parameters(), *model[4].parameters()], 0.01)
    with watching(model):
        for _ in range(8):
            loss = F.cross_entropy(model(inputs), targets)
            first.zero_grad()
            second.zero_grad()
            loss.backward()
            first.step()
            second.step()
            outcome.losses.append(loss.detach())
    return outcome.keep(model, first, second)


def sparse_gradients(watching: Watching) -> Outcome:
    model, outcome = nn.Sequential(nn.EmbeddingBag(20, 8, sparse=True), nn.Linear(8, 2)), Outcome()
    tokens = torch.randint(20, (16, 5), generator=torch.Generator().manual_seed(5))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with watching(model):
        for _ in range(6):
            loss = F.cross_entropy(model(tokens), tokens[:, 0] % 2)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            outcome.losses.append(loss.detach())
    return outcome.keep(model, optimizer)


def default_device_mode(watching: Watching) -> Outcome:
    """The user's own function mode on the stack, entered and left inside the watched part."""
    model, outcome = network(), Outcome()
    inputs, targets = data()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with ExitStack() as stack:
        stack.enter_context(watching(model))
        for _ in range(4):
            with torch.device("cpu"):
                loss = F.cross_entropy(model(inputs) + torch.zeros(3), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            outcome.losses.append(loss.detach())
    return outcome.keep(model, optimizer)


def copied_and_saved(watching: Watching) -> Outcome:
    """Snapshots of the model while it is watched, as early stopping takes them."""
    model, outcome = network(), Outcome()
    inputs, targets = data()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    kept: list[nn.Module] = []
    with watching(model):
        for _ in range(5):
            loss = F.cross_entropy(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            kept.append(copy.deepcopy(model))
            optimizer.step()
            file = io.BytesIO()
            torch.save(model, file)
            file.seek(0)
            kept.append(torch.load(file, weights_only=False))
            outcome.losses.append(loss.detach())
    for one in kept:
        outcome.losses.append(F.cross_entropy(one.eval()(inputs), targets).detach())
    return outcome.keep(model, optimizer, *kept)


def averaged_model(watching: Watching) -> Outcome:
    model, outcome = network(), Outcome()
    inputs, targets = data()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with watching(model):
        average = torch.optim.swa_utils.AveragedModel(model)
        for _ in range(5):
            loss = F.cross_entropy(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            average.update_parameters(model)
            outcome.losses.append(loss.detach())
    return outcome.keep(model, optimizer, average)


LOOPS: dict[str, Callable[[Watching], Outcome]] = {
    loop.__name__: loop
    for loop in (
        sgd, adam, adam_foreach, adam_fused, given_optimizer_and_loss, lbfgs, accumulation, mixed_precision, scheduler, adversarial,
        tied_weights, dict_inputs_tuple_outputs, evaluation_inside, loader_workers, twice_backward, checkpointing,
        checkpointing_reentrant, by_hand, by_hand_through_data, parts_called, lazy_convolutions, two_optimizers, sparse_gradients,
        default_device_mode, copied_and_saved, averaged_model,
    )
}  # fmt: skip
