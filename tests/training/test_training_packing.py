"""Windows, packs, steps, ranks, budgets: what is planned before a pixel is read."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from navit_edge.errors import InvalidInputError
from navit_edge_export.training.packing import (
    ORDERS,
    Efficiency,
    ImageSpec,
    PackingOptions,
    PackSpec,
    TransformerCost,
    WindowPlanner,
    balance,
    gather_steps,
)
from navit_edge_export.training.resolution import Resolution, ResolutionPools
from navit_edge_export.training.token_budget import TokenBudget
from navit_edge_export.training.token_drop import TokenDrop

SIZES = np.random.default_rng(0).integers(30, 300, (300, 2))
COST = TransformerCost(width=64, mlp_width=256, depth=2)


def planner(**options: object) -> WindowPlanner:
    resolution = ResolutionPools(pools=(Resolution(min_px=32, max_px=128),))
    given_options = {"resolution": resolution, "packing": PackingOptions(window_images=100), **options}
    return WindowPlanner(sizes=SIZES, patch_px=16, **given_options)  # type: ignore[arg-type]


@pytest.mark.parametrize("order", list(ORDERS))
def test_an_epoch_has_every_image_once_and_no_pack_is_over_its_limits(order: str) -> None:
    made = planner(prefix_tokens=1, packing=PackingOptions(order=order, window_images=100, max_images=9))
    assert made.windows_per_epoch == 3
    for epoch in range(2):
        packs = [pack for w in range(3) for pack in made.packs(3 * epoch + w, token_budget=128)]
        seen = Counter(image.example for pack in packs for image in pack.images)
        assert seen == dict.fromkeys(range(len(SIZES)), 1)
        for pack in packs:
            assert len(pack.images) <= 9
            assert pack.tokens == sum(image.kept + 1 for image in pack.images) <= 128
            assert all(image.kept == image.rows * image.columns for image in pack.images)
        assert len({pack.number for pack in packs}) == len(packs)


def test_two_epochs_differ_and_the_same_seed_gives_the_same_plan() -> None:
    assert planner(seed=1).packs(0, token_budget=128) == planner(seed=1).packs(0, token_budget=128)
    assert planner(seed=1).packs(0, token_budget=128) != planner(seed=2).packs(0, token_budget=128)
    assert planner(seed=1).packs(0, token_budget=128) != planner(seed=1).packs(3, token_budget=128)


def test_sorted_packs_are_fuller_and_packs_of_like_area_waste_less_attention() -> None:
    made = {}
    for order in ORDERS:
        packs = planner(packing=PackingOptions(order=order, window_images=300)).packs(0, token_budget=200)
        made[order] = Efficiency.of(packs, 200)
    assert made["sorted"].filled >= made["random"].filled
    assert made["area"].attended > made["random"].attended
    tokens = {one.tokens for one in made.values()}
    assert len(tokens) == 1, "the resolutions do not depend on the order of packing"


def test_what_packs_hold_is_counted_as_by_hand() -> None:
    packs = [
        PackSpec((0, 0, 0), (ImageSpec(0, 2, 2, 4), ImageSpec(1, 1, 2, 2)), 6),
        PackSpec((0, 0, 1), (ImageSpec(2, 1, 3, 3),), 3),
    ]
    found = Efficiency.of(packs, 10)
    assert found == (2, 3, 9, 9 / 20, (16 + 4 + 9) / (2 * 16 + 9))


def test_dropped_tokens_make_room_for_more_images_a_pack() -> None:
    whole = planner().packs(0, token_budget=128)
    dropped = planner(drop=TokenDrop(kind="constant", rate=0.5)).packs(0, token_budget=128)
    assert len(dropped) < 0.7 * len(whole)
    for pack in dropped:
        assert all(image.kept == max(1, round(image.rows * image.columns / 2)) for image in pack.images)


def test_images_are_made_smaller_if_the_budget_is() -> None:
    packs = planner().packs(0, token_budget=12)
    assert max(image.rows * image.columns for pack in packs for image in pack.images) <= 12


@given(st.lists(st.integers(1, 100), min_size=4, max_size=60), st.integers(1, 4))
def test_steps_have_enough_tokens_and_every_rank_a_share(tokens: list[int], ranks: int) -> None:
    packs = [PackSpec((0, 0, i), (ImageSpec(i, 1, n, n),), n) for i, n in enumerate(tokens)]
    by_rank = [gather_steps(packs, tokens_per_step=90, cost=COST, rank=r, ranks=ranks) for r in range(ranks)]
    assert len({tuple((s.images, s.tokens) for s in steps) for steps in by_rank}) == 1
    seen = [image.example for steps in by_rank for step in steps for pack in step.packs for image in pack.images]
    assert sorted(seen) == list(range(len(tokens)))
    assert all(step.packs for steps in by_rank for step in steps)
    steps = by_rank[0]
    assert len(steps) == 1 or min(step.tokens for step in steps) >= 90


def test_a_pack_is_split_if_there_are_fewer_packs_than_ranks() -> None:
    pack = PackSpec((0, 0, 0), tuple(ImageSpec(i, 1, n, n) for i, n in enumerate((9, 1, 5, 5))), 24)
    shares = [gather_steps([pack], tokens_per_step=10, cost=COST, rank=r, ranks=3)[0] for r in range(3)]
    images = [[image.example for pack in share.packs for image in pack.images] for share in shares]
    assert sorted(i for own in images for i in own) == [0, 1, 2, 3]
    assert all(images)
    assert all(pack.tokens == sum(i.kept + 1 for i in pack.images) for share in shares for pack in share.packs)
    with pytest.raises(InvalidInputError, match="4 images for 5 ranks"):
        gather_steps([pack], tokens_per_step=10, cost=COST, ranks=5)


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=40), st.integers(1, 5))
def test_the_busiest_rank_has_at_most_four_thirds_of_the_least_possible(costs: list[float], ranks: int) -> None:
    parts = balance(costs, ranks)
    assert sorted(i for part in parts for i in part) == list(range(len(costs)))
    ordered = sorted(costs, reverse=True)
    least = max(sum(costs) / ranks, ordered[0])
    if len(costs) > ranks:
        least = max(least, ordered[ranks - 1] + ordered[ranks])  # two of the ranks + 1 largest share a rank
    assert max(sum(costs[i] for i in part) for part in parts) <= 4 / 3 * least * (1 + 1e-9) or len(costs) > 2 * ranks


def test_padded_attention_costs_more_than_attention_by_segments() -> None:
    pack = PackSpec((0, 0, 0), (ImageSpec(0, 1, 2, 2), ImageSpec(1, 5, 4, 20)), 22)
    tokens = 22 * (4 * 64 * 64 + 2 * 64 * 256)
    assert COST(pack) == 2 * (tokens + (4 + 400) * 128)
    assert TransformerCost(width=64, mlp_width=256, depth=2, padded=True)(pack) == 2 * (tokens + 2 * 400 * 128)


def test_the_budget_halves_when_memory_runs_out_and_stays_below_where_it_did() -> None:
    budget = TokenBudget(tokens=1000, least=100, patience=2)
    budget.ran_out(990)
    assert budget.tokens == 495
    for _ in range(200):
        budget.stepped(0.5)
    assert 900 < budget.tokens < 990
    budget.stepped(0.95)
    assert budget.calm_steps == 0
    restored = TokenBudget(tokens=1000, least=100, patience=2)
    restored.restore(budget.state())
    assert restored == budget
    unknown = TokenBudget(tokens=500, most=1000, patience=1)
    unknown.stepped(None)
    assert unknown.tokens == 500, "nothing grows if the use of memory is not known"


def test_a_budget_that_cannot_shrink_says_so() -> None:
    budget = TokenBudget(tokens=150, least=100)
    budget.ran_out(150)
    assert budget.tokens == 100
    with pytest.raises(InvalidInputError, match="memory ran out with 100 tokens in a pack"):
        budget.ran_out(100)
