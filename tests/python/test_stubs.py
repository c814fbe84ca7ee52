"""The stubs of the C++ module are what the module is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_the_stubs_agree_with_the_compiled_module() -> None:
    allowlist = Path(__file__).with_name("stubtest_allowlist.txt")
    command = [sys.executable, "-m", "mypy.stubtest", "navit_edge._core", "--allowlist", str(allowlist)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
