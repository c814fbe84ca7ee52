"""``Session.stream``: any iterable of images in, results out one by one, bounded in memory.

A feeder thread reads the source and pushes into the C++ stream (csrc/include/navit_edge/stream.h), files as they are:
the session's threads decode them. Whoever iterates takes results from it.
"""

from __future__ import annotations

import atexit
import threading
import warnings
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from navit_edge import _core
from navit_edge.decode.deferred import Deferred
from navit_edge.decode.encoded import is_encoded
from navit_edge.errors import InvalidInputError, NavitEdgeError
from navit_edge.pixels import Given, as_pixels
from navit_edge.threads import insist, start_thread
from navit_edge.vocabulary import Drop, Layout, OnError

if TYPE_CHECKING:
    from navit_edge.decode import Decoder
    from navit_edge.decode.recall import Recall
    from navit_edge.future import Delivery
    from navit_edge.pixels import ImageLike


#: Results taken at once, if so many are ready; they count as fetched.
RESULTS_AT_ONCE = 16
#: How long a wait for results goes before Ctrl-C is looked at.
LOOK_UP_MS = 100.0
#: How long closing waits for the source to return from the ``next`` it is in.
SOURCE_PATIENCE_S = 5.0

_open: weakref.WeakSet[Stream] = weakref.WeakSet()


@dataclass(frozen=True, kw_only=True)
class Still:
    """Frames that are as an earlier one was, their key frame, get its result again without a run
    (docs/streaming.md#still-frames). Compared are single pixels of a copy of 64 pixels on the longer side, in luma.

    levels: a pixel has changed if it differs by more, 0 to 255.
    share: a frame has changed if more of the copy's pixels have, 0 and up, below 1.
    every: frames from a key frame to the next at most; 0: until the picture changes.
    """

    levels: int = 16
    share: float = 0.002
    every: int = 0


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
        decoder: Decoder,
        recall: Recall | None,
        deadline_us: float,
        priority: int,
        policy: _core.Policy | None,
        layout: Layout | None,
        on_error: OnError,
        still: Still | None,
    ) -> None:
        self._core = _core.Stream(
            delivery.session,
            capacity=capacity,
            capacity_bytes=decoder.options.max_bytes_in_flight,
            ordered=ordered,
            drop=drop,
            deadline_us=deadline_us,
            priority=priority,
            policy=policy,
            still=None if still is None else (still.levels, still.share, still.every),
        )
        self._delivery = delivery
        # If images are dropped each result stays in the stream until it is asked for, so that it can give way.
        self._at_once = max(1, min(RESULTS_AT_ONCE, self._core.capacity // 8)) if drop == "block" else 1
        self._raises = on_error == "raise"
        self._feed = _Feed(self._core, iter(images), decoder, recall, layout)
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
        if the source does not return. May be called again."""
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
        self._feeder = start_thread(self._feed.run, name="navit-edge stream")

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
        if feeder is None or feeder is threading.current_thread() or not self._delivery.result_queue.here:
            return
        feeder.join(SOURCE_PATIENCE_S)
        if feeder.is_alive():
            warnings.warn(
                "a stream was closed while its source waits for an image; its thread ends when the source returns",
                ResourceWarning,
                stacklevel=3,
            )


class _Feed:
    """What the feeder thread works on: reads the source, pushes pixels and files."""

    def __init__(
        self,
        core: _core.Stream,
        source: Iterator[Any],
        decoder: Decoder,
        recall: Recall | None,
        layout: Layout | None,
    ) -> None:
        self.error: BaseException | None = None  # what the source raised
        self._core = core
        self._source = source
        self._decoder = decoder
        self._recall = recall
        self._layout = layout
        # By index, of images in the stream:
        self._tags: dict[int, Any] = {}
        self._errors: dict[int, Exception] = {}
        self._done: dict[int, str] = {}  # what decoding did
        self._files: dict[int, Deferred] = {}

    def run(self) -> None:
        """Body of the thread."""
        try:
            for index, item in enumerate(self._source):
                image, tag = _parts(item)
                if not self._push(index, tag, image):
                    return
                del item, image, tag  # not until the next one comes
        except BaseException as error:  # raised to whoever iterates, after the results before it
            self.error = error
        finally:
            with suppress(MemoryError):
                self._source = iter(())  # a generator that nobody else holds is closed, in the thread that ran it
            insist(self._core.finish)

    def complete(self, result: _core.Result) -> None:
        """Adds what only Python knows of it."""
        if self._tags:
            result.tag = self._tags.pop(result.index, None)
        if self._done:
            result.decoding = self._done.pop(result.index, "")
        error = self._errors.pop(result.index, None) if self._errors else None
        file = self._files.pop(result.index, None) if self._files else None
        if file is not None:
            result.decoding = file.done
            error = file.error if isinstance(result.error, InvalidInputError) else None
        if error is not None:
            result.error = error

    def _push(self, index: int, tag: Any, image: Any) -> bool:
        """False if the stream takes no more."""
        if tag is not None:
            self._tags[index] = tag
        try:
            given = self._given(index, image)
        except NavitEdgeError as error:
            self._errors[index] = error
            pushed = self._core.push_failed(index)
        else:
            if isinstance(given, Deferred):
                self._files[index] = given
                pushed = self._core.push_file(given, index)
            else:
                if given.done:
                    self._done[index] = given.done
                pushed = self._core.push(given.pixels, index)
        for gone in self._core.take_dropped():
            for known in (self._tags, self._errors, self._done, self._files):
                known.pop(gone, None)
        return pushed != "ended"

    def _given(self, index: int, image: Any) -> Deferred | Given:
        who = f"image {index}"
        if is_encoded(image):
            return Deferred(image, who, self._decoder, self._recall)
        return as_pixels(image, who, self._decoder, self._layout)


def _parts(item: Any) -> tuple[Any, Any]:
    """Image and tag of what the source gave."""
    return item if isinstance(item, tuple) and len(item) == 2 else (item, None)


@atexit.register
def _close_all() -> None:
    """While there is an interpreter: a feeder that comes back to Python later would crash it."""
    for stream in list(_open):
        stream.close()
