"""Options and inputs that mean nothing here are refused, and errors name what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pellucid
from explanation.explained_networks import Named, ReusedReLU, Words, image, seeded, series, tabular, tokens
from pellucid.core.errors import DataError, OptionError
from pellucid.explanation.checks import tensors_of
from pellucid.explanation.reference import Reference, blurred
from pellucid.explanation.subject import Subject


class Steps(nn.Module):
    """A series (N, T, C), time first."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.leave = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(self.cell(x)[0][:, -1])


class Clipped(nn.Linear):
    """Finite for whatever comes."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(torch.tanh(torch.nan_to_num(input)))


_BLURRED: dict[str, tuple[Callable[[], nn.Module], Any]] = {
    "table": (ReusedReLU, tabular()),
    "tokens": (Words, tokens()),
    "image and table": (lambda: Both(), (image(), tabular(2))),
}


class Both(nn.Module):
    def forward(self, picture: Tensor, row: Tensor) -> Tensor:
        return picture.sum((1, 2, 3)) + row[:, 0]


@pytest.mark.parametrize("name", _BLURRED)
def test_only_what_has_neighbours_can_be_blurred(name: str) -> None:
    make, inputs = _BLURRED[name]
    if name == "image and table":
        inputs = (inputs[0][:2], inputs[1])
    with pytest.raises(OptionError, match=r'baseline is "blur" and an input has no neighbouring values(?s:.)*baseline="zero"'):
        pellucid.explain(seeded(make), inputs, baseline="blur")


def test_a_series_is_blurred_along_time() -> None:
    inputs = series()  # (N, T, C)
    subject = Subject.of(seeded(Steps), inputs)
    expected = torch.stack([blurred(inputs[:, None, :, channel])[:, 0] for channel in range(inputs.shape[2])], 2)
    torch.testing.assert_close(Reference.of(subject, "blur").values[0], expected)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_inputs_that_are_not_finite_are_noted(value: float) -> None:
    inputs = tabular()
    model = seeded(lambda: Clipped(5, 2))
    assert "infinite" not in str(pellucid.explain(model, inputs).notes)
    inputs[2, 1] = value
    assert "1 of 4 samples hold NaN or infinite values, first sample 2" in str(pellucid.explain(model, inputs).notes[0])


_WRONG: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "baseline NaN": (lambda: explained(baseline=float("nan")), DataError, "baseline is nan(?s:.)*a finite number"),
    "baseline unknown": (lambda: explained(baseline="0.5"), OptionError, "one of auto, zero(?s:.)*in Python also a number or a tensor"),
    "data on meta": (lambda: explained(data=torch.zeros(9, 5, device="meta")), DataError, r"background \(data\) is on the meta device"),
    "sparse data": (lambda: explained(data=torch.zeros(9, 5).to_sparse()), DataError, "layout torch.sparse_coo"),
    "data a word": (lambda: explained(data="train"), DataError, "is a str"),
    "names": (lambda: pellucid.explain(nn.Sequential(nn.Linear(5, 2)), {"foo": tabular()}), DataError,
              "inputs have the names foo(?s:.)*forward's parameters: input"),
    "bytes of images": (lambda: pellucid.explain(nn.Conv2d(3, 2, 8), torch.zeros(2, 3, 8, 8, dtype=torch.uint8)), DataError,
                        r"scale them as in training: inputs.to\(torch.float32\) / 255"),
    "an explanation as inputs": (lambda: pellucid.explain(ReusedReLU(), explained(method="saliency")), DataError, ".attributions"),
    "another thing's name": (lambda: tensors_of(["a"], "the attributions"), DataError, "the attributions contain a str"),  # type: ignore
}  # fmt: skip


def explained(**options: Any) -> Any:
    return pellucid.explain(seeded(ReusedReLU), tabular(), **options)


@pytest.mark.parametrize("name", _WRONG)
def test_errors_name_what_is_wrong(name: str) -> None:
    call, error, said = _WRONG[name]
    with pytest.raises(error, match=said):
        call()


def test_drawings_take_a_name_for_each_output_and_write_what_the_file_is_called(tmp_path: Path) -> None:
    made = explained(method="saliency")
    for classes in (["a"], ["a", "b", "c", "d"]):
        with pytest.raises(OptionError, match=rf"classes holds {len(classes)} names(?s:.)*3, one for each output"):
            made.to_html(tmp_path / "page.html", classes=classes)
    for write, name in ((made.plot, "q.xyz"), (made.plot, "q.html"), (made.to_html, "q.png")):
        with pytest.raises(OptionError, match="a name that ends in one of"):
            write(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", ["auto", "shapley", "feature_ablation", "integrated_gradients"])
@pytest.mark.parametrize("dtype", [torch.long, torch.bool])
def test_a_mask_stays_as_it_is_and_is_not_explained(method: str, dtype: torch.dtype, tmp_path: Path) -> None:
    words = tokens() % 29 + 1
    mask = (torch.arange(6) < 4).expand(len(words), 6).to(dtype)
    given = {"input_ids": words, "attention_mask": mask}
    made = pellucid.explain(seeded(Named), given, method=method, data={"input_ids": words, "attention_mask": mask})
    of_words, of_mask = made.attributions
    assert of_mask.abs().max() < 1e-12  # rounding, where values are added up
    assert of_words[:, 4:].abs().max() < 1e-12
    assert of_words[:, :4].any()
    said = [str(note) for note in made.notes]
    assert any(note.startswith("attention_mask holds zeros and ones") for note in said)
    assert [note.split(":")[0] for note in said if "padding_idx" in note] == ["input_ids"]
    assert made.to_html(tmp_path / "page.html", even_if_untrusted=True).read_text("utf-8").count('class="words-shown"') == len(words)


def test_zeros_and_ones_that_are_no_mask_are_explained() -> None:
    class Flagged(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.flags = nn.Embedding(30, 6), nn.Embedding(2, 6)

        def forward(self, words: Tensor, flags: Tensor) -> Tensor:
            return (self.words(words) * self.flags(flags)).sum((1, 2))

    flags = torch.arange(6).expand(3, 6) % 2
    subject = Subject.of(seeded(Flagged), (tokens(), flags))
    assert subject.masks == (False, False)
    assert pellucid.explain(seeded(Flagged), (tokens(), flags)).attributions[1].any()
