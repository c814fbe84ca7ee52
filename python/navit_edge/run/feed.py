"""Images of a job into a session, results out in the same order; bounded in memory."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from navit_edge.run.sources import Item

if TYPE_CHECKING:
    from navit_edge.session import Result, Session

#: Images decoded and run at a time: enough to fill packs, and bounds memory.
CHUNK = 64


class Feed:
    """One job's way through ``session``. ``stop`` may be called from any thread."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._stopped = False
        self._used = 0
        self._capacity = 0
        self._packs = 0

    def results(self, items: Iterator[Item]) -> Generator[tuple[Item, Result | None, int], None, None]:
        """Every image with its result, None for an item that is an error itself, and the job's packs before its call.

        Ends early after ``stop``: packs in flight finish, and images that wait are left out.
        """
        while not self._stopped and (chunk := list(islice(items, CHUNK))):
            images: list[Any] = [item.image for item in chunk if item.error is None]
            results = iter(self._session.run(images, on_error="return") if images else ())
            before = self._packs
            if images:
                packs = self._session.last_report["packs"]
                self._packs += len(packs)
                self._used += sum(pack["tokens"] for pack in packs)
                self._capacity += sum(pack["capacity"] for pack in packs)
            for item in chunk:
                yield item, next(results) if item.error is None else None, before

    def stop(self) -> None:
        self._stopped = True

    def fill(self) -> float:
        """Tokens over the capacity of all packs so far; nan before the first."""
        return self._used / self._capacity if self._capacity else math.nan
