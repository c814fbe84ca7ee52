"""`examples/serve_ray.py` as a reader of the docs starts it: numbers of one session, refusals, a second replica under
load (a minute)."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from ray_cluster import ENVIRONMENT

import navit_edge as ne

pytest.importorskip("ray.serve", reason="needs ray[serve]")

EXAMPLE = Path(__file__).parents[2] / "examples" / "serve_ray.py"
FOR_EVER_S = 300.0


@pytest.fixture(scope="module")
def url(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a deployment that starts a second replica for every queue that is not empty."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("ray") / "serve.log"
    command = [sys.executable, str(EXAMPLE), str(tiny_bundle), "--port", str(port), "--max-replicas", "2"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--target-ms", "0.001", "--react-s", "1"],
            env=os.environ | ENVIRONMENT, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        until = time.monotonic() + FOR_EVER_S
        while not _answers(f"http://127.0.0.1:{port}/-/healthz"):
            assert process.poll() is None, log.read_text("utf-8", "replace")
            assert time.monotonic() < until, log.read_text("utf-8", "replace")
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60)
        _end_session(process.pid)
        process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=FOR_EVER_S).status_code == 200
    except httpx.TransportError:
        return False


def _end_session(session: int) -> None:
    """Ray's processes live on if their driver is ended hard."""
    from several_nodes import processes, session_of

    for pid in processes():
        if session_of(pid) == session:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def pictures(count: int) -> list[npt.NDArray[np.uint8]]:
    rng = np.random.default_rng(count)
    return [rng.integers(0, 256, (*rng.integers(8, 60, 2), 3), np.uint8) for _ in range(count)]


def test_replicas_give_the_classes_of_one_session_and_what_is_no_image_fails_alone(url: str, tiny_bundle: Path) -> None:
    images = pictures(12)
    with ne.Session(tiny_bundle, threads=1) as session:
        expected = session.run(images)
    with httpx.Client(timeout=FOR_EVER_S) as client, ThreadPoolExecutor(6) as threads:
        bad = threads.submit(client.post, url, content=b"no image")
        answers = list(threads.map(lambda image: client.post(url, params={"top_k": 2}, content=png(image)), images))
        assert bad.result().status_code == 400
        assert "not an image" in bad.result().json()["error"]
    for answer, result in zip(answers, expected, strict=True):
        assert answer.status_code == 200, answer.text
        said = answer.json()
        assert said["grid"] == list(result.grid)
        assert [one["index"] for one in said["top_k"]] == [one.index for one in result.top_k(2)]
        np.testing.assert_allclose(
            [one["score"] for one in said["top_k"]], [one.score for one in result.top_k(2)], rtol=1e-3
        )


def test_a_second_replica_starts_while_images_wait(url: str) -> None:
    files = [png(image) for image in pictures(40)]
    replicas: set[int] = set()
    until = time.monotonic() + FOR_EVER_S

    with httpx.Client(timeout=FOR_EVER_S) as client, ThreadPoolExecutor(24) as threads:

        def ask(file: bytes) -> int:
            replica: int = client.post(url, content=file).json()["replica"]
            return replica

        while len(replicas) < 2:
            assert time.monotonic() < until, "no second replica came"
            replicas |= set(threads.map(ask, files))
