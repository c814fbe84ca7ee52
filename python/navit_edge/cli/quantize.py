"""`navit-edge quantize`: quantized graphs beside a bundle's float32 graphs."""

from __future__ import annotations

import shlex
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from navit_edge.cli.build_output import print_note
from navit_edge.cli.common import DebugOption, JsonOption, command, echo_json, err_console, make_progress, out_console
from navit_edge.cli.decoding import decoding
from navit_edge.decode import DecodeOptions
from navit_edge.errors import InvalidInputError
from navit_edge.tables import Column, number, print_table, text

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from navit_edge.quantize import Quantized
    from navit_edge.quantize.report import OutputAccuracy, SmoothedValue

T = TypeVar("T")


@command
@decoding
def quantize(
    bundle: Annotated[Path, typer.Argument(help="Bundle made by export.", metavar="BUNDLE", show_default=False)],
    calibration: Annotated[
        Path,
        typer.Option(
            help="Folder of images like those that the model will see, subfolders included.",
            metavar="DIR",
            show_default=False,
        ),
    ],
    precision: Annotated[str, typer.Option(help="int8, or fp8 (GPUs from sm89).", metavar="TYPE")] = "int8",
    method: Annotated[
        str, typer.Option(help="How to choose scales: minmax, percentile, mse or entropy.", metavar="METHOD")
    ] = "minmax",
    percentile: Annotated[
        float,
        typer.Option(
            help="With --method percentile: percentage of the magnitudes that a scale covers.", metavar="PERCENT"
        ),
    ] = 99.99,
    holdout: Annotated[
        str,
        typer.Option(
            help="Images to measure the error on: a fraction of DIR, or another folder.", metavar="FRACTION|DIR"
        ),
    ] = "0.25",
    max_images: Annotated[int, typer.Option(help="Largest number of images to calibrate with, evenly spaced.")] = 128,
    smooth: Annotated[
        str,
        typer.Option(
            help="Move outliers of activations into weights: auto (layer by layer), off, or a strength from 0 to 1.",
            metavar="auto|off|STRENGTH",
        ),
    ] = "auto",
    skip_layers: Annotated[
        str | None,
        typer.Option(
            help="Layers to leave in float: names, patterns such as blocks.0.*, or auto (by a sensitivity scan).",
            metavar="LIST|auto",
            show_default="none",
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(help="With auto: largest relative error; skip as few layers as it takes.")
    ] = 0.05,
    skip_count: Annotated[
        int | None,
        typer.Option(help="With auto: skip this many of the worst layers instead.", metavar="K", show_default="none"),
    ] = None,
    scan_images: Annotated[int, typer.Option(help="With auto: images that the scan runs per layer.")] = 8,
    force: Annotated[
        bool, typer.Option("--force", metavar="", help="Quantize again even if the bundle has the graphs already.")
    ] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
    *,
    decode: DecodeOptions,
) -> None:
    """Quantize the linear layers of a bundle's graphs to int8 or fp8, for build-engine --precision int8 or fp8.

    The images go through the bundle's own preprocessing into packs, which
    give the scales. The float32 graphs stay as they are. If the bundle
    already has graphs made with the same options, they are not made again.
    Ctrl-C leaves the bundle as it was.
    """
    from navit_edge.quantize import QuantizeRequest, quantize_bundle

    try:
        request = QuantizeRequest(
            calibration=calibration,
            precision=precision.strip().lower(),
            method=method.strip().lower(),
            percentile=percentile,
            holdout=_number_or(Path, holdout),
            max_images=max_images,
            smooth=_number_or(str, smooth.strip().lower()),
            skip_layers=() if skip_layers is None else tuple(part.strip() for part in skip_layers.split(",")),
            skip_count=skip_count,
            tolerance=tolerance,
            scan_images=scan_images,
            force=force,
            decode=decode,
        )
    except InvalidInputError as error:
        raise typer.BadParameter(str(error)) from error
    console = err_console()
    with make_progress(console) as progress:
        done = quantize_bundle(bundle, request, _Bars(progress))
    for note in done.report.notes:
        print_note(console, note)
    _print(bundle, done, as_json=as_json)


def _number_or(other: Callable[[str], T], text: str) -> float | T:
    try:
        return float(text)
    except ValueError:
        return other(text)


class _Bars:
    """A bar for each thing that is done."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[str, TaskID] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        if what not in self._bars:
            self._bars[what] = self._progress.add_task(what, total=total, phase="")
        self._progress.update(self._bars[what], completed=done, total=total)


def _print(bundle: Path, done: Quantized, *, as_json: bool) -> None:
    import msgspec

    report = done.report
    if as_json:
        record = {
            "bundle": str(bundle),
            "already_quantized": done.standing,
            "graphs": msgspec.to_builtins(done.graphs),
            "report_file": done.report_file,
            "report": msgspec.to_builtins(report),
        }
        echo_json(record)
        return
    console = out_console()
    if report.sensitivity:
        costs = [
            (cost.layer, f"{cost.error:.4f}", "left in float" if cost.layer in report.skipped else "")
            for cost in report.sensitivity[:10]
        ]
        columns = [Column("layer"), number("error alone"), Column("")]
        print_table(console, "sensitivity, the worst ten", columns, costs)
        console.print()
    others = {
        ", not smoothed": report.accuracy_unsmoothed,
        ", smoothed": report.accuracy_smoothed,
        ", every layer quantized": report.accuracy_of_all_layers,
    }
    tables = {suffix: accuracy for suffix, accuracy in others.items() if accuracy}
    tables[", as published" if tables else ""] = report.accuracy
    for suffix, accuracy in tables.items():
        figures = ("cosine,\nleast", "mean", "max\nerror", "rms\nerror", "top-1\nagreement")
        print_table(
            console,
            f"{report.precision} against float32{suffix}",
            [text("images"), Column("output"), *map(number, figures)],
            [(f"{row.images} {name}", *_cells(row)) for name, rows in accuracy.items() for row in rows],
        )
        console.print()
    if report.smoothing:
        console.print(_smoothing(report.smoothing), markup=False)
    quantized = len(report.layers) - len(report.skipped)
    state = "were there already" if done.standing else "made"
    made = ", ".join(graph.id for graph in done.graphs)
    console.print(
        f"{made}: {state}; {quantized} of {len(report.layers)} linear layers in "
        f"{report.precision}, scales by {report.method} over {report.calibration_tokens} tokens; {done.report_file}",
        markup=False,
    )
    example = "" if report.precision == "int8" else " --backend tensorrt-rtx --target sm89"
    console.print(
        f"next: navit-edge build-engine {shlex.quote(str(bundle))} --precision {report.precision}{example}",
        markup=False,
    )


def _smoothing(values: Sequence[SmoothedValue]) -> str:
    kinds = Counter(value.taken_over_by for value in values if value.taken_over_by)
    parts = ", ".join(f"{count} by {_TAKEN_OVER[kind]}" for kind, count in sorted(kinds.items()))
    before = statistics.median(value.error_before for value in values)
    after = statistics.median(value.error_after for value in values)
    return (
        f"smoothed: {kinds.total()} of {len(values)} values that layers read{f' ({parts})' if parts else ''}; median "
        f"error of a product {before:.2%} before, {after:.2%} after"
    )


_TAKEN_OVER = {"norm": "a norm", "values": "attention's values", "gate": "a gate", "factor": "a factor"}


def _cells(row: OutputAccuracy) -> list[str]:
    agreement = "" if row.top1_agreement is None else f"{row.top1_agreement:.1%}"
    numbers = [f"{row.cosine_min:.5f}", f"{row.cosine_mean:.5f}", f"{row.max_error:.2%}", f"{row.rms_error:.2%}"]
    return [row.output, *numbers, agreement]
