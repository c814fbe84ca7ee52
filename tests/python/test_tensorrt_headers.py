"""Whether a build has the TensorRT plug-in: where CMake finds the headers, and what it says where it does not.

pip builds a wheel in an environment of its own, in which headers from PyPI are not seen. CMake runs here with an
interpreter that sees no packages, as there.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

PROJECT = """
cmake_minimum_required(VERSION 3.22)
project(probe LANGUAGES NONE)
set(NAVIT_EDGE_TENSORRT "AUTO" CACHE STRING "")
set(CMAKE_FIND_USE_CMAKE_SYSTEM_PATH OFF)
set(CMAKE_FIND_USE_SYSTEM_ENVIRONMENT_PATH OFF)
include({repository}/cmake/python_packages.cmake)
include({repository}/cmake/find_tensorrt.cmake)
navit_edge_find_tensorrt()
message(STATUS "found: ${{TensorRT_FOUND}}")
"""


@pytest.fixture
def configure(repository: Path, tmp_path: Path):  # type: ignore[no-untyped-def]
    """Runs CMake with these options; the exit code and all that it said."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "CMakeLists.txt").write_text(PROJECT.format(repository=repository.as_posix()))
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E "$@"\n')
    python.chmod(0o755)

    def call(*options: str) -> tuple[int, str]:
        command = ["cmake", "-S", str(source), "-B", str(tmp_path / "build"), f"-DPython_EXECUTABLE={python}", *options]
        environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    return call


@pytest.fixture
def headers(tmp_path: Path) -> Path:
    """The directory that `pip install --target` makes of requirements-headers.txt."""
    target = tmp_path / "headers"
    (target / "nvidia").mkdir(parents=True)
    lens, cuda = find_spec("kernel_lens"), find_spec("nvidia.cu13")
    assert lens is not None
    assert lens.origin is not None
    assert cuda is not None
    (target / "kernel_lens").symlink_to(Path(lens.origin).parent)
    (target / "nvidia" / "cu13").symlink_to(next(iter(cuda.submodule_search_locations or ())))
    return target


def test_headers_in_a_directory_of_their_own_are_found_by_an_isolated_build(configure, headers: Path) -> None:  # type: ignore[no-untyped-def]
    code, text = configure("-DNAVIT_EDGE_TENSORRT=ON", f"-DNAVIT_EDGE_HEADERS={headers}")
    assert code == 0, text
    assert "found: TRUE" in text
    assert f"headers at {headers}/kernel_lens/include/tensorrt, CUDA's at {headers}/nvidia/cu13/include" in text


def test_a_build_that_must_have_the_plug_in_and_sees_no_headers_fails_and_says_how_to_get_them(configure) -> None:  # type: ignore[no-untyped-def]
    # A directory without them in the place of /usr/local/cuda, which a machine may have.
    nowhere = ("-DTensorRT_INCLUDE_DIR=TensorRT_INCLUDE_DIR-NOTFOUND", "-DTensorRT_CUDA_INCLUDE_DIR=/nonexistent")
    code, text = configure("-DNAVIT_EDGE_TENSORRT=ON", *nowhere)
    assert code != 0
    assert "pip install --target DIR --no-deps -c constraints.txt -r requirements-headers.txt" in text
    code, text = configure("-DNAVIT_EDGE_TENSORRT=AUTO", *nowhere)
    assert code == 0, text
    assert "TensorRT backend: not built (set TensorRT_ROOT and CUDAToolkit_ROOT, or NAVIT_EDGE_HEADERS" in text


def test_the_requirements_of_the_commands_that_doctor_prints_are_in_the_checkout(repository: Path) -> None:
    from navit_edge.doctor.runtime import install_backend

    fetch, build = install_backend("tensorrt")
    for word in fetch.partition("  #")[0].split():
        if word.endswith(".txt"):
            assert (repository / word).is_file(), word
    directory = fetch.partition("--target ")[2].split()[0]
    assert f'NAVIT_EDGE_HEADERS="$PWD/{directory}"' in build
    for define in ("NAVIT_EDGE_TENSORRT", "NAVIT_EDGE_HEADERS"):
        assert f"cmake.define.{define}=" in build
        assert define in (repository / "CMakeLists.txt").read_text()
