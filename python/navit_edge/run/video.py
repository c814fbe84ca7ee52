"""Frames of a video as images, by PyAV: decoded planes are read where FFmpeg has put them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from navit_edge.errors import InvalidInputError, import_or_explain
from navit_edge.pixels import Pixels

if TYPE_CHECKING:
    from navit_edge.pixels import ImageLike

#: FFmpeg's pixel format -> ours, where its planes are read as they lie.
_YUV = {"yuv420p": "i420", "yuvj420p": "i420", "nv12": "nv12"}
_PACKED = {"rgb24": ("rgb", 3), "bgr24": ("bgr", 3), "rgba": ("rgba", 4), "bgra": ("bgra", 4), "rgb0": ("rgbx", 4),
           "bgr0": ("bgrx", 4)}  # fmt: skip
#: AVColorSpace -> ours. A stream that does not say (2) is read as BT.601, as FFmpeg itself and OpenCV read it.
_MATRICES = {1: "bt709", 2: "bt601", 5: "bt601", 6: "bt601"}
_FULL_RANGE = 2  # AVColorRange


@dataclass(frozen=True, kw_only=True)
class Frame:
    """index: its place among all frames, from 0. time_s: from the first frame. image: borrows the decoder's memory."""

    index: int
    time_s: float | None
    image: ImageLike


def frames(path: str, *, every: int = 1, fps: float = 0.0) -> Iterator[Frame]:
    """The frames of the first video stream in the order in which they are shown.

    every: the frames 0, every, 2 * every, …
    fps: where above 0, the first frame at or after each of the times k / fps.

    Raises InvalidInputError after the frames up to there where the file is missing, is no video or is damaged, and
    MissingPackageError without PyAV.
    """
    av = _pyav()
    index = 0
    try:
        with av.open(path) as container:
            stream = _video_stream(container, path)
            stream.thread_type = "AUTO"
            start = None
            due = 0  # of the times k / fps, the next one
            for frame in container.decode(stream):
                if start is None and frame.time is not None:
                    start = frame.time
                time_s = None if frame.time is None or start is None else frame.time - start
                if fps > 0:
                    if time_s is None:
                        raise InvalidInputError(f"{path}: frame {index} has no time; take frames with --every instead")
                    wanted = time_s * fps >= due - 1e-6
                    due = max(due, math.floor(time_s * fps + 1e-6) + 1) if wanted else due
                else:
                    wanted = index % every == 0
                if wanted:
                    yield Frame(index=index, time_s=time_s, image=image_of(frame))
                index += 1
                last = frame
            if index:
                _require_whole(container, stream, last, path, index)
    except FileNotFoundError:
        raise InvalidInputError(f"{path}: no such file; expected a video") from None
    except (av.FFmpegError, OSError, ValueError) as error:
        if isinstance(error, InvalidInputError):
            raise
        after = f" after frame {index - 1}" if index else ""
        reason = getattr(error, "strerror", None) or error
        raise InvalidInputError(f"{path}: cannot be decoded{after} ({reason}); check the file") from error
    if index == 0:
        raise InvalidInputError(f"{path}: holds no frames; check the file")


def count_frames(path: str, *, every: int = 1, fps: float = 0.0) -> int | None:
    """How many frames of a video ``frames`` will give, by what its header says; None where it does not say."""
    av = _pyav()
    try:
        with av.open(path) as container:
            stream = _video_stream(container, path)
            seconds = _duration_s(container, stream)
            total = stream.frames
            if not total and seconds and stream.average_rate:
                total = round(seconds * float(stream.average_rate))
            if not total:
                return None
            if fps > 0:
                return None if not seconds else min(int(total), math.ceil(seconds * fps))
            return -(-int(total) // every)
    except (av.FFmpegError, OSError, ValueError):
        return 1  # the error's row


def _duration_s(container: Any, stream: Any) -> float | None:
    """Of the video stream by what the file says; None where it says nothing, or only how long all its streams are."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    hours, colon, rest = stream.metadata.get("DURATION", "").partition(":")  # Matroska's tag, 00:00:01.200000000
    minutes, second_colon, seconds = rest.partition(":")
    if colon and second_colon:
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    if container.duration is not None and len(container.streams) == 1:
        return float(container.duration) / 1e6  # AV_TIME_BASE
    return None


def _require_whole(container: Any, stream: Any, last: Any, path: str, count: int) -> None:
    """Raises InvalidInputError where the frames end long before the file says: one that was cut off decodes without an
    error. Headers are not exact, so half a second and two parts in a hundred may be missing."""
    said_s = _duration_s(container, stream)
    if said_s is None or last.time is None or not stream.average_rate:
        return
    start_s = float(stream.start_time * stream.time_base) if stream.start_time is not None else 0.0
    found_s = last.time - start_s + 1 / float(stream.average_rate)
    if found_s < said_s - max(0.5, 0.02 * said_s):
        raise InvalidInputError(
            f"{path}: ends after {count} frames and {found_s:.1f} s; its header says {said_s:.1f} s: it is cut off or "
            "damaged"
        )


def image_of(frame: Any) -> ImageLike:
    """A decoded frame (``av.VideoFrame``) as an image. YUV 4:2:0, RGB and full-range gray are borrowed plane by plane,
    with the stream's matrix and range; other formats become RGB by FFmpeg's own conversion."""
    name = frame.format.name
    full = name == "yuvj420p" or frame.color_range == _FULL_RANGE
    matrix = _MATRICES.get(frame.colorspace)
    upright = all(plane.line_size > 0 for plane in frame.planes)
    if name in _YUV and matrix is not None and upright:
        interleaved = _YUV[name] == "nv12"
        planes = [_view(plane, 2 if interleaved and number else 1) for number, plane in enumerate(frame.planes)]
        return Pixels(planes, _YUV[name], matrix=matrix, range="full" if full else "limited")
    if name in _PACKED and upright:
        form, channels = _PACKED[name]
        return Pixels(_view(frame.planes[0], channels), form)
    if name == "gray" and full and upright:
        return Pixels(_view(frame.planes[0], 1), "gray")
    return np.ascontiguousarray(frame.to_ndarray(format="rgb24"))


def _view(plane: Any, channels: int) -> npt.NDArray[np.uint8]:
    """A plane of a frame, uint8 [height, width] or [height, width, channels], where it lies."""
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height]
    view = rows[:, : plane.width * channels]
    if channels == 1:
        return view
    shape, strides = (plane.height, plane.width, channels), (plane.line_size, channels, 1)
    return np.lib.stride_tricks.as_strided(view, shape, strides, writeable=False)


def _video_stream(container: Any, path: str) -> Any:
    if not container.streams.video:
        raise InvalidInputError(f"{path}: holds no video stream; expected a video")
    return container.streams.video[0]


def _pyav() -> Any:
    return import_or_explain("av", purpose="reading videos", remedy='pip install "navit-edge[run]"')
