"""Step "memcheck": the back end's step once more, small, under NVIDIA's compute-sanitizer where it is installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from proof.results import Results
from proof.settings import Settings

#: Where CUDA's toolkit has it, if it is not on PATH.
USUAL = Path("/usr/local/cuda/bin/compute-sanitizer")
LEFT_UNUSED_S = 5.0


def run(settings: Settings, results: Results) -> None:
    """What it found; left out where there is none of it, or no time for it."""
    tool = shutil.which("compute-sanitizer") or (str(USUAL) if USUAL.is_file() else "")
    if settings.device != "cuda" or not tool:
        results.put("left_out", "no CUDA" if settings.device != "cuda" else "no compute-sanitizer on this machine")
        return
    inner = results.file.with_name("memcheck-backend.json")
    command = [
        # Calls fail on purpose: too much memory, a capture that is refused.
        tool, "--tool", "memcheck", "--report-api-errors", "no",
        sys.executable, "-m", "proof.steps", "backend", "--device", "cuda", "--quick", "--bundle", str(settings.bundle),
        "--libraries", str(settings.libraries), "--file", str(inner), "--limit", str(results.limit_s),
    ]  # fmt: skip
    path = os.pathsep.join([str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")])
    limit_s = results.limit_s - LEFT_UNUSED_S
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
            timeout=limit_s,
        )
    except subprocess.TimeoutExpired:
        results.put("left_out", f"no end within {limit_s:g} s")
        return
    said = done.stdout + done.stderr
    summary = re.findall(r"ERROR SUMMARY: .*", said)
    results.put("summary", summary)
    results.put("says_last", said[-2000:])
    results.check("the back end's step passes under compute-sanitizer", done.returncode == 0)
    results.check(
        "compute-sanitizer finds nothing", bool(summary) and all("SUMMARY: 0 errors" in line for line in summary)
    )
