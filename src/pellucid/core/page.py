"""What our small pages share: sentences in both languages of which one is shown, the head with the switch, one file without anything from
outside. The report of a run and the pages of derivations have templates of their own."""

from __future__ import annotations

from html import escape
from pathlib import Path

from pellucid.core.language import Text, language
from pellucid.core.system import storage_errors, write_atomically

# as in the report: ?language=en beats the browser's language, which beats the one the page was made in only where it is Chinese
_SPEAK = (
    "const p=document.querySelector('.pellucid'),asked=new URLSearchParams(location.search).get('language');"
    "if(asked==='en'||asked==='zh')p.dataset.language=asked;"
    "else if((navigator.language||'').toLowerCase().startsWith('zh'))p.dataset.language='zh'"
)


def both(sentence: Text | str) -> str:
    """A sentence in both languages as HTML, of which the page shows one."""
    if isinstance(sentence, str):
        return escape(sentence)
    english, chinese = sentence.render("en"), sentence.render("zh")
    if english == chinese:
        return escape(english)
    return f'<span lang="en">{escape(english)}</span><span lang="zh">{escape(chinese)}</span>'


def head_of_page(title: Text | str) -> list[str]:
    """The beginning of a page in both languages; the caller ends it with </div>."""
    switch = "const p=this.closest('.pellucid');p.dataset.language=p.dataset.language==='zh'?'en':'zh'"
    return [
        f'<div class="pellucid" data-language="{language()}"><button onclick="{switch}">English / 中文</button>',
        f"<h1>{both(title)}</h1>",
    ]


def style() -> str:
    """The style sheet of all small pages."""
    return (Path(__file__).parent / "page.css").read_text(encoding="utf-8")


def write_page(path: str | Path, title: Text | str, content: str, style: str) -> Path:
    """A page as a file.

    Raises:
        StorageError: it cannot be written.
    """
    path = Path(path)
    head = f'<!doctype html><html lang="{language()}"><head><meta charset="utf-8"><title>{escape(str(title))} · Pellucid</title>'
    view = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    page = f"{head}{view}<style>{style}</style></head><body>{content}<script>{_SPEAK}</script></body></html>"
    with storage_errors(path):
        write_atomically(path, [page.encode("utf-8")])
    return path
