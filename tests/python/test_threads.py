"""Threads that the system does not give: fewer do the work, and the results are the same."""

from __future__ import annotations

import threading

import pytest

from navit_edge.threads import Workers


@pytest.fixture
def decoders_given(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> int:
    """As many decoder threads start, and no more."""
    given = int(request.param)
    real = threading.Thread.start
    started = 0

    def start(thread: threading.Thread) -> None:
        nonlocal started
        if thread.name == "navit-edge decoder":
            if started == given:
                raise RuntimeError("can't start new thread")
            started += 1
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    return given


@pytest.mark.parametrize("decoders_given", [0, 1, 3, 4], indirect=True)
def test_work_is_done_by_as_many_threads_as_there_are(decoders_given: int) -> None:
    seen: set[str] = set()

    def square(number: int) -> int:
        seen.add(threading.current_thread().name)
        if number == 7:
            raise ValueError(number)
        return number**2

    workers = Workers(4, name="navit-edge decoder")
    futures = [workers.do(square, number) for number in range(50)]
    assert [future.result(60) for future in futures if future is not futures[7]] == [
        number**2 for number in range(50) if number != 7
    ]
    assert isinstance(futures[7].exception(60), ValueError)
    workers.close()
    assert seen == {"navit-edge decoder" if decoders_given else threading.current_thread().name}


def test_closing_cancels_what_has_not_begun_and_waits_for_the_rest() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hold() -> str:
        begun.set()
        assert go_on.wait(60)
        return "done"

    workers = Workers(1, name="navit-edge decoder")
    first, *others = (workers.do(hold) for _ in range(5))
    assert begun.wait(60)
    threading.Timer(0.0, go_on.set).start()
    workers.close()
    assert first.result(0) == "done"
    assert all(other.done() for other in others)
