"""Animations and files of several pages in a job: GIF, WebP, APNG, AVIF; TIFF, MPO, HEIC. They come from the session's
own decoder, as images do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from navit_edge.errors import InvalidInputError, NavitEdgeError
from navit_edge.pixels import given_by
from navit_edge.run.clock import is_shown
from navit_edge.run.piece import Piece

if TYPE_CHECKING:
    from navit_edge.decode import Decoder


def pieces_of(path: str, *, every: int, fps: float, decoder: Decoder, stopped: Callable[[], bool]) -> Iterator[Piece]:
    """The frames 0, every, 2 * every, …; with ``fps`` those that are shown at the times 0, 1/fps, …: a frame is shown
    for its own duration, and an animation plays once. A file of one frame is one image, and with ``fps``, so is a file
    of pages, which have no times.

    Raises InvalidInputError after the frames that there are.
    """
    with decoder.open(path, for_frames=True) as opened:
        frames = opened.frames() if opened.has_frames else None
        if frames is None or (fps > 0 and not frames.timed):
            yield Piece(image=path)
            return
        time_s = 0.0
        for frame in frames:
            if stopped():
                return
            end_s = time_s + (frame.duration_s or 0.0)
            if is_shown(time_s, end_s, fps) if fps > 0 else frame.index % every == 0:
                try:
                    image = given_by(frame.decode())
                except InvalidInputError as error:
                    if frames.timed:
                        raise
                    yield Piece(frame=frame.index, error=error)
                else:
                    yield Piece(frame=frame.index, image=image, time_s=round(time_s, 6) if frames.timed else None)
            time_s = end_s


def count_pieces(path: str, *, every: int, fps: float, decoder: Decoder) -> int | None:
    """How many there are, if the header says it."""
    try:
        with decoder.open(path) as opened:
            if not opened.has_frames:
                return 1
            frames = opened.frames()
            if fps > 0:
                return None if frames.timed else 1
            return None if frames.count is None else -(-frames.count // every)
    except NavitEdgeError:
        return 1  # the error's row
