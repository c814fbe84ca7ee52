"""Token dropping: rates against their distributions, dropped packs against the graph contract and the model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from navit_edge.errors import InvalidInputError
from navit_edge_export.model import NaViT, NaViTConfig
from navit_edge_export.preprocess import GRAPH_INPUTS, Pack, pack
from navit_edge_export.training.token_drop import TokenDrop, drop_rates, drop_tokens

GRIDS = ((6, 8), (1, 1), (3, 4), (10, 2))
DRAWS = 40_000


def packed(**padding: int) -> Pack:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (r * 4, c * 4, 3), dtype=np.uint8) for r, c in GRIDS]
    return pack(images, patch_px=4, **padding)


def places(pack: Pack) -> list[tuple[int, ...]]:
    """(image, row, column) of each token; the padding rows share one."""
    return [tuple(row) for row in np.column_stack([pack.segment_ids, pack.positions]).tolist()]


def test_beta_rates_have_the_asked_mean_and_deviation() -> None:
    drop = TokenDrop(kind="beta", rate=0.5, max_rate=0.8, deviation=0.2)
    rates = drop_rates(drop, [64] * DRAWS, np.random.default_rng(0))
    assert abs(rates.mean() - 0.5) < 0.01
    assert abs(rates.std() - 0.8 * 0.2) < 0.01
    assert rates.min() >= 0
    assert rates.max() <= 0.8


def test_resolution_rates_lie_on_the_line_within_two_deviations() -> None:
    drop = TokenDrop(kind="resolution", min_rate=0.2, max_rate=0.6, min_tokens=100, max_tokens=500, deviation=0.02)
    for patches, middle in ((100, 0.2), (300, 0.4), (500, 0.6), (5000, 0.6), (10, 0.2)):
        rates = drop_rates(drop, [patches] * DRAWS, np.random.default_rng(patches))
        assert abs(rates.mean() - middle) < 0.002
        assert np.abs(rates - middle).max() <= 0.04 + 1e-12
        assert rates.std() > 0.01


def test_constant_and_no_dropping_are_what_they_say() -> None:
    rng = np.random.default_rng(0)
    assert drop_rates(TokenDrop(kind="constant", rate=0.3), [5, 9], rng).tolist() == [0.3, 0.3]
    assert drop_rates(TokenDrop(), [5, 9], rng).tolist() == [0, 0]
    before = packed(prefix_tokens=1, padding_tokens=3)
    after = drop_tokens(before, TokenDrop(), rng)
    for name, value in before.inputs().items():
        assert np.array_equal(value, after.inputs()[name]), name


@pytest.mark.parametrize("kind", ["constant", "beta", "resolution"])
def test_dropping_leaves_a_pack_that_follows_the_contract(kind: str) -> None:
    before = packed(prefix_tokens=1, padding_tokens=3, padding_images=1)
    drop = TokenDrop(kind=kind, rate=0.5, min_tokens=1, max_tokens=50)
    after = drop_tokens(before, drop, np.random.default_rng(1))
    assert np.array_equal(after.grid_hw, before.grid_hw), "the grid is the image's, not that of what is left"
    assert (np.diff(after.segment_ids) >= 0).all()
    assert (after.segment_ids == len(after.grid_hw)).sum() == 3
    patches_before = dict(zip(places(before), before.patches, strict=True))
    for place, patch in zip(places(after), after.patches, strict=True):
        assert np.array_equal(patches_before[place], patch)
    for n, (rows, columns) in enumerate(GRIDS):
        own = after.positions[after.segment_ids == n]
        assert tuple(own[0]) == (-1, -1), "the prefix token stays, in front"
        assert 1 <= len(own) - 1 <= rows * columns
        order = own[1:, 0] * columns + own[1:, 1]
        assert (np.diff(order) > 0).all(), "row-major, none twice"
        index = after.attention_index[n][: len(own)]
        assert np.array_equal(index, np.flatnonzero(after.segment_ids == n))
        assert (after.attention_index[n][len(own) :] == -1).all()
    assert len(after.patches) < len(before.patches)


def test_a_constant_rate_keeps_that_share_of_each_image() -> None:
    after = drop_tokens(packed(), TokenDrop(kind="constant", rate=0.25), np.random.default_rng(0))
    assert after.lengths == [36, 1, 9, 15]


def test_every_patch_is_as_likely_to_stay() -> None:
    rng = np.random.default_rng(0)
    before = packed()
    kept = np.zeros((6, 8))
    for _ in range(400):
        after = drop_tokens(before, TokenDrop(kind="constant", rate=0.5), rng)
        rows, columns = after.positions[after.segment_ids == 0].T
        kept[rows, columns] += 1
    assert abs(kept / 400 - 0.5).max() < 0.12  # 4.8 deviations


@pytest.mark.parametrize("lowering", list(GRAPH_INPUTS))
def test_a_dropped_pack_gives_what_each_dropped_image_gives_alone(lowering: str) -> None:
    config = NaViTConfig(width=32, depth=2, heads=4, mlp_width=64, patch_px=4, num_classes=5)
    model = NaViT(config).eval()
    after = drop_tokens(packed(), TokenDrop(kind="constant", rate=0.5), np.random.default_rng(2))

    def run(inputs: dict[str, Any]) -> torch.Tensor:
        tensors = {name: torch.from_numpy(inputs[name]) for name in GRAPH_INPUTS[lowering]}
        with torch.no_grad():
            logits: torch.Tensor = model(**tensors)["logits"]
        return logits

    together = run(after.inputs())
    for n in range(len(GRIDS)):
        own = after.segment_ids == n
        count = int(own.sum())
        index = np.arange(count, dtype=np.int32)
        alone = {
            "patches": after.patches[own],
            "positions": after.positions[own],
            "segment_ids": np.zeros(count, np.int32),
            "grid_hw": after.grid_hw[n : n + 1],
            "attention_index": index[None],
            "token_index": index,
            "cu_seqlens": np.array([0, count], np.int32),
        }
        torch.testing.assert_close(together[n : n + 1], run(alone), atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "random"}, "expected one of none, constant, beta, resolution"),
        ({"rate": 1.0}, "rate is 1.0; expected 0 or more and less than 1"),
        ({"kind": "beta", "rate": 0.9, "max_rate": 0.8}, "beta needs 0 < rate < max_rate 0.8"),
        ({"kind": "beta", "deviation": 0.6}, "needs less than 0.484"),
        ({"deviation": 0.0}, "deviation is 0.0; expected more than 0"),
        ({"min_tokens": 9, "max_tokens": 9}, "expected 0 < min < max"),
    ],
)
def test_options_that_make_no_distribution_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        TokenDrop(**options)
    assert message in str(caught.value)
