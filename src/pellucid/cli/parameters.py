"""The options of `fit` as the command line and TOML files have them, made from the one table in core/options.py."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from pellucid.core.errors import OptionError, OptionTypeError, did_you_mean
from pellucid.core.language import Text, text
from pellucid.core.options import BY_NAME, OPTIONS, Option

FILE_KEYS = ("data", "target")  # arguments of fit that a file may hold besides the options

GROUPS: dict[str, Text] = {  # heading of each group of options, in the order of --help
    "task": text("Task"),
    "data": text("Data"),
    "network": text("Network"),
    "optimisation": text("Optimisation"),
    "regularisation": text("Regularisation"),
    "run": text("Run"),
    "general": text("General"),
}

VALUE_NAMES: dict[str, Text] = {  # what stands for the value in --help
    "integer": text("INTEGER"),
    "number": text("NUMBER"),
    "fraction": text("PART"),
    "choice": text("NAME"),
    "text": text("TEXT"),
    "path": text("PATH"),
    "duration": text("TIME"),
    "NAME": text("NAME"),
    "COLUMN": text("COLUMN"),
    "CONDITION": text("CONDITION"),
    "FOLDER": text("FOLDER"),
    "TIME": text("TIME"),
    "NAME=VALUE": text("NAME=VALUE"),
    "NAMES": text("NAMES"),
}

# What people type who come from another library.
SYNONYMS = {
    "--lr": "--learning-rate",
    "--bs": "--batch-size",
    "--batch": "--batch-size",
    "--wd": "--weight-decay",
    "--l2": "--weight-decay",
    "--model": "--network",
    "--architecture": "--network",
    "--arch": "--network",
    "--opt": "--optimizer",
    "--optim": "--optimizer",
    "--optimiser": "--optimizer",
    "--scheduler": "--schedule",
    "--criterion": "--loss",
    "--label": "--target",
    "--y": "--target",
    "--gpu": "--device",
    "--cuda": "--device",
    "--early-stopping": "--patience",
    "--grad-clip": "--clip",
    "--val": "--validation",
    "--random-state": "--seed",
    "--output-dir": "--directory",
    "--out": "--output",
    "--lang": "--language",
}


class TableOption(click.Option):
    """One row of the table as an option of the command line. Its value is checked by the table, with the table's words."""

    def __init__(self, row: Option) -> None:
        self.row = row
        flag = row.name.replace("_", "-")
        declarations, multiple = [f"--{flag}"], False
        if row.kind == "flag":
            declarations = [f"--{flag}/--no-{flag}"]
        elif row.kind == "mapping":
            declarations, multiple = ["--network-option"], True
        super().__init__([*declarations, row.name], default=None, multiple=multiple)


def table_options() -> list[click.Parameter]:
    return [TableOption(row) for row in OPTIONS]


def given_options(values: Mapping[str, Any], file: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were said, in the file or on the command line; the command line beats the file. Every value is checked.

    Raises:
        OptionError: a value that is out of range or of the wrong type.
    """
    given = {name: value for name, value in file.items() if name in BY_NAME}
    for row in OPTIONS:
        value = values.get(row.name)
        if value is None or value == ():
            continue
        given[row.name] = {**(given.get(row.name) or {}), **named_values(value)} if row.kind == "mapping" else value
    return {name: BY_NAME[name].check(value) for name, value in given.items()}


def named_values(pairs: Sequence[str]) -> dict[str, Any]:
    """("filters=32,64", "pooling=max") -> {"filters": [32, 64], "pooling": "max"}."""
    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise OptionError(
                text("the network's option is {pair!r}", pair=pair),
                text("a name, an equals sign and a value"),
                text("write for example --network-option filters=32"),
            )
        values[name.strip().replace("-", "_")] = value_of(value.strip())
    return values


def value_of(word: str) -> Any:
    """A number, a truth value, a list of these, or the word itself."""
    if "," in word and not word.startswith(("[", '"', "'")):
        return [value_of(part.strip()) for part in word.split(",") if part.strip()]
    lowered = word.lower()
    if lowered in ("true", "false"):
        return lowered == "true"
    if lowered == "none":
        return None
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    try:
        return tomllib.loads(f"value = {word}")["value"]
    except tomllib.TOMLDecodeError:
        return word


def read_file(path: str | None) -> dict[str, Any]:
    """The options in a TOML file.

    Raises:
        OptionError: the file cannot be read or is no TOML.
        OptionTypeError: it holds a key that is no option ("did you mean").
    """
    if path is None:
        return {}
    try:
        given = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise OptionError(
            text("the configuration file {path!r} cannot be read: {reason}", path=path, reason=error.strerror or str(error)),
            text("a TOML file with options of fit"),
            text("check the path after --config"),
        ) from error
    except UnicodeDecodeError as error:
        raise OptionError(
            text("the configuration file {path!r} is not UTF-8 (byte {position})", path=path, position=error.start),
            text("a TOML file, which is always UTF-8"),
            text("save it as UTF-8"),
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise OptionError(
            text("the configuration file {path!r} is not valid TOML: {reason}", path=path, reason=str(error)),
            text('lines such as epochs = 20 or network = "mlp"'),
            text("mend that line; texts need quotation marks"),
        ) from error
    given = {str(name).replace("-", "_"): value for name, value in given.items()}
    if "network_option" in given:  # the command line's name, where each stands alone
        given.setdefault("network_options", given.pop("network_option"))
    known = [*FILE_KEYS, *BY_NAME]
    for name in given:
        if name not in known:
            raise OptionTypeError(
                text("the configuration file {path!r} has the key {name!r}", path=path, name=name),
                text("names of fit's options only"),
                did_you_mean(name, known),
            )
    return given


def range_of(row: Option) -> str:
    """The default and the limits of an option, as --help shows them. Limits that only stop absurd values are left out."""
    parts: list[Text] = []
    if row.choices:
        parts.append(text("{choices}", choices=list(row.choices)))
    if row.minimum is not None:
        parts.append(text("at least {bound:g}", bound=row.minimum))
    if row.above is not None:
        parts.append(text("above {bound:g}", bound=row.above))
    if row.maximum is not None and row.maximum < 1e6:
        parts.append(text("at most {bound:g}", bound=row.maximum))
    if row.below is not None:
        parts.append(text("below {bound:g}", bound=row.below))
    parts.append(_default_of(row))
    separator = str(text("; "))
    return separator.join(str(part) for part in parts)


def _default_of(row: Option) -> Text:
    if row.default is None:
        return text("default none")
    if row.kind == "flag":
        return text("default yes") if row.default else text("default no")
    if row.kind == "duration":
        return text("default {value:g} s", value=row.default)
    return text("default {value}", value=f"{row.default:g}" if isinstance(row.default, float) else row.default)
