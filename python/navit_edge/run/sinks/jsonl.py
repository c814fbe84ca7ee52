"""JSON Lines: an object a line. The file itself says what is done; a last line that is torn is cut off."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from navit_edge.errors import InvalidInputError
from navit_edge.place import OutputError
from navit_edge.run.durable import AppendFile
from navit_edge.run.journal import Journal
from navit_edge.run.sinks import opening, require_mode
from navit_edge.run.sources import Name
from navit_edge.text import safe_json

if TYPE_CHECKING:
    from navit_edge.run.rows import Layout, Row

#: Seconds between two calls that bring rows from the system's memory to the disk: what a power cut may cost.
SYNC_S = 5.0


class _Line(msgspec.Struct, kw_only=True):
    """What is read back of a line."""

    file: str
    frame: int | None = None
    error: str | None = None


_decode = msgspec.json.Decoder(_Line).decode
_encode = msgspec.json.Encoder().encode


def line_of(row: Row, *, arrays: bool = True) -> bytes:
    """One line with its end; arrays as lists of numbers, which read back as the same float32."""
    record = row.record if not arrays else row.record | {name: array.tolist() for name, array in row.arrays.items()}
    line: bytes = _encode(record)
    if not line.isascii() or b"\x7f" in line:
        line = safe_json(line.decode()).encode()  # a terminal obeys no line of it
    return line + b"\n"


class LineFile:
    """Lines of JSON in a file that may have been left at any byte. Writing is AppendFile's."""

    def __init__(self, path: Path) -> None:
        self.file = AppendFile(path)
        self.found = 0
        self.found_failed = 0
        self._found_size = 0

    def recover(self, limit: int | None = None) -> None:
        """Cuts off a torn end, and whole lines after the first ``limit``.

        Raises InvalidInputError if a line that is no result is followed by one that is: nobody's crash leaves that.
        """
        self.found = self.found_failed = 0
        size = 0
        broken_line = 0
        with self.file.path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if limit is not None and self.found >= limit:
                    break
                try:
                    content = _decode(line) if line.endswith(b"\n") else None
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    content = None
                if content is None:
                    broken_line = broken_line or number
                elif broken_line:
                    raise InvalidInputError(
                        f"{self.file.path}, line {broken_line}, is no result, and lines after it are; repair it, or "
                        "replace it with --overwrite"
                    )
                else:
                    size += len(line)
                    self.found += 1
                    self.found_failed += content.error is not None
        self.file.cut(size)
        self._found_size = size

    def done(self) -> Iterator[Name]:
        left = self._found_size
        with self.file.path.open("rb") as lines:
            while left > 0:
                line = lines.readline()
                left -= len(line)
                content = _decode(line)
                yield Name(content.file, content.frame)


class JsonlSink:
    """A file of JSON lines, ``NAME``, and its journal, ``NAME.job.json``."""

    def __init__(self, path: Path, layout: Layout, job: Mapping[str, Any], *, resume: bool, overwrite: bool) -> None:
        self.path = path
        self._layout = layout
        self.journal: Journal | None = None
        self.found = self.found_failed = 0
        self._synced = time.monotonic()
        journal = path.with_name(path.name + ".job.json")
        begun = path.exists() and path.stat().st_size > 0
        if begun and not overwrite:
            require_mode(path, resume=resume)
            if not journal.exists():
                raise InvalidInputError(
                    f"{path} is not empty, and {journal.name}, which says what job wrote it, is missing; choose "
                    "another output, or --overwrite"
                )
        if begun and overwrite and not journal.exists() and not _begins_with_a_result(path):
            raise InvalidInputError(f"{path} holds something else than results; choose another output, or delete it")
        with opening(self, path):
            self.journal = Journal(journal, path)
            self._lines = LineFile(path)
            if overwrite:
                self._lines.file.cut(0)
            else:
                if not self.journal.require_same(job) and begun:
                    raise InvalidInputError(
                        f"{path} is not empty, and {journal} is; choose another output, or --overwrite"
                    )
                self._lines.recover()
            self.journal.write(job)
        self.found, self.found_failed = self._lines.found, self._lines.found_failed

    def done(self) -> Iterator[Name]:
        return self._lines.done()

    def write(self, row: Row) -> None:
        self._lines.file.append(line_of(row))
        if time.monotonic() - self._synced > SYNC_S:
            self.flush()

    def flush(self) -> None:
        self._lines.file.sync()
        self._synced = time.monotonic()

    def close(self) -> None:
        if hasattr(self, "_lines"):
            self._lines.file.close()
        if self.journal is not None:
            self.journal.close()


def _begins_with_a_result(path: Path) -> bool:
    with path.open("rb") as lines:
        try:
            _decode(lines.readline(1 << 24))
        except (msgspec.DecodeError, UnicodeDecodeError):
            return False
    return True


class StreamSink:
    """JSON lines to a pipe, a device or standard output, each as soon as it is there; nothing of it can be continued.

    name: for messages. close: whether ``stream`` is this one's to close.
    """

    def __init__(self, stream: BinaryIO, name: str, *, close: bool) -> None:
        self._stream = stream
        self._name = name
        self._close = close
        self.found = self.found_failed = 0

    def done(self) -> Iterator[Name]:
        return iter(())

    def write(self, row: Row) -> None:
        """Raises BrokenPipeError if the reader has gone."""
        try:
            self._stream.write(line_of(row))
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(f"{self._name}: {error.strerror or error}; the lines before are whole") from error

    def flush(self) -> None:
        """Each line is."""

    def close(self) -> None:
        if self._close:
            with suppress(OSError):  # what is left in it has been said
                self._stream.close()
