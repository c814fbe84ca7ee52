"""``--devices`` of the commands that open a session: several devices behind one queue."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from navit_edge.cli.common import ENGINE_PANEL

DevicesOption = Annotated[
    str,
    typer.Option(
        help="Several devices, each with the engine: GPUs (0,1), cores of a CPU (cpu:0-3,cpu:4-7) or NUMA nodes "
        "(numa:0,numa:1).",
        metavar="LIST",
        show_default="one, by --device",
        rich_help_panel=ENGINE_PANEL,
    ),
]

#: Behind "cpu:…" numbers go on with its cores; devices of a session are of one kind, so none of them is a GPU.
_MORE_CORES = re.compile(r"\d+(-\d+)?\Z")


def devices_of(text: str) -> list[str]:
    """ "cpu:0,2,cpu:1,3" -> ["cpu:0,2", "cpu:1,3"]; "" -> none. Which words there are the core says. Raises
    typer.BadParameter for a list with a gap."""
    found: list[str] = []
    for word in text.split(",") if text else ():
        if not word.strip():
            raise typer.BadParameter(
                f"{text!r} has an empty place; expected a list, as 0,1 or cpu:0-3,cpu:4-7", param_hint="--devices"
            )
        if found and found[-1].startswith("cpu:") and _MORE_CORES.match(word.strip()):
            found[-1] += f",{word.strip()}"
        else:
            found.append(word.strip())
    return found
