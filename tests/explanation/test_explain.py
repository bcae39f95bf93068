"""explain: the record, what "auto" chooses, references and players, and one clear error for each bad request."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from explanation.explained_networks import NETWORKS, ReusedReLU, Rounded, Words, image, seeded, series, tabular, tokens
from pellucid import explain
from pellucid.core.errors import DataError, ModelError, OptionError
from pellucid.explanation.players import Players
from pellucid.explanation.reference import KINDS, Reference, blurred
from pellucid.explanation.registry import method, methods
from pellucid.explanation.subject import Subject
from pellucid.explanation.terms import method_name


@pytest.mark.parametrize(
    ("name", "chosen", "why"),
    [
        ("reused ReLU", "shapley", "columns of a table"),
        ("residual sum, batch norm, softmax", "deeplift", "on images"),
        ("tokens", "integrated_gradients", "add up"),
        ("LSTM", "integrated_gradients", "add up"),
    ],
)
def test_auto_chooses_by_the_kind_of_data_and_says_why(name: str, chosen: str, why: str) -> None:
    make, inputs = NETWORKS[name]
    found = explain(seeded(make), inputs())
    assert found.method == chosen
    assert any(why in str(note) and str(method_name(chosen)) in str(note) for note in found.notes)


def test_auto_without_gradients_and_without_rules() -> None:
    found = explain(Rounded(), tabular())
    assert found.method == "shapley"
    assert any("cannot be differentiated" in str(note) for note in found.notes)

    class Sorting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1).sort(1).values[:, -3:]

    class Branching(nn.Module):
        """A leaky ReLU by hand: DeepLIFT has no rule where input and reference lie on different sides."""

        def forward(self, x: Tensor) -> Tensor:
            return torch.where(x > 0, x, 0.1 * x).flatten(1)[:, :3]

    for model in (Sorting(), Branching()):
        found = explain(model, image(), 1)
        assert found.method == "integrated_gradients"
        assert any("no rule" in str(note) for note in found.notes)


def test_the_record() -> None:
    model, x = seeded(ReusedReLU), tabular()
    found = explain(model, x, method="integrated_gradients")
    assert torch.equal(found.target, model(x).argmax(1))
    assert torch.equal(found.predicted, found.target)
    torch.testing.assert_close(found.value, model(x).amax(1).detach())
    assert found.interval == (found.attributions, found.attributions)
    assert str(found.reference) == "zero in every entry"
    assert found.spent.backward >= 4 * 16
    stored = json.loads(json.dumps(found.to_dict()))
    assert stored["method"] == "integrated_gradients"
    assert "evidence" not in stored
    assert repr(found) == "Explanation by integrated gradients of (4, 5); reference: zero in every entry"


@pytest.mark.parametrize("name", ["smoothgrad", "expected_gradients", "shapley", "lime"])
def test_the_same_seed_gives_the_same_numbers(name: str) -> None:
    model, x, data = seeded(lambda: nn.Sequential(nn.Linear(14, 6), nn.Tanh(), nn.Linear(6, 2))), torch.randn(2, 14), torch.randn(9, 14)
    one, two, other = (explain(model, x, 0, method=name, data=data, seed=seed).attributions for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_progress_says_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pellucid.explanation.explain._TELL_SECONDS", 0.0)
    said: list[str] = []
    explain(seeded(ReusedReLU), tabular(40), method="smoothgrad", samples=400, progress=lambda sentence: said.append(str(sentence)))
    assert said
    assert all("left" in sentence for sentence in said)


# -- references --------------------------------------------------------------------------------------------------------------------------


def test_references() -> None:
    subject = Subject.of(seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 2))), image())
    data = image(12) + 1
    for kind in KINDS:
        made = Reference.of(subject, kind, data)
        assert made.kind == kind
        assert str(made.stated)
        rows = made.at(torch.tensor([2, 0]))
        assert rows[0].shape == (2, 3, 8, 8)
    assert torch.equal(Reference.of(subject, "mean", data).values[0][0], data.mean(0))
    assert Reference.of(subject, "samples", data).count == 12
    own = Reference.of(subject, "mean")
    torch.testing.assert_close(own.at(torch.tensor([1]))[0][0, 2, 3, 3], image()[1, 2].mean())
    assert Reference.of(subject, image()[0]).count == 1
    assert Reference.of(subject, 0.5).values[0].unique().item() == 0.5
    constant = torch.full((1, 2, 9, 9), 3.0)
    torch.testing.assert_close(blurred(constant), constant)
    noise = torch.randn(4, 3, 32, 32)
    assert float(blurred(noise).var()) < 0.02  # of white noise 1 / (4 pi 4^2) = 0.005 stays, more at the borders


def test_absent_tokens_are_padding() -> None:
    subject = Subject.of(seeded(Words), tokens())
    assert Reference.of(subject).values[0].unique().tolist() == [0]
    assert "padding token" in str(Reference.of(subject).stated)


def test_absent_tokens_are_some_that_the_network_met() -> None:
    """No padding_idx, and token 0 nowhere: the most frequent token of the background, and without one a note."""
    torch.manual_seed(0)
    subject = Subject.of(nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 2)), torch.randint(3, 9, (4, 3)))
    alone = Reference.of(subject)
    assert alone.values[0].unique().tolist() == [0]
    assert "may never have met" in str(alone.notes[0])
    background = Reference.of(subject, data=torch.tensor([[7, 7, 5], [7, 4, 3]]))
    assert background.values[0].unique().tolist() == [7]
    assert "most frequent" in str(background.stated)
    met = Reference.of(subject, data=torch.tensor([[7, 7, 0]]))
    assert (met.values[0].unique().tolist(), met.notes) == ([0], ())


# -- players -----------------------------------------------------------------------------------------------------------------------------


def test_players_of_each_kind() -> None:
    kinds: list[tuple[Any, Any, Any, int]] = [
        (ReusedReLU, tabular(), "auto", 5),
        (Words, tokens(), "auto", 6),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), image(), "auto", 64),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), image(), 4, 4),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), image(), "entries", 192),
        (NETWORKS["LSTM"][0], series(), "auto", 7),
        (ReusedReLU, tabular(), torch.tensor([7, 7, 1, 3, 3]), 3),
    ]
    for make, inputs, features, count in kinds:
        subject = Subject.of(seeded(make), inputs)
        players = Players.of(subject, features)
        assert players.count == count
        assert [tuple(index.shape) for index in players.index] == [tuple(inputs.shape[1:])]
        present = torch.zeros(len(inputs), count, dtype=torch.bool)
        present[:, 0] = True
        mixed = players.mixed(subject.inputs, tuple(torch.zeros_like(x) for x in subject.inputs), present)[0]
        assert torch.equal(mixed != 0, (players.index[0] == 0) & (inputs != 0))


# -- bad requests ------------------------------------------------------------------------------------------------------------------------

_BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "unknown method": ({"method": "integrated_gradient"}, OptionError, "did you mean 'integrated_gradients'"),
    "method that does not apply": ({"method": "attention"}, ModelError, r"no attention was met(?s:.)*these can be applied: .*saliency"),
    "no layer": ({"method": "grad_cam"}, ModelError, r"grad_cam cannot be applied(?s:.)*shape \(N, C, ...\)"),
    "unknown baseline": ({"baseline": "zeros"}, OptionError, "did you mean 'zero'"),
    "samples without data": ({"baseline": "samples"}, OptionError, "give data="),
    "background of another shape": ({"data": torch.zeros(9, 4)}, DataError, r"background \(data\) has shape \(9, 4\)(?s:.)*\(R, 5\)"),
    "background of another type": ({"data": torch.zeros(9, 5, dtype=torch.long)}, DataError, "dtype torch.int64"),
    "background with NaN": ({"data": torch.full((9, 5), torch.nan)}, DataError, "NaN"),
    "baseline of another shape": ({"baseline": torch.zeros(3)}, DataError, r"the baseline has shape \(3,\)"),
    "two baselines": ({"baseline": (torch.zeros(5), torch.zeros(5))}, DataError, "2 tensors"),
    "seed": ({"seed": -1}, OptionError, "seed is -1"),
    "samples": ({"samples": 0}, OptionError, "samples is 0"),
    "features": ({"features": "pixels"}, OptionError, "features is 'pixels'"),
    "features of another shape": ({"features": torch.zeros(4, dtype=torch.long)}, OptionError, r"integers of shapes \(5,\)"),
    "target": ({"target": 3}, OptionError, "0 to 2: the network has 3 outputs"),
}  # fmt: skip


@pytest.mark.parametrize(("options", "error", "message"), _BAD.values(), ids=_BAD)
def test_bad_requests(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        explain(seeded(ReusedReLU), tabular(), **options)


def test_the_methods_are_listed_once() -> None:
    with pytest.raises(OptionError) as refused:
        explain(seeded(ReusedReLU), tabular(), method="zzzzz")
    assert str(refused.value).count("saliency") == 1


def test_networks_without_gradients_say_what_can_be_applied() -> None:
    with pytest.raises(ModelError, match=r"saliency cannot be applied(?s:.)*no gradient(?s:.)*occlusion, shapley"):
        explain(Rounded(), tabular(), method="saliency")


def test_own_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    from pellucid.explanation import registry
    from pellucid.explanation.registry import Attributed

    monkeypatch.setattr(registry, "_methods", dict(methods()))

    @method("one", family="perturbation")
    def one(subject: Subject, **_: Any) -> Attributed:
        return Attributed(tuple(torch.ones_like(x) for x in subject.inputs))

    assert torch.equal(explain(ReusedReLU(), tabular(), method="one").attributions, torch.ones(4, 5))
    with pytest.raises(OptionError, match="already a method named 'saliency'"):
        method("saliency", family="gradient")(lambda **_: Attributed(()))
    with pytest.raises(OptionError, match="family 'magic'"):
        method("two", family="magic")


@pytest.mark.slow
def test_auto_hits_patches_planted_in_images() -> None:
    """Pointing game (Zhang et al. 2018): the largest attribution lies in the patch that decides, for 95 % of the images or more."""
    size, edge, classes = 32, 6, 4
    generator = torch.Generator().manual_seed(1)
    patterns = 1.2 * torch.randn(classes, 3, edge, edge, generator=torch.Generator().manual_seed(99))

    def planted(n: int) -> tuple[Tensor, Tensor, Tensor]:
        x = F.interpolate(torch.randn(n, 3, 6, 6, generator=generator), size=(size, size), mode="bicubic")
        y, place = torch.randint(classes, (n,), generator=generator), torch.randint(size - edge + 1, (n, 2), generator=generator)
        for i, (a, b) in enumerate(place.tolist()):
            x[i, :, a : a + edge, b : b + edge] = patterns[y[i]] + 0.2 * torch.randn(3, edge, edge, generator=generator)
        return x, y, place

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enter, self.convs = nn.Conv2d(3, 24, 3, 2, 1), nn.ModuleList([nn.Conv2d(24, 24, 3, padding=1) for _ in range(4)])
            self.norms, self.last = nn.ModuleList([nn.BatchNorm2d(24) for _ in range(4)]), nn.Linear(24, classes)

        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(self.enter(x))
            for conv, norm in zip(self.convs, self.norms, strict=True):
                x = F.relu(x + norm(conv(x)))
            return self.last(x.mean((2, 3)))

    torch.manual_seed(0)
    model, (x, y, _) = Net(), planted(1000)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    for _ in range(10):
        for rows in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    x, y, place = planted(200)
    found = explain(model, x, y)
    largest = found.attributions.sum(1).flatten(1).argmax(1)
    row, column = largest // size - place[:, 0], largest % size - place[:, 1]
    hit = (row >= 0) & (row < edge) & (column >= 0) & (column < edge)
    assert float((model.eval()(x).argmax(1) == y).float().mean()) > 0.95
    assert float(hit.float().mean()) >= 0.95
