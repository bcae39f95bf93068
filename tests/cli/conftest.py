"""What the tests of commands share: a command is called as a program, in this process."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pellucid.cli import main

Called = tuple[int, str, str]  # exit code, standard output, standard error


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., Called]:
    def call(*arguments: str) -> Called:
        code = main.run(arguments)
        written = capsys.readouterr()
        return code, written.out, written.err

    return call
