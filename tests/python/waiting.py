"""Waiting for what other threads bring about."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


def eventually(what: Callable[[], bool]) -> bool:
    """Whether other threads bring it about; a minute is for ever."""
    end = time.monotonic() + 60
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def stream_threads() -> list[threading.Thread]:
    """Feeders and decoders of streams."""
    return [thread for thread in threading.enumerate() if thread.name.startswith(("navit-edge s", "navit-edge deco"))]
