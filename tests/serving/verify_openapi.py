"""What /openapi.json promises, held to by schemathesis: requests made of the document, and answers judged by it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from running import FOR_EVER_S, Running, running

import navit_edge as ne
from navit_edge.serve.limits import Limits

schemathesis = pytest.importorskip("schemathesis")

#: Of each path and method.
REQUESTS = 60


@pytest.fixture(scope="module")
def server(job_bundle: Path) -> Iterator[Running]:
    limits = Limits(max_body_bytes=1 << 20, max_pixels=10_000)
    with running({"tiny": job_bundle}, limits=limits, open_session=lambda path: ne.Session(path, threads=1)) as server:
        yield server


def test_every_answer_is_one_that_the_document_says(server: Running) -> None:
    # Without what would take the model away from the requests that follow.
    document = schemathesis.openapi.from_url(f"{server.url}/openapi.json").exclude(path_regex="/unload$")
    asked = set()
    for found in document.get_all_operations():
        operation = found.ok()
        hold_to(operation)
        asked.add(operation.label)
    assert {"POST /v2/models/{name}/infer", "POST /v1/embeddings", "POST /v1/classify", "GET /metrics"} <= asked


def hold_to(operation: Any) -> None:
    checks = schemathesis.checks

    @settings(max_examples=REQUESTS, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        answer = case.call_and_validate(
            timeout=FOR_EVER_S,
            checks=[
                checks.status_code_conformance,
                checks.content_type_conformance,
                checks.response_headers_conformance,
                checks.response_schema_conformance,
            ],
        )
        assert answer.status_code != 500

    ask()
