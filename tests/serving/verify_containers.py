"""The images' files by hadolint, the linter of Dockerfiles (`make test-serving`)."""

from __future__ import annotations

import subprocess
import sysconfig
from pathlib import Path

from test_containers import DOCKERFILES


def test_hadolint_finds_nothing() -> None:
    program = Path(sysconfig.get_path("scripts")) / "hadolint"
    finished = subprocess.run([program, *DOCKERFILES], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
