"""What the glossary (docs/terms.md) forbids in Chinese text, as one function; as a program it checks Markdown files.

python tools/chinese_prose.py README.zh-CN.md docs/coverage.zh-CN.md
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

# word -> what to write. 精度 and 正则化 need a look at what stands around them and have rules of their own below.
FORBIDDEN = {
    "递归神经网络": "循环神经网络 (递归 is recursive, not recurrent)",
    "集成梯度": "积分梯度 (集成 is ensemble)",
    "忠诚": "忠实 (of an explanation)",
    "您": "nothing, or 请",
}

_HAN = "\u3400-\u4dbf\u4e00-\u9fff"
_RULES = (
    (re.compile(r"(?<!数值)(?<![单双半])精度"), "精度 alone: say 准确率, 查准率 or 数值精度"),
    (re.compile(rf"[{_HAN}）”》] ?[,;:!?]|[,;:!?] ?[{_HAN}（“《]"), "half-width punctuation beside Chinese: use ，；：！？、"),
    (
        re.compile(rf"[{_HAN}）”》]\.(?![A-Za-z0-9_/])|[\w\)–]\. ?(?=[{_HAN}（“《])|–\.(?=\s|$)"),
        "half-width period in Chinese prose: use 。",
    ),
    (re.compile(rf"[{_HAN}]\(|\)[{_HAN}]|\([^()]*[{_HAN}][^()]*\)"), "half-width parentheses beside Chinese: use （）"),
    (re.compile(rf"[{_HAN}][A-Za-z0-9]|[A-Za-z0-9%][{_HAN}]"), "no space between Chinese and Latin letters or digits"),
    (re.compile(r" [，。；：！？、（）]|[，。；：！？、（] "), "a space beside full-width punctuation"),
    (re.compile("进行(训练|评估|预测|验证|归一化|标准化)"), "进行 adds nothing: the verb alone will do"),
)


def faults(chinese: str, english: str = "") -> Iterator[str]:
    """What is wrong with one Chinese text; `english` is what it translates, where that is known."""
    for word, instead in FORBIDDEN.items():
        if word in chinese:
            yield f"{word}: write {instead}"
    for pattern, instead in _RULES:
        found = pattern.search(chinese)
        if found:
            around = chinese[max(0, found.start() - 8) : found.end() + 8]
            yield f"{instead} (at {around!r})"
    lowered = english.lower()
    if "正则化" in chinese and re.search("normali[sz]|standardi[sz]", lowered) and not re.search("regulari[sz]", lowered):
        yield "正则化 is regularisation: write 归一化 (normalisation) or 标准化 (standardisation)"


def prose_of_markdown(source: str) -> Iterator[tuple[int, str]]:
    """(line number, line without code, formulas, link targets and HTML) of every line outside fenced blocks."""
    fenced = False
    for number, line in enumerate(source.splitlines(), start=1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            for pattern, instead in (
                (r"^\s*\d+\. ", ""),
                (r"\s*\|\s*", "|"),  # the borders of a table's cells
                (r"`[^`]*`", "``"),
                (r"\$[^$]*\$", "$$"),
                (r"\]\([^)]*\)", "]"),
                (r"<[^>]*>", "<>"),
                (r"https?://\S+", "<>"),
            ):
                line = re.sub(pattern, instead, line)
            yield number, line


def main(paths: list[str]) -> int:
    failed = False
    for path in paths:
        for number, line in prose_of_markdown(Path(path).read_text(encoding="utf-8")):
            for fault in faults(line):
                print(f"{path}:{number}: {fault}", file=sys.stderr)
                failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
