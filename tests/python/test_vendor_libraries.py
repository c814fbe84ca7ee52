"""Where TensorRT is taken from: a named place, the system, installed wheels; never the working directory.

Whatever is opened here as TensorRT is a stand-in (tests/simulator): which file, not how it behaves, is what is shown.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import tensorrt_build as trt
from tiny_bundle import make_bundle

from navit_edge.machine.libraries import tensorrt_directories

BUDGETS = [(64, 4)]


@pytest.fixture(scope="module")
def tree() -> Path:
    return trt.build()


@pytest.fixture
def wheels(tree: Path, tmp_path: Path) -> Path:
    """An import path with a package tensorrt_libs that holds a TensorRT, as the wheel tensorrt-cu12-libs does."""
    package = tmp_path / "wheels" / "tensorrt_libs"
    package.mkdir(parents=True)
    (package / "libnvinfer.so.10").symlink_to(tree / "simulator" / "nvinfer" / "libnvinfer.so.10")
    return package.parent


@pytest.fixture
def open_(tree: Path, wheels: Path, tmp_path: Path) -> Any:
    """Opens a bundle where a GPU's driver and a CUDA runtime are stood in for, and the wheel is installed."""
    bundle = make_bundle(tmp_path / "tiny.navit")
    trt.with_tensorrt_engine(bundle, trt.simulated_plan(bundle / "graphs" / "masked.onnx", BUDGETS), BUDGETS)

    def call(*, system: bool, named: str = "", options: dict[str, str] | None = None) -> Any:
        names = ("cuda", "cudart", "nvinfer") if system else ("cuda", "cudart")
        return trt.rehearse(
            "open",
            libraries=[tree / "simulator" / name for name in names],
            settings={"NAVIT_EDGE_TENSORRT_DIR": named, "PYTHONPATH": str(wheels), "NAVIT_EDGE_DEBUG": "1"},
            bundle=bundle,
            backend=tree / "lib",
            options=options,
        )

    return call


def test_a_wheel_is_taken_where_the_system_has_no_tensorrt_and_the_report_says_so(open_: Any, wheels: Path) -> None:
    found = open_(system=False)
    assert found["engine"]["library_found"] == f"libnvinfer.so.10 of an installed wheel ({wheels / 'tensorrt_libs'})"
    assert "simulated GPU" in found["device"]


def test_the_systems_library_goes_before_a_wheels(open_: Any) -> None:
    assert open_(system=True)["engine"]["library_found"] == "libnvinfer.so.10 of the dynamic loader's own places"


def test_a_directory_that_was_named_goes_before_all_and_switches_wheels_off(
    open_: Any, wheels: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for named, options, words in (
        (str(other), None, "NAVIT_EDGE_TENSORRT_DIR"),
        ("", {"tensorrt_dir": str(other)}, "option tensorrt_dir"),
    ):
        # There is nothing in it: the wheel is no answer to that.
        message = open_(system=False, named=named, options=options)["message"]
        assert "no TensorRT library" in message
        assert f"{other}/libnvinfer.so.10" in message
        assert f"[{words}]" in message
        assert "an installed wheel" not in message
        assert str(wheels) not in message
    (other / "libnvinfer.so.10").symlink_to((wheels / "tensorrt_libs" / "libnvinfer.so.10").resolve())
    found = open_(system=True, named=str(other))["engine"]["library_found"]
    assert found == f"libnvinfer.so.10 of NAVIT_EDGE_TENSORRT_DIR ({other})"


def test_where_there_is_none_every_place_is_named_with_the_reason(open_: Any, wheels: Path) -> None:
    (wheels / "tensorrt_libs" / "libnvinfer.so.10").unlink()
    (wheels / "tensorrt_libs" / "libnvinfer.so.10").write_text("no library")
    message = open_(system=False, options={"tensorrt_wheels": str(wheels / "tensorrt_libs")})["message"]
    for name in ("libnvinfer.so.10", "libnvinfer_lean.so.10"):
        assert f"{name}: cannot open shared object file" in message
        assert f"{wheels / 'tensorrt_libs' / name}" in message
    assert "[the dynamic loader's own places]" in message
    assert "[an installed wheel]" in message


def test_the_lean_runtime_of_an_installed_wheel_is_found_without_being_named(tmp_path: Path, tree: Path) -> None:
    """NVIDIA's own lean runtime, which the development requirements bring; no driver here, so it is only opened."""
    bundle = make_bundle(tmp_path / "tiny.navit")
    trt.with_tensorrt_engine(bundle, b"not a plan", BUDGETS)
    hidden = tmp_path / "no_driver"
    hidden.mkdir()
    (hidden / "libcuda.so.1").touch()
    found = trt.rehearse(
        "open", libraries=[hidden], settings={"NAVIT_EDGE_TENSORRT_DIR": ""}, bundle=bundle, backend=tree / "lib"
    )
    assert "TensorRT 10.15.1 is there" in found["message"]
    assert str(trt.lean_runtime() / "libnvinfer_lean.so.10") in found["message"]


def test_wheels_are_looked_for_on_the_import_path_and_never_in_the_working_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    places = [tmp_path / name for name in ("first", "second", "here", "a:b")]
    for place in places:
        for package in ("tensorrt_lean_libs", "tensorrt_libs"):
            (place / package).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(sys, "path", ["", ".", "tensorrt_libs", *map(str, places), str(tmp_path / "first")])
    assert tensorrt_directories() == [
        tmp_path / "first" / "tensorrt_libs",
        tmp_path / "second" / "tensorrt_libs",
        tmp_path / "first" / "tensorrt_lean_libs",
        tmp_path / "second" / "tensorrt_lean_libs",
    ]
