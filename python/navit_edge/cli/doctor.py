"""`navit-edge doctor`: what is here, what a bundle needs, how to mend what does not fit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from navit_edge.cli.common import (
    DebugOption,
    JsonFileOption,
    JsonOption,
    command,
    echo_json,
    err_console,
    fail,
    json_text,
    out_console,
)
from navit_edge.place import check_file_place, write_file

if TYPE_CHECKING:
    from navit_edge.doctor import Finding, Report


@command
def doctor(
    bundle: Annotated[
        Path | None, typer.Argument(help="Bundle whose engines to try.", metavar="BUNDLE", show_default=False)
    ] = None,
    as_json: JsonOption = False,
    json_file: JsonFileOption = None,
    debug: DebugOption = False,
) -> None:
    """Check this machine, and whether a bundle runs on it. For each problem, show the command that fixes it.

    Needs no GPU. Each vendor's library is asked in a process of its own.
    The exit code is 1 if you give a bundle and none of its engines runs
    here. What is missing and not needed is no failure.
    """
    from navit_edge.doctor import examine

    if json_file is not None:
        check_file_place(json_file)
    console = err_console()
    with console.status("examining") as status:
        report = examine(bundle, on_step=lambda name: status.update(f"examining {name}"))
    if as_json:
        echo_json(report.as_json())
    else:
        _print(report)
    if json_file is not None:
        write_file(json_file, (json_text(report.as_json()) + "\n").encode())
    if report.broken:
        fail(report.broken)


def _print(report: Report) -> None:
    from rich.table import Table
    from rich.text import Text

    from navit_edge.doctor import State

    marks = {
        State.FOUND: ("ok", "green"),
        State.ABSENT: ("–", "dim"),
        State.HINT: ("!", "yellow"),
        State.PROBLEM: ("!!", "red"),
    }
    console = out_console()
    for number, section in enumerate(report.sections):
        if number:
            console.print()
        console.print(Text(section.name, style="bold"))
        width = max(len(one.name) for one in section.findings)
        for one in section.findings:
            table = Table.grid(padding=(0, 2))
            table.add_column(width=2)
            table.add_column(width=width)
            table.add_column(overflow="fold")
            mark, style = marks[one.state]
            quiet = "dim" if one.state is State.ABSENT else ""
            table.add_row(Text(mark, style=style), Text(one.name, style=quiet), Text(_short(one.text), style=quiet))
            if "needs" in one.facts:
                table.add_row("", "", Text(_short(f"needs {one.facts['needs']}"), style="dim"))
            console.print(table)
            for line in _shown(one):  # unbroken, to be pasted
                console.print(Text(f"    $ {line}", style="cyan"), soft_wrap=True)
    if report.bundle is not None and report.usable:
        console.print()
        console.print(Text(f"{report.bundle} runs here with {', '.join(report.usable)}", style="bold green"))


def _short(text: str) -> str:
    """Without what OpenVINO adds to its version: ``2026.4.1-22982-e213a147257-releases/2026/4``; the JSON has it."""
    return re.sub(r"(\b20\d\d\.\d+\.\d+)-\d+-[0-9a-f]+(?:-releases/[\d/]+)?", r"\1", text)


def _shown(finding: Finding) -> tuple[str, ...]:
    """Shows commands for what is broken or could be better; those for what is merely absent are in the JSON."""
    from navit_edge.doctor import State

    return finding.remedy if finding.state in (State.PROBLEM, State.HINT) else ()
