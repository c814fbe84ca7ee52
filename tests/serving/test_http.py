"""The Open Inference Protocol over HTTP: Triton's own client, unmodified, gets what ``Session.run`` gives; and what is
no request is answered with an error that helps."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
import tritonclient.http as triton
from PIL import Image
from running import Running, running
from tritonclient.utils import InferenceServerException

import navit_edge as ne
from navit_edge.serve.limits import Limits

Pixels = npt.NDArray[np.uint8]
LIMITS = Limits(max_body_bytes=1 << 20, max_images=8, max_pixels=1 << 16)
INFER = "/v2/models/tiny/infer"


def pictures(count: int) -> list[Pixels]:
    rng = np.random.default_rng(count)
    return [rng.integers(0, 256, (*rng.integers(8, 60, 2), 3), np.uint8) for _ in range(count)]


def png(image: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


IMAGES = pictures(3)
FILES = [png(image) for image in IMAGES]


def open_session(path: Path) -> ne.Session:
    return ne.Session(path, decode=ne.DecodeOptions(max_pixels=LIMITS.max_pixels))


@pytest.fixture(scope="module")
def server(job_bundle: Path) -> Iterator[Running]:
    with running({"tiny": job_bundle, "second": job_bundle}, limits=LIMITS, open_session=open_session) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.address, network_timeout=120.0) as client:
        yield client


@pytest.fixture(scope="module")
def http(server: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=120.0, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def expected(job_bundle: Path) -> list[ne.Result]:
    with ne.Session(job_bundle) as session:
        return session.run(IMAGES)


def tensor(name: str, datatype: str, array: npt.NDArray[Any], *, binary: bool = True) -> triton.InferInput:
    given = triton.InferInput(name, list(array.shape), datatype)
    given.set_data_from_numpy(array, binary_data=binary)
    return given


def files(data: list[bytes]) -> triton.InferInput:
    return tensor("images", "BYTES", np.array(data, object))


def as_json(data: list[bytes]) -> dict[str, Any]:
    texts = [base64.b64encode(one).decode() for one in data]
    return {"inputs": [{"name": "images", "datatype": "BYTES", "shape": [len(data)], "data": texts}]}


def check(answer: triton.InferResult, expected: list[ne.Result]) -> None:
    for name in ("embedding", "logits"):
        wanted = np.stack([getattr(result, name) for result in expected])
        np.testing.assert_allclose(answer.as_numpy(name), wanted, rtol=2e-4, atol=2e-5)
    np.testing.assert_array_equal(answer.as_numpy("grid"), [result.grid for result in expected])
    np.testing.assert_array_equal(answer.as_numpy("tokens_used"), [result.token_count for result in expected])


def test_tritons_client_sees_a_server_and_its_models(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny")
    assert client.is_model_ready("tiny", "1")
    assert client.get_server_metadata()["name"] == "navit-edge"
    metadata = client.get_model_metadata("tiny")
    assert [one["name"] for one in metadata["inputs"]] == ["images", "pixels", "shapes"]
    assert {"name": "embedding", "datatype": "FP32", "shape": [-1, 64]} in metadata["outputs"]
    assert client.get_model_config("tiny")["max_batch_size"] == 0
    with pytest.raises(InferenceServerException, match="no model 'none'; expected one of tiny, second"):
        client.get_model_metadata("none")


@pytest.mark.parametrize("binary_out", [True, False])
@pytest.mark.parametrize("given", ["files", "ragged", "ragged in JSON", "one in JSON"])
def test_tritons_client_gets_the_numbers_of_a_session(
    client: triton.InferenceServerClient, expected: list[ne.Result], given: str, binary_out: bool
) -> None:
    binary = "JSON" not in given
    if given == "files":
        inputs = [files(FILES)]
    elif given == "one in JSON":
        inputs = [tensor("pixels", "UINT8", IMAGES[0], binary=False)]
        expected = expected[:1]
    else:
        flat = np.concatenate([image.reshape(-1) for image in IMAGES])
        shapes = np.array([image.shape for image in IMAGES], np.int64)
        inputs = [tensor("pixels", "UINT8", flat, binary=binary), tensor("shapes", "INT64", shapes, binary=binary)]
    names = ("embedding", "logits", "grid", "tokens_used", "tokens")
    outputs = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in names]
    answer = client.infer("tiny", inputs, outputs=outputs, request_id="number 7")
    check(answer, expected)
    rows = np.concatenate([result.tokens for result in expected if result.tokens is not None])
    np.testing.assert_allclose(answer.as_numpy("tokens"), rows, rtol=2e-4, atol=2e-4)
    assert answer.as_numpy("rows").sum() == len(rows)
    told = answer.get_response()
    assert (told["id"], told["model_name"], told["model_version"]) == ("number 7", "tiny", "1")
    assert len(str(told["parameters"]["pack"]).split(",")) == len(expected)
    assert {"queue_us", "latency_us"} < set(told["parameters"])


def test_without_outputs_asked_for_the_bundle_says_which(
    client: triton.InferenceServerClient, expected: list[ne.Result]
) -> None:
    answer = client.infer("tiny", [files(FILES)])
    check(answer, expected)
    assert answer.as_numpy("tokens") is None


def test_tritons_client_gets_labels_and_its_parameters_count(
    client: triton.InferenceServerClient, expected: list[ne.Result]
) -> None:
    parameters = {"top_k": 2, "policy": "token-cap:16", "deadline_ms": 50.0}
    answer = client.infer("tiny", [files(FILES)], priority=3, timeout=60_000_000, parameters=parameters)
    assert answer.as_numpy("labels").shape == answer.as_numpy("scores").shape == (3, 2)
    assert answer.as_numpy("labels")[0, 0].startswith(b"class ")
    assert (answer.as_numpy("tokens_used") <= 16).all()
    with pytest.raises(InferenceServerException, match="not there after 1 us") as caught:
        client.infer("tiny", [files(FILES)], timeout=1)
    assert caught.value.status() == "504"


def test_json_takes_files_in_base64_and_data_urls(http: httpx.Client, expected: list[ne.Result]) -> None:
    asked = as_json(FILES)
    data = asked["inputs"][0]["data"]
    data[0] = f"data:image/png;base64,{data[0]}"
    answer = http.post(INFER, json=asked).json()
    (logits,) = [one["data"] for one in answer["outputs"] if one["name"] == "logits"]
    wanted = np.concatenate([result.logits for result in expected if result.logits is not None])
    np.testing.assert_allclose(logits, wanted, rtol=2e-4, atol=2e-5)


def test_a_body_may_be_one_file_as_curl_sends_it(http: httpx.Client, expected: list[ne.Result]) -> None:
    header = {"Inference-Header-Content-Length": "0"}
    answer = http.post(INFER, content=FILES[1], headers=header, params={"top_k": 1}).json()
    label = {one["name"]: one for one in answer["outputs"]}["labels"]["data"]
    assert label == [expected[1].top_k(1)[0].label]
    chunked = http.post(INFER, content=iter([FILES[1][:50], FILES[1][50:]]), headers=header)
    assert chunked.status_code == 200


def test_statistics_count_images_and_requests(client: triton.InferenceServerClient) -> None:
    before = client.get_inference_statistics("tiny")["model_stats"][0]
    client.infer("tiny", [files(FILES)])
    after = client.get_inference_statistics("tiny")["model_stats"][0]
    assert after["inference_count"] == before["inference_count"] + 3
    assert after["inference_stats"]["success"]["count"] == before["inference_stats"]["success"]["count"] + 1
    assert len(client.get_inference_statistics()["model_stats"]) == 2


def test_models_are_unloaded_and_loaded_by_name(client: triton.InferenceServerClient, http: httpx.Client) -> None:
    client.unload_model("second")
    assert not client.is_model_ready("second")
    assert client.is_server_ready()  # it was asked for
    states = {one["name"]: (one["state"], one["reason"]) for one in client.get_model_repository_index()}
    assert states == {"tiny": ("READY", ""), "second": ("UNAVAILABLE", "unloaded")}
    assert [one["name"] for one in http.post("/v2/repository/index", json={"ready": True}).json()] == ["tiny"]
    with pytest.raises(InferenceServerException, match="unloaded") as caught:
        client.infer("second", [files(FILES)])
    assert caught.value.status() == "503"
    with pytest.raises(InferenceServerException, match="expected none: a model is loaded as the server was started"):
        client.load_model("second", config="{}")
    with pytest.raises(InferenceServerException, match=r"no model 'passwd'"):
        client.load_model("passwd")
    client.load_model("second")
    assert client.is_model_ready("second")


def body(**change: Any) -> bytes:
    return json.dumps({**as_json([FILES[0]]), **change}).encode()


def one_input(**change: Any) -> bytes:
    return body(inputs=[{**as_json([FILES[0]])["inputs"][0], **change}])


@pytest.mark.parametrize(
    ("content", "header", "status", "said"),
    [
        (b"", None, 400, "not JSON of the Open Inference Protocol"),
        (b"{", None, 400, "not JSON"),
        (b"\xff", None, 400, "not JSON"),
        (b"[" * 100_000, None, 400, "not JSON"),
        (b'{"inputs": 1}', None, 400, r"\$.inputs"),
        (b'{"inputs": []}', None, 400, "the inputs are: none"),
        (body(id=7), None, 400, r"\$.id"),
        (body(outputs=[{"name": "pooled"}]), None, 400, "'pooled' is not there; expected some of logits"),
        (body(outputs=[{"name": "logits", "parameters": {"classification": 3}}]), None, 400, "parameter top_k"),
        (body(parameters={"policy": "fastest"}), None, 400, "policy"),
        (body(parameters={"priority": 1 << 70}), None, 400, "priority"),
        (one_input(data=["no base64"]), None, 400, "image 0 is no base64"),
        (one_input(data=[7]), None, 400, "image 0 is no text"),
        (one_input(data=["data:text/plain,hello"]), None, 400, "image 0 is a data URL without base64"),
        (one_input(data=["bm8gaW1hZ2U="]), None, 400, "image 0"),
        (one_input(data=None), None, 400, "has no data"),
        (one_input(shape=[2]), None, 400, "has 1 elements; expected 2"),
        (one_input(shape=[9], data=["eA=="] * 9), None, 413, "has 9 images; expected at most 8"),
        (one_input(parameters={"binary_data_size": 0}), None, 400, "has data and binary_data_size"),
        (one_input(data=None, parameters={"binary_data_size": 1}), None, 400, "expected at most 0"),
        (one_input(data=None, parameters={"binary_data_size": "x"}), None, 400, "binary_data_size"),
        (one_input(data=None, parameters={"shared_memory_region": "x"}), None, 400, "has no data"),
        (body(), "1000000", 400, "Inference-Header-Content-Length"),
        (body(), "-1", 400, "Inference-Header-Content-Length"),
        (body() + b"x", str(len(body())), 400, "1 bytes of the body belong to no input"),
        (b"no image", "0", 400, "image 0"),
        (b"", "0", 400, "image 0 is empty"),
        (png(np.zeros((300, 300), np.uint8)), "0", 413, "image 0 is 300x300 pixels"),
        (bytes((1 << 20) + 1), None, 413, "expected at most 1,048,576"),
    ],
)
def test_what_is_no_request_is_refused_with_what_would_be_one(
    http: httpx.Client, content: bytes, header: str | None, status: int, said: str
) -> None:
    headers = {} if header is None else {"Inference-Header-Content-Length": header}
    answer = http.post(INFER, content=content, headers=headers)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert len(error) < 600
    with pytest.raises(ValueError, match=said):
        raise ValueError(error)
    chunked = http.post(INFER, content=iter([content[:9], content[9:]]), headers=headers)
    assert (chunked.status_code, chunked.json()["error"][:20]) == (status, error[:20])


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/nothing", 404),
        ("POST", "/v2", 405),
        ("GET", "/v2/models/none", 404),
        ("GET", "/v2/models/tiny/versions/2", 404),
        ("POST", "/v2/models/none/infer", 404),
        ("POST", "/v2/repository/models/none/load", 404),
        ("POST", "/v2/repository/models/..%2F..%2Fetc/load", 404),
        ("GET", "/%2e%2e/etc/passwd", 404),
        ("GET", "/v2/models/none/stats", 404),
    ],
)
def test_other_paths_are_answered_in_json(http: httpx.Client, method: str, path: str, status: int) -> None:
    answer = http.request(method, path)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]


def test_a_body_that_is_packed_is_refused(http: httpx.Client) -> None:
    answer = http.post(INFER, content=b"", headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 400
    assert "send the body as it is" in answer.json()["error"]


def test_the_page_of_another_site_cannot_change_anything(http: httpx.Client, server: Running) -> None:
    unload = "/v2/repository/models/second/unload"
    for origin in ("https://elsewhere.example", "null", "http://127.0.0.1:1", "http://["):
        assert http.post(unload, headers={"Origin": origin}).status_code == 403
    for site in ("cross-site", "same-site"):
        assert http.post(unload, headers={"Sec-Fetch-Site": site}).status_code == 403
    assert server.model("second").ready
    index = "/v2/repository/index"
    assert http.post(index, headers={"Origin": server.url}).status_code == 200
    behind_a_proxy = {"Origin": "https://public.example", "Sec-Fetch-Site": "same-origin"}
    assert http.post(index, headers=behind_a_proxy).status_code == 200


def test_metrics_openapi_and_the_page_are_there(http: httpx.Client) -> None:
    text = http.get("/metrics").text
    assert 'session="tiny"' in text or 'model="tiny"' in text
    paths = http.get("/openapi.json").json()["paths"]
    assert {"/v2/models/{name}/infer", "/v2/repository/index", "/v1/embeddings", "/metrics"} <= set(paths)
    assert http.get("/").status_code == 200
    assert http.get("/v1/models").json()["data"][0]["id"] == "tiny"
