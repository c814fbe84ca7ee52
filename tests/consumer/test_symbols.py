"""What leaves the libraries: the API that the public headers mark, and nothing that another library could trip over."""

from __future__ import annotations

import re
from pathlib import Path

from trees import Tree, run_tool

#: What programs catch, and what they derive from.
ERRORS = {"Error", "InvalidInput", "OverBudget", "BundleError", "BackendError", "Cancelled"}
BASES = {"ImageSource"}


def exported(library: Path) -> set[str]:
    """Names of what a shared library defines for others, demangled."""
    lines = run_tool("nm", "--dynamic", "--defined-only", "--demangle", library).splitlines()
    return {line.split(maxsplit=2)[2] for line in lines if line.strip()}


def test_the_library_exports_its_api_and_nothing_else(tree: Tree) -> None:
    include = tree.include / "navit_edge"
    declared = "\n".join(path.read_text() for path in include.glob("*.h") if path.name != "navit_edge_c.h")
    names = exported(tree.core)
    in_c = {name for name in names if name.startswith("navit_edge_c_")}
    assert in_c == set(re.findall(r"\b(navit_edge_c_\w+)\(", (include / "navit_edge_c.h").read_text()))
    rtti = {name for name in names if name.startswith(("typeinfo ", "vtable "))}
    assert {name.rpartition("::")[2] for name in rtti} == ERRORS | BASES
    assert all(" for navit_edge::" in name for name in rtti)
    api = names - in_c - rtti
    assert len(api) > 50
    for name in sorted(api):
        assert name.startswith("navit_edge::"), name  # nothing of std, nlohmann, or without a namespace
        words = re.findall(r"~?\w+", name.removeprefix("navit_edge::").partition("(")[0].partition("[")[0])
        for word in words:  # class and function
            assert word.startswith("~") or re.search(rf"\b{word}\b", declared), name
        assert not {"Impl", "State"} & set(words), name  # what classes keep to themselves


def test_a_backend_exports_one_symbol(tree: Tree) -> None:
    """navit_edge_backend(abi_version): csrc/tests/engine/backend_loader_test.cc shows other versions."""
    backends = sorted(tree.lib.glob("libnavit_edge_*.so"))
    assert backends
    for backend in backends:
        assert exported(backend) == {"navit_edge_backend"}, backend
