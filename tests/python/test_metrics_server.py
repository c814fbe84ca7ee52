"""Clients of the metrics server that do not behave: what they hold is bounded, and a scrape comes through."""

from __future__ import annotations

import errno
import selectors
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

import navit_edge as ne
from navit_edge import metrics
from navit_edge.metrics import server as metrics_server

FOR_EVER_S = 60


@pytest.fixture
def server(tiny_session: ne.Session) -> Iterator[metrics_server.MetricsServer]:
    with metrics.serve(tiny_session, 0) as opened:
        yield opened


def connected(server: metrics_server.MetricsServer, sent: bytes = b"") -> socket.socket:
    client = socket.create_connection(("127.0.0.1", server.port), timeout=FOR_EVER_S)
    client.sendall(sent)
    return client


def everything(client: socket.socket) -> bytes:
    """Until the server hangs up."""
    found = b""
    while more := client.recv(1 << 16):
        found += more
    return found


def scraped(server: metrics_server.MetricsServer) -> str:
    with urllib.request.urlopen(server.url, timeout=FOR_EVER_S) as response:
        return str(response.read().decode())


def test_clients_that_never_finish_hold_no_thread_and_a_bounded_number_of_connections(
    server: metrics_server.MetricsServer,
) -> None:
    threads = threading.active_count()
    with ExitStack() as held:
        slow = [held.enter_context(connected(server, b"GET /metrics HTTP/1.1\r\nX: ")) for _ in range(50)]
        assert "navit_edge_images_completed_total" in scraped(server)
        assert threading.active_count() == threads
        assert len(server._clients) <= metrics_server.MOST_CLIENTS
        for client in slow[: 50 - metrics_server.MOST_CLIENTS]:  # those that have been there longest
            assert everything(client) == b""


def test_a_client_that_neither_asks_nor_reads_is_let_go(
    server: metrics_server.MetricsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_server, "PATIENCE_S", 0.05)
    with connected(server) as silent, connected(server, b"GET /met") as half:
        assert everything(silent) == everything(half) == b""
    monkeypatch.setattr(metrics_server, "prometheus", lambda _: "x" * (32 << 20))  # more than any socket buffer holds
    with connected(server, b"GET /metrics HTTP/1.1\r\n\r\n"):
        monkeypatch.setattr(metrics_server, "PATIENCE_S", FOR_EVER_S)
        with connected(server) as other:
            other.sendall(b"GET /elsewhere HTTP/1.1\r\n\r\n")
            assert b" 404 " in everything(other)


def test_where_no_descriptor_is_left_the_server_waits_and_goes_on(
    server: metrics_server.MetricsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.socket.accept
    refusals = 3
    listened = []  # what is not looked at any more: else select would say at once that a client waits

    def accept(listener: socket.socket) -> Any:
        nonlocal refusals
        if refusals > 0:
            refusals -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return real(listener)

    def unregister(selector: Any, one: Any) -> Any:
        listened.append(one)
        return real_unregister(selector, one)

    real_unregister = selectors.PollSelector.unregister
    monkeypatch.setattr(selectors.PollSelector, "unregister", unregister)
    monkeypatch.setattr(metrics_server, "PAUSE_S", 0.01)
    monkeypatch.setattr(socket.socket, "accept", accept)
    assert "navit_edge_images_completed_total" in scraped(server)
    assert listened[:3] == [server._listener] * 3


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\n\r\n", 200),
        (b"GET /metrics?x=1 HTTP/1.0\n\n", 200),
        (b"HEAD /metrics HTTP/1.1\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 405),
        (b"\x16\x03\x01\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 8192, 431),
    ],
    ids=lambda value: value[:16] if isinstance(value, bytes) else value,
)
def test_every_request_gets_the_status_of_http(
    server: metrics_server.MetricsServer, request_: bytes, status: int
) -> None:
    with connected(server, request_) as client:
        head, _, body = everything(client).partition(b"\r\n\r\n")
    assert head.split()[1] == str(status).encode()
    length = next(line for line in head.split(b"\r\n") if line.startswith(b"Content-Length"))
    assert len(body) == (0 if request_.startswith(b"HEAD") else int(length.split()[1]))


def test_what_a_scrape_raises_is_its_answer_and_the_next_one_is_served(
    server: metrics_server.MetricsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:

        def fail(_: object) -> str:
            raise MemoryError

        patched.setattr(metrics_server, "prometheus", fail)
        with connected(server, b"GET /metrics HTTP/1.1\r\n\r\n") as client:
            assert everything(client).startswith(b"HTTP/1.1 500 ")
    assert "navit_edge_images_completed_total" in scraped(server)
