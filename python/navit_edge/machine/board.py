"""How a Jetson is set at this moment: power mode, clocks, memory that CPU and GPU share, swap, temperature.

Sources: the Jetson Linux developer guide ("Supported Modes and Power Efficiency": nvpmodel, jetson_clocks), the files
that nvpmodel keeps (/etc/nvpmodel.conf, /var/lib/nvpmodel/status), and the kernel's devfreq, thermal and /proc/swaps.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from navit_edge.machine.probe import Probe
from navit_edge.machine.text import read_text


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Of the GPU, in Hz. It is fixed if min equals max, which is what jetson_clocks does."""

    current: int
    lowest: int
    highest: int


@dataclass(frozen=True, kw_only=True)
class Board:
    """mode: name of the power mode, or "". mode_id: its number, or None. modes: all of the board's, id -> name.
    gpu_clock: None if the kernel does not say. zones: thermal zone -> (degrees Celsius, where it throttles or None).
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
        asked; if it refuses, its own files answer."""
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
        text = read_text(folder / "temp").strip()  # thousandths of a degree; unreadable if the part is off
        if not name or not re.fullmatch(r"-?\d+", text):
            continue
        trips = []
        for kind in folder.glob("trip_point_*_type"):
            trip = read_text(folder / kind.name.replace("_type", "_temp")).strip()
            if read_text(kind).strip() == "passive" and trip.isdigit():
                trips.append(int(trip) / 1000)
        found[name] = (int(text) / 1000, min(trips, default=None))
    return found
