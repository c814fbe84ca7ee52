"""Applications built with find_package(navit_edge) or pkg-config, against an installed tree and the wheel, give the
session's numbers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from trees import Programs, Tree, run_tool

import navit_edge as ne

Photographs = Mapping[str, npt.NDArray[np.uint8]]


@pytest.fixture(scope="session")
def expected(tiny_bundle: Path, photographs: Photographs) -> list[list[str]]:
    """Of each photograph what the programs print behind its name; the logit apart."""
    lines = []
    for result in ne.Session(tiny_bundle).run(list(photographs.values())):
        assert result.logits is not None
        top = int(result.logits.argmax())
        lines.append(
            [
                f"{result.pixels[0]}x{result.pixels[1]} px",
                f"grid {result.grid[0]}x{result.grid[1]}",
                f"{result.token_count} tokens",
                f"pack {result.pack}",
                f"class {top}",
                f"logit {float(result.logits[top]):.6f}",
            ]
        )
    return lines


def same_but_rounding(printed: Sequence[str], wanted: Sequence[str]) -> bool:
    logit, other = (float(line[-1].removeprefix("logit ")) for line in (printed, wanted))
    return list(printed[:-1]) == list(wanted[:-1]) and abs(logit - other) <= 1.5e-6 + 1e-6 * abs(other)


def test_only_the_public_headers_are_installed(repository: Path, tree: Tree) -> None:
    installed = {path.relative_to(tree.include).as_posix() for path in tree.include.rglob("*") if path.is_file()}
    headers = (repository / "csrc" / "include" / "navit_edge").iterdir()
    public = {f"navit_edge/{path.name.removesuffix('.in')}" for path in headers}  # version.h is made from a template
    assert installed == public
    assert {
        "navit_edge/navit_edge.h",
        "navit_edge/navit_edge_c.h",
        "navit_edge/backend_sdk.h",
        "navit_edge/version.h",
    } <= installed


@pytest.mark.parametrize("program", ["run_images", "batch"])
def test_the_batch_programs_print_the_numbers_of_the_python_session(
    programs: Programs, program: str, tiny_bundle: Path, ppm_files: Sequence[Path], expected: list[list[str]]
) -> None:
    """run_images is C++, batch is C."""
    folder = programs.c if program == "batch" else programs.cpp
    lines = [line.split("\t") for line in run_tool(folder / program, tiny_bundle, *ppm_files).splitlines()]
    assert [line[0] for line in lines] == [str(path) for path in ppm_files]
    for line, wanted in zip(lines, expected, strict=True):
        assert same_but_rounding(line[1:], wanted), (line, wanted)


def test_frames_of_opencv_are_run_where_they_lie(
    programs: Programs, tiny_bundle: Path, ppm_files: Sequence[Path], expected: list[list[str]]
) -> None:
    """BGR frames with foreign bytes between the rows, as a stand-in for OpenCV gives them, run one by one."""
    pattern = ppm_files[0].parent / "%d.ppm"
    lines = [line.split("\t") for line in run_tool(programs.cpp / "opencv_frames", tiny_bundle, pattern).splitlines()]
    assert [line[0] for line in lines] == [f"frame {index}" for index in range(len(ppm_files))]
    for line, wanted in zip(lines, expected, strict=True):
        assert line[1:3] == wanted[:2]
        logit, other = (float(text.removeprefix("logit ")) for text in (line[4], wanted[5]))
        assert abs(logit - other) <= 0.02 + 0.02 * abs(other)  # packed otherwise, and the first engine computes in bf16


def test_every_frame_of_the_camera_is_accounted_for(
    programs: Programs, tiny_bundle: Path, ppm_files: Sequence[Path]
) -> None:
    output = run_tool(programs.cpp / "stream_deadlines", tiny_bundle, "200", "10000", "60", *ppm_files)
    counts = [int(part.split()[0]) for part in output.splitlines()[1].replace(":", ",").split(",")]
    frames, met, missed, dropped, failed = counts
    assert frames == 60 == met + missed + dropped + failed
    assert failed == 0
    assert met + missed > 0
    assert "p50" in output.splitlines()[2]


def test_submitted_in_c_each_image_gets_its_result(
    programs: Programs, tiny_bundle: Path, ppm_files: Sequence[Path], expected: list[list[str]]
) -> None:
    output = run_tool(programs.c / "submit", tiny_bundle, "100", *ppm_files).splitlines()
    assert output[-1] == f"{len(ppm_files)} done, 0 failed"
    tokens = {line.split("\t")[0]: line.split("\t")[1] for line in output[:-1]}
    assert tokens == {str(path): wanted[2] for path, wanted in zip(ppm_files, expected, strict=True)}


def test_texts_are_scored_in_cpp_as_in_python(
    programs: Programs, siglip2_bundle: Path, photographs: Photographs, ppm_files: Sequence[Path], tmp_path: Path
) -> None:
    encoder = ne.TextEncoder(siglip2_bundle)
    tokenized = encoder.tokenize(["a cat", "two dogs at night", ""])
    np.savetxt(tmp_path / "ids", tokenized.ids, fmt="%d")
    results = ne.Session(siglip2_bundle).run(list(photographs.values()))
    logits = encoder.logits([result.embedding for result in results], encoder.embed_tokens(tokenized))
    lines = run_tool(programs.cpp / "zero_shot", siglip2_bundle, tmp_path / "ids", *ppm_files).splitlines()
    found = [line.split("\t") for line in lines]
    assert [line[:2] for line in found] == [[str(path), f"text {n}"] for path in ppm_files for n in range(3)]
    printed = np.array([[float(part.split()[1]) for part in line[2:]] for line in found])
    np.testing.assert_allclose(printed[:, 0], logits.ravel(), atol=1e-4)
    np.testing.assert_allclose(printed[:, 1], 1 / (1 + np.exp(-logits.ravel().astype(np.float64))), atol=1e-4)


def test_the_programs_report_errors_and_end_with_one(programs: Programs, tiny_bundle: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.ppm"
    text.write_text("not pixels")
    cut = tmp_path / "cut.ppm"
    cut.write_bytes(b"P6\n# a comment\n4 4\n255\n" + bytes(10))
    cases = {
        "usage: ": ([str(tiny_bundle)], 2),
        "no bundle at": ([str(tmp_path / "none.navit"), str(cut)], 1),
        "cannot be opened": ([str(tiny_bundle), str(tmp_path / "none.ppm")], 1),
        "binary PPM": ([str(tiny_bundle), str(text)], 1),
        "ends before its last pixel": ([str(tiny_bundle), str(cut)], 1),
    }
    for program in (programs.cpp / "run_images", programs.c / "batch"):
        for message, (arguments, code) in cases.items():
            if program.name == "batch" and message == "no bundle at":
                whole = tmp_path / "whole.ppm"
                whole.write_bytes(b"P6 1 1 255\n" + bytes(3))
                arguments = [arguments[0], str(whole)]  # C reads the images first
            finished = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
            assert finished.returncode == code, finished
            assert message in finished.stderr
            assert finished.stdout == ""


def test_the_moved_tree_serves_pkg_config_and_cmake(
    repository: Path, prefix: Path, tiny_bundle: Path, ppm_files: Sequence[Path], tmp_path: Path
) -> None:
    """Nothing in it names where it was installed first."""
    moved = tmp_path / "else where"
    shutil.copytree(prefix, moved, symlinks=True)
    run_tool("cmake", "-S", repository / "examples" / "c", "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={moved}")
    run_tool("cmake", "--build", tmp_path / "build")
    assert "grid 16x16" in run_tool(tmp_path / "build" / "batch", tiny_bundle, ppm_files[0])
    for text in [*moved.rglob("*.cmake"), *moved.rglob("*.pc")]:
        assert str(prefix) not in text.read_text(), text


def test_pkg_config_gives_all_that_a_program_needs(
    repository: Path, tree: Tree, tiny_bundle: Path, ppm_files: Sequence[Path], tmp_path: Path
) -> None:
    assert shutil.which("pkg-config"), "pkg-config is not installed; apt-get install pkgconf"
    where = {"PKG_CONFIG_PATH": str(tree.lib / "pkgconfig")}
    flags = run_tool("pkg-config", "--cflags", "--libs", "navit_edge", **where).split()
    lib = run_tool("pkg-config", "--variable=libdir", "navit_edge", **where).strip()
    assert run_tool("pkg-config", "--modversion", "navit_edge", **where).strip() == ne.__version__
    sources = [repository / "examples" / "c" / name for name in ("batch.c", "ppm.c")]
    run_tool("cc", "-std=c99", *sources, "-o", tmp_path / "batch", *flags, f"-Wl,-rpath,{lib}")
    assert "grid 16x16" in run_tool(tmp_path / "batch", tiny_bundle, ppm_files[0])


def configure(tmp_path: Path, cmake_dir: Path, find: str, more: str = "") -> tuple[int, str]:
    """Exit code and output, blanks collapsed, of a project that asks for a navit_edge."""
    (tmp_path / "CMakeLists.txt").write_text(
        f"cmake_minimum_required(VERSION 3.22)\nproject(other LANGUAGES C)\nfind_package({find})\n{more}\n"
    )
    shutil.rmtree(tmp_path / "build", ignore_errors=True)
    finished = subprocess.run(
        ["cmake", "-S", tmp_path, "-B", tmp_path / "build", f"-Dnavit_edge_DIR={cmake_dir}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return finished.returncode, " ".join(finished.stdout.split())


def test_asking_for_another_minor_version_is_refused_by_find_package(tree: Tree, tmp_path: Path) -> None:
    code, output = configure(tmp_path, tree.cmake_dir, "navit_edge 99.0 REQUIRED")
    assert code != 0
    assert "compatible with requested version" in output


def test_components_are_what_was_built(tree: Tree, tmp_path: Path) -> None:
    """A component that is not there fails with its name and the remedy; an optional one is only not found."""
    show = (
        "foreach(c core c openvino tensorrt tensorrt_rtx)\n"
        '  message(STATUS "${c}=${navit_edge_${c}_FOUND};")\nendforeach()'
        "\nget_target_property(f navit_edge::openvino IMPORTED_LOCATION)\n"
        'if(NOT EXISTS "${f}")\n  message(FATAL_ERROR "no ${f}")\nendif()'
    )
    code, output = configure(
        tmp_path, tree.cmake_dir, "navit_edge 0.1 REQUIRED COMPONENTS c openvino OPTIONAL_COMPONENTS tensorrt_rtx", show
    )
    assert code == 0, output
    built = {path.name for path in tree.lib.glob("libnavit_edge_*.so")}
    for component in ("openvino", "tensorrt", "tensorrt_rtx"):
        assert (f"{component}=TRUE;" in output) == (f"libnavit_edge_{component}.so" in built), output
    assert "tensorrt_rtx=TRUE" not in output  # needs an SDK that is nowhere here
    code, output = configure(tmp_path, tree.cmake_dir, "navit_edge 0.1 REQUIRED COMPONENTS tensorrt_rtx")
    assert code != 0
    assert "built without its backend 'tensorrt_rtx'" in output
    assert "Build navit_edge with -DTensorRT_RTX_ROOT=SDK, or leave the component out" in output
    code, output = configure(tmp_path, tree.cmake_dir, "navit_edge REQUIRED COMPONENTS abacus")
    assert code != 0
    assert "has no component 'abacus'; known: core c openvino" in output


def test_the_editable_install_answers_cmake_dir_too(tmp_path: Path) -> None:
    """Where the tests run from an editable install, as from `make test`; from a wheel it is the wheel's."""
    from navit_edge.cmake import cmake_dir

    said = run_tool(sys.executable, "-m", "navit_edge.cli.main", "--cmake-dir").strip()
    assert Path(said) == cmake_dir()
    code, output = configure(tmp_path, Path(said), "navit_edge 0.1 REQUIRED COMPONENTS c openvino")
    assert code == 0, output


def test_cmake_dir_of_a_module_built_in_place_names_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from navit_edge import _core
    from navit_edge.cmake import cmake_dir

    monkeypatch.setattr(_core, "__file__", os.fspath(tmp_path / "_core.so"))
    with pytest.raises(ne.InvalidInputError, match=r"there is no navit_edge-config\.cmake .* cmake --install BUILD"):
        cmake_dir()
