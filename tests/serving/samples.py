"""What the tests of the server's core share: images, files as the protocol joins them, the error that a call raises."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from navit_edge.serve.errors import ServeError

Pixels = npt.NDArray[np.uint8]


def pictures(count: int) -> list[Pixels]:
    rng = np.random.default_rng(count)
    return [rng.integers(0, 256, (*rng.integers(8, 60, 2), 3), np.uint8) for _ in range(count)]


def png(image: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def joined(files: list[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(file)) + file for file in files)


def error_of(call: Callable[[], object]) -> ServeError:
    with pytest.raises(ServeError) as caught:
        call()
    return caught.value
