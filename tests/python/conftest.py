"""What the tests of `navit-edge run` share: one small bundle with an engine, and how a job is started."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_bundle import TinyConfig, make_bundle

from navit_edge import compile as build_package


@pytest.fixture(scope="session")
def job_bundle(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """One layer, width 64, patches of 4 pixels; an OpenVINO engine in float32 with few images a pack."""

    def make(folder: Path) -> None:
        bundle = make_bundle(folder / "tiny.navit", TinyConfig(depth=1))
        request = build_package.BuildRequest(
            backend="openvino", precision=("fp32",), token_budgets=(1024,), max_images=(16,)
        )
        build_package.build_engines(bundle, request)

    return made_once("job", make) / "tiny.navit"
