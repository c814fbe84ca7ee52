"""`navit-edge demo`: from the wheel alone to a result and a picture. Judged by the shapes that were drawn."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import invoke
from test_page import check_self_contained

from navit_edge.bundle import hashing
from navit_edge.bundle import manifest as manifests
from navit_edge.demo.pictures import SHAPES, SIZES_PX, draw_picture
from navit_edge.demo.shipped import SHIPPED, copy_bundle
from navit_edge.errors import BundleError

#: What only the export needs is not there; no compiler either.
WITHOUT = """
import os, sys
for name in ("torch", "onnx", "onnxscript", "matplotlib"):
    sys.modules[name] = None
os.environ["CXX"] = "/nonexistent"
sys.argv = ["navit-edge", "demo", sys.argv[1]]
from navit_edge.cli.main import main
main()
"""


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a demo, and what it printed."""
    folder = tmp_path_factory.mktemp("demo") / "shapes"
    finished = subprocess.run([sys.executable, "-c", WITHOUT, str(folder)], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return folder, finished.stdout


def test_the_demo_needs_neither_torch_nor_onnx_and_names_the_shapes_that_were_drawn(shown: tuple[Path, str]) -> None:
    folder, said = shown
    rows = re.findall(r"^ *([a-z]+)-\d\.png .* ([a-z]+) +[01]\.\d{3} *$", said, re.MULTILINE)
    assert len(rows) == len(SIZES_PX)
    right = sum(drawn == named for drawn, named in rows)
    assert right >= len(rows) - 2, rows
    assert f"{right} of {len(rows)} named right" in said
    read = check_self_contained((folder / "report.html").read_text(encoding="utf-8"))
    assert len(read.of("div", "picture grid")) == len(read.of("a", "segment")) == len(rows)
    assert len(read.of("p", "verdict")) - len(read.of("p", "verdict wrong")) == right


def test_a_second_demo_builds_nothing_again(shown: tuple[Path, str]) -> None:
    folder, _ = shown
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    result = invoke("demo", folder, "--json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["right"] == sum(image["class"] == image["shape"] for image in report["images"])
    assert report["page"] == str(folder / "report.html")
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert {path.name for path in before if before[path] != after[path]} <= {"report.html"}


def test_the_shipped_bundle_is_whole_and_holds_no_engine() -> None:
    manifest = manifests.load(SHIPPED)
    hashing.verify_files(SHIPPED, manifest)
    assert manifest.labels == SHAPES
    assert manifest.engines == ()
    assert {path.relative_to(SHIPPED).as_posix() for path in SHIPPED.rglob("*") if path.is_file()} == {
        *manifest.files, "manifest.json"
    }  # fmt: skip
    assert sum(file.bytes for file in manifest.files.values()) < 1_500_000


def test_another_bundle_in_the_way_is_left_alone(tmp_path: Path) -> None:
    assert copy_bundle(tmp_path / "shapes.navit")
    assert not copy_bundle(tmp_path / "shapes.navit")
    weights = tmp_path / "shapes.navit" / "graphs" / "weights.bin"
    weights.write_bytes(b"others'")
    with pytest.raises(BundleError, match="is not the demo's bundle"):
        copy_bundle(tmp_path / "shapes.navit")
    assert weights.read_bytes() == b"others'"


@pytest.mark.parametrize("shape", SHAPES)
def test_a_seed_gives_one_picture_of_the_size_that_is_asked_for(shape: str) -> None:
    one, again, other = (draw_picture(shape, seed=seed, size_px=(70, 50)) for seed in (3, 3, 4))
    assert one.size == (70, 50)
    assert one.tobytes() == again.tobytes()
    assert one.tobytes() != other.tobytes()
