"""The open loop of the benchmarks and of gpu_proof: its arrivals, its percentiles, and what it makes of results."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from navit_edge.bench.open_loop import Load, arrivals, offer, percentiles_ms

IMAGES = [np.zeros((16, 16, 3), np.uint8), np.zeros((32, 16, 3), np.uint8)]


class Session:
    """Gives each image's result at once, or an error for the second image if ``fails``."""

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails
        self.submitted: list[tuple[int, float, Any]] = []

    def submit(self, image: Any, *, deadline_ms: float, policy: Any) -> Future[Any]:
        which = next(i for i, one in enumerate(IMAGES) if one is image)
        self.submitted.append((which, deadline_ms, policy))
        future: Future[Any] = Future()
        if self.fails and which == 1:
            future.set_exception(ValueError("the second image"))
        else:
            future.set_result(SimpleNamespace(token_count=which + 1, pack=len(self.submitted), pack_tokens=64))
        return future


def test_arrivals_are_a_poisson_process_of_the_rate() -> None:
    times = arrivals(100.0, 200.0, np.random.default_rng(0))
    assert (np.diff(times) > 0).all()
    assert times[0] > 0
    assert times[-1] < 200
    assert len(times) == pytest.approx(20_000, abs=4 * 20_000**0.5)
    gaps = np.diff(times)
    assert gaps.mean() == pytest.approx(0.01, rel=0.05)
    assert gaps.std() == pytest.approx(0.01, rel=0.05), "exponential gaps vary as much as they last"
    in_seconds = np.bincount(times.astype(int), minlength=200)
    assert in_seconds.var() / in_seconds.mean() == pytest.approx(1, abs=0.4), "of a Poisson process both are the same"


def test_percentiles_are_of_the_nearest_rank_in_milliseconds() -> None:
    latency_s = np.arange(100, 0, -1) / 1000
    assert percentiles_ms(latency_s) == {"latency_ms_p50": pytest.approx(50), "latency_ms_p99": pytest.approx(99)}
    assert percentiles_ms([0.25]) == {"latency_ms_p50": 250.0, "latency_ms_p99": 250.0}


def test_a_latency_counts_from_when_the_image_was_due() -> None:
    whole = np.zeros(2, np.int64)
    load = Load(
        due=np.array([1.0, 2.0]), done=np.array([1.25, 3.0]), limit=np.array([0.25, 0.5]), tokens=whole, packs=whole,
        pack_tokens=whole, late_sends=1.0,
    )  # fmt: skip
    assert list(load.latency_s) == [0.25, 1.0]
    assert list(load.met) == [True, False]


def test_every_arrival_is_submitted_once_in_order_with_its_deadline_and_policy() -> None:
    session: Any = Session()
    chosen, seen = np.array([1, 0, 1]), list[tuple[int, int]]()
    load = offer(
        session, IMAGES, np.array([0.0, 0.001, 0.002]), chosen, limits=np.array([1e3, 2e3]),
        policies=["first", "second"], look=lambda index, result: seen.append((index, result.token_count)),  # type: ignore[list-item]
    )  # fmt: skip
    assert [which for which, _, _ in session.submitted] == [1, 0, 1]
    assert [policy for _, _, policy in session.submitted] == ["second", "first", "second"]
    for (which, deadline_ms, _), limit in zip(session.submitted, (2e6, 1e6, 2e6), strict=True):
        assert deadline_ms == pytest.approx(limit, rel=0.1), which
    assert list(load.tokens) == [2, 1, 2]
    assert list(load.packs) == [1, 2, 3]
    assert list(load.pack_tokens) == [64, 64, 64]
    assert list(load.limit) == [2e3, 1e3, 2e3]
    assert seen == [(0, 2), (1, 1), (2, 2)]


def test_an_image_that_fails_is_the_error_when_all_are_done() -> None:
    session: Any = Session(fails=True)
    with pytest.raises(ValueError, match="the second image"):
        offer(session, IMAGES, np.zeros(3), np.array([1, 0, 0]), limits=np.full(2, 1e3))
    assert len(session.submitted) == 3


def test_what_a_look_at_a_result_raises_is_the_callers_error() -> None:
    def look(index: int, result: Any) -> None:
        raise AssertionError(f"image {index} is another's")

    session: Any = Session()
    with pytest.raises(AssertionError, match="image 0 is another's"):
        offer(session, IMAGES, np.zeros(1), np.array([0]), limits=np.full(2, 1e3), look=look)
