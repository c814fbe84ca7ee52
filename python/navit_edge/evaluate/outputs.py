"""What a variant gave for every image: run as a job of `navit_edge.run` into NumPy files, and read back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from navit_edge.errors import InvalidInputError, NavitEdgeError
from navit_edge.evaluate.heads import Array
from navit_edge.run.feed import Feed
from navit_edge.run.job import Outcome, run_job
from navit_edge.run.progress import Progress
from navit_edge.run.rows import Layout
from navit_edge.run.sinks import open_sink
from navit_edge.run.sinks.arrays import INDEX
from navit_edge.text import shown

if TYPE_CHECKING:
    from rich.console import Console

    from navit_edge.evaluate.data import Examples
    from navit_edge.session import Session


class InterruptedEvaluation(NavitEdgeError):  # noqa: N818  # what happened, as KeyboardInterrupt
    """SIGINT or SIGTERM ended it; ``signal`` is its number. What was done before is in the output."""

    def __init__(self, signal: int) -> None:
        super().__init__(f"the evaluation was interrupted by signal {signal}; go on with --resume")
        self.signal = signal


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """In the order of the examples. ok: [n], whether an image has outputs. tokens: [n], of all passes, 0 if it has
    none. errors: why not, of each that has none. logits, embedding: [n, width]; None if the bundle gives none."""

    ok: npt.NDArray[np.bool_]
    tokens: npt.NDArray[np.int64]
    errors: tuple[str, ...]
    logits: Array | None
    embedding: Array | None


class _Line(msgspec.Struct, kw_only=True):
    file: str
    tokens: int = 0
    total_tokens: int | None = None  # if there are more: of a cascade
    error: str | None = None


def run_into(
    folder: Path,
    examples: Examples,
    session: Session,
    layout: Layout,
    job: dict[str, Any],
    *,
    console: Console,
    quiet: bool,
) -> Outcome:
    """Runs what ``folder`` has not yet. job: what makes outputs those of one variant (``run.journal``).

    Raises InterruptedEvaluation after a signal, InvalidInputError if the folder has outputs of something else.
    """
    feed = Feed(session)
    progress = Progress(console, quiet=quiet, bar=True, fill=feed.fill)
    sink = open_sink("numpy", folder, layout, job, resume=True, overwrite=False, part_rows=1)
    try:
        outcome = run_job(examples, sink, layout, progress, feed, show_scaled=False)
    finally:
        sink.close()
    if outcome.signal:
        raise InterruptedEvaluation(outcome.signal)
    return outcome


def read_outputs(folder: Path, names: Sequence[str]) -> Outputs:
    """Of a folder that ``run_into`` has completed. Raises InvalidInputError if an image is missing in it."""
    decode = msgspec.json.Decoder(_Line).decode
    lines = [decode(line) for line in (folder / INDEX).read_bytes().splitlines()]
    place = {line.file: row for row, line in enumerate(lines)}
    missing = [name for name in names if name not in place]
    if missing:
        raise InvalidInputError(
            f"{shown(folder)} has no outputs of {shown(missing[0])}; evaluate again with --overwrite"
        )
    rows = [place[name] for name in names]
    return Outputs(
        ok=np.array([lines[row].error is None for row in rows], np.bool_),
        tokens=np.array([lines[row].total_tokens or lines[row].tokens for row in rows], np.int64),
        errors=tuple(error for row in rows if (error := lines[row].error) is not None),
        logits=_rows_of(folder / "logits.npy", rows),
        embedding=_rows_of(folder / "embedding.npy", rows),
    )


def _rows_of(path: Path, rows: Sequence[int]) -> Array | None:
    if not path.exists():
        return None
    found: Array = np.load(path, mmap_mode="r", allow_pickle=False)[rows]
    return found
