"""Where the results of a job go. Each keeps this contract, and each is whole after any crash (docs/run.md)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from navit_edge.errors import InvalidInputError

if TYPE_CHECKING:
    from navit_edge.run.rows import Layout, Row
    from navit_edge.run.sources import Name


class Sink(Protocol):
    """One thread. ``write`` may keep rows back until ``flush``; a row counts as done from when the output has it."""

    #: Of the rows that were there when it was opened: how many, and how many of them are errors.
    found: int
    found_failed: int

    def done(self) -> Iterator[Name]:
        """The images of the rows that were there when it was opened, in order; may be read while others are written."""

    def write(self, row: Row) -> None:
        """Raises OutputError if it cannot be written; the output then is as it was before."""

    def flush(self) -> None:
        """Every row so far is in the output, on the disk."""

    def close(self) -> None:
        """Without flushing what is kept back; idempotent."""


def require_mode(path: Path, *, resume: bool) -> None:
    """Raises InvalidInputError: ``path`` has results, and the job does not say what is to become of them."""
    if not resume:
        raise InvalidInputError(f"{path} holds results already; --resume continues it, --overwrite replaces it")


def open_sink(
    kind: str,
    path: Path,
    layout: Layout,
    job: dict[str, Any],
    *,
    resume: bool,
    overwrite: bool,
    part_rows: int,
) -> Sink:
    """kind: "jsonl", "parquet" or "numpy". job: the fingerprint (``journal``).

    Raises InvalidInputError if there is an output that may not be continued or replaced, and OutputError.
    """
    if kind == "jsonl":
        from navit_edge.run.sinks.jsonl import JsonlSink

        return JsonlSink(path, layout, job, resume=resume, overwrite=overwrite)
    if kind == "parquet":
        from navit_edge.run.sinks.parquet import ParquetSink

        return ParquetSink(path, layout, job, resume=resume, overwrite=overwrite, part_rows=part_rows)
    if kind == "numpy":
        from navit_edge.run.sinks.arrays import ArraysSink

        return ArraysSink(path, layout, job, resume=resume, overwrite=overwrite)
    raise InvalidInputError(f"output format {kind!r}; expected jsonl, parquet or numpy")
