"""Opening, running and closing, again and again, leaves nothing behind."""

from __future__ import annotations

import gc
import itertools
import os
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest
import tensorrt_build as trt

import navit_edge as ne

if TYPE_CHECKING:
    from conftest import OpenSession

Photographs = Mapping[str, npt.NDArray[np.uint8]]


def _resident_kib() -> int:
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0])


#: Most that one session, or one block of runs, may add.
MOST_KIB = 128


def _growth_kib(resident: list[int]) -> float:
    """What one session or block adds, as the median: a leak adds to each, while what the process does once, and what
    the allocator does now and then, adds to few."""
    return statistics.median(after - before for before, after in itertools.pairwise(resident))


def _require_flat(turn: Callable[[], int]) -> None:
    """A leak adds in every series of turns; an allocator that still settles in a large process does not.

    Sanitizers keep what was freed for a while.
    """
    tried = []
    for _ in range(5):
        tried.append([turn() for _ in range(18)])
        if os.environ.get(trt.CONFORMANCE, "-") != "-" or _growth_kib(tried[-1]) < MOST_KIB:
            return
    raise AssertionError(tried)


def test_sessions_that_come_and_go_leave_nothing(
    open_session: OpenSession, photographs: Photographs, alive: Callable[[], dict[str, int]]
) -> None:
    images = [photographs[name] for name in ("eye", "page")]
    gc.collect()
    before = alive()

    def come_and_go() -> int:
        session = open_session()
        results = session.run(images)
        assert results[0].error is None
        del session, results
        gc.collect()
        assert alive() == before
        return _resident_kib()

    for _ in range(6):  # what is opened once stays
        come_and_go()
    _require_flat(come_and_go)


def test_runs_of_one_session_leave_nothing(
    session: ne.Session, photographs: Photographs, alive: Callable[[], dict[str, int]]
) -> None:
    images = [photographs[name] for name in ("eye", "page")]
    for _ in range(10):
        session.run(images)
    gc.collect()
    before = alive()

    def run() -> int:
        for _ in range(4):
            session.run(images)
        gc.collect()
        return _resident_kib()

    _require_flat(run)
    assert alive() == before


def test_a_leak_is_told_from_steps_and_from_noise() -> None:
    flat = [100_000, 99_700, 100_300, 100_150, 99_850, 99_900] * 4
    assert _growth_kib(flat) < MOST_KIB
    assert _growth_kib([value + 9_000 * (i // 5) for i, value in enumerate(flat)]) < MOST_KIB
    assert _growth_kib([value + 300 * i for i, value in enumerate(flat)]) > MOST_KIB


def test_a_leak_in_every_series_is_told_from_growth_that_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(trt.CONFORMANCE, raising=False)
    leaking = itertools.count(100_000, 200)
    with pytest.raises(AssertionError):
        _require_flat(lambda: next(leaking))
    settling = itertools.chain(range(100_000, 106_000, 200), itertools.repeat(106_000))
    _require_flat(lambda: next(settling))


def test_runs_that_fail_leave_nothing(open_session: OpenSession, alive: Callable[[], dict[str, int]]) -> None:
    session = open_session(small=True)
    large = np.zeros((16, 16 * 65, 3), np.uint8)
    session.run([large], on_error="return")
    before = alive()
    for _ in range(20):
        assert session.run([large], on_error="return")[0].error is not None
    assert alive() == before
