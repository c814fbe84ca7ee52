"""The access log and the counters of requests: what they say, and what they never do."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from navit_edge.errors import InvalidInputError
from navit_edge.serve import access_log
from navit_edge.serve.access_log import AccessLog, line_of
from navit_edge.serve.accounting import Record, RequestMetrics, current, request
from navit_edge.serve.http.observe import Observe

TRACE = "0af7651916cd43dd8448eb211c80319c"


async def infer(asked: Request) -> Response:
    await asked.body()
    record = current()
    record.model, record.images, record.tokens = "tiny", 2, 34
    return Response(b"x" * 10, 200)


async def fail(asked: Request) -> Response:
    raise ValueError("a bug")


def sent(finished: Any, *requests: tuple[str, str, dict[str, Any]]) -> list[int]:
    """The statuses of requests to a small application, one after another."""
    inner = Starlette(routes=[Route("/infer/{name}", infer, methods=["POST"]), Route("/fail", fail)])

    async def ask() -> list[int]:
        transport = httpx.ASGITransport(Observe(inner, [finished]), raise_app_exceptions=False, client=("192.0.2.7", 5))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return [(await client.request(method, url, **more)).status_code for method, url, more in requests]

    return asyncio.run(ask())


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


def lines(place: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in place.read_text("ascii").splitlines()]


def test_each_request_is_one_object_with_what_was_asked_and_what_came_of_it(place: Path) -> None:
    before = datetime.now(timezone.utc)
    with AccessLog(str(place)) as log:
        statuses = sent(
            log.write,
            ("POST", "/infer/a", {"content": b"y" * 7, "headers": {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}}),
            ("GET", "/nowhere", {}),
            ("GET", "/fail", {}),
        )
    assert statuses == [200, 404, 500]
    first, second, third = lines(place)
    assert first | {"time": "", "ms": 0} == {
        "time": "", "protocol": "http", "method": "POST", "path": "/infer/a", "status": 200, "bytes": 10,
        "received_bytes": 7, "model": "tiny", "images": 2, "tokens": 34, "ms": 0, "trace_id": TRACE,
        "client": "192.0.2.7",
    }  # fmt: skip
    assert datetime.fromisoformat(first["time"].replace("Z", "+00:00")).date() >= before.date()
    assert first["ms"] >= 0
    assert (second["status"], second["model"], second["trace_id"]) == (404, "", "")
    assert third["status"] == 500


def test_neither_keys_nor_queries_nor_content_are_written(place: Path) -> None:
    secret = "k3y-0123456789abcdef"
    with AccessLog(str(place)) as log:
        sent(
            log.write,
            ("POST", f"/infer/a?key={secret}", {"content": secret, "headers": {"Authorization": f"Bearer {secret}"}}),
        )
    assert secret not in place.read_text()
    assert len(lines(place)) == 1


def test_nothing_in_a_path_can_begin_another_line(place: Path) -> None:
    with AccessLog(str(place)) as log:
        for path in ("/a\n{}", '/"}', "/\u2028\u0085é", "/" + "x" * 5000):
            log.write(Record(protocol="http", path=path))
    assert [line["path"] for line in lines(place)][:3] == ["/a\n{}", '/"}', "/\u2028\u0085é"]
    assert len(place.read_text().split("\n")) == 5


def test_a_file_that_was_moved_away_is_opened_again(place: Path) -> None:
    record = Record(protocol="http", status="200")
    with AccessLog(str(place)) as log:
        log.write(record)
        while not place.read_text().endswith("\n"):
            time.sleep(0.01)
        place.rename(place.with_suffix(".1"))
        log.write(record)
    assert len(lines(place)) == len(lines(place.with_suffix(".1"))) == 1


def test_a_disk_that_does_not_take_a_line_holds_up_no_request(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "MOST_WAITING", 4)
    free, entered = threading.Event(), threading.Event()
    lost: list[None] = []
    with AccessLog(str(place)) as log:
        log.lost = lambda: lost.append(None)

        def stuck(line: object) -> None:
            entered.set()
            free.wait(60)

        monkeypatch.setattr(log._target, "emit", stuck)
        log.write(Record(protocol="http"))
        assert entered.wait(60)  # one is with the thread, four wait
        for _ in range(7):
            log.write(Record(protocol="http"))
        assert len(lost) == 3
        free.set()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
def test_lines_that_a_full_disk_refuses_are_counted() -> None:
    lost: list[None] = []
    with AccessLog("/dev/full") as log:
        log.lost = lambda: lost.append(None)
        log.write(Record(protocol="http"))
    assert lost


def test_a_place_that_cannot_be_written_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"--access-log .*No such file or directory; name a file in a folder"):
        AccessLog(str(tmp_path / "no" / "access.log"))


@pytest.fixture
def counted() -> dict[tuple[str, tuple[str, ...]], float]:
    metrics = RequestMetrics()
    sent(
        metrics.add,
        *[("POST", f"/infer/{name}", {"content": b"12345"}) for name in "abc"],
        ("GET", "/infer/a", {}),
        ("GET", "/nowhere", {}),
        ("GET", "/elsewhere", {}),
        ("BREW", "/elsewhere", {}),
    )
    families = text_string_to_metric_families(metrics.prometheus())
    return {(one.name, tuple(sorted(one.labels.values()))): one.value for family in families for one in family.samples}


def test_requests_are_counted_by_route_and_code(counted: dict[tuple[str, tuple[str, ...]], float]) -> None:
    def total(*labels: str) -> float:
        return counted.get(("navit_edge_requests_total", tuple(sorted(labels))), 0.0)

    assert total("http", "POST", "/infer/{name}", "tiny", "200") == 3
    assert total("http", "GET", "", "", "404") == 2  # a path that nobody answers makes no series of its own
    assert total("http", "other", "", "", "404") == 1
    assert total("http", "GET", "/infer/{name}", "", "405") == 1
    assert counted[("navit_edge_request_bytes_total", ("http",))] == 15
    assert counted[("navit_edge_request_seconds_count", ("/infer/{name}", "http"))] == 4


def test_a_client_that_went_away_is_counted_as_499() -> None:
    found: list[Record] = []

    async def gone(scope: Any, receive: Any, send: Any) -> None:
        return

    scope = {"type": "http", "method": "POST", "path": "/x", "headers": [], "client": None}
    asyncio.run(Observe(gone, [found.append])(scope, None, None))  # type: ignore[arg-type]
    assert [one.status for one in found] == ["499"]


def test_requests_at_once_have_a_record_each() -> None:
    async def one(tokens: int) -> tuple[int, int]:
        with request(Record(protocol="http")) as record:
            await asyncio.sleep(0)
            current().tokens += tokens
            await asyncio.sleep(0)
            current().tokens += tokens
            return record.tokens, 2 * tokens

    async def all_of_them() -> list[tuple[int, int]]:
        return await asyncio.gather(*(one(k) for k in range(10)))

    assert all(found == expected for found, expected in asyncio.run(all_of_them()))
    assert current().tokens == 0


def test_a_line_says_a_status_of_grpc_by_its_name() -> None:
    assert json.loads(line_of(Record(protocol="grpc", status="OK")))["status"] == "OK"
