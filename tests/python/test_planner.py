"""The planner: judged by its promises on any set of images, by exhaustive search, and by the formula of its cost."""

from __future__ import annotations

import functools
import itertools
import math
import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import navit_edge as ne
from navit_edge import _core
from navit_edge.vocabulary import STRATEGIES

DECREASING = ("auto", "first-fit-decreasing", "best-fit-decreasing", "similar-length")

lengths = st.lists(st.integers(1, 400), max_size=60)
budget_lists = st.lists(st.integers(400, 3000), min_size=1, max_size=3, unique=True).map(sorted)
costs = st.tuples(st.floats(0, 1000), st.floats(0, 10), st.floats(0, 0.1))


def limits_of(budgets: Sequence[int], max_images: int, **fields: object) -> ne.PlanLimits:
    return ne.PlanLimits(budgets=tuple((one, max_images, one, 0) for one in budgets), **fields)  # type: ignore[arg-type]


def assert_sound(plan: ne.Plan, tokens: Sequence[int], limits: ne.PlanLimits) -> None:
    """Every image once, no pack over any limit, times that add up."""
    assert sorted(image for pack in plan.packs for image in pack.images) == list(range(len(tokens)))
    for pack in plan.packs:
        most, images, _, longest = limits.budgets[pack.budget]
        own = [tokens[image] for image in pack.images]
        assert (pack.tokens, pack.longest) == (sum(own), max(own))
        assert sum(own) <= most
        assert len(own) <= images
        assert longest == 0 or max(own) <= longest


# --- properties


@settings(max_examples=150, deadline=None)
@given(
    tokens=lengths,
    budgets=budget_lists,
    max_images=st.integers(1, 20),
    longest=st.sampled_from([0, 400]),
    strategy=st.sampled_from(STRATEGIES),
    attention=st.sampled_from(["padded", "segments", "whole"]),
    dynamic=st.booleans(),
    streams=st.sampled_from([1, 2]),
    cost=costs,
)
def test_every_image_is_in_exactly_one_pack_and_no_pack_breaks_a_limit(
    tokens: list[int],
    budgets: list[int],
    max_images: int,
    longest: int,
    strategy: str,
    attention: str,
    dynamic: bool,
    streams: int,
    cost: tuple[float, float, float],
) -> None:
    limits = ne.PlanLimits(
        budgets=tuple((one, max_images, max(1, one // 2) if dynamic else one, longest) for one in budgets),
        strategy=strategy,  # type: ignore[arg-type]
        cost=ne.CostModel(attention=attention, dynamic_tokens=dynamic, budgets=(cost,)),  # type: ignore[arg-type]
        streams=streams,
    )
    plan = ne.plan_packs(tokens, limits)
    assert_sound(plan, tokens, limits)
    assert ne.plan_packs(tokens, limits) == plan  # deterministic
    if tokens:
        assert plan.predicted_ms == pytest.approx(max(pack.finish_ms for pack in plan.packs))


@settings(max_examples=80, deadline=None)
@given(tokens=lengths, budgets=budget_lists, max_images=st.integers(1, 20), strategy=st.sampled_from(DECREASING))
def test_the_lengths_in_each_pack_do_not_depend_on_the_order_of_the_images(
    tokens: list[int], budgets: list[int], max_images: int, strategy: str
) -> None:
    def packed(order: list[int]) -> list[list[int]]:
        packs = ne.plan(order, token_budget=budgets, max_images=max_images, strategy=strategy)  # type: ignore[arg-type]
        return sorted(sorted(order[image] for image in pack) for pack in packs)

    shuffled = list(tokens)
    random.Random(0).shuffle(shuffled)
    assert packed(shuffled) == packed(tokens)


@settings(max_examples=60, deadline=None)
@given(tokens=lengths, budget=st.integers(400, 2000), max_images=st.integers(1, 20))
def test_fifo_keeps_the_order_and_first_and_best_fit_are_those_of_the_textbook(
    tokens: list[int], budget: int, max_images: int
) -> None:
    fifo = ne.plan(tokens, token_budget=budget, max_images=max_images, strategy="fifo")
    assert [image for pack in fifo for image in pack] == list(range(len(tokens)))
    for name, decreasing in itertools.product(("first-fit", "best-fit"), (False, True)):
        order = sorted(range(len(tokens)), key=lambda i: -tokens[i]) if decreasing else list(range(len(tokens)))
        packs: list[list[int]] = []
        used: list[int] = []
        for image in order:
            room = [
                at for at, pack in enumerate(packs) if used[at] + tokens[image] <= budget and len(pack) < max_images
            ]
            if not room:
                packs.append([])
                used.append(0)
                room = [len(packs) - 1]
            at = room[0] if name == "first-fit" else max(room, key=lambda i: (used[i], -i))
            packs[at].append(image)
            used[at] += tokens[image]
        strategy = name + ("-decreasing" if decreasing else "")
        assert ne.plan(tokens, token_budget=budget, max_images=max_images, strategy=strategy) == packs  # type: ignore[arg-type]


# --- the cost model and budgets


def test_the_predicted_time_is_the_formula_of_the_documentation() -> None:
    tokens = [30, 50, 20]
    for attention, scores in (("padded", 3 * 50**2), ("segments", 30**2 + 50**2 + 20**2), ("whole", 100**2)):
        cost = ne.CostModel(attention=attention, dynamic_tokens=True, budgets=((7.0, 3.0, 0.25),))  # type: ignore[arg-type]
        limits = limits_of([200], 9, cost=cost, strategy="similar-length")
        assert ne.plan_packs(tokens, limits).predicted_ms * 1e3 == pytest.approx(7 + 3 * 100 + 0.25 * scores)
    fixed = ne.CostModel(budgets=((7.0, 3.0, 0.25),))
    limits = limits_of([200], 9, cost=fixed)
    expected = 7 + 3 * 200 + 0.25 * (30**2 + 50**2 + 20**2)
    assert ne.plan_packs(tokens, limits).predicted_ms * 1e3 == pytest.approx(expected)


def test_a_set_goes_into_small_packs_or_a_large_one_whichever_is_predicted_faster() -> None:
    tokens = [250] * 4
    for large, packs in ((3.9, 1), (4.1, 4)):
        cost = ne.CostModel(budgets=((1.0, 0, 0), (large, 0, 0)))
        plan = ne.plan_packs(tokens, limits_of([256, 1024], 8, cost=cost))
        assert len(plan.packs) == packs


@functools.lru_cache
def flops(width: int, depth: int, mlp_width: int, tokens: int) -> float:
    """Of the blocks, counted by PyTorch on a dense pack of one image."""
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    from navit_edge_export.model.config import NaViTConfig
    from navit_edge_export.model.navit import NaViT

    model = NaViT(NaViTConfig(width=width, depth=depth, heads=width // 32, mlp_width=mlp_width), seed=0).eval()
    side = int(math.sqrt(tokens))
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        x = torch.zeros(side * side, width)

        class Dense:
            def attend(self, query, key, value, scale):  # type: ignore[no-untyped-def]
                q, k, v = (part.transpose(0, 1) for part in (query, key, value))
                return ((q * scale) @ k.transpose(1, 2)).softmax(-1).matmul(v).transpose(0, 1).flatten(1)

        for block in model.blocks:
            x = block(x, Dense())
    return float(counter.get_total_flops())


def test_the_assumed_cost_counts_the_flops_that_pytorch_counts() -> None:
    width, depth, mlp_width = 64, 2, 192
    _, per_token, per_score = _core.assumed_cost(width=width, depth=depth, mlp_width=mlp_width, target="cpu")
    linear_rate, attention_rate = 300e3, 225e3  # FLOPs a microsecond: docs/planning.md
    for tokens in (16, 144):
        predicted = per_token * linear_rate * tokens + per_score * attention_rate * tokens**2
        assert predicted == pytest.approx(flops(width, depth, mlp_width, tokens), rel=1e-6)


# --- deadlines


def optimum_on_time(tokens: Sequence[int], deadlines: Sequence[float], budget: int, cost: ne.CostModel) -> int:
    """Most images on time in any sequence of packs, each subset tried as a pack: over sets done and the time taken."""
    count = len(tokens)
    fixed, per_token, per_score = cost.budgets[0]
    best_time = {0: 0.0}  # images that are on time -> least time
    for size in range(count):
        for done in [one for one in best_time if bin(one).count("1") == size]:
            rest = [i for i in range(count) if not done >> i & 1]
            for take in range(1, len(rest) + 1):
                for pack in itertools.combinations(rest, take):
                    used = sum(tokens[i] for i in pack)
                    if used > budget:
                        continue
                    scores = len(pack) * max(tokens[i] for i in pack) ** 2
                    time = best_time[done] + (fixed + per_token * used + per_score * scores) / 1e3
                    if time <= min(deadlines[i] for i in pack):
                        after = done | sum(1 << i for i in pack)
                        best_time[after] = min(best_time.get(after, math.inf), time)
    return max(bin(one).count("1") for one in best_time)


def test_nearly_as_many_images_are_on_time_as_any_order_of_packs_could_have() -> None:
    rng = np.random.default_rng(0)
    missed = 0
    feasible = met = 0
    cost = ne.CostModel(attention="padded", dynamic_tokens=True, budgets=((500.0, 100.0, 0.1),))
    for _ in range(60):
        tokens = rng.integers(10, 100, 5).tolist()
        deadlines = rng.uniform(3, 40, 5).tolist()
        limits = limits_of([200], 5, cost=cost, base="similar-length")
        plan = ne.plan_packs(tokens, limits, deadlines_ms=deadlines)
        assert_sound(plan, tokens, limits)
        late = [
            image for pack in plan.packs for image in pack.images if pack.finish_ms > deadlines[image] * (1 + 1e-12)
        ]
        assert list(plan.late) == sorted(late)  # what it says is what its times say
        most = optimum_on_time(tokens, deadlines, 200, cost)
        assert len(tokens) - len(plan.late) <= most
        missed += most - (len(tokens) - len(plan.late))
        if most == len(tokens):
            feasible += 1
            met += not plan.late
    assert feasible >= 10
    assert met >= feasible - 1
    assert missed <= 6  # of 300 images


def test_urgent_images_come_first_and_those_that_cannot_be_on_time_are_named_and_run_last() -> None:
    cost = ne.CostModel(attention="segments", dynamic_tokens=True, budgets=((1000.0, 10.0, 0.0),))
    tokens = [400, 100, 100, 100]
    limits = limits_of([1000], 8, cost=cost)
    assert len(ne.plan_packs(tokens, limits).packs) == 1
    plan = ne.plan_packs(tokens, limits, deadlines_ms=[1.0, math.inf, 2.5, math.inf])
    assert plan.packs[0].images == [2]
    assert plan.late == (0,)
    relaxed = ne.plan_packs(tokens, limits, deadlines_ms=100.0)
    assert len(relaxed.packs) == 1
    assert relaxed.late == ()


@settings(max_examples=60, deadline=None)
@given(
    tokens=st.lists(st.integers(1, 400), min_size=1, max_size=40),
    seed=st.integers(0, 100),
    budgets=budget_lists,
    max_images=st.integers(1, 9),
    strategy=st.sampled_from(STRATEGIES),
)
def test_plans_with_deadlines_keep_every_limit_and_are_never_worse_than_sorting_packs_by_urgency(
    tokens: list[int], seed: int, budgets: list[int], max_images: int, strategy: str
) -> None:
    rng = np.random.default_rng(seed)
    deadlines = rng.uniform(0, 0.2 * len(tokens), len(tokens)).tolist()
    limits = limits_of(budgets, max_images, strategy=strategy)
    plan = ne.plan_packs(tokens, limits, deadlines_ms=deadlines)
    assert_sound(plan, tokens, limits)
    plain = sorted(ne.plan_packs(tokens, limits).packs, key=lambda pack: min(deadlines[i] for i in pack.images))
    now, late = 0.0, 0
    for pack in plain:
        now += pack.predicted_ms
        late += sum(deadlines[image] < now * (1 - 1e-9) for image in pack.images)
    assert len(plan.late) <= late + 1e-9


# --- wrong input


def test_limits_and_deadlines_that_make_no_sense_are_refused() -> None:
    limits = limits_of([100], 4)
    with pytest.raises(ne.OverBudgetError, match=r'image 1 needs 101 tokens; .* set overflow="downscale"'):
        ne.plan_packs([5, 101], limits)
    with pytest.raises(ne.OverBudgetError, match="longest image that the engine takes has 50"):
        ne.plan_packs([51], ne.PlanLimits(budgets=((100, 4, 100, 50),)))
    with pytest.raises(ne.InvalidInputError, match="2 deadlines for 1 images"):
        ne.plan_packs([5], limits, deadlines_ms=[1.0, 2.0])
    for bad in (-1.0, math.nan):
        with pytest.raises(ne.InvalidInputError, match="deadline of image 0"):
            ne.plan_packs([5], limits, deadlines_ms=[bad])
    with pytest.raises(ne.InvalidInputError, match="expected one of auto, fifo"):
        ne.plan([5], token_budget=100, max_images=4, strategy="best")  # type: ignore[arg-type]
    for triple in ((math.inf, 0.0, 0.0), (0.0, -1.0, 0.0)):
        with pytest.raises(ne.InvalidInputError, match="coefficient"):
            ne.plan_packs([5], limits_of([100], 4, cost=ne.CostModel(budgets=(triple,))))
    with pytest.raises(ne.InvalidInputError, match="coefficients for 3 budgets"):
        ne.plan_packs([5], limits_of([100, 200], 4, cost=ne.CostModel(budgets=((1.0, 0.0, 0.0),) * 3)))
