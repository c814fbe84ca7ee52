"""One folder: which of its entries are images, which are skipped and why, which are errors."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from navit_edge.decode.formats import FORMATS, looks_like, suffixes_of
from navit_edge.decode.videos import AMBIGUOUS_SUFFIXES, HEAD_BYTES, VIDEO_SUFFIXES, video_words
from navit_edge.errors import InvalidInputError
from navit_edge.text import shown

#: What a name ends with, if that says what kind of file it is: not ``.2024``, nor ``. final version``.
_SUFFIX = re.compile(r".+(\.[a-z][a-z0-9_~+-]*)\Z", re.DOTALL)
_KINDS = ((stat.S_ISFIFO, "pipe"), (stat.S_ISSOCK, "socket"), (stat.S_ISCHR, "device"), (stat.S_ISBLK, "device"))
_LINK_ERRORS = {errno.ENOENT: "is a link that leads nowhere", errno.ENOTDIR: "is a link that leads nowhere",
                errno.ELOOP: "is a link that leads back to itself"}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Refused:
    """An entry that was to be run and cannot be: ``error`` says why, with its path."""

    path: str
    error: InvalidInputError


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A folder that is to be searched, too."""

    path: str


Entry: TypeAlias = str | Refused | Folder


class Skipped(Counter[str]):
    """Entries that a rule leaves out: the rule, as "hidden", "folder", ".txt" -> how many."""

    def words(self) -> str:
        """Of a line for people: "3 entries skipped: 2 hidden, 1 .txt"; empty if there are none."""
        if not self:
            return ""
        total = self.total()
        most = sorted(self.items(), key=lambda item: (-item[1], item[0]))
        parts = [f"{count:,} {shown(rule)}" for rule, count in most[:8]]
        if len(most) > 8:
            parts.append(f"{sum(count for _, count in most[8:]):,} others")
        return f"{total:,} entr{'y' if total == 1 else 'ies'} skipped: {', '.join(parts)}"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a folder is searched for. formats: of the decoder. videos: whether they are wanted, too."""

    formats: tuple[str, ...] = FORMATS
    videos: bool = False

    @property
    def suffixes(self) -> tuple[str, ...]:
        """In lower case, sorted."""
        return tuple(sorted({*suffixes_of(self.formats), *(VIDEO_SUFFIXES if self.videos else ())}))

    def takes(self, head: bytes) -> bool:
        """Whether a file that begins so is wanted, whatever it is called."""
        return looks_like(head, self.formats) or (self.videos and bool(video_words(head)))

    def words(self) -> str:
        first = [suffixes_of([name])[:1] for name in self.formats]
        return f"files named {', '.join(name for names in first for name in names)}, …, or images without a suffix"


class Folders:
    """Reads folders entry by entry. ``skipped`` counts what is left out."""

    def __init__(self, wanted: Wanted, *, recursive: bool, skipped: Skipped) -> None:
        self._wanted = wanted
        self._suffixes = frozenset(wanted.suffixes)
        self._recursive = recursive
        self.skipped = skipped

    def entries(self, folder: str) -> list[os.DirEntry[str]]:
        """Sorted by name. Raises InvalidInputError if the folder cannot be read."""
        try:
            with os.scandir(folder) as found:
                return sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            raise InvalidInputError(
                f"{shown(folder)} cannot be read: {error.strerror}; check its permissions"
            ) from error

    def walk(self, folder: str) -> Iterator[str | Refused]:
        """What is run of a folder, and of those below it if that is asked for; links to folders are not followed."""
        waiting: list[Iterator[Entry]] = [iter([Folder(path=folder)])]
        while waiting:
            found = next(waiting[-1], None)
            if found is None:
                waiting.pop()
            elif not isinstance(found, Folder):
                yield found
            else:
                try:
                    entries = self.entries(found.path)
                except InvalidInputError as error:
                    yield Refused(path=found.path, error=error)
                else:
                    waiting.append(self._chosen(found.path, entries))

    def _chosen(self, folder: str, entries: list[os.DirEntry[str]]) -> Iterator[Entry]:
        for entry in entries:
            found = self.choose(os.path.join(folder, entry.name), entry)
            if found is not None:
                yield found

    def choose(
        self, path: str, entry: os.DirEntry[str], *, any_suffix: bool = False, hidden: bool = False
    ) -> Entry | None:
        """What becomes of an entry; None if it is skipped, which is counted.

        path: how it is named. any_suffix: whether a regular file counts whatever it is called. hidden: whether one
        whose name begins with a dot counts.
        """
        if entry.name.startswith(".") and not hidden:
            return self._skip("hidden")
        suffix = suffix_of(entry.name)
        wanted = any_suffix or not suffix or suffix in self._suffixes
        try:
            mode = entry.stat(follow_symlinks=False).st_mode if not entry.is_file(follow_symlinks=False) else 0
            if stat.S_ISLNK(mode):
                mode = self._target(path, wanted)
                if stat.S_ISDIR(mode):
                    return self._skip("link to a folder")
        except OSError as error:
            if not wanted:
                return self._skip(suffix)
            return _refused(path, f"cannot be looked at: {error.strerror}; check its permissions")
        except InvalidInputError as error:
            return Refused(path=path, error=error)
        if stat.S_ISDIR(mode):
            return Folder(path=path) if self._recursive else self._skip("folder")
        if mode and not stat.S_ISREG(mode):
            return self._skip(next((kind for test, kind in _KINDS if test(mode)), "no file"))
        return self._file(path, suffix, any_suffix)

    def _target(self, path: str, wanted: bool) -> int:
        """st_mode of what a link leads to; 0, for a regular file to be, if nobody wants it."""
        try:
            return os.stat(path).st_mode
        except OSError as error:
            if not wanted:
                return 0
            words = _LINK_ERRORS.get(error.errno or 0, f"is a link that cannot be followed ({error.strerror})")
            raise InvalidInputError(f"{shown(path)} {words}; repair the link, or delete it") from error

    def _file(self, path: str, suffix: str, any_suffix: bool) -> Entry | None:
        if any_suffix or (suffix in self._suffixes and suffix not in AMBIGUOUS_SUFFIXES):
            return path
        if suffix and suffix not in self._suffixes:
            return self._skip(suffix)
        try:
            head = _head(path)
        except OSError as error:
            return _refused(path, f"cannot be opened ({error.strerror}); check its permissions")
        return path if self._wanted.takes(head) else self._skip(suffix or "without a suffix, no image")

    def _skip(self, rule: str) -> Entry | None:
        self.skipped[rule] += 1
        return None


def suffix_of(name: str) -> str:
    """What a name ends with, in lower case, with its dot; empty if that says nothing."""
    match = _SUFFIX.match(name.lower())
    return match[1] if match else ""


def _refused(path: str, words: str) -> Refused:
    return Refused(path=path, error=InvalidInputError(f"{shown(path)} {words}"))


def _head(path: str) -> bytes:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        return os.read(handle, HEAD_BYTES) if stat.S_ISREG(os.fstat(handle).st_mode) else b""
    finally:
        os.close(handle)
