"""A job: sources → what is not done → the session → a sink, with progress, until the end or a signal."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from navit_edge.run.journal import Remaining
from navit_edge.run.signals import Stop

if TYPE_CHECKING:
    from navit_edge.inputs.entries import Skipped
    from navit_edge.run.feed import Done
    from navit_edge.run.progress import Progress
    from navit_edge.run.rows import Layout
    from navit_edge.run.sinks import Sink
    from navit_edge.run.sources import Item
    from navit_edge.session import Result, Session

#: Notes on images that were scaled down, before they are only counted.
_NOTES = 5


class Images(Protocol):
    """The images of a job, the same each time: ``Sources``, or a list with labels (``navit_edge.evaluate``)."""

    @property
    def skipped(self) -> Skipped:
        """Entries that ``items`` has left out so far, by the rule."""

    def items(self, stop_fd: int = -1) -> Iterator[Item]:
        """Every image in order; ends early, if it waits, once ``stop_fd`` is readable."""

    def count(self) -> int | None:
        """How many there are, if that can be said."""


class Feed(Protocol):
    """The way of a job's images through what computes: a session (``run.feed``), or the actors of a Ray cluster."""

    def rows(self, items: Iterator[Item], layout: Layout) -> Generator[Done, None, None]:
        """Every image, in order. Ends early after ``stop``: what is in flight finishes, what waited is left out. Raises
        BackendError if it cannot go on: images that were not done have no row."""

    def stop(self) -> None:
        """From any thread."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """images, failed: of the whole output, earlier runs of the job among them. written: by this run. skipped: done
    before. orphans: results whose image is not named any more. entries_skipped: of folders, by the rule. signal: what
    ended the job, or 0. summary: one line."""

    images: int
    failed: int
    written: int
    skipped: int
    orphans: int
    entries_skipped: Skipped
    signal: int
    first_error: str
    summary: str


def run_job(
    sources: Images,
    sink: Sink,
    layout: Layout,
    progress: Progress,
    feed: Feed,
    *,
    show_scaled: bool,
    watch: Sequence[Callable[[Item, Result], None]] = (),
) -> Outcome:
    """Every image of ``sources`` that ``sink`` has not, through ``feed`` into ``sink``, in order.

    show_scaled: notes say which images were scaled down, and why. watch: called with every result that was written.
    An image that cannot be run is a row with its error. Raises OutputError if a row cannot be written, and
    BackendError if the engine fails: rows up to there are in the output. SIGINT and SIGTERM end it early (``Stop``).
    """
    remaining = Remaining(sink.done())
    first_error = ""
    written = failed = notes = 0
    with Stop(on_stop=feed.stop, on_abort=progress.restore_terminal) as stop, progress:
        progress.count_with(sources.count, lambda: remaining.skipped)
        items = _until_stopped(remaining.of(sources.items(stop.fd)), stop)
        rows = feed.rows(items, layout)
        try:
            for item, row, sizing, result in rows:
                sink.write(row)
                written += 1
                if result is not None:
                    for take in watch:
                        take(item, result)
                if row.failed:
                    failed += 1
                    first_error = first_error or str(row.record["error"])
                elif show_scaled and sizing:
                    notes += 1
                    if notes <= _NOTES:
                        progress.note(f"{item.name}: {sizing}", "yellow")
                progress.add(row)
        finally:
            stop.wake()  # if a row cannot be written, the source may wait for a path that nobody needs any more
            rows.close()
            sink.flush()
        if notes > _NOTES:
            progress.note(f"and {notes - _NOTES} more were scaled down", "yellow")
        signal = stop.signal
    return Outcome(
        images=sink.found + written,
        failed=sink.found_failed + failed,
        written=written,
        skipped=remaining.skipped,
        orphans=remaining.orphans,
        entries_skipped=sources.skipped,
        signal=signal,
        first_error=first_error,
        summary=progress.summary(),
    )


@contextmanager
def traced(session: Session, path: Path | None) -> Iterator[None]:
    """Writes what the session did meanwhile to ``path``, a trace for https://ui.perfetto.dev; however it ends."""
    if path is None:
        yield
        return
    from navit_edge.metrics import trace

    session.metrics.start_trace()
    try:
        yield
    finally:
        trace.write(session.metrics.stop_trace(), path)


def _until_stopped(items: Iterator[Item], stop: Stop) -> Iterator[Item]:
    for item in items:
        if stop.signal:
            return
        yield item
