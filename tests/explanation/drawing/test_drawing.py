"""Drawings of explanations: the user's names at the right numbers, both languages, nothing drawn that cannot be trusted."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from pellucid.core.errors import OptionError
from pellucid.core.language import text, use_language
from pellucid.core.records import Interval
from pellucid.explanation.certificate import Certificate
from pellucid.explanation.drawing import colours
from pellucid.explanation.drawing.page import facts_of, made_by
from pellucid.explanation.drawing.samples import samples_of
from pellucid.explanation.explain import explain
from pellucid.explanation.explanation import Explanation
from pellucid.explanation.faithfulness.score import FaithfulnessScore
from pellucid.explanation.features.features import features
from pellucid.explanation.subject import Spent


class Words(nn.Module):
    """The output is the sum of a number a word."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = nn.Embedding(5, 1)
        with torch.no_grad():
            self.numbers.weight.copy_(torch.tensor([[0.0], [2.0], [-3.0], [0.5], [0.0]]))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.numbers(tokens).sum(dim=1)


def with_trust(explanation: Explanation, trust: str) -> Explanation:
    score = FaithfulnessScore(
        name="deletion", value=0.4, interval=Interval(low=0.1, high=0.7), expected=text("at least {share}", share=0.5), passed=False,
        source="Petsiuk et al. 2018",
    )  # fmt: skip
    explanation.__dict__["certificate"] = Certificate(
        trust=trust, reasons=(text("a reason that is told"),), scores=(score,), correction=text("none"), samples=1,
        compute=Spent(forward=1, backward=0, seconds=0.1),
    )  # fmt: skip
    return explanation


def explained(kind: str, trust: str = "high") -> tuple[Explanation, dict[str, Any]]:
    generator = torch.Generator().manual_seed(0)
    if kind == "columns":
        model, inputs = nn.Linear(3, 2), torch.tensor([[1.0, 2.0, 3.0]])
        with torch.no_grad():
            model.weight.copy_(torch.tensor([[0.0, 0.0, 0.0], [1.0, -2.0, 0.0]]))
        terms: dict[str, Any] = {"names": ["年龄", "<b>income</b>", "hours"], "values": [["39", "77 516", "40"]], "classes": ["no", "yes"]}
        return with_trust(explain(model, inputs, 1, method="integrated_gradients", baseline="zero"), trust), terms
    if kind == "words":
        made = explain(Words(), torch.tensor([[1, 2, 3, 0]]), method="integrated_gradients")
        return with_trust(made, trust), {"names": ["-", "good", "bad", "so", "."]}
    if kind == "steps":
        series = nn.Sequential(nn.Conv1d(2, 3, 3), nn.Flatten(), nn.Linear(24, 2))
        inputs = torch.randn(1, 2, 10, generator=generator)
        return with_trust(explain(series, inputs, method="integrated_gradients"), trust), {"names": ["ECG", "心率"]}
    pixels = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(72, 2))
    inputs = torch.randn(2, 3, 8, 8, generator=generator)
    return with_trust(explain(pixels, inputs, method="integrated_gradients"), trust), {"titles": ["one", "two"]}


KINDS = ("columns", "words", "steps", "pixels")


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_holds_both_languages_and_nothing_from_outside(kind: str, tmp_path: Path) -> None:
    explanation, terms = explained(kind)
    with use_language("zh"):
        page = explanation.to_html(tmp_path / "页.html", **terms).read_text(encoding="utf-8")
    assert 'data-language="zh"' in page
    assert page.count('lang="en"') == page.count('lang="zh"') - 1  # the page itself is Chinese
    assert "a reason that is told" in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "<svg" not in page or "<text" not in page  # no words inside figures


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_trusted_is_not_drawn(kind: str, tmp_path: Path) -> None:
    explanation, terms = explained(kind, "none")
    page = explanation.to_html(tmp_path / "page.html", **terms).read_text(encoding="utf-8")
    drawn = explanation.to_html(tmp_path / "page.html", even_if_untrusted=True, **terms).read_text(encoding="utf-8")
    assert 'class="legend"' not in page
    assert "No colours are drawn" in page
    assert "a reason that is told" in page
    assert 'class="legend"' in drawn


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_is_drawn_or_the_reasons(kind: str, tmp_path: Path) -> None:
    for trust in ("high", "none"):
        explanation, terms = explained(kind, trust)
        with Image.open(explanation.plot(tmp_path / f"{trust}.png", **terms)) as picture:
            pixels = np.asarray(picture.convert("RGB")).astype(int)
        coloured = (np.ptp(pixels, axis=2) > 60).any()
        assert coloured == (trust == "high")


def test_a_picture_says_its_trust_above_everything(tmp_path: Path) -> None:
    """The two pictures differ in their first line alone, and only where the trust stands."""
    pictures = list[np.ndarray]()
    for trust in ("high", "limited"):
        explanation, terms = explained("columns", trust)
        with Image.open(explanation.plot(tmp_path / f"{trust}.png", **terms)) as picture:
            pictures.append(np.asarray(picture.convert("L")).astype(int))
    rows = np.flatnonzero((pictures[0] != pictures[1]).any(1))
    assert rows.size > 0
    assert rows.max() < 50


def test_the_sum_is_told() -> None:
    explanation, terms = explained("columns")
    (sample,) = samples_of(explanation, **terms)
    bias = float(explanation.value[0]) + 3.0
    said = f"the output explained is {bias:.4g} at the reference and {bias - 3:.4g} for this sample"
    assert str(sample.sums).startswith(said.replace("-", "−"))
    assert str(sample.sums).endswith("a change of −3; all contributions together: −3")


def test_names_values_and_numbers_belong_together(tmp_path: Path) -> None:
    explanation, terms = explained("columns")
    (sample,) = samples_of(explanation, **terms)
    (part,) = sample.parts
    assert dict(zip(part.names, part.values.tolist(), strict=True)) == pytest.approx({"年龄": 1.0, "<b>income</b>": -4.0, "hours": 0.0})
    page = explanation.to_html(tmp_path / "page.html", **terms).read_text(encoding="utf-8")
    assert "&lt;b&gt;income" in page
    assert page.index("income") < page.index("年龄")  # the largest first
    assert "raises yes" in page


def test_each_word_has_its_own_number() -> None:
    explanation, terms = explained("words")
    (part,) = samples_of(explanation, **terms)[0].parts
    assert part.names == ("good", "bad", "so", "-")
    assert part.values.tolist() == pytest.approx([2.0, -3.0, 0.5, 0.0])


def test_the_numbers_of_an_image_add_up_over_its_channels() -> None:
    explanation, terms = explained("pixels")
    for row, sample in enumerate(samples_of(explanation, **terms)):
        assert sample.parts[0].values.sum() == pytest.approx(float(explanation.attributions[row].sum()), rel=1e-5)


def test_the_scale_is_symmetric_about_zero_and_told_apart_by_all() -> None:
    """White in the middle; the same strength is as light on both sides; blue against red, never red against green."""
    values = np.linspace(-1, 1, 21)
    scale = colours.signed(values, 1.0).astype(float)
    light = scale @ np.asarray([0.2126, 0.7152, 0.0722])
    assert (scale[10] > 240).all()
    assert np.abs(light - light[::-1]).max() < 40
    assert (np.diff(light[:11]) > 0).all()
    assert (scale[:5, 2] > scale[:5, 0]).all()  # blue below zero,
    assert (scale[16:, 0] > scale[16:, 2]).all()  # red above


BAD = {
    "names": ({"names": ["a"]}, "columns"),
    "values": ({"values": [["1"]]}, "3 columns"),
    "samples": ({"values": [["1", "2", "3"]] * 2}, "as many as were explained"),
}


@pytest.mark.parametrize("name", BAD)
def test_another_number_of_names_is_refused(name: str, tmp_path: Path) -> None:
    given, said = BAD[name]
    with pytest.raises(OptionError, match=said):
        explained("columns")[0].to_html(tmp_path / "page.html", **given)


def test_a_page_of_features(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 2))
    found = features(model, torch.randn(24, 1, 8, 8), "0")
    page = found.to_html(tmp_path / "page.html", probes=found.probes(torch.arange(24) % 2)).read_text(encoding="utf-8")
    assert page.count("data:image/png") >= 3 + 3 * 10
    assert "HOG" in page


def test_a_page_of_attention_has_the_words(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Embedding(4, 8), nn.TransformerEncoderLayer(8, 2, 16, batch_first=True))
    page = features(model, torch.tensor([[0, 1, 2], [3, 2, 1]]), "1").to_html(tmp_path / "page.html", names=["the", "cat", "sat", "猫"])
    assert "<bdi>sat</bdi>" in page.read_text(encoding="utf-8")


def test_a_page_says_the_method_once_and_calls_features_by_their_names(tmp_path: Path) -> None:
    model, inputs = nn.Linear(3, 2), torch.tensor([[1.0, 2.0, 3.0]])
    explanation = with_trust(explain(model, inputs, 1, baseline="zero"), "high")
    made = explanation.certificate
    noted = replace(made.scores[0], note=text("they differ most on {features}", features=[text("feature {number}", number=1)]),
                    p_value=0.025)  # fmt: skip
    explanation.__dict__["certificate"] = replace(made, scores=(noted,))
    with use_language("en"):
        page = explanation.to_html(tmp_path / "why.html", names=["age", "income", "hours"]).read_text(encoding="utf-8")
    english = " ".join(re.findall(r'lang="en">(.*?)</', page))
    assert "they differ most on income" in english
    assert "p = 0.025<" in page
    assert "Shapley values, compared with zero in every entry" in page
    assert "Method:" not in english  # a note says it, with the reason
    assert "but for" not in english


@pytest.mark.parametrize(("method", "compares"), [("integrated_gradients", True), ("lrp", False), ("saliency", False)])
def test_a_method_without_a_reference_is_not_said_to_have_one(method: str, compares: bool) -> None:
    found = explain(nn.Linear(3, 2), torch.ones(1, 3), 0, method=method)
    with use_language("en"):
        said = " ".join(map(str, (made_by(found), *facts_of(found))))
    assert ("compared with zero" in said) == compares
    assert ("uses no reference" in said) != compares


def test_the_page_of_an_embedding_shows_what_lies_nearest(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Embedding(3, 2), nn.Flatten(), nn.Linear(4, 2))
    model[0].weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1]])
    page = (
        features(model, torch.tensor([[0, 1], [2, 1]]), "0").to_html(tmp_path / "f.html", names=["king", "sea", "queen"]).read_text("utf-8")
    )
    assert re.search(r"<td><bdi>king</bdi></td><td>queen <span class=\"soft\">0.995</span>, sea", page)


def test_negative_values_have_the_sign_of_the_contributions(tmp_path: Path) -> None:
    explanation, terms = explained("columns")
    page = explanation.to_html(tmp_path / "page.html", **{**terms, "values": [["-1.36", "-", "a-b"]]}).read_text(encoding="utf-8")
    assert ("<bdi>−1.36</bdi>" in page, "-1.36" in page, "<bdi>-</bdi>" in page, "<bdi>a-b</bdi>" in page) == (True, False, True, True)


def test_a_page_of_series_says_the_order_of_its_channels(tmp_path: Path) -> None:
    explanation, terms = explained("steps")
    assert "The channels that count most stand first." in explanation.to_html(tmp_path / "page.html", **terms).read_text(encoding="utf-8")
