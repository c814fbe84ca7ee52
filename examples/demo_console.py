"""Where the demo's files lie, and how it speaks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from rich.console import Console

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "demo"

# Wide enough for the tables, also if the output is a file.
console = Console(highlight=False, width=max(124, shutil.get_terminal_size().columns))


def say(text: str) -> None:
    """One paragraph, left to the terminal to wrap."""
    console.print(text, soft_wrap=True)


def step(number: str, title: str) -> None:
    """A heading."""
    say(f"\n[bold green]{number}[/bold green]  [bold]{title}[/bold]")


def shown(path: Path) -> str:
    """Relative to the repository, as the user would type it."""
    return os.path.relpath(path, ROOT)


def navit_edge(*arguments: str) -> None:
    """Shows and runs a command of the CLI; it reports its own progress and errors."""
    say(f"[bold cyan]$ navit-edge {' '.join(arguments)}[/bold cyan]")
    finished = subprocess.run([sys.executable, "-m", "navit_edge.cli.main", *arguments], cwd=ROOT, check=False)
    if finished.returncode != 0:
        raise SystemExit(finished.returncode)
