"""From the table to what is recommended: a function of the table, judged by looking at every row."""

from __future__ import annotations

import itertools

import msgspec
import numpy as np
import pytest
from tune_cases import ENGINES, facts, measured, setup, trial

from navit_edge.errors import InvalidInputError
from navit_edge.planning.budgets import choose_budgets
from navit_edge.profile.schema import Accuracy, Measured, Together
from navit_edge.tune.recommend import ARRIVALS, pareto_front, recommend
from navit_edge.vocabulary import USES


def random_table(seed: int) -> Measured:
    random = np.random.default_rng(seed)
    return measured([trial(float(random.integers(80, 101)) / 100, float(random.integers(5, 60))) for _ in range(40)])


def test_the_front_is_what_no_row_beats() -> None:
    for seed in range(20):
        table = random_table(seed)
        points = [(one.agreement or 0.0, one.p90_ms) for one in table.trials]
        beaten = {
            a
            for a, b in itertools.permutations(range(len(points)), 2)
            if points[b] != points[a] and points[b][0] >= points[a][0] and points[b][1] <= points[a][1]
        }
        assert set(pareto_front(table, range(len(points)))) == set(range(len(points))) - beaten


def test_a_use_is_the_fastest_of_what_answers_well_enough() -> None:
    for seed in range(20):
        table = random_table(seed)
        advice = recommend(table)
        top = max(one.agreement or 0.0 for one in table.trials)
        for use, allowed in (("fast", 0.10), ("balanced", 0.02), ("best", 0.0)):
            chosen = table.trials[getattr(advice, use).trial]
            enough = [one for one in table.trials if (one.agreement or 0.0) >= top - allowed - 1e-12]
            assert chosen.p90_ms == min(one.p90_ms for one in enough), use
            assert getattr(advice, use).trial in advice.front


def test_a_target_leaves_out_what_is_slower_for_every_use() -> None:
    table = measured([trial(1.0, 40), trial(0.99, 19), trial(0.95, 9)], target_ms=20)
    advice = recommend(table)
    assert (advice.best.trial, advice.balanced.trial, advice.fast.trial) == (1, 1, 2)
    assert "within 20 ms" in advice.best.reason
    assert "99.0 %" in advice.best.reason


def test_a_target_that_nothing_meets_is_said_with_what_comes_nearest() -> None:
    advice = recommend(measured([trial(1.0, 40), trial(0.9, 30)], target_ms=20))
    assert {advice.of(use).trial for use in USES} == {1}
    assert "no setting has a p90 within 20 ms" in advice.best.reason
    assert "p90 30.0 ms" in advice.best.reason


def test_memory_leaves_out_what_takes_more_and_what_nobody_measured() -> None:
    sizes = (400 << 20, 90 << 20, None)
    table = [trial(1 - 0.001 * place, 10, memory_bytes=size) for place, size in enumerate(sizes)]
    advice = recommend(measured(table, memory_limit_bytes=100 << 20))
    assert {advice.of(use).trial for use in USES} == {1}
    with pytest.raises(InvalidInputError, match=r"within 50 MiB of memory: the smallest takes 90 MiB"):
        recommend(measured(table, memory_limit_bytes=50 << 20))


def test_accuracy_on_labels_counts_in_the_place_of_agreement() -> None:
    def judged(value: float) -> Accuracy:
        return Accuracy(value=value, low=0, high=1, images=100)

    rows = [trial(1.0, 40, top1=judged(0.80)), trial(0.9, 20, top1=judged(0.81)), trial(1.0, 5)]
    advice = recommend(measured(rows, quality="top1"))
    assert advice.best.trial == 1
    assert advice.front == (1,)
    assert "top-1 81.0 %" in advice.best.reason


def test_answers_on_few_images_are_not_compared_with_answers_on_many() -> None:
    rows = [trial(0.9, 10, answered=40), trial(1.0, 5, answered=8)]
    assert recommend(measured(rows)).best.trial == 0
    assert recommend(measured(rows)).front == (0,)


def test_throughput_compares_by_images_per_second() -> None:
    rows = [trial(1.0, 10, images_per_s=50.0), trial(1.0, 30, images_per_s=90.0)]
    assert recommend(measured(rows, aim="latency")).best.trial == 0
    assert recommend(measured(rows, aim="throughput")).best.trial == 1


def test_images_at_once_are_the_fewest_that_gain_what_there_is_to_gain() -> None:
    rates = {1: 50.0, 2: 80.0, 4: 97.0, 8: 100.0, 16: 99.0}
    rows = tuple(Together(images=count, images_per_s=rate) for count, rate in rates.items())
    advice = recommend(measured([trial()], together=rows))
    assert advice.images_per_run == 4
    assert recommend(measured([trial()])).images_per_run is None


def test_budgets_are_those_of_plan_budgets_for_engines_that_pad() -> None:
    cost = (100.0, 1.0, 0.001)
    rows = [trial(policy="token-cap:256", setup=setup(ENGINES[1]))]
    advice = recommend(measured(rows, engines=facts(cost)))
    oracle = choose_budgets([64, 256], [3, 7], count=3, images_per_run=ARRIVALS, cost=cost, max_tokens=8192)
    assert (advice.budgets.tokens, advice.budgets.images) == (oracle.tokens, oracle.images)
    assert recommend(measured(rows)).budgets.tokens == ()


def test_recommendations_repeat_from_the_json_of_the_table() -> None:
    table = random_table(3)
    again = msgspec.json.decode(msgspec.json.encode(table), type=Measured)
    assert recommend(again) == recommend(table)
    assert all(advice.reason.count("\n") == 0 for advice in (recommend(again).of(use) for use in USES))
