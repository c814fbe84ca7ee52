"""Files of a stream decoded ahead by several threads, in order, within a number of bytes."""

from __future__ import annotations

import ctypes
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from navit_edge import _core
from navit_edge.decode import Decoder
from navit_edge.decode.decoder import Opened
from navit_edge.decode.encoded import Encoded, held, is_encoded, name_of
from navit_edge.decode.refusals import refusals
from navit_edge.errors import InvalidInputError, NavitEdgeError
from navit_edge.pixels import Given, as_pixels, given_by
from navit_edge.threads import Workers
from navit_edge.vocabulary import Layout

if TYPE_CHECKING:
    from navit_edge.decode.recall import Look

#: Above so many bytes of pixels memory is given back to the system after each image.
LARGE_BYTES = 16 << 20
#: What became of an image: its pixels, its result if that was remembered, or what is wrong with it.
Outcome: TypeAlias = Given | _core.Result | Exception


def decode_here(image: Any, index: int, decoder: Decoder, layout: Layout | None) -> Outcome:
    """In this thread."""
    try:
        return as_pixels(image, _who(index), decoder, layout)
    except NavitEdgeError as error:
        return error


def decode_in_room(
    image: Any,
    index: int,
    decoder: Decoder,
    layout: Layout | None,
    await_room: Callable[[int], bool],
    look: Look | None = None,
) -> Outcome | None:
    """In this thread. Of a file the header is read first, and then ``await_room`` asked for the bytes of its pixels;
    None if it says that there will be none. ``look`` is asked before."""
    if not is_encoded(image):
        return decode_here(image, index, decoder, layout)
    opened = _opened(decoder, image, _who(index), look)
    if not isinstance(opened, Opened):
        return opened
    if await_room(opened.pixel_bytes):
        return _decode(opened)
    opened.close()
    return None


#: The header of a file; or what became of it without.
Header: TypeAlias = Opened | _core.Result | NavitEdgeError


def _opened(decoder: Decoder, source: Encoded, who: str, look: Look | None) -> Header:
    try:
        known = look(source, who) if look else None
        if isinstance(known, _core.Result):
            return known
        if known is None:
            return decoder.open(source, who)
        opened = decoder.open(known.data, known.who)
        opened.digest = known.digest
        return opened
    except InvalidInputError as error:
        return error


class _Opening(NamedTuple):
    place: int
    tag: Any
    header: Future[Header] | Outcome


class _Decoding(NamedTuple):
    place: int
    tag: Any
    pixels: Future[Outcome] | Outcome
    held_bytes: int
    opened: Opened | None  # what it decodes


class Ahead:
    """Reads headers of up to ``decoders`` files ahead, and decodes up to twice as many, as far as their pixels fit into
    ``most_bytes``; one is always decoded. Hands everything to ``push`` in the order in which it was added, in the
    thread that adds; ``push`` says False if no more is taken.

    Leaving the context pushes what is left, unless the stream takes no more, and ends the threads.
    """

    def __init__(
        self,
        decoder: Decoder,
        decoders: int,
        most_bytes: int,
        push: Callable[[int, Any, Outcome], bool],
        layout: Layout | None = None,
        look: Look | None = None,
    ) -> None:
        self._decoder = decoder
        self._layout = layout
        self._look = look
        self._decoders = decoders
        self._most_bytes = most_bytes
        self._push = push
        self._workers = Workers(decoders, name="navit-edge decoder")
        self._opening: deque[_Opening] = deque()
        self._decoding: deque[_Decoding] = deque()
        self._held_bytes = 0
        self._open = True  # the stream takes more

    def add(self, index: int, tag: Any, image: Any) -> bool:
        """False if the stream takes no more."""
        if is_encoded(image):
            self._opening.append(_Opening(index, tag, self._open_ahead(image, _who(index))))
        else:
            self._opening.append(_Opening(index, tag, decode_here(image, index, self._decoder, self._layout)))
        while self._open and len(self._opening) > self._decoders:
            self._decode_first()
        return self._open

    def __enter__(self) -> Ahead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            while self._open and self._opening:
                self._decode_first()
            while self._open and self._decoding:
                self._push_first()
        finally:
            self._workers.close()
            for opening in self._opening:
                if isinstance(opening.header, Future) and not opening.header.cancelled():
                    header = opening.header.result()
                    if isinstance(header, Opened):
                        header.close()
            for decoding in self._decoding:  # what was cancelled has not closed its file
                if decoding.opened is not None:
                    decoding.opened.close()

    def _open_ahead(self, source: Any, who: str) -> Future[Header] | Outcome:
        """What is open or may change is read at once: behind this call it is the source's again."""
        if not isinstance(source, (str, os.PathLike)):
            who = name_of(source, who)
            try:
                with refusals(who):
                    source = held(source, self._decoder.options.max_file_bytes)
            except NavitEdgeError as error:
                return error
        return self._workers.do(_opened, self._decoder, source, who, self._look)

    def _decode_first(self) -> None:
        """Moves the oldest header on to decoding, when there is room for its pixels."""
        index, tag, header = self._opening.popleft()
        found = header.result() if isinstance(header, Future) else header
        size = found.pixel_bytes if isinstance(found, Opened) else found.new_bytes if isinstance(found, Given) else 0
        opened = found if isinstance(found, Opened) else None
        try:
            while self._decoding and (
                self._held_bytes + size > self._most_bytes or len(self._decoding) >= 2 * self._decoders
            ):
                if not self._push_first():
                    break
        finally:  # also if it raises
            if opened is not None and not self._open:
                opened.close()
        if not self._open:
            return
        self._held_bytes += size
        pixels = self._workers.do(_decode, found) if isinstance(found, Opened) else found
        self._decoding.append(_Decoding(index, tag, pixels, size, opened))

    def _push_first(self) -> bool:
        index, tag, pixels, size, _ = self._decoding.popleft()
        outcome = pixels.result() if isinstance(pixels, Future) else pixels
        self._open = False  # also if it raises, since the session is closed or broken
        self._open = self._push(index, tag, outcome)
        self._held_bytes -= size
        return self._open


def _who(index: int) -> str:
    return f"image {index}"


def _decode(opened: Opened) -> Outcome:
    large = opened.pixel_bytes > LARGE_BYTES
    try:
        return given_by(opened.decode_pixels())._replace(digest=opened.digest)
    except NavitEdgeError as error:
        return error
    finally:
        if large:
            _give_back_memory()


def _give_back_memory() -> None:
    """glibc keeps what a thread has freed for that thread: with eight decoders the memory of eight photographs."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
