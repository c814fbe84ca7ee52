"""The access log: a JSON object a line for each request. A thread writes it: a slow disk holds up no request."""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import queue
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from navit_edge.errors import InvalidInputError
from navit_edge.serve.accounting import Record
from navit_edge.threads import start_thread

#: Lines that may wait for the disk. More are dropped and counted.
MOST_WAITING = 8192
#: How long ``close`` waits for a disk or a pipe that takes nothing.
PATIENCE_S = 5.0


def line_of(record: Record) -> str:
    """The object of a request, on one line."""
    when = datetime.fromtimestamp(record.began_s, timezone.utc)
    values: dict[str, Any] = {
        "time": when.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "protocol": record.protocol,
        "method": record.method,
        "path": record.path,
        "status": int(record.status) if record.status.isdecimal() else record.status,
        "bytes": record.sent_bytes,
        "received_bytes": record.received_bytes,
        "model": record.model,
        "images": record.images,
        "tokens": record.tokens,
        "ms": round(record.duration_s * 1000.0, 3),
        "trace_id": record.trace_id,
        "client": record.client,
    }
    return json.dumps(values, separators=(",", ":"))  # ASCII alone: nothing in a path can end the line


class AccessLog:
    """place: "-" for standard output, or a file: appended to, and opened again if it was moved away (logrotate).

    Raises InvalidInputError if the file cannot be opened.
    """

    def __init__(self, place: str) -> None:
        target: logging.StreamHandler[Any]
        if place == "-":
            target = logging.StreamHandler(sys.stdout)
        else:
            try:
                target = logging.handlers.WatchedFileHandler(os.fspath(place), encoding="ascii")
            except OSError as error:
                raise InvalidInputError(
                    f"--access-log {place}: {error.strerror}; name a file in a folder that is there, or - for standard "
                    "output"
                ) from error
        self.place = Path(place)
        self._target = target
        #: Called for each line that there was no room for.
        self.lost: Callable[[], object] = lambda: None
        # A full disk: not a word a line on stderr.
        setattr(target, "handleError", lambda line: self.lost())  # noqa: B010
        self._waiting: queue.Queue[logging.LogRecord | None] = queue.Queue(MOST_WAITING)
        self._open = True
        self._thread = start_thread(self._write_all, name="navit-edge access log")

    def write(self, record: Record) -> None:
        """Takes a finished request; never waits."""
        line = logging.LogRecord("navit_edge.access", logging.INFO, "", 0, line_of(record), None, None)
        try:
            self._waiting.put_nowait(line)
        except queue.Full:
            self.lost()

    def close(self) -> None:
        """Writes what waits. May be called again."""
        if self._open:
            self._open = False
            with suppress(queue.Full):
                self._waiting.put(None, timeout=PATIENCE_S)
            self._thread.join(PATIENCE_S)

    def _write_all(self) -> None:
        """Body of the thread."""
        while (line := self._waiting.get()) is not None:
            self._target.handle(line)
        if isinstance(self._target, logging.FileHandler):
            with suppress(OSError):  # of a full disk
                self._target.close()

    def __enter__(self) -> AccessLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
