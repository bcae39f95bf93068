"""Reads docs/coverage.md and its Chinese pair: the rows, their commands, and the figures they state."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = {"en": ROOT / "docs" / "coverage.md", "zh": ROOT / "docs" / "coverage.zh-CN.md"}
NOT_YET = {"en": "not yet", "zh": "尚未实现"}

# What a result cell may say. Each pattern is one figure; `name` is where the program's answer holds it.
_FIGURES = {
    "en": {
        "test.accuracy": r"test accuracy ({number}) ± ({number})",
        "test.r2": r"test R² ({number}) ± ({number})",
        "best.accuracy": r"best test accuracy ({number}) ± ({number})",
        "cost.parameters": r"({number}) parameters",
        "cost.flops_per_sample": r"({number}) floating-point operations per sample",
        "epochs": r"stopped after at most ({number}) epochs",
        "duplicates": r"({number}) duplicate samples?",
        "equal": r"({number}) tensors equal after resuming",
        "losses": r"({number}) losses equal to the plain loop's",
        "finding": r"verdict: (overfitting|underfitting)",
        "gradient_error": r"largest gradient error below (1e-\d+)",
        "final_loss": r"final loss below ({number})",
        "share": r"share of the columns that decide ({number}) ± ({number})",
        "models.decision_tree": r"decision tree ({number}) ± ({number})",
        "models.random_forest": r"random forest ({number}) ± ({number})",
        "models.svm": r"SVM ({number}) ± ({number})",
        "conclusion": r"the network is (better|no better|worse) than the best of them",
        "claim": r".+: (-?[\d.]+ \[-?[\d.]+, -?[\d.]+\])",
    },
    "zh": {
        "test.accuracy": r"测试准确率 ({number}) ± ({number})",
        "test.r2": r"测试 R² ({number}) ± ({number})",
        "best.accuracy": r"最高测试准确率 ({number}) ± ({number})",
        "cost.parameters": r"({number}) 个参数",
        "cost.flops_per_sample": r"每个样本 ({number}) 次浮点运算",
        "epochs": r"至多 ({number}) 轮即停止",
        "duplicates": r"({number}) 个重复样本",
        "equal": r"续训后 ({number}) 个张量全部相同",
        "losses": r"({number}) 个损失与普通循环的相等",
        "finding": r"结论：(过拟合|欠拟合)",
        "gradient_error": r"最大梯度误差小于 (1e-\d+)",
        "final_loss": r"最终损失小于 ({number})",
        "share": r"起决定作用的列所占份额 ({number}) ± ({number})",
        "models.decision_tree": r"决策树 ({number}) ± ({number})",
        "models.random_forest": r"随机森林 ({number}) ± ({number})",
        "models.svm": r"支持向量机 ({number}) ± ({number})",
        "conclusion": r"网络(优于|不优于|不如)其中最好的",
        "claim": r".+：(-?[\d.]+ \[-?[\d.]+, -?[\d.]+\])",
    },
}
_WORDS = {  # what is said, as the program's answer has it
    "过拟合": "overfitting", "欠拟合": "underfitting",
    "no better": "not_shown", "优于": "better", "不优于": "not_shown", "不如": "worse",
}  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """One stated figure: `value` within `spread`, a word of the verdict, or a claim's mean with its interval as its script shows it."""

    name: str
    value: float | str
    spread: float = 0.0


@dataclass(frozen=True)
class Row:
    """One subject of the textbook."""

    subject: str
    says: str
    command: str | None  # None: not yet
    result: str
    figures: tuple[Figure, ...]


def rows(language: str) -> list[Row]:
    """The rows of all tables of the document, in order.

    Raises:
        ValueError: a row whose cells are not four, or whose command and result do not go together.
    """
    found: list[Row] = []
    for line in DOCUMENTS[language].read_text(encoding="utf-8").splitlines():
        if not line.startswith("|") or line.startswith("|---"):
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != 4:
            raise ValueError(f"{len(cells)} cells instead of 4: {line}")
        subject, says, command, result = cells
        if not command.startswith("`") and command != NOT_YET[language]:
            continue  # a heading
        if command == NOT_YET[language]:
            found.append(Row(subject, says, None, result, ()))
        else:
            found.append(Row(subject, says, command.strip("`"), result, figures(result, language)))
    return found


def figures(result: str, language: str) -> tuple[Figure, ...]:
    """The figures of a result cell.

    Raises:
        ValueError: a part of the cell is no figure that a test could check.
    """
    found: list[Figure] = []
    separator = "; " if language == "en" else "；"
    for part in result.split(separator):
        for name, pattern in _FIGURES[language].items():
            match = re.fullmatch(pattern.replace("{number}", r"[\d,.]+"), part)
            if match:
                first, *rest = match.groups()
                if name in ("finding", "conclusion", "claim"):
                    found.append(Figure(name, _WORDS.get(first, first)))
                else:
                    found.append(Figure(name, _number(first), _number(rest[0]) if rest else 0.0))
                break
        else:
            raise ValueError(f"{part!r} is no figure that can be checked")
    return tuple(found)


def _number(text: str) -> float:
    return float(text.replace(",", ""))
