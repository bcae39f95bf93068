"""Every registered network on every input shape; options as they come from Python and from a command line; users' own networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from pellucid import networks
from pellucid.core.errors import ModelError, OptionError, OptionTypeError
from pellucid.core.options import Option
from pellucid.core.records import Task
from pellucid.networks import registry
from pellucid.networks.convolutional import output_size
from pellucid.networks.registry import build, check_custom, default_for, own_network, resolved_options
from pellucid.networks.text_cnn import NgramScores

SHAPES = {
    "perceptron": [(1,), (30,), (1, 8, 8), (5, 7)],
    "logistic": [(1,), (30,), (1, 8, 8)],
    "mlp": [(1,), (30,), (1, 8, 8), (5, 7)],
    "embedding_mlp": [(1,), (30,), (5, 7)],
    "rnn": [(1, 9), (3, 20)],
    "lstm": [(1, 9), (3, 20)],
    "gru": [(1, 9), (3, 20), (2, 1), (1, 8, 8)],
    "cnn1d": [(1, 9), (3, 20), (2, 1)],
    "resnet1d": [(1, 9), (3, 20), (2, 1)],
    "transformer": [(1, 9), (3, 20), (2, 1)],
    "text_cnn": [(1,), (12,)],
    "cnn": [(1, 1, 1), (1, 8, 8), (3, 32, 32), (4, 5, 17), (1, 1, 40), (2, 3, 3)],
    "whitened_cnn": [(3, 32, 32), (1, 28, 28), (1, 8, 8), (3, 16, 40), (2, 2, 2), (4, 2, 9)],
}
TOKENS_ALONE = {"text_cnn": {"vocabulary": 7}}  # networks that read nothing else
OF_TOKENS = ({"vocabulary": 9}, {"vocabulary": 9, "embedding_size": 3})
RECURRENT = [*OF_TOKENS, {"hidden_size": 5}, {"layers": 2}, {"bidirectional": "false"}, {"pooling": "last"}, {"pooling": "attention"}]
RECURRENT += [{"initialization": "he_normal"}, {"recurrent_initialization": "normal"}]
# Options away from their defaults: each must change the network.
VARIANTS = {
    "perceptron": [{"initialization": "zeros"}],
    "logistic": [{"initialization": "normal"}],
    "mlp": [{"hidden": "8"}, {"hidden": "16, 8,4"}, {"hidden": ()}, {"batch_norm": "true"}, {"initialization": "orthogonal"}],
    "embedding_mlp": [
        {"columns": (100, 40, 4)}, {"embedding_size": 3}, {"hidden": "16, 8"}, {"batch_norm": "true"}, {"initialization": "orthogonal"},
    ],
    "rnn": RECURRENT,
    "lstm": RECURRENT,
    "gru": RECURRENT,
    "cnn1d": [
        *OF_TOKENS, {"filters": "4,8"}, {"kernel_size": "5,3,2"}, {"pooling": "max"}, {"batch_norm": False},
        {"initialization": "orthogonal"},
    ],
    "resnet1d": [
        *OF_TOKENS, {"filters": "4,8"}, {"kernel_size": "5,3"}, {"pooling": "max"}, {"initialization": "orthogonal"},
    ],
    "transformer": [{"vocabulary": 9}, {"size": 8}, {"heads": 2}, {"layers": 1}, {"pooling": "max"}],
    "text_cnn": [
        {"vocabulary": 9}, {"vocabulary": 7, "embedding_size": 3}, {"vocabulary": 7, "filters": 5}, {"vocabulary": 7, "kernel_size": "2"},
        {"vocabulary": 7, "initialization": "orthogonal"}, {"vocabulary": 7, "ngrams": 1}, {"vocabulary": 7, "ngrams": 0},
    ],
    "cnn": [
        {"kernel_size": "5"}, {"kernel_size": 2}, {"filters": "4,8,16"}, {"stride": 2}, {"pooling": "average"}, {"pool_size": 3},
        {"pool_stride": 1}, {"hidden": ""}, {"batch_norm": False}, {"initialization": "lecun_normal"},
    ],
    "whitened_cnn": [{"filters": "4,8"}, {"filters": (64, 256, 256, 256)}, {"mirrored": "true"}],
}  # fmt: skip


OF_PIXELS = ("fcn", "unet")  # a class for every pixel: tests/networks/test_pixels.py
NAMES = [name for name in networks.names() if name not in OF_PIXELS]


def test_every_network_is_in_the_tables():
    assert set(NAMES) == set(SHAPES) == set(VARIANTS)


@pytest.mark.parametrize(("name", "shape"), [(name, shape) for name, shapes in SHAPES.items() for shape in shapes])
@pytest.mark.parametrize("samples", [1, 3])
def test_shapes_gradients_and_seed(name, shape, samples):
    def make() -> nn.Module:
        torch.manual_seed(1)
        return build(name, input_shape=shape, outputs=4, options=TOKENS_ALONE.get(name))

    model, again = make(), make()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    inputs = torch.randint(1, 7, (samples, *shape)) if name in TOKENS_ALONE else torch.randn(samples, *shape)
    output = model(inputs)
    assert output.shape == (samples, 4)
    output.square().sum().backward()
    if name != "logistic":  # which starts at zero and so has a zero output here
        learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
        assert all(parameter.grad is not None and torch.isfinite(parameter.grad).all() for parameter in learnt)
    model.eval()
    torch.testing.assert_close(model(inputs)[:1], model(inputs[:1]))  # in evaluation a sample's answer is its own


@pytest.mark.parametrize(("name", "options"), [(name, options) for name, variants in VARIANTS.items() for options in variants])
def test_every_option_does_something(name, options):
    tokens = {"vocabulary": 7} if "vocabulary" in options else {}
    shape = (12,) if tokens else (1, 12, 12)
    torch.manual_seed(0)
    plain = build(name, input_shape=shape, outputs=3, options=tokens)
    torch.manual_seed(0)
    changed = build(name, input_shape=shape, outputs=3, options=options)
    plain.eval()
    changed.eval()
    inputs = torch.randint(1, 7, (2, *shape)) if tokens else torch.randn(2, *shape)
    same = [tuple(p.shape) for p in plain.parameters()] == [tuple(p.shape) for p in changed.parameters()]
    assert not same or not torch.equal(plain(inputs), changed(inputs))


def test_every_option_is_varied():
    for name, variants in VARIANTS.items():
        assert {option for options in variants for option in options} == set(registry.entry(name).own_options)


@pytest.mark.parametrize("name", NAMES)
def test_options_survive_json_and_rebuild_the_same_network(name):
    import json

    given = TOKENS_ALONE.get(name, {})
    shape = (8,) if given else (1, 8, 8)
    stored = json.loads(json.dumps(resolved_options(name, given)))
    assert resolved_options(name, stored) == resolved_options(name, given)
    shapes = [tuple(p.shape) for p in build(name, input_shape=shape, outputs=2, options=stored).parameters()]
    assert shapes == [tuple(p.shape) for p in build(name, input_shape=shape, outputs=2, options=given).parameters()]


@pytest.mark.parametrize(
    ("name", "options", "error", "says"),
    [
        ("mlp", {"hiden": 3}, OptionTypeError, "did you mean 'hidden'"),
        ("cnn", {"kernal_size": 3}, OptionTypeError, "did you mean 'kernel_size'"),
        ("mlp", {"activation": "relu"}, OptionTypeError, "beside the network's own options"),
        ("mlp", {"hidden": "64,x"}, OptionTypeError, "hidden is 'x'"),
        ("mlp", {"hidden": (64, 0)}, OptionError, "at least 1"),
        ("mlp", {"hidden": (-5,)}, OptionError, "at least 1"),
        ("mlp", {"hidden": 2.5}, OptionError, "whole number"),
        ("cnn", {"pooling": "maxx"}, OptionError, "did you mean 'max'"),
        ("cnn", {"stride": 0}, OptionError, "at least 1"),
        ("cnn", {"batch_norm": "perhaps"}, OptionTypeError, "true or false"),
        ("cnn", {"initialization": "he_norml"}, OptionError, "did you mean 'he_normal'"),
        ("perceptron", {"hidden": 3}, OptionTypeError, "has the options: initialization"),
        ("mpl", {}, OptionError, "did you mean 'mlp'"),
        ("hopfield", {}, OptionError, "choose one of"),
    ],
)
def test_bad_options(name, options, error, says):
    with pytest.raises(error, match=says):
        build(name, input_shape=(1, 8, 8), outputs=2, options=options)


@pytest.mark.parametrize(
    ("shape", "says"),
    [((30,), "choose network mlp"), ((64,), r"\(N, 1, 8, 8\)"), ((28, 28), r"\(N, 1, 28, 28\)"), ((2, 3, 4, 5), "images of shape")],
)
def test_cnn_refuses_what_is_no_image(shape, says):
    with pytest.raises(ModelError, match=says):
        build("cnn", input_shape=shape, outputs=2)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 4)])
def test_nothing_to_learn_from(shape):
    with pytest.raises(ModelError, match="at least one feature"):
        build("mlp", input_shape=shape, outputs=2)


def test_options_that_a_network_does_not_have():
    build("perceptron", input_shape=(3,), outputs=2, activation="relu", dropout=0.0)
    with pytest.raises(OptionError, match="no hidden layer"):
        build("perceptron", input_shape=(3,), outputs=2, activation="tanh")
    with pytest.raises(OptionError, match="no hidden layer"):
        build("logistic", input_shape=(3,), outputs=2, dropout=0.5)
    with pytest.raises(ModelError, match="made for: classification"):
        build("logistic", input_shape=(3,), outputs=1, task_kind="regression")


def test_dropout_and_activation_reach_the_layers():
    for name, shape in (("mlp", (6,)), ("cnn", (1, 8, 8))):
        model = build(name, input_shape=shape, outputs=2, activation="mish", dropout=0.3)
        assert {module.p for module in model.modules() if isinstance(module, nn.Dropout)} == {0.3}
        assert any(isinstance(module, nn.Mish) for module in model.modules())
        assert not any(isinstance(module, nn.ReLU) for module in model.modules())


def test_mlp_against_its_equation():
    model = build("mlp", input_shape=(5,), outputs=2, activation="tanh", options={"hidden": (4, 3)}).double().eval()
    x = np.random.default_rng(0).normal(size=(7, 5))
    a = x
    for layer in (model.hidden[0], model.hidden[2]):
        a = np.tanh(a @ layer.weight.detach().numpy().T + layer.bias.detach().numpy())
    z = a @ model.output.weight.detach().numpy().T + model.output.bias.detach().numpy()
    np.testing.assert_allclose(model(torch.tensor(x)).detach().numpy(), z, rtol=1e-12)


def test_embedding_mlp_against_its_equation():
    columns, size = (3, 1, 2), 4
    options = {"columns": columns, "embedding_size": size, "hidden": (5,)}
    model = build("embedding_mlp", input_shape=(6,), outputs=2, activation="tanh", options=options).double().eval()
    x = np.random.default_rng(0).normal(size=(7, 6))
    weight, bias = model.embedding.weight.detach().numpy(), model.embedding.bias.detach().numpy()
    embedded, first = [], 0
    for number, inputs in enumerate(columns):
        rows = slice(number * size, (number + 1) * size)
        embedded.append(np.tanh(x[:, first : first + inputs] @ weight[rows, first : first + inputs].T + bias[rows]))
        first += inputs
    layer = model.hidden[0]
    a = np.tanh(np.concatenate(embedded, axis=1) @ layer.weight.detach().numpy().T + layer.bias.detach().numpy())
    z = a @ model.output.weight.detach().numpy().T + model.output.bias.detach().numpy()
    np.testing.assert_allclose(model(torch.tensor(x)).detach().numpy(), z, rtol=1e-12)
    with pytest.raises(ModelError, match="7 inputs together"):
        build("embedding_mlp", input_shape=(6,), outputs=2, options={"columns": (3, 4)})


@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize(("kernel_size", "stride", "pool_size", "pool_stride"), [(3, 1, 2, 0), (5, 2, 2, 1), (2, 1, 3, 2), (1, 1, 1, 0)])
def test_cnn_against_its_equation(pooling, kernel_size, stride, pool_size, pool_stride):
    """Loops over every output position, as the docstring's formulas stand there."""
    options = {
        "kernel_size": kernel_size, "stride": stride, "pooling": pooling, "pool_size": pool_size, "pool_stride": pool_stride,
        "filters": (3,), "hidden": (), "batch_norm": False,
    }  # fmt: skip
    model = build("cnn", input_shape=(2, 7, 9), outputs=2, activation="identity", options=options).double().eval()
    convolution = model.blocks[0]
    K, b = convolution.weight.detach().numpy(), np.array([0.1, -0.2, 0.3])
    with torch.no_grad():
        convolution.bias.copy_(torch.tensor(b))
    image = np.random.default_rng(0).normal(size=(2, 7, 9))
    p = kernel_size // 2
    padded = np.zeros((2, 7 + 2 * p, 9 + 2 * p))
    padded[:, p : p + 7, p : p + 9] = image
    height, width = output_size(7, kernel_size, stride, p), output_size(9, kernel_size, stride, p)
    S = np.empty((3, height, width))
    for o, i, j in np.ndindex(S.shape):
        S[o, i, j] = b[o] + (padded[:, stride * i : stride * i + kernel_size, stride * j : stride * j + kernel_size] * K[o]).sum()
    t = pool_stride or pool_size
    P = np.empty((3, output_size(height, pool_size, t, 0), output_size(width, pool_size, t, 0)))
    for o, i, j in np.ndindex(P.shape):
        window = S[o, t * i : t * i + pool_size, t * j : t * j + pool_size]
        P[o, i, j] = window.max() if pooling == "max" else window.mean()
    z = model.output.weight.detach().numpy() @ P.ravel() + model.output.bias.detach().numpy()
    np.testing.assert_allclose(model(torch.tensor(image)[None])[0].detach().numpy(), z, rtol=1e-11)


def trained(name: str, inputs: torch.Tensor, targets: torch.Tensor, **options) -> float:
    torch.manual_seed(0)
    model = build(name, input_shape=(2,), outputs=2, **options)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(200):
        nn.functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
        optimizer.zero_grad()
    return (model(inputs).argmax(1) == targets).double().mean().item()


def test_what_a_perceptron_can_and_cannot_do():
    corners = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    conjunction, exclusive_or = torch.tensor([0, 0, 0, 1]), torch.tensor([0, 1, 1, 0])
    assert trained("perceptron", corners, conjunction) == 1.0
    assert trained("perceptron", corners, exclusive_or) <= 0.75
    assert trained("mlp", corners, exclusive_or, options={"hidden": (8,)}) == 1.0


def test_batch_norm_takes_a_batch_of_one():
    model = build("mlp", input_shape=(3,), outputs=2, options={"batch_norm": True})
    model(torch.randn(1, 3)).sum().backward()
    before = model.hidden[1].running_mean.clone()
    model(torch.randn(4, 3))
    assert not torch.equal(before, model.hidden[1].running_mean)


@pytest.mark.parametrize(
    ("shape", "samples", "name"),
    [
        ((13,), 178, "mlp"), ((108,), 48842, "mlp"), ((1, 8, 8), 1797, "cnn"), ((3, 32, 32), 50000, "whitened_cnn"),
        ((1, 2, 50), 500, "mlp"),
        ((28, 28), 100, "mlp"), ((3, 128, 160), 900, "whitened_cnn"), ((1, 28, 28), 60000, "whitened_cnn"), ((4, 20, 20), 900, "cnn"),
    ],
)  # fmt: skip
def test_defaults_build(shape, samples, name):
    chosen, options = default_for(shape, "classification", samples)
    assert chosen == name
    assert build(chosen, input_shape=shape, outputs=2, options=options)(torch.randn(2, *shape)).shape == (2, 2)


@pytest.mark.parametrize(
    ("columns", "samples", "name"),
    [((33, 9, 1), 30_000, "embedding_mlp"), ((33, 9, 1), 500, "mlp"), ((43,), 30_000, "mlp"), ((1,) * 20_000, 3000, "mlp")],
)  # one column has nobody to meet; a table of genes would take a matrix of billions
def test_long_tables_get_embedded_columns(columns, samples, name):
    assert default_for((sum(columns),), "regression", samples, {"columns": columns})[0] == name


def test_scores_of_tokens_and_pairs_by_hand():
    scores = NgramScores(9, 3, 2).double()
    with torch.no_grad():
        for parameter in scores.parameters():
            parameter[1:] = torch.randn_like(parameter[1:])
    text, expected = [3, 5, 5, 8], torch.zeros(2, dtype=torch.float64)
    tables = [scores.tokens, *scores.runs]
    runs = [text[start : start + length] for length in (1, 2, 3) for start in range(len(text) - length + 1)]
    for run in runs:
        hashed = 0
        for token in run:
            hashed = hashed * 1_000_003 + token
        expected += tables[len(run) - 1].weight[run[0] if len(run) == 1 else 1 + hashed % (2**17 - 1)]
    torch.testing.assert_close(scores(torch.tensor([[*text, 0, 0]]))[0], 10 * expected / len(runs) ** 0.5)
    assert not scores(torch.zeros(1, 2, dtype=torch.int64)).any()


def test_texts_get_a_network_that_reads_them():
    name, options = default_for((30,), "classification", 5000, {"vocabulary": 100})
    model = build(name, input_shape=(30,), outputs=2, options={**options, "vocabulary": 100})
    assert name == "text_cnn"
    assert model(torch.randint(0, 100, (3, 30))).shape == (3, 2)


def test_others_can_register(monkeypatch):
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))

    @registry.network("bottleneck", options=(Option("width", "integer", None, registry.text("units"), "network", minimum=1),))
    class Bottleneck(nn.Sequential):
        def __init__(self, input_shape, outputs, *, width=2, slope=0.5, sizes=(1, 2), deep=False):
            super().__init__(nn.Flatten(), nn.Linear(int(np.prod(input_shape)), width), nn.Linear(width, outputs))
            self.slope, self.sizes, self.deep = slope, sizes, deep

    model = build("bottleneck", input_shape=(4, 2), outputs=3, options={"width": "5", "slope": "0.25", "sizes": "3,4", "deep": "yes"})
    assert model[1].weight.shape == (5, 8)
    assert (model.slope, model.sizes, model.deep) == (0.25, (3, 4), True)
    with pytest.raises(OptionError, match="at least 1"):
        build("bottleneck", input_shape=(4,), outputs=3, options={"width": 0})
    with pytest.raises(ValueError, match="taken"):
        registry.network("mlp")(Bottleneck)
    with pytest.raises(ValueError, match="widht"):
        registry.network("other", options=(Option("widht", "integer", None, registry.text("units"), "network"),))(Bottleneck)


def test_entry_points_are_found(monkeypatch):
    class Point:
        name = "installed"

        def load(self):
            return lambda input_shape, outputs, *, bias=True: nn.Linear(input_shape[0], outputs, bias=bias)

    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))
    monkeypatch.setattr(registry, "_installed", lambda: {"installed": Point()})
    assert "installed" in registry.names()
    assert build("installed", input_shape=(3,), outputs=2, options={"bias": "no"}).bias is None


# -- a user's own network ----------------------------------------------------------------------------------------------------------------

TEN = Task(kind="classification", classes=tuple("0123456789"))
ONE_TARGET = Task(kind="regression")
FEATURES = torch.randn(64, 30)
IMAGES = torch.randn(64, 3, 8, 8)


class Returning(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.layer, self.function = nn.Linear(30, 10), function

    def forward(self, x):
        return self.function(self.layer(x))


class Growing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(30, 10)

    def forward(self, x):
        if not hasattr(self, "more"):
            self.more = nn.Linear(10, 10)
        return self.more(self.layer(x))


class Uncopyable(nn.Linear):
    def __deepcopy__(self, memo):
        raise TypeError("cannot pickle 'generator' object")


@pytest.mark.parametrize(
    ("model", "batch", "outputs", "task", "says"),
    [
        (
            nn.Linear(30, 5),
            FEATURES,
            10,
            TEN,
            r"returned \(64, 5\) for 64 samples; the task has 10 classes(.|\n)*10 output units instead of 5",
        ),
        (nn.Linear(4, 10), FEATURES, 10, TEN, r"failed on a batch of shape \(64, 30\)(.|\n)*take 30 features"),
        (nn.Conv2d(1, 4, 3), IMAGES, 10, TEN, "3 channels of 8 by 8"),
        (nn.Conv2d(3, 10, 3), IMAGES, 10, TEN, "flatten or pool"),
        (nn.Linear(30, 10).double(), FEATURES, 10, TEN, r"call \.float\(\)"),
        (Returning(lambda z: (z, z)), FEATURES, 10, TEN, "returned a tuple"),
        (Returning(lambda z: {"logits": z}), FEATURES, 10, TEN, "returned a dict"),
        (Returning(lambda z: z[:, 0]), FEATURES, 1, ONE_TARGET, r"the task has 1 target(.|\n)*unsqueeze\(1\)"),
        (Returning(lambda z: z.mean(0)), FEATURES, 10, TEN, "one row per sample"),
        (nn.Linear(30, 10).requires_grad_(False), FEATURES, 10, TEN, "no parameter to train"),
        (nn.Flatten(), torch.randn(64, 10), 10, TEN, "no parameter to train"),
        (Returning(lambda z: z.detach()), FEATURES, 10, TEN, "no gradient flows"),
        (Returning(lambda z: z.long()), FEATURES, 10, TEN, r"no gradient flows from your network's output \(int64\)"),
        (Growing(), FEATURES, 10, TEN, "makes parameters while it runs: more"),
    ],
)
def test_custom_networks_that_do_not_fit(model, batch, outputs, task, says):
    with pytest.raises(ModelError, match=says):
        check_custom(model, batch, outputs=outputs, task=task)


def test_checking_changes_nothing():
    model = nn.Sequential(nn.Linear(30, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 10)).train()
    model[2].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    checked = check_custom(model, FEATURES, outputs=10, task=TEN)
    assert checked.parameters == sum(p.numel() for p in model.parameters())
    assert checked.notices == ()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert [module.training for module in model.modules()] == [True, True, True, False, True]
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_final_softmax_is_noticed():
    checked = check_custom(nn.Sequential(nn.Linear(30, 10), nn.Softmax(1)), FEATURES, outputs=10, task=TEN)
    assert [notice.kind for notice in checked.notices] == ["probabilities_output"]


def test_lazy_layers_get_their_weights():
    model = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(10))
    assert check_custom(model, FEATURES, outputs=10, task=TEN).parameters == 30 * 8 + 8 + 80 + 10


def test_modules_and_factories():
    given = nn.Linear(30, 10)
    copied = own_network(given, (30,), 10)
    assert copied is not given
    assert torch.equal(copied.weight, given.weight)
    assert own_network(lambda: nn.Linear(2, 3), (30,), 10).weight.shape == (3, 2)
    assert own_network(lambda shape, outputs: nn.Linear(*shape, outputs), (30,), 10).weight.shape == (10, 30)
    assert own_network(lambda width=7, depth=1: nn.Linear(2, width), (30,), 10).weight.shape == (7, 2)
    for wrong in (3, lambda: "net"):
        with pytest.raises(OptionTypeError, match="function that makes one"):
            own_network(wrong, (30,), 10)
    with pytest.raises(ModelError, match=r"cannot be copied: TypeError(.|\n)*network=lambda: Uncopyable"):
        own_network(Uncopyable(30, 10), (30,), 10)
    with pytest.raises(ModelError, match="failed: ZeroDivisionError"):
        own_network(lambda: 1 / 0, (30,), 10)
