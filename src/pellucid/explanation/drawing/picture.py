"""One PNG of an explanation: pixels, bars, words or time steps, with numbers, the user's own names, and above them how far to trust it.

Letters that no font at hand has are not drawn as boxes: the column's number stands for its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pellucid.core.language import Text, text
from pellucid.core.system import write_atomically
from pellucid.explanation.drawing import colours
from pellucid.explanation.drawing.page import COLUMNS_SHOWN, check_ending, number, value_of
from pellucid.explanation.drawing.samples import Part, Sample, samples_of
from pellucid.explanation.terms import TRUST, method_name

if TYPE_CHECKING:
    from pellucid.explanation.explanation import Explanation

SIDE = 320  # pixels of an image's longer side, and the width of bars
SIZE = 18  # of letters
GAP = 12
_INK, _SOFT = (27, 36, 48), (200, 205, 211)
_FONTS = (  # with Chinese letters, where systems keep them
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc", "/usr/share/fonts/truetype/wqy/wqy-microhei.ttc",
    "/System/Library/Fonts/PingFang.ttc", "/System/Library/Fonts/Hiragino Sans GB.ttc",
    "C:/Windows/Fonts/msyh.ttc", "C:/Windows/Fonts/simhei.ttf",
)  # fmt: skip


def plot(explanation: Explanation, path: str | Path, *, even_if_untrusted: bool = False, **terms: Any) -> Path:
    """Draw the samples below one another as a PNG; `terms`: names, values, images, classes, titles as of `samples_of`.

    Where the certificate's trust is "none" the picture holds the reasons in place of colours, unless `even_if_untrusted`.

    Raises:
        OptionError: another ending than .png, or what `samples_of` refuses.
        StorageError: the file cannot be written.
    """
    check_ending(path, (".png",))
    samples = samples_of(explanation, **terms)
    return draw(path, explanation, samples, even_if_untrusted=even_if_untrusted)


def draw(path: str | Path, explanation: Explanation, samples: Sequence[Sample], *, even_if_untrusted: bool = False) -> Path:
    """The PNG of samples that are in their user's terms already."""
    path = Path(path)
    if not even_if_untrusted and explanation.certificate.trust == "none":
        pictures = [_lines([_headline(explanation), *(_shown(reason, "") for reason in explanation.certificate.reasons)])]
    else:
        pictures = [_lines([_headline(explanation)])]
        for sample in samples:
            caption = [item for item in (sample.title if len(samples) > 1 else "", sample.explained or "") if item]
            if caption:
                pictures.append(_lines([_shown(text("{parts}", parts=caption), "")]))
            pictures += [_DRAWN[part.kind](part) for part in sample.parts]
    width = max(picture.width for picture in pictures) + 2 * GAP
    whole = Image.new("RGB", (width, sum(picture.height + GAP for picture in pictures) + GAP), "white")
    top = GAP
    for picture in pictures:
        whole.paste(picture, (GAP, top))
        top += picture.height + GAP
    written = BytesIO()
    whole.save(written, "PNG")
    write_atomically(path, [written.getvalue()])
    return path


@cache
def _font(wide: bool) -> Any:
    if wide:
        for name in _FONTS:
            if Path(name).is_file():
                return ImageFont.truetype(name, SIZE)
    return ImageFont.load_default(SIZE)


def _can_write(words: str) -> bool:
    return all(ord(letter) < 0x250 for letter in words) or any(Path(name).is_file() for name in _FONTS)


def _write(canvas: ImageDraw.ImageDraw, place: tuple[float, float], words: str, otherwise: str, **how: Any) -> None:
    shown = words if _can_write(words) else otherwise
    canvas.text(place, shown, font=_font(any(ord(letter) >= 0x250 for letter in shown)), **{"fill": _INK, "anchor": "lm", **how})


def _width(words: str) -> float:
    return float(_font(any(ord(letter) >= 0x250 for letter in words)).getlength(words))


def _scaled(picture: np.ndarray) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(picture))
    factor = SIDE / max(image.size)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.resize(size, Image.Resampling.NEAREST if factor >= 1 else Image.Resampling.LANCZOS)


def _pixels(part: Part) -> Image.Image:
    """The image, and the attributions over it; the scale below."""
    assert part.image is not None
    largest = colours.strength(part.values)
    own, over = _scaled(part.image), _scaled(colours.over_image(part.image, part.values, largest))
    whole = Image.new("RGB", (own.width + GAP + over.width, own.height + GAP + 44), "white")
    whole.paste(own, (0, 0))
    whole.paste(over, (own.width + GAP, 0))
    whole.paste(_scale(largest, over.width), (own.width + GAP, own.height + GAP))
    return whole


def _scale(largest: float, width: int) -> Image.Image:
    strip = np.repeat(colours.signed(np.linspace(-1, 1, width)[None], 1.0), 14, axis=0)
    whole = Image.new("RGB", (width, 40), "white")
    whole.paste(Image.fromarray(strip), (0, 0))
    canvas = ImageDraw.Draw(whole)
    for place, words, anchor in ((0, f"−{number(largest)}", "lm"), (width / 2, "0", "mm"), (width, number(largest), "rm")):
        _write(canvas, (place, 28), words, words, anchor=anchor)
    return whole


def _columns(part: Part) -> Image.Image:
    order = [int(place) for place in np.argsort(-np.abs(part.values), kind="stable")][:COLUMNS_SHOWN]
    return _bars(part, order, [f"{part.names[place]} = {value_of(part, place)}" if part.shown else part.names[place] for place in order])


def _words(part: Part) -> Image.Image:
    order = [int(place) for place in np.argsort(-np.abs(part.values), kind="stable") if part.values[int(place)]][:COLUMNS_SHOWN]
    return _bars(part, order, [f"{part.names[place]} ({place})" for place in order])


def _bars(part: Part, order: Sequence[int], labels: Sequence[str]) -> Image.Image:
    """A bar a feature, from zero, with its interval; the longest name decides where the bars begin."""
    shown = [label if len(label) <= 40 else label[:39] + "…" for label in labels]
    left = int(max((_width(label) for label in shown), default=0.0)) + 2 * GAP
    largest = float(max(np.abs(part.low).max(initial=0), np.abs(part.high).max(initial=0), np.abs(part.values).max(initial=0))) or 1.0
    line = SIZE + 10
    whole = Image.new("RGB", (left + SIDE + 110, line * max(1, len(order))), "white")
    canvas = ImageDraw.Draw(whole)
    middle = left + SIDE / 2

    def at(value: float) -> float:
        return middle + SIDE / 2 * value / largest

    canvas.line([(middle, 0), (middle, whole.height)], fill=_SOFT)
    for row, (place, label) in enumerate(zip(order, shown, strict=True)):
        value, centre = float(part.values[place]), line * row + line / 2
        _write(canvas, (left - GAP, centre), label, f"#{place}", anchor="rm")
        start, end = sorted((middle, at(value)))
        canvas.rectangle(
            (start, centre - 8, end, centre + 8), fill=tuple(colours.signed(np.asarray([np.sign(value) * 0.75]), 1.0)[0].tolist())
        )
        if part.sampled:
            canvas.line((at(float(part.low[place])), centre, at(float(part.high[place])), centre), fill=_INK, width=2)
        _write(canvas, (left + SIDE + GAP, centre), number(value), number(value))
    return whole


def _steps(part: Part) -> Image.Image:
    """Channels below one another: the contribution as colour, the series as a line over it."""
    assert part.series is not None
    channels, steps = part.values.shape
    largest = float(np.abs(part.values).max(initial=0.0))
    left, width, line = int(max(_width(name) for name in part.names)) + 2 * GAP, 2 * SIDE, 60
    whole = Image.new("RGB", (left + width, channels * (line + 6) + 44), "white")
    canvas = ImageDraw.Draw(whole)
    for channel in range(channels):
        top = channel * (line + 6)
        colour = Image.fromarray(colours.signed(part.values[channel][None], largest)).resize((width, line), Image.Resampling.NEAREST)
        whole.paste(colour, (left, top))
        series = part.series[channel]
        low, span = float(series.min()), float(np.ptp(series)) or 1.0
        points = [
            (left + width * (step + 0.5) / steps, top + line - 6 - (line - 12) * (value - low) / span) for step, value in enumerate(series)
        ]
        canvas.line(points, fill=_INK, width=2)
        _write(canvas, (left - GAP, top + line / 2), part.names[channel], f"#{channel}", anchor="rm")
    whole.paste(_scale(largest, width), (left, whole.height - 40))
    return whole


def _headline(explanation: Explanation) -> str:
    """A picture that is handed on alone says how far to trust it; what nobody tested says so."""
    trust: Text | str = text("not tested")
    if "certificate" in explanation.__dict__:
        trust = TRUST.get(explanation.certificate.trust, explanation.certificate.trust)
    return _shown(text("Trust: {trust}; {method}", trust=trust, method=method_name(explanation.method)), explanation.method)


def _shown(sentence: Text, otherwise: str) -> str:
    """In the reader's language, else in English, where a font has the letters."""
    return next((said for said in (str(sentence), sentence.render("en")) if _can_write(said)), otherwise)


def _lines(reasons: Sequence[str]) -> Image.Image:
    """Sentences, broken where a line is full."""
    lines: list[str] = []
    for reason in reasons:
        piece = ""
        for word in reason.split(" ") if " " in reason.strip() else list(reason):
            joined = f"{piece} {word}".strip() if " " in reason.strip() else piece + word
            if _width(joined) > 2 * SIDE and piece:
                lines.append(piece)
                piece = word
            else:
                piece = joined
        lines.append(piece)
    whole = Image.new("RGB", (2 * SIDE + GAP, (SIZE + 10) * max(1, len(lines))), "white")
    canvas = ImageDraw.Draw(whole)
    for row, line in enumerate(lines):
        _write(canvas, (0, (SIZE + 10) * (row + 0.5)), line, "")
    return whole


_DRAWN = {"pixels": _pixels, "columns": _columns, "words": _words, "steps": _steps}
