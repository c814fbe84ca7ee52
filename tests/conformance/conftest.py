"""Every test here runs on every engine that this machine can run; a new backend joins by adding its engines."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from limits import LIMITS, Limits
from PIL import Image


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "session" in metafunc.fixturenames:
        from navit_edge.build.openvino import cpu_precisions

        engines = [f"openvino-cpu-{precision}" for precision in (*cpu_precisions(), "int8")]
        metafunc.parametrize("session", engines, indirect=True, scope="session")


@pytest.fixture(scope="session")
def quantized_bundle(
    tiny_bundle: Path,
    photographs: Mapping[str, npt.NDArray[np.uint8]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The small bundle with an int8 engine beside the others, calibrated on the photographs."""
    from navit_edge.build import BuildRequest, build_engines
    from navit_edge.quantize import QuantizeRequest, quantize_bundle

    directory = tmp_path_factory.mktemp("quantized")
    path = Path(shutil.copytree(tiny_bundle, directory / "tiny.navit"))
    (directory / "images").mkdir()
    for name, pixels in photographs.items():
        Image.fromarray(pixels).save(directory / "images" / f"{name}.png")
    quantize_bundle(path, QuantizeRequest(calibration=directory / "images", holdout=0.0))
    build_engines(path, BuildRequest(backend="openvino", precision=("int8",), token_budgets=(1024,)))
    return path


@pytest.fixture(scope="session")
def session(request: pytest.FixtureRequest, tiny_bundle: Path):  # type: ignore[no-untyped-def]
    """A session on one engine of the small bundle."""
    import navit_edge as ne

    bundle = request.getfixturevalue("quantized_bundle") if request.param.endswith("int8") else tiny_bundle
    return ne.Session(bundle, engine=request.param)


@pytest.fixture
def limits(session) -> Limits:  # type: ignore[no-untyped-def]
    return LIMITS[session.precision]
