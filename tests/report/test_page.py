"""The page as a whole: every record drawn, in both languages, self-contained, harmless, and complete where records are missing."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pellucid.core.errors import RunError
from pellucid.core.language import text, use_language
from pellucid.core.records import Finding
from pellucid.core.results import Evaluation, NetworkTable
from pellucid.report import page as page_module
from pellucid.report import write
from pellucid.report.records import read_records
from pellucid.report.sections import SECTIONS
from report.reading import Page
from report.records import (
    HOSTILE,
    baselines_of,
    evaluation_of,
    history,
    mistakes_of,
    network_of,
    picture,
    regression_of,
    write_run,
)

FORMATS = Path(__file__).resolve().parents[1] / "formats"


def drawn(directory) -> Page:
    path = write(directory)
    assert path.name == "report.html"
    content = path.read_bytes()
    assert len(content) <= 5_000_000
    page = Page(content.decode("utf-8"))
    assert "cannot be drawn" not in page.source
    return page


def hostile(folder):
    return write_run(
        folder, classes=HOSTILE, targets=HOSTILE[:1], columns=HOSTILE, quarantined=[(name, name) for name in HOSTILE],
        config={"group": HOSTILE[0]}, reference={"source": HOSTILE[1], "target": HOSTILE[0]},
        records={"mistakes": mistakes_of("classification", HOSTILE, HOSTILE)},
    )  # fmt: skip


def many_classes(folder, count=10_000):
    names = [f"class {i}" for i in range(count)]
    return write_run(
        folder, classes=names,
        records={"evaluation": Evaluation(task="classification", primary="accuracy", parts={"test": evaluation_of(names, matrix=False)})},
    )  # fmt: skip


def diverged(folder):
    finding = Finding(
        symptom="divergence", level="fault", summary=text("divergence"), remedy=text("lower the learning rate by a factor of 10")
    )
    return write_run(folder, without=MEASURED, epochs=3, records={"findings": {"findings": [finding.to_dict()]}})


def no_test_part(folder):
    part = evaluation_of(("cat", "dog", "owl"))
    scores = {"train": [item.to_dict() for item in part.scores], "validation": [item.to_dict() for item in part.scores]}
    return write_run(
        folder, records={"scores": scores, "evaluation": Evaluation(task="classification", primary="accuracy", parts={"validation": part})}
    )


MEASURED = ("summary", "scores", "cost", "evaluation", "mistakes", "baselines", "network")  # written when a training is done
RUNS = {
    "classification": write_run,
    "two classes": lambda folder: write_run(folder, classes=("benign", "malignant")),
    "43 classes": lambda folder: write_run(folder, classes=[f"sign {i}" for i in range(43)]),
    "10 000 classes": many_classes,
    "regression": lambda folder: write_run(folder, task="regression", targets=("price", "age")),
    "pictures": lambda folder: write_run(folder, records={"mistakes": mistakes_of("classification", ("cat", "dog"), pictures=True)}),
    "own network": lambda folder: write_run(folder, custom=True),
    "hostile names": hostile,
    "diverged": diverged,
    "no test part": no_test_part,
    "interrupted": lambda folder: write_run(folder, without=(*MEASURED, "findings")),
    "nothing trained": lambda folder: write_run(folder, epochs=0, without=(*MEASURED, "findings", "decisions")),
    "no extra records": lambda folder: write_run(folder, without=("evaluation", "mistakes", "baselines", "network")),
}  # fmt: skip


@pytest.fixture(params=list(RUNS))
def page(request, tmp_path) -> Page:
    return drawn(RUNS[request.param](tmp_path))


def test_the_page_is_well_made(page):
    assert len(page.identifiers) == len(set(page.identifiers))
    links = {value[1:] for tag, name, value in page.attributes if tag == "a" and name == "href"}
    named = {value for _, name, value in page.attributes if name == "aria-labelledby"}
    assert links | named <= set(page.identifiers)
    assert all(("img", "alt") in {(tag, name) for tag, name, _ in page.attributes} for tag in page.tags if tag == "img")
    assert {"html", "head", "title", "main", "h1"} <= set(page.tags)
    assert page.tags.count("h1") == 1


def test_nothing_is_fetched_from_elsewhere(page):
    assert not set(page.tags) & {"link", "iframe", "object", "embed", "form", "base"}
    sources = [value for _, name, value in page.attributes if name in ("src", "srcset", "action", "poster")]
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    style = page.source[page.source.index("<style>") : page.source.index("</style>")]
    assert not re.search(r"url\(|@import", style)
    assert not [value for _, name, value in page.attributes if name == "href" and not value.startswith("#")]


def test_every_sentence_is_there_in_both_languages(page):
    english = [words for words, tags, of in page.pieces if of == "en"]
    chinese = [words for words, tags, of in page.pieces if of == "zh"]
    assert len(english) == len(chinese) > 60
    assert not page.left_in_english()
    assert not [words for words in english if re.search("[\u4e00-\u9fff]", words) and "中文" not in words and "长" not in words]


def test_format_1_opens_and_says_what_is_missing(tmp_path):
    for name in ("finished", "interrupted"):
        shutil.copytree(FORMATS / "1" / name, tmp_path / name)
    finished = drawn(tmp_path / "finished")
    assert "0.800" in finished.words("en")  # the test accuracy of its records
    assert "Not recorded: the run was made by an earlier version" in finished.words("en")
    assert "没有记录：训练由较早的版本完成" in finished.words("zh")
    interrupted = drawn(tmp_path / "interrupted")
    assert "There is no final score yet" in interrupted.words("en")
    assert "pellucid resume" in interrupted.words("en")


def test_names_of_users_cannot_harm(tmp_path):
    page = drawn(hostile(tmp_path))
    assert page.source.count("<script") == 2  # the titles and ours
    assert "<script>alert" not in page.source
    assert not [attribute for attribute in page.attributes if attribute[1].startswith("on")]
    assert "img" not in page.tags
    assert "\u202e" not in page.source
    assert "\x00" not in page.source
    words = page.words("en")
    assert "<script>alert(1)</script>" in words  # shown as what it is
    assert "{{ 7 * 7 }} {braces} %s" in words


@pytest.mark.parametrize(
    "source",
    ["javascript:alert(1)", "data:text/html;base64,PHNjcmlwdD4=", "https://example.org/x.png", 'data:image/png;base64,AA" onload="x',
     "data:image/svg+xml;base64,AAAA"],
)  # fmt: skip
def test_only_pictures_get_into_the_page(tmp_path, source):
    found = mistakes_of("classification", ("cat", "dog"), pictures=True, count=2)
    edited = replace(found, mistakes=(replace(found.mistakes[0], thumbnail=source), found.mistakes[1]))
    page = drawn(write_run(tmp_path, records={"mistakes": edited}))
    assert page.tags.count("img") == 1
    assert source not in page.source


def test_the_language_of_the_user_comes_first(tmp_path):
    directory = write_run(tmp_path)
    for name, title in (("zh", "hand-made: 报告"), ("en", "hand-made: report")):
        with use_language(name):
            page = drawn(directory)
        assert f'<html lang="{name}" data-language="{name}">' in page.source
        assert f"<title>{title}</title>" in page.source


def test_every_section_is_there_and_numbered(tmp_path):
    page = drawn(write_run(tmp_path))
    others = ("regression", "forecast", "masks", "watched", "learning_curve", "remedies")  # of other tasks, or asked for
    expected = [section.name for section in SECTIONS if section.name not in others]
    assert [name for name in page.identifiers if name in expected] == expected
    assert "regression" not in page.identifiers
    assert "confusion" not in drawn(write_run(tmp_path, task="regression")).identifiers


def test_a_record_that_cannot_be_read_takes_no_other_along(tmp_path):
    directory = write_run(tmp_path)
    (directory.path / "records" / "cost.json").write_text("{torn", encoding="utf-8")
    (directory.path / "records" / "mistakes.json").write_text('{"mistakes": 3}', encoding="utf-8")
    page = drawn(directory)
    assert "records/cost.json cannot be read" in page.words("en")
    assert "records/mistakes.json cannot be read" in page.words("en")
    assert "0.973" in page.words("en")


@pytest.mark.parametrize(
    "edit",
    [
        {"network": NetworkTable(rows=(), input_shape=(), parameters=0, trainable=0, flops=None).to_dict() | {"rows": [{"path": 3}]}},
        {"decisions": {"range_test": {"rates": ["x", "y", "z"], "losses": [1, 2, 3]}}},
        {"summary": {"next_steps": 5, "stopped": None}},
    ],
)
def test_an_edited_record_costs_its_own_section_only(tmp_path, edit):
    path = write(write_run(tmp_path, records=edit))
    page = Page(path.read_text("utf-8"))
    assert "cannot be" in page.words("en")
    assert "0.854" in page.words("en")  # the F1 of a class
    assert "pellucid.fit(" in page.words("en")


def test_too_large_a_page_leaves_out_pictures_and_says_so(tmp_path, monkeypatch):
    noise = mistakes_of("classification", ("cat", "dog"), pictures=True)
    directory = write_run(tmp_path, records={"mistakes": noise}, epochs=300)
    whole = drawn(directory)
    monkeypatch.setattr(page_module, "LIMIT", len(whole.source.encode()) - 1)
    lighter = drawn(directory)
    assert "img" in whole.tags
    assert "img" not in lighter.tags
    assert "the file would be over 5 MB" in lighter.words("en")


def test_the_largest_records_stay_under_the_limit(tmp_path):
    """As much as training writes of anything: pictures of noise, 100 classes, 2000 points of 20 targets, wide tables, long histories."""
    wide = [f"column {i} " + "w" * 100 for i in range(2000)]
    large = picture(64)
    found = mistakes_of("classification", ("cat", "dog"), wide[:30], count=24)
    found = replace(found, mistakes=tuple(replace(mistake, thumbnail=large) for mistake in found.mistakes))
    classes = [f"class {i}" for i in range(100)]
    one = write_run(
        tmp_path, classes=classes, columns=wide, epochs=5000, quarantined=[(f"{i}.png", "r" * 200) for i in range(5000)],
        records={"mistakes": found, "network": network_of(3000)},
    )  # fmt: skip
    page = drawn(one)
    assert page.tags.count("img") == 24
    assert page.tags.count("tr") < 1500
    targets = [f"target {i}" for i in range(20)]
    several = Evaluation(task="regression", primary="r2", parts={"test": regression_of(targets, 2000)})
    drawn(write_run(tmp_path, task="regression", targets=targets, records={"evaluation": several}))


def test_data_that_are_gone_do_not_matter(tmp_path):
    assert "0.973" in drawn(write_run(tmp_path, reference={"source": str(tmp_path / "no such.csv"), "target": "kind"})).words("en")


def test_an_earlier_report_is_replaced_in_one_step(tmp_path, monkeypatch):
    directory = write_run(tmp_path)
    (directory.path / "report.html").write_text("earlier", encoding="utf-8")

    def fails(*arguments):
        raise OSError("no room")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", fails)
        patched.setattr(Path, "replace", fails)
        with pytest.raises(Exception, match="no room"):
            write(directory)
    assert (directory.path / "report.html").read_text("utf-8") == "earlier"
    write(directory)
    assert (directory.path / "report.html").read_text("utf-8").startswith("<!DOCTYPE html>")


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError):
        write(tmp_path)


def test_no_torch_is_loaded(tmp_path):
    """A report can be drawn where the run was copied to, at once."""
    directory = write_run(tmp_path)
    code = "import sys; from pellucid.report import write; write(sys.argv[1]); print('torch' in sys.modules, 'sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, str(directory.path)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_the_conclusions_have_their_words(tmp_path):
    for conclusion, word in (("better", "yes"), ("not_shown", "not shown"), ("worse", "no"), ("unknown", "not compared")):
        words = drawn(write_run(tmp_path, records={"baselines": baselines_of(conclusion=conclusion)})).words("en")
        asked = words.index("Is it better than classical models?")
        assert words[asked:].split("?", 1)[1].strip()[1:].strip().startswith(word)


def test_titles_of_the_window_are_in_the_page(tmp_path):
    page = drawn(write_run(tmp_path, name="一次 训练"))
    stored = re.search(r'id="titles">(.*?)</script>', page.source)
    assert stored
    assert json.loads(stored[1]) == {"en": "一次 训练: report", "zh": "一次 训练: 报告"}


def test_what_was_read_is_what_was_written(tmp_path):
    records = read_records(write_run(tmp_path))
    assert records.finished
    assert records.part == "test"
    assert records.primary == "accuracy"
    assert records.kept_epoch == 8  # of 12, see history()
    assert [row["epoch"] for row in records.history] == [row["epoch"] for row in history(12)]
    assert records.settings["learning_rate"] == 0.0031
    assert not records.unreadable
