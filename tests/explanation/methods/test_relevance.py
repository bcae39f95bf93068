"""Layer-wise relevance propagation against the paper's sums written out, hand-worked numbers, fused networks and captum."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import pellucid
from explanation.explained_networks import seeded
from pellucid.core.errors import ModelError
from pellucid.explanation.methods.relevance import EPSILON


def _relevance(model: nn.Module, x: Tensor, target: int | None = 0, *, method: str = "lrp") -> Tensor:
    found = pellucid.explain(model.eval(), x, target, method=method).attributions
    assert isinstance(found, Tensor)
    return found


def test_by_hand() -> None:
    """x = (1, 2): h = relu(1 + 2, 2 - 2) = (3, 0), f = 2 h1 + h2 = 6. All of it is h1's, whose parts are 1 / 3 and 2 / 3."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    model[0].weight.data = torch.tensor([[1.0, 1.0], [2.0, -1.0]])
    model[2].weight.data = torch.tensor([[2.0, 1.0]])
    torch.testing.assert_close(_relevance(model, torch.tensor([[1.0, 2.0]]), None), torch.tensor([[2.0, 4.0]]))
    # z+: of 3 * 2 - 1 * 2 + 1 = 5 what raises it is 6 and the bias 1, so that the first entry has 6 / 7 of 5 and the second nothing
    convolution = nn.Conv1d(1, 1, 2)
    convolution.weight.data, convolution.bias.data = torch.tensor([[[3.0, -1.0]]]), torch.tensor([1.0])
    x = torch.tensor([[[2.0, 2.0]]])
    torch.testing.assert_close(_relevance(nn.Sequential(convolution, nn.Flatten()), x, None), torch.tensor([[[30 / 7, 0.0]]]))
    epsilon = _relevance(nn.Sequential(convolution, nn.Flatten()), x, None, method="lrp_epsilon")
    torch.testing.assert_close(epsilon, torch.tensor([[[6.0, -2.0]]]))


def _dense(layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """A layer on one sample as a matrix (outputs, inputs) and a bias, read off from what it makes of single entries."""
    with torch.no_grad():
        bias = layer(torch.zeros_like(x)[None])[0].reshape(-1)
        single = torch.eye(x.numel(), dtype=x.dtype).reshape(-1, *x.shape)
        return (layer(single).reshape(x.numel(), -1) - bias).T, bias


def _written_out(layers: list[nn.Module], x: Tensor, target: int, plus: bool) -> Tensor:
    """Bach et al. 2015, equations 56 and 60, sum by sum."""
    activations = [x]
    for layer in layers:
        activations.append(layer(activations[-1][None])[0].detach())
    R = torch.zeros_like(activations[-1])
    R[target] = activations[-1][target]
    for layer, a in zip(reversed(layers), reversed(activations[:-1]), strict=True):
        if not isinstance(layer, (nn.Linear, nn.Conv2d, nn.AvgPool2d)):
            R = R.reshape(a.shape)
            continue
        w, b = _dense(layer, a)
        below, flat, above = torch.zeros(a.numel(), dtype=x.dtype), a.reshape(-1), R.reshape(-1)
        for k in range(len(w)):
            z = w[k] * flat
            if plus and isinstance(layer, nn.Conv2d):
                positive = z.clamp(min=0)
                below += positive / (positive.sum() + b[k].clamp(min=0)) * above[k] if above[k] else 0
            elif above[k]:
                below += z / (z.sum() + b[k]) * above[k]
        R = below.reshape(a.shape)
    return R


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.GELU, nn.LeakyReLU, nn.Sigmoid])
@pytest.mark.parametrize("method", ["lrp", "lrp_epsilon"])
def test_the_sums_of_the_paper(method: str, activation: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 4, 3, padding=1), activation(), nn.AvgPool2d(2), nn.Conv2d(4, 3, 2, stride=2), activation(),
              nn.Flatten(), nn.Linear(12, 5), activation(), nn.Linear(5, 3)]  # fmt: skip
    model, x = nn.Sequential(*layers).double().eval(), torch.randn(2, 2, 8, 8, dtype=torch.float64)
    found = _relevance(model, x, 1, method=method)
    for row in range(2):
        torch.testing.assert_close(
            found[row], _written_out(layers, x[row], 1, method == "lrp"), rtol=2e-3, atol=2e-3 * float(found.abs().max())
        )


class Residual(nn.Module):
    """Sums around a block, activations used twice, in place, functional; `norm` makes what stands behind a convolution."""

    def __init__(self, bias: bool = False, norm: Callable[[int], nn.Module] = lambda channels: nn.Identity()) -> None:
        super().__init__()
        self.enter, self.one, self.two = (nn.Conv2d(c, 6, 3, padding=1, bias=bias) for c in (3, 6, 6))
        self.norms = nn.ModuleList([norm(6) for _ in range(3)])
        self.relu, self.leave = nn.ReLU(inplace=True), nn.Linear(6, 4, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norms[0](self.enter(x)))
        y = self.norms[2](self.two(F.relu(self.norms[1](self.one(x)))))
        y += x
        return self.leave(F.max_pool2d(self.relu(y), 2).mean((2, 3)))


def _pictures() -> Tensor:
    return torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("method", ["lrp", "lrp_epsilon"])
def test_without_constants_relevance_is_conserved(method: str) -> None:
    model = seeded(Residual)
    found = pellucid.explain(model, _pictures(), 2, method=method)
    torch.testing.assert_close(found.attributions.sum((1, 2, 3)), model(_pictures())[:, 2].detach(), rtol=1e-3, atol=1e-5)
    if method == "lrp_epsilon":
        torch.testing.assert_close(found.attributions, pellucid.explain(model, _pictures(), 2, method="input_x_gradient").attributions,
                                   rtol=1e-3, atol=1e-5)  # fmt: skip


def _normed(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels)
    norm.running_mean, norm.running_var = torch.randn(channels), torch.rand(channels) + 0.5
    norm.weight.data, norm.bias.data = torch.randn(channels), torch.randn(channels)
    return norm


def test_batch_norm_is_folded_into_the_layer_before_it() -> None:
    model = seeded(lambda: Residual(True, _normed)).eval()
    fused = seeded(lambda: Residual(True, _normed)).eval()
    for name, norm in zip(("enter", "one", "two"), model.norms, strict=True):
        setattr(fused, name, torch.nn.utils.fuse_conv_bn_eval(getattr(model, name), norm))
    fused.norms = nn.ModuleList([nn.Identity() for _ in range(3)])
    torch.testing.assert_close(model(_pictures()), fused(_pictures()))
    torch.testing.assert_close(_relevance(model, _pictures()), _relevance(fused, _pictures()), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("inplace", [False, True])
def test_batch_norm_after_an_activation_hands_relevance_on(inplace: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 3, bias=False), nn.ReLU(inplace), _normed(6), nn.Flatten(), nn.Linear(216, 2, bias=False))
    found = _relevance(model, _pictures())
    before = model[0](_pictures())
    hidden = F.relu(before.clone())
    relevance = model[4].weight[0].reshape(6, 6, 6) * model.eval()[2](hidden)
    for layer in (hidden, before):  # where nothing came in, nothing is handed on
        relevance = relevance * hidden / (hidden + EPSILON * layer.abs().amax((1, 2, 3), keepdim=True))
    expected = relevance.sum((1, 2, 3))
    torch.testing.assert_close(found.sum((1, 2, 3)), expected.detach(), rtol=1e-4, atol=1e-5)


class Odd(nn.Module):
    def __init__(self, act: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.act, self.last = nn.Linear(5, 6), act, nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.act(self.first(x)))


_WITHOUT_A_RULE: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda h: F.softmax(h, 1),
    "mul": lambda h: h * torch.sigmoid(h),
    "exp": torch.exp,
    "div": lambda h: torch.ones(6) / h,
    "layer_norm": lambda h: F.layer_norm(h, (6,)),
    "attention": lambda h: F.scaled_dot_product_attention(h[:, None], h[:, None], h[:, None])[:, 0],
    "batch_norm without running statistics": nn.BatchNorm1d(6, track_running_stats=False),
}


@pytest.mark.parametrize("name", _WITHOUT_A_RULE)
def test_operations_without_a_rule_are_named(name: str) -> None:
    said = "depends on the other samples" if name.startswith("batch") else f"has no rule for the operation {name}(?s:.)*deeplift"
    with pytest.raises(ModelError, match=said):
        pellucid.explain(Odd(_WITHOUT_A_RULE[name]), torch.randn(4, 5), 0, method="lrp")


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.first, self.pool = nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2)
        self.two, self.second, self.last = nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.second(self.two(self.pool(self.first(self.one(x))))).flatten(1))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("method", ["lrp", "lrp_epsilon"])
def test_beside_captum(method: str) -> None:
    attr = pytest.importorskip("captum.attr")
    rules = pytest.importorskip("captum.attr._utils.lrp_rules")
    torch.manual_seed(0)
    model = Plain().eval()
    model.one.bias.data.abs_(), model.two.bias.data.abs_()  # captum's z+ takes the biases with their signs, and inputs for positive
    x = _pictures().abs()
    for layer in model.children():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.rule = rules.Alpha1_Beta0_Rule() if method == "lrp" and isinstance(layer, nn.Conv2d) else rules.EpsilonRule()
    expected = attr.LRP(model).attribute(x, target=2)
    found = _relevance(model, x, 2, method=method)
    largest = float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=0.01 * largest)  # its epsilon is 1e-9, absolute
    assert float((found - expected).abs().median()) < 1e-5 * largest
