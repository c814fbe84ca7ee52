"""`navit-edge doctor`: what it finds on a machine. libcuda.so.1 is a stand-in that the test compiles: it proves how
doctor reads, not what NVIDIA's software says.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import openvino
import pytest
from doctor_findings import finding, this_machine

import navit_edge as ne
from navit_edge.doctor import State, examine
from navit_edge.doctor.driver import driver_findings
from navit_edge.doctor.nvidia import runtime_finding
from navit_edge.doctor.runtime import backend_finding, openvino_findings
from navit_edge.machine.host import Host
from navit_edge.machine.probe import run_probe
from navit_edge.machine.versions import cuda_version, rtx_version, tensorrt_version

CUDA_STAND_IN = """
#include <string.h>
int cuDriverGetVersion(int* v) { *v = 12060; return 0; }
int cuInit(unsigned flags) { return INIT_CODE; }
int cuGetErrorName(int code, const char** text) { *text = "CUDA_ERROR_UNKNOWN"; return 0; }
int cuDeviceGetCount(int* n) { *n = 2; return 0; }
int cuDeviceGet(int* device, int ordinal) { *device = ordinal + 40; return 0; }
int cuDeviceGetName(char* name, int bytes, int device) {
  strncpy(name, device == 40 ? "Orin" : "Other", bytes);
  return 0;
}
int cuDeviceTotalMem_v2(unsigned long* bytes, int device) { *bytes = 8ul << 30; return 0; }
int cuDeviceGetAttribute(int* value, int attribute, int device) {
  *value = attribute == 75 ? 8 : attribute == 76 ? (device == 40 ? 7 : 9) : attribute == 18 ? device == 40 : -1;
  return 0;
}
"""


# --- this machine, for real


def test_doctor_works_on_this_machine_and_knows_its_openvino() -> None:
    report = examine(probe=this_machine)
    assert finding(report, "OpenVINO").facts["version"] == openvino.get_version()
    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert finding(report, "OpenVINO CPU").facts["capabilities"] == sorted(capabilities)
    assert finding(report, "navit-edge").text == ne.__version__
    assert finding(report, "backend openvino").state is State.FOUND
    assert finding(report, "NVIDIA driver").name
    assert not report.broken


def test_memory_cores_and_processor_are_those_that_the_system_states() -> None:
    host = Host.read()
    pages = int(subprocess.run(["getconf", "_PHYS_PAGES"], capture_output=True, text=True, check=True).stdout)
    size = int(subprocess.run(["getconf", "PAGE_SIZE"], capture_output=True, text=True, check=True).stdout)
    assert host.memory_bytes is not None
    assert host.memory_bytes <= pages * size
    everywhere = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}  # nproc obeys them
    counted = subprocess.run(["nproc"], capture_output=True, text=True, check=True, env=everywhere).stdout
    assert 1 <= host.cores <= int(counted)


# --- vendors' libraries


def test_a_library_that_crashes_does_not_take_doctor_down() -> None:
    assert run_probe("library_version", "abort", "libc.so.6") == {"error": "it crashed: SIGABRT"}


def test_a_library_that_hangs_is_given_up() -> None:
    assert run_probe("library_version", "pause", "libc.so.6", timeout_s=2) == {"error": "no answer within 2 s"}


def test_a_library_that_is_absent_is_no_error_and_one_without_the_function_is() -> None:
    assert "libnowhere.so.1" in run_probe("library_version", "getInferLibVersion", "libnowhere.so.1")["absent"]
    answer = run_probe("library_version", "getInferLibVersion", "libnowhere.so.1", "libc.so.6")
    assert answer["error"] == "libc.so.6 has no function getInferLibVersion"


def test_a_module_that_fails_to_import_is_told_from_one_that_is_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_vendor.py").write_text("raise RuntimeError('bad cuda')")
    (tmp_path / "silent_vendor.py").write_text("import os; os._exit(3)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert run_probe("python_module", "nowhere_at_all") == {"absent": "no Python package nowhere_at_all"}
    assert "RuntimeError: bad cuda" in run_probe("python_module", "broken_vendor")["error"]
    assert run_probe("python_module", "silent_vendor")["error"] == "it ended with code 3: no message"


def test_a_module_in_the_current_directory_is_not_taken_for_the_vendors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "openvino.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path)
    assert run_probe("openvino")["version"] == openvino.get_version()


@pytest.fixture
def cuda_stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def build(init_code: int) -> None:
        source = tmp_path / "cuda.c"
        source.write_text(CUDA_STAND_IN.replace("INIT_CODE", str(init_code)))
        library = tmp_path / "libcuda.so.1"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
        monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))

    return build


def test_gpus_of_a_stand_in_driver_are_listed(cuda_stand_in: Callable[[int], None]) -> None:
    cuda_stand_in(0)
    driver, orin_gpu, other = driver_findings(run_probe("cuda"), "", jetson=False)
    assert (driver.state, driver.text) == (State.FOUND, "serves CUDA 12.6")
    assert orin_gpu.text == "Orin, sm87, 8.0 GiB, shared with the CPU; Orin: TensorRT, not TensorRT-RTX"
    assert other.text == "Other, sm89, 8.0 GiB"


def test_hopper_is_told_that_tensorrt_rtx_is_not_for_it() -> None:
    gpu = {"name": "NVIDIA H200", "capability": 90, "memory_bytes": 139 << 30, "integrated": False}
    _, hopper = driver_findings({"driver": 13000, "gpus": [gpu]}, "", jetson=False)
    assert hopper.text == "NVIDIA H200, sm90, 139.0 GiB; Hopper: TensorRT, not TensorRT-RTX"
    _, unnamed = driver_findings({"driver": 13000, "gpus": [{**gpu, "capability": 95}]}, "", jetson=False)
    assert unnamed.text.endswith("; sm95: TensorRT, not TensorRT-RTX")


def test_a_stand_in_driver_that_does_not_start_is_a_problem(cuda_stand_in: Callable[[int], None]) -> None:
    cuda_stand_in(999)
    kernel = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.10  Thu Jan 23 2025\n"
    (driver,) = driver_findings(run_probe("cuda"), kernel, jetson=False)
    assert driver.state is State.PROBLEM
    assert driver.text == "570.86.10, serves CUDA 12.6, and does not start: CUDA_ERROR_UNKNOWN (999)"
    assert driver.remedy[0] == "nvidia-smi"


def test_a_container_without_the_gpu_is_told_from_a_machine_without_a_driver() -> None:
    (absent,) = driver_findings({"absent": "x"}, "", jetson=False)
    assert (absent.state, absent.remedy) == (State.ABSENT, ())
    (hidden,) = driver_findings({"absent": "x"}, "NVRM version: …  570.86.10", jetson=False)
    assert hidden.state is State.PROBLEM
    assert "docker run --gpus all" in hidden.remedy[0]


def test_a_driver_that_finds_no_gpu_is_a_problem() -> None:
    (driver,) = driver_findings({"driver": 12080, "gpus": []}, "", jetson=False)
    assert driver.state is State.PROBLEM
    assert "unset CUDA_VISIBLE_DEVICES" in driver.remedy


def test_a_cuda_runtime_newer_than_the_driver_is_a_problem_and_an_older_one_is_not() -> None:
    thirteen = {"version": 13000, "file": "libcudart.so.13"}
    assert runtime_finding(thirteen, 13, jetson=False).state is State.FOUND
    assert runtime_finding(thirteen, 0, jetson=False).state is State.FOUND
    newer = runtime_finding(thirteen, 12, jetson=False)
    assert newer.state is State.PROBLEM
    assert newer.remedy == ("pip install nvidia-cuda-runtime-cu12",)
    assert runtime_finding({"version": 12060, "file": "x"}, 13, jetson=False).state is State.FOUND


def test_version_numbers_are_read_as_their_libraries_define_them() -> None:
    assert cuda_version(12080) == "12.8"
    assert cuda_version(13000) == "13.0"
    assert tensorrt_version(100300) == "10.3.0"
    assert tensorrt_version(101501) == "10.15.1"
    assert tensorrt_version(8601) == "8.6.1"
    assert rtx_version(1701) == rtx_version(10701) == "1.7.1"


def test_the_wheel_of_tensorrt_for_rtx_is_found_with_its_own_version() -> None:
    from importlib.metadata import version

    told = finding(examine(probe=this_machine), "TensorRT for RTX").facts["version"]
    assert version("tensorrt-rtx-cu12").startswith(told)


def test_openvino_that_is_absent_or_broken_gets_its_command() -> None:
    for answer, state in (({"absent": "x"}, State.ABSENT), ({"error": "bad"}, State.PROBLEM)):
        (one,) = openvino_findings(answer)
        assert (one.state, one.remedy) == (state, ('pip install "navit-edge[openvino]"',))


def test_a_backend_library_that_does_not_load_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "libnavit_edge_tensorrt_rtx.so").write_bytes(b"no library")
    monkeypatch.setenv("NAVIT_EDGE_BACKEND_DIR", str(tmp_path))
    one = backend_finding(run_probe, "tensorrt-rtx")
    assert one.state is State.PROBLEM
    assert "file too short" in one.text or "invalid ELF header" in one.text
