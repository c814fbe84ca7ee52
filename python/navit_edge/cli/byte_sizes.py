"""Sizes on the command line: 256MiB."""

from __future__ import annotations

from typing import Annotated

import typer

from navit_edge.cli.common import ENGINE_PANEL
from navit_edge.options import byte_count

MaxMemoryOption = Annotated[
    str,
    typer.Option(
        help="Keep the process under this much memory (navit-edge docs memory).",
        metavar="SIZE",
        show_default="no limit",
        rich_help_panel=ENGINE_PANEL,
    ),
]


def bytes_of(text: str, option: str) -> int:
    """ "256MiB" -> 268435456. Raises typer.BadParameter."""
    found = byte_count(text)
    if found is None:
        raise typer.BadParameter(f"{text!r}; expected a size, as 64MiB, 1GiB or 500000", param_hint=option)
    return found
