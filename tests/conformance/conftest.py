"""Every test here runs on every engine that this machine can run; a new backend joins by adding its engines.

NAVIT_EDGE_CONFORMANCE_BACKEND names another backend, and NAVIT_EDGE_CONFORMANCE_PRECISIONS its precisions (fp16,bf16):
then an engine of each is built here from the same small model and takes the place of OpenVINO's. scripts/gpu_check.py
does so on a device.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from limits import LIMITS, Limits


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "session" in metafunc.fixturenames:
        from navit_edge.build.openvino import cpu_precisions

        backend = os.environ.get("NAVIT_EDGE_CONFORMANCE_BACKEND")
        if backend:
            precisions = os.environ.get("NAVIT_EDGE_CONFORMANCE_PRECISIONS", "fp16")
            engines = [f"{backend}:{precision}" for precision in precisions.split(",")]
        else:
            engines = [f"openvino-cpu-{precision}" for precision in cpu_precisions()]
        metafunc.parametrize("session", engines, indirect=True, scope="session")


@pytest.fixture(scope="session")
def session(  # type: ignore[no-untyped-def]
    request: pytest.FixtureRequest, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory
):
    """A session on one engine of the small bundle."""
    import navit_edge as ne

    backend, _, precision = request.param.partition(":")
    if not precision:
        return ne.Session(tiny_bundle, engine=request.param)
    from navit_edge.build import BuildRequest, build_engines

    bundle = Path(shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("built here") / "tiny.navit"))
    wanted = BuildRequest(
        backend=backend,
        precision=(precision,),
        token_budgets=(1024,),
        targets=("native",) if backend == "tensorrt-rtx" else (),
        force=True,
    )
    (engine, *_) = build_engines(bundle, wanted)
    return ne.Session(bundle, engine=engine.id)


@pytest.fixture
def limits(session) -> Limits:  # type: ignore[no-untyped-def]
    if session.precision == "fp32" and not session.device.startswith("CPU"):
        return LIMITS["fp16"]  # build-engine keeps attention in 16 bits on a GPU (docs/build-engine.md)
    return LIMITS[session.precision]
