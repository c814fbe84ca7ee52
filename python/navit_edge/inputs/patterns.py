"""What a pattern matches: ``*``, ``?``, ``[…]`` within a name, ``**`` for any folders."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from navit_edge.errors import InvalidInputError
from navit_edge.inputs.entries import Folder, Folders, Refused

_ANY_FOLDERS = "**"


def is_pattern(argument: str) -> bool:
    """Whether an argument is one: a file of that name comes first."""
    return glob.has_magic(argument) and not os.path.lexists(argument)


class Pattern:
    """Folders are read in the order of their names, and each entry once, however often the pattern matches it.

    A name that begins with a dot is matched if the pattern's own part does. ``**`` follows no links to folders,
    which may lead in circles; a link that a part names is followed.
    """

    def __init__(self, pattern: str, folders: Folders) -> None:
        parts = Path(pattern).parts
        fixed = 0
        # What exists under its very name is that: "[2024]/*.jpg" is of the folder [2024].
        while not glob.has_magic(parts[fixed]) or os.path.lexists(os.path.join(*parts[: fixed + 1])):
            fixed += 1
        self._start = str(Path(*parts[:fixed])) if fixed else ""
        self._parts = [part if part == _ANY_FOLDERS else _Part(part) for part in parts[fixed:]]
        self._folders = folders
        suffix = os.path.splitext(parts[-1])[1]
        self._deep = _ANY_FOLDERS in parts
        #: A pattern that ends in a suffix takes every file that it matches.
        self._any_suffix = bool(suffix) and not glob.has_magic(suffix)

    def found(self) -> Iterator[str | Refused]:
        """Of what matches: files, and of folders what they hold, as if they had been named."""
        waiting: list[Iterator[str | Refused | _Below]] = [iter([_Below(self._start, self._closed({0}))])]
        while waiting:
            found = next(waiting[-1], None)
            if found is None:
                waiting.pop()
            elif isinstance(found, _Below):
                waiting.append(self._below(*found))
            else:
                yield found

    def _below(self, folder: str, places: frozenset[int]) -> Iterator[str | Refused | _Below]:
        try:
            entries = self._folders.entries(folder or ".")
        except InvalidInputError as error:
            if not isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
                yield Refused(path=folder or ".", error=error)
            return
        for entry in entries:
            after = self._closed(self._step(places, entry.name))
            if not after:
                continue
            path = os.path.join(folder, entry.name)
            whole = len(self._parts) in after
            if _is_folder(entry, path, follow=not self._only_deep(after)):
                if whole and not self._deep:
                    yield from self._folders.walk(path)
                elif after - {len(self._parts)}:
                    yield _Below(path, after)
            elif whole:
                chosen = self._folders.choose(path, entry, any_suffix=self._any_suffix, hidden=True)
                if chosen is not None and not isinstance(chosen, Folder):
                    yield chosen

    def _step(self, places: frozenset[int], name: str) -> set[int]:
        after = set()
        for place in places:
            part = self._parts[place] if place < len(self._parts) else None
            if isinstance(part, _Part):
                if part.matches(name):
                    after.add(place + 1)
            elif part is not None and not name.startswith("."):
                after.add(place)
                if place + 1 == len(self._parts):
                    after.add(place + 1)  # at the end it matches all that lies below
        return after

    def _closed(self, places: set[int]) -> frozenset[int]:
        """With the places behind each ``**``, which matches no folder, too."""
        for place in range(len(self._parts)):
            if place in places and self._parts[place] == _ANY_FOLDERS and place + 1 < len(self._parts):
                places.add(place + 1)
        return frozenset(places)

    def _only_deep(self, places: frozenset[int]) -> bool:
        """Whether nothing but a ``**`` leads on."""
        return any(place < len(self._parts) and self._parts[place] == _ANY_FOLDERS for place in places)


class _Below(NamedTuple):
    """A folder, and the parts of the pattern that its entries may match."""

    folder: str
    places: frozenset[int]


class _Part:
    def __init__(self, text: str) -> None:
        self._regex = re.compile(fnmatch.translate(text))
        self._hidden = text.startswith(".")

    def matches(self, name: str) -> bool:
        return (self._hidden or not name.startswith(".")) and self._regex.match(name) is not None


def _is_folder(entry: os.DirEntry[str], path: str, *, follow: bool) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False) or (follow and entry.is_symlink() and os.path.isdir(path))
    except OSError:
        return False
