"""Streams of live sources: which frames are dropped while the stream is full."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from waiting import stream_threads

import navit_edge as ne

RGB = np.zeros((48, 64, 3), np.uint8)


@pytest.fixture
def session(tiny_bundle: Path) -> Iterator[ne.Session]:
    with ne.Session(tiny_bundle, precision="fp32") as opened:
        yield opened
    assert stream_threads() == []


def test_drop_newest_leaves_out_what_comes_while_the_stream_is_full(tiny_bundle: Path) -> None:
    with ne.Session(tiny_bundle, precision="fp32", batch_wait_ms=60_000) as session:  # images wait for a full pack
        read = threading.Event()

        def source() -> Iterator[tuple[npt.NDArray[np.uint8], str]]:
            for k in range(10):
                yield RGB, f"frame {k}"
            read.set()

        results = session.stream(source(), capacity=3, drop="drop-newest")
        drained = threading.Thread(target=lambda: (read.wait(60), session.drain()))
        drained.start()
        seen = [(result.index, result.tag) for result in results]
        drained.join()
        assert seen == [(0, "frame 0"), (1, "frame 1"), (2, "frame 2")]
        assert results.dropped == 7


def test_drop_oldest_cancels_what_waits_longest(tiny_bundle: Path) -> None:
    with ne.Session(tiny_bundle, precision="fp32", batch_wait_ms=60_000) as session:
        read = threading.Event()

        def source() -> Iterator[tuple[npt.NDArray[np.uint8] | str, str]]:
            yield "no/such/photo.jpg", "a bad file"
            for k in range(1, 10):
                yield RGB, f"frame {k}"
            read.set()

        results = session.stream(source(), capacity=3, drop="drop-oldest")
        drained = threading.Thread(target=lambda: (read.wait(60), session.drain()))
        drained.start()
        seen = [(result.index, result.tag) for result in results]
        drained.join()
        # The bad file has no pixels to run: its result is there at once and was fetched first, or gave way.
        assert seen[-3:] == [(7, "frame 7"), (8, "frame 8"), (9, "frame 9")] or seen[-2:] == seen[1:]
        assert len(seen) + results.dropped == 10


def test_a_slow_reader_of_a_live_source_gets_fresh_frames(session: ne.Session) -> None:
    ends = threading.Event()

    def camera() -> Iterator[npt.NDArray[np.uint8]]:
        while not ends.is_set():
            time.sleep(0.0005)
            yield RGB.copy()

    seen = []
    with session.stream(camera(), capacity=2, drop="drop-oldest") as results:
        for result in results:
            seen.append(result.index)
            assert result.error is None
            time.sleep(0.01)
            if results.dropped >= 5 and len(seen) >= 5:
                ends.set()
    assert seen == sorted(set(seen))
    assert results.dropped >= 5
    assert seen[-1] >= len(seen)  # some were left out
