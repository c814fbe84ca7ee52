"""Every test here runs on every engine that this machine can run; a new backend joins by adding its engines."""

from __future__ import annotations

from pathlib import Path

import pytest
from limits import LIMITS, Limits


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "session" in metafunc.fixturenames:
        from navit_edge.build.openvino import cpu_precisions

        engines = [f"openvino-cpu-{precision}" for precision in cpu_precisions()]
        metafunc.parametrize("session", engines, indirect=True, scope="session")


@pytest.fixture(scope="session")
def session(request: pytest.FixtureRequest, tiny_bundle: Path):  # type: ignore[no-untyped-def]
    """A session on one engine of the small bundle."""
    import navit_edge as ne

    return ne.Session(tiny_bundle, engine=request.param)


@pytest.fixture
def limits(session) -> Limits:  # type: ignore[no-untyped-def]
    return LIMITS[session.precision]
