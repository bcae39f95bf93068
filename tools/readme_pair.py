"""The documents that exist in English and Chinese have the same headings, code, links to each other and tables.

    python tools/readme_pair.py                 every pair of the repository
    python tools/readme_pair.py A.md A.zh-CN.md

Code is compared without its comments; blocks marked `text` (what a program printed, trees with remarks) are compared by their number
of lines.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Outline:
    """What must agree between the two languages."""

    headings: list[str] = field(default_factory=list)  # "##", "###": the levels, in order
    code: list[tuple[str, str]] = field(default_factory=list)  # (language, code without comments)
    tables: list[tuple[int, int]] = field(default_factory=list)  # (rows, columns)
    first_line: str = ""


def outline(source: str) -> Outline:
    result = Outline()
    lines = source.splitlines()
    result.first_line = lines[0] if lines else ""
    position = 0
    while position < len(lines):
        line = lines[position]
        if line.startswith("```"):
            end = next((row for row in range(position + 1, len(lines)) if lines[row].startswith("```")), len(lines))
            result.code.append(_code(line.removeprefix("```").strip(), lines[position + 1 : end]))
            position = end
        elif line.startswith("#"):
            result.headings.append(line.split(" ", 1)[0])
        elif line.startswith("|"):
            end = next((row for row in range(position, len(lines)) if not lines[row].startswith("|")), len(lines))
            result.tables.append((end - position, len(re.findall(r"(?<!\\)\|", line)) - 1))
            position = end - 1
        position += 1
    return result


def _code(language: str, lines: list[str]) -> tuple[str, str]:
    if language == "text":
        return language, f"{len(lines)} lines"
    bare = (re.sub(r"(^|\s+)#\s.*$", "", line).rstrip() for line in lines)
    return language, "\n".join(line for line in bare if line)


def differences(english: Path, chinese: Path) -> list[str]:
    """What the two files do not have in common, as sentences."""
    ours, theirs = (outline(path.read_text(encoding="utf-8")) for path in (english, chinese))
    found: list[str] = []
    if ours.headings != theirs.headings:
        found.append(f"headings {' '.join(ours.headings)} against {' '.join(theirs.headings)}")
    if len(ours.code) != len(theirs.code):
        found.append(f"{len(ours.code)} code blocks against {len(theirs.code)}")
    for number, (one, other) in enumerate(zip(ours.code, theirs.code, strict=False), start=1):
        if one != other:
            found.append(f"code block {number}:\n{one[1]}\n-- against --\n{other[1]}")
    if ours.tables != theirs.tables:
        found.append(f"tables (rows, columns) {ours.tables} against {theirs.tables}")
    for first_line, other_name in ((ours.first_line, chinese.name), (theirs.first_line, english.name)):
        if f"({other_name})" not in first_line:
            found.append(f"{first_line!r}, a first line, does not link to {other_name}")
    return found


def pairs() -> list[tuple[Path, Path]]:
    found = sorted([*ROOT.glob("*.zh-CN.md"), *ROOT.glob("docs/*.zh-CN.md"), *ROOT.glob("docs/*/*.zh-CN.md")])
    return [(path.with_name(path.name.replace(".zh-CN.md", ".md")), path) for path in found]


def main(arguments: list[str]) -> int:
    failed = False
    for english, chinese in [(Path(arguments[0]), Path(arguments[1]))] if arguments else pairs():
        for difference in differences(english, chinese):
            print(f"{english.name} and {chinese.name}: {difference}", file=sys.stderr)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
