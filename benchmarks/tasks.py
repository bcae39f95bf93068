"""Every kind of task on real data by its defaults: one command, its metric over seeds, the classical models on the same split.

    python benchmarks/tasks.py [--only text,adult] [--seeds 3] [--data-dir ../shared/data] [--write docs/results.md]

A row is what a user does: their files, `pellucid fit FILE` and at most target and task; nothing is tuned to its data. The seed draws the
split, the weights and the order of the samples; where a set comes with its own test part, that is kept. Each metric is the mean over
seeds with the half width of its 95 % interval (Student's t over seeds); a baseline is the best of the classical models that the run itself
fits on the same training samples and measures on the same test samples. A seed's result is kept in results/tasks/ROW.json as soon as it is
there, so that rows can be run one by one and on several machines; the table is made of all that are kept. `--write` writes it into a
document and its Chinese twin. Exit status 1: a row that was run misses its goal.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import sys
import time
from dataclasses import asdict
from pathlib import Path
from statistics import mean, median
from typing import Any

import task_rows
from measurement import RESULTS, hardware, load, met, table, versions
from task_rows.row import Goal, Row, interval

KEPT = RESULTS / "tasks"
ORDER = ("tables", "text", "time series", "forecasting", "segmentation", "tagging", "biological sequences", "translation", "molecules")


def all_rows() -> list[Row]:
    """The rows of every module of task_rows, in the order of the tasks."""
    found: list[Row] = []
    for module in pkgutil.iter_modules(task_rows.__path__):
        found += getattr(importlib.import_module(f"task_rows.{module.name}"), "ROWS", ())
    return sorted(found, key=lambda row: ORDER.index(row.task) if row.task in ORDER else len(ORDER))


def chosen(rows: list[Row], only: str) -> list[Row]:
    """Those whose task or name is asked for; all where nothing is. Raises SystemExit for a name that is none."""
    wanted = [name.strip() for name in only.split(",") if name.strip()]
    unknown = [name for name in wanted if not any(name in (row.task, row.name) for row in rows)]
    if unknown:
        raise SystemExit(
            f"no row or task is called {unknown[0]!r}; there are {sorted({row.task for row in rows} | {row.name for row in rows})}"
        )
    return [row for row in rows if not wanted or row.task in wanted or row.name in wanted]


def kept(row: Row) -> dict[str, Any]:
    """Seed -> what was measured, as stored."""
    path = KEPT / f"{row.name}.json"
    return json.loads(path.read_text(encoding="utf-8"))["seeds"] if path.is_file() else {}


def keep(row: Row, seed: int, measured: dict[str, Any]) -> None:
    KEPT.mkdir(parents=True, exist_ok=True)
    seeds = {**kept(row), str(seed): measured}
    record = {"row": row.name, "task": row.task, "seeds": dict(sorted(seeds.items(), key=lambda item: int(item[0])))}
    (KEPT / f"{row.name}.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def line_of(row: Row, goal: Goal) -> dict[str, Any] | None:
    """One line of the table; None where nothing is kept."""
    seeds = list(kept(row).values())
    if not seeds or any(goal.metric not in seed["scores"] for seed in seeds):
        return None
    values = [seed["scores"][goal.metric] for seed in seeds]
    middle, half = interval(values)
    names = [name for name in seeds[0]["baselines"] if all(goal.metric in seed["baselines"].get(name, {}) for seed in seeds)]
    baselines = {name: mean(seed["baselines"][name][goal.metric] for seed in seeds) for name in names}
    best = (min if goal.lower_is_better else max)(baselines, key=baselines.__getitem__) if baselines else None
    if goal.named in baselines:
        best = goal.named
    return {
        "task": row.task,
        "data": row.name,
        "command": f"`{seeds[0]['details'].get('command', '')}`",
        "metric": goal.metric,
        "Pellucid": f"{middle:.4f}" + ("" if half is None else f" ± {half:.4f}"),
        "seeds": len(seeds),
        "baseline": "-" if best is None else f"{baselines[best]:.4f} ({best.replace('_', ' ')})",
        "goal": goal.shown(baselines),
        "met": met(goal.reached(middle, baselines)),
        "network": seeds[0]["details"].get("network", ""),
        "parameters": f"{seeds[0]['parameters']:,}".replace(",", " "),
        "seconds": f"{median(seed['seconds'] for seed in seeds):.0f}",
    }


def lines(rows: list[Row]) -> list[dict[str, Any]]:
    return [line for row in rows for goal in row.goals if (line := line_of(row, goal)) is not None]


# -- the document ------------------------------------------------------------------------------------------------------------------------

INTRODUCTION = {
    "en": """[简体中文]({twin})

# What the defaults reach

Every line is one command on a public data set, with no other option than those shown: the network, its width, the learning rate and all
else are chosen by Pellucid from the data, and said. The number is the mean over seeds with its 95 % interval (Student's t over the seeds;
a seed draws the split, the first weights and the order of the samples). The baseline is the best of the classical models that every run
fits beside the network, on the same training samples, measured on the same test samples. A goal that is not met stands here too.

Written by `python benchmarks/tasks.py --write docs/results.md`, which keeps what it measures for each seed in `benchmarks/results/tasks/`.
""",
    "zh": """[English]({twin})

# 默认设置能达到什么

每一行是在公开数据集上的一条命令，除所示选项之外没有别的选项：网络、宽度、学习率等都由 Pellucid 根据数据选定并说明。数值是多个种子的均值及其
95 % 置信区间（对种子用 Student t 分布；种子决定划分、初始权重和样本顺序）。基线模型是每次训练都在同样的训练样本上拟合、在同样的测试样本上
测量的经典模型中最好的一个。没有达到的目标也列在这里。

由 `python benchmarks/tasks.py --write docs/results.md` 写出，每个种子的测量结果保存在 `benchmarks/results/tasks/` 中。
""",
}
HEADINGS_ZH = {
    "task": "任务", "data": "数据", "command": "命令", "metric": "指标", "seeds": "种子数", "baseline": "基线模型", "goal": "目标",
    "met": "达到", "network": "网络", "parameters": "参数量", "seconds": "秒",
}  # fmt: skip
REMARKS = {"en": "Machines: {machines}.", "zh": "机器：{machines}。"}


def write(path: Path, rows: list[Row]) -> None:
    """The table of all that is kept, in English and beside it in Chinese."""
    twin = path.with_name(f"{path.stem}.zh-CN.md")
    found = lines(rows)
    machines = sorted({seed["hardware"]["processor"] for row in rows for seed in kept(row).values()})
    translated = [
        {HEADINGS_ZH.get(heading, heading): {"yes": "是", "no": "否"}.get(str(cell), cell) for heading, cell in line.items()}
        for line in found
    ]
    for target, other, language, shown in ((path, twin, "en", found), (twin, path, "zh", translated)):
        remark = REMARKS[language].format(machines="; ".join(machines))
        body = INTRODUCTION[language].format(twin=other.name) + "\n" + table(shown) + "\n\n" + remark + "\n"
        target.write_text(body, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    default = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
    parser.add_argument("--data-dir", type=Path, default=default)
    parser.add_argument("--only", default="", help="tasks or rows, with commas")
    parser.add_argument("--seeds", type=int, default=3, help="0: only make the table of what is kept")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--write", type=Path, help="the document, for example docs/results.md")
    arguments = parser.parse_args()
    rows = all_rows()
    asked = chosen(rows, arguments.only)
    for row in asked if arguments.seeds else ():
        if not (arguments.data_dir / row.needs).exists():
            print(f"{row.name}: skipped, {arguments.data_dir / row.needs} is absent")
            continue
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
            measured = row.measured(arguments.data_dir, seed)
            keep(row, seed, {
                **asdict(measured), "hardware": hardware(), "versions": versions(), "load_per_core": load(),
                "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            })  # fmt: skip
            said = ", ".join(f"{goal.metric} {measured.scores[goal.metric]:.4f}" for goal in row.goals)
            print(f"{row.name}, seed {seed}: {said} in {measured.seconds:.0f} s", flush=True)
    shown = lines(asked)
    if shown:
        print(table(shown))
    if arguments.write:
        write(arguments.write, rows)
    missed = [line for line in shown if line["met"] == "no"]
    for line in missed:
        print(f"missed: {line['data']}, {line['metric']} {line['Pellucid']}, goal {line['goal']}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
