"""How much main memory can still be taken, so that data which would not fit are refused before the system kills the process."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path

from pellucid.core.errors import DataError
from pellucid.core.language import Text, text
from pellucid.core.wording import memory


def available_memory_bytes() -> int | None:
    """Memory that can be taken without pushing others out: the system's, within the container's limit; None where nobody tells."""
    known = [amount for amount in (_system_available(), _container_available()) if amount is not None]
    return min(known) if known else None


def _system_available() -> int | None:
    if sys.platform == "win32":
        return _windows_available()
    with suppress(OSError, ValueError, IndexError):  # Linux
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    with suppress(OSError, ValueError):  # macOS tells only how much there is; half of it is what others usually leave
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    return None


def _container_available() -> int | None:
    """What the control group still allows (version 2, then 1): pages of files that can be dropped count as free."""
    for folder, limit, used, droppable in (
        (Path("/sys/fs/cgroup"), "memory.max", "memory.current", "inactive_file"),
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        with suppress(OSError, ValueError):
            allowed = int((folder / limit).read_text())  # "max" is no number: no limit
            taken = int((folder / used).read_text())
            rows = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            return max(0, allowed - taken + int(rows.get(droppable, 0)))
    return None


def _windows_available() -> int | None:
    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_uint32), ("load", ctypes.c_uint32),
            *((name, ctypes.c_uint64) for name in ("total", "available", "page", "free_page", "virtual", "free_virtual", "extended")),
        )  # fmt: skip

    status = Status(length=ctypes.sizeof(Status))
    if sys.platform == "win32" and ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return int(status.available)
    return None


def require_memory(amount: int, what: Text | str, do: Text | str | None = None) -> None:
    """Refuse politely what would not fit.

    Raises:
        DataError: `amount` bytes are more than the memory that can still be taken.
    """
    available = available_memory_bytes()
    if available is not None and amount > available:
        raise DataError(
            text("{what} take {needed} of memory, and {available} can be taken",
                 what=what, needed=memory(amount), available=memory(available)),
            text("data that fit into memory as they are trained on"),
            do or text("use fewer or smaller samples, a smaller number type, or a torch Dataset that reads a sample when it is needed"),
        )  # fmt: skip


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, and give true where the C library (glibc) can be told so.

    Left alone, glibc hands every large block back to the system when it is freed and gets it again, page by page and filled with zeros, in
    the next training step. A setting of the whole process: for programs of our own, not for a library in somebody else's.
    """
    if sys.platform != "linux":
        return False
    try:
        told = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(told(_MMAP_THRESHOLD, 2**30)) and bool(told(_TRIM_THRESHOLD, 2**31 - 1))
