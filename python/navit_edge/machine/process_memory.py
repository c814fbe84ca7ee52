"""Peak resident memory of this process since a moment, as Linux keeps it."""

from __future__ import annotations

from pathlib import Path

from navit_edge.machine.text import kib_fields

_STATUS = Path("/proc/self/status")


class PeakMemory:
    """Starts a new peak when it is made (proc(5): writing 5 to clear_refs resets VmHWM)."""

    def __init__(self) -> None:
        try:
            Path("/proc/self/clear_refs").write_text("5")
            self._reset = True
        except OSError:
            self._reset = False

    def peak_bytes(self) -> int | None:
        """The peak since then; None if the system does not let a process ask."""
        return kib_fields(_STATUS).get("VmHWM") if self._reset else None


def resident_bytes() -> int | None:
    """What is resident now; None if the system does not say."""
    return kib_fields(_STATUS).get("VmRSS")
