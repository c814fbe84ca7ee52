"""The C++ core's decoders beside Pillow, the oracle: the same pixels, words and errors, whichever decodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

import navit_edge as ne
from navit_edge import _core
from navit_edge.decode import Decoder, jpeg, png
from navit_edge.pixels import given_by


def leave_to_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where no library is."""
    for module in (jpeg, png):
        monkeypatch.setattr(module, "library", lambda: ("", "switched off"))


def outcome(decoder: Decoder, data: bytes) -> tuple[Any, ...]:
    """Pixels and words, or the error's words."""
    try:
        given = given_by(decoder.decode_pixels(data, "a file"))
    except ne.InvalidInputError as error:
        return ("error", str(error))
    rgb = _core.to_rgb(given.pixels, decoder.recorded.alpha, decoder.recorded.background)
    return (rgb.shape, rgb.tobytes(), given.done)


def profile() -> bytes:
    """One that moves colours."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()


def oriented(orientation: int) -> bytes:
    """EXIF, as Pillow writes it."""
    block = Image.Exif()
    block[274] = orientation
    return block.tobytes()


def mutated(data: bytes, number: int) -> bytes:
    """Bytes changed, cut out or repeated; half of them near the start. number: of the mutation."""
    draw = np.random.default_rng(number)
    changed = bytearray(data)
    for _ in range(int(draw.integers(1, 6))):
        place = int(draw.integers(2, 200 if draw.random() < 0.5 else len(changed)))
        kind = draw.random()
        if kind < 0.7:
            changed[min(place, len(changed) - 1)] = int(draw.integers(0, 256))
        elif kind < 0.85:
            del changed[place : place + int(draw.integers(1, 20))]
        else:
            changed[place:place] = changed[place : place + int(draw.integers(1, 20))]
    return bytes(changed)


def assert_same(one: ne.Result, other: ne.Result) -> None:
    assert (one.grid, one.scale, one.offset, one.reason) == (other.grid, other.scale, other.offset, other.reason)
    assert one.logits is not None
    assert other.logits is not None
    np.testing.assert_allclose(one.logits, other.logits, rtol=0, atol=1e-5)
