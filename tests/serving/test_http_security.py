"""API keys and TLS over HTTP: who is let in, and what stays open."""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx
import pytest
from certificates import Certificates
from running import FOR_EVER_S, Running, running

from navit_edge.serve.security import ApiKeys, Security, Tls

KEY, OTHER = "0123456789abcdef0123456789abcdef", "another-key-of-a-second-client"
INFER = "/v2/models/tiny/infer"
GOOD = {"inputs": [{"name": "pixels", "datatype": "UINT8", "shape": [1, 2, 3], "data": [1, 2, 3, 4, 5, 6]}]}
#: (method, path) of what a client without a key may not ask.
CLOSED = (
    ("POST", INFER), ("GET", "/v2"), ("GET", "/v2/models/tiny"), ("GET", "/v2/models/tiny/ready"), ("GET", "/metrics"),
    ("GET", "/openapi.json"), ("POST", "/v1/embeddings"), ("POST", "/v1/classify"), ("POST", "/v2/repository/index"),
    ("POST", "/v2/repository/models/tiny/unload"), ("GET", "/nothing"),
    ("GET", "/v2/health/live/"), ("GET", "//v2/health/live"), ("GET", "/v2/health/../models/tiny"),
)  # fmt: skip


def test_without_a_key_only_alive_ready_and_the_page_are_told(job_bundle: Path) -> None:
    with (
        running({"tiny": job_bundle}, security=Security(keys=ApiKeys([KEY, OTHER]))) as server,
        httpx.Client(base_url=server.url, timeout=FOR_EVER_S) as client,
    ):
        for path in ("/v2/health/live", "/v2/health/ready", "/"):
            assert client.get(path).status_code == 200
        for method, path in CLOSED:
            for headers in ({}, {"x-api-key": KEY[1:]}, {"authorization": f"Basic {KEY}"}):
                answer = client.request(method, path, headers=headers)
                assert answer.status_code == 401, path
                assert "no valid API key" in answer.text
                assert answer.headers["www-authenticate"] == "Bearer"
        for headers in ({"authorization": f"Bearer {KEY}"}, {"x-api-key": OTHER}):
            assert client.post(INFER, json=GOOD, headers=headers).status_code == 200
            assert client.get("/metrics", headers=headers).status_code == 200


def asked(server: Running, certificates: Certificates, who: str = "") -> int:
    context = ssl.create_default_context(cafile=certificates.path("ca"))
    if who:
        context.load_cert_chain(certificates.path(who), certificates.path(f"{who}.key"))
    with httpx.Client(verify=context, timeout=FOR_EVER_S) as client:
        return client.post(f"https://{server.address}{INFER}", json=GOOD).status_code


def test_tls_shows_who_the_server_is_and_may_ask_who_the_client_is(job_bundle: Path, tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    pair = {"certificate": certificates.path("server"), "key": certificates.path("server.key")}
    with running({"tiny": job_bundle}, security=Security(tls=Tls(**pair))) as server:
        assert asked(server, certificates) == 200
        with pytest.raises(httpx.HTTPError):  # in the clear
            httpx.get(f"{server.url}/v2/health/live", timeout=FOR_EVER_S)
    mutual = Security(tls=Tls(**pair, client_ca=certificates.path("ca")))
    with running({"tiny": job_bundle}, security=mutual) as server:
        assert asked(server, certificates, "client") == 200
        for who in ("", "stranger"):
            with pytest.raises(httpx.HTTPError):
                asked(server, certificates, who)
