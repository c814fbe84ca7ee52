"""Who may depend on whom (docs/map.md). Judged by reading the sources: includes of C++, the syntax tree of Python."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)
HEAVY = {"torch", "onnx", "onnxscript", "onnx_ir", "onnxruntime", "openvino", "tensorrt", "tensorrt_rtx", "polygraphy"}


def cxx_includes(folder: Path) -> Iterator[tuple[Path, str, str]]:
    """(file, "<" or the quote, the name) of every include below a folder."""
    files = [path for suffix in ("*.h", "*.cc", "*.cpp", "*.hpp") for path in sorted(folder.rglob(suffix))]
    assert files, f"{folder} holds no C++; the rule would check nothing"
    for path in files:
        for bracket, name in INCLUDE.findall(path.read_text(encoding="utf-8")):
            yield path, bracket, name


def imported_names(tree: ast.AST, *, at_import_time: bool) -> Iterator[str]:
    """Modules that a file imports; with ``at_import_time`` leaving out bodies of functions and TYPE_CHECKING blocks."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif at_import_time and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        elif at_import_time and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield from imported_names(other, at_import_time=True)
        else:
            yield from imported_names(node, at_import_time=at_import_time)


def python_imports(folder: Path, *, at_import_time: bool) -> Iterator[tuple[Path, str]]:
    files = sorted(folder.rglob("*.py"))
    assert files, f"{folder} holds no Python; the rule would check nothing"
    for path in files:
        for name in imported_names(ast.parse(path.read_text(encoding="utf-8")), at_import_time=at_import_time):
            yield path, name


def test_the_core_never_includes_python(repository: Path) -> None:
    for folder in ("csrc/src", "csrc/include"):
        for path, _, name in cxx_includes(repository / folder):
            assert name != "Python.h", path
            assert not name.startswith("pybind11/"), path


def test_public_headers_include_only_public_headers_and_the_standard_library(repository: Path) -> None:
    include = repository / "csrc" / "include"
    for path, _, name in cxx_includes(include):
        assert "/" not in name or (name.startswith("navit_edge/") and (include / name).is_file()), f"{path}: {name}"


def test_a_backend_includes_only_the_sdk_and_its_vendor(repository: Path) -> None:
    allowed = {f"navit_edge/{name}.h" for name in ("backend_sdk", "backend_abi", "types", "error", "export")}
    vendors = {"openvino": ("openvino/",), "tensorrt": ("NvInfer", "cuda")}
    for folder in sorted(path for path in (repository / "csrc" / "backends").iterdir() if path.is_dir()):
        for path, bracket, name in cxx_includes(folder):
            if bracket == '"':
                assert name in allowed or (path.parent / name).is_file(), f"{path} includes {name}"
            else:
                vendor = name.startswith(vendors[folder.name])
                system = name.startswith("sys/") or "/" not in name
                assert vendor or system, f"{path} includes <{name}>"


def test_bindings_include_only_public_headers(repository: Path) -> None:
    include = repository / "csrc" / "include"
    for path, bracket, name in cxx_includes(repository / "csrc" / "bindings"):
        if bracket == '"':
            own = (repository / "csrc" / "bindings" / name).is_file()
            assert own or (name.startswith("navit_edge/") and (include / name).is_file()), f"{path}: {name}"
        else:
            assert "/" not in name or name.startswith("pybind11/"), f"{path}: {name}"


def test_nothing_heavy_is_imported_with_navit_edge(repository: Path) -> None:
    for path, name in python_imports(repository / "python" / "navit_edge", at_import_time=True):
        assert name.partition(".")[0] not in HEAVY | {"navit_edge_export"}, f"{path} imports {name}"


def test_only_the_exporter_knows_torch(repository: Path) -> None:
    for path, name in python_imports(repository / "python" / "navit_edge", at_import_time=False):
        assert name.partition(".")[0] != "torch", f"{path} imports {name}"


def test_nothing_outside_of_tests_imports_from_tests(repository: Path) -> None:
    inside = {path.stem for path in (repository / "tests").rglob("*.py")} | {"tests", "conftest"}
    for folder in ("python", "export", "examples", "benchmarks"):
        for path, name in python_imports(repository / folder, at_import_time=False):
            assert name.partition(".")[0] not in inside, f"{path} imports {name}"
    for folder in ("csrc/src", "csrc/include", "csrc/backends", "csrc/bindings", "examples"):
        for path, _, name in cxx_includes(repository / folder):
            assert "tests/" not in name, f"{path} includes {name}"


def test_the_reader_of_imports_sees_what_it_must() -> None:
    source = """
import numpy
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import torch
try:
    import onnx
except ImportError:
    pass
class A:
    import openvino
    def f(self):
        import polygraphy
"""
    at_import = set(imported_names(ast.parse(source), at_import_time=True))
    assert {"numpy", "onnx", "openvino"} <= at_import
    assert at_import.isdisjoint({"torch", "polygraphy"})
    assert {"torch", "polygraphy"} <= set(imported_names(ast.parse(source), at_import_time=False))
