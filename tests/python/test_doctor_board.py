"""Doctor on a Jetson and in a container: power mode, clocks, shared memory, temperature, limits.

No board is here. The files have the layout and the wording that boards show in public (Jetson Linux developer guide,
the kernel's devfreq and thermal documentation, cgroups(7)); nvpmodel is a script that prints what the tool prints.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from navit_edge.doctor import State
from navit_edge.doctor.board import board_findings
from navit_edge.doctor.finding import Finding
from navit_edge.doctor.host import host_findings, limit_findings, storage_findings
from navit_edge.machine.board import Board, parse_query, power_modes, swaps
from navit_edge.machine.host import Host
from navit_edge.machine.limits import Limits
from navit_edge.machine.probe import run_probe

NANO_CONF = """# < POWER_MODEL ID=id_num NAME=mode_name >
< PARAM TYPE=FILE NAME=CPU_ONLINE >
CORE_1 /sys/devices/system/cpu/cpu1/online

< POWER_MODEL ID=0 NAME=15W >
CPU_ONLINE CORE_1 1
GPU MAX_FREQ 612000000

< POWER_MODEL ID=1 NAME=25W >
GPU MAX_FREQ 918000000

< POWER_MODEL ID=2 NAME=MAXN_SUPER >
GPU MAX_FREQ -1

< PM_CONFIG DEFAULT=1 >
"""
THOR_CONF = "< POWER_MODEL ID=0 NAME=MAXN >\nGPU MAX_FREQ -1\n< POWER_MODEL ID=1 NAME=120W >\n"
NANO_SWAPS = """Filename				Type		Size		Used		Priority
/dev/zram0                              partition	650240		0		5
/dev/zram1                              partition	650240		0		5
"""


def write(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def thermal(root: Path, number: int, name: str, temp: str, passive: int | None = None) -> None:
    folder = f"sys/class/thermal/thermal_zone{number}"
    write(root, f"{folder}/type", f"{name}\n")
    write(root, f"{folder}/temp", f"{temp}\n")
    if passive is not None:
        write(root, f"{folder}/trip_point_0_type", "critical\n")
        write(root, f"{folder}/trip_point_0_temp", "104500\n")
        write(root, f"{folder}/trip_point_1_type", "passive\n")
        write(root, f"{folder}/trip_point_1_temp", f"{passive}\n")


def orin_nano(root: Path) -> Path:
    """An Orin Nano in its 15 W mode, clocks free, with JetPack's zram only."""
    write(root, "etc/nvpmodel.conf", NANO_CONF)
    write(root, "var/lib/nvpmodel/status", "pmode:0000")
    for name, value in (("cur", 306000000), ("min", 306000000), ("max", 612000000)):
        write(root, f"sys/class/devfreq/17000000.gpu/{name}_freq", f"{value}\n")
    write(root, "sys/class/devfreq/15340000.vic/cur_freq", "115200000\n")
    thermal(root, 0, "cpu-thermal", "48562", 99000)
    thermal(root, 1, "gpu-thermal", "47750", 99000)
    thermal(root, 2, "cv0-thermal", "")  # off: the kernel gives no value
    write(root, "proc/swaps", NANO_SWAPS)
    return root


def thor(root: Path) -> Path:
    """A Thor in MAXN with jetson_clocks applied."""
    write(root, "etc/nvpmodel.conf", THOR_CONF)
    for name in ("cur", "min", "max"):
        write(root, f"sys/class/devfreq/gpu-gpc-0/{name}_freq", "1575000000\n")
    thermal(root, 0, "tj-thermal", "96000", 99000)
    tool = write(root, "usr/sbin/nvpmodel", '#!/bin/sh\n[ "$1" = -q ] && printf "NV Power Mode: MAXN\\n0\\n"\n')
    tool.chmod(0o755)
    return root


def by_name(board: Board, memory_bytes: int) -> dict[str, Finding]:
    return {one.name: one for one in board_findings(board, memory_bytes)}


def test_an_orin_nano_in_15_watts_is_told_what_makes_it_faster_and_steadier(tmp_path: Path) -> None:
    found = by_name(Board.read(run_probe, orin_nano(tmp_path)), 7802812 * 1024)
    power = found["power mode"]
    assert power.state is State.HINT
    assert power.text == "15W (mode 0); the fastest is MAXN_SUPER, if power and cooling allow it"
    assert power.remedy[0].startswith("sudo nvpmodel -m 2 ")
    clocks = found["clocks"]
    assert clocks.text.startswith("GPU at 306 MHz, free between 306 and 612")
    assert clocks.remedy[0].startswith("sudo jetson_clocks")
    memory = found["unified memory"]
    assert memory.state is State.HINT
    assert "no swap on disk, 1.2 GiB of zram" in memory.text
    assert memory.facts["swap_zram_bytes"] == 2 * 650240 * 1024
    assert "swapon /swapfile" in memory.remedy[0]
    temperature = found["temperature"]
    assert (temperature.state, temperature.text) == (State.FOUND, "49 °C (cpu-thermal, the hottest of 2 zones)")


def test_a_thor_at_full_speed_has_nothing_to_be_mended_but_its_heat(tmp_path: Path) -> None:
    found = by_name(Board.read(run_probe, thor(tmp_path)), 120 * 2**30)
    assert (found["power mode"].state, found["power mode"].text) == (State.FOUND, "MAXN (mode 0)")
    assert (found["clocks"].state, found["clocks"].text) == (State.FOUND, "GPU fixed at 1575 MHz")
    assert found["unified memory"].state is State.FOUND
    assert found["temperature"].state is State.HINT
    assert "throttles at 99 °C" in found["temperature"].text


def test_nvpmodel_that_refuses_to_answer_leaves_its_files(tmp_path: Path) -> None:
    root = orin_nano(tmp_path)
    write(root, "usr/sbin/nvpmodel", "#!/bin/sh\necho 'NVPM ERROR: must be run as root' >&2; exit 1\n").chmod(0o755)
    board = Board.read(run_probe, root)
    assert (board.mode, board.mode_id) == ("15W", 0)


def test_a_board_that_says_nothing_is_no_crash(tmp_path: Path) -> None:
    found = by_name(Board.read(run_probe, tmp_path), 8 * 2**30)
    assert found["power mode"].remedy == ("sudo nvpmodel -q",)
    assert set(found) == {"power mode", "unified memory"}


def test_nvpmodels_words_and_files_are_read() -> None:
    assert parse_query("NV Fan Mode:quiet\nNV Power Mode: MODE_30W\n2\n") == ("MODE_30W", 2)
    assert parse_query("") == ("", None)
    assert power_modes(NANO_CONF) == {0: "15W", 1: "25W", 2: "MAXN_SUPER"}
    assert swaps("Filename Type Size Used Priority\n/swapfile file 8388604 0 -2\n") == {"/swapfile": 8388604 * 1024}


# --- limits of containers and control groups


CORES = len(os.sched_getaffinity(0))


def test_cgroup_v2_limits_of_any_group_above_count(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/cgroup", "0::/system.slice/job.scope\n")
    write(tmp_path, "sys/fs/cgroup/system.slice/cpu.max", "150000 100000\n")
    write(tmp_path, "sys/fs/cgroup/system.slice/job.scope/cpu.max", "max 100000\n")
    write(tmp_path, "sys/fs/cgroup/system.slice/job.scope/memory.max", "4294967296\n")
    write(tmp_path, "sys/fs/cgroup/system.slice/memory.max", "max\n")
    limits = Limits.read(tmp_path)
    assert (limits.affinity, limits.cpu_quota, limits.memory_bytes, limits.cores) == (CORES, 1.5, 4 * 2**30, 1)
    (one,) = limit_findings(replace(limits, physical=8))
    assert (one.state, one.remedy) == (State.FOUND, ())  # sessions see to it themselves
    assert "CPU time limited to that of 1.5 cores; a quota of whole cores would waste none" in one.text


def test_cgroup_v1_limits_are_found_inside_a_container_whose_path_is_the_hosts(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/cgroup", "5:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n")
    write(tmp_path, "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "400000\n")
    write(tmp_path, "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n")
    write(tmp_path, "sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n")
    write(tmp_path, ".dockerenv", "")
    limits = Limits.read(tmp_path)
    assert (limits.cpu_quota, limits.memory_bytes, limits.container) == (4.0, 2**30, "docker")
    assert "inside docker" in limit_findings(limits)[0].text


def test_no_limit_in_either_version_is_none(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/cgroup", "4:memory:/\n3:cpu:/\n0::/\n")
    write(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n")
    write(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    write(tmp_path, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    limits = Limits.read(tmp_path)
    assert (limits.cpu_quota, limits.memory_bytes, limits.cores) == (None, None, CORES)
    assert limit_findings(limits) == ()


def test_a_quota_that_covers_the_affinity_is_no_hint(tmp_path: Path) -> None:
    write(tmp_path, "sys/fs/cgroup/cpu.max", f"{CORES * 100000} 100000\n")
    limits = Limits.read(tmp_path)
    (one,) = limit_findings(limits)
    assert (one.state, one.remedy, limits.cores) == (State.FOUND, (), CORES)
    assert "whole cores" not in one.text


# --- processor and disk


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("flags : fpu avx2 avx512f avx512_vnni avx512_bf16", "bf16 and int8 in hardware beside fp32"),
        ("flags : fpu avx2 avx512f avx512_fp16 amx_tile amx_bf16 amx_int8", "bf16 and fp16 and int8 in hardware"),
        ("flags : fpu avx2", "fp32 only"),
        ("Features : fp asimd fphp asimdhp asimddp", "fp16 and int8 in hardware"),  # Cortex-A78AE: Orin
        ("Features : fp asimd asimdhp asimddp sve i8mm bf16", "bf16 and fp16 and int8"),  # Neoverse V3AE: Thor
        ("flags : fpu", "none of those that speed up a CPU engine"),
    ],
)
def test_instructions_say_which_precision_they_mean(tmp_path: Path, line: str, expected: str) -> None:
    write(tmp_path, "proc/cpuinfo", f"processor\t: 0\n{line}\n")
    one = next(one for one in host_findings(Host.read(tmp_path)) if one.name == "instructions")
    assert expected in one.text


def test_a_disk_too_full_for_another_engine_is_a_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 10 * 2**20

    write(tmp_path, "graphs/weights.bin", "x" * 2048)
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
    bundle, temporary = storage_findings(tmp_path, tmp_path)
    assert bundle.state is temporary.state is State.HINT
    assert bundle.facts["wanted_bytes"] == temporary.facts["wanted_bytes"] + 2 * 2048
    assert "building an engine wants" in bundle.text


def test_a_missing_directory_for_temporary_files_is_a_problem(tmp_path: Path) -> None:
    (one,) = storage_findings(None, tmp_path / "gone")
    assert one.state is State.PROBLEM


def test_a_tool_that_hangs_or_is_absent_is_no_crash(tmp_path: Path) -> None:
    answer: dict[str, Any] = run_probe("command", str(tmp_path / "nowhere"))
    assert "absent" in answer
    assert run_probe("command", "sh", "-c", "echo here; exit 3") == {"text": "here\n", "code": 3}
