"""`navit-edge build-engine`: bundle to engines in the bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from navit_edge.cli.common import DebugOption, command, err_console, make_progress, out_console, size_text
from navit_edge.errors import InvalidInputError

if TYPE_CHECKING:
    from navit_edge.build import BuildRequest, Event
    from navit_edge.manifest import Budget, Engine


@command
def build_engine(
    bundle: Annotated[Path, typer.Argument(help="Bundle that export made.", metavar="BUNDLE", show_default=False)],
    backend: Annotated[
        str, typer.Option(help="openvino (CPU), tensorrt-rtx (RTX cards, ahead of time) or tensorrt (this GPU).")
    ] = "openvino",
    token_budgets: Annotated[
        str | None,
        typer.Option(
            help="Most tokens in a pack; for TensorRT one optimization profile each.",
            show_default="16384 for openvino, else 256,1024,4096",
            metavar="LIST",
        ),
    ] = None,
    max_images: Annotated[
        str | None,
        typer.Option(
            help="Most images in a pack: one number, or one for each budget.",
            show_default="1024 for openvino, else tokens / 32, at most 256",
            metavar="LIST",
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="Of fp32,fp16,bf16; several make an engine each, best first.",
            show_default="bf16 and fp32 for openvino, else bf16; fp16 for sm75",
            metavar="LIST",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="Compute capabilities for tensorrt-rtx: sm75, sm80, sm86, sm89, sm120, sm121.",
            show_default="sm86,sm89,sm120; else this machine",
            metavar="LIST",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", metavar="", help="Build again what the bundle holds already.")
    ] = False,
    debug: DebugOption = False,
) -> None:
    """Build engines from a bundle's graphs and add them to it.

    Needs no torch and, for openvino and tensorrt-rtx, no GPU. An interrupted build leaves the bundle as it was.
    """
    from navit_edge.build import build_engines

    request = _request(backend, token_budgets, max_images, precision, target, force)
    console = err_console()
    with make_progress(console) as progress:
        bars: dict[str, int] = {}

        def show(event: Event) -> None:
            if event.note:
                console.print(f"note: {event.note}", style="yellow", markup=False, soft_wrap=True)
            if event.phase:
                if event.engine not in bars:
                    bars[event.engine] = progress.add_task(event.engine, total=None, phase="")
                progress.update(
                    bars[event.engine],  # type: ignore[arg-type]
                    phase=event.phase,
                    total=None if event.fraction is None else 1.0,
                    completed=event.fraction or 0.0,
                )

        engines = build_engines(bundle, request, show)
    _print_engines(bundle, engines)


def _request(
    backend: str,
    token_budgets: str | None,
    max_images: str | None,
    precision: str | None,
    target: str | None,
    force: bool,
) -> BuildRequest:
    """Raises BadParameter, which ends with exit code 2."""
    from navit_edge.build.request import BuildRequest, parse_numbers, parse_words

    try:
        return BuildRequest(
            backend=backend,
            token_budgets=() if token_budgets is None else parse_numbers(token_budgets, what="token budgets"),
            max_images=() if max_images is None else parse_numbers(max_images, what="max images"),
            precision=() if precision is None else parse_words(precision),
            targets=() if target is None else parse_words(target),
            force=force,
        )
    except InvalidInputError as error:
        raise typer.BadParameter(str(error)) from error


def _print_engines(bundle: Path, engines: list[Engine]) -> None:
    from rich.table import Table

    table = Table("engine", "precision", "budgets (tokens × images, activations)", "file", "size")
    for engine in engines:
        budgets = "\n".join(budget_text(budget) for budget in engine.budgets)
        size = size_text((bundle / engine.file).stat().st_size)
        table.add_row(engine.id, engine.precision, budgets, engine.file, size)
    out_console().print(table)


def budget_text(budget: Budget) -> str:
    """ "4096 × 128, 37.8 MiB" """
    activations = f", {size_text(budget.activation_bytes)}" if budget.activation_bytes is not None else ""
    return f"{budget.tokens} × {budget.images}{activations}"
