"""Processes: a spawned child opens sessions of its own; in a forked one those of the parent say so and never hang."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import navit_edge as ne

RGB = np.zeros((48, 64, 3), np.uint8)


def classify(path: str) -> list[float]:
    with ne.Session(path, precision="fp32") as session:
        logits: list[float] = session.submit(RGB).result(60).logits.tolist()
        return logits


def test_spawned_processes_open_sessions_while_the_parent_has_one(tiny_bundle: Path, tiny_session: ne.Session) -> None:
    (expected,) = tiny_session.run([RGB])
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        for logits in pool.map(classify, [str(tiny_bundle)] * 2):
            assert np.abs(np.array(logits) - expected.logits).max() <= 1e-5


def in_a_fork(child: Callable[[], str]) -> str:
    """What ``child`` says in a forked process, which must end by itself within a minute."""
    read, write = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            text = child()
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(write, text.encode())
        os._exit(0)
    os.close(write)
    end = time.monotonic() + 60
    while os.waitpid(process, os.WNOHANG) == (0, 0):
        if time.monotonic() > end:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            os.close(read)
            return "it hangs"
        time.sleep(0.005)
    with os.fdopen(read, "rb") as pipe:
        return pipe.read().decode()


CALLS: dict[str, Callable[[ne.Session], object]] = {
    "run": lambda session: session.run([RGB]),
    "submit": lambda session: session.submit(RGB),
    "drain": lambda session: session.drain(),
    "stream": lambda session: list(session.stream([RGB])),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("used", [False, True])
def test_a_session_in_a_forked_child_says_that_it_belongs_to_the_parent(
    tiny_bundle: Path, call: str, used: bool
) -> None:
    with ne.Session(tiny_bundle, precision="fp32") as session:
        if used:
            session.submit(RGB).result(60)

        def child() -> str:
            CALLS[call](session)
            return "no error"

        said = in_a_fork(child)
        assert said.startswith("BackendError: ")
        assert "fork" in said
        assert session.submit(RGB).result(60).error is None  # the parent's is as it was


def test_a_future_of_the_parent_says_so_in_the_child(tiny_bundle: Path) -> None:
    with ne.Session(tiny_bundle, precision="fp32", batch_wait_ms=60_000) as session:
        done, waiting = session.submit(RGB), session.submit(RGB)
        session.drain()
        waiting = session.submit(RGB)

        def child() -> str:
            assert done.result().error is None
            try:
                waiting.result()
            except ne.BackendError as error:
                return str(error)
            return "no error"

        assert "before the process forked" in in_a_fork(child)


def test_a_forked_child_may_close_and_drop_what_it_inherited(tiny_bundle: Path) -> None:
    sessions = [ne.Session(tiny_bundle, precision="fp32", batch_wait_ms=60_000)]
    futures = [sessions[0].submit(RGB)]
    results = sessions[0].stream(RGB for _ in iter(int, 1))

    def child() -> str:
        sessions[0].close()
        results.close()
        futures.clear()
        sessions.clear()
        return "no error"

    assert in_a_fork(child) == "no error"
    sessions[0].close()
    assert futures[0].done()


def test_a_forked_child_ends_in_peace_whatever_its_parent_was_doing(tiny_bundle: Path) -> None:
    program = (
        "import os, sys\nimport numpy as np\nimport navit_edge as ne\n"
        "RGB = np.zeros((48, 64, 3), np.uint8)\n"
        "session = ne.Session(sys.argv[1], precision='fp32')\n"
        "results = session.stream(RGB for _ in iter(int, 1)); next(results)\n"
        "for _ in range(10):\n"
        "    futures = [session.submit(RGB) for _ in range(20)]\n"
        "    process = os.fork()\n"
        "    if process == 0: sys.exit(7)\n"  # with all of atexit
        "    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 7\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(tiny_bundle)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
