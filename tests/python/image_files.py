"""Small image files for tests of decoding, made by Pillow or byte by byte."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

UInt8Array = npt.NDArray[np.uint8]

#: What Pillow is told to write -> options that lose nothing, or next to nothing.
WRITTEN: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95},
    "PNG": {},
    "WEBP": {"lossless": True},
    "GIF": {},
    "BMP": {},
    "TIFF": {},
    "AVIF": {"quality": 95, "speed": 10},
    "PPM": {},
    "JPEG2000": {},
}


def picture(height_px: int = 24, width_px: int = 40) -> UInt8Array:
    """uint8 [height_px, width_px, 3], smooth, and the same nowhere when turned or mirrored."""
    y, x = np.mgrid[0:height_px, 0:width_px]
    return np.dstack([x * 255 // width_px, y * 255 // height_px, (x + 2 * y) % 256]).astype(np.uint8)


def encoded(form: str, image: Image.Image | UInt8Array | None = None, **options: Any) -> bytes:
    """A file of Pillow's format ``form``."""
    picked = picture() if image is None else image
    made = picked if isinstance(picked, Image.Image) else Image.fromarray(picked)
    buffer = io.BytesIO()
    made.save(buffer, form, **{**WRITTEN.get(form, {}), **options})
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """Of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    samples: npt.NDArray[Any], colour: int, bits: int, *, before: Sequence[bytes] = (), after: Sequence[bytes] = ()
) -> bytes:
    """A PNG of raw samples, [h, w] or [h, w, channels], of 8 or 16 bits; chunks before and after its pixels."""
    height, width = samples.shape[:2]
    rows = samples.astype(">u2" if bits == 16 else "u1").reshape(height, -1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(raw))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(before) + pixels + b"".join(after) + chunk(b"IEND", b"")


def tiff(
    samples: npt.NDArray[Any],
    *,
    photometric: int = 1,
    sample_format: int = 1,
    bits: int | None = None,
    planar: int = 1,
    order: str = "<",
    extra: Sequence[tuple[int, int, Sequence[int]]] = (),
) -> bytes:
    """An uncompressed TIFF of one strip (a strip a channel where ``planar`` is 2) of raw samples [h, w(, channels)], as
    TIFF 6.0 says. extra: further tags, (tag, type 3 or 4, values)."""
    height, width = samples.shape[:2]
    channels = 1 if samples.ndim == 2 else samples.shape[2]
    depth = bits or samples.dtype.itemsize * 8
    planes = [samples[..., c] for c in range(channels)] if planar == 2 else [samples]
    strips = [np.ascontiguousarray(plane.astype(plane.dtype.newbyteorder(order))).tobytes() for plane in planes]
    tags: list[tuple[int, int, Sequence[int]]] = [
        (256, 4, [width]), (257, 4, [height]), (258, 3, [depth] * channels), (259, 3, [1]), (262, 3, [photometric]),
        (277, 3, [channels]), (278, 4, [height]), (279, 4, [len(strip) for strip in strips]), (284, 3, [planar]),
        (339, 3, [sample_format] * channels), *extra,
    ]  # fmt: skip
    tags.append((273, 4, [0] * len(strips)))
    entries, values = b"", b""
    start = 8 + 2 + 12 * len(tags) + 4
    sizes = {3: (2, "H"), 4: (4, "L")}
    data_size = sum(size for _, kind, v in tags if (size := sizes[kind][0] * len(v)) > 4)
    at = start + data_size
    offsets = []
    for strip in strips:
        offsets.append(at)
        at += len(strip)
    for tag, kind, numbers in sorted(tags):
        numbers = offsets if tag == 273 else numbers
        packed = struct.pack(f"{order}{len(numbers)}{sizes[kind][1]}", *numbers)
        if len(packed) > 4:
            place = struct.pack(f"{order}L", start + len(values))
            values += packed
        else:
            place = packed.ljust(4, b"\0")
        entries += struct.pack(f"{order}HHL", tag, kind, len(numbers)) + place
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}L", 8)
    return head + struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + values + b"".join(strips)
