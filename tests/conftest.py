"""What holds for every test: one thread, fixed seeds, no network, English, and a folder of its own to write into."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = Path(os.environ.get("PELLUCID_SHARED_DATA", ROOT.parent / "shared" / "data"))

# Examples are drawn the same way on every machine, and a slow machine is not a fault of the code.
settings.register_profile("pellucid", derandomize=True, deadline=None)
settings.load_profile("pellucid")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("shared_data") and not SHARED_DATA.is_dir():
        pytest.skip("needs the real data sets in ../shared/data, or where PELLUCID_SHARED_DATA says")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets; a test that asks for it also carries the mark `shared_data`."""
    if not SHARED_DATA.is_dir():
        pytest.skip("needs the real data sets in ../shared/data, or where PELLUCID_SHARED_DATA says")
    return SHARED_DATA


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Sums in one order, and no fight for cores. Child processes choose for themselves."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def _home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, _home: Path) -> Iterator[None]:
    """The working directory is the test's own, so that `runs/` never lands in the repository; caches and settings are nobody's."""
    import numpy as np
    import torch

    from pellucid.core import language

    monkeypatch.chdir(tmp_path)
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(_home))
    for variable in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(variable, str(_home / variable.lower()))
    for variable in ("PELLUCID_LANGUAGE", "LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(variable, raising=False)
    # no name can be looked up and nothing but this machine can be reached
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise RuntimeError(f"a test tried to reach {address}: tests use no network")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", refuse)
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    chosen = language._current.set(None)  # the command line sets it for the rest of the process
    yield
    language._current.reset(chosen)
