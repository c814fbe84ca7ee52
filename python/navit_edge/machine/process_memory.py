"""Peak resident memory of this process since a moment, as Linux keeps it."""

from __future__ import annotations

import re
from pathlib import Path


class PeakMemory:
    """Starts a new peak when it is made (proc(5): writing 5 to clear_refs resets VmHWM)."""

    def __init__(self) -> None:
        try:
            Path("/proc/self/clear_refs").write_text("5")
            self._reset = True
        except OSError:
            self._reset = False

    def peak_bytes(self) -> int | None:
        """The peak since then; None where the system does not let a process ask."""
        return _status("VmHWM") if self._reset else None


def resident_bytes() -> int | None:
    """What is resident now; None where the system does not say."""
    return _status("VmRSS")


def _status(name: str) -> int | None:
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return None
    match = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
    return None if match is None else int(match[1]) * 1024
