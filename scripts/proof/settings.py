"""What every step is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Settings:
    """device: "cpu" rehearses. quick: the least sizes that run every line. bundle: whose graphs or engine are judged.

    libraries: the folder of the stand-ins (``lib``, ``stand_in_on_cuda``, ``simulator``). backend: of an engine that
    was built, which `make gpu-check` judges; "" for the stand-in of `make gpu-proof`. engine: that engine's id.
    """

    device: str
    quick: bool
    bundle: Path = Path()
    libraries: Path = Path()
    backend: str = ""
    engine: str = ""
