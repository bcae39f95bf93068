"""Gradient, activation and attention methods: closed forms, the axioms on every trap, intervals, and Captum where it is right."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from explanation.explained_networks import NETWORKS, Residual, Transformer, Words, image, seeded, tabular, tokens
from pellucid import explain
from pellucid.core.errors import ModelError, OptionError
from pellucid.explanation.registry import methods
from pellucid.explanation.subject import Subject

OURS = (
    "saliency",
    "input_x_gradient",
    "smoothgrad",
    "integrated_gradients",
    "expected_gradients",
    "deeplift",
    "grad_cam",
    "attention",
    "lrp",
    "lrp_epsilon",
)


class Product(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0] * x[:, 1] + 3 * x[:, 2] ** 2


class Capped(nn.Module):
    """y = 1 - relu(1 - a - b): min(a + b, 1) for what is below; the example of Shrikumar et al. 2017, figure 1."""

    def forward(self, x: Tensor) -> Tensor:
        return 1 - F.relu(1 - x[:, 0] - x[:, 1])


def test_linear_networks_have_one_answer() -> None:
    """w x: what every method that speaks of contributions must say, and saliency's |w|."""
    model, x = seeded(lambda: nn.Linear(5, 3)), tabular()
    weight = model.weight[2].detach()
    for name in ("input_x_gradient", "integrated_gradients", "deeplift"):
        found = explain(model, x, 2, method=name)
        torch.testing.assert_close(found.attributions, weight * x, msg=name)
        assert found.exact is True
    torch.testing.assert_close(explain(model, x, 2, method="saliency").attributions, weight.abs().expand_as(x))
    smooth = explain(model, x, 2, method="smoothgrad")
    torch.testing.assert_close(smooth.attributions, weight.expand_as(x))
    assert bool(smooth.exact.all())  # no draw differed
    assert torch.equal(smooth.interval[0], smooth.interval[1])
    background = tabular(50)
    expected = explain(model, x, 2, method="expected_gradients", data=background)
    low, high = expected.interval
    truth = weight * (x - background.mean(0))
    assert float(((low <= truth) & (truth <= high)).float().mean()) >= 0.8  # 20 intervals of 95 %
    against = explain(model, x, 2, method="integrated_gradients", baseline=background[0])
    torch.testing.assert_close(against.attributions, weight * (x - background[0]))


def test_closed_forms() -> None:
    x = torch.tensor([[2.0, 5.0, -1.0]])
    integrated = explain(Product(), x, method="integrated_gradients")
    torch.testing.assert_close(integrated.attributions, torch.tensor([[5.0, 5.0, 3.0]]))  # half of the product each; the square whole
    torch.testing.assert_close(explain(Product(), x, method="deeplift").attributions, torch.tensor([[5.0, 5.0, 3.0]]))
    capped = explain(Capped(), torch.tensor([[1.0, 1.0]]), method="deeplift")
    torch.testing.assert_close(capped.attributions, torch.tensor([[0.5, 0.5]]))  # the gradient there is zero
    torch.testing.assert_close(explain(Capped(), torch.tensor([[1.0, 1.0]]), method="input_x_gradient").attributions, torch.zeros(1, 2))


def test_deeplift_max_pooling_gives_the_change_to_the_largest() -> None:
    x, old = torch.tensor([[[1.0, 3.0, 2.0, 0.0]]]), torch.tensor([[[2.0, 0.0, 5.0, 1.0]]])
    model = nn.Sequential(nn.MaxPool1d(2), nn.Flatten(), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        model[2].weight.copy_(torch.tensor([[1.0, 10.0]]))
    found = explain(model, x, method="deeplift", baseline=old)
    torch.testing.assert_close(found.attributions, torch.tensor([[[0.0, 1.0, -30.0, 0.0]]]))  # 3 - 2 to the 3, 2 - 5 to the former 5


def test_grad_cam_by_hand() -> None:
    """f = sum of u_k mean(A_k): the map is relu(sum u_k A_k) / (h w), here without resizing."""
    conv, last = nn.Conv2d(3, 4, 1, bias=False), nn.Linear(4, 2, bias=False)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.last = conv, last

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.conv(x).mean((2, 3)))

    x = image()
    expected = torch.relu(torch.einsum("k,nkhw->nhw", last.weight[1], conv(x))).detach() / 64
    for layer in (None, "conv"):
        found = explain(Net(), x, 1, method="grad_cam", layer=layer)
        torch.testing.assert_close(found.attributions.sum(1), expected)
    with pytest.raises(OptionError, match="did you mean 'conv'"):
        explain(Net(), x, 1, method="grad_cam", layer="convs")
    with pytest.raises(OptionError, match=r"maps \(N, K, ...\) with 2 spatial axes"):
        explain(Net(), x, 1, method="grad_cam", layer="last")
    with pytest.raises(OptionError, match="grad_cam"):
        explain(Net(), x, 1, method="saliency", layer="conv")


def test_grad_cam_takes_the_last_layer_with_spatial_extent() -> None:
    """In the residual network that is the activation after the sum, which no module gives."""
    found = explain(seeded(Residual), image(), 1, method="grad_cam")
    assert any("(6, 4, 4)" in str(note) for note in found.notes)
    model = seeded(Residual)
    leaf = F.relu((h := F.max_pool2d(F.relu(model.enter(image())), 2)) + model.norm(model.conv(h))).detach().requires_grad_()
    value = F.softmax(model.leave(leaf.flatten(1)), dim=1)[:, 1].sum()
    (slope,) = torch.autograd.grad(value, leaf)
    maps = torch.relu((slope.mean((2, 3), keepdim=True) * leaf).sum(1, keepdim=True)).detach()
    torch.testing.assert_close(found.attributions.sum(1, keepdim=True), F.interpolate(maps, (8, 8), mode="bilinear"))


def test_grad_cam_passes_each_sample_once_and_keeps_its_output() -> None:
    model, x = seeded(Residual), image(8)
    found = explain(model, x, 1, method="grad_cam")
    assert found.spent.forward < 2 * len(x)
    torch.testing.assert_close(found.value, model(x)[:, 1].detach())
    x[3] = torch.nan
    with pytest.raises(ModelError, match="NaN"):
        explain(model, x, 1, method="grad_cam")


def test_grad_cam_of_maps_written_in_place() -> None:
    """The program goes on with the tensor that was written into, not with what the call gives back."""

    class InPlace(Residual):
        def forward(self, x: Tensor) -> Tensor:
            maps = self.enter(x)
            maps.relu_()
            return self.leave(F.max_pool2d(maps, 2).flatten(1))

    found = explain(seeded(InPlace), image(), 1, method="grad_cam")
    assert float(found.attributions.abs().max()) > 0


class OneHead(nn.Module):
    """The output is the second token's value alone, whatever else is looked at."""

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.softmax(torch.zeros(len(x), x.shape[1]) + 0 * x.sum(-1), dim=1)
        return (weights[..., None] * (x * torch.tensor([0.0, 1.0, 0.0, 0.0])[:, None])).sum((1, 2))[:, None]


def test_attention_counts_only_what_the_output_used() -> None:
    x = torch.rand(2, 4, 3)
    found = explain(OneHead(), x, method="attention").attributions.sum(2)
    torch.testing.assert_close(found[:, 1], 0.25 * x[:, 1].sum(1))
    torch.testing.assert_close(found[:, [0, 2, 3]], torch.zeros(2, 3))


def test_attention_taken_apart_is_the_same_function() -> None:
    from pellucid.explanation.attending import AttentionWeights

    model = seeded(Transformer)
    subject, maps = Subject.of(model, tokens()), AttentionWeights()
    with subject.surrounded(gradient=False):
        met = subject.run_points(subject.points(subject.inputs), subject.inputs, meet=maps.meet)
    torch.testing.assert_close(met, model(tokens()).detach())
    assert [tuple(weights.shape) for weights, _ in maps.found] == [(3, 2, 6, 6)] * 2
    torch.testing.assert_close(maps.found[0][0].sum(-1), torch.ones(3, 2, 6))


# -- the axioms, on every network --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_every_method_on_every_network(name: str) -> None:
    """Shapes, repetition from a seed, the completeness of those that promise it, and one clear error where a method does not apply."""
    make, inputs = NETWORKS[name]
    model, given = seeded(make), inputs()
    parts = list(given.values()) if isinstance(given, dict) else list(given) if isinstance(given, tuple) else [given]
    target = None if "regression" in name else 0
    for method in OURS:
        if methods()[method].obstacle(Subject.of(model, given, target)) is not None:
            assert method in ("grad_cam", "attention", "deeplift", "lrp", "lrp_epsilon")
            with pytest.raises(ModelError, match=r"these can be applied: .*integrated_gradients"):
                explain(model, given, target, method=method)
            continue
        found = explain(model, given, target, method=method, samples=4 if method in ("smoothgrad", "expected_gradients") else None)
        maps = found.attributions if isinstance(found.attributions, tuple) else (found.attributions,)
        assert [tuple(part.shape) for part in maps] == [tuple(part.shape) for part in parts]
        assert all(bool(torch.isfinite(part).all()) for part in maps)
        assert isinstance(found.attributions, tuple) != isinstance(given, Tensor)
        if method in ("integrated_gradients", "deeplift"):
            assert found.gap is not None
            assert found.gap < (1e-2 if method == "integrated_gradients" else 1e-3), (method, found.gap)


def test_deeplift_has_rules_for_what_networks_do() -> None:
    """Completeness in float64, to rounding, or to the average along a line; where there is no rule, the operation is named."""
    cases: dict[str, Any] = {
        "relu twice": lambda h: F.relu(F.relu(h) - 0.3), "in place": lambda h: F.relu_(h), "softmax": lambda h: F.softmax(h, -1),
        "gate": lambda h: h * torch.sigmoid(h), "square": lambda h: h * h, "power": lambda h: h**3, "gelu": F.gelu, "silu": F.silu,
        "reciprocal": lambda h: 1 / (2 + h.tanh()), "layer norm": lambda h: F.layer_norm(h, (8,)), "elu": F.elu, "softplus": F.softplus,
        "quotient": lambda h: h / (1 + h.abs()), "maximum": lambda h: torch.maximum(h, h.flip(1)), "clamp": lambda h: h.clamp(-0.2, 0.4),
        "amax": lambda h: h - h.amax(1, keepdim=True), "max": lambda h: h - h.max(1, keepdim=True).values,
        "amin": lambda h: h - h.amin(1, True), "written into": lambda h: h.mul_(h.sigmoid()), "normalize": lambda h: F.normalize(h),
        "matmul": lambda h: (h[:, :, None] @ h[:, None, :]).sum(2),
    }  # fmt: skip

    class Net(nn.Module):
        def __init__(self, middle: Any) -> None:
            super().__init__()
            self.first, self.last, self.middle = nn.Linear(5, 8), nn.Linear(8, 2), middle

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.middle(self.first(x)))

    x = tabular().double()
    for name, middle in cases.items():
        found = explain(seeded(lambda middle=middle: Net(middle)).double(), x, 1, method="deeplift", baseline=tabular(9)[5:6].double())
        assert found.gap is not None
        assert found.gap < 1e-7, (name, found.gap)
    for middle, operation in ((lambda h: h.sort(1).values, "sort"), (lambda h: torch.where(h > 0, h, 0.1 * h), "where")):
        model = seeded(lambda middle=middle: Net(middle)).double()
        with pytest.raises(ModelError, match=rf"{operation}(?s:.)*can be applied: .*integrated_gradients"):
            explain(model, x, 1, method="deeplift")


def test_integrated_gradients_takes_steps_until_the_sum_is_right() -> None:
    class Steep(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.sigmoid(60 * (x.sum(1) - 0.5))

    found = explain(Steep(), torch.rand(5, 4) + 0.5, method="integrated_gradients")
    assert found.gap is not None
    assert found.gap < 0.01
    assert found.spent.backward > 5 * 16
    final = (1025, 513, 257, 129, 65, 33, 17)  # gradients of a way whose steps were halved so often: each was taken once
    assert found.spent.backward <= 5 * next(count for count in final if found.spent.backward >= count)
    coarse = explain(Steep(), torch.rand(5, 4) + 0.5, method="integrated_gradients", samples=2)
    assert coarse.gap is not None
    assert coarse.gap > 0.01
    assert any("completeness" in str(note) for note in coarse.notes)


def test_integrated_gradients_of_a_quartic_are_exact() -> None:
    """Gregory's rule of fourth order integrates the derivative, a cubic polynomial of the way, without error."""
    x = torch.tensor([[1.0, -2.0, 3.0]], dtype=torch.float64)

    class Quartic(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x**4 + x**3 - 2 * x).sum(1)

    for gradients in (4, 5, 17, None):
        found = explain(Quartic(), x, method="integrated_gradients", baseline="zero", samples=gradients)
        torch.testing.assert_close(found.attributions, x**4 + x**3 - 2 * x, rtol=0, atol=1e-5)  # the first gradient is a millionth off
    assert found.spent.backward == 17


def test_integrated_gradients_do_not_stop_at_a_kink_in_the_reference() -> None:
    """Without biases all ReLUs of a network have their kink at zero, where their derivative is that of neither side."""
    model = seeded(lambda: nn.Sequential(nn.Linear(5, 8, bias=False), nn.ReLU(), nn.Linear(8, 3, bias=False)))
    found = explain(model, tabular(), 1, method="integrated_gradients", baseline="zero")
    assert found.gap is not None
    assert found.gap < 1e-4
    assert found.spent.backward == 4 * 17


@pytest.mark.parametrize("method", ["smoothgrad", "expected_gradients"])
def test_intervals_cover(method: str) -> None:
    """1,000 independent intervals of 95 % over a cubic, whose mean is known."""

    class Cubic(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, 0] ** 3 + 0 * x[:, 1]

    x = torch.cat([torch.rand(1000, 1) + 1, torch.zeros(1000, 1)], 1)
    background = torch.rand(40, 2)
    found = explain(Cubic(), x, method=method, data=background, samples=60)
    if method == "smoothgrad":
        truth = 3 * (x[:, 0] ** 2 + (0.15 * x[:, 0]) ** 2)  # E 3 (x + e)^2; the range of a sample is its first entry
    else:
        truth = x[:, 0] ** 3 - background[:, 0].pow(3).mean()
    low, high = (side[:, 0] for side in found.interval)
    covered = float(((low <= truth) & (truth <= high)).float().mean())
    assert 0.93 <= covered <= 0.97, covered
    assert bool(found.exact[:, 1].all())
    assert not bool(found.exact[:, 0].any())


def test_tokens_against_padding() -> None:
    """A padding token has nothing to contribute; what the words contribute adds up to what they changed."""
    given = tokens() * (torch.arange(6) < 4)
    model = seeded(Words)
    found = explain(model, given, 1, method="integrated_gradients")
    assert torch.equal(found.attributions[:, 4:], torch.zeros(3, 2))
    change = model(given)[:, 1] - model(torch.zeros_like(given))[:, 1]
    torch.testing.assert_close(found.attributions.sum(1), change.detach(), rtol=0.01, atol=1e-4)


def test_registry_names_ours() -> None:
    known = methods()
    assert set(OURS) <= set(known)
    assert all(known[name].family in ("gradient", "activation", "attention") for name in OURS)


# -- Captum, where it is right -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_captum_says_the_same() -> None:
    captum = pytest.importorskip("captum.attr")

    def network(activation: type[nn.Module]) -> nn.Module:
        head = nn.Linear(200, 9), nn.Sigmoid(), nn.Linear(9, 4)
        return nn.Sequential(nn.Conv2d(3, 6, 3), activation(), nn.Conv2d(6, 8, 2), nn.Tanh(), nn.Flatten(), *head).double()

    x, base = image(5).double(), 0.3 * image(8)[3:8].double()
    model = seeded(lambda: network(nn.ReLU))
    smooth = seeded(lambda: network(nn.Softplus))  # at kinks both integrals are approximations
    pairs = {
        "saliency": (model, captum.Saliency(model).attribute(x, target=2), {}),
        "input_x_gradient": (model, captum.InputXGradient(model).attribute(x.clone().requires_grad_(), target=2), {}),
        "deeplift": (model, captum.DeepLift(model).attribute(x, base, target=2), {"baseline": base}),
        "integrated_gradients": (
            smooth, captum.IntegratedGradients(smooth).attribute(x, base, target=2, n_steps=64), {"baseline": base, "samples": 64},
        ),
    }  # fmt: skip
    for name, (explained, theirs, options) in pairs.items():
        ours = explain(explained, x, 2, method=name, **options).attributions
        torch.testing.assert_close(
            ours, theirs.detach(), rtol=1e-6, atol=1e-8 * float(theirs.abs().max()), msg=lambda m, n=name: f"{n}: {m}"
        )
    cam = captum.LayerGradCam(model, model[2]).attribute(x, target=2, relu_attributions=True)
    ours = explain(model, x, 2, method="grad_cam", layer="2").attributions.sum(1, keepdim=True)
    torch.testing.assert_close(ours, F.interpolate(cam.detach(), (8, 8), mode="bilinear"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_where_captum_is_silently_wrong() -> None:
    """DeepLIFT's sum, measured with Captum 0.9.0: pooling after a ReLU misses the change of the output; ours does not."""
    captum = pytest.importorskip("captum.attr")
    pooled = seeded(lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(54, 4)).double())
    x, base = image(5).double(), 0.3 * image(8)[3:8].double()
    change = (pooled(x) - pooled(base))[:, 2].detach()
    ours = explain(pooled, x, 2, method="deeplift", baseline=base).attributions.flatten(1).sum(1)
    theirs = captum.DeepLift(pooled).attribute(x, base, target=2).detach().flatten(1).sum(1)
    torch.testing.assert_close(ours, change)
    assert float((theirs - change).abs().max()) > 0.1  # where this no longer holds, they have mended it


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_deeplift_refuses_what_it_cannot_see() -> None:
    model = torch.jit.trace(seeded(lambda: nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))), tabular())
    with pytest.raises(ModelError, match=r"TorchScript(?s:.)*can be applied: .*integrated_gradients"):
        explain(model, tabular(), 1, method="deeplift")
