"""Sizing in C++ and in Python against the libraries that the rules come from, and exact arithmetic for our own."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from published_sizes import (
    timm_center_crop_or_pad,
    timm_naflex,
    transformers_naflex,
    transformers_pixtral,
    transformers_smart_resize,
)

import navit_edge as ne
from navit_edge import _core
from navit_edge.bundle.sizing_rule import FIELDS, Sizing, describe, example, fault, most_tokens, parse, to_json
from navit_edge.errors import BundleError, InvalidInputError
from navit_edge_export.preprocess import place, prepare
from navit_edge_export.sizing import Placement, placement, target_grid

Sizes = npt.NDArray[np.int32]
COUNT = 12_000
EXTREME = [
    (1, 1), (1, 4000), (4000, 1), (1, 200), (200, 1), (1, 201), (3, 600), (65535, 65535), (1, 65535), (65535, 1),
    (16, 16), (15, 17), (8, 24), (24, 8), (14, 42), (28, 28), (42, 70), (4096, 64), (16, 4096), (2, 3),
]  # fmt: skip


def random_sizes(seed: int) -> Sizes:
    """[COUNT, 2] (height_px, width_px): extremes, then sides that are uniform, then log-uniform."""
    rng = np.random.default_rng(seed)
    half = (COUNT - len(EXTREME)) // 2
    uniform = rng.integers(1, 4001, (half, 2))
    skewed = np.exp(rng.uniform(0, np.log(30_000), (COUNT - len(EXTREME) - half, 2))).astype(np.int64)
    return np.concatenate([np.array(EXTREME), uniform, np.maximum(skewed, 1)]).astype(np.int32)


def in_cpp(sizes: Sizes, patch_px: int, sizing: Sizing, cap: int = 0) -> Sizes:
    return _core.resize_targets(sizes, patch_px=patch_px, sizing=to_json(sizing), max_tokens_per_image=cap)


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


@pytest.mark.parametrize(("patch_px", "longest_px"), [(16, 1024), (14, 336), (16, 1000)])
def test_longest_side_gives_the_sizes_of_pixtral_in_transformers(patch_px: int, longest_px: int) -> None:
    theirs = transformers_pixtral()
    sizes = random_sizes(4)
    expected = [theirs((int(h), int(w)), longest_px, patch_px) for h, w in sizes]
    # Where a side comes out below one pixel, Pixtral's image has no patch and cannot be used; ours has one.
    empty = sum(0 in size for size in expected)
    assert 0 < empty < COUNT - 10_000
    agree(sizes, [(max(h, patch_px), max(w, patch_px)) for h, w in expected], patch_px, parse_longest(longest_px))


def parse_longest(longest_px: int) -> Sizing:
    return parse(f"longest-side:longest_px={longest_px}")


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


# --- pixels ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(50, 70), (16, 16), (7, 40), (40, 7), (3, 5), (33, 49), (31, 17)])
def test_a_crop_takes_the_pixels_that_timm_takes(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    sizing = Sizing(rule="native", fit="crop", pad_rgb=(9, 8, 7))
    found = prepare(image, patch_px=16, sizing=sizing)
    assert np.array_equal(found, timm_center_crop_or_pad()(image, found.shape[:2], (9, 8, 7)))
    # A reference that places by hand: the core has its own in csrc/tests/pack/pack_test.cc.
    at = placement(*size, patch_px=16, sizing=sizing)
    assert at is not None
    assert np.array_equal(place(image, *found.shape[:2], at, (9, 8, 7)), found)


def test_padding_keeps_every_pixel_at_its_place() -> None:
    image = np.random.default_rng(0).integers(0, 256, (33, 16, 3), np.uint8)
    sizing = Sizing(rule="native", fit="pad", pad_rgb=(1, 2, 3))
    padded = prepare(image, patch_px=16, sizing=sizing)
    assert padded.shape == (48, 16, 3)
    assert np.array_equal(padded[:33], image)
    assert (padded[33:] == (1, 2, 3)).all()
    assert placement(33, 16, patch_px=16, sizing=sizing) == Placement(0, 0)
    assert placement(33, 16, patch_px=16, sizing=Sizing(rule="native")) is None


@pytest.fixture
def session_with(bundle_copy: Path):
    """Opens the small bundle under another sizing rule."""

    def open_session(sizing: Sizing, cap: int = 0) -> ne.Session:
        path = bundle_copy / "manifest.json"
        manifest = json.loads(path.read_text())
        manifest["preprocess"]["sizing"] = json.loads(to_json(sizing))
        path.write_text(json.dumps(manifest))
        return ne.Session(bundle_copy, precision="fp32", max_tokens_per_image=cap)

    return open_session


@pytest.mark.parametrize("rule", ["native", "native-pad", "native-crop", *sorted(set(FIELDS) - {"native"})])
def test_a_session_sees_the_pixels_that_the_reference_prepares(
    rule: str, session_with, photographs: Mapping[str, npt.NDArray[np.uint8]]
) -> None:
    sizing = EXAMPLES[rule]
    images = [photographs["eye"], photographs["rocket"][:301, :95].copy(), photographs["flower"][:9, :60].copy()]
    found = session_with(sizing).run(images)
    prepared = [prepare(image, patch_px=16, sizing=sizing) for image in images]
    expected = session_with(Sizing(rule="native")).run(prepared)
    for result, same, image, pixels in zip(found, expected, images, prepared, strict=True):
        assert result.grid == same.grid == (pixels.shape[0] // 16, pixels.shape[1] // 16)
        assert np.array_equal(result.tokens, same.tokens)
        assert (same.scale, same.offset) == ((1, 1), (0, 0))
        at = placement(*image.shape[:2], patch_px=16, sizing=sizing)
        if at is None:
            assert result.scale == (pixels.shape[0] / image.shape[0], pixels.shape[1] / image.shape[1])
            assert result.offset == (0, 0)
        else:
            assert (result.scale, result.offset) == ((1, 1), tuple(at))


def test_a_padded_image_above_the_cap_is_resized(session_with) -> None:
    image = np.random.default_rng(0).integers(0, 256, (100, 60, 3), np.uint8)
    sizing = Sizing(rule="native", fit="pad", pad_rgb=(200, 0, 0))
    small, large = session_with(sizing, cap=12).run([image[:40, :50].copy(), image])
    assert (small.grid, small.scale) == ((3, 4), (1, 1))
    assert large.grid == target_grid(100, 60, patch_px=16, sizing=Sizing(rule="token-cap", max_tokens=12))
    assert large.scale == (large.grid[0] * 16 / 100, large.grid[1] * 16 / 60)


# --- fields and text ---------------------------------------------------------------------------------------------

EXAMPLES = {
    "token-cap": Sizing(rule="token-cap", max_tokens=64, upscale=True),
    "native": Sizing(rule="native"),
    "native-pad": Sizing(rule="native", fit="pad", pad_rgb=(124, 116, 104)),
    "native-crop": Sizing(rule="native", fit="crop"),
    "naflex": Sizing(rule="naflex", max_tokens=100),
    "smart-resize": Sizing(rule="smart-resize", merge=2, min_pixels=3136, max_pixels=50_000),
    "longest-side": Sizing(rule="longest-side", longest_px=100),
    "fixed": Sizing(rule="fixed", height_px=64, width_px=96),
}

WRONG: dict[str, tuple[dict[str, object], str]] = {
    "no such rule": ({"rule": "square"}, "square.*token-cap, native, naflex, smart-resize, longest-side, fixed"),
    "no limit": ({"rule": "naflex"}, "max_tokens.*0|max_tokens is 0"),
    "a negative limit": ({"rule": "naflex", "max_tokens": -3}, "max_tokens is -3"),
    "a field of another rule": ({"rule": "naflex", "max_tokens": 5, "fit": "pad"}, "fit.*its fields are max_tokens"),
    "no side": ({"rule": "longest-side"}, "longest_px"),
    "a fixed size between patches": ({"rule": "fixed", "height_px": 17, "width_px": 16}, "patch side 16"),
    "half a fixed size": ({"rule": "fixed", "height_px": 16}, "patch side 16"),
    "no such fit": ({"rule": "native", "fit": "zoom"}, "fit is .zoom.; (known:|expected one of) resize, pad, crop"),
    "a colour for nothing": ({"rule": "native", "pad_rgb": [1, 1, 1]}, "pad_rgb.*fit is '?resize"),
    "too bright": ({"rule": "native", "fit": "pad", "pad_rgb": [1, 1, 256]}, "256"),
    "no merge": ({"rule": "smart-resize", "min_pixels": 1, "max_pixels": 2}, "merge is 0"),
    "a range that is empty": (
        {"rule": "smart-resize", "merge": 2, "min_pixels": 5, "max_pixels": 4},
        "1 <= min_pixels <= max_pixels",
    ),
    "a range without end": (
        {"rule": "smart-resize", "merge": 2, "min_pixels": 5, "max_pixels": 2**53 + 1},
        "9007199254740993",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_fields_are_refused_in_both_readers(case: str) -> None:
    fields, message = WRONG[case]
    with pytest.raises(BundleError, match=message):
        _core.resize_targets(np.array([[5, 5]], np.int32), patch_px=16, sizing=json.dumps(fields))
    values = {**fields, "pad_rgb": tuple(fields.get("pad_rgb", (0, 0, 0)))}  # type: ignore[arg-type]
    sizing = Sizing(**values)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match=message):
        target_grid(5, 5, patch_px=16, sizing=sizing)


@pytest.mark.parametrize("text", ["{", "[]", '{"rule": 5}', '{"rule": "native", "foo": 1}', '{"max_tokens": 5}'])
def test_what_is_no_sizing_is_refused(text: str) -> None:
    with pytest.raises(BundleError, match="sizing"):
        _core.resize_targets(np.array([[5, 5]], np.int32), patch_px=16, sizing=text)


@pytest.mark.parametrize("rule", EXAMPLES)
def test_examples_of_every_rule_are_accepted_and_keep_their_limit(rule: str) -> None:
    sizing = EXAMPLES[rule]
    assert fault(sizing, 16) == ""
    sizes = random_sizes(11)[:1000]
    sizes = np.ascontiguousarray(sizes[sizes.max(axis=1) <= 10 * sizes.min(axis=1)])
    limit = most_tokens(sizing, 16)
    tokens = in_cpp(sizes, 16, sizing).prod(axis=1, dtype=np.int64)
    assert tokens.max() <= (limit if limit is not None else sys.maxsize)
    if limit is not None:
        assert tokens.max() > 0.8 * limit


def test_the_examples_of_the_documentation_are_what_the_rules_give(repository: Path) -> None:
    text = (repository / "docs" / "preprocessing.md").read_text(encoding="utf-8")
    row = r"\| (\d+) × (\d+) \| (\d+) \| `([^`]+)` \| (\d+) × (\d+) \| (\d+) × (\d+) \|"
    rows = re.findall(row, text)
    assert {parse(rule).rule for _, _, _, rule, *_ in rows} == set(FIELDS)
    for height, width, patch, rule, *expected in rows:
        grid = in_cpp(np.array([[height, width]], np.int32), int(patch), parse(rule))[0]
        assert [*grid, *(grid * int(patch))] == [int(value) for value in expected], rule


@pytest.mark.parametrize("rule", EXAMPLES)
def test_a_rule_reads_back_as_it_is_described_and_written(rule: str) -> None:
    sizing = EXAMPLES[rule]
    assert msgspec.json.decode(to_json(sizing), type=Sizing) == sizing
    assert describe(sizing).startswith(f"{sizing.rule} (")
    assert fault(parse(example(sizing.rule)), 16) == ""


def test_text_gives_a_rule_with_its_fields() -> None:
    assert parse("native") == Sizing(rule="native")
    assert parse("native:fit=pad,pad_rgb=1/2/3") == Sizing(rule="native", fit="pad", pad_rgb=(1, 2, 3))
    assert parse("naflex", max_tokens=7) == Sizing(rule="naflex", max_tokens=7)
    assert parse("naflex:max_tokens=5", max_tokens=7) == Sizing(rule="naflex", max_tokens=5)
    assert parse("token-cap:upscale=true", max_tokens=9) == Sizing(rule="token-cap", max_tokens=9, upscale=True)
    assert parse("native", max_tokens=7) == Sizing(rule="native")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("square", 'sizing rule "square" is unknown; expected one of token-cap, native'),
        ("naflex:max_tokens", 'has "max_tokens"; expected naflex:max_tokens=256'),
        ("naflex:merge=2", 'has "merge=2"; expected naflex:max_tokens=256; naflex takes max_tokens'),
        ("naflex:max_tokens=many", "Expected `int`, got `str`"),
        ("naflex:max_tokens=5,max_tokens=6", "gives max_tokens twice"),
        ("native:fit=pad,pad_rgb=1/2", "Expected `array` of length 3"),
    ],
)
def test_text_that_gives_no_rule_is_refused_with_an_example(text: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=re.escape(message)):
        parse(text)


def test_sizes_of_another_shape_or_type_are_refused() -> None:
    sizing = to_json(EXAMPLES["native"])
    with pytest.raises(InvalidInputError, match="expected int32"):
        _core.resize_targets(np.array([5, 5], np.int32), patch_px=16, sizing=sizing)
    with pytest.raises(TypeError):
        _core.resize_targets(np.array([[5.0, 5.0]]), patch_px=16, sizing=sizing)  # type: ignore[arg-type]
