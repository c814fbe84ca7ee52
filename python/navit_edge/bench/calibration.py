"""The cost model of an engine, measured: packs of many shapes are timed, and the coefficients that explain them fitted.

A pack is predicted to take ``a + b T + c S`` (docs/planning.md). The packs are timed in rounds, each round all of them
in turn, so that a machine whose speed drifts bends no coefficient; what counts of a pack is its median. The fit is by
least squares of relative errors, so that a short pack counts as much as a long one, with coefficients of 0 and up.
"""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from navit_edge.bench.workload import Grid, ladder_images, pack_of, squarish
from navit_edge.bundle.manifest import BudgetCost, Cost, Engine, Manifest
from navit_edge.bundle.sizing_rule import keeps_whole_patches, most_tokens
from navit_edge.errors import InvalidInputError
from navit_edge.policy import Policy
from navit_edge.vocabulary import AttentionCost

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from navit_edge.session import Session

#: Timed rounds at least, and for at least so long, in seconds.
ROUNDS = 7
SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class TimedPack:
    """One pack: what decides its time, the median of its times, and what the fitted model says.

    tokens: T as the engine computes it, padding included. scores: S, by the form of attention.
    """

    budget: int
    tokens: int
    images: int
    longest: int
    scores: int
    measured_us: float
    predicted_us: float = math.nan

    @property
    def error(self) -> float:
        """(predicted - measured) / measured"""
        return self.predicted_us / self.measured_us - 1

    def as_json(self) -> dict[str, Any]:
        return {**self.__dict__, "error": self.error}


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What was measured and fitted. ``rounds``: how often each pack was timed."""

    engine: str
    attention: AttentionCost
    packs: tuple[TimedPack, ...]
    cost: Cost
    rounds: int

    @property
    def worst(self) -> TimedPack:
        """The pack that the model predicts worst."""
        return max(self.packs, key=lambda pack: abs(pack.error))

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        import msgspec

        return {
            **self.__dict__,
            "packs": [pack.as_json() for pack in self.packs],
            "cost": msgspec.to_builtins(self.cost),
        }


def calibrate(
    manifest: Manifest,
    session: Session,
    attention: AttentionCost,
    *,
    threads: int,
    rounds: int = ROUNDS,
    seconds: float = SECONDS,
    on_round: Callable[[int], None] = lambda _round: None,
) -> Calibration:
    """Times packs of the session's engine and fits its cost model. Stores nothing (``bundle.set_cost`` does).

    session: packs must be made by the engine's own strategy, so that each set of images here is one pack.
    attention: what S is; threads: for the record.
    """
    engine = next(one for one in manifest.engines if one.id == session.engine)
    shapes = [grids for budget in range(len(engine.budgets)) for grids in shapes_of(manifest, engine, budget)]
    sets = _sets(manifest, session, shapes)
    times: list[list[float]] = [[] for _ in sets]
    reports: list[dict[str, Any]] = [{} for _ in sets]
    lengths: list[list[int]] = []
    for images, policy in sets:  # a shape that is new to the engine costs more once
        lengths.append([result.token_count for result in session.run(images, policy=policy)])
    start = time.perf_counter()
    done = 0
    while done < rounds or time.perf_counter() - start < seconds:
        on_round(done)
        for index, (images, policy) in enumerate(sets):
            session.run(images, policy=policy)
            packs = session.last_report["packs"]
            if len(packs) != 1:
                raise InvalidInputError(
                    f"{len(images)} images for one pack were planned as {len(packs)}; expected one; "
                    f"open the session with strategy={engine.strategy!r}"
                )
            reports[index] = packs[0]
            times[index].append(packs[0]["preprocess_us"] + packs[0]["engine_us"])
        done += 1

    timed = []
    budgets = [one.tokens for one in engine.budgets]
    for each, report, own in zip(lengths, reports, times, strict=True):
        timed.append(
            TimedPack(
                budget=budgets.index(report["budget_tokens"]),
                tokens=report["capacity"],
                images=len(each),
                longest=max(each),
                scores=scores_of(attention, report["capacity"], each),
                measured_us=statistics.median(own),
            )
        )
    return Calibration(
        engine=engine.id,
        attention=attention,
        rounds=done,
        **fit(engine, timed, threads=threads, device=session.device),
    )


def _sets(
    manifest: Manifest, session: Session, shapes: Sequence[Sequence[Grid]]
) -> list[tuple[list[npt.NDArray[np.uint8]], Policy | None]]:
    """Images of each pack, and the policy under which they get their tokens.

    Under a rule that scales images up, small ones get few tokens by a cap only, which all images of a run share: their
    packs are of equal images. A rule of one size takes no cap; it has packs of more and fewer images.
    """
    if keeps_whole_patches(manifest.preprocess.sizing):
        return [(ladder_images(manifest, grids), None) for grids in shapes]
    most = max(rows * cols for grids in shapes for rows, cols in grids)
    sets: dict[tuple[int, ...], tuple[list[npt.NDArray[np.uint8]], Policy | None]] = {}
    for grids in shapes:
        each = max(rows * cols for rows, cols in grids)
        images = ladder_images(manifest, [grids[0]] * len(grids))
        policy = None if each == most else Policy.token_cap(each)
        try:
            results = session.run(images, policy=policy)
        except InvalidInputError:  # a cap under a rule of one size; more tokens than the engine takes
            continue
        if len(session.last_report["packs"]) == 1:
            sets.setdefault(tuple(result.token_count for result in results), (images, policy))
    return list(sets.values())


def scores_of(attention: AttentionCost, tokens: int, lengths: Sequence[int]) -> int:
    """S of a pack with T = ``tokens`` and images of ``lengths`` tokens."""
    if attention == "padded":
        return len(lengths) * max(lengths) ** 2
    return tokens**2 if attention == "whole" else sum(length**2 for length in lengths)


def shapes_of(manifest: Manifest, engine: Engine, index: int) -> list[list[Grid]]:
    """Packs to time for one budget: for each the grids of its images.

    Where T is the pack's own: equal images of 32 tokens and up in packs of 64 tokens and up, long images alone, and
    packs of uneven images. Where T is the budget's: that budget filled with images of several lengths, and in part.
    """
    budget = engine.budgets[index]
    prefix = manifest.model.prefix_tokens
    longest = (budget.longest or budget.tokens) - prefix
    most = most_tokens(manifest.preprocess.sizing, manifest.preprocess.patch_px)
    if most is not None:
        longest = min(longest, most)
    below = engine.budgets[index - 1].tokens if index > 0 and not engine.dynamic_tokens else 0
    fill = min(budget.target_tokens, budget.images * (longest + prefix))
    totals = [t for t in (64, 128, 256, 384, 512, 768, 1024, 1536, 2048) if t < fill] + [fill]
    if not engine.dynamic_tokens:
        totals = sorted({max(below + 1, (below + fill) // 2), max(below + 1, fill * 3 // 4), fill})
    shapes: dict[tuple[int, ...], list[Grid]] = {}

    def add(grids: list[Grid]) -> None:
        total = sum(rows * cols + prefix for rows, cols in grids)
        if grids and below < total <= budget.tokens and len(grids) <= budget.images:
            shapes.setdefault(tuple(rows * cols for rows, cols in grids), grids)

    for total in totals:
        for each in (32, 64, 128, 256, 512, longest):
            if each <= longest and each + prefix <= total:
                used = each + prefix
                count = min(budget.images, total // used)
                grids = [squarish(each)] * count
                rest = total - count * used - prefix
                # An engine of fixed T must see a pack above the budget below, whatever the images' length.
                add([*grids, squarish(min(rest, each))] if rest >= 1 and count < budget.images else grids)
        add(pack_of(total, prefix, longest, most_images=budget.images))
        if total >= 8 * prefix + 64:  # one image of half the pack, the rest small
            half = min(longest, total // 2 - prefix)
            small = max(1, min(32, half))
            count = min(budget.images - 1, (total - half - prefix) // (small + prefix))
            if half >= 1 and count >= 1:
                add([squarish(half)] + [squarish(small)] * count)
    if engine.dynamic_tokens:
        for each in (256, 384, 512, 768, longest):
            if each <= longest:
                add([squarish(each)])
    return list(shapes.values())


def fit(engine: Engine, packs: Sequence[TimedPack], *, threads: int, device: str) -> dict[str, Any]:
    """The coefficients for ``packs``: {"packs": with predictions, "cost": Cost}.

    Where T is the pack's own, one set of coefficients serves all budgets; else each budget has its own.
    """
    import numpy as np

    groups = [list(packs)] if engine.dynamic_tokens else [
        [pack for pack in packs if pack.budget == index] for index in range(len(engine.budgets))
    ]  # fmt: skip
    costs = []
    for group in groups:
        if len(group) < 3:
            raise InvalidInputError(
                f"{len(group)} different packs for a budget of engine {engine.id}; expected 3 and up; the bundle's cap "
                "on tokens leaves no room for more"
            )
        columns = [np.ones(len(group)), np.array([pack.tokens for pack in group], float)]
        columns.append(np.array([pack.scores for pack in group], float))
        if not engine.dynamic_tokens:
            columns[1] = np.zeros(len(group))  # T is one: its time is part of the fixed
        a, b, c = non_negative_least_squares(columns, np.array([pack.measured_us for pack in group]))
        costs.append(BudgetCost(fixed_us=a, us_per_token=b, us_per_score=c))
    if engine.dynamic_tokens:
        costs = costs * len(engine.budgets)

    predicted = []
    for pack in packs:
        cost = costs[pack.budget]
        time_us = cost.fixed_us + cost.us_per_token * pack.tokens + cost.us_per_score * pack.scores
        predicted.append(TimedPack(**{**pack.__dict__, "predicted_us": time_us}))
    measured = np.array([pack.measured_us for pack in packs])
    residuals = np.array([pack.predicted_us for pack in predicted]) - measured
    spread = float(np.sum((measured - measured.mean()) ** 2))
    return {
        "packs": tuple(predicted),
        "cost": Cost(
            budgets=tuple(costs),
            packs=len(packs),
            r_squared=1 - float(np.sum(residuals**2)) / spread if spread > 0 else 0.0,
            mean_error=float(np.mean(np.abs(residuals) / measured)),
            threads=threads,
            device=device,
        ),
    }


def non_negative_least_squares(
    columns: Sequence[npt.NDArray[np.float64]], times: npt.NDArray[np.float64]
) -> tuple[float, ...]:
    """x >= 0 with the least sum of ((columns x - times) / times)^2; tries every set of coefficients that may be 0."""
    import numpy as np

    best: tuple[float, tuple[float, ...]] = (math.inf, (0.0,) * len(columns))
    usable = [index for index, column in enumerate(columns) if column.any()]
    for size in range(1, len(usable) + 1):
        for chosen in itertools.combinations(usable, size):
            scale = [float(np.abs(columns[index]).max()) for index in chosen]
            matrix = np.stack(
                [columns[index] / unit / times for index, unit in zip(chosen, scale, strict=True)], axis=1
            )
            solution = np.linalg.lstsq(matrix, np.ones(len(times)), rcond=None)[0]
            if (solution < 0).any():
                continue
            error = float(np.sum((matrix @ solution - 1) ** 2))
            if error < best[0] * (1 - 1e-9):
                x = [0.0] * len(columns)
                for index, unit, value in zip(chosen, scale, solution, strict=True):
                    x[index] = float(value) / unit
                best = (error, tuple(x))
    return best[1]
