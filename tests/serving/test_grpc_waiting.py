"""Over gRPC, of images that wait for company: streams, cancelled calls, deadlines, a full queue, the drain."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import tritonclient.grpc as tc
from grpc_requests import GOOD, RAW, Streamed, files, pictures, ragged
from grpc_server import FOR_EVER_S, Served, serving, until
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc
from tritonclient.utils import InferenceServerException

import navit_edge as ne
from navit_edge.serve.grpc.service import with_deadline
from navit_edge.serve.request import Parameters

FOR_EVER_MS = FOR_EVER_S * 1000


@pytest.fixture
def waiting(job_bundle: Path) -> Iterator[Served]:
    """Images without a deadline wait for company for as long as a test takes."""

    def open_session(path: Path) -> ne.Session:
        return ne.Session(path, threads=1, batch_wait_ms=FOR_EVER_MS, queue_limit=4)

    with serving({"tiny": job_bundle}, open_session=open_session) as served:
        yield served


def test_a_stream_gives_each_answer_as_soon_as_it_is_ready_and_errors_end_nothing(waiting: Served) -> None:
    with tc.InferenceServerClient(waiting.url) as client:
        stream = Streamed(client)
        stream.send("first", ragged(pictures(1)))
        until(lambda: waiting.stats()["images"]["waiting"] == 1)
        stream.send("bad", [files(b"no image")])
        assert "image 0" in str(stream.next()[1])  # while the first waits for company
        stream.send("last", ragged(pictures(2)), parameters={"deadline_ms": 1.0})
        answers = dict([stream.next(), stream.next()])
        assert set(answers) == {"first", "last"}
        assert answers["last"].as_numpy("embedding").shape == (2, 64)
        assert answers["first"].get_response().parameters["triton_final_response"].bool_param
        client.stop_stream()


def test_a_call_or_a_stream_that_is_cancelled_takes_its_images_back(waiting: Served) -> None:
    request = pb.ModelInferRequest(model_name="tiny", inputs=[GOOD], raw_input_contents=[RAW])
    ended = threading.Event()

    def requests() -> Iterator[pb.ModelInferRequest]:
        yield request
        yield request
        ended.wait(FOR_EVER_S)

    with grpc.insecure_channel(waiting.url) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        call, stream = stub.ModelInfer.future(request), stub.ModelStreamInfer(requests())
        until(lambda: waiting.stats()["images"]["waiting"] == 3)
        call.cancel()
        stream.cancel()
        until(lambda: waiting.stats()["images"]["cancelled"] == 3)
        ended.set()
    assert waiting.stats()["images"]["waiting"] == 0
    until(lambda: waiting.room.held == 0)


def test_a_client_that_is_gone_takes_its_images_back(waiting: Served) -> None:
    request = pb.ModelInferRequest(model_name="tiny", inputs=[GOOD], raw_input_contents=[RAW])
    channel = grpc.insecure_channel(waiting.url)
    call = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer.future(request)
    until(lambda: waiting.stats()["images"]["waiting"] == 1)
    channel.close()
    until(lambda: waiting.stats()["images"]["cancelled"] == 1)
    assert not call.running()


def test_the_deadline_of_a_call_is_that_of_its_images(waiting: Served) -> None:
    with tc.InferenceServerClient(waiting.url) as client:
        # The images would leave before it, had they no later one of their own.
        for limits in ({"client_timeout": 0.05}, {"timeout": 50_000}):
            with pytest.raises(InferenceServerException) as caught:
                client.infer("tiny", ragged(pictures(1)), parameters={"deadline_ms": FOR_EVER_MS}, **limits)
            assert caught.value.status() == "StatusCode.DEADLINE_EXCEEDED"
    # On a busy machine a call may be over before its image has come in.
    until(lambda: waiting.stats()["images"]["cancelled"] == waiting.stats()["images"]["submitted"])


def test_the_deadline_of_a_call_leaves_time_for_the_answer_and_gives_way_to_an_earlier_one() -> None:
    assert with_deadline(Parameters(), None) == Parameters()
    assert with_deadline(Parameters(), 2.0) == Parameters(timeout_us=2e6)
    assert with_deadline(Parameters(), 2.0).session_deadline_ms == 1800
    assert with_deadline(Parameters(timeout_us=1e6, deadline_ms=5.0), 2.0) == Parameters(
        timeout_us=1e6, deadline_ms=5.0
    )
    assert with_deadline(Parameters(timeout_us=3e6), -1.0).timeout_us == 1


def test_a_full_queue_says_when_to_come_back(waiting: Served) -> None:
    with grpc.insecure_channel(waiting.url) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        pixels = pb.ModelInferRequest.InferInputTensor(name="pixels", datatype="UINT8", shape=[5, 1, 2, 3])
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(pb.ModelInferRequest(model_name="tiny", inputs=[pixels], raw_input_contents=[bytes(30)]))
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert dict(caught.value.trailing_metadata())["grpc-retry-pushback-ms"] == "1000"
    assert waiting.stats()["images"]["waiting"] == 0


def refused(client: tc.InferenceServerClient) -> str:
    """How, empty if it is not."""
    try:
        client.is_server_live()
    except InferenceServerException as error:
        return str(error.status())
    return ""


def test_draining_answers_what_was_taken_and_takes_no_more(job_bundle: Path) -> None:
    open_session: Callable[[Path], ne.Session] = lambda path: ne.Session(path, threads=1, batch_wait_ms=FOR_EVER_MS)  # noqa: E731
    with (
        serving({"tiny": job_bundle}, open_session=open_session) as served,
        tc.InferenceServerClient(served.url) as client,
        tc.InferenceServerClient(served.url) as other,
    ):
        other.is_server_live()
        taken: queue.Queue[Any] = queue.Queue()
        client.async_infer("tiny", ragged(pictures(2)), lambda result, error: taken.put(error or result))
        until(lambda: served.stats()["images"]["waiting"] == 2)
        served.ready = False
        assert not other.is_server_ready()
        draining = served.begin(served.server.drain(FOR_EVER_S))
        until(lambda: refused(other) == "StatusCode.UNAVAILABLE")
        served.session().submit(pictures(1)[0], deadline_ms=1.0)  # the company that they waited for
        assert taken.get(timeout=FOR_EVER_S).as_numpy("embedding").shape == (2, 64)
        draining.result(FOR_EVER_S)
