"""A Ray cluster of several nodes on this machine as tests use it, and images for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from ray_cluster import ENVIRONMENT

import navit_edge as ne

HERE = Path(__file__).parent


class RayCluster:
    """See ray_cluster.py. Its processes are one session of the system, so that all of them can be ended."""

    def __init__(self, *cpus: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "ray_cluster.py"), *map(str, cpus)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        self.raylets: list[int] = []
        self.address = ""
        self._read()

    def _read(self) -> None:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the cluster did not start: exit code {self.process.wait()}"
        said = json.loads(line)
        self.address, self.raylets = said["address"], said["raylets"]

    def order(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        self._read()

    @property
    def environment(self) -> dict[str, str]:
        """For drivers."""
        return os.environ | ENVIRONMENT

    def actors(self) -> list[int]:
        """The processes of actors that run jobs."""
        return [pid for pid in processes() if command_of(pid).startswith("ray::JobActor") and self._has(pid)]

    def wait_for_actors(self, count: int) -> list[int]:
        """Until there are so many."""
        while len(found := self.actors()) != count:
            assert self.process.poll() is None
            time.sleep(0.02)
        return found

    def _has(self, pid: int) -> bool:
        return session_of(pid) == self.process.pid or parent_of(pid) in self.raylets

    def close(self) -> None:
        try:
            assert self.process.stdin is not None
            self.process.stdin.close()
            self.process.wait(60)
        finally:
            for pid in processes():
                if session_of(pid) == self.process.pid:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()


def processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def command_of(pid: int) -> str:
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:  # it has ended
        return ""


def parent_of(pid: int) -> int:
    return _stat(pid, 1)


def session_of(pid: int) -> int:
    return _stat(pid, 3)


def _stat(pid: int, place: int) -> int:
    """Of /proc/PID/stat, counted behind the name."""
    try:
        return int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[place])
    except OSError:
        return -1


def make_images(folder: Path, count: int) -> list[Path]:
    """Noise of 8 to 40 pixels a side, as PNG; the same every time."""
    rng = np.random.default_rng(15)
    folder.mkdir(exist_ok=True)
    paths = []
    for place in range(count):
        height, width = rng.integers(8, 41, 2)
        path = folder / f"{place:05}.png"
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(path, compress_level=1)
        paths.append(path)
    return paths


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The whole lines of an output so far."""
    content = path.read_bytes() if path.exists() else b""
    return [json.loads(line) for line in content.splitlines(keepends=True) if line.endswith(b"\n")]


def started(cluster: RayCluster, bundle: Path, output: Path, *options: str) -> subprocess.Popen[bytes]:
    """A job that reads its paths from standard input."""
    command = ["run", str(bundle), "-", "-o", str(output), "--save", "embedding", "--precision", "fp32"]
    return subprocess.Popen(
        [sys.executable, "-m", "navit_edge", *command, "--ray", cluster.address, *options],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=cluster.environment,
    )


def feed(job: subprocess.Popen[bytes], paths: list[Path]) -> None:
    assert job.stdin is not None
    try:
        job.stdin.write(b"".join(os.fsencode(path) + b"\n" for path in paths))
        job.stdin.flush()
    except BrokenPipeError:
        job.stdin = None
        raise AssertionError(ended(job)) from None


def ended(job: subprocess.Popen[bytes]) -> tuple[int, str]:
    """(exit code, standard error)"""
    _, said = job.communicate(timeout=300)
    return job.returncode, said.decode()


def eventually(job: subprocess.Popen[bytes], what: Callable[[], bool]) -> None:
    while not what():
        assert job.poll() is None, ended(job)
        time.sleep(0.02)


def check_lines(lines: list[dict[str, Any]], paths: list[Path], alone: list[ne.Result]) -> None:
    """Every image once, in order, with the numbers or the error of ``alone``."""
    assert [line["file"] for line in lines] == [str(path) for path in paths]
    for line, result in zip(lines, alone, strict=True):
        if result.error is not None:
            assert (line["error_type"], line["error"]) == (type(result.error).__name__, str(result.error))
            continue
        np.testing.assert_allclose(line["embedding"], result.embedding, atol=1e-5)
        assert line["grid"] == list(result.grid)
        assert [one["index"] for one in line["top_k"]] == [one.index for one in result.top_k(3)]
