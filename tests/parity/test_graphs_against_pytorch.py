"""Both graphs under ONNX Runtime give what PyTorch gives for each image alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from covering import Exported, Outputs

from navit_edge_export.preprocess import Pack, pack

TOLERANCE = 2e-5  # max abs, float32

Images = list[npt.NDArray[np.uint8]]
Cut = Callable[[Outputs, Pack, int], Outputs]


def packed_for(exported: Exported, images: Images, **padding: int) -> Pack:
    config = exported.model.config
    return pack(images, patch_px=config.patch_px, prefix_tokens=config.prefix_tokens, **padding)


def largest_difference(found: Outputs, expected: Outputs) -> float:
    assert found.keys() == expected.keys()
    for name in found:
        assert found[name].shape == expected[name].shape, name
        assert found[name].dtype == np.float32, name
    return max(float(np.abs(found[name] - expected[name]).max()) for name in found)


def test_an_image_alone_gives_what_pytorch_gives(exported: Exported, lowering: str, sized_photographs: Images) -> None:
    for image in sized_photographs:
        found = exported.run(lowering, packed_for(exported, [image]))
        assert largest_difference(found, exported.alone(image)) <= TOLERANCE


def test_images_packed_together_give_what_each_gives_alone(
    exported: Exported, lowering: str, sized_photographs: Images, per_image: Cut
) -> None:
    packed = packed_for(exported, sized_photographs)
    found = exported.run(lowering, packed)
    for n, image in enumerate(sized_photographs):
        assert largest_difference(per_image(found, packed, n), exported.alone(image)) <= TOLERANCE


def test_order_and_padding_change_no_result(
    exported: Exported, lowering: str, sized_photographs: Images, per_image: Cut
) -> None:
    order = np.random.default_rng(5).permutation(len(sized_photographs))
    images = [sized_photographs[i] for i in order]
    packed = packed_for(exported, images, padding_tokens=37, padding_images=3, min_longest=130)
    found = exported.run(lowering, packed)
    for n, image in enumerate(images):
        assert largest_difference(per_image(found, packed, n), exported.alone(image)) <= TOLERANCE


def test_images_without_tokens_and_padding_rows_give_finite_numbers(
    exported: Exported, lowering: str, sized_photographs: Images
) -> None:
    for padding in ({"padding_tokens": 9, "padding_images": 4}, {"padding_images": 4}, {"padding_tokens": 9}):
        found = exported.run(lowering, packed_for(exported, sized_photographs[:2], **padding))
        for name, value in found.items():
            assert np.isfinite(value).all(), name


def test_changing_one_image_leaves_every_other_bit_equal(
    exported: Exported, lowering: str, sized_photographs: Images, per_image: Cut
) -> None:
    changed = 2
    inverted = [255 - image if n == changed else image for n, image in enumerate(sized_photographs)]
    packed = packed_for(exported, sized_photographs, padding_tokens=5)
    before = exported.run(lowering, packed)
    after = exported.run(lowering, packed_for(exported, inverted, padding_tokens=5))
    for n in range(len(sized_photographs)):
        one, other = per_image(before, packed, n), per_image(after, packed, n)
        for name in one:
            assert np.array_equal(one[name], other[name]) == (n != changed), (n, name)


def test_the_models_tell_the_photographs_apart(exported: Exported, sized_photographs: Images) -> None:
    """Outputs of random weights that hardly differ between images would pass every other test here."""
    embeddings = np.concatenate([exported.alone(image)["embedding"] for image in sized_photographs])
    logits = np.concatenate([exported.alone(image)["logits"] for image in sized_photographs])
    assert embeddings.std(axis=0).mean() > 0.05
    assert logits.std(axis=0).mean() > 0.05
