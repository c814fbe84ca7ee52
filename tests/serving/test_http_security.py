"""HTTP by TLS and with keys, judged by an HTTP client that checks certificates."""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx
import pytest
import trustme
from running import Running, running

from navit_edge.serve.security import ApiKeys, Security, Tls

KEY = "0123456789abcdef0123456789abcdef"
PIXELS = {"name": "pixels", "datatype": "UINT8", "shape": [1, 2, 3], "data": [1, 2, 3, 4, 5, 6]}


def test_tls_and_keys_let_in_who_has_both(job_bundle: Path, tmp_path: Path) -> None:
    authority = trustme.CA()
    pair = authority.issue_cert("127.0.0.1")
    paths = {name: tmp_path / name for name in ("cert", "key", "ca")}
    paths["cert"].write_bytes(b"".join(blob.bytes() for blob in pair.cert_chain_pems))
    paths["key"].write_bytes(pair.private_key_pem.bytes())
    paths["ca"].write_bytes(authority.cert_pem.bytes())
    trusting = ssl.create_default_context(cafile=str(paths["ca"]))
    security = Security(
        keys=ApiKeys([KEY]), tls=Tls(certificate=paths["cert"], key=paths["key"], client_ca=paths["ca"])
    )
    with running({"tiny": job_bundle}, security=security) as server:
        url = f"https://{server.address}"
        with pytest.raises(httpx.TransportError):  # the server asks for a certificate
            httpx.get(f"{url}/v2/health/live", verify=trusting, trust_env=False, timeout=120.0)
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{server.url}/v2/health/live", trust_env=False)  # in the clear
        client_pair = authority.issue_cert("client@example.org")
        client_pair.configure_cert(trusting)
        with httpx.Client(base_url=url, verify=trusting, trust_env=False, timeout=120.0) as client:
            check_keys(client, server)


def check_keys(client: httpx.Client, server: Running) -> None:
    for path in ("/", "/v2/health/live", "/v2/health/ready"):
        assert client.get(path).status_code == 200
    infer = ("POST", "/v2/models/tiny/infer")
    for method, path in (infer, ("GET", "/v2"), ("GET", "/metrics"), ("GET", "/openapi.json"), ("GET", "/nothing")):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": KEY}):
            answer = client.request(method, path, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert "expected a header" in answer.json()["error"]
    for headers in ({"Authorization": f"Bearer {KEY}"}, {"X-API-Key": KEY}):
        assert client.request(*infer, json={"inputs": [PIXELS]}, headers=headers).status_code == 200
    assert server.images()["completed"] == 2
