"""How often a finding of `pellucid.diagnose` is right that states so much confidence: the table of `pellucid.diagnosis.confidence`.

    python benchmarks/diagnosis_confidence.py [--results FILE]

Reads results of `diagnosis.py`, those of the part for tuning only, healthy programs included. For findings of one establishment (static,
data, dynamic, controlled) and one level, stated confidence is mapped to the share that is right by isotonic regression (pool adjacent
violators), in blocks of at least 12 observations (8, where there are no more); a block's share is (right + 1) / (observations + 2), so that
no small block is called sure. The same name told of twenty variants of one base program is one observation, not twenty: it comes from the
same data. What is right is what `diagnosis.py` counts: a label of the program or what follows from it. Prints the table, and the
calibration error as stated, with the table, and with tables that were made without the program's own base program.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from diagnosis_measures import names, told_name
from measurement import RESULTS

from diagnosis import labels

LEAST = 12  # observations in a block
FEWEST = 8  # observations of one establishment and level: with fewer they keep what they state
Table = dict[tuple[str, str], list[tuple[float, float]]]


def findings_of(path: Path) -> list[dict[str, Any]]:
    """The findings about tuning programs: establishment, level, stated confidence, whether right, and a group for leaving out."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        result = json.loads(line)
        if result["part"] != "tuning":
            continue
        known = labels(result["kind"], result["name"])
        allowed = set(known["causes"]) | set(known["also"])
        parts = result["name"].split("/")
        group = parts[1] if result["kind"] == "fault" or parts[0] == "twin" else result["name"]
        found[result["kind"], result["name"]] = [
            {"key": (finding["established_by"], finding["level"]), "stated": finding.get("stated", finding["confidence"]),
             "right": bool(names(finding) & allowed), "group": group, "name": told_name(finding)}
            for finding in result["findings"]
        ]  # fmt: skip
    return [finding for several in found.values() for finding in several]


def isotonic(pairs: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Knots (stated, share that is right), both rising: blocks of `LEAST` by stated confidence, neighbours pooled until the shares rise."""
    blocks: list[list[tuple[float, float]]] = []
    for pair in sorted(pairs):
        if blocks and (len(blocks[-1]) < LEAST or pair[0] == blocks[-1][-1][0]):
            blocks[-1].append(pair)
        else:
            blocks.append([pair])
    if len(blocks) > 1 and len(blocks[-1]) < LEAST:
        blocks[-2:] = [blocks[-2] + blocks[-1]]
    pooled: list[list[tuple[float, float]]] = []
    for block in blocks:
        pooled.append(block)
        while len(pooled) > 1 and share(pooled[-2]) >= share(pooled[-1]):
            pooled[-2:] = [pooled[-2] + pooled[-1]]
    return [(round(fmean(stated for stated, _ in block), 2), round(share(block), 2)) for block in pooled]


def share(block: Sequence[tuple[float, float]]) -> float:
    return (sum(right for _, right in block) + 1) / (len(block) + 2)


def fitted(findings: Sequence[dict[str, Any]]) -> Table:
    observed: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for finding in findings:
        observed[finding["key"], finding["group"], finding["name"]].append(finding)
    groups: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for (key, *_), same in observed.items():
        groups[key].append((fmean(one["stated"] for one in same), fmean(one["right"] for one in same)))
    return {key: isotonic(pairs) for key, pairs in sorted(groups.items()) if len(pairs) >= FEWEST}


def mapped(table: Table, finding: dict[str, Any]) -> float:
    from pellucid.diagnosis.confidence import between

    knots = table.get(finding["key"])
    return between(knots, finding["stated"]) if knots else finding["stated"]


def error(pairs: Sequence[tuple[float, bool]]) -> float:
    """Expected calibration error over ten bins."""
    bins: dict[int, list[tuple[float, bool]]] = defaultdict(list)
    for confidence, right in pairs:
        bins[min(int(10 * confidence), 9)].append((confidence, right))
    return sum(len(b) * abs(fmean(c for c, _ in b) - fmean(r for _, r in b)) for b in bins.values()) / max(len(pairs), 1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS / "diagnosis" / "results.jsonl")
    findings = findings_of(parser.parse_args().results)
    table = fitted(findings)
    counts: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for finding in findings:
        counts[finding["key"]].append(finding["right"])
    for key, right in sorted(counts.items()):
        print(f"{key}: {len(right)} findings, {fmean(right):.3f} right: {table.get(key, 'too few')}")
    others = {group: fitted([f for f in findings if f["group"] != group]) for group in {f["group"] for f in findings}}
    print(f"calibration error of {len(findings)} findings")
    print(f"  as stated                       {error([(f['stated'], f['right']) for f in findings]):.3f}")
    print(f"  by the table                    {error([(mapped(table, f), f['right']) for f in findings]):.3f}")
    print(f"  by tables without its own group {error([(mapped(others[f['group']], f), f['right']) for f in findings]):.3f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
