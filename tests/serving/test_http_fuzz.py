"""HTTP answers whatever is sent: no crash, no 500, no hang, and afterwards the same numbers as before."""

from __future__ import annotations

import io
import json
import re
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from grpc_server import until
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from requests_at_random import REQUESTS, contents, damaged, datatypes, drawn, names, outputs, parameters, shapes
from running import FOR_EVER_S, Running, running

import navit_edge as ne
from navit_edge.serve.limits import Limits

INFER = "/v2/models/tiny/infer"
LENGTH = "Inference-Header-Content-Length"
#: Of a request that can be answered, or that says what is wrong with it. 500 is a bug.
EXPECTED = {200, 400, 401, 403, 404, 405, 408, 411, 413, 415, 422, 431, 503, 504}


def encoded(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.arange(12 * 9 * 3, dtype=np.uint8).reshape(12, 9, 3)).save(file, kind)
    return file.getvalue()


FILES = [encoded("PNG"), encoded("JPEG"), encoded("WEBP")]
GOOD = {"inputs": [{"name": "pixels", "datatype": "UINT8", "shape": [1, 2, 3], "data": [1, 2, 3, 4, 5, 6]}]}
PATHS = (
    "/", "/metrics", "/openapi.json", "/v1/embeddings", "/v1/classify", "/v1/models", "/v2", "/v2/health/ready",
    "/v2/models/tiny", "/v2/models/tiny/config", "/v2/models/tiny/stats", "/v2/models/tiny/versions/1/infer", INFER,
    "/v2/repository/index", "/v2/models/stats",
)  # fmt: skip
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 64), 1 << 64) | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
texts = st.sampled_from(
    ["data:image/png;base64,", "data:,", "https://example.org/x.png", "iVBORw0KGgo=", ""]
) | st.text(max_size=20)


@pytest.fixture(scope="module")
def server(job_bundle: Path) -> Iterator[Running]:
    limits = Limits(max_body_bytes=1 << 20, max_pixels=10_000)
    with running({"tiny": job_bundle}, limits=limits, open_session=lambda path: ne.Session(path, threads=1)) as server:
        with httpx.Client(base_url=server.url, timeout=FOR_EVER_S) as client:
            before = client.post(INFER, json=GOOD).json()["outputs"]
        yield server
        with httpx.Client(base_url=server.url, timeout=FOR_EVER_S) as client:
            assert client.post(INFER, json=GOOD).json()["outputs"] == before
        until(lambda: server.server.service.room.held == 0)
        until(lambda: server.images()["waiting"] == 0)


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=FOR_EVER_S) as client:
        yield client


def check_end(client: httpx.Client, method: str, path: str, **more: Any) -> None:
    answer = client.request(method, path, **more)
    assert answer.status_code in EXPECTED, answer.text
    assert "Traceback" not in answer.text
    if answer.status_code >= 400 and method != "HEAD":
        assert answer.json()["error"]


@st.composite
def tensors(draw: st.DrawFn) -> dict[str, Any]:
    made: dict[str, Any] = {"name": draw(names), "datatype": draw(datatypes), "shape": draw(shapes)}
    if draw(st.booleans()):
        made["data"] = draw(st.lists(st.integers(-1, 300), max_size=12) | st.lists(texts, max_size=2) | anything)
    if draw(st.integers(0, 3)) == 0:
        made["parameters"] = draw(parameters)
    return made


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    made: dict[str, Any] = {"inputs": draw(st.lists(tensors(), max_size=3))}
    if draw(st.booleans()):
        made["parameters"] = draw(parameters)
    if draw(st.booleans()):
        made["outputs"] = [
            {"name": name, "parameters": draw(parameters)} for name in draw(st.lists(outputs, max_size=2))
        ]
    if draw(st.integers(0, 5)) == 0:
        made[draw(st.sampled_from(["id", "inputs", "outputs", "parameters"]))] = draw(anything)
    return made


def text_of(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


@drawn(0.3)
@given(requests().map(text_of) | anything.map(text_of) | damaged(text_of(GOOD)))
def test_any_json_has_an_answer(client: httpx.Client, body: bytes) -> None:
    check_end(client, "POST", INFER, content=body)


@drawn(0.25)
@given(requests(), contents(FILES), st.sampled_from([0, 0, 0, -1, 1, 7]), st.booleans())
def test_any_binary_tensors_have_an_answer(
    client: httpx.Client, request: dict[str, Any], raw: bytes, off: int, sized: bool
) -> None:
    if sized:
        request["inputs"] = [
            {"name": "images", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(raw)}}
        ]
    head = text_of(request)
    check_end(client, "POST", INFER, content=head + raw, headers={LENGTH: str(len(head) + off)})


@drawn(0.15)
@given(
    st.sampled_from(["/v1/embeddings", "/v1/classify"]),
    st.fixed_dictionaries(
        {},
        optional={"model": st.just("tiny") | anything, "input": st.lists(texts) | texts | anything, "images": anything},
    )
    | anything,
)
def test_any_json_of_openais_shape_has_an_answer(client: httpx.Client, path: str, body: Any) -> None:
    check_end(client, "POST", path, content=text_of(body), headers={"Content-Type": "application/json"})


@drawn(0.15)
@given(
    st.sampled_from(["GET", "POST", "PUT", "HEAD", "DELETE"]),
    st.sampled_from(PATHS) | st.text("abv12/.%~-", max_size=12).map(lambda text: f"/{text}"),
    st.dictionaries(st.sampled_from(["top_k", "policy", "deadline_ms"]), st.text("019az-", max_size=6), max_size=2),
    st.dictionaries(
        st.sampled_from([LENGTH, "Content-Encoding", "Content-Type", "traceparent", "Origin", "Authorization"]),
        st.text("09afAF-/;= :", max_size=20).map(str.strip),
        max_size=2,
    ),
    st.sampled_from([b"", b"{}", *FILES]),
)
def test_any_path_answers_to_any_headers(
    client: httpx.Client, method: str, path: str, query: dict[str, str], headers: dict[str, str], body: bytes
) -> None:
    check_end(client, method, path, params=query, headers=headers, content=body)


BODY = text_of(GOOD)
WIRE = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (INFER.encode(), len(BODY), BODY)


@drawn(0.1)
@given(damaged(WIRE))
def test_damaged_bytes_on_the_wire_end_with_an_answer_or_a_closed_connection(server: Running, sent: bytes) -> None:
    with server.connect() as connection:
        found = b""
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            while more := connection.recv(1 << 16):
                found += more
        except ConnectionError:
            return
    for status in re.findall(rb"^HTTP/1\.1 (\d+) ", found, re.MULTILINE):
        assert int(status) in EXPECTED, found


def test_connections_that_are_cut_in_the_middle_leave_nothing_behind(server: Running, client: httpx.Client) -> None:
    """One tenth of the requests that are drawn: 1,000 in `make test-serving`."""
    for number in range(max(20, REQUESTS // 10)):
        with server.connect() as connection:
            connection.sendall(WIRE[: -1 - number % (len(BODY) + 30)])
            if number % 2:  # a reset, not an end
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: server.server.service.room.held == 0)
    assert client.post(INFER, json=GOOD).status_code == 200
    until(lambda: server.images()["waiting"] == 0)
