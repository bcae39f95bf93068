"""click's Command and Group with what ours all have: options in groups, help in two languages, global options at any place."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

import pellucid
from pellucid.cli.layout import fill, width_of, words, wrap
from pellucid.cli.parameters import GROUPS, SYNONYMS, VALUE_NAMES, TableOption, range_of
from pellucid.cli.session import Session
from pellucid.core.errors import InputError, OptionError, did_you_mean
from pellucid.core.language import Text, language, text

EMBEDDED = ("digits", "iris", "wine", "breast-cancer", "diabetes", "cifar10", "mnist", "fashion-mnist")
# a file of the same name in commands/
COMMANDS = ("fit", "predict", "evaluate", "runs", "resume", "report", "data", "derive", "diagnose", "explain")

_LEFT = 31  # columns of the option names in --help


class GroupedOption(click.Option):
    """An option of one command alone, with its sentence and the heading it stands under."""

    def __init__(self, *names: str, says: Text, group: str = "general", value: Text | None = None, **extra: Any) -> None:
        self.says, self.group, self.value = says, group, value
        super().__init__(list(names), **extra)


class NamedArgument(click.Argument):
    """An argument with its name in --help and what it is."""

    def __init__(self, name: str, *, value: Text, says: Text, **extra: Any) -> None:
        self.value, self.says = value, says
        super().__init__([name], **extra)

    def make_metavar(self, ctx: click.Context) -> str:
        name = str(self.value)
        if self.nargs == -1:
            name += " ..."
        return name if self.required else f"[{name}]"

    def get_error_hint(self, ctx: click.Context | None) -> str:
        return f"'{self.value}'"


def general_options(json: bool = True) -> list[click.Parameter]:
    """What every command takes. Language and traceback were read before click began; click only has to know them."""
    options: list[click.Parameter] = [
        GroupedOption(
            "--language",
            says=text("language of the output (default: the locale's)"),
            value=text("en|zh"),
            expose_value=False,
        ),
        GroupedOption("--traceback", is_flag=True, says=text("show where an error comes from"), expose_value=False),
    ]
    if json:
        options.insert(
            0,
            GroupedOption(
                "--json",
                is_flag=True,
                says=text("answer with one JSON object on standard output"),
                expose_value=False,
            ),
        )
    return options


class Command(click.Command):
    """One verb."""

    def __init__(
        self,
        name: str,
        callback: Callable[..., Any],
        parameters: Sequence[click.Parameter],
        *,
        word: str,
        short: Text,
        about: Text,
        examples: Sequence[tuple[str, Text]] = (),
    ) -> None:
        self.word, self.short, self.about, self.examples = word, short, about, examples
        super().__init__(
            name,
            callback=click.pass_obj(callback),
            params=[*parameters, *general_options()],
            context_settings={"token_normalize_func": _dashes, "help_option_names": ["--help", "-h"]},
        )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            meant = SYNONYMS.get(error.option_name)
            if meant is None or not any(meant in parameter.opts for parameter in self.params):
                raise
            raise OptionError(
                text("{name!r} is no option of {command}", name=error.option_name, command=ctx.command_path),
                None,
                text("did you mean {name!r}?", name=meant),
            ) from None
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        columns = formatter.width
        lines = [usage(self, ctx), "", *wrap(str(self.about), columns, first="  "), ""]
        arguments = [parameter for parameter in self.params if isinstance(parameter, NamedArgument)]
        for argument in arguments:
            lines += _entry(str(argument.value), str(argument.says), columns, left=max(width_of(str(a.value)) for a in arguments) + 4)
        if arguments:
            lines.append("")
        if self.examples:
            lines += [_heading(text("Examples")), *_examples(self.examples, columns), ""]
        for group, heading in GROUPS.items():
            options = [parameter for parameter in self.get_params(ctx) if _group_of(parameter) == group]
            if options:
                lines.append(_heading(heading))
                for option in options:
                    lines += _option_lines(option, columns)
                lines.append("")
        formatter.write("\n".join(lines).rstrip("\n") + "\n")


class Group(click.Group):
    """The program itself. A command's file is imported when it is called, or for the list of commands."""

    def __init__(self) -> None:
        super().__init__(
            "pellucid",
            params=[
                GroupedOption(
                    "--version", is_flag=True, is_eager=True, says=text("show the version"), callback=_version, expose_value=False
                ),
                *general_options(),
            ],
            context_settings={"token_normalize_func": _dashes, "help_option_names": ["--help", "-h"]},
            invoke_without_command=True,
            callback=click.pass_context(_help_without_command),
        )

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> Command | None:
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(f"pellucid.cli.commands.{cmd_name}").command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        word = args[0]
        if word not in COMMANDS and not word.startswith("-") and (word in EMBEDDED or _exists(word)):
            raise InputError(
                text("{word!r} is no command; it is something to train on", word=word),
                text("a command before it: {commands}", commands=list(COMMANDS)),
                text("did you mean: pellucid fit {arguments}", arguments=" ".join(_quoted(item) for item in args)),
            )
        if word not in COMMANDS and not word.startswith("-"):
            raise InputError(
                text("{word!r} is no command", word=word),
                text("one of: {commands}", commands=list(COMMANDS)),
                did_you_mean(word, COMMANDS),
            )
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        columns = formatter.width
        lines = wrap(str(text("Pellucid: train a neural network on your own data, and see through it.")), columns)
        lines += [usage(self, ctx), _heading(text("Commands"))]  # all of it fits a terminal of 24 lines
        for name in COMMANDS:
            command = self.get_command(ctx, name)
            assert command is not None
            label = f"{fill(name, 10)}{command.word}" if language() == "zh" else name
            lines += _entry(label, str(command.short), columns, left=24 if language() == "zh" else 13)
        lines += ["", _heading(text("Examples"))]
        lines += _examples(
            (
                ("pellucid fit digits", text("built in: handwritten digits")),
                ("pellucid fit adult.csv --target income", text("your own table")),
            ),
            columns,
        )
        lines += ["", _heading(text("Options"))]
        for option in self.get_params(ctx):
            if option.name != "traceback":  # the first screen is for the first day
                lines += _option_lines(option, columns)
        lines += [*wrap(str(text("pellucid COMMAND --help describes a command and all its options.")), columns)]
        formatter.write("\n".join(lines) + "\n")


def _help_without_command(ctx: click.Context) -> None:
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), color=ctx.color)


def _exists(word: str) -> bool:
    try:
        return Path(word).exists()
    except (OSError, ValueError):  # too long for a name, or with a null character
        return False


def _dashes(name: str) -> str:
    """--learning_rate is --learning-rate: the options are the arguments' names."""
    return name.replace("_", "-")


def _version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        session: Session = ctx.obj
        if session.json:
            session.write_json({"version": pellucid.__version__})
        else:
            click.echo(f"pellucid {pellucid.__version__}")
        ctx.exit()


def _quoted(word: str) -> str:
    return f'"{word}"' if " " in word else word


# -- help ------------------------------------------------------------------------------------------------------------------------


def _heading(words: Text) -> str:
    return click.style(str(words), bold=True)


def usage(command: click.Command, ctx: click.Context) -> str:
    """The line that says how a command is called."""
    if isinstance(command, Group):
        return words(text("Usage:"), "pellucid", text("COMMAND"), "...")
    arguments = [parameter.make_metavar(ctx) for parameter in command.params if isinstance(parameter, NamedArgument)]
    options = text("OPTIONS")
    return words(text("Usage:"), ctx.command_path, *arguments, f"[{options}]")


def _examples(examples: Sequence[tuple[str, Text]], columns: int) -> list[str]:
    left = max(width_of(line) for line, _ in examples) + 4
    lines: list[str] = []
    for line, says in examples:
        lines += _entry(line, str(says), columns, left=left)
    return lines


def _entry(label: str, says: str, columns: int, *, left: int = _LEFT) -> list[str]:
    """A label and, beside it, what it means; below it where the label or the window leaves no room."""
    if columns - left < 24 or width_of(label) + 4 > left:
        below = min(left, 8)
        return [f"  {label}", *wrap(says, columns, first=" " * below)] if says else [f"  {label}"]
    return wrap(says, columns, first=fill(f"  {label}", left))


def _group_of(parameter: click.Parameter) -> str | None:
    if isinstance(parameter, TableOption):
        return parameter.row.group
    if isinstance(parameter, GroupedOption):
        return parameter.group
    return "general" if isinstance(parameter, click.Option) else None


def _option_lines(option: click.Parameter, columns: int) -> list[str]:
    names = ", ".join(sorted((name for name in option.opts if name.startswith("-")), key=len))
    if isinstance(option, TableOption):
        row = option.row
        if row.kind == "flag":
            return _entry(f"{names}, {option.secondary_opts[0]}", _with_range(row.help, range_of(row)), columns)
        metavar = VALUE_NAMES.get(row.value_name) or row.value_name or VALUE_NAMES[row.kind]
        return _entry(f"{names} {metavar}", _with_range(row.help, range_of(row)), columns)
    if isinstance(option, GroupedOption):
        label = f"{names} {option.value}" if option.value is not None else names
        return _entry(label, str(option.says), columns)
    return _entry(names, str(text("show this help")), columns)


def _with_range(says: Text, limits: str) -> str:
    return str(text("{sentence} ({limits})", sentence=says, limits=limits))
