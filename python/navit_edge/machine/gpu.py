"""The device beside the CPU: its name and memory, and how a board is set. What is not measured is None.

nvidia-smi says what a card holds (NVML; on Jetson Thor, too). If CPU and GPU share one memory it does not, and the
kernel's own count stands for both: what tegrastats prints as RAM is MemTotal - MemAvailable of /proc/meminfo.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from navit_edge.machine.board import Board
from navit_edge.machine.jetson import Jetson
from navit_edge.machine.probe import run_probe
from navit_edge.machine.text import kib_fields

#: Runs a command; its standard output, or "" if it fails.
Runner = Callable[[list[str]], str]

_FIELDS = ("name", "driver_version", "memory.total", "memory.used", "clocks.sm", "temperature.gpu", "power.draw")
_TIMEOUT_S = 10.0


def run(command: list[str]) -> str:
    """Standard output of a tool that only reads."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """name, driver: as nvidia-smi says, or "" if only the board is known. unified: CPU and GPU share one memory.
    memory_bytes: of the device. clock_mhz, celsius, watts: at the moment of asking. board: power mode and clocks of a
    Jetson, or empty.
    """

    name: str
    driver: str = ""
    unified: bool = False
    memory_bytes: int | None = None
    clock_mhz: float | None = None
    celsius: float | None = None
    watts: float | None = None
    board: dict[str, Any] = field(default_factory=dict)


class DeviceMemory:
    """How much of the device's memory is in use, all processes together. Asked between measurements, never within."""

    def __init__(self, *, unified: bool, runner: Runner = run, root: Path = Path("/")) -> None:
        self._unified, self._runner, self._root = unified, runner, root

    def used_bytes(self) -> int | None:
        """None if nothing says."""
        if self._unified:
            memory = kib_fields(self._root / "proc/meminfo")
            return (
                memory["MemTotal"] - memory["MemAvailable"] if {"MemTotal", "MemAvailable"} <= memory.keys() else None
            )
        row = _query(self._runner, "memory.used")
        return None if row is None else _mib(row[0])


def read_gpu(runner: Runner = run, root: Path = Path("/")) -> Gpu | None:
    """The GPU that an engine runs on if nothing else was asked for: the first that this process may see."""
    row = _query(runner, *_FIELDS)
    jetson = Jetson.read(root)
    board: dict[str, Any] = {}
    if jetson is not None:
        now = Board.read(run_probe, root)
        clock = now.gpu_clock
        board = {
            "model": jetson.model,
            "jetpack": jetson.jetpack,
            "l4t": jetson.l4t,
            "power_mode": now.mode or None,
            "gpu_clock_hz": None if clock is None else clock.current,
            "clocks_fixed": None if clock is None else clock.lowest == clock.highest,
        }
    if row is None:
        return None if jetson is None else Gpu(name=jetson.model, unified=True, board=board)
    name, driver, total, _, clock_mhz, celsius, watts = row
    unified = jetson is not None or _mib(total) is None
    return Gpu(
        name=name,
        driver=driver,
        unified=unified,
        memory_bytes=_mib(total),
        clock_mhz=_number(clock_mhz),
        celsius=_number(celsius),
        watts=_number(watts),
        board=board,
    )


def _query(runner: Runner, *fields: str) -> list[str] | None:
    """One row of nvidia-smi, without serial numbers; None if there is none."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0]
    chosen = [f"--id={visible}"] if visible.isdigit() else []
    text = runner(["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits", *chosen])
    lines = text.strip().splitlines()
    cells = [cell.strip() for cell in lines[0].split(",")] if lines else []
    return cells if len(cells) == len(fields) else None


def _number(text: str) -> float | None:
    """ "[N/A]" and "[Not Supported]" are None."""
    return float(text) if re.fullmatch(r"\d+(?:\.\d+)?", text) else None


def _mib(text: str) -> int | None:
    value = _number(text)
    return None if value is None else int(value * 2**20)
