"""Videos that the tests write: small, lossless where it matters, with timestamps, streams and tags as they are asked
for."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

UInt8Array = npt.NDArray[np.uint8]


def gray_levels(count: int) -> list[int]:
    """Of each frame, so far apart that every codec keeps them apart."""
    return [20 + 200 * place // max(1, count - 1) for place in range(count)]


def write_film(
    path: Path,
    levels: Sequence[int],
    *,
    size: tuple[int, int] = (48, 64),
    codec: str = "libx264",
    form: str = "yuv420p",
    times_ms: Sequence[int] | None = None,
    last_ms: int | None = None,
    rotation: int = 0,
    options: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
    front: bool = False,
    fragmented: bool = False,
) -> Path:
    """Frames of one gray each, ten a second (MPEG-2: 25) or at ``times_ms``.

    last_ms: how long the last one is stated to stand.
    front: the index of an MP4 lies before its pictures. fragmented: it is in pieces, between them."""
    flags = "faststart" if front else "frag_keyframe+empty_moov" if fragmented else ""
    rate = 25 if codec == "mpeg2video" else 10  # which knows no other rates
    unit = Fraction(1, 1000) if times_ms is not None else Fraction(1, rate)
    times = list(times_ms) if times_ms is not None else list(range(len(levels)))
    with av.open(str(path), "w", options={"movflags": flags} if flags else {}) as container:
        container.metadata.update(metadata or {})
        chosen = {"bf": "0", "g": "4"} if codec in ("libx264", "mpeg4") else {}
        stream = container.add_stream(codec, rate=rate, options=chosen | (options or {}))
        stream.height, stream.width, stream.pix_fmt = *size, form
        stream.codec_context.time_base = unit
        if rotation:
            stream.set_display_rotation(rotation)
        packets = []
        for level, time in zip(levels, times, strict=True):
            frame = av.VideoFrame.from_ndarray(np.full((*size, 3), level, np.uint8), format="rgb24")
            frame = frame.reformat(format=form)
            frame.pts, frame.time_base = time, unit
            packets += stream.encode(frame)
        for packet in packets + stream.encode(None):
            if last_ms is not None and packet.pts * packet.time_base == times[-1] * unit:
                packet.duration = int(Fraction(last_ms, 1000) / packet.time_base)
            container.mux(packet)
    return path


def level_of(image: Any) -> int:
    import navit_edge as ne

    return round(float(np.asarray(ne.to_rgb(image), np.float64).mean()))


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def boxes(data: bytes, start: int = 0, end: int | None = None) -> list[tuple[bytes, int, int]]:
    """(kind, start, end) of the boxes of an ISO media file that lie side by side."""
    found = []
    end = len(data) if end is None else end
    while start < end:
        size = int.from_bytes(data[start : start + 4], "big")
        found.append((data[start + 4 : start + 8], start, start + size))
        start += size
    return found


def with_cover(data: bytes) -> bytes:
    """An MP4 whose ``moov`` is the last box, with a red JPEG as its cover, which FFmpeg lists as a stream of video."""
    picture = io.BytesIO()
    Image.new("RGB", (300, 300), "red").save(picture, "JPEG")
    cover = box(b"covr", box(b"data", struct.pack(">II", 13, 0) + picture.getvalue()))
    handler = box(b"hdlr", bytes(8) + b"mdirappl" + bytes(9))
    tags = box(b"udta", box(b"meta", bytes(4) + handler + box(b"ilst", cover)))
    kind, start, end = boxes(data)[-1]
    assert kind == b"moov"
    inner = b"".join(data[a:b] for kind, a, b in boxes(data, start + 8, end) if kind != b"udta")
    return data[:start] + box(b"moov", tags + inner)
