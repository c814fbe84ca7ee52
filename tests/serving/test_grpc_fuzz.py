"""gRPC answers whatever is sent: no crash, no INTERNAL, no hang, and afterwards the same numbers as before."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_server import FOR_EVER_S, Served, serving, until
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from requests_at_random import contents, damaged, datatypes, drawn, names, outputs, parameters, shapes
from tritonclient.grpc import service_pb2 as pb

import navit_edge as ne
from navit_edge.serve.limits import Limits

SERVICE = "/inference.GRPCInferenceService/"
METHODS = (
    "ServerLive", "ServerReady", "ServerMetadata", "ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics",
    "ModelInfer", "RepositoryIndex", "RepositoryModelLoad", "TraceSetting",
)  # fmt: skip
#: What a request may end with. INTERNAL and UNKNOWN are bugs.
EXPECTED = {
    "OK", "INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "UNIMPLEMENTED", "DEADLINE_EXCEEDED",
}  # fmt: skip


def encoded(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.arange(12 * 9 * 3, dtype=np.uint8).reshape(12, 9, 3)).save(file, kind)
    return file.getvalue()


FILES = [encoded("PNG"), encoded("JPEG"), encoded("WEBP")]
GOOD = pb.ModelInferRequest(
    model_name="tiny",
    inputs=[pb.ModelInferRequest.InferInputTensor(name="pixels", datatype="UINT8", shape=[2, 6, 4, 3])],
    raw_input_contents=[bytes(range(144))],
).SerializeToString()


@pytest.fixture(scope="module")
def served(job_bundle: Path) -> Iterator[Served]:
    limits = Limits(max_body_bytes=1 << 20, max_pixels=10_000)
    with serving({"tiny": job_bundle}, limits=limits, open_session=lambda path: ne.Session(path, threads=1)) as served:
        before = answer_of(served)
        yield served
        assert answer_of(served) == before
        until(lambda: served.room.held == 0)
        until(lambda: served.stats()["images"]["waiting"] == served.stats()["packs"]["in_flight"] == 0)
        assert not served.stats()["broken"]


@pytest.fixture(scope="module")
def channel(served: Served) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(served.url) as channel:
        yield channel


def answer_of(served: Served) -> list[bytes]:
    with grpc.insecure_channel(served.url) as channel:
        answer = channel.unary_unary(SERVICE + "ModelInfer")(GOOD, timeout=FOR_EVER_S)
    return list(pb.ModelInferResponse.FromString(answer).raw_output_contents)


def check_end(channel: grpc.Channel, method: str, message: bytes) -> None:
    """A minute or more without one is a hang."""
    call = channel.unary_unary(SERVICE + method).future(message, timeout=FOR_EVER_S)
    code = call.code().name  # waits
    assert code in EXPECTED, f"{code}: {call.details()}"
    assert "Traceback" not in call.details()
    assert len(call.details()) <= 2000


@st.composite
def tensors(draw: st.DrawFn) -> pb.ModelInferRequest.InferInputTensor:
    made = pb.ModelInferRequest.InferInputTensor(
        name=draw(names), datatype=draw(datatypes), shape=[max(-(1 << 63), one) for one in draw(shapes)]
    )
    if draw(st.booleans()):
        numbers = draw(st.lists(st.integers(0, 300), max_size=30))
        field = draw(st.sampled_from(["uint_contents", "int_contents", "int64_contents", "fp32_contents"]))
        getattr(made.contents, field).extend(numbers)
    if draw(st.booleans()):
        made.contents.bytes_contents.extend(draw(st.lists(st.sampled_from(FILES) | st.binary(max_size=20), max_size=2)))
    return made


def entered(into: Any, values: dict[str, Any]) -> None:
    for name, value in values.items():
        parameter = into[name]
        if isinstance(value, bool):
            parameter.bool_param = value
        elif isinstance(value, int):
            parameter.int64_param = value
        elif isinstance(value, float):
            parameter.double_param = value
        else:
            parameter.string_param = value


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    made = pb.ModelInferRequest(
        model_name=draw(st.sampled_from(["tiny"] * 8 + ["", "none"]) | st.text(max_size=8)),
        model_version=draw(st.sampled_from(["", "", "", "1", "2"])),
        id=draw(st.text(max_size=4)),
        inputs=draw(st.lists(tensors(), max_size=3)),
        outputs=[
            pb.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in draw(st.lists(outputs, max_size=3))
        ],
        raw_input_contents=draw(st.lists(contents(FILES), max_size=3)),
    )
    if draw(st.booleans()):
        del made.raw_input_contents[len(made.inputs) :]
    entered(made.parameters, draw(parameters))
    return made.SerializeToString()


@drawn(0.5)
@given(requests())
def test_any_request_of_the_protocol_has_an_answer(channel: grpc.Channel, message: bytes) -> None:
    check_end(channel, "ModelInfer", message)


@drawn(0.25)
@given(damaged(GOOD))
def test_a_damaged_request_has_an_answer(channel: grpc.Channel, message: bytes) -> None:
    check_end(channel, "ModelInfer", message)


@drawn(0.2)
@given(st.sampled_from(METHODS) | st.text("abcXYZ/._", max_size=8), st.binary(max_size=100) | st.just(b"\x0a\x04tiny"))
def test_any_method_answers_to_any_bytes(channel: grpc.Channel, method: str, message: bytes) -> None:
    check_end(channel, method, message)


@drawn(0.05)
@given(st.lists(requests() | damaged(GOOD) | st.just(GOOD), min_size=1, max_size=8))
def test_a_stream_answers_every_message_once(channel: grpc.Channel, messages: list[bytes]) -> None:
    stream = channel.stream_stream(SERVICE + "ModelStreamInfer")
    answers = [pb.ModelStreamInferResponse.FromString(one) for one in stream(iter(messages), timeout=FOR_EVER_S)]
    assert len(answers) == len(messages)
    assert not any("its log says why" in one.error_message for one in answers)
