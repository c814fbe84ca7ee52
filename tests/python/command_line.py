"""The command line in the process of the test, and as a command of its own."""

from __future__ import annotations

import sys
from typing import Any

from typer.testing import CliRunner

from navit_edge.cli.main import app

runner = CliRunner()
COMMAND = [sys.executable, "-m", "navit_edge.cli.main"]


def invoke(*arguments: object) -> Any:
    return runner.invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "160", "TERM": "dumb"})


def words(text: str) -> str:
    """Without the boxes and line breaks of a usage error."""
    return " ".join(text.replace("│", " ").split())
