"""The core of the server, without a network: requests to results, judged by ``Session.run``; what they can end with."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import error_of, pictures, png

import navit_edge as ne
from navit_edge.decode import DecodeOptions
from navit_edge.errors import BundleError, InvalidInputError
from navit_edge.serve.backlog import Backlog
from navit_edge.serve.errors import Code, ServeError, served
from navit_edge.serve.inference import infer
from navit_edge.serve.limits import Limits
from navit_edge.serve.repository import Model, Repository, State, named
from navit_edge.serve.request import InferRequest, Parameters
from navit_edge.serve.tensors import (
    TOP_K,
    InputTensor,
    images_of,
    outputs_of,
    outputs_offered,
    outputs_wanted,
    parameters_of,
)

LIMITS = Limits()
#: An hour: what waits for more images waits for as long as a test takes.
FOR_EVER_MS = 3_600_000.0


@asynccontextmanager
async def loaded(path: Path, **options: Any) -> AsyncIterator[Model]:
    repository = Repository({"tiny": path}, limits=LIMITS, open_session=lambda path: ne.Session(path, **options))
    await repository.load()
    try:
        yield repository.model("tiny")
    finally:
        await repository.close()


async def until(what: Callable[[], bool]) -> None:
    """A minute is for ever."""
    for _ in range(12_000):
        if what():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come about")


def images_stats(model: Model) -> dict[str, int]:
    assert model.session is not None
    stats: dict[str, int] = model.session.metrics.stats()["images"]
    return stats


def test_a_server_with_a_cache_gives_the_bits_of_the_first_time_and_computes_once(job_bundle: Path) -> None:
    rng = np.random.default_rng(4)
    large = rng.integers(0, 256, (300, 300, 3), np.uint8)  # hashed by a worker
    given = [*pictures(3), large, png(large), *map(png, pictures(3))]

    async def ask() -> None:
        async with loaded(job_bundle, cache_bytes=1 << 20) as model:
            requests = [InferRequest(images=given) for _ in range(4)]
            answers = await asyncio.gather(*(infer(model, request) for request in requests))
            answers.append(await infer(model, requests[0]))
            for place in range(len(given)):
                assert len({answer.results[place].embedding.tobytes() for answer in answers}) == 1
            assert all(result.cached for result in answers[-1].results)
            assert model.session is not None
            cache = model.session.metrics.stats()["cache"]
            assert (cache["misses"], cache["hits"] + cache["coalesced"]) == (len(given), 4 * len(given))

    asyncio.run(ask())


def test_a_request_gives_what_a_session_gives_for_files_and_pixels_of_any_size(job_bundle: Path) -> None:
    images = pictures(5)
    with ne.Session(job_bundle) as session:
        alone = session.run(images)

    async def ask() -> None:
        async with loaded(job_bundle) as model:
            for given in (images, [png(image) for image in images]):
                answer = await infer(model, InferRequest(images=given))
                names = outputs_wanted(["embedding", "logits", "tokens", "grid"], answer.manifest, Parameters())
                found = {one.name: one for one in outputs_of(answer.results, names, Parameters())}
                for name in ("embedding", "logits"):
                    expected = np.stack([getattr(result, name) for result in alone])
                    np.testing.assert_allclose(found[name].array, expected, rtol=2e-4, atol=2e-5)
                    assert found[name].shape == expected.shape
                rows = np.concatenate([result.tokens for result in alone if result.tokens is not None])
                np.testing.assert_allclose(found["tokens"].array, rows, rtol=2e-4, atol=2e-4)
                assert found["rows"].values() == [result.grid[0] * result.grid[1] for result in alone]
                assert found["grid"].values() == [side for result in alone for side in result.grid]
                assert len(str(parameters_of(answer.results)["pack"]).split(",")) == len(images)

    asyncio.run(ask())


def test_the_best_classes_have_the_labels_and_scores_of_top_k(job_bundle: Path) -> None:
    async def ask() -> None:
        async with loaded(job_bundle) as model:
            parameters = Parameters.of({"top_k": 3})
            answer = await infer(model, InferRequest(images=pictures(2), parameters=parameters))
            names = outputs_wanted([], answer.manifest, parameters)
            assert names == ("labels", "scores", "grid", "tokens_used")
            labels, scores, *_ = outputs_of(answer.results, names, parameters)
            best = [one for result in answer.results for one in result.top_k(3)]
            assert labels.shape == (2, 3)
            assert labels.values() == [one.label for one in best]
            np.testing.assert_array_equal(np.ravel(scores.array), np.float32([one.score for one in best]))
            first = best[0].label.encode()
            assert labels.raw()[: 4 + len(first)] == struct.pack("<I", len(first)) + first
            names = outputs_wanted(["scores"], answer.manifest, Parameters())
            (scores,) = outputs_of(answer.results, names, Parameters())  # as a tool asks that knows no parameters
            assert scores.shape == (2, TOP_K)

    asyncio.run(ask())


def test_without_outputs_asked_for_all_come_but_those_of_patches(job_bundle: Path) -> None:
    manifest = ne.load_manifest(job_bundle)
    assert outputs_wanted([], manifest, Parameters()) == ("logits", "embedding", "grid", "tokens_used")
    assert outputs_wanted(["tokens"], manifest, Parameters()) == ("tokens", "rows")
    offered = {spec.name: spec.shape for spec in outputs_offered(manifest)}
    assert offered["embedding"] == (-1, 64)
    assert offered["labels"] == (-1, -1)
    for asked in (["pooled"], ["rows"]):
        assert error_of(lambda asked=asked: outputs_wanted(asked, manifest, Parameters())).code is Code.BAD_INPUT


def test_an_image_that_cannot_be_decoded_is_named_and_takes_the_others_back(job_bundle: Path) -> None:
    async def ask() -> None:
        async with loaded(job_bundle, batch_wait_ms=FOR_EVER_MS) as model:
            files: list[bytes] = [png(image) for image in pictures(3)]
            files[2] = b"no image"
            with pytest.raises(ServeError, match=r"\Aimage 2: ") as caught:
                await infer(model, InferRequest(images=files))
            assert caught.value.code is Code.BAD_INPUT
            assert caught.value.image == 2
            await until(lambda: images_stats(model)["waiting"] == 0)

    asyncio.run(ask())


def test_pixels_beyond_the_limit_are_refused_by_the_header_and_by_the_shape(job_bundle: Path) -> None:
    async def ask() -> None:
        async with loaded(job_bundle, decode=DecodeOptions(max_pixels=100)) as model:
            with pytest.raises(ServeError, match="image 0 is 11x10 pixels") as caught:
                await infer(model, InferRequest(images=[png(np.zeros((11, 10, 3), np.uint8))]))
            assert caught.value.code is Code.TOO_LARGE

    asyncio.run(ask())
    shape = (1 << 14, 1 << 14, 3)
    pixels = InputTensor(name="pixels", datatype="UINT8", shape=shape, raw=b"")
    assert error_of(lambda: images_of([pixels], LIMITS)).code is Code.TOO_LARGE


def test_an_image_over_every_token_budget_is_too_large() -> None:
    assert served(ne.OverBudgetError("image needs 5200 tokens"), image=3).message == "image 3 needs 5200 tokens"
    assert served(ne.OverBudgetError("image needs 5200 tokens"), image=3).code is Code.TOO_LARGE


def test_a_full_queue_is_said_with_when_to_come_back(job_bundle: Path) -> None:
    async def ask() -> None:
        async with loaded(job_bundle, batch_wait_ms=FOR_EVER_MS, queue_limit=2) as model:
            with pytest.raises(ServeError) as caught:
                await infer(model, InferRequest(images=pictures(3)))
            assert caught.value.code is Code.QUEUE_FULL
            assert caught.value.retry_after_s == 1
            assert images_stats(model)["waiting"] == 0  # the two before it were taken back

    asyncio.run(ask())


def test_while_the_queue_is_full_no_file_is_decoded_to_find_that_out(job_bundle: Path) -> None:
    async def ask() -> None:
        async with loaded(job_bundle, batch_wait_ms=FOR_EVER_MS, queue_limit=1) as model:
            model.backlog = Backlog(valid_s=3600.0)
            waiting = asyncio.create_task(infer(model, InferRequest(images=pictures(1))))
            await until(lambda: images_stats(model)["waiting"] == 1)

            async def code_of(file: bytes, **parameters: Any) -> Code:
                with pytest.raises(ServeError) as caught:
                    await infer(model, InferRequest(images=[file], parameters=Parameters.of(parameters)))
                return caught.value.code

            assert await code_of(png(pictures(1)[0])) is Code.QUEUE_FULL
            assert await code_of(b"no image") is Code.QUEUE_FULL
            assert await code_of(b"no image", priority=1) is Code.BAD_INPUT  # has places of its own
            waiting.cancel()
            await until(lambda: images_stats(model)["waiting"] == 0)
            assert await code_of(b"no image") is Code.BAD_INPUT

    asyncio.run(ask())


def test_a_deadline_ends_a_request_only_as_its_timeout(job_bundle: Path) -> None:
    async def ask() -> None:
        async with loaded(job_bundle, batch_wait_ms=FOR_EVER_MS) as model:
            # The deadline lets the pack leave long after the timeout.
            parameters = Parameters.of({"timeout": 20_000, "deadline_ms": FOR_EVER_MS})
            with pytest.raises(ServeError, match="not there after 20000 us") as caught:
                await infer(model, InferRequest(images=pictures(1), parameters=parameters))
            assert caught.value.code is Code.DEADLINE
            assert images_stats(model)["cancelled"] == 1
            parameters = Parameters.of({"deadline_ms": 0.001})
            answer = await infer(model, InferRequest(images=pictures(1), parameters=parameters))
            assert answer.results[0].embedding is not None  # late, and answered

    asyncio.run(ask())


def test_who_goes_away_takes_the_images_back(job_bundle: Path) -> None:
    async def ask() -> None:
        async with loaded(job_bundle, batch_wait_ms=FOR_EVER_MS) as model:
            files: list[Any] = [png(image) for image in pictures(2)]
            task = asyncio.create_task(infer(model, InferRequest(images=[*files, *pictures(2)])))
            await until(lambda: images_stats(model)["waiting"] == 4)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda: images_stats(model)["cancelled"] == 4)  # a worker takes back what it has in hand
            assert images_stats(model)["waiting"] == 0

    asyncio.run(ask())


def test_unloading_waits_for_what_was_taken_and_refuses_the_rest(job_bundle: Path) -> None:
    async def ask() -> None:
        async with loaded(job_bundle, batch_wait_ms=FOR_EVER_MS) as model:
            request = InferRequest(images=pictures(1), parameters=Parameters.of({"deadline_ms": 300}))
            task = asyncio.create_task(infer(model, request))
            await until(lambda: images_stats(model)["submitted"] == 1)
            unloading = asyncio.create_task(model.unload())
            await until(lambda: model.state is not State.READY)
            with pytest.raises(ServeError) as caught:
                await infer(model, InferRequest(images=pictures(1)))
            assert caught.value.code is Code.UNAVAILABLE
            await unloading
            assert (await task).results[0].embedding is not None
            assert model.session is None
            await model.load()
            assert model.ready

    asyncio.run(ask())


def test_a_bundle_that_cannot_be_opened_says_no_path_to_clients(tmp_path: Path) -> None:
    async def ask() -> None:
        repository = Repository({"m": tmp_path / "none.navit"}, limits=LIMITS)
        model = repository.model("m")
        with pytest.raises(BundleError) as caught:
            await model.load()
        assert str(tmp_path) in str(caught.value)  # for who started the server
        assert str(tmp_path) not in served(caught.value).message
        assert str(tmp_path) not in model.reason
        assert model.state is State.UNAVAILABLE
        for name, version in (("x", ""), ("m", "2")):
            assert error_of(lambda name=name, version=version: repository.model(name, version)).code is Code.NOT_FOUND

    asyncio.run(ask())


def test_files_that_wait_to_be_decoded_are_bounded_and_one_request_always_fits() -> None:
    backlog = Backlog(most_files=10)
    with backlog.decoding(50):
        with pytest.raises(ServeError, match="50 files wait to be decoded") as caught, backlog.decoding(1):
            pass
        assert caught.value.code is Code.QUEUE_FULL
    with backlog.decoding(4), backlog.decoding(6):
        pass


def test_bundles_are_named_by_their_folders_or_as_they_are_told(tmp_path: Path) -> None:
    a, b = tmp_path / "a.navit", tmp_path / "b.navit"
    assert named([a, b]) == {"a": a, "b": b}
    assert named([a, b], ["first"]) == {"first": a, "b": b}
    for bundles, names in (([a, a], []), ([a], ["x/y"]), ([a], ["", "y"]), ([a], ["x", "y"])):
        with pytest.raises(InvalidInputError, match=r"expected|--name"):
            named(bundles, names)
