"""The build report: reports/build-<id>.json."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import msgspec

from navit_edge.bundle.manifest import Budget, File
from navit_edge.compile.fusion import Fusion
from navit_edge.compile.job import Profile


class ProfileReport(msgspec.Struct, frozen=True, kw_only=True):
    """One budget: what the builder reserves for it, and the shapes of its optimization profile."""

    budget: Budget
    shapes: dict[str, Profile]


class BuildReport(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    key: str  # of the graph, the options and the versions: a build with the same key need not be repeated
    backend: str
    target: str
    precision: str
    graph: str
    seconds: float  # wall time of the build's process
    peak_memory_bytes: int  # of the build's process on the host
    engine_bytes: int
    profiles: tuple[ProfileReport, ...]
    versions: dict[str, str]
    host: dict[str, str]
    built_from: dict[str, File]
    options: dict[str, str]  # handed to the backend
    settings: dict[str, str] = {}  # of the build, as on the command line
    lowering: str = ""
    lowering_reason: str = ""
    fused: bool | None = None  # whether attention is one kernel; None if not known
    fusion: Fusion | None = None  # the evidence
    notes: tuple[str, ...] = ()
    details: dict[str, Any] = {}  # what only this backend says


def host_description() -> dict[str, str]:
    """The machine in words: no names, no paths."""
    cpu = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    return {
        "cpu": cpu,
        "machine": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
    }
