"""The program `pellucid`: languages and streams are settled before click is imported; every way out has its exit code.

0 done; 1 failed; 2 bad input; 130 after Ctrl-C and 143 after SIGTERM, once all is saved.
"""

from __future__ import annotations

import errno
import gettext
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from pellucid.cli.session import Session, language_of, session_of
from pellucid.cli.terminal import prepare_streams
from pellucid.core.errors import PellucidError, StorageError
from pellucid.core.language import LOCALE_DIRECTORY, Text, language, text, use_language
from pellucid.core.system import process_start

if TYPE_CHECKING:
    import click


def run(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks and return the exit code. Nothing of the process is changed for good but its two streams."""
    started = process_start() if arguments is None else None
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    prepare_streams()
    session = session_of(arguments)
    session.started = started
    wrong: PellucidError | None = None
    try:
        chosen = language_of(arguments)
    except PellucidError as error:  # told in the language of the environment
        chosen, wrong = language_of([]), error
    try:
        with _speaking(chosen):
            return _tell(wrong, session) if wrong else _run(arguments, session)
    except BrokenPipeError:
        return _quiet_end()


def _run(arguments: list[str], session: Session) -> int:
    try:
        code = _dispatch(arguments, session)
        sys.stdout.flush()
        return code
    except PellucidError as error:
        return _tell(error, session)
    except KeyboardInterrupt:
        session.err.line("")
        _say(session, [text("Interrupted.")])
        return 130
    except BrokenPipeError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None:  # said by the stream itself
            return _tell(_no_room_for_output(error), session)
        return _tell_unexpected(error, session)


def _no_room_for_output(error: OSError) -> StorageError:
    return StorageError(
        text("the output cannot be written: {reason}", reason=error.strerror or str(error)),
        text("room on the disk to which standard output goes"),
        text("free some space; the runs themselves are complete"),
    )


def _dispatch(arguments: list[str], session: Session) -> int:
    import click

    from pellucid.cli.command import Group

    try:
        answer = Group().main(
            arguments,
            prog_name="pellucid",
            standalone_mode=False,
            obj=session,
            color=session.out.coloured,
            terminal_width=session.out.columns,
        )
        return answer if isinstance(answer, int) else 0
    except click.Abort:  # Ctrl-C; click has begun a new line
        _say(session, [text("Interrupted.")])
        return 130
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.UsageError as error:
        return _tell_usage(error, session)
    except click.ClickException as error:
        _say(session, [text("Error: {what}", what=error.format_message())])
        return error.exit_code


def _say(session: Session, lines: Sequence[Text | str]) -> None:
    """Sentences for a person, on standard error; the first is the news."""
    for position, sentence in enumerate(lines):
        session.err.prose(str(sentence), style="bold red" if position == 0 else "", rest="  ")


def _tell(error: PellucidError, session: Session) -> int:
    """What we got, what we expected, what to do: three lines, no traceback."""
    if session.json:
        stored = {name: None if value is None else str(value) for name, value in vars(error).items() if name in ("got", "expected", "do")}
        session.write_json({"error": {"kind": type(error).__name__, **stored}})
    got, *rest = error.sentences()
    interrupted = error.exit_code in (130, 143)
    _say(session, [got if interrupted else text("Error: {what}", what=got), *rest])
    if session.traceback:
        _show_traceback()
    return error.exit_code


def _tell_usage(error: click.UsageError, session: Session) -> int:
    """click's own message in our three lines."""
    from pellucid.cli.command import NamedArgument, usage

    message = _joined(error.format_message())
    lines: list[Text | str] = [text("Error: {what}", what=message)]
    parameter = getattr(error, "param", None)
    expected: Text | str | None = None
    if isinstance(parameter, NamedArgument):
        expected = parameter.says
        lines.append(text("Expected: {what}", what=expected))
    elif error.ctx is not None:
        lines.append(usage(error.ctx.command, error.ctx))
    path = error.ctx.command_path if error.ctx is not None else "pellucid"
    do = text("see {command}", command=f"{path} --help")
    lines.append(text("What to do: {what}", what=do))
    if session.json:
        said = str(expected) if expected is not None else None
        session.write_json({"error": {"kind": "UsageError", "got": message, "expected": said, "do": str(do)}})
    _say(session, lines)
    return error.exit_code


def _joined(message: str) -> str:
    """click joins sentences with a blank and ends them with a full stop; Chinese has neither."""
    if language() != "zh":
        return message
    message = message.replace("。 ", "。")
    return message[:-1] + "。" if message.endswith(".") and not message.endswith("..") else message


def _tell_unexpected(error: Exception, session: Session) -> int:
    if session.json:
        session.write_json({"error": {"kind": type(error).__name__, "got": str(error), "expected": None, "do": None}})
    if session.traceback:
        _show_traceback()
    lines = [text("Error: Pellucid failed where it should not: {kind}: {message}", kind=type(error).__name__, message=str(error) or "-")]
    if not session.traceback:
        lines.append(text("What to do: {what}", what=text("run the same command with --traceback to see where, and report it")))
    _say(session, lines)
    return 1


def _show_traceback() -> None:
    import traceback

    traceback.print_exc()


def _quiet_end() -> int:
    """Whoever read our output has gone (`pellucid runs | head`). Python would complain once more when it closes the stream."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            descriptor = os.open(os.devnull, os.O_WRONLY)
            os.dup2(descriptor, stream.fileno())
            os.close(descriptor)
    return 1


@contextmanager
def _speaking(language: str) -> Iterator[None]:
    """Our sentences, and click's own through gettext, in `language`; afterwards all is as it was."""
    domain, variable = "messages", os.environ.get("LANGUAGE")
    directory = gettext.bindtextdomain(domain)
    gettext.bindtextdomain(domain, str(LOCALE_DIRECTORY))
    os.environ["LANGUAGE"] = "zh_CN" if language == "zh" else "en"
    try:
        with use_language(language):
            yield
    finally:
        gettext.bindtextdomain(domain, directory)
        if variable is None:
            os.environ.pop("LANGUAGE", None)
        else:
            os.environ["LANGUAGE"] = variable
