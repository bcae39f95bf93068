"""The energy meter on counters written for each case."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from pellucid.core.energy import EnergyMeter


def domain(folder: Path, number: str, name: str, microjoules: int, limit: int = 1_000_000_000) -> Path:
    place = folder / f"intel-rapl:{number}"
    place.mkdir(parents=True)
    (place / "name").write_text(f"{name}\n")
    (place / "max_energy_range_uj").write_text(f"{limit}\n")
    (place / "energy_uj").write_text(f"{microjoules}\n")
    return place / "energy_uj"


def put(counter: Path, microjoules: int) -> None:
    """In one step, as the kernel does: a reader in another thread never sees half a number."""
    written = counter.with_name("next")
    written.write_text(str(microjoules))
    written.replace(counter)


def test_packages_are_added_and_their_parts_are_not(tmp_path: Path) -> None:
    first, second = domain(tmp_path, "0", "package-0", 5_000_000), domain(tmp_path, "1", "package-1", 7_000_000)
    core, platform = domain(tmp_path, "0:0", "core", 1_000_000), domain(tmp_path, "2", "psys", 9_000_000)
    with EnergyMeter(tmp_path) as meter:
        for counter, now in ((first, 8_000_000), (second, 7_500_000), (core, 3_000_000), (platform, 20_000_000)):
            counter.write_text(str(now))
        assert meter.joules() == pytest.approx(3.5)


def test_a_counter_that_starts_again(tmp_path: Path) -> None:
    counter = domain(tmp_path, "0", "package-0", 900_000_000)
    with EnergyMeter(tmp_path) as meter:
        counter.write_text("100000000")
        assert meter.joules() == pytest.approx(200.0)
        counter.write_text("150000000")
        assert meter.joules() == pytest.approx(250.0)


def test_it_is_read_often_enough(tmp_path: Path) -> None:
    counter = domain(tmp_path, "0", "package-0", 0)
    with EnergyMeter(tmp_path, interval=0.005) as meter:
        put(counter, 600_000_000)
        deadline = time.monotonic() + 30
        while meter._used < 600_000_000 and time.monotonic() < deadline:
            time.sleep(0.005)
        put(counter, 0)  # it went round between two readings
        assert meter.joules() == pytest.approx(1000.0)
    assert not [thread for thread in threading.enumerate() if thread.name == "pellucid-energy"]


@pytest.mark.parametrize("broken", ["nothing", "forbidden", "not a number", "gone"])
def test_what_cannot_be_read_is_no_energy(tmp_path: Path, broken: str) -> None:
    counter = domain(tmp_path, "0", "package-0", 5)
    if broken == "nothing":
        tmp_path = tmp_path / "absent"
    elif broken == "forbidden":  # as a directory in its place: reading fails for every user
        counter.unlink()
        counter.mkdir()
    elif broken == "not a number":
        counter.write_text("many")
    with EnergyMeter(tmp_path) as meter:
        if broken == "gone":
            counter.unlink()
        assert meter.joules() is None
