"""``Session.submit`` and its kin: one image at a time, and the waits for places and results (docs/streaming.md)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from navit_edge.decode.deferred import Deferred
from navit_edge.decode.encoded import is_encoded
from navit_edge.errors import CancelledError, NavitEdgeError, TimedOutError
from navit_edge.future import Future
from navit_edge.options import checked_deadline_us, checked_int, timeout_s
from navit_edge.pixels import as_pixels, checked_layout
from navit_edge.policy import Policy, checked

if TYPE_CHECKING:
    from navit_edge import _core
    from navit_edge.decode import Decoder
    from navit_edge.decode.recall import Recall
    from navit_edge.future import Delivery
    from navit_edge.pixels import ImageLike
    from navit_edge.vocabulary import Layout


class Submitting:
    """The part of ``Session`` that takes images one by one."""

    _core: _core.Session
    _delivery: Delivery
    _decoder: Decoder
    _recall: Recall | None

    def submit(
        self,
        image: ImageLike,
        *,
        deadline_ms: float | None = None,
        priority: int = 0,
        tag: Any = None,
        policy: Policy | None = None,
        layout: Layout | None = None,
        timeout: float | None = None,
    ) -> Future:
        """Takes one image, to be run in one pack with those that others submit; returns its future at once.

        image: what ``run`` takes. An array or ``Pixels`` is read where it lies: leave it unchanged until the future is
            done. It is kept alive until it has been read. A file is decoded by threads of the session: of a path
            leave the file as it is until then. An open file is read here.
        deadline_ms: from this call to the result. Says when the image's pack leaves; an image that is late is run all
            the same.
        priority: a whole number of 32 bits; higher leaves first, and has places in the queue that lower ones cannot
            fill; then the earlier deadline, then the earlier submission. What waits long gets its turn, whatever its
            priority (docs/runtime.md).
        tag: anything; ``future.tag`` and ``result.tag``.
        policy: how many tokens the image gets; None: the session's.
        layout: as in ``run``.
        timeout: how many seconds to wait for a place in the queue; None: as long as it takes; 0: not at all.

        Waits while the queue is full; Ctrl-C ends the wait. What is wrong with the image (a file that cannot be
        decoded, a dtype, over budget) is the future's error. Raises InvalidInputError for the other arguments,
        TimedOutError if there was no place in time, CancelledError if the session is closed, BackendError if
        it is broken or was opened before a fork; then the image was not taken.
        """
        future = self._submit(image, deadline_ms, priority, tag, policy, layout, timeout_s(timeout))
        if future is None:
            raise TimedOutError(f"the queue was full for {timeout:g} s; the image was not taken")
        return future

    def try_submit(
        self,
        image: ImageLike,
        *,
        deadline_ms: float | None = None,
        priority: int = 0,
        tag: Any = None,
        policy: Policy | None = None,
        layout: Layout | None = None,
    ) -> Future | None:
        """``submit`` without a wait: if the queue is full it returns None at once, and the image was not taken."""
        return self._submit(image, deadline_ms, priority, tag, policy, layout, 0.0)

    async def submit_async(
        self,
        image: ImageLike,
        *,
        deadline_ms: float | None = None,
        priority: int = 0,
        tag: Any = None,
        policy: Policy | None = None,
        layout: Layout | None = None,
        timeout: float | None = None,
    ) -> Future:
        """``submit`` for an event loop, which goes on meanwhile: a thread of the loop's executor reads an open file
        and waits for a place in a full queue. Gives the future to await. Cancelling the task gives up the place."""
        import asyncio  # only who has an event loop pays for it

        gone = threading.Event()

        def look_up() -> None:
            if gone.is_set():
                raise CancelledError("the task that submitted the image was cancelled; it was not taken")

        def call() -> Future | None:
            look_up()
            future = self._submit(image, deadline_ms, priority, tag, policy, layout, timeout_s(timeout), look_up)
            if future is not None and gone.is_set():
                future.cancel()
            return future

        try:
            future = await asyncio.get_running_loop().run_in_executor(None, call)
        except asyncio.CancelledError:
            gone.set()
            raise
        if future is None:
            raise TimedOutError(f"the queue was full for {timeout:g} s; the image was not taken")
        return future

    def _submit(
        self,
        image: ImageLike,
        deadline_ms: float | None,
        priority: int,
        tag: Any,
        policy: Policy | None,
        layout: Layout | None,
        timeout: float | None,
        look_up: Callable[[], None] | None = None,
    ) -> Future | None:
        """None if there was no place after ``timeout`` seconds."""
        began = time.perf_counter()
        deadline_us = checked_deadline_us(deadline_ms)
        priority = checked_int("priority", priority)
        delivery = self._delivery
        checked_layout(layout)
        future = Future(delivery, tag)
        chosen = checked(policy)
        file, pixels = None, None
        try:
            if is_encoded(image):
                file = future._file = self._deferred(image, chosen)
            else:
                given = as_pixels(image, decoder=self._decoder, layout=layout)
                pixels, future._decoding = given.pixels, given.done
        except NavitEdgeError as error:
            self._core.count_refused()
            future._refuse(error)
            return future
        delivery.start()
        spent_us = (time.perf_counter() - began) * 1e6  # a latency target counts it
        how = (future, tag, deadline_us, priority, chosen, timeout, look_up, spent_us)
        if file is not None:
            taken = self._core.submit_file(file, *how)
        else:
            assert pixels is not None
            taken = self._core.submit(pixels, *how)
        if taken is None:
            return None
        future._id = taken
        return future

    def _deferred(self, file: Any, policy: Policy | None) -> Deferred:
        return Deferred(file, "image", self._decoder_of(policy), self._recall)

    def _decoder_of(self, policy: Policy | None) -> Decoder:
        """That of an image under ``policy``. Who remembers results looks at all of the pixels."""
        return self._decoder if self._recall else self._decoder.toward(self._core, policy)

    def drain(self, timeout: float | None = None) -> None:
        """Waits until everything submitted so far is done, callbacks of the futures included; for ``timeout`` seconds
        at most, and then raises TimedOutError. Ctrl-C ends the wait. In a callback it does not wait for callbacks
        behind it."""
        self._delivery.drain(timeout_s(timeout))
