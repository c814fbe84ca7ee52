"""What the documentation names exists: files, links, `make` targets, commands, options, modules, C++ names, tests.

Judged by the repository: its files, the Makefile, the command line's own parameters, the syntax trees of the packages.
"""

from __future__ import annotations

import ast
import functools
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from docs_pages import PAGES, ROOT, fenced, page_text, prose, spans

from navit_edge.cli.main import app

#: Files of other projects, what a reader would write, and what a command writes.
NOT_OURS = {
    "config.json", "app.c", "app.cc", "names.txt", "tiny.py", "export/navit_edge_export/families/tiny.py",
    "families/tiny.py", "tests/families/test_tiny.py", "csrc/tests/FOLDER/NAME_test.cc", "Python.h", "NvInfer.h",
    "NvInferRuntime.h", "cuda_runtime_api.h", "crt/host_defines.h", "data/naflex_transforms.py", "data/transforms.py",
    "jpeglib.h",
}  # fmt: skip
#: Options of programs other than navit-edge.
NOT_OUR_OPTIONS = {
    "--no-deps", "--platform", "--prefix", "--build", "--install", "--target", "--cflags", "--libs", "--preset",
    "--system-site-packages", "--durations", "--step-limit", "--backend", "--checkpoint", "--trt", "--onnxrt",
    "--ignore-requires-python",
}  # fmt: skip
SUFFIXES = r"(?:py|pyi|cc|h|c|cmake|md|sh|in|toml|yml|yaml|txt|map)"


@functools.cache
def files() -> list[str]:
    """The files of the repository, "/" in front of each."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = listed.stdout.splitlines() if listed.returncode == 0 else []
    if not found:  # not a checkout: what lies here
        found = [path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*") if path.is_file()]
    return [f"/{name}" for name in found if (ROOT / name).exists()]


def is_there(name: str) -> bool:
    """Whether ``name`` is a file or a folder, from the root or as the end of a path; * and <…> stand for anything."""
    pattern = re.escape(name.strip("/")).replace(r"\*", "[^/]*")
    pattern = re.sub(r"(?:\\?<)[\w ]+(?:\\?>)", "[^/]*", pattern)
    return any(re.search(rf"/{pattern}(?:$|/)", path) for path in files())


def named_files(page: str) -> Iterator[str]:
    top = r"(?:csrc|python|export|tests|examples|cmake|docs|benchmarks|scripts|\.ci)/"
    for span in spans(page):
        for word in span.split():
            word = word.strip("()[],;:").removeprefix("python ")
            word = re.sub(r"::.*$", "", word)
            if re.fullmatch(rf"{top}[\w./<>*-]*", word) or re.fullmatch(rf"[\w./<>*-]+\.{SUFFIXES}", word):
                yield word


@pytest.mark.parametrize("page", PAGES)
def test_every_file_and_folder_that_a_page_names_exists(page: str) -> None:
    missing = [name for name in named_files(page) if name not in NOT_OURS and not is_there(name)]
    assert not missing


def anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_a_page_leads_to_a_file_and_a_heading(page: str) -> None:
    for link in re.findall(r"\]\((?!https?://)([^)\s]+)\)", prose(page)):
        target, _, part = link.partition("#")
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), link
        if part:
            headings = re.findall(r"^#+ +(.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert part in {anchor(heading) for heading in headings}, link


def test_the_index_and_the_readme_lead_to_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    readme = page_text("README.md")
    for path in sorted((ROOT / "docs").glob("*.md")):
        assert path.name == "README.md" or f"({path.name}" in index, f"docs/README.md does not link {path.name}"
        assert f"(docs/{path.name})" in readme, f"README.md does not link docs/{path.name}"


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_of_a_page_exists(page: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {name for names in re.findall(r"^([a-z][a-z0-9. -]*):", makefile, re.MULTILINE) for name in names.split()}
    code = [*spans(page), *(line for block in fenced(page) for line in block.text.splitlines())]
    for line in code:
        for target in re.findall(r"(?:^|[\s$])make ([a-z][a-z0-9-]*(?:\.[0-9]+)?)\b", line.partition("#")[0]):
            assert target in targets, line


@functools.cache
def commands() -> dict[str, frozenset[str]]:
    """Command -> its options, and under "" those of navit-edge itself."""
    group: Any = typer.main.get_command(app)  # of the click that typer brings along

    def options(command: Any) -> frozenset[str]:
        return frozenset(name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts))

    return {"": options(group)} | {name: options(command) for name, command in group.commands.items()}


def command_lines(page: str) -> Iterator[str]:
    """What follows "navit-edge " in code, continued lines joined, without comments and what is piped on."""
    joined = [re.sub(r"\\\n\s*", " ", block.text) for block in fenced(page)]
    for line in [*spans(page), *(line for block in joined for line in block.splitlines())]:
        yield from re.findall(r"(?:^|[\s($|])navit-edge ((?:--)?[a-z][^|)]*)", re.sub(r"\s#.*$", "", line))


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_exists_with_its_options(page: str) -> None:
    for line in command_lines(page):
        first, *rest = re.split(r"[\s=\[\]]+", line)
        if first.startswith("--"):
            first, rest = "", [first]
        assert first in commands(), line
        for word in rest:
            option = word.rstrip("…,.;:")
            if re.fullmatch(r"--?[a-z][a-z0-9-]*", option):
                assert option in commands()[first] or option == "--help", f"{line}: no {option}"


@pytest.mark.parametrize("page", PAGES)
def test_every_option_that_a_page_names_is_one_of_some_command(page: str) -> None:
    known = frozenset().union(*commands().values()) | NOT_OUR_OPTIONS | {"--help"}
    for span in spans(page):
        if span.startswith("--"):
            for option in re.findall(r"(?:^|[ |])(--[a-z][a-z0-9-]*)", span):
                assert option in known, span


@functools.cache
def module_names(path: Path) -> frozenset[str]:
    """What a module or a package holds: its functions, classes, variables, imports, and its modules."""
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not source.exists():
        source = path.with_suffix(".pyi")
    found: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found.update((name.asname or name.name).partition(".")[0] for name in node.names)
        elif isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):  # tables of lazily imported names
            found.add(node.value)
    return frozenset(found)


def leads_to_something(name: str) -> bool:
    """Whether ``name`` ("navit_edge.metrics.serve") is a module or what a module holds."""
    package, *parts = name.split(".")
    path = ROOT / ("export" if package == "navit_edge_export" else "python") / package
    for part in parts:
        if (path / part).is_dir() or (path / f"{part}.py").exists() or (path / f"{part}.pyi").exists():
            path = path / part
        else:
            return part in module_names(path)
    return True


@pytest.mark.parametrize("page", PAGES)
def test_every_python_module_and_function_that_a_page_names_exists(page: str) -> None:
    text = "\n".join([*spans(page), *(block.text for block in fenced(page))])
    for name in re.findall(r"(?<![\w./<-])(navit_edge(?:_export)?(?:\.[A-Za-z_]\w*)+)", text):
        if not re.search(r"\.(h|pc)$", name) and name != "navit_edge.config":  # a key in a checkpoint's metadata
            assert leads_to_something(name), name
    for name in re.findall(r"\bne\.(\w+)", text):
        assert name in module_names(ROOT / "python" / "navit_edge"), f"ne.{name}"


@functools.cache
def words_of_the_sources() -> frozenset[str]:
    """Every identifier in the sources of the repository."""
    found: set[str] = set()
    for name in files():
        if re.search(r"\.(h|cc|c|py|in|txt|cmake|sh|map)$|Makefile$", name) and not name.startswith("/docs/"):
            found.update(re.findall(r"[A-Za-z_]\w+", (ROOT / name[1:]).read_text(encoding="utf-8")))
    return frozenset(found)


@pytest.mark.parametrize("page", PAGES)
def test_every_cpp_name_and_variable_of_the_environment_that_a_page_names_exists(page: str) -> None:
    for span in spans(page):
        for owner, member in re.findall(r"\b([A-Z]\w+)::(~?\w+)", span):
            assert {owner, member} <= words_of_the_sources(), span
        for name in re.findall(r"\b(?:navit_edge_c_|NAVIT_EDGE_)\w*[A-Za-z0-9]\b(?!\*)", span):
            assert name in words_of_the_sources(), span


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_a_page_names_exists(page: str) -> None:
    named = {span for span in spans(page) if re.fullmatch(r"test_[a-z0-9_]+", span)}
    if named:
        sources = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
        defined = {name for source in sources for name in re.findall(r"def (test_\w+)\(", source)}
        assert not sorted(named - defined)


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith(("docs/", "README"))])
def test_prose_is_wrapped_at_a_hundred_characters(page: str) -> None:
    text = re.sub(r"<!-- \w+: begin.*?: end -->", "", prose(page), flags=re.DOTALL)
    for line in text.splitlines():
        alone = " " not in line.strip(" *-") or line.lstrip().startswith("|") or line.startswith("    ")
        assert len(line) <= 100 or alone, line
