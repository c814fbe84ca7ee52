"""Every test here that takes a session runs on every engine of this process; a new backend joins by adding its engines.

The engine "tensorrt on a stand-in" has a process of its own, which test_tensorrt_on_a_stand_in.py starts: the stand-ins
take the place of the machine's CUDA for good. It shows our host logic, not how NVIDIA's libraries or a GPU behave.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import built_here
import numpy as np
import numpy.typing as npt
import pytest
from limits import LIMITS, Limits
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))

import tensorrt_build as trt

if TYPE_CHECKING:
    import navit_edge as ne

    OpenSession = Callable[..., ne.Session]

#: (tokens, images) of the stand-in's engine: T is padded to one of them.
STAND_IN_BUDGETS = [(64, 4), (256, 8), (1024, 16)]
#: Largest budget of the engines that some images do not fit.
SMALL_TOKENS = 64


def _engines() -> list[str]:
    if os.environ.get(trt.CONFORMANCE):
        return [trt.STAND_IN]
    from navit_edge.compile.openvino import cpu_precisions

    return built_here.engines() or [f"openvino-cpu-{precision}" for precision in (*cpu_precisions(), "int8")]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "engine" in metafunc.fixturenames:
        metafunc.parametrize("engine", _engines(), indirect=True, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What needs no engine is tested once, beside OpenVINO's."""
    if os.environ.get(trt.CONFORMANCE):
        left_out = [item for item in items if "engine" not in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def engine(request: pytest.FixtureRequest) -> str:
    """The engine under test."""
    return str(request.param)


@pytest.fixture(scope="session")
def quantized_bundle(
    tiny_bundle: Path,
    photographs: Mapping[str, npt.NDArray[np.uint8]],
    made_once: Callable[[str, Callable[[Path], object]], Path],
) -> Path:
    """The small bundle with an int8 engine beside the others, calibrated on the photographs."""

    def make(directory: Path) -> None:
        from navit_edge.compile import BuildRequest, build_engines
        from navit_edge.quantize import QuantizeRequest, quantize_bundle

        path = Path(shutil.copytree(tiny_bundle, directory / "tiny.navit"))
        (directory / "images").mkdir()
        for name, pixels in photographs.items():
            Image.fromarray(pixels).save(directory / "images" / f"{name}.png")
        quantize_bundle(path, QuantizeRequest(calibration=directory / "images", holdout=0.0))
        build_engines(path, BuildRequest(backend="openvino", precision=("int8",), token_budgets=(1024,)))

    return made_once("quantized", make) / "tiny.navit"


@pytest.fixture(scope="session")
def open_session(engine: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> OpenSession:
    """Opens sessions of the engine under test on the small bundle; ``small``: with one budget of 64 tokens.

    ``open_session.bundle`` is the bundle.
    """
    import navit_edge as ne

    options: dict[str, Any] = {"engine": engine}
    places: dict[bool, Path] = {}
    if engine == trt.STAND_IN:
        budgets = {False: STAND_IN_BUDGETS, True: [(SMALL_TOKENS, 4)]}
        for small, profiles in budgets.items():
            source = os.environ[trt.CONFORMANCE_BUNDLE]
            path = Path(shutil.copytree(source, tmp_path_factory.mktemp("stand_in") / "bundle.navit"))
            plan = trt.simulated_plan(path / "graphs" / "masked.onnx", profiles)
            options["engine"] = trt.with_tensorrt_engine(path, plan, profiles)
            places[small] = path
        options["backend_dirs"] = [trt.build(os.environ[trt.CONFORMANCE].strip("-")) / "lib"]
    elif engine in built_here.engines():
        for small, tokens in {False: built_here.TOKENS, True: SMALL_TOKENS}.items():
            folder = tmp_path_factory.mktemp("built_here")
            places[small], options["engine"] = built_here.build(
                engine, request.getfixturevalue("tiny_bundle"), folder, tokens=tokens
            )
    else:
        places[False] = request.getfixturevalue("quantized_bundle" if engine.endswith("-int8") else "tiny_bundle")

    def call(*, small: bool = False, bundle: Path | None = None, **more: Any) -> ne.Session:
        chosen = dict(options)
        if small and True not in places:
            places[True] = request.getfixturevalue("small_budget_bundle")
        if small and engine.startswith("openvino-cpu"):
            chosen["engine"] = "openvino-cpu-fp32"  # the one that the bundle was given again, with a small budget
        return ne.Session(bundle or places[small], **chosen, **more)

    call.bundle = places[False]  # type: ignore[attr-defined]
    return call


@pytest.fixture(scope="session")
def session(open_session: OpenSession) -> ne.Session:
    """A session on the engine under test."""
    return open_session()


@pytest.fixture
def limits(session: ne.Session) -> Limits:
    return LIMITS[built_here.limits_name(session.precision, session.device)]


@pytest.fixture(scope="session")
def alive(engine: str) -> Callable[[], dict[str, int]]:
    """What of the device is allocated and in use, where that can be told: on the stand-ins."""
    if engine != trt.STAND_IN:
        return dict
    library = ctypes.CDLL("libcudart.so.12")

    def call() -> dict[str, int]:
        text = ctypes.create_string_buffer(1 << 16)
        library.navit_edge_sim_report(text, ctypes.c_size_t(len(text)))
        report = json.loads(text.value)
        assert report["violations"] == []
        found: dict[str, int] = report["live"]
        return found

    return call


def pytest_sessionfinish(session: pytest.Session, exitstatus: int | pytest.ExitCode) -> None:
    """No documented rule of CUDA's or TensorRT's was broken by any test."""
    if not os.environ.get(trt.CONFORMANCE) or exitstatus != 0:
        return
    text = ctypes.create_string_buffer(1 << 16)
    ctypes.CDLL("libcudart.so.12").navit_edge_sim_report(text, ctypes.c_size_t(len(text)))
    violations: Sequence[str] = json.loads(text.value)["violations"]
    if violations:
        print(f"rules that were broken: {violations}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
