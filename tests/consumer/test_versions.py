"""The version in the headers, in the library and in the name that a program asks the loader for; which C and C++ the
headers take."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from trees import Tree, run_tool

import navit_edge as ne

#: Headers of C, for any C++ too.
OF_C = ("navit_edge_c.h", "version.h", "backend_abi.h", "export.h")
SHOWN = """
#include <navit_edge/version.h>
#include <cstdio>
int main() {
  std::printf("%d.%d.%d\\n%s\\n%s\\n", NAVIT_EDGE_VERSION_MAJOR, NAVIT_EDGE_VERSION_MINOR, NAVIT_EDGE_VERSION_PATCH,
              NAVIT_EDGE_VERSION, navit_edge::version());
}
"""


def compiled(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)


def cxx() -> str:
    return os.environ.get("CXX", "c++")


def test_the_macros_and_the_library_tell_the_version_of_the_package(tree: Tree, tmp_path: Path) -> None:
    source, program = tmp_path / "shown.cc", tmp_path / "shown"
    source.write_text(SHOWN)
    run_tool(cxx(), "-std=c++11", source, f"-I{tree.include}", tree.core, f"-Wl,-rpath,{tree.lib}", "-o", program)
    assert run_tool(program).splitlines() == [ne.__version__] * 3


def test_a_program_does_not_start_with_the_library_of_another_minor_version(
    tree: Tree, repository: Path, tmp_path: Path
) -> None:
    """As after an upgrade of the wheel: until 1.0 the classes of its headers may have changed."""
    lib, program = tmp_path / "lib", tmp_path / "batch"
    lib.mkdir()
    (lib / tree.core.name).symlink_to(tree.core)
    sources = [repository / "examples" / "c" / name for name in ("batch.c", "ppm.c")]
    run_tool("cc", *sources, f"-I{tree.include}", lib / tree.core.name, f"-Wl,-rpath,{lib}", "-o", program)
    assert compiled(program).returncode == 2  # "usage: ...": it starts
    (lib / "libnavit_edge.so.0.99").symlink_to(tree.core)
    (lib / "libnavit_edge.so").symlink_to(tree.core)
    (lib / tree.core.name).unlink()
    started = compiled(program)
    assert started.returncode == 127
    assert f"{tree.core.name}: cannot open shared object file" in started.stderr


@pytest.mark.parametrize("standard", ["c99", "c11", "c++98", "c++11", "c++17", "c++20"])
def test_the_headers_of_c_take_any_standard(prefix: Path, standard: str, tmp_path: Path) -> None:
    source = tmp_path / ("headers.c" if standard in ("c99", "c11") else "headers.cc")
    source.write_text("".join(f"#include <navit_edge/{name}>\n" for name in OF_C))
    strict = ("-Wall", "-Wextra", "-Werror", *(["-pedantic"] if standard != "c++98" else []))
    compiler = "cc" if source.suffix == ".c" else cxx()
    run_tool(compiler, f"-std={standard}", "-fsyntax-only", *strict, f"-I{prefix / 'include'}", source)


def test_every_other_header_says_in_words_that_it_needs_cxx_20(prefix: Path, tmp_path: Path) -> None:
    for header in sorted((prefix / "include" / "navit_edge").glob("*.h")):
        source = tmp_path / "one.cc"
        source.write_text(f"#include <navit_edge/{header.name}>\n")
        said = compiled(cxx(), "-std=c++17", "-E", "-o", os.devnull, f"-I{prefix / 'include'}", source)
        refused = "headers need C++20: compile with -std=c++20" in said.stderr
        assert refused == (header.name not in OF_C), f"{header.name}: {said.stderr}"


def test_the_sentence_on_cxx_20_is_the_first_error(prefix: Path, tmp_path: Path) -> None:
    source = tmp_path / "all.cc"
    source.write_text("#include <navit_edge/navit_edge.h>\n")
    said = compiled(cxx(), "-std=c++17", "-fsyntax-only", f"-I{prefix / 'include'}", source)
    errors = [line for line in said.stderr.splitlines() if "error:" in line]
    assert "navit_edge's C++ headers need C++20" in errors[0]
