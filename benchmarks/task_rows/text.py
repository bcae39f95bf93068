"""Sentiment and spam: texts as users have them, a table of two columns and a folder of files per class."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from task_rows.row import Goal, Row


def reviews(data_dir: Path, folder: Path) -> tuple[Any, dict[str, Any]]:
    """Published as one file per class with a sentence per line, in Windows-1252: here a folder of .txt per class, in UTF-8."""
    source = folder / "reviews"
    for suffix, label in (("pos", "positive"), ("neg", "negative")):
        (source / label).mkdir(parents=True)
        lines = (data_dir / "rt_polarity" / f"rt-polarity.{suffix}").read_text(encoding="cp1252").split("\n")
        for number, line in enumerate(filter(str.strip, lines), 1):
            (source / label / f"{number:05d}.txt").write_text(line.strip() + "\n", encoding="utf-8")
    return source, {}


def messages(data_dir: Path, folder: Path) -> tuple[Any, dict[str, Any]]:
    """The collection has no header: label, text."""
    path = folder / "sms.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        written = csv.writer(file)
        written.writerow(["label", "text"])
        for line in (data_dir / "sms_spam" / "sms.tsv").read_text(encoding="utf-8").splitlines():
            label, _, message = line.partition("\t")
            if message:
                written.writerow([label, message])
    return path, {"target": "label"}


def chinese(data_dir: Path, folder: Path) -> tuple[Any, dict[str, Any]]:
    return data_dir / "chinese_reviews" / "waimai_10k.csv", {"target": "label"}


def f1_of_the_rarer_class(run: Any) -> dict[str, float]:
    """2 TP / (2 TP + FP + FN) of the class with fewer test samples: spam."""
    record = json.loads((run.directory / "records" / "evaluation.json").read_text(encoding="utf-8"))
    counts = record["parts"]["test"]["confusion"]["counts"]
    rare = min(range(len(counts)), key=lambda row: sum(counts[row]))
    right = counts[rare][rare]
    return {"f1 of spam": 2 * right / (sum(counts[rare]) + sum(line[rare] for line in counts))}


ROWS = (
    Row("text", "rt_polarity", reviews, (Goal("accuracy", least=0.76),), "rt_polarity"),
    Row("text", "sms_spam", messages, (Goal("f1 of spam", least=0.94),), "sms_spam", scores=f1_of_the_rarer_class),
    Row("text", "chinese_reviews", chinese, (Goal("accuracy", least=0.87),), "chinese_reviews"),
)
