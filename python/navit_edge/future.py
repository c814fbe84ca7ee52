"""Results of submitted images: the future that ``Session.submit`` returns, and the thread that resolves it.

A session's C++ threads leave results in a queue, without the GIL; one Python thread a session, the delivery thread,
takes all there is at once and resolves the futures (csrc/bindings/result_queue.h).
"""

from __future__ import annotations

import atexit
import concurrent.futures
import logging
import threading
import time
import weakref
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

from navit_edge import _core
from navit_edge.errors import BackendError, CancelledError, InvalidInputError, NavitEdgeError, TimedOutError
from navit_edge.options import timeout_s
from navit_edge.threads import PATIENCE_S, insist, leave, start_thread

if TYPE_CHECKING:
    import asyncio

    from navit_edge.decode.deferred import Deferred

    _Loops: TypeAlias = "dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[_core.Result], Future]]]"

_log = logging.getLogger("navit_edge")


_open: weakref.WeakSet[Delivery] = weakref.WeakSet()
#: Delivery threads, with the queues that end them: a session may be gone before its thread is.
_threads: weakref.WeakKeyDictionary[threading.Thread, _core.ResultQueue] = weakref.WeakKeyDictionary()


class Delivery:
    """The delivery thread of one session; it starts with the first image and ends when the session closes."""

    def __init__(self, session: _core.Session) -> None:
        self.session = session
        self.result_queue = session.result_queue
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        _open.add(self)

    def start(self) -> None:
        """Starts the thread where it is not running yet."""
        if self._thread is not None:
            return
        with self._starting:
            if self._thread is None:
                # It holds the queue only, so that a session that nobody uses any more can go.
                self._thread = start_thread(_deliver, self.result_queue, name="navit-edge delivery")
                _threads[self._thread] = self.result_queue

    @property
    def here(self) -> bool:
        """Whether the caller is the delivery thread: a callback of a future."""
        return self._thread is not None and self._thread.ident == threading.get_ident()

    def expect_help(self) -> None:
        """Refuses to wait for a future if nobody will ever resolve it."""
        if self.here:
            raise InvalidInputError(
                "a callback waits for an image that is not done, and would wait for ever: the results behind it wait "
                "for the callback; expected a future that is done; use add_done_callback, or wait in another thread"
            )
        if not self.result_queue.here:
            raise BackendError(
                "this image was submitted before the process forked, and its result goes to the parent; open a session "
                'in the child, or use multiprocessing.get_context("spawn")'
            )

    def drain(self, timeout: float | None) -> None:
        """Until everything submitted so far is resolved, callbacks included. Raises TimedOutError."""
        end = None if timeout is None else time.monotonic() + timeout
        if not (self.session.drain(timeout) and self._settle(end)):
            raise TimedOutError(f"images that were submitted are not done after {timeout:g} s; they go on")

    def close(self) -> None:
        """Ends the session and the thread; every future is done then."""
        if not self.result_queue.here:
            return  # a forked child owns nothing of it
        self.session.close()
        self._settle()
        if self._thread is not None and not self.here:
            self._thread.join()

    def _settle(self, end: float | None = None) -> bool:
        """False if ``end``, of the monotonic clock, came first."""
        if self.here:
            _resolve(self.result_queue.take_now(), {})
            return True
        return self.result_queue.flush(None if end is None else max(0.0, end - time.monotonic()))


def _deliver(result_queue: _core.ResultQueue) -> None:
    """Body of the thread. It ends with the session and with nothing else, whatever callbacks and allocations raise."""
    ready: list[tuple[Future, _core.Result]] | None = []
    loops: _Loops = {}
    while ready is not None:
        try:
            _resolve(ready, loops)
            ready = result_queue.take()
        except BaseException:  # memory has run out; the queue keeps what it could not give
            try:  # noqa: SIM105  # `suppress` wants memory
                _recover(ready or [])
            except BaseException:
                pass


def _recover(ready: list[tuple[Future, _core.Result]]) -> None:
    for future, _ in ready:
        leave(future._condition)
    time.sleep(PATIENCE_S)
    _say("the delivery thread of a session goes on after")


def _resolve(ready: list[tuple[Future, _core.Result]], loops: _Loops) -> None:
    """Empties ``ready``, and ``loops`` of what is to be told to event loops for it. What is left if this raises can
    be given again."""
    outer, _batch.loops = _batch.loops, loops
    try:
        while ready:
            future, result = ready[0]
            insist(future._resolve, result, held=future._condition)
            del ready[0], future, result  # results hold the memory of their packs
    finally:
        _batch.loops = outer
        while loops:
            loop = next(iter(loops))
            insist(_tell, loop, loops[loop])
            del loops[loop]


def _say(what: str) -> None:
    with suppress(BaseException):  # from a handler of the application's, or for want of memory
        _log.exception(what)


class _Batch(threading.local):
    """While the delivery thread resolves: what it has to tell event loops, each of them once."""

    loops: _Loops | None = None


_batch = _Batch()


class Future(concurrent.futures.Future[_core.Result]):
    """The result of one submitted image: a ``concurrent.futures.Future``, for ``wait`` and ``as_completed`` too, which
    can also be awaited: ``result = await session.submit(image)``.

    ``result`` and ``await`` give the ``Result``, or raise the image's error: InvalidInputError, OverBudgetError,
    BackendError, or CancelledError if the session was closed first. ``cancel`` takes an image back that is not in a
    pack yet; ``result`` then raises CancelledError, which is a ``concurrent.futures.CancelledError``. Awaiting one that
    another task cancelled raises ``asyncio.CancelledError``, and cancelling the task that awaits cancels the image.

    Callbacks run in the session's delivery thread, one after the other, in the order the images were done; those of a
    future that ``cancel`` cancelled, in the thread that called it; those added to a future that is done, at once. They
    may submit, cancel and close, and should be short, since other futures wait behind them. What they raise is logged.
    """

    #: What ``submit`` was given.
    tag: Any
    _done_callbacks: list[Callable[[concurrent.futures.Future[_core.Result]], object]]  # the base class's

    def __init__(self, delivery: Delivery, tag: Any = None) -> None:
        super().__init__()
        self._waiters: Any = _Waiters(delivery)  # of concurrent.futures
        self.tag = tag
        self._delivery: Delivery | None = delivery  # until it is done; keeps the session alive
        self._id = 0
        self._decoding = ""  # what decoding did to the image
        self._file: Deferred | None = None  # that it is decoded from, until it is done
        self._withdrawn = False

    def cancel(self) -> bool:
        """Takes the image back; False if it is in a pack already, or done."""
        delivery = self._delivery
        if delivery is None:
            return self.cancelled()
        self._withdrawn = True
        if not delivery.session.cancel(self._id):
            return self.cancelled()
        return super().cancel()

    def result(self, timeout: float | None = None) -> _core.Result:
        """The result, waited for up to ``timeout`` seconds; raises ``concurrent.futures.TimeoutError`` after that, or
        the image's error."""
        self._expect_help()
        try:
            return super().result(timeout_s(timeout))
        except concurrent.futures.CancelledError as error:
            raise _named(error) from None

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The image's error, or None; waits as ``result`` does. Raises CancelledError after ``cancel``."""
        self._expect_help()
        try:
            return super().exception(timeout_s(timeout))
        except concurrent.futures.CancelledError as error:
            raise _named(error) from None

    def __await__(self) -> Generator[Any, None, _core.Result]:
        # What asyncio.wrap_future does, but the delivery thread wakes an event loop once for all that is done.
        import asyncio

        if not self.done():
            self._expect_help()
            loop = asyncio.get_running_loop()
            waiter: asyncio.Future[_core.Result] = loop.create_future()
            waiter.add_done_callback(self._follow)
            self.add_done_callback(_HandOver(loop, waiter))
            return (yield from waiter)
        if self.cancelled():
            raise asyncio.CancelledError
        return self.result()

    def _follow(self, waiter: asyncio.Future[_core.Result]) -> None:
        if waiter.cancelled():
            self.cancel()

    def _expect_help(self) -> None:
        """Refuses to wait if nobody will ever resolve this future."""
        delivery = self._delivery
        if delivery is not None:
            delivery.expect_help()

    def _refuse(self, error: NavitEdgeError) -> None:
        self._let_go()
        self.set_exception(error)

    def _let_go(self) -> None:
        """It is done, or will be at once: it needs the session no more."""
        self._delivery = self._waiters.delivery = None

    def _decoded(self) -> NavitEdgeError | None:
        """Takes what is known of its file; its error, if it could not be decoded."""
        file, self._file = self._file, None
        if file is None:
            return None
        self._decoding = file.done
        return file.error

    def _resolve(self, result: _core.Result) -> None:
        """If memory runs out this raises, and can be called again."""
        self._let_go()
        error: BaseException | None = _lost() if result.lost else result.error
        refused = self._decoded()
        if isinstance(error, InvalidInputError):
            error = refused or error
        if self._withdrawn and isinstance(error, CancelledError):
            super().cancel()  # if `cancel` has not come to it yet
            if self._state == "CANCELLED":
                self.set_running_or_notify_cancel()  # wakes `wait` and `as_completed`
        elif self.done():  # begun before, or the application has set a result of its own
            with self._condition:
                self._condition.notify_all()
            self._invoke_callbacks()
        elif error is not None:
            self.set_exception(error)
        else:
            if self._decoding:
                result.decoding = self._decoding
            self.set_result(result)

    def _invoke_callbacks(self) -> None:
        """As the base class, which stops at the first callback that raises SystemExit or the like: those behind it, an
        ``await`` among them, would wait for ever."""
        interrupt: BaseException | None = None
        while self._done_callbacks:
            callback = self._done_callbacks.pop(0)
            if isinstance(callback, _HandOver):
                insist(callback, self)
                continue
            try:
                callback(self)
            except BaseException as error:
                if isinstance(error, Exception) or _batch.loops is not None:
                    _say("a callback of a navit_edge.Future raised")
                else:  # Ctrl-C in the thread that cancelled
                    interrupt = interrupt or error
        if interrupt is not None:
            raise interrupt


def _lost() -> BackendError:
    error = BackendError(
        "memory ran out while the result of this image was handed over; submit it again, or let fewer images wait"
    )
    error.__cause__ = MemoryError()
    return error


class _Waiters(list[Any]):
    """Who waits for a future by ``concurrent.futures.wait`` or ``as_completed``, which enter themselves here: refused
    if nobody would ever wake them."""

    def __init__(self, delivery: Delivery) -> None:
        super().__init__()
        self.delivery: Delivery | None = delivery  # until the future is done

    def append(self, waiter: Any) -> None:
        if self.delivery is not None:
            self.delivery.expect_help()
        super().append(waiter)


class _HandOver:
    """The callback of an awaited future, in whichever thread it is done."""

    def __init__(self, loop: asyncio.AbstractEventLoop, waiter: asyncio.Future[_core.Result]) -> None:
        self._loop = loop
        self._waiter = waiter

    def __call__(self, future: concurrent.futures.Future[_core.Result]) -> None:
        assert isinstance(future, Future)
        loops = _batch.loops
        if loops is None:
            _tell(self._loop, [(self._waiter, future)])
        else:
            loops.setdefault(self._loop, []).append((self._waiter, future))


def _tell(loop: asyncio.AbstractEventLoop, settled: list[tuple[asyncio.Future[_core.Result], Future]]) -> None:
    try:
        loop.call_soon_threadsafe(_settle, settled)
    except RuntimeError:  # the loop is closed, and nobody waits any more
        if not loop.is_closed():
            raise


def _settle(settled: list[tuple[asyncio.Future[_core.Result], Future]]) -> None:
    """In the event loop."""
    for waiter, future in settled:
        if waiter.done():
            continue
        if future.cancelled():
            waiter.cancel()
        elif (error := future.exception()) is not None:
            waiter.set_exception(error)
        else:
            waiter.set_result(future.result())


def _named(error: concurrent.futures.CancelledError) -> CancelledError:
    if isinstance(error, CancelledError):
        return error
    return CancelledError("the image was cancelled by cancel(); submit it again if its result is wanted")


@atexit.register
def _close_all() -> None:
    """While there is an interpreter: a thread that comes back to Python later would crash it."""
    for delivery in list(_open):
        try:
            delivery.close()
        except Exception:  # the others must be closed all the same
            _say("a session could not be closed when the interpreter ended")
    for thread, result_queue in list(_threads.items()):
        if result_queue.here:
            result_queue.close()
            thread.join()
