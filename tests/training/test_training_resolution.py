"""Resolutions, schedules and dropped tokens against their distributions and other libraries' formulas."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from navit_edge.errors import InvalidInputError
from navit_edge_export.training.resolution import Resolution, ResolutionPools
from navit_edge_export.training.schedules import LearningRate, Ramp
from navit_edge_export.training.token_drop import TokenDrop, choose_patches, drop_rates

DRAWS = 4000
#: A fixed seed gives a fixed p: a right distribution is refused at this level by one seed in a thousand, not at random.
LEAST_P = 1e-3


def sides(resolution: Resolution) -> np.ndarray:  # type: ignore[type-arg]
    rng = np.random.default_rng(1)
    return np.array([resolution.draw_side(rng) for _ in range(DRAWS)])


def test_sides_and_areas_are_uniform_if_they_are_asked_to_be() -> None:
    drawn = sides(Resolution(kind="side", min_px=64, max_px=256))
    assert stats.kstest(drawn, stats.uniform(64, 192).cdf).pvalue > LEAST_P
    areas = sides(Resolution(kind="area", min_px=64, max_px=256)) ** 2
    assert stats.kstest(areas, stats.uniform(64**2, 256**2 - 64**2).cdf).pvalue > LEAST_P


def test_the_truncated_normal_is_scipys_and_prefers_small_sides() -> None:
    resolution = Resolution(distribution="truncated-normal", min_px=64, max_px=256, mean=-0.5, deviation=1.0)
    drawn = sides(resolution)
    centre, scale = 64 + 192 * 0.25, 96.0
    oracle = stats.truncnorm(-0.5, 1.5, loc=centre, scale=scale)  # -1 and 1 around -0.5, in deviations of 1
    assert stats.kstest(drawn, oracle.cdf).pvalue > LEAST_P
    assert drawn.mean() < 150


def test_the_aspect_is_kept_unless_jitter_is_asked_for() -> None:
    rng = np.random.default_rng(0)
    kept = Resolution(min_px=200, max_px=200, upscale=True)
    rows, columns = kept.draw_grid(300, 600, patch_px=4, most_tokens=10_000, rng=rng)
    assert abs(rows / columns - 0.5) < 0.02
    assert 0.97 * 2500 <= rows * columns <= 2500
    jittered = Resolution(min_px=200, max_px=200, upscale=True, aspect_jitter=0.5)
    drawn = [jittered.draw_grid(400, 400, patch_px=2, most_tokens=10_000, rng=rng) for _ in range(1500)]
    ratios = np.log([r / c for r, c in drawn])
    assert stats.kstest(ratios, stats.uniform(-math.log(1.5), 2 * math.log(1.5)).cdf).pvalue > LEAST_P


def test_small_images_keep_their_size_and_native_ones_up_to_the_limit() -> None:
    rng = np.random.default_rng(0)
    assert Resolution(min_px=256, max_px=256).draw_grid(32, 48, patch_px=16, most_tokens=999, rng=rng) == (2, 3)
    native = Resolution(kind="native", max_px=64)
    assert native.draw_grid(48, 48, patch_px=16, most_tokens=999, rng=rng) == (3, 3)
    rows, columns = native.draw_grid(480, 480, patch_px=16, most_tokens=999, rng=rng)
    assert rows * columns <= 16
    assert native.draw_grid(480, 480, patch_px=16, most_tokens=5, rng=rng) in ((2, 2), (1, 5), (5, 1))


def test_pools_are_drawn_by_weight_and_grow_with_the_training() -> None:
    pools = (Resolution(min_px=64, max_px=100), Resolution(min_px=100, max_px=200))
    mixed = ResolutionPools(pools=pools, weights=(3, 1), scale=Ramp(kind="linear", start=0.5, end=1.0))
    rng = np.random.default_rng(3)
    drawn = [mixed.draw(1.0, rng) for _ in range(DRAWS)]
    small = sum(one == pools[0] for one in drawn)
    assert stats.binomtest(small, DRAWS, 0.75).pvalue > LEAST_P
    assert {(one.min_px, one.max_px) for one in (mixed.draw(0.0, rng) for _ in range(50))} == {(32, 50), (50, 100)}


@pytest.mark.parametrize("kind", ["linear", "cosine", "exponential"])
def test_a_ramp_goes_from_its_start_to_its_end_by_its_formula(kind: str) -> None:
    ramp = Ramp(kind=kind, start=2.0, end=8.0, begin=0.2, until=0.6)
    assert [ramp.at(p) for p in (0, 0.2, 0.6, 1)] == pytest.approx([2, 2, 8, 8])
    middle = {"linear": 5.0, "cosine": 5.0, "exponential": 4.0}[kind]
    assert ramp.at(0.4) == pytest.approx(middle)
    assert ramp.at(0.3) == pytest.approx({"linear": 3.5, "cosine": 2 + 3 * (1 - 2**-0.5), "exponential": 8**0.5}[kind])


def torch_rates(rate: LearningRate, scheduler: str) -> list[float]:
    """The same schedule by torch's own classes, one after the other."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=rate.peak)
    rest = rate.steps - rate.warmup_steps
    after = {
        "cosine": torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, rest, eta_min=rate.peak * rate.floor),
        "linear": torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, rate.floor or 1e-12, rest),
    }[scheduler]
    found = []
    for _ in range(rest):
        found.append(after.get_last_lr()[0])
        optimizer.step()
        after.step()
    return found


@pytest.mark.parametrize("decay", ["cosine", "linear"])
def test_the_learning_rate_is_that_of_torchs_schedulers(decay: str) -> None:
    rate = LearningRate(peak=0.3, steps=60, warmup_steps=10, decay=decay, floor=0.1)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=rate.peak)
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, 1.0, 9)
    for step in range(10):
        assert rate.at(step) == pytest.approx(warmup.get_last_lr()[0])
        optimizer.step()
        warmup.step()
    fresh = torch_rates(rate, decay)
    assert [rate.at(10 + step) for step in range(50)] == pytest.approx(fresh)
    assert rate.at(60) == pytest.approx(0.03)


def test_the_inverse_square_root_follows_its_formula_and_cools_down() -> None:
    rate = LearningRate(peak=1.0, steps=1000, warmup_steps=100, decay="inverse-sqrt", cooldown_steps=200)
    assert rate.at(99) == pytest.approx(1.0)
    assert rate.at(399) == pytest.approx(math.sqrt(100 / 400))
    assert rate.at(1000) == 0.0
    values = [rate.at(step) for step in range(99, 1001)]
    assert all(a >= b for a, b in itertools.pairwise(values))
    assert rate.at(900) == pytest.approx(rate.at(800) / 2, rel=1e-2)


def test_rates_grow_with_progress_and_hard_images_lose_least() -> None:
    rng = np.random.default_rng(0)
    progressive = TokenDrop(kind="progressive", min_rate=0.0, max_rate=0.6)
    assert drop_rates(progressive, [9, 9], rng, progress=0.5).tolist() == [0.3, 0.3]
    losses = np.array([0.1, np.nan, 5.0, 1.0])
    rates = drop_rates(TokenDrop(kind="loss", min_rate=0.2, max_rate=0.6), [9] * 4, rng, losses=losses)
    assert rates == pytest.approx([0.6, 0.4, 0.2, 0.4])
    assert drop_rates(TokenDrop(kind="loss", min_rate=0.2, max_rate=0.6), [9] * 2, rng).tolist() == [0.4, 0.4]


@pytest.mark.parametrize("choice", ["uniform", "blocks", "attention"])
def test_exactly_as_many_patches_stay_as_were_asked_for(choice: str) -> None:
    rng = np.random.default_rng(0)
    for rows, columns in ((1, 1), (1, 9), (7, 5), (12, 12)):
        for kept in {1, rows * columns // 2 or 1, rows * columns}:
            scores = rng.random(rows * columns)
            chosen = choose_patches(rows, columns, kept, choice, rng, scores)
            assert len(set(chosen.tolist())) == kept
            assert (np.diff(chosen) > 0).all()
            assert chosen.max() < rows * columns


def test_dropped_blocks_hang_together() -> None:
    def borders(choice: str) -> float:
        """Neighbours of which one stays and one goes, a mean over drops."""
        rng = np.random.default_rng(5)
        total = 0
        for _ in range(40):
            stays = np.zeros(144, bool)
            stays[choose_patches(12, 12, 72, choice, rng)] = True
            grid = stays.reshape(12, 12)
            total += (grid[1:] != grid[:-1]).sum() + (grid[:, 1:] != grid[:, :-1]).sum()
        return total / 40

    assert borders("blocks") < 0.6 * borders("uniform")


def test_patches_stay_by_their_attention() -> None:
    """One patch kept: drawn in proportion to its score, so that counts follow a multinomial distribution."""
    rng = np.random.default_rng(0)
    scores = np.array([1.0, 2.0, 3.0, 4.0])
    counts = np.bincount([int(choose_patches(2, 2, 1, "attention", rng, scores)[0]) for _ in range(DRAWS)], minlength=4)
    assert stats.chisquare(counts, DRAWS * scores / 10).pvalue > LEAST_P


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Resolution(kind="square"), "expected one of native, side, area"),
        (lambda: Resolution(min_px=9, max_px=8), "expected 1 <= min <= max"),
        (lambda: ResolutionPools(weights=(1, 2)), "expected one for each"),
        (lambda: Ramp(kind="exponential", start=0, end=1), "expected both above 0"),
        (lambda: LearningRate(steps=10, warmup_steps=11), "do not fit into 10 steps"),
        (lambda: LearningRate(decay="step"), "expected one of constant, linear, cosine, inverse-sqrt"),
        (lambda: TokenDrop(choice="some"), "expected one of uniform, blocks, attention"),
    ],
)
def test_options_that_make_no_sense_are_refused(make: object, message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        make()  # type: ignore[operator]
    assert message in str(caught.value)
