"""`navit-edge profile`: what a profile holds, and presets of boards that nobody tuned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from navit_edge.cli.common import DebugOption, JsonOption, command, echo_json, out_console
from navit_edge.tables import Column, number, print_table


@command
def profile(
    action: Annotated[
        Literal["list", "show"], typer.Argument(help="list the presets, or show one or a profile.", show_default=False)
    ],
    which: Annotated[
        str | None,
        typer.Argument(help="Name of a preset, or a profile's file.", metavar="NAME|FILE", show_default=False),
    ] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List presets of boards that nobody tuned, or show one or a profile that tune wrote.

    A preset says what a board limits. It is not measured: tune on the board
    makes a profile. Of a profile its recommendations are made again from its
    measurements, and a difference is said.
    """
    import msgspec

    from navit_edge.cli.tune_output import print_preset, print_profile
    from navit_edge.profile import read_profile
    from navit_edge.profile.presets import PRESETS, preset
    from navit_edge.tune import recommend

    if action == "list":
        if which is not None:
            raise typer.BadParameter("list takes none; expected: navit-edge profile show NAME", param_hint="NAME")
        if as_json:
            echo_json({"presets": msgspec.to_builtins(PRESETS)})
            return
        columns = [Column("name"), Column("board"), number("memory"), number("cores"), Column("GPU")]
        print_table(
            out_console(),
            "",
            [*columns, Column("precisions"), Column("power modes"), Column("status")],
            [
                (
                    one.name,
                    one.title,
                    "" if one.memory_gib is None else f"{one.memory_gib} GB",
                    "" if one.cores is None else str(one.cores),
                    one.gpu,
                    ", ".join(one.precisions),
                    ", ".join(one.power_modes),
                    one.status,
                )
                for one in PRESETS
            ],
        )
        return
    if which is None:
        raise typer.BadParameter("it is missing; expected the name of a preset or a file", param_hint="NAME|FILE")
    if not Path(which).exists():
        found = preset(which)
        if as_json:
            echo_json({**msgspec.to_builtins(found), "commands": found.commands()})
        else:
            print_preset(found)
        return
    read = read_profile(which)
    repeats = recommend(read.measured) == read.advice
    if as_json:
        echo_json({**msgspec.to_builtins(read), "advice_repeats": repeats})
        return
    print_profile(read)
    out_console().print(
        "the recommendations repeat from the measurements"
        if repeats
        else "the recommendations do not repeat from the measurements: another version made them, or they were edited",
        style="" if repeats else "yellow",
        markup=False,
        soft_wrap=True,
    )
