"""Standard streams as a command finds them: closed, or with an encoding that lacks characters."""

from __future__ import annotations

import os
import sys
from contextlib import suppress


def open_closed_streams() -> None:
    """Descriptors 0 to 2 are open when it returns, so that no file that is opened later becomes one and gets what
    libraries print. Of a closed standard output ``sys.stdout`` stays None, and a write to its descriptor fails."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_WRONLY if number == 2 else os.O_RDONLY)  # takes the lowest number that is free
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # for as long as the process lives
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # None, or a stand-in
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
