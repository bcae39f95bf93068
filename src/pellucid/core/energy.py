"""The energy that the processor's packages have used, where the machine tells: Linux's powercap counters (RAPL of Intel and AMD).

Source: Linux kernel documentation, "Power Capping Framework": `energy_uj` counts microjoules up to `max_energy_range_uj` and starts again.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Self

COUNTERS = Path("/sys/class/powercap")
INTERVAL = 60.0  # seconds; a counter of 2**18 joules starts again after an hour at 70 W


class EnergyMeter:
    """`with EnergyMeter() as meter: ...; meter.joules()`: what all packages used since, None where that cannot be read.

    Most systems let only the administrator read the counters. Memory and accelerators are not counted.
    """

    def __init__(self, folder: Path = COUNTERS, interval: float = INTERVAL) -> None:
        self._interval = interval
        self._domains = _packages(folder)  # counter -> microjoules at which it starts again
        self._last = {counter: _number(counter) for counter in self._domains}
        self._used = 0
        self._readable = bool(self._domains) and None not in self._last.values()
        self._lock, self._end = threading.Lock(), threading.Event()
        self._watcher: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._readable:
            self._watcher = threading.Thread(target=self._watch, name="pellucid-energy", daemon=True)
            self._watcher.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        if self._watcher is not None:
            self._watcher.join()

    def joules(self) -> float | None:
        self._read()
        return self._used / 1e6 if self._readable else None

    def _watch(self) -> None:
        """Often enough that no counter starts again twice between two readings."""
        while not self._end.wait(self._interval):
            self._read()

    def _read(self) -> None:
        with self._lock:
            if not self._readable:
                return
            for counter, limit in self._domains.items():
                now, before = _number(counter), self._last[counter]
                if now is None or before is None:
                    self._readable = False
                    return
                self._used += now - before if now >= before else now - before + limit
                self._last[counter] = now


def _packages(folder: Path) -> dict[Path, int]:
    """The counters of whole packages; their parts (cores, memory) and the platform, which holds them, would count twice."""
    found: dict[Path, int] = {}
    try:
        for domain in sorted(folder.glob("intel-rapl:*")):
            limit = _number(domain / "max_energy_range_uj")
            if domain.name.count(":") == 1 and limit and (domain / "name").read_text(encoding="ascii").startswith("package"):
                found[domain / "energy_uj"] = limit
    except (OSError, UnicodeDecodeError):
        return {}
    return found


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
