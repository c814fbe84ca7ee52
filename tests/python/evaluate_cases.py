"""What the tests of evaluate share: a bundle, images with labels, and an evaluation of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image
from tiny_bundle import TinyConfig, make_bundle

import navit_edge as ne
from navit_edge.compile import BuildRequest, build_engines
from navit_edge.evaluate import EvaluateRequest, Report, evaluate

CLASSES = [f"class {i}" for i in range(5)]
#: Rows that this many tokens make differ from the bundle's own.
CAP = 8
UNTIMED = EvaluateRequest(timed_images=0, caps=(0, CAP))
IMAGES = 40


def write_images(root: Path, count: int, seed: int) -> None:
    """Stripes; those of a class have about the same colour."""
    rng = np.random.default_rng(seed)
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [255, 0, 255]])
    for place in range(count):
        height, width = (int(side) for side in rng.integers(16, 64, 2))
        stripe = np.arange(width)[None, :, None] // rng.integers(2, 12) % 2
        colour = np.clip(colours[place % 5] + rng.normal(0, 90, 3), 0, 255)
        pixels = np.broadcast_to(np.where(stripe, colour, rng.integers(0, 256)), (height, width, 3)).astype(np.uint8)
        folder = root / CLASSES[place % 5]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{place:03}.png")


@pytest.fixture(scope="module")
def bundle(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """One layer of width 64, an OpenVINO engine in float32; every class is the likeliest of some image."""

    def make(folder: Path) -> None:
        config = TinyConfig(depth=1, head_bias=(0.1, 0.3, -1.3, 0.3, -0.4))
        build_engines(
            make_bundle(folder / "tiny.navit", config),
            BuildRequest(backend="openvino", precision=("fp32",), token_budgets=(1024,), max_images=(16,)),
        )

    return made_once("evaluated", make) / "tiny.navit"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of five classes, and a file that is none."""
    path = tmp_path_factory.mktemp("data")
    write_images(path, IMAGES, 1)
    (path / CLASSES[2] / "bad.jpg").write_bytes(b"no image")
    return path


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("train")
    write_images(path, 30, 2)
    return path


@pytest.fixture(scope="module")
def whole(bundle: Path, data: Path) -> Report:
    """An evaluation that nothing interrupts."""
    return evaluate(bundle, data, UNTIMED)


def outputs(bundle: Path, data: Path, name: str, cap: int = 0) -> tuple[Any, Any]:
    """(outputs, classes) of the images, each run by a session of its own call."""
    files = sorted(data.glob("*/*.png"))
    with ne.Session(bundle, max_tokens_per_image=cap) as session:
        values = np.array([getattr(session.run([file])[0], name) for file in files])
    return values, np.array([CLASSES.index(file.parent.name) for file in files])


def without_times(report: Report) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(report)
    for row in plain["rows"]:
        row["timing"] = None
    return plain
