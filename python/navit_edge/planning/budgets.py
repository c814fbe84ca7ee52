"""Which token budgets to build: the K that minimize the expected time of runs like those that are given.

A run is a number of images that arrive at once. If T is padded to its budget, a run of X tokens takes as many packs
of the largest budget as it fills and the smallest budget that holds the rest. Over many runs drawn from the given
sizes, the cost of a set of budgets is a sum over runs; the best K below a largest one are found by dynamic programming
over candidates, for every largest one. That takes images for a liquid: 4096 tokens hold four images of 1024 tokens,
4032 only three. So the best of these sets, and the best powers of two, are then moved one budget at a time while the
runtime's own planner makes less of the runs' time. What is reported are other runs, planned by it as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from navit_edge.errors import InvalidInputError
from navit_edge.planning import CostModel, PlanLimits, plan_packs

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

#: Budgets are multiples of it, the tile of the engines' matrix products.
STEP = 64
CANDIDATES = 48
#: Runs that the dynamic programming looks at, and that the report plans.
SEARCH_RUNS = 2000
REPORT_RUNS = 200
#: Runs that are planned to compare two sets of budgets, and sets that the search starts from.
PLANNED_RUNS = 60
STARTS = 4


@dataclass(frozen=True, kw_only=True)
class BudgetChoice:
    """Budgets and what the planner makes of the runs with them.

    tokens, images: of each budget, ascending. fill: share of computed tokens that belongs to images.
    packs_per_run, ms_per_run: means; ms by the cost model. used: share of the packs that each budget gets.
    """

    tokens: tuple[int, ...]
    images: tuple[int, ...]
    fill: float
    packs_per_run: float
    ms_per_run: float
    used: tuple[float, ...]

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in self.__dict__.items()}


def choose_budgets(
    token_counts: Sequence[int],
    weights: Sequence[float] | None = None,
    *,
    count: int,
    images_per_run: Sequence[int],
    cost: tuple[float, float, float],
    max_tokens: int,
    powers_of_two: bool = False,
    seed: int = 0,
) -> BudgetChoice:
    """The ``count`` budgets (or fewer, if more gain nothing) with the least expected time.

    token_counts: of the images that are expected; weights: how often each comes, equal if None.
    images_per_run: how many images arrive at once, each as likely.
    cost: (fixed_us, us_per_token, us_per_score) of a pack, T being its budget.
    max_tokens: the largest budget allowed: activations grow with it.
    powers_of_two: choose among these only, for comparison.

    Raises InvalidInputError if an image is longer than that, and for numbers below 1.
    """
    import numpy as np

    if count < 1 or not token_counts or min(token_counts) < 1 or not images_per_run or min(images_per_run) < 1:
        raise InvalidInputError(
            "count, token_counts and images_per_run must each hold numbers of 1 and up, at least one; check them"
        )
    longest = max(token_counts)
    if longest > max_tokens:
        raise InvalidInputError(
            f"an image has {longest} tokens and no budget may be above {max_tokens}; raise --max-token-budget, or "
            "lower the images' size with --max-tokens"
        )
    powers = np.array([2**power for power in range(6, 31) if 2**power <= max_tokens], np.int64)
    if powers_of_two and (not len(powers) or powers[-1] < longest):
        raise InvalidInputError(f"no power of two up to {max_tokens} holds {longest} tokens; raise --max-token-budget")
    runs = draw_runs(token_counts, weights, images_per_run, count=SEARCH_RUNS, seed=seed)
    totals = np.array([sum(run) for run in runs], np.int64)
    candidates = powers if powers_of_two else candidates_for(totals, longest, max_tokens)
    starts = _by_volume(totals, candidates, longest, count, cost)[:STARTS]
    if not powers_of_two and len(powers) and powers[-1] >= longest:
        starts += _by_volume(totals, powers, longest, count, cost)[:STARTS]
    search = _Search(runs[:PLANNED_RUNS], [int(one) for one in candidates], longest, cost)
    best = min((search.improve(start, tighten=not powers_of_two) for start in starts), key=search.ms)
    report = draw_runs(token_counts, weights, images_per_run, count=REPORT_RUNS, seed=seed + 1)
    return evaluate(best, None, report, cost)


def _by_volume(
    totals: Ints, candidates: Ints, longest: int, count: int, cost: tuple[float, float, float]
) -> list[tuple[int, ...]]:
    """For every largest budget the best set below it, images taken for a liquid; the best first."""
    import numpy as np

    time_of = _times(candidates, cost)
    found: list[tuple[float, tuple[int, ...]]] = []
    for top in range(len(candidates)):
        if candidates[top] < longest:
            continue
        full, rest = np.divmod(totals, candidates[top])
        time, chosen = _cover(rest[rest > 0], candidates[: top + 1], time_of[: top + 1], count)
        found.append((float(full.sum() * time_of[top]) + time, tuple(int(candidates[index]) for index in chosen)))
    return [tokens for _, tokens in sorted(found)]


class _Search:
    """Sets of budgets compared by planning the same runs with each."""

    def __init__(
        self, runs: Sequence[Sequence[int]], candidates: list[int], longest: int, cost: tuple[float, float, float]
    ) -> None:
        self._runs = runs
        self._candidates = candidates
        self._longest = longest
        self._cost = cost
        self._most_images = max(len(run) for run in runs)
        self._known: dict[tuple[int, ...], tuple[float, tuple[int, ...]]] = {}

    def ms(self, tokens: tuple[int, ...]) -> float:
        """Predicted time of all runs."""
        return self._planned(tokens)[0]

    def improve(self, tokens: tuple[int, ...], *, tighten: bool) -> tuple[int, ...]:
        """Moves one budget at a time to a neighbouring candidate, or (``tighten``) down to what its packs need."""
        best = tokens
        while True:
            moved = [self._moved(best, index, step) for index in range(len(best)) for step in (-3, -2, -1, 1, 2, 3)]
            if tighten:
                moved.append(tuple(sorted({min(b, n) for b, n in zip(best, self._planned(best)[1], strict=True)})))
            good = [one for one in moved if one and one[-1] >= self._longest]
            top = min(good, key=self.ms, default=best)
            if self.ms(top) >= self.ms(best) * (1 - 1e-6):
                return best
            best = top

    def _moved(self, tokens: tuple[int, ...], index: int, step: int) -> tuple[int, ...]:
        near = min(range(len(self._candidates)), key=lambda i: abs(self._candidates[i] - tokens[index]))
        at = near + step
        if not 0 <= at < len(self._candidates):
            return ()
        return tuple(sorted({*tokens[:index], self._candidates[at], *tokens[index + 1 :]}))

    def _planned(self, tokens: tuple[int, ...]) -> tuple[float, tuple[int, ...]]:
        """(ms, what the fullest pack of each budget needs, up to a multiple of STEP)"""
        if tokens not in self._known:
            images = [min(one, self._most_images) for one in tokens]
            plans = [_plan(run, tokens, images, self._cost) for run in self._runs]
            needed = [STEP] * len(tokens)
            for pack in (pack for plan in plans for pack in plan.packs):
                needed[pack.budget] = max(needed[pack.budget], math.ceil(pack.tokens / STEP) * STEP)
            self._known[tokens] = (sum(plan.predicted_ms for plan in plans), tuple(needed))
        return self._known[tokens]


def draw_runs(
    token_counts: Sequence[int],
    weights: Sequence[float] | None,
    images_per_run: Sequence[int],
    *,
    count: int,
    seed: int,
) -> list[list[int]]:
    """``count`` runs [tokens of each image], drawn with replacement."""
    import numpy as np

    rng = np.random.default_rng(seed)
    lengths = np.asarray(token_counts, np.int64)
    chances = None
    if weights is not None:
        chances = np.asarray(weights, np.float64)
        if len(chances) != len(lengths) or (chances < 0).any() or not chances.sum() > 0:
            raise InvalidInputError("weights must be one number for each image, 0 and up, not all 0")
        chances = chances / chances.sum()
    sizes = rng.choice(np.asarray(images_per_run), count)
    return [rng.choice(lengths, size, p=chances).tolist() for size in sizes]


def candidates_for(totals: Ints, longest: int, max_tokens: int) -> Ints:
    """Budgets to choose among: quantiles of what runs need, and even steps up to the largest, in multiples of STEP."""
    import numpy as np

    top = min(max_tokens, max(longest, int(totals.max())))
    even = np.linspace(STEP, top, CANDIDATES)
    wanted = np.concatenate([np.quantile(totals, np.linspace(0, 1, CANDIDATES)), even, [longest, top, max_tokens]])
    # A limit that is no multiple stays as it is: nothing above it may be built.
    return np.unique(np.minimum(np.ceil(wanted / STEP) * STEP, max_tokens).astype(np.int64))


def _times(budgets: Ints, cost: tuple[float, float, float]) -> Floats:
    """Of a full pack of each budget, attention left out: it is the same however the images are packed."""
    return cost[0] + cost[1] * budgets.astype(float)


def _cover(demand: Ints, budgets: Ints, times: Floats, count: int) -> tuple[float, list[int]]:
    """At most ``count`` of ``budgets``, the last among them, so that demands take the least time, each served by the
    smallest that holds it: (time, indices)."""
    import numpy as np

    last = len(budgets) - 1
    below = np.searchsorted(np.sort(demand), budgets, side="right").astype(float)  # demands that budget j holds
    least = below * times  # [budgets], of the demands up to budget j, with one budget, j
    before: list[Ints] = []
    totals = [float(least[last])]
    for _ in range(1, count):
        # Serving those between i and j with j, all below with the best up to i.
        step = least[:, None] + (below[None, :] - below[:, None]) * times[None, :]
        step[np.tril_indices(last + 1)] = np.inf  # i < j
        before.append(step.argmin(axis=0))
        least = step.min(axis=0)
        totals.append(float(least[last]))
    used = int(np.argmin(totals))  # the first of equals: no budget that gains nothing
    chosen = [last]
    for level in range(used - 1, -1, -1):
        chosen.append(int(before[level][chosen[-1]]))
    return totals[used], sorted(chosen)


def evaluate(
    tokens: Sequence[int], images: Sequence[int] | None, runs: Sequence[Sequence[int]], cost: tuple[float, float, float]
) -> BudgetChoice:
    """Plans ``runs`` with budgets of ``tokens`` and ``images`` by the runtime's planner.

    images: None takes for each budget the most images that a pack of it gets, up to a multiple of 8.
    """
    if images is None:
        unlimited = [min(one, max(len(run) for run in runs)) for one in tokens]
        needed = [1] * len(tokens)
        for pack in (pack for run in runs for pack in _plan(run, tokens, unlimited, cost).packs):
            needed[pack.budget] = max(needed[pack.budget], len(pack.images))
        images = [min(one, math.ceil(most / 8) * 8) for one, most in zip(tokens, needed, strict=True)]
    plans = [_plan(run, tokens, images, cost) for run in runs]
    packs = [pack for plan in plans for pack in plan.packs]
    computed = sum(tokens[pack.budget] for pack in packs)
    return BudgetChoice(
        tokens=tuple(tokens),
        images=tuple(images),
        fill=sum(pack.tokens for pack in packs) / computed,
        packs_per_run=len(packs) / len(runs),
        ms_per_run=sum(plan.predicted_ms for plan in plans) / len(runs),
        used=tuple(sum(pack.budget == index for pack in packs) / len(packs) for index in range(len(tokens))),
    )


def _plan(run: Sequence[int], tokens: Sequence[int], images: Sequence[int], cost: tuple[float, float, float]) -> Any:
    budgets = tuple((one, most, one, 0) for one, most in zip(tokens, images, strict=True))
    return plan_packs(run, PlanLimits(budgets=budgets, cost=CostModel(budgets=(cost,))))
