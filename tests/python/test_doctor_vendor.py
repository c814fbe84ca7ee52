"""Doctor on NVIDIA's libraries and on the plug-ins: what is found where, what wins, and whether it can run.

Libraries of NVIDIA's are stand-ins compiled here, which give a version and no more; the plug-in is the one that was
built. Nothing here shows what NVIDIA's software does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tiny_bundle import make_bundle

from navit_edge import _core
from navit_edge.compile import BuildRequest, build_engines
from navit_edge.doctor import State
from navit_edge.doctor.driver import TensorRT, needs_finding
from navit_edge.doctor.nvidia import Nvidia
from navit_edge.doctor.runtime import backend_finding, install_backend, plugin_files
from navit_edge.doctor.vendor import variable_findings
from navit_edge.machine.jetson import Jetson
from navit_edge.machine.libraries import cuda_runtime_files, served_major, tensorrt_files
from navit_edge.machine.probe import run_probe

PLUGIN = Path(_core.__file__).parent / "lib" / "libnavit_edge_tensorrt.so"


def nvidia(*capabilities: int, **fields: Any) -> Nvidia:
    values = {"driver": bool(capabilities), "cuda": "12.8", "tensorrt": "", "lean": "", "rtx": "", "findings": ()}
    return Nvidia(capabilities=capabilities, **{**values, **fields})


@pytest.fixture
def stand_in(tmp_path: Path) -> Callable[[str, int], Path]:
    """Compiles a library of this name that gives this version."""

    def build(name: str, number: int) -> Path:
        folder = tmp_path / f"{name}-{number}"
        folder.mkdir()
        source = folder / "v.c"
        source.write_text(f"int getInferLibVersion(void) {{ return {number}; }}\n")
        subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / name, source], check=True)
        return folder

    return build


# --- the plug-in


def test_without_a_driver_the_plug_in_is_found_and_cannot_run() -> None:
    one = backend_finding(run_probe, "tensorrt", nvidia=nvidia(tensorrt="10.3.0"))
    assert one.state is State.ABSENT
    assert one.text == "cannot run: plug-in found, library TensorRT 10.3.0 found, driver not found"
    assert one.facts["opens"] is True
    assert one.facts["can_run"] is False
    assert "loads" not in one.text


def test_with_driver_and_library_it_can_run_and_without_the_library_it_gets_the_command() -> None:
    able = backend_finding(run_probe, "tensorrt", nvidia=nvidia(86, tensorrt="10.3.0"))
    assert (able.state, able.facts["can_run"]) == (State.FOUND, True)
    assert able.text.startswith("can run: plug-in found, library TensorRT 10.3.0 found, driver found (CUDA 12.8)")
    lacking = backend_finding(run_probe, "tensorrt", nvidia=nvidia(86))
    assert (lacking.state, lacking.remedy) == (State.PROBLEM, ('pip install "navit-edge[tensorrt]"',))
    assert "library of TensorRT not found" in lacking.text
    board = backend_finding(run_probe, "tensorrt", nvidia=nvidia(87), jetson=True)
    assert board.remedy == ("sudo apt install nvidia-jetpack",)


def test_a_library_of_another_major_version_than_the_plug_ins_cannot_run() -> None:
    major = served_major(PLUGIN)
    assert major in (10, 11)
    one = backend_finding(run_probe, "tensorrt", nvidia=nvidia(86, tensorrt=f"{major + 1}.0.0"))
    assert one.state is State.PROBLEM
    assert f"but the plug-in was compiled for {major}" in one.text


def test_a_library_from_pip_is_looked_for_last_and_not_where_a_directory_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    files = tensorrt_files("libnvinfer_lean.so", "tensorrt_lean_libs")
    assert list(files.values())[-1] == "pip"
    assert next(iter(files.values())) == "the dynamic loader"
    monkeypatch.setenv("NAVIT_EDGE_TENSORRT_DIR", str(tmp_path))
    named = tensorrt_files("libnvinfer_lean.so", "tensorrt_lean_libs")
    assert "pip" not in named.values()
    assert next(iter(named)) == f"{tmp_path}/libnvinfer_lean.so.10"


def test_a_missing_plug_in_is_said_with_the_commands_that_build_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_core, "__file__", "/nowhere/navit_edge/_core.so")
    quiet = backend_finding(run_probe, "tensorrt", nvidia=nvidia())
    assert quiet.state is State.ABSENT
    assert quiet.text.startswith("cannot run: plug-in not found (no libnavit_edge_tensorrt.so in ")
    assert quiet.remedy == install_backend("tensorrt")
    assert "requirements-headers.txt" in quiet.remedy[0]
    assert "NAVIT_EDGE_TENSORRT=ON" in quiet.remedy[1]
    loud = backend_finding(run_probe, "tensorrt", nvidia=nvidia(87), jetson=True)
    assert loud.state is State.PROBLEM
    assert loud.remedy[0] == "sudo apt install nvidia-jetpack"


def test_backend_dir_wins_what_does_not_open_is_passed_over_and_the_report_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = tmp_path / "bad", tmp_path / "good"
    bad.mkdir()
    good.mkdir()
    (bad / PLUGIN.name).write_bytes(b"no library")
    shutil.copy(PLUGIN, good)
    monkeypatch.setenv("NAVIT_EDGE_BACKEND_DIR", f"{bad}:{good}")
    one = backend_finding(run_probe, "tensorrt", nvidia=nvidia(86, tensorrt="10.3.0"))
    assert f"plug-in found at {good / PLUGIN.name}, which NAVIT_EDGE_BACKEND_DIR names" in one.text
    assert f"passed over: {bad / PLUGIN.name}" in one.text
    assert (one.facts["file"], one.facts["origin"]) == (str(good / PLUGIN.name), "NAVIT_EDGE_BACKEND_DIR")
    assert plugin_files("tensorrt")[-1][1] == "installed"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ("OpenVINO 2025.3.0", "it needs OpenVINO 2026.4.1; found OpenVINO 2025.3.0"),
        ("OpenVINO", "it needs OpenVINO 2026.4.1, which is not installed"),
    ],
)
def test_an_openvino_of_another_release_is_named_beside_the_one_that_is_needed(found: str, said: str) -> None:
    def misses(name: str, *arguments: str) -> dict[str, Any]:
        return {"error": "libopenvino.so.2641: cannot open shared object file: No such file or directory"}

    one = backend_finding(misses, "openvino", openvino=found)
    assert one.state is State.PROBLEM
    assert one.text == f"cannot run: plug-in found, and {said}"
    assert one.remedy == ('pip install "navit-edge[openvino]"',)


def test_the_order_of_plug_ins_is_that_of_the_loaders_own_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The loader lists what it tried; a backend that exists nowhere makes it list everything."""
    monkeypatch.setenv("NAVIT_EDGE_BACKEND_DIR", str(tmp_path))
    monkeypatch.setenv("NAVIT_EDGE_DEBUG", "1")
    code = (
        "import sys, shutil, msgspec, navit_edge as ne\n"
        "from navit_edge.bundle import manifest as m\n"
        "b = sys.argv[1]; one = m.load(b)\n"
        "e = tuple(msgspec.structs.replace(x, backend='tensorrt-rtx') for x in one.engines[:1])\n"
        "m.save(msgspec.structs.replace(one, engines=e), b)\n"
        "try: ne.Session(b)\n"
        "except ne.NavitEdgeError as error: print(error)\n"
    )
    bundle = make_bundle(tmp_path / "b.navit")
    build_engines(bundle, BuildRequest(backend="openvino", precision=("fp32",)))
    done = subprocess.run([sys.executable, "-c", code, str(bundle)], capture_output=True, text=True, check=True)
    tried = [line.strip().partition(": ")[0] for line in done.stdout.splitlines() if ": no such file" in line]
    ours = [str(file) for file, _ in plugin_files("tensorrt-rtx")]
    assert tried
    assert tried == ours[: len(tried)]


def test_relative_and_missing_directories_of_the_variables_are_problems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAVIT_EDGE_BACKEND_DIR", f"{tmp_path}:plugins")
    monkeypatch.setenv("NAVIT_EDGE_TENSORRT_DIR", str(tmp_path / "gone"))
    backend, tensorrt = variable_findings()
    assert "plugins is relative and is not searched" in backend.text
    assert "there is no directory" in tensorrt.text
    assert backend.state is tensorrt.state is State.PROBLEM
    monkeypatch.setenv("NAVIT_EDGE_BACKEND_DIR", str(tmp_path))
    assert variable_findings()[0].state is State.FOUND
    monkeypatch.delenv("NAVIT_EDGE_BACKEND_DIR")
    monkeypatch.delenv("NAVIT_EDGE_TENSORRT_DIR")
    assert variable_findings() == ()


# --- libraries


def test_tensorrt_dir_wins_over_the_dynamic_loader_and_the_report_says_so(
    stand_in: Callable[[str, int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def probe(name: str, *arguments: str) -> dict[str, Any]:
        asked = name == "library_version" and "libnvinfer.so.10" in arguments
        return run_probe(name, *arguments) if asked else {"absent": "not asked here"}

    named, known = stand_in("libnvinfer.so.10", 100500), stand_in("libnvinfer.so.10", 100300)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(known))
    plain = next(one for one in Nvidia.read(probe).findings if one.name == "TensorRT")
    assert plain.text == f"10.3.0 ({known / 'libnvinfer.so.10'})"
    assert plain.facts["origin"] == "the dynamic loader"
    monkeypatch.setenv("NAVIT_EDGE_TENSORRT_DIR", str(named))
    chosen = next(one for one in Nvidia.read(probe).findings if one.name == "TensorRT")
    assert chosen.text == f"10.5.0 ({named / 'libnvinfer.so.10'}), which NAVIT_EDGE_TENSORRT_DIR names"


def test_of_two_major_versions_the_plug_ins_is_looked_for_first() -> None:
    assert list(tensorrt_files("libnvinfer.so", "nowhere", (10, 11)))[:2] == ["libnvinfer.so.10", "libnvinfer.so.11"]
    names = [name for name in cuda_runtime_files(12) if not name.startswith("/")]
    assert names == ["libcudart.so.12", "libcudart.so.13"]


def test_wheels_are_listed_with_version_and_directory() -> None:
    wheels = run_probe("wheels")["wheels"]
    lean = wheels["tensorrt-lean-cu12-libs"]
    assert lean["version"] == version("tensorrt-lean-cu12-libs")
    assert any(name.startswith("libnvinfer_lean.so") for name in os.listdir(lean["directory"]))
    for name in ("tensorrt-lean-cu12-libs", "tensorrt-rtx-cu12"):  # the second only where it is installed
        assert name not in wheels or wheels[name]["version"] == version(name)
    assert ("tensorrt-rtx-cu12" in wheels) == (find_spec("tensorrt_rtx") is not None)


# --- driver against TensorRT


@pytest.mark.parametrize(
    ("library", "driver", "gpu", "fits", "says"),
    [
        (TensorRT(version="10.3.0", product="TensorRT", cuda_major=12), 12060, 87, True, "needs CUDA 12.0"),
        (TensorRT(version="10.3.0", product="TensorRT"), 11080, 86, False, "driver 525 or later"),
        (TensorRT(version="10.13.2", product="TensorRT", cuda_major=13), 12080, 89, False, "driver 580 or later"),
        (TensorRT(version="10.13.2", product="TensorRT", cuda_major=13), 13000, 110, True, "which serves 13.0"),
        (TensorRT(version="11.2.1", product="TensorRT"), 12010, 86, False, "driver 535 or later"),
        (TensorRT(version="10.3.0", product="TensorRT"), 12080, 120, False, "knows no sm120"),
        (TensorRT(version="1.7.1", product="TensorRT for RTX", cuda_major=12), 12080, 120, True, "needs CUDA 12.0"),
        (TensorRT(version="1.7.1", product="TensorRT for RTX"), 12080, 120, True, "not known"),
        (TensorRT(version="1.7.1", product="TensorRT for RTX"), 13000, 90, False, "Hopper: TensorRT, not TensorRT-RTX"),
        (TensorRT(version="10.16.1", product="TensorRT", cuda_major=13), 13000, 90, True, "which serves 13.0"),
    ],
)
def test_each_tensorrt_is_held_against_the_driver_that_it_needs(
    library: TensorRT, driver: int, gpu: int, fits: bool, says: str
) -> None:
    one = needs_finding(library, driver, (gpu,), system="Ubuntu 24.04", jetson=False)
    assert (one.state is State.FOUND) == fits, one.text
    assert says in one.text
    assert bool(one.remedy) != fits


def test_a_driver_too_old_gets_a_new_driver_or_the_library_for_the_old_one() -> None:
    library = TensorRT(version="10.13.2", product="TensorRT", cuda_major=13)
    one = needs_finding(library, 12080, (89,), system="Ubuntu 24.04", jetson=False)
    assert one.remedy[0] == "sudo ubuntu-drivers install"
    assert one.remedy[1].startswith("pip install tensorrt-cu12")
    board = needs_finding(library, 12060, (87,), system="Ubuntu 22.04", jetson=True)
    assert "apt" in board.remedy[0]


def test_jetpacks_module_outside_the_environment_gets_the_environment_that_sees_it(tmp_path: Path) -> None:
    status = tmp_path / "var/lib/dpkg/status"
    status.parent.mkdir(parents=True)
    status.write_text("Package: python3-libnvinfer\nStatus: install ok installed\nVersion: 10.3.0.30-1+cuda12.5\n")
    board = Jetson(model="Orin", l4t="36.4.3", jetpack="6.2", packages={})
    found = {one.name: one for one in Nvidia.read(lambda *_: {"absent": "x"}, tmp_path, board).findings}
    builder = found["TensorRT, Python builder"]
    assert builder.state is State.HINT
    assert "--system-site-packages" in builder.remedy[0]


def test_cuda_of_jetpacks_tensorrt_is_read_from_its_package(tmp_path: Path) -> None:
    status = tmp_path / "var/lib/dpkg/status"
    status.parent.mkdir(parents=True)
    status.write_text("Package: libnvinfer10\nStatus: install ok installed\nVersion: 10.13.3.9-1+cuda13.0\n")

    def probe(name: str, *arguments: str) -> dict[str, Any]:
        if name == "cuda":
            gpu = {"name": "Thor", "capability": 110, "memory_bytes": 1 << 37, "integrated": True}
            return {"driver": 12060, "gpus": [gpu]}
        if name == "library_version" and "libnvinfer.so.10" in arguments:
            return {"file": "libnvinfer.so.10", "version": 101303}
        return {"absent": "not here"}

    found = {one.name: one for one in Nvidia.read(probe, tmp_path).findings}
    assert "needs 13.0, which is driver 580" in found["TensorRT 10.13.3 and the driver"].text
