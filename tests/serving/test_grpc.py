"""The Open Inference Protocol over gRPC: tritonclient, unmodified, asks; ``Session.run`` judges the numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as tc
from grpc_requests import GOOD, RAW, Streamed, files, pictures, png, ragged, tensor
from grpc_server import FOR_EVER_S, Served, serving, until
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc
from tritonclient.utils import InferenceServerException

import navit_edge as ne
from navit_edge.serve.accounting import Record
from navit_edge.serve.security import ApiKeys, Security

FOR_EVER_MS = FOR_EVER_S * 1000
KEY = "0123456789abcdef0123456789abcdef"
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture(scope="module")
def served(job_bundle: Path) -> Iterator[Served]:
    bundles = {"tiny": job_bundle, "spare": job_bundle}
    with serving(bundles, open_session=lambda path: ne.Session(path, threads=1)) as served:
        yield served


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[tc.InferenceServerClient]:
    with tc.InferenceServerClient(served.url) as client:
        yield client


def test_a_client_learns_what_the_server_and_its_models_are(client: tc.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny")
    assert client.is_model_ready("tiny", "1")
    server = client.get_server_metadata()
    assert (server.name, server.version) == ("navit-edge", ne.__version__)
    metadata = client.get_model_metadata("tiny")
    assert (metadata.name, list(metadata.versions)) == ("tiny", ["1"])
    inputs = {one.name: (one.datatype, list(one.shape)) for one in metadata.inputs}
    assert inputs["images"] == ("BYTES", [-1])
    outputs = {one.name: (one.datatype, list(one.shape)) for one in metadata.outputs}
    assert outputs["embedding"] == ("FP32", [-1, 64])
    assert outputs["grid"] == ("INT32", [-1, 2])
    config = client.get_model_config("tiny").config
    assert (config.name, config.max_batch_size) == ("tiny", 0)
    assert {one.name for one in config.output} == set(outputs)
    assert [one.name for one in config.input if not one.optional] == ["images"]


def test_files_and_pixels_of_any_sizes_give_what_the_session_gives(
    served: Served, client: tc.InferenceServerClient
) -> None:
    images = pictures(5)
    expected = served.session().run(images)
    asked = [tc.InferRequestedOutput(name) for name in ("embedding", "logits", "tokens", "grid", "tokens_used")]
    for inputs in ([files(*map(png, images))], ragged(images)):
        result = client.infer("tiny", inputs, outputs=asked, request_id="five")
        for name in ("embedding", "logits"):
            of_session = np.stack([getattr(one, name) for one in expected])
            np.testing.assert_allclose(result.as_numpy(name), of_session, rtol=2e-4, atol=2e-5)
        rows = np.concatenate([one.tokens for one in expected if one.tokens is not None])
        np.testing.assert_allclose(result.as_numpy("tokens"), rows, rtol=2e-4, atol=2e-4)
        assert result.as_numpy("rows").tolist() == [one.grid[0] * one.grid[1] for one in expected]
        assert result.as_numpy("grid").tolist() == [list(one.grid) for one in expected]
        assert result.as_numpy("tokens_used").tolist() == [one.token_count for one in expected]
        response = result.get_response()
        assert (response.id, response.model_name, response.model_version) == ("five", "tiny", "1")
        for name in ("pack", "queue_us", "latency_us"):
            assert len(response.parameters[name].string_param.split(",")) == 5


@pytest.mark.parametrize("shape", [(9, 14, 3), (1, 9, 14, 3), (2, 9, 14, 3), (2, 9, 14, 1), (9, 14, 4)])
def test_pixels_of_one_size_come_with_or_without_the_number_of_images(
    served: Served, client: tc.InferenceServerClient, shape: tuple[int, ...]
) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    images = [image.squeeze() if shape[-1] == 1 else image for image in pixels.reshape(-1, *shape[-3:])]
    result = client.infer("tiny", [tensor("pixels", pixels, "UINT8")])
    assert {one.name for one in result.get_response().outputs} == {"logits", "embedding", "grid", "tokens_used"}
    expected = np.stack([one.logits for one in served.session().run(images) if one.logits is not None])
    np.testing.assert_allclose(result.as_numpy("logits"), expected, rtol=2e-4, atol=2e-5)


def test_the_best_classes_come_with_their_labels(served: Served, client: tc.InferenceServerClient) -> None:
    images = pictures(2)
    result = client.infer("tiny", ragged(images), parameters={"top_k": 3, "policy": "token-cap:16"}, priority=2)
    best = [one.top_k(3) for one in served.session().run(images, policy=ne.Policy.parse("token-cap:16"))]
    assert result.as_numpy("labels").tolist() == [[one.label.encode() for one in few] for few in best]
    np.testing.assert_allclose(result.as_numpy("scores"), [[one.score for one in few] for few in best], rtol=1e-3)


def test_a_request_of_typed_contents_is_answered_in_typed_contents(served: Served) -> None:
    image = pictures(1)[0]
    (expected,) = served.session().run([image])
    pixels = pb.ModelInferRequest.InferInputTensor(name="pixels", datatype="UINT8", shape=image.shape)
    pixels.contents.uint_contents.extend(image.ravel().tolist())
    encoded = pb.ModelInferRequest.InferInputTensor(name="images", datatype="BYTES", shape=[1])
    encoded.contents.bytes_contents.append(png(image))
    with grpc.insecure_channel(served.url) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for given in (pixels, encoded):
            request = pb.ModelInferRequest(model_name="tiny", inputs=[given])
            request.parameters["top_k"].int64_param = 1
            request.outputs.add(name="logits")
            request.outputs.add(name="labels")
            request.outputs.add(name="grid")
            response = stub.ModelInfer(request)
            assert len(response.raw_output_contents) == 0
            logits, labels, grid = response.outputs
            np.testing.assert_allclose(logits.contents.fp32_contents, expected.logits, rtol=2e-4, atol=2e-5)
            assert list(labels.contents.bytes_contents) == [expected.top_k(1)[0].label.encode()]
            assert list(grid.contents.int_contents) == list(expected.grid)


def shared_memory() -> pb.ModelInferRequest.InferInputTensor:
    made = pb.ModelInferRequest.InferInputTensor()
    made.CopyFrom(GOOD)
    made.parameters["shared_memory_region"].string_param = "region"
    return made


def both_contents() -> pb.ModelInferRequest.InferInputTensor:
    made = pb.ModelInferRequest.InferInputTensor()
    made.CopyFrom(GOOD)
    made.contents.uint_contents.extend(RAW)
    return made


def other_contents() -> pb.ModelInferRequest.InferInputTensor:
    made = both_contents()
    made.contents.int_contents.extend(RAW)
    return made


@pytest.mark.parametrize(
    ("fields", "code", "said"),
    [
        ({"model_name": "none"}, "NOT_FOUND", "expected one of tiny, spare"),
        ({"model_version": "2"}, "NOT_FOUND", "version '2'"),
        ({"inputs": []}, "INVALID_ARGUMENT", "1 raw_input_contents for 0 inputs"),
        ({"inputs": [], "raw_input_contents": []}, "INVALID_ARGUMENT", "the inputs are: none"),
        ({"raw_input_contents": [RAW, RAW]}, "INVALID_ARGUMENT", "2 raw_input_contents for 1 inputs"),
        ({"raw_input_contents": [RAW[1:]]}, "INVALID_ARGUMENT", "has 5 bytes; expected 6"),
        ({"raw_input_contents": []}, "INVALID_ARGUMENT", "6 whole numbers"),
        ({"inputs": [shared_memory()]}, "INVALID_ARGUMENT", "shared memory"),
        ({"inputs": [both_contents()]}, "INVALID_ARGUMENT", "both contents and raw"),
        ({"inputs": [other_contents()], "raw_input_contents": []}, "INVALID_ARGUMENT", "int_contents, uint_contents"),
        ({"outputs": [tc.InferRequestedOutput("pooled")._get_tensor()]}, "INVALID_ARGUMENT", "'pooled'"),
        ({"outputs": [tc.InferRequestedOutput("logits", 3)._get_tensor()]}, "INVALID_ARGUMENT", "parameter top_k"),
        ({"parameters": {"top_k": pb.InferParameter(int64_param=0)}}, "INVALID_ARGUMENT", "top_k is 0"),
        ({"parameters": {"policy": pb.InferParameter(string_param="fastest")}}, "INVALID_ARGUMENT", "policy"),
    ],
)  # fmt: skip
def test_a_request_that_is_none_is_refused_with_its_code_and_a_remedy(
    served: Served, fields: dict[str, Any], code: str, said: str
) -> None:
    good = {"model_name": "tiny", "inputs": [GOOD], "raw_input_contents": [RAW]}
    with grpc.insecure_channel(served.url) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        stub.ModelInfer(pb.ModelInferRequest(**good))
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(pb.ModelInferRequest(**(good | fields)))
    assert caught.value.code().name == code
    assert said in caught.value.details()


def test_the_image_that_cannot_be_decoded_is_named(client: tc.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="image 1: ") as caught:
        client.infer("tiny", [files(png(pictures(1)[0]), b"no image")])
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_bytes_that_are_no_message_are_bad_input(served: Served) -> None:
    with grpc.insecure_channel(served.url) as channel:
        method = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError, match=r"is no inference\.ModelInferRequest") as caught:
            method(b"\xff\xff\xff")
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        empty = channel.stream_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError, match="without a message"):
            empty(iter(()))
        unknown = channel.unary_unary("/inference.GRPCInferenceService/SystemSharedMemoryRegister")
        with pytest.raises(grpc.RpcError) as caught:
            unknown(b"")
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_stream_of_many_requests_answers_each_once(served: Served, client: tc.InferenceServerClient) -> None:
    images = pictures(7)
    expected = [one.logits for one in served.session().run(images)]
    stream = Streamed(client)
    count = 150  # more than a stream may have in work
    for number in range(count):
        stream.send(str(number), ragged([images[number % 7]]))
    answers = dict(stream.next() for _ in range(count))
    client.stop_stream()
    assert set(answers) == {str(number) for number in range(count)}
    for number in range(count):
        found = answers[str(number)].as_numpy("logits")[0]
        np.testing.assert_allclose(found, expected[number % 7], rtol=2e-4, atol=2e-5)


def test_models_of_the_start_are_unloaded_and_loaded_and_no_others(client: tc.InferenceServerClient) -> None:
    def index() -> dict[str, str]:
        return {model.name: model.state for model in client.get_model_repository_index().models}

    assert index() == {"tiny": "READY", "spare": "READY"}
    client.unload_model("spare")
    assert index() == {"tiny": "READY", "spare": "UNAVAILABLE"}
    assert not client.is_model_ready("spare")
    assert client.is_server_ready()
    with pytest.raises(InferenceServerException, match="unloaded") as caught:
        client.infer("spare", ragged(pictures(1)))
    assert caught.value.status() == "StatusCode.UNAVAILABLE"
    client.load_model("spare")
    client.infer("spare", ragged(pictures(1)))
    with pytest.raises(InferenceServerException) as caught:
        client.load_model("other")
    assert caught.value.status() == "StatusCode.NOT_FOUND"
    with pytest.raises(InferenceServerException, match="no config or file"):
        client.load_model("spare", config="{}")


def test_statistics_count_requests_images_and_packs(job_bundle: Path) -> None:
    open_session: Callable[[Path], ne.Session] = lambda path: ne.Session(path, threads=1)  # noqa: E731
    with (
        serving({"tiny": job_bundle}, open_session=open_session) as served,
        tc.InferenceServerClient(served.url) as client,
    ):
        for count in (1, 2, 3):
            client.infer("tiny", ragged(pictures(count)))
        with pytest.raises(InferenceServerException):
            client.infer("tiny", [files(b"no image")])
        (told,) = client.get_inference_statistics("tiny").model_stats
        assert (told.name, told.version, told.inference_count) == ("tiny", "1", 6)
        assert 0 < told.execution_count <= 6
        assert told.last_inference > 1_700_000_000_000
        stats = told.inference_stats
        assert (stats.success.count, stats.fail.count, stats.queue.count) == (3, 1, 6)
        assert stats.compute_infer.count == told.execution_count
        session = served.stats()
        for name, of_session in (
            ("queue", "queue_s"),
            ("compute_input", "preprocess_s"),
            ("compute_infer", "engine_s"),
        ):
            assert getattr(stats, name).ns == round(session[of_session]["sum"] * 1e9)
        assert stats.success.ns > stats.compute_infer.ns
        assert len(client.get_inference_statistics().model_stats) == 1
        client.unload_model("tiny")
        assert len(client.get_inference_statistics().model_stats) == 0
        with pytest.raises(InferenceServerException, match="unloaded"):
            client.get_inference_statistics("tiny")


def test_the_trace_of_the_session_says_whose_request_it_was(served: Served, client: tc.InferenceServerClient) -> None:
    tracing = served.repository.model("tiny").tracing
    tracing.start(served.session())
    headers = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
    client.infer("tiny", ragged(pictures(3)), headers=headers)
    trace = tracing.stop(served.session())
    (request,) = [one for one in trace["traceEvents"] if one["name"] == "request" and one["ph"] == "b"]
    assert (request["args"]["trace_id"], request["args"]["parent_id"]) == (TRACE, SPAN)
    queued = [one["args"]["image"] for one in trace["traceEvents"] if one["name"] == "queue" and one["ph"] == "b"]
    assert sorted(request["args"]["images"]) == sorted(queued)


def test_every_request_leaves_a_record_of_how_it_ended(job_bundle: Path) -> None:
    records: list[Record] = []
    with (
        serving({"tiny": job_bundle}, security=Security(keys=ApiKeys([KEY])), finished=[records.append]) as served,
        tc.InferenceServerClient(served.url) as client,
    ):
        headers = {"x-api-key": KEY, "traceparent": f"00-{TRACE}-{SPAN}-01"}
        client.infer("tiny", ragged(pictures(2)), headers=headers)
        client.is_server_live()
        with pytest.raises(InferenceServerException):
            client.infer("none", ragged(pictures(2)), headers=headers)
        with pytest.raises(InferenceServerException):
            client.infer("tiny", ragged(pictures(2)))
        stream = Streamed(client, headers=headers)
        for count in (1, 3):
            stream.send("a", ragged(pictures(count)))
            stream.next()
        client.stop_stream()
        until(lambda: len(records) == 5)
    told = [(one.path.rpartition("/")[2], one.status, one.model, one.images) for one in records]
    assert told == [
        ("ModelInfer", "OK", "tiny", 2),
        ("ServerLive", "OK", "", 0),
        ("ModelInfer", "NOT_FOUND", "", 0),
        ("ModelInfer", "UNAUTHENTICATED", "", 0),
        ("ModelStreamInfer", "OK", "tiny", 4),
    ]
    first = records[0]
    assert (first.protocol, first.client, first.trace_id) == ("grpc", "127.0.0.1", TRACE)
    assert min(first.received_bytes, first.sent_bytes) > 100
    assert first.tokens > 0


def test_many_clients_at_once_get_their_own_numbers(served: Served) -> None:
    images = pictures(8)
    expected = [one.embedding for one in served.session().run(images)]

    def ask(number: int) -> None:
        with tc.InferenceServerClient(served.url) as client:
            for turn in range(6):
                which = (number + turn) % 8
                found = client.infer("tiny", [files(png(images[which]))]).as_numpy("embedding")[0]
                np.testing.assert_allclose(found, expected[which], rtol=2e-4, atol=2e-5)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(8)))
