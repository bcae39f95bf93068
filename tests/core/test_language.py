"""A sentence keeps its values, is read in the language in force, and survives storage."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pellucid.core.language import LANGUAGES, LOCALE_DIRECTORY, Text, language, language_of_environment, sample_name, text, use_language


@pytest.mark.parametrize(
    ("sentence", "english"),
    [
        (text("column {name!r} is empty", name="age"), "column 'age' is empty"),
        (text("{value:.2f} of {n}", value=0.5, n=3), "0.50 of 3"),
        (text("{names}", names=["a", "b"]), "a, b"),
        (text("outer: {inner}", inner=text("inner {x}", x=1)), "outer: inner 1"),
        (text("{parts}", parts=[text("one"), "two", 3]), "one, two, 3"),
        (text("100 % of {{braces}}"), "100 % of {braces}"),
        (text("{{kept}} {x}", x=1), "{kept} 1"),
        (text("{brace}", brace="{not a field}"), "{not a field}"),
        (text(""), ""),
    ],
)
def test_english(sentence: Text, english: str) -> None:
    assert str(sentence) == english
    assert str(Text.from_dict(json.loads(json.dumps(sentence.to_dict())))) == english
    assert f"{sentence}" == english
    assert sentence == text(sentence.message, **sentence.values)
    assert len({sentence, text(sentence.message)}) in (1, 2)  # hashable whatever its values are


def test_stored_numbers_stay_numbers() -> None:
    sentence = text("{count:d} of {share:g} {path}", count=np.int64(3), share=np.float32(0.5), path=Path("a") / "b")
    stored = json.loads(json.dumps(sentence.to_dict()))
    assert stored["values"] == {"count": 3, "share": 0.5, "path": str(Path("a") / "b")}
    assert str(Text.from_dict(stored)) == str(sentence)


def test_a_plain_sentence_is_read_as_it_is() -> None:
    assert str(Text.from_dict("100 % {x}")) == "100 % {x}"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "C.UTF-8"}, "en"),
        ({"LC_ALL": "zh_TW", "LANG": "en_US"}, "zh"),
        ({"LC_ALL": "C", "LANG": "zh_CN"}, "en"),
        ({"LANGUAGE": "zh_CN:en", "LC_ALL": "C"}, "zh"),
        ({"LC_MESSAGES": "zh_CN", "LANG": "en_GB"}, "zh"),
        ({"PELLUCID_LANGUAGE": "en", "LANGUAGE": "zh"}, "en"),
        ({"LC_ALL": "", "LANG": "zh_CN"}, "zh"),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="Windows keeps the user's language in the system")
def test_language_of_environment(environment: dict[str, str], expected: str) -> None:
    assert language_of_environment(environment) == expected


def test_languages_nest_and_stay_in_their_thread() -> None:
    assert language() == "en"
    with use_language("zh"):
        assert language() == "zh"
        with use_language("en"):
            assert language() == "en"
        assert language() == "zh"
        elsewhere: list[str] = []
        thread = threading.Thread(target=lambda: elsewhere.append(language()))
        thread.start()
        thread.join()
        assert elsewhere == ["en"]
    assert language() == "en"
    with pytest.raises(ZeroDivisionError), use_language("zh"):
        raise ZeroDivisionError
    assert language() == "en"


def _catalogue() -> dict[str, str]:
    from babel.messages.pofile import read_po

    with (LOCALE_DIRECTORY / "zh_CN/LC_MESSAGES/pellucid.po").open("rb") as stream:
        return {str(message.id): str(message.string) for message in read_po(stream) if message.id and message.string}


def test_chinese_is_read_from_the_catalogue() -> None:
    pytest.importorskip("babel")
    if not (LOCALE_DIRECTORY / "zh_CN/LC_MESSAGES/pellucid.mo").is_file():
        pytest.skip("the catalogue is not compiled")
    assert LANGUAGES == ("en", "zh")
    inner = "a whole number"
    assert text(inner).render("zh") == _catalogue()[inner]
    joined = text("{what}", what=[text(inner), "b"]).render("zh")
    assert joined == f"{_catalogue()[inner]}、b"  # a nested sentence too, and the enumeration comma
    assert text("no translation of this {x}", x=1).render("zh") == "no translation of this 1"


@pytest.mark.parametrize("value", [None, True, 3, 2.5, "text", [1, "a"]])
def test_values_survive_storage(value: Any) -> None:
    assert Text.from_dict(text("{x}", x=value).to_dict()).values == {"x": value}


def test_no_blank_parts_chinese_from_chinese() -> None:
    number = text("output {number}", number=1)
    assert text("raises {output}", output=number).render("zh") == "升高输出 1"
    assert text("raises {output}", output="yes").render("zh") == "升高 yes"


@pytest.mark.parametrize(
    ("identifier", "english", "chinese"),
    [
        ("row 5", "row 5", "第 5 行"),
        ("test.csv row 12", "test.csv row 12", "test.csv 第 12 行"),
        ("cat/row 5.png", "cat/row 5.png", "cat/row 5.png"),
        ("17", "17", "17"),
    ],
)
def test_rows_of_tables_are_named_in_the_readers_language(identifier: str, english: str, chinese: str) -> None:
    name = sample_name(identifier)
    shown = [str(name) if isinstance(name, str) else name.render(language) for language in ("en", "zh")]
    assert shown == [english, chinese]
