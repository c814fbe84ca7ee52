"""When frames are shown (navit_edge.run.clock), whatever their timestamps say."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from navit_edge.run.clock import Stamped, Timed, seconds, shown_at, timed, usual_duration_s

STEP = Fraction(1, 10)


def times(stamps: list[float | None], durations: list[float | None] | None = None) -> list[float]:
    given_durations = durations or [None] * len(stamps)
    frames = [
        Stamped(frame=place, pts_s=None if s is None else Fraction(s), duration_s=None if d is None else Fraction(d))
        for place, (s, d) in enumerate(zip(stamps, given_durations, strict=True))
    ]
    found = list(timed(frames, STEP))
    assert [one.frame for one in found] == list(range(len(stamps)))
    return [round(one.time_s, 6) for one in found]


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        ([5, 6, 8, 9], [0, 1, 3, 4]),
        ([-2, -1, 0], [0, 1, 2]),
        ([0, 1, 2, 0, 1, 2], [0, 1, 2, 3, 4, 5]),
        ([0, 1, 2, 100, 3, 4], [0, 1, 2, 2.5, 3, 4]),
        ([0, 2, 1, 3], [0, 0.5, 1, 3]),
        ([0, 1, None, 3], [0, 1, 2, 3]),
        ([None, None, None], [0, 0.1, 0.2]),
        ([0, 0, 0], [0, 0.1, 0.2]),
        ([0, 1, 1e12, 1e12 + 1], [0, 1, 2, 3]),
        ([1e12, 0, 1], [0, 0.1, 1.1]),
    ],
    ids=["from the first", "below zero", "restart", "a leap", "no order", "one missing", "none", "all the same",
         "a leap of ages", "the first is wrong"],
)  # fmt: skip
def test_time_begins_at_zero_and_goes_on(stamps: list[float | None], expected: list[float]) -> None:
    assert times(stamps) == expected


def test_a_frame_after_a_restart_comes_when_the_one_before_it_has_been_shown() -> None:
    assert times([0, 1, 0, 1], [None, 0.5, None, None]) == [0, 1, 1.5, 2.5]
    assert times([0, 1, 0, 1], [None, 1e9, None, None]) == [0, 1, 2, 3]  # a duration that is none


stamps = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(stamps, stamps), min_size=1, max_size=40),
    st.sampled_from([Fraction(1, 90_000), Fraction(1, 1000), Fraction(1), Fraction(10**9)]),
    st.floats(1e-9, 1e5),
)
def test_times_are_finite_and_grow_for_all_that_a_container_can_hold(
    values: list[tuple[int | None, int | None]], unit: Fraction, fps: float
) -> None:
    frames = [
        Stamped(frame=place, pts_s=seconds(pts, unit), duration_s=seconds(duration, unit))
        for place, (pts, duration) in enumerate(values)
    ]
    found = list(timed(frames, STEP))
    assert [one.frame for one in found] == list(range(len(frames)))
    assert found[0].time_s == 0
    assert all(math.isfinite(one.time_s) and 0 < one.own_s <= 86_400 for one in found)
    assert all(before.time_s < after.time_s for before, after in pairwise(found))
    chosen = [one.frame for one in shown_at(found, fps)]
    assert chosen[0] == 0
    assert chosen == sorted(set(chosen))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 3000), min_size=1, max_size=20), st.sampled_from([0.1, 1.0, 3.0, 10.0, 30.0, 120.0]))
def test_the_frames_of_fps_are_those_that_are_shown_at_its_times(durations_ms: list[int], fps: float) -> None:
    """The oracle walks over the times, in whole numbers."""
    starts = [sum(durations_ms[:place]) for place in range(len(durations_ms))]
    frames = [
        Timed(frame=place, time_s=start / 1000, own_s=durations_ms[place] / 1000) for place, start in enumerate(starts)
    ]
    expected: list[int] = []
    tick = 0
    while (at := Fraction(tick) / Fraction(fps) * 1000) < sum(durations_ms):
        shown = max(place for place, start in enumerate(starts) if start <= at)
        expected += [shown] if shown not in expected[-1:] else []
        tick += 1
    assert [one.frame for one in shown_at(frames, fps)] == expected


def test_times_that_a_container_has_rounded_lose_no_frame() -> None:
    """30 a second in Matroska's milliseconds."""
    frames = [Timed(frame=place, time_s=round(place / 30, 3), own_s=0.033) for place in range(300)]
    assert [one.frame for one in shown_at(frames, 30, rounding_s=0.0005)] == list(range(300))
    assert [one.frame for one in shown_at(frames, 10, rounding_s=0.0005)] == list(range(0, 300, 3))


def test_numbers_of_a_header_that_make_no_sense_are_none() -> None:
    for count, unit in ((math.nan, 1), (math.inf, 1), (None, 1), (1, None), ("x", 1), (1, 0.0 / 1), (1, "1/0")):
        assert seconds(count, unit) in (None, 0)
    for rate in (None, 0, -5, math.nan, math.inf, 10**9, Fraction(1, 10**9)):
        assert usual_duration_s(rate) == Fraction(1, 25)
    assert usual_duration_s(Fraction(30000, 1001)) == Fraction(1001, 30000)
