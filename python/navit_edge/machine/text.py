"""Reading small files of the system, and sizes in words."""

from __future__ import annotations

import re
from pathlib import Path


def read_text(path: Path) -> str:
    """The text of a file, NUL bytes stripped; "" if it cannot be read."""
    try:
        return path.read_text(errors="replace").strip("\0")
    except OSError:
        return ""


def gib(count: float) -> str:
    """8123456789 -> "7.6 GiB"."""
    return f"{count / 2**30:.1f} GiB"


def kib_fields(path: Path) -> dict[str, int]:
    """Lines of /proc such as "MemTotal:  1024 kB" -> {"MemTotal": 1048576}; empty if it cannot be read."""
    return {name: int(kib) * 1024 for name, kib in re.findall(r"^(\w+):\s+(\d+) kB$", read_text(path), re.MULTILINE)}
