"""Successive halving on response surfaces that are made up: it finds what a full grid finds, for less."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from navit_edge.tune.halving import lengths, successive_halving

Point = tuple[int, int, int]
GRID: list[Point] = list(itertools.product(range(6), range(5), range(3)))
ROUNDS, FACTOR = 3, 3.0


def bowl(point: Point) -> float:
    """One minimum, at (4, 1, 2)."""
    return 10 + (point[0] - 4) ** 2 + 2 * (point[1] - 1) ** 2 + 3 * (point[2] - 2) ** 2


def ridges(point: Point) -> float:
    """Many minima; the least in a corner."""
    return 10 + 3 * math.sin(2.1 * point[0]) + 2 * math.cos(1.7 * point[1]) + point[2] - 0.4 * point[0]


class Bench:
    """Measures a surface. noise: the standard deviation of a second of it, as a share; longer is better by the root."""

    def __init__(self, surface: object, noise: float, seed: int = 0) -> None:
        self.surface, self.noise = surface, noise
        self.random = np.random.default_rng(seed)
        self.seconds = 0.0

    def __call__(self, point: Point, number: int, seconds: float) -> float:
        self.seconds += seconds
        return self.surface(point) * (1 + self.noise / seconds**0.5 * self.random.normal())  # type: ignore[operator]


@pytest.mark.parametrize("surface", [bowl, ridges])
def test_without_noise_it_finds_the_best_for_a_third_of_the_grids_time(surface: object) -> None:
    bench = Bench(surface, 0)
    (best, *_) = successive_halving(GRID, bench, seconds=1, factor=FACTOR, rounds=ROUNDS)
    assert best.candidate == min(GRID, key=surface)  # type: ignore[arg-type]
    grid_seconds = len(GRID) * lengths(1, factor=FACTOR, rounds=ROUNDS)[-1]
    assert bench.seconds <= grid_seconds / 2.9
    assert best.rounds == ROUNDS


@pytest.mark.parametrize("surface", [bowl, ridges])
def test_with_noise_it_comes_within_a_few_percent_of_the_best_in_nearly_every_run(surface: object) -> None:
    least = min(surface(point) for point in GRID)  # type: ignore[operator]
    losses = []
    for seed in range(100):
        bench = Bench(surface, 0.08, seed)
        (best, *_) = successive_halving(GRID, bench, seconds=1, factor=FACTOR, rounds=ROUNDS)
        losses.append(surface(best.candidate) / least - 1)  # type: ignore[operator]
    assert np.mean(losses) < 0.03
    assert np.quantile(losses, 0.9) < 0.12


def test_measurements_of_a_candidate_are_averaged_by_their_length() -> None:
    def measure(_: str, number: int, seconds: float) -> float:
        return [4.0, 1.0][number] * (1 if seconds else 0)

    first, other = successive_halving(["a", "b"], measure, seconds=1, factor=2, rounds=2, group_of=None)[:2]
    assert first.cost == pytest.approx((4 * 1 + 1 * 2) / 3)
    assert other.rounds == 1


def test_the_best_of_each_group_lasts_however_bad_the_group_is() -> None:
    found = successive_halving(GRID, Bench(bowl, 0), seconds=1, rounds=ROUNDS, group_of=lambda point: point[2])
    last = {one.candidate for one in found if one.rounds == max(other.rounds for other in found)}
    for group in range(3):
        assert min((point for point in GRID if point[2] == group), key=bowl) in last


def test_what_cannot_run_is_left_out() -> None:
    def measure(point: Point, number: int, seconds: float) -> float | None:
        return None if point[0] == 4 else bowl(point)

    found = successive_halving(GRID, measure, seconds=1)
    assert found[0].candidate in ((3, 1, 2), (5, 1, 2))
    assert all(one.candidate[0] != 4 for one in found)


def test_when_time_is_up_what_is_known_is_ranked() -> None:
    bench = Bench(bowl, 0)
    found = successive_halving(GRID, bench, seconds=1, may_begin=lambda _, seconds: bench.seconds + seconds <= 20)
    assert bench.seconds == 20
    assert len(found) == 20
    assert found[0].candidate == min(GRID[:20], key=bowl)


def test_nothing_is_measured_longer_that_has_no_rival_left() -> None:
    bench = Bench(bowl, 0)
    successive_halving(GRID[:1], bench, seconds=1, rounds=3)
    assert bench.seconds == 1
    assert successive_halving([], bench, seconds=1) == []
