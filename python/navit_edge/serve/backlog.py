"""Images that are not in a session's queue yet: past saturation most come for nothing, and are refused before they are
decoded."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from navit_edge.serve.errors import queue_full

if TYPE_CHECKING:
    from navit_edge.session import Session


#: How long what waited at a refusal stands for refusals that follow: counting it costs as much as a refusal.
_RECOUNT_S = 0.05
#: Files of a model that wait to be decoded, or are; more would only wait longer, where no queue's limit counts them.
MOST_FILES = 128


class Backlog:
    """Of one model: the files before its session's queue, and what that held when it last refused an image."""

    def __init__(self, valid_s: float = 1.0, most_files: int = MOST_FILES) -> None:
        self._valid_s = valid_s
        self._most_files = most_files
        self._files = 0
        self._refused: tuple[int, int, float] | None = None  # priority, images that waited, until when it counts

    @contextmanager
    def decoding(self, files: int) -> Iterator[None]:
        """Within it so many are decoded. For the event loop's thread alone. Raises ServeError if too many are; those of
        one request are always taken."""
        if self._files and self._files + files > self._most_files:
            raise queue_full(f"{self._files} files wait to be decoded, and at most {self._most_files} may")
        self._files += files
        try:
            yield
        finally:
            self._files -= files

    def found_full(self, session: Session, priority: int) -> None:
        """The session has just refused an image of ``priority``. Any thread."""
        now, refused = time.monotonic(), self._refused
        if refused is None or refused[0] != priority or now >= refused[2] - self._valid_s + _RECOUNT_S:
            self._refused = (priority, _waiting(session), now + self._valid_s)

    def is_full(self, session: Session, priority: int) -> bool:
        """Whether as many images wait as when one like it was refused, which was not long ago. Any thread."""
        refused = self._refused
        if refused is None or session.cache_bytes:  # which may know the image, and needs no place for it
            return False
        return time.monotonic() < refused[2] and priority <= refused[0] and _waiting(session) >= refused[1]


def _waiting(session: Session) -> int:
    waiting: int = session.metrics.stats()["images"]["waiting"]
    return waiting
