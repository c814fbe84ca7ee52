"""What the arguments of a job name: a lazy sequence of images, the same each time, each with a name that stays.

Files, folders, patterns, videos, and ``-`` for paths on standard input. A folder's names are sorted, one folder at a
time; nothing else is collected.
"""

from __future__ import annotations

import os
import select
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from navit_edge.decode.formats import FORMATS
from navit_edge.errors import InvalidInputError, NavitEdgeError
from navit_edge.inputs.entries import Folders, Refused, Skipped, Wanted
from navit_edge.inputs.images import nothing_in
from navit_edge.inputs.lists import read_paths
from navit_edge.inputs.patterns import Pattern, is_pattern
from navit_edge.run import media
from navit_edge.text import key_of, shown

if TYPE_CHECKING:
    from navit_edge.decode import Decoder
    from navit_edge.pixels import Given, ImageLike

#: Frames a second that a job may ask for.
MOST_FPS = 100_000

#: The argument that stands for paths on standard input.
STDIN = "-"


class Name(NamedTuple):
    """What makes an image of a job different from every other: its path as it was given, and the frame of a video."""

    file: str
    frame: int | None = None

    def __str__(self) -> str:
        return self.file if self.frame is None else f"{self.file}#{self.frame}"


@dataclass(frozen=True, kw_only=True)
class Item:
    """One image of a job. ``error`` is set if there is nothing to run: a folder or a video that cannot be read."""

    name: Name
    image: ImageLike | Given | None = None
    time_s: float | None = None  # of a video's frame, from its first frame
    error: NavitEdgeError | None = None


@dataclass(frozen=True, kw_only=True)
class Sources:
    """The images that the arguments of a job name.

    arguments: files, folders, patterns (``*``, ``?``, ``[``, ``**``), or ``-`` for paths on ``stdin``.
    recursive: folders with all that lie below them; links to folders are not followed.
    null: paths on ``stdin`` end with a NUL instead of a line's end.
    formats: of the decoder; by their suffixes folders are searched.
    every, fps: of a video every Nth frame, or so many a second; 1 and 0 take all. If one of them is given, of an
        animation or a file of several pages, too; else that is one image, its first.
    films: without, a film is one image that is an error: the bundle takes frames in pairs.
    decoder: what decodes animations; what limits and turns videos. None: that of a call without a bundle.
    """

    arguments: Sequence[str]
    recursive: bool = False
    null: bool = False
    every: int | None = None
    fps: float = 0.0
    stdin: BinaryIO | None = None
    decoder: Decoder | None = None
    formats: tuple[str, ...] = FORMATS
    films: bool = True
    #: Entries that ``items`` has left out so far, by the rule.
    skipped: Skipped = field(default_factory=Skipped)

    def __post_init__(self) -> None:
        if not 0.0 <= self.fps <= MOST_FPS:
            raise InvalidInputError(f"fps is {self.fps}; expected 0 to {MOST_FPS:,}")
        if self.every is not None and self.every < 1:
            raise InvalidInputError(f"every is {self.every}; expected 1 and up")

    def check(self) -> None:
        """Raises InvalidInputError if an argument is wrong, or a folder or a pattern names no image, before anything is
        loaded."""
        self.check_arguments()
        for argument in self.arguments:
            if argument != STDIN:
                next(self._named(argument, Skipped()), None)

    def check_arguments(self) -> None:
        """Raises InvalidInputError if an argument is empty, or standard input is named twice."""
        if "" in self.arguments:
            raise InvalidInputError(
                "an argument is empty (''); expected an image, a folder or a pattern; . is this folder"
            )
        if list(self.arguments).count(STDIN) > 1:
            raise InvalidInputError(f"{STDIN} is given twice; standard input can be read once")

    def items(self, stop_fd: int = -1) -> Iterator[Item]:
        """Every image in order. Ends early, if it waits on standard input or passes over the frames of a film, once
        ``stop_fd`` is readable."""
        self.skipped.clear()
        for argument in self.arguments:
            for found in (
                self._from_stdin(stop_fd, self.skipped) if argument == STDIN else self._named(argument, self.skipped)
            ):
                yield from self._opened(found, stop_fd)

    def count(self) -> int | None:
        """How many images there are, if that can be said without reading them: None with standard input, or if a
        video does not say how many frames it has. An estimate: folders may change, videos may be wrong."""
        if STDIN in self.arguments:
            return None
        total = 0
        for argument in self.arguments:
            for found in self._named(argument, Skipped()):
                if isinstance(found, str):
                    frames = media.count(found, every=self.every, fps=self.fps, decoder=self.decoder, films=self.films)
                    if frames is None:
                        return None
                    total += frames
                else:
                    total += 1
        return total

    def _named(self, argument: str, skipped: Skipped) -> Iterator[str | Item]:
        """The files of one argument; an Item if what it names cannot be read."""
        folders = self._folders(skipped)
        path = str(Path(argument))
        if os.path.isdir(path):
            yield from self._in_folder(path, folders)
        elif is_pattern(path):
            empty = f"{shown(path)} matches no images"
            yield from _not_empty(Pattern(path, folders).found(), empty, self._wanted, skipped)
        else:
            yield path

    def _in_folder(self, path: str, folders: Folders) -> Iterator[str | Item]:
        below = "" if self.recursive else "; folders below it are searched with --recursive"
        empty = f"{shown(path)} holds no images{below}"
        yield from _not_empty(folders.walk(path), empty, self._wanted, folders.skipped)

    def _from_stdin(self, stop_fd: int, skipped: Skipped) -> Iterator[str | Item]:
        if self.stdin is None:
            raise InvalidInputError(f"{STDIN} is given and there is no standard input")
        folders = self._folders(skipped)
        for name in read_paths(self.stdin, null=self.null, stop_fd=stop_fd):
            path = str(Path(os.fsdecode(name)))
            if not os.path.isdir(path):
                yield path
                continue
            try:
                yield from self._in_folder(path, folders)
            except InvalidInputError as error:  # one line of many: it fails alone
                yield Item(name=Name(key_of(path)), error=error)

    @property
    def _wanted(self) -> Wanted:
        return Wanted(formats=self.formats, videos=True)

    def _folders(self, skipped: Skipped) -> Folders:
        return Folders(self._wanted, recursive=self.recursive, skipped=skipped)

    def _opened(self, found: str | Item, stop_fd: int) -> Iterator[Item]:
        if isinstance(found, Item):
            yield found
        else:
            stopped = partial(_is_readable, stop_fd)
            for piece in media.pieces(
                found, every=self.every, fps=self.fps, decoder=self.decoder, films=self.films, stopped=stopped
            ):
                name = Name(key_of(found), piece.frame)
                yield Item(name=name, image=piece.image, time_s=piece.time_s, error=piece.error)


def _is_readable(descriptor: int) -> bool:
    return descriptor >= 0 and bool(select.select([descriptor], [], [], 0)[0])


def _not_empty(files: Iterator[str | Refused], empty: str, wanted: Wanted, skipped: Skipped) -> Iterator[str | Item]:
    """``files``, or InvalidInputError if there are none."""
    before = skipped.copy()
    none = True
    for file in files:
        none = False
        yield Item(name=Name(key_of(file.path)), error=file.error) if isinstance(file, Refused) else file
    if none:
        raise InvalidInputError(nothing_in(empty, wanted, Skipped(skipped - before)))
