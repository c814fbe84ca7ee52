"""A bundle in a real Triton Inference Server, asked by NVIDIA's own client; judged by ``Session.run``."""

from __future__ import annotations

import io
import queue
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from triton_server import FOR_EVER_S, TritonServer, triton_server

import navit_edge as ne
from navit_edge.triton import ExportRequest, export_repository

grpc = pytest.importorskip("tritonclient.grpc")
http = pytest.importorskip("tritonclient.http")

Pixels = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def server(repository: Path, job_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """Two models of one bundle: "each" sends an image as soon as it is ready, "all" those of a request together."""
    folder = tmp_path_factory.mktemp("triton")
    export_repository(job_bundle, folder / "models", ExportRequest(name="each"))
    export_repository(job_bundle, folder / "models", ExportRequest(name="all", decoupled=False, link=True))
    with triton_server(repository / "build" / "triton", folder / "models", folder) as running:
        yield running


@pytest.fixture(scope="module")
def images() -> list[Pixels]:
    rng = np.random.default_rng(15)
    return [rng.integers(0, 256, (*size, 3), np.uint8) for size in ((50, 35), (20, 90), (64, 64), (9, 33))]


@pytest.fixture(scope="module")
def expected(job_bundle: Path, images: Sequence[Pixels]) -> list[ne.Result]:
    with ne.Session(job_bundle) as session:
        return session.run(images)


@pytest.fixture
def over_http(server: TritonServer) -> Iterator[Any]:
    with http.InferenceServerClient(server.http, network_timeout=FOR_EVER_S) as client:
        yield client


@pytest.fixture
def over_grpc(server: TritonServer) -> Iterator[Any]:
    with grpc.InferenceServerClient(server.grpc) as client:
        yield client


def tensor(client: Any, name: str, datatype: str, values: Any) -> Any:
    array = np.asarray(values)
    given = client.InferInput(name, list(array.shape), datatype)
    given.set_data_from_numpy(array)
    return given


def files(client: Any, images: Sequence[Pixels | bytes]) -> list[Any]:
    return [tensor(client, "images", "BYTES", np.array([png(image) for image in images], object))]


def pixels(client: Any, images: Sequence[Pixels]) -> list[Any]:
    flat = np.concatenate([image.ravel() for image in images])
    shapes = np.array([image.shape for image in images], np.int64)
    return [tensor(client, "pixels", "UINT8", flat), tensor(client, "shapes", "INT64", shapes)]


def png(image: Pixels | bytes) -> bytes:
    if isinstance(image, bytes):
        return image
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def streamed(client: Any, inputs: list[Any], count: int, **options: Any) -> list[tuple[Any, Any]]:
    """(result, error) of ``count`` responses of the decoupled model, in the order in which they came."""
    came: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: came.put((result, error)))
    try:
        client.async_stream_infer("each", inputs, **options)
        return [came.get(timeout=FOR_EVER_S) for _ in range(count)]
    finally:
        client.stop_stream()


def close_to(found: Any, expected: Sequence[Any]) -> None:
    np.testing.assert_allclose(found, np.stack(expected), rtol=2e-4, atol=2e-5)


def test_triton_loads_the_repository_as_it_is_and_knows_the_tensors(over_http: Any) -> None:
    for name in ("each", "all"):
        assert over_http.is_model_ready(name)
        said = over_http.get_model_metadata(name)
        assert {one["name"]: one["datatype"] for one in said["inputs"]} == {
            "images": "BYTES",
            "pixels": "UINT8",
            "shapes": "INT64",
        }
        outputs = {one["name"]: one["shape"] for one in said["outputs"]}
        assert outputs["embedding"] == [-1, 64]
        assert outputs["logits"] == [-1, 5]


def test_files_and_pixels_of_any_sizes_give_what_a_session_gives(
    over_http: Any, over_grpc: Any, images: list[Pixels], expected: list[ne.Result]
) -> None:
    for library, client in ((http, over_http), (grpc, over_grpc)):
        for inputs in (files(library, images), pixels(library, images)):
            found = client.infer("all", inputs)
            close_to(found.as_numpy("embedding"), [result.embedding for result in expected])
            close_to(found.as_numpy("logits"), [result.logits for result in expected])
            assert found.as_numpy("grid").tolist() == [list(result.grid) for result in expected]
            assert found.as_numpy("tokens_used").tolist() == [result.token_count for result in expected]
            assert found.as_numpy("index").tolist() == [0, 1, 2, 3]
            assert found.as_numpy("tokens") is None


def test_outputs_and_parameters_are_those_that_the_request_names(
    over_http: Any, images: list[Pixels], expected: list[ne.Result]
) -> None:
    asked = [http.InferRequestedOutput(name) for name in ("labels", "scores", "tokens", "rows")]
    parameters = {"top_k": 2, "deadline_ms": 50, "policy": "native", "session_priority": 3}
    found = over_http.infer("all", pixels(http, images), outputs=asked, parameters=parameters)
    best = [result.top_k(2) for result in expected]
    assert found.as_numpy("labels").tolist() == [[one.label.encode() for one in few] for few in best]
    np.testing.assert_allclose(found.as_numpy("scores"), [[one.score for one in few] for few in best], rtol=1e-3)
    assert found.as_numpy("rows").tolist() == [result.grid[0] * result.grid[1] for result in expected]
    assert len(found.as_numpy("tokens")) == sum(found.as_numpy("rows"))
    assert found.as_numpy("embedding") is None


def test_a_policy_chooses_the_grids(over_http: Any, job_bundle: Path, images: list[Pixels]) -> None:
    with ne.Session(job_bundle, policy=ne.Policy.token_cap(20)) as session:
        grids = [list(result.grid) for result in session.run(images)]
    found = over_http.infer("all", pixels(http, images), parameters={"policy": "token-cap:20"})
    assert found.as_numpy("grid").tolist() == grids


def test_images_of_a_request_come_one_by_one_and_a_bad_one_fails_alone(
    over_grpc: Any, images: list[Pixels], expected: list[ne.Result]
) -> None:
    came = streamed(over_grpc, files(grpc, [images[0], b"no image", *images[2:]]), 4, enable_empty_final_response=True)
    (error,) = [error for _, error in came if error is not None]
    assert "image 1: not an image" in str(error)
    found = {int(result.as_numpy("index")[0]): result for result, error in came if error is None}
    assert set(found) == {0, 2, 3}
    for index, result in found.items():
        close_to(result.as_numpy("embedding"), [expected[index].embedding])
    last, _ = came[-1]
    assert last is None or last.get_response().parameters["triton_final_response"].bool_param


@pytest.mark.parametrize(
    ("parameters", "status", "words"),
    [
        ({"top_k": 0}, "400", "top_k is 0; expected how many classes"),
        ({"policy": "best"}, "400", "policy"),
        ({"deadline_ms": -1}, "400", "deadline_ms is '-1'; expected milliseconds"),
    ],
)
def test_a_request_that_cannot_be_is_refused_in_words(
    over_http: Any, images: list[Pixels], parameters: dict[str, Any], status: str, words: str
) -> None:
    with pytest.raises(http.InferenceServerException, match=words) as caught:
        over_http.infer("all", pixels(http, images), parameters=parameters)
    assert caught.value.status() == status
    with pytest.raises(http.InferenceServerException, match="image 2"):
        over_http.infer("all", files(http, [*images[:2], b"no image"]))
    assert over_http.infer("all", pixels(http, images[:1])).as_numpy("grid").shape == (1, 2)


def test_many_requests_at_once_get_their_own_images(
    over_grpc: Any, images: list[Pixels], expected: list[ne.Result]
) -> None:
    came: queue.Queue[tuple[int, Any, Any]] = queue.Queue()
    for request in range(40):
        which = request % len(images)
        over_grpc.async_infer(
            "all",
            pixels(grpc, [images[which]]),
            callback=lambda result, error, which=which: came.put((which, result, error)),
        )
    for _ in range(40):
        which, result, error = came.get(timeout=FOR_EVER_S)
        assert error is None
        close_to(result.as_numpy("embedding"), [expected[which].embedding])
