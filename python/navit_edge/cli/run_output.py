"""Where `navit-edge run` writes: which format goes to which place, and what is said at the end."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec
import typer

from navit_edge.cli.common import fail, out_console, standard_output
from navit_edge.place import Kind, OutputError, Place, check_file_place, find_place, require_writable, write_file
from navit_edge.text import safe_json, shown

if TYPE_CHECKING:
    from rich.console import Console

    from navit_edge.run.job import Outcome
    from navit_edge.run.progress import Progress
    from navit_edge.run.rows import Layout
    from navit_edge.run.sinks import Sink


#: Of the results.
Format: TypeAlias = Literal["table", "jsonl", "parquet", "numpy"]
#: The end of an output's name -> its format.
_FORMATS: dict[str, Format] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}


def place_of(output: Path | None) -> Place | None:
    """What stands at --output; None for standard output. Raises OutputError."""
    return None if output is None or output == Path("-") else find_place(output)


def format_of(place: Place | None, form: Format | None, as_json: bool) -> Format:
    """Of --format, --json and what --output is. Ends with usage if they do not go together."""
    if as_json:
        if form not in (None, "jsonl"):
            raise typer.BadParameter(f"--json with --format {form}; expected one of them", param_hint="--json")
        form = "jsonl"
    if place is None:
        if form in ("parquet", "numpy"):
            raise typer.BadParameter(f"{form} needs a folder: --output PATH", param_hint="--format")
        return form or "table"
    form = form or _FORMATS.get(Path(place.given).suffix.lower()) or ("jsonl" if place.is_stream else None)
    if form is None:
        raise typer.BadParameter(
            f"{place.given} ends in none of {', '.join(_FORMATS)}; give --format jsonl, parquet or numpy",
            param_hint="--output",
        )
    if form == "table":
        raise typer.BadParameter(
            "a table goes to the terminal; give --format jsonl, parquet or numpy", param_hint="--format"
        )
    return form


def kept_arrays(save: str, kind: Format, bundle: Path) -> list[str]:
    """What --save names; where it is not given, what the format is for."""
    from navit_edge.run.rows import ARRAYS, offered_shapes

    if not save:
        if kind not in ("parquet", "numpy"):
            return []
        offered = offered_shapes(bundle)
        wanted: tuple[str, ...] = ("embedding", "logits")
        return [name for name in wanted if name in offered][:1]
    names = [name.strip() for name in save.split(",")]
    if names == ["none"]:
        return []
    for name in names:
        if name not in ARRAYS:
            raise typer.BadParameter(f"{name!r}; expected any of {', '.join(ARRAYS)}, or none", param_hint="--save")
    if kind == "table":
        raise typer.BadParameter(
            "a table has no room for it; give --format jsonl, parquet or numpy", param_hint="--save"
        )
    return [name for name in ARRAYS if name in names]


def check_output(place: Place | None, form: Format, *, resume: bool, overwrite: bool) -> None:
    """Before anything is loaded: ends with usage, or raises OutputError, if results cannot go there."""
    hint = "--resume, --overwrite"
    if resume and overwrite:
        raise typer.BadParameter("both are given; expected one of them", param_hint=hint)
    if place is None:
        if resume or overwrite:
            raise typer.BadParameter("without --output there is nothing to continue", param_hint=hint)
        standard_output()
        return
    wants_folder = form in ("parquet", "numpy")
    expected = "a folder" if wants_folder else "a file"
    if place.is_stream:
        if wants_folder:
            raise typer.BadParameter(f"{place.given} is {place.kind.value}; {form} needs a folder", param_hint="-o")
        if resume or overwrite:
            raise typer.BadParameter(
                f"{place.given} is {place.kind.value}; there is nothing to continue", param_hint=hint
            )
    elif place.kind is not Kind.NOTHING and (place.kind is Kind.FOLDER) != wants_folder:
        remedy = "" if wants_folder else f": name one in it, as {os.path.join(place.given, 'results.jsonl')}"
        raise typer.BadParameter(
            f"{place.given} is {place.kind.value}; {form} needs {expected}{remedy}", param_hint="--output"
        )
    require_writable(place)


def open_output(
    place: Place | None,
    form: Format,
    layout: Layout,
    job: dict[str, Any],
    progress: Progress,
    *,
    resume: bool,
    overwrite: bool,
    part_rows: int,
) -> Sink:
    """Waits until a pipe has a reader. Raises OutputError, and InvalidInputError as ``open_sink``."""
    from navit_edge.run.sinks import open_sink
    from navit_edge.run.sinks.jsonl import StreamSink
    from navit_edge.run.sinks.table import TableSink

    if form == "table":
        return TableSink(out_console(), progress.paused)
    if place is None:
        return StreamSink(standard_output().buffer, "standard output", close=False)
    if place.is_stream:
        return StreamSink(os.fdopen(place.open_stream(), "wb"), shown(place.given), close=True)
    return open_sink(form, place.path, layout, job, resume=resume, overwrite=overwrite, part_rows=part_rows)


def to_terminal(place: Place | None) -> bool:
    """Whether lines of JSON would run into a bar."""
    if place is None:
        return standard_output().isatty()
    return place.is_stream and place.kind is not Kind.PIPE and _is_tty(place)


def _is_tty(place: Place) -> bool:
    if place.kind is Kind.DESCRIPTOR:
        return os.isatty(place.descriptor)
    return place.path == Path("/dev/tty") or place.path.parent == Path("/dev/pts")


def write_report(report: Path, outcome: Outcome) -> None:
    """--report: what became of every image and every entry, as JSON."""
    content = {
        "images": outcome.images,
        "failed": outcome.failed,
        "written": outcome.written,
        "done_before": outcome.skipped,
        "not_named_any_more": outcome.orphans,
        "skipped": dict(sorted(outcome.entries_skipped.items())),
        "signal": signal.Signals(outcome.signal).name if outcome.signal else None,
        "first_error": outcome.first_error or None,
    }
    text = msgspec.json.format(msgspec.json.encode(content), indent=2).decode()
    write_file(report, (safe_json(text) + "\n").encode())


def end(outcome: Outcome, console: Console, *, quiet: bool, place: Place | None) -> None:
    """The last lines, and the exit code."""
    if not quiet:
        parts = [outcome.summary]
        if outcome.skipped:
            parts.append(f"{outcome.skipped:,} done before")
        if outcome.orphans:
            parts.append(f"{outcome.orphans:,} results of images that the arguments no longer name")
        if outcome.entries_skipped:
            parts.append(outcome.entries_skipped.words())
        console.print("; ".join(parts), soft_wrap=True, markup=False)
    if outcome.signal:
        again = "; --resume continues from here" if place is not None and not place.is_stream else ""
        sys.stderr.write(f"interrupted by {signal.Signals(outcome.signal).name}{again}\n")
        raise typer.Exit(128 + outcome.signal)
    if outcome.failed:
        # Where they failed in an earlier run, the output alone says why.
        why = outcome.first_error or f"{place.given if place is not None else 'the output'} says why"
        fail(f"{outcome.failed} of {outcome.images} images failed: {why}")


def check_files(**outputs: Path | None) -> None:
    """Of options, by their names: ends with usage if a file cannot be written, before work is begun that would be
    lost."""
    for name, output in outputs.items():
        if output is not None:
            try:
                check_file_place(output)
            except OutputError as error:
                raise typer.BadParameter(str(error), param_hint=f"--{name}") from None
