"""`navit-edge doctor`: what it finds, what it makes of a bundle, and whether its commands mend anything.

Boards and drivers are not here. The files of a Jetson are written by hand in NVIDIA's format; libcuda.so.1 is a
stand-in compiled by the test. They prove how doctor reads, not what NVIDIA's software says.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import openvino
import pytest
from tiny_bundle import make_bundle
from typer.testing import CliRunner

import navit_edge as ne
from navit_edge.bundle import manifest as manifests
from navit_edge.bundle.manifest import Engine
from navit_edge.cli.main import app
from navit_edge.compile import BuildRequest, build_engines
from navit_edge.doctor import Finding, Report, State, examine
from navit_edge.doctor.board import jetson_findings
from navit_edge.doctor.driver import driver_findings
from navit_edge.doctor.engines import Machine, needs, reason_of, remedy
from navit_edge.doctor.nvidia import Nvidia, runtime_finding
from navit_edge.doctor.rebuild import recipe_of
from navit_edge.doctor.runtime import backend_finding, openvino_findings
from navit_edge.machine.host import Host
from navit_edge.machine.jetson import Jetson, jetpack_of, parse_release
from navit_edge.machine.probe import run_probe
from navit_edge.machine.versions import cuda_version, rtx_version, tensorrt_version

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


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(one) for one in arguments], env={"COLUMNS": "160", "TERM": "dumb"})


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


def finding(report: Report, name: str) -> Finding:
    return next(one for section in report.sections for one in section.findings if one.name == name)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle = make_bundle(tmp_path_factory.mktemp("doctor") / "tiny.navit")
    build_engines(bundle, BuildRequest(backend="openvino", precision=("fp32",)))
    return bundle


@pytest.fixture
def with_engines(built: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the bundle whose engines are the built one with these fields changed."""

    def make(*changes: dict[str, Any]) -> Path:
        bundle = Path(shutil.copytree(built, tmp_path / "my bundle.navit"))
        manifest = manifests.load(bundle)
        engines = tuple(msgspec.structs.replace(manifest.engines[0], **change) for change in changes)
        manifests.save(msgspec.structs.replace(manifest, engines=engines), bundle)
        return bundle

    return make


GPU_ENGINE = {
    "id": "tensorrt-rtx-sm86+sm89-bf16",
    "backend": "tensorrt-rtx",
    "target": "sm86+sm89",
    "precision": "bf16",
    "dynamic_tokens": False,
    "builder": {"tensorrt-rtx": "1.7.1"},
}


@lru_cache
def asked_once(name: str, *arguments: str) -> dict[str, Any]:
    """The real answer; the libraries of this machine stay the same while the tests run."""
    return run_probe(name, *arguments)


def this_machine(name: str, *arguments: str) -> dict[str, Any]:
    """The real probe, asked once for what no test changes."""
    return run_probe(name, *arguments) if name == "engine" else asked_once(name, *arguments)


def no_vendor(name: str, *arguments: str) -> dict[str, Any]:
    """A machine on which no vendor's library is installed; engines are opened for real."""
    return run_probe(name, *arguments) if name == "engine" else {"absent": "not on this machine"}


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
    assert orin_gpu.text == "Orin, sm87, 8.0 GiB, shared with the CPU"
    assert other.text == "Other, sm89, 8.0 GiB"


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
        assert (one.state, one.remedy) == (state, ("pip install navit-edge[openvino]",))


def test_a_backend_library_that_does_not_load_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "libnavit_edge_tensorrt_rtx.so").write_bytes(b"no library")
    monkeypatch.setenv("NAVIT_EDGE_BACKEND_DIR", str(tmp_path))
    one = backend_finding(run_probe, "tensorrt-rtx")
    assert one.state is State.PROBLEM
    assert "file too short" in one.text or "invalid ELF header" in one.text


# --- Jetson (files written by hand in NVIDIA's formats)


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


# --- bundles, for real


def test_a_bundle_that_runs_here_ends_with_0_and_names_its_engine(built: Path, tmp_path: Path) -> None:
    written = tmp_path / "doctor.json"
    result = invoke("doctor", built, "--json-file", written)
    assert result.exit_code == 0, result.stderr
    assert "runs here with openvino-cpu-fp32" in result.stdout
    content = json.loads(written.read_text())
    assert set(content) == {"schema_version", "bundle", "usable_engines", "broken", "sections"}
    states = {one["state"] for section in content["sections"] for one in section["findings"]}
    assert states <= {"found", "absent", "hint", "problem"}
    assert content["usable_engines"] == ["openvino-cpu-fp32"]
    assert content["broken"] is None


def test_an_engine_for_a_gpu_is_no_failure_where_another_engine_runs(with_engines: Callable[..., Path]) -> None:
    bundle = with_engines({}, GPU_ENGINE)
    report = examine(bundle, probe=this_machine)
    assert report.usable == ("openvino-cpu-fp32",)
    assert not report.broken
    one = finding(report, "engine tensorrt-rtx-sm86+sm89-bf16")
    assert one.state is (State.PROBLEM if finding(report, "NVIDIA driver").state is State.FOUND else State.ABSENT)
    assert one.facts["needs"] == "backend tensorrt-rtx, sm86+sm89, bf16, built with tensorrt-rtx 1.7.1"


def test_a_bundle_of_which_nothing_runs_ends_with_1_and_its_command_mends_it(with_engines: Callable[..., Path]) -> None:
    bundle = with_engines({"builder": {"openvino": "2020.1.0-1-x"}})
    broken = invoke("doctor", bundle, "--json")
    assert broken.exit_code == 1
    assert "built by OpenVINO 2020.1.0-1-x; this is OpenVINO" in broken.stdout
    assert json.loads(broken.stdout)["broken"] in broken.stderr
    assert "error: no engine of the bundle" in broken.stderr
    assert_mended(bundle, "engine openvino-cpu-fp32")


def test_a_bundle_without_engines_gets_the_command_that_builds_one(with_engines: Callable[..., Path]) -> None:
    bundle = with_engines()
    assert_mended(bundle, "engines")


def test_an_altered_engine_gets_the_command_that_builds_it_again(built: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(built, tmp_path / "altered.navit"))
    file = bundle / manifests.load(bundle).engines[0].file
    file.write_bytes(b"altered" + file.read_bytes()[7:])
    assert_mended(bundle, "engine openvino-cpu-fp32")


def test_a_precision_that_this_cpu_lacks_gets_an_engine_that_it_has(with_engines: Callable[..., Path]) -> None:
    lacking = next(
        name
        for name in ("FP16", "BF16")
        if name not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    ).lower()
    bundle = with_engines({"id": "lacking", "precision": lacking})
    assert_mended(bundle, "engine lacking")


def test_an_engine_for_a_gpu_alone_gets_an_engine_for_the_cpu(with_engines: Callable[..., Path]) -> None:
    bundle = with_engines(GPU_ENGINE)
    report = examine(bundle, probe=no_vendor)
    command = finding(report, "engine tensorrt-rtx-sm86+sm89-bf16").remedy[-1]
    assert report.broken
    run_command(command)
    assert not examine(bundle, probe=this_machine).broken


def run_command(command: str) -> None:
    words = shlex.split(command, comments=True)
    assert words[0] == "navit-edge"
    result = invoke(*words[1:])
    assert result.exit_code == 0, result.stderr


def assert_mended(bundle: Path, name: str) -> None:
    """The first command that doctor gives makes doctor content."""
    report = examine(bundle, probe=this_machine)
    assert report.broken
    (command, *_) = finding(report, name).remedy
    run_command(command)
    assert not examine(bundle, probe=this_machine).broken


def test_what_is_no_bundle_is_said_so(tmp_path: Path) -> None:
    result = invoke("doctor", tmp_path / "nowhere.navit")
    assert result.exit_code == 1
    assert "is not a bundle: no such directory" in result.stderr


# --- remedies on machines that are not here


def machine(*capabilities: int, jetson: bool = False, **fields: Any) -> Machine:
    nvidia = Nvidia(
        driver=bool(capabilities),
        capabilities=capabilities,
        cuda="12.8",
        tensorrt=fields.pop("tensorrt", "10.3.0"),
        lean="",
        rtx=fields.pop("rtx", "1.7.1"),
        findings=(),
    )
    board = Jetson(model="Orin", l4t="36.4.3", jetpack="6.2", packages={}) if jetson else None
    fields.setdefault("backends", frozenset({"openvino", "tensorrt", "tensorrt-rtx"}))
    return Machine(nvidia=nvidia, board=board, openvino="2026.4.1", **fields)


@pytest.fixture(scope="module")
def engine(built: Path) -> Engine:
    return manifests.load(built).engines[0]


@pytest.mark.parametrize(
    ("change", "where", "expected"),
    [
        pytest.param(GPU_ENGINE, machine(120), "--backend tensorrt-rtx --precision bf16 --target sm120", id="new card"),
        pytest.param(GPU_ENGINE, machine(75), "--backend tensorrt-rtx --precision fp16 --target sm75", id="no bf16"),
        pytest.param(GPU_ENGINE, machine(87), "--backend tensorrt --precision bf16", id="no RTX for Orin"),
        pytest.param(GPU_ENGINE, machine(86, rtx=""), "pip install navit-edge[tensorrt-rtx]", id="no library"),
        pytest.param(
            GPU_ENGINE, machine(86, backends=frozenset()), "TensorRT_RTX_ROOT=/path/to/TensorRT-RTX pip install .",
            id="no backend",
        ),
        pytest.param(
            GPU_ENGINE, machine(86), "--backend tensorrt-rtx --precision bf16 --target sm86,sm89 --force",
            id="another version",
        ),
        pytest.param(GPU_ENGINE, machine(), "--backend openvino", id="no GPU"),
        pytest.param(
            {"backend": "tensorrt", "target": "sm87", "precision": "fp16"}, machine(87, jetson=True, tensorrt=""),
            "sudo apt install nvidia-jetpack", id="Jetson without TensorRT",
        ),
        pytest.param(
            {"backend": "tensorrt", "target": "sm87", "precision": "fp16"}, machine(87, jetson=True),
            "--backend tensorrt --precision fp16 --force", id="Jetson, another version",
        ),
        pytest.param(
            {"backend": "tensorrt", "target": "sm87", "precision": "fp16"}, machine(86, tensorrt=""),
            "--backend tensorrt --precision fp16", id="Orin's engine on a card",
        ),
    ],
)  # fmt: skip
def test_each_mismatch_gets_its_command(
    engine: Engine, built: Path, change: dict[str, Any], where: Machine, expected: str
) -> None:
    changed = msgspec.structs.replace(engine, **change)
    recipe = recipe_of(built, manifests.load(built), changed)
    (first, *_) = remedy(Path("my bundle.navit"), changed, where, {"error": "x", "kind": "BackendError"}, recipe)
    if expected.startswith("--"):
        expected = f"navit-edge build-engine 'my bundle.navit' {expected}"
    # Budgets, kept from the built engine, stand between target and --force.
    first = first.replace(" --token-budgets 16384 --max-images 1024", "")
    assert first.partition("  #")[0] == expected


def test_commands_for_rtx_cards_are_accepted_by_build_engine(engine: Engine, built: Path) -> None:
    for capability in (75, 120):
        changed = msgspec.structs.replace(engine, **GPU_ENGINE)
        recipe = recipe_of(built, manifests.load(built), changed)
        (command,) = remedy(built, changed, machine(capability), {"error": "x", "kind": "BackendError"}, recipe)
        run_command(f"{command} --dry-run")


def test_a_reason_is_one_line_without_frame_and_advice() -> None:
    error = (
        "the engine that was asked for cannot run here:\n  a: a: built by X 1; this is X 2, which cannot open it; "
        "rebuild it here: navit-edge build-engine BUNDLE\nbuild one for this machine, for instance with `x`"
    )
    assert reason_of("a", error) == "built by X 1; this is X 2, which cannot open it"
    lists = (
        "cannot run here:\n  a: backend 'b' did not load; tried:\n  /x/b.so: no such file\n  /y/b.so: bad\ninstall it"
    )
    assert reason_of("a", lists) == "backend 'b' did not load; /y/b.so: bad"
    assert reason_of("a", "manifest is damaged") == "manifest is damaged"


def test_needs_name_backend_target_precision_and_versions(engine: Engine) -> None:
    assert needs(engine) == f"backend openvino, a CPU, fp32, built with openvino {openvino.get_version()}"
