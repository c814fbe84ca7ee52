"""Images of a job read ahead by threads of the driver, within a number of images and bytes."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from navit_edge import _core
from navit_edge.decode import Decoder
from navit_edge.decode.encoded import held, name_of, open_encoded
from navit_edge.decode.refusals import refusals
from navit_edge.errors import NavitEdgeError
from navit_edge.pixels import Given, Pixels, as_pixels
from navit_edge.ray.job_actor import Sent
from navit_edge.run.rows import Row, failed
from navit_edge.run.sources import Item
from navit_edge.threads import Workers, start_thread

if TYPE_CHECKING:
    from collections.abc import Sequence


class Loaded(NamedTuple):
    """An image of a job. sent: what an actor gets of it, or its row if there is nothing to run."""

    item: Item
    sent: Sent | Row

    @property
    def size(self) -> int:
        """Bytes that are sent."""
        image = self.sent.image if isinstance(self.sent, Sent) else None
        if isinstance(image, Given):
            return int(getattr(image.pixels, "nbytes", 0))
        return len(image) if image is not None else 0


#: (an image, its place in the job) -> what is sent of it.
Load: TypeAlias = Callable[[Item, int], Loaded]


def loader(decoder: Decoder, *, shared: bool, keep_frames: bool = False) -> Load:
    """shared: an actor opens a path itself; else it gets the bytes of the file. Frames go as pixels. keep_frames: items
    keep theirs."""

    def load(item: Item, index: int) -> Loaded:
        image = item.image
        try:
            if item.error is not None:
                return Loaded(item, failed(item.error))
            if isinstance(image, (str, os.PathLike)):
                path = os.fspath(image)
                if shared:
                    return Loaded(item, Sent(os.path.abspath(path), "", index))
                who = name_of(path, "")
                with refusals(who), open_encoded(path, decoder.options.max_file_bytes) as file:
                    return Loaded(item, Sent(held(file, decoder.options.max_file_bytes), who, index))
            pixels = _plain(as_pixels(image, f"image {index}", decoder), decoder)
            return Loaded(item if keep_frames else replace(item, image=None), Sent(pixels, "", index))
        except NavitEdgeError as error:
            return Loaded(item, failed(error))

    return load


def _plain(given: Given, decoder: Decoder) -> Given:
    """Pixels that can be pickled: of a frame in another format those that the core would make of it."""
    if isinstance(given.pixels, Pixels):
        rgb = _core.to_rgb(given.pixels, decoder.recorded.alpha, decoder.recorded.background)
        return Given(rgb, given.done, rgb.nbytes)
    return given


class Ahead:
    """A thread reads ``items``, and ``readers`` more load them; at most ``most_images`` and, but for those that are
    just being loaded, ``most_bytes`` wait to be taken. What ``items`` raises ends it, and ``check`` raises it."""

    def __init__(self, items: Iterator[Item], load: Load, *, readers: int, most_images: int, most_bytes: int) -> None:
        self._items = items
        self._load = load
        self._readers = readers
        self._most_images = most_images
        self._most_bytes = most_bytes
        self._changed = threading.Condition()
        self._waiting: deque[Future[Loaded]] = deque()
        self._loading = 0
        self._bytes = 0
        self._open = True
        self._ended = False
        self._error: BaseException | None = None
        self._thread = start_thread(self._read, name="navit-edge ahead")

    @property
    def ended(self) -> bool:
        """Whether nothing is left to take."""
        with self._changed:
            return self._ended and not self._waiting

    def check(self) -> None:
        """Raises what ``items`` raised, once nothing is left to take."""
        if self.ended and self._error is not None:
            raise self._error

    def take(self, most_images: int, most_bytes: int, *, partial: bool, wait_s: float = 0.0) -> Sequence[Loaded]:
        """The next images, up to a number and a size, one at least; empty if they do not fill a batch and more may
        come. partial: then what there is after ``wait_s``."""
        until = time.monotonic() + wait_s
        with self._changed:
            while not self._ended and len(self._waiting) < most_images and self._bytes < most_bytes:
                left = until - time.monotonic()
                if left <= 0:
                    if partial:
                        break
                    return ()
                self._changed.wait(left)
        taken: list[Loaded] = []
        size = 0
        while len(taken) < most_images and size < most_bytes:
            with self._changed:
                if not self._waiting:
                    break
                first = self._waiting[0]
            taken.append(first.result())
            size += taken[-1].size
            with self._changed:
                self._waiting.popleft()
                self._bytes -= taken[-1].size
                self._changed.notify_all()
        return taken

    def close(self) -> None:
        """Reads no more. Waits for what ``items`` gives next, which must not wait itself any more."""
        with self._changed:
            self._open = False
            self._changed.notify_all()
        self._thread.join()

    def _read(self) -> None:
        workers = Workers(self._readers, name="navit-edge reader")
        try:
            for index, item in enumerate(self._items):
                with self._changed:
                    while self._open and (
                        len(self._waiting) >= self._most_images
                        or self._bytes >= self._most_bytes
                        or self._loading >= 2 * self._readers
                    ):
                        self._changed.wait()
                    if not self._open:
                        return
                    self._loading += 1
                future = workers.do(self._load, item, index)
                with self._changed:
                    self._waiting.append(future)
                    self._changed.notify_all()
                future.add_done_callback(self._loaded)
        except BaseException as error:
            self._error = error
        finally:
            with self._changed:  # closing cancels what no thread has begun
                self._changed.wait_for(lambda: not self._open or not self._loading)
            workers.close()
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _loaded(self, future: Future[Loaded]) -> None:
        with self._changed:
            self._loading -= 1
            if not future.cancelled() and future.exception() is None:
                self._bytes += future.result().size
            self._changed.notify_all()
