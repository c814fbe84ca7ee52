"""While a server starts: it is live at once, and ready when its models are loaded; what it cannot have ends it."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path

import httpx
import pytest
from running import ANY_PORT, FOR_EVER_S

import navit_edge as ne
from navit_edge.errors import BundleError, InvalidInputError
from navit_edge.serve.limits import Limits
from navit_edge.serve.repository import Repository
from navit_edge.serve.server import Address, Server
from navit_edge.serve.service import Service

PIXELS = {"name": "pixels", "datatype": "UINT8", "shape": [1, 2, 3], "data": [1, 2, 3, 4, 5, 6]}


def test_a_server_is_live_while_its_models_load_and_ready_behind_it(job_bundle: Path) -> None:
    going_on = threading.Event()

    def open_session(path: Path) -> ne.Session:
        going_on.wait(FOR_EVER_S)
        return ne.Session(path, threads=1)

    async def start(stop: bool) -> None:
        repository = Repository({"tiny": job_bundle}, limits=Limits(), open_session=open_session)
        server = Server(Service(repository=repository), http=ANY_PORT)
        starting = asyncio.create_task(server.start())
        while server.http is None:
            await asyncio.sleep(0)
        url = f"http://{server.http}/v2"
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=FOR_EVER_S) as client:
            assert (await client.get("/health/live")).status_code == 200
            assert (await client.get("/health/ready")).status_code == 503
            answer = await client.post("/models/tiny/infer", json={"inputs": [PIXELS]})
            assert answer.status_code == 503
            assert "loading" in answer.json()["error"]
            if stop:
                server.stop()
            going_on.set()
            await starting
            if not stop:
                assert (await client.get("/health/ready")).status_code == 200
                assert (await client.post("/models/tiny/infer", json={"inputs": [PIXELS]})).status_code == 200
        server.stop()
        await server.serve()

    for stop in (False, True):
        going_on.clear()
        asyncio.run(start(stop))


def test_what_cannot_be_had_ends_the_start_and_leaves_no_port_open(job_bundle: Path, tmp_path: Path) -> None:
    async def start(bundle: Path, http: Address) -> Address | None:
        repository = Repository({"tiny": bundle}, limits=Limits())
        server = Server(Service(repository=repository), http=http)
        try:
            await server.start()
        finally:
            assert not repository.ready
        return server.http

    with socket.create_server(("127.0.0.1", 0)) as other:
        with pytest.raises(InvalidInputError, match="Address already in use"):
            asyncio.run(start(job_bundle, Address(host="127.0.0.1", port=other.getsockname()[1])))
        port = other.getsockname()[1]
    with pytest.raises(BundleError, match=r"none\.navit"):
        asyncio.run(start(tmp_path / "none.navit", Address(host="127.0.0.1", port=port)))
    socket.create_server(("127.0.0.1", port)).close()  # it is free again


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:8000", "127.0.0.1", 8000), ("[::1]:0", "::1", 0), (":80", "0.0.0.0", 80), ("name:1", "name", 1)],
)
def test_an_address_is_a_host_and_a_port(text: str, host: str, port: int) -> None:
    address = Address.parse(text)
    assert (address.host, address.port) == (host, port)
    assert address.is_loopback == (host in ("127.0.0.1", "::1"))
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize("text", ["", "8000", "::1:80", "host:", "host:x", "host:65536", "host:-1", "host:\u0661"])
def test_what_is_no_address_is_told(text: str) -> None:
    with pytest.raises(InvalidInputError, match="expected HOST:PORT"):
        Address.parse(text)
