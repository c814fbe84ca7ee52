"""Many images at once: fetched and decoded by several threads, planned together, in as many runs as memory asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from typing import TYPE_CHECKING, Any, TypeAlias

from navit_edge import _core
from navit_edge.errors import NavitEdgeError
from navit_edge.pixels import Given, size_of
from navit_edge.threads import Workers

if TYPE_CHECKING:
    from navit_edge.policy import Policy
    from navit_edge.session import Result, Session

#: Gives the pixels of an image, or raises NavitEdgeError: what is wrong with it.
Load: TypeAlias = Callable[[], Given]
#: Of pixels that one run plans together, decoded. A batch that holds more takes several runs.
MOST_BYTES = 1 << 30


def run_together(
    session: Session,
    loads: Sequence[Load],
    *,
    threads: int = 1,
    policy: Policy | None = None,
    most_bytes: int = MOST_BYTES,
) -> list[Result]:
    """One result for each of ``loads``, in order; what cannot be loaded or run has its error in its result.

    threads: that load. most_bytes: of pixels; one image is always taken. Raises what ``Session.run`` raises for all.
    """
    results: list[Result] = []
    for chunk in _chunks(loads, threads, most_bytes):
        results += _run(session, chunk, len(results), policy)
    return results


def _run(session: Session, chunk: list[Given | NavitEdgeError], first: int, policy: Policy | None) -> Iterable[Result]:
    good = [one for one in chunk if isinstance(one, Given)]
    done = iter(session.run(good, on_error="return", policy=policy)) if good else iter(())  # type: ignore[arg-type]
    for place, one in enumerate(chunk, first):
        if isinstance(one, Given):
            yield next(done)
        else:
            yield _core.Result.failed(one, place)


def _chunks(loads: Sequence[Load], threads: int, most_bytes: int) -> Iterator[list[Given | NavitEdgeError]]:
    """The next images are loaded while a chunk runs, but no more than ``most_bytes`` and one for each thread."""
    workers = Workers(threads, name="navit-edge decoder")
    with closing(workers):
        waiting: list[Future[Given | NavitEdgeError]] = []
        left = iter(loads)
        chunk: list[Given | NavitEdgeError] = []
        held = 0
        while True:
            while len(waiting) < 2 * threads and (load := next(left, None)) is not None:
                waiting.append(workers.do(_outcome, load))
            if not waiting:
                break
            one = waiting.pop(0).result()
            size = _bytes_of(one)
            if chunk and held + size > most_bytes:
                yield chunk
                chunk, held = [], 0
            chunk.append(one)
            held += size
        if chunk:
            yield chunk


def _outcome(load: Load) -> Given | NavitEdgeError:
    try:
        return load()
    except NavitEdgeError as error:
        return error


def _bytes_of(one: Any) -> int:
    if not isinstance(one, Given):
        return 0
    height_px, width_px = size_of(one.pixels)
    return 4 * height_px * width_px
