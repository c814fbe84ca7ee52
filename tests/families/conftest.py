"""Oracles of other libraries, on one thread."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torchvision_operators  # noqa: F401

sys.path.insert(0, str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[1] / "python"))  # command_line


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """These models are so small that threads cost more than they give."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def siglip2_bundle(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """A tiny SigLIP2 with its text tower, exported by the command from "folder" beside it, with an OpenVINO engine."""

    def make(folder: Path) -> None:
        from command_line import invoke
        from engines import build_openvino
        from siglip2_folder import make_folder

        make_folder(folder / "folder")
        bundle = folder / "model.navit"
        options = ("--text", "--lowerings", "padded", "--processor", "pillow")
        result = invoke("export", "--checkpoint", folder / "folder", *options, "-o", bundle)
        assert result.exit_code == 0, result.stderr
        build_openvino(bundle)

    return made_once("siglip2", make) / "model.navit"
