"""What tests of gRPC ask: images of any sizes, as tensors of tritonclient."""

from __future__ import annotations

import io
import queue
from typing import Any

import numpy as np
import numpy.typing as npt
import tritonclient.grpc as tc
from grpc_server import FOR_EVER_S
from PIL import Image
from tritonclient.grpc import service_pb2 as pb

Pixels = npt.NDArray[np.uint8]

GOOD = pb.ModelInferRequest.InferInputTensor(name="pixels", datatype="UINT8", shape=[1, 2, 3])
RAW = bytes(6)


def pictures(count: int) -> list[Pixels]:
    rng = np.random.default_rng(count)
    return [rng.integers(0, 256, (*rng.integers(8, 60, 2), 3), np.uint8) for _ in range(count)]


def png(image: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def tensor(name: str, values: npt.NDArray[Any], datatype: str) -> tc.InferInput:
    made = tc.InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values)
    return made


def files(*content: bytes) -> tc.InferInput:
    return tensor("images", np.array(content, np.object_), "BYTES")


def ragged(images: list[Pixels]) -> list[tc.InferInput]:
    flat = np.concatenate([image.reshape(-1) for image in images])
    shapes = np.array([image.shape for image in images], np.int64)
    return [tensor("pixels", flat, "UINT8"), tensor("shapes", shapes, "INT64")]


class Streamed:
    """A stream of tritonclient's, its answers by the id of their request: a result or an error."""

    def __init__(self, client: tc.InferenceServerClient, **more: Any) -> None:
        self._answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
        self._client = client
        client.start_stream(lambda result, error: self._answers.put((result, error)), **more)

    def send(self, request_id: str, inputs: list[tc.InferInput], **more: Any) -> None:
        self._client.async_stream_infer("tiny", inputs, request_id=request_id, **more)

    def next(self) -> tuple[str, Any]:
        result, error = self._answers.get(timeout=FOR_EVER_S)
        return ("", error) if error is not None else (result.get_response().id, result)
