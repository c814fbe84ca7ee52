"""How much power this machine is set to take: a Jetson's power mode, or the governor of the CPU's clock. Only read.

Sources: nvpmodel's own files (``board.py``) and cpufreq's /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor
(the kernel's documentation, "CPU Performance Scaling").
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from navit_edge.errors import InvalidInputError
from navit_edge.machine.board import Board
from navit_edge.machine.jetson import Jetson
from navit_edge.machine.probe import Probe
from navit_edge.machine.text import read_text


@dataclass(frozen=True, kw_only=True)
class Power:
    """source: what says so; "" if nothing does. mode: "15W", "performance", "" if it is not known.
    modes: that there are, with the number of each, which nvpmodel is set by."""

    source: Literal["nvpmodel", "governor", ""] = ""
    mode: str = ""
    modes: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, root: Path = Path("/"), *, probe: Probe | None = None) -> Power:
        """root: where files are looked for. probe: asks nvpmodel itself; None: only its files, which starts nothing."""
        if Jetson.read(root) is not None:
            board = Board.read(probe or _nothing, root)
            return cls(source="nvpmodel", mode=board.mode, modes={name: number for number, name in board.modes.items()})
        cores = sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor"))
        found = list(dict.fromkeys(filter(None, (read_text(core).strip() for core in cores))))
        if not found:
            return cls()
        there = read_text(cores[0].with_name("scaling_available_governors")).split()
        return cls(
            source="governor", mode="+".join(sorted(found)), modes={name: place for place, name in enumerate(there)}
        )

    def require(self, asked: str) -> None:
        """Raises InvalidInputError, with the command that sets it, if the machine is in another mode than ``asked``."""
        if self.mode == asked:
            return
        if not self.source:
            raise InvalidInputError(
                f"--power {asked}: this machine says of no power mode and of no governor; leave --power out"
            )
        if self.modes and asked not in self.modes:
            raise InvalidInputError(f"--power {asked}: there is no such mode; there are {', '.join(self.modes)}")
        if self.source == "governor":
            order = f"sudo cpupower frequency-set --governor {asked}"
        else:
            order = f"sudo nvpmodel -m {self.modes[asked]}" if asked in self.modes else "sudo nvpmodel -m NUMBER"
        raise InvalidInputError(
            f"--power {asked}: the machine is in mode {self.mode or 'unknown'}, and tune changes none; set it: {order}"
        )


def _nothing(*_: str) -> dict[str, str]:
    return {}
