"""Every way Pellucid refuses, as one small tree. Each message says what we got, what we expected and what to do.

PellucidError                    anything below
|-- InputError (ValueError)      what the user gave cannot be used; the command line ends with exit code 2
|   |-- DataError                files, tables, images, arrays, targets
|   |-- OptionError              an option is misspelled, out of range or contradicts another
|   |   `-- OptionTypeError      (also TypeError) an unknown keyword or a value of the wrong type
|   |-- ModelError               a network, or weights, that do not fit the data
|   |   `-- TraceError           a forward pass that cannot be recorded operation by operation
|   `-- RunError                 a directory that is not a run, is torn, or comes from a newer version
|-- TrainingError (RuntimeError) training could not go on; exit code 1
|   |-- DivergenceError          the loss became infinite or NaN; the last good weights are kept
|   `-- MemoryShortage           the device's memory does not hold one step
|-- StorageError (OSError)       the disk is full, read-only or refuses; exit code 1
`-- Interrupted                  Ctrl-C or SIGTERM: saved, and the message says how to go on; exit code 130 or 143
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from pellucid.core.language import Text, text


class PellucidError(Exception):
    """The root of the tree. `got`, `expected` and `do` are sentences; `str(error)` joins them in the language in force."""

    exit_code = 1

    def __init__(self, got: Text | str, expected: Text | str | None = None, do: Text | str | None = None) -> None:
        super().__init__(got, expected, do)
        self.got, self.expected, self.do = got, expected, do

    def sentences(self) -> list[str]:
        """What we got, what we expected, what to do: those of the three that were said."""
        said = [str(self.got)]
        if self.expected:
            said.append(str(text("Expected: {what}", what=self.expected)))
        if self.do:
            said.append(str(text("What to do: {what}", what=self.do)))
        return said

    def __str__(self) -> str:
        return "\n".join(self.sentences())


class InputError(PellucidError, ValueError):
    """What the user gave cannot be used."""

    exit_code = 2


class DataError(InputError):
    """A file, table, image, array or target that cannot be used."""


class OptionError(InputError):
    """An option that is misspelled, out of range, or contradicts another."""


class OptionTypeError(OptionError, TypeError):
    """An unknown keyword, or a value of the wrong type."""


class ModelError(InputError):
    """A network, or weights, that do not fit the data."""


class TraceError(ModelError):
    """A forward pass that cannot be recorded operation by operation."""


class RunError(InputError):
    """A directory that is not a run, is torn, or was written by a newer version."""


class TrainingError(PellucidError, RuntimeError):
    """Training could not go on."""


class DivergenceError(TrainingError):
    """The loss became infinite or NaN. The last good weights are kept in the run."""


class MemoryShortage(TrainingError):  # noqa: N818 (what it is, in the field's words)
    """The device's memory does not hold one training step."""


class StorageError(PellucidError, OSError):
    """The disk is full, read-only, or refuses to write. `errno` is the system's number, where there was one."""

    def __init__(
        self, got: Text | str, expected: Text | str | None = None, do: Text | str | None = None, *, errno: int | None = None
    ) -> None:
        super().__init__(got, expected, do)
        # OSError takes two or three positional arguments for a number, a message and a file name: they are our sentences
        self.errno, self.strerror, self.filename = errno, None, None
        self.args = (got, expected, do)

    def __reduce__(self) -> tuple[type, tuple[Text | str | None, ...], dict[str, int | None]]:
        return (type(self), (self.got, self.expected, self.do), {"errno": self.errno})


class Interrupted(PellucidError):  # noqa: N818 (not an error: the user asked for it)
    """Ctrl-C or SIGTERM. Everything is saved; the message says how to go on."""

    def __init__(self, got: Text | str, expected: Text | str | None = None, do: Text | str | None = None, *, exit_code: int = 130) -> None:
        super().__init__(got, expected, do)
        self.exit_code = exit_code


def did_you_mean(word: str, known: Iterable[str], before: str = "") -> Text:
    """A question, "did you mean 'income'?", where something is close, else the list of what there is; `before` is put before a name."""
    names = [str(name) for name in known]
    lowered = {name.lower(): name for name in reversed(names)}
    close = get_close_matches(word.lower(), list(lowered), n=1, cutoff=0.6)
    if close:
        return text("did you mean {name!r}?", name=before + lowered[close[0]])
    shown = names[:12]
    more = len(names) - len(shown)
    if more:
        return text("choose one of: {names} (and {more} more)", names=shown, more=more)
    return text("choose one of: {names}", names=shown)
