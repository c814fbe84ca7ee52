"""Where the results of a job go. Each keeps this contract, and each is whole after any crash (docs/run.md)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from navit_edge.errors import InvalidInputError
from navit_edge.run.durable import cannot_write, remove_new
from navit_edge.run.journal import Journal

if TYPE_CHECKING:
    from navit_edge.run.rows import Layout, Row
    from navit_edge.run.sources import Name


#: The journal of a folder; readers of Parquet folders leave out what begins with _ or .
JOURNAL = "_job.json"


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


@contextmanager
def opening(sink: Any, path: Path) -> Iterator[None]:
    """While a sink opens: if it cannot, what it has made goes, and it is closed. ``sink.journal`` is its journal."""
    new = not os.path.lexists(path)
    try:
        yield
    except BaseException:
        if sink.journal is not None:
            if new:
                remove_new(path)
            sink.journal.discard()
        sink.close()
        raise


def claim_folder(path: Path, *, resume: bool, overwrite: bool) -> Journal:
    """A folder for results, made if there is none, and its journal.

    Raises InvalidInputError if it holds something else, or results that may not be continued or replaced; OutputError.
    """
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error
    if not (path / JOURNAL).exists() and (stranger := next(path.iterdir(), None)) is not None:
        raise InvalidInputError(f"{path} holds {stranger.name} and no results; choose an empty folder, or a new one")
    journal = Journal(path / JOURNAL, path)
    try:
        if not overwrite and journal.read() is not None:
            require_mode(path, resume=resume)
    except BaseException:
        journal.discard()
        raise
    return journal


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
