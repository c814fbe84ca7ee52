"""What a result is: its arrays, how long they live, and that sessions are safe to share."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest
from limits import Limits

import navit_edge as ne

if TYPE_CHECKING:
    from conftest import OpenSession

Photographs = Mapping[str, npt.NDArray[np.uint8]]


def test_arrays_are_float32_read_only_and_of_the_promised_shapes(session: ne.Session, photographs: Photographs) -> None:
    for result in session.run(list(photographs.values())):
        rows, cols = result.grid
        shapes = {"logits": (10,), "embedding": (64,), "tokens": (rows * cols, 64)}
        assert result.token_count == rows * cols
        for name, shape in shapes.items():
            array = getattr(result, name)
            assert (array.shape, array.dtype) == (shape, np.float32)
            assert np.isfinite(array).all()
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0


def test_arrays_outlive_the_session_and_its_results(open_session: OpenSession, photographs: Photographs) -> None:
    session = open_session()
    results = session.run(list(photographs.values()))
    arrays = [array for result in results for array in (result.logits, result.embedding, result.tokens)]
    copies = [array.copy() for array in arrays]
    del session, results
    gc.collect()
    churn = [np.full(1 << 16, 7.0, np.float32) for _ in range(64)]  # would land in memory that was given back
    other = open_session()
    other.run([255 - image for image in photographs.values()])
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)
    del churn


def test_a_later_run_does_not_change_earlier_results(session: ne.Session, photographs: Photographs) -> None:
    first = session.run(list(photographs.values()))
    copies = [(r.logits.copy(), r.embedding.copy(), r.tokens.copy()) for r in first]
    session.run([255 - image for image in photographs.values()])
    for result, (logits, embedding, tokens) in zip(first, copies, strict=True):
        np.testing.assert_array_equal(result.logits, logits)
        np.testing.assert_array_equal(result.embedding, embedding)
        np.testing.assert_array_equal(result.tokens, tokens)


def test_eight_threads_on_one_session_get_the_numbers_of_one(session: ne.Session, photographs: Photographs) -> None:
    names = list(photographs)
    jobs = [[names[(i + k) % len(names)] for k in range(1 + i % 5)] for i in range(8)]
    expected = [session.run([photographs[name] for name in job]) for job in jobs]
    barrier = Barrier(len(jobs))

    def work(job: list[str]) -> list[list[ne.Result]]:
        barrier.wait(timeout=60)
        return [session.run([photographs[name] for name in job]) for _ in range(5)]

    with ThreadPoolExecutor(len(jobs)) as pool:
        for want, runs in zip(expected, pool.map(work, jobs), strict=True):
            for got in runs:
                for one, other in zip(want, got, strict=True):
                    assert one.logits.tobytes() == other.logits.tobytes()
                    assert one.tokens.tobytes() == other.tokens.tobytes()


def test_two_sessions_on_one_bundle_work_side_by_side(open_session: OpenSession, photographs: Photographs) -> None:
    images = list(photographs.values())
    sessions = [open_session() for _ in range(2)]
    expected = sessions[0].run(images)
    with ThreadPoolExecutor(2) as pool:
        for results in pool.map(lambda session: session.run(images), sessions):
            for one, other in zip(expected, results, strict=True):
                np.testing.assert_array_equal(one.logits, other.logits)


def test_the_number_of_threads_changes_no_number(
    open_session: OpenSession, photographs: Photographs, limits: Limits
) -> None:
    images = list(photographs.values())
    one = open_session(threads=1).run(images)
    two = open_session(threads=2).run(images)
    for a, b in zip(one, two, strict=True):
        assert np.abs(a.logits - b.logits).max() <= limits.packing
