"""The class that Triton's Python backend calls, on a stand-in of its module ``triton_python_backend_utils``."""

from __future__ import annotations

import json
import shutil
import sys
import threading
import types
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import navit_edge as ne
from navit_edge.errors import BundleError
from navit_edge.triton import config, model, repository

FOR_EVER_S = 120
FOR_EVER_MS = 3_600_000.0
FINAL = 1


def pixels(count: int) -> list[npt.NDArray[np.uint8]]:
    rng = np.random.default_rng(count)
    return [rng.integers(0, 256, (*rng.integers(8, 60, 2), 3), np.uint8) for _ in range(count)]


class Tensor:
    def __init__(self, name: str, array: npt.NDArray[Any]) -> None:
        self._name, self._array = name, array

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> npt.NDArray[Any]:
        return self._array


class TritonError:
    INVALID_ARG, UNAVAILABLE, CANCELLED, NOT_FOUND, INTERNAL = range(5)

    def __init__(self, message: str, code: int) -> None:
        self.message, self.code = message, code


class Response:
    """Of today's Triton."""

    def __init__(
        self, tensors: Sequence[Tensor] = (), error: TritonError | None = None, parameters: dict[str, Any] | None = None
    ) -> None:
        self.tensors = {one.name(): one.as_numpy() for one in tensors}
        self.error, self.parameters = error, parameters


class ResponseOf2024(Response):
    def __init__(self, tensors: Sequence[Tensor] = (), error: TritonError | None = None) -> None:
        super().__init__(tensors, error)


class Request:
    """Asked for all outputs if it names none, as Triton does it. It collects its responses."""

    def __init__(
        self, inputs: Sequence[Tensor], outputs: Sequence[str], parameters: dict[str, Any] | None = None
    ) -> None:
        self._inputs, self._outputs, self._parameters = inputs, outputs, parameters
        self.responses: list[tuple[Response, int]] = []
        self.gone = False
        self._ended = threading.Event()

    def inputs(self) -> Sequence[Tensor]:
        return self._inputs

    def requested_output_names(self) -> set[str]:
        return set(self._outputs)

    def parameters(self) -> str:
        return "" if self._parameters is None else json.dumps(self._parameters)

    def timeout(self) -> int:
        return 0

    def get_response_sender(self) -> Request:
        return self

    def is_cancelled(self) -> bool:
        return self.gone

    def send(self, response: Response, flags: int = 0) -> None:
        assert not self._ended.is_set(), "nothing follows the final response"
        self.responses.append((response, flags))
        if flags == FINAL:
            self._ended.set()

    def wait(self) -> list[Response]:
        assert self._ended.wait(FOR_EVER_S)
        return [response for response, _ in self.responses]


def of_pixels(images: Sequence[npt.NDArray[np.uint8]]) -> list[Tensor]:
    shapes = np.array([image.shape for image in images], np.int64)
    return [Tensor("pixels", np.concatenate([image.ravel() for image in images])), Tensor("shapes", shapes)]


@pytest.fixture(params=[Response, ResponseOf2024], ids=["today", "2024"])
def triton(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    stand_in = types.SimpleNamespace(
        Tensor=Tensor,
        TritonError=TritonError,
        InferenceResponse=request.param,
        TRITONSERVER_RESPONSE_COMPLETE_FINAL=FINAL,
    )
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", stand_in)
    return stand_in


def arguments(bundle: Path, *, decoupled: bool = True, kind: str = "CPU", count: int = 1) -> dict[str, str]:
    offered = [{"name": spec.name} for spec in config.outputs(ne.load_manifest(bundle))]
    described = {
        "output": offered,
        "model_transaction_policy": {"decoupled": decoupled},
        "instance_group": [{"count": count}],
        "parameters": {"bundle": {"string_value": str(bundle)}},
    }
    return {
        "model_config": json.dumps(described),
        "model_repository": "/nowhere",
        "model_version": "1",
        "model_name": "tiny",
        "model_instance_kind": kind,
        "model_instance_device_id": "0",
    }


def opened(bundle: Path, **options: Any) -> model.TritonPythonModel:
    made = model.TritonPythonModel()
    made.initialize(arguments(bundle, **options))
    return made


@pytest.fixture
def outputs(job_bundle: Path) -> list[str]:
    return [spec.name for spec in config.outputs(ne.load_manifest(job_bundle))]


def test_every_image_is_a_response_of_its_own_and_the_last_one_ends_the_request(
    triton: types.SimpleNamespace, job_bundle: Path, outputs: list[str]
) -> None:
    images = pixels(5)
    with ne.Session(job_bundle) as session:
        expected = session.run(images)
    ran = opened(job_bundle)
    request = Request(of_pixels(images), outputs)
    assert ran.execute([request]) is None  # type: ignore[func-returns-value]
    responses = request.wait()
    ran.finalize()
    assert [flags for _, flags in request.responses] == [0, 0, 0, 0, FINAL]
    assert sorted(int(one.tensors["index"][0]) for one in responses) == [0, 1, 2, 3, 4]
    for response in responses:
        (index,) = response.tensors["index"]
        assert set(response.tensors) == {"logits", "embedding", "grid", "tokens_used", "index"}
        np.testing.assert_allclose(response.tensors["embedding"][0], expected[index].embedding, rtol=2e-4, atol=2e-5)
        if triton.InferenceResponse is Response:
            assert response.parameters is not None
            assert set(response.parameters) == {"pack", "queue_us", "latency_us"}


def test_what_is_wrong_with_a_request_is_its_one_response(
    triton: types.SimpleNamespace, job_bundle: Path, outputs: list[str]
) -> None:
    ran = opened(job_bundle, decoupled=False)
    files = np.array([b"no image"], object)
    wrong = {
        "deadline_ms": Request(of_pixels(pixels(1)), outputs, {"deadline_ms": "soon"}),
        'expected "images"': Request([], outputs),
        "image 0: not an image": Request([Tensor("images", files)], outputs),
        "datatype float32": Request([Tensor("pixels", np.zeros(3, np.float32)), of_pixels(pixels(1))[1]], outputs),
    }
    ran.execute(list(wrong.values()))
    for words, request in wrong.items():
        (response,) = request.wait()
        assert response.error is not None
        assert words.replace("float32", "'float32'") in response.error.message
        assert response.error.code == TritonError.INVALID_ARG
    ran.finalize()


def test_a_client_that_has_gone_takes_its_images_back(
    triton: types.SimpleNamespace, job_bundle: Path, outputs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "Session", partial(ne.Session, batch_wait_ms=FOR_EVER_MS))
    monkeypatch.setattr(model, "LOOK_S", 0.01)
    ran = opened(job_bundle)
    request = Request(of_pixels(pixels(2)), outputs)
    ran.execute([request])
    request.gone = True
    for response in request.wait():
        assert response.error is not None
        assert response.error.code == TritonError.CANCELLED
    ran.finalize()  # nothing waits in the session


def test_a_model_whose_engine_failed_opens_a_new_session(
    triton: types.SimpleNamespace, job_bundle: Path, outputs: list[str]
) -> None:
    ran = opened(job_bundle)
    first = ran.served.session
    ran.call(ran.served.unload())
    request = Request(of_pixels(pixels(1)), outputs)
    ran.execute([request])
    (response,) = request.wait()
    assert response.error is None
    assert ran.served.session is not first
    ran.finalize()


def test_finalize_answers_what_was_taken(triton: types.SimpleNamespace, job_bundle: Path, outputs: list[str]) -> None:
    ran = opened(job_bundle, decoupled=False)
    requests = [Request(of_pixels(pixels(2)), outputs) for _ in range(30)]
    ran.execute(requests)
    ran.finalize()
    for request in requests:
        ((response, flags),) = request.responses
        assert response.error is None
        assert flags == FINAL


def test_a_bundle_that_does_not_open_is_why_the_model_does_not_load(
    triton: types.SimpleNamespace, own_copy: Path
) -> None:
    given = arguments(own_copy)
    shutil.rmtree(own_copy)
    threads = set(threading.enumerate())
    with pytest.raises(BundleError, match="no such directory"):
        model.TritonPythonModel().initialize(given)
    assert {thread for thread in threading.enumerate() if thread.name == "navit-edge triton"} <= threads


@pytest.mark.parametrize(("kind", "count"), [("CPU", 2), ("GPU", 1)])
def test_instances_share_the_cores_and_each_has_its_own_gpu(
    triton: types.SimpleNamespace, job_bundle: Path, monkeypatch: pytest.MonkeyPatch, kind: str, count: int
) -> None:
    asked: list[dict[str, Any]] = []

    def session(path: Path, **options: Any) -> ne.Session:
        asked.append(options)
        return ne.Session(path)

    monkeypatch.setattr(model, "Session", session)
    monkeypatch.setattr(model, "usable_cores", lambda: 8)
    opened(job_bundle, kind=kind, count=count).finalize()
    if kind == "GPU":
        assert asked == [{"device": "gpu", "threads": 0, "options": {"cuda_device": "0"}}]
    else:
        assert asked == [{"device": "auto", "threads": 4, "options": None}]


def test_the_exported_file_gives_the_class_that_triton_looks_for() -> None:
    names: dict[str, Any] = {}
    exec(repository.MODEL, names)
    assert names["TritonPythonModel"] is model.TritonPythonModel
