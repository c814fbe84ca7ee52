"""Sizing in C++ against its reference, the Python sizing rules. Resizing: test_resize.py."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from navit_edge import _core
from navit_edge.bundle.sizing_rule import Sizing, to_json
from navit_edge.errors import InvalidInputError
from navit_edge_export.sizing import target_grid

SIDE = st.one_of(st.integers(1, 64), st.integers(1, 5000), st.integers(1, 1 << 20))


def core_grid(height: int, width: int, patch: int, sizing: Sizing) -> tuple[int, int]:
    grids = _core.resize_targets(np.array([[height, width]], np.int32), patch_px=patch, sizing=to_json(sizing))
    return int(grids[0, 0]), int(grids[0, 1])


@settings(max_examples=2000, deadline=None)
@given(height=SIDE, width=SIDE, patch=st.sampled_from([4, 8, 14, 16, 32]), cap=st.integers(1, 4096))
def test_the_grid_under_a_token_cap_is_that_of_the_reference(height: int, width: int, patch: int, cap: int) -> None:
    sizing = Sizing(rule="token-cap", max_tokens=cap)
    found = core_grid(height, width, patch, sizing)
    assert found == target_grid(height, width, patch_px=patch, sizing=sizing)
    assert found[0] * found[1] <= cap


@settings(max_examples=500, deadline=None)
@given(height=SIDE, width=SIDE, patch=st.sampled_from([14, 16]))
def test_the_native_grid_is_that_of_the_reference(height: int, width: int, patch: int) -> None:
    sizing = Sizing(rule="native")
    assert core_grid(height, width, patch, sizing) == target_grid(height, width, patch_px=patch, sizing=sizing)


@settings(max_examples=500, deadline=None)
@given(side=st.integers(17, 4000), aspect=st.floats(0.2, 5.0), cap=st.integers(64, 2048))
def test_the_capped_grid_keeps_the_aspect_to_within_a_patch(side: int, aspect: float, cap: int) -> None:
    height, width = side, max(17, round(side * aspect))
    rows, cols = core_grid(height, width, 16, Sizing(rule="token-cap", max_tokens=cap))
    # Some scale of the image must round to this grid: the ranges of scales of the two sides meet.
    low = max((rows - 0.5) / height, (cols - 0.5) / width)
    high = min((rows + 0.5) / height, (cols + 0.5) / width)
    assert low <= high + 1e-12 or 1 in (rows, cols)


def test_an_unknown_filter_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidInputError, match=r"mitchell.*bilinear.*bicubic"):
        _core.resize(np.zeros((4, 4, 3), np.uint8), (2, 2), "mitchell")
