"""Opening, running and closing, again and again, leaves nothing behind."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import tensorrt_build as trt

import navit_edge as ne

if TYPE_CHECKING:
    from conftest import OpenSession

Photographs = Mapping[str, npt.NDArray[np.uint8]]


def _resident_kib() -> int:
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0])


def test_sessions_that_come_and_go_leave_nothing(
    open_session: OpenSession, photographs: Photographs, alive: Callable[[], dict[str, int]]
) -> None:
    images = [photographs[name] for name in ("eye", "cat", "page")]
    gc.collect()
    before = alive()
    resident = []
    for _ in range(10):
        session = open_session()
        results = session.run(images)
        assert results[0].error is None
        del session, results
        gc.collect()
        assert alive() == before
        resident.append(_resident_kib())
    # What is opened once stays; after the first half nothing may be added. Sanitizers keep what was freed for a while.
    if os.environ.get(trt.CONFORMANCE, "-") == "-":
        assert resident[-1] - resident[5] < 6144, resident  # KiB


def test_runs_of_one_session_leave_nothing(
    session: ne.Session, photographs: Photographs, alive: Callable[[], dict[str, int]]
) -> None:
    images = [photographs[name] for name in ("eye", "cat", "page")]
    for _ in range(10):
        session.run(images)
    gc.collect()
    before, resident = alive(), _resident_kib()
    for _ in range(50):
        session.run(images)
    gc.collect()
    assert alive() == before
    if os.environ.get(trt.CONFORMANCE, "-") == "-":
        assert _resident_kib() - resident < 6144  # KiB


def test_runs_that_fail_leave_nothing(open_session: OpenSession, alive: Callable[[], dict[str, int]]) -> None:
    session = open_session(small=True)
    large = np.zeros((16, 16 * 65, 3), np.uint8)
    session.run([large], on_error="return")
    before = alive()
    for _ in range(20):
        assert session.run([large], on_error="return")[0].error is not None
    assert alive() == before
