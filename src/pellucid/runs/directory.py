"""One run, one directory that explains itself and can be copied. The disk is the truth: whatever is killed, whenever, can be resumed.

    run.json                  resolved configuration, versions, data, task, network, environment; `format`
    data.json                 the ledger: a content hash per sample, the split, what was quarantined
    preprocessing.json        what was fitted on the training part
    metrics.jsonl             one row per epoch; only ever appended to, and cut back to a checkpoint when resuming
    weights.safetensors       the best weights
    checkpoint-STEP.safetensors   all that exact resuming needs; the last two are kept
    records/NAME.json         what was measured or found

Durability. Every file except metrics.jsonl is replaced whole: temporary file, fsync, rename, fsync of the folder; it is on the disk
when the call returns. Rows of metrics.jsonl are handed to the system at once (a killed process loses none) but reach the disk itself
with the next checkpoint, which syncs them before it is written: no checkpoint ever counts rows that a power cut could take away.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from pellucid import __version__
from pellucid.core.errors import RunError, did_you_mean
from pellucid.core.language import text
from pellucid.core.records import Record
from pellucid.core.system import (
    legal_name,
    quoted,
    remove_temporaries,
    storage_errors,
    synchronise,
    synchronise_directory,
    write_all,
    write_atomically,
)
from pellucid.runs.lock import FileLock
from pellucid.runs.storable import dump_json, load_json, revived, storable

FORMAT = 1  # of run.json; raised when an older version could not read what we write
CHECKPOINTS_KEPT = 2
_CHECKPOINT = re.compile(r"^checkpoint-(\d{1,18})\.safetensors$")
_SECTIONS = {"name": str, "created": str, "config": dict, "data": dict, "task": dict, "network": dict, "environment": dict}
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)


class RunDirectory:
    """The files of one run. Reading takes nothing and changes nothing; who trains does so inside `with directory.lock()`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._metrics_whole = False  # whether the last line is known to be complete
        self._metrics_unsynchronised = False
        self._made_parent = False  # whether the folder around this directory is ours too

    def __repr__(self) -> str:
        return f"RunDirectory({str(self.path)!r})"

    # ------------------------------------------------------------------------------------------------------------------- make and open

    @classmethod
    def create(cls, parent: str | os.PathLike[str], name: str) -> RunDirectory:
        """Make a new, empty directory in `parent` (made where missing), named `name` made legal everywhere; "-2", "-3"... when taken.

        Raises:
            StorageError: the disk refuses, or `parent` is a file.
        """
        folder = Path(parent).expanduser()
        legal = legal_name(name)
        with storage_errors(folder):
            made_parent = not folder.exists()
            folder.mkdir(parents=True, exist_ok=True)
            number = 1
            while True:
                path = folder / (legal if number == 1 else f"{legal}-{number}")
                try:
                    path.mkdir()
                    break
                except FileExistsError:
                    number += 1
            synchronise_directory(folder)
        directory = cls(path)
        directory._made_parent = made_parent
        return directory

    def discard_untrained(self) -> None:
        """Remove the directory, and the folder around it if `create` made that, unless there is something trained in it."""
        if self.metrics() or self.has_weights() or any(self.checkpoint_steps()):
            return
        with storage_errors(self.path), suppress(FileNotFoundError):
            shutil.rmtree(self.path)
        if self._made_parent:
            with suppress(OSError):  # another run is in it
                self.path.parent.rmdir()

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> RunDirectory:
        """An existing run, of this or an earlier version. `path`: its directory, or the run.json in it.

        Raises:
            RunError: there is no run there, run.json is torn, or a newer version wrote it.
        """
        folder = Path(path).expanduser()
        if folder.name == "run.json":
            folder = folder.parent
        with storage_errors(folder):
            if not folder.is_dir():
                raise _not_there(folder)
            if not (folder / "run.json").is_file():
                raise _not_a_run(folder)
        directory = cls(folder)
        directory._check_run(directory.read_json("run.json"))
        return directory

    def _check_run(self, run: dict[str, Any]) -> None:
        written = run.get("format")
        if type(written) is not int or written < 1:
            raise RunError(
                text("{path} has no valid field 'format'", path=str(self.path / "run.json")),
                text("the run.json that Pellucid wrote"),
                text("restore it from a copy"),
            )
        if written > FORMAT:
            writer = str(run.get("pellucid", "?"))[:40]
            raise RunError(
                text("{path} was written by Pellucid {version}, in format {got}", path=str(self.path), version=writer, got=written),
                text("a format up to {known}: that is what this version, {version}, reads", known=FORMAT, version=__version__),
                text("install Pellucid {version} or newer", version=writer),
            )
        for name, kind in _SECTIONS.items():
            if not isinstance(run.get(name), kind):
                raise RunError(
                    text("{path}: the field {name!r} is missing or of the wrong type", path=str(self.path / "run.json"), name=name),
                    text("the run.json that Pellucid wrote"),
                    text("restore it from a copy"),
                )

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Train here, alone: no other process or thread can while the block runs. The lock of a process that died does not count.

        Removes what killed writers left behind: temporary files, a third checkpoint.

        Raises:
            RunError: somebody else trains here.
            StorageError: the disk refuses.
        """
        lock = FileLock(self.path / ".lock")
        if not lock.acquire():
            holder = lock.holder() or {"process": "?", "machine": "?"}
            raise RunError(
                text("{path} is being trained by process {process} on {machine}", path=str(self.path), **holder),
                text("a run that nobody is training"),
                text("wait until it ends, or end it"),
            )
        try:
            remove_temporaries(self.path)
            remove_temporaries(self.path / "records")
            self._remove_checkpoints(self.checkpoint_steps()[CHECKPOINTS_KEPT:])
            yield
        finally:
            lock.release()

    def is_locked(self) -> bool:
        """Whether a living process of this machine trains here now."""
        return FileLock(self.path / ".lock").holder() is not None

    # ---------------------------------------------------------------------------------------------------------------------------- JSON

    def write_json(self, name: str, content: Mapping[str, Any] | Record) -> None:
        """Replace the file `name` ("run.json") by `content`: what JSON holds, and records, texts, paths, NumPy and torch scalars.

        Keys become texts and tuples lists; numbers that are infinite or NaN are written as {"float": "inf"} and read back as numbers.
        """
        self._write_json(self.path / _plain_name(name), content)

    def _write_json(self, path: Path, content: Mapping[str, Any] | Record) -> None:
        indent = None if path.name == "data.json" else 1  # the ledger has an entry per sample: lines would double it
        write_atomically(path, [dump_json(content, indent) + b"\n"])

    def read_json(self, name: str) -> dict[str, Any]:
        """The content of the file `name`.

        Raises:
            RunError: it does not exist, or is torn or changed so that it is no longer JSON of ours.
        """
        return self._read_json(self.path / _plain_name(name))

    def _read_json(self, path: Path) -> dict[str, Any]:
        with storage_errors(path):
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                raise RunError(
                    text("{path} does not exist", path=str(path)),
                    text("a run with this file"),
                    text("it has: {names}", names=sorted(item.name for item in path.parent.glob("*.json"))[:30]),
                ) from None
        try:
            loaded = load_json(content)
        except ValueError as error:
            raise RunError(
                text("{path} is torn or is not JSON: {reason}", path=str(path), reason=str(error)[:200]),
                text("the file as Pellucid wrote it"),
                text("restore it from a copy, or train again"),
            ) from error
        if not isinstance(loaded, dict):
            raise RunError(
                text("{path} holds a value of type {kind}", path=str(path), kind=type(loaded).__name__),
                text("a JSON object"),
                text("restore it from a copy, or train again"),
            )
        return cast("dict[str, Any]", loaded)

    # ------------------------------------------------------------------------------------------------------------------------- records

    def write_record(self, name: str, record: Record | Mapping[str, Any]) -> None:
        """Write `record` to records/NAME.json. `name` has no suffix: "summary"."""
        path = self._record_path(name)
        if not path.parent.is_dir():
            with storage_errors(path):
                path.parent.mkdir(exist_ok=True)
                synchronise_directory(self.path)
        self._write_json(path, record)

    def read_record(self, name: str) -> dict[str, Any]:
        """The record `name` as a dict, for `from_dict` of its class.

        Raises:
            RunError: there is no such record, or it is torn.
        """
        return self._read_json(self._record_path(name))

    def has_record(self, name: str) -> bool:
        return self._record_path(name).is_file()

    def record_names(self) -> list[str]:
        """The names of all records, sorted."""
        return sorted(path.stem for path in (self.path / "records").glob("*.json") if not path.name.startswith("."))

    def _record_path(self, name: str) -> Path:
        return self.path / "records" / _plain_name(f"{name}.json")

    # ------------------------------------------------------------------------------------------------------------------------- metrics

    @property
    def _metrics_path(self) -> Path:
        return self.path / "metrics.jsonl"

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Append one row to metrics.jsonl."""
        line = dump_json(row) + b"\n"
        if not self._metrics_whole:  # a killed process may have left half a line: no row may be glued to it
            self.cut_metrics(self.metrics_size())
        self._metrics_whole, self._metrics_unsynchronised = False, True
        with storage_errors(self._metrics_path):
            descriptor = os.open(self._metrics_path, _APPEND, 0o666)
            try:
                write_all(descriptor, line)
            finally:
                os.close(descriptor)
        self._metrics_whole = True

    def metrics(self) -> list[dict[str, Any]]:
        """All rows; a torn last line is left out.

        Raises:
            RunError: a line in the middle is torn.
        """
        *lines, rest = self._metrics_bytes().split(b"\n")
        rows: list[dict[str, Any]] = []
        for number, line in enumerate(lines, start=1):
            try:
                rows.append(_row(line))
            except ValueError as error:
                if number == len(lines) and not rest:
                    break
                path, reason = str(self._metrics_path), str(error)[:200]
                raise RunError(
                    text("{path}, line {number}, is torn or is not JSON: {reason}", path=path, number=number, reason=reason),
                    text("one JSON object on each line"),
                    text("remove the line, or restore the file from a copy"),
                ) from error
        return rows

    def metrics_size(self) -> int:
        """Bytes of the complete rows: what a checkpoint remembers and `cut_metrics` takes."""
        content = self._metrics_bytes()
        end = content.rfind(b"\n") + 1
        start = content.rfind(b"\n", 0, max(end - 1, 0)) + 1
        with suppress(ValueError):
            _row(content[start:end] or b"{}")
            return end
        return start  # after a power cut the last line may be complete in length but not in content

    def cut_metrics(self, size: int) -> None:
        """Keep the first `size` bytes alone: resuming repeats the rest.

        Raises:
            RunError: the file is shorter than that.
        """
        present = self._metrics_path.stat().st_size if self._metrics_path.exists() else 0
        if present < size:
            raise RunError(
                text("{path} has {got} bytes", path=str(self._metrics_path), got=present),
                text("at least the {size} bytes the checkpoint counts", size=size),
                text("restore it from a copy, or remove the checkpoints: resuming then begins at the first step"),
            )
        if present > size:
            with storage_errors(self._metrics_path):
                os.truncate(self._metrics_path, size)
            self._metrics_unsynchronised = True
        self._metrics_whole = True

    def _metrics_bytes(self) -> bytes:
        with storage_errors(self._metrics_path):
            try:
                return self._metrics_path.read_bytes()
            except FileNotFoundError:
                return b""

    def _synchronise_metrics(self) -> None:
        if self._metrics_unsynchronised and self._metrics_path.exists():
            with storage_errors(self._metrics_path):
                descriptor = os.open(self._metrics_path, _APPEND)
                try:
                    synchronise(descriptor)
                finally:
                    os.close(descriptor)
            self._metrics_unsynchronised = False

    # --------------------------------------------------------------------------------------------------------- weights and checkpoints

    def save_weights(self, state_dict: Mapping[str, Any], metadata: Mapping[str, Any] | None = None) -> None:
        """Replace weights.safetensors: a module's state_dict (tied weights, any memory format, extra state) and anything beside it.

        Raises:
            ModelError: something that files without pickle do not hold, named.
            StorageError: the disk refuses; the weights before are intact.
        """
        from pellucid.runs.checkpoint import write_state  # loads torch, which listing runs does without

        about = {**(metadata or {}), "run": self._identity()}
        write_state(self.path / "weights.safetensors", "weights", dict(state_dict), metadata=storable(about))

    def _identity(self) -> str | None:
        """Which training this is, wherever the directory is moved: its first name and the time it was made."""
        record = self.read_json("run.json") if (self.path / "run.json").is_file() else {}
        return f"{record['name']}, {record['created']}" if "name" in record and "created" in record else None

    def has_weights(self) -> bool:
        """Whether `save_weights` was ever called."""
        return (self.path / "weights.safetensors").is_file()

    def load_weights(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """(state_dict, metadata), tensors on the CPU.

        Raises:
            RunError: none were saved yet, or they are damaged.
        """
        path = self.path / "weights.safetensors"
        if not self.has_weights():
            raise RunError(
                text("{path} has no weights yet", path=str(self.path)),
                text("a run that has trained at least one epoch"),
                text("go on training with: {command}", command=f"pellucid resume {quoted(self.path)}"),
            )
        from pellucid.runs.checkpoint import read_state

        state, about = read_state(path, "weights")
        metadata = revived(about.get("metadata", {}))
        if not isinstance(state, dict) or not isinstance(metadata, dict):
            raise RunError(text("{path} holds no weights", path=str(path)), text("a state_dict"), text("restore it from a copy"))
        owner, own = metadata.pop("run", None), self._identity()
        if owner and own and owner != own:  # the shapes fit as well where the architecture is the same: nothing else would notice
            raise RunError(
                text("{path} holds the weights of another run: {owner}", path=str(path), owner=owner),
                text("the weights of {own}", own=own),
                text("copy a run's directory as a whole, or restore the file from a copy"),
            )
        return cast("dict[str, Any]", state), cast("dict[str, Any]", metadata)

    def save_checkpoint(self, step: int, state: Any) -> Path:
        """Write checkpoint-STEP.safetensors, then remove all but the last two. For `state` see `write_state`.

        Checkpoints of later steps are removed: they belong to a future that resuming from an earlier one has given up.

        Raises:
            ModelError: something in `state` that files without pickle do not hold, named by its place.
            StorageError: the disk refuses; the checkpoints before are intact.
        """
        from pellucid.runs.checkpoint import write_state

        self._synchronise_metrics()
        path = self.path / f"checkpoint-{step}.safetensors"
        write_state(path, "checkpoint", state, step=step)
        others = self.checkpoint_steps()
        kept = [step, *(other for other in others if other < step)][:CHECKPOINTS_KEPT]
        self._remove_checkpoints(other for other in others if other not in kept)
        return path

    def _remove_checkpoints(self, steps: Iterable[int]) -> None:
        for step in steps:
            path = self.path / f"checkpoint-{step}.safetensors"
            with storage_errors(path), suppress(FileNotFoundError):
                path.unlink()

    def checkpoint_steps(self) -> list[int]:
        """The steps of all checkpoint files, the newest first."""
        found = (_CHECKPOINT.match(path.name) for path in self.path.glob("checkpoint-*.safetensors"))
        return sorted({int(match.group(1)) for match in found if match}, reverse=True)

    def latest_checkpoint(self) -> tuple[int, Any] | None:
        """(step, state) of the newest checkpoint that is whole, tensors on the CPU; None where none was ever written.

        Raises:
            RunError: there are checkpoints, but all of them are damaged.
            StorageError: the disk refuses to read.
        """
        from pellucid.runs.checkpoint import read_state

        first: RunError | None = None
        for step in self.checkpoint_steps():
            path = self.path / f"checkpoint-{step}.safetensors"
            try:
                state, about = read_state(path, "checkpoint")
                if about.get("step") == step:
                    return step, state
                first = first or RunError(
                    text("{path} holds the checkpoint of another step", path=str(path)), text("step {step}", step=step), None
                )
            except RunError as error:
                first = first or error
        if first is not None:
            raise RunError(
                first.got,
                first.expected,
                text("remove all checkpoints of {path}: resuming then begins at the first step", path=str(self.path)),
            )
        return None


def _row(line: bytes) -> dict[str, Any]:
    row = load_json(line)
    if not isinstance(row, dict):
        raise ValueError(f"it holds a {type(row).__name__}")
    return cast("dict[str, Any]", row)


# ---------------------------------------------------------------------------------------------------------------------------------- names


def _plain_name(name: str) -> str:
    """`name` itself if it is one file inside its folder, legal everywhere."""
    if name != legal_name(name, "") or not name.endswith(".json"):
        raise RunError(
            text("{name!r} is no file name inside a run", name=name),
            text("a plain name without folders, legal on every system"),
            text("use a name such as {example!r}", example=legal_name(name.removesuffix(".json"), "record")),
        )
    return name


def _not_there(folder: Path) -> RunError:
    if folder.is_file():
        return RunError(
            text("{path} is a file", path=str(folder)), text("the directory of a run"), text("give the directory that holds run.json")
        )
    siblings: list[str] = []
    with suppress(OSError):
        siblings = sorted(other.name for other in folder.parent.iterdir() if (other / "run.json").is_file())
    do = (
        did_you_mean(folder.name, siblings, before=str(folder.parent / "_")[:-1])
        if siblings
        else text("list the runs with: {command}", command=f"pellucid runs {quoted(folder.parent)}")
    )
    return RunError(text("{path} does not exist", path=str(folder)), text("the directory of a run"), do)


def _not_a_run(folder: Path) -> RunError:
    inside: list[str] = []
    with suppress(OSError):
        inside = sorted(other.name for other in folder.iterdir() if (other / "run.json").is_file())
    if inside:
        return RunError(
            text("{path} is not a run but a folder that holds runs: {names}", path=str(folder), names=inside[:30]),
            text("the directory of one run"),
            text("give one of them, for example {example}", example=str(folder / inside[-1])),
        )
    return RunError(
        text("{path} is not a run: it has no run.json", path=str(folder)),
        text("a directory that training has made"),
        text("check the path; a training that ended before it wrote run.json has left nothing to go on from: train again"),
    )
