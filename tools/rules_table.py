"""The tables of docs/derive.md and its Chinese pair: every function with a rule, its equation and its gradients, from the registry.

python tools/rules_table.py          write them between the marks
python tools/rules_table.py check    fail where they are not up to date
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from pellucid.derivation.registry import Rule, all_rules, given

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = {"en": ROOT / "docs" / "derive.md", "zh": ROOT / "docs" / "derive.zh-CN.md"}
BEGIN, END = "<!-- rules: tools/rules_table.py -->", "<!-- end of rules -->"
HEADS = {"en": ("function", "equation", "gradients"), "zh": ("函数", "方程", "梯度")}
FAMILIES = {
    "activations": "激活函数",
    "casts": "类型转换",
    "comparisons": "比较",
    "conditions": "条件",
    "convolution": "卷积",
    "diagonals": "对角线与三角",
    "distances": "距离",
    "dropout": "Dropout",
    "elementwise": "逐元素算术",
    "embedding": "嵌入",
    "extremes": "最大与最小",
    "functions": "初等函数",
    "indexing": "索引",
    "interpolation": "插值",
    "joining": "拼接与拆分",
    "linear": "线性层与矩阵乘法",
    "losses": "损失函数",
    "margins": "间隔损失",
    "normalization": "归一化",
    "norms": "范数",
    "ordering": "排序",
    "padding": "填充",
    "pairs": "成对运算",
    "pooling": "池化",
    "products": "乘积",
    "reductions": "归约",
    "scattering": "散布",
    "shapes": "形状",
    "softmax": "softmax 族",
    "writing": "写入",
}


class _Present:
    """An optional argument, there."""

    def __str__(self) -> str:
        return "present"


def equation_of(rule: Rule, equation: str) -> str:
    """The equation of a call with the defaults, and with those optional tensors that have a gradient or a letter."""
    lettered = {*rule.backward_equations, *(str(parameter) for parameter in rule.symbols.values())}
    arguments: dict[str, Any] = {}
    for name, parameter in rule.signature.parameters.items():
        default = parameter.default
        missing = default is parameter.empty or (default is None and name in rule.backward_equations and name in lettered)
        arguments[name] = _Present() if missing else default
    return " ".join(given(equation, arguments).split())


def table(language: str) -> str:
    """The tables, one for each family of rules."""
    families: dict[str, list[Rule]] = defaultdict(list)
    for rule in all_rules().values():
        families[rule.family].append(rule)
    lines: list[str] = []
    for family, rules in sorted(families.items()):
        title = FAMILIES.get(family, family) if language == "zh" else family.capitalize()
        lines += [f"### {title}", "", "| " + " | ".join(HEADS[language]) + " |", "|---|---|---|"]
        for rule in rules:
            gradients = "<br>".join(_mathematics(equation_of(rule, equation)) for equation in rule.backward_equations.values())
            lines.append(f"| `{rule.name}` | {_mathematics(equation_of(rule, rule.forward_equation))} | {gradients or '—'} |")
        lines.append("")
    return "\n".join(lines)


def _mathematics(equation: str) -> str:
    """An equation as Markdown has it: a vertical bar would end the cell."""
    return "$" + equation.replace(r"\|", r"\Vert ").replace("|", r"\vert ") + "$"


def written(document: str, language: str) -> str:
    """The document with the tables of today."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table(language)}\n{END}{after}"


def main(arguments: list[str]) -> int:
    stale = []
    for language, path in DOCUMENTS.items():
        document = path.read_text(encoding="utf-8")
        new = written(document, language)
        if new != document:
            stale.append(path.name)
            if "check" not in arguments:
                path.write_text(new, encoding="utf-8")
    if stale and "check" in arguments:
        print(f"not up to date: {', '.join(stale)}; run python tools/rules_table.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
