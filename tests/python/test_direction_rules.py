"""Who may depend on whom (docs/map.md). Judged by reading the sources: includes of C++, the syntax tree of Python."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)
# The folders of csrc/src, of csrc/tests too: each includes only itself and those before it.
STAGES = (
    "base", "bundle", "metrics", "pixels", "decode", "plan", "sizing", "pack", "engine", "cache", "session", "stream",
    "c_api",
)  # fmt: skip
KERNEL = re.compile(r"(\w+)_(?:portable|avx2|avx512|neon)")
HEAVY = {
    "torch", "onnx", "onnxscript", "onnx_ir", "onnxruntime", "openvino", "tensorrt", "tensorrt_rtx", "polygraphy",
    "tokenizers",
}  # fmt: skip
#: Of the extra ``serve``: at import time only in the folders of the protocols that it is for.
SERVING = {"fastapi", "starlette", "uvicorn", "grpc", "tritonclient", "google", "prometheus_client"}
PROTOCOLS = ("serve/http/", "serve/grpc/")


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


def folder_of(path: Path, root: Path) -> str:
    """The stage that a file belongs to: the first folder below the root."""
    parts = path.relative_to(root).parts
    assert len(parts) > 1, f"{path} is in no folder; expected one of {', '.join(STAGES)}"
    return parts[0]


def headers_of(source: Path, include: Path) -> list[Path]:
    """Where the header of a .cc may be: beside it, or public. Kernels of one kind share one."""
    kernel = KERNEL.fullmatch(source.stem)
    own = [source.with_name(f"{kernel[1]}_kernels.h")] if kernel else []
    public = [include / "navit_edge" / f"{source.stem}{suffix}" for suffix in (".h", ".h.in")]
    return [*own, source.with_suffix(".h"), *public]


def is_public(include: Path, name: str) -> bool:
    """Whether a header is one of those that are installed; CMake makes one of them, version.h, from its template."""
    return name.startswith("navit_edge/") and ((include / name).is_file() or (include / f"{name}.in").is_file())


def test_a_stage_includes_only_itself_and_earlier_ones(repository: Path) -> None:
    for root in (repository / "csrc" / "src", repository / "csrc" / "tests"):
        for path, bracket, name in cxx_includes(root):
            folder = folder_of(path, root)
            if folder == "support" and root.name == "tests":  # what tests share, on top of every stage
                continue
            assert folder in STAGES, f"{path}: {folder} is no stage; expected one of {', '.join(STAGES)}"
            if bracket == '"' and not name.startswith(("navit_edge/", "nlohmann/")):
                stage = name.partition("/")[0]
                if stage == "support" and root.name == "tests":
                    continue
                assert stage in STAGES, f"{path} includes {name}; write it from csrc/src, with its folder"
                assert STAGES.index(stage) <= STAGES.index(folder), f"{path} includes {name}; {stage} comes later"


def test_no_include_climbs(repository: Path) -> None:
    for path, _, name in cxx_includes(repository / "csrc"):
        assert ".." not in Path(name).parts, f"{path} includes {name}"


def test_every_source_of_the_core_has_a_header_of_its_name(repository: Path) -> None:
    include = repository / "csrc" / "include"
    for source in sorted((repository / "csrc" / "src").rglob("*.cc")):
        headers = [header for header in headers_of(source, include) if header.is_file()]
        assert headers, f"{source} has no header of its name; it declares what the file defines"
        paths = [header.as_posix().removesuffix(".in") for header in headers]
        names = [path.split("/csrc/src/")[-1].split("/csrc/include/")[-1] for path in paths]
        included = [name for _, name in INCLUDE.findall(source.read_text(encoding="utf-8"))]
        kernel = KERNEL.fullmatch(source.stem) is not None  # includes it through the body that all of its kind share
        assert kernel or any(name in included for name in names), f"{source} does not include {' or '.join(names)}"


def test_no_two_files_of_the_core_share_a_name(repository: Path) -> None:
    seen: dict[str, Path] = {}
    for root in ("csrc/src", "csrc/include"):
        for path in sorted((repository / root).rglob("*")):
            if path.suffix in (".h", ".cc"):
                assert path.name not in seen, f"{path} and {seen[path.name]}"
                seen[path.name] = path


def test_the_core_never_includes_python(repository: Path) -> None:
    for folder in ("csrc/src", "csrc/include"):
        for path, _, name in cxx_includes(repository / folder):
            assert name != "Python.h", path
            assert not name.startswith("pybind11/"), path


def test_public_headers_include_only_public_headers_and_the_standard_library(repository: Path) -> None:
    include = repository / "csrc" / "include"
    for path, _, name in cxx_includes(include):
        assert "/" not in name or is_public(include, name), f"{path}: {name}"


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
            assert own or is_public(include, name), f"{path}: {name}"
        else:
            assert "/" not in name or name.startswith("pybind11/"), f"{path}: {name}"


def test_nothing_heavy_is_imported_with_navit_edge(repository: Path) -> None:
    for path, name in python_imports(repository / "python" / "navit_edge", at_import_time=True):
        heavy = HEAVY | {"navit_edge_export"} | (set() if any(one in path.as_posix() for one in PROTOCOLS) else SERVING)
        assert name.partition(".")[0] not in heavy, f"{path} imports {name}"


#: Folders and modules of ``navit_edge``: each imports only those before it, at import time and inside functions.
PYTHON_ORDER = (
    "errors", "vocabulary", "threads", "text", "tables", "options", "result", "files", "place", "picture", "machine",
    "bundle", "token_parts", "embeds", "video", "tiles", "pixels", "decode", "inputs", "future", "policy", "streaming",
    "submitting", "metrics", "profile", "session", "text_encoder", "zero_shot", "planning", "page", "memory", "oracle",
    "compile", "quantize", "verify", "bench", "run", "ray", "evaluate", "tune", "doctor", "cmake", "demo", "report",
    "serve", "triton", "cli", "__main__",
)  # fmt: skip
#: Inside functions only: ``pixels`` is what a caller gives, and a file among it is decoded.
BACKWARDS = {("pixels", "decode")}


def test_python_modules_import_only_earlier_ones(repository: Path) -> None:
    package = repository / "python" / "navit_edge"
    parts = {path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert parts - {"__init__"} == set(PYTHON_ORDER), "the order names every folder and module, and no other"
    for at_import_time in (True, False):
        allowed = set() if at_import_time else BACKWARDS
        for path, name in python_imports(package, at_import_time=at_import_time):
            own = path.relative_to(package).parts[0].removesuffix(".py")
            other = name.split(".")[1] if name.startswith("navit_edge.") else own
            if own == "__init__" or other == own or other not in PYTHON_ORDER or (own, other) in allowed:
                continue
            assert PYTHON_ORDER.index(other) < PYTHON_ORDER.index(own), f"{path} imports {name}"


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
