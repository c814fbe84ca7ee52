"""Installs a checkout into the running Python, editable, and says how far compiling is: pip itself says nothing.

python scripts/install_editable.py LOG [REQUIREMENTS]

REQUIREMENTS: packages that compiling does not need; they are installed at the same time, since unpacking them keeps one
core busy and compiling has no use for more than the rest.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import torch_index

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-compile"]
PACKAGES = [sys.executable, str(Path(__file__).with_name("install_packages.py"))]
EDITABLE = [
    "--verbose",
    "--no-build-isolation",
    "--no-deps",
    "--config-settings=cmake.define.NAVIT_EDGE_WERROR=ON",
    "--editable",
    ".",
]
#: What ninja says of each file: "[12/115] Building CXX object ...".
STEP = re.compile(r"^\s*\[(\d+)/(\d+)\] ")
TAIL_LINES = 40
LEAST_SECONDS = 10.0  # between two lines where no terminal is


def main() -> int:
    log = Path(sys.argv[1])
    log.parent.mkdir(parents=True, exist_ok=True)
    others = None
    packages_log = log.with_name("packages.log")
    if len(sys.argv) > 2:
        print(f"installing the packages of {sys.argv[2]} at the same time; log: {packages_log}", flush=True)
        with packages_log.open("wb") as file:
            command = [*PACKAGES, *torch_index.options(torch_index.CPU_INDEX).split(), "-r", sys.argv[2]]
            others = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    try:
        code = install(log)
        if others is not None:
            if code == 0 and others.poll() is None:
                print("waiting for the packages", flush=True)
            other_code = others.wait()
            if other_code != 0:
                show_end_of(packages_log)
            code = code or other_code
    finally:
        if others is not None and others.poll() is None:
            others.terminate()
            others.wait()
    return code


def install(log: Path) -> int:
    """pip's exit code; what it says goes into ``log``, and its end is shown if it fails."""
    process = subprocess.Popen(
        [*PIP, *EDITABLE],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, "NINJA_STATUS": "[%f/%t] "},
    )
    assert process.stdout is not None
    with log.open("w", encoding="utf-8") as file:
        follow(process.stdout, file)
    code = process.wait()
    if code != 0:
        show_end_of(log)
    return code


def follow(lines: IO[str], log: IO[str]) -> None:
    """Copies ``lines`` into ``log``; shows how many files are compiled: one line of a terminal, else now and then."""
    terminal = sys.stdout.isatty()
    started, shown = time.monotonic(), -LEAST_SECONDS
    done = False
    for line in lines:
        log.write(line)
        found = STEP.match(line)
        if found is None:
            continue
        now = time.monotonic() - started
        done = found[1] == found[2]
        text = f"compiling: {found[1]} of {found[2]}, {now:.0f} s"
        if terminal:
            print(f"\r{text}", end="\n" if done else "", flush=True)
        elif done or now - shown >= LEAST_SECONDS:
            print(text, flush=True)
            shown = now
    if terminal and not done:
        print()


def show_end_of(log: Path) -> None:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    print(*lines[-TAIL_LINES:], f"all of it: {log}", sep="\n", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
