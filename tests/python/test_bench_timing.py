"""How long `navit-edge bench` measures, by a clock of the test, and which figures follow from the times."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from navit_edge.bench import BenchOptions, percentile
from navit_edge.bench.measure import measure
from navit_edge.errors import InvalidInputError

# --- percentiles


@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=200).map(sorted),
    st.sampled_from([0, 1, 25, 50, 75, 90, 95, 99, 100]),
)
def test_a_percentile_is_the_nearest_rank_as_numpy_computes_it(values: list[float], percent: int) -> None:
    expected = np.percentile(values, percent, method="inverted_cdf")
    assert percentile(values, percent) == expected


def test_a_percentile_does_not_suffer_from_binary_fractions() -> None:
    values = [float(number) for number in range(1, 1001)]
    assert percentile(values, 99.9) == 999
    assert percentile(values, 14.5) == 145


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"warmup_ms": -1}, "warmup -1 ms"),
        ({"iterations": 0}, "0 iterations"),
        ({"duration_s": -0.5}, "duration -0.5 s"),
        ({"percentiles": ()}, "percentiles none"),
        ({"percentiles": (50, 101)}, "percentiles 50, 101; expected one or more from 0 to 100"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        BenchOptions(**options)


# --- how long it measures


class Clock:
    """Time that passes in runs only, so that a busy machine changes no figure."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("navit_edge.bench.measure.time", made)
    return made


class SlowSession:
    """Takes 5 ms a run, of the clock that the measuring reads, and counts them; reports one pack."""

    def __init__(self, clock: Clock, packs: int = 1) -> None:
        self.clock = clock
        self.runs = 0
        pack = {
            "images": 1,
            "tokens": 6,
            "capacity": 8,
            "budget_tokens": 8,
            "preprocess_us": 1000.0,
            "engine_us": 3000.0,
        }
        self.last_report = {
            "packs": [pack] * packs,
            "total_us": 5000.0,
            "predicted_us": 4400.0 * packs,
            "cost_measured": True,
        }

    def run(self, images: Any) -> list[None]:
        self.runs += 1
        self.clock.now += 0.005
        return [None] * len(images)


def timed(session: SlowSession, **options: Any) -> Any:
    return measure(session, [np.zeros((4, 4, 3), np.uint8)], BenchOptions(**options), name="slow")  # type: ignore[arg-type]


def test_iterations_are_a_lower_bound_of_the_runs_and_warm_up_is_not_counted(clock: Clock) -> None:
    session = SlowSession(clock)
    result = timed(session, warmup_ms=0, iterations=7, duration_s=0)
    assert (result.runs, result.warmup_runs, session.runs) == (7, 1, 8)


def test_duration_is_a_lower_bound_of_the_measured_time(clock: Clock) -> None:
    result = timed(SlowSession(clock), warmup_ms=0, iterations=1, duration_s=0.098)
    assert result.measured_s == pytest.approx(0.1)
    assert result.runs == 20


def test_warm_up_lasts_as_long_as_it_was_asked_to(clock: Clock) -> None:
    session = SlowSession(clock)
    result = timed(session, warmup_ms=58, iterations=1, duration_s=0)
    assert result.warmup_runs == 12
    assert session.runs == result.warmup_runs + 1


def test_figures_follow_from_what_the_session_reported(clock: Clock) -> None:
    result = timed(SlowSession(clock), warmup_ms=0, iterations=4, duration_s=0)
    assert result.fill == 6 / 8
    assert (result.preprocess_ms, result.engine_ms) == (1, 3)
    assert (result.predicted_ms, result.prediction_error) == (4.4, pytest.approx(0.1))  # of the 4 ms in the pack
    assert result.other_ms == pytest.approx(result.latency_ms["mean"] - 4)
    assert result.latency_ms["min"] == pytest.approx(5)
    assert result.images_per_s == pytest.approx(result.runs / result.measured_s)
    assert result.tokens_per_s == pytest.approx(6 * result.images_per_s)


def test_the_rest_of_the_time_is_not_stated_where_packs_may_overlap(clock: Clock) -> None:
    result = timed(SlowSession(clock, packs=2), warmup_ms=0, iterations=2, duration_s=0)
    assert result.other_ms is None
    assert (result.packs, result.tokens, result.engine_ms) == (2, 12, 6)
