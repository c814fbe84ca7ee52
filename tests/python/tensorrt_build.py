"""The TensorRT backend and its stand-ins, built from this tree for tests, and processes that see chosen libraries."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from navit_edge.bundle import manifest as manifests
from navit_edge.bundle import publish
from navit_edge.bundle.manifest import Budget, Engine

REPOSITORY = Path(__file__).resolve().parents[2]
REHEARSAL = REPOSITORY / "tests" / "simulator" / "rehearsal.py"
#: The compute capability and the version that the stand-ins have unless told otherwise.
TARGET = "sm89"
#: What tests/conformance calls this backend, and the variable that has it run there: the sanitizers, or "-" for none.
STAND_IN = "tensorrt on a stand-in"
CONFORMANCE = "NAVIT_EDGE_CONFORMANCE_ON_A_STAND_IN"
CONFORMANCE_BUNDLE = "NAVIT_EDGE_CONFORMANCE_BUNDLE"
VERSION = "10.14.1"


def build(sanitize: str = "") -> Path:
    """The build tree: ``lib`` holds the backend, ``simulator/{cuda,cudart,nvinfer}`` the stand-ins,
    ``stand_in_on_cuda`` that of tests/gpu.

    sanitize: as -fsanitize= takes it; each in a tree of its own.
    """
    tree = REPOSITORY / "build" / "-".join(filter(None, ["stand-ins", sanitize.partition(",")[0]]))
    tree.mkdir(parents=True, exist_ok=True)
    with (tree / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _call(
            *("cmake", "-S", str(REPOSITORY), "--preset", "stand-ins", "-B", str(tree)),
            *(f"-DPython_EXECUTABLE={sys.executable}", f"-DNAVIT_EDGE_SANITIZE={sanitize}"),
            f"-DCMAKE_BUILD_TYPE={'RelWithDebInfo' if sanitize else 'Release'}",
        )
        _call("cmake", "--build", str(tree), "--target", "stand_ins")
    return tree


def _call(*command: str) -> None:
    # Tools that pip installed lie beside the interpreter.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path}
    environment.pop("LD_PRELOAD", None)  # a sanitizer's library is for the tests: CMake hangs under that of threads
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"


def lean_runtime() -> Path:
    """The directory of NVIDIA's own libnvinfer_lean.so.10."""
    spec = find_spec("tensorrt_lean_libs")
    assert spec is not None, "the lean runtime is missing: pip install --no-deps tensorrt-lean-cu12-libs==10.15.1.29"
    assert spec.origin is not None
    return Path(spec.origin).parent


def rehearse(scenario: str, *, libraries: list[Path], settings: dict[str, str] | None = None, **arguments: Any) -> Any:
    """Runs a scenario of tests/simulator/rehearsal.py in a process that finds these libraries; gives its result."""
    environment = _without_navit_edge() | (settings or {})
    environment["LD_LIBRARY_PATH"] = ":".join(str(path) for path in libraries)
    command = [sys.executable, str(REHEARSAL), scenario, json.dumps(arguments, default=str)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, f"{scenario} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout.splitlines()[-1])


def conformance(bundle: Path, sanitize: str = "", settings: dict[str, str] | None = None) -> str:
    """Runs tests/conformance through the backend on the stand-ins, in a process of its own; gives what pytest said.

    bundle: the small model's.
    """
    tree = build(sanitize)
    environment = _without_navit_edge() | {CONFORMANCE: sanitize or "-", CONFORMANCE_BUNDLE: str(bundle)}
    environment |= settings or {}
    environment["LD_LIBRARY_PATH"] = ":".join(str(tree / "simulator" / name) for name in ("cuda", "cudart", "nvinfer"))
    suite = REPOSITORY / "tests" / "conformance"
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", str(suite)]
    command.append(f"--ignore={suite / 'test_tensorrt_on_a_stand_in.py'}")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"the suite ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _without_navit_edge() -> dict[str, str]:
    """The environment less our variables; and no wheel of NVIDIA's takes the place of a stand-in that is left out."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NAVIT_EDGE_")}
    environment["NAVIT_EDGE_TENSORRT_DIR"] = str(REHEARSAL.parent)  # a place without libraries
    return environment


def simulated_plan(
    onnx: Path, budgets: Sequence[tuple[int | tuple[int, int], int | tuple[int, int]]], *, memory_per_token: int = 4096
) -> bytes:
    """A plan file of the stand-in for TensorRT: profiles of (tokens, images), each fixed or (least, most)."""
    lines = ["navit-edge simulated plan", f"onnx {onnx}", f"memory_per_token {memory_per_token}"]
    for budget in budgets:
        ranges = [extent if isinstance(extent, tuple) else (extent, extent) for extent in budget]
        lines.append("profile {} {} {} {}".format(*ranges[0], *ranges[1]))
    return "\n".join(lines).encode()


def with_tensorrt_engine(
    bundle: Path,
    plan: bytes,
    budgets: list[tuple[int, int]],
    *,
    target: str = TARGET,
    version: str = VERSION,
    options: dict[str, str] | None = None,
) -> str:
    """Adds an engine of the backend "tensorrt" to a bundle, in place; gives its id."""
    manifest = manifests.load(bundle)
    engine = Engine(
        id="tensorrt-test",
        backend="tensorrt",
        target=target,
        precision="fp32",
        graph="masked",
        strategy="first-fit-decreasing",
        dynamic_tokens=False,
        budgets=tuple(Budget(tokens=t, images=n, target_tokens=t) for t, n in budgets),
        file="engines/tensorrt-test.plan",
        builder={"tensorrt": version},
        options=options or {},
    )
    (bundle / "engines").mkdir(exist_ok=True)
    (bundle / engine.file).write_bytes(plan)
    publish.seal(bundle, msgspec.structs.replace(manifest, engines=(*manifest.engines, engine)))
    return engine.id
