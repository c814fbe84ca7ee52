"""Reading small files of the system, and sizes in words."""

from __future__ import annotations

from pathlib import Path


def read_text(path: Path) -> str:
    """The text of a file, NUL bytes stripped; "" where it cannot be read."""
    try:
        return path.read_text(errors="replace").strip("\0")
    except OSError:
        return ""


def gib(count: float) -> str:
    """8123456789 -> "7.6 GiB"."""
    return f"{count / 2**30:.1f} GiB"
