"""Images of a job into a session's stream, results out in the same order; bounded in memory."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from navit_edge.errors import BackendError, CancelledError
from navit_edge.run.sources import Item

if TYPE_CHECKING:
    from navit_edge.policy import Policy
    from navit_edge.run.rows import Layout, Row
    from navit_edge.session import Result, Session
    from navit_edge.streaming import Still


class Done(NamedTuple):
    """An image that is done. sizing: why it was scaled down; "" if it was not. result: None if nobody watches it."""

    item: Item
    row: Row
    sizing: str
    result: Result | None


class Feed:
    """One job's way through ``session``, which is the job's own: ``stop`` closes it.

    policy: how many tokens an image gets; None: the session's. still: of frames of a fixed camera.
    """

    def __init__(self, session: Session, *, policy: Policy | None = None, still: Still | None = None) -> None:
        self._session = session
        self._policy = policy
        self._still = still
        self._stopped = False

    def rows(self, items: Iterator[Item], layout: Layout) -> Generator[Done, None, None]:
        """``results`` as rows of ``layout``."""
        with closing(self.results(items)) as results:
            for item, result in results:
                yield Done(item, layout.row(item, result), result.sizing, result)

    def results(self, items: Iterator[Item]) -> Generator[tuple[Item, Result], None, None]:
        """Every image with its result, in order. An item that is an error itself has a result without an image.

        Ends early after ``stop``: packs in flight finish, images that waited are left out. Raises BackendError if
        the session breaks: an image that it takes no more has no result, so that it runs when the job goes on.
        """
        stream = self._session.stream(
            ((item.image, item) for item in items),  # type: ignore[misc]  # None, for an item with an error, is refused
            policy=self._policy,
            still=self._still,
        )
        with closing(stream):
            try:
                for result in stream:
                    if isinstance(result.error, BackendError) and self._session.broken:
                        break
                    if not isinstance(result.error, CancelledError):
                        yield result.tag, result
            except CancelledError:
                if not self._stopped:
                    raise
        if self._session.broken:
            raise BackendError(f"the session takes no more images: {self._session.broken}")

    def stop(self) -> None:
        """From any thread. Returns when the packs in flight have finished."""
        self._stopped = True
        self._session.close()

    def fill(self) -> float:
        """Tokens over the capacity of all packs so far; nan before the first."""
        tokens = self._session.metrics.stats()["tokens"]
        return tokens["used"] / (tokens["used"] + tokens["padding"]) if tokens["used"] else math.nan
