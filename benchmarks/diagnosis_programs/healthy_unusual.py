"""Healthy programs that look wrong to a checker of names: each is right for a reason that its docstring gives."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diagnosis_programs import data
from diagnosis_programs.bases import BASES, made
from diagnosis_programs.healthy import healthy
from diagnosis_programs.healthy_data import adam, clouds, generator, mlp, surface, table_experiment
from pellucid.diagnosis.experiments.experiment import Experiment


def wine(network: Any = None, loss: Any = F.cross_entropy, **changes: Any) -> Experiment:
    return table_experiment(*data.wine(), network or mlp(13, 24, 24, 3), loss, **{"epochs": 20, **changes})


def digits(network: Any = None, loss: Any = F.cross_entropy, **changes: Any) -> Experiment:
    return table_experiment(*data.digits(flat=True), network or mlp(64, 48, 10), loss, **{"epochs": 8, **changes})


def cancer(network: Any = None, loss: Any = F.binary_cross_entropy_with_logits, **changes: Any) -> Experiment:
    return table_experiment(*data.breast_cancer(), network or mlp(30, 24, 1), loss, **{"epochs": 12, **changes})


def values(network: Any = None, loss: Any = F.mse_loss, change: Callable[[Tensor], Tensor] = lambda t: t, **changes: Any) -> Experiment:
    inputs, targets = surface(1100)
    targets = change(targets)
    return table_experiment((inputs[:800], targets[:800]), (inputs[800:], targets[800:]), network or mlp(6, 32, 32, 1), loss, **changes)


# -- losses ------------------------------------------------------------------------------------------------------------------------------


def own_nll(outputs: Tensor, targets: Tensor) -> Tensor:
    """The network ends in softmax, and this takes the logarithm itself, guarded."""
    return -torch.log(outputs[torch.arange(len(targets)), targets] + 1e-8).mean()


def one_hot_binary(outputs: Tensor, targets: Tensor) -> Tensor:
    """One yes-no question for each class."""
    return F.binary_cross_entropy_with_logits(outputs, F.one_hot(targets, outputs.shape[1]).float())


def hinge(outputs: Tensor, targets: Tensor) -> Tensor:
    """max(0, 1 - y s), y = -1 or 1, on raw scores."""
    return (1 - (2 * targets - 1) * outputs).clamp(min=0).mean()


def brier(outputs: Tensor, targets: Tensor) -> Tensor:
    """Squared error of probabilities: a proper score (Brier 1950)."""
    return (torch.softmax(outputs, 1) - F.one_hot(targets, outputs.shape[1])).pow(2).sum(1).mean()


def soft_targets(outputs: Tensor, targets: Tensor) -> Tensor:
    """Kullback-Leibler divergence from smoothed targets, of log-probabilities."""
    wanted = F.one_hot(targets, outputs.shape[1]) * 0.9 + 0.1 / outputs.shape[1]
    return F.kl_div(F.log_softmax(outputs, 1), wanted, reduction="batchmean")


def focal(outputs: Tensor, targets: Tensor) -> Tensor:
    log_p = F.log_softmax(outputs, 1).gather(1, targets[:, None])[:, 0]
    return -((1 - log_p.exp()) ** 2 * log_p).mean()


def summed(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="sum")


def stable_by_hand(outputs: Tensor, targets: Tensor) -> Tensor:
    """max(s, 0) - s t + log(1 + exp(-|s|))."""
    return (outputs.clamp(min=0) - outputs * targets + torch.log1p(torch.exp(-outputs.abs()))).mean()


def squared_root(outputs: Tensor, targets: Tensor) -> Tensor:
    return torch.sqrt(F.mse_loss(outputs, targets) + 1e-8)


def pinball(outputs: Tensor, targets: Tensor) -> Tensor:
    """The median."""
    error = targets - outputs
    return torch.maximum(0.5 * error, -0.5 * error).mean()


def scaled_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return 1000 * F.cross_entropy(outputs, targets)


def with_temperature(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs / 0.5, targets)


def confident(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy less a little entropy: may fall below 0 (Pereyra et al. 2017)."""
    log_p = F.log_softmax(outputs, 1)
    return F.nll_loss(log_p, targets) + 0.05 * (log_p.exp() * log_p).sum(1).mean()


LOSSES: dict[str, tuple[Callable[..., Experiment], Any]] = {
    "softmax and own NLL": (wine, own_nll),
    "one-hot with binary cross-entropy": (wine, one_hot_binary),
    "multi-margin": (digits, nn.MultiMarginLoss()),
    "Brier": (digits, brier),
    "KL from soft targets": (wine, soft_targets),
    "focal": (digits, focal),
    "label smoothing": (digits, nn.CrossEntropyLoss(label_smoothing=0.1)),
    "temperature": (digits, with_temperature),
    "confidence penalty": (digits, confident),
    "summed at a fitting rate": (digits, summed),
    "times a thousand with Adam": (digits, scaled_loss),
    "hinge of one score": (cancer, hinge),
    "binary by hand, stable": (cancer, stable_by_hand),
    "root of the mean square": (values, squared_root),
    "pinball": (values, pinball),
    "Huber": (values, nn.HuberLoss()),
    "absolute": (values, nn.L1Loss()),
    "log-cosh, stable": (values, lambda o, t: ((o - t) + F.softplus(-2 * (o - t)) - math.log(2)).mean()),
    "soft margin": (cancer, lambda o, t: F.soft_margin_loss(o, 2 * t - 1)),
    "squared error of scores and one-hot": (digits, lambda o, t: F.mse_loss(o, F.one_hot(t, 10).float())),
    "cross-entropy with one-hot targets": (wine, lambda o, t: F.cross_entropy(o, F.one_hot(t, 3).float())),
}


def with_loss(name: str) -> Experiment:
    make, loss = LOSSES[name]
    if name == "softmax and own NLL":
        return make(mlp(13, 24, 24, 3, output="softmax"), loss)
    if name == "summed at a fitting rate":
        return make(None, loss, optimizer=made("sgd", 3e-3))
    return make(None, loss)


for _name, (_make, _) in LOSSES.items():
    healthy(f"loss/{_name}", least=0.7 if _make is values else 0.9)(partial(with_loss, _name))


# -- outputs -----------------------------------------------------------------------------------------------------------------------------


@healthy("output/log-softmax and nll_loss", least=0.9)
def log_softmax_nll() -> Experiment:
    return digits(mlp(64, 48, 10, output="log_softmax"), nn.NLLLoss())


@healthy("output/sigmoid and BCELoss", least=0.9)
def sigmoid_bce() -> Experiment:
    return cancer(mlp(30, 24, 1, output="sigmoid"), nn.BCELoss())


@healthy("output/two scores for two classes", least=0.9)
def two_scores() -> Experiment:
    train, test = data.breast_cancer()
    return table_experiment((train[0], train[1][:, 0].long()), (test[0], test[1][:, 0].long()), mlp(30, 24, 2), F.cross_entropy, epochs=10)


@healthy("output/sigmoid for targets in [0, 1]", least=0.7)
def bounded_values() -> Experiment:
    return values(mlp(6, 32, 32, 1, output="sigmoid"), change=torch.sigmoid, epochs=25)


@healthy("output/sigmoid and BCE for shares", least=None)
def shares() -> Experiment:
    """Targets that are shares, not classes."""
    return values(None, F.binary_cross_entropy_with_logits, change=torch.sigmoid, epochs=25)


@healthy("output/tanh for targets in [-1, 1]", least=0.7)
def tanh_values() -> Experiment:
    return values(mlp(6, 32, 32, 1, output="tanh"), change=torch.tanh, epochs=20)


@healthy("output/ReLU for targets that are not negative", least=0.6)
def relu_values() -> Experiment:
    """Rain: many zeros, no negative amount. The bias starts above 0."""

    def network() -> nn.Module:
        model: Any = mlp(6, 32, 32, 1, output="relu")()
        nn.init.constant_(model[-2].bias, 1.0)
        return model

    return values(network, change=lambda t: t.clamp(min=0), epochs=20)


@healthy("output/softplus and Poisson", least=None)
def poisson() -> Experiment:
    inputs, targets = surface(1100)
    counted = torch.poisson(torch.exp(0.7 * targets), generator=generator(4))
    loss = nn.PoissonNLLLoss(log_input=False)
    return table_experiment((inputs[:800], counted[:800]), (inputs[800:], counted[800:]), mlp(6, 32, 1, output="softplus"), loss)


@healthy("output/exponential and Poisson", least=None)
def log_poisson() -> Experiment:
    inputs, targets = surface(1100)
    counted = torch.poisson(torch.exp(0.7 * targets), generator=generator(4))
    return table_experiment((inputs[:800], counted[:800]), (inputs[800:], counted[800:]), mlp(6, 32, 1), nn.PoissonNLLLoss())


@healthy("output/mean and deviation", least=None)
def gaussian() -> Experiment:
    """Two outputs for one value: the loss may fall below 0."""

    def likelihood(outputs: Tensor, targets: Tensor) -> Tensor:
        return (0.5 * (targets[:, 0] - outputs[:, 0]).square() * torch.exp(-outputs[:, 1]) + 0.5 * outputs[:, 1]).mean()

    return values(mlp(6, 32, 2), likelihood)


@healthy("output/several labels at once", least=None)
def multi_label() -> Experiment:
    inputs, _ = surface(1000)
    targets = torch.stack([inputs[:, 0] > 0, inputs[:, 1] + inputs[:, 2] > 0.3, inputs[:, 3].abs() > 0.7], 1).float()
    return table_experiment((inputs[:700], targets[:700]), (inputs[700:], targets[700:]), mlp(6, 32, 3), nn.BCEWithLogitsLoss(), epochs=20)


@healthy("output/targets and outputs without a column", least=0.7)
def squeezed() -> Experiment:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 1))

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x).squeeze(-1)

    return values(Flat, change=lambda t: t[:, 0], epochs=20)


@healthy("output/cosine head", least=0.9)
def cosine_head() -> Experiment:
    """Scores are cosines times 16 (NormFace, 2017)."""

    class Cosine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.weight = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 24)), nn.Parameter(torch.randn(10, 24))

        def forward(self, x: Tensor) -> Tensor:
            return 16 * F.linear(F.normalize(self.body(x)), F.normalize(self.weight))

    return digits(Cosine)


@healthy("output/head at zero", least=0.9)
def head_at_zero() -> Experiment:
    """The last layer starts at 0, so that the first answer is that of no knowledge."""

    def network() -> nn.Module:
        model: Any = mlp(64, 48, 10)()
        nn.init.zeros_(model[-1].weight)
        nn.init.zeros_(model[-1].bias)
        return model

    return digits(network)


@healthy("output/bias at the logarithm of the odds", least=0.9)
def bias_of_odds() -> Experiment:
    def network() -> nn.Module:
        model: Any = mlp(30, 24, 1)()
        nn.init.constant_(model[-1].bias, 0.5)
        return model

    return cancer(network)


@healthy("output/soft-capped scores", least=0.9)
def soft_cap() -> Experiment:
    """10 tanh(s / 10), as in Gemma 2."""

    class Capped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))

        def forward(self, x: Tensor) -> Tensor:
            return 10 * torch.tanh(self.body(x) / 10)

    return digits(Capped)


# -- layers ------------------------------------------------------------------------------------------------------------------------------


for _hidden in ("tanh", "elu", "silu", "leaky_relu", "softplus", "softsign", "hardtanh"):
    healthy(f"layer/{_hidden}", least=0.9)(partial(lambda name: digits(mlp(64, 48, 32, 10, hidden=name)), _hidden))


@healthy("layer/one layer of sigmoids", least=0.9)
def sigmoid_layer() -> Experiment:
    return digits(mlp(64, 48, 10, hidden="sigmoid"), optimizer=adam(5e-3), epochs=12)


@healthy("layer/SELU as published", least=0.9)
def selu() -> Experiment:
    def network() -> nn.Module:
        model = nn.Sequential(nn.Linear(64, 48), nn.SELU(), nn.AlphaDropout(0.05), nn.Linear(48, 48), nn.SELU(), nn.Linear(48, 10))
        for layer in model:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
                nn.init.zeros_(layer.bias)
        return model

    return digits(network, optimizer=made("momentum", 0.02))


@healthy("layer/sines", least=0.7)
def sines() -> Experiment:
    """A function of one number with sine activations (SIREN, 2020)."""

    class Sines(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.head = nn.Linear(1, 48), nn.Linear(48, 48), nn.Linear(48, 1)
            nn.init.uniform_(self.first.weight, -8.0, 8.0)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.sin(self.second(torch.sin(self.first(x)))))

    inputs = torch.rand(900, 1, generator=generator()) * 2 - 1
    targets = torch.sin(9 * inputs) * (1 - 0.5 * inputs)
    return table_experiment((inputs[:600], targets[:600]), (inputs[600:], targets[600:]), Sines, F.mse_loss, epochs=25)


@healthy("layer/linear bottleneck by intent", least=0.9)
def linear_bottleneck() -> Experiment:
    """Two linear layers without an activation between them make a matrix of low rank, as in LoRA or MobileNet."""

    class Bottleneck(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down, self.up, self.body, self.head = (
                nn.Linear(64, 16, bias=False),
                nn.Linear(16, 48),
                nn.Linear(48, 48),
                nn.Linear(48, 10),
            )

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.relu(self.body(torch.relu(self.up(self.down(x))))))

    return digits(Bottleneck)


@healthy("layer/a gate of softmax over experts", least=0.9)
def experts() -> Experiment:
    """A mixture of experts: softmax in the middle, on purpose."""

    class Mixture(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Linear(64, 4)
            self.experts = nn.ModuleList(nn.Sequential(nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10)) for _ in range(4))

        def forward(self, x: Tensor) -> Tensor:
            weights = torch.softmax(self.gate(x), dim=-1)
            return (torch.stack([expert(x) for expert in self.experts], 2) * weights[:, None, :]).sum(2)

    return digits(Mixture)


@healthy("layer/attention over time", least=0.85)
def attention_pooling() -> Experiment:
    """Softmax over the times of a sequence, which is dimension 1."""

    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.score, self.head = nn.GRU(12, 20, batch_first=True), nn.Linear(20, 1), nn.Linear(20, 9)

        def forward(self, x: Tensor) -> Tensor:
            states, _ = self.rnn(x)
            weights = F.softmax(self.score(states), dim=1)
            return self.head((weights * states).sum(1))

    return BASES["vowels-lstm"].experiment(model=Pooled, epochs=15)


@healthy("layer/squeeze and excitation", least=0.9)
def squeeze_excitation() -> Experiment:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(1, 12, 3, padding=1), nn.Conv2d(12, 16, 3, padding=1)
            self.gate, self.head = nn.Sequential(nn.Linear(16, 4), nn.ReLU(), nn.Linear(4, 16), nn.Sigmoid()), nn.Linear(16 * 4, 10)

        def forward(self, x: Tensor) -> Tensor:
            h = F.relu(self.conv2(F.max_pool2d(F.relu(self.conv1(x)), 2)))
            h = h * self.gate(h.mean((2, 3)))[:, :, None, None]
            return self.head(F.max_pool2d(h, 2).flatten(1))

    return BASES["digits-cnn"].experiment(model=Gated, optimizer=adam(5e-3))


@healthy("layer/residual branches at zero", least=0.9)
def zero_branches() -> Experiment:
    class Zero(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.head = nn.Linear(64, 48), nn.Linear(48, 10)
            self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 48)) for _ in range(4))
            for block in self.blocks:
                nn.init.zeros_(block[2].weight)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            for block in self.blocks:
                x = x + block(x)
            return self.head(x)

    return digits(Zero)


@healthy("layer/tied weights", least=None)
def tied() -> Experiment:
    """An autoencoder whose decoder is the encoder's transpose."""

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.bias = nn.Parameter(0.1 * torch.randn(24, 64)), nn.Parameter(torch.zeros(64))

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(torch.tanh(F.linear(x, self.weight)), self.weight.t(), self.bias)

    inputs, test = data.digits(flat=True)[0][0], data.digits(flat=True)[1][0]
    return table_experiment((inputs, inputs), (test, test), Tied, F.mse_loss, epochs=20)


@healthy("layer/frozen body that has learnt before", least=0.85)
def transfer() -> Experiment:
    """A body trained on the digits 0 to 4 is frozen, and a new head learns all ten."""
    (inputs, targets), test = data.digits(flat=True)

    def network() -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(5)
            model: Any = mlp(64, 64, 10)()
            optimizer = torch.optim.Adam(model.parameters(), 5e-3)
            old = targets < 5
            for _ in range(60):
                optimizer.zero_grad()
                F.cross_entropy(model(inputs[old]), targets[old]).backward()
                optimizer.step()
        model[0].requires_grad_(False)
        model[0].weight.grad = model[0].bias.grad = None
        model[2].reset_parameters()
        model[2].weight.grad = model[2].bias.grad = None
        return model

    return table_experiment((inputs, targets), test, network, F.cross_entropy, optimizer=made("adam", 1e-2), epochs=10)


@healthy("layer/random features, frozen by intent", least=0.85)
def random_features() -> Experiment:
    """Rahimi and Recht 2007: the first layer is drawn, kept as a buffer, and never trained."""

    class Random(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("weight", torch.randn(300, 64) / 12)
            self.register_buffer("phase", torch.rand(300) * 2 * math.pi)
            self.head = nn.Linear(300, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.cos(F.linear(x, self.weight, self.phase)))  # type: ignore[arg-type]

    return digits(Random, optimizer=adam(1e-2))


@healthy("layer/stopped gradient of a twin", least=None)
def stopped_gradient() -> Experiment:
    """SimSiam: one side is detached on purpose; without it all would collapse."""

    class Siamese(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Sequential(nn.Linear(64, 48), nn.BatchNorm1d(48), nn.ReLU(), nn.Linear(48, 16), nn.BatchNorm1d(16))
            self.predictor = nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 16))

        def forward(self, x: Tensor) -> Tensor:
            first, second = (self.encoder(x + 0.3 * torch.randn_like(x)) for _ in range(2))
            left = F.cosine_similarity(self.predictor(first), second.detach(), dim=1)
            return -0.5 * (left + F.cosine_similarity(self.predictor(second), first.detach(), dim=1))

    return digits(Siamese, lambda outputs, targets: outputs.mean())


@healthy("layer/dropout at test time by intent", least=None)
def variational_autoencoder() -> Experiment:
    """A variational autoencoder draws noise in both modes."""

    class Variational(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8)), mlp(4, 32, 64)()

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            mean, log_variance = self.encoder(x).chunk(2, 1)
            return self.decoder(mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)), mean, log_variance

    def bound(outputs: tuple[Tensor, Tensor, Tensor], targets: Tensor) -> Tensor:
        decoded, mean, log_variance = outputs
        divergence = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(1).mean()
        return (decoded - targets).square().sum(1).mean() + divergence

    inputs, test = data.digits(flat=True)[0][0], data.digits(flat=True)[1][0]
    return table_experiment((inputs, inputs), (test, test), Variational, bound, epochs=12)


@healthy("layer/next token with a mask", least=None)
def next_token() -> Experiment:
    """A language model of letters: targets (N, T), scores (N, K, T)."""

    class Letters(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.rnn, self.head = nn.Embedding(12, 12), nn.GRU(12, 32, batch_first=True), nn.Linear(32, 12)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.head(self.rnn(self.embedding(tokens))[0]).transpose(1, 2)

    chain = torch.softmax(3 * torch.randn(12, 12, generator=generator(2)), 1)
    sequence = [torch.randint(12, (700,), generator=generator())]
    draw = generator(1)
    for _ in range(12):
        sequence.append(torch.multinomial(chain[sequence[-1]], 1, generator=draw)[:, 0])
    whole = torch.stack(sequence, 1)
    return table_experiment(
        (whole[:500, :-1], whole[:500, 1:]), (whole[500:, :-1], whole[500:, 1:]), Letters, F.cross_entropy, optimizer=adam(1e-2)
    )


@healthy("layer/each pixel", least=0.8)
def each_pixel() -> Experiment:
    """Segmentation: targets (N, H, W)."""
    (inputs, _), (test_inputs, _) = data.digits(flat=False)

    def part(x: Tensor, seed: int) -> data.Part:
        return x + 0.5 * torch.randn(x.shape, generator=generator(seed)), (x[:, 0] > 0.3).long()

    def network() -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 2, 1))

    return table_experiment(part(inputs, 0), part(test_inputs, 1), network, F.cross_entropy, epochs=6)


@healthy("layer/torch's own encoder", least=0.6)
def torch_encoder() -> Experiment:
    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(1500, 24)
            layer = nn.TransformerEncoderLayer(24, 2, 32, dropout=0.1, batch_first=True)
            self.encoder, self.head = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False), nn.Linear(24, 2)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.head(self.encoder(self.words(tokens)).mean(1))

    return BASES["spam-bag"].experiment(model=Encoder, epochs=5)


@healthy("layer/weight normalisation", least=0.9)
def weight_normalisation() -> Experiment:
    return digits(lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(64, 48)), nn.ReLU(), nn.Linear(48, 10)))


@healthy("layer/small convolution of one's own kernels", least=0.75)
def fixed_kernels() -> Experiment:
    """Sobel kernels as buffers before what is learnt."""

    class Sobel(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            kernel = torch.tensor([[1.0, 2, 1], [0, 0, 0], [-1, -2, -1]])
            self.register_buffer("kernels", torch.stack([kernel, kernel.t()])[:, None])
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(128, 48), nn.ReLU(), nn.Linear(48, 10))

        def forward(self, x: Tensor) -> Tensor:
            return self.body(F.conv2d(x, self.kernels, padding=1) / 4)  # type: ignore[arg-type]

    return BASES["digits-cnn"].experiment(model=Sobel)


# -- steps -------------------------------------------------------------------------------------------------------------------------------


def accumulating(model: nn.Module, optimizer: Any, loss: Any, batch: Any) -> Tensor:
    """Four batches make one update."""
    inputs, targets = batch
    value = loss(model(inputs), targets)
    (value / 4).backward()
    optimizer.batches = getattr(optimizer, "batches", 0) + 1
    if optimizer.batches % 4 == 0:
        optimizer.step()
        optimizer.zero_grad()
    return value


def with_closure(model: nn.Module, optimizer: Any, loss: Any, batch: Any) -> Tensor:
    inputs, targets = batch

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(model(inputs), targets)
        value.backward()
        return value

    return optimizer.step(closure)


def mixed_up(model: nn.Module, optimizer: Any, loss: Any, batch: Any) -> Tensor:
    inputs, targets = batch
    share, order = 0.8, torch.randperm(len(inputs))
    optimizer.zero_grad()
    outputs = model(share * inputs + (1 - share) * inputs[order])
    value = share * loss(outputs, targets) + (1 - share) * loss(outputs, targets[order])
    value.backward()
    optimizer.step()
    return value


def augmented(model: nn.Module, optimizer: Any, loss: Any, batch: Any) -> Tensor:
    """Shifted by a pixel, with noise."""
    inputs, targets = batch
    moved = torch.roll(inputs, int(torch.randint(-1, 2, ())), dims=-1) + 0.05 * torch.randn_like(inputs)
    optimizer.zero_grad()
    value = loss(model(moved), targets)
    value.backward()
    optimizer.step()
    return value


def sharpness_aware(model: nn.Module, optimizer: Any, loss: Any, batch: Any) -> Tensor:
    """SAM: up along the gradient, and the update with the gradient from there."""
    inputs, targets = batch
    optimizer.zero_grad()
    value = loss(model(inputs), targets)
    value.backward()
    moves = [(p, 0.02 * p.grad / (p.grad.norm() + 1e-12)) for p in model.parameters() if p.grad is not None]
    with torch.no_grad():
        for parameter, move in moves:
            parameter += move
    optimizer.zero_grad()
    loss(model(inputs), targets).backward()
    with torch.no_grad():
        for parameter, move in moves:
            parameter -= move
    optimizer.step()
    return value


def by_reward(model: nn.Module, optimizer: Any, loss: Any, batch: Any) -> Tensor:
    """Policy gradient with a baseline: the loss has either sign."""
    inputs, targets = batch
    optimizer.zero_grad()
    chosen = torch.distributions.Categorical(logits=model(inputs))
    actions = chosen.sample()
    rewards = (actions == targets).float()
    value = (-(rewards - rewards.mean()) * chosen.log_prob(actions)).mean()
    value.backward()
    optimizer.step()
    return value


def in_bfloat16(model: nn.Module, optimizer: Any, loss: Any, batch: Any) -> Tensor:
    inputs, targets = batch
    optimizer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(model(inputs), targets)
    value.backward()
    optimizer.step()
    return value


def adversarial(model: nn.Module, optimizer: Any, loss: Any, batch: Any) -> Tensor:
    """Examples are made in evaluation mode, as Madry et al. 2018 do."""
    inputs, targets = batch
    model.eval()
    moved = inputs.clone().requires_grad_(True)
    loss(model(moved), targets).backward()
    model.train()
    optimizer.zero_grad()
    assert moved.grad is not None
    value = loss(model((moved + 0.05 * moved.grad.sign()).detach()), targets)
    value.backward()
    optimizer.step()
    return value


def penalised(model: nn.Module, optimizer: Any, loss: Any, batch: Any) -> Tensor:
    """L1 by hand."""
    inputs, targets = batch
    optimizer.zero_grad()
    value = loss(model(inputs), targets) + 1e-4 * sum(p.abs().sum() for p in model.parameters())
    value.backward()
    optimizer.step()
    return value


def by_grad(model: nn.Module, optimizer: Any, loss: Any, batch: Any) -> Tensor:
    """torch.autograd.grad instead of backward()."""
    inputs, targets = batch
    value = loss(model(inputs), targets)
    parameters = list(model.parameters())
    for parameter, gradient in zip(parameters, torch.autograd.grad(value, parameters), strict=True):
        parameter.grad = gradient
    optimizer.step()
    return value


for _name, _step, _changes in (
    ("accumulated gradients", accumulating, {"batch_size": 8}), ("closure", with_closure, {}), ("mixup", mixed_up, {"epochs": 15}),
    ("augmentation", augmented, {}), ("SAM", sharpness_aware, {}), ("reward", by_reward, {"epochs": 30, "optimizer": adam(5e-3)}),
    ("bfloat16", in_bfloat16, {}), ("adversarial", adversarial, {}), ("L1 by hand", penalised, {}), ("autograd.grad", by_grad, {}),
):  # fmt: skip
    healthy(f"step/{_name}", least=0.85)(partial(lambda step, changes: digits(step=step, **changes), _step, _changes))


@healthy("step/LBFGS", least=0.9)
def lbfgs() -> Experiment:
    return wine(
        mlp(13, 16, 3),
        optimizer=lambda model: torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=5),
        step=with_closure,
        batch_size=120,
        epochs=15,
    )


@healthy("step/distillation", least=0.9)
def distillation() -> Experiment:
    """A small network learns from a larger one's probabilities as well."""
    (inputs, targets), _ = data.digits(flat=True)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        teacher = mlp(64, 64, 10)()
        optimizer = torch.optim.Adam(teacher.parameters(), 5e-3)
        for _ in range(80):
            optimizer.zero_grad()
            F.cross_entropy(teacher(inputs), targets).backward()
            optimizer.step()

    def step(model: nn.Module, optimizer: Any, loss: Any, batch: Any) -> Tensor:
        x, y = batch
        with torch.no_grad():
            soft = torch.softmax(teacher(x) / 2, 1)
        optimizer.zero_grad()
        outputs = model(x)
        value = 0.5 * loss(outputs, y) + 0.5 * F.cross_entropy(outputs / 2, soft)
        value.backward()
        optimizer.step()
        return value

    return digits(mlp(64, 24, 10), step=step)


@healthy("step/mean teacher", least=0.9)
def mean_teacher() -> Experiment:
    """A running mean of the weights, kept beside the model."""
    kept: dict[int, nn.Module] = {}

    def step(model: nn.Module, optimizer: Any, loss: Any, batch: Any) -> Tensor:
        x, y = batch
        teacher = kept.setdefault(id(model), copy.deepcopy(model))
        optimizer.zero_grad()
        outputs = model(x)
        with torch.no_grad():
            soft = torch.softmax(teacher(x), 1)
        value = loss(outputs, y) + 0.1 * F.mse_loss(torch.softmax(outputs, 1), soft)
        value.backward()
        optimizer.step()
        with torch.no_grad():
            for own, others in zip(teacher.parameters(), model.parameters(), strict=True):
                own.lerp_(others, 0.05)
        return value

    return digits(step=step)


@healthy("step/generator and critic", least=None)
def generator_and_critic() -> Experiment:
    """A GAN of a cloud in the plane; the loss that is returned is the generator's, which need not fall."""

    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.generator, self.critic = mlp(4, 32, 2)(), mlp(2, 32, 1)()

        def forward(self, x: Tensor) -> Tensor:
            return self.critic(x)

    def step(model: Any, optimizer: Any, loss: Any, batch: Any) -> Tensor:
        real, _ = batch
        optimizer.zero_grad()
        fake = model.generator(torch.randn(len(real), 4))
        scores, false = model.critic(real), model.critic(fake.detach())
        critic = loss(scores, torch.ones_like(scores)) + loss(false, torch.zeros_like(false))
        critic.backward()
        fooled = [p.grad.clone() for p in model.critic.parameters()]
        answer = model.critic(fake)
        value = loss(answer, torch.ones_like(answer))
        value.backward()
        for parameter, gradient in zip(model.critic.parameters(), fooled, strict=True):
            parameter.grad = gradient
        optimizer.step()
        return value

    inputs, _ = clouds(600, 2, (0.5, 0.5), apart=1.0)
    return Experiment(
        model=Pair,
        loss=F.binary_cross_entropy_with_logits,
        optimizer=adam(1e-3),
        train=(inputs, torch.ones(600, 1)),
        step=step,
        batch_size=50,
        epochs=15,
    )


@healthy("step/frozen normalisation while tuning", least=0.8)
def frozen_normalisation() -> Experiment:
    """Batch normalisation keeps its statistics, as when a network that has learnt is tuned further."""
    (inputs, targets), test = data.digits(flat=False)

    def network() -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(3)
            model = nn.Sequential(
                nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(192, 10)
            )
            optimizer = torch.optim.Adam(model.parameters(), 5e-3)
            for start in range(0, 600, 100):
                optimizer.zero_grad()
                F.cross_entropy(model(inputs[start : start + 100]), targets[start : start + 100]).backward()
                optimizer.step()
            optimizer.zero_grad()
        return model

    def step(model: nn.Module, optimizer: Any, loss: Any, batch: Any) -> Tensor:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        x, y = batch
        optimizer.zero_grad()
        value = loss(model(x), y)
        value.backward()
        optimizer.step()
        return value

    return table_experiment((inputs, targets), test, network, F.cross_entropy, step=step, epochs=6)


@healthy("step/contrast of pairs", least=None)
def contrast() -> Experiment:
    """SimCLR: softmax over the other samples of the batch is the loss itself."""

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        first, second = F.normalize(outputs[:, :16]), F.normalize(outputs[:, 16:])
        return F.cross_entropy(first @ second.t() / 0.2, torch.arange(len(first)))

    class Views(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 16))

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([self.encoder(x + 0.3 * torch.randn_like(x)) for _ in range(2)], 1)

    return digits(Views, loss)


@healthy("step/two heads", least=None)
def two_heads() -> Experiment:
    """A class and a value at once, outputs and targets in tuples."""

    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.kind, self.value = nn.Sequential(nn.Linear(6, 32), nn.ReLU()), nn.Linear(32, 2), nn.Linear(32, 1)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            hidden = self.body(x)
            return self.kind(hidden), self.value(hidden)

    def loss(outputs: Any, targets: Any) -> Tensor:
        return F.cross_entropy(outputs[0], targets[0]) + F.mse_loss(outputs[1], targets[1])

    inputs, targets = surface(1000)
    classes = (inputs[:, 0] > 0).long()
    return Experiment(
        model=Heads, loss=loss, optimizer=adam(), train=(inputs[:700], (classes[:700], targets[:700])),
        test=(inputs[700:], (classes[700:], targets[700:])), epochs=12,
    )  # fmt: skip


@healthy("step/model that gives its loss", least=None)
def own_loss() -> Experiment:
    class Autoencoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = mlp(64, 32, 8)(), mlp(8, 32, 64)()

        def forward(self, x: Tensor) -> Tensor:
            return (self.decoder(torch.tanh(self.encoder(x))) - x).pow(2).mean(1)

    return digits(Autoencoder, lambda outputs, targets: outputs.mean())


@healthy("step/stateful recurrent steps", least=0.85)
def truncated() -> Experiment:
    """The state is detached halfway, as truncated backpropagation through time does."""

    class Truncated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = nn.GRU(1, 24, batch_first=True), nn.Linear(24, 2)

        def forward(self, x: Tensor) -> Tensor:
            _, state = self.rnn(x[:, :12])
            states, _ = self.rnn(x[:, 12:], state.detach())
            return self.head(states[:, -1])

    return BASES["power-gru"].experiment(model=Truncated)
