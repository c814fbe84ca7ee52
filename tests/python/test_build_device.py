"""The driver, asked through stand-ins for its library; and options set on stand-ins for a library that lacks them."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_bundle import make_bundle

from navit_edge.bundle import manifest as manifests
from navit_edge.compile import BuildRequest, CompilerOptions, compiler_options, tensorrt_rtx
from navit_edge.compile.targets import COMPUTE_CAPABILITIES
from navit_edge.errors import BackendError, InvalidInputError
from navit_edge.machine import driver as cuda_driver

#: For what the builder is asked.
of_rtx = pytest.mark.skipif(find_spec("tensorrt_rtx") is None, reason="TensorRT-RTX has packages for x86-64 only")


def stand_in_driver(capability: tuple[int, int], *, init: int = 0) -> SimpleNamespace:
    """The four functions of libcuda that are called."""

    def attribute(out: Any, number: int, _: object) -> int:
        out._obj.value = capability[0] if number == 75 else capability[1]
        return 0

    def version(out: Any) -> int:
        out._obj.value = 12080
        return 0

    return SimpleNamespace(
        cuInit=lambda flags: init,
        cuDeviceGet=lambda out, index: 0,
        cuDeviceGetAttribute=attribute,
        cuDriverGetVersion=version,
    )


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Callable[[SimpleNamespace | None], None]:
    def install(found: SimpleNamespace | None) -> None:
        def load(name: str) -> SimpleNamespace:
            if found is None:
                raise OSError(f"{name}: cannot open shared object file")
            return found

        monkeypatch.setattr(ctypes, "CDLL", load)

    return install


Install = Callable[[SimpleNamespace | None], None]


def test_the_capability_and_the_versions_of_the_driver_are_read(
    driver: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver(stand_in_driver((8, 7)))
    assert cuda_driver.device_capability(what="w", otherwise="o") == 87
    monkeypatch.setattr(cuda_driver, "_KERNEL_DRIVER", tmp_path / "version")
    assert cuda_driver.driver_versions() == {"cuda-driver": "12.8"}  # as on a Jetson
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.10  Thu Jan 1\n")
    assert cuda_driver.driver_versions() == {"cuda-driver": "12.8", "nvidia-driver": "570.86.10"}
    driver(None)
    assert cuda_driver.driver_versions() == {}


def test_a_driver_without_a_gpu_is_said(driver: Install) -> None:
    driver(stand_in_driver((0, 0), init=100))
    with pytest.raises(BackendError, match=r"finds no usable GPU \(CUDA error 100\); check `nvidia-smi`, or o"):
        cuda_driver.device_capability(what="w", otherwise="o")


@of_rtx
def test_native_is_refused_without_a_driver_and_says_what_needs_none(driver: Install, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny.navit")
    driver(None)
    request = BuildRequest(backend="tensorrt-rtx", targets=("native",))
    with pytest.raises(BackendError, match=r"no NVIDIA driver here .* which needs none here: --target sm86,sm89"):
        tensorrt_rtx.plan(manifests.load(bundle), request)


@of_rtx
def test_native_is_the_engine_of_the_gpu_that_is_there(driver: Install, tmp_path: Path) -> None:
    manifest = manifests.load(make_bundle(tmp_path / "tiny.navit"))
    for capability, precision in (((8, 9), "bf16"), ((7, 5), "fp16")):
        driver(stand_in_driver(capability))
        name = f"sm{capability[0]}{capability[1]}"
        (job,) = tensorrt_rtx.plan(manifest, BuildRequest(backend="tensorrt-rtx", targets=("native",)))
        (named,) = tensorrt_rtx.plan(manifest, BuildRequest(backend="tensorrt-rtx", targets=(name,)))
        assert job == named
        assert (job.compute_capabilities, job.engines[0].precision) == ((name,), precision)
    with pytest.raises(InvalidInputError, match="bf16 for sm75; it can do fp16"):
        tensorrt_rtx.plan(manifest, BuildRequest(backend="tensorrt-rtx", targets=("native",), precision=("bf16",)))
    driver(stand_in_driver((9, 0)))
    with pytest.raises(
        BackendError, match=r"this machine is sm90; TensorRT-RTX compiles for sm75, .*--backend tensorrt"
    ):
        tensorrt_rtx.plan(manifest, BuildRequest(backend="tensorrt-rtx", targets=("native",)))


#: The bytes of a plan at this place are a mask of the GPUs that it is for, and what each bit means (TensorRT-RTX 1.7).
MASK_AT = 32
MASK = {"sm75": 1, "sm80": 2, "sm86": 4, "sm89": 8, "sm120": 0x10, "sm121": 0x20}


@of_rtx
@pytest.mark.parametrize("targets", [("sm75",), ("sm86", "sm89"), ()], ids="+".join)
def test_a_plan_is_for_the_capabilities_that_are_named_and_unnamed_for_all_but_turing(targets: tuple[str, ...]) -> None:
    import tensorrt_rtx as trt

    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    given = network.add_input("x", trt.float16, (8, 8))
    layer = network.add_elementwise(given, given, trt.ElementWiseOperation.SUM)
    network.mark_output(layer.get_output(0))
    config = builder.create_builder_config()
    if targets:
        tensorrt_rtx.name_capabilities(trt, config, targets)
    elif Path("/proc/driver/nvidia/version").exists():
        return  # with a driver, unset capabilities are those of its GPU
    mask = bytes(builder.build_serialized_network(network, config))[MASK_AT]
    assert mask & 0x3F == (sum(MASK[target] for target in targets) or 0x3E)


def test_the_backend_in_cpp_knows_the_same_gpus_of_tensorrt_rtx() -> None:
    header = Path(__file__).resolve().parents[2] / "csrc" / "backends" / "tensorrt" / "rtx_capabilities.h"
    (listed,) = re.findall(r"kRtxCapabilities = \{([\d, ]+)\}", header.read_text())
    assert tuple(f"sm{number.strip()}" for number in listed.split(",")) == COMPUTE_CAPABILITIES


class Config:
    """A builder's config that remembers what it was told."""

    max_aux_streams = -1
    hardware_compatibility_level = ""

    def __init__(self) -> None:
        self.flags: list[str] = []

    def set_flag(self, flag: str) -> None:
        self.flags.append(flag)


def test_features_are_looked_for_and_their_absence_is_said() -> None:
    old = SimpleNamespace(__version__="10.3.0", BuilderFlag=SimpleNamespace(VERSION_COMPATIBLE="VC"))
    for options, lacking in (
        (CompilerOptions(strip_plan=True), r"no BuilderFlag\.STRIP_PLAN; --strip-plan needs"),
        (CompilerOptions(version_compatible=True), r"no BuilderFlag\.EXCLUDE_LEAN_RUNTIME; --version-compatible needs"),
        (CompilerOptions(workspace_bytes=1), r"no MemoryPoolType\.WORKSPACE; --workspace needs"),
        (CompilerOptions(profiling_verbosity="detailed"), r"no ProfilingVerbosity\.DETAILED; --profiling-verbosity"),
        (CompilerOptions(optimization_level=1), "no builder_optimization_level; --builder-optimization-level needs"),
        (CompilerOptions(hardware_compatibility="sameComputeCapability"), "Level.SAME_COMPUTE_CAPABILITY; --hardware"),
    ):
        with pytest.raises(BackendError, match=f"^tensorrt 10.3.0 has {'' if lacking[0] == 'n' else '.*'}{lacking}"):
            compiler_options.apply(old, Config(), options, library="tensorrt")


def test_a_version_compatible_plan_carries_no_runtime_to_be_executed() -> None:
    flags = SimpleNamespace(VERSION_COMPATIBLE="VERSION_COMPATIBLE", EXCLUDE_LEAN_RUNTIME="EXCLUDE_LEAN_RUNTIME")
    levels = SimpleNamespace(AMPERE_PLUS="AMPERE_PLUS")
    trt = SimpleNamespace(__version__="10.8", BuilderFlag=flags, HardwareCompatibilityLevel=levels)
    config = Config()
    options = CompilerOptions(version_compatible=True, hardware_compatibility="ampere+")
    compiler_options.apply(trt, config, options, library="tensorrt")
    assert config.flags == ["VERSION_COMPATIBLE", "EXCLUDE_LEAN_RUNTIME"]
    assert (config.hardware_compatibility_level, config.max_aux_streams) == ("AMPERE_PLUS", 0)
