"""/v1 as the client that it is made for sees it: the package ``openai``, unmodified (`make test-serving`)."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openai
import pytest
from in_process import png
from running import Running, running

import navit_edge as ne
from navit_edge.serve.security import ApiKeys, Security

KEY = "0123456789abcdef-a-key"
FILES = [png(40, 60, 0), png(80, 24, 1), png(33, 47, 2)]
URLS = [f"data:image/png;base64,{base64.b64encode(file).decode()}" for file in FILES]


@pytest.fixture(scope="module")
def server(job_bundle: Path) -> Iterator[Running]:
    with running({"tiny": job_bundle}, security=Security(keys=ApiKeys([KEY]))) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0, timeout=120.0) as client:
        yield client


@pytest.fixture(scope="module")
def expected(job_bundle: Path) -> list[ne.Result]:
    with ne.Session(job_bundle) as session:
        return session.run(FILES)


@pytest.mark.parametrize("encoding", ["float", "base64", None])
def test_the_client_reads_the_embeddings_of_a_session(
    client: openai.OpenAI, expected: list[ne.Result], encoding: str | None
) -> None:
    given = {} if encoding is None else {"encoding_format": encoding}  # by itself it asks for base64, and decodes it
    answer = client.embeddings.create(model="tiny", input=URLS, **given)  # type: ignore[call-overload]
    assert answer.model == "tiny"
    for entry, result in zip(answer.data, expected, strict=True):
        numbers = entry.embedding
        if encoding == "base64":
            numbers = np.frombuffer(base64.b64decode(numbers), "<f4")
        np.testing.assert_allclose(numbers, result.embedding, atol=1e-5)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == sum(one.token_count for one in expected)


def test_one_image_and_what_the_client_does_not_know(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(
        model="tiny", input=URLS[0], extra_body={"policy": "token-cap:40", "priority": 3, "deadline_ms": 60000}
    )
    assert answer.usage.total_tokens <= 40


def test_the_client_lists_the_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]


def test_the_client_raises_what_the_errors_mean(client: openai.OpenAI, server: Running) -> None:
    with pytest.raises(openai.BadRequestError, match="this server fetches nothing") as refused:
        client.embeddings.create(model="tiny", input="https://example.com/a.png")
    assert (refused.value.code, refused.value.type) == ("bad_input", "invalid_request_error")
    with pytest.raises(openai.NotFoundError, match="there is no model 'other'") as missing:
        client.embeddings.create(model="other", input=URLS[0])
    assert missing.value.code == "model_not_found"
    with (
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="no key", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError) as unknown,
    ):
        stranger.models.list()
    assert unknown.value.code == "invalid_api_key"
