"""Sizing in C++ and in Python against the libraries that the rules come from, and exact arithmetic for our own."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from published_sizes import (
    timm_naflex,
    transformers_glm,
    transformers_naflex,
    transformers_navit_resize,
    transformers_paddleocr,
    transformers_patch_budget,
    transformers_pixtral,
    transformers_smart_resize,
)
from sizing_cases import COUNT, EXAMPLES, Sizes, in_cpp, random_sizes

from navit_edge.bundle.sizing_rule import FIELDS, Sizing, parse, to_json
from navit_edge.errors import InvalidInputError
from navit_edge.vocabulary import Enlarge
from navit_edge_export.sizing import navit_resize_content, target_grid


def in_python(sizes: Sizes, patch_px: int, sizing: Sizing) -> Sizes:
    grids = [target_grid(int(h), int(w), patch_px=patch_px, sizing=sizing) for h, w in sizes]
    return np.array(grids, np.int64).astype(np.int32)


def agree(sizes: Sizes, expected_px: list[tuple[int, int]], patch_px: int, sizing: Sizing) -> Sizes:
    """Both implementations give the sizes of the source."""
    expected = np.array(expected_px, np.int64)
    found = in_cpp(sizes, patch_px, sizing)
    for grids in (found, in_python(sizes, patch_px, sizing)):
        wrong = np.nonzero((grids.astype(np.int64) * patch_px != expected).any(axis=1))[0]
        assert len(wrong) == 0, f"{len(wrong)} of {len(sizes)}, first {sizes[wrong[0]]}: {grids[wrong[0]]}"
    return found


# --- rules of other libraries ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("patch_px", "max_tokens", "count"), [(16, 256, COUNT), (14, 1024, 2000), (16, 1, 2000)])
def test_naflex_gives_the_sizes_of_transformers_and_timm(patch_px: int, max_tokens: int, count: int) -> None:
    sizes = np.random.default_rng(0).permutation(random_sizes(1))[:count]
    ours, timms = transformers_naflex(), timm_naflex()
    expected = [ours(int(h), int(w), patch_px, max_tokens) for h, w in sizes]
    assert expected == [timms((int(h), int(w)), patch_px, max_tokens)[1] for h, w in sizes]
    found = agree(sizes, expected, patch_px, Sizing(rule="naflex", max_tokens=max_tokens))
    assert (found.prod(axis=1, dtype=np.int64) <= max_tokens).all()


@pytest.mark.parametrize(
    ("patch_px", "merge", "min_pixels", "max_pixels"),
    [
        (14, 2, 56 * 56, 28 * 28 * 1280),  # Qwen2-VL
        (16, 2, 65536, 16_777_216),  # Qwen3-VL
        (14, 2, 200_000, 220_000),  # a narrow range: both branches
        (16, 1, 1, 2**53),  # neither
    ],
)
def test_smart_resize_gives_the_sizes_of_transformers(
    patch_px: int, merge: int, min_pixels: int, max_pixels: int
) -> None:
    theirs = transformers_smart_resize()
    sizes = random_sizes(2)
    sizes = np.concatenate([sizes, sizes[:, ::-1] // 7 * 7 + 7])  # more that round at a half
    sizes = sizes[sizes.max(axis=1) / sizes.min(axis=1) <= 200]
    assert len(sizes) > 10_000
    expected = [theirs(int(h), int(w), patch_px * merge, min_pixels, max_pixels) for h, w in sizes]
    sizing = Sizing(rule="smart-resize", merge=merge, min_pixels=min_pixels, max_pixels=max_pixels)
    agree(np.ascontiguousarray(sizes), expected, patch_px, sizing)


def test_smart_resize_refuses_the_aspects_that_transformers_refuses() -> None:
    theirs = transformers_smart_resize()
    sizing = Sizing(rule="smart-resize", merge=2, min_pixels=3136, max_pixels=1_003_520)
    sizes = random_sizes(3)
    thin = sizes[sizes.max(axis=1) / sizes.min(axis=1) > 190][:300]
    refused = 0
    for height, width in thin.tolist():
        try:
            theirs(height, width, 28, 3136, 1_003_520)
        except ValueError:
            refused += 1
            with pytest.raises(InvalidInputError, match=r"size 0: .*smart-resize takes at most 200; crop it first"):
                in_cpp(np.array([[height, width]], np.int32), 14, sizing)
            with pytest.raises(InvalidInputError, match="smart-resize takes at most 200"):
                target_grid(height, width, patch_px=14, sizing=sizing)
        else:
            in_cpp(np.array([[height, width]], np.int32), 14, sizing)
    assert 0 < refused < len(thin)


def small_sizes(seed: int) -> Sizes:
    """Every size of up to 60 x 60, and those of ``random_sizes``; then long ones, their short side up to 60."""
    rng = np.random.default_rng(seed)
    tiny = np.stack(np.meshgrid(np.arange(1, 61), np.arange(1, 61)), axis=-1).reshape(-1, 2)
    short = rng.integers(1, 61, 4000)
    long = np.stack([short, short * rng.integers(1, 203, 4000) + rng.integers(0, 60, 4000)], axis=1)
    return np.concatenate([tiny, random_sizes(seed)[:4000], long[::2], long[1::2, ::-1]]).astype(np.int32)


@pytest.mark.parametrize("enlarge", ["floor", "nearest"])
@pytest.mark.parametrize(
    ("patch_px", "merge", "min_pixels", "max_pixels"),
    [
        (14, 2, 56 * 56, 28 * 28 * 7500),  # GLM-4.1V, of one frame
        (14, 2, 384 * 384, 1536 * 1536),  # PaddleOCR-VL
        (16, 3, 1, 2**52),  # neither limit
        (14, 2, 1, 900),  # long images exceed them
    ],
)
def test_enlarging_gives_the_sizes_of_glm_and_of_paddleocr_and_refuses_what_they_refuse(
    patch_px: int, merge: int, min_pixels: int, max_pixels: int, enlarge: Enlarge
) -> None:
    glm, paddle = transformers_glm(), transformers_paddleocr()
    factor = patch_px * merge

    def theirs(height: int, width: int) -> tuple[int, int] | None:
        try:
            if enlarge == "floor":  # an image counts as two frames
                return glm(2, height, width, 2, factor, 2 * min_pixels, 2 * max_pixels)
            return paddle(height, width, factor, min_pixels, max_pixels)
        except ValueError:
            return None

    sizing = Sizing(rule="smart-resize", merge=merge, min_pixels=min_pixels, max_pixels=max_pixels, enlarge=enlarge)
    sizes = small_sizes(13)
    found = [theirs(int(h), int(w)) for h, w in sizes]
    kept = np.array([size is not None for size in found])
    agree(np.ascontiguousarray(sizes[kept]), [size for size in found if size is not None], patch_px, sizing)
    plain = Sizing(rule="smart-resize", merge=merge, min_pixels=min_pixels, max_pixels=max_pixels)
    small = np.ascontiguousarray(sizes[kept & (sizes.min(axis=1) < factor) & (sizes.max(axis=1) < 100)])
    assert (in_cpp(small, patch_px, sizing) != in_cpp(small, patch_px, plain)).any() or max_pixels == 900
    refused = sizes[~kept]
    assert len(refused) > 10
    for height, width in refused[:: max(1, len(refused) // 50)].tolist():
        with pytest.raises(InvalidInputError, match="smart-resize takes at most 200"):
            in_cpp(np.array([[height, width]], np.int32), patch_px, sizing)
        with pytest.raises(InvalidInputError, match="smart-resize takes at most 200"):
            target_grid(height, width, patch_px=patch_px, sizing=sizing)


@pytest.mark.parametrize(
    ("patch_px", "merge", "soft_tokens"),
    [(16, 3, 70), (16, 3, 140), (16, 3, 280), (16, 3, 560), (16, 3, 1120), (14, 2, 77), (1, 1, 1000)],
)
def test_patch_budget_gives_the_sizes_of_gemma_in_transformers(patch_px: int, merge: int, soft_tokens: int) -> None:
    theirs = transformers_patch_budget()
    sizes = np.random.default_rng(soft_tokens).permutation(random_sizes(12))[:3000]
    patches = soft_tokens * merge**2
    expected = [theirs(int(h), int(w), patch_px, patches, merge) for h, w in sizes]
    found = agree(sizes, expected, patch_px, Sizing(rule="patch-budget", merge=merge, max_tokens=patches))
    assert (found % merge == 0).all()
    assert (found.prod(axis=1, dtype=np.int64) <= patches).all()


def test_patch_budget_of_one_cell_gives_every_image_that_cell() -> None:
    theirs = transformers_patch_budget()
    sizes = np.array([[17, 17], [100, 100], [1, 4000], [4000, 1], [100, 99]], np.int32)
    with pytest.raises(ValueError, match="Attempting to resize to a 0 x 0 image"):
        theirs(17, 17, 16, 9, 3)  # a side of 47.99… pixels; its own budgets begin at 70 cells
    found = agree(sizes, [(48, 48)] * len(sizes), 16, Sizing(rule="patch-budget", merge=3, max_tokens=9))
    assert (found == 3).all()


@pytest.mark.parametrize(
    ("patch_px", "longest_px", "merge"), [(16, 1024, 0), (14, 336, 1), (16, 1000, 0), (14, 1540, 2)]
)
def test_longest_side_gives_the_sizes_of_pixtral_in_transformers(patch_px: int, longest_px: int, merge: int) -> None:
    theirs = transformers_pixtral()
    sizes = random_sizes(4)
    cell_px = patch_px * max(1, merge)
    expected = [theirs((int(h), int(w)), longest_px, cell_px) for h, w in sizes]
    # Where a side comes out below one pixel, Pixtral's image has no patch and cannot be used; ours has one.
    empty = sum(0 in size for size in expected)
    assert 0 < empty < COUNT - 10_000
    sizing = parse(f"longest-side:longest_px={longest_px},merge={merge}")
    agree(sizes, [(max(h, cell_px), max(w, cell_px)) for h, w in expected], patch_px, sizing)


@pytest.mark.parametrize(
    ("patch_px", "merge", "max_patches", "most_a_side"), [(14, 2, 16384, 512), (14, 2, 1024, 64), (16, 1, 100, 9)]
)
def test_navit_resize_gives_the_sizes_of_kimi_in_transformers(
    patch_px: int, merge: int, max_patches: int, most_a_side: int
) -> None:
    theirs = transformers_navit_resize()
    sizes = random_sizes(5)
    expected = [theirs(int(h), int(w), patch_px, merge, max_patches, most_a_side) for h, w in sizes]
    sizing = Sizing(rule="navit-resize", max_tokens=max_patches, longest_px=most_a_side * patch_px, merge=merge)
    agree(sizes, [filled for _, filled in expected], patch_px, sizing)
    contents = [navit_resize_content(int(h), int(w), patch_px, sizing) for h, w in sizes]
    assert contents == [resized for resized, _ in expected]


# --- our own rules -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sizing",
    [
        Sizing(rule="token-cap", max_tokens=1024),
        Sizing(rule="token-cap", max_tokens=256, upscale=True),
        Sizing(rule="native"),
        Sizing(rule="native", fit="pad"),
        Sizing(rule="native", fit="crop"),
        Sizing(rule="fixed", height_px=224, width_px=448),
    ],
    ids=to_json,
)
def test_the_grids_of_the_core_are_those_of_the_reference(sizing: Sizing) -> None:
    sizes = random_sizes(5)
    assert np.array_equal(in_cpp(sizes, 16, sizing), in_python(sizes, 16, sizing))


@pytest.mark.parametrize("patch_px", [14, 16])
def test_native_sides_are_rounded_to_nearest_up_or_down_by_the_fit(patch_px: int) -> None:
    sizes = random_sizes(6)
    exact = [(Fraction(int(h), patch_px), Fraction(int(w), patch_px)) for h, w in sizes]
    half = Fraction(1, 2)
    for fit, rounded in {
        "resize": lambda x: (x + half).__floor__(),
        "pad": lambda x: x.__ceil__(),
        "crop": lambda x: x.__floor__(),
    }.items():
        expected = np.array([[max(1, rounded(h)), max(1, rounded(w))] for h, w in exact])
        assert np.array_equal(in_cpp(sizes, patch_px, Sizing(rule="native", fit=fit)), expected), fit


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 400))
def test_token_cap_with_upscale_is_the_largest_grid_on_the_path_without_end(
    height: int, width: int, max_tokens: int
) -> None:
    steps = sorted(
        [(Fraction(2 * n + 1, height), 0) for n in range(1, max_tokens + 1)]
        + [(Fraction(2 * n + 1, width), 1) for n in range(1, max_tokens + 1)]
    )
    grid = [1, 1]
    for _, axis in steps:
        grid[axis] += 1
        if grid[0] * grid[1] > max_tokens:
            grid[axis] -= 1
            break
    sizing = Sizing(rule="token-cap", max_tokens=max_tokens, upscale=True)
    assert in_cpp(np.array([[height, width]], np.int32), 16, sizing)[0].tolist() == grid


def test_token_cap_with_upscale_gives_every_image_the_same_area_whatever_its_size() -> None:
    sizes = random_sizes(7)
    sizes = sizes[sizes.max(axis=1) <= 4 * sizes.min(axis=1)]
    grids = in_cpp(np.ascontiguousarray(sizes), 16, Sizing(rule="token-cap", max_tokens=1024, upscale=True))
    tokens = grids.prod(axis=1)
    assert (tokens <= 1024).all()
    assert (tokens + grids.max(axis=1) > 1024).all()  # one step more would exceed it


# --- the session's cap -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cap", [1, 9, 100, 5000])
@pytest.mark.parametrize(
    "sizing",
    [
        Sizing(rule="token-cap", max_tokens=1024),
        Sizing(rule="token-cap", max_tokens=1024, upscale=True),
        Sizing(rule="native"),
        Sizing(rule="native", fit="pad"),
        Sizing(rule="native", fit="crop"),
        Sizing(rule="naflex", max_tokens=256),
        Sizing(rule="longest-side", longest_px=1024),
        Sizing(rule="patch-budget", merge=1, max_tokens=4000),
    ],
    ids=to_json,
)
def test_a_cap_of_the_session_is_kept_and_changes_nothing_below_it(sizing: Sizing, cap: int) -> None:
    sizes = random_sizes(8)[:2000]
    grids = in_cpp(sizes, 16, sizing, cap)
    assert (grids.prod(axis=1, dtype=np.int64) <= cap).all()
    assert (grids >= 1).all()
    free = in_cpp(sizes, 16, sizing)
    below = free.prod(axis=1, dtype=np.int64) <= cap
    if cap == 5000:
        assert below.any()
    assert np.array_equal(grids[below], free[below])


def test_a_cap_means_the_same_rule_with_a_smaller_limit() -> None:
    sizes = random_sizes(9)[:2000]
    for rule in ("naflex", "token-cap"):
        smaller = in_cpp(sizes, 16, Sizing(rule=rule, max_tokens=100))
        assert np.array_equal(in_cpp(sizes, 16, Sizing(rule=rule, max_tokens=256), cap=100), smaller)
    assert np.array_equal(in_cpp(sizes, 16, Sizing(rule="native"), cap=100), smaller)
    smaller = in_cpp(sizes, 16, Sizing(rule="patch-budget", merge=3, max_tokens=100))
    assert np.array_equal(in_cpp(sizes, 16, Sizing(rule="patch-budget", merge=3, max_tokens=630), cap=100), smaller)
    with pytest.raises(InvalidInputError, match=r"max_tokens_per_image is 8; .* patch-budget merges 9 .* raise it"):
        in_cpp(sizes, 16, Sizing(rule="patch-budget", merge=3, max_tokens=630), cap=8)
    # The longest side that keeps the cap.
    capped = in_cpp(sizes, 16, Sizing(rule="longest-side", longest_px=640), cap=300)
    for size, grid in zip(sizes[:60], capped[:60], strict=True):
        by_hand = [in_cpp(size[None], 16, Sizing(rule="longest-side", longest_px=n))[0] for n in range(1, 641, 1)]
        assert max((g.prod(), *g) for g in by_hand if g.prod() <= 300)[1:] == tuple(grid)


def test_a_cap_on_smart_resize_is_a_smaller_max_pixels_and_is_never_exceeded() -> None:
    sizing = Sizing(rule="smart-resize", merge=2, min_pixels=3136, max_pixels=1_003_520)
    smaller = Sizing(rule="smart-resize", merge=2, min_pixels=3136, max_pixels=400 * 14 * 14)
    sizes = random_sizes(10)
    sizes = np.ascontiguousarray(sizes[sizes.max(axis=1) <= 10 * sizes.min(axis=1)])
    grids = in_cpp(sizes, 14, sizing, cap=400)
    assert np.array_equal(grids, in_cpp(sizes, 14, smaller))
    long = np.array([[28, 5600]], np.int32)  # the source keeps the short side at a cell, and exceeds its own range
    assert in_cpp(long, 14, smaller).prod() > 400
    with pytest.raises(InvalidInputError, match=r"needs 564 patches .*max_tokens_per_image is 400; raise it"):
        in_cpp(long, 14, sizing, cap=400)
    with pytest.raises(InvalidInputError, match=r"max_tokens_per_image is 3; .* at least 4; raise it"):
        in_cpp(sizes, 14, sizing, cap=3)


def test_a_cap_below_a_fixed_size_is_refused() -> None:
    sizing = Sizing(rule="fixed", height_px=224, width_px=224)
    assert in_cpp(np.array([[5, 900]], np.int32), 16, sizing, cap=196).tolist() == [[14, 14]]
    with pytest.raises(InvalidInputError, match=r"max_tokens_per_image is 195; .*14 x 14 = 196 patches; raise it"):
        in_cpp(np.array([[5, 900]], np.int32), 16, sizing, cap=195)
    with pytest.raises(InvalidInputError, match="max_tokens_per_image is -1"):
        in_cpp(np.array([[5, 900]], np.int32), 16, sizing, cap=-1)


def test_sides_up_to_the_largest_integer_overflow_nothing() -> None:
    most = 2**31 - 1
    sizes = np.array([[most, most], [most, most - 1]], np.int32)
    for fit in ("resize", "pad", "crop"):
        grids = in_cpp(sizes, 1, Sizing(rule="native", fit=fit))
        assert grids.tolist() == sizes.tolist()
    assert in_cpp(sizes, 16, Sizing(rule="naflex", max_tokens=2**31 - 1)).prod(axis=1, dtype=np.int64).max() < 2**31
    assert in_cpp(sizes, 16, Sizing(rule="longest-side", longest_px=most)).tolist() == [[2**27, 2**27]] * 2
    budget = in_cpp(
        np.array([[most, most], [most, 1], [1, most]], np.int32), 16, parse(f"patch-budget:merge=1,max_tokens={most}")
    )
    assert budget.prod(axis=1, dtype=np.int64).max() <= most
    with pytest.raises(InvalidInputError, match="too long for the sizing rule naflex"):
        in_cpp(sizes, 1, Sizing(rule="naflex", max_tokens=5))
    with pytest.raises(InvalidInputError, match="too long for the sizing rule naflex"):
        target_grid(most, most, patch_px=1, sizing=Sizing(rule="naflex", max_tokens=5))
    wide = in_cpp(sizes, 1, Sizing(rule="smart-resize", merge=1000, min_pixels=2**53, max_pixels=2**53))
    assert 0 < wide.prod(axis=1, dtype=np.int64).max() <= 2**53


def test_an_empty_image_has_no_grid() -> None:
    for rule in FIELDS:
        sizing = EXAMPLES[rule]
        for size in ((0, 5), (5, 0), (-1, 5)):
            with pytest.raises(InvalidInputError, match="at least 1"):
                in_cpp(np.array([size], np.int32), 16, sizing)
            with pytest.raises(InvalidInputError, match="at least 1"):
                target_grid(*size, patch_px=16, sizing=sizing)
