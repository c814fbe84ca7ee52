"""The Python reference of sizing, patches and packs against exact arithmetic and PyTorch."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from navit_edge.bundle.sizing_rule import Sizing
from navit_edge.errors import InvalidInputError
from navit_edge_export.preprocess import pack, patchify, prepare, resize
from navit_edge_export.sizing import capped_grid, native_grid, target_grid

sides = st.integers(1, 3000)
patch_sides = st.sampled_from([4, 14, 16, 32])


@given(sides, sides, patch_sides)
def test_the_native_grid_is_the_size_in_patches_rounded_half_up(height: int, width: int, patch: int) -> None:
    def rounded(side: int) -> int:
        return max(1, int(Fraction(side, patch) + Fraction(1, 2)))  # floor, as it is positive

    assert native_grid(height, width, patch) == (rounded(height), rounded(width))


def grid_by_scanning(height: int, width: int, patch: int, cap: int) -> tuple[int, int]:
    """All scales at which a side gains a patch, in order (rows before columns where both do), in exact fractions."""
    native = native_grid(height, width, patch)
    if native[0] * native[1] <= cap:
        return native
    steps = sorted(
        [(Fraction(2 * n + 1, height), 0) for n in range(1, native[0])]
        + [(Fraction(2 * n + 1, width), 1) for n in range(1, native[1])]
    )
    grid = [1, 1]
    for _, axis in steps:
        grid[axis] += 1
        if grid[0] * grid[1] > cap:
            grid[axis] -= 1
            break
    return grid[0], grid[1]


@given(sides, sides, patch_sides, st.integers(1, 1200))
def test_the_capped_grid_is_the_largest_on_the_aspect_preserving_path(
    height: int, width: int, patch: int, cap: int
) -> None:
    assert capped_grid(height, width, patch, cap) == grid_by_scanning(height, width, patch, cap)


@given(sides, sides, st.integers(1, 1200))
def test_the_cap_is_kept_and_the_aspect_is_within_a_patch(height: int, width: int, cap: int) -> None:
    rows, columns = capped_grid(height, width, 16, cap)
    assert rows * columns <= max(cap, 1)
    # Some scale of the image rounds to this grid, each side to within half a patch (a side is at least one patch).
    lowest = max(
        Fraction(2 * rows - 1, 2 * height) if rows > 1 else Fraction(0),
        Fraction(2 * columns - 1, 2 * width) if columns > 1 else Fraction(0),
    )
    highest = min(Fraction(2 * rows + 1, 2 * height), Fraction(2 * columns + 1, 2 * width))
    assert lowest <= highest


def test_sizing_rules_are_told_apart() -> None:
    native = Sizing(rule="native")
    assert target_grid(640, 480, patch_px=16, sizing=native) == (40, 30)
    assert target_grid(640, 480, patch_px=16, sizing=Sizing(rule="token-cap", max_tokens=300)) == (20, 15)
    with pytest.raises(InvalidInputError, match='rule is "square"; expected one of token-cap, native'):
        target_grid(640, 480, patch_px=16, sizing=Sizing(rule="square"))
    with pytest.raises(InvalidInputError, match="max_tokens is 0"):
        target_grid(640, 480, patch_px=16, sizing=Sizing(rule="token-cap"))
    with pytest.raises(InvalidInputError, match="0x480 pixels"):
        target_grid(0, 480, patch_px=16, sizing=native)


@pytest.mark.parametrize("resample", ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"])
def test_resizing_is_pillows(resample: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    expected = Image.fromarray(image).resize((48, 32), Image.Resampling[resample.upper()])
    assert np.array_equal(resize(image, 32, 48, resample=resample), np.asarray(expected))
    assert np.array_equal(prepare(image, patch_px=16, resample=resample), np.asarray(expected))
    with pytest.raises(InvalidInputError, match=r"bilinear.*bicubic"):
        resize(image, 32, 48, resample="mitchell")


def test_patches_are_pytorchs_unfold_with_the_channel_last() -> None:
    image = np.random.default_rng(0).integers(0, 256, (3 * 4, 5 * 4, 3), dtype=np.uint8)
    columns = torch.nn.functional.unfold(torch.from_numpy(image).permute(2, 0, 1)[None].double(), 4, stride=4)[0]
    expected = columns.view(3, 4 * 4, 15).permute(2, 1, 0).reshape(15, 48)  # (channel, cell) -> (cell, channel)
    assert np.array_equal(patchify(image, 4), expected.numpy())


def test_images_that_are_no_multiple_of_the_patch_are_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"12x18 pixels.*multiples of the patch side 4"):
        patchify(np.zeros((12, 18, 3), np.uint8), 4)
    with pytest.raises(InvalidInputError, match="float32 with 3 dimensions; expected uint8"):
        patchify(np.zeros((12, 16, 3), np.float32), 4)
    with pytest.raises(InvalidInputError, match="at least one"):
        pack([], patch_px=4)


grids = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=5)


@given(grids, st.integers(0, 2), st.integers(0, 3), st.integers(0, 2), st.integers(0, 20))
def test_a_pack_follows_the_graph_contract(
    shapes: list[tuple[int, int]], prefix: int, padding_tokens: int, padding_images: int, min_longest: int
) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (r * 2, c * 2, 3), dtype=np.uint8) for r, c in shapes]
    packed = pack(
        images,
        patch_px=2,
        prefix_tokens=prefix,
        padding_tokens=padding_tokens,
        padding_images=padding_images,
        min_longest=min_longest,
    )
    count = len(images) + padding_images
    lengths = [prefix + r * c for r, c in shapes]
    assert packed.lengths == lengths + [0] * padding_images
    assert packed.cu_seqlens.tolist() == [sum(packed.lengths[:n]) for n in range(count + 1)]
    assert packed.patches.shape == (sum(lengths) + padding_tokens, 12)
    assert packed.patches.dtype == np.uint8
    assert all(value.dtype == np.int32 for name, value in packed.inputs().items() if name != "patches")
    assert packed.attention_index.shape == (count, max(max(lengths), min_longest))
    row = 0
    for n, (image, (rows, columns)) in enumerate(zip(images, shapes, strict=True)):
        assert tuple(packed.grid_hw[n]) == (rows, columns)
        for k in range(prefix):
            assert tuple(packed.positions[row + k]) == (-1 - k, -1 - k)
            assert not packed.patches[row + k].any()
        for token in range(rows * columns):
            r, c = divmod(token, columns)
            at = row + prefix + token
            assert tuple(packed.positions[at]) == (r, c)
            assert np.array_equal(packed.patches[at], image[2 * r : 2 * r + 2, 2 * c : 2 * c + 2].ravel())
        for offset in range(lengths[n]):
            assert packed.segment_ids[row + offset] == n
            assert packed.attention_index[n, offset] == row + offset
            assert packed.token_index[row + offset] == n * packed.attention_index.shape[1] + offset
        assert (packed.attention_index[n, lengths[n] :] == -1).all()
        row += lengths[n]
    assert (packed.attention_index[len(images) :] == -1).all()
    assert (packed.grid_hw[len(images) :] == 1).all()
    assert (packed.segment_ids[row:] == count).all()
    assert not packed.positions[row:].any()
    assert not packed.patches[row:].any()
    assert not packed.token_index[row:].any()
