"""Packing changes no number: an image gives the same result alone, packed with any others, and in any order."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import pytest
from limits import Limits

import navit_edge as ne

Photographs = Mapping[str, npt.NDArray[np.uint8]]


def distance(one: ne.Result, other: ne.Result) -> float:
    """Largest difference over all outputs of two results of the same image."""
    assert one.grid == other.grid
    pairs = [(one.logits, other.logits), (one.embedding, other.embedding), (one.tokens, other.tokens)]
    return max(float(np.abs(a - b).max()) for a, b in pairs)


def same_bits(one: ne.Result, other: ne.Result) -> bool:
    pairs = [(one.logits, other.logits), (one.embedding, other.embedding), (one.tokens, other.tokens)]
    return all(a.tobytes() == b.tobytes() for a, b in pairs)


@pytest.fixture(scope="session")
def alone(session: ne.Session, photographs: Photographs) -> dict[str, ne.Result]:
    """Each photograph in a run of its own."""
    return {name: session.run([image])[0] for name, image in photographs.items()}


def test_photographs_tell_themselves_apart(alone: dict[str, ne.Result], limits: Limits) -> None:
    """The tests below compare numbers that are far apart for different images; else they would show nothing."""
    names = list(alone)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            assert np.abs(alone[one].logits - alone[other].logits).max() > 3 * limits.packing, f"{one} and {other}"


def test_an_image_gives_the_same_numbers_packed_and_alone(
    session: ne.Session, photographs: Photographs, alone: dict[str, ne.Result], limits: Limits
) -> None:
    packed = session.run(list(photographs.values()))
    assert max(report["images"] for report in session.last_report["packs"]) > 1, "nothing was packed together"
    for name, result in zip(photographs, packed, strict=True):
        assert distance(result, alone[name]) <= limits.packing, name


@pytest.mark.parametrize("seed", range(5))
def test_an_image_gives_the_same_numbers_in_any_order_and_company(
    session: ne.Session, photographs: Photographs, alone: dict[str, ne.Result], limits: Limits, seed: int
) -> None:
    draw = random.Random(seed)
    names = draw.choices(list(photographs), k=draw.randint(2, 12))
    for name, result in zip(names, session.run([photographs[name] for name in names]), strict=True):
        assert distance(result, alone[name]) <= limits.packing, name


def test_changing_one_image_leaves_the_results_of_the_others_bit_equal(
    session: ne.Session, photographs: Photographs
) -> None:
    images = list(photographs.values())
    before = session.run(images)
    for changed in range(len(images)):
        other = [255 - image if i == changed else image for i, image in enumerate(images)]
        after = session.run(other)
        for i in range(len(images)):
            assert same_bits(before[i], after[i]) == (i != changed), f"image {i} when image {changed} changed"


def test_the_same_run_gives_the_same_bits(session: ne.Session, photographs: Photographs) -> None:
    images = list(photographs.values())
    for one, other in zip(session.run(images), session.run(images), strict=True):
        assert same_bits(one, other)


def test_every_output_agrees_with_pytorch_on_each_image_alone(
    session: ne.Session,
    photographs: Photographs,
    pytorch_alone: Callable[[npt.NDArray[np.uint8]], dict[str, npt.NDArray[np.float32]]],
    limits: Limits,
) -> None:
    results = session.run(list(photographs.values()))
    for (name, image), result in zip(photographs.items(), results, strict=True):
        expected = pytorch_alone(image)
        for output in ("logits", "embedding", "tokens"):
            found = getattr(result, output)
            assert found.shape == expected[output].shape
            assert np.abs(found - expected[output]).max() <= limits.pytorch, f"{output} of {name}"


def test_results_come_in_input_order_however_images_are_packed(
    session: ne.Session, photographs: Photographs, alone: dict[str, ne.Result]
) -> None:
    names = sorted(photographs) * 3
    results = session.run([photographs[name] for name in names])
    assert len(session.last_report["packs"]) > 1, "one pack keeps the order by itself"
    assert len({result.pack for result in results}) > 1
    for name, result in zip(names, results, strict=True):
        assert result.pixels == photographs[name].shape[:2]
        assert result.grid == alone[name].grid


def test_the_report_adds_up(session: ne.Session, photographs: Photographs) -> None:
    results = session.run(list(photographs.values()) * 2)
    packs = session.last_report["packs"]
    assert sum(pack["images"] for pack in packs) == len(results)
    for index, pack in enumerate(packs):
        members = [result for result in results if result.pack == index]
        assert pack["images"] == len(members)
        assert pack["tokens"] == sum(result.token_count for result in members)
        assert pack["tokens"] <= pack["capacity"] <= pack["budget_tokens"]
        assert pack["engine_us"] > 0
        assert pack["preprocess_us"] > 0
    assert session.last_report["total_us"] > 0


def test_images_of_one_pixel_and_of_one_row_run(
    session: ne.Session, pytorch_alone: Callable[..., dict[str, npt.NDArray[np.float32]]], limits: Limits
) -> None:
    rng = np.random.default_rng(0)
    shapes = [(1, 1), (1, 500), (500, 1), (16, 16), (17, 15), (3, 4000)]
    images = [rng.integers(0, 256, (*shape, 3), np.uint8) for shape in shapes]
    for image, result in zip(images, session.run(images), strict=True):
        expected = pytorch_alone(image)
        assert np.abs(result.logits - expected["logits"]).max() <= limits.pytorch, image.shape
