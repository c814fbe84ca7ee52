"""Maps over the patches as pixels of the image: a mark comes out where it was, and Pillow gives the same pixels."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import navit_edge as ne
from navit_edge.bundle import manifest as manifests
from navit_edge.bundle.sizing_rule import parse

P = 16
#: Rule, size of the image (height, width): scaled down and up, moved, cut off, filled up.
CASES = {
    "token-cap": ("token-cap:max_tokens=96", (331, 203)),
    "token-cap up": ("token-cap:max_tokens=96,upscale=true", (61, 90)),
    "much larger on its grid": ("token-cap:max_tokens=96,upscale=true", (5, 7)),
    "native": ("native", (150, 203)),
    "pad": ("native:fit=pad", (150, 203)),
    "crop": ("native:fit=crop", (155, 204)),
    "crop below a patch": ("native:fit=crop", (9, 203)),
    "naflex": ("naflex:max_tokens=64", (150, 203)),
    "smart-resize": ("smart-resize:merge=2,min_pixels=16384,max_pixels=65536", (331, 203)),
    "longest-side": ("longest-side:longest_px=160,merge=2", (331, 203)),
    "patch-budget": ("patch-budget:merge=2,max_tokens=64", (150, 203)),
    "navit-resize": ("navit-resize:max_tokens=256,longest_px=4096,merge=2", (200, 197)),
    "fixed": ("fixed:height_px=96,width_px=160", (331, 203)),
}
Map = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("on-image") / "tiny.navit"))


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, bundle: Path) -> tuple[str, tuple[int, int]]:
    """The bundle has the rule; the name of the case, and the size of its image."""
    rule, size = CASES[request.param]
    manifest = manifests.load(bundle)
    preprocess = msgspec.structs.replace(manifest.preprocess, sizing=parse(rule))
    manifests.save(msgspec.structs.replace(manifest, preprocess=preprocess), bundle)
    return request.param, size


@pytest.fixture
def session(tiny_bundle: Path) -> Iterator[ne.Session]:
    with ne.Session(tiny_bundle, precision="fp32") as opened:
        yield opened


def by_pillow(result: ne.Result, cells: Map, how: Image.Resampling) -> Map:
    """What Pillow makes of a map [rows, columns] over the grid; NaN where the image lies outside of it."""
    picture = np.full(result.pixels, np.nan, np.float32)
    seen, box, cut = [], [], []
    for side in (0, 1):
        cell_px = result.grid[side] * P / cells.shape[side]
        scale, offset, pixels = result.scale[side], result.offset[side], result.pixels[side]
        first, end = max(0, -offset), min(pixels, result.grid[side] * P - offset) if scale == 1 else pixels
        begin, stop = (first * scale + offset) / cell_px, (end * scale + offset) / cell_px
        held = [i for i in range(cells.shape[side]) if i + 1 > begin + 1e-9 and i < stop - 1e-9]
        seen.append(slice(first, end))
        cut.append(slice(held[0], held[-1] + 1))
        box.append((begin - held[0], min(stop - held[0], len(held))))
    (top, bottom), (left, right) = box
    size = (seen[1].stop - seen[1].start, seen[0].stop - seen[0].start)
    part = Image.fromarray(np.ascontiguousarray(cells[cut[0], cut[1]]))
    picture[seen[0], seen[1]] = np.asarray(part.resize(size, how, box=(left, top, right, bottom)))
    return picture


def test_a_mark_comes_out_where_it_was(bundle: Path, case: tuple[str, tuple[int, int]]) -> None:
    """The patches that change most when a mark is drawn, through the session, and back."""
    _, size = case
    plain = np.random.default_rng(1).integers(90, 110, (*size, 3), np.uint8)
    side = [max(1, pixels // 6) for pixels in size]
    places = [(size[0] // 5, size[1] // 6), (size[0] // 2, size[1] * 2 // 3)]
    marked = [plain.copy() for _ in places]
    for image, (y, x) in zip(marked, places, strict=True):
        image[y : y + side[0], x : x + side[1]] = (255, 0, 0)
    with ne.Session(bundle, precision="fp32") as session:
        before, *after = session.run([plain, *marked])
    assert before.tokens is not None
    for result, (y, x) in zip(after, places, strict=True):
        change = np.linalg.norm(np.asarray(result.tokens) - before.tokens, axis=1)
        picture = result.on_image(change)
        assert picture.shape == result.pixels == size
        strong = np.argwhere(np.nan_to_num(picture) > 0.6 * np.nanmax(picture))
        cell = [P / result.scale[0], P / result.scale[1]]
        centre = (y + side[0] / 2, x + side[1] / 2)
        assert (np.abs(strong.mean(0) + 0.5 - centre) < np.maximum(cell, 1)).all(), (strong.mean(0), centre, cell)
        inside = picture[y : y + side[0], x : x + side[1]]
        assert np.nanmean(inside) > 2 * np.nanmean(picture)


def test_the_pixels_are_pillows(bundle: Path, case: tuple[str, tuple[int, int]]) -> None:
    name, size = case
    with ne.Session(bundle, precision="fp32") as session:
        (result,) = session.run([np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)])
    rows, columns = result.grid
    values = np.random.default_rng(2).normal(size=(rows * columns, 2)).astype(np.float32)
    found = result.on_image(values)
    assert found.shape == (*size, 2)
    assert found.dtype == np.float32
    for channel in (0, 1):
        expected = by_pillow(result, values[:, channel].reshape(rows, columns), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(found[..., channel], expected, atol=2e-5)
    assert np.isnan(found).any() == name.startswith("crop")
    assert np.array_equal(result.on_image(values.reshape(rows, columns, 2)), found, equal_nan=True)
    nearest = result.on_image(values[:, 0], filter="nearest", fill=-9.0)
    assert set(np.unique(nearest)) <= {*values[:, 0], np.float32(-9)}
    if rows % 2 == 0 and columns % 2 == 0:  # as of a model that merges 2 x 2 patches
        cells = values[: rows * columns // 4, 0]
        expected = by_pillow(result, cells.reshape(rows // 2, columns // 2), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(result.on_image(cells), expected, atol=2e-5)
        assert np.array_equal(result.on_image(cells.reshape(rows // 2, -1)), result.on_image(cells), equal_nan=True)


def test_what_was_dropped_is_no_data_and_no_part_of_its_neighbours(session: ne.Session) -> None:
    mask = np.random.default_rng(3).random((10, 8)) < 0.6
    image = np.random.default_rng(1).integers(0, 256, (160, 128, 3), np.uint8)
    (result,) = session.run([image], policy=ne.Policy.drop(mask))
    values = np.random.default_rng(2).normal(size=int(mask.sum())).astype(np.float32)
    found = result.on_image(values)
    assert np.array_equal(np.isnan(found), np.kron(~mask, np.ones((P, P), bool)))
    grid = result.on_grid(values)
    parts = [by_pillow(result, one.astype(np.float32), Image.Resampling.BILINEAR) for one in (grid, mask)]
    known = ~np.isnan(found)
    np.testing.assert_allclose(found[known], parts[0][known] / parts[1][known], atol=2e-5)
    assert np.array_equal(result.on_image(grid), found, equal_nan=True)
    assert np.array_equal(result.on_image(values, fill=7.0), np.nan_to_num(found, nan=7.0))


def test_a_picture_of_another_size_is_pillows_too(session: ne.Session) -> None:
    (result,) = session.run([np.random.default_rng(1).integers(0, 256, (160, 128, 3), np.uint8)])
    values = np.random.default_rng(2).normal(size=(10, 8)).astype(np.float32)
    for size in ((7, 5), (160, 128), (333, 1)):
        expected = np.asarray(Image.fromarray(values).resize(size[::-1], Image.Resampling.BILINEAR))
        np.testing.assert_allclose(result.on_image(values, size=size), expected, atol=2e-5)
    assert np.array_equal(
        result.on_image(values.round() > 0, filter="nearest"), np.kron(values.round() > 0, np.ones((P, P)))
    )
    unpickled = pickle.loads(pickle.dumps(result))
    assert np.array_equal(unpickled.on_image(values), result.on_image(values))


def test_values_that_are_no_map_are_refused(session: ne.Session) -> None:
    (result,) = session.run([np.zeros((160, 128, 3), np.uint8)])
    cases = [
        (lambda: result.on_image(np.zeros(79)), "79 rows of values for 80 patches on a grid of 10 x 8"),
        (lambda: result.on_image(np.zeros((8, 10))), "8 rows of values"),
        (lambda: result.on_image(["a"] * 80), "expected numbers, a row for each patch"),
        (lambda: result.on_image(np.zeros(0)), "expected numbers"),
        (
            lambda: result.on_image(np.zeros(80), filter="bicubic"),
            "the filter is 'bicubic'; expected bilinear",
        ),
        (lambda: result.on_image(np.zeros(80), size=(0, 5)), "the size is 0 x 5 pixels"),
        (lambda: result.on_image(np.zeros(80), size=5), r"size is 5; expected \(height_px, width_px\)"),
        (lambda: result.on_image(), "no attention map; export with --outputs attention-map"),
        (lambda: ne.Result.failed(ValueError("torn")).on_image(), "the image failed and has no attention map: torn"),
        (lambda: ne.Result.failed(ValueError("torn")).on_image(np.zeros(1)), "does not say where its image lies"),
    ]
    for call, message in cases:
        with pytest.raises(ne.InvalidInputError, match=message):
            call()
