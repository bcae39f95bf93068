r"""The LaTeX document: braces and environments balance, only known commands, special characters escaped; compiled where LaTeX is there."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
import torch
from torch import nn

import pellucid
from derivation.derived_networks import LeNet, ResidualCNN, images
from derivation.pages.test_text import two_four_one
from pellucid.core.language import use_language
from pellucid.derivation.formula import Accent, Letter, Script
from pellucid.derivation.latex_formula import latex

COMPILER = shutil.which("xelatex") or shutil.which("pdflatex")


def networks():
    torch.manual_seed(0)
    yield "2-4-1", two_four_one()
    yield "torch", two_four_one("torch", 4)
    yield "convolution", pellucid.derive(LeNet(), images(), torch.tensor([0, 1, 2]), loss="cross_entropy")
    network = ResidualCNN()
    optimizer = torch.optim.AdamW(network.parameters())
    yield "residual", pellucid.derive(network, images(2, 3, 8), torch.tensor([0, 1]), loss="cross_entropy", optimizer=optimizer)


def check(document):
    plain = re.sub(r"\\[\\{}%#&$_]", "", document)
    depth = 0
    for character in plain:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    assert plain.count("$") % 2 == 0
    assert plain.count(r"\left") - plain.count(r"\leftarrow") == plain.count(r"\right") - plain.count(r"\rightarrow")
    open_environments = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", document):
        if kind == "begin":
            open_environments.append(name)
        else:
            assert open_environments.pop() == name
    assert not open_environments
    assert not re.search(r"\\given|[\u2070-\u209f\u0300-\u036f⊙∂∑←]", document)


@pytest.mark.parametrize("name", ["2-4-1", "torch", "convolution", "residual"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_document_is_well_formed(tmp_path, name, language):
    derivation = dict(networks())[name]
    path = tmp_path / "derivation.tex"
    with use_language(language):
        document = derivation.to_latex(path)
    assert path.read_text(encoding="utf-8") == document
    check(document)
    assert ("ctexart" in document) == (language == "zh")
    for step in derivation.steps:
        assert f"({step.index})" in document
    if language == "en":
        assert document.isascii()


def test_the_textbook_s_equations():
    with use_language("en"):
        document = two_four_one().to_latex()
    assert r"z^{(1)}=W^{(1)}x+b^{(1)}" in document
    assert r"\frac{\partial L}{\partial W^{(2)}}=\frac{\partial L}{\partial z^{(2)}}a^{(1)\top }" in document
    assert r"\begin{bmatrix}" in document


def test_names_are_escaped():
    class Odd_Name(nn.Module):
        def __init__(self):
            super().__init__()
            self.add_module("50%_{#1}\\input", nn.Linear(2, 1))

        def forward(self, x):
            return getattr(self, "50%_{#1}\\input")(x)

    with use_language("en"):
        document = pellucid.derive(Odd_Name(), torch.ones(1, 2)).to_latex()
    check(document)
    assert r"Odd\_Name" in document
    assert r"\input" not in document


@pytest.mark.slow
@pytest.mark.skipif(COMPILER is None, reason="LaTeX is not installed")
@pytest.mark.parametrize("name", ["2-4-1", "residual"])
def test_it_compiles(tmp_path, name):
    with use_language("en"):
        dict(networks())[name].to_latex(tmp_path / "derivation.tex")
    command = [COMPILER, "-interaction=nonstopmode", "-halt-on-error", "derivation.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout[-2000:]


def test_an_accented_letter_with_two_indices():
    r"""TeX takes {\hat{u}_{5}} for \hat{u}_{5} and stops at the second index."""
    symbol = Script(Accent("hat", Letter("u")), Letter("5"), None)
    assert latex(Script(symbol, Letter("i"), None)).replace(" ", "") == r"{{}\hat{u}_{5}}_{i}"
