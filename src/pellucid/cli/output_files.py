"""The file of --output: looked at before anything is computed, and its folder made when it is written."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pellucid.core.errors import OptionError, did_you_mean
from pellucid.core.language import text
from pellucid.core.system import storage_errors


def checked_output(path: str | None, endings: Sequence[str]) -> Path | None:
    """The file, where one is asked for: its ending is known and its folder can be written to, or can be made.

    Raises:
        OptionError: another ending, or a folder of that name.
        StorageError: the disk would refuse.
    """
    if path is None:
        return None
    file = Path(path)
    if file.suffix.lower() not in endings:
        raise OptionError(
            text("the output file is {path!r}", path=path),
            text("a name that ends in one of: {endings}", endings=list(endings)),
            did_you_mean(file.suffix.lower(), endings),
        )
    with storage_errors(path):
        if file.is_dir():
            raise OptionError(
                text("{path} is a folder", path=path),
                text("the name of a file"),
                text("add a name that ends in {ending}", ending=endings[0]),
            )
        if file.exists() and not os.access(file, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        folder = next(parent for parent in file.absolute().parents if parent.exists())
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
        with tempfile.TemporaryFile(dir=folder):  # what the rights say is not what the disk does
            pass
    return file


def made_ready(file: Path) -> Path:
    """The file, with its folder."""
    with storage_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
    return file
