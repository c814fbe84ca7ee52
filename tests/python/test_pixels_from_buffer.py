"""Frames in plain memory, as cameras and GStreamer give them: read where they lie, or refused."""

from __future__ import annotations

import gc
import mmap
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import navit_edge as ne

random = np.random.default_rng(11)


def padded(plane: npt.NDArray[np.uint8], stride: int) -> bytes:
    """A plane [rows, bytes] with rows ``stride`` bytes apart, rubbish between them, and none after the last."""
    rows = random.integers(0, 256, (plane.shape[0], stride), np.uint8)
    rows[:, : plane.shape[1]] = plane
    return rows.tobytes()[: stride * (plane.shape[0] - 1) + plane.shape[1]]


@pytest.mark.parametrize("stride", [0, 64])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, np.frombuffer])
@pytest.mark.parametrize(
    ("format", "order"),
    [("gray", [0]), ("rgb", [0, 1, 2]), ("bgr", [2, 1, 0]), ("bgrx", [2, 1, 0]), ("rgba", [0, 1, 2])],
)
def test_interleaved_frames_are_read_from_any_buffer(format: str, order: list[int], kind: Any, stride: int) -> None:
    channels = {"gray": 1, "rgb": 3, "bgr": 3}.get(format, 4)
    frame = random.integers(0, 256, (7, 13, channels), np.uint8)
    memory = padded(frame.reshape(7, -1), stride or 13 * channels)
    buffer = np.frombuffer(memory, np.uint8) if kind is np.frombuffer else kind(memory)
    pixels = ne.Pixels.from_buffer(buffer, format=format, height_px=7, width_px=13, strides=stride or None)
    expected = np.repeat(frame, 3, 2) if format == "gray" else frame[:, :, order]
    assert np.array_equal(ne.to_rgb(pixels), expected)
    assert (pixels.height_px, pixels.width_px, pixels.format) == (7, 13, format)


@pytest.mark.parametrize("format", ["nv12", "i420"])
@pytest.mark.parametrize("size", [(8, 12), (7, 13)])
def test_planar_frames_lie_where_strides_and_offsets_say(format: str, size: tuple[int, int]) -> None:
    height, width = size
    half = ((height + 1) // 2, (width + 1) // 2)
    y = random.integers(0, 256, size, np.uint8)
    u, v = (random.integers(0, 256, half, np.uint8) for _ in range(2))
    planes = [y, np.dstack([u, v]).reshape(half[0], -1)] if format == "nv12" else [y, u, v]
    colour = {"matrix": "bt709", "range": "full"}
    expected = ne.to_rgb(ne.Pixels(planes, format, **colour))

    tight = b"".join(plane.tobytes() for plane in planes)
    frame = ne.Pixels.from_buffer(tight, format=format, height_px=height, width_px=width, **colour)
    assert np.array_equal(ne.to_rgb(frame), expected)

    memory, offsets = b"", []
    strides = [32, 48, 20][: len(planes)]
    for plane, stride in zip(planes, strides, strict=True):
        memory += b"rubbish"
        offsets.append(len(memory))
        memory += padded(plane, stride)
    layout: dict[str, Any] = {"strides": [*strides, 0, 0], "offsets": (*offsets, 0)}  # GStreamer's have four
    frame = ne.Pixels.from_buffer(memory, format=format, height_px=height, width_px=width, **layout, **colour)
    assert np.array_equal(ne.to_rgb(frame), expected)


def test_a_frame_is_not_copied_and_a_session_takes_it(tiny_session: ne.Session) -> None:
    memory = bytearray(32 * 48 * 3)
    pixels = ne.Pixels.from_buffer(memory, format="bgr", height_px=32, width_px=48)
    assert not ne.to_rgb(pixels).any()
    frame = random.integers(0, 256, (32, 48, 3), np.uint8)
    memory[:] = frame.tobytes()
    (expected,) = tiny_session.run([np.ascontiguousarray(frame[:, :, ::-1])])
    assert np.array_equal(tiny_session.run([pixels])[0].logits, expected.logits)
    assert np.array_equal(tiny_session.submit(pixels).result(60).logits, expected.logits)
    with pytest.raises(BufferError):
        memory.clear()  # pinned while the pixels are there


def test_a_mapped_file_is_a_frame(tmp_path: Path) -> None:
    frame = random.integers(0, 256, (16, 16), np.uint8)
    path = tmp_path / "frame.raw"
    path.write_bytes(b"header" + frame.tobytes())
    with path.open("rb") as file:
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        pixels = ne.Pixels.from_buffer(memory, format="gray", height_px=16, width_px=16, offsets=6)
        assert np.array_equal(ne.to_rgb(pixels)[:, :, 0], frame)


def test_what_unmaps_the_frame_is_kept_until_the_frame_has_been_read(tiny_session: ne.Session) -> None:
    class Mapping:
        """Unmaps when it goes."""

    mapping = Mapping()
    gone = weakref.ref(mapping)
    pixels = ne.Pixels.from_buffer(bytes(48 * 48), format="gray", height_px=48, width_px=48, owner=mapping)
    del mapping
    assert gone() is not None
    future = tiny_session.submit(pixels)
    del pixels
    future.result(60)
    tiny_session.drain()
    gc.collect()
    results = tiny_session.stream([np.zeros((8, 8), np.uint8)])
    assert len(list(results)) == 1
    assert gone() is None


FRAME = bytes(60)
WRONG: dict[str, tuple[Any, dict[str, Any], str]] = {
    "too short": (FRAME, {"format": "rgb"}, "the buffer has 60 bytes and plane 0 takes 72 from 0 on"),
    "no chroma": (FRAME, {"format": "nv12", "height_px": 8, "width_px": 6}, "plane 1 takes 24 from 48 on"),
    "offset": (FRAME, {"offsets": [40]}, "takes 24 from 40 on"),
    "negative offset": (FRAME, {"offsets": [-1]}, "takes 24 from -1 on"),
    "far offset": (FRAME, {"offsets": [2**62]}, "check format, size, strides and offsets"),
    "small stride": (FRAME, {"strides": [5]}, "the stride of plane 0 is 5 bytes; expected at least the 6"),
    "great stride": (FRAME, {"strides": [2**40]}, "the stride of plane 0 is 1099511627776"),
    "few strides": (FRAME, {"format": "i420", "strides": [6, 3]}, "strides has 2 values; expected 3"),
    "words": (FRAME, {"strides": "six"}, "strides is 'six'; expected a number of bytes for each plane"),
    "empty": (b"", {}, "the buffer has 0 bytes"),
    "no pixels": (FRAME, {"height_px": 0}, "the frame is 0x6 pixels; expected 1 to 1048576 a side"),
    "format": (FRAME, {"format": "yuyv"}, "format is 'yuyv'; expected one of gray, rgb"),
    "matrix": (FRAME, {"matrix": "bt2020"}, "matrix is 'bt2020'"),
    "type": (3, {}, "the buffer is of type int; expected bytes, a memoryview"),
    "a view with gaps": (memoryview(FRAME)[::2], {}, "the buffer is not contiguous"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_frame_that_does_not_fit_its_buffer_is_refused(case: str) -> None:
    buffer, changes, text = WRONG[case]
    arguments: dict[str, Any] = {"format": "gray", "height_px": 4, "width_px": 6} | changes
    with pytest.raises(ne.InvalidInputError) as caught:
        ne.Pixels.from_buffer(buffer, **arguments)
    assert text in str(caught.value)
