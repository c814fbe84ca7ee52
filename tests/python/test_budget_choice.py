"""Which budgets plan-budgets chooses, against powers of two and exhaustive search."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from navit_edge.planning import budgets


def test_chosen_budgets_hold_every_image_and_are_no_slower_than_powers_of_two_or_one_budget() -> None:
    rng = np.random.default_rng(0)
    tokens = np.exp(rng.uniform(np.log(32), np.log(1000), 200)).astype(int).tolist()
    cost = (500.0, 2.0, 0.0005)

    def choose(count: int, **options: Any) -> budgets.BudgetChoice:
        return budgets.choose_budgets(
            tokens, count=count, images_per_run=[1, 4, 16, 64], cost=cost, max_tokens=8192, **options
        )

    chosen, powers, single = choose(3), choose(3, powers_of_two=True), choose(1)
    assert len(chosen.tokens) <= 3
    assert list(chosen.tokens) == sorted(set(chosen.tokens))
    assert max(tokens) <= chosen.tokens[-1] <= 8192
    assert all(one & (one - 1) == 0 for one in powers.tokens)
    assert chosen.ms_per_run <= powers.ms_per_run * 1.01  # the runs of the report are others than those of the search
    assert chosen.ms_per_run < single.ms_per_run * 0.97
    assert sum(chosen.used) == pytest.approx(1)
    assert 0.8 < chosen.fill <= 1


def test_the_dynamic_programming_finds_the_best_set_that_exhaustive_search_finds() -> None:
    rng = np.random.default_rng(1)
    for count in (1, 2, 3):
        for _ in range(20):
            demand = rng.integers(1, 1000, 50)
            candidates = np.unique(rng.integers(1, 16, 9) * 64)
            candidates = np.append(candidates[candidates < 1024], 1024)
            times = 50 + rng.uniform(0.5, 1.5) * candidates
            found, chosen = budgets._cover(demand, candidates, times, count)
            best = min(
                sum(min(times[i] for i in (*others, len(candidates) - 1) if candidates[i] >= one) for one in demand)
                for size in range(count)
                for others in itertools.combinations(range(len(candidates) - 1), size)
            )
            assert found == pytest.approx(best)
            assert chosen[-1] == len(candidates) - 1
