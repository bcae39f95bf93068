"""The Chinese catalogue: extract every `text("...")` of the package and its page templates, store translations, compile, check.

    python tools/catalogue.py update               sentences of the source -> pellucid.po; translations kept, unused ones dropped
    python tools/catalogue.py missing              the sentences without a translation, as JSON to fill in
    python tools/catalogue.py translate FILE.json  {"English sentence": "中文"} -> pellucid.po, compiled
    python tools/catalogue.py compile              .po -> .mo
    python tools/catalogue.py check                what `make check` runs

The file is sorted and carries neither dates nor line numbers, so that two branches seldom touch the same lines.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import os
import string
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

import jinja2
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_python
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from jinja2 import nodes

from chinese_prose import faults

ROOT = Path(__file__).resolve().parent.parent
HEADER = """\
# Simplified Chinese sentences of Pellucid. Edited through tools/catalogue.py; docs/terms.md governs the words.
msgid ""
msgstr ""
"Project-Id-Version: pellucid\\n"
"Language: zh_CN\\n"
"Plural-Forms: nplurals=1; plural=0;\\n"
"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=utf-8\\n"
"Content-Transfer-Encoding: 8bit\\n"

"""


@dataclass
class Source:
    """What the package's source says: its sentences, and the calls of `text` that cannot be translated."""

    sentences: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    complete: bool = True  # False where a file does not parse, for example because it is being written


def placeholders(sentence: str) -> set[str]:
    """The names in a format string: {"name", "x"} for "{name!r} is {x:.3f}".

    Raises:
        ValueError: braces that do not pair.
    """
    names: set[str] = set()
    for _, name, specification, _ in string.Formatter().parse(sentence):
        if name is not None:
            names.add(name)
            names |= placeholders(specification or "")
    return names


def read_source(package: Path) -> Source:
    """Every sentence under `package`, and every call of `text` that would fail or stay English at run time."""
    source = Source()
    for path in sorted(package.rglob("*.py")):
        content = path.read_bytes()
        where = path.relative_to(package.parent)
        try:
            tree = ast.parse(content, filename=str(path))
        except SyntaxError as error:
            source.faults.append(f"{where}:{error.lineno}: {error.msg}")
            source.complete = False
            continue
        for _, _, message, _ in extract_python(io.BytesIO(content), {"text": None}, [], {}):
            # a second literal argument arrives as a tuple; a sentence is only ever the first
            sentence = message[0] if isinstance(message, tuple) else message
            if sentence:
                source.sentences.add(sentence)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "text":
                source.faults.extend(f"{where}:{node.lineno}: {fault}" for fault in _call_faults(node))
    for path in sorted(package.rglob("templates/*.html")):
        _read_template(path, path.relative_to(package.parent), source)
    return source


def _read_template(path: Path, where: Path, source: Source) -> None:
    """The calls of `text` in a jinja template, which read as they do in Python."""
    try:
        tree = jinja2.Environment().parse(path.read_text(encoding="utf-8"))
    except jinja2.TemplateSyntaxError as error:
        source.faults.append(f"{where}:{error.lineno}: {error.message}")
        source.complete = False
        return
    for call in tree.find_all(nodes.Call):
        if isinstance(call.node, nodes.Name) and call.node.name == "text":
            first = call.args[0].value if call.args and isinstance(call.args[0], nodes.Const) else None
            found = list(_sentence_faults(first, {keyword.key for keyword in call.kwargs}))
            source.faults.extend(f"{where}:{call.lineno}: {fault}" for fault in found)
            if isinstance(first, str):
                source.sentences.add(first)


def _call_faults(call: ast.Call) -> Iterator[str]:
    first = call.args[0] if call.args else None
    literal = first.value if isinstance(first, ast.Constant) else None
    yield from _sentence_faults(literal, {keyword.arg for keyword in call.keywords})


def _sentence_faults(sentence: object, given: set[str | None]) -> Iterator[str]:
    """What is wrong with a call text(sentence, name=...) that gives these names."""
    if not isinstance(sentence, str):
        yield "the first argument of text() must be one literal sentence: choose between whole calls, not between strings"
        return
    try:
        names = placeholders(sentence)
    except ValueError as error:
        yield f"{sentence!r}: {error}; write {{{{ and }}}} for braces that are meant"
        return
    if None in given:  # **values: known only when it runs
        return
    known = {name for name in given if name is not None}
    for name in sorted(names - known):
        yield f"{sentence!r}: no value for {{{name}}}"
    for name in sorted(known - names):  # a value nobody reads is a sentence somebody forgot to finish
        yield f"{sentence!r}: {name} is given and not used"


def po_of(package: Path) -> Path:
    return package / "locale" / "zh_CN" / "LC_MESSAGES" / "pellucid.po"


def read_translations(po: Path) -> dict[str, str]:
    if not po.exists():
        return {}
    with po.open("rb") as stream:
        catalogue = read_po(stream, locale="zh_CN")
    return {message.id: message.string for message in catalogue if message.id and message.string}


def write_translations(po: Path, translations: dict[str, str]) -> None:
    """Replace the file in one step; whoever reads meanwhile sees the old one or the new one."""
    catalogue = Catalog(locale="zh_CN")
    for sentence in sorted(translations):
        catalogue.add(sentence, translations[sentence])
    body = io.BytesIO()
    write_po(body, catalogue, omit_header=True, no_location=True, sort_output=True, ignore_obsolete=True, width=0)
    _replace(po, HEADER.encode() + body.getvalue().lstrip(b"\n"))


def compile_catalogue(po: Path) -> None:
    with po.open("rb") as stream:
        catalogue = read_po(stream, locale=po.parts[-3])
    body = io.BytesIO()
    write_mo(body, catalogue)
    _replace(po.with_suffix(".mo"), body.getvalue())


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One writer at a time. The folder itself is locked, so that no lock file is left behind; Windows has no such lock."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def update(package: Path, new: dict[str, str] | None = None) -> dict[str, str]:
    """Bring the file up to date with the source, `new` translations taken in; gives sentence -> translation ("" where missing)."""
    po = po_of(package)
    with locked(po.parent):
        source = read_source(package)
        known = read_translations(po) | (new or {})
        wanted = source.sentences if source.complete else source.sentences | known.keys()  # a torn file loses nobody's work
        translations = {sentence: known.get(sentence, "") for sentence in wanted}
        write_translations(po, translations)
        compile_catalogue(po)
    return translations


def check(package: Path) -> list[str]:
    """Everything that stands between the catalogue and a release."""
    po = po_of(package)
    source = read_source(package)
    found = list(source.faults)
    catalogue = Catalog(locale="zh_CN")
    if po.exists():
        with po.open("rb") as stream:
            catalogue = read_po(stream, locale="zh_CN")
    for sentence in sorted(source.sentences):
        message = catalogue.get(sentence)
        if message is None or not message.string:
            found.append(f"not translated: {sentence!r}")
    for message in catalogue:
        if not message.id:
            continue
        if message.id not in source.sentences:
            found.append(f"not in the source any more (run update): {message.id!r}")
        if message.fuzzy:
            found.append(f"fuzzy: {message.id!r}")
        if message.string:
            found.extend(f"{message.id!r} -> {message.string!r}: {fault}" for fault in _translation_faults(message.id, message.string))
    for other in sorted((package / "locale").rglob("*.po")):
        try:
            with other.open("rb") as stream:
                write_mo(io.BytesIO(), read_po(stream, locale=other.parts[-3], abort_invalid=True))
        except Exception as error:  # whatever Babel objects to, it is this file's name that helps
            found.append(f"{other.relative_to(package)} does not compile: {error}")
    return found


def _translation_faults(english: str, chinese: str) -> Iterator[str]:
    try:
        theirs, ours = placeholders(english), placeholders(chinese)
    except ValueError as error:
        yield str(error)
        return
    if theirs != ours:
        yield f"placeholders differ: {sorted(theirs)} in English, {sorted(ours)} in Chinese"
    # a value's own letters and format are not Chinese prose; an en dash stands for it, beside which any spacing is right
    pieces = (literal + ("–" if name is not None else "") for literal, name, _, _ in string.Formatter().parse(chinese))
    yield from faults("".join(pieces), english)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("verb", choices=("update", "missing", "translate", "compile", "check"))
    parser.add_argument("file", nargs="?", type=Path, help="translate: JSON, English sentence -> Chinese sentence")
    parser.add_argument("--package", type=Path, default=ROOT / "src" / "pellucid")
    options = parser.parse_args(arguments)
    package = options.package.resolve()

    if options.verb == "compile":
        for po in sorted((package / "locale").rglob("*.po")):
            with locked(po.parent):
                compile_catalogue(po)
        return 0
    if options.verb == "check":
        found = check(package)
        print(*found, sep="\n", file=sys.stderr)
        print(f"catalogue: {len(found)} faults" if found else "catalogue: every sentence translated", file=sys.stderr)
        return int(bool(found))
    if options.verb == "missing":
        known = read_translations(po_of(package))
        missing = {sentence: "" for sentence in sorted(read_source(package).sentences) if not known.get(sentence)}
        print(json.dumps(missing, ensure_ascii=False, indent=1))
        return 0

    new: dict[str, str] = {}
    if options.verb == "translate":
        if options.file is None:
            parser.error("translate needs a JSON file")
        new = {english: chinese for english, chinese in json.loads(options.file.read_text(encoding="utf-8")).items() if chinese}
    translations = update(package, new)
    missing = sum(not chinese for chinese in translations.values())
    print(f"{len(translations)} sentences, {missing} without a translation", file=sys.stderr)
    failed = False
    for english, chinese in new.items():
        if english not in translations:
            near = get_close_matches(english, translations, n=1)
            print(f"no such sentence: {english!r}" + (f"; near: {near[0]!r}" if near else ""), file=sys.stderr)
            failed = True
        else:
            for fault in _translation_faults(english, chinese):
                print(f"{english!r} -> {chinese!r}: {fault}", file=sys.stderr)
                failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
