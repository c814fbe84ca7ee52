"""What a person meets first: help, completion, the pages, `python -m navit_edge`, and options that mean one thing."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import typer.main
from command_line import COMMAND, invoke, runner, words

from navit_edge.cli.help import choices_of, value_of
from navit_edge.cli.main import app

GROUP: Any = typer.main.get_command(app)
COMMANDS: dict[str, Any] = GROUP.commands
OPTIONS = [
    (name, parameter)
    for name, command in COMMANDS.items()
    for parameter in command.params
    if parameter.param_type_name == "option"
]


@functools.cache
def help_of(name: str, columns: int) -> str:
    arguments = [name, "--help"] if name else ["--help"]
    result = runner.invoke(app, arguments, env={"COLUMNS": str(columns), "TERM": "dumb"})
    assert result.exit_code == 0
    return str(result.stdout)


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_shows_values_and_no_types_of_python(name: str) -> None:
    text = help_of(name, 80)
    assert not re.search(r"<\w+>|--[\w-]+ (?:int|str|bool|float|Path|list|TEXT)\b|x>=|x<=|\bNone\b", text), text
    assert "(none)" not in text
    assert "\\" not in text


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_fits_its_terminal_and_breaks_no_word(name: str, columns: int) -> None:
    narrow, wide = help_of(name, columns), help_of(name, 1000)
    assert max(map(len, narrow.splitlines())) <= columns
    missing = set(wide.split()) - set(narrow.split())
    assert all(len(word) > columns - 26 for word in missing), missing  # a value that no line holds


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_help_names_every_choice_the_default_and_the_value_of_an_option(name: str, option: Any) -> None:
    text = words(help_of(name, 100))
    long = next(one for one in option.opts if one.startswith("--"))
    value = value_of(option)
    assert f"{long} {value}".strip() in text
    section = text.partition(f"{long} {value}".strip())[2]
    for choice in choices_of(option):
        assert choice in value.split("|") or choice in section
    if isinstance(option.default, (str, int, float)) and not isinstance(option.default, bool):
        assert "default: " in section


def test_python_m_navit_edge_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "navit_edge", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == invoke("--version").stdout
    assert re.fullmatch(r"navit-edge \d+\.\d+\.\d+\S*\n", done.stdout)


@pytest.mark.parametrize(
    ("typed", "expected"), [("navit-edge ins", "inspect"), ("navit-edge run --prec", "--precision")]
)
def test_a_shell_completes_commands_and_options(typed: str, expected: str) -> None:
    environment = {**os.environ, "_NAVIT_EDGE_COMPLETE": "complete_bash", "COMP_WORDS": typed}
    environment["COMP_CWORD"] = str(len(typed.split()) - 1)
    done = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [expected]


def test_completion_is_installed_for_a_shell(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    arguments = [*COMMAND, "--install-completion", "bash"]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True)
    script = tmp_path / ".bash_completions" / "navit-edge.sh"
    assert "bash completion installed" in done.stdout
    assert "_NAVIT_EDGE_COMPLETE=complete_bash" in script.read_text()
    assert str(script) in (tmp_path / ".bashrc").read_text()


def test_json_is_a_flag_of_every_command_that_prints_a_result() -> None:
    flags = {name: option for name, option in OPTIONS if "--json" in option.opts}
    assert set(flags) == set(COMMANDS) - {"docs", "serve"}
    assert {value_of(option) for option in flags.values()} == {""}
    for name, option in OPTIONS:
        if "--json-file" in option.opts:
            assert name in flags
            assert value_of(option) == "FILE"


def test_a_file_after_json_is_told_its_own_option(built: Path, tmp_path: Path) -> None:
    result = invoke("bench", built, "--json", tmp_path / "b.json")
    assert result.exit_code == 2
    assert "--json takes no file: --json-file FILE" in words(result.stderr)


def test_token_budgets_are_named_so_everywhere_and_the_earlier_spelling_still_works() -> None:
    for name, earlier in (("bench", "--budgets"), ("plan-budgets", "--budgets"), ("plan-budgets", "--max-budget")):
        assert any(earlier in option.opts[1:] for command, option in OPTIONS if command == name)
        assert f"{earlier} " not in help_of(name, 100)
    for name, option in OPTIONS:
        if re.search("budget", option.opts[0]) and value_of(option):
            assert option.opts[0] in ("--token-budgets", "--max-token-budget"), f"{name} {option.opts}"


def test_docs_lists_the_pages_with_their_titles(repository: Path) -> None:
    lines = invoke("docs").stdout.splitlines()
    pages = sorted(path.stem for path in (repository / "docs").glob("*.md") if path.stem != "README")
    assert [line.split()[0] for line in lines] == pages
    assert "inputs            Images that you can give" in lines


@pytest.mark.parametrize("name", ["inputs", "inputs.md", "docs/inputs.md"])
def test_docs_prints_a_page_as_it_is(repository: Path, name: str) -> None:
    assert invoke("docs", name).stdout == (repository / "docs" / "inputs.md").read_text(encoding="utf-8")
    place = Path(invoke("docs", name, "--path").stdout.strip())  # in the checkout, or a copy in what a wheel installed
    assert place.read_bytes() == (repository / "docs" / "inputs.md").read_bytes()


def test_docs_suggests_the_page_that_was_meant() -> None:
    result = invoke("docs", "input")
    assert result.exit_code == 2
    assert "there is no page 'input'; did you mean inputs?" in result.stderr


def test_the_pages_are_in_the_wheel_and_found_there(repository: Path, wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    installed = {path.name for path in (tmp_path / "navit_edge" / "docs").iterdir()}
    pictures = {".svg", ".webp"}  # no terminal shows them
    assert installed == {path.name for path in (repository / "docs").iterdir() if path.suffix not in pictures}
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        'sys.meta_path = [one for one in sys.meta_path if "editable" not in type(one).__module__.lower()]\n'
        "from navit_edge.cli.docs import docs_folder; print(docs_folder())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(tmp_path / "navit_edge" / "docs")


def test_pages_that_help_names_exist(repository: Path) -> None:
    named = set(re.findall(r"navit-edge docs ([\w-]+)", " ".join(help_of(name, 1000) for name in COMMANDS)))
    assert named
    assert named <= {path.stem for path in (repository / "docs").glob("*.md")}
