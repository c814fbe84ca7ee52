"""`navit-edge report`: what a bundle is, whether it is right, how fast and how good, on one page."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from navit_edge.cli.common import DebugOption, JsonFileOption, JsonOption, command, echo_json, err_console, json_text
from navit_edge.cli.run import announce
from navit_edge.place import check_file_place, write_file

if TYPE_CHECKING:
    from navit_edge.report import ReportFile


@command
def report(
    bundle: Annotated[Path, typer.Argument(help="Bundle to report on.", metavar="BUNDLE", show_default=False)],
    other: Annotated[
        Path | None, typer.Argument(help="Bundle to compare it with.", metavar="OTHER", show_default=False)
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Page to write.", metavar="FILE.html")] = Path(
        "report.html"
    ),
    bench: Annotated[
        list[Path] | None,
        typer.Option(
            help="What bench --json-file wrote of one engine; repeat for more.", metavar="FILE", show_default=False
        ),
    ] = None,
    evaluate: Annotated[
        list[Path] | None,
        typer.Option(
            help="What evaluate --json-file wrote; with OTHER, once for each bundle.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            help="Run the first 24 images of this folder and show their results.", metavar="DIR", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
    json_file: JsonFileOption = None,
    open_page: Annotated[
        bool, typer.Option("--open", metavar="", help="Show the page with the desktop's own browser.")
    ] = False,
    debug: DebugOption = False,
) -> None:
    """Write one page on a bundle, or on two side by side: what it is, whether it is right, how fast, how good.

    It takes what the bundle records (build, verify, quantize, bench
    --calibrate) and what files of bench and evaluate say, runs nothing without
    --images, and says what is missing and which command makes it. The page
    needs no script and loads nothing; --json has the same as data.
    """
    import msgspec

    for place in (output, json_file):
        if place is not None:
            check_file_place(place)
    made = _made([one for one in (bundle, other) if one is not None], bench or [], evaluate or [], images)
    from navit_edge.report import render

    write_file(output, render(made).encode())
    if json_file is not None:
        write_file(json_file, (json_text(msgspec.to_builtins(made)) + "\n").encode())
    if as_json:
        echo_json(msgspec.to_builtins(made))
    console = err_console()
    for path in (output, json_file):
        if path is not None:
            console.print(f"wrote {path}", soft_wrap=True, markup=False)
    for one in made.bundles:
        for missing in one.missing:
            console.print(
                f"{one.name} lacks {missing.what}: {missing.command}", style="dim", soft_wrap=True, markup=False
            )
    if open_page:
        typer.launch(str(output))


def _made(bundles: list[Path], bench: list[Path], evaluate: list[Path], images: Path | None) -> ReportFile:
    import navit_edge as ne
    from navit_edge.errors import InvalidInputError
    from navit_edge.report import ReportFile, compare, report_of
    from navit_edge.report.content import SCHEMA_VERSION
    from navit_edge.report.given import assigned, is_bench_of, is_evaluation_of, read_bench, read_evaluation

    manifests = {bundle: ne.load_manifest(bundle) for bundle in bundles}
    measured = assigned(
        "--bench",
        [(path, read_bench(path)) for path in bench],
        bundles,
        lambda found, bundle: is_bench_of(found, bundle, manifests[bundle]),
    )
    evaluated = assigned("--evaluate", [(path, read_evaluation(path)) for path in evaluate], bundles, is_evaluation_of)
    if any(len(found) > 1 for found in evaluated):
        raise InvalidInputError("several --evaluate of one bundle; expected one for each bundle")
    reports = tuple(
        report_of(path, bench=rows, evaluation=found[0] if found else None, images=images, on_session=announce)
        for path, rows, found in zip(bundles, measured, evaluated, strict=True)
    )
    return ReportFile(
        schema_version=SCHEMA_VERSION,
        version=ne.__version__,
        unix_time=time.time(),
        bundles=reports,
        comparison=compare(*reports) if len(reports) == 2 else None,
    )
