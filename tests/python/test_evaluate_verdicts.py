"""What a difference of two rows of `navit-edge evaluate` is said to be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from navit_edge.evaluate.answers import Answers
from navit_edge.evaluate.report import compare, judged


def answers(right: int, wrong: int, lost: int = 0, gained: int = 0) -> tuple[Answers, Answers]:
    """Of two rows. right, wrong: of both; lost, gained: right in the first, in the second alone."""
    first = np.array([1] * right + [0] * wrong + [1] * lost + [0] * gained)
    second = np.array([1] * right + [0] * wrong + [0] * lost + [1] * gained)
    counted = np.ones(len(first), np.bool_)

    def made(said: Any) -> Answers:
        return Answers(
            counted=counted, predicted=said, top1=said == 1, top5=None, asked=None, recall={}, not_finite=0
        )  # fmt: skip

    return made(first), made(second)


@pytest.mark.parametrize(
    ("counts", "verdict"),
    [
        ((300, 0, 0, 0), "too few images"),
        ((500, 0, 0, 0), "no loss"),
        ((400, 90, 6, 4), "too few images"),
        ((9000, 900, 6, 4), "no loss"),
        ((900, 90, 10, 0), "worse"),
        ((900, 90, 0, 10), "better"),
    ],
)
def test_the_verdict_is_no_loss_only_if_the_images_suffice_for_it(
    counts: tuple[int, int, int, int], verdict: str
) -> None:
    found = compare(*answers(*counts), margin=0.01)
    assert found is not None
    assert found.verdict == verdict
    assert (found.lost, found.gained, found.images) == (*counts[2:], sum(counts))
    if verdict == "too few images":
        assert found.images_needed is not None
        assert found.images_needed > sum(counts)


def test_rows_are_compared_over_the_images_that_both_have() -> None:
    first, second = answers(10, 10, 5, 2)
    second.counted[:3] = False
    found = compare(first, second, margin=0.01)
    assert found is not None
    assert (found.images, found.lost, found.gained) == (24, 5, 2)


def test_what_one_row_shows_alone_is_not_shown_by_one_of_many() -> None:
    alone = compare(*answers(900, 90, 8, 0), margin=0.01)
    assert alone is not None
    assert (alone.verdict, alone.p_holm) == ("worse", alone.p)
    equal = compare(*answers(900, 98), margin=0.01)
    found = judged([equal, None, alone, *[equal] * 5], margin=0.01)
    assert found[1] is None
    assert found[2] is not None
    assert (found[2].p, found[2].p_holm) == (alone.p, pytest.approx(7 * alone.p))
    assert found[2].verdict == "too few images"
    assert found[2].images_needed is not None


def test_a_difference_that_is_large_enough_is_shown_by_one_of_many() -> None:
    equal, worse = compare(*answers(900, 100), margin=0.01), compare(*answers(900, 70, 30, 0), margin=0.01)
    found = judged([*[equal] * 20, worse], margin=0.01)
    assert [one.verdict for one in found if one is not None] == ["no loss"] * 20 + ["worse"]
