"""What takes a real Triton Inference Server longer: several instances of a bundle, and clients that cancel."""

from __future__ import annotations

import io
import os
import queue
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from triton_server import FOR_EVER_S, TritonServer, triton_server

import navit_edge as ne
from navit_edge.triton import ExportRequest, export_repository

grpc = pytest.importorskip("tritonclient.grpc")

INSTANCES = 2


@pytest.fixture(scope="module")
def server(repository: Path, job_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    folder = tmp_path_factory.mktemp("triton")
    for name, decoupled in (("together", False), ("singly", True)):
        request = ExportRequest(name=name, decoupled=decoupled, link=True, instances=INSTANCES)
        export_repository(job_bundle, folder / "models", request)
    with triton_server(repository / "build" / "triton", folder / "models", folder) as running:
        yield running


@pytest.fixture
def client(server: TritonServer) -> Iterator[Any]:
    with grpc.InferenceServerClient(server.grpc) as client:
        yield client


def pixels(images: list[Any]) -> list[Any]:
    flat = np.concatenate([image.ravel() for image in images])
    shapes = np.array([image.shape for image in images], np.int64)
    inputs = []
    for name, kind, array in (("pixels", "UINT8", flat), ("shapes", "INT64", shapes)):
        given = grpc.InferInput(name, list(array.shape), kind)
        given.set_data_from_numpy(array)
        inputs.append(given)
    return inputs


def files(images: list[bytes]) -> list[Any]:
    given = grpc.InferInput("images", [len(images)], "BYTES")
    given.set_data_from_numpy(np.array(images, object))
    return [given]


def until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + FOR_EVER_S
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def stubs(model: str) -> list[int]:
    """The processes of a model's instances."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except OSError:  # it has ended
            continue
        if words and words[0].endswith(b"triton_python_backend_stub") and f"/{model}/1/model.py" in str(words):
            found.append(int(entry.name))
    return found


def processor_s(model: str) -> float:
    """What a model's instances have taken so far."""
    ticks = 0
    for pid in stubs(model):
        fields = (Path("/proc") / str(pid) / "stat").read_text("ascii").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def requests(client: Any, model: str) -> int:
    """That have ended."""
    (told,) = client.get_inference_statistics(model, as_json=True)["model_stats"]
    return sum(int(told["inference_stats"].get(name, {}).get("count", 0)) for name in ("success", "fail", "cancel"))


def test_every_instance_is_a_process_and_all_requests_get_their_own_images(client: Any, job_bundle: Path) -> None:
    assert len(stubs("together")) == len(stubs("singly")) == INSTANCES
    rng = np.random.default_rng(5)
    images = [rng.integers(0, 256, (*rng.integers(8, 60, 2), 3), np.uint8) for _ in range(6)]
    with ne.Session(job_bundle) as session:
        expected = session.run(images)
    came: queue.Queue[tuple[int, Any, Any]] = queue.Queue()
    for request in range(60):
        which = request % len(images)
        client.async_infer(
            "together",
            pixels([images[which]]),
            callback=lambda result, error, which=which: came.put((which, result, error)),
        )
    for _ in range(60):
        which, result, error = came.get(timeout=FOR_EVER_S)
        assert error is None
        np.testing.assert_allclose(result.as_numpy("embedding"), [expected[which].embedding], rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("model", ["together", "singly"])
def test_a_request_that_its_client_cancels_is_not_computed_to_its_end(client: Any, model: str) -> None:
    count = 100
    file = io.BytesIO()
    Image.new("RGB", (8000, 6000)).save(file, "PNG", compress_level=1)
    began = time.thread_time()
    Image.open(file).load()
    whole_s = count * (time.thread_time() - began)  # of all files, to decode them alone
    before_s, answered = processor_s(model), requests(client, model)
    came: queue.Queue[tuple[Any, Any]] = queue.Queue()
    if model == "together":
        call = client.async_infer(
            model, files([file.getvalue()] * count), callback=lambda result, error: came.put((result, error))
        )
        until(lambda: processor_s(model) > before_s + 0.2)  # it has the request
        call.cancel()
        _, error = came.get(timeout=FOR_EVER_S)
        assert "cancel" in str(error).lower()
    else:
        client.start_stream(lambda result, error: came.put((result, error)))
        client.async_stream_infer(model, files([file.getvalue()] * count))
        _, error = came.get(timeout=FOR_EVER_S)
        assert error is None
        client.stop_stream(cancel_requests=True)
    until(lambda: requests(client, model) > answered)  # Triton counts it when it has ended, as a success
    assert processor_s(model) - before_s < whole_s / 2
    if model == "together":  # the model goes on
        short = pixels([np.zeros((20, 30, 3), np.uint8)])
        assert client.infer(model, short).as_numpy("embedding").shape == (1, 64)
