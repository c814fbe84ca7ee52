"""What the arguments of a job name: a lazy sequence of images, the same each time, each with a name that stays.

Files, folders, patterns, videos, and ``-`` for paths on standard input. A folder's names are sorted, one folder at a
time; nothing else is collected.
"""

from __future__ import annotations

import glob
import os
import select
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from navit_edge.decode.videos import VIDEO_SUFFIXES
from navit_edge.errors import InvalidInputError, NavitEdgeError
from navit_edge.run import media

if TYPE_CHECKING:
    from navit_edge.decode import Decoder
    from navit_edge.pixels import Given, ImageLike

#: What a folder is searched for.
IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")

#: Frames a second that a job may ask for.
MOST_FPS = 100_000

#: The argument that stands for paths on standard input.
STDIN = "-"
#: Bytes of one path on standard input; Linux takes 4096.
_LONGEST_PATH = 1 << 16


class Name(NamedTuple):
    """What makes an image of a job different from every other: its path as it was given, and the frame of a video."""

    file: str
    frame: int | None = None

    def __str__(self) -> str:
        return self.file if self.frame is None else f"{self.file}#{self.frame}"


@dataclass(frozen=True, kw_only=True)
class Item:
    """One image of a job. ``error`` stands where there is nothing to run: a folder or a video that cannot be read."""

    name: Name
    image: ImageLike | Given | None = None
    time_s: float | None = None  # of a video's frame, from its first frame
    error: NavitEdgeError | None = None


def text_of(path: str) -> str:
    """A path as results name it: the text itself; bytes that are not UTF-8 become ``\\xNN``."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:  # surrogates, which os.fsdecode has put there
        return os.fsencode(path).decode("utf-8", "backslashreplace")
    return path


@dataclass(frozen=True, kw_only=True)
class Sources:
    """The images that the arguments of a job name.

    arguments: files, folders, patterns (``*``, ``?``, ``[``, ``**``), or ``-`` for paths on ``stdin``.
    recursive: folders with all that lie below them; links to folders are not followed.
    null: paths on ``stdin`` end with a NUL instead of a line's end.
    every, fps: of a video every Nth frame, or so many a second; 1 and 0 take all. Where one of them is given, of an
        animation or a file of several pages, too; else that is one image, its first.
    decoder: what decodes animations; what limits and turns videos. None: that of a call without a bundle.
    """

    arguments: Sequence[str]
    recursive: bool = False
    null: bool = False
    every: int | None = None
    fps: float = 0.0
    stdin: BinaryIO | None = None
    decoder: Decoder | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.fps <= MOST_FPS:
            raise InvalidInputError(f"fps is {self.fps}; expected 0 to {MOST_FPS:,}")
        if self.every is not None and self.every < 1:
            raise InvalidInputError(f"every is {self.every}; expected 1 and up")

    def check(self) -> None:
        """Raises InvalidInputError where a folder or a pattern names no image, before anything is loaded."""
        if list(self.arguments).count(STDIN) > 1:
            raise InvalidInputError(f"{STDIN} is given twice; standard input can be read once")
        for argument in self.arguments:
            if argument != STDIN:
                next(self._named(argument), None)

    def items(self, stop_fd: int = -1) -> Iterator[Item]:
        """Every image in order. Ends early, where it waits on standard input, once ``stop_fd`` is readable."""
        for argument in self.arguments:
            for found in self._from_stdin(stop_fd) if argument == STDIN else self._named(argument):
                yield from self._opened(found)

    def count(self) -> int | None:
        """How many images there are, where that can be said without reading them: None with standard input, or where a
        video does not say how many frames it has. An estimate: folders may change, videos may be wrong."""
        if STDIN in self.arguments:
            return None
        total = 0
        for argument in self.arguments:
            for found in self._named(argument):
                if isinstance(found, str):
                    frames = media.count(found, every=self.every, fps=self.fps, decoder=self.decoder)
                    if frames is None:
                        return None
                    total += frames
                else:
                    total += 1
        return total

    def _named(self, argument: str) -> Iterator[str | Item]:
        """The files of one argument; an Item where a folder below it cannot be read."""
        path = str(Path(argument))
        if os.path.isdir(path):
            wanted = IMAGE_SUFFIXES + VIDEO_SUFFIXES
            yield from _found(_walk(path, wanted, self.recursive), path, self.recursive)
        elif glob.has_magic(path) and not os.path.lexists(path):
            yield from self._matching(path)
        else:
            yield path

    def _matching(self, pattern: str) -> Iterator[str | Item]:
        """Files of a pattern, and what its folders hold: of the suffixes above, or of the one that it ends with."""
        suffix = os.path.splitext(pattern)[1].lower()
        wanted = IMAGE_SUFFIXES + VIDEO_SUFFIXES
        anything = bool(suffix) and not glob.has_magic(suffix)
        deep = "**" in Path(pattern).parts  # matches what its folders hold itself
        empty = True
        for path in sorted(_matches_below(pattern) if deep else glob.iglob(pattern)):
            if os.path.isdir(path):
                for found in () if deep else _walk(path, wanted, self.recursive):
                    empty = False
                    yield found
            elif anything or path.lower().endswith(wanted):
                empty = False
                yield path
        if empty:
            raise InvalidInputError(f"{pattern} matches no images; expected files named {', '.join(IMAGE_SUFFIXES)}")

    def _from_stdin(self, stop_fd: int) -> Iterator[str | Item]:
        if self.stdin is None:
            raise InvalidInputError(f"{STDIN} is given and there is no standard input")
        for name in _read_names(self.stdin, b"\0" if self.null else b"\n", stop_fd):
            path = os.fsdecode(name)
            if "\0" in path:
                raise InvalidInputError("a path on standard input has a NUL in it; paths that end with one need --null")
            try:
                if not os.path.isdir(path):
                    yield str(Path(path))
                else:
                    wanted = IMAGE_SUFFIXES + VIDEO_SUFFIXES
                    yield from _found(_walk(str(Path(path)), wanted, self.recursive), path, self.recursive)
            except InvalidInputError as error:  # one line of many: it fails alone
                yield Item(name=Name(text_of(path)), error=error)

    def _opened(self, found: str | Item) -> Iterator[Item]:
        if isinstance(found, Item):
            yield found
        else:
            for piece in media.pieces(found, every=self.every, fps=self.fps, decoder=self.decoder):
                name = Name(text_of(found), piece.frame)
                yield Item(name=name, image=piece.image, time_s=piece.time_s, error=piece.error)


def image_files(paths: Sequence[Path]) -> Iterator[Path]:
    """Image files, and those of folders, in order; no videos. Raises InvalidInputError for a folder without any."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        for found in _found(_walk(str(path), IMAGE_SUFFIXES, False), str(path), False):
            if isinstance(found, Item):
                raise found.error or InvalidInputError(f"{path} cannot be read")
            yield Path(found)


def _found(files: Iterator[str | Item], folder: str, recursive: bool) -> Iterator[str | Item]:
    """``files``, or InvalidInputError where there are none."""
    empty = True
    for file in files:
        empty = False
        yield file
    if empty:
        below = "" if recursive else "; folders below it are searched with --recursive"
        raise InvalidInputError(f"{folder} holds no images; expected files named {', '.join(IMAGE_SUFFIXES)}{below}")


def _walk(folder: str, suffixes: tuple[str, ...], recursive: bool) -> Iterator[str | Item]:
    """Files below a folder, names sorted in each; an Item with the error where a folder cannot be read."""
    try:
        with os.scandir(folder) as entries:
            found = sorted(
                (entry.name, entry.is_dir(follow_symlinks=False))
                for entry in entries
                if (recursive and entry.is_dir(follow_symlinks=False))
                or (entry.name.lower().endswith(suffixes) and entry.is_file())
            )
    except OSError as error:
        refusal = InvalidInputError(f"{folder} cannot be read: {error.strerror}; check its permissions")
        yield Item(name=Name(text_of(folder)), error=refusal)
        return
    for name, is_folder in found:
        path = os.path.join(folder, name)
        if is_folder:
            yield from _walk(path, suffixes, recursive)
        else:
            yield path


def _matches_below(pattern: str) -> Iterator[str]:
    """Of a pattern with ``**``; unlike ``glob`` it follows no links to folders, which may lead in circles."""
    parts = Path(pattern).parts
    fixed = next(place for place, part in enumerate(parts) if glob.has_magic(part))
    rest = [*parts[fixed:], *(["*"] if parts[-1] == "**" else [])]
    yield from map(str, Path(*parts[:fixed]).glob("/".join(rest)))


def _read_names(stream: BinaryIO, separator: bytes, stop_fd: int) -> Iterator[bytes]:
    """Names as they come, none collected; empty ones are left out."""
    try:
        handle = stream.fileno()
    except (OSError, AttributeError):  # a buffer that stands for standard input
        handle = -1
    pending = b""
    while True:
        if handle < 0:
            chunk = stream.read(_LONGEST_PATH)
        else:
            waiting = [handle] if stop_fd < 0 else [handle, stop_fd]
            if stop_fd in select.select(waiting, [], [])[0]:
                return
            chunk = os.read(handle, _LONGEST_PATH)
        *names, pending = (pending + chunk).split(separator)
        if not chunk and pending:
            names, pending = [pending], b""
        for name in names:
            if separator == b"\n":
                name = name.removesuffix(b"\r")
            if name:
                yield name
        if len(pending) > _LONGEST_PATH:
            raise InvalidInputError(
                f"standard input is no list of paths: {len(pending)} bytes without an end; see --null"
            )
        if not chunk:
            return
