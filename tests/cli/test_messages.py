"""click's own messages in Chinese: every one that this program's users can meet."""

from __future__ import annotations

import ast
import gettext
import string
from pathlib import Path

import click
import pytest

from pellucid.core.language import LOCALE_DIRECTORY

# Said only by features of click that the program does not use: prompts, editors, pagers, files, dates, progress bars.
NOT_MET = {
    "Do you want to continue?", "Confirm the action without prompting.", "Repeat for confirmation",
    "Error: The two entered values do not match.",
    "Error: invalid input", "Press any key to continue...", "{value!r} is not a valid UUID.", "Name '{name}' defined twice",
    "Choice({choices})", "Couldn't detect Bash version, shell completion is not supported.", "Unknown standard stream '{name}'",
    "{value!r} does not match the format {format}.", "{len_type} values are required, but {len_value} was given.",
    # said to whoever writes a program with click
    "Arguments take exactly one parameter", "Boolean option {decl!r} cannot use", "Could not determine name for", "No options defined but",
    "Shell completion is not supported for Bash versions older than 4.4.", "Invalid start character for option ({option})",
}  # fmt: skip


def sentences() -> list[tuple[str, ...]]:
    """What click marks for translation in the files that read arguments: (singular,) or (singular, plural)."""
    found = set()
    for name in ("core", "decorators", "exceptions", "formatting", "parser", "types"):
        tree = ast.parse(Path(click.__file__).with_name(f"{name}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("_", "ngettext"):
                words = [argument.value for argument in node.args if isinstance(argument, ast.Constant) and isinstance(argument.value, str)]
                if words:
                    found.add(tuple(words))
    return sorted(found)


def fields(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


@pytest.mark.parametrize(
    "sentence", [words for words in sentences() if not words[0].startswith(tuple(NOT_MET))], ids=lambda words: words[0][:40]
)
def test_every_message_is_translated(sentence: tuple[str, ...]) -> None:
    catalogue = gettext.translation("messages", LOCALE_DIRECTORY, languages=["zh_CN"])
    if len(sentence) == 1 and ("(DEPRECATED" in sentence[0] or "DeprecationWarning" in sentence[0] or "deprecated" in sentence[0].lower()):
        pytest.skip("nothing here is deprecated")
    known = set().union(*(fields(words) for words in sentence))
    translated = {catalogue.gettext(sentence[0])} if len(sentence) == 1 else {catalogue.ngettext(*sentence[:2], n) for n in (1, 2)}
    for words in translated:
        assert any("\u4e00" <= character <= "\u9fff" for character in words)
        assert fields(words) <= known
