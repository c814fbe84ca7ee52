"""What every step of gpu_proof is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Settings:
    """device: "cpu" rehearses. quick: the least sizes that run every line. bundle: whose graphs are judged.

    libraries: the folder of the stand-ins (``lib``, ``stand_in_on_cuda``, ``simulator``).
    """

    device: str
    quick: bool
    bundle: Path
    libraries: Path = Path()
