"""/v1/embeddings, /v1/classify and /v1/models, by an HTTP client: every way to send an image gives the numbers of
``Session.run``; what is no request is refused in the shape of OpenAI's errors."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import numpy as np
import pytest
from in_process import Ask, png
from PIL import Image

import navit_edge as ne

FILES = [png(40, 60, 0), png(80, 24, 1), png(33, 47, 2)]


def data_url(file: bytes, head: str = "data:image/png;base64") -> str:
    return f"{head},{base64.b64encode(file).decode()}"


def part(file: bytes) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": data_url(file)}}


@pytest.fixture(scope="module")
def expected(job_bundle: Path) -> list[ne.Result]:
    with ne.Session(job_bundle) as session:
        return session.run([io.BytesIO(file) for file in FILES])


def numbers(answer: httpx.Response) -> list[list[float]]:
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["object"], body["model"]) == ("list", "tiny")
    assert [entry["object"] for entry in body["data"]] == ["embedding"] * len(body["data"])
    assert [entry["index"] for entry in body["data"]] == list(range(len(body["data"])))
    return [entry["embedding"] for entry in body["data"]]


FORMS: dict[str, tuple[list[int], dict[str, Any]]] = {
    "one data URL": ([0], {"json": {"model": "tiny", "input": data_url(FILES[0])}}),
    "a list of data URLs": ([0, 1, 2], {"json": {"model": "tiny", "input": [data_url(file) for file in FILES]}}),
    "parts": ([2, 0], {"json": {"model": "tiny", "input": [part(FILES[2]), part(FILES[0])]}}),
    "parts and data URLs": ([1, 0], {"json": {"model": "tiny", "input": [data_url(FILES[1]), part(FILES[0])]}}),
    "a part whose image_url is the URL": (
        [1],
        {"json": {"model": "tiny", "input": [{"type": "image_url", "image_url": data_url(FILES[1])}]}},
    ),
    "a conversation, as vLLM takes it": (
        [1],
        {
            "json": {
                "model": "tiny",
                "messages": [
                    {
                        "role": "user",
                        "content": [part(FILES[1]), {"type": "text", "text": "Represent the given image."}],
                    }
                ],
            }
        },
    ),
    "a data URL of no type": ([0], {"json": {"input": data_url(FILES[0], "data:;base64")}}),
    "a data URL with parameters": ([0], {"json": {"input": data_url(FILES[0], "DATA:image/png;name=a.png;BASE64")}}),
    "fields that other servers have": (
        [0],
        {"json": {"model": "tiny", "input": data_url(FILES[0]), "user": "me", "truncate": "END", "priority": 3}},
    ),
    "an upload": ([0], {"files": {"image": ("a.png", FILES[0])}, "data": {"model": "tiny"}}),
    "uploads": ([2, 1], {"files": [("image", FILES[2]), ("image", FILES[1])], "data": {"model": "tiny"}}),
    "an upload without a model": ([1], {"files": {"file": FILES[1]}}),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_request_gives_the_embeddings_of_a_session(
    ask: Ask, expected: list[ne.Result], form: str
) -> None:
    places, request = FORMS[form]
    answer = ask("POST", "/v1/embeddings", **request)
    for place, found in zip(places, numbers(answer), strict=True):
        np.testing.assert_allclose(found, expected[place].embedding, atol=1e-5)
    tokens = sum(expected[place].token_count for place in places)
    assert answer.json()["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}


def test_base64_holds_the_numbers_as_little_endian_float32(ask: Ask, expected: list[ne.Result]) -> None:
    request = {"model": "tiny", "input": data_url(FILES[0])}
    (text,) = numbers(ask("POST", "/v1/embeddings", json={**request, "encoding_format": "base64"}))
    (plain,) = numbers(ask("POST", "/v1/embeddings", json={**request, "encoding_format": "float"}))
    assert isinstance(text, str)
    found = np.frombuffer(base64.b64decode(text), "<f4")
    np.testing.assert_array_equal(found, np.asarray(plain, np.float32))
    assert expected[0].embedding is not None
    assert found.shape == expected[0].embedding.shape


def test_an_entry_says_how_its_image_was_run(ask: Ask, expected: list[ne.Result]) -> None:
    answer = ask("POST", "/v1/embeddings", json={"input": [data_url(file) for file in FILES], "policy": "token-cap:40"})
    for entry, file in zip(answer.json()["data"], FILES, strict=True):
        how = entry["image"]
        with Image.open(io.BytesIO(file)) as image:
            assert how["pixels"] == [image.height, image.width]
        assert how["tokens"] == how["grid"][0] * how["grid"][1] <= 40
        assert how["reason"]
        assert how["scale"][0] == pytest.approx(how["grid"][0] * 4 / how["pixels"][0])


def test_classes_are_those_of_a_session_in_vllms_shape(ask: Ask, expected: list[ne.Result]) -> None:
    answer = ask("POST", "/v1/classify", json={"model": "tiny", "input": [data_url(file) for file in FILES]})
    body = answer.json()
    assert (body["object"], body["model"]) == ("list", "tiny")
    assert body["id"].startswith("classify-")
    for place, (entry, result) in enumerate(zip(body["data"], expected, strict=True)):
        best, *_ = result.top_k(1)
        assert (entry["index"], entry["label"], entry["num_classes"]) == (place, best.label, 5)
        assert result.logits is not None
        exponents = np.exp(np.asarray(result.logits, np.float64))
        np.testing.assert_allclose(entry["probs"], exponents / exponents.sum(), atol=1e-5)


@pytest.mark.parametrize(
    "request_",
    [
        {"data": {"top_k": "2"}, "files": {"image": FILES[0]}},
        {"json": {"top_k": 2, "input": data_url(FILES[0])}},
    ],
    ids=["form", "json"],
)
def test_top_k_gives_the_best_classes_instead_of_all(
    ask: Ask, expected: list[ne.Result], request_: dict[str, Any]
) -> None:
    (entry,) = ask("POST", "/v1/classify", **request_).json()["data"]
    assert "probs" not in entry
    assert [(one["index"], one["label"]) for one in entry["top_k"]] == [
        (one.index, one.label) for one in expected[0].top_k(2)
    ]
    assert [one["score"] for one in entry["top_k"]] == pytest.approx(
        [one.score for one in expected[0].top_k(2)], abs=1e-5
    )


def test_models_are_listed_with_what_they_give(ask: Ask) -> None:
    body = ask("GET", "/v1/models").json()
    assert body["object"] == "list"
    (model,) = body["data"]
    assert (model["id"], model["object"], model["patch_px"], model["labels"]) == ("tiny", "model", 4, 5)
    assert {"logits", "embedding"} <= set(model["outputs"])


JUST = data_url(FILES[0])
#: What is said -> the body that is refused with it, status 400.
REFUSED: dict[str, dict[str, Any]] = {
    "image 0 is 'http://169.254.169.254/latest'; expected a data URL": {"input": "http://169.254.169.254/latest"},
    "image 1 is 'https://example.com/a.png'; expected a data URL": {
        "input": [JUST, {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]
    },
    "image 0 is 'file:///etc/passwd'; expected a data URL": {"input": "file:///etc/passwd"},
    "this server fetches nothing": {"input": "/etc/passwd"},
    "image 0 is 'a cat'; expected a data URL": {"input": "a cat"},
    "input 0 is text; expected an image": {"input": [{"type": "text", "text": "a cat"}]},
    "Expected `str | object`, got `int` - at `$.input[0]`": {"input": [1, 2, 3]},
    "image 1 is not base64": {"input": [JUST, "data:image/png;base64,*"]},
    "expected data:image/png;base64": {"input": "data:image/png,%89PNG"},
    "image 0 is empty": {"input": "data:image/png;base64,"},
    "image 1: not an image": {"input": [JUST, data_url(b"hello")]},
    "the request has no input": {"model": "tiny"},
    "input is empty": {"input": []},
    "both input and messages": {"input": JUST, "messages": []},
    "messages hold 2 images": {"messages": [{"role": "user", "content": [part(FILES[0])] * 2}]},
    "messages hold 0 images": {"messages": [{"role": "user", "content": "a cat"}]},
    "dimensions is 8; expected 64": {"input": JUST, "dimensions": 8},
    "encoding_format": {"input": JUST, "encoding_format": "int8"},
    "policy": {"input": JUST, "policy": "nonsense"},
    "deadline_ms": {"input": JUST, "deadline_ms": -1},
}
MULTIPART = {"Content-Type": "multipart/form-data"}
#: The same of what is no JSON of a request.
REFUSED_BODIES: dict[str, dict[str, Any]] = {
    "half of it": {"content": b"{"},
    "no UTF-8": {"content": b'{"model": "\xff"}'},
    "deep": {"content": b'{"input":' + b"[" * 100000},
    "nothing": {"content": b""},
    "a form without files": {"files": {"model": (None, "tiny")}},
    "an input in a form": {"files": {"image": FILES[0], "input": (None, "x")}},
    "two models in a form": {"files": [("image", FILES[0]), ("model", (None, "a")), ("model", (None, "b"))]},
    "many fields in a form": {"files": [("image", FILES[0])], "data": {f"field{k}": "x" for k in range(20)}},
    "an empty file": {"files": {"image": b""}},
    "half of a form": {
        "content": b"--x\r\nContent-Disposition: form-data; name=a",
        "headers": {"Content-Type": "multipart/form-data; boundary=x"},
    },
    "no boundary": {"content": b"x", "headers": MULTIPART},
}


def check_refused(answer: httpx.Response, status: int, words: str, code: str) -> None:
    """In the shape of OpenAI's errors."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert words in error["message"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", None, code)


@pytest.mark.parametrize("words", REFUSED)
def test_what_is_no_image_or_no_request_is_refused_with_words(ask: Ask, words: str) -> None:
    check_refused(ask("POST", "/v1/embeddings", json=REFUSED[words]), 400, words, "bad_input")


@pytest.mark.parametrize("body", REFUSED_BODIES)
def test_a_body_that_cannot_be_read_is_refused(ask: Ask, body: str) -> None:
    for path in ("/v1/embeddings", "/v1/classify"):
        check_refused(ask("POST", path, **REFUSED_BODIES[body]), 400, "expected", "bad_input")


def test_a_model_that_is_not_there_is_404_and_too_many_images_413(ask: Ask) -> None:
    answer = ask("POST", "/v1/embeddings", json={"input": JUST, "model": "other"})
    check_refused(answer, 404, "there is no model 'other'; expected one of tiny", "model_not_found")
    answer = ask("POST", "/v1/embeddings", json={"input": ["data:"] * 65})
    check_refused(answer, 413, "the request has 65 images; expected at most 64", "too_large")
    answer = ask("POST", "/v1/embeddings", files=[("image", b"x")] * 65)
    check_refused(answer, 413, "the form has more than 64 files", "too_large")


def test_classify_is_also_where_vllm_has_it(ask: Ask) -> None:
    request = {"model": "tiny", "input": data_url(FILES[0])}
    found, known = (ask("POST", path, json=request).json()["data"] for path in ("/classify", "/v1/classify"))
    assert found[0]["label"] == known[0]["label"]
    np.testing.assert_allclose(found[0]["probs"], known[0]["probs"], rtol=1e-3)
    check_refused(ask("POST", "/classify", json={"input": JUST, "top_k": 0}), 400, "top_k", "bad_input")
    assert "/classify" not in ask("GET", "/openapi.json").json()["paths"]


def test_classify_refuses_top_k_below_one(ask: Ask) -> None:
    check_refused(ask("POST", "/v1/classify", json={"input": JUST, "top_k": 0}), 400, "top_k", "bad_input")


def test_the_schema_is_that_of_the_requests(ask: Ask) -> None:
    schema = ask("GET", "/openapi.json").json()
    for path, field in (("/v1/embeddings", "encoding_format"), ("/v1/classify", "top_k")):
        content = schema["paths"][path]["post"]["requestBody"]["content"]
        check = jsonschema.Draft202012Validator(content["application/json"]["schema"])
        for _, request in FORMS.values():
            if "json" in request:
                check.validate(request["json"])
        assert not check.is_valid({"input": [1, 2, 3]})
        assert not check.is_valid({field: "nonsense"})
        form = content["multipart/form-data"]["schema"]["properties"]
        assert {"image", "model", field} <= set(form)
        assert "input" not in form


def test_what_is_not_there_is_refused_in_the_same_shape(ask: Ask) -> None:
    check_refused(ask("GET", "/v1/completions"), 404, "GET /v1/completions", "not_found")
    check_refused(ask("GET", "/v1/embeddings"), 405, "Method Not Allowed", "method_not_allowed")
