"""Losses of masks: hand-worked numbers, gradients against finite differences, what void and weights do."""

import math

import pytest
import torch
import torch.nn.functional as F

from pellucid.core.errors import DataError, ModelError, OptionError
from pellucid.core.records import Task
from pellucid.data.masks.classes import IGNORED, VOID
from pellucid.training.losses import build_loss, class_weights
from pellucid.training.masks.losses import MASK_LOSSES, total

TWO = Task(kind="segmentation", classes=("ground", "thing"))
THREE = Task(kind="segmentation", classes=("a", "b", "c"))


def scores(*chances: float) -> torch.Tensor:
    """(1, 2, 1, W) scores whose softmax gives the second class these probabilities."""
    second = torch.tensor(chances, dtype=torch.float64)
    return torch.stack([(1 - second).log(), second.log()])[None, :, None, :]


def mask(*classes: int) -> torch.Tensor:
    return torch.tensor([[classes]])


def test_hand_worked_numbers():
    output, targets = scores(0.5, 0.75, 0.9), mask(1, 1, IGNORED)
    assert build_loss("cross_entropy", TWO)(output, targets).item() == pytest.approx(-(math.log(0.5) + math.log(0.75)) / 2)
    assert build_loss("focal", TWO)(output, targets).item() == pytest.approx(-(0.25 * math.log(0.5) + 0.0625 * math.log(0.75)) / 2)
    # class 1 alone is shown: 2 (0.5 + 0.75) + 1 over (0.5 + 0.75) + 2 + 1
    assert build_loss("dice", TWO)(output, targets).item() == pytest.approx(1 - 3.5 / 4.25)
    both = build_loss("cross_entropy+dice", TWO)(output, targets).item()
    assert both == pytest.approx(-(math.log(0.5) + math.log(0.75)) / 2 + 1 - 3.5 / 4.25)


def test_hand_worked_weights():
    output, targets = scores(0.5, 0.75), mask(0, 1)
    weight = torch.tensor([1.0, 3.0])
    expected = -(1 * math.log(0.5) + 3 * math.log(0.75)) / 4
    assert build_loss("cross_entropy", TWO, class_weight=weight)(output, targets).item() == pytest.approx(expected)
    # class 0: p = 0.5, 0.25; class 1: p = 0.5, 0.75
    ratios = (2 * 0.5 + 1) / (0.75 + 1 + 1), (2 * 0.75 + 1) / (1.25 + 1 + 1)
    expected = 1 - (ratios[0] + 3 * ratios[1]) / 4
    assert build_loss("dice", TWO, class_weight=weight)(output, targets).item() == pytest.approx(expected)


def test_cross_entropy_is_torch_s_own():
    torch.manual_seed(0)
    output, targets = torch.randn(3, 3, 4, 5), torch.randint(0, 3, (3, 4, 5))
    targets[0, :2] = IGNORED
    weight = torch.tensor([1.0, 2.0, 0.5])
    for smoothing in (0.0, 0.2):
        ours = build_loss("cross_entropy", THREE, class_weight=weight, label_smoothing=smoothing)(output, targets)
        theirs = F.cross_entropy(output, targets, weight, ignore_index=IGNORED, label_smoothing=smoothing)
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", MASK_LOSSES)
def test_gradients_are_those_of_finite_differences(name, weighted):
    torch.manual_seed(0)
    targets = torch.randint(0, 3, (2, 3, 2))
    targets[0, 0, 0] = IGNORED
    loss = build_loss(name, THREE, class_weight=torch.tensor([1.0, 2.0, 0.5]) if weighted else None)
    output = torch.randn(2, 3, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: loss(z, targets), (output,))


@pytest.mark.parametrize("name", MASK_LOSSES)
def test_void_counts_nothing_and_terms_join_batches(name):
    torch.manual_seed(0)
    loss = build_loss(name, THREE)
    output, targets = torch.randn(4, 3, 5, 6, dtype=torch.float64), torch.randint(0, 3, (4, 5, 6))
    targets[:, 3:] = IGNORED
    targets[2] = IGNORED
    other = output.clone()
    other[:, :, 3:] = 100 * torch.randn(4, 3, 2, 6)
    other[2] += 5
    assert loss(other, targets).item() == loss(output, targets).item()
    torch.testing.assert_close(loss.per_sample(output, targets).mean(), loss(output, targets))
    apart = torch.cat([loss.terms(output[:1], targets[:1]), loss.terms(output[1:], targets[1:])])
    torch.testing.assert_close(total(apart), loss(output, targets))
    empty = torch.full_like(targets, IGNORED)
    assert loss(output.requires_grad_(), empty).item() == 0
    loss(output, empty).backward()
    assert output.grad is not None
    assert output.grad.abs().max() == 0


@pytest.mark.parametrize("name", MASK_LOSSES)
def test_the_right_answer_costs_next_to_nothing(name):
    targets = torch.randint(0, 3, (2, 8, 8))
    certain = 30.0 * F.one_hot(targets, 3).permute(0, 3, 1, 2)
    assert build_loss(name, THREE)(certain, targets).item() < 1e-6
    assert build_loss(name, THREE)(-certain, targets).item() > 0.5


def test_median_frequency_balancing():
    """Class 0 fills 12 of the 16 pixels of the two masks that show it, class 1 half of the one that shows it, class 2 none."""
    targets = torch.tensor([[[0, 0, 0, 0], [1, 1, 1, 1]], [[0, 0, 0, 0], [0, 0, 0, 0]]])
    weights = class_weights("balanced", THREE, targets)
    frequency = (12 / 16, 4 / 8)
    median = 0.5  # torch's median of two is the lower one
    assert weights is not None
    assert weights.tolist() == pytest.approx([median / frequency[0], median / frequency[1], 1.0])
    targets[0, 0] = VOID  # then class 0 fills 8 of the 8 + 0 pixels that count where it is shown
    weights = class_weights("balanced", THREE, targets)
    assert weights is not None
    assert weights.tolist() == pytest.approx([1.0, 1.0, 1.0])


def test_what_does_not_fit_is_refused():
    loss = build_loss("dice", THREE)
    with pytest.raises(ModelError, match="3, 4, 5"):
        loss.check(torch.zeros(2, 3, 2, 2), torch.zeros(2, 4, 5, dtype=torch.long))
    with pytest.raises(DataError, match="0 to 3"):
        loss.check(torch.zeros(1, 3, 1, 2), torch.tensor([[[0, 3]]]))
    loss.check(torch.zeros(1, 3, 1, 2), torch.tensor([[[2, IGNORED]]]))
    with pytest.raises(OptionError, match="segmentation"):
        build_loss("dice", Task(kind="classification", classes=("a", "b")))
    with pytest.raises(OptionError):
        build_loss("mse", THREE)
    with pytest.raises(OptionError, match="label_smoothing"):
        build_loss("dice", THREE, label_smoothing=0.1)
