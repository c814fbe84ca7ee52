"""Animated WebP files that are cut off: libwebp refuses them as a whole, though their first frames are all there."""

from __future__ import annotations

import io
import os
from typing import IO


def whole_frames(file: IO[bytes]) -> IO[bytes] | None:
    """The chunks of a WebP file that are whole, as a file in memory; None if it is none, or none is missing, or no
    frame is left. Leaves ``file`` at its start."""
    try:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WEBP" or int.from_bytes(head[4:8], "little") + 8 <= size:
            return None
        end, frames = 12, 0
        while True:
            file.seek(end)
            chunk = file.read(8)
            length = int.from_bytes(chunk[4:], "little")
            if len(chunk) < 8 or end + 8 + length > size:
                break
            end += 8 + length + length % 2
            frames += chunk[:4] == b"ANMF"
        if not frames:
            return None
        file.seek(12)
        kept = file.read(min(end, size) - 12).ljust(end - 12, b"\0")
        return io.BytesIO(b"RIFF" + (end - 8).to_bytes(4, "little") + b"WEBP" + kept)
    finally:
        file.seek(0)
