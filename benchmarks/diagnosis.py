"""How often `pellucid.diagnose` names what is wrong, and how often it accuses what is right.

    python benchmarks/diagnosis.py [--quick | --full] [--part real | tuning | held-out | healthy] [--only NAME] [--budget SECONDS]
    python benchmarks/diagnosis.py --costs      measure again what each sampled fault costs (an hour)

Programs (folder diagnosis_programs): real cases restated from public questions; 300 programs with one injected fault, half of them on base
programs for tuning and half on held-out ones; and healthy programs. One diagnosis is one program from seed 0 with the given budget.

What is measured:

- right cause in the top 3: a finding, fault or advice, among the first three whose cause or symptom is one of the program's labels;
- label recall: programs with a finding of level fault that has a right name / programs whose fault must be told, that is, costs accuracy
  or is wrong whatever the numbers (the others, mild and harmless, are counted in the rows "all");
- label precision: distinct names of faults found that are right / all distinct names of faults found, over the same programs; "with
  consequences": names that are true of the program and follow from its cause do not count as wrong;
- right place: of the programs whose cause was found, those in which `where` names a right place;
- healthy programs with any fault, with Wilson's interval, and advice per healthy program;
- remedy verified: of the faults that cost accuracy, those whose remedy is shown by `finding.verify()` to help;
- calibration error: |share of right findings - mean confidence| over ten bins of confidence, weighted by size; right is what is a label or
  follows from it, in a healthy program what its row allows;
- before step 1: of the static faults found, those that are established by the program or the data alone;
- in the first tenth: of the faults that must show at once, those that are seen when a tenth of the steps has been watched.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, median, pstdev
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from measurement import met, report, table, verdict

COSTS = Path(__file__).resolve().parent / "diagnosis_programs" / "costs.json"
GOALS = {
    "right cause in top 3": 0.90, "label recall": 0.80, "label precision": 0.85, "right place": 0.85, "remedy verified": 0.75,
    "before step 1": 1.0, "in the first tenth": 1.0,
}  # fmt: skip
HEALTHY_GOAL, CALIBRATION_GOAL = 0.03, 0.1
SEEDS = (0, 1, 2)
TIME = "seconds per diagnosis, median (largest)"


# -- one program, in a process of its own ------------------------------------------------------------------------------------------------


def prepare() -> None:
    import torch

    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")


def labels(kind: str, name: str) -> dict[str, Any]:
    """What is known of a program, as plain values."""
    program = loaded(kind, name)
    if kind == "healthy":
        return {"name": name, "kind": kind, "part": program.part, "causes": [], "also": sorted(program.advice), "where": []}
    found = {
        "name": name, "kind": kind, "part": "real" if kind == "real" else program.part, "causes": sorted(program.causes),
        "also": sorted(program.also), "where": list(program.where), "structural": program.structural, "early": program.early,
        "family": program.family, "cause": program.cause,
    }  # fmt: skip
    return {**found, "address": program.address} if kind == "real" else {**found, "strength": program.strength}


def loaded(kind: str, name: str) -> Any:
    from diagnosis_programs import faults, healthy, real_cases

    return {"fault": faults.program, "healthy": healthy.program, "real": real_cases.program}[kind](name)


def examined(kind: str, name: str, budget: float, verify: bool) -> dict[str, Any]:
    """Diagnose one program."""
    import torch

    from pellucid.diagnosis.diagnose import diagnose

    known = labels(kind, name)
    program = loaded(kind, name)
    result: dict[str, Any] = {**known, "findings": [], "error": None, "verdict": None, "early_seen": None}
    started = time.perf_counter()
    try:
        findings = [finding for finding in diagnose(program.experiment, budget=f"{budget:g}s") if finding.level in ("fault", "advice")]
    except Exception as error:
        result["error"] = f"{type(error).__name__}: {error}"[:400]
        findings = []
    result["seconds"] = time.perf_counter() - started
    result["findings"] = [plain(finding) for finding in findings]
    torch.manual_seed(0)
    if verify and kind != "healthy":
        # the finding that tells the right thing and has a remedy that can be applied
        chosen = next(
            (finding for finding in findings if finding.change is not None and names(plain(finding)) & set(known["causes"])), None
        )
        if chosen is not None:
            started = time.perf_counter()
            try:
                result["verdict"] = chosen.verify().verdict
            except Exception as error:
                result["verdict"] = f"{type(error).__name__}: {error}"[:200]
            result["verify_seconds"] = time.perf_counter() - started
    if known.get("early"):
        result["early_seen"] = seen_early(program.experiment, set(known["causes"]) | set(known["also"]), set(known["causes"]))
    return result


def seen_early(experiment: Any, related: set[str], causes: set[str]) -> str:
    """What a watch over the first tenth of the steps tells: "cause", only a "consequence", or "nothing"."""
    from pellucid.diagnosis.causes import examine

    trial = experiment.run(0, steps=max(math.ceil(experiment.steps / 10), 2), watch=True, score=False)
    found: set[str] = set()
    if trial.observations is not None:
        for finding in examine(trial.observations):
            told = plain(finding)
            found |= names(told) | set(told["consequences"])
    return "cause" if found & causes else "consequence" if found & related else "nothing"


def plain(finding: Any) -> dict[str, Any]:
    consequences = finding.evidence.get("consequences", ()) if finding.evidence else ()
    return {
        "symptom": finding.symptom, "cause": finding.cause, "level": finding.level, "confidence": float(finding.confidence),
        "where": finding.where, "established_by": finding.established_by, "change": finding.change.kind if finding.change else None,
        "summary": str(finding.summary), "consequences": [str(one.get("symptom")) for one in consequences],
    }  # fmt: skip


@cache
def sound(base: str) -> tuple[str, tuple[float, ...]]:
    """The metric and the scores of a base program without faults."""
    from diagnosis_programs.bases import BASES

    trials = [BASES[base].experiment().run(seed) for seed in SEEDS]
    return trials[0].scoring.metric if trials[0].scoring else "", tuple(float(trial.score or 0) for trial in trials)


def costed(name: str) -> dict[str, Any]:
    """The scores of a faulty program beside its base program's."""
    from diagnosis_programs import faults

    program = faults.program(name)
    trials = [program.experiment.run(seed) for seed in SEEDS[:2]]
    metric, healthy = sound(name.split("/")[1])
    same = all(trial.scoring is not None and trial.scoring.metric == metric for trial in trials)
    scores = [trial.score for trial in trials]
    comparable = same and all(score is not None for score in scores)
    mean = fmean(max(float(score), -1.0) for score in scores) if comparable else None  # type: ignore[arg-type]
    noise = max(pstdev(healthy) * math.sqrt(3 / 2), 0.005)
    return {
        "name": name, "score": mean, "base": fmean(healthy), "noise": noise,
        "costs": mean is None or fmean(healthy) - mean > max(0.02, 3 * noise),
        "errors": [str(trial.error)[:200] for trial in trials if trial.error],
    }  # fmt: skip


# -- what it amounts to ------------------------------------------------------------------------------------------------------------------


def names(finding: dict[str, Any]) -> set[str]:
    return {name for name in (finding["cause"], finding["symptom"]) if name}


def right(finding: dict[str, Any], result: dict[str, Any]) -> bool:
    return bool(names(finding) & set(result["causes"]))


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
    words = {word for word in where.replace(",", " ").replace("(", " ").replace(")", " ").split() if word}
    for place in (place.lower() for place in result["where"]):
        if where == place or where.startswith(place + ".") or place in words or any(word.startswith(place + ".") for word in words):
            return True
        if place and place.isidentifier() and len(place) > 3 and place in where:
            return True
    return False


def source_line(where: str) -> str | None:
    """The text of "file.py:12" where that file is one of the programs'."""
    name, _, number = where.rpartition(":")
    path = COSTS.parent / name
    if not (name.endswith(".py") and number.isdigit() and path.is_file()):
        return None
    lines = path.read_text(encoding="utf-8").splitlines()
    return lines[int(number) - 1] if int(number) <= len(lines) else None


def must_be_told(result: dict[str, Any]) -> bool:
    return result["kind"] == "real" or result["structural"] or result["costs"]


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
            true = right(finding, result) or bool(names(finding) & set(result["also"]))
            bins[min(int(10 * finding["confidence"]), 9)].append((finding["confidence"], true))
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
    verified = [result for result in results if result.get("verified") and (result["kind"] == "real" or result["costs"])]
    return {
        "right cause in top 3": share(any(right(f, result) for f in result["findings"][:3]) for result in telling),
        "right cause in top 3, all": share(any(right(f, result) for f in result["findings"][:3]) for result in results),
        "right cause first": share(any(right(f, result) for f in result["findings"][:1]) for result in telling),
        "label recall": share(bool(rightly) for _, _, rightly in faults),
        "label precision": share(is_right for _, _, is_right in every),
        "label precision, with consequences": share(is_right for result, name, is_right in every if is_right or name not in result["also"]),
        "right place": share(placed(finding, result) for finding, result in zip(found, results, strict=True) if finding),
        "remedy verified": share(result["verdict"] == "helps" for result in verified),
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


def chosen_programs(arguments: argparse.Namespace) -> list[tuple[str, str]]:
    """(kind, name) of what is to be diagnosed, in the order in which it is."""
    from diagnosis_programs import faults, healthy, real_cases

    every = [("real", name) for name in real_cases.NAMES]
    for part in ("tuning", "held-out"):
        chosen = [
            [name for name in faults.sample() if faults.part_of(name) == part],
            [n for n in healthy.NAMES if healthy.part_of(n) == part],
        ]
        for kind, names_of_kind in zip(("fault", "healthy"), chosen, strict=True):
            every += [(kind, name) for name in (thinned(names_of_kind) if arguments.quick else names_of_kind)]
    if arguments.only:
        every = [pair for pair in dict.fromkeys(every + [("fault", name) for name in all_faults()]) if arguments.only in pair[1]]
    if arguments.part:
        of = {"fault": faults.part_of, "healthy": healthy.part_of, "real": lambda name: "real"}
        every = [(kind, name) for kind, name in every if arguments.part in (kind, of[kind](name))]
    return every


def thinned(every: list[str], share: int = 5) -> list[str]:
    """A fifth, by chance with a fixed seed: causes and kinds of programs come in turn, so that a step of five would meet few of them."""
    kept = set(random.Random(0).sample(every, len(every) // share))
    return [name for name in every if name in kept]


def all_faults() -> list[str]:
    from diagnosis_programs import faults
    from diagnosis_programs.bases import BASES

    return [
        f"{cause}/{base}/{strength}"
        for cause in faults.rows() for base in BASES for strength in faults.STRENGTHS if faults.named(cause, base, strength)
    ]  # fmt: skip


def progress(done: int, number: int, seconds: float) -> None:
    if sys.stderr.isatty() or done % 50 == 0 or done == number:
        print(f"\r{done} of {number}, {seconds:.0f} s ", end="" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)


def measured_costs() -> dict[str, Any]:
    return json.loads(COSTS.read_text(encoding="utf-8")) if COSTS.exists() else {}


def measure_costs(workers: int) -> int:
    from diagnosis_programs import faults

    known = measured_costs()
    waiting = [name for name in faults.sample() if name not in known]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=prepare) as pool:
        for number, future in enumerate(as_completed([pool.submit(costed, name) for name in waiting])):
            found = future.result()
            known[found.pop("name")] = {key: round(value, 4) if isinstance(value, float) else value for key, value in found.items()}
            progress(number + 1, len(waiting), 0.0)
            if number % 10 == 9 or number + 1 == len(waiting):
                COSTS.write_text(json.dumps(dict(sorted(known.items())), indent=0) + "\n", encoding="utf-8")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="every fifth program and the real cases (the default is --full)")
    size.add_argument("--full", action="store_true", help="all programs")
    parser.add_argument("--part", choices=("real", "tuning", "held-out", "healthy"))
    parser.add_argument("--only", metavar="NAME", help="programs whose name contains this, of all that can be made")
    parser.add_argument("--budget", type=float, help="seconds for one diagnosis (quick: 6, full: 20)")
    parser.add_argument(
        "--verify", type=int, metavar="N", help="verify the remedy in every N-th program with a fault (quick: 4, full: 1; 0: none)"
    )
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--limit", type=float, help="begin no program after so many seconds")
    parser.add_argument("--costs", action="store_true", help="measure what the sampled faults cost, and store it")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    prepare()
    if arguments.costs:
        return measure_costs(arguments.workers)
    budget = arguments.budget or (6.0 if arguments.quick else 20.0)
    every = arguments.verify if arguments.verify is not None else (4 if arguments.quick else 1)
    costs = measured_costs()
    programs = chosen_programs(arguments)
    results: list[dict[str, Any]] = []
    started = time.perf_counter()
    with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn"), initializer=prepare) as pool:
        jobs = {}
        for number, (kind, name) in enumerate(programs):
            verify = bool(every) and number % every == 0 and kind != "healthy"
            jobs[pool.submit(examined, kind, name, budget, verify)] = (kind, name, verify)
        for number, job in enumerate(as_completed(jobs)):
            kind, name, verify = jobs[job]
            if job.cancelled():
                continue
            found = {**job.result(), "verified": verify}
            if kind == "fault":
                cost = costs.get(name, {})
                found |= {"costs": bool(cost.get("costs", True)), "score": cost.get("score"), "base": cost.get("base")}
            results.append(found)
            progress(number + 1, len(programs), time.perf_counter() - started)
            if arguments.limit and time.perf_counter() - started > arguments.limit:
                for waiting in jobs:
                    waiting.cancel()
    rows = summary(results)
    if causes := by_cause(results):
        print(table(causes) + "\n")
    name = (
        "diagnosis"
        + ("-quick" if arguments.quick else "")
        + (f"-{arguments.part}" if arguments.part else "")
        + ("-only" if arguments.only else "")
    )
    details = {
        "budget_seconds": budget, "seconds": time.perf_counter() - started, "by_cause": causes,
        "calibration": calibration(results)[2], "results": sorted(results, key=lambda one: (one["part"], one["name"])),
    }  # fmt: skip
    report(name, rows, details)
    return verdict(rows)


if __name__ == "__main__":
    raise SystemExit(main())
