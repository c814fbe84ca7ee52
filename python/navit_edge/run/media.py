"""What one file of a job is, by its content: an image, an animation or several pages, a film; and the images in it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from navit_edge.decode.formats import FORMATS, looks_like
from navit_edge.decode.videos import HEAD_BYTES, VIDEO_SUFFIXES, video_words
from navit_edge.errors import InvalidInputError, MissingPackageError, NavitEdgeError
from navit_edge.pixels import Given, default_decoder, size_of
from navit_edge.run.piece import Piece

if TYPE_CHECKING:
    from navit_edge.decode import Decoder

_PAIRS = (
    "is a film, and the bundle takes frames in pairs, which this command does not make; in Python a session runs the "
    "pairs of navit_edge.video.make_clip (navit-edge docs families), or run its frames as images by a bundle that was "
    "exported without --frames 2"
)


def pieces(
    path: str,
    *,
    every: int | None,
    fps: float,
    decoder: Decoder | None = None,
    films: bool = True,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[Piece]:
    """The images of a file.

    A film has all of its frames, or those of ``every`` and ``fps``. Anything else is one image, unless one of the two
    is given: then an animation has its frames, too, and with ``every`` a file of several pages its pages.
    films: without, a film is an error: the bundle takes frames in pairs, which are not made here.
    ``stopped`` is asked between frames, those that are passed over among them, and ends it.
    What is damaged gives the images up to there, and then one that is an error. Raises MissingPackageError alone.
    """
    try:
        if is_video(path) and not films:
            raise InvalidInputError(_PAIRS)
        if is_video(path):
            yield from _of_film(path, every or 1, fps, decoder, stopped)
        elif every is not None or fps > 0:
            from navit_edge.run.animation import pieces_of

            chosen = decoder or default_decoder()
            yield from pieces_of(path, every=every or 1, fps=fps, decoder=chosen, stopped=stopped)
        else:
            yield Piece(image=path)
    except MissingPackageError:
        raise
    except NavitEdgeError as error:
        yield Piece(error=error)


def count(
    path: str, *, every: int | None, fps: float, decoder: Decoder | None = None, films: bool = True
) -> int | None:
    """How many images ``pieces`` will give, by what headers say; None if they do not say."""
    if is_video(path):
        if not films:
            return 1
        from navit_edge.run.video import count_frames

        return count_frames(path, every=every or 1, fps=fps, decoder=decoder)
    if every is None and fps <= 0:
        return 1
    from navit_edge.run.animation import count_pieces

    return count_pieces(path, every=every or 1, fps=fps, decoder=decoder or default_decoder())


def is_video(path: str) -> bool:
    """By what the file begins with; by its name if that says nothing, or it cannot be read."""
    head = _head(path)
    if video_words(head):
        return True
    return path.lower().endswith(VIDEO_SUFFIXES) and not looks_like(head, FORMATS)


def _head(path: str) -> bytes:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe waits
            return b""
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return b""
    try:
        return os.read(handle, HEAD_BYTES)
    except OSError:
        return b""
    finally:
        os.close(handle)


def _of_film(
    path: str, every: int, fps: float, decoder: Decoder | None, stopped: Callable[[], bool]
) -> Iterator[Piece]:
    from navit_edge.run.video import frames

    for frame in frames(path, every=every, fps=fps, decoder=decoder, stopped=stopped):
        height_px, width_px = size_of(frame.image)
        image = Given(frame.image, frame.done, new_bytes=4 * height_px * width_px)
        yield Piece(frame=frame.index, image=image, time_s=frame.time_s)
