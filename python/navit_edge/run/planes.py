"""A decoded frame of a film as an image: its planes where FFmpeg has put them, upright, of eight bits."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from navit_edge import _core
from navit_edge.pixels import Pixels

#: FFmpeg's pixel format -> ours, if its planes are read as they lie.
_YUV = {"yuv420p": "i420", "yuvj420p": "i420", "nv12": "nv12"}
_PACKED = {"rgb24": ("rgb", 3), "bgr24": ("bgr", 3), "rgba": ("rgba", 4), "bgra": ("bgra", 4), "rgb0": ("rgbx", 4),
           "bgr0": ("bgrx", 4)}  # fmt: skip
#: AVColorSpace -> ours. A stream that does not say (2) is read as BT.601, as FFmpeg itself and OpenCV read it.
_MATRICES = {1: "bt709", 2: "bt601", 5: "bt601", 6: "bt601"}
_FULL_RANGE = 2  # AVColorRange
#: AVColorPrimaries and AVColorTransferCharacteristic (ITU-T H.273) that are not those of SDR.
_PRIMARIES = {9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}
_TRANSFERS = {16: "PQ", 18: "HLG"}
#: Where the two axes of a display matrix lead: the signs of (a, b, c, d), x' = a x + c y, y' = b x + d y, y downwards
#: -> the orientation as EXIF counts it.
_ORIENTATIONS = {(1, 0, 0, 1): 1, (-1, 0, 0, 1): 2, (-1, 0, 0, -1): 3, (1, 0, 0, -1): 4,
                 (0, 1, 1, 0): 5, (0, 1, -1, 0): 6, (0, -1, -1, 0): 7, (0, -1, 1, 0): 8}  # fmt: skip


class Seen(NamedTuple):
    """image: may borrow the decoder's memory. done: what was done to it, in words; "" for nothing."""

    image: npt.NDArray[np.uint8] | Pixels
    done: str = ""


def seen(frame: Any, *, upright: bool) -> Seen:
    """A decoded frame (``av.VideoFrame``). upright: it is turned as its display matrix says."""
    turn, odd = orientation_of(frame) if upright else (1, "")
    image = image_of(frame)
    words = [f"turned upright (orientation {turn})" if turn > 1 else "", odd, *_colour_words(frame)]
    return Seen(_turned(frame, image, turn) if turn > 1 else image, "; ".join(word for word in words if word))


def orientation_of(frame: Any) -> tuple[int, str]:
    """By the display matrix: 1 to 8 as EXIF has it, and what has to be said of it, "" for nothing."""
    try:
        matrix = bytes(frame.side_data["DISPLAYMATRIX"])
    except KeyError:
        return 1, ""
    if len(matrix) < 36:
        return 1, ""
    a, b, _, c, d = struct.unpack("=5i", matrix[:20])
    largest = max(abs(a), abs(b), abs(c), abs(d))
    if largest == 0:
        return 1, ""
    x, y, u, v = ((value > 0) - (value < 0) if 16 * abs(value) > largest else 0 for value in (a, b, c, d))
    turn = _ORIENTATIONS.get((x, y, u, v))
    return (turn, "") if turn else (1, "not turned, since its display matrix is no quarter turn")


def image_of(frame: Any) -> npt.NDArray[np.uint8] | Pixels:
    """As it was encoded. YUV 4:2:0, RGB and full-range gray are borrowed plane by plane, with the stream's matrix and
    range; other formats become RGB or, with alpha, RGBA by FFmpeg's own conversion."""
    name = frame.format.name
    full = name == "yuvj420p" or frame.color_range == _FULL_RANGE
    matrix = _MATRICES.get(frame.colorspace)
    forward = all(plane.line_size > 0 for plane in frame.planes)
    if name in _YUV and matrix is not None and forward:
        interleaved = _YUV[name] == "nv12"
        planes = [_view(plane, 2 if interleaved and number else 1) for number, plane in enumerate(frame.planes)]
        return Pixels(planes, _YUV[name], matrix=matrix, range="full" if full else "limited")
    if name in _PACKED and forward:
        form, channels = _PACKED[name]
        return Pixels(_view(frame.planes[0], channels), form)
    if name == "gray" and full and forward:
        return Pixels(_view(frame.planes[0], 1), "gray")
    return np.ascontiguousarray(frame.to_ndarray(format="rgba" if _has_alpha(frame.format) else "rgb24"))


def _has_alpha(form: Any) -> bool:
    """FFmpeg's name says it: yuva420p, gbrap, ya8, rgba64le, argb, pal8."""
    name: str = form.name
    return name.startswith(("yuva", "gbrap", "ya8", "ya16", "rgba", "bgra", "argb", "abgr", "pal8", "ayuv", "vuya"))


def _colour_words(frame: Any) -> list[str]:
    bits = max((component.bits for component in frame.format.components), default=8)
    colours = " ".join(
        word
        for word in (
            _PRIMARIES.get(getattr(frame, "color_primaries", 2)),
            _TRANSFERS.get(getattr(frame, "color_trc", 2)),
        )
        if word  # PyAV before 17 does not say
    )
    return [f"{bits} bits reduced to 8" if bits > 8 else "", f"{colours} read as sRGB" if colours else ""]


def _turned(frame: Any, image: npt.NDArray[np.uint8] | Pixels, turn: int) -> npt.NDArray[np.uint8]:
    """RGB, or RGBA, turned: converted and copied."""
    if not isinstance(image, Pixels):
        array = np.asarray(image)
    elif _has_alpha(frame.format):
        array = frame.to_ndarray(format="rgba")
    else:
        array = _core.to_rgb(image, "drop", (255, 255, 255))
    for axes, flip in _STEPS[turn]:
        array = array.transpose(1, 0, 2) if axes else array[flip]
    return np.ascontiguousarray(array)


_ROWS, _COLUMNS = np.s_[::-1], np.s_[:, ::-1]
#: Orientation -> (whether rows and columns change places, else which of them is reversed), in order.
_STEPS: dict[int, tuple[tuple[bool, Any], ...]] = {
    2: ((False, _COLUMNS),),
    3: ((False, _ROWS), (False, _COLUMNS)),
    4: ((False, _ROWS),),
    5: ((True, None),),
    6: ((True, None), (False, _COLUMNS)),
    7: ((True, None), (False, _ROWS), (False, _COLUMNS)),
    8: ((True, None), (False, _ROWS)),
}


def _view(plane: Any, channels: int) -> npt.NDArray[np.uint8]:
    """A plane of a frame, uint8 [height, width] or [height, width, channels], where it lies."""
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height]
    view = rows[:, : plane.width * channels]
    if channels == 1:
        return view
    shape, strides = (plane.height, plane.width, channels), (plane.line_size, channels, 1)
    return np.lib.stride_tricks.as_strided(view, shape, strides, writeable=False)
