"""The help of a command as plain text: what an option may be and what it is without you, as values, not as types.

Written here and not by typer's tables: those show Python's types, break words in the middle, and differ between the
versions of typer that Pythons get.
"""

from __future__ import annotations

import inspect
import shutil
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer

#: Names and values stand left of this column, what they mean right of it.
_LEFT = 26
#: Choices longer than this are listed in the help, not behind the option's name.
_LONGEST_CHOICES = 20
#: Words for the value of an option that says none itself.
_VALUES = {int: "N", float: "X", Path: "PATH", str: "TEXT"}
#: Options of every command.
_COMMON = ("debug", "help")
#: Units that a value may have as its name.
_UNITS = {"MS": "ms", "S": "s"}


def help_text(command: Any, context: Any, *, commands: Sequence[tuple[str, str]] = ()) -> str:
    """Usage, what the command does, its arguments, its options by panel. commands: (name, help) of a group's."""
    width = max(40, min(shutil.get_terminal_size().columns, 100))
    parameters = [one for one in command.get_params(context) if not getattr(one, "hidden", False)]
    arguments = [one for one in parameters if not _is_option(one)]
    parts = [textwrap.fill(usage_line(command, context).replace("usage", "Usage", 1), width, subsequent_indent=" " * 8)]
    parts += _paragraphs(command.help or "", width)
    if arguments:
        parts.append(_section("Arguments", [(_argument(one), one.help or "") for one in arguments], width))
    if commands:
        parts.append(_section("Commands", commands, width))
    parts += [_section(name, rows, width) for name, rows in _panels(parameters).items()]
    parts += _paragraphs(command.epilog or "", width)
    return "\n\n".join(parts) + "\n"


def usage_line(command: Any, context: Any) -> str:
    """``usage: navit-edge run [OPTIONS] BUNDLE IMAGES...``"""
    arguments = [_in_usage(one) for one in command.get_params(context) if not _is_option(one)]
    if hasattr(command, "commands"):
        arguments.append("COMMAND [ARGUMENTS]...")
    return " ".join([f"usage: {context.command_path} [OPTIONS]", *arguments])


def first_sentence(text: str | None) -> str:
    """What a list of commands shows of one."""
    return " ".join(inspect.cleandoc(text or "").partition("\n\n")[0].split())


def _panels(parameters: Iterable[Any]) -> dict[str, list[tuple[str, str]]]:
    """Options without a panel first; those of every command end the page."""
    options = list(filter(_is_option, parameters))
    own = [one for one in options if one.name not in _COMMON]
    panels: dict[str, list[tuple[str, str]]] = {}
    for one in sorted(own, key=lambda one: _panel(one) != "Options") + [one for one in options if one not in own]:
        panel = _panel(one) if one in own or len(own) == 0 else "Other options"
        panels.setdefault(panel, []).append((_option(one), _meaning(one)))
    return panels


def _panel(parameter: Any) -> str:
    return getattr(parameter, "rich_help_panel", None) or "Options"


def _is_option(parameter: Any) -> bool:
    return str(parameter.param_type_name) == "option"


def _paragraphs(text: str, width: int) -> list[str]:
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return [textwrap.fill(" ".join(one.split()), width, break_on_hyphens=False) for one in paragraphs if one.strip()]


def _section(name: str, rows: Iterable[tuple[str, str]], width: int) -> str:
    lines = [typer.style(f"{name}:", bold=True)]
    for left, right in rows:
        wrapped = textwrap.wrap(right, width - _LEFT, break_on_hyphens=False) or [""]
        if len(left) + 4 > _LEFT:
            lines.append(f"  {left}")
        else:
            lines.append(f"  {left}".ljust(_LEFT) + wrapped.pop(0))
        lines += [" " * _LEFT + line for line in wrapped]
    return "\n".join(line.rstrip() for line in lines)


def _in_usage(argument: Any) -> str:
    name = _argument(argument)
    return name if argument.required else f"[{name}]"


def _argument(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _option(option: Any) -> str:
    """``-o, --output PATH``. Of several long names the first counts: later ones are earlier spellings, which work."""
    names = ", ".join([*(name for name in option.opts if not name.startswith("--")), _long(option)])
    if option.secondary_opts:
        names += f" / {option.secondary_opts[0]}"
    value = value_of(option)
    return f"{names} {value}" if value else names


def _long(option: Any) -> str:
    return next(str(name) for name in option.opts if name.startswith("--"))


def value_of(option: Any) -> str:
    """What stands for the option's value; "" for a flag."""
    if option.metavar is not None:
        return str(option.metavar)
    if getattr(option, "is_flag", False) or option.secondary_opts or _kind(option) is bool:
        return ""
    if choices := choices_of(option):
        joined = "|".join(choices)
        return joined if len(joined) <= _LONGEST_CHOICES else _long(option)[2:].upper()
    return _VALUES.get(_kind(option), "TEXT")


def _meaning(option: Any) -> str:
    """The help and, in brackets, whether it is required, what it may be, and what it is without you."""
    facts = ["required"] if option.required else []
    choices = choices_of(option)
    if choices and "|".join(choices) not in _option(option):
        facts.append("one of " + ", ".join(choices))
    facts += _range(option)
    if default := _default(option):
        facts.append(f"default: {default}")
    text = option.help or ""
    return f"{text} [{'; '.join(facts)}]" if facts else text


def _default(option: Any) -> str:
    shown = option.show_default
    if isinstance(shown, str):
        return shown
    value = option.default
    if value is None or isinstance(value, Callable) or shown is False or option.required:  # type: ignore[arg-type]
        return ""
    if isinstance(value, bool):
        names = option.opts if value else option.secondary_opts
        return names[0] if option.secondary_opts else ""
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value))
    text = f"{value:g}" if isinstance(value, float) else str(value)
    unit = _UNITS.get(option.metavar or "", "")
    return f"{text} {unit}" if unit else text


def choices_of(parameter: Any) -> tuple[str, ...]:
    """The words of a Literal."""
    annotation = _annotation(parameter)
    if annotation is None:
        return tuple(map(str, getattr(parameter.type, "choices", ())))
    return tuple(map(str, get_args(annotation))) if get_origin(annotation) is Literal else ()


def _kind(parameter: Any) -> Any:
    annotation = _annotation(parameter)
    if annotation is None:
        names = {"integer": int, "float": float, "boolean": bool, "path": Path, "file": Path, "directory": Path}
        return names.get(getattr(parameter.type, "name", "").removesuffix(" range"), str)
    return annotation


def _annotation(parameter: Any) -> Any:
    """Of the click that typer brings along since 0.26; None with an older one, which has ``type``."""
    return getattr(getattr(parameter, "type_descriptor", None), "annotation", None)


def _range(parameter: Any) -> list[str]:
    bounds = getattr(getattr(parameter, "type_descriptor", None), "parameter_info", None) or parameter.type
    least, most = getattr(bounds, "min", None), getattr(bounds, "max", None)
    if most is not None:
        return [f"{least or 0} to {most}"]
    return [f"{least:g} or more"] if least else []  # no less than 0 goes without saying
