"""Intervals and tests of `navit-edge evaluate`, judged by scipy, by definition, and by trying every case."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import optimize, stats

from navit_edge.evaluate.metrics import (
    MOST_EXACT,
    holm,
    images_needed,
    mcnemar,
    paired_difference,
    share,
    smallest_difference,
)

PS = [
    [],
    [0.04],
    [0.01, 0.04, 0.03],
    [0.02, 0.02, 0.9, 0.0001],
    [0.3, 0.001, 0.004, 0.012, 0.5, 0.011],
    [1.0, 0.6, 0.7],
]
CASES = [(0, 1), (1, 1), (0, 17), (17, 17), (3, 10), (71, 100), (999, 1000), (12345, 50000)]


@pytest.mark.parametrize(("count", "of"), CASES)
def test_the_interval_of_a_share_is_that_of_wilson(count: int, of: int) -> None:
    expected = stats.binomtest(count, of).proportion_ci(0.95, method="wilson")
    found = share(count, of)
    assert found.value == count / of
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= found.low <= found.value <= found.high <= 1


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (1, 0), (6, 0), (5, 5), (2, 15), (59, 121), (480, 520)])
def test_mcnemars_test_is_exact_for_few_changed_answers(lost: int, gained: int) -> None:
    p, how = mcnemar(lost, gained)
    expected = stats.binomtest(lost, lost + gained, 0.5).pvalue if lost + gained else 1.0
    assert how == "exact"
    assert p == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("lost", "gained"), [(501, 500), (450, 560), (2000, 1500)])
def test_mcnemars_test_is_chi_squared_for_many(lost: int, gained: int) -> None:
    p, how = mcnemar(lost, gained)
    assert how == "chi2"
    assert p == pytest.approx(stats.chi2.sf((abs(lost - gained) - 1) ** 2 / (lost + gained), df=1), rel=1e-9)
    assert p == pytest.approx(stats.binomtest(lost, lost + gained, 0.5).pvalue, rel=0.05)
    assert lost + gained > MOST_EXACT


@pytest.mark.parametrize(("lost", "gained", "images"), [(150, 86, 1600), (3, 9, 40), (0, 4, 250), (11, 0, 30)])
def test_the_ends_of_an_interval_are_where_a_score_test_begins_to_refuse(lost: int, gained: int, images: int) -> None:
    """By definition: the likeliest shares that have such a difference, found by search, and the z of what was seen."""

    def z(difference: float) -> float:
        def surprise(lost_share: float) -> float:
            shares = (lost_share, lost_share + difference, 1 - 2 * lost_share - difference)
            counts = (lost, gained, images - lost - gained)
            return -sum(n * np.log(max(p, 1e-300)) for n, p in zip(counts, shares, strict=True) if n)

        least, most = max(0.0, -difference), (1 - difference) / 2
        share_lost = optimize.minimize_scalar(
            surprise, bounds=(least, most), method="bounded", options={"xatol": 1e-12}
        ).x
        variance = images * (2 * share_lost + difference - difference**2)
        return float((gained - lost - images * difference) / np.sqrt(variance))

    found = paired_difference(lost, gained, images)
    assert found.value == (gained - lost) / images
    assert z(found.low) == pytest.approx(stats.norm.ppf(0.975), abs=1e-4)
    assert z(found.high) == pytest.approx(-stats.norm.ppf(0.975), abs=1e-4)


def test_the_interval_of_a_difference_has_the_published_value() -> None:
    """Airways before and after a transplantation, 1, 1, 7 and 12 children: -0.517 to -0.026 (Fagerland, Lydersen and
    Laake 2014)."""
    found = paired_difference(7, 1, 21)
    assert (round(found.low, 3), round(found.high, 3)) == (-0.517, -0.026)


def test_no_changed_answer_does_not_make_an_interval_of_no_width() -> None:
    found = paired_difference(0, 0, 300)
    z2 = stats.norm.ppf(0.975) ** 2
    assert (found.low, found.high) == pytest.approx((-z2 / (300 + z2), z2 / (300 + z2)))
    assert paired_difference(30, 0, 30).low == -1


@pytest.mark.parametrize(("changed", "images"), [(0, 100), (3, 100), (6, 10), (7, 10), (40, 1000), (333, 700)])
def test_the_smallest_difference_is_the_first_of_all_that_the_test_shows(changed: int, images: int) -> None:
    flips = max(changed, 6)  # with five, even if all go one way, p is 0.0625
    shown = [abs(flips - 2 * k) for k in range(flips + 1) if stats.binomtest(k, flips, 0.5).pvalue <= 0.05]
    assert smallest_difference(changed, images) == pytest.approx(min(shown) / images)


def test_five_images_show_no_difference_at_all() -> None:
    assert smallest_difference(5, 5) is None


@pytest.mark.parametrize(("lost", "gained", "images"), [(0, 0, 40), (2, 2, 100), (5, 9, 300)])
def test_so_many_images_are_needed_and_one_less_is_too_few(lost: int, gained: int, images: int) -> None:
    needed = images_needed(lost, gained, images, 0.01)
    assert needed is not None
    for count, shows in ((needed, True), (needed - 1, False)):
        scale = count / images
        assert (paired_difference(lost * scale, gained * scale, count).low >= -0.01) == shows


def test_no_number_of_images_shows_that_a_loss_is_small_if_it_is_not() -> None:
    assert images_needed(10, 2, 400, 0.01) is None


@pytest.mark.parametrize("p", PS)
def test_holms_p_is_that_of_all_tests_of_several_hypotheses_at_once(p: list[float]) -> None:
    """By definition: refused only if every set of hypotheses that holds it is refused by Bonferroni's test."""
    sets = [chosen for count in range(1, len(p) + 1) for chosen in combinations(range(len(p)), count)]
    expected = [
        max(min(1.0, len(chosen) * min(p[k] for k in chosen)) for chosen in sets if index in chosen)
        for index in range(len(p))
    ]
    assert holm(p) == pytest.approx(expected, abs=1e-15)
