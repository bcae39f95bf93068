"""A report as its reader sees it: the text of one language, and whether the page is well made."""

from __future__ import annotations

import re
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """Fails on tags that do not match. `words(language)` is what is shown in one language, piece by piece, with its open tags."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[tuple[str, str | None]] = []
        self.tags: list[str] = []
        self.identifiers: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.pieces: list[tuple[str, tuple[str, ...], str | None]] = []  # words, open tags, language
        self.source = page
        self.feed(page)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        values = dict(attrs)
        assert len(values) == len(attrs), f"<{tag}> has an attribute twice"
        self.attributes += [(tag, *pair) for pair in attrs]
        if "id" in values:
            self.identifiers.append(values["id"])
        if tag not in VOID:
            self.open.append((tag, values.get("lang") if tag == "span" else None))

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        assert self.open, f"</{tag}> without its beginning"
        assert self.open.pop()[0] == tag, f"</{tag}> does not close what is open"

    def handle_data(self, data):
        language = next((name for _, name in reversed(self.open) if name), None)
        if data.strip():
            self.pieces.append((data.strip(), tuple(tag for tag, _ in self.open), language))

    def words(self, language: str) -> str:
        """The visible text in `language`, blanks joined."""
        shown = [words for words, tags, of in self.pieces if of in (None, language) and not {"style", "script", "title"} & set(tags)]
        return re.sub(r"\s+", " ", " ".join(shown))

    def left_in_english(self) -> list[str]:
        """What the Chinese page shows that is an English word: not a name of the user's, not code, not a unit."""
        found: list[str] = []
        for words, tags, of in self.pieces:
            if of == "en" or {"style", "script", "title", "bdi", "code", "pre", "button"} & set(tags):
                continue
            if of == "zh" and re.search("[\u4e00-\u9fff]", words):
                continue
            found += [word for word in re.findall(r"[A-Za-z]{3,}", words) if word not in UNITS]
        return found


UNITS = {  # the same in both languages
    "FLOP", "kFLOP", "MFLOP", "GFLOP", "MiB", "GiB", "KiB", "UTC", "SHA", "Pellucid", "Python", "PyTorch", "NumPy", "AdamW", "min",
    "SVC", "Constant", "Linear", "Gradient", "Boosting", "max",
}  # fmt: skip
