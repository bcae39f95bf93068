"""tools/catalogue.py on small packages written for each case."""

from __future__ import annotations

import gettext
import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture
def catalogue(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    pytest.importorskip("babel")
    monkeypatch.syspath_prepend(str(TOOLS))
    return importlib.import_module("catalogue")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "errors.py").write_text(
        'from x import text\ntext("column {name!r} is empty", name=1)\ntext("loss "\n "{x:.3f}", x=2)\ntext("stop")\n', encoding="utf-8"
    )
    return folder


GOOD = {"column {name!r} is empty": "列 {name!r} 为空", "loss {x:.3f}": "损失 {x:.4f}", "stop": "停止"}


def translate(catalogue: ModuleType, package: Path, sentences: dict[str, str]) -> int:
    file = package.parent / "sentences.json"
    file.write_text(json.dumps(sentences), encoding="utf-8")
    return catalogue.main(["translate", str(file), "--package", str(package)])


def test_update_finds_every_sentence_and_is_deterministic(catalogue: ModuleType, package: Path) -> None:
    assert catalogue.update(package) == dict.fromkeys(GOOD, "")
    first = catalogue.po_of(package).read_bytes()
    catalogue.update(package)
    assert catalogue.po_of(package).read_bytes() == first
    assert b"errors.py" not in first
    assert b"Date" not in first


def test_translations_are_kept_unused_ones_dropped_and_compiled(catalogue: ModuleType, package: Path) -> None:
    assert translate(catalogue, package, GOOD) == 0
    assert catalogue.check(package) == []
    with catalogue.po_of(package).with_suffix(".mo").open("rb") as stream:
        assert gettext.GNUTranslations(stream).gettext("stop") == "停止"
    (package / "errors.py").write_text('text("stop")\ntext("go on")\n', encoding="utf-8")
    assert any("not in the source any more" in fault for fault in catalogue.check(package))
    assert catalogue.update(package) == {"stop": "停止", "go on": ""}


def test_a_file_that_does_not_parse_loses_no_translation(catalogue: ModuleType, package: Path) -> None:
    translate(catalogue, package, GOOD)
    (package / "errors.py").write_text("def half(", encoding="utf-8")
    assert catalogue.update(package) == GOOD
    assert any("errors.py:1" in fault for fault in catalogue.check(package))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"stop": ""}, "not translated: 'stop'"),
        ({"column {name!r} is empty": "列为空"}, "placeholders differ"),
        ({"column {name!r} is empty": "列 {nome!r} 为空"}, "placeholders differ"),
        ({"loss {x:.3f}": "损失 {x:.3f"}, "'{'"),
        ({"stop": "请您停止"}, "您"),
        ({"stop": "递归神经网络停止"}, "循环神经网络"),
        ({"stop": "精度下降，停止"}, "精度 alone"),
        ({"stop": "停止, 保存"}, "half-width punctuation"),
        ({"stop": "停止."}, "half-width period"),
        ({"loss {x:.3f}": "损失为 {x:.3f}."}, "half-width period"),
        ({"stop": "停止(保存)"}, "half-width parentheses"),
        ({"stop": "第3轮停止"}, "no space"),
        ({"stop": "停止， 保存"}, "a space beside"),
    ],
)
def test_check_refuses(catalogue: ModuleType, package: Path, changed: dict[str, str], said: str) -> None:
    translate(catalogue, package, GOOD)
    catalogue.write_translations(catalogue.po_of(package), GOOD | changed)
    found = catalogue.check(package)
    assert len(found) == 1
    assert said in found[0]


@pytest.mark.parametrize(
    "chinese",
    [
        "数值精度为 {name}",
        "损失对 x 的梯度（dL/dx）为 {name}",
        "例如 --target income：{name}",
        "95 % 置信区间 [0.972, 0.988]，{name}",
        "请写 f(x) 或 3.5 倍 {name}",
    ],
)
def test_check_accepts(catalogue: ModuleType, package: Path, chinese: str) -> None:
    assert list(catalogue._translation_faults("about {name}", chinese)) == []


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ('text(f"{x} rows")', "one literal sentence"),
        ('text("a" if x else "b")', "one literal sentence"),
        ("text(message)", "one literal sentence"),
        ('text("{rows} rows")', "no value for {rows}"),
        ('text("rows", rows=3)', "rows is given and not used"),
        ('text("{rows rows", rows=3)', "expected '}'"),
    ],
)
def test_check_refuses_calls_that_cannot_be_translated(catalogue: ModuleType, package: Path, call: str, said: str) -> None:
    (package / "errors.py").write_text(call + "\n", encoding="utf-8")
    assert any(said in fault for fault in catalogue.read_source(package).faults)


def test_fuzzy_entries_and_broken_catalogues_of_others_are_refused(catalogue: ModuleType, package: Path) -> None:
    translate(catalogue, package, GOOD)
    po = catalogue.po_of(package)
    po.write_text(po.read_text(encoding="utf-8").replace('msgid "stop"', '#, fuzzy\nmsgid "stop"'), encoding="utf-8")
    po.with_name("messages.po").write_text('msgid "Usage"\nmsgstr "用法"\nno keyword\n', encoding="utf-8")
    found = catalogue.check(package)
    assert any(fault.startswith("fuzzy: 'stop'") for fault in found)
    assert any("messages.po does not compile" in fault for fault in found)


def test_unknown_sentence_is_named_with_its_neighbour(catalogue: ModuleType, package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert translate(catalogue, package, {"stopp": "停止"}) == 1
    assert "near: 'stop'" in capsys.readouterr().err


def test_several_people_at_once_lose_nothing(catalogue: ModuleType, package: Path) -> None:
    sentences = [f"sentence {index}" for index in range(8)]
    (package / "errors.py").write_text("".join(f"text({sentence!r})\n" for sentence in sentences), encoding="utf-8")
    running: list[subprocess.Popen[bytes]] = []
    for index, sentence in enumerate(sentences):
        file = package.parent / f"{index}.json"
        file.write_text(json.dumps({sentence: f"句子 {index}"}), encoding="utf-8")
        running.append(subprocess.Popen([sys.executable, TOOLS / "catalogue.py", "translate", file, "--package", package]))
    assert [process.wait(timeout=60) for process in running] == [0] * len(sentences)
    assert catalogue.read_translations(catalogue.po_of(package)) == {sentence: f"句子 {index}" for index, sentence in enumerate(sentences)}


def test_page_templates_are_read_as_python_is(catalogue: ModuleType, package: Path) -> None:
    (package / "templates").mkdir()
    page = package / "templates" / "page.html"
    page.write_text('{% for n in names %}{{ text("hello {name}", name=n) | both }}{% endfor %}{{ text("end") }}', encoding="utf-8")
    assert set(catalogue.update(package)) == {*GOOD, "hello {name}", "end"}
    page.write_text('{{ text("hello {name}") }}{{ text(word) }}{{ text("end", name=1) }}', encoding="utf-8")
    found = [fault for fault in catalogue.read_source(package).faults if "page.html:1" in fault]
    assert len(found) == 3
    assert any("no value for {name}" in fault for fault in found)
    assert any("must be one literal sentence" in fault for fault in found)
    assert any("given and not used" in fault for fault in found)
