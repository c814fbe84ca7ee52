"""Submitting what is wrong: an image fails alone, by its future; wrong arguments are refused by the call."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import navit_edge as ne

RGB = np.zeros((48, 64, 3), np.uint8)


@pytest.fixture
def session(tiny_bundle: Path) -> Iterator[ne.Session]:
    with ne.Session(tiny_bundle, precision="fp32") as opened:
        yield opened


BAD_IMAGES: dict[str, tuple[Any, str]] = {
    "zero height": (np.zeros((0, 64, 3), np.uint8), "image is empty"),
    "float pixels": (RGB.astype(np.float32), "image has dtype float32"),
    "strided view": (RGB[:, ::2], "image is a strided view"),
    "a number": (3, "image is of type int"),
    "None": (None, "image is of type NoneType"),
    "a list": ([RGB], "image is of type list"),
    "missing path": ("no/such/photo.jpg", "no such file"),
    "PIL mode I": (Image.new("I", (8, 8)), "image holds integers of 32 bits"),
}


@pytest.mark.parametrize("case", BAD_IMAGES)
def test_what_is_wrong_with_an_image_is_its_futures_error(session: ne.Session, case: str) -> None:
    image, text = BAD_IMAGES[case]
    called: list[object] = []
    bad, good = session.submit(image, tag=case), session.submit(RGB)
    bad.add_done_callback(called.append)
    assert isinstance(bad.exception(60), ne.InvalidInputError)
    assert text in str(bad.exception())
    assert called == [bad]
    with pytest.raises(ne.InvalidInputError):
        bad.result()
    assert not bad.cancel()
    assert good.result(60).error is None


def test_an_image_above_every_budget_fails_alone(small_budget_bundle: Path) -> None:
    with ne.Session(small_budget_bundle, precision="fp32") as session:
        large, good = session.submit(np.zeros((256, 256, 3), np.uint8)), session.submit(RGB)
        with pytest.raises(ne.OverBudgetError, match="256 tokens"):
            large.result(60)
        assert good.result(60).error is None


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"deadline_ms": -1}, "deadline_ms is -1; expected milliseconds from the call, more than 0"),
        ({"deadline_ms": 0}, "deadline_ms is 0; expected milliseconds from the call, more than 0"),
        ({"deadline_ms": float("nan")}, "deadline_ms is nan"),
        ({"deadline_ms": float("inf")}, "deadline_ms is inf"),
        ({"deadline_ms": "5"}, "deadline_ms is '5'; expected milliseconds"),
        ({"deadline_ms": True}, "deadline_ms is True"),
        ({"deadline_ms": np.zeros(1)}, "deadline_ms is array"),
        ({"deadline_ms": 10**400}, "deadline_ms is 1000"),
        ({"priority": 1.5}, "priority is 1.5; expected a whole number, higher leaves first, -2147483648 to 2147483647"),
        ({"priority": 2**31}, "priority is 2147483648"),
        ({"priority": "high"}, "priority is 'high'"),
        ({"priority": None}, "priority is None"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_at_once(
    session: ne.Session, arguments: dict[str, Any], text: str
) -> None:
    with pytest.raises(ne.InvalidInputError, match=text):
        session.submit(RGB, **arguments)
    with pytest.raises(ne.InvalidInputError, match=text):
        session.stream([RGB], **arguments)
