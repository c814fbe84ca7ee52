"""The README shows code that runs, commands that exist and files that are there."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import typer.main
from PIL import Image

from navit_edge.cli.main import app


@pytest.fixture(scope="module")
def readme(repository: Path) -> str:
    return (repository / "README.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_python_of_the_readme_is_that_of_the_examples(readme: str, repository: Path) -> None:
    for name, block in zip(("quickstart", "streaming"), blocks(readme, "python"), strict=True):
        source = (repository / "examples" / f"{name}.py").read_text(encoding="utf-8")
        assert source.endswith(block)
        assert len(block.splitlines()) <= 20


@pytest.fixture
def after_the_demo(tiny_bundle: Path, photographs: Mapping[str, npt.NDArray[np.uint8]], tmp_path: Path) -> Path:
    """A folder that looks like the repository after `make demo`, with the small bundle in place of the large one."""
    (tmp_path / "demo" / "images").mkdir(parents=True)
    (tmp_path / "demo" / "clipart.navit").symlink_to(tiny_bundle)
    for name, image in photographs.items():
        Image.fromarray(image).save(tmp_path / "demo" / "images" / f"{name}.png")
    return tmp_path


def run_example(path: Path, folder: Path) -> str:
    finished = subprocess.run([sys.executable, path], cwd=folder, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_the_streaming_example_runs(
    repository: Path, after_the_demo: Path, photographs: Mapping[str, npt.NDArray[np.uint8]]
) -> None:
    said = run_example(repository / "examples" / "streaming.py", after_the_demo).splitlines()
    assert [line.split()[0] for line in said[:-2]] == [str(k) for k in range(len(photographs))]
    assert all(re.fullmatch(r"\d class \d", line) for line in said[:-2])
    assert re.fullmatch(r"mine \S+ ms in the queue", said[-2])
    assert said[-1] == str([int(line[-1]) for line in said[:3]])


def test_the_quickstart_runs(
    repository: Path, after_the_demo: Path, photographs: Mapping[str, npt.NDArray[np.uint8]]
) -> None:
    (after_the_demo / "demo" / "images" / "broken.png").write_bytes(b"no image")
    stdout = run_example(repository / "examples" / "quickstart.py", after_the_demo)
    for name in photographs:
        assert re.search(rf"^{name}\.png \d+x\d+ patches in pack \d+: \d \d+%$", stdout, re.MULTILINE)
    assert "broken.png: not an image" in stdout
    assert stdout.count("embedding: (64,) float32") == len(photographs)


def test_the_cpp_of_the_readme_is_a_part_of_the_tested_example(readme: str, repository: Path) -> None:
    (block,) = blocks(readme, "cpp")
    assert block in (repository / "examples" / "cpp" / "run_images.cc").read_text(encoding="utf-8")
    assert len(block.splitlines()) <= 20


def test_the_readme_lists_every_extra_with_its_packages(readme: str, repository: Path) -> None:
    rows = re.findall(r"^\| (none|`[\w-]+`) \| .* \| ([\w, -]+) \|$", readme.partition("## Try it")[0], re.MULTILINE)
    shown = {name.strip("`"): set(packages.split(", ")) for name, packages in rows}
    project = (repository / "pyproject.toml").read_text(encoding="utf-8")
    optional = re.split(r"^\[.*\]$", project.partition("[project.optional-dependencies]\n")[2], flags=re.MULTILINE)[0]
    lists = dict(re.findall(r"^([\w-]+) = \[(.*?)\]$", optional, re.MULTILINE | re.DOTALL))
    lists["none"] = re.findall(r"^dependencies = \[(.*)\]$", project, re.MULTILINE)[0]
    wanted = {name: set(re.findall(r'"([\w-]+)', packages)) for name, packages in lists.items()}
    assert shown == wanted


def test_the_readme_shows_every_command(readme: str) -> None:
    shown = {line.split()[0] for line in re.findall(r"^\$ navit-edge (.+)$", readme, re.MULTILINE)}
    commands: Any = typer.main.get_command(app)
    assert shown == set(commands.commands)


def test_the_map_lists_every_folder_with_sources(repository: Path) -> None:
    text = (repository / "docs" / "map.md").read_text(encoding="utf-8")
    top = ("csrc", "python", "export", "tests", "benchmarks", "examples", "cmake", "docs")
    for folder in top:
        suffixes = {".py", ".cc", ".h", ".md", ".cmake"}
        holders = {path.parent for path in (repository / folder).rglob("*") if path.suffix in suffixes}
        for holder in holders:
            name = holder.relative_to(repository).as_posix()
            shown = re.sub(r"^csrc/backends/.+", "csrc/backends/<name>", name)
            shown = re.sub(r"^csrc/tests/(?!support).+", "csrc/tests", shown).replace("examples/cpp", "examples")
            assert f"`{shown}/`" in text, f"docs/map.md does not name {name}/"


def test_the_demo_names_at_least_six_photographs_of_different_sizes(repository: Path, tmp_path: Path) -> None:
    code = f"import sys; sys.path.insert(0, {str(repository / 'examples')!r}); from pathlib import Path\n"
    code += f"from photographs import write_photographs; write_photographs(Path({str(tmp_path)!r}))"
    subprocess.run([sys.executable, "-c", code], check=True)
    sizes = []
    for path in tmp_path.glob("*.png"):
        with Image.open(path) as image:
            sizes.append(image.size)
    assert len(sizes) >= 6
    assert len(set(sizes)) == len(sizes)
    aspects = [width / height for width, height in sizes]
    assert min(aspects) < 0.5
    assert max(aspects) > 2


def test_the_figures_of_the_readme_are_those_of_the_benchmarks_json(repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, repository / "benchmarks" / "readme_table.py", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
