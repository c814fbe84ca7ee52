"""PNG files of every kind that the standard has, byte by byte (https://www.w3.org/TR/png-3/): Pillow writes few of
them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from image_files import chunk

GRAY, RGB, PALETTE, GRAY_ALPHA, RGBA = 0, 2, 3, 4, 6
CHANNELS = {GRAY: 1, RGB: 3, PALETTE: 1, GRAY_ALPHA: 2, RGBA: 4}
#: (colour type, bits) of all kinds.
KINDS = (
    *((GRAY, bits) for bits in (1, 2, 4, 8, 16)), *((PALETTE, bits) for bits in (1, 2, 4, 8)),
    *((colour, bits) for colour in (RGB, GRAY_ALPHA, RGBA) for bits in (8, 16)),
)  # fmt: skip
#: (first column, first row, columns apart, rows apart) of the seven passes of an interlaced file.
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))

Samples = npt.NDArray[np.uint16]


def samples_of(colour: int, bits: int, height_px: int, width_px: int, seed: int = 0) -> Samples:
    """[height_px, width_px, channels]: waves with noise, so that all filters do something; alpha of all values."""
    draw = np.random.default_rng(seed)
    y, x, c = np.mgrid[0:height_px, 0:width_px, 0 : CHANNELS[colour]]
    waves = 0.5 + 0.4 * np.sin(x / 5 + y / 9 + c) + draw.uniform(-0.1, 0.1, y.shape)
    return np.rint(waves * ((1 << bits) - 1)).astype(np.uint16)


def palette(entries: int, seed: int = 0) -> bytes:
    """The chunk of so many colours."""
    return chunk(b"PLTE", np.random.default_rng(seed).integers(0, 256, 3 * entries, np.uint8).tobytes())


def file_of(
    samples: Samples,
    colour: int,
    bits: int,
    *,
    filters: Sequence[int] = (0,),
    interlaced: bool = False,
    before: Sequence[bytes] = (),
    after: Sequence[bytes] = (),
    idat_bytes: int = 1 << 30,
    behind: bytes = b"",
) -> bytes:
    """A file of samples [h, w, channels]. filters: of the rows in turn, 0 to 4. before, after: chunks about the pixels;
    a palette has all its entries if none is among them. idat_bytes: of each chunk of pixels. behind: the last chunk."""
    height, width = samples.shape[:2]
    raw = b"".join(
        _filtered(part, bits, filters) for part in (_passes(samples) if interlaced else (samples,)) if part.size
    )
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, int(interlaced))
    chunks = [chunk(b"IHDR", head)]
    if colour == PALETTE and not any(one[4:8] == b"PLTE" for one in before):
        chunks.append(palette(1 << bits))
    pixels = zlib.compress(raw)
    pieces = [pixels[at : at + idat_bytes] for at in range(0, len(pixels), idat_bytes)]
    chunks += [*before, *(chunk(b"IDAT", piece) for piece in pieces), *after, chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + behind


def _passes(samples: Samples) -> Iterator[Samples]:
    for left, top, right, down in _ADAM7:
        yield samples[top::down, left::right]


def _filtered(samples: Samples, bits: int, filters: Sequence[int]) -> bytes:
    """Rows of bytes, each behind the number of its filter."""
    rows = _packed(samples, bits)
    back = max(1, samples.shape[2] * bits // 8)  # bytes to the same byte of the pixel before
    above = np.zeros_like(rows[0])
    out = []
    for place, row in enumerate(rows):
        left, corner = _moved(row, back), _moved(above, back)
        kind = filters[place % len(filters)]
        guesses = (np.zeros_like(row), left, above, (left + above) // 2, _paeth(left, above, corner))
        out.append(bytes([kind]) + (row - guesses[kind]).astype(np.uint8).tobytes())
        above = row
    return b"".join(out)


def _packed(samples: Samples, bits: int) -> npt.NDArray[np.int64]:
    """Bytes [h, bytes of a row]."""
    flat = samples.reshape(len(samples), -1)
    if bits >= 8:
        return np.frombuffer(flat.astype(f">u{bits // 8}").tobytes(), np.uint8).reshape(len(flat), -1).astype(np.int64)
    each = (flat[:, :, None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(each.reshape(len(flat), -1).astype(np.uint8), axis=1).astype(np.int64)


def _moved(row: npt.NDArray[np.int64], back: int) -> npt.NDArray[np.int64]:
    moved = np.zeros_like(row)
    moved[back:] = row[:-back]
    return moved


def _paeth(
    left: npt.NDArray[np.int64], above: npt.NDArray[np.int64], corner: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    guess = left + above - corner
    by_left, by_above, by_corner = abs(guess - left), abs(guess - above), abs(guess - corner)
    nearest = np.where(by_above <= by_corner, above, corner)
    return np.where((by_left <= by_above) & (by_left <= by_corner), left, nearest)
