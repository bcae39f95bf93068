"""One process at a time trains in a run: a lock that ends with its holder, however it ends."""

from __future__ import annotations

import errno
import json
import os
import platform
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pellucid.core.system import UNSUPPORTED, process_is_alive, storage_errors, write_all

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


class FileLock:
    """One holder among all processes and threads, through the system's file locks: the system lets go of it when the holder dies.

    A record lock (`lockf`), not `flock`: a forked worker that outlives a killed training must not keep the run locked. Where the
    file system has no locks, the process number in the file decides. The file stays: removing it would let two holders in.
    """

    _held: dict[str, int] = {}  # path -> process; record locks do not tell two threads of one process apart  # noqa: RUF012
    _guard = threading.Lock()

    def __init__(self, path: Path) -> None:
        self.path = path
        self._key = os.path.realpath(path)
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """True: it is ours. False: somebody else, in this process or another, holds it.

        Raises:
            StorageError: the lock file cannot be made.
        """
        with self._guard:
            if self._held.get(self._key) == os.getpid():  # opening and closing the file again would drop this process's lock
                return False
            with storage_errors(self.path):
                descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
                try:
                    if not self._take(descriptor):
                        os.close(descriptor)
                        return False
                    os.ftruncate(descriptor, 0)
                    write_all(descriptor, json.dumps({"process": os.getpid(), "machine": platform.node()}).encode())
                except BaseException:
                    with suppress(OSError):
                        os.close(descriptor)
                    raise
            self._descriptor = descriptor
            self._held[self._key] = os.getpid()
            return True

    def _take(self, descriptor: int) -> bool:
        try:
            if sys.platform == "win32":
                os.lseek(descriptor, 2**30, os.SEEK_SET)  # a byte beyond the text, which others may then still read
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
                os.lseek(descriptor, 0, os.SEEK_SET)
            else:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
                return False
            if error.errno not in (*UNSUPPORTED, errno.ENOLCK):
                raise
            holder = _holder(os.read(descriptor, 4096))
            os.lseek(descriptor, 0, os.SEEK_SET)
            return not _alive(holder)

    def release(self) -> None:
        with self._guard:
            if self._descriptor is None:
                return
            with suppress(OSError):
                os.ftruncate(self._descriptor, 0)
            if sys.platform == "win32":
                with suppress(OSError):
                    os.lseek(self._descriptor, 2**30, os.SEEK_SET)
                    msvcrt.locking(self._descriptor, msvcrt.LK_UNLCK, 1)
            with suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None
            self._held.pop(self._key, None)

    def holder(self) -> dict[str, Any] | None:
        """{"process", "machine"} of the living holder, None where nobody holds the lock. Takes nothing."""
        with self._guard:
            if self._held.get(self._key) == os.getpid():
                return {"process": os.getpid(), "machine": platform.node()}
            try:
                holder = _holder(self.path.read_bytes()[:4096])
            except OSError:
                return None
        return holder if _alive(holder) else None


def _holder(written: bytes) -> dict[str, Any] | None:
    try:
        holder = json.loads(written)
    except ValueError:
        return None
    whole = isinstance(holder, dict) and isinstance(holder.get("process"), int) and isinstance(holder.get("machine"), str)
    return holder if whole else None


def _alive(holder: Mapping[str, Any] | None) -> bool:
    # Of a process on another machine we cannot know; its lock, where the file system has locks, has already been asked. Our own
    # number in a file we do not hold was written by an earlier process (in a container every process may be number 1).
    if holder is None or holder["machine"] != platform.node() or holder["process"] == os.getpid():
        return False
    return process_is_alive(holder["process"])
