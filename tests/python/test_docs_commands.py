"""Every fenced block of the README and the pages runs, or says why not in a comment before it (docs_pages.py).

A page has one folder, in which its blocks run one after another. In it lie images, a film and, under every name
NAME.navit that the page reads, a copy of the small bundle. Long commands are run short: `export` gives the small
bundle's graphs without tracing a model, an engine for a GPU is only planned, `bench` measures once; `make` and `pip`
only say what they would do.
"""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import typer.main
from command_line import invoke
from docs_pages import COMMANDS, PAGES, ROOT, TEXTS, Block, fenced, page_text, shell_lines
from films import gray_levels, write_film
from PIL import Image

import navit_edge as ne
from navit_edge.cli.main import app
from navit_edge.cmake import cmake_dir

if TYPE_CHECKING:
    from navit_edge_export.model import NaViT

READ = [page for page in PAGES if page != "CHANGELOG.md"]
#: What a page says -> what is run in its place.
INSTEAD = {"find / ": "find . ", ", 9464)": ", 0)"}
#: Added to a command.
SHORT = {
    "bench": ["--iterations", "1", "--warmup", "0", "--duration", "0"],
    "evaluate": ["--duration", "0", "--timed-images", "2"],
    "tensorrt-rtx": ["--dry-run"],
}
#: Option or command -> the file that tests it, where a run takes seconds, another bundle, or does not end.
RUN_ELSEWHERE = {
    "--classes": "tests/families/test_zero_shot.py",
    "--calibrate": "tests/python/test_planning_commands.py",
    "serve": "tests/serving/test_docs_serving.py",
    "tune": "tests/python/test_tune_command.py",
    "--profile": "tests/python/test_tune_command.py",
}


@pytest.mark.parametrize("page", PAGES)
def test_every_block_runs_or_says_why_not(page: str) -> None:
    for block in fenced(page):
        assert block.language in (*COMMANDS, *TEXTS), f"{block.place}: the block has no language, or an unknown one"
        if block.reason == "needs":
            assert block.what, f"{block.place}: needs what?"
        if block.reason == "run by":
            assert (ROOT / block.what).is_file(), f"{block.place}: no {block.what}"
    assert len(re.findall(r"^ *```$", page_text(page), re.MULTILINE)) == len(fenced(page))  # none without a language


# --- commands


def fill(path: Path, page: str, bundle: Path) -> None:
    """What a page finds where its reader stands."""
    for name in ("photo.jpg", "photos/a.png", "photos/b.png", "folder/c.png", "folder/d.jpg", "shots/e/f.jpg"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(list(name.encode()))
        height, width = (int(side) for side in rng.integers(30, 120, 2))
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(path / name)
    (path / "sizes.csv").write_text("48,64\n100,30,2\n")
    (path / "names.txt").write_text("".join(f"class {k}\n" for k in range(10)))
    text = "\n".join(block.text for block in fenced(page))
    if "clip.mp4" in text:
        write_film(path / "clip.mp4", gray_levels(20))
    for name in {"DATA", "TRAIN", "labelled"} & set(re.findall(r"\w+", text)):  # folders of class folders
        for place in range(4):
            rng = np.random.default_rng([place, *name.encode()])
            (path / name / f"{place % 2}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(path / name / f"{place % 2}/{place}.png")
    made = set(re.findall(r"-o (\S+\.navit)", text))
    for name in {*re.findall(r"[\w-]+\.navit|\bBUNDLE\b", text)} - made:
        shutil.copytree(bundle, path / name)


@pytest.fixture
def exports(tiny_model: NaViT, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`export` reads its checkpoint and its options, and takes the small bundle's graphs. S/16 is small."""
    from navit_edge_export import onnx_export
    from navit_edge_export.model import SIZES

    def export(model: object, output: Path, *, overwrite: bool = False, **options: Any) -> None:
        assert model is not None
        assert overwrite or not output.exists()
        shutil.copytree(tiny_bundle, output)

    monkeypatch.setitem(SIZES, "s16", tiny_model.config)
    monkeypatch.setattr(onnx_export, "export_bundle", export)


def checkpoints(page: str, path: Path, model: NaViT) -> None:
    """The checkpoints that a page exports, small, each as its own library writes it."""
    text = "\n".join(block.text for block in fenced(page))
    if "siglip2-base-patch16-naflex" in text:
        import torchvision_operators
        import transformers

        small = transformers.Siglip2VisionConfig(
            hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2, num_patches=16
        )
        transformers.Siglip2VisionModel(small).save_pretrained(path / "siglip2-base-patch16-naflex")
    if "--config config.json" in text:
        for name in ("config.json", "model.safetensors"):
            shutil.copy(path / "siglip2-base-patch16-naflex" / name, path)
    elif "model.safetensors" in text:
        from navit_edge_export.model import save_checkpoint

        save_checkpoint(model, path / "model.safetensors")
    if "navit.pt" in text:
        import torch
        import torchvision_operators  # noqa: F401
        from vit_pytorch.na_vit_nested_tensor import NaViT as Theirs

        theirs = Theirs(image_size=64, patch_size=16, num_classes=3, dim=32, depth=1, heads=2, mlp_dim=32, dim_head=16)
        torch.save(theirs.state_dict(), path / "navit.pt")


def run_navit_edge(words: list[str], place: str) -> None:
    for option, test in RUN_ELSEWHERE.items():
        if option in words:
            assert option in (ROOT / test).read_text(encoding="utf-8"), f"{place}: {test} does not run {option}"
            return
    if "tensorrt-rtx" in words and find_spec("tensorrt_rtx") is None:  # has packages for x86-64 only
        return
    extra = [option for word, options in SHORT.items() if word in words for option in options]
    if words[0] == "up" and not words[1].endswith(".navit"):  # its bundle, beside that of the same name from elsewhere
        extra += ["--bundle", "of-up.navit"]
    finished = invoke(*words, *extra)
    assert finished.exit_code == 0, f"{place}: navit-edge {' '.join(words)}\n{finished.output}"


def judge_pip(words: list[str], place: str) -> None:
    """Extras, files and options of the build exist; nothing is installed."""
    extras = set(importlib.metadata.metadata("navit-edge").get_all("Provides-Extra") or ())
    lists = (ROOT / "CMakeLists.txt", *ROOT.glob("cmake/*.cmake"), *ROOT.glob("csrc/**/CMakeLists.txt"))
    known = "\n".join(path.read_text(encoding="utf-8") for path in lists)
    for before, word in zip(["", *words], words, strict=False):
        if match := re.fullmatch(r"(?:\.|(?:\./)?navit-edge)\[([\w,-]+)\]", word):
            assert set(match[1].split(",")) <= extras, f"{place}: {word}"
        if before in ("-r", "-c"):
            assert (ROOT / word).is_file(), f"{place}: {word}"
        if before == "-C":
            (name,) = re.findall(r"^cmake\.define\.(\w+)=", word)
            assert name in known, f"{place}: {name}"


def judge_pytest(words: list[str], place: str) -> None:
    """The file exists, and has tests with the word of -k."""
    (file,) = [word for word in words if word.endswith(".py")]
    word = words[words.index("-k") + 1] if "-k" in words else ""
    assert re.search(rf"def test_\w*{word}", (ROOT / file).read_text(encoding="utf-8")), f"{place}: {file} {word}"


def run_line(line: str, place: str) -> None:
    """Runs a line of a shell, or judges it by what it would do."""
    for said, done in INSTEAD.items():
        line = line.replace(said, done)
    if "|" in line:
        environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        finished = subprocess.run(["bash", "-euo", "pipefail", "-c", line], env=environment, check=False)
        assert finished.returncode == 0, f"{place}: {line}"
        return
    words = shlex.split(line)
    if words[0] == "navit-edge":
        run_navit_edge(words[1:], place)
    elif words[0] == "make":
        finished = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, check=False)
        assert finished.returncode == 0, f"{place}: {finished.stderr.decode()}"
    elif words[:2] == ["pip", "install"]:
        judge_pip(words, place)
    elif words[:3] == [".venv/bin/python", "-m", "pytest"]:
        judge_pytest(words, place)
    else:
        pytest.fail(f"{place}: nothing here runs {words[0]}; if a test does not have it, say so before the block")


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder, which is the current one and the home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def of_a_shell(page: str) -> list[Block]:
    return [block for block in fenced(page) if block.language in ("console", "sh")]


@pytest.mark.parametrize("page", [page for page in READ if any(not block.reason for block in of_a_shell(page))])
@pytest.mark.usefixtures("exports")
def test_the_commands_of_a_page_run(
    page: str, tiny_model: NaViT, tiny_bundle: Path, job_bundle: Path, at_home: Path
) -> None:
    small = "--plateau" in page_text(page)  # runs each engine until its memory is flat
    fill(at_home, page, job_bundle if small else tiny_bundle)
    checkpoints(page, at_home, tiny_model)
    for block in of_a_shell(page):
        for line in shell_lines(block) if not block.reason else ():
            run_line(line, block.place)


def judge_line(line: str, place: str) -> None:
    """What a test cannot run: its options, their values and its files are looked at."""
    words = shlex.split(line)
    if words[0] == "navit-edge":
        commands: Any = typer.main.get_command(app)  # of the click that typer brings along
        name, *arguments = words[1:]
        commands.commands[name].make_context(name, arguments)
    elif words[0] == "make":
        run_line(line, place)
    elif words[:2] == ["pip", "install"]:
        judge_pip(words, place)
    elif words[0].startswith("python") and words[1].endswith(".py"):
        path = ROOT / words[1].removeprefix("navit-edge/")  # the checkout, seen from where it was cloned
        options = [word for word in words if word.startswith("--")]
        assert all(f'"{option}"' in path.read_text(encoding="utf-8") for option in options if option != "--help"), place


@pytest.mark.parametrize("page", [page for page in READ if any(block.reason == "needs" for block in of_a_shell(page))])
def test_commands_that_need_a_device_have_options_and_values_that_exist(
    page: str, job_bundle: Path, at_home: Path
) -> None:
    fill(at_home, page, job_bundle)
    for block in of_a_shell(page):
        for line in shell_lines(block) if block.reason == "needs" else ():
            judge_line(line, block.place)


# --- Python


class Camera:
    """Three frames, as cv2.VideoCapture gives them."""

    def __init__(self) -> None:
        self.left = 3

    def read(self) -> tuple[bool, Any]:
        self.left -= 1
        return self.left >= 0, np.zeros((48, 64, 3), np.uint8)


def names_of(folder: Path, bundle: Path) -> dict[str, Any]:
    """What the pages take for granted."""
    paths = sorted((folder / "photos").glob("*.png"))
    images = []
    for path in paths:
        with Image.open(path) as image:
            images.append(np.array(image))
    front, rear = ne.Session(bundle), ne.Session(bundle)
    return {
        "np": np, "ne": ne, "session": front, "front": front, "rear": rear, "paths": paths, "photographs": images,
        "images": images, "image": images[0], "array": images[1], "camera": Camera(),
        "pil_image": Image.fromarray(images[0]),
    }  # fmt: skip


PYTHON = [page for page in READ if any(block.language == "python" for block in fenced(page))]


@pytest.mark.parametrize("page", PYTHON)
def test_the_python_of_a_page_is_python(page: str) -> None:
    for block in fenced(page):
        if block.language == "python":
            ast.parse(block.text, block.place)


@pytest.mark.parametrize("page", PYTHON)
@pytest.mark.usefixtures("exports")
def test_the_python_of_a_page_runs(page: str, tiny_bundle: Path, at_home: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow.parquet")
    assert pyarrow
    import pyarrow as whole

    fill(at_home, page, tiny_bundle)
    names = names_of(at_home, tiny_bundle) | {"pyarrow": whole}
    if page == "docs/run.md":  # reads what its commands have written
        for line in ("photos/ -o out.parquet", "photos/ -o frames/ --format numpy --save embedding"):
            run_line(f"navit-edge run model.navit {line}", page)
    for block in fenced(page):
        if block.language == "python" and not block.reason:
            text = block.text
            for said, done in INSTEAD.items():
                text = text.replace(said, done)
            exec(compile("\n" * (block.line - 1) + text, block.page, "exec"), names)
    if "server" in names:
        names["server"].close()


# --- C and C++

#: Before each block, in a function of its own.
CPP = """
#include <navit_edge/navit_edge.h>

#include <iostream>
#include <memory>
#include <optional>
#include <thread>

struct Frame {
  navit_edge::ImageView view() const { return {}; }
};
struct Camera {
  std::optional<Frame> next() { return std::nullopt; }
};
void show(const navit_edge::Result&) {}
"""
GIVEN = {
    "session": 'navit_edge::Session session("model.navit");',
    "images": "std::vector<navit_edge::ImageView> images;",
    "view": "navit_edge::ImageView view;",
    "owner": "std::shared_ptr<const void> owner;",
    "camera": "Camera camera;",
}
C = """
#include <navit_edge/navit_edge_c.h>
#include <stdlib.h>
static void fail(const char* message) { (void)message; abort(); }
"""


def function_of(block: Block, number: int) -> str:
    """A block as a function, which declares what the block takes for granted."""
    given = (
        text
        for name, text in GIVEN.items()
        if block.language == "cpp"
        and re.search(rf"\b{name}\b", block.text)
        and not re.search(rf"\b(?:Session|auto|ImageView) {name}\b", block.text)
    )
    head = f'void block_{number}(void) {{\n{" ".join(given)}\n#line {block.line} "{block.page}"\n'
    return f"{head}{block.text}}}\n"


def compile_text(text: str, path: Path, *options: str) -> None:
    path.write_text(text)
    compiler = os.environ.get("CXX", "c++") if path.suffix == ".cc" else os.environ.get("CC", "cc")
    include = cmake_dir().parents[2] / "include"
    command = [*shlex.split(compiler), *options, "-fsyntax-only", "-Wall", f"-I{include}", str(path)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


def blocks_in(language: str) -> list[Block]:
    return [block for page in READ for block in fenced(page) if block.language == language and not block.reason]


def test_the_cpp_of_all_pages_compiles(tmp_path: Path) -> None:
    functions = [function_of(block, number) for number, block in enumerate(blocks_in("cpp"))]
    assert functions
    includes = re.findall(r"^#include.*$", "\n".join(functions), re.MULTILINE)
    functions = [re.sub(r"^#include.*$", "", text, flags=re.MULTILINE) for text in functions]
    compile_text("\n".join([*includes, CPP, *functions]), tmp_path / "pages.cc", "-std=c++20", "-Wno-unused-variable")


def test_the_c_of_all_pages_compiles(tmp_path: Path) -> None:
    functions = [function_of(block, number) for number, block in enumerate(blocks_in("c"))]
    assert functions
    compile_text("\n".join([C, *functions]), tmp_path / "pages.c", "-std=c99")
