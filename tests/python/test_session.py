"""Wrong images each give their own clear error: what was found, what was expected, what to do."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import navit_edge as ne

Photographs = Mapping[str, npt.NDArray[np.uint8]]

RGB = np.zeros((48, 64, 3), np.uint8)


def words(*parts: str) -> str:
    """A pattern that finds these parts in this order."""
    return "(?s)" + ".*".join(re.escape(part) for part in parts)


# --- images -----------------------------------------------------------------------------------------------------


def test_arrays_pil_images_and_paths_give_the_same_numbers(
    tiny_session: ne.Session, photographs: Photographs, tmp_path: Path
) -> None:
    pixels = photographs["cat"]
    path = tmp_path / "cat.png"
    Image.fromarray(pixels).save(path)
    results = tiny_session.run([pixels, Image.fromarray(pixels), path, str(path)])
    for result in results[1:]:
        assert np.abs(result.logits - results[0].logits).max() <= 1e-5


def test_a_tuple_of_images_is_as_good_as_a_list(tiny_session: ne.Session) -> None:
    assert len(tiny_session.run((RGB, RGB))) == 2


def test_an_image_in_another_format_gives_the_result_of_its_rgb(
    tiny_session: ne.Session, photographs: Photographs
) -> None:
    rgb = np.ascontiguousarray(photographs["cat"][100:200, 50:190])
    gray = np.ascontiguousarray(rgb[:, :, 1])
    alpha = np.dstack([rgb, gray])
    reversed_rgb = np.ascontiguousarray(rgb[:, :, ::-1])
    colour = [
        alpha,
        reversed_rgb[:, :, ::-1],
        alpha[:, :, :3],
        photographs["cat"][100:200, 50:190],
        np.ascontiguousarray(rgb[::-1])[::-1],
        ne.Pixels(reversed_rgb, "bgr"),
        Image.fromarray(rgb),
        Image.fromarray(alpha),
    ]
    cases = {"colour": (rgb, colour), "gray": (np.repeat(gray[:, :, None], 3, 2), [gray, Image.fromarray(gray)])}
    embeddings = []
    for expected_pixels, others in cases.values():
        (expected,) = tiny_session.run([expected_pixels])
        embeddings.append(expected.embedding)
        for other in others:
            (found,) = tiny_session.run([other])
            assert found.grid == expected.grid
            assert np.array_equal(found.embedding, expected.embedding)
    assert not np.array_equal(*embeddings)


def test_an_alpha_channel_that_the_bundle_rejects_fails_alone(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "reject.navit"
    shutil.copytree(tiny_bundle, bundle)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["preprocess"]["alpha"] = "reject"
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    results = ne.Session(bundle).run([RGB, np.dstack([RGB, RGB[:, :, 0]]), RGB], on_error="return")
    assert [result.error is None for result in results] == [True, False, True]
    assert "image 1 has an alpha channel" in str(results[1].error)


WRONG_IMAGES: dict[str, tuple[Any, tuple[str, ...]]] = {
    "zero height": (
        np.zeros((0, 64, 3), np.uint8),
        ("image 1 is empty, [0, 64, 3]", "at least one pixel", "leave it out"),
    ),
    "zero width": (np.zeros((64, 0, 3), np.uint8), ("image 1 is empty, [64, 0, 3]", "at least one pixel")),
    "float pixels": (RGB.astype(np.float32), ("image 1 has dtype float32", "uint8", ".astype(np.uint8)")),
    "16-bit pixels": (RGB.astype(np.uint16), ("image 1 has dtype uint16", "uint8")),
    "strided view": (RGB[:, ::2], ("image 1 is a strided view, [48, 32, 3]", "np.ascontiguousarray")),
    "mirrored": (RGB[:, ::-1], ("image 1 is a strided view, [48, 64, 3]", "np.ascontiguousarray")),
    "two channels": (np.zeros((48, 64, 2), np.uint8), ("image 1 has shape [48, 64, 2]", "[height, width, 3]")),
    "channels first": (
        np.zeros((3, 48, 64), np.uint8),
        ("image 1 has shape [3, 48, 64]", 'layout="chw"', "move them last"),
    ),
    "a batch": (np.zeros((2, 48, 64, 3), np.uint8), ("image 1 has shape [2, 48, 64, 3]", "[height, width, 3]")),
    "five dimensions": (np.zeros((1, 1, 48, 64, 3), np.uint8), ("image 1 has shape [1, 1, 48, 64, 3]",)),
    "a list of numbers": ([[1, 2, 3]], ("image 1 is of type list", "expected a path", "numpy array")),
    "None": (None, ("image 1 is of type NoneType", "numpy array")),
    "PIL mode I": (Image.new("I", (8, 8)), ("image 1 holds integers of 32 bits", "at most 16", "array of uint8")),
    "PIL mode F": (Image.new("F", (8, 8), 7), ("image 1 holds floats of 7 to 7", "expected 0 to 1", "array of uint8")),
    "masked array": (np.ma.masked_less(RGB, 1), ("image 1 is a masked array", "no model sees a mask", "filled(0)")),
    "bytes that are no file": (b"\x89PNG", ("image 1: not an image", "convert it to PNG or JPEG")),
    "PIL without pixels": (Image.new("RGB", (0, 8)), ("image 1 is empty, 8x0 pixels", "leave it out")),
    "missing path": ("no/such/photo.jpg", ("no/such/photo.jpg: no such file", "expected an image")),
}


@pytest.mark.parametrize("case", WRONG_IMAGES)
def test_a_wrong_image_is_refused_with_what_was_found_and_the_remedy(tiny_session: ne.Session, case: str) -> None:
    image, parts = WRONG_IMAGES[case]
    with pytest.raises(ne.InvalidInputError, match=words(*parts)):
        tiny_session.run([RGB, image])


def test_wrong_images_are_value_errors_too(tiny_session: ne.Session) -> None:
    with pytest.raises(ValueError, match="dtype float32"):
        tiny_session.run([RGB.astype(np.float32)])


def test_a_text_file_is_not_an_image(tiny_session: ne.Session, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no pixels here")
    with pytest.raises(ne.InvalidInputError, match=words("notes.txt: not an image", "convert it to PNG or JPEG")):
        tiny_session.run([path])


def test_a_truncated_photograph_is_refused(tiny_session: ne.Session, photographs: Photographs, tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    Image.fromarray(photographs["cat"]).save(path)
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(ne.InvalidInputError, match=words("cut.png: cannot be decoded", "check the file")):
        tiny_session.run([path])


def test_a_directory_is_not_an_image(tiny_session: ne.Session, tmp_path: Path) -> None:
    with pytest.raises(ne.InvalidInputError, match=re.escape(str(tmp_path))):
        tiny_session.run([tmp_path])


@pytest.mark.parametrize(
    ("images", "parts"),
    [
        ([], ("images is empty", "at least one image")),
        ((), ("images is empty", "at least one image")),
        (RGB, ("images is of type ndarray", "list of images", "run([image])")),
        ("photo.jpg", ("images is of type str", "list of images")),
        (Image.new("RGB", (8, 8)), ("images is of type Image", "list of images")),
        (iter([RGB]), ("iterator", "list of images")),
        (None, ("images is of type NoneType", "list of images")),
    ],
)
def test_what_is_not_a_list_of_images_is_refused(tiny_session: ne.Session, images: Any, parts: tuple[str, ...]) -> None:
    with pytest.raises(ne.InvalidInputError, match=words(*parts)):
        tiny_session.run(images)


def test_an_unknown_way_to_handle_errors_is_refused(tiny_session: ne.Session) -> None:
    with pytest.raises(ne.InvalidInputError, match=words("on_error is 'ignore'", '"raise" or "return"')):
        tiny_session.run([RGB], on_error="ignore")  # type: ignore[arg-type]


@pytest.mark.parametrize("case", WRONG_IMAGES)
def test_one_wrong_image_fails_alone(tiny_session: ne.Session, photographs: Photographs, case: str) -> None:
    wrong, parts = WRONG_IMAGES[case]
    good = [photographs["cat"], photographs["eye"]]
    expected = tiny_session.run(good)
    results = tiny_session.run([good[0], wrong, good[1]], on_error="return")
    assert isinstance(results[1].error, ne.InvalidInputError)
    assert re.search(words(*parts), str(results[1].error))
    assert results[1].logits is None
    for found, want in zip((results[0], results[2]), expected, strict=True):
        assert found.error is None
        assert np.abs(found.logits - want.logits).max() <= 1e-5


def test_a_list_of_only_wrong_images_gives_their_errors(tiny_session: ne.Session) -> None:
    results = tiny_session.run([RGB.astype(np.float64), "no/such/photo.jpg"], on_error="return")
    assert "float64" in str(results[0].error)
    assert "no such file" in str(results[1].error)


# --- budgets ----------------------------------------------------------------------------------------------------


def test_an_image_above_every_budget_is_refused_with_its_tokens_and_the_remedy(small_budget_bundle: Path) -> None:
    session = ne.Session(small_budget_bundle, precision="fp32")
    large = np.zeros((256, 256, 3), np.uint8)  # 256 tokens
    with pytest.raises(ne.OverBudgetError, match=words("image 1", "256 tokens", "64", "budget")) as caught:
        session.run([RGB, large])
    assert isinstance(caught.value, ValueError)
    results = session.run([RGB, large, RGB], on_error="return")
    assert isinstance(results[1].error, ne.OverBudgetError)
    assert np.abs(results[0].logits - results[2].logits).max() <= 1e-5


def test_a_lower_cap_on_tokens_makes_a_large_image_fit(small_budget_bundle: Path) -> None:
    session = ne.Session(small_budget_bundle, precision="fp32", max_tokens_per_image=64)
    (result,) = session.run([np.zeros((256, 256, 3), np.uint8)])
    assert result.grid == (8, 8)


def test_a_negative_cap_or_number_of_threads_is_refused(tiny_bundle: Path) -> None:
    with pytest.raises(ne.InvalidInputError, match="max_tokens_per_image"):
        ne.Session(tiny_bundle, max_tokens_per_image=-1)
    with pytest.raises(ne.InvalidInputError, match="threads"):
        ne.Session(tiny_bundle, threads=-1)


def test_no_message_runs_over_several_lines_or_lacks_an_end(tiny_session: ne.Session) -> None:
    for image, _ in WRONG_IMAGES.values():
        (result,) = tiny_session.run([image], on_error="return")
        text = str(result.error)
        assert "\n" not in text
        assert 20 < len(text) < 400
