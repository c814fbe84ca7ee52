"""Whether a queue is full, without decoding an image to find out: past saturation most images come for nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from navit_edge.session import Session


class Backlog:
    """What a session's full queue held when it last refused an image. Any thread."""

    def __init__(self, valid_s: float = 1.0) -> None:
        self._valid_s = valid_s
        self._refused: tuple[int, int, float] | None = None  # priority, images that waited, until when it counts

    def found_full(self, session: Session, priority: int) -> None:
        """The session has just refused an image of ``priority``."""
        self._refused = (priority, _waiting(session), time.monotonic() + self._valid_s)

    def is_full(self, session: Session, priority: int) -> bool:
        """Whether as many images wait as when one like it was refused, which was not long ago."""
        refused = self._refused
        if refused is None or time.monotonic() > refused[2]:
            return False
        return priority <= refused[0] and _waiting(session) >= refused[1]


def _waiting(session: Session) -> int:
    waiting: int = session.metrics.stats()["images"]["waiting"]
    return waiting
