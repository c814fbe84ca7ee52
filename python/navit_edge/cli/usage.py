"""Wrong usage: what was typed is shown, not obeyed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import typer
from typer.core import TyperCommand, TyperGroup

from navit_edge.text import shown

#: Of click or of the one that typer brings along: what every error of usage is.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]


class Commands(TyperGroup):
    """The commands. Messages about their arguments quote these, whatever they hold."""

    def make_context(self, *args: Any, **options: Any) -> Any:
        with _shown():
            return super().make_context(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        with _shown():
            return super().invoke(ctx)


class PathCommand(TyperCommand):
    """A command whose paths are not empty: ``Path("")`` would be the current folder."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for parameter in self.params:
            if _takes_paths(parameter):
                parameter.process_value = _not_empty(parameter)  # type: ignore[method-assign]


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
        raise
