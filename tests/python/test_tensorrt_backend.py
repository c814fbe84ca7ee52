"""The TensorRT backend beside NVIDIA's own libraries, on a machine that may have no GPU.

The backend is compiled against TensorRT's headers and opened beside the real lean runtime. Without a driver that is as
far as it goes: the error is what is tested. Runs are rehearsed on stand-ins in test_tensorrt_simulated.py.
"""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path
from typing import Any

import pytest
import tensorrt_build as trt
from tiny_bundle import make_bundle

BUDGETS = [(64, 4), (256, 8)]


@pytest.fixture(scope="module")
def tree() -> Path:
    return trt.build()


@pytest.fixture
def open_error(tree: Path, tmp_path: Path) -> Any:
    """What opening a bundle with one TensorRT engine says in a process that finds chosen libraries."""

    def call(*libraries: Path, **settings: str) -> str:
        bundle = make_bundle(tmp_path / "tiny.navit")
        trt.with_tensorrt_engine(bundle, b"not a plan", BUDGETS)
        found = trt.rehearse(
            "open", libraries=[*libraries, _no_driver(tmp_path)], settings=settings, bundle=bundle, backend=tree / "lib"
        )
        assert found["type"] == "BackendError", found
        return str(found["message"])

    return call


def _no_driver(directory: Path) -> Path:
    """A directory that hides the machine's driver, where it has one."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return directory / "none"
    hidden = directory / "no_driver"
    hidden.mkdir()
    (hidden / "libcuda.so.1").touch()
    return hidden


def test_the_backend_needs_no_library_of_nvidias_to_load(tree: Path) -> None:
    shown = subprocess.run(
        ["readelf", "-d", str(tree / "lib" / "libnavit_edge_tensorrt.so")], capture_output=True, text=True, check=True
    ).stdout
    needed = [line.split("[")[1].rstrip("]") for line in shown.splitlines() if "(NEEDED)" in line]
    assert needed
    assert not [name for name in needed if "nvinfer" in name or "cuda" in name]
    ctypes.CDLL(str(tree / "lib" / "libnavit_edge_tensorrt.so"))


def test_beside_the_real_lean_runtime_the_missing_driver_is_the_error(open_error: Any) -> None:
    message = open_error(trt.lean_runtime())
    assert "no NVIDIA driver on this machine" in message
    assert "expected libcuda.so.1" in message
    assert "install the driver" in message
    # The real library was opened and asked its version, and nothing more.
    assert "TensorRT 10.15.1 is there" in message
    assert "libnvinfer_lean.so.10" in message


def test_the_library_is_found_in_the_directory_that_a_variable_names(open_error: Any) -> None:
    message = open_error(NAVIT_EDGE_TENSORRT_DIR=str(trt.lean_runtime()))
    assert "TensorRT 10.15.1 is there" in message


def test_without_driver_and_without_tensorrt_both_are_named(open_error: Any) -> None:
    message = open_error(NAVIT_EDGE_DEBUG="1")  # which adds what was tried
    assert "no NVIDIA driver on this machine" in message
    assert "no TensorRT library" in message
    assert "libnvinfer.so.10" in message
    assert "NAVIT_EDGE_TENSORRT_DIR" in message
