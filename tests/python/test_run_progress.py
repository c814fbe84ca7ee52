"""What `navit-edge run` tells while it runs: a bar, lines now and then, percentiles."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from navit_edge.cli.main import app
from navit_edge.run.progress import Latencies, Progress
from navit_edge.run.rows import Row

COMMAND = [sys.executable, "-m", "navit_edge.cli.main", "run"]


runner = CliRunner()


def invoke(*arguments: object) -> Any:
    return runner.invoke(app, ["run", *map(str, arguments)], env={"COLUMNS": "160", "TERM": "dumb"})


def test_percentiles_lie_within_two_percent_of_numpys() -> None:
    values = np.random.default_rng(0).lognormal(3, 1, 5000)
    latencies = Latencies()
    for value in values:
        latencies.add(value)
    for share in (0.01, 0.5, 0.99):
        expected = np.percentile(values, 100 * share, method="inverted_cdf")
        assert abs(latencies.percentile(share) / expected - 1) < 0.02
    assert np.isnan(Latencies().percentile(0.5))


def progress_lines(monkeypatch: pytest.MonkeyPatch, *, quiet: bool) -> str:
    """Of forty images, two seconds each, eight of which were done before; on a terminal or in a log alike."""
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    text = io.StringIO()
    progress = Progress(Console(file=text, width=200), quiet=quiet, bar=True, fill=lambda: 0.75)
    progress._total = 48
    progress._skipped = lambda: 8
    with progress:
        for place in range(40):
            clock[0] += 2
            record: dict[str, Any] = {"latency_ms": 5.0} if place else {"error": "bad"}
            progress.add(Row(record=record))
    return text.getvalue() + progress.summary()


def test_where_nobody_looks_a_line_comes_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = progress_lines(monkeypatch, quiet=False).splitlines()
    assert len(lines) == 6  # every 15 seconds of 80, and the summary
    assert lines[0] == "8/40 images, 0.5 images/s, fill 75%, p50 5.0, p99 5.0 ms, 1 failed, 1:04 min left"
    assert lines[-1] == "40 images in 1:20 min, 0.5 images/s, fill 75%, p50 5.0, p99 5.0 ms, 1 failed"


def test_quiet_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(progress_lines(monkeypatch, quiet=True).splitlines()) == 1


def test_a_terminal_shows_a_bar_that_is_gone_in_the_end(
    job_bundle: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a pseudo-terminal, as script(1) makes one."""
    import pty

    shown = bytearray()

    def read(handle: int) -> bytes:
        data = os.read(handle, 1024)
        shown.extend(data)
        return data

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    command = [*COMMAND, str(job_bundle), str(folder), "-o", str(tmp_path / "out.jsonl")]
    assert os.waitstatus_to_exitcode(pty.spawn(command, read)) == 1
    text = shown.decode()
    assert "starting" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # the cursor is back
    last = [line for line in text.replace("\r", "\n").splitlines() if line.strip()][-2:]
    assert "10 images in" in last[0]
    assert last[1].startswith("error: 1 of 10 images failed")


def test_the_last_line_says_which_entries_of_folders_were_left_out(job_bundle: Path, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    for name in ("b.txt", "c.txt", ".d.png"):
        (tmp_path / name).touch()
    result = invoke(job_bundle, tmp_path, "--json")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[-1].endswith("; 3 entries skipped: 2 .txt, 1 hidden")
