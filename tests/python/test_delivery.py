"""The thread that resolves futures goes on whatever is raised in it, and no future stays undone. Judged by ``run``."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import navit_edge as ne

RGB = np.zeros((48, 64, 3), np.uint8)
PATIENCE_S = 60


@pytest.fixture
def session(tiny_bundle: Path) -> Iterator[ne.Session]:
    with ne.Session(tiny_bundle, precision="fp32", threads=1) as opened:
        yield opened


def still_right(session: ne.Session) -> bool:
    """Whether an image that is submitted now gets what a run gives."""
    want = session.run([RGB])[0].logits
    return bool(np.abs(session.submit(RGB).result(PATIENCE_S).logits - want).max() <= 1e-5)


class Furious(logging.Handler):
    """A handler of an application's, with a fault."""

    def handle(self, record: logging.LogRecord) -> bool:
        raise OSError("the log is full")


@pytest.mark.parametrize("raised", [SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError, ValueError])
def test_a_callback_that_raises_costs_neither_the_callbacks_behind_it_nor_any_other_future(
    tiny_bundle: Path, raised: type[BaseException]
) -> None:
    called: list[int] = []

    def fail(_: object) -> None:
        raise raised

    logger = logging.getLogger("navit_edge")
    handler = Furious()
    logger.addHandler(handler)
    try:
        with ne.Session(tiny_bundle, precision="fp32", batch_wait_ms=60_000) as patient:
            futures = [patient.submit(RGB) for _ in range(4)]
            for number, future in enumerate(futures):
                future.add_done_callback(fail)
                future.add_done_callback(lambda _, number=number: called.append(number))  # type: ignore[misc]
            patient.drain()
            assert all(future.exception(PATIENCE_S) is None for future in futures)
            assert called == [0, 1, 2, 3]
    finally:
        logger.removeHandler(handler)


def test_an_await_behind_a_callback_that_raises_gets_its_result(tiny_bundle: Path) -> None:
    def leave(_: object) -> None:
        raise SystemExit

    async def both() -> ne.Result:
        with ne.Session(tiny_bundle, precision="fp32", batch_wait_ms=60_000) as patient:
            future = patient.submit(RGB)
            future.add_done_callback(leave)
            task = asyncio.ensure_future(wait_for(future))
            await asyncio.sleep(0)
            await asyncio.to_thread(patient.drain)
            return await asyncio.wait_for(task, PATIENCE_S)

    async def wait_for(future: ne.Future) -> ne.Result:
        return await future

    assert asyncio.run(both()).error is None


def test_an_exception_thrown_into_the_delivery_thread_does_not_end_it(session: ne.Session) -> None:
    assert still_right(session)
    thread = session._delivery._thread  # other sessions of the run may have theirs
    assert thread is not None
    for _ in range(3):
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit))
        assert still_right(session)
    assert thread.is_alive()


SHORT_OF_MEMORY = """
import os, select, sys
import _testcapi
import numpy as np
import navit_edge as ne

path, image = sys.argv[1], np.zeros((48, 64, 3), np.uint8)
session = ne.Session(path, precision="fp32", threads=1, batch_wait_ms=60_000)
want = session.run([image])[0].logits
told, tell = os.pipe()

def over(_):
    _testcapi.remove_mem_hooks()
    os.write(tell, b"x")

for length in (1, 8):
    for start in range(0, 120, 1 if length == 1 else 5):
        futures = [session.submit(image) for _ in range(4)]
        futures[0].add_done_callback(lambda _: _testcapi.set_nomemory(start, start + length))
        futures[-1].add_done_callback(over)
        session._core.drain(None)  # they are one pack, which leaves now; this thread then waits outside of Python
        while True:
            try:
                select.select([told], [], [], 2)  # the callback that tells may be lost
                _testcapi.remove_mem_hooks()
                session.drain()  # all callbacks have returned
                break
            except MemoryError:  # it was this thread's
                pass
        _testcapi.remove_mem_hooks()
        for future in futures:
            error = future.exception(60)
            assert error is None or (isinstance(error, ne.BackendError) and "memory ran out" in str(error)), error
        while select.select([told], [], [], 0)[0]:
            os.read(told, 1)
future = session.submit(image)
session.drain()
assert np.abs(future.result(60).logits - want).max() <= 1e-5
"""


def test_every_future_is_done_wherever_memory_runs_out_in_the_delivery_thread(tiny_bundle: Path) -> None:
    pytest.importorskip("_testcapi", reason="this Python cannot be told to run out of memory")
    done = subprocess.run(
        [sys.executable, "-c", SHORT_OF_MEMORY, str(tiny_bundle)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_thread_that_cannot_be_started_is_said_with_the_remedy_and_the_session_goes_on(
    session: ne.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(ne.BackendError, match=r"cannot start the thread .*ulimit -u"):
            session.submit(RGB)
        with pytest.raises(ne.BackendError, match="cannot start the thread"):
            next(session.stream([RGB]))
    assert still_right(session)
    assert len(list(session.stream([RGB, RGB]))) == 2
