"""A published file from the network, whole and right or not at all: its size and checksum are known before it is asked for.

What has come so far stands beside the goal under a name of its own. A download that was interrupted goes on from there (HTTP range
requests, RFC 9110 section 14) or, where the server cannot, starts again; only what has the published checksum gets the file's name.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pellucid import __version__
from pellucid.core.errors import DataError, StorageError
from pellucid.core.language import Text, text
from pellucid.core.system import process_is_alive, storage_errors, synchronise, synchronise_directory

_SECONDS_OF_SILENCE = 30.0  # without a byte, after which a connection counts as lost
_ATTEMPTS = 4  # connections in a row that bring nothing new
_PAUSE_SECONDS = 1.0  # before the second attempt, doubled before each further one
_SECONDS_BETWEEN_REPORTS = 0.2
_BLOCK_BYTES = 1 << 18
_HASHES = {32: "md5", 64: "sha256"}  # by the number of hexadecimal digits

Tell = Callable[[Text], None]


@dataclass(frozen=True)
class PublishedFile:
    """A file that stands on the network, as its publisher describes it."""

    name: str
    bytes: int
    checksum: str  # MD5 or SHA-256 of the whole file, hexadecimal, as published
    addresses: tuple[str, ...]  # equal copies, the first asked first

    @property
    def megabytes(self) -> str:
        return f"{self.bytes / 1e6:.3g} MB"


def checksum_holds(path: Path, file: PublishedFile) -> bool:
    """Whether `path` is `file`, byte for byte. Raises OSError where it cannot be read."""
    if path.stat().st_size != file.bytes:
        return False
    with path.open("rb") as content:
        kind = _HASHES[len(file.checksum)]
        return hashlib.file_digest(content, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest() == file.checksum


def download(file: PublishedFile, folder: Path, tell: Tell | None = None) -> Path:
    """The path of `file` in `folder`, where it is put if it does not stand there yet. `tell` gets sentences about how far it is.

    Raises:
        DataError: no address answers, or what comes is not the published file; the message says what to put where.
        StorageError: the disk refuses.
    """
    goal = folder / file.name
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if goal.is_file() and checksum_holds(goal, file):
            return goal
    failures: list[str] = []
    for address in file.addresses:
        host = urlsplit(address).netloc
        try:
            part = _fetch(file, address, folder, tell)
        except _Lost as lost:
            failures.append(f"{host}: {lost}")
            continue
        with storage_errors(goal):
            if not checksum_holds(part, file):
                part.unlink()
                failures.append(str(text("{host}: what came does not have the published checksum", host=host)))
                continue
            part.replace(goal)
            synchronise_directory(folder)
        return goal
    raise DataError(
        text("{name} ({size}) cannot be downloaded: {failures}", name=file.name, size=file.megabytes, failures=failures),
        text("a connection to one of: {addresses}", addresses=list(file.addresses)),
        text("connect to the network and try again; without one, put the file {name} into {folder}", name=file.name, folder=str(folder)),
    )


class _Lost(Exception):  # noqa: N818 - what it is
    """An address that did not bring the file, and why."""


def _fetch(file: PublishedFile, address: str, folder: Path, tell: Tell | None) -> Path:
    """The whole file under a temporary name, not looked at yet. Raises _Lost; what has come stays for the next attempt."""
    part = _own_part(file, folder)
    attempts, pause, most = _ATTEMPTS, _PAUSE_SECONDS, _size(part)
    while _size(part) < file.bytes:
        reason = None
        try:
            _receive(file, address, part, tell)
        except StorageError:
            raise
        except urllib.error.HTTPError as error:
            if 400 <= error.code < 500 and error.code not in (408, 416, 429):  # asking again will not help
                raise _Lost(f"HTTP {error.code} {error.reason}") from None
            reason = f"HTTP {error.code} {error.reason}"
        except (OSError, http.client.HTTPException) as error:
            cause = getattr(error, "reason", None) or error
            reason = str(cause) or type(error).__name__
            if isinstance(cause, socket.gaierror):  # nobody knows the host: there is no network
                raise _Lost(reason) from None
        come = _size(part)
        if come > most:
            attempts, pause, most = _ATTEMPTS, _PAUSE_SECONDS, come
            continue
        attempts -= 1
        if not attempts:
            raise _Lost(reason or str(text("only {got} of {size} bytes came", got=come, size=file.bytes)))
        time.sleep(pause)
        pause *= 2
    return part


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _receive(file: PublishedFile, address: str, part: Path, tell: Tell | None) -> None:
    """One connection: append what comes to `part`, from where it ends. Raises what urllib raises, and StorageError."""
    with storage_errors(part):
        content = part.open("ab")
    with content:
        done = content.tell()
        headers = {"User-Agent": f"pellucid/{__version__}"}
        if done:
            headers["Range"] = f"bytes={done}-"
        request = urllib.request.Request(address, headers=headers)
        try:
            response: Any = urllib.request.urlopen(request, timeout=_SECONDS_OF_SILENCE)
        except urllib.error.HTTPError as error:
            if error.code == 416:  # the part is not one of this file
                with storage_errors(part):
                    content.truncate(0)
            error.close()
            raise
        with response:
            if done and not (response.status == 206 and _starts_at(response.headers.get("Content-Range"), done)):
                with storage_errors(part):
                    content.truncate(0)
                if response.status == 206:  # another range than was asked for
                    return
                done = 0
            last = 0.0
            while block := response.read(_BLOCK_BYTES):
                done += len(block)
                if done > file.bytes:
                    with storage_errors(part):
                        content.truncate(0)
                    raise OSError(str(text("more than {size} bytes came: it is another file", size=file.bytes)))
                with storage_errors(part):
                    content.write(block)
                now = time.monotonic()
                if tell is not None and now - last >= _SECONDS_BETWEEN_REPORTS:
                    last = now
                    tell(text("downloading {name}: {done:.1f} of {size:.1f} MB", name=file.name, done=done / 1e6, size=file.bytes / 1e6))
        with storage_errors(part):
            content.flush()
            synchronise(content.fileno())


def _starts_at(content_range: str | None, position: int) -> bool:
    match = re.match(r"\s*bytes\s+(\d+)-", content_range or "")
    return match is not None and int(match.group(1)) == position


def _own_part(file: PublishedFile, folder: Path) -> Path:
    """The temporary file of this process; what a process that has ended left of the same file becomes ours."""
    own = folder / f".{file.name}.{os.getpid()}.part"
    pattern = re.compile(rf"\.{re.escape(file.name)}\.(\d+)\.part")
    with storage_errors(folder):
        names = [entry.name for entry in folder.iterdir()]
    for name in names:
        match = pattern.fullmatch(name)
        if match and not own.exists() and not process_is_alive(int(match.group(1)[:18])):
            with suppress(OSError):  # another process took it first
                (folder / name).rename(own)
    return own
