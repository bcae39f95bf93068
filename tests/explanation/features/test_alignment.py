"""What a decoder looks at while it reverses a sequence is known: the last word first."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import pellucid

WORDS, SIZE, STEPS = 12, 32, 6


class Additive(nn.Module):
    """Bahdanau, Cho and Bengio 2015, appendix A.1.2; the scores are (N, T, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.of_state, self.of_memory, self.score = nn.Linear(SIZE, SIZE), nn.Linear(SIZE, SIZE), nn.Linear(SIZE, 1)

    def forward(self, state: Tensor, memory: Tensor) -> Tensor:
        scores = self.score(torch.tanh(self.of_state(state)[:, None] + self.of_memory(memory)))
        return (F.softmax(scores, dim=1) * memory).sum(1)


class RecurrentTranslator(nn.Module):
    """A GRU that reads words and their places through attention alone: a recurrent encoder would know a word at its neighbours' too."""

    layer = "attention"

    def __init__(self) -> None:
        super().__init__()
        self.source, self.target, self.place = nn.Embedding(WORDS, SIZE), nn.Embedding(WORDS, SIZE), nn.Embedding(STEPS, SIZE)
        self.cell = nn.GRUCell(2 * SIZE, SIZE)
        self.attention, self.leave = Additive(), nn.Linear(2 * SIZE, WORDS)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory = self.source(source) + self.place(torch.arange(STEPS))
        state, outputs = memory.new_zeros(len(memory), SIZE), list[Tensor]()
        for step in range(target.shape[1]):
            context = self.attention(state, memory)
            state = self.cell(torch.cat([self.target(target[:, step]), context], 1), state)
            outputs.append(self.leave(torch.cat([state, context], 1)))
        return torch.stack(outputs, 1)


class TransformerTranslator(nn.Module):
    layer = "transformer.decoder.layers.0"

    def __init__(self) -> None:
        super().__init__()
        self.source, self.target, self.place = nn.Embedding(WORDS, SIZE), nn.Embedding(WORDS, SIZE), nn.Embedding(STEPS, SIZE)
        self.transformer, self.leave = nn.Transformer(SIZE, 2, 1, 1, 64, 0.0, batch_first=True), nn.Linear(SIZE, WORDS)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        place, mask = self.place(torch.arange(STEPS)), nn.Transformer.generate_square_subsequent_mask(STEPS)
        return self.leave(self.transformer(self.source(source) + place, self.target(target) + place, tgt_mask=mask))


def _reversed(count: int) -> tuple[Tensor, Tensor, Tensor]:
    source = torch.randint(1, WORDS, (count, STEPS))
    answer = source.flip(1)
    return source, torch.cat([torch.zeros(count, 1, dtype=torch.long), answer[:, :-1]], 1), answer


@pytest.mark.slow
@pytest.mark.parametrize(("make", "passes"), [(RecurrentTranslator, 350), (TransformerTranslator, 350)])
def test_the_alignment_of_a_reversed_sequence(make: type[nn.Module], passes: int) -> None:
    torch.manual_seed(0)
    model = make()
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(passes):
        source, target, answer = _reversed(64)
        optimizer.zero_grad()
        F.cross_entropy(model(source, target).flatten(0, 1), answer.flatten()).backward()
        optimizer.step()
    source, target, answer = _reversed(16)
    assert (model(source, target).argmax(-1) == answer).float().mean() > 0.9
    features = pellucid.features(model, (source, target), make.layer)
    torch.testing.assert_close(features.attention.sum(-1), torch.ones(features.attention.shape[:-1]))
    looked_at = torch.stack([features.alignment(sample, "sharpest").argmax(1) for sample in range(16)])
    assert (looked_at == torch.arange(STEPS).flip(0)).float().mean() > 0.75
    found = pellucid.explain(model, (source, target), (0, int(answer[0, 0])), method="attention")
    said = " ".join(map(str, found.notes))
    assert "no sign" in said
    assert "equally many positions" in said
    assert int(found.attributions[0][0].argmax()) == STEPS - 1
