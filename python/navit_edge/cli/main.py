"""The entry point: `navit-edge`."""

from __future__ import annotations

import importlib.metadata
from typing import Annotated

import typer

from navit_edge.cli.bench import bench
from navit_edge.cli.build_engine import build_engine
from navit_edge.cli.common import DebugOption, command, echo
from navit_edge.cli.demo import demo
from navit_edge.cli.docs import docs
from navit_edge.cli.doctor import doctor
from navit_edge.cli.evaluate import evaluate
from navit_edge.cli.export import export
from navit_edge.cli.export_triton import export_triton
from navit_edge.cli.inspect import inspect
from navit_edge.cli.plan import plan
from navit_edge.cli.plan_budgets import plan_budgets
from navit_edge.cli.profile import profile
from navit_edge.cli.quantize import quantize
from navit_edge.cli.report import report
from navit_edge.cli.run import run
from navit_edge.cli.serve import serve
from navit_edge.cli.streams import open_closed_streams
from navit_edge.cli.tune import tune
from navit_edge.cli.up import up
from navit_edge.cli.usage import Command, Commands
from navit_edge.cli.verify import verify

app = typer.Typer(
    name="navit-edge",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # cli/help.py writes the help
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="export → build-engine → run. A bundle is a directory NAME.navit. `navit-edge docs` lists the pages of the "
    "documentation.",
)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"navit-edge {version()}")
        raise typer.Exit


def version() -> str:
    """The installed version."""
    try:
        return importlib.metadata.version("navit-edge")
    except importlib.metadata.PackageNotFoundError:
        return "unknown (not installed)"


def _print_cmake_dir(value: bool) -> None:
    if value:
        from navit_edge.cmake import cmake_dir

        command(lambda: echo(str(cmake_dir())))()
        raise typer.Exit


@app.callback()
def root(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", metavar="", help="Show the version and exit.", callback=_print_version, is_eager=True
        ),
    ] = False,
    show_cmake_dir: Annotated[
        bool,
        typer.Option(
            "--cmake-dir",
            metavar="",
            help="Show the directory for -Dnavit_edge_DIR= of a CMake project and exit.",
            callback=_print_cmake_dir,
            is_eager=True,
        ),
    ] = False,
    debug: DebugOption = False,
) -> None:
    """Native-resolution vision transformers on edge devices: from a PyTorch checkpoint to engines to results."""


app.command("demo", cls=Command)(demo)
app.command("up", cls=Command)(up)
app.command("export", cls=Command)(export)
app.command("quantize", cls=Command)(quantize)
app.command("build-engine", cls=Command)(build_engine)
app.command("run", cls=Command)(run)
app.command("export-triton", cls=Command)(export_triton)
app.command("serve", cls=Command)(serve)
app.command("inspect", cls=Command)(inspect)
app.command("verify", cls=Command)(verify)
app.command("plan", cls=Command)(plan)
app.command("plan-budgets", cls=Command)(plan_budgets)
app.command("bench", cls=Command)(bench)
app.command("evaluate", cls=Command)(evaluate)
app.command("report", cls=Command)(report)
app.command("tune", cls=Command)(tune)
app.command("profile", cls=Command)(profile)
app.command("doctor", cls=Command)(doctor)
app.command("docs", cls=Command)(docs)


def main() -> None:
    """Runs the command line; exits the process."""
    open_closed_streams()
    app(prog_name="navit-edge")


if __name__ == "__main__":
    main()
