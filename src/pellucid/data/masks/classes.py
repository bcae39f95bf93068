"""What the values or colours of masks mean: found in the masks themselves, or said by a list of classes."""

from __future__ import annotations

import colorsys
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from pellucid.core.errors import DataError
from pellucid.core.language import text
from pellucid.core.records import Notice

VOID = 255  # in masks as they are kept, bytes: a pixel that nobody has labelled, or that lies outside of its image
IGNORED = -100  # the same in batches: what torch's losses leave out by default
MOST_CLASSES = 254
VOID_NAMES = ("void", "ignore", "ignored", "unlabelled", "unlabeled", "dontcare", "don't care", "未标注", "忽略")
LIST_NAMES = (
    "classes.txt", "class_names.txt", "classes.csv", "class_dict.csv", "labels.txt", "labels.csv", "label_colors.txt", "labelmap.txt",
    "codes.txt",
)  # fmt: skip
_NUMBER = r"(\d{1,3})"
_GAP = r"\s*[,;:\s]\s*"
_FORMS = {  # of a line, tried in this order
    "name and colour": re.compile(rf"^(?P<name>\S.*?){_GAP}{_NUMBER}{_GAP}{_NUMBER}{_GAP}{_NUMBER}[\s:;,]*$"),
    "colour and name": re.compile(rf"^{_NUMBER}{_GAP}{_NUMBER}{_GAP}{_NUMBER}{_GAP}(?P<name>.*\S)$"),
    "value and name": re.compile(rf"^{_NUMBER}{_GAP}(?P<name>.*\S)$"),
    "name and value": re.compile(rf"^(?P<name>.*\S)\s*[,;:\t]\s*{_NUMBER}$"),
    "name": re.compile(r"^(?P<name>.*\S)$"),
}
_TITLES = {
    "name",
    "class",
    "label",
    "r",
    "g",
    "b",
    "red",
    "green",
    "blue",
    "id",
    "value",
    "index",
    "color_rgb",
    "parts",
    "actions",
    "colour",
}


def code_of(colour: Sequence[int]) -> int:
    """One number for a colour (r, g, b): 65536 r + 256 g + b."""
    return (int(colour[0]) << 16) + (int(colour[1]) << 8) + int(colour[2])


def colour_of(code: int) -> tuple[int, int, int]:
    return code >> 16 & 255, code >> 8 & 255, code & 255


@dataclass(frozen=True)
class ListedClasses:
    """A list of classes as somebody wrote it: each name with its value, or its colour."""

    names: tuple[str, ...]
    codes: tuple[int, ...]  # values, or `code_of` colours
    by_colour: bool
    origin: str  # the file's name, or "target"


@dataclass(frozen=True)
class MaskClasses:
    """The classes of a data set, in the order of the network's outputs, and how masks write them."""

    names: tuple[str, ...]
    codes: tuple[int, ...]  # of each class: the value in the user's masks, or `code_of` its colour
    by_colour: bool = False
    void: tuple[int, ...] = ()  # codes of pixels that count nothing
    palette: tuple[tuple[int, int, int], ...] = ()  # a colour per class, to draw with

    def encoded(self, codes: np.ndarray) -> np.ndarray:
        """(n,) uint8 class indices of (n,) codes, VOID for those that count nothing; those unknown are MOST_CLASSES."""
        table = {code: index for index, code in enumerate(self.codes)} | dict.fromkeys(self.void, VOID)
        return np.asarray([table.get(int(code), MOST_CLASSES) for code in codes], dtype=np.uint8)

    def to_dict(self) -> dict[str, Any]:
        return {
            "names": list(self.names),
            "codes": list(self.codes),
            "by_colour": self.by_colour,
            "void": list(self.void),
            "palette": [list(colour) for colour in self.palette],
        }

    @staticmethod
    def from_dict(stored: Mapping[str, Any]) -> MaskClasses:
        return MaskClasses(
            names=tuple(stored["names"]),
            codes=tuple(int(code) for code in stored["codes"]),
            by_colour=bool(stored["by_colour"]),
            void=tuple(int(code) for code in stored["void"]),
            palette=tuple((int(r), int(g), int(b)) for r, g, b in stored["palette"]),
        )


@dataclass
class FoundValues:
    """What all masks together hold."""

    pixels: dict[int, int] = field(default_factory=dict[int, int])  # code -> how many pixels
    masks: dict[int, int] = field(default_factory=dict[int, int])  # code -> how many masks
    example: dict[int, str] = field(default_factory=dict[int, str])  # code -> a mask that holds it
    by_colour: bool = False
    palette: Mapping[int, tuple[int, int, int]] = field(default_factory=lambda: cast("dict[int, tuple[int, int, int]]", {}))

    def add(self, codes: np.ndarray, counts: np.ndarray, name: str) -> None:
        for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
            self.pixels[code] = self.pixels.get(code, 0) + count
            self.masks[code] = self.masks.get(code, 0) + 1
            self.example.setdefault(code, name)


# -- lists ---------------------------------------------------------------------------------------------------------------------------


def listed_classes(folder: Path, target: Any) -> ListedClasses | None:
    """The list that `target` names or is ("sky,road,void", or a file), or that lies in the folder; None without any.

    Raises:
        DataError: a list that cannot be understood, or with a name or value twice.
    """
    if isinstance(target, (list, tuple)):
        return _of_lines([str(name) for name in cast("Sequence[Any]", target)], "target")
    if target is not None:
        if not isinstance(target, str):
            raise DataError(text("target={target!r} for images with masks", target=target), _expected(), text("leave target out"))
        for place in (Path(target).expanduser(), folder / target):
            if place.is_file():
                return read_list(place)
        if "," not in target:
            raise DataError(
                text("target={target!r}, and there is no such file", target=target),
                _expected(),
                text("write the names of the classes in the order of their values: --target sky,road,void"),
            )
        return _of_lines(target.split(","), "target")
    found = next((folder / name for name in LIST_NAMES if (folder / name).is_file()), None)
    return None if found is None else read_list(found)


def _expected() -> Any:
    return text("a file with a class per line, or the names of the classes, joined by commas, in the order of their values")


def read_list(path: Path) -> ListedClasses:
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            text("the list of classes {path} cannot be read: {reason}", path=str(path), reason=str(error)),
            text("a text file (UTF-8) with a class per line"),
            text("save it as UTF-8, or take it away"),
        ) from None
    return _of_lines(content.splitlines(), path.name)


def _of_lines(lines: Iterable[str], origin: str) -> ListedClasses:
    kept = [line.strip() for line in lines]
    kept = [line for line in kept if line and not line.startswith("#")]
    if kept and all(part.strip().lower() in _TITLES for part in re.split(r"[,;:\t]", kept[0]) if part.strip()):
        kept = kept[1:]  # the titles of columns
    form = next((form for form, pattern in _FORMS.items() if kept and all(pattern.match(line) for line in kept)), None)
    if form is None or len(kept) < 1:
        raise DataError(
            text("the list of classes {origin} cannot be understood, for example {line!r}", origin=origin, line=kept[0] if kept else ""),
            text("on every line one of: a name; a value and a name; a name and a colour (name,r,g,b)"),
            text("write all lines in one of these forms"),
        )
    names: list[str] = []
    codes: list[int] = []
    for place, line in enumerate(kept):
        match = _FORMS[form].match(line)
        assert match is not None
        named = match.re.groupindex["name"]
        numbers = [int(number) for group, number in enumerate(match.groups(), 1) if group != named]
        names.append(match["name"].strip().strip("\"'"))
        codes.append(code_of(numbers) if len(numbers) == 3 else numbers[0] if numbers else place)
    for what, values in ((text("name"), names), (text("value"), [str(code) for code in codes])):
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise DataError(
                text("the list of classes {origin} has {what} twice: {twice}", origin=origin, what=what, twice=twice[:5]),
                text("every class once"),
                text("take one of the two away"),
            )
    return ListedClasses(tuple(names), tuple(codes), "colour" in form, origin)


# -- classes -------------------------------------------------------------------------------------------------------------------------


def is_void(name: str) -> bool:
    return name.strip().lower() in VOID_NAMES


def settle(found: FoundValues, listed: ListedClasses | None, notices: list[Notice]) -> MaskClasses:
    """The classes, from what the masks hold and what a list says; every choice is said.

    Raises:
        DataError: fewer than two classes, more than MOST_CLASSES, or a list of values for masks of colours.
    """
    if listed is None:
        codes, names, void = _classes_of_values(found, notices)
        by_colour = found.by_colour
    else:
        if listed.by_colour != found.by_colour:
            raise DataError(
                text("the list {origin} gives colours and the masks hold values", origin=listed.origin)
                if listed.by_colour
                else text("the list {origin} gives values and the masks hold colours", origin=listed.origin),
                text("a list that speaks of the masks as they are"),
                text("write a name and a colour (name,r,g,b) per line for masks in colour, a name per line for masks of values"),
            )
        by_colour = listed.by_colour
        pairs = list(zip(listed.codes, listed.names, strict=True))
        codes = [code for code, name in pairs if not is_void(name)]
        names = [name for _, name in pairs if not is_void(name)]
        void = [code for code, name in pairs if is_void(name)]
        if not by_colour and VOID in found.pixels and VOID not in listed.codes:
            void.append(VOID)
        absent = [name for code, name in zip(codes, names, strict=True) if code not in found.pixels]
        if absent:
            summary = text("classes of the list that no mask shows: {classes}", classes=absent[:20])
            notices.append(Notice(kind="absent_classes", summary=summary, evidence={"classes": absent}))
    if not 2 <= len(codes) <= MOST_CLASSES:
        raise DataError(
            text("the masks hold {count} different values or colours: {values}", count=len(codes), values=names[:8]),
            text("from 2 to {most} classes", most=MOST_CLASSES),
            text("masks are PNG files whose pixels are class numbers; JPEG changes them, and so does resizing with interpolation")
            if len(codes) > 2
            else text("give masks that show at least two classes"),
        )
    palette = tuple(colour_of(code) for code in codes) if by_colour else tuple(_palette(len(codes), found.palette, codes))
    _tell(found, codes, names, void, by_colour, listed, notices)
    return MaskClasses(tuple(names), tuple(codes), by_colour, tuple(void), palette)


def _classes_of_values(found: FoundValues, notices: list[Notice]) -> tuple[list[int], list[str], list[int]]:
    """Without a list every value is a class, but 255 beside at least two others is void, as in the PASCAL VOC masks."""
    codes = sorted(found.pixels)
    if found.by_colour:
        return codes, [f"#{code:06x}" for code in codes], []
    void = [VOID] if VOID in codes and len(codes) > 2 else []
    codes = [code for code in codes if code not in void]
    return codes, [str(code) for code in codes], void


def _tell(
    found: FoundValues, codes: Sequence[int], names: Sequence[str], void: Sequence[int], by_colour: bool, listed: ListedClasses | None,
    notices: list[Notice],
) -> None:  # fmt: skip
    total = max(1, sum(found.pixels.values()))
    if listed is None:
        summary = (
            text("no list of classes: the {count} colours of the masks are taken for classes: {names}", count=len(names), names=names[:20])
            if by_colour
            else text(
                "no list of classes: the {count} values of the masks are taken for classes: {names}", count=len(names), names=names[:20]
            )
        )
        notices.append(Notice(kind="classes_found", summary=summary, evidence={"classes": list(names)}))
    share = sum(found.pixels.get(code, 0) for code in void) / total
    if void and share:
        summary = text("{share:.1f} % of the masks' pixels are void (value {values}) and count nothing",
                       share=100 * share, values=[f"#{code:06x}" if by_colour else code for code in void])  # fmt: skip
        notices.append(Notice(kind="void_pixels", summary=summary, evidence={"share": share}))
    rare = [name for code, name in zip(codes, names, strict=True) if 0 < found.pixels.get(code, 0) < total / 1000]
    if rare:
        summary = text("classes with less than 0.1 % of the pixels: {classes}; they are hard to learn", classes=rare[:10])
        notices.append(Notice(kind="rare_classes", summary=summary, evidence={"classes": rare}))


def _palette(count: int, given: Mapping[int, tuple[int, int, int]], codes: Sequence[int]) -> list[tuple[int, int, int]]:
    """The masks' own colours where all differ, else colours evenly round the circle of hues, in two brightnesses."""
    own = [given[code] for code in codes if code in given]
    if len(set(own)) == count and not all(r == g == b for r, g, b in own):
        return own
    made = [
        colorsys.hsv_to_rgb(index * 0.618034 % 1.0, 0.75, (0.95, 0.6)[index % 2]) for index in range(count)
    ]  # golden ratio: neighbours differ
    return [(round(255 * r), round(255 * g), round(255 * b)) for r, g, b in made]
