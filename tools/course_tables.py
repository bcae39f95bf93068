"""The tables of docs/course with figures of examples/claims/results, which the scripts beside them write.

python tools/course_tables.py          write the figures into the tables
python tools/course_tables.py check    fail where one is not up to date

A table stands below the line `<!-- claim: NAME -->`: a head, then a row for each row of results/NAME.json in its order. English pages have
the labels of the results; Chinese pages have their own, and only the figures are written into them.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "examples" / "claims" / "results"
MARK = re.compile(r"<!-- claim: (\w+) -->\n((?:\|.*\n)+)")


def table(name: str, old: str, labelled: bool) -> str:
    """The table of the claim `name` in place of `old`, whose labels are kept where `labelled`.

    Raises:
        ValueError: `old` has not as many rows and columns as the results.
    """
    rows: dict[str, dict[str, Any]] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["rows"]
    columns = list(dict.fromkeys(column for cells in rows.values() for column in cells))
    labels = list(rows)
    if labelled:
        lines = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in old.splitlines()]
        if len(lines) != len(rows) + 2 or any(len(line) != len(columns) + 1 for line in lines):
            shape = f"{len(rows)} rows and {len(columns)} columns"
            raise ValueError(f"the table of {name}: the results have {shape}, the page has {len(lines) - 2} and {len(lines[0]) - 1}")
        columns, labels = lines[0][1:], [line[0] for line in lines[2:]]
    written = [["", *columns], ["---"] * (len(columns) + 1)]
    keys = list(dict.fromkeys(column for cells in rows.values() for column in cells))
    for label, cells in zip(labels, rows.values(), strict=True):
        written.append([label, *(cells[key]["shown"] if key in cells else "" for key in keys)])
    return "".join(f"|{'|'.join(line)}|\n" if line[0] == "---" else f"| {' | '.join(line)} |\n" for line in written)


def updated(page: str, chinese: bool) -> str:
    """The page with the figures of the results."""
    return MARK.sub(lambda found: f"<!-- claim: {found[1]} -->\n{table(found[1], found[2], chinese)}", page)


def stray_figures(page: str) -> list[str]:
    """Decimal numbers of the text that stand in no table of the page: figures that nothing keeps up to date."""
    lines = re.sub(r"```.*?```|\$\$.*?\$\$|\$[^$\n]*\$|`[^`\n]*`|\]\([^)]*\)", " ", page, flags=re.DOTALL).splitlines()
    shown = {number for line in lines if line.startswith("|") for number in re.findall(r"-?\d+\.\d+", line)}
    text = "\n".join(line for line in lines if not line.startswith("|"))
    return [number for number in re.findall(r"(?<![\d.])-?\d+\.\d+(?![\d.])", text) if number not in shown]


def main(arguments: list[str]) -> int:
    failed = False
    for path in sorted((ROOT / "docs" / "course").glob("*.md")):
        page = path.read_text(encoding="utf-8")
        new = updated(page, path.name.endswith(".zh-CN.md"))
        if arguments == ["check"]:
            faults = [*(["its tables are not those of the results"] if new != page else []), *stray_figures(new)]
            for fault in faults:
                print(f"{path.name}: {fault}", file=sys.stderr)
            failed |= bool(faults)
        elif new != page:
            path.write_text(new, encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
