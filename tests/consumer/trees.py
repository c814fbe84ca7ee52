"""A navit_edge to build against, the programs built against it, and how tools are called."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import navit_edge as ne


def run_tool(*command: str | Path, cwd: Path | None = None, **variables: str) -> str:
    """Output of a command; its whole output where it fails. The venv's own tools come first, as in the Makefile."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    finished = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, "PATH": path, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if finished.returncode != 0:
        shown = " ".join(map(str, command))
        pytest.fail(f"{shown} ended with {finished.returncode}:\n{finished.stdout}", pytrace=False)
    return finished.stdout


@dataclass(frozen=True)
class Tree:
    """A navit_edge to build against."""

    kind: str  # "tree" or "wheel"
    root: Path  # include/ and lib/ are below it
    cmake_dir: Path

    @property
    def include(self) -> Path:
        return self.root / "include"

    @property
    def lib(self) -> Path:
        return self.cmake_dir.parents[1]

    @property
    def core(self) -> Path:
        """The library that programs link: its name carries the minor version, until 1.0 that of the C++ classes."""
        return self.lib / f"libnavit_edge.so.{'.'.join(ne.__version__.split('.')[:2])}"


@dataclass(frozen=True)
class Programs:
    """The examples, built."""

    tree: Tree
    cpp: Path
    c: Path
