"""pack(): the inputs of an engine, against the reference in numpy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import navit_edge as ne
from navit_edge import _core
from navit_edge.bundle.sizing_rule import Sizing, to_json
from navit_edge.errors import InvalidInputError


def pixels(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("prefix_tokens", [0, 2])
def test_pack_gives_the_inputs_that_the_reference_in_numpy_gives(prefix_tokens: int) -> None:
    reference = pytest.importorskip("navit_edge_export.preprocess")
    images = [pixels(30, 50, 1), pixels(64, 16, 2), pixels(16, 16, 3)]
    ours = ne.pack(images, patch_px=16, prefix_tokens=prefix_tokens, pad_to=(40, 5))
    sizes = [tuple(max(1, (2 * side + 16) // 32) * 16 for side in image.shape[:2]) for image in images]
    resized = [
        np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))
        for image, size in zip(images, sizes, strict=True)
    ]
    used = sum((h // 16) * (w // 16) + prefix_tokens for h, w in sizes)
    expected = reference.pack(
        resized, patch_px=16, prefix_tokens=prefix_tokens, padding_tokens=40 - used, padding_images=2
    ).inputs()
    assert ours.keys() == expected.keys()
    for name, array in expected.items():
        assert ours[name].dtype == array.dtype
        np.testing.assert_array_equal(ours[name], array, err_msg=name)


def test_pack_refuses_what_does_not_fit() -> None:
    with pytest.raises(InvalidInputError, match="more than its budget of 3 tokens"):
        ne.pack([pixels(32, 32)], pad_to=(3, 1))
    with pytest.raises(InvalidInputError, match="at least one"):
        ne.pack([])
    with pytest.raises(InvalidInputError, match="pad_to"):
        ne.pack([pixels(32, 32)], pad_to=(0, 1))
    assert ne.pack([pixels(100, 100)], max_tokens=9)["patches"].shape == (9, 768)


def test_a_packer_uses_the_memory_of_its_last_pack_again_once_nobody_has_it() -> None:
    packer = _core.Packer.of(inputs=["patches"], patch_px=16, sizing=to_json(Sizing(rule="native")))
    images = [pixels(64, 64, seed) for seed in range(2)]

    def written(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        patches: npt.NDArray[np.uint8] = packer.write([image], [(4, 4)])["patches"]
        return patches

    places = {written(image).ctypes.data for image in images * 3}
    assert len(places) == 1
    first = written(images[0])
    kept = first.copy()
    second = written(images[1])
    assert not np.shares_memory(first, second)
    np.testing.assert_array_equal(first, kept)
