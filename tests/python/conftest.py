"""What the tests of `navit-edge run` share: one small bundle with an engine, and how a job is started."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_bundle import TinyConfig, make_bundle

from navit_edge import build as build_package


@pytest.fixture(scope="session")
def job_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One layer, width 64, patches of 4 pixels; an OpenVINO engine in float32 with few images a pack."""
    bundle = make_bundle(tmp_path_factory.mktemp("job") / "tiny.navit", TinyConfig(depth=1))
    request = build_package.BuildRequest(
        backend="openvino", precision=("fp32",), token_budgets=(1024,), max_images=(16,)
    )
    build_package.build_engines(bundle, request)
    return bundle
