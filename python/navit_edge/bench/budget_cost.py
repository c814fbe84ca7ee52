"""What a pack costs by its budget, where budgets are still to be chosen: measured of an engine, or assumed."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import numpy as np

from navit_edge.bench.calibration import non_negative_least_squares
from navit_edge.errors import InvalidInputError
from navit_edge.planning import CostModel

if TYPE_CHECKING:
    from navit_edge.bundle.manifest import Engine, Manifest

#: (fixed_us, us_per_token, us_per_score)
Cost = tuple[float, float, float]


def assumed_cost(manifest: Manifest) -> Cost:
    """Of an engine that pads, from the model's sizes: only the proportions count."""
    return CostModel.assumed(manifest, "gpu", attention="segments", dynamic_tokens=False).budgets[0]


def measured_cost(engine: Engine, bundle: str) -> Cost:
    """Of `navit-edge bench --calibrate`; of several budgets a line through them.

    Raises InvalidInputError if it was not measured, or at one budget only, with the remedy. bundle: for its words.
    """
    if engine.cost is None:
        raise InvalidInputError(
            f"engine {engine.id} has no measured cost; measure it: "
            f"navit-edge bench {shlex.quote(bundle)} --engine {engine.id} --calibrate"
        )
    costs = engine.cost.budgets
    if engine.dynamic_tokens:
        one = costs[-1]
        return one.fixed_us, one.us_per_token, one.us_per_score
    if len(costs) == 1:
        raise InvalidInputError(
            f"engine {engine.id} has one budget: how time grows with the budget cannot be read from it; "
            "leave out --engine, or build one with several budgets"
        )
    line = _line_through([budget.tokens for budget in engine.budgets], [one.fixed_us for one in costs])
    return (*line, sum(one.us_per_score for one in costs) / len(costs))


def _line_through(tokens: list[int], times: list[float]) -> tuple[float, float]:
    """(at 0 tokens, per token), 0 and up, by least squares of relative errors."""
    columns = [np.ones(len(tokens)), np.array(tokens, float)]
    fixed, per_token = non_negative_least_squares(columns, np.array(times))
    return fixed, per_token
