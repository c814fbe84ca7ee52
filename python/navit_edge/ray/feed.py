"""Images of a job through the actors of a Ray cluster, rows out in the same order; bounded in memory."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from navit_edge.errors import BackendError
from navit_edge.ray.ahead import Ahead, Load
from navit_edge.ray.job_actor import Answer, Sent
from navit_edge.ray.pool import DEPTH, Lost, Pool
from navit_edge.run.feed import Done
from navit_edge.run.rows import Layout, Row, failed, named
from navit_edge.run.sources import Item

if TYPE_CHECKING:
    from navit_edge.session import Result

#: Of what is sent of one batch.
BATCH_BYTES = 32 << 20
#: How long images that do not fill a batch wait for more while an actor has nothing to do.
LINGER_S = 0.05
#: How often an actor may die of the same images before they are halved, and of one image before it has an error.
SPLIT_AT, GIVE_UP_AT = 2, 3


@dataclass(eq=False)
class Batch:
    """entries: its images, each with its row if there is nothing to run. payload: Ray's reference to what is sent of
    the others, which is held nowhere else. deaths: of actors that computed it. done: its images, once they are."""

    entries: Sequence[tuple[Item, Row | None]]
    payload: Any
    deaths: int = 0
    done: list[Done] | None = None

    @property
    def to_run(self) -> int:
        """How many images are sent."""
        return sum(row is None for _, row in self.entries)


class RayFeed:
    """One job's way through ``pool``. batch_images: most of a batch; an actor plans it as a whole.

    A batch whose actor dies goes to another one. If two die of the same batch, it is halved, down to the one image that
    they die of, which has that error in its row.
    """

    def __init__(self, ray: Any, pool: Pool[Batch], load: Load, *, batch_images: int, readers: int) -> None:
        self._ray = ray
        self._pool = pool
        self._load = load
        self._batch_images = batch_images
        self._readers = readers
        self._stopped = threading.Event()
        self._used = self._padding = 0
        self._order: deque[Batch] = deque()  # every batch that has no rows out yet
        self._again: deque[Batch] = deque()  # those of them that no actor has

    def rows(self, items: Iterator[Item], layout: Layout) -> Generator[Done, None, None]:
        """As ``navit_edge.run.job.Feed``; the actors know ``layout``."""
        ahead = Ahead(
            items,
            self._load,
            readers=self._readers,
            most_images=2 * self._batch_images,
            most_bytes=2 * BATCH_BYTES,
        )
        try:
            while not self._finished(ahead):
                hungry = self._send(ahead)
                for one in self._pool.wait(LINGER_S if hungry else 1.0):
                    self._take(one)
                if not self._pool.busy and hungry:
                    self._stopped.wait(LINGER_S)
                while self._order and self._order[0].done is not None:
                    yield from self._order.popleft().done or ()
            if not self._stopped.is_set():
                ahead.check()
        finally:
            ahead.close()

    def stop(self) -> None:
        """From any thread."""
        self._stopped.set()

    def fill(self) -> float:
        """Tokens over the capacity of all packs so far; nan before the first."""
        return self._used / (self._used + self._padding) if self._used else math.nan

    def _finished(self, ahead: Ahead) -> bool:
        if self._stopped.is_set():  # what no actor has is left out, and what lies behind it in the order
            return not self._pool.busy
        return not self._order and ahead.ended

    def _send(self, ahead: Ahead) -> bool:
        """Gives actors batches; whether one is left that has nothing to do."""
        window = 2 * DEPTH * len(self._pool.actors)
        while not self._stopped.is_set() and (actor := self._pool.idle()) is not None:
            if self._again:
                batch = self._again.popleft()
            elif len(self._order) < window:
                partial = not actor.running
                loaded = ahead.take(
                    self._batch_images, BATCH_BYTES, partial=partial, wait_s=LINGER_S if partial else 0.0
                )
                if not loaded:
                    return partial
                batch = self._batch_of([(one.item, one.sent) for one in loaded])
                self._order.append(batch)
                if batch.done is not None:
                    continue
            else:
                return False
            self._pool.send(actor, batch, batch.payload)
        return False

    def _take(self, one: tuple[Batch, Answer] | Lost[Batch]) -> None:
        if isinstance(one, Lost):
            if one.suspect is not None:
                self._after_death(one.suspect, one.cause)
            self._again.extend(one.others)
            return
        batch, answer = one
        self._used += answer.used
        self._padding += answer.padding
        self._finish(batch, answer.rows, answer.sizings, answer.results)

    def _batch_of(self, images: Sequence[tuple[Item, Sent | Row]], deaths: int = 0) -> Batch:
        sent = [one for _, one in images if isinstance(one, Sent)]
        entries = [(item, one if isinstance(one, Row) else None) for item, one in images]
        batch = Batch(entries, self._ray.put(sent) if sent else None, deaths)
        if not sent:
            self._finish(batch, [], [], None)
        return batch

    def _finish(
        self, batch: Batch, rows: Sequence[Row], sizings: Sequence[str], results: Sequence[Result] | None
    ) -> None:
        answers = iter(zip(rows, sizings, results if results is not None else [None] * len(rows), strict=True))
        batch.done = []
        for item, own in batch.entries:
            row, sizing, result = (own, "", None) if own is not None else next(answers)
            batch.done.append(Done(item, named(item, row), sizing, result))
        batch.entries, batch.payload = (), None

    def _after_death(self, batch: Batch, cause: str) -> None:
        batch.deaths += 1
        if batch.to_run > 1 and batch.deaths >= SPLIT_AT:
            sent = iter(self._ray.get(batch.payload))
            images = [(item, next(sent) if row is None else row) for item, row in batch.entries]
            middle = len(images) // 2
            halves = [self._batch_of(half, deaths=1) for half in (images[:middle], images[middle:])]
            place = self._order.index(batch)
            self._order[place] = halves[0]
            self._order.insert(place + 1, halves[1])
            self._again.extendleft(half for half in reversed(halves) if half.done is None)
        elif batch.to_run == 1 and batch.deaths >= GIVE_UP_AT:
            error = BackendError(f"{batch.deaths} actors died while they ran it, the last with: {cause}")
            self._finish(batch, [failed(error)], [""], None)
        else:
            self._again.appendleft(batch)
