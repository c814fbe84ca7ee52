"""examples/serve_ray.py on a local cluster: the answers of a session, and a second replica while the queue is long."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import httpx
import numpy as np
import pytest
from several_nodes import ENVIRONMENT, make_images, processes, session_of

import navit_edge as ne

#: What ray[serve] brings, and the package alone does not.
pytestmark = pytest.mark.skipif(find_spec("grpc_reflection") is None, reason="needs ray[serve]")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_replicas_answer_as_a_session_and_become_two_while_the_queue_is_predicted_to_be_long(
    tiny_bundle: Path, tmp_path: Path, repository: Path
) -> None:
    paths = make_images(tmp_path / "images", 64)
    with ne.Session(tiny_bundle, threads=1) as session:
        alone = session.run(paths)
    port = free_port()
    options = ["--port", str(port), "--react-s", "1", "--target-ms", "0.5", "--max-replicas", "2"]
    server = subprocess.Popen(
        [sys.executable, str(repository / "examples/serve_ray.py"), str(tiny_bundle), *options],
        env=os.environ | ENVIRONMENT,
        stderr=(tmp_path / "stderr").open("wb"),
        start_new_session=True,
    )
    try:
        asyncio.run(ask(f"http://127.0.0.1:{port}/?top_k=3", paths, alone, server))
    except BaseException:
        print((tmp_path / "stderr").read_text(errors="replace"))
        raise
    finally:
        server.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            server.wait(60)
        for pid in processes():
            if session_of(pid) == server.pid:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        server.wait()


async def ask(url: str, paths: list[Path], alone: list[ne.Result], server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 300
    seen: set[int] = set()
    async with httpx.AsyncClient(timeout=60) as client:
        while True:  # until it is there
            assert server.poll() is None, "the server ended"
            assert time.monotonic() < end
            with suppress(httpx.TransportError):
                if (await client.post(url, content=paths[0].read_bytes())).status_code == 200:
                    break
            await asyncio.sleep(0.2)

        async def one(place: int) -> None:
            answer = (await client.post(url, content=paths[place].read_bytes())).json()
            result = alone[place]
            assert [one["index"] for one in answer["top_k"]] == [one.index for one in result.top_k(3)]
            np.testing.assert_allclose(
                [one["logit"] for one in answer["top_k"]], [one.logit for one in result.top_k(3)], atol=1e-2
            )
            seen.add(answer["replica"])

        while len(seen) < 2:
            assert time.monotonic() < end, "one replica, whatever waits"
            await asyncio.gather(*map(one, range(len(paths))))
        refused = await client.post(url, content=b"no image")
        assert refused.status_code == 400
        assert "not an image" in refused.json()["error"]
