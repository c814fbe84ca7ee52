"""A film in a container, by PyAV: which stream it is, its frames as they are decoded, and what is wrong with it.

Nothing but the file itself is opened: FFmpeg gets an open file and no name, and only demuxers of containers that hold
all of themselves. Playlists (HLS, DASH, concat) and addresses are never followed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import IO, TYPE_CHECKING, Any

from navit_edge.decode import files
from navit_edge.decode.limits import check_pixels
from navit_edge.decode.videos import HEAD_BYTES, TRANSPORT_STREAM, video_words
from navit_edge.errors import InvalidInputError, import_or_explain
from navit_edge.run import iso, whole
from navit_edge.run.clock import Stamped, seconds, usual_duration_s

if TYPE_CHECKING:
    from navit_edge.decode import DecodeOptions

#: FFmpeg's names of the containers and streams that are opened.
DEMUXERS = ("mov", "mp4", "matroska", "webm", "avi", "flv", "live_flv", "asf", "mpegts", "mpeg", "mpegvideo", "ogg",
            "ivf", "yuv4mpegpipe", "mxf", "h264", "hevc", "m4v", "dv")  # fmt: skip
#: Streams that are pictures beside a film.
_NO_FILM = ("attached_pic", "timed_thumbnails", "still_image")
_BUFFER_BYTES = 1 << 17
#: Errors in a row of the demuxer after which a file is given up.
_MOST_ERRORS = 64

_silent = False


@dataclass
class Losses:
    """packets: that could not be decoded. corrupt: frames that the decoder has marked as wrong and that are left out.
    after: the frame before the first of them, -1 for none. why: what FFmpeg said of the first."""

    packets: int = 0
    corrupt: int = 0
    after: int | None = None
    why: str = ""


class Film:
    """The film of an open container. Use it in one thread."""

    def __init__(self, container: Any, file: IO[bytes], options: DecodeOptions) -> None:
        self._container = container
        self._file = file
        self._options = options
        self.stream = _film_of(container)
        check_pixels(self.stream.codec_context.width, self.stream.codec_context.height, options.max_pixels)
        self.losses = Losses()
        self._last: Stamped[Any] | None = None
        self._ends_torn = False
        self._count = 0

    @property
    def usual_s(self) -> Fraction:
        """How long a frame is shown by the header."""
        return usual_duration_s(self.stream.average_rate or self.stream.base_rate)

    @property
    def rounding_s(self) -> float:
        """Half a tick of its timestamps."""
        return float((seconds(self.stream.time_base) or 0) / 2)

    @property
    def duration_s(self) -> Fraction | None:
        """Of the film by what the file says; None if it says nothing, or only how long all its streams are."""
        stated = seconds(self.stream.duration, self.stream.time_base)
        if stated is None:
            stated = _tag_s(self.stream.metadata.get("DURATION", ""))
        if stated is None and len(self._container.streams) == 1:
            stated = seconds(self._container.duration, Fraction(1, 1_000_000))  # AV_TIME_BASE
        return stated if stated is not None and stated > 0 else None

    def frames(self, stopped: Callable[[], bool]) -> Iterator[tuple[int, Stamped[Any]]]:
        """(place among all frames, frame), as they are decoded, until ``stopped``. What is damaged is left out and
        counted in ``losses``."""
        self.stream.thread_type = "AUTO"
        self.stream.codec_context.options = {"max_pixels": str(self._options.max_pixels)}
        for packet in self._packets():
            if stopped():
                return
            for frame in self._decoded(packet):
                index = self._count
                self._count += 1
                if frame.is_corrupt:
                    self.losses.corrupt += 1
                    self._note(index - 1, "")
                    continue
                self._last = _stamped(frame, self.stream)
                yield index, self._last

    def check_whole(self, end_s: float) -> None:
        """Raises InvalidInputError, after the last frame, if any are missing.

        end_s: when the last frame ends, from the first one.
        """
        lost, stated = self.losses, self.duration_s
        cut = whole.cut_words(self._file)
        if self._last is None:
            why = f"cannot be decoded ({lost.why})" if lost.why else "holds no frames"
            raise InvalidInputError(f"{why}; {cut or 'check the file'}")
        words = f"ends after {self._count:,} frames and {end_s:.1f} s"
        if stated is not None:
            words += f"; its header says {float(stated):.1f} s"
        if lost.after is not None:
            parts = [f"{lost.packets:,} packets are damaged"] if lost.packets else []
            parts += [f"{lost.corrupt:,} frames are wrong by the decoder's word and left out"] if lost.corrupt else []
            where = f"after frame {lost.after}" if lost.after >= 0 else "at its beginning"
            why = f" ({lost.why})" if lost.why else ""
            raise InvalidInputError(
                f"cannot be decoded {where}{why}: {', '.join(parts)}; it {words}; {cut or 'check the file'}"
            )
        if cut:
            raise InvalidInputError(f"{words}: {cut}")
        if self._ends_torn:
            raise InvalidInputError(f"{words}: it is cut off in the middle of a frame")
        # Headers are not exact, so half a second and two parts in a hundred may be missing. A container that is whole
        # by its own sizes may well end with a frame that stands for long.
        short = stated is not None and end_s < float(stated) - max(0.5, 0.02 * float(stated))
        if short and (whole.stated_bytes(self._file) is None or whole.has_hole(self._file)):
            raise InvalidInputError(f"{words}: it is damaged")

    def _packets(self) -> Iterator[Any]:
        """Those of the film, then None, which asks the decoder for what it holds back. What cannot be read is passed
        over."""
        av = pyav()
        errors = 0
        while errors < _MOST_ERRORS:
            try:
                for packet in self._container.demux(self.stream):
                    if packet.size == 0:  # nothing; to a decoder, the end
                        continue
                    errors = 0
                    self._ends_torn = packet.is_corrupt
                    yield packet
                break
            except (av.FFmpegError, OSError, ValueError) as error:
                errors += 1
                self.losses.packets += 1
                self._note(self._count - 1, _why(error))
        yield None

    def close(self) -> None:
        """Waits for FFmpeg's threads and lets go of the decoder. PyAV frees it while it holds Python's lock, for which
        a thread waits that logs an error: each would wait for the other for ever, at the latest when Python exits."""
        stream, self.stream = self.stream, None
        if stream is not None:
            with suppress(Exception):
                while stream.decode(None):
                    pass

    def _decoded(self, packet: Any) -> list[Any]:
        av = pyav()
        try:
            frames: list[Any] = self.stream.decode(packet)
        except EOFError:
            return []
        except (av.FFmpegError, OSError, ValueError) as error:
            self.losses.packets += 1
            self._note(self._count - 1, _why(error))
            return []
        return frames

    def _note(self, after: int, why: str) -> None:
        if self.losses.after is None:
            self.losses.after, self.losses.why = after, why


@contextmanager
def opened(path: str | os.PathLike[str], options: DecodeOptions) -> Iterator[Film]:
    """The film in a file. Raises InvalidInputError if there is none, and MissingPackageError without PyAV. The text
    of an error does not have the path."""
    pyav()
    with files.open_regular(path, 1 << 63, expected="a video") as file:
        if iso.is_iso(file):
            iso.check_tables(file)
        container = _container(file, options)
        film = None
        try:
            film = Film(container, file, options)
            if iso.is_iso(file) and (seconds(film.stream.time_base) or 1) >= 1:
                # Ticks of a second or more are no unit of a film, and its edit list counts in them.
                container.close()
                container = _container(file, options, ignore_editlist="1")
                film = Film(container, file, options)
            yield film
        finally:
            if film is not None:
                film.close()
            container.close()


def _container(file: IO[bytes], options: DecodeOptions, **further: str) -> Any:
    av = pyav()
    said = {"format_whitelist": ",".join(DEMUXERS), "protocol_whitelist": "file", **further}
    # Of decoders that look for a stream's parameters. PyAV before 18 frees them wrongly if streams come up later.
    limits = {"max_pixels": str(options.max_pixels)} if int(av.__version__.partition(".")[0]) >= 18 else {}
    # FFmpeg does not find out by itself what a short transport stream is.
    form = "mpegts" if video_words(os.pread(file.fileno(), HEAD_BYTES, 0)) == TRANSPORT_STREAM else None
    try:
        return av.open(
            _Nameless(file),
            format=form,
            metadata_errors="replace",
            buffer_size=_BUFFER_BYTES,
            container_options=said,
            options=limits,
        )
    except (av.FFmpegError, OSError, ValueError) as error:
        cut = whole.cut_words(file) or "check the file"
        raise InvalidInputError(f"cannot be decoded ({_why(error)}); {cut}") from error


class _Nameless:
    """What FFmpeg sees of a file: no name that it could take for anything, and a place of its own."""

    name = ""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._place = 0

    def read(self, size: int) -> bytes:
        data = os.pread(self._file.fileno(), size, self._place)
        self._place += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: os.fstat(self._file.fileno()).st_size}[whence]
        self._place = max(0, start + offset)
        return self._place

    def tell(self) -> int:
        return self._place


def pyav() -> Any:
    av = import_or_explain("av", purpose="reading videos", remedy='pip install "navit-edge[run]"')
    if _silent:
        av.logging.restore_default_callback()  # PyAV's own takes Python's lock in FFmpeg's threads
        av.logging.set_libav_level(av.logging.PANIC)
    return av


def silence() -> None:
    """For a program of its own, since it holds for all of the process: FFmpeg's messages, which may quote a file, go
    nowhere, and none of its threads waits to write one. What is wrong with a film is in its errors."""
    global _silent
    _silent = True


def _film_of(container: Any) -> Any:
    """The stream that FFmpeg holds best, of those that are no picture beside a film."""
    av = pyav()
    films, pictures, undecodable = [], 0, ""
    for stream in container.streams.video:
        if any(stream.disposition & getattr(av.stream.Disposition, name) for name in _NO_FILM):
            pictures += 1
        elif stream.codec_context is None:
            undecodable = "its video is in a format that FFmpeg does not decode"
        else:
            films.append(stream)
    if not films:
        found = undecodable or ("only a cover picture" if pictures else "no video stream")
        raise InvalidInputError(f"holds {found}; expected a video")
    best = container.streams.best("video")
    return next((stream for stream in films if best is not None and stream.index == best.index), films[0])


def _stamped(frame: Any, stream: Any) -> Stamped[Any]:
    unit = stream.time_base  # PyAV's own of a frame that was flushed has been random (PyAV#1280)
    pts = frame.pts if frame.pts is not None else frame.dts
    return Stamped(
        frame=frame, pts_s=seconds(pts, unit), duration_s=seconds(getattr(frame, "duration", 0) or None, unit)
    )


def _tag_s(text: str) -> Fraction | None:
    """Matroska's tag, 00:00:01.200000000; None for any other text."""
    parts = text.split(":")
    if len(text) > 40 or len(parts) != 3 or not all(part.replace(".", "", 1).isdecimal() for part in parts):
        return None
    with suppress(ValueError, ZeroDivisionError):
        hours, minutes, rest = map(Fraction, parts)
        return hours * 3600 + minutes * 60 + rest
    return None


def _why(error: Exception) -> str:
    """What FFmpeg says, printable and on one line."""
    text = str(getattr(error, "strerror", None) or error or type(error).__name__)
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200]
