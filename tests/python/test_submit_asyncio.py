"""Futures of a session in asyncio: awaited, gathered, cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import navit_edge as ne

RGB = np.zeros((48, 64, 3), np.uint8)


@pytest.fixture
def patient(tiny_bundle: Path) -> Iterator[ne.Session]:
    """A session whose engine waits a minute for more images, so that a few small ones wait."""
    with ne.Session(tiny_bundle, precision="fp32", batch_wait_ms=60_000) as opened:
        yield opened


def test_a_future_can_be_awaited(tiny_session: ne.Session) -> None:
    (expected,) = tiny_session.run([RGB])

    async def main() -> ne.Result:
        return await tiny_session.submit(RGB, tag="awaited")

    result = asyncio.run(main())
    assert result.tag == "awaited"
    assert np.array_equal(result.logits, expected.logits)


def test_a_thousand_images_can_be_gathered_and_keep_their_order(tiny_session: ne.Session) -> None:
    random = np.random.default_rng(3)
    images = [random.integers(0, 256, (16 * (1 + k % 3), 16, 3), np.uint8) for k in range(20)]
    expected = tiny_session.run(images)

    async def main() -> list[ne.Result]:
        return await asyncio.gather(*(tiny_session.submit(images[k % 20], tag=k) for k in range(1000)))

    results = asyncio.run(main())
    assert [result.tag for result in results] == list(range(1000))
    for result in results:
        assert np.abs(result.logits - expected[result.tag % 20].logits).max() <= 1e-5


def test_the_error_of_an_image_is_raised_where_it_is_awaited(tiny_session: ne.Session) -> None:
    async def main() -> list[ne.Result | BaseException]:
        futures = (tiny_session.submit(image) for image in (RGB, "no/such/photo.jpg", RGB.astype(np.float32)))
        return await asyncio.gather(*futures, return_exceptions=True)

    good, missing, floats = asyncio.run(main())
    assert isinstance(good, ne.Result)
    assert isinstance(missing, ne.InvalidInputError)
    assert isinstance(floats, ne.InvalidInputError)


def test_cancelling_the_task_takes_the_image_back(patient: ne.Session) -> None:
    async def main() -> tuple[ne.Future, ne.Future]:
        futures: list[ne.Future] = []

        async def classify() -> ne.Result:
            futures.append(patient.submit(RGB))
            return await futures[-1]

        first, second = asyncio.create_task(classify()), asyncio.create_task(classify())
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await asyncio.get_running_loop().run_in_executor(None, patient.drain)
        assert (await second).error is None
        return futures[0], futures[1]

    taken_back, other = asyncio.run(main())
    assert taken_back.cancelled()
    assert other.result(0).error is None


def test_a_time_limit_of_asyncio_takes_the_image_back(patient: ne.Session) -> None:
    future = patient.submit(RGB)

    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(future, 0.01)

    asyncio.run(main())
    assert future.cancelled()


def test_closing_the_session_ends_what_is_awaited(tiny_bundle: Path) -> None:
    session = ne.Session(tiny_bundle, precision="fp32", batch_wait_ms=60_000)

    async def main() -> None:
        tasks = [asyncio.ensure_future(session.submit(RGB)) for _ in range(3)]
        await asyncio.sleep(0)
        await asyncio.get_running_loop().run_in_executor(None, session.close)
        for task in tasks:
            with pytest.raises(ne.CancelledError, match="closed"):
                await task

    asyncio.run(main())


def test_an_event_loop_may_go_before_its_images_are_done(patient: ne.Session) -> None:
    future = patient.submit(RGB)
    waiting = patient.submit(RGB)

    async def main() -> None:
        waiter = asyncio.shield(asyncio.wrap_future(waiting))
        _, pending = await asyncio.wait([waiter], timeout=0.01)
        assert pending

    asyncio.run(main())
    patient.drain()
    assert future.result(0).error is None
