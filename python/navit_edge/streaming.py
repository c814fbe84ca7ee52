"""``Session.stream``: any iterable of images in, results out one by one, bounded in memory.

A feeder thread reads the source and pushes into the C++ stream (csrc/include/navit_edge/stream.h); whoever iterates
takes results from it.
"""

from __future__ import annotations

import atexit
import math
import os
import threading
import warnings
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from navit_edge import _core
from navit_edge.errors import InvalidInputError, NavitEdgeError
from navit_edge.pixels import as_pixels

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future as PoolFuture
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np
    import numpy.typing as npt

    from navit_edge.future import Delivery
    from navit_edge.pixels import ImageLike

    Decoded: TypeAlias = "npt.NDArray[np.uint8] | _core.Pixels | Exception"

Drop: TypeAlias = Literal["block", "drop-oldest", "drop-newest"]
DROPS: tuple[Drop, ...] = ("block", "drop-oldest", "drop-newest")

#: Results taken at once, where so many are ready; they count as fetched.
RESULTS_AT_ONCE = 16
#: How long a wait for results goes before Ctrl-C is looked at.
LOOK_UP_MS = 100.0
#: How long closing waits for the source to return from the ``next`` it is in.
SOURCE_PATIENCE_S = 5.0

_open: weakref.WeakSet[Stream] = weakref.WeakSet()


class Stream(Iterator[_core.Result]):
    """Results of a stream, an iterator: what ``Session.stream`` returns. Close it, or leave the ``for`` loop: both
    cancel what waits and end the feeder thread."""

    def __init__(
        self,
        delivery: Delivery,
        images: Iterable[ImageLike | tuple[ImageLike, Any]],
        *,
        ordered: bool,
        capacity: int,
        drop: Drop,
        decoders: int,
        deadline_us: float,
        priority: int,
        policy: _core.Policy | None,
        on_error: Literal["raise", "return"],
    ) -> None:
        self._core = _core.Stream(
            delivery.session,
            capacity=capacity,
            ordered=ordered,
            drop=drop,
            deadline_us=deadline_us,
            priority=priority,
            policy=policy,
        )
        self._delivery = delivery
        # Where images are dropped each result stays in the stream until it is asked for, so that it can give way.
        self._at_once = max(1, min(RESULTS_AT_ONCE, self._core.capacity // 8)) if drop == "block" else 1
        self._raises = on_error == "raise"
        self._feed = _Feed(self._core, iter(images), decoders)
        self._feeder: threading.Thread | None = None
        self._ready: deque[_core.Result] = deque()
        self._over = False
        _open.add(self)

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> _core.Result:
        while not self._ready:
            if self._over:
                raise StopIteration
            if self._feeder is None:
                self._start()
            results = self._core.pop(self._at_once, LOOK_UP_MS)
            if results is None:
                self._end()
            else:
                self._ready.extend(results)
        result = self._ready.popleft()
        self._feed.complete(result)
        if self._raises and result.error is not None:
            self.close()
            raise result.error
        return result

    @property
    def dropped(self) -> int:
        """Images and results that gave way to later ones so far."""
        return self._core.dropped

    @property
    def capacity(self) -> int:
        """Most images in the stream at once."""
        return self._core.capacity

    def close(self) -> None:
        """Ends the stream: images that wait are cancelled, and the feeder thread is waited for, up to five seconds
        where the source does not return. May be called again."""
        self._over = True
        self._ready.clear()
        self._core.cancel()
        self._join()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_feeder"):
            self.close()

    def _start(self) -> None:
        self._delivery.start()  # lets go of the pixels
        # The thread holds the feed and not this object, so that a stream that nobody reads any more is closed.
        self._feeder = threading.Thread(target=self._feed.run, name="navit-edge stream", daemon=True)
        self._feeder.start()

    def _end(self) -> None:
        """Nothing more will come: what the source raised, if it did, then the end."""
        self._over = True
        self._join()
        error = self._feed.error
        if error is not None:
            self._feed.error = None
            raise error

    def _join(self) -> None:
        feeder = self._feeder
        if feeder is None or feeder is threading.current_thread() or not self._delivery.mailbox.here:
            return
        feeder.join(SOURCE_PATIENCE_S)
        if feeder.is_alive():
            warnings.warn(
                "a stream was closed while its source waits for an image; its thread ends when the source returns",
                ResourceWarning,
                stacklevel=3,
            )


class _Feed:
    """What the feeder thread works on: reads the source, decodes files, pushes pixels."""

    def __init__(self, core: _core.Stream, source: Iterator[Any], decoders: int) -> None:
        self.error: BaseException | None = None  # what the source raised
        self._core = core
        self._source = source
        self._decoders = decoders
        self._tags: dict[int, Any] = {}  # by index; of images in the stream
        self._errors: dict[int, Exception] = {}

    def run(self) -> None:
        """Body of the thread."""
        try:
            if self._decoders == 1:
                self._run_alone()
            else:
                self._run_pool()
        except BaseException as error:  # raised to whoever iterates, after the results before it
            self.error = error
        finally:
            self._source = iter(())  # a generator that nobody else holds is closed, in the thread that ran it
            self._core.finish()

    def complete(self, result: _core.Result) -> None:
        """Adds what only Python knows of it."""
        if self._tags:
            result.tag = self._tags.pop(result.index, None)
        if self._errors:
            error = self._errors.pop(result.index, None)
            if error is not None:
                result.error = error

    def _run_alone(self) -> None:
        for index, item in enumerate(self._source):
            image, tag = _parts(item)
            if not self._push(index, tag, _decode(image, index)):
                return
            del item, image, tag  # not until the next one comes

    def _run_pool(self) -> None:
        """Files are decoded ahead, two for each decoder, and pushed in the order of the source."""
        from concurrent.futures import ThreadPoolExecutor

        ahead: deque[tuple[int, Any, Callable[[], Decoded]]] = deque()
        pool = ThreadPoolExecutor(self._decoders, thread_name_prefix="navit-edge decoder")
        try:
            for index, item in enumerate(self._source):
                image, tag = _parts(item)
                ahead.append((index, tag, _ahead(pool, image, index)))
                del item, image, tag
                if len(ahead) >= 2 * self._decoders and not self._push_first(ahead):
                    return
            while ahead:
                if not self._push_first(ahead):
                    return
        except BaseException:
            while ahead and self._push_first(ahead):  # what came before the error
                pass
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _push_first(self, ahead: deque[tuple[int, Any, Callable[[], Decoded]]]) -> bool:
        index, tag, decoded = ahead.popleft()
        return self._push(index, tag, decoded())

    def _push(self, index: int, tag: Any, decoded: Decoded) -> bool:
        """False where the stream takes no more."""
        if tag is not None:
            self._tags[index] = tag
        if isinstance(decoded, Exception):
            self._errors[index] = decoded
            pushed = self._core.push_failed(index)
        else:
            pushed = self._core.push(decoded, index)
        for gone in self._core.take_dropped():
            self._tags.pop(gone, None)
            self._errors.pop(gone, None)
        return pushed != "ended"


def _parts(item: Any) -> tuple[Any, Any]:
    """Image and tag of what the source gave."""
    return item if isinstance(item, tuple) and len(item) == 2 else (item, None)


def _decode(image: ImageLike, index: int) -> Decoded:
    try:
        return as_pixels(image, f"image {index}")
    except NavitEdgeError as error:
        return error


def _ahead(pool: ThreadPoolExecutor, image: ImageLike, index: int) -> Callable[[], Decoded]:
    if not isinstance(image, (str, os.PathLike)):
        decoded = _decode(image, index)
        return lambda: decoded
    future: PoolFuture[Decoded] = pool.submit(_decode, image, index)
    return future.result


def checked_deadline_us(deadline_ms: float | None) -> float:
    """Microseconds; 0 for None. Raises InvalidInputError."""
    if deadline_ms is None:
        return 0.0
    if isinstance(deadline_ms, bool) or not isinstance(deadline_ms, (int, float)):
        raise InvalidInputError(
            f"deadline_ms is of type {type(deadline_ms).__name__}; expected milliseconds, or None for no deadline"
        )
    if not math.isfinite(deadline_ms) or deadline_ms <= 0:
        raise InvalidInputError(f"deadline_ms is {deadline_ms}; expected more than 0, or None for no deadline")
    return float(deadline_ms) * 1000.0


def checked_priority(priority: int) -> int:
    """Raises InvalidInputError."""
    if isinstance(priority, bool) or not isinstance(priority, int) or not -(2**31) <= priority < 2**31:
        raise InvalidInputError(f"priority is {priority!r}; expected a whole number of 32 bits, higher leaves first")
    return priority


@atexit.register
def _close_all() -> None:
    """While there is an interpreter: a feeder that comes back to Python later would crash it."""
    for stream in list(_open):
        stream.close()
