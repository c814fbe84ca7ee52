"""How a Jetson is set at this moment: power mode, clocks, memory that CPU and GPU share, swap, temperature.

Sources: the Jetson Linux developer guide ("Supported Modes and Power Efficiency": nvpmodel, jetson_clocks), the files
that nvpmodel keeps (/etc/nvpmodel.conf, /var/lib/nvpmodel/status), and the kernel's devfreq, thermal and /proc/swaps.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from navit_edge.doctor.finding import Finding, State
from navit_edge.machine.text import gib, read_text

Probe = Callable[..., dict[str, Any]]

#: Below this a build of a larger model needs swap that is not compressed memory.
_SMALL_BOARD_BYTES = 9 * 2**30
_DEGREES_BEFORE_THROTTLING = 5.0


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Of the GPU, in Hz. It is fixed where min equals max, which is what jetson_clocks does."""

    current: int
    lowest: int
    highest: int


@dataclass(frozen=True, kw_only=True)
class Board:
    """mode: name of the power mode, or "". mode_id: its number, or None. modes: all of the board's, id -> name.
    gpu_clock: None where the kernel does not say. zones: thermal zone -> (degrees Celsius, where it throttles or None).
    swaps: device -> bytes.
    """

    mode: str
    mode_id: int | None
    modes: dict[int, str]
    gpu_clock: Clock | None
    zones: dict[str, tuple[float, float | None]]
    swaps: dict[str, int]

    @classmethod
    def read(cls, probe: Probe, root: Path = Path("/")) -> Board:
        """root: where files and nvpmodel itself are looked for. probe: runs nvpmodel, which needs no privilege to be
        asked; where it refuses, its own files answer."""
        modes = power_modes(read_text(root / "etc/nvpmodel.conf"))
        name, number = "", None
        tool = root / "usr/sbin/nvpmodel"
        if tool.is_file():
            name, number = parse_query(str(probe("command", str(tool), "-q").get("text", "")))
        if number is None:
            match = re.search(r"pmode:\s*(\d+)", read_text(root / "var/lib/nvpmodel/status"))
            number = None if match is None else int(match[1])
        return cls(
            mode=name or ("" if number is None else modes.get(number, "")),
            mode_id=number,
            modes=modes,
            gpu_clock=_gpu_clock(root),
            zones=_zones(root),
            swaps=swaps(read_text(root / "proc/swaps")),
        )


def power_modes(conf: str) -> dict[int, str]:
    """/etc/nvpmodel.conf, "< POWER_MODEL ID=0 NAME=15W >" -> {0: "15W"}; comments are left out."""
    found = re.findall(r"^\s*<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+?)\s*>", conf, re.MULTILINE)
    return {int(number): name for number, name in found}


def parse_query(text: str) -> tuple[str, int | None]:
    """What `nvpmodel -q` prints, "NV Power Mode: MAXN_SUPER", then "2" on a line of its own."""
    name = re.search(r"NV Power Mode:\s*(\S+)", text)
    number = re.search(r"^\s*(\d+)\s*$", text, re.MULTILINE)
    return (name[1] if name is not None else "", int(number[1]) if number is not None else None)


def swaps(text: str) -> dict[str, int]:
    """/proc/swaps: device -> bytes."""
    rows = [line.split() for line in text.splitlines()[1:]]
    return {row[0]: int(row[2]) * 1024 for row in rows if len(row) >= 3 and row[2].isdigit()}


def _gpu_clock(root: Path) -> Clock | None:
    """devfreq names the GPU 17000000.gpu or .ga10b on Orin and gpu-gpc-0 on Thor."""
    for folder in sorted((root / "sys/class/devfreq").glob("*")):
        if not re.fullmatch(r"[0-9a-f]+\.(?:gpu|g[avp]\w+b)|gpu-gpc-0", folder.name):
            continue
        texts = [read_text(folder / name).strip() for name in ("cur_freq", "min_freq", "max_freq")]
        if all(text.isdigit() for text in texts):
            current, lowest, highest = (int(text) for text in texts)
            return Clock(current=current, lowest=lowest, highest=highest)
    return None


def _zones(root: Path) -> dict[str, tuple[float, float | None]]:
    found = {}
    for folder in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        name = read_text(folder / "type").strip()
        text = read_text(folder / "temp").strip()  # thousandths of a degree; unreadable where the part is off
        if not name or not re.fullmatch(r"-?\d+", text):
            continue
        trips = []
        for kind in folder.glob("trip_point_*_type"):
            trip = read_text(folder / kind.name.replace("_type", "_temp")).strip()
            if read_text(kind).strip() == "passive" and trip.isdigit():
                trips.append(int(trip) / 1000)
        found[name] = (int(text) / 1000, min(trips, default=None))
    return found


def board_findings(board: Board, memory_bytes: int | None) -> tuple[Finding, ...]:
    """memory_bytes: of the machine; on a Jetson the GPU has no other."""
    return (_power(board), *_clocks(board), _memory(board, memory_bytes), *_temperature(board))


def _power(board: Board) -> Finding:
    facts = {
        "mode": board.mode,
        "mode_id": board.mode_id,
        "modes": {str(number): name for number, name in board.modes.items()},
    }
    if not board.mode and board.mode_id is None:
        text = "neither nvpmodel nor its files say; figures of bench hold for one power mode only"
        return Finding(name="power mode", state=State.HINT, text=text, remedy=("sudo nvpmodel -q",), facts=facts)
    text = board.mode or "without a name in /etc/nvpmodel.conf"
    text += "" if board.mode_id is None else f" (mode {board.mode_id})"
    fastest = next(((number, name) for number, name in board.modes.items() if name.startswith("MAXN")), None)
    if fastest is None or board.mode.startswith("MAXN"):
        return Finding(name="power mode", state=State.FOUND, text=text, facts=facts)
    return Finding(
        name="power mode",
        state=State.HINT,
        text=f"{text}; the fastest is {fastest[1]}, if power and cooling allow it",
        remedy=(f"sudo nvpmodel -m {fastest[0]}  # may ask for a reboot",),
        facts=facts,
    )


def _clocks(board: Board) -> tuple[Finding, ...]:
    clock = board.gpu_clock
    if clock is None:
        return ()
    facts = {"current_hz": clock.current, "min_hz": clock.lowest, "max_hz": clock.highest}
    if clock.lowest == clock.highest:
        text = f"GPU fixed at {clock.highest / 1e6:.0f} MHz"
        return (Finding(name="clocks", state=State.FOUND, text=text, facts=facts),)
    text = (
        f"GPU at {clock.current / 1e6:.0f} MHz, free between {clock.lowest / 1e6:.0f} and {clock.highest / 1e6:.0f}: "
        "figures of bench will scatter"
    )
    remedy = ("sudo jetson_clocks  # until the next boot",)
    return (Finding(name="clocks", state=State.HINT, text=text, remedy=remedy, facts=facts),)


def _memory(board: Board, memory_bytes: int | None) -> Finding:
    disk = sum(size for name, size in board.swaps.items() if "zram" not in name)
    zram = sum(size for name, size in board.swaps.items() if "zram" in name)
    total = "unknown size" if memory_bytes is None else gib(memory_bytes)
    text = f"{total}, one memory for CPU and GPU; "
    text += f"{gib(disk)} of swap on disk, " if disk else "no swap on disk, "
    text += f"{gib(zram)} of zram (compressed memory)" if zram else "no zram"
    facts = {"memory_bytes": memory_bytes, "swap_disk_bytes": disk, "swap_zram_bytes": zram, "unified": True}
    if disk or memory_bytes is None or memory_bytes > _SMALL_BOARD_BYTES:
        return Finding(name="unified memory", state=State.FOUND, text=text, facts=facts)
    return Finding(
        name="unified memory",
        state=State.HINT,
        text=f"{text}; building the wheel or an engine may run out of it: add swap, and bound the compiler by "
        "build-engine --workspace 1G",
        remedy=(
            "sudo fallocate -l 8G /swapfile && sudo chmod 600 /swapfile && sudo mkswap /swapfile && "
            "sudo swapon /swapfile",
        ),
        facts=facts,
    )


def _temperature(board: Board) -> tuple[Finding, ...]:
    if not board.zones:
        return ()
    hottest = max(board.zones, key=lambda name: board.zones[name][0])
    degrees, limit = board.zones[hottest]
    facts = {name: {"celsius": value, "throttles_at": trip} for name, (value, trip) in board.zones.items()}
    text = f"{degrees:.0f} °C ({hottest}, the hottest of {len(board.zones)} zones)"
    if limit is not None and degrees >= limit - _DEGREES_BEFORE_THROTTLING:
        text += f"; the board throttles at {limit:.0f} °C: let it cool, or figures of bench mean little"
        return (Finding(name="temperature", state=State.HINT, text=text, facts={"zones": facts}),)
    return (Finding(name="temperature", state=State.FOUND, text=text, facts={"zones": facts}),)
