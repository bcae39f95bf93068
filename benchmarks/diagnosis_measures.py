"""What the results of `diagnosis.py` amount to: shares beside their goals, and each miss and false alarm of the part for tuning."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from measurement import met

PROGRAMS = Path(__file__).resolve().parent / "diagnosis_programs"
GOALS = {
    "right cause in top 3": 0.90, "label recall": 0.80, "label precision": 0.85, "right place": 0.85, "remedy verified": 0.75,
    "before step 1": 1.0, "in the first tenth": 1.0,
}  # fmt: skip
HEALTHY_GOAL, CALIBRATION_GOAL = 0.03, 0.1
TIME = "seconds per diagnosis, median (largest)"


def names(finding: dict[str, Any]) -> set[str]:
    return {name for name in (finding["cause"], finding["symptom"]) if name}


def right(finding: dict[str, Any], result: dict[str, Any]) -> bool:
    return bool(names(finding) & set(result["causes"]))


def allowed(finding: dict[str, Any], result: dict[str, Any]) -> bool:
    """Whether it is a label of the program, follows from one, or may be said of it by its row."""
    return bool(names(finding) & (set(result["causes"]) | set(result["also"])))


def true(finding: dict[str, Any], result: dict[str, Any]) -> bool:
    """Whether it counts as right where confidences are compared with what came true: by a label, or an advice by its fact."""
    return allowed(finding, result) or (finding["level"] == "advice" and finding.get("fact") is True)


def told_name(finding: dict[str, Any]) -> str:
    """The one name under which a finding is counted."""
    return finding["cause"] or finding["symptom"]


def placed(finding: dict[str, Any], result: dict[str, Any]) -> bool:
    """Whether `where` is one of the places, a part of one, or names one as a word, or is the FILE:LINE of the cause."""
    where = (finding["where"] or "").lower()
    if (line := source_line(where)) is not None:
        from diagnosis_programs.faults import CODE

        return any(word in line for word in CODE.get(result["cause"], ()))
    if "loss" in result["where"] and where.endswith(("loss", "cross_entropy", "cross_entropy_with_logits")):
        return True
    words = {where, *where.replace(",", " ").replace("(", " ").replace(")", " ").split()}
    for place in (place.lower() for place in result["where"] if place):
        # "fc" of the labels is each of fc1, fc2, ...; the numbers of an nn.Sequential are written out
        path = re.compile(re.escape(place) + (r"\d*" if place[-1].isalpha() else "") + r"(\..*)?")
        if any(path.fullmatch(word) for word in words) or (place.isidentifier() and len(place) > 3 and place in where):
            return True
    return False


def source_line(where: str) -> str | None:
    """The text of "file.py:12" where that file is one of the programs'."""
    name, _, number = where.rpartition(":")
    path = PROGRAMS / name
    if not (name.endswith(".py") and number.isdigit() and path.is_file()):
        return None
    lines = path.read_text(encoding="utf-8").splitlines()
    return lines[int(number) - 1] if int(number) <= len(lines) else None


def must_be_told(result: dict[str, Any]) -> bool:
    return result["kind"] == "real" or result["structural"] or result["costs"]


def counts_for_remedies(result: dict[str, Any]) -> bool:
    """A fault that costs accuracy, whose remedy was to be verified."""
    return bool(result.get("verified")) and (result["kind"] == "real" or result["costs"])


def share(hits: Iterable[bool]) -> tuple[float | None, int]:
    values = list(hits)
    return (fmean(values) if values else None), len(values)


def wilson(hits: int, number: int, z: float = 1.96) -> tuple[float, float]:
    if not number:
        return 0.0, 1.0
    middle = (hits + z * z / 2) / (number + z * z)
    half = z / (number + z * z) * math.sqrt(hits * (number - hits) / number + z * z / 4)
    return max(0.0, middle - half), min(1.0, middle + half)


def calibration(results: Sequence[dict[str, Any]]) -> tuple[float, int, list[dict[str, Any]]]:
    """Expected calibration error over ten bins, the number of findings, and the bins."""
    bins: dict[int, list[tuple[float, bool]]] = defaultdict(list)
    for result in results:
        for finding in result["findings"]:
            bins[min(int(10 * finding["confidence"]), 9)].append((finding["confidence"], true(finding, result)))
    number = sum(map(len, bins.values()))
    rows = [
        {"bin": f"{place / 10:.1f}", "findings": len(found), "confidence": round(fmean(c for c, _ in found), 3),
         "right": round(fmean(t for _, t in found), 3)}
        for place, found in sorted(bins.items())
    ]  # fmt: skip
    error = sum(row["findings"] * abs(row["confidence"] - row["right"]) for row in rows) / max(number, 1)
    return error, number, rows


def measures(results: list[dict[str, Any]]) -> dict[str, tuple[float | None, int]]:
    """Name -> (share, programs or findings it is over) of programs with a fault."""
    telling = [result for result in results if must_be_told(result)]
    found = [next((finding for finding in result["findings"] if right(finding, result)), None) for result in results]
    faults = [
        (result, {told_name(f) for f in result["findings"] if f["level"] == "fault"},
         {told_name(f) for f in result["findings"] if f["level"] == "fault" and right(f, result)})
        for result in telling
    ]  # fmt: skip
    every = [(result, name, name in rightly) for result, told, rightly in faults for name in told]
    static = [finding for finding, result in zip(found, results, strict=True) if finding and result["family"] == "static"]
    verified = [result for result in results if counts_for_remedies(result)]
    return {
        "right cause in top 3": share(any(right(f, result) for f in result["findings"][:3]) for result in telling),
        "right cause in top 3, all": share(any(right(f, result) for f in result["findings"][:3]) for result in results),
        "right cause first": share(any(right(f, result) for f in result["findings"][:1]) for result in telling),
        "label recall": share(bool(rightly) for _, _, rightly in faults),
        "label precision": share(is_right for _, _, is_right in every),
        "label precision, with consequences": share(is_right for result, name, is_right in every if is_right or name not in result["also"]),
        "right place": share(placed(finding, result) for finding, result in zip(found, results, strict=True) if finding),
        "remedy verified": share(result["verdict"] == "helps" for result in verified),
        "remedy verified, of those that could be applied": share(result["verdict"] == "helps" for result in verified if result["verdict"]),
        "before step 1": share(finding["established_by"] in ("static", "data") for finding in static),
        "in the first tenth": share(
            result["early_seen"] != "nothing" for result in telling if result["early"] and result["early_seen"] is not None
        ),
        "failed": share(result["error"] is not None for result in results),
    }


def summary(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of the table: real cases first, then tuning and held-out, then the healthy ones."""
    rows: list[dict[str, Any]] = []
    for part in ("real", "tuning", "held-out"):
        chosen = [result for result in results if result["part"] == part and result["kind"] != "healthy"]
        if not chosen:
            continue
        for name, (value, number) in measures(chosen).items():
            if value is None:
                continue
            goal = GOALS.get(name)
            rows.append(
                {"part": part, "measure": name, "value": f"{value:.3f}", "of": number, "goal": f">= {goal:g}" if goal else "",
                 "met": met(value >= goal) if goal and part == "held-out" else ""}
            )  # fmt: skip
        error, number, _ = calibration([result for result in results if result["part"] == part])
        rows.append(
            {"part": part, "measure": "calibration error, healthy programs included", "value": f"{error:.3f}", "of": number,
             "goal": f"<= {CALIBRATION_GOAL}", "met": met(error <= CALIBRATION_GOAL) if part == "held-out" else ""}
        )  # fmt: skip
        seconds = [result["seconds"] for result in chosen]
        rows.append({"part": part, "measure": TIME, "value": f"{median(seconds):.1f} ({max(seconds):.1f})", "of": len(seconds)})
    for part in ("tuning", "held-out"):
        if healthy := [result for result in results if result["kind"] == "healthy" and result["part"] == part]:
            rows += of_healthy(part, healthy)
    return rows


def of_healthy(part: str, healthy: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Alarms and advice about programs without a fault."""
    accused, number = sum(any(finding["level"] == "fault" for finding in result["findings"]) for result in healthy), len(healthy)
    low, high = wilson(accused, number)
    advice = fmean(sum(finding["level"] == "advice" for finding in result["findings"]) for result in healthy)
    seconds = [result["seconds"] for result in healthy]
    reached = met(accused / number <= HEALTHY_GOAL) if part == "held-out" else ""
    values = {
        "programs with any fault": f"{accused / number:.3f} [{low:.3f}, {high:.3f}]",
        "advice per program": f"{advice:.2f}",
        "failed": f"{fmean(result['error'] is not None for result in healthy):.3f}",
        TIME: f"{median(seconds):.1f} ({max(seconds):.1f})",
    }
    rows = [
        {"part": f"{part}, healthy", "measure": name, "value": value, "of": number, "goal": "", "met": ""} for name, value in values.items()
    ]
    return [{**rows[0], "goal": f"<= {HEALTHY_GOAL}", "met": reached}, *rows[1:]]


def by_cause(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each injected cause: how many programs must tell it, and in how many it is told."""
    grouped: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for result in results:
        if result["kind"] == "fault" and must_be_told(result):
            grouped[result["cause"]].append(result)
    return [
        {"cause": cause, "programs": len(found),
         "top 3": sum(any(right(f, result) for f in result["findings"][:3]) for result in found),
         "as fault": sum(any(right(f, result) and f["level"] == "fault" for f in result["findings"]) for result in found)}
        for cause, found in sorted(grouped.items())
    ]  # fmt: skip


def misses(results: Sequence[dict[str, Any]], part: str) -> list[str]:
    """Lines of Markdown: what was not told, what was wrongly told, in a wrong place, too late or with a remedy that did not help."""
    titles = (
        "Not told as a fault|Not told, where it costs nothing|Wrong faults|Wrong advice|Wrong place|Not in the first tenth|"
        "Remedy not verified|Failed"
    )
    told: dict[str, list[str]] = {title: [] for title in titles.split("|")}
    for result in (result for result in results if result["part"] == part):
        name, rightly = result["name"], [finding for finding in result["findings"] if right(finding, result)]
        if result["error"]:
            told["Failed"].append(f"{name}: {result['error']}")
        if wrong := [finding for finding in result["findings"] if finding["level"] == "fault" and not allowed(finding, result)]:
            told["Wrong faults"].append(f"{name}: {shown(wrong)} -- {wrong[0]['summary'][:300]}")
        told["Wrong advice"] += [
            f"{name}: {shown([finding])} -- {finding.get('settled_by') or 'by its labels'}"
            for finding in result["findings"] if finding["level"] == "advice" and not true(finding, result)
        ]  # fmt: skip
        if result["kind"] == "healthy":
            continue
        needed = must_be_told(result)
        if not any(right(f, result) for f in result["findings"][:3]) or (needed and not any(f["level"] == "fault" for f in rightly)):
            line = f"{name} ({result.get('score')}, sound {result.get('base')}): expected {', '.join(result['causes'])}; found "
            told["Not told as a fault" if needed else "Not told, where it costs nothing"].append(line + shown(result["findings"]))
        if rightly and not placed(rightly[0], result):
            told["Wrong place"].append(f"{name}: {rightly[0]['where']}, expected one of {', '.join(result['where'])}")
        if result["early_seen"] == "nothing":
            told["Not in the first tenth"].append(name)
        if counts_for_remedies(result) and result["verdict"] != "helps":
            told["Remedy not verified"].append(f"{name}: {result['verdict']}, found {shown(result['findings'])}")
    return [line for title, lines in told.items() for line in ["", f"## {title}: {len(lines)}", "", *(f"- {line}" for line in lines)]]


def shown(findings: Sequence[dict[str, Any]]) -> str:
    """Findings in a line: level, name, confidence, place, establishment and kind of change."""
    return "; ".join(
        f"{f['level']} {f['cause'] or ''}{'' if f['cause'] == f['symptom'] else '/' + f['symptom']} {f['confidence']:.2f} @{f['where']} "
        f"[{f['established_by']}, {f['change']}]"
        for f in findings[:5]
    ) or "nothing"  # fmt: skip
