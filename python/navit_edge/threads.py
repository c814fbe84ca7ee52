"""Threads of the package. All are daemons: what must end in order when the interpreter ends does so by ``atexit``."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from navit_edge.errors import BackendError


def start_thread(body: Callable[..., object], *args: Any, name: str) -> threading.Thread:
    """A thread that runs. Raises BackendError where the system gives none."""
    thread = threading.Thread(target=body, args=args, name=name, daemon=True)
    try:
        thread.start()
    except (RuntimeError, MemoryError) as error:
        raise BackendError(
            f'cannot start the thread "{name}": {error}; raise the limit on processes and threads (ulimit -u, and '
            "pids.max of the container), or on memory"
        ) from error
    return thread
