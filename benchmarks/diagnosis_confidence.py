"""How often a finding of `pellucid.diagnose` is right that states so much confidence: the table of `pellucid.diagnosis.confidence`.

    python benchmarks/diagnosis_confidence.py [--results FILE ...] [--write]

Reads results of `diagnosis.py`, those of the part for tuning only, healthy programs included; of a program in several files the last one's.
What is right is what `diagnosis.py` counts: a label of the program or what follows from it, and of other advice what was found to be so.

The share of a level (fault or advice), of an establishment (static, data, dynamic, controlled) with it, and of a cause with both: each is
(right + k s) / (observations + k), where s is the wider group's share; a cause has a row of its own from N observations on. The same name
told of twenty variants of one base program is one observation, not twenty: it comes from the same data. k, N and the weight of what is
stated (`SLOPE`) are those that lose least over base programs that are left out of the table one at a time (mean logarithmic loss, which
punishes what is called sure and is not).

Prints the table, the calibration error (ten bins) as stated, with the table, and with tables that were made without the program's own base
program, and the kinds of advice that are right in less than a third: nobody can rely on them. `--write` puts the table into the source.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import re
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from diagnosis_measures import told_name, true
from measurement import RESULTS

from diagnosis import labels, unsettled

SOURCE = Path(__file__).resolve().parent.parent / "src" / "pellucid" / "diagnosis" / "confidence.py"
WEIGHTS, LEAST, SLOPES = (1.0, 2.0, 4.0, 8.0), (2, 3, 5, 10**9), (0.0, 0.25, 0.5, 1.0)
RELIABLE, SEVERAL = 1 / 3, 3
Table = dict[tuple[str, ...], tuple[float, float]]
Setting = tuple[float, int, float]  # k, N, slope


def findings_of(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """The findings about tuning programs: kind, stated confidence, whether right, and a group for leaving out."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    waiting = 0
    for line in itertools.chain.from_iterable(path.read_text(encoding="utf-8").splitlines() for path in paths):
        result = json.loads(line)
        if result["part"] != "tuning":
            continue
        known = {**result, **labels(result["kind"], result["name"])}
        waiting += unsettled(known)
        parts = result["name"].split("/")
        group = parts[1] if result["kind"] == "fault" or parts[0] == "twin" else result["name"]
        found[result["kind"], result["name"]] = [
            {"kind": (finding["established_by"], finding["level"], told_name(finding)),
             "stated": finding.get("stated") or finding["confidence"], "right": true(finding, known), "group": group}
            for finding in result["findings"]
        ]  # fmt: skip
    if waiting:
        print(f"{waiting} programs hold advice that was not put to a test: it counts as wrong; run diagnosis.py again on the same folder")
    return [finding for several in found.values() for finding in several]


def observations(findings: Sequence[dict[str, Any]]) -> list[tuple[tuple[str, ...], float, float]]:
    """(kind, mean stated, share right) of each name told of one base program."""
    same: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for finding in findings:
        same[finding["kind"], finding["group"]].append(finding)
    return [(kind, fmean(one["stated"] for one in several), fmean(one["right"] for one in several)) for (kind, _), several in same.items()]


def fitted(findings: Sequence[dict[str, Any]], weight: float, least: int) -> Table:
    """Kind -> (mean stated, share right), each drawn towards the wider group's."""
    groups: dict[tuple[str, ...], list[tuple[float, float]]] = defaultdict(list)
    for kind, stated, right in observations(findings):
        for known in (kind[1:2], kind[:2], kind):
            groups[known].append((stated, right))
    table: Table = {}
    levels: dict[str, tuple[float, float]] = {}
    for kind in sorted(groups, key=len):
        seen = groups[kind]
        wider = (0.5, 0.5) if len(kind) == 1 else levels[kind[1]] if len(kind) == 2 else table[kind[:2]]
        if len(kind) == 3 and len(seen) < least:
            continue
        k = weight if len(kind) > 1 else 2.0
        row = fmean(stated for stated, _ in seen), (sum(right for _, right in seen) + k * wider[1]) / (len(seen) + k)
        if len(kind) == 1:
            levels[kind[0]] = row
        else:
            table[kind] = row
    return table


def mapped(table: Table, finding: dict[str, Any], slope: float) -> float:
    from pellucid.diagnosis.confidence import moved

    known = table.get(finding["kind"]) or table.get(finding["kind"][:2])
    return moved(*known, finding["stated"], slope) if known else finding["stated"]


def left_out(findings: Sequence[dict[str, Any]], setting: Setting) -> list[tuple[float, bool]]:
    """(confidence, right) of each finding by a table that has not seen its base program."""
    weight, least, slope = setting
    tables = {group: fitted([f for f in findings if f["group"] != group], weight, least) for group in {f["group"] for f in findings}}
    return [(mapped(tables[finding["group"]], finding, slope), finding["right"]) for finding in findings]


def loss_nats(pairs: Sequence[tuple[float, bool]]) -> float:
    """Mean logarithmic loss."""
    from pellucid.diagnosis.confidence import log_odds

    return fmean(math.log1p(math.exp(-log_odds(confidence) if right else log_odds(confidence))) for confidence, right in pairs)


def best_setting(findings: Sequence[dict[str, Any]]) -> Setting:
    """What tells base programs that were left out best; of equally good ones the plainest."""
    settings = itertools.product(WEIGHTS[::-1], LEAST[::-1], SLOPES)
    return min(settings, key=lambda setting: round(loss_nats(left_out(findings, setting)), 3))


def error(pairs: Sequence[tuple[float, bool]]) -> float:
    """Expected calibration error over ten bins."""
    bins: dict[int, list[tuple[float, bool]]] = defaultdict(list)
    for confidence, right in pairs:
        bins[min(int(10 * confidence), 9)].append((confidence, right))
    return sum(len(b) * abs(fmean(c for c, _ in b) - fmean(r for _, r in b)) for b in bins.values()) / max(len(pairs), 1)


def written(source: str, table: Table, slope: float) -> str:
    """The source with another table."""
    from pellucid.diagnosis.confidence import SUREST

    rows = "".join(
        f"    ({', '.join(json.dumps(word) for word in kind)}): ({stated:.2f}, {min(share, SUREST):.2f}),\n"
        for kind, (stated, share) in sorted(table.items())
    )
    block = f"OBSERVED: Mapping[tuple[str, ...], tuple[float, float]] = {{\n{rows}}}\nSLOPE = {slope:g}\n"
    return re.sub(r"(?<=# the table begins\n).*(?=# the table ends\n)", lambda _: block, source, flags=re.DOTALL)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, nargs="+", default=[RESULTS / "diagnosis" / "results.jsonl"])
    parser.add_argument("--write", action="store_true", help="put the table into src/pellucid/diagnosis/confidence.py")
    arguments = parser.parse_args()
    findings = findings_of(arguments.results)
    setting = best_setting(findings)
    table = fitted(findings, *setting[:2])
    counts: dict[tuple[str, ...], list[bool]] = defaultdict(list)
    for finding in findings:
        counts[finding["kind"]].append(finding["right"])
        counts[finding["kind"][:2]].append(finding["right"])
    for kind, right in sorted(counts.items()):
        own = f"{table[kind][1]:.2f}" if kind in table else "as its establishment and level"
        print(f"{', '.join(kind)}: {len(right)} findings, {fmean(right):.3f} right: {own}")
    print(f"weight of the wider group {setting[0]:g}, causes from {setting[1]} observations, slope {setting[2]:g}")
    print(f"calibration error of {len(findings)} findings (logarithmic loss)")
    for name, pairs in {
        "as stated": [(f["stated"], f["right"]) for f in findings],
        "by the table": [(mapped(table, f, setting[2]), f["right"]) for f in findings],
        "by tables without its own group": left_out(findings, setting),
    }.items():
        print(f"  {name:<32}{error(pairs):.3f} ({loss_nats(pairs):.3f})")
    seen: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for kind, _, right in observations(findings):
        seen[kind].append(right)
    for kind, rights in sorted(seen.items()):
        if kind[1] == "advice" and len(rights) >= SEVERAL and fmean(rights) < RELIABLE:
            print(f"seldom right: {', '.join(kind)}: {fmean(rights):.2f} of {len(rights)} base programs")
    if arguments.write:
        SOURCE.write_text(written(SOURCE.read_text(encoding="utf-8"), table, setting[2]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
