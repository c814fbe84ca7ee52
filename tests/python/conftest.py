"""Small bundles with engines, made once a run, and what the tests of `navit-edge run` share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_bundle import make_bundle, make_job_bundle

from navit_edge import compile as build_package


@pytest.fixture(scope="session")
def built(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """The bundle of `tiny_bundle.py` with an OpenVINO engine in float32."""

    def make(folder: Path) -> None:
        bundle = make_bundle(folder / "tiny.navit")
        build_package.build_engines(bundle, build_package.BuildRequest(backend="openvino", precision=("fp32",)))

    return made_once("built", make) / "tiny.navit"


@pytest.fixture(scope="session")
def job_bundle(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """One layer, width 64, patches of 4 pixels; an OpenVINO engine in float32 with few images a pack."""
    return made_once("job", make_job_bundle) / "tiny.navit"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine images of different sizes, and in the middle one that is none."""
    path = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(3)
    for name in "acdefghij":
        height, width = rng.integers(8, 90, 2)
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(path / f"{name}.png")
    (path / "bad.jpg").write_bytes(b"no image")
    return path
