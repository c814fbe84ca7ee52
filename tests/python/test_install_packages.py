"""`scripts/install_packages.py` tells uv what pip is configured to."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Told = Callable[[str], dict[str, str]]


@pytest.fixture
def environment_of(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Told:
    monkeypatch.syspath_prepend(str(repository / "scripts"))
    from install_packages import environment_of as told

    return told


def test_uv_is_told_what_pip_says_of_a_file_and_of_the_environment(environment_of: Told, tmp_path: Path) -> None:
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\nindex-url = https://index.example/simple\nextra-index-url = file:///a/simple\n    file:///b/simple\n"
        "find-links = /in-the-file\ntimeout = 7\n[install]\nno-compile = true\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    environment |= {"PIP_CONFIG_FILE": str(config), "PIP_FIND_LINKS": "/one /two", "PIP_CONSTRAINT": "/c.txt"}
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    found = environment_of(listed)
    # A machine's own configuration may say more; what is said twice is said last by the environment.
    assert found["UV_DEFAULT_INDEX"] == "https://index.example/simple"
    assert found["UV_INDEX"].split() == ["file:///a/simple", "file:///b/simple"]
    assert found["UV_FIND_LINKS"] == "/one,/two"
    assert found["UV_CONSTRAINT"] == "/c.txt"
    assert found["UV_HTTP_TIMEOUT"] == "7"


def test_what_pip_does_not_say_is_not_said(environment_of: Told) -> None:
    assert environment_of("") == {}
    assert environment_of("global.no-compile='true'\nunreadable\nfreeze.timeout='10'\n") == {}
