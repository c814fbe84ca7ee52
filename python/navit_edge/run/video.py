"""Frames of a video as images. ``frames`` and ``count_frames`` are all that others need of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from navit_edge.decode import files
from navit_edge.errors import InvalidInputError, NavitEdgeError
from navit_edge.pixels import Pixels, default_decoder
from navit_edge.run import clock, film
from navit_edge.run.planes import image_of, seen

if TYPE_CHECKING:
    from navit_edge.decode import Decoder

__all__ = ["Frame", "count_frames", "frames", "image_of"]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """index: its place among all frames, from 0. time_s: when it is shown, from the first frame. image: may borrow the
    decoder's memory. done: what was done to it, in words."""

    index: int
    time_s: float | None
    image: npt.NDArray[np.uint8] | Pixels
    done: str = ""


def frames(
    path: str,
    *,
    every: int = 1,
    fps: float = 0.0,
    decoder: Decoder | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[Frame]:
    """The frames of a film in the order in which they are shown (docs/run.md).

    every: the frames 0, every, 2 * every, …
    fps: if above 0, the frames that are shown at the times 0, 1/fps, 2/fps, …, each once.
    decoder: whose limits and orientation hold; without it those of a call without a bundle.
    stopped: asked while the film is read; ends it if it says so.

    Raises InvalidInputError after the frames that there are, if the file is missing, is no video, is damaged or cut
    off, and MissingPackageError without PyAV.
    """
    decoder = decoder or default_decoder()
    name = files.shown(path)
    upright = decoder.recorded.orientation == "apply"
    try:
        with film.opened(path, decoder.options) as opened:
            stamps = (_indexed(index, stamped) for index, stamped in opened.frames(stopped))
            shown = clock.timed(stamps, opened.usual_s)
            end = _End()
            chosen = end.of(shown)
            if fps > 0:
                chosen = clock.shown_at(chosen, fps, rounding_s=opened.rounding_s)
            for one in chosen:
                index, frame = one.frame
                if fps > 0 or index % every == 0:
                    picture = seen(frame, upright=upright)
                    yield Frame(index=index, time_s=one.time_s, image=picture.image, done=picture.done)
            if not stopped():
                opened.check_whole(end.time_s)
    except InvalidInputError as error:
        between = " " if str(error).startswith(("is ", "has ")) else ": "
        raise InvalidInputError(f"{name}{between}{error}") from error.__cause__


def count_frames(path: str, *, every: int = 1, fps: float = 0.0, decoder: Decoder | None = None) -> int | None:
    """How many frames of a video ``frames`` will give, by what its header says; None if it does not say."""
    try:
        with film.opened(path, (decoder or default_decoder()).options) as opened:
            seconds = opened.duration_s
            total: int = opened.stream.frames
            if total <= 0 and seconds is not None:
                total = round(seconds / opened.usual_s)
            if total <= 0:
                return None
            if fps > 0:
                return None if seconds is None else min(total, math.ceil(float(seconds) * fps))
            return -(-total // every)
    except NavitEdgeError:
        return 1  # the error's row


class _End:
    """Remembers when the last frame ends."""

    time_s = 0.0

    def of(self, shown: Iterator[clock.Timed[Any]]) -> Iterator[clock.Timed[Any]]:
        for one in shown:
            self.time_s = one.time_s + one.own_s
            yield one


def _indexed(index: int, stamped: clock.Stamped[Any]) -> clock.Stamped[tuple[int, Any]]:
    return clock.Stamped(frame=(index, stamped.frame), pts_s=stamped.pts_s, duration_s=stamped.duration_s)
