"""Occlusion and feature ablation against loops over windows and features, and against Captum."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pellucid.explanation.explain import explain
from pellucid.explanation.methods.occlusion import occlusion, windows
from pellucid.explanation.players import Players
from pellucid.explanation.reference import Reference
from pellucid.explanation.subject import Subject


def image_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(36, 5)).eval()


def occluded(model: nn.Module, inputs: Tensor, window: int, stride: int) -> Tensor:
    subject = Subject.of(model, inputs, 2)
    reference, players = Reference.of(subject, "zero"), Players.of(subject)
    found = occlusion(
        subject, reference=reference, players=players, generator=torch.Generator(), samples=None, tell=subject.tell, window=window,
        stride=stride,
    )  # fmt: skip
    return found.attributions[0]


def test_windows_slide_over_images():
    model, inputs = image_network(), torch.randn(2, 3, 9, 11)
    total, covers = torch.zeros(2, 1, 9, 11), torch.zeros(9, 11)
    with torch.no_grad():
        full = model(inputs)[:, 2]
        for top in (0, 2, 4, 5):  # steps of 2, the last one to the edge
            for left in (0, 2, 4, 6, 7):
                hidden = inputs.clone()
                hidden[:, :, top : top + 4, left : left + 4] = 0
                total[:, 0, top : top + 4, left : left + 4] += (full - model(hidden)[:, 2])[:, None, None]
                covers[top : top + 4, left : left + 4] += 1
    assert torch.allclose(occluded(model, inputs, 4, 2), (total / covers).expand_as(inputs), atol=1e-6)


def test_every_entry_of_any_kind_of_data_is_covered():
    torch.manual_seed(0)

    class Several(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.image = nn.Embedding(10, 3), image_network()

        def forward(self, table: Tensor, image: Tensor, series: Tensor, words: Tensor) -> Tensor:
            return self.image(image) + (table.sum(1) + series.square().sum((1, 2)) + self.words(words).sum((1, 2)))[:, None]

    inputs = (torch.randn(2, 4), torch.randn(2, 3, 20, 7), torch.randn(2, 2, 70), torch.randint(1, 10, (2, 6)))
    found = explain(Several().eval(), inputs, method="occlusion", baseline="zero").attributions
    assert [part.shape for part in found] == [tensor.shape for tensor in inputs]
    assert all(bool((part != 0).all()) for part in found)
    assert torch.allclose(found[0], inputs[0], atol=1e-4)  # what a table's column adds is what its absence takes
    subject = Subject.of(Several().eval(), inputs)
    assert all(bool(windows(subject, index).expand(-1, *tensor.shape[1:]).any(0).all()) for index, tensor in enumerate(inputs))


def test_feature_ablation_takes_one_feature_at_a_time():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    inputs, background = torch.randn(4, 5), torch.randn(6, 5)
    found = explain(model, inputs, torch.tensor([0, 1, 2, 0]), method="feature_ablation", data=background)
    assert found.exact is True
    with torch.no_grad():
        for i, target in enumerate((0, 1, 2, 0)):
            for j in range(5):
                without = inputs[i].expand(6, 5).clone()
                without[:, j] = background[:, j]
                drop = model(inputs[i : i + 1])[0, target] - model(without)[:, target].mean()
                assert torch.isclose(found.attributions[i, j], drop, atol=1e-6)


@pytest.mark.slow
def test_captum_agrees():
    attr = pytest.importorskip("captum.attr")
    model, inputs = image_network(), torch.randn(2, 3, 12, 12)
    theirs = attr.Occlusion(model).attribute(inputs, (3, 4, 4), strides=(3, 2, 2), target=2)
    assert torch.allclose(occluded(model, inputs, 4, 2), theirs, atol=1e-6)
    subject = Subject.of(model, inputs, 2)
    players = Players.of(subject, 4)
    groups = players.index[0][None]
    theirs = attr.FeatureAblation(model).attribute(inputs, target=2, feature_mask=groups)
    ours = explain(model, inputs, 2, method="feature_ablation", baseline="zero", features=4).attributions
    assert torch.allclose(ours * 48, theirs, atol=1e-6)  # ours is shared among the 48 numbers of a patch, theirs repeated
