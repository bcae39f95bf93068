"""How often `pellucid.diagnose` names what is wrong, and how often it accuses what is right.

    python benchmarks/diagnosis.py [--quick | --full] [--part real | tuning | held-out | healthy] [--only NAME] [--output FOLDER]
    python benchmarks/diagnosis.py --costs      measure again what each sampled fault costs (an hour)

Programs (folder diagnosis_programs): real cases restated from public questions; 300 programs with one injected fault, half of them on base
programs for tuning and half on held-out ones; and healthy programs. One diagnosis is one program from seed 0 with the given budget.
Each result is appended to FOLDER/results.jsonl as it comes: an interrupted run, started again, goes on.

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
  follows from it, in a healthy program what its row allows; an advice that is none of these is right or wrong as a matter of fact, which
  diagnosis_facts.py settles: by `finding.verify()` where it has a remedy that can be applied, else by counting or by further trainings;
- before step 1: of the static faults found, those that are established by the program or the data alone;
- in the first tenth: of the faults that must show at once, those whose cause the program or the data told before step 1, or that are seen
  when a tenth of the steps has been watched.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import random
import sys
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parent))

from diagnosis_facts import fact
from diagnosis_measures import PROGRAMS, allowed, by_cause, calibration, misses, names, summary
from measurement import RESULTS, load, report, table, verdict

import pellucid

COSTS = PROGRAMS / "costs.json"
QUICK_BUDGET, FULL_BUDGET = 6.0, 12.0  # seconds: with two processes some 8 minutes and an hour on a machine that has little else to do
SEEDS = (0, 1, 2)
COPIED = 0.02  # of the test samples: then leakage is true of the data themselves, whatever was injected


# -- one program, in a process of its own ------------------------------------------------------------------------------------------------


def prepare() -> None:
    import torch

    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")


def labels(kind: str, name: str) -> dict[str, Any]:
    """What is known of a program, as plain values."""
    program = loaded(kind, name)
    copies = copied(program.experiment)
    also = {"data_leakage"} if copies > COPIED else set()
    if kind == "healthy":
        return {
            "name": name, "kind": kind, "part": program.part, "causes": [], "also": sorted(program.advice | also), "where": [],
            "copies": copies,
        }  # fmt: skip
    found = {
        "name": name, "kind": kind, "part": "real" if kind == "real" else program.part, "causes": sorted(program.causes),
        "also": sorted(program.also | also), "where": list(program.where), "structural": program.structural, "early": program.early,
        "family": program.family, "cause": program.cause, "copies": copies,
    }  # fmt: skip
    return {**found, "address": program.address} if kind == "real" else {**found, "strength": program.strength}


def copied(experiment: Any) -> float:
    """The share of test samples whose inputs stand in the training part, to the last bit: real data have some, messages above all."""
    parts = [part[0] for part in (experiment.train, experiment.test) if isinstance(part, tuple) and hasattr(part[0], "numpy")]
    if len(parts) < 2:
        return 0.0
    train, test = ([sample.numpy().tobytes() for sample in inputs] for inputs in parts)
    known = set(train)
    return fmean(sample in known for sample in test)


def loaded(kind: str, name: str) -> Any:
    from diagnosis_programs import faults, healthy, real_cases

    return {"fault": faults.program, "healthy": healthy.program, "real": real_cases.program}[kind](name)


def examined(kind: str, name: str, budget: float, verify: bool, facts: bool, until: float) -> dict[str, Any] | None:
    """Diagnose one program; None where it is later than `until`."""
    import torch

    from pellucid.diagnosis import diagnose as module
    from pellucid.diagnosis.confidence import calibrated

    if time.time() > until:
        return None
    known = labels(kind, name)
    stated: dict[tuple[Any, ...], float] = {}

    def remembered(finding: Any) -> Any:
        stated[finding.symptom, finding.cause, finding.where] = float(finding.confidence)
        return calibrated(finding)

    program = loaded(kind, name)
    result: dict[str, Any] = {**known, "verified": verify, "findings": [], "error": None, "verdict": None, "early_seen": None}
    started = time.perf_counter()
    try:
        with patch.object(module, "calibrated", remembered):
            findings = [one for one in module.diagnose(program.experiment, budget=f"{budget:g}s") if one.level in ("fault", "advice")]
    except Exception as error:
        result["error"] = f"{type(error).__name__}: {error}"[:400]
        findings = []
    result["seconds"] = time.perf_counter() - started
    result["findings"] = [{**plain(one), "stated": stated.get((one.symptom, one.cause, one.where))} for one in findings]
    torch.manual_seed(0)
    if facts:
        started = time.perf_counter()
        for one, told in zip(findings, result["findings"], strict=True):
            if told["level"] == "advice" and not allowed(told, known):
                told["fact"], told["settled_by"] = fact(program.experiment, one, known["copies"])
        result["fact_seconds"] = time.perf_counter() - started
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
        before = any(one["established_by"] in ("static", "data") and names(one) & set(known["causes"]) for one in result["findings"])
        related = set(known["causes"]) | set(known["also"])
        result["early_seen"] = "cause" if before else seen_early(program.experiment, related, set(known["causes"]))
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


# -- all programs -----------------------------------------------------------------------------------------------------------------------


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


def version() -> str:
    """A name for the code that is measured: results of another one are not taken over."""
    made = hashlib.sha256()
    source = Path(pellucid.__file__).resolve().parent
    for path in sorted([*source.glob("core/**/*.py"), *source.glob("diagnosis/**/*.py"), *PROGRAMS.glob("*.py")]):
        made.update(path.name.encode() + path.read_bytes())
    return made.hexdigest()[:12]


def stored(path: Path, **settings: Any) -> dict[tuple[str, str], dict[str, Any]]:
    """(kind, name) -> the result that an earlier run with the same settings left in the file; a line that was torn off is left out."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            result = json.loads(line)
        except ValueError:
            continue
        if all(result.get(name) == value for name, value in settings.items()):
            found[result["kind"], result["name"]] = result
    return found


def unsettled(result: dict[str, Any]) -> bool:
    """Whether it holds an advice that no label decides, and that was not put to a test."""
    return any(
        finding["level"] == "advice" and "settled_by" not in finding and not allowed(finding, result) for finding in result["findings"]
    )


def progress(done: int, number: int, began: float, here: int) -> None:
    """One line: how much is done, how long it took and about how long the rest takes; `here` is what this run has done."""
    if sys.stderr.isatty() or here % 10 == 0 or done == number:
        seconds = time.perf_counter() - began
        rest = seconds / max(here, 1) * (number - done)
        end = "" if sys.stderr.isatty() else "\n"
        print(f"\r{done} of {number}, {seconds:.0f} s, about {rest:.0f} s left ", end=end, file=sys.stderr, flush=True)


def run(
    programs: Sequence[tuple[str, str, bool]], path: Path, arguments: argparse.Namespace, settings: dict[str, Any]
) -> dict[tuple[str, str], dict[str, Any]]:
    """Diagnose the programs that the file does not hold yet, and append each result as soon as it is there."""
    done = stored(path, **({"budget": settings["budget"]} if arguments.any_version else settings))
    facts = arguments.verify != 0
    done = {
        (kind, name): done[kind, name] for kind, name, verify in programs
        if done.get((kind, name), {}).get("verified") in (verify, True) and not (facts and unsettled(done[kind, name]))
    }  # fmt: skip
    waiting = [(kind, name, verify) for kind, name, verify in programs if (kind, name) not in done]
    if done:
        print(f"{len(done)} of {len(programs)} results stand in {path}", file=sys.stderr)
    if not waiting:
        return done
    if path.exists() and not path.read_bytes().endswith(b"\n"):
        path.open("a", encoding="utf-8").write("\n")  # a line that was torn off stays alone
    began, before = time.perf_counter(), len(done)
    until = time.time() + (arguments.limit or math.inf)
    with (
        ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn"), initializer=prepare) as pool,
        path.open("a", encoding="utf-8") as file,
    ):
        jobs = [pool.submit(examined, kind, name, settings["budget"], verify, facts, until) for kind, name, verify in waiting]
        for job in as_completed(jobs):
            if (result := job.result()) is None:
                continue
            result |= settings | {"load": load()}
            file.write(json.dumps(result, ensure_ascii=False) + "\n")
            file.flush()
            done[result["kind"], result["name"]] = result
            progress(len(done), len(programs), began, len(done) - before)
    return done


def measured_costs() -> dict[str, Any]:
    return json.loads(COSTS.read_text(encoding="utf-8")) if COSTS.exists() else {}


def measure_costs(workers: int) -> int:
    from diagnosis_programs import faults

    known = measured_costs()
    waiting = [name for name in faults.sample() if name not in known]
    began = time.perf_counter()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=prepare) as pool:
        for number, future in enumerate(as_completed([pool.submit(costed, name) for name in waiting])):
            found = future.result()
            known[found.pop("name")] = {key: round(value, 4) if isinstance(value, float) else value for key, value in found.items()}
            progress(number + 1, len(waiting), began, number + 1)
            if number % 10 == 9 or number + 1 == len(waiting):
                COSTS.write_text(json.dumps(dict(sorted(known.items())), indent=0) + "\n", encoding="utf-8")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="a fifth of the programs and the real cases (the default is --full)")
    size.add_argument("--full", action="store_true", help="all programs")
    parser.add_argument("--part", choices=("real", "tuning", "held-out", "healthy"))
    parser.add_argument("--only", metavar="NAME", help="programs whose name contains this, of all that can be made")
    parser.add_argument("--budget", type=float, help=f"seconds for one diagnosis (quick: {QUICK_BUDGET:g}, full: {FULL_BUDGET:g})")
    parser.add_argument(
        "--verify",
        type=int,
        metavar="N",
        help="verify the remedy in every N-th program with a fault (quick: 4, full: 1; 0: none, nor any advice)",
    )
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--limit", type=float, help="begin no program after so many seconds; the same command goes on later")
    parser.add_argument(
        "--output", type=Path, help="folder of results.jsonl, to which each result is appended (benchmarks/results/diagnosis)"
    )
    parser.add_argument("--any-version", action="store_true", help="take over results in FOLDER that another version of the code gave")
    parser.add_argument("--misses", action="store_true", help="write each miss and false alarm of tuning and of the real cases beside it")
    parser.add_argument("--costs", action="store_true", help="measure what the sampled faults cost, and store it")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    prepare()
    if arguments.costs:
        return measure_costs(arguments.workers)
    every = arguments.verify if arguments.verify is not None else (4 if arguments.quick else 1)
    programs = [
        (kind, name, bool(every) and number % every == 0 and kind != "healthy")
        for number, (kind, name) in enumerate(chosen_programs(arguments))
    ]
    folder = arguments.output or RESULTS / "diagnosis"
    folder.mkdir(parents=True, exist_ok=True)
    if not programs:
        parser.error("no program is called like that")
    settings = {"budget": arguments.budget or (QUICK_BUDGET if arguments.quick else FULL_BUDGET), "version": version()}
    began = time.perf_counter()
    costs = measured_costs()
    results: list[dict[str, Any]] = []
    for (kind, name), result in run(programs, folder / "results.jsonl", arguments, settings).items():
        cost = costs.get(name, {})
        known = {"costs": bool(cost.get("costs", True)), "score": cost.get("score"), "base": cost.get("base")} if kind == "fault" else {}
        results.append({**result, **known, **labels(kind, name)})
    rows = summary(results)
    causes = by_cause(results)
    if causes:
        print(table(causes) + "\n")
    if arguments.misses:
        lines = [line for part in ("real", "tuning") for line in (f"# {part}", *misses(results, part), "")]
        (folder / "misses.md").write_text("\n".join(lines), encoding="utf-8")
    details = {
        **settings, "seconds": time.perf_counter() - began, "seconds_of_programs": sum(result["seconds"] for result in results),
        "loads": sorted({result["load"] for result in results}), "by_cause": causes, "calibration": calibration(results)[2],
        "programs": len(programs), "diagnosed": len(results), "results": str(folder / "results.jsonl"),
    }  # fmt: skip
    name = [
        "diagnosis",
        *(["quick"] if arguments.quick else []),
        *([arguments.part] if arguments.part else []),
        *(["only"] if arguments.only else []),
    ]
    report("-".join(name), rows, details)
    if len(results) < len(programs):
        print(f"{len(programs) - len(results)} programs are left: the same command goes on with them", file=sys.stderr)
    return verdict(rows)


if __name__ == "__main__":
    raise SystemExit(main())
