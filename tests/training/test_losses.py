"""Losses against their equations in NumPy, against torch and scikit-learn; what they refuse and how they say it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pellucid.core.errors import DataError, ModelError, OptionError, OptionTypeError
from pellucid.core.options import BY_NAME
from pellucid.core.records import Task
from pellucid.training.losses import LOSSES, build_loss, class_weights, outputs_needed, probabilities

N = 12
THREE = Task(kind="classification", classes=("a", "b", "c"))
TWO = Task(kind="classification", classes=("no", "yes"))
REGRESSION = Task(kind="regression", targets=("x", "y"))
generator = np.random.default_rng(0)
Z3, Z2, Z1 = (generator.normal(scale=2, size=(N, columns)) for columns in (3, 2, 1))
Y3, Y2 = np.arange(N) % 3, np.arange(N) // 2 % 2
ZR, YR = generator.normal(size=(N, 2)), generator.normal(scale=2, size=(N, 2))
W3, W2 = np.array([0.5, 1.0, 3.0]), np.array([0.4, 2.0])


AHEAD = Task(kind="forecasting", horizon=2, quantiles=(0.1, 0.5, 0.9))
ZQ = np.random.default_rng(1).normal(size=(N, 2 * 3))


def pinball(z, y, levels):
    """Koenker and Bassett's check function, written as cases."""
    total = 0.0
    for i in range(len(y)):
        for h in range(y.shape[1]):
            for q, level in enumerate(levels):
                e = y[i, h] - z[i, h * len(levels) + q]
                total += level * e if e > 0 else (level - 1) * e
    return total / (y.size * len(levels))


def softmax(z):
    return np.exp(z) / np.exp(z).sum(1, keepdims=True)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def distance(name, e):
    return {"mse": e**2, "mae": np.abs(e), "huber": np.where(np.abs(e) <= 1, e**2 / 2, np.abs(e) - 0.5)}[name]


def cross_entropy(z, y, weight, smoothing):
    """torch's convention: the smoothed part is weighted class by class, the whole is divided by the weights of the true classes."""
    classes = z.shape[1]
    w = np.ones(classes) if weight is None else weight
    log_p = np.log(softmax(z))
    target = (1 - smoothing) * np.eye(classes)[y] + smoothing / classes
    return -(target * w * log_p).sum() / w[y].sum()


def binary_cross_entropy(z, y, weight, smoothing):
    classes = 2 if z.shape[1] == 1 else z.shape[1]
    w = np.ones(classes) if weight is None else weight
    hot = y[:, None] if z.shape[1] == 1 else np.eye(classes)[y]
    target = (1 - smoothing) * hot + smoothing / classes
    p = sigmoid(z)
    each = -(target * np.log(p) + (1 - target) * np.log(1 - p)).mean(1)
    return (w[y] * each).sum() / w[y].sum()


# name, task, output, targets, class weights, label smoothing, expected
CASES = [
    *[(name, REGRESSION, ZR, YR, None, 0.0, distance(name, ZR - YR).mean()) for name in ("mse", "mae", "huber")],
    *[(name, THREE, Z3, Y3, None, 0.0, distance(name, softmax(Z3) - np.eye(3)[Y3]).mean()) for name in ("mse", "mae", "huber")],
    *[(name, TWO, Z1, Y2, None, 0.0, distance(name, sigmoid(Z1) - Y2[:, None]).mean()) for name in ("mse", "mae", "huber")],
    *[("cross_entropy", THREE, Z3, Y3, w, e, cross_entropy(Z3, Y3, w, e)) for w in (None, W3) for e in (0.0, 0.1)],
    *[("binary_cross_entropy", TWO, Z1, Y2, w, e, binary_cross_entropy(Z1, Y2, w, e)) for w in (None, W2) for e in (0.0, 0.1)],
    *[("binary_cross_entropy", TWO, Z2, Y2, w, e, binary_cross_entropy(Z2, Y2, w, e)) for w in (None, W2) for e in (0.0, 0.1)],
    *[("binary_cross_entropy", THREE, Z3, Y3, w, e, binary_cross_entropy(Z3, Y3, w, e)) for w in (None, W3) for e in (0.0, 0.1)],
    ("quantile", AHEAD, ZQ, YR, None, 0.0, pinball(ZQ, YR, AHEAD.quantiles)),
]


def test_the_table_holds_every_loss_and_so_does_the_option():
    of_masks = {"focal", "dice", "cross_entropy+dice", "focal+dice"}  # tests/training/test_mask_losses.py
    assert {case[0] for case in CASES} | of_masks == set(LOSSES) == set(BY_NAME["loss"].choices)


@pytest.mark.parametrize(("name", "task", "output", "targets", "weight", "smoothing", "expected"), CASES)
def test_against_the_equation(name, task, output, targets, weight, smoothing, expected):
    loss = build_loss(
        name,
        task,
        class_weight=None if weight is None else torch.tensor(weight),
        label_smoothing=smoothing,
        output_columns=output.shape[1],
    )
    z, y = torch.tensor(output, requires_grad=True), torch.tensor(targets)
    loss.check(z, y)
    value = loss(z, y)
    assert value.ndim == 0
    assert value.item() == pytest.approx(expected, rel=1e-12)
    each = loss.per_sample(z, y)
    assert each.shape == (N,)
    assert each.mean().item() == pytest.approx(expected, rel=1e-12)
    assert torch.autograd.gradcheck(lambda z: loss(z, y), z)


@pytest.mark.parametrize("name", ["cross_entropy", "binary_cross_entropy"])
def test_far_logits_stay_finite(name):
    loss = build_loss(name, THREE)
    z = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]], requires_grad=True)
    value = loss(z, torch.tensor([1, 1]))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(z.grad).all()


def test_half_precision_outputs_are_summed_in_single():
    z = torch.tensor(Z3).bfloat16()
    value = build_loss("cross_entropy", THREE)(z, torch.tensor(Y3))
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(F.cross_entropy(z.float(), torch.tensor(Y3)).item())


@pytest.mark.parametrize(
    ("name", "task", "columns"),
    [
        ("cross_entropy", TWO, 2), ("cross_entropy", THREE, 3), ("binary_cross_entropy", TWO, 1), ("binary_cross_entropy", THREE, 3),
        ("quantile", AHEAD, 6), ("mae", AHEAD, 2),
        ("mse", TWO, 2), ("mse", REGRESSION, 2), ("huber", Task(kind="regression"), 1), (nn.CrossEntropyLoss(), TWO, 2),
    ],
)  # fmt: skip
def test_outputs_needed(name, task, columns):
    assert outputs_needed(name, task) == columns


@pytest.mark.parametrize(
    ("name", "task", "arguments", "error", "says"),
    [
        ("cross_entropi", THREE, {}, OptionError, "did you mean 'cross_entropy'"),
        ("cross_entropy", REGRESSION, {}, OptionError, "a loss for regression: mse, mae, huber"),
        ("mse", REGRESSION, {"label_smoothing": 0.1}, OptionError, "label_smoothing is set and the loss is mse"),
        ("quantile", REGRESSION, {}, OptionError, "set --task forecasting"),
        ("mae", THREE, {"label_smoothing": 0.1}, OptionError, "label_smoothing is set"),
        ("huber", THREE, {"class_weight": torch.ones(3)}, OptionError, "class_weight is set"),
        ("cross_entropy", THREE, {"output_columns": 4}, ModelError, "4 output columns(.|\n)*expects 3"),
        ("cross_entropy", TWO, {"output_columns": 1}, ModelError, "expects 2"),
        ("binary_cross_entropy", THREE, {"output_columns": 1}, ModelError, "expects 3"),
        (nn.CrossEntropyLoss(), THREE, {"label_smoothing": 0.1}, OptionError, "your own function"),
        (nn.CrossEntropyLoss, THREE, {}, OptionTypeError, "returns a scalar"),
        (3, THREE, {}, OptionTypeError, "a name, or a function"),
    ],
)
def test_refusals(name, task, arguments, error, says):
    with pytest.raises(error, match=says):
        build_loss(name, task, **arguments)


@pytest.mark.parametrize(
    ("name", "task", "output", "targets", "error", "says"),
    [
        ("cross_entropy", THREE, torch.zeros(32, 3), torch.zeros(32, 1).long(), DataError,
         r"targets has shape \(32, 1\)(.|\n)*cross_entropy expects class indices of shape \(32,\)(.|\n)*targets.squeeze\(1\)"),
        ("cross_entropy", THREE, torch.zeros(32, 3), torch.zeros(32, 3).long(), DataError, r"targets.argmax\(1\)"),
        ("cross_entropy", THREE, torch.zeros(32, 3), torch.zeros(32), DataError, r"targets.long\(\)"),
        ("cross_entropy", THREE, torch.zeros(32, 3), torch.full((32,), 3), DataError, "from 3 to 3(.|\n)*from 0 to 2"),
        ("cross_entropy", THREE, torch.zeros(32, 3), torch.full((32,), -1), DataError, "number the classes from 0"),
        ("cross_entropy", THREE, torch.zeros(32, 5), torch.zeros(32).long(), ModelError, "give the last layer 3 output units"),
        ("cross_entropy", THREE, torch.zeros(32, 3, 2), torch.zeros(32).long(), ModelError, r"\(32, 3, 2\)"),
        ("mse", Task(kind="regression"), torch.zeros(32), torch.zeros(32, 1), ModelError, r"output.unsqueeze\(1\)"),
        ("mse", Task(kind="regression"), torch.zeros(32, 1), torch.zeros(32), DataError, r"targets.unsqueeze\(1\)"),
        ("mse", REGRESSION, torch.zeros(32, 2), torch.zeros(32, 3), DataError, r"expects shape \(32, 2\)"),
        (nn.CrossEntropyLoss(reduction="none"), THREE, torch.zeros(32, 3), torch.zeros(32).long(), ModelError, r"\(32,\)(.|\n)*\.mean\(\)"),
        (nn.CrossEntropyLoss(), THREE, torch.zeros(32, 3), torch.zeros(31).long(), ModelError, "your loss CrossEntropyLoss failed"),
    ],
)  # fmt: skip
def test_one_look_before_training(name, task, output, targets, error, says):
    with pytest.raises(error, match=says):
        build_loss(name, task).check(output, targets)


@pytest.mark.parametrize("samples", [7, 512, 1300])
def test_a_users_own_loss_has_values_per_sample(samples):
    z, y = torch.randn(samples, 3), torch.randint(3, (samples,))
    own = build_loss(nn.CrossEntropyLoss(), THREE)
    own.check(z, y)
    each, exact = own.per_sample(z, y), F.cross_entropy(z, y, reduction="none")
    assert each.shape == (samples,)
    assert each.mean().item() == pytest.approx(exact.mean().item(), rel=1e-5)
    assert each.std().item() == pytest.approx(exact.std().item(), rel=1e-4 if samples <= 512 else 0.15)


@pytest.mark.parametrize("loss", [*LOSSES, nn.CrossEntropyLoss()])
@pytest.mark.parametrize("columns", [1, 2, 3])
def test_probabilities(loss, columns):
    z = torch.tensor({1: Z1, 2: Z2, 3: Z3}[columns])
    p = probabilities(z, loss, max(columns, 2))
    assert p.shape == (N, max(columns, 2))
    torch.testing.assert_close(p.sum(1), torch.ones(N, dtype=p.dtype))
    if columns == 1:
        np.testing.assert_allclose(p[:, 1].numpy(), sigmoid(Z1)[:, 0])
    elif loss == "binary_cross_entropy":
        np.testing.assert_allclose(p.numpy(), sigmoid(z.numpy()) / sigmoid(z.numpy()).sum(1, keepdims=True))
    else:
        np.testing.assert_allclose(p.numpy(), softmax(z.numpy()))


def test_probabilities_where_every_sigmoid_is_tiny():
    p = probabilities(torch.tensor([[-200.0, -201.0]]), "binary_cross_entropy")
    assert p[0, 0].item() == pytest.approx(1 / (1 + np.exp(-1)))


def test_balanced_weights_as_scikit_learn():
    from sklearn.utils.class_weight import compute_class_weight

    targets = np.array([0, 0, 0, 0, 1, 2, 2])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=targets)
    np.testing.assert_allclose(class_weights("balanced", THREE, targets).numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(class_weights("balanced", THREE, torch.tensor(targets)).numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("given", "expected"),
    [("1,2,0.5", [1, 2, 0.5]), ([1, 2, 3], [1, 2, 3]), ({"c": 4}, [1, 1, 4]), (np.array([1.0, 1, 2]), [1, 1, 2]), (None, None)],
)
def test_given_weights(given, expected):
    weights = class_weights(given, THREE, np.array([0, 1, 2]))
    assert weights is expected is None or weights.tolist() == expected


def test_classes_named_by_numbers():
    digits = Task(kind="classification", classes=("0", "1", "2"))
    assert class_weights({1: 5}, digits, [0]).tolist() == [1, 5, 1]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("balancd", "did you mean 'balanced'"), ("1,2", "give 3 weights instead of 2"),
        ([1, -2, 1], "none negative"), ([0, 0, 0], "above 0"),
        ([1, np.inf, 1], "finite"), ({"d": 3}, "choose one of: a, b, c"), ({"a": "x"}, "class_weight is"), (3, "class_weight is 3"),
    ],
)  # fmt: skip
def test_bad_weights(given, says):
    with pytest.raises(OptionError, match=says):
        class_weights(given, THREE, np.array([0, 1, 2]))
