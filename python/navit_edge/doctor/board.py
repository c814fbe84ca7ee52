"""A Jetson and how it is set at this moment, as findings."""

from __future__ import annotations

from navit_edge.doctor.finding import Finding, State
from navit_edge.machine.board import Board
from navit_edge.machine.jetson import Jetson
from navit_edge.machine.text import gib

_OLDEST_JETPACK = 6
#: Below this a build of a larger model needs swap that is not compressed memory.
_SMALL_BOARD_BYTES = 9 * 2**30
_DEGREES_BEFORE_THROTTLING = 5.0


def jetson_findings(board: Jetson | None) -> tuple[Finding, ...]:
    """The board as findings; none if the machine is no Jetson."""
    if board is None:
        return ()
    findings = [
        Finding("Jetson", State.FOUND, board.model or "of no stated model"),
        Finding(
            "L4T",
            State.FOUND if board.l4t else State.PROBLEM,
            f"Jetson Linux {board.l4t}" if board.l4t else "the release in /etc/nv_tegra_release is not readable",
            remedy=() if board.l4t else ("cat /etc/nv_tegra_release",),
            facts={"l4t": board.l4t},
        ),
    ]
    old = board.jetpack != "" and int(board.jetpack.partition(".")[0]) < _OLDEST_JETPACK
    text = f"JetPack {board.jetpack}" if board.jetpack else "unknown for this release of L4T"
    if "nvidia-jetpack" not in board.packages:
        text += " (by the release of L4T; the package nvidia-jetpack is not installed)"
    if old:
        text += "; expected 6 or later, which has TensorRT 10.3 or later; flash the board anew"
    findings.append(
        Finding(
            "JetPack",
            State.PROBLEM if old else State.FOUND,
            text,
            facts={"jetpack": board.jetpack, "packages": board.packages},
        )
    )
    return tuple(findings)


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
        return Finding("power mode", State.HINT, text, remedy=("sudo nvpmodel -q",), facts=facts)
    text = board.mode or "without a name in /etc/nvpmodel.conf"
    text += "" if board.mode_id is None else f" (mode {board.mode_id})"
    fastest = next(((number, name) for number, name in board.modes.items() if name.startswith("MAXN")), None)
    if fastest is None or board.mode.startswith("MAXN"):
        return Finding("power mode", State.FOUND, text, facts=facts)
    return Finding(
        "power mode",
        State.HINT,
        f"{text}; the fastest is {fastest[1]}, if power and cooling allow it",
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
        return (Finding("clocks", State.FOUND, text, facts=facts),)
    text = (
        f"GPU at {clock.current / 1e6:.0f} MHz, free between {clock.lowest / 1e6:.0f} and {clock.highest / 1e6:.0f}: "
        "figures of bench will scatter"
    )
    remedy = ("sudo jetson_clocks  # until the next boot",)
    return (Finding("clocks", State.HINT, text, remedy=remedy, facts=facts),)


def _memory(board: Board, memory_bytes: int | None) -> Finding:
    disk = sum(size for name, size in board.swaps.items() if "zram" not in name)
    zram = sum(size for name, size in board.swaps.items() if "zram" in name)
    total = "unknown size" if memory_bytes is None else gib(memory_bytes)
    text = f"{total}, one memory for CPU and GPU; "
    text += f"{gib(disk)} of swap on disk, " if disk else "no swap on disk, "
    text += f"{gib(zram)} of zram (compressed memory)" if zram else "no zram"
    facts = {"memory_bytes": memory_bytes, "swap_disk_bytes": disk, "swap_zram_bytes": zram, "unified": True}
    if disk or memory_bytes is None or memory_bytes > _SMALL_BOARD_BYTES:
        return Finding("unified memory", State.FOUND, text, facts=facts)
    return Finding(
        "unified memory",
        State.HINT,
        f"{text}; building the wheel or an engine may run out of it: add swap, and bound the compiler by "
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
        return (Finding("temperature", State.HINT, text, facts={"zones": facts}),)
    return (Finding("temperature", State.FOUND, text, facts={"zones": facts}),)
