"""`navit-edge doctor` on a Jetson, whose files are written by hand in NVIDIA's format: they prove how doctor reads, not
what NVIDIA's software says.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from doctor_findings import finding, no_vendor

from navit_edge.doctor import State, examine
from navit_edge.doctor.board import jetson_findings
from navit_edge.machine.host import Host
from navit_edge.machine.jetson import Jetson, jetpack_of, parse_release

_ORIN_DATE, _THOR_DATE = "Wed Jan  8 01:49:37 UTC 2025", "Fri Aug 22 00:55:42 UTC 2025"
_REST = "GCID: 12345678, BOARD: generic, EABI: aarch64, DATE: "
ORIN_RELEASE = (
    f"# R36 (release), REVISION: 4.3, {_REST}{_ORIN_DATE}\n# KERNEL_VARIANT: oot\nTARGET_USERSPACE_LIB_DIR=nvidia\n"
)
THOR_RELEASE = f"# R38 (release), REVISION: 2.0, {_REST}{_THOR_DATE}\n"
XAVIER_RELEASE = f"# R35 (release), REVISION: 4.1, {_REST}Tue Aug  1 19:57:35 UTC 2023\n"
DPKG = """Package: nvidia-jetpack
Status: install ok installed
Version: 6.2.1+b38

Package: libnvinfer10
Status: install ok installed
Architecture: arm64
Version: 10.3.0.30-1+cuda12.5

Package: libnvinfer-lean10
Status: deinstall ok config-files
Version: 10.3.0.30-1+cuda12.5

Package: vim
Status: install ok installed
Version: 9
"""


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def orin(root: Path) -> Path:
    """An Orin Nano with JetPack 6.2.1, as files."""
    write(root, "etc/nv_tegra_release", ORIN_RELEASE)
    write(root, "proc/device-tree/model", "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0")
    write(root, "var/lib/dpkg/status", DPKG)
    write(root, "etc/os-release", 'NAME="Ubuntu"\nPRETTY_NAME="Ubuntu 22.04.5 LTS"\n')
    write(
        root, "proc/meminfo", "MemTotal:        7802812 kB\nMemAvailable:    5000000 kB\nSwapTotal:       3901404 kB\n"
    )
    write(root, "proc/cpuinfo", "processor\t: 0\nFeatures\t: fp asimd asimddp\nCPU part\t: 0xd42\n")
    return root


@pytest.mark.parametrize(
    ("text", "expected"),
    [(ORIN_RELEASE, "36.4.3"), (THOR_RELEASE, "38.2.0"), (XAVIER_RELEASE, "35.4.1"), ("", ""), ("# R36 beta", "")],
)
def test_the_l4t_release_is_read(text: str, expected: str) -> None:
    assert parse_release(text) == expected


def test_jetpack_is_what_the_package_says_else_what_the_release_implies() -> None:
    assert jetpack_of("36.4.4", "6.2.1+b38") == "6.2.1"
    assert jetpack_of("36.4.3", "") == "6.2"
    assert jetpack_of("38.2.0", "") == "7.0"
    assert jetpack_of("36.99", "") == "6"
    assert jetpack_of("99.1", "") == ""


def test_a_jetson_says_its_board_its_release_and_its_packages(tmp_path: Path) -> None:
    board = Jetson.read(orin(tmp_path))
    assert board is not None
    assert board.model == "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"
    assert board.packages == {"nvidia-jetpack": "6.2.1+b38", "libnvinfer10": "10.3.0.30-1+cuda12.5"}
    model, l4t, jetpack = jetson_findings(board)
    assert l4t.text == "Jetson Linux 36.4.3"
    assert (jetpack.state, jetpack.text) == (State.FOUND, "JetPack 6.2.1")
    host = Host.read(tmp_path)
    assert host.cpu == f"{model.text}'s CPU (part 0xd42)"
    assert host.flags == ("asimd", "asimddp")
    assert (host.memory_bytes, host.swap_bytes) == (7802812 * 1024, 3901404 * 1024)


def test_a_jetpack_without_tensorrt_10_is_a_problem(tmp_path: Path) -> None:
    write(tmp_path, "etc/nv_tegra_release", XAVIER_RELEASE)
    jetpack = jetson_findings(Jetson.read(tmp_path))[-1]
    assert jetpack.state is State.PROBLEM
    assert "expected 6 or later" in jetpack.text


def test_a_machine_that_is_no_jetson_has_no_such_findings(tmp_path: Path) -> None:
    write(tmp_path, "proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0")
    assert Jetson.read(tmp_path) is None
    assert jetson_findings(None) == ()


def test_on_a_jetson_the_remedies_are_those_of_jetpack(tmp_path: Path) -> None:
    report = examine(root=orin(tmp_path), probe=no_vendor)
    for name in ("NVIDIA driver", "CUDA runtime", "TensorRT", "TensorRT, Python builder"):
        assert finding(report, name).remedy == ("sudo apt install nvidia-jetpack",)
