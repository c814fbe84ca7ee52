"""What a client of gRPC may not do: send too much, too slowly, or without a key; what TLS asks for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc as tc
from certificates import Certificates
from grpc_server import FOR_EVER_S, Served, serving, until
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import InferenceServerException

import navit_edge as ne
from navit_edge.errors import InvalidInputError
from navit_edge.serve.grpc.server import GrpcServer
from navit_edge.serve.limits import Limits
from navit_edge.serve.security import ApiKeys, Security, Tls

KEY = "0123456789abcdef0123456789abcdef"
INFER = "/inference.GRPCInferenceService/ModelInfer"
LIVE = "/inference.GRPCInferenceService/ServerLive"
LIMITS = Limits(max_body_bytes=100_000, max_bodies_bytes=150_000, max_images=3, max_pixels=1000)


def pixels(*shape: int) -> list[tc.InferInput]:
    made = tc.InferInput("pixels", list(shape), "UINT8")
    made.set_data_from_numpy(np.zeros(shape, np.uint8))
    return [made]


@pytest.fixture(scope="module")
def served(job_bundle: Path) -> Iterator[Served]:
    with serving({"tiny": job_bundle}, limits=LIMITS, open_session=lambda path: ne.Session(path, threads=1)) as served:
        yield served


@pytest.mark.parametrize(
    ("shape", "said"),
    [((40, 30, 3), "image 0 is 40x30 pixels"), ((4, 2, 2, 3), "has 4 images"), ((200, 200, 3), "larger than max")],
)
def test_what_is_too_large_is_refused(served: Served, shape: tuple[int, ...], said: str) -> None:
    with tc.InferenceServerClient(served.url) as client:
        with pytest.raises(InferenceServerException, match=said) as caught:
            client.infer("tiny", pixels(*shape))
        assert caught.value.status() == "StatusCode.RESOURCE_EXHAUSTED"
        client.infer("tiny", pixels(3, 2, 2, 3))


def test_typed_values_beyond_what_is_taken_out_of_a_message_are_refused(job_bundle: Path) -> None:
    tensor = pb.ModelInferRequest.InferInputTensor(name="pixels", datatype="UINT8", shape=[2048, 2048, 1])
    tensor.contents.uint_contents.extend(bytes((4 << 20) + 1))
    with serving({"tiny": job_bundle}) as served, grpc.insecure_channel(served.url) as channel:
        with pytest.raises(grpc.RpcError, match="raw_input_contents") as caught:
            channel.unary_unary(INFER)(pb.ModelInferRequest(model_name="tiny", inputs=[tensor]).SerializeToString())
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_messages_share_a_number_of_bytes(served: Served) -> None:
    request = pb.ModelInferRequest(model_name="none", raw_input_contents=[bytes(90_000)]).SerializeToString()

    def ask() -> grpc.StatusCode:
        with grpc.insecure_channel(served.url) as channel, pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(INFER)(request)
        code: grpc.StatusCode = caught.value.code()
        return code

    with served.room.holding() as share:
        share.grow_to(100_000)
        assert ask() == grpc.StatusCode.UNAVAILABLE
    assert ask() == grpc.StatusCode.NOT_FOUND
    until(lambda: served.room.held == 0)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_a_compressed_message_counts_as_large_as_it_is_unpacked(served: Served, algorithm: str) -> None:
    with tc.InferenceServerClient(served.url) as client:
        client.infer("tiny", pixels(3, 10, 10, 3), compression_algorithm=algorithm)
        with pytest.raises(InferenceServerException, match="larger than max") as caught:
            client.infer("tiny", pixels(1000, 1700, 3), compression_algorithm=algorithm)  # some 5 kB of it arrive
        assert caught.value.status() == "StatusCode.RESOURCE_EXHAUSTED"


def test_a_client_that_sends_no_message_is_given_up(job_bundle: Path) -> None:
    with (
        serving({"tiny": job_bundle}, limits=Limits(body_timeout_s=0.05)) as served,
        grpc.insecure_channel(served.url) as channel,
    ):
        ended = threading.Event()
        never = (b"" for _ in range(1) if not ended.wait(FOR_EVER_S))
        with pytest.raises(grpc.RpcError, match=r"no whole message came in 0\.05 s") as caught:
            channel.stream_unary(INFER)(never, timeout=FOR_EVER_S)
        ended.set()
        assert caught.value.code() == grpc.StatusCode.ABORTED


def test_only_so_many_calls_are_in_work_at_once(job_bundle: Path) -> None:
    with (
        serving(
            {"tiny": job_bundle},
            limits=Limits(max_connections=3),
            open_session=lambda path: ne.Session(path, threads=1, batch_wait_ms=FOR_EVER_S * 1000),
        ) as served,
        grpc.insecure_channel(served.url) as channel,
    ):
        tensor = pb.ModelInferRequest.InferInputTensor(name="pixels", datatype="UINT8", shape=[1, 2, 3])
        request = pb.ModelInferRequest(model_name="tiny", inputs=[tensor], raw_input_contents=[bytes(6)])
        calls = [channel.unary_unary(INFER).future(request.SerializeToString()) for _ in range(3)]
        until(lambda: served.stats()["images"]["waiting"] == 3)
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(LIVE)(b"")
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        for call in calls:
            call.cancel()


def test_a_port_that_another_has_is_an_error(served: Served) -> None:
    async def start() -> int:
        return await GrpcServer({}, LIMITS, Security()).start("127.0.0.1", served.port)

    with pytest.raises(InvalidInputError, match=f"port {served.port} of 127.0.0.1 cannot be had"):
        served.begin(start()).result(FOR_EVER_S)


@pytest.mark.parametrize("header", [{"authorization": f"Bearer {KEY}"}, {"x-api-key": KEY}])
def test_without_a_key_only_alive_and_ready_are_told(job_bundle: Path, header: dict[str, str]) -> None:
    with (
        serving({"tiny": job_bundle}, security=Security(keys=ApiKeys([KEY]))) as served,
        tc.InferenceServerClient(served.url) as client,
    ):
        assert client.is_server_live()
        assert client.is_server_ready()
        for call in (
            lambda **headers: client.infer("tiny", pixels(2, 2, 3), **headers),
            lambda **headers: client.is_model_ready("tiny", **headers),
            lambda **headers: client.get_server_metadata(**headers),
            lambda **headers: client.get_model_repository_index(**headers),
        ):
            call(headers=header)
            for wrong in ({}, {"x-api-key": KEY[1:]}):
                with pytest.raises(InferenceServerException, match="no valid API key") as caught:
                    call(headers=wrong)
                assert caught.value.status() == "StatusCode.UNAUTHENTICATED"
        with grpc.insecure_channel(served.url) as channel:
            stream = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
            with pytest.raises(grpc.RpcError) as refused:
                next(stream(iter(())))
            assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
            with pytest.raises(grpc.RpcError) as refused:
                channel.unary_unary("/inference.GRPCInferenceService/Nothing")(b"")
            assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_tls_shows_who_the_server_is_and_may_ask_who_the_client_is(job_bundle: Path, tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)

    def live(url: str, who: str = "", **options: str) -> bool:
        if who:
            chain, key = str(certificates.path(who)), str(certificates.path(f"{who}.key"))
            options |= {"private_key": key, "certificate_chain": chain}
        root = str(certificates.path("ca"))
        with tc.InferenceServerClient(url, ssl=True, root_certificates=root, **options) as client:
            return bool(client.is_server_live(client_timeout=FOR_EVER_S))

    pair = {"certificate": certificates.path("server"), "key": certificates.path("server.key")}
    tls = Tls(**pair)
    with serving({"tiny": job_bundle}, security=Security(tls=tls)) as served:
        assert live(served.url)
        with tc.InferenceServerClient(served.url) as client, pytest.raises(InferenceServerException):
            client.is_server_live()
    mutual = Tls(**pair, client_ca=certificates.path("ca"))
    with serving({"tiny": job_bundle}, security=Security(tls=mutual)) as served:
        assert live(served.url, "client")
        for who in ("", "stranger"):
            with pytest.raises(InferenceServerException):
                live(served.url, who)
