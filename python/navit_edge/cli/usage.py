"""Wrong usage: what was typed is shown, not obeyed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

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


@contextmanager
def _shown() -> Iterator[None]:
    try:
        yield
    except _UsageError as error:
        vars(error)["message"] = shown(vars(error)["message"])
        raise
