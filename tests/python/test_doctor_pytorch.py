"""`navit-edge doctor`: which PyTorch is installed, and that it needs no CUDA. The package is a folder of the test."""

from __future__ import annotations

import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from navit_edge.doctor import State
from navit_edge.doctor.pytorch import CPU_INDEX, torch_finding


@pytest.fixture
def torch_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package torch without anything in it; it fails if it is imported."""
    (tmp_path / "__init__.py").write_text("raise AssertionError('imported')")
    spec = ModuleSpec("torch", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
    return tmp_path / "version.py"


#: As the wheels write it.
VERSION = "from typing import Optional\n__version__ = '{}'\ndebug = False\ncuda: Optional[str] = {}\nhip = None\n"


def test_a_pytorch_for_cuda_is_named_and_said_to_be_more_than_is_needed(torch_of: Path) -> None:
    torch_of.write_text(VERSION.format("2.13.0+cu130", "'13.0'"))
    found = torch_finding()
    assert found.state is State.FOUND
    assert found.facts == {"version": "2.13.0+cu130", "cuda": "13.0"}
    assert "built for CUDA 13.0" in found.text
    assert "not needed" in found.text


def test_a_pytorch_without_cuda_is_enough(torch_of: Path) -> None:
    torch_of.write_text(VERSION.format("2.13.0+cpu", "None"))
    found = torch_finding()
    assert found.facts == {"version": "2.13.0+cpu", "cuda": None}
    assert found.text == "2.13.0+cpu, without CUDA, which nothing here needs"


def test_a_pytorch_that_states_no_version_is_no_crash(torch_of: Path) -> None:
    assert str(torch_of.parent) in torch_finding().text


def test_without_pytorch_the_command_takes_the_build_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    found = torch_finding()
    assert found.state is State.ABSENT
    assert found.remedy == (f'pip install "navit-edge[export]" --extra-index-url {CPU_INDEX}',)
