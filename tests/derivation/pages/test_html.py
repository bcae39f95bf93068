"""The HTML page: complete, self-contained, in both languages, harmless whatever the names are; in a browser without a message of error."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
import torch
from torch import nn

import pellucid
from derivation.derived_networks import LeNet, ResidualCNN, Tied, images
from derivation.pages.test_text import two_four_one
from pellucid.core.language import use_language
from pellucid.derivation.pages import html as page_of

VOID = {"meta", "link", "br", "img", "hr", "input"}


class Reader(HTMLParser):
    """Fails on tags that do not match, and keeps what the tests ask for."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.identifiers, self.targets, self.attributes, self.spans, self.tags = [], [], [], [], {"en": [], "zh": []}, set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        values = dict(attrs)
        self.attributes += [(tag, *pair) for pair in attrs]
        if "id" in values:
            self.identifiers.append(values["id"])
        if tag == "a":
            self.targets.append(values["href"])
        if tag not in VOID:
            self.open.append((tag, values.get("lang") if tag == "span" else None))
            if self.open[-1][1]:
                self.spans[values["lang"]].append("")

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> without its beginning"
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        for tag, name in reversed(self.open):
            if tag == "span" and name:
                self.spans[name][-1] += data
                break


def read(page):
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert not reader.open
    return reader


def networks():
    torch.manual_seed(0)
    yield "2-4-1", two_four_one()
    yield "row", two_four_one("row", 4)
    yield "convolution", pellucid.derive(LeNet(), images(), torch.tensor([0, 1, 2]), loss="cross_entropy")
    yield "residual", pellucid.derive(ResidualCNN(), images(2, 3, 8), torch.tensor([0, 1]), loss="cross_entropy")
    yield "tied", pellucid.derive(Tied(), torch.randn(2, 5), torch.randn(2, 5), loss="mse")


@pytest.fixture(scope="module", params=["2-4-1", "row", "convolution", "residual", "tied"])
def made(request):
    derivation = dict(networks())[request.param]
    return derivation, derivation.to_html()


def test_every_step_is_there_once_and_links_lead_somewhere(made):
    derivation, page = made
    reader = read(page)
    assert len(set(reader.identifiers)) == len(reader.identifiers)
    for step in derivation.steps:
        assert f"f{step.index}" in reader.identifiers
        assert (f"b{step.index}" in reader.identifiers) == bool(step.gradients)
    assert {target[1:] for target in reader.targets} <= set(reader.identifiers)
    assert page.count("<math") >= 2 * len(derivation.steps)


def test_nothing_is_fetched_from_elsewhere(made):
    _, page = made
    reader = read(page)
    assert not reader.tags & {"link", "iframe", "object", "embed", "img"}
    assert not [found for found in reader.attributes if found[1] in ("src", "srcset", "action") or str(found[2]).startswith("http")]
    assert not re.search(r"url\(|@import|https?://", page)


def test_both_languages(made):
    _, page = made
    reader = read(page)
    assert len(reader.spans["en"]) == len(reader.spans["zh"]) > 10
    assert all(words.strip() for words in (*reader.spans["en"], *reader.spans["zh"]))
    assert "前向传播" in reader.spans["zh"]
    assert "Forward" in reader.spans["en"]


def test_the_language_in_force_comes_first():
    with use_language("zh"):
        assert 'data-language="zh"' in two_four_one().to_html()
    with use_language("en"):
        assert 'data-language="en"' in two_four_one().to_html()


def test_names_cannot_harm(tmp_path):
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.add_module("<script>alert(1)</script>", nn.Linear(2, 1))

        def forward(self, x):
            return getattr(self, "<script>alert(1)</script>")(x)

    Named.__name__ = '"><script>alert(2)</script>'
    path = tmp_path / "页面 1.html"
    page = pellucid.derive(Named(), torch.ones(1, 2)).to_html(path)
    assert path.read_text(encoding="utf-8") == page
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    read(page)


def test_a_large_network_is_folded_by_module():
    derivation = pellucid.derive(ResidualCNN((2, 2), 4, 3), images(2, 3, 8), torch.tensor([0, 1]), loss="cross_entropy")
    page = derivation.to_html()
    assert "<summary>stages<" in page
    assert page.count("<details") >= 2


def test_too_large_a_page_is_folded_further_and_says_so(monkeypatch):
    derivation = pellucid.derive(LeNet(), images(), torch.tensor([0, 1, 2]), loss="cross_entropy")
    whole = derivation.to_html()
    monkeypatch.setattr(page_of, "LIMIT", len(whole.encode()) - 1)
    lighter = derivation.to_html()
    assert "over 50 MB" in lighter
    assert "data-numbers=" not in lighter
    monkeypatch.setattr(page_of, "LIMIT", 1000)
    lightest = derivation.to_html()
    assert len(lightest) < len(lighter) < len(whole)
    assert 'id="f1"' in lightest


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
@pytest.mark.parametrize("name", ["2-4-1", "residual"])
def test_a_browser_has_nothing_to_complain_about(tmp_path, name):
    path = tmp_path / "derivation.html"
    page = dict(networks())[name].to_html()
    # everything is clicked once; what a script throws becomes visible in the document
    probe = (
        '<script>addEventListener("error", (e) => { document.title = "broken " + e.message; });</script>',
        '<script>document.querySelectorAll("button").forEach((b) => b.click());'
        'document.body.dataset.canvases = document.querySelectorAll("canvas").length;</script></body>',
    )
    policy = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
    assert policy.search(page)
    path.write_text(page.replace("<head>", "<head>" + probe[0]).replace("</body>", probe[1]), encoding="utf-8")
    command = [
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--enable-logging=stderr",
        f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", path.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "<title>broken" not in done.stdout
    assert "CONSOLE" not in done.stderr
    assert 'data-language="zh"' in done.stdout or 'data-language="en"' in done.stdout
    assert int(re.search(r'data-canvases="(\d+)"', done.stdout)[1]) == page.count("data-numbers=")


def test_parts_of_expansions_are_named_in_both_languages() -> None:
    page = pellucid.derive(nn.GRU(2, 2), torch.randn(2, 1, 2), loss=lambda outputs: outputs[0].sum()).to_html()
    assert '<span lang="en">GRU layer 1, t = 1, update gate</span><span lang="zh">' in page
    assert "<summary>GRU layer" not in page
