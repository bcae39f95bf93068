"""The data sets that have a name: those that scikit-learn ships, and the published image sets."""

from __future__ import annotations

import re
from pathlib import Path

from pellucid.core.errors import DataError, did_you_mean
from pellucid.core.language import text
from pellucid.data.embedded import EMBEDDED, embedded_name

IMAGE_SETS = ("cifar10", "mnist", "fashion-mnist")  # what they are stands in images/named.py, which takes longer to import


def plain_name(name: str) -> str:
    """The one spelling of the many that people use: cifar10 for CIFAR-10, cifar_10; fashionmnist for FashionMNIST, fashion-mnist."""
    return re.sub(r"[-_ ]", "", name.lower())


_IMAGE_SETS = {plain_name(name): name for name in IMAGE_SETS}


def image_set_name(source: object) -> str | None:
    """The published image set that `source` names, or None."""
    return _IMAGE_SETS.get(plain_name(source)) if isinstance(source, str) else None


def set_names() -> list[str]:
    """All names, as they are written."""
    return [*EMBEDDED, *IMAGE_SETS]


def set_name(source: object) -> str | None:
    """The data set that `source` names, in whatever way it is written; None where it names none."""
    return embedded_name(source) or image_set_name(source)


def unknown_name(source: str) -> DataError:
    """The error for a text that is neither a path nor a name: what was it meant to be?"""
    path = Path(source).expanduser()
    folder = path.parent
    if path.suffix or len(path.parts) > 1 or source.endswith(("/", "\\")) or not source.strip():
        if folder.is_dir():
            siblings = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
            do = did_you_mean(path.name, siblings) if siblings else text("the folder {folder} is empty", folder=str(folder.absolute()))
        else:
            do = text("the folder {folder} does not exist either: check the path", folder=str(folder.absolute()))
        return DataError(
            text("there is no file or folder {path}", path=str(path.absolute())),
            text(
                "the path of a table, of time series (.ts) or of a folder of images or texts, or one of the names {names}",
                names=set_names(),
            ),
            do,
        )
    here = [entry.name for entry in Path.cwd().iterdir() if not entry.name.startswith(".")]
    return DataError(
        text("{source!r} is neither the name of a data set nor a file or folder in {folder}", source=source, folder=str(Path.cwd())),
        text("one of the names {names}, or the path of a table, of time series (.ts) or of a folder of images or texts", names=set_names()),
        did_you_mean(source, [*set_names(), *here]),
    )
