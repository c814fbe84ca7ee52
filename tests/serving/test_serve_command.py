"""`navit-edge serve` as a process: it says where it listens, answers what it has accepted before it ends, and says what
is wrong before it starts."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from grpc_server import until
from tune_cases import made_profile
from typer.testing import CliRunner

from navit_edge.cli.main import app
from navit_edge.profile import this_machine
from navit_edge.profile.schema import profile_bytes

COMMAND = [sys.executable, "-m", "navit_edge", "serve"]
PIXELS = {"name": "pixels", "datatype": "UINT8", "shape": [1, 2, 3], "data": [1, 2, 3, 4, 5, 6]}
ANY = ("--http", "127.0.0.1:0", "--grpc", "off", "--threads", "1")
FOR_EVER_S = 120.0


class Process:
    """A server, and what it has said so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                self.lines.append(line)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(FOR_EVER_S)

    def says(self, pattern: str) -> str:
        """Waits for it; its first group."""
        found: list[re.Match[str]] = []

        def look() -> bool:
            found.extend(match for line in list(self.lines) if (match := re.search(pattern, line)))
            return bool(found) or self.process.poll() is not None

        until(look)
        assert found, self.lines
        return found[0][1]


@contextmanager
def served(bundle: Path, *options: str) -> Iterator[Process]:
    # A shell that runs the tests with & makes them ignore SIGINT; the server sets handlers of its own.
    server = Process(subprocess.Popen([*COMMAND, str(bundle), *ANY, *options], stderr=subprocess.PIPE, text=True))
    try:
        yield server
    finally:
        server.end()


class Asking(threading.Thread):
    """A request whose answer takes as long as it takes."""

    def __init__(self, url: str, deadline_ms: float | None) -> None:
        super().__init__(daemon=True)
        self._url = f"{url}/v2/models/tiny/infer"
        self._request = {"inputs": [PIXELS], "parameters": {"deadline_ms": deadline_ms} if deadline_ms else {}}
        self.answer: httpx.Response | None = None
        self.start()

    def run(self) -> None:
        self.answer = httpx.post(self._url, json=self._request, timeout=FOR_EVER_S, trust_env=False)


def waiting(url: str) -> int:
    text = httpx.get(f"{url}/metrics", timeout=FOR_EVER_S, trust_env=False).text
    return round(sum(map(float, re.findall(r"^navit_edge_images_waiting{.*} (\S+)$", text, re.MULTILINE))))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_when_what_was_accepted_is_answered(job_bundle: Path, number: signal.Signals) -> None:
    with served(job_bundle, "--batch-wait-ms", "3600000") as server:
        url = server.says(r"(http://127\.0\.0\.1:\d+)")
        asking = [Asking(url, deadline_ms=2000.0) for _ in range(3)]
        until(lambda: waiting(url) == 3 or all(one.answer for one in asking))
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=FOR_EVER_S) as half:
            body = json.dumps({"inputs": [PIXELS], "parameters": {"deadline_ms": 1.0}}).encode()
            half.sendall(b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n{" % len(body))
            waiting(url)  # a request behind it was answered, so it was read
            server.process.send_signal(number)
            server.says("(ending when all requests are answered)")
            half.sendall(body[1:])  # it had begun
            assert half.recv(12) == b"HTTP/1.1 200"
        for one in asking:
            one.join(FOR_EVER_S)
            assert one.answer is not None
            assert one.answer.status_code == 200
        assert server.process.wait(FOR_EVER_S) == 0


def test_a_second_signal_ends_it_at_once(job_bundle: Path) -> None:
    with served(job_bundle, "--batch-wait-ms", "3600000") as server:
        url = server.says(r"(http://127\.0\.0\.1:\d+)")
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=FOR_EVER_S) as asking:
            body = json.dumps({"inputs": [PIXELS]}).encode()
            asking.sendall(
                b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            )
            until(lambda: waiting(url) == 1)
            server.process.send_signal(signal.SIGTERM)
            server.says("(ending when all requests are answered)")
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(FOR_EVER_S) == -signal.SIGTERM


def test_it_says_what_it_serves_and_that_it_is_open(job_bundle: Path) -> None:
    with served(job_bundle, "--name", "first", "--http", "0.0.0.0:0") as server:
        port = server.says(r"http://0\.0\.0\.0:(\d+)")
        said = "".join(server.lines)
        assert "serving first: engine openvino-cpu-fp32" in said
        assert "lets in everybody who reaches it" in said
        assert "/v2" in said
        answer = httpx.get(f"http://127.0.0.1:{port}/v2/models/first/ready", timeout=FOR_EVER_S, trust_env=False)
        assert answer.json() == {"name": "first", "ready": True}


def test_it_serves_as_a_profile_says(job_bundle: Path, tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    profile.write_bytes(profile_bytes(made_profile(job_bundle, this_machine(gpu=False))))
    image = np.zeros((80, 80, 3), np.uint8)  # 400 patches
    pixels = {"name": "pixels", "datatype": "UINT8", "shape": list(image.shape), "data": image.ravel().tolist()}
    with served(job_bundle, "--profile", str(profile), "--use", "fast") as server:
        url = server.says(r"(http://127\.0\.0\.1:\d+)")
        answer = httpx.post(
            f"{url}/v2/models/tiny/infer", json={"inputs": [pixels]}, timeout=FOR_EVER_S, trust_env=False
        ).json()
    (tokens,) = next(one["data"] for one in answer["outputs"] if one["name"] == "tokens_used")
    assert 32 < tokens <= 64  # the profile's policy for this use is token-cap:64


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--http", "8000"], "expected HOST:PORT"),
        (["--http", "127.0.0.1:99999"], "expected HOST:PORT"),
        (["--http", "off", "--grpc", "off"], "both are off"),
        (["--max-body", "much"], "expected a size, as 64MiB"),
        (["--max-body", "0"], "max_body_bytes is 0; expected a number above 0"),
        (["--policy", "fastest"], "policy"),
        (["--max-images", "2000"], "--max-images of at most --queue-limit"),
        (["--name", "a", "--name", "b"], "2 names for 1 bundles"),
        (["--name", "a/b"], "letters, digits, dots"),
        (["--http", "no.such.host.invalid:0"], "cannot listen on no.such.host.invalid:0"),
    ],
)
def test_a_wrong_option_is_told(job_bundle: Path, options: list[str], said: str) -> None:
    result = CliRunner().invoke(app, ["serve", str(job_bundle), *ANY, *options])
    assert result.exit_code in (1, 2)
    assert said in " ".join(result.stderr.split())


def test_a_port_that_is_taken_is_told(job_bundle: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        result = CliRunner().invoke(app, ["serve", str(job_bundle), *ANY, "--http", address])
    assert result.exit_code == 1
    assert f"cannot listen on {address}: Address already in use; end the program" in " ".join(result.stderr.split())


def test_a_bundle_that_is_none_ends_it(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["serve", str(tmp_path / "none.navit"), *ANY])
    assert result.exit_code == 1
    assert "none.navit" in result.stderr


def test_without_the_extra_the_command_that_installs_it_is_named(job_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['uvicorn'] = None\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [*COMMAND, str(job_bundle), *ANY], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert 'pip install "navit-edge[serve]"' in done.stderr
