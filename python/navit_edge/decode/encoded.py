"""Image files that are no path: their bytes, and binary files that are open. They are held in memory and decoded as
files are, under the same limits."""

from __future__ import annotations

import os
from typing import IO, Any, TypeAlias

from navit_edge.decode import files
from navit_edge.errors import InvalidInputError

#: An image file: where it is, what it holds, or an open binary file, which is read from where it stands to its end.
Encoded: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes]"

_PIECE_BYTES = 1 << 20


def is_encoded(image: object) -> bool:
    """Whether it is an image file, in whichever form."""
    return isinstance(image, (str, os.PathLike, bytes, bytearray, memoryview)) or is_open_file(image)


def is_open_file(image: object) -> bool:
    """Whether it has a method ``read``, as what ``open`` gives and ``io.BytesIO``."""
    return callable(getattr(type(image), "read", None))


def name_of(source: Any, who: str) -> str:
    """What messages call it: a path is its own name; anything else is ``who``, with what there is to say."""
    try:
        if isinstance(source, (str, os.PathLike)):
            return files.shown(source)
        name = source.name if is_open_file(source) else None
        return f"{who} ({files.shown(name)})" if isinstance(name, str) and name else who
    except Exception:  # a __fspath__ of one's own, a file without a name
        return who if is_open_file(source) else f"the path of type {type(source).__name__}"


def open_encoded(source: Encoded, most_bytes: int) -> IO[bytes]:
    """Its bytes, to be read and closed by the caller; an open file of the caller's stays open. Raises InvalidInputError
    if it is none, empty, or too large, and whatever the caller's file raises."""
    if isinstance(source, (str, os.PathLike)):
        return files.open_regular(source, most_bytes)
    return files.MemoryFile(held(source, most_bytes))


def held(source: bytes | bytearray | memoryview | IO[bytes], most_bytes: int) -> bytes:
    """The bytes of what is no path: they are the caller's own only if they cannot change. Raises as above."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _of_buffer(source, most_bytes)
    if getattr(source, "closed", False) is True:
        raise InvalidInputError("is a file that is closed; expected an open one; decode it before it is closed")
    pieces: list[bytes] = []
    size = 0
    while piece := source.read(min(_PIECE_BYTES, most_bytes + 1 - size)):
        if not isinstance(piece, (bytes, bytearray, memoryview)):
            raise InvalidInputError(
                f'is a file that gives {type(piece).__name__}; expected bytes; open it with mode "rb"'
            )
        pieces.append(bytes(piece))
        size += len(pieces[-1])
        files.check_bytes(size, most_bytes)
    if not size:
        raise InvalidInputError(
            "is an open file that gives no bytes; expected an image; if it was read before, go back with seek(0)"
        )
    return b"".join(pieces)


def _of_buffer(source: bytes | bytearray | memoryview, most_bytes: int) -> bytes:
    if isinstance(source, memoryview) and (source.ndim != 1 or source.itemsize != 1):
        raise InvalidInputError(
            f'is a memoryview of shape {list(source.shape or ())} and format "{source.format}"; expected the bytes of '
            "an image file; of pixels give np.asarray(view)"
        )
    size = len(source)
    if size == 0:
        raise InvalidInputError("is empty, 0 bytes; expected the bytes of an image file; check how they were read")
    files.check_bytes(size, most_bytes)
    return bytes(source)
