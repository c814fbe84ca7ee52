"""Waits of submit and drain: for a place in a full queue, in an event loop, in callbacks, until Ctrl-C."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import navit_edge as ne

RGB = np.zeros((48, 64, 3), np.uint8)


@pytest.fixture
def narrow(tiny_bundle: Path) -> Iterator[ne.Session]:
    """A session in which one image may wait."""
    with ne.Session(tiny_bundle, precision="fp32", queue_limit=1) as opened:
        yield opened


@pytest.fixture
def patient(tiny_bundle: Path) -> Iterator[ne.Session]:
    """A session whose engine waits a minute for more images, so that a few small ones wait."""
    with ne.Session(tiny_bundle, precision="fp32", batch_wait_ms=60_000) as opened:
        yield opened


# --- a full queue -----------------------------------------------------------------------------------------------


def test_a_full_queue_gives_no_future_and_takes_no_image(narrow: ne.Session) -> None:
    taken, refused = [], 0
    while not (taken and refused):
        future = narrow.try_submit(RGB, tag=len(taken))
        if future is None:
            refused += 1
        else:
            taken.append(future)
    for number, future in enumerate(taken):
        assert future.result(60).tag == number
    narrow.drain()
    assert narrow.metrics.stats()["images"]["submitted"] == len(taken)


def test_a_place_that_does_not_come_in_time_is_an_error_of_ours_and_a_timeout(narrow: ne.Session) -> None:
    taken = []

    def flood() -> None:
        while True:
            taken.append(narrow.submit(RGB, timeout=0))

    with pytest.raises(ne.TimedOutError, match="the queue was full for 0 s; the image was not taken") as refused:
        flood()
    assert isinstance(refused.value, concurrent.futures.TimeoutError)
    assert isinstance(refused.value, ne.NavitEdgeError)
    assert all(future.result(60).error is None for future in taken)
    assert narrow.submit(RGB, timeout=np.float32(60)).result(60).error is None


def test_what_is_wrong_with_an_image_needs_no_place(narrow: ne.Session) -> None:
    future = narrow.try_submit(RGB.astype(float))
    assert future is not None
    assert isinstance(future.exception(0), ne.InvalidInputError)
    file = narrow.submit("no/such/photo.jpg")  # it has one until its turn comes
    assert isinstance(file.exception(60), ne.InvalidInputError)


# --- asyncio ----------------------------------------------------------------------------------------------------


def test_an_event_loop_goes_on_while_a_place_is_waited_for(narrow: ne.Session) -> None:
    async def one(tag: int) -> ne.Result:
        return await (await narrow.submit_async(RGB, tag=tag))

    async def main() -> list[ne.Result]:
        return await asyncio.gather(*map(one, range(100)))

    assert [result.tag for result in asyncio.run(main())] == list(range(100))


def test_tasks_that_are_cancelled_while_they_submit_leave_the_others_theirs(narrow: ne.Session) -> None:
    async def one(tag: int) -> ne.Result:
        return await (await narrow.submit_async(RGB, tag=tag))

    async def main() -> list[ne.Result | BaseException]:
        tasks = [asyncio.create_task(one(tag)) for tag in range(40)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    results = asyncio.run(main())
    assert all(isinstance(result, asyncio.CancelledError) for result in results[::2])
    assert [result.tag for result in results[1::2] if isinstance(result, ne.Result)] == list(range(1, 40, 2))
    narrow.drain(60)


def test_a_timeout_and_errors_of_arguments_reach_the_event_loop(narrow: ne.Session) -> None:
    async def flood() -> None:
        while True:
            await asyncio.gather(*(narrow.submit_async(RGB, timeout=0) for _ in range(20)))

    async def main() -> None:
        with pytest.raises(ne.TimedOutError):
            await flood()
        with pytest.raises(ne.InvalidInputError, match="priority"):
            await narrow.submit_async(RGB, priority="high")  # type: ignore[arg-type]

    asyncio.run(main())


# --- callbacks --------------------------------------------------------------------------------------------------


async def _awaited(future: ne.Future) -> ne.Result:
    return await future


WAITS: dict[str, Callable[[ne.Future], object]] = {
    "result": lambda future: future.result(),
    "exception": lambda future: future.exception(),
    "wait": lambda future: concurrent.futures.wait([future]),
    "as_completed": lambda future: list(concurrent.futures.as_completed([future])),
    "await": lambda future: asyncio.run(_awaited(future)),
}


@pytest.mark.parametrize("how", WAITS)
def test_a_callback_that_would_wait_for_ever_is_told(patient: ne.Session, how: str) -> None:
    nobody_drains = threading.Event()
    told: list[BaseException | None] = []
    done = threading.Event()
    behind: list[ne.Future] = []

    def wait(_: object) -> None:
        assert nobody_drains.wait(60)
        behind.append(patient.submit(RGB))
        try:
            WAITS[how](behind[0])
            told.append(None)
        except BaseException as error:
            told.append(error)
        done.set()

    patient.submit(RGB).add_done_callback(wait)
    patient._core.drain(None)  # until the result is on its way to Python
    nobody_drains.set()
    assert done.wait(60)
    assert isinstance(told[0], ne.InvalidInputError)
    assert "would wait for ever" in str(told[0])
    patient.drain()
    WAITS[how](behind[0])  # done: nothing is waited for


def test_a_callback_may_drain_and_run(patient: ne.Session) -> None:
    numbers: list[int] = []
    done = threading.Event()

    def work(_: object) -> None:
        behind = patient.submit(RGB)
        patient.drain()
        numbers.append(behind.result(0).grid[0])
        numbers.append(patient.run([RGB])[0].grid[0])
        done.set()

    patient.submit(RGB).add_done_callback(work)
    patient.drain()
    assert done.wait(60)
    assert numbers[0] == numbers[1]


# --- drain ------------------------------------------------------------------------------------------------------


def test_drain_waits_no_longer_than_it_is_told(patient: ne.Session) -> None:
    go_on = threading.Event()
    future = patient.submit(RGB)
    future.add_done_callback(lambda _: go_on.wait(60))
    for timeout in (0, 5e-324, 0.01, np.float32(0.01)):
        with pytest.raises(ne.TimedOutError, match="not done after"):
            patient.drain(timeout)
    with pytest.raises(ne.InvalidInputError, match="timeout is 'long'"):
        patient.drain("long")  # type: ignore[arg-type]
    go_on.set()
    patient.drain(60)
    patient.drain(float("inf"))
    assert future.result(0).error is None


# One signal, when the callback runs: the image left because of `drain`, so the main thread is in it. A second one could
# come while the first is handled.
INTERRUPTED = """
import os, signal, sys, threading
import numpy as np
import navit_edge as ne
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run with &
session = ne.Session(sys.argv[1], precision="fp32", batch_wait_ms=3_600_000)
entered, go_on = threading.Event(), threading.Event()
def hold(_):
    entered.set()
    go_on.wait()
def press():
    entered.wait()
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=press, daemon=True).start()
try:
    future = session.submit(np.zeros((48, 64, 3), np.uint8))
    future.add_done_callback(hold)
    session.drain()
    print("it did not wait")
except KeyboardInterrupt:
    print("interrupted", future.done())
finally:
    go_on.set()
session.close()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGINT") or os.name != "posix", reason="sends SIGINT to itself")
def test_ctrl_c_ends_a_drain(tiny_bundle: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(tiny_bundle)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.split() == ["interrupted", "True"], done.stderr
