"""How inputs reach a network: one by one, by name, or as a whole, as its forward takes them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import pellucid
from pellucid.core.trace.model import answer_of

NUMBERS, PLACE = torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [5.0]])
DICTIONARY = {"numbers": NUMBERS, "place": PLACE}


class ByName(nn.Module):
    def forward(self, numbers, place):
        return numbers + 10 * place


class ByKeywords(nn.Module):
    def forward(self, **given):
        return given["numbers"] + 10 * given["place"]


class Whole(nn.Module):
    def forward(self, batch):
        first, second = batch.values() if isinstance(batch, dict) else batch
        return first + 10 * second


@pytest.mark.parametrize("network", [ByName(), ByKeywords(), Whole()], ids=lambda network: type(network).__name__)
@pytest.mark.parametrize("inputs", [DICTIONARY, (NUMBERS, PLACE)], ids=["dict", "tuple"])
def test_a_network_gets_what_its_forward_takes(network, inputs):
    if isinstance(inputs, tuple) and isinstance(network, ByKeywords):
        with pytest.raises(TypeError):
            answer_of(network, inputs)
        return
    assert torch.equal(answer_of(network, inputs), torch.tensor([[31.0], [52.0]]))


def test_a_dict_as_a_whole_is_diagnosed_and_derived():
    class Network(Whole):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(1, 1)

        def forward(self, batch):
            return self.layer(super().forward(batch))

    train = ({name: value.repeat(20, 1) for name, value in DICTIONARY.items()}, torch.rand(40, 1))
    experiment = pellucid.Experiment(
        model=Network, loss=nn.functional.mse_loss, optimizer=lambda model: torch.optim.SGD(model.parameters(), 1e-4), train=train, epochs=1
    )
    assert experiment.first_batch()[0]["numbers"].shape[1:] == (1,)
    derivation = pellucid.derive(Network(), DICTIONARY, torch.zeros(2, 1), loss=nn.functional.mse_loss)
    assert derivation.check().passed
