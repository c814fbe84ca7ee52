"""Connections hold to limits, whatever clients do: judged by what comes over the socket, and what the server holds."""

from __future__ import annotations

import base64
import io
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from grpc_server import until
from PIL import Image
from running import Running, running

import navit_edge as ne
from navit_edge.serve.http.protocol import BoundedProtocol
from navit_edge.serve.limits import Limits

#: Of a server whose clients are too slow; others must not be asked to be that fast on a busy machine.
IMPATIENT = Limits(header_timeout_s=0.3, idle_timeout_s=0.6, body_timeout_s=1.5)
LIMITS = Limits(max_header_bytes=2000, max_connections=8, max_bodies_bytes=1 << 20)
INFER = b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: x\r\n"
PIXELS = {"name": "pixels", "datatype": "UINT8", "shape": [1, 2, 3], "data": [1, 2, 3, 4, 5, 6]}
#: An hour: what waits for more images waits for as long as a test takes.
FOR_EVER_MS = 3_600_000.0


@pytest.fixture(scope="module")
def server(job_bundle: Path) -> Iterator[Running]:
    def open_session(path: Path) -> ne.Session:
        return ne.Session(path, threads=1, batch_wait_ms=FOR_EVER_MS, queue_limit=2)

    with running({"tiny": job_bundle}, limits=LIMITS, open_session=open_session) as server:
        yield server
        until(lambda: server.server.service.room.held == 0)


@pytest.fixture(scope="module")
def impatient(job_bundle: Path) -> Iterator[Running]:
    with running(
        {"tiny": job_bundle}, limits=IMPATIENT, open_session=lambda path: ne.Session(path, threads=1)
    ) as server:
        yield server
        until(lambda: server.server.service.room.held == 0)


def read(connection: socket.socket) -> bytes:
    """Until the server ends the connection."""
    found = b""
    with suppress(ConnectionError):
        while more := connection.recv(1 << 16):
            found += more
    return found


def status_of(answer: bytes) -> int:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert json.loads(body)["error"]
    assert b"connection: close" in head.lower()
    return int(head.split()[1])


def ask(inputs: list[dict[str, Any]], **more: Any) -> bytes:
    body = json.dumps({"inputs": inputs, **more}).encode()
    return INFER + b"Content-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"GET /v2 HT", id="half a line"),
        pytest.param(INFER + b"X: ", id="half of the headers"),
        pytest.param(INFER + b"Content-Length: 10\r\n\r\n{", id="half of the body"),
        pytest.param(INFER + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{", id="half of a chunk"),
    ],
)
def test_who_stops_in_the_middle_is_told_and_let_go(impatient: Running, sent: bytes) -> None:
    with impatient.connect() as connection:
        with suppress(ConnectionError):
            connection.sendall(sent)
        assert status_of(read(connection)) == 408


def test_who_sends_a_body_byte_by_byte_is_let_go(impatient: Running) -> None:
    with impatient.connect() as connection:
        connection.sendall(INFER + b"Content-Length: 100000\r\n\r\n")
        connection.settimeout(0.1)
        found = b""
        while not found:
            try:
                found = connection.recv(1 << 16)
            except TimeoutError:
                with suppress(ConnectionError):
                    connection.sendall(b" ")
        assert status_of(found) == 408


def test_who_does_not_read_an_answer_is_let_go(impatient: Running) -> None:
    """Of some MB, more than the system's buffers take."""
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "PNG")
    data = [base64.b64encode(file.getvalue()).decode()] * 32
    images = {"name": "images", "datatype": "BYTES", "shape": [32], "data": data}
    request = ask([images], outputs=[{"name": "tokens"}])
    until(lambda: connections(impatient) == 0)
    before = impatient.images()["completed"]
    kind = protocol(impatient)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        kind.limits = Limits()  # for as long as it asks
        try:
            connection.connect(("127.0.0.1", int(impatient.address.rpartition(":")[2])))
            connection.sendall(request)
            until(lambda: impatient.images()["completed"] == before + 32)
        finally:
            kind.limits = IMPATIENT
        until(lambda: connections(impatient) == 0)


def test_headers_without_end_are_refused(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(INFER)
        with suppress(ConnectionError):
            for _ in range(1000):
                connection.sendall(b"X-Much: " + b"x" * 90 + b"\r\n")
        answer = read(connection)
        assert answer == b"" or status_of(answer) == 431  # a reset may come before it


def test_one_header_that_is_too_long_is_refused(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(INFER + b"X-Much: " + b"x" * 3000 + b"\r\n\r\n")
        assert status_of(read(connection)) == 431


def test_what_is_no_http_is_refused(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        assert status_of(read(connection)) == 400


def test_the_first_connection_too_many_is_told_to_come_back(server: Running) -> None:
    until(lambda: connections(server) == 0)
    held = [server.connect() for _ in range(LIMITS.max_connections)]
    try:
        until(lambda: connections(server) == LIMITS.max_connections)
        with server.connect() as one_more:
            answer = read(one_more)
            assert status_of(answer) == 503
            assert b"Retry-After: 1" in answer
    finally:
        for connection in held:
            connection.close()
    until(lambda: connections(server) == 0)
    assert httpx.get(f"{server.url}/v2/health/live", trust_env=False).status_code == 200


def test_who_goes_away_takes_the_images_back(server: Running) -> None:
    before = server.images()["cancelled"]
    with server.connect() as connection:
        connection.sendall(ask([PIXELS]))
        until(lambda: server.images()["waiting"] == 1)
    until(lambda: server.images()["waiting"] == 0)
    assert server.images()["cancelled"] == before + 1


def test_a_full_queue_is_503_with_when_to_come_back(server: Running) -> None:
    with server.connect() as first, server.connect() as second:
        for connection in (first, second):
            connection.sendall(ask([PIXELS]))
        until(lambda: server.images()["waiting"] == 2)
        url = f"{server.url}/v2/models/tiny/infer"
        answer = httpx.post(url, json={"inputs": [PIXELS]}, trust_env=False, timeout=120.0)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert "the queue is full" in answer.json()["error"]
    until(lambda: server.images()["waiting"] == 0)


def test_bodies_share_a_number_of_bytes(server: Running) -> None:
    size = LIMITS.max_bodies_bytes - 100
    with server.connect() as first:
        first.sendall(INFER + b"Content-Length: %d\r\n\r\n{" % size)
        until(lambda: server.server.service.room.held == size)
        with server.connect() as second:
            second.sendall(INFER + b"Content-Length: 200\r\n\r\n" + b" " * 200)
            assert second.recv(12) == b"HTTP/1.1 503"
    until(lambda: server.server.service.room.held == 0)


def test_a_body_that_is_too_large_is_refused_before_it_comes(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(INFER + b"Content-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 413"  # and no 100


def connections(server: Running) -> int:
    serving = server.server._uvicorn
    assert serving is not None
    return len(serving.server_state.connections)


def protocol(server: Running) -> type[BoundedProtocol]:
    """The class of the server's connections."""
    serving = server.server._uvicorn
    assert serving is not None
    kind = serving.config.http_protocol_class
    assert issubclass(kind, BoundedProtocol)
    return kind


def test_a_broken_model_is_503_and_the_server_is_not_ready(job_bundle: Path) -> None:
    class Broken(ne.Session):
        broken = "three packs in a row failed: /opt/libplugin.so"  # type: ignore[assignment]

    kinds: list[Callable[..., ne.Session]] = [Broken, ne.Session]
    with (
        running({"tiny": job_bundle}, open_session=lambda path: kinds.pop(0)(path)) as server,
        httpx.Client(base_url=server.url, trust_env=False, timeout=120.0) as client,
    ):
        for path in ("/v2/health/ready", "/v2/models/tiny/ready"):
            assert client.get(path).status_code == 503
        assert client.get("/v2/health/live").status_code == 200
        answer = client.post("/v2/models/tiny/infer", json={"inputs": [PIXELS]})
        assert answer.status_code == 503
        assert "/" not in answer.json()["error"]
        (told,) = client.post("/v2/repository/index").json()
        assert told["state"] == "UNAVAILABLE"
        assert client.post("/v2/repository/models/tiny/load").status_code == 200
        assert client.get("/v2/health/ready").status_code == 200
        assert client.post("/v2/models/tiny/infer", json={"inputs": [PIXELS]}).status_code == 200
