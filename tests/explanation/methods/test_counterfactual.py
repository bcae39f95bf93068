"""Counterfactuals of linear classifiers, whose nearest change is known, and of networks, whose answer is asked again."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pellucid.core.errors import DataError, OptionError
from pellucid.explanation.methods.counterfactual import Counterfactual, counterfactuals


def linear(weights: list[float], bias: float = 0.0) -> nn.Module:
    model = nn.Linear(len(weights), 2).eval()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0] * len(weights), weights]))
        model.bias.copy_(torch.tensor([0.0, bias]))
    return model


DATA = torch.randn(400, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 10.0, 0.1])


def test_the_nearest_change_of_a_linear_classifier():
    """In units of spread the shortest way to the plane w x = 0 goes along the column of the largest |w| * spread: here the second."""
    model = linear([1.0, 0.3, 2.0])
    row = torch.tensor([[-0.5, -2.0, 0.02]])
    found = counterfactuals(model, row, data=DATA, names=("a", "b", "c"))[0]
    assert found.found
    assert (found.answer, found.new_answer) == (0, 1)
    assert found.names == ("b",)
    gap = float(-(row[0] @ torch.tensor([1.0, 0.3, 2.0]))) / 0.3
    assert found.distance == pytest.approx(gap / float(DATA[:, 1].std(correction=0)), rel=0.01)
    assert int(model(torch.tensor([found.changed])).argmax()) == 1
    assert "b from -2 to" in str(found.summary)
    assert Counterfactual.from_dict(found.to_dict()) == found


def test_fixed_columns_stay_and_codes_take_values_that_occur():
    model = linear([1.0, 0.3, 2.0])
    row = torch.tensor([[-0.5, -2.0, 0.02]])
    found = counterfactuals(model, row, data=DATA, fixed=(1,))[0]
    assert found.columns == (0,)
    coded = DATA.clone()
    coded[:, 0] = torch.randint(-2, 3, (400,), generator=torch.Generator().manual_seed(1)).float()
    found = counterfactuals(model, torch.tensor([[-1.0, -2.0, 0.02]]), data=coded, fixed=(1, 2))[0]
    assert found.changed is not None
    assert found.changed[0] == 1.0  # -1 + 0.04 - 0.6 is crossed between 0 and 1


def test_networks_answer_otherwise_when_asked_again():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 3)).eval()
    data = torch.randn(300, 6)
    rows = torch.randn(5, 6)
    with torch.no_grad():
        before = model(rows).argmax(1)
    for wanted in (None, 2):
        found = counterfactuals(model, rows, wanted, data=data, most_columns=6)
        for i, one in enumerate(found):
            if one.answer == wanted:
                assert not one.found
                continue
            assert one.found
            assert one.answer == int(before[i])
            changed = torch.tensor([one.changed])
            assert int(model(changed).argmax()) == one.new_answer != one.answer
            assert wanted is None or one.new_answer == wanted
            assert (changed[0] != rows[i]).nonzero()[:, 0].tolist() == list(one.columns)
            # nearer than the nearest row of the data with that answer
            with torch.no_grad():
                answers = model(data).argmax(1)
            others = data[answers != one.answer if wanted is None else answers == wanted]
            assert one.distance <= float(((others - rows[i]).abs() / data.std(0, correction=0)).sum(1).min()) + 1e-4


def test_a_column_less_is_preferred_to_a_slightly_shorter_way():
    model = linear([1.0, 0.1, 10.0], bias=-0.2)  # all columns weigh the same in units of spread
    found = counterfactuals(model, torch.tensor([[-0.1, -1.0, -0.01]]), data=DATA)[0]
    assert len(found.columns) == 1


def test_none_is_found_honestly():
    class Constant(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, :2] * 0 + torch.tensor([1.0, 0.0])

    found = counterfactuals(Constant(), torch.zeros(1, 3), data=DATA)[0]
    assert not found.found
    assert found.changed is None
    assert found.distance is None
    assert found.tried > 0
    assert "no change of up to 4 columns" in str(found.summary)


def test_one_output_needs_a_threshold():
    model = nn.Linear(3, 1).eval()
    found = counterfactuals(model, DATA[:2], data=DATA, threshold=0.0)
    for one in found:
        assert bool(model(torch.tensor([one.changed])) > 0) == (one.answer == 0)
    with pytest.raises(OptionError, match="threshold"):
        counterfactuals(model, DATA[:2], data=DATA)


def test_bad_input_is_one_clear_error():
    model = linear([1.0, 0.3, 2.0])
    for kind, words, call in [
        (DataError, "one table", lambda: counterfactuals(nn.Flatten(), torch.ones(2, 1, 2, 2), data=torch.ones(2, 1, 2, 2))),
        (OptionError, "0 to 1", lambda: counterfactuals(model, DATA[:2], 2, data=DATA)),
        (OptionError, "columns in 0 to 2", lambda: counterfactuals(model, DATA[:2], data=DATA, fixed=(3,))),
        (DataError, "samples like the inputs", lambda: counterfactuals(model, DATA[:2], data=DATA[:, :2])),
    ]:
        with pytest.raises(kind, match=words):
            call()
