"""Every test here runs on every engine that this machine can run; a new backend joins by adding its engines."""

from __future__ import annotations

from pathlib import Path

import built_here
import pytest
from limits import LIMITS, Limits


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "session" in metafunc.fixturenames:
        from navit_edge.build.openvino import cpu_precisions

        engines = built_here.engines() or [f"openvino-cpu-{precision}" for precision in cpu_precisions()]
        metafunc.parametrize("session", engines, indirect=True, scope="session")


@pytest.fixture(scope="session")
def session(  # type: ignore[no-untyped-def]
    request: pytest.FixtureRequest, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory
):
    """A session on one engine of the small bundle."""
    import navit_edge as ne

    bundle, engine = tiny_bundle, request.param
    if engine in built_here.engines():
        bundle, engine = built_here.build(engine, bundle, tmp_path_factory.mktemp("conformance"))
    return ne.Session(bundle, engine=engine)


@pytest.fixture
def limits(session) -> Limits:  # type: ignore[no-untyped-def]
    return LIMITS[built_here.limits_name(session.precision, session.device)]
