"""What requests hold and may ask for, without a network or a model: tensors, parameters, limits."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from samples import error_of, joined, pictures

import navit_edge as ne
from navit_edge.errors import InvalidInputError
from navit_edge.serve.errors import Code
from navit_edge.serve.limits import Limits, Room
from navit_edge.serve.request import Parameters
from navit_edge.serve.tensors import InputTensor, images_of

LIMITS = Limits()


def test_every_layout_of_pixels_gives_the_images() -> None:
    images = pictures(3)
    ragged = [
        InputTensor(name="pixels", datatype="UINT8", shape=(sum(image.size for image in images),),
                    raw=b"".join(image.tobytes() for image in images)),
        InputTensor(name="shapes", datatype="INT64", shape=(3, 3), values=[list(image.shape) for image in images]),
    ]  # fmt: skip
    for found, expected in zip(images_of(ragged, LIMITS), images, strict=True):
        np.testing.assert_array_equal(found, expected)  # type: ignore[arg-type]
    image = images[0]
    one = InputTensor(name="pixels", datatype="UINT8", shape=image.shape, values=image.tolist())
    np.testing.assert_array_equal(images_of([one], LIMITS), [image])  # type: ignore[arg-type]
    gray = InputTensor(name="pixels", datatype="UINT8", shape=(2, 4, 5, 1), raw=bytes(range(40)))
    np.testing.assert_array_equal(images_of([gray], LIMITS), np.arange(40).reshape(2, 4, 5))  # type: ignore[arg-type]


def test_files_are_read_from_bytes_with_lengths_and_from_values() -> None:
    files = [b"ab", b"c" * 300]
    for tensor in (
        InputTensor(name="images", datatype="BYTES", shape=(2,), raw=joined(files)),
        InputTensor(name="images", datatype="BYTES", shape=(2, 1), values=[[b"ab"], [b"c" * 300]]),
    ):
        assert [bytes(file) for file in images_of([tensor], LIMITS)] == files


GOOD = {"name": "images", "datatype": "BYTES", "shape": (1,), "raw": joined([b"x"])}
PIXELS = {"name": "pixels", "datatype": "UINT8", "shape": (1, 1, 3), "raw": b"xyz"}


@pytest.mark.parametrize(
    ("change", "of"),
    [
        ({"shape": (2,)}, GOOD),
        ({"shape": (0,)}, GOOD),
        ({"shape": (-1,)}, GOOD),
        ({"shape": ()}, GOOD),
        ({"shape": (1 << 62, 1 << 62)}, GOOD),
        ({"datatype": "FP32"}, GOOD),
        ({"name": "image"}, GOOD),
        ({"raw": joined([b""])}, GOOD),
        ({"raw": joined([b"x"])[:-1]}, GOOD),
        ({"raw": joined([b"x"]) + b"y"}, GOOD),
        ({"raw": struct.pack("<I", 1 << 31)}, GOOD),
        ({"raw": None, "values": ["text"]}, GOOD),
        ({"raw": None, "values": [b"x", b"y"]}, GOOD),
        ({"shape": (1, 1, 2)}, PIXELS),
        ({"shape": (3,)}, PIXELS),
        ({"shape": (1, 3)}, PIXELS),
        ({"raw": b"xy"}, PIXELS),
        ({"raw": None, "values": [1, 2, 300]}, PIXELS),
        ({"raw": None, "values": [1, 2, 1.5]}, PIXELS),
        ({"raw": None, "values": [1, 2, -1]}, PIXELS),
        ({"raw": None, "values": [1, [2], 3]}, PIXELS),
        ({"raw": None, "values": [True, True, True]}, PIXELS),
        ({"raw": None, "values": None}, PIXELS),
    ],
)
def test_a_tensor_that_is_not_what_it_says_is_refused(change: dict[str, Any], of: dict[str, Any]) -> None:
    images_of([InputTensor(**of)], LIMITS)
    error = error_of(lambda: images_of([InputTensor(**(of | change))], LIMITS))
    assert error.code in (Code.BAD_INPUT, Code.TOO_LARGE)
    assert len(error.message) < 400


def test_more_images_than_allowed_are_refused() -> None:
    many = InputTensor(name="images", datatype="BYTES", shape=(65,), raw=joined([b"x"] * 65))
    assert error_of(lambda: images_of([many], LIMITS)).code is Code.TOO_LARGE


@pytest.mark.parametrize(
    "wrong",
    [
        {"deadline_ms": 0},
        {"deadline_ms": -1},
        {"deadline_ms": "soon"},
        {"deadline_ms": float("nan")},
        {"deadline_ms": float("inf")},
        {"timeout": True},
        {"timeout": [1]},
        {"priority": 1.5},
        {"priority": 1 << 40},
        {"priority": "x" * 1000},
        {"top_k": 0},
        {"top_k": "two"},
        {"policy": 7},
        {"policy": "fastest"},
        {"policy": "x" * 1000},
    ],
)
def test_a_parameter_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    assert error_of(lambda: Parameters.of(wrong)).code is Code.BAD_INPUT


def test_parameters_are_read_by_the_names_of_the_protocol() -> None:
    found = Parameters.of({"timeout": 500, "priority": "-2", "policy": "fast", "top_k": 2.0, "sequence_id": 1})
    assert found == Parameters(timeout_us=500, priority=-2, policy=ne.Policy("fast"), top_k=2)
    assert found.session_deadline_ms == 0.45
    assert Parameters.of({"timeout": 0, "deadline_ms": 7}).session_deadline_ms == 7


def test_requests_share_a_number_of_bytes_and_one_always_fits() -> None:
    room = Room(100)
    with room.holding() as first:
        first.grow_to(500)  # alone
        with room.holding() as second:
            assert error_of(lambda: second.grow_to(1)).code is Code.QUEUE_FULL
    assert room.held == 0
    with room.holding() as first, room.holding() as second:
        first.grow_to(60)
        second.grow_to(40)
        assert room.held == 100


def test_limits_are_numbers_above_none() -> None:
    for name in ("max_body_bytes", "idle_timeout_s", "max_images"):
        with pytest.raises(InvalidInputError, match=name):
            Limits(**{name: 0})
