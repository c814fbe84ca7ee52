"""navit_edge as a part of another project: FetchContent, which calls add_subdirectory, and ExternalProject; shared and
static; under the address sanitizer. A compiler cache knows the core's objects from the build of the tests."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from trees import run_tool

import navit_edge as ne

#: The core alone; compiled as for the tests, so that a compiler cache knows it.
CORE_ALONE = ("-DNAVIT_EDGE_OPENVINO=OFF", "-DNAVIT_EDGE_TENSORRT=OFF", "-DNAVIT_EDGE_WERROR=ON")


def configured(repository: Path, name: str, folder: Path, *options: str) -> Path:
    source = repository / "tests" / "consumer" / "embedded" / name
    given = (f"-DNAVIT_EDGE_SOURCE={repository}", f"-DPython_EXECUTABLE={sys.executable}", *options)
    run_tool("cmake", "-S", source, "-B", folder, "-G", "Unix Makefiles", *given)
    return folder


@pytest.fixture(scope="module")
def part(repository: Path, prefix: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With NAVIT_EDGE_TESTS_WHOLE the core is compiled there too, which costs minutes. Without, the programs are linked
    to that of the installed tree, put in its place."""
    folder = configured(repository, "fetch_content", tmp_path_factory.mktemp("fetch_content"), *CORE_ALONE)
    if "NAVIT_EDGE_TESTS_WHOLE" in os.environ:
        run_tool("cmake", "--build", folder, "--parallel", "2")
        return folder
    lib = folder / "_deps" / "navit_edge-build" / "lib"
    lib.mkdir(exist_ok=True)
    for name in sorted(prefix.glob("lib*/libnavit_edge.so*")):
        shutil.copy2(name, lib, follow_symlinks=False)
    run_tool("cmake", "--build", folder, "--target", "program/fast", "program_c/fast")  # without what they depend on
    return folder


def backends_of(prefix: Path) -> dict[str, str]:
    return {"NAVIT_EDGE_BACKEND_DIR": str(next(prefix.glob("lib*/libnavit_edge_openvino.so")).parent)}


def test_a_part_of_another_project_opens_bundles_from_cxx_and_from_c(
    part: Path, prefix: Path, tiny_bundle: Path
) -> None:
    said = run_tool(part / "program", tiny_bundle, **backends_of(prefix)).split()
    assert said == [ne.__version__, ne.Session(tiny_bundle).engine]
    assert run_tool(part / "program_c", tiny_bundle, **backends_of(prefix)).split() == [ne.__version__]


def test_a_part_of_another_project_leaves_what_is_the_parents_alone(part: Path, tmp_path: Path) -> None:
    """Build type, flags, where things are put; no tests, nothing installed."""
    variables = dict(line.partition("=")[::2] for line in (part / "variables.txt").read_text().splitlines())
    assert set(variables.values()) == {""}, variables
    assert "CMAKE_BUILD_TYPE:STRING=\n" in (part / "CMakeCache.txt").read_text()
    commands = json.loads((part / "compile_commands.json").read_text())
    ours = [command["command"] for command in commands if "/csrc/" not in command["file"]]
    assert len(ours) == 2
    for command in ours:
        assert re.search(r" -(O|W|f|DNDEBUG)", command) is None, command
    assert "Total Tests: 0" in run_tool("ctest", "--test-dir", part, "-N")
    run_tool("cmake", "--install", part, "--prefix", tmp_path / "prefix")
    assert not (tmp_path / "prefix").exists() or list((tmp_path / "prefix").rglob("*.*")) == []


def test_an_external_project_installs_a_static_library_that_programs_link(
    repository: Path, prefix: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    """The program needs no libnavit_edge.so, finds backends beside itself wherever it is called from, and lets nothing
    of the library out."""
    arguments = ";".join((*CORE_ALONE, f"-DPython_EXECUTABLE={sys.executable}"))
    built_in = f"-DNAVIT_EDGE_BINARY_DIR={repository / 'build' / 'embedded'}"  # as deep as build/release, for ccache
    folder = configured(repository, "external_project", tmp_path, f"-DNAVIT_EDGE_ARGUMENTS={arguments}", built_in)
    run_tool("cmake", "--build", folder, "--parallel", "2")
    program = folder / "program" / "program"
    assert "libnavit_edge" not in run_tool("readelf", "-d", program)
    exported = run_tool("nm", "--dynamic", "--defined-only", "--demangle", program)
    assert "navit_edge" not in exported
    for library in prefix.glob("lib*/libnavit_edge_openvino.so"):
        (program.parent / library.name).symlink_to(library)
    wanted = [ne.__version__, ne.Session(tiny_bundle).engine]
    assert run_tool(program, tiny_bundle).split() == wanted
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    found = run_tool("sh", "-c", f"PATH='{path}'; program '{tiny_bundle}'", cwd=tmp_path)
    assert found.split() == wanted
    where = {"PKG_CONFIG_PATH": str(next((folder / "prefix").rglob("navit_edge.pc")).parent)}
    flags = run_tool("pkg-config", "--cflags", "--libs", "navit_edge", **where).split()
    source = repository / "tests" / "consumer" / "embedded" / "main.c"
    run_tool("cc", "-std=c99", source, "-o", program.parent / "program_c", *flags)
    assert run_tool(program.parent / "program_c", tiny_bundle).split() == [ne.__version__]


def test_a_program_under_the_address_sanitizer_runs_a_bundle(
    repository: Path, prefix: Path, tiny_bundle: Path, ppm_files: Sequence[Path], tmp_path: Path
) -> None:
    """The library and OpenVINO's are as they are; TBB loads its parts in a way that the sanitizer takes, and at the end
    of a program leaves the handler that binds its threads, if one of them is late."""
    source = repository / "examples" / "cpp" / "run_images.cc"
    lib = Path(backends_of(prefix)["NAVIT_EDGE_BACKEND_DIR"])
    program = tmp_path / "run_images"
    run_tool(
        os.environ.get("CXX", "c++"), "-std=c++20", "-g", "-fsanitize=address,undefined", "-fno-omit-frame-pointer",
        source, f"-I{prefix / 'include'}", f"-L{lib}", "-lnavit_edge", f"-Wl,-rpath,{lib}", "-o", program,
    )  # fmt: skip
    known = tmp_path / "known_leaks"
    known.write_text("leak:__TBB_internal_allocate_binding_handler\n")
    lsan = f"suppressions={known}:print_suppressions=0"
    said = run_tool(program, tiny_bundle, ppm_files[0], TBB_ENABLE_SANITIZERS="1", LSAN_OPTIONS=lsan)
    assert "grid 16x16" in said
    assert "runtime error" not in said
