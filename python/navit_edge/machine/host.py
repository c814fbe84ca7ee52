"""The machine itself: processor, cores, memory, system. Reads files and the standard library only."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from pathlib import Path

from navit_edge.machine.limits import Limits
from navit_edge.machine.text import gib, kib_fields, read_text

#: Instructions that decide how fast a CPU engine is, as /proc/cpuinfo names them (x86, then Arm).
FLAGS = (
    "avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8",
    "asimd", "asimdhp", "asimddp", "sve", "bf16", "i8mm",
)  # fmt: skip
#: Precision -> the instructions of which one computes in it without a detour over float32.
NATIVE = {
    "bf16": ("avx512_bf16", "amx_bf16", "bf16"),
    "fp16": ("avx512_fp16", "asimdhp"),
    "int8": ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"),
}


@dataclass(frozen=True, kw_only=True)
class Host:
    """What a benchmark and a bug report must say of the machine.

    cores: that this process may use. memory_bytes: of the machine, or of the control group if that is less.
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
        limits = Limits.read(root)
        memory = kib_fields(root / "proc/meminfo")
        return cls(
            cpu=_cpu_name(info, root),
            machine=platform.machine(),
            cores=limits.cores,
            flags=tuple(flag for flag in FLAGS if flag in _flags(info)),
            memory_bytes=_least(memory.get("MemTotal"), limits.memory_bytes),
            available_bytes=memory.get("MemAvailable"),
            swap_bytes=memory.get("SwapTotal"),
            system=_system(read_text(root / "etc/os-release")),
            kernel=platform.release(),
            python=platform.python_version(),
        )

    @property
    def words(self) -> str:
        """One line: "AMD EPYC, 2 cores, 7.7 GiB, avx512_bf16"."""
        parts = [self.cpu, f"{self.cores} core{'' if self.cores == 1 else 's'}"]
        if self.memory_bytes is not None:
            parts.append(f"{gib(self.memory_bytes)} of memory")
        return ", ".join(parts)


def native_precisions(flags: tuple[str, ...]) -> tuple[str, ...]:
    """Beside fp32: what the processor multiplies in one instruction."""
    return tuple(name for name, needed in NATIVE.items() if any(flag in flags for flag in needed))


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


def _least(*values: int | None) -> int | None:
    known = [value for value in values if value is not None]
    return min(known) if known else None


def _system(text: str) -> str:
    match = re.search(r'^PRETTY_NAME="?([^"\n]+)"?$', text, re.MULTILINE)
    return platform.system() if match is None else match[1]
