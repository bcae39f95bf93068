"""The page in a browser: no error, both languages, and pages on paper."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape

import pytest

from pellucid.report import write
from report.reading import Page
from report.records import HOSTILE, mistakes_of, write_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")]

# What the page shows is read from the browser itself: innerText leaves out what is not displayed.
PROBE = """<script>
addEventListener("error", (event) => { document.title = "broken " + event.message; });
addEventListener("securitypolicyviolation", (event) => { document.title = "broken " + event.violatedDirective; });
</script>"""
AFTER = """<script>
for (const part of document.querySelectorAll("details")) part.open = true;
const seen = {};
for (const language of ["first", "second"]) {
  seen[language] = document.body.innerText;
  seen[language + "Title"] = document.title;
  seen[language + "Wide"] = document.documentElement.scrollWidth > innerWidth;
  document.getElementById("language").click();
}
for (const button of document.querySelectorAll("button[data-copy]")) button.click();
seen.selected = getSelection().toString();
const kept = document.createElement("pre");
kept.id = "seen";
kept.textContent = JSON.stringify(seen);
document.body.append(kept);
</script></body>"""


def chromium(tmp_path, *arguments):
    assert CHROMIUM is not None
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--lang=en-US",
        "--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}", *arguments,
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)


def opened(tmp_path, directory, *arguments, query=""):
    page = write(directory).read_text("utf-8")
    probed = directory.path / "probed.html"
    probed.write_text(page.replace("<head>", "<head>" + PROBE).replace("</body>", AFTER), encoding="utf-8")
    done = chromium(tmp_path, *arguments, "--dump-dom", probed.as_uri() + query)
    assert "<title>broken" not in done.stdout
    assert "CONSOLE" not in done.stderr
    found = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, "the page's script did not run to its end"
    return json.loads(unescape(found[1]))


@pytest.mark.parametrize("task", ["classification", "regression", "hostile"])
def test_the_switch_changes_all_that_is_seen(tmp_path, task):
    if task == "hostile":
        directory = write_run(
            tmp_path, classes=HOSTILE, columns=HOSTILE, records={"mistakes": mistakes_of("classification", HOSTILE, HOSTILE)}
        )
    else:
        directory = write_run(tmp_path, task=task)
    seen = opened(tmp_path, directory)
    page = Page((directory.path / "report.html").read_text("utf-8"))
    english, chinese = seen["first"], seen["second"]
    assert "How good is it?" in english
    assert "效果有多好？" in chinese
    hidden = {words for words, _, of in page.pieces if of == "en" and len(words) > 12 and " " in words}
    assert not [words for words in hidden if words in chinese]
    hidden = {words for words, _, of in page.pieces if of == "zh" and len(words) > 6 and words not in english[:1]}
    assert not [words for words in hidden if words in english]
    assert seen["firstTitle"] == "hand-made: report"
    assert seen["secondTitle"] == "hand-made: 报告"
    assert "pellucid" in seen["selected"] or "data = " in seen["selected"] or "task = " in seen["selected"]


def test_a_link_can_ask_for_a_language(tmp_path):
    seen = opened(tmp_path, write_run(tmp_path), query="?language=zh")
    assert "效果有多好？" in seen["first"]


def test_a_telephone_is_wide_enough(tmp_path):
    directory = write_run(
        tmp_path, classes=HOSTILE, columns=HOSTILE, config={"group": HOSTILE[4]}, reference={"source": HOSTILE[4], "target": HOSTILE[3]},
        records={"mistakes": mistakes_of("classification", HOSTILE, HOSTILE, pictures=True)},
    )  # fmt: skip
    seen = opened(tmp_path, directory, "--window-size=500,900")  # the narrowest that headless Chromium gives
    assert not seen["firstWide"]
    assert not seen["secondWide"]


def test_it_prints(tmp_path):
    directory = write_run(tmp_path, records={"mistakes": mistakes_of("classification", ("cat", "dog", "owl"), pictures=True)})
    path = write(directory)
    pdf = tmp_path / "report.pdf"
    chromium(tmp_path, "--no-pdf-header-footer", f"--print-to-pdf={pdf}", path.as_uri())
    content = pdf.read_bytes()
    assert content.startswith(b"%PDF")
    pages = max(int(count) for count in re.findall(rb"/Count (\d+)", content))
    assert 4 <= pages <= 14
