"""An open loop: images that arrive at times drawn beforehand, whatever the session is doing.

An image's latency counts from the time that was drawn for it, so that a generator that is held up hides nothing (no
coordinated omission). benchmarks/streaming.py, benchmarks/serving.py and `make gpu-proof` measure so.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from navit_edge.bench.measure import percentile

if TYPE_CHECKING:
    from navit_edge._core import Result
    from navit_edge.policy import Policy
    from navit_edge.session import Session

Times = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

_ALONE_REPEATS = 7
_START_S = 0.05  # from the call to time 0
_LATE_S = 1e-3


@dataclass(frozen=True, kw_only=True)
class Load:
    """What became of the images of an open loop, in seconds from its start; one entry an image, in order of arrival.

    limit: after ``due``, by which it was to be done. tokens: of each image. packs: in which each ran, as
    ``Result.pack`` says. pack_tokens: T of that pack, padding included. late_sends: share of images that were submitted
    more than a millisecond after they were due.
    """

    due: Times
    done: Times
    limit: Times
    tokens: Indices
    packs: Indices
    pack_tokens: Indices
    late_sends: float

    @property
    def latency_s(self) -> Times:
        return self.done - self.due

    @property
    def met(self) -> npt.NDArray[np.bool_]:
        """Which images were done within their limit."""
        return self.latency_s <= self.limit


def arrivals(rate: float, seconds: float, rng: np.random.Generator) -> Times:
    """Times of a Poisson process of ``rate`` images a second, from 0 s up to ``seconds``: exponential gaps."""
    times = np.cumsum(rng.exponential(1 / rate, size=int(rate * seconds * 2) + 20))
    return times[times < seconds]


def percentiles_ms(latency_s: npt.ArrayLike) -> dict[str, float]:
    """latency_ms_p50 and latency_ms_p99, by nearest rank, of one latency or more."""
    ordered = np.sort(np.asarray(latency_s, np.float64)).tolist()
    return {f"latency_ms_p{percent}": 1e3 * percentile(ordered, percent) for percent in (50, 99)}


def time_alone(session: Session, image: npt.NDArray[np.uint8], *, repeats: int = _ALONE_REPEATS) -> float:
    """Seconds of one image on an idle session, by submit: the median."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        session.submit(image).result()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def submit_all(session: Session, images: Sequence[npt.NDArray[np.uint8]]) -> float:
    """Seconds until images that are all submitted at once have their results."""
    start = time.perf_counter()
    for future in [session.submit(image) for image in images]:
        future.result()
    return time.perf_counter() - start


def offer(
    session: Session, images: Sequence[npt.NDArray[np.uint8]], due: Times, chosen: Indices, *, limits: Times,
    policies: Sequence[Policy | None] | None = None, look: Callable[[int, Result], object] | None = None,
) -> Load:  # fmt: skip
    """Submits image chosen[i] at due[i], never waiting for a result; returns when all are done.

    limits, policies: one for each of ``images``; a limit is the image's deadline, in seconds. look: called with i and
    the result, in the session's delivery thread. Raises the first error of an image, when all are done.
    """
    done = np.zeros(len(due))
    tokens, packs, pack_tokens = (np.zeros(len(due), np.int64) for _ in range(3))
    left = threading.Semaphore(0)
    failures: list[BaseException] = []
    start = time.perf_counter() + _START_S

    def finished(index: int, future: Any) -> None:
        done[index] = time.perf_counter() - start
        try:
            result = future.result()
            tokens[index], packs[index] = result.token_count, result.pack
            pack_tokens[index] = result.pack_tokens
            if look is not None:
                look(index, result)
        except BaseException as error:  # the caller's to see, not the delivery thread's
            failures.append(error)
        left.release()

    late = 0
    for index, (when, which) in enumerate(zip(due, chosen, strict=True)):
        wait = start + when - time.perf_counter()
        if wait > 0:
            time.sleep(wait)
        late += time.perf_counter() - start - when > _LATE_S
        deadline_s = max(1e-4, start + when + limits[which] - time.perf_counter())
        future = session.submit(
            images[which], deadline_ms=1e3 * deadline_s, policy=None if policies is None else policies[which]
        )
        future.add_done_callback(partial(finished, index))
    for _ in due:
        left.acquire()
    if failures:
        raise failures[0]
    return Load(
        due=due, done=done, limit=limits[chosen], tokens=tokens, packs=packs, pack_tokens=pack_tokens,
        late_sends=late / max(1, len(due)),
    )  # fmt: skip
