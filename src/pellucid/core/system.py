"""Everything that differs between operating systems: names, durable files, signals, memory, the machine's description.

No torch when imported; Linux, macOS and Windows alike. A refusal of the disk comes as `StorageError`, never as a bare `OSError`.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from pellucid.core.errors import Interrupted, PellucidError, StorageError
from pellucid.core.language import text

if sys.platform == "darwin":
    import fcntl

Buffer = bytes | bytearray | memoryview

# --------------------------------------------------------------------------------------------------------------------------------- names

_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')  # on Windows; "/" and NUL everywhere
_RESERVED = re.compile(r"^(con|prn|aux|nul|conin\$|conout\$|clock\$|com[0-9¹²³]|lpt[0-9¹²³])$", re.IGNORECASE)
LONGEST_NAME = 120  # bytes in UTF-8: a file system takes 255, and temporary files and numbered copies add to the name


def legal_name(name: str, otherwise: str = "run") -> str:
    """`name` made legal as a file or folder name on Linux, macOS and Windows; `otherwise` where nothing of it is left.

    Chinese and blanks stay. Example: `legal_name('a/b: "c".') == "a-b- -c-"`.
    """
    name = unicodedata.normalize("NFC", name).encode("utf-8", "ignore").decode("utf-8")  # lone surrogates go
    name = "".join(character for character in _FORBIDDEN.sub("-", name) if unicodedata.category(character) not in ("Cc", "Cf"))
    name = name.encode("utf-8")[:LONGEST_NAME].decode("utf-8", "ignore").strip().lstrip(".").rstrip(". ")
    stem = name.split(".")[0].rstrip()
    if _RESERVED.match(stem):  # NUL.txt is as reserved as NUL
        name = f"{stem}_{name[len(stem) :]}"
    return name or otherwise


def quoted(path: Path | str) -> str:
    """`path` as one word of a command line that can be pasted into the system's own shell."""
    return subprocess.list2cmdline([str(path)]) if os.name == "nt" else shlex.quote(str(path))


# ------------------------------------------------------------------------------------------------------------------------------- storage


def cache_folder() -> Path:
    """Where this user's programs keep what can be had again: `~/.cache`, `~/Library/Caches` or `%LOCALAPPDATA%`, in a folder of our own.

    It need not exist. Source: XDG Base Directory Specification 0.8 (a relative XDG_CACHE_HOME is to be ignored); Apple's File System
    Programming Guide; Microsoft's known folders.
    """
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - Path.home() raises where there is none
    if not home.is_absolute():  # nobody's home, as in some containers
        home = Path(tempfile.gettempdir())
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "pellucid" / "Cache"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "pellucid"
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(chosen) if Path(chosen).is_absolute() else home / ".cache") / "pellucid"


def free_bytes(path: Path | str) -> int | None:
    """Free space on the disk that holds `path` (or its nearest existing parent); None where the system does not tell."""
    for folder in (Path(path).absolute(), *Path(path).absolute().parents):
        with suppress(OSError):
            return shutil.disk_usage(folder).free
    return None


@contextmanager
def storage_errors(path: Path | str) -> Iterator[None]:
    """Turn an `OSError` raised inside the block into a `StorageError` that names `path` and the remedy."""
    try:
        yield
    except OSError as error:
        if isinstance(error, PellucidError):
            raise
        raise _storage_error(error, path) from error


def _storage_error(error: OSError, path: Path | str) -> StorageError:
    place, code = str(path), error.errno
    if code in (errno.ENOSPC, getattr(errno, "EDQUOT", -1)) or getattr(error, "winerror", None) in (39, 112):
        free = free_bytes(path)
        return StorageError(
            text("no space is left to write {path}; free on this disk: {megabytes} MB", path=place, megabytes=(free or 0) // 10**6),
            text("room for the file (a quota counts too)"),
            text("free some space or choose another folder; what was written before is intact"),
        )
    if code == errno.EROFS:
        return StorageError(
            text("{path} cannot be written: this disk is read-only", path=place),
            text("a disk that can be written"),
            text("choose another folder"),
        )
    if code in (errno.EACCES, errno.EPERM):
        return StorageError(
            text("access to {path} is refused by the system", path=place),
            text("the right to read and write there"),
            text("change the permissions of the folder or choose another one; on Windows, close the programs that have it open"),
        )
    if code in (errno.ENOTDIR, errno.EEXIST):
        return StorageError(
            text("{path} cannot be made: a file of that name is in the way", path=place),
            text("a folder, or a name that is still free"),
            text("choose another folder"),
        )
    if code == errno.ENOENT:
        return StorageError(
            text("{path} cannot be reached: its folder does not exist (any more)", path=place),
            text("a folder that stays where it is"),
            text("restore the folder or choose another one"),
        )
    return StorageError(
        text("{path} could not be read or written: {reason}", path=place, reason=error.strerror or str(error)),
        text("a working disk"),
        text("check the disk, or choose another folder"),
    )


# what a file system answers that has no such call
UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, getattr(errno, "ENOTSUP", errno.EINVAL), getattr(errno, "EOPNOTSUPP", errno.EINVAL)}


def synchronise(descriptor: int) -> None:
    """Wait until the disk itself holds an open file. A file system that knows no such order is taken at its word."""
    try:
        if sys.platform == "darwin":  # there fsync stops at the drive's own cache
            with suppress(OSError):
                fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
                return
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise


def synchronise_directory(folder: Path | str) -> None:
    """Make new, renamed and removed names in `folder` durable. Windows does that by itself and has no call for it."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        synchronise(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, buffer: Buffer) -> None:
    """`os.write` until nothing is left: one call may take only a part (2 GB at most on Linux)."""
    rest = memoryview(buffer).cast("B")
    while rest:
        rest = rest[os.write(descriptor, rest) :]


_BINARY = getattr(os, "O_BINARY", 0)
_TEMPORARY = re.compile(r"^\..+\.(\d+)-\d+\.tmp$")
_numbers = itertools.count()
_being_written: set[str] = set()  # temporary files of this process that are in use


def write_atomically(path: Path, buffers: Iterable[Buffer]) -> None:
    """Replace `path` by `buffers`, one after the other: whoever looks, also after a power cut, sees all of the old or all of the new file.

    A temporary file in the same folder, fsync, rename, fsync of the folder.

    Raises:
        StorageError: the disk refuses; the old file is untouched and the temporary one removed.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{next(_numbers)}.tmp")
    _being_written.add(str(temporary))
    try:
        with storage_errors(path):
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666)
            try:
                for buffer in _gathered(buffers):
                    write_all(descriptor, buffer)
                synchronise(descriptor)
            finally:
                os.close(descriptor)
            _replace(temporary, path)
            synchronise_directory(path.parent)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    finally:
        _being_written.discard(str(temporary))


def _gathered(buffers: Iterable[Buffer], enough: int = 2**18) -> Iterator[Buffer]:
    """The same bytes with small buffers put together: a call of the system for each bias of a network would be many."""
    small = bytearray()
    for buffer in buffers:
        if memoryview(buffer).nbytes < enough:
            small += buffer
            if len(small) < enough:
                continue
            buffer = b""
        if small:
            yield bytes(small)
            small.clear()
        if len(buffer):
            yield buffer
    if small:
        yield bytes(small)


def _replace(source: Path, target: Path) -> None:
    for pause in (0.01, 0.05, 0.2, 0.7, 0.0):
        try:
            os.replace(source, target)  # noqa: PTH105 - the one call the kill tests count
            return
        except PermissionError:
            if os.name != "nt" or not pause:
                raise
            time.sleep(pause)  # a virus scanner or a reader has the old file open for a moment


def remove_temporaries(folder: Path) -> None:
    """Remove what writers that were killed have left in `folder`; those of living processes stay."""
    with suppress(OSError):
        for path in folder.iterdir():
            written_by = _TEMPORARY.match(path.name)
            if not written_by or str(path) in _being_written:
                continue
            process = int(written_by.group(1)[:18])
            # Our own number on a file we are not writing: an earlier process had it (in a container every process may be number 1).
            if process == os.getpid() or not process_is_alive(process):
                with suppress(OSError):
                    path.unlink()


def process_is_alive(process: int) -> bool:
    """Whether a process of that number runs on this machine."""
    if process <= 0 or process >= 2**31:
        return False
    if sys.platform == "win32":  # there os.kill(process, 0) would end it
        handle = ctypes.windll.kernel32.OpenProcess(0x1000, False, process)  # PROCESS_QUERY_LIMITED_INFORMATION
        if not handle:
            return ctypes.windll.kernel32.GetLastError() == 5  # access denied: it exists
        code = ctypes.c_ulong()
        ctypes.windll.kernel32.GetExitCodeProcess(handle, ctypes.byref(code))
        ctypes.windll.kernel32.CloseHandle(handle)
        return code.value == 259  # STILL_ACTIVE
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


# ------------------------------------------------------------------------------------------------------------------------------- signals


class Arrived(BaseException):
    """A signal arrived inside `Signals.at_once`: no Exception, so that no library takes it for a failure of its own."""


class Signals:
    """Catch Ctrl-C and SIGTERM inside a `with` block and say so in `received`; the handlers before it come back at its end.

    The loop asks at its safe points, saves, and calls `raise_interrupted`. Only the main thread can catch signals; elsewhere nothing is
    caught. A signal that was set to be ignored (nohup, a job in the background) stays ignored. The second signal goes to the handler
    that was there before, which ends the program at once; so does, when the block ends, a signal that nobody has asked for.
    """

    def __init__(self) -> None:
        self.number: int | None = None  # of the first signal that arrived
        self._seen = False
        self._at_once = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is not threading.main_thread():
            return self
        for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
            number = getattr(signal, name, None)
            handler = signal.getsignal(number) if number is not None else None
            if number is not None and handler not in (None, signal.SIG_IGN):  # None: not set from Python, we could not put it back
                self._before[number] = signal.signal(number, self._arrived)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: Any) -> None:
        self._restore()
        if error is None and self.number is not None and not self._seen:
            signal.raise_signal(self.number)

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        if self.number is None:
            self.number = number
            if self._at_once:
                raise Arrived
            return
        self._restore()
        signal.raise_signal(number)

    def _restore(self) -> None:
        while self._before:
            signal.signal(*self._before.popitem())

    @property
    def received(self) -> bool:
        """True once a signal has arrived; whoever has seen that is responsible for ending."""
        if self.number is None:
            return False
        self._seen = True
        return True

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside the block the first signal ends what is running, wherever it stands: for long calculations that save nothing themselves.

        The block ends early then, without an exception; `received` tells.
        """
        self._at_once = True
        try:
            yield
        except Arrived:
            pass
        finally:
            self._at_once = False

    def raise_interrupted(self, run: Path | str | None = None) -> NoReturn:
        """To be called once everything is saved; the message says how to go on with `run`.

        Raises:
            Interrupted: always; its exit code is 128 + the signal's number, as shells write it (130 for Ctrl-C, 143 for SIGTERM).
        """
        do = text("go on with: {command}", command=f"pellucid resume {quoted(run)}") if run is not None else None
        number = self.number if self.number is not None else int(signal.SIGINT)
        if number == signal.SIGTERM:
            raise Interrupted(text("the system asked training to end (SIGTERM); everything is saved"), None, do, exit_code=128 + number)
        raise Interrupted(text("training was stopped by Ctrl-C; everything is saved"), None, do, exit_code=130)


def process_start() -> float:
    """What time.perf_counter said when this process began; where the system does not tell (Linux does), what it says now."""
    now = time.perf_counter()
    if sys.platform != "linux":
        return now
    with suppress(OSError, ValueError, IndexError):
        fields = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        began = int(fields[19]) / os.sysconf("SC_CLK_TCK")  # field 22, seconds after the machine's start
        return now - max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - began)
    return now


# -------------------------------------------------------------------------------------------------------------------------------- memory


def peak_memory_bytes() -> int | None:
    """The most main memory this process has held so far; None where the system does not tell."""
    if sys.platform == "win32":
        return _windows_peak_memory()
    with suppress(OSError):  # Linux; getrusage would count the parent's memory from before exec
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _windows_peak_memory() -> int | None:
    class Counters(ctypes.Structure):
        _fields_ = (
            ("cb", ctypes.c_uint32), ("PageFaultCount", ctypes.c_uint32),
            *((name, ctypes.c_size_t) for name in (
                "PeakWorkingSetSize", "WorkingSetSize", "QuotaPeakPagedPoolUsage", "QuotaPagedPoolUsage",
                "QuotaPeakNonPagedPoolUsage", "QuotaNonPagedPoolUsage", "PagefileUsage", "PeakPagefileUsage")),
        )  # fmt: skip

    if sys.platform != "win32":
        return None
    counters = Counters(ctypes.sizeof(Counters))
    process = ctypes.windll.kernel32.GetCurrentProcess
    process.restype = ctypes.c_void_p
    answered = ctypes.windll.psapi.GetProcessMemoryInfo(ctypes.c_void_p(process()), ctypes.byref(counters), counters.cb)
    return int(counters.PeakWorkingSetSize) if answered else None


# ------------------------------------------------------------------------------------------------------------------------------- machine


@cache
def cpu_name() -> str:
    """The processor as its maker calls it, for example "AMD EPYC 9354 32-Core Processor"."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(("model name", "Hardware")):
                return " ".join(line.split(":", 1)[1].split())
    if sys.platform == "darwin":
        with suppress(OSError, subprocess.SubprocessError):
            command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    if sys.platform == "win32":
        import winreg

        with suppress(OSError), winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"HARDWARE\DESCRIPTION\System\CentralProcessor\0") as key:
            return str(winreg.QueryValueEx(key, "ProcessorNameString")[0]).strip()
    return platform.processor() or platform.machine()


# Where one of these differs, rounding may differ, and a resumed training can no longer be promised to be equal byte for byte. The number of
# threads decides too, but a run keeps its own among its settings.
DECIDES_ROUNDING = ("torch", "cpu", "cpu_capability", "accelerator", "accelerator_runtime", "machine")


def environment(device: Any = "cpu") -> dict[str, Any]:
    """What computed a run: versions, processor, threads, platform, and the accelerator if `device` (a torch.device or its name) is one."""
    import numpy
    import torch

    from pellucid import __version__

    described: dict[str, Any] = {
        "pellucid": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu": cpu_name(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),  # the vector instructions torch has chosen
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
    kind = torch.device(device).type
    if kind == "cuda":  # asked only where it is used: the question itself takes memory on the accelerator
        described["accelerator"] = torch.cuda.get_device_name(torch.device(device))
        described["accelerator_runtime"] = str(torch.version.cuda or torch.version.hip)
    elif kind != "cpu":
        described["accelerator"] = kind
    return described


def environment_differences(stored: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(name, then, now) of everything that decides rounding and differs: empty means that exact resuming can be promised."""
    return [(name, stored.get(name), now.get(name)) for name in DECIDES_ROUNDING if stored.get(name) != now.get(name)]
