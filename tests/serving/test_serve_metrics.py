"""What a server says of itself at /metrics, read by Prometheus's own parser, and in its access log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import tritonclient.grpc as triton
from in_process import png
from prometheus_client.parser import text_string_to_metric_families
from running import Running, running

from navit_edge.serve.access_log import AccessLog

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
KEY = "0123456789abcdef-a-key"

Sample = tuple[str, frozenset[tuple[str, str]]]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AccessLog]:
    place = tmp_path_factory.mktemp("log") / "access.log"
    with AccessLog(str(place)) as log:
        yield log


@pytest.fixture(scope="module")
def server(job_bundle: Path, log: AccessLog) -> Iterator[Running]:
    with running({"front": job_bundle, "rear": job_bundle}, grpc=True, access_log=log) as server:
        yield server


@pytest.fixture(scope="module")
def asked(server: Running) -> Running:
    """A server that has answered some requests."""
    with httpx.Client(base_url=server.url, timeout=120.0, headers={"X-API-Key": KEY}) as client:
        for model, count in (("front", 3), ("rear", 2)):
            files = [("image", png(20, 30, seed)) for seed in range(count)]
            assert client.post("/v1/embeddings", files=files, data={"model": model}, headers=PARENT).status_code == 200
        assert client.post("/v1/embeddings?token=secret", json={"input": "x"}).status_code == 400
        assert client.get("/nowhere/secret-path").status_code == 404
    with triton.InferenceServerClient(str(server.server.grpc)) as grpc:
        assert grpc.is_model_ready("front", headers=PARENT)
        with pytest.raises(triton.InferenceServerException):
            grpc.get_model_metadata("nowhere")
    return server


@pytest.fixture(scope="module")
def samples(asked: Running) -> dict[Sample, float]:
    answer = httpx.get(f"{asked.url}/metrics", timeout=120.0)
    assert answer.status_code == 200
    families = list(text_string_to_metric_families(answer.text))
    assert len({family.name for family in families}) == len(families)  # what would be there twice, Prometheus refuses
    return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}


def total(samples: dict[Sample, float], name: str, **labels: str) -> float:
    return sum(
        value for (one, given), value in samples.items() if one == name and labels.items() <= dict(given).items()
    )


def test_every_number_of_a_session_names_its_bundle_and_its_model(samples: dict[Sample, float]) -> None:
    completed = [dict(given) for name, given in samples if name == "navit_edge_images_completed_total"]
    assert sorted((labels["bundle"], labels["model"]) for labels in completed) == [
        ("tiny.navit", "front"),
        ("tiny.navit", "rear"),
    ]
    assert total(samples, "navit_edge_images_completed_total", model="front") == 3
    assert total(samples, "navit_edge_images_completed_total", model="rear", bundle="tiny.navit") == 2


def test_requests_are_counted_by_protocol_route_model_and_code(samples: dict[Sample, float]) -> None:
    def requests(**labels: str) -> float:
        return total(samples, "navit_edge_requests_total", **labels)

    assert requests(protocol="http", route="/v1/embeddings", code="200", model="front") == 1
    assert requests(protocol="http", route="/v1/embeddings", code="400", model="") == 1
    assert requests(protocol="http", route="", code="404") == 1
    assert requests(protocol="grpc", method="ModelReady", code="OK") == 1
    assert requests(protocol="grpc", method="ModelMetadata", code="NOT_FOUND") == 1
    assert total(samples, "navit_edge_request_seconds_count", route="/v1/embeddings") == 3
    assert total(samples, "navit_edge_request_bytes_total", protocol="http") > 5 * 20 * 30
    assert total(samples, "navit_edge_access_log_lost_lines_total") == 0


def test_the_access_log_has_an_object_for_each_request(asked: Running, log: AccessLog) -> None:
    log.close()
    text = log.place.read_text("ascii")
    lines = [json.loads(line) for line in text.splitlines()]
    embeddings = [line for line in lines if line["path"] == "/v1/embeddings"]
    assert [(one["status"], one["model"], one["images"], one["trace_id"]) for one in embeddings] == [
        (200, "front", 3, TRACE),
        (200, "rear", 2, TRACE),
        (400, "", 0, ""),
    ]
    assert all(one["client"] == "127.0.0.1" for one in lines)
    assert embeddings[0]["tokens"] == 3 * 5 * 8  # patches of 4 pixels
    (ready,) = [line for line in lines if line["method"] == "ModelReady"]
    assert (ready["protocol"], ready["status"], ready["trace_id"]) == ("grpc", "OK", TRACE)
    (missing,) = [line for line in lines if line["method"] == "ModelMetadata"]
    assert missing["status"] == "NOT_FOUND"
    assert KEY not in text
    assert "token=secret" not in text
