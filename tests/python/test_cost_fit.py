"""The cost model fitted to measured times, against the coefficients that made the times."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from navit_edge.bench.calibration import TimedPack, fit, non_negative_least_squares, scores_of
from navit_edge.bundle.manifest import Budget, Engine


def test_the_fit_recovers_the_coefficients_that_made_the_times() -> None:
    engine = fixed_engine(dynamic_tokens=True)
    shapes = [(tokens, [length] * (tokens // length)) for tokens in (64, 256, 768) for length in (32, 64)]
    packs = [
        TimedPack(budget=0, tokens=tokens, images=len(own), longest=max(own),
                  scores=scores_of("padded", tokens, own),
                  measured_us=900 + 3.5 * tokens + 0.02 * scores_of("padded", tokens, own))
        for tokens, own in shapes
    ]  # fmt: skip
    cost = fit(engine, packs, threads=2, device="a device")["cost"]
    assert (cost.budgets[0].fixed_us, cost.budgets[0].us_per_token) == (pytest.approx(900), pytest.approx(3.5))
    assert cost.budgets[0].us_per_score == pytest.approx(0.02)
    assert cost.r_squared == pytest.approx(1)
    assert cost.mean_error < 1e-9


def fixed_engine(**fields: object) -> Engine:
    engine = Engine(
        id="e", backend="tensorrt", target="sm89", precision="fp16", graph="masked", strategy="first-fit-decreasing",
        dynamic_tokens=False, budgets=(Budget(tokens=256, images=8, target_tokens=256),), file="f", builder={},
    )  # fmt: skip
    return msgspec.structs.replace(engine, **fields)


def test_no_coefficient_is_negative_and_the_fit_is_the_best_of_those() -> None:
    from scipy.optimize import nnls

    rng = np.random.default_rng(0)
    for _ in range(30):
        columns = [np.ones(12), rng.uniform(1, 1000, 12), rng.uniform(1, 1e6, 12)]
        times = np.abs(rng.normal(500, 200, 12)) + 50
        ours = non_negative_least_squares(columns, times)
        matrix = np.stack(columns, axis=1) / times[:, None]
        scale = np.abs(matrix).max(axis=0)
        best = nnls(matrix / scale, np.ones(12))[1]
        assert min(ours) >= 0
        assert np.linalg.norm(matrix @ np.array(ours) - 1) == pytest.approx(best, rel=1e-6)
