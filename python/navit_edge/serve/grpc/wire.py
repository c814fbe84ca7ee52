"""What a message holds, looked at before it is parsed: a byte of it may become forty of memory.

The parser of Protocol Buffers makes an object of every part, however small: 16 MiB of empty inputs, two bytes each,
take 700 MiB.
https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from navit_edge.serve.errors import too_large

#: Fields whose own fields are counted, by number, and the same of these: ``inputs`` of a request, their ``contents``.
Inside: TypeAlias = Mapping[int, Any]
OF_INFER: Inside = {5: {5: {}}}
#: A request has some twenty, and one for each image if they come typed.
MOST_PARTS = 10_000
#: Bytes of one list of typed numbers: each becomes up to eight.
MOST_NUMBERS_BYTES = 8 << 20
#: Of ``InferTensorContents``, all but ``bytes_contents``.
_NUMBERS = range(1, 8)
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def check_parts(message: bytes, inside: Inside) -> None:
    """Raises ServeError if it has more parts than a request needs. What is no message the parser refuses."""
    left = MOST_PARTS
    waiting = [(0, len(message), inside, 0)]
    while waiting:
        start, end, within, depth = waiting.pop()
        for number, start_of, end_of in _fields(message, start, end):
            left -= 1
            if left < 0:
                raise too_large(
                    f"the message has more than {MOST_PARTS:,} parts; expected an input, a parameter and an image for "
                    "each that there is; send pixels as raw_input_contents"
                )
            if number in within:
                waiting.append((start_of, end_of, within[number], depth + 1))
            elif depth == 2 and number in _NUMBERS and end_of - start_of > MOST_NUMBERS_BYTES:
                raise too_large(
                    f"an input has {end_of - start_of:,} bytes of typed numbers; expected at most "
                    f"{MOST_NUMBERS_BYTES:,}; send them as raw_input_contents"
                )


def _fields(message: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(number, where its content begins, where it ends), as far as they can be told apart."""
    while at < end:
        tag, at = _varint(message, at)
        kind, size = tag & 7, 0
        if kind == _BYTES:
            size, at = _varint(message, at)
        elif kind == _VARINT:
            at = _varint(message, at)[1]
        elif kind == _FIXED64:
            at += 8
        elif kind == _FIXED32:
            at += 4
        if at + size > end:
            return
        yield tag >> 3, at, at + size
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """The number, and where it ends; behind the message if it has no end."""
    value = shift = 0
    while at < len(message) and shift < 70:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    return value, len(message) + 1
