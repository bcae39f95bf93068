"""Scores on tiny fixed models against the papers' own statements, and against Captum's implementations of their definitions."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from pellucid.explanation.faithfulness.infidelity import infidelity
from pellucid.explanation.faithfulness.randomisation import randomisation_score
from pellucid.explanation.faithfulness.reference_influence import reference_scores
from pellucid.explanation.faithfulness.relatives import Relatives, scrambled
from pellucid.explanation.faithfulness.removals import measured
from pellucid.explanation.faithfulness.sensitivity import max_sensitivity
from pellucid.explanation.players import Players
from pellucid.explanation.reference import Reference
from pellucid.explanation.subject import Subject


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear(columns: int, seed: int = 1) -> nn.Linear:
    model = nn.Linear(columns, 1)
    with torch.no_grad():
        model.weight.copy_(torch.randn(1, columns, generator=drawn(seed)))
    return model


def weight_of(subject: Subject) -> Tensor:
    return next(iter(subject.model.parameters()))[0].detach()


def test_edges_do_not_notice_that_the_network_forgot_all():
    """Adebayo et al. 2018, section 3: a map that depends on the input alone stays as it is, correlation 1; w x does not."""
    model, x = linear(12), torch.randn(3, 12, generator=drawn(2))
    relatives = Relatives(Subject.of(model, x))
    base = relatives.subject
    edges = randomisation_score(lambda subject: subject.inputs[0].abs(), x.abs(), relatives, base, drawn())
    assert edges.value == pytest.approx(1.0)
    assert edges.passed is False
    own = weight_of(base) * x
    found = randomisation_score(lambda subject: weight_of(subject) * x, own, relatives, base, drawn())
    generator, expected = drawn(), list[float]()
    for _ in range(3):
        other = next(iter(scrambled(model, generator).parameters()))[0].detach() * x
        expected += [float(spearmanr(a, b)[0]) for a, b in zip(own, other, strict=True)]  # type: ignore[arg-type]
    assert found.value == pytest.approx(sum(expected) / len(expected))
    assert found.passed


def test_a_feature_that_the_reference_shares_contributes_nothing_there():
    """Sturmfels et al. 2020, "comparing baselines": what lies at the baseline gets nothing. The map from zero, w x, says of the changes
    from the mean, w (x - mean), what their correlation over sets of one size is.
    """
    model, x = linear(10), torch.randn(1, 10, generator=drawn(3))
    background = x + torch.where(torch.arange(10) < 5, torch.zeros(10), torch.randn(4, 10, generator=drawn(4)))
    subject = Subject.of(model, x)
    reference, players = Reference.of(subject, "zero"), Players.of(subject)
    table = measured(subject, reference, players, drawn())
    maps = (weight_of(subject) * x).double()
    score = next(s for s in reference_scores(maps, table, subject, reference, players, background, drawn()) if s.name == "reference_mean")
    there = (weight_of(subject) * (x - background.mean(0))).double()
    assert there[0, :5].abs().max() < 1e-6
    half, per = len(table.orders) // 2, len(table.removed) // len(table.orders)
    sets = [r * per + s for r in (0, 1, 2, half, half + 1, half + 2) for s in range(per)]
    removed = table.removed[sets].double()
    predicted, real = (removed @ m[0] for m in (maps, there))
    for size in removed.sum(1).unique():
        same = removed.sum(1) == size
        for values in (predicted, real):
            values[same] -= values[same].mean()
    assert score.value == pytest.approx(float(torch.corrcoef(torch.stack([predicted, real]))[0, 1]), abs=1e-5)  # at home it is 1


@pytest.mark.slow
def test_infidelity_beside_captum():
    """Captum's normalised infidelity of the same sets, per mean square of the changes, is ours."""
    captum = pytest.importorskip("captum.metrics")
    model = nn.Sequential(nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 1))
    x, maps, sets = torch.randn(3, 7, generator=drawn(1)), torch.randn(3, 7, generator=drawn(2)), list[Tensor]()

    def taken(inputs: Tensor, *_: object) -> tuple[Tensor, Tensor]:
        sets.append((torch.rand(inputs.shape, generator=drawn(len(sets))) < 0.5).float())
        return sets[-1], inputs * (1 - sets[-1])

    with torch.no_grad():
        theirs = captum.infidelity(model, taken, x, maps, n_perturb_samples=40, normalize=True)
        absent = torch.cat([part.reshape(3, -1, 7) for part in sets], 1)
        assert absent.shape == (3, 40, 7)
        for i in range(3):
            changes = (model(x[i : i + 1]) - model(x[i] * (1 - absent[i])))[:, 0]
            ours = infidelity(maps[i : i + 1], changes[None], absent[i].T)
            if float(maps[i] @ absent[i].T @ changes) > 0:  # theirs allows a negative scale
                assert float(ours) == pytest.approx(float(theirs[i] / (changes**2).mean()), rel=1e-4)


@pytest.mark.slow
def test_sensitivity_beside_captum():
    captum = pytest.importorskip("captum.metrics")
    x, moves = torch.randn(3, 6, generator=drawn(1)), 0.02 * torch.randn(3, 4, 6, generator=drawn(2))

    def cubed(inputs: Tensor | tuple[Tensor, ...], **_: object) -> Tensor | tuple[Tensor, ...]:
        return inputs**3 if isinstance(inputs, Tensor) else tuple(x**3 for x in inputs)

    def moved(inputs: Tensor, _radius: float) -> Tensor:
        return inputs + moves.flatten(0, 1)

    theirs = captum.sensitivity_max(cubed, (x,), moved, n_perturb_samples=4)
    ours = max_sensitivity(x**3, (x[None] + moves.transpose(0, 1)) ** 3)
    assert ours.tolist() == pytest.approx(theirs.tolist(), rel=1e-4)
