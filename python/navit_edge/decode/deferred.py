"""Image files that a session takes at once and decodes on threads of its own (csrc/bindings/py_source.h)."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, TypeVar

from navit_edge import _core
from navit_edge.decode.encoded import Encoded, held, name_of
from navit_edge.decode.refusals import refusals
from navit_edge.errors import InvalidInputError, NavitEdgeError
from navit_edge.pixels import Given, given_by

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt

    from navit_edge.decode.decoder import Decoder, Opened
    from navit_edge.decode.recall import Recall


#: Above so many bytes of pixels memory is given back to the system after each image.
LARGE_BYTES = 16 << 20


_Step = TypeVar("_Step")


class Deferred:
    """One file. The session's thread calls each step once at most, in the order in which they stand here; a step gives
    None if the image has an ``error``, and raises nothing.

    source: as of ``Decoder.open``. An open file is read here, and what may change is copied. who: what messages call a
    source that has no name. held_bytes: of the file, if it is in memory. done: what decoding did, in words.

    Raises InvalidInputError.
    """

    def __init__(self, source: Encoded, who: str, decoder: Decoder, recall: Recall | None) -> None:
        self.done = ""
        self.error: NavitEdgeError | None = None
        self.held_bytes = 0
        self._who = who
        self._source = source
        if not isinstance(source, (str, os.PathLike)):
            self._who = name_of(source, who)
            with refusals(self._who):
                self._source = held(source, decoder.options.max_file_bytes)
            self.held_bytes = len(self._source)
        self._decoder = decoder
        self._recall = recall
        self._digest = b""
        self._opened: Opened | None = None

    def digest(self) -> bytes | None:
        """What the result is remembered by; b"" if it is not. Reads the file."""
        return self._step(self._read)

    def open(self) -> int | None:
        """Reads the header. The bytes that the pixels will take."""
        return self._step(self._open)

    def decode(self) -> npt.NDArray[np.uint8] | _core.Pixels | None:
        """The pixels."""
        given = self._step(self._decode)
        if given is None:
            return None
        self.done = given.done
        return given.pixels

    def note(self) -> str:
        """What is remembered with the result."""
        return self.done

    def _read(self) -> bytes:
        read = self._recall.read(self._source, self._who) if self._recall else None
        if read is not None:
            self._source, self._who, self._digest = read.data, read.who, read.digest
        return self._digest

    def _open(self) -> int:
        self._opened = self._decoder.open(self._source, self._who)
        self._source = b""  # it has its own
        return self._opened.pixel_bytes

    def _decode(self) -> Given:
        opened, self._opened = self._opened, None
        assert opened is not None
        large = opened.pixel_bytes > LARGE_BYTES
        try:
            return given_by(opened.decode_pixels())
        finally:
            if large:
                _give_back_memory()

    def _step(self, body: Callable[[], _Step]) -> _Step | None:
        try:
            return body()
        except NavitEdgeError as error:
            self.error = error
        except Exception as error:  # memory has run out, mostly
            self.error = InvalidInputError(f"{self._who}: cannot be decoded ({error!r}); check the file")
            self.error.__cause__ = error
        return None

    def __del__(self) -> None:
        if getattr(self, "_opened", None) is not None:
            self._opened.close()  # type: ignore[union-attr]


def _give_back_memory() -> None:
    """glibc keeps what a thread has freed for that thread: with eight decoders the memory of eight photographs."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
