"""The command `navit-edge quantize`: progress, tables, JSON, exit codes, and what is left when it is killed."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from tiny_bundle import make_bundle
from typer.testing import CliRunner

from navit_edge.bundle import hashing
from navit_edge.bundle import manifest as manifests
from navit_edge.cli.main import app

Photographs = Mapping[str, npt.NDArray[np.uint8]]


@pytest.fixture(scope="module")
def images(photographs: Photographs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("images")
    for name in ("cat", "page", "eye", "flower"):
        Image.fromarray(photographs[name]).save(directory / f"{name}.png")
    return directory


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("plain") / "tiny.navit")


@pytest.fixture
def bundle(plain: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(plain, tmp_path / "tiny.navit"))


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def snapshot(bundle: Path) -> dict[str, str]:
    files = (path for path in bundle.rglob("*") if path.is_file())
    return {path.relative_to(bundle).as_posix(): hashing.hash_file(path).sha256 for path in files}


def test_tables_and_the_next_step_are_shown(bundle: Path, images: Path) -> None:
    result = invoke("quantize", bundle, "--calibration", images)
    assert result.exit_code == 0, result.stderr
    for text in ("int8 against float32", "3 calibration", "1 held out", "agreement", "logits", "embedding"):
        assert text in result.stdout
    assert "masked-int8, padded-int8: made; 12 of 12 linear layers in int8" in result.stdout
    assert "next: navit-edge build-engine" in result.stdout
    assert "only 3 images to calibrate with" in result.stderr
    assert "calibrating" not in result.stderr, "bars are for terminals"
    shown = invoke("inspect", bundle)
    assert "padded-int8" in shown.stdout
    assert "float32" in shown.stdout


def test_the_json_holds_the_report_and_says_what_was_there_already(bundle: Path, images: Path) -> None:
    command = ("quantize", bundle, "--calibration", images, "--skip-layers", "auto", "--scan-images", 1, "--json")
    first, again = (json.loads(invoke(*command).stdout) for _ in range(2))
    assert (first["already_quantized"], again["already_quantized"]) == (False, True)
    assert first["report"] == again["report"]
    assert json.loads((bundle / first["report_file"]).read_text()) == first["report"]
    assert [graph["id"] for graph in first["graphs"]] == ["masked-int8", "padded-int8"]
    assert len(first["report"]["sensitivity"]) == 12
    assert {"cosine_min", "cosine_mean", "max_error", "rms_error"} <= set(first["report"]["accuracy"]["held out"][0])


def test_a_directory_may_be_held_out_instead_of_a_fraction(bundle: Path, images: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(images / "eye.png", other / "iris.png")
    result = invoke("quantize", bundle, "--calibration", images, "--holdout", other, "--precision", "fp8", "--json")
    report = json.loads(result.stdout)["report"]
    assert [image["name"] for image in report["held_out"]] == ["iris.png"]
    assert len(report["calibration"]) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--precision", "int4"], "known: int8, fp8"),
        (["--method", "best"], "known: minmax, percentile, mse, entropy"),
        (["--holdout", "1.5"], "holdout 1.5; expected a fraction"),
        (["--smooth", "much"], "smooth much; expected auto, off, or a strength"),
        (["--skip-count", "2"], "with --skip-layers auto"),
    ],
)
def test_options_that_are_none_end_with_2(bundle: Path, images: Path, options: list[str], message: str) -> None:
    result = invoke("quantize", bundle, "--calibration", images, *options)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())


def test_a_failure_ends_with_1_and_one_paragraph(bundle: Path, tmp_path: Path) -> None:
    result = invoke("quantize", bundle, "--calibration", tmp_path / "none")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert "expected a directory of images" in result.stderr
    assert "Traceback" not in result.stderr


def test_without_onnxruntime_the_command_that_installs_it_is_given(
    bundle: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    result = invoke("quantize", bundle, "--calibration", images)
    assert result.exit_code == 1
    assert 'pip install "navit-edge[quantize]"' in result.stderr


def test_ctrl_c_ends_with_130(bundle: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = snapshot(bundle)

    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("navit_edge.quantize.calibration.observe", interrupt)
    result = invoke("quantize", bundle, "--calibration", images)
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (130, "interrupted")
    assert snapshot(bundle) == before


#: Stops for a minute when the quantized graph is half written into the staging directory.
_STALLS = """
import sys, time
from pathlib import Path
from navit_edge.quantize import QuantizeRequest, quantize_bundle

write = Path.write_bytes
def stall(path, content):
    write(path, content[: len(content) // 2])
    print("ready", flush=True)
    time.sleep(3600)

def begin(what, done, total):
    if what == "comparing" and done == total:
        Path.write_bytes = stall

quantize_bundle(Path(sys.argv[1]), QuantizeRequest(calibration=Path(sys.argv[2])), begin)
"""


def test_a_process_that_is_killed_while_it_writes_leaves_nothing_that_counts(bundle: Path, images: Path) -> None:
    before = snapshot(bundle)
    command = [sys.executable, "-c", _STALLS, str(bundle), str(images)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.kill()
        assert process.wait(timeout=60) == -signal.SIGKILL
    manifest = manifests.load(bundle)
    hashing.verify_files(bundle, manifest)
    assert [graph.id for graph in manifest.graphs] == ["masked", "padded"]
    left = {name: digest for name, digest in snapshot(bundle).items() if not name.startswith(".building-")}
    assert left == before
    assert any(bundle.glob(".building-*")), "it was killed before it began to write"
    assert invoke("quantize", bundle, "--calibration", images).exit_code == 0
    assert not any(bundle.glob(".building-*"))
    hashing.verify_files(bundle, manifests.load(bundle))
