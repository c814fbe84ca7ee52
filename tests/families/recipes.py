"""docs/family-recipes.md: the blocks of each family, run on a small checkpoint of it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
from docs_pages import Block, fenced, page_text, shell_lines
from PIL import Image
from tiny_checkpoints import save_tiny
from typer.testing import CliRunner

from navit_edge.cli.main import app

PAGE = "docs/family-recipes.md"
LANGUAGE = "For a language model"


def sections() -> dict[str, list[Block]]:
    """Family, or LANGUAGE -> the blocks under its heading."""
    heads = [
        (page_text(PAGE).count("\n", 0, found.start()) + 1, found[1] or found[2])
        for found in re.finditer(rf"^## (?:`([\w.-]+)`|({LANGUAGE}))", page_text(PAGE), re.MULTILINE)
    ]
    ends = [*(line for line, _ in heads[1:]), 1 << 30]
    return {
        name: [block for block in fenced(PAGE) if line < block.line < end]
        for (line, name), end in zip(heads, ends, strict=True)
    }


def run(family: str, folder: Path, *, more: str = "") -> None:
    """Runs the blocks of a family, then those of section ``more``, in ``folder``, which is the current one."""
    (folder / "photos").mkdir()
    rng = np.random.default_rng(0)
    for name, (height, width) in {"a": (64, 96), "b": (80, 48)}.items():
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(folder / "photos" / f"{name}.png")
    blocks = sections()[family] + (sections()[more] if more else [])
    for block in blocks:
        if block.language == "python":
            exec(compile(block.text, block.place, "exec"), {})
            continue
        for line in shell_lines(block):
            words = shlex.split(line)
            if "--checkpoint" in words:
                place(family, Path(words[words.index("--checkpoint") + 1]))
            done = CliRunner().invoke(app, words[1:])
            assert done.exit_code == 0, f"{block.place}: {line}\n{done.output}"


def place(family: str, name: Path) -> None:
    """Puts a small checkpoint where a block looks for one."""
    made = save_tiny(family, Path("made"))
    name.parent.mkdir(parents=True, exist_ok=True)
    os.rename(made, name)
    shutil.rmtree("made", ignore_errors=True)
