"""Token budgets: which one a pack gets, and what the graph sees of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest

import navit_edge as ne

if TYPE_CHECKING:
    from conftest import OpenSession

Photographs = Mapping[str, npt.NDArray[np.uint8]]


@pytest.fixture(scope="module")
def budgets(session: ne.Session) -> list[dict[str, int]]:
    """As the engine's profiles say, or one that takes everything."""
    shapes = [budget["shapes"] for budget in session.engine_report.get("budgets", [])]
    return [{"tokens": int(text.split()[0])} for text in shapes]


def _images(counts: list[int]) -> list[npt.NDArray[np.uint8]]:
    """Random images of so many patches of 16 x 16 in one row."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (16, 16 * count, 3), np.uint8) for count in counts]


@pytest.mark.parametrize("tokens", [1, 63, 64, 65, 200, 256])
def test_an_image_alone_goes_to_the_smallest_budget_that_holds_it(
    session: ne.Session, budgets: list[dict[str, int]], tokens: int
) -> None:
    result = session.run(_images([tokens]))[0]
    assert result.token_count == tokens
    (pack,) = session.last_report["packs"]
    assert pack["tokens"] == tokens
    if budgets:  # T is padded to the budget
        assert pack["capacity"] == pack["budget_tokens"] == min(b["tokens"] for b in budgets if b["tokens"] >= tokens)
    else:  # T is the pack's own, rounded up to multiples of 16 (docs/memory.md)
        assert -(-tokens // 16) * 16 == pack["capacity"] <= pack["budget_tokens"]


def test_what_fills_a_budget_to_the_last_token_gives_the_numbers_of_each_image_alone(
    session: ne.Session, limits: Any
) -> None:
    images = _images([20, 30, 14])
    together = session.run(images)
    assert [pack["tokens"] for pack in session.last_report["packs"]] == [64]
    for image, result in zip(images, together, strict=True):
        alone = session.run([image])[0]
        assert np.abs(result.tokens - alone.tokens).max() <= limits.packing
        assert np.abs(result.logits - alone.logits).max() <= limits.packing


def test_more_images_than_a_pack_takes_are_split(session: ne.Session) -> None:
    images = _images([1] * 40)
    results = session.run(images)
    packs = session.last_report["packs"]
    assert sum(pack["images"] for pack in packs) == 40
    assert all(result.error is None for result in results)
    for image, result in zip(images, results, strict=True):
        np.testing.assert_allclose(result.logits, session.run([image])[0].logits, atol=2e-2)


def test_an_image_over_the_largest_budget_fails_alone_and_says_what_would_do(open_session: OpenSession) -> None:
    session = open_session(small=True)
    small, large, again = _images([12, 65, 12])
    results = session.run([small, large, again], on_error="return")
    assert isinstance(results[1].error, ne.OverBudgetError)
    assert "65" in str(results[1].error)
    assert "64" in str(results[1].error)
    assert results[0].error is None
    assert results[2].error is None
    with pytest.raises(ne.OverBudgetError):
        session.run([large])
    assert session.run([small])[0].logits.tobytes() == session.run([small])[0].logits.tobytes()
