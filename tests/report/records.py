"""Runs written by hand: every record that a report draws, with numbers and names chosen to be found again."""

from __future__ import annotations

import base64
import io
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from pellucid.core.language import text
from pellucid.core.records import Cost, Finding, Interval, Notice, Score
from pellucid.core.results import (
    Baseline,
    Baselines,
    Calibration,
    CalibrationBin,
    ClassScores,
    Confusion,
    Difference,
    Evaluation,
    LayerRow,
    Mistake,
    Mistakes,
    NetworkTable,
    PartEvaluation,
    TargetEvaluation,
)
from pellucid.runs.directory import RunDirectory

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "'; </style></bdi></td><b>",
    "名称 很长" + "长" * 120,
    "x" * 300,
    "{{ 7 * 7 }} {braces} %s",
    "\u202eright to left\u0000",
)


def score(name: str, value: float, half: float = 0.02, samples: int = 360, rising: bool = True) -> Score:
    low, high = (max(0.0, value - half), min(1.0, value + half)) if rising and 0 <= value <= 1 else (value - half, value + half)
    return Score(name=name, value=value, interval=Interval(low=low, high=high), higher_is_better=rising, samples=samples)


def picture(side: int = 16, seed: int = 0) -> str:
    draw = random.Random(seed)
    image = Image.frombytes("RGB", (side, side), bytes(draw.randrange(256) for _ in range(3 * side * side)))
    file = io.BytesIO()
    image.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def history(epochs: int, rising: str = "accuracy", validation: bool = True) -> list[dict[str, Any]]:
    """Losses that fall, the validation loss lowest at two thirds."""
    rows: list[dict[str, Any]] = []
    for epoch in range(1, epochs + 1):
        row: dict[str, Any] = {
            "epoch": epoch,
            "step": 10 * epoch,
            "learning_rate": 0.01 * (1 - epoch / (epochs + 1)),
            "train": {"loss": 2.0 / epoch, rising: 1 - 0.5 / epoch},
            "seconds": 0.5 * epoch,
        }
        if validation:
            best = max(1, 2 * epochs // 3)
            row["validation"] = {"loss": 0.3 + 0.05 * abs(epoch - best), "loss_stderr": 0.02, rising: 0.95 - 0.01 * abs(epoch - best)}
        rows.append(row)
    return rows


def confusion(classes: Sequence[str], samples: int = 7) -> Confusion:
    counts = tuple(tuple(samples if i == j else int((i + 1) % len(classes) == j) for j in range(len(classes))) for i in range(len(classes)))
    pairs = tuple((name, classes[(i + 1) % len(classes)], 1) for i, name in enumerate(classes))
    return Confusion(classes=tuple(classes), counts=counts, pairs=pairs[:40])


def evaluation_of(classes: Sequence[str], *, listed: int = 100, matrix: bool = True) -> PartEvaluation:
    per_class = tuple(
        ClassScores(
            name=name, samples=36, predicted=35, precision=score("precision", 0.90), recall=score("recall", 0.8125), f1=score("f1", 0.854),
            specificity=score("specificity", 0.77) if len(classes) == 2 else None,
        )
        for name in classes[:listed]
    )  # fmt: skip
    bins = tuple(
        CalibrationBin(
            low=i / 10, high=(i + 1) / 10, samples=10 * i, confidence=i / 10 + 0.05 if i else None, accuracy=i / 10 if i else None
        )
        for i in range(10)
    )
    two = len(classes) == 2
    found = confusion(classes) if matrix else Confusion(pairs=tuple((classes[i], classes[i + 1], 40 - i) for i in range(40)))
    return PartEvaluation(
        samples=360,
        scores=(score("accuracy", 0.9728), score("f1", 0.9641), score("log_loss", 0.1234, rising=False)),
        per_class=per_class,
        classes_left_out=max(0, len(classes) - listed),
        positive_class=classes[1] if two else None,
        sensitivity=score("recall", 0.6543) if two else None,
        specificity=score("recall", 0.8765) if two else None,
        confusion=found,
        calibration=Calibration(ece=score("ece", 0.0417, rising=False), bins=bins, chance=Interval(low=0.01, high=0.03)),
    )


def regression_of(targets: Sequence[str], points: int = 300) -> PartEvaluation:
    draw = random.Random(0)
    of_targets = tuple(
        TargetEvaluation(
            name=name,
            scores=(score("r2", 0.5471), score("rmse", 54.32, 3.0, rising=False)),
            pairs=tuple((value := draw.gauss(100, 30), value + draw.gauss(0, 10)) for _ in range(points)),
            residual_quantiles={"0.025": -20.5, "0.5": 0.125, "0.975": 21.75},
        )
        for name in targets
    )
    return PartEvaluation(samples=points, scores=(score("r2", 0.5471), score("rmse", 54.32, 3.0, rising=False)), regression=of_targets)


def mistakes_of(task: str, answers: Sequence[str], columns: Sequence[str] = (), *, pictures: bool = False, count: int = 24) -> Mistakes:
    regression = task == "regression"
    made = tuple(
        Mistake(
            index=i,
            identifier=f"row {i + 17}",
            actual=(312.5,) if regression else (answers[0],),
            predicted=(99.25,) if regression else (answers[-1],),
            probability=None if regression else 0.987,
            probability_of_actual=None if regression else 0.004,
            loss=5.5,
            thumbnail=picture(seed=i) if pictures else None,
            values={name: f"cell {i} {name}" for name in columns},
        )
        for i in range(count)
    )
    return Mistakes(task=task, part="test", samples=360, wrong=None if regression else 24, mistakes=made)


def baselines_of(metric: str = "accuracy", conclusion: str = "worse") -> Baselines:
    def model(name: str, value: float, low: float, high: float) -> Baseline:
        return Baseline(
            name=name, model=f"{name.title()}()", scores=(score(metric, value),),
            fit_seconds=0.125, predict_seconds=0.0625, train_samples=1150,
            difference=Difference(metric=metric, value=0.9728 - value, interval=Interval(low=low, high=high)),
        )  # fmt: skip

    return Baselines(
        primary=metric,
        part="test",
        samples=360,
        network=score(metric, 0.9728),
        baselines=(
            model("constant", 0.1, 0.86, 0.88),
            model("linear", 0.9728, -0.01, 0.01),
            model("gradient_boosting", 0.9911, -0.03, -0.006),
            Baseline(name="svm", model="SVC()", skipped=text("samples left out: {count} ({shown})", count=3, shown="row 5")),
        ),
        representation=text("samples left out: {count} ({shown})", count=5, shown="row 6"),
        best="gradient_boosting",
        conclusion=conclusion,
        verdict=text("accuracy"),
        seconds=1.5,
    )


def network_of(rows: int = 4) -> NetworkTable:
    layers = tuple(
        LayerRow(path=f"blocks.{i}", kind="Conv2d", output_shape=(32, 8, 8), parameters=288 + i, flops=36864.0, receptive_field=(3, 3))
        for i in range(rows)
    )
    return NetworkTable(rows=layers, input_shape=(1, 8, 8), parameters=53098, trainable=53000, flops=694784.0)


def write_run(
    folder: Path,
    name: str = "hand-made",
    *,
    task: str = "classification",
    classes: Sequence[str] = ("cat", "dog", "owl"),
    targets: Sequence[str] = ("kind",),
    columns: Sequence[str] = ("width", "height"),
    epochs: int = 12,
    records: Mapping[str, Any] | None = None,
    without: Sequence[str] = (),
    config: Mapping[str, Any] | None = None,
    reference: Mapping[str, Any] | None = None,
    custom: bool = False,
    quarantined: Sequence[tuple[str, str]] = (("square/broken.png", "it is no image"),),
) -> RunDirectory:
    """A finished run with every record, `records` put in their places and those `without` left out."""
    directory = RunDirectory.create(folder, name)
    metric = "accuracy" if task == "classification" else "r2"
    parts = "tttttttvvs" * 36
    directory.write_json(
        "data.json",
        {
            "format": 1, "kind": "table", "name": "animals", "reference": reference, "samples": 360, "parts": parts,
            "names": {"numbered": [["row ", 1, 360]]}, "content": base64.b64encode(b"0123456789abcdef" * 360).decode(),
            "duplicates": [[1, 2], [5, 9, 11]], "contradictions": [[3, 4]], "removed": [7],
            "quarantined": [{"format": 1, "identifier": who, "reason": why} for who, why in quarantined],
            "seed": 4, "validation": "auto", "test": "auto", "options": {"grouped": False, "timed": False},
        },
    )  # fmt: skip
    kinds = ("numeric", "categorical", "identifier")
    directory.write_json(
        "preprocessing.json",
        {"format": 1, "kind": "table", "columns": [
            {"name": column, "kind": kinds[i % 3], "missing": i, "distinct": 10 + i} for i, column in enumerate(columns)]},
    )  # fmt: skip
    settings = {
        "loss": "cross_entropy" if task == "classification" else "mse", "optimizer": "adamw", "learning_rate": "auto",
        "schedule": "one_cycle",
        "momentum": 0.9, "epochs": epochs, "patience": 10, "batch_size": 32, "weight_decay": 0.1, "dropout": 0.2, "label_smoothing": 0.0,
        "clip": None, "augment": "none", "seed": 4, "precision": "float32", "activation": "relu", "threads": 1,
        "chosen": ["loss", "optimizer"],
    }  # fmt: skip
    notice = Notice(kind="k", summary=text("samples left out: {count} ({shown})", count=1, shown=columns[0] if columns else "-"))
    directory.write_json(
        "run.json",
        {
            "format": 1, "pellucid": "0.1.0", "name": name, "created": "2026-11-20T17:40:32+00:00",
            "config": {"learning_rate": "auto", "epochs": epochs, "seed": 4, "network": "auto", "report": True, **(config or {})},
            "settings": settings,
            "data": {"name": "animals", "kind": "table", "samples": 360, "reference": reference},
            "task": {"format": 1, "kind": task, "targets": list(targets), "classes": list(classes) if task == "classification" else []},
            "network": {"name": "MyNet" if custom else "mlp", "custom": custom, "options": {} if custom else {"hidden": [64, 32]},
                        "input_shape": [2], "outputs": len(classes), "parameters": 53098},
            "environment": {"pellucid": "0.1.0", "python": "3.11.7", "torch": "2.13.0", "numpy": "2.4.6", "cpu": "A Processor", "cores": 2},
            "notices": [notice.to_dict()],
        },
    )  # fmt: skip
    for row in history(epochs, metric):
        directory.append_metrics(row)
    part = evaluation_of(classes, matrix=len(classes) <= 100) if task == "classification" else regression_of(targets)
    scores = {name: [item.to_dict() for item in part.scores] for name in ("train", "validation", "test")}
    finding = Finding(
        symptom="overfitting", level="advice", summary=text("overfitting"),
        remedy=text("more samples, or cross-validation, would narrow the interval"),
        evidence={"metric": metric, "gap": 0.0321, "trivial": 0.1},
    )  # fmt: skip
    cost = Cost(
        seconds=83.0, training_seconds=60.0, checkpoint_seconds=1.0, epochs=epochs, steps=120, samples=3000, parameters=53098,
        flops_per_sample=2.05e6, total_flops=6.15e9, peak_memory_bytes=351 * 2**20, expected_seconds=75.0,
    )  # fmt: skip
    written: dict[str, Any] = {
        "decisions": {"range_test": {"learning_rate": 0.0031, "rates": [1e-5, 1e-4, 1e-3, 1e-2], "losses": [2.2, 1.9, 1.1, 0.9]},
                      "learning_rate": 0.0031, "epochs": epochs},
        "scores": scores,
        "findings": {"findings": [finding.to_dict()]},
        "cost": cost,
        "evaluation": Evaluation(task=task, primary=metric, parts={"test": part}),
        "mistakes": mistakes_of(task, classes, columns),
        "baselines": baselines_of(metric),
        "network": network_of(),
        "summary": {"format": 1, "primary": metric, "stopped": text("all {epochs} epochs are done", epochs=epochs).to_dict(),
                    "told": [text("overfitting").to_dict(), text("underfitting").to_dict()],
                    "next_steps": [text("Predict new samples: pellucid predict {run} NEW_DATA", run="runs/x").to_dict()]},
    }  # fmt: skip
    for record, content in {**written, **(records or {})}.items():
        if record not in without:
            directory.write_record(record, content)
    (directory.path / "weights.safetensors").write_bytes(b"weights")
    return directory
