"""A job that is killed, interrupted or told to stop ends with every image exactly once (docs/run.md).

NAVIT_EDGE_KILL_TRIES: how often each format is killed; few by default, since a process takes a second to start.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import navit_edge as ne

COMMAND = [sys.executable, "-m", "navit_edge.cli.main", "run"]
TRIES = int(os.environ.get("NAVIT_EDGE_KILL_TRIES", "2"))
KINDS = ("jsonl", "parquet", "numpy")
#: Distinct images, and names of each; a job of them runs for a second or two.
DISTINCT, NAMES = 6, 60
BAD = 7  # images among them that are none


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("many")
    rng = np.random.default_rng(1)
    for number in range(DISTINCT):
        height, width = rng.integers(60, 160, 2)
        first = path / f"000-{number}.jpg"
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(first, quality=60)
        for name in range(1, NAMES):
            os.link(first, path / f"{name:03}-{number}.jpg")
    for number in range(BAD):
        (path / f"{number * 13:03}-bad.jpg").write_bytes(b"no image")
    return path


@pytest.fixture(scope="module")
def embeddings(job_bundle: Path, folder: Path) -> dict[str, Any]:
    """Of each distinct image, run alone."""
    with ne.Session(job_bundle) as session:
        return {str(n): session.run([folder / f"000-{n}.jpg"])[0].embedding for n in range(DISTINCT)}


def start(bundle: Path, images: Path | str, output: Path, kind: str, **options: Any) -> subprocess.Popen[str]:
    command = [
        *COMMAND,
        str(bundle),
        str(images),
        "-o",
        str(output),
        "--format",
        kind,
        "--resume",
        "--save",
        "embedding",
    ]
    return subprocess.Popen(
        [*command, "--part-rows", "16"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # ignored where tests run with &
        **options,
    )


def rows_of(kind: str, output: Path) -> list[tuple[str, bool, Any]]:
    """(file, failed, embedding) of the whole rows of an output in any state, by readers that nobody here wrote."""
    if not output.exists():
        return []
    if kind == "parquet":
        parts = sorted(output.glob("part-*.parquet"))
        tables = [row for part in parts for row in pq.read_table(part).to_pylist()]
        return [(row["file"], row["error"] is not None, row["embedding"]) for row in tables]
    lines = output / "index.jsonl" if kind == "numpy" else output
    if not lines.exists():
        return []
    whole = [json.loads(line) for line in lines.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    if kind == "jsonl":
        return [(row["file"], "error" in row, row.get("embedding")) for row in whole]
    data = np.fromfile(output / "embedding.npy", np.float32, offset=128)
    vectors = data[: len(whole) * 64].reshape(-1, 64)  # there before the line is
    return [(row["file"], "error" in row, vector) for row, vector in zip(whole, vectors, strict=True)]


def require_exactly_once(kind: str, output: Path, folder: Path, embeddings: dict[str, Any]) -> None:
    rows = rows_of(kind, output)
    assert sorted(name for name, _, _ in rows) == sorted(str(path) for path in folder.iterdir())
    for name, failed, embedding in rows:
        which = name[:-4].rpartition("-")[2]
        assert failed == (which == "bad")
        if not failed:
            np.testing.assert_allclose(embedding, embeddings[which], atol=1e-4)
    if kind == "numpy":
        assert len(np.load(output / "embedding.npy")) == len(rows)


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str], limit_s: float = 60.0) -> None:
    """Or until the process ends."""
    deadline = time.monotonic() + limit_s
    while not condition() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def output_bytes(output: Path) -> int:
    files = [output] if output.is_file() else list(output.glob("*")) if output.is_dir() else []
    total = 0
    for file in files:
        with suppress(FileNotFoundError):  # a staged part
            total += file.stat().st_size
    return total


def has_grown(output: Path, size: int) -> bool:
    """By more than the journal."""
    return output_bytes(output) > size + 1000


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_that_is_killed_at_random_times_ends_with_every_image_exactly_once(
    kind: str, job_bundle: Path, folder: Path, embeddings: dict[str, Any], tmp_path: Path
) -> None:
    """kill -9; every third time at any moment from the start of the process on, else while it writes."""
    choose = random.Random(f"{kind} {TRIES}")
    jobs = 0
    output = tmp_path / f"out-{jobs}"
    killed = 0
    started_s = 2.0
    while killed < TRIES:
        before = rows_of(kind, output)
        begun = time.monotonic()
        process = start(job_bundle, folder, output, kind)
        if killed % 3 == 2:
            time.sleep(choose.uniform(0, 1.5 * started_s))
        else:
            wait_until(partial(has_grown, output, output_bytes(output)), process)
            started_s = time.monotonic() - begun
            time.sleep(choose.uniform(0, 0.5))
        process.kill()
        _, stderr = process.communicate()
        if process.returncode != -signal.SIGKILL:  # it was done before
            assert process.returncode == 1, stderr
            require_exactly_once(kind, output, folder, embeddings)
            jobs += 1
            output = tmp_path / f"out-{jobs}"
            continue
        killed += 1
        after = rows_of(kind, output)
        assert [name for name, _, _ in after[: len(before)]] == [name for name, _, _ in before]  # nothing is lost
        assert len({name for name, _, _ in after}) == len(after)  # nothing is there twice
    last = start(job_bundle, folder, output, kind)
    _, stderr = last.communicate(timeout=120)
    assert last.returncode == 1, stderr
    assert f"error: {BAD} of {DISTINCT * NAMES + BAD} images failed: " in stderr  # those of earlier runs among them
    require_exactly_once(kind, output, folder, embeddings)


def test_a_job_that_is_told_to_stop_flushes_ends_with_128_and_the_signal_and_goes_on_later(
    job_bundle: Path, folder: Path, embeddings: dict[str, Any], tmp_path: Path
) -> None:
    """Into Parquet, where rows wait in memory for their part. The paths come through a pipe that stays open: the job
    cannot be done before the signal arrives, however busy the machine is."""
    output, kind = tmp_path / "out", "parquet"
    count = 0
    names = sorted(str(path) for path in folder.iterdir())
    for part, number in enumerate((signal.SIGINT, signal.SIGTERM), start=1):
        process = start(job_bundle, "-", output, kind, stdin=subprocess.PIPE)
        assert process.stdin is not None
        process.stdin.write("\n".join(names[: len(names) * part // 3]) + "\n")
        process.stdin.flush()
        wait_until(partial(has_grown, output, output_bytes(output)), process)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 128 + number, stderr
        assert f"interrupted by {number.name}; --resume continues from here" in stderr
        assert "Traceback" not in stderr
        rows = rows_of(kind, output)
        assert count < len(rows) < DISTINCT * NAMES + BAD
        assert sum(failed for _, failed, _ in rows) <= BAD  # images that waited are no rows
        assert f"{len(rows) - count} images in" in stderr  # all that was done is in the output
        count = len(rows)
    process = start(job_bundle, folder, output, kind)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 1, stderr
    assert f"{count} done before" in stderr
    require_exactly_once(kind, output, folder, embeddings)


def test_a_job_that_waits_for_paths_stops_at_once(job_bundle: Path, folder: Path, tmp_path: Path) -> None:
    process = start(job_bundle, "-", tmp_path / "out", "jsonl", stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(f"{folder}/000-1.jpg\n")
    process.stdin.flush()
    wait_until(lambda: len(rows_of("jsonl", tmp_path / "out")) == 1, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    process.stdin.close()
    assert len(rows_of("jsonl", tmp_path / "out")) == 1
    for stream in (process.stdout, process.stderr):
        assert stream is not None
        stream.close()


STOP = """
import signal, sys, time
from navit_edge.run.signals import Stop
def waits():
    print("stopping", flush=True)
    time.sleep(60)
signal.signal(signal.SIGINT, {handler})
with Stop(on_stop={stop}, on_abort=lambda: print("aborted", flush=True)) as stop:
    print("ready", flush=True)
    end = time.monotonic() + 60
    while time.monotonic() < end and not stop.signal:
        time.sleep(0.01)
    {then}
print("left", signal.getsignal(signal.SIGINT) is {handler}, stop.signal, flush=True)
"""


def stop_process(**parts: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", STOP.format(**parts)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_second_signal_ends_the_process_at_once() -> None:
    process = stop_process(handler="signal.default_int_handler", stop="waits", then="time.sleep(60)")
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    assert process.stdout.readline() == "stopping\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60)[0] == "aborted\n"
    assert process.returncode == 143


def test_handlers_are_put_back_and_an_ignored_signal_stays_ignored() -> None:
    process = stop_process(handler="signal.default_int_handler", stop="lambda: None", then="pass")
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[0] == "left True 2\n"
    process = stop_process(handler="signal.SIG_IGN", stop="lambda: None", then="pass")
    process.send_signal(signal.SIGINT)
    time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60)[0] == "left True 15\n"
