"""The fields of a sizing rule and its text: what readers take and refuse, and what comes back."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from sizing_cases import EXAMPLES, in_cpp, random_sizes

from navit_edge import _core
from navit_edge.bundle.sizing_rule import FIELDS, Sizing, describe, example, fault, most_tokens, parse, to_json
from navit_edge.errors import BundleError, InvalidInputError
from navit_edge_export.sizing import target_grid

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
    "a merge below none": ({"rule": "longest-side", "longest_px": 9, "merge": -2}, "merge"),
    "a merge too large": ({"rule": "longest-side", "longest_px": 9, "merge": 1025}, "merge of 0 to 1024"),
    "a budget below a cell": (
        {"rule": "patch-budget", "merge": 3, "max_tokens": 8},
        r"at least merge \* merge = 9; max_tokens is 8",
    ),
    "a budget without cells": ({"rule": "patch-budget", "max_tokens": 8}, "patch-budget needs a merge.*merge is 0"),
    "a range that is empty": (
        {"rule": "smart-resize", "merge": 2, "min_pixels": 5, "max_pixels": 4},
        "1 <= min_pixels <= max_pixels",
    ),
    "no such enlargement": (
        {"rule": "smart-resize", "merge": 2, "min_pixels": 4, "max_pixels": 9, "enlarge": "up"},
        "enlarge is .up.; (known:|expected one of) off, floor, nearest",
    ),
    "an enlargement of another rule": (
        {"rule": "naflex", "max_tokens": 5, "enlarge": "floor"},
        "no field enlarge",
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
