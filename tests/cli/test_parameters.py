"""Options from the command line and from a file, made from the one table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pellucid.cli.commands.fit import command
from pellucid.cli.parameters import GROUPS, SYNONYMS, VALUE_NAMES, TableOption, given_options, named_values, range_of, read_file, value_of
from pellucid.core.errors import InputError, OptionError, OptionTypeError
from pellucid.core.options import OPTIONS


def test_every_row_of_the_table_is_an_option_of_fit() -> None:
    rows = [parameter.row.name for parameter in command.params if isinstance(parameter, TableOption)]
    assert rows == [row.name for row in OPTIONS]
    assert {row.group for row in OPTIONS} <= set(GROUPS)
    for row in OPTIONS:
        assert row.kind in VALUE_NAMES or row.kind in ("flag", "mapping")
        assert "default" in range_of(row)


def test_every_synonym_leads_to_an_option() -> None:
    from pellucid.cli.command import COMMANDS, Group

    group = Group()
    known = {name for word in COMMANDS for parameter in group.get_command(None, word).params for name in parameter.opts}  # type: ignore[union-attr,arg-type]
    assert set(SYNONYMS.values()) <= known
    assert not set(SYNONYMS) & known


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("3", 3), ("-3", -3), ("0.5", 0.5), ("1e-3", 0.001), ("true", True), ("False", False), ("none", None), ("max", "max"),
        ("32,64", [32, 64]), ("a,b", ["a", "b"]), ("[3, 3]", [3, 3]), ('"1"', "1"), ("", ""), ("a b", "a b"), ("训练", "训练"),
    ],
)  # fmt: skip
def test_value_of(word: str, value: Any) -> None:
    assert value_of(word) == value
    assert type(value_of(word)) is type(value)


def test_named_values() -> None:
    assert named_values(["kernel-size=3", "pooling=max", "a=b=c"]) == {"kernel_size": 3, "pooling": "max", "a": "b=c"}
    for wrong in ("filters", "=3", " =3"):
        with pytest.raises(OptionError):
            named_values([wrong])


def test_the_command_line_beats_the_file(tmp_path: Path) -> None:
    path = tmp_path / "选项 file.toml"
    path.write_text('data = "iris"\nepochs = 5\nlearning-rate = 0.01\n[network_options]\nhidden = [8]\nbias = true\n', encoding="utf-8-sig")
    file = read_file(str(path))
    assert file["data"] == "iris"
    nothing: dict[str, Any] = {row.name: None for row in OPTIONS}
    assert given_options(nothing, file) == {"learning_rate": 0.01, "epochs": 5, "network_options": {"hidden": [8], "bias": True}}
    said = {**nothing, "epochs": "7", "network_options": ("hidden=9",), "header": False}
    assert given_options(said, file) == {
        "learning_rate": 0.01, "epochs": 7, "network_options": {"hidden": 9, "bias": True}, "header": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"epoch = 3", "did you mean 'epochs'?"),
        (b"targt = 'a'", "did you mean 'target'?"),
        (b"epochs = ", "not valid TOML"),
        (b"network = mlp", "quotation marks"),
        (b"\xff\xfe\x00", "UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_a_wrong_file_is_told_with_its_name(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "options.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_file(str(path))
    assert says in str(caught.value)
    assert "options.toml" in str(caught.value)
    assert len(caught.value.sentences()) == 3


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [("epochs", "abc", OptionTypeError), ("epochs", "0", OptionError), ("optimizer", "adma", OptionError), ("budget", "soon", OptionError)],
)
def test_values_are_checked_by_the_table(name: str, value: str, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        given_options({name: value}, {})
    with pytest.raises(kind):
        given_options({}, {name: value})
