"""tools/readme_pair.py, tools/chinese_prose.py and tools/repository_rules.py, each seen to fail."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def tool(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(TOOLS))
    return importlib.import_module(name)


ENGLISH = """[中文](A.zh-CN.md)
# Title
```bash
make demo   # a comment
```
```text
run written to runs/digits
```
| a | b |
|---|---|
| 1 | 2 |
"""
CHINESE = """[English](A.md)
# 标题
```bash
make demo   # 注释
```
```text
训练记录：runs/digits
```
| 甲 | 乙 |
|---|---|
| 1 | 2 |
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("", "", ""),
        ("# 标题", "## 标题", "headings"),
        ("make demo", "make test", "code block 1"),
        ("训练记录：runs/digits", "两\n行", "code block 2"),
        ("```text\n训练记录：runs/digits\n```\n", "", "2 code blocks against 1"),
        ("| 1 | 2 |\n", "", "tables"),
        ("[English](A.md)", "English", "does not link to A.md"),
    ],
)
def test_pair(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, old: str, new: str, said: str) -> None:
    english, chinese = tmp_path / "A.md", tmp_path / "A.zh-CN.md"
    english.write_text(ENGLISH, encoding="utf-8")
    chinese.write_text(CHINESE.replace(old, new) if old else CHINESE, encoding="utf-8")
    found = tool("readme_pair", monkeypatch).differences(english, chinese)
    assert len(found) == (1 if said else 0)
    assert said in "".join(found)


@pytest.mark.parametrize(
    ("source", "faulty_lines"),
    [
        ("训练 20 轮，准确率 98.3 %。", []),
        ("`f(x),的`，见[说明](a.md,b)，$W,b$ 为参数", []),
        ("```\n精度,您\n```\n1. 训练", []),
        ("好\n训练,评估\n好", [2]),
        ("递归神经网络", [1]),
        ("把数据正则化(缩放)", [1]),
        ("进行训练", [1]),
    ],
)
def test_chinese_prose_in_markdown(monkeypatch: pytest.MonkeyPatch, source: str, faulty_lines: list[int]) -> None:
    prose = tool("chinese_prose", monkeypatch)
    assert [number for number, line in prose.prose_of_markdown(source) if list(prose.faults(line))] == faulty_lines


@pytest.mark.parametrize(
    ("english", "faulty"), [("normalise the inputs", True), ("regularise with L2", False), ("batch normalization", True), ("", False)]
)
def test_regularisation_is_not_normalisation(monkeypatch: pytest.MonkeyPatch, english: str, faulty: bool) -> None:
    assert bool(list(tool("chinese_prose", monkeypatch).faults("正则化", english))) == faulty


PYPROJECT = """
[project]
dependencies = [
    "torch>=2.11",  # tensors
]
[dependency-groups]
test = [
    "pyright[nodejs]>=1.1",  # types
]
"""


@pytest.mark.parametrize(
    ("pyproject", "constraints", "said"),
    [
        (PYPROJECT, "torch==2.13.0\npyright==1.1.414\n", []),
        (PYPROJECT.replace("  # tensors", ""), "torch==2.13.0\npyright==1.1.414\n", ["torch has no reason"]),
        (PYPROJECT, "torch==2.13.0\n", ["pyright is not pinned"]),
    ],
)
def test_dependencies(monkeypatch: pytest.MonkeyPatch, pyproject: str, constraints: str, said: list[str]) -> None:
    found = tool("repository_rules", monkeypatch).dependency_faults(pyproject, constraints)
    assert len(found) == len(said)
    assert all(part in fault for part, fault in zip(said, found, strict=True))


@pytest.mark.parametrize(
    ("line", "faults"),
    [("cd " + "/ho" + "me/ada/pellucid", 1), ("cd ../shared/data", 0), ("see runs/home/x", 0), ("https://a.org/work/x", 0)],
)
def test_machine_paths(monkeypatch: pytest.MonkeyPatch, line: str, faults: int) -> None:
    assert len(tool("repository_rules", monkeypatch).path_faults("file", line)) == faults
