"""An application built with find_package(navit_edge) against an installed tree gives the session's numbers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import navit_edge as ne


def run_tool(*command: str | Path, cwd: Path | None = None) -> str:
    """Output of a command; its whole output where it fails. The venv's own tools come first, as in the Makefile."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    finished = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if finished.returncode != 0:
        shown = " ".join(map(str, command))
        pytest.fail(f"{shown} ended with {finished.returncode}:\n{finished.stdout}", pytrace=False)
    return finished.stdout


@pytest.fixture(scope="session")
def build_tree(repository: Path) -> Path:
    """A Release build of the library: $NAVIT_EDGE_BUILD_DIR, or the one that `make test` has made, or a new one."""
    given = os.environ.get("NAVIT_EDGE_BUILD_DIR")
    folder = Path(given) if given else repository / "build" / "release"
    if not (folder / "CMakeCache.txt").is_file():
        folder = repository / "build" / "consumer"
        run_tool(
            "cmake", "-S", repository, "-B", folder, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
            "-DNAVIT_EDGE_BUILD_TESTS=OFF", f"-DPython_EXECUTABLE={sys.executable}",
        )  # fmt: skip
    run_tool("cmake", "--build", folder, "--parallel", "2")
    return folder


@pytest.fixture(scope="session")
def prefix(build_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installed tree."""
    folder = tmp_path_factory.mktemp("prefix")
    run_tool("cmake", "--install", build_tree, "--prefix", folder)
    return folder


@pytest.fixture(scope="session")
def program(repository: Path, prefix: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """examples/cpp, built against the installed tree with warnings as errors."""
    folder = tmp_path_factory.mktemp("example")
    run_tool(
        "cmake", "-S", repository / "examples" / "cpp", "-B", folder, "-DCMAKE_BUILD_TYPE=Release",
        f"-DCMAKE_PREFIX_PATH={prefix}", "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Wpedantic -Werror",
    )  # fmt: skip
    run_tool("cmake", "--build", folder)
    return folder / "run_images"


@pytest.fixture(scope="session")
def ppm_files(photographs: Mapping[str, npt.NDArray[np.uint8]], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The photographs as binary PPM."""
    folder = tmp_path_factory.mktemp("ppm")
    paths = []
    for name, image in photographs.items():
        paths.append(folder / f"{name}.ppm")
        Image.fromarray(image).save(paths[-1])
    return paths


def test_only_the_public_headers_are_installed(repository: Path, prefix: Path) -> None:
    installed = {path.relative_to(prefix / "include").as_posix() for path in (prefix / "include").rglob("*.h")}
    public = {f"navit_edge/{path.name}" for path in (repository / "csrc" / "include" / "navit_edge").glob("*.h")}
    assert installed == public
    assert {"navit_edge/navit_edge.h", "navit_edge/backend_sdk.h"} <= installed


def test_the_program_prints_the_numbers_of_the_python_session(
    program: Path, tiny_bundle: Path, ppm_files: Sequence[Path], photographs: Mapping[str, npt.NDArray[np.uint8]]
) -> None:
    output = run_tool(program, tiny_bundle, *ppm_files)
    results = ne.Session(tiny_bundle).run(list(photographs.values()))
    lines = [line.split("\t") for line in output.splitlines()]
    assert len(lines) == len(results)
    for line, path, result in zip(lines, ppm_files, results, strict=True):
        assert result.logits is not None
        top = int(result.logits.argmax())
        logit = float(line[6].removeprefix("logit "))
        assert line[:6] == [
            str(path),
            f"{result.pixels[0]}x{result.pixels[1]} px",
            f"grid {result.grid[0]}x{result.grid[1]}",
            f"{result.token_count} tokens",
            f"pack {result.pack}",
            f"class {top}",
        ]
        assert abs(logit - float(result.logits[top])) <= 1e-6 + 1e-6 * abs(logit)


def test_the_program_reports_errors_and_ends_with_one(program: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.ppm"
    text.write_text("not pixels")
    cut = tmp_path / "cut.ppm"
    cut.write_bytes(b"P6\n# a comment\n4 4\n255\n" + bytes(10))
    cases = {
        "usage: run_images": ([str(tiny_bundle)], 2),
        "no bundle at": ([str(tmp_path / "none.navit"), str(cut)], 1),
        "cannot be opened": ([str(tiny_bundle), str(tmp_path / "none.ppm")], 1),
        "not a binary PPM": ([str(tiny_bundle), str(text)], 1),
        "ends before its last pixel": ([str(tiny_bundle), str(cut)], 1),
    }
    for message, (arguments, code) in cases.items():
        finished = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
        assert finished.returncode == code, finished
        assert message in finished.stderr
        assert finished.stdout == ""


def test_the_installed_tree_may_be_moved(
    repository: Path, prefix: Path, tiny_bundle: Path, ppm_files: Sequence[Path], tmp_path: Path
) -> None:
    """Nothing in it names where it was installed first."""
    moved = tmp_path / "elsewhere"
    run_tool("cp", "-r", prefix, moved)
    run_tool("cmake", "-S", repository / "examples" / "cpp", "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={moved}")
    run_tool("cmake", "--build", tmp_path / "build")
    output = run_tool(tmp_path / "build" / "run_images", tiny_bundle, ppm_files[0])
    assert "grid 16x16" in output


def test_asking_for_another_minor_version_is_refused_by_find_package(prefix: Path, tmp_path: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.22)\nproject(other LANGUAGES CXX)\nfind_package(navit_edge 99.0 REQUIRED)\n"
    )
    finished = subprocess.run(
        ["cmake", "-S", tmp_path, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={prefix}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode != 0
    assert "compatible with requested version" in " ".join(finished.stderr.split())
