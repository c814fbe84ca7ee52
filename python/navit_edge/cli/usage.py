"""Commands with their own help, and wrong usage: what was typed is shown, not obeyed."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, get_args

import typer
from typer.core import TyperCommand, TyperGroup

from navit_edge.cli.help import first_sentence, help_text, usage_line
from navit_edge.text import shown

#: Of click or of the one that typer brings along: what every error of usage is.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]


#: Of a Ray cluster, as opposed to a file.
_ADDRESS = re.compile(r"auto|local|[\w.\-]+:\d+|\[[0-9A-Fa-f:]+\]:\d+")

#: Words of typer, and of pydantic in newer ones, and ours.
_PLAIN = (
    (r" \(env var: '[^']*'\)", ""),  # of older ones
    (r"^Invalid value: ", ""),
    (r"^Invalid value for '?(.+?)'?(?: / '[^']+')*: ", r"\1: "),
    (r"\bValue error, ", ""),
    (r"\bInput should be a valid integer.*|'[^']*' is not a valid integer.*", "expected a whole number"),
    (r"\bInput should be a valid number.*|'[^']*' is not a valid float.*", "expected a number"),
    (r"\bInput should be ", "expected a value "),
    (r"^Missing (argument|option) '(.+?)'.*", r"\2 is missing"),
    (r"^Got unexpected extra arguments? ?(?:\(s\))? ?\((.+?)\)", r"\1: unexpected"),
    (r"^No such option: (\S+)", r"\1: no such option"),
    (r"^No such command '(.+?)'", r"\1: no such command"),
)


class Commands(TyperGroup):
    """The commands. Messages about their arguments quote these, whatever they hold."""

    def make_context(self, *args: Any, **options: Any) -> Any:
        with _shown():
            return super().make_context(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        with _shown():
            return super().invoke(ctx)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        commands = [(name, self.commands[name]) for name in self.list_commands(ctx)]
        shown_ones = [(name, first_sentence(command.help)) for name, command in commands if not command.hidden]
        formatter.write(help_text(self, ctx, commands=shown_ones))


class Command(TyperCommand):
    """A command whose paths are not empty: ``Path("")`` would be the current folder."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for parameter in self.params:
            if _takes_paths(parameter):
                parameter.process_value = _not_empty(parameter)  # type: ignore[method-assign]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(help_text(self, ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given = list(args)
        if any("--ray" in parameter.opts for parameter in self.params):
            args = _with_address(args)
        try:
            return super().parse_args(ctx, args)
        except _UsageError as error:
            message = str(vars(error)["message"])
            if "unexpected extra argument" in message and "--json" in given:
                vars(error)["message"] = f"{message}; --json takes no file: --json-file FILE writes one{_file(given)}"
            raise


def _with_address(args: Sequence[str]) -> list[str]:
    """``--ray`` may stand alone, which typer's options cannot: what follows is its value only if it can be one."""
    made = list(args)
    end = made.index("--") if "--" in made else len(made)
    for place in reversed(range(end)):
        if made[place] == "--ray" and not (place + 1 < end and _ADDRESS.fullmatch(made[place + 1])):
            made.insert(place + 1, "auto")
    return made


def _file(given: Sequence[str]) -> str:
    return "; without it, JSON goes to standard output" if "-" in given else ""


def _takes_paths(parameter: Any) -> bool:
    described = getattr(parameter, "type_descriptor", None)  # of the click that typer brings along
    if described is None:
        return getattr(parameter.type, "name", "") in ("path", "file", "directory")
    return described.annotation is Path or Path in get_args(described.annotation)


def _not_empty(parameter: Any) -> Callable[..., Any]:
    process = parameter.process_value

    def checked(context: Any, value: Any) -> Any:
        if value == "" or (isinstance(value, (list, tuple)) and "" in value):
            raise typer.BadParameter(
                "it is empty (''); expected a path; . is this folder", ctx=context, param=parameter
            )
        return process(context, value)

    return checked


@contextmanager
def _shown() -> Iterator[None]:
    try:
        yield
    except _UsageError as error:
        vars(error)["message"] = shown(vars(error)["message"])
        vars(error)["show"] = functools.partial(_show, error)
        raise


def _show(error: Any, file: TextIO | None = None) -> None:
    """What is wrong, then how the command is used, in a line each."""
    text = str(error.format_message()).rstrip(".")
    for pattern, plain in _PLAIN:
        text = re.sub(pattern, plain, text)
    lines = [f"error: {text}"]
    if error.ctx is not None:
        lines.append(f"{usage_line(error.ctx.command, error.ctx)}   ({error.ctx.command_path} --help)")
    (file or sys.stderr).write("\n".join(lines) + "\n")
