"""The process of one build: ``python -m navit_edge.compile.worker EVENTS_FD``, started by ``runner.py``.

Reads a Task as JSON from standard input and writes Events, one JSON object a line, to the file descriptor EVENTS_FD.
Standard output and error belong to the vendor's library; the parent keeps them in a log. The process ends with its
parent, and on SIGTERM.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import importlib
import os
import resource
import signal
import sys
import traceback

import msgspec

from navit_edge.compile.job import Event, Task
from navit_edge.compile.request import BACKENDS
from navit_edge.text import without_halves


def main() -> int:
    """Runs the build; 0 if an outcome was written, 1 if an error was."""
    _keep_addresses()
    _end_with_parent()
    with os.fdopen(int(sys.argv[1]), "wb", buffering=0) as events:

        def emit(event: Event) -> None:
            events.write(msgspec.json.encode(event) + b"\n")

        try:
            task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
            builder = importlib.import_module(BACKENDS[task.job.backend])
            outcome = builder.build(task, emit)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            emit(Event(outcome=msgspec.structs.replace(outcome, peak_memory_bytes=peak)))
        except BrokenPipeError:
            return 1  # the parent has stopped listening: the build is cancelled
        except Exception as error:
            full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
            kind = "DiskFull" if full else type(error).__name__
            with contextlib.suppress(BrokenPipeError):
                told = traceback.format_exc()
                emit(Event(error=without_halves(str(error)), error_type=kind, traceback=without_halves(told)))
            return 1
    return 0


def _keep_addresses() -> None:
    """Starts this process anew without randomized addresses (Linux: personality ADDR_NO_RANDOMIZE), if it may.

    The order of an engine's outputs depends on them: see ``worker_environment``.
    """
    personality = getattr(ctypes.CDLL(None), "personality", None)
    if personality is None:
        return
    current = personality(ctypes.c_ulong(0xFFFFFFFF))
    if current != -1 and not current & 0x0040000 and personality(ctypes.c_ulong(current | 0x0040000)) != -1:
        os.execv(sys.executable, sys.orig_argv)


def _end_with_parent() -> None:
    """Asks the kernel for SIGTERM when the parent dies (Linux: prctl PR_SET_PDEATHSIG); elsewhere does nothing."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        parent = os.getppid()
        prctl(1, signal.SIGTERM)
        if os.getppid() != parent:  # it died in between
            sys.exit(1)


if __name__ == "__main__":
    sys.exit(main())
