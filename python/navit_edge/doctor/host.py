"""The machine itself: processor, cores, memory, system. Reads files and the standard library only."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from navit_edge.doctor.finding import Finding, State

#: Instructions that decide how fast a CPU engine is, as /proc/cpuinfo names them (x86, then Arm).
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "asimddp", "bf16", "i8mm")


@dataclass(frozen=True, kw_only=True)
class Host:
    """What a benchmark and a bug report must say of the machine.

    cores: that this process may use. memory_bytes: of the machine, or of the control group where that is less.
    """

    cpu: str
    machine: str  # "x86_64", "aarch64"
    cores: int
    flags: tuple[str, ...]
    memory_bytes: int | None
    available_bytes: int | None
    swap_bytes: int | None
    system: str
    kernel: str
    python: str

    @classmethod
    def read(cls, root: Path = Path("/")) -> Host:
        """root: where /proc, /etc and /sys are looked for."""
        info = read_text(root / "proc/cpuinfo")
        memory = _meminfo(read_text(root / "proc/meminfo"))
        return cls(
            cpu=_cpu_name(info, root),
            machine=platform.machine(),
            cores=usable_cores(root),
            flags=tuple(flag for flag in FLAGS if flag in _flags(info)),
            memory_bytes=_least(memory.get("MemTotal"), _group_limit(root)),
            available_bytes=memory.get("MemAvailable"),
            swap_bytes=memory.get("SwapTotal"),
            system=_system(read_text(root / "etc/os-release")),
            kernel=platform.release(),
            python=platform.python_version(),
        )

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {**self.__dict__, "flags": list(self.flags)}

    @property
    def words(self) -> str:
        """One line: "AMD EPYC, 2 cores, 7.7 GiB, avx512_bf16"."""
        parts = [self.cpu, f"{self.cores} core{'' if self.cores == 1 else 's'}"]
        if self.memory_bytes is not None:
            parts.append(f"{gib(self.memory_bytes)} of memory")
        return ", ".join(parts)


def host_findings(host: Host) -> tuple[Finding, ...]:
    """The machine as findings."""
    flags = ", ".join(host.flags) or "none of those that speed up a CPU engine"
    memory = "unknown" if host.memory_bytes is None else gib(host.memory_bytes)
    if host.available_bytes is not None:
        memory += f", {gib(host.available_bytes)} available"
    if host.swap_bytes is not None:
        memory += f", {gib(host.swap_bytes)} of swap" if host.swap_bytes else ", no swap"
    return (
        Finding(name="processor", state=State.FOUND, text=f"{host.cpu} ({host.machine}), {host.cores} usable cores"),
        Finding(name="instructions", state=State.FOUND, text=flags, facts={"flags": list(host.flags)}),
        Finding(
            name="memory",
            state=State.FOUND,
            text=memory,
            facts={
                "memory_bytes": host.memory_bytes,
                "available_bytes": host.available_bytes,
                "swap_bytes": host.swap_bytes,
            },
        ),
        Finding(name="system", state=State.FOUND, text=f"{host.system}, kernel {host.kernel}, Python {host.python}"),
    )


def gib(count: float) -> str:
    """8123456789 -> "7.6 GiB"."""
    return f"{count / 2**30:.1f} GiB"


def read_text(path: Path) -> str:
    """The text of a file, NUL bytes stripped; "" where it cannot be read."""
    try:
        return path.read_text(errors="replace").strip("\0")
    except OSError:
        return ""


def usable_cores(root: Path = Path("/")) -> int:
    """Cores that this process may use: affinity, cut by the control group's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = read_text(root / "sys/fs/cgroup/cpu.max").split()
    if len(quota) == 2 and quota[0].isdigit() and quota[1].isdigit() and int(quota[1]) > 0:
        cores = min(cores, max(1, -(-int(quota[0]) // int(quota[1]))))
    return cores


def _cpu_name(info: str, root: Path) -> str:
    match = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", info, re.MULTILINE)
    if match is not None:
        return match[1].strip()
    # Arm's /proc/cpuinfo has numbers; a board's name stands in the device tree.
    board = read_text(root / "proc/device-tree/model").strip()
    part = re.search(r"^CPU part\s*:\s*(\S+)$", info, re.MULTILINE)
    if board:
        return f"{board}'s CPU" + (f" (part {part[1]})" if part is not None else "")
    return platform.processor() or platform.machine() or "unknown CPU"


def _flags(info: str) -> set[str]:
    match = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", info, re.MULTILINE)
    return set() if match is None else set(match[1].split())


def _meminfo(text: str) -> dict[str, int]:
    """Name -> bytes."""
    return {name: int(kib) * 1024 for name, kib in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)}


def _group_limit(root: Path) -> int | None:
    for name in ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = read_text(root / name).strip()
        if text.isdigit():
            return int(text)
    return None


def _least(*values: int | None) -> int | None:
    known = [value for value in values if value is not None]
    return min(known) if known else None


def _system(text: str) -> str:
    match = re.search(r'^PRETTY_NAME="?([^"\n]+)"?$', text, re.MULTILINE)
    return platform.system() if match is None else match[1]
