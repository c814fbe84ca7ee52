"""What the commands share: errors to exit codes, consoles, progress.

Exit codes: 0, 2 for usage (typer's own), 1 for a failure, 130 for Ctrl-C.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, ParamSpec, TextIO, TypeVar

import typer

from navit_edge.errors import NavitEdgeError
from navit_edge.text import safe_json, shown, shown_lines
from navit_edge.text import size_text as size_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

P = ParamSpec("P")
R = TypeVar("R")

#: Of an error without --debug.
MOST_LINES = 12

_debug = False


def _set_debug(context: typer.Context, value: bool) -> bool:
    """Until the command ends: a program or a test may run several in its own process."""
    global _debug
    if value and not _debug:
        before = os.environ.get("NAVIT_EDGE_DEBUG", "")

        def end() -> None:
            global _debug
            _debug = False
            os.environ["NAVIT_EDGE_DEBUG"] = before  # empty is as if unset

        _debug = True
        os.environ["NAVIT_EDGE_DEBUG"] = "1"  # of the core: an error lists what was tried
        context.find_root().call_on_close(end)
    return value


DebugOption = Annotated[
    bool,
    typer.Option(
        "--debug",
        metavar="",
        help="Show all of an error: what was tried, and the traceback.",
        callback=_set_debug,
        show_default=False,
    ),
]


JsonOption = Annotated[
    bool,
    typer.Option("--json", metavar="", help="Print JSON on standard output instead of text and tables: one object."),
]


JsonFileOption = Annotated[
    Path | None,
    typer.Option("--json-file", help="Also write the JSON object to FILE.", metavar="FILE", show_default=False),
]


#: Of options about the engine, in the help of commands that have panels.
ENGINE_PANEL = "Engine"

BackendOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--backend-option",
        help="Option of the engine's backend, such as shape_quantum=16; repeat for more (navit-edge docs memory).",
        metavar="NAME=VALUE",
        show_default="none",
        rich_help_panel=ENGINE_PANEL,
    ),
]


def backend_options(given: list[str] | None) -> dict[str, str]:
    """``NAME=VALUE`` of --backend-option as a session takes them; the last of a name counts."""
    options = {}
    for one in given or ():
        name, found, value = one.partition("=")
        if not found or not name:
            raise typer.BadParameter(
                f"{one!r}; expected NAME=VALUE, as shape_quantum=16", param_hint="--backend-option"
            )
        options[name] = value
    return options


def check_bundle_first(command: str, bundle: Path, images: Iterable[str | Path]) -> None:
    """Refuses arguments that are the other way round: a bundle among the images, and none in its place."""
    if _is_bundle(bundle):
        return
    found = next((image for image in images if _is_bundle(image)), None)
    if found is not None:
        raise typer.BadParameter(
            f"the bundle comes first: navit-edge {command} {shown(str(found))} {shown(str(bundle))}; the first "
            "argument is no bundle, and one behind it is",
            param_hint="BUNDLE",
        )


def _is_bundle(path: str | Path) -> bool:
    return os.path.isfile(os.path.join(path, "manifest.json"))


def command(function: Callable[P, R]) -> Callable[P, R]:
    """Ends a command with one paragraph on standard error and the right exit code, whatever it raises."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except NavitEdgeError as error:
            fail(str(error))
        except KeyboardInterrupt:
            if _debug:
                _print_traceback()
            sys.stderr.write("interrupted\n")
            raise typer.Exit(130) from None
        except BrokenPipeError:  # the reader of the results has gone, as in `… | head`
            forget_standard_output()
            raise typer.Exit(1) from None
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.strerror:
                fail(f"{error.filename or 'the output cannot be written'}: {error.strerror}")
            fail(f"unexpected {type(error).__name__}: {error}; this is a bug: run again with --debug and report it")

    return run


def forget_standard_output() -> None:
    """What is still to be written there goes nowhere, instead of failing when the process ends."""
    with suppress(OSError, ValueError, AttributeError):  # a buffer, or closed
        handle = os.open(os.devnull, os.O_WRONLY)
        os.dup2(handle, sys.stdout.fileno())
        os.close(handle)


def fail(message: str) -> NoReturn:
    """Prints ``error: …``, and what follows its first line indented; a long list only with --debug, which prints the
    traceback before it. Exits with 1."""
    if _debug and sys.exc_info()[0] is not None:
        _print_traceback()
    lines = [shown(" ".join(line.split())) for line in message.splitlines() if line.strip()] or [""]
    if len(lines) > MOST_LINES and not _debug:
        lines[MOST_LINES - 1 :] = [f"and {len(lines) - MOST_LINES + 1} more lines, which --debug shows"]
    sys.stderr.write("error: " + "\n  ".join(lines) + "\n")
    try:
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):  # full, closed: it would fail again when the process ends
        forget_standard_output()
    raise typer.Exit(1)


def _print_traceback() -> None:
    sys.stderr.write(shown_lines(traceback.format_exc()))


def standard_output() -> TextIO:
    """Ends the command where it is closed."""
    if sys.stdout is None:
        fail("standard output is closed, and the result would go there; open it or name a file")
    return sys.stdout


def echo(text: str) -> None:
    """Lines on standard output, for people."""
    typer.echo(shown_lines(text), file=standard_output())


def echo_json(value: Any) -> None:
    """A JSON object on standard output: the exact value, and nothing in it that a terminal would obey."""
    typer.echo(json_text(value), file=standard_output())


def json_text(value: Any) -> str:
    """The same, as it is written into a file."""
    return safe_json(json.dumps(value, indent=2, ensure_ascii=False))


def err_console() -> Console:
    """Standard error, for what is not the result."""
    from navit_edge.cli.terminal import Terminal

    return Terminal(stderr=True, highlight=False)


def out_console() -> Console:
    """Standard output; as wide as it takes if nobody looks."""
    from navit_edge.cli.terminal import Terminal

    standard_output()
    console = Terminal(highlight=False)
    return console if console.is_terminal else Terminal(highlight=False, width=160)


def make_progress(console: Console) -> Progress:
    """Bars for work of known length, a spinner until that is known. Nothing where no terminal shows them move."""
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[phase]}", markup=False),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def short_version(version: str) -> str:
    """``2026.4.1-22982-e213a147257-releases/2026/4`` -> ``2026.4.1``: the JSON has the rest."""
    return version.partition("-")[0]


def facts_table(facts: Iterable[tuple[str, str]]) -> Table:
    """A name and a text in each row."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(Text(name, style="bold"), Text(value))
    return table


def figures_table(title: str, columns: Iterable[str]) -> Table:
    """An empty table of numbers."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD,
        title=Text(title, style="bold"),
        title_justify="left",
        padding=(0, 1),
        show_edge=False,
        pad_edge=False,
    )
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table
