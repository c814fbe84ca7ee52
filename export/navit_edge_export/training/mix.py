"""MixUp (arXiv:1710.09412) and CutMix (arXiv:1905.04899) of images of native sizes.

Two images of one grid mix as they are: they are found inside a pack. An image without such a partner mixes with one of
another pack, which is resized to its grid. Labels mix by the same share. CutMix takes a rectangle of whole patches, so
that every token shows one image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from navit_edge.errors import InvalidInputError

UInt8Array = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Mix:
    """Of an image with a partner: share ~ Beta(alpha, alpha) of the image itself.

    mixup, cutmix: alpha of each; 0: not used. With both, each as often.
    probability: that an image is mixed at all.
    across: images without a partner of their grid in the pack mix with one of another pack.
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    probability: float = 1.0
    across: bool = True

    def __post_init__(self) -> None:
        if self.mixup < 0 or self.cutmix < 0 or not 0 <= self.probability <= 1:
            raise InvalidInputError("mix: expected mixup and cutmix of 0 or more, and a probability of 0 to 1")

    @property
    def is_on(self) -> bool:
        """Whether anything mixes."""
        return self.probability > 0 and (self.mixup > 0 or self.cutmix > 0)

    def apply(
        self, image: UInt8Array, partner: UInt8Array, patch_px: int, rng: np.random.Generator
    ) -> tuple[UInt8Array, float]:
        """Two images [rows*P, columns*P, 3] of one shape -> (the mixture, the share of the first in its label)."""
        cuts = self.cutmix > 0 and (self.mixup == 0 or rng.random() < 0.5)
        alpha = self.cutmix if cuts else self.mixup
        share = float(rng.beta(alpha, alpha))
        if not cuts:
            return blend(image, partner, share), share
        return cut(image, partner, share, patch_px, rng)


def blend(image: UInt8Array, partner: UInt8Array, share: float) -> UInt8Array:
    """share of ``image``, the rest of ``partner``, rounded."""
    mixed = partner.astype(np.float32) + np.float32(share) * (image.astype(np.float32) - partner.astype(np.float32))
    rounded: UInt8Array = np.rint(mixed).astype(np.uint8)
    return rounded


def cut(
    image: UInt8Array, partner: UInt8Array, share: float, patch_px: int, rng: np.random.Generator
) -> tuple[UInt8Array, float]:
    """``image`` with a rectangle of ``partner`` of about 1 - share of the patches, and the exact share that is left."""
    rows, columns = image.shape[0] // patch_px, image.shape[1] // patch_px
    side = np.sqrt(1 - share)
    height, width = round(rows * side), round(columns * side)
    top, left = int(rng.integers(rows - height + 1)), int(rng.integers(columns - width + 1))
    mixed = image.copy()
    region = np.s_[top * patch_px : (top + height) * patch_px, left * patch_px : (left + width) * patch_px]
    mixed[region] = partner[region]
    return mixed, 1 - height * width / (rows * columns)


def partners(grids: Sequence[tuple[int, int]], rng: np.random.Generator) -> list[int | None]:
    """For each image another one of the same grid in the pack, each used once; None if there is none."""
    found: list[int | None] = [None] * len(grids)
    places: dict[tuple[int, int], list[int]] = {}
    for index, grid in enumerate(grids):
        places.setdefault(grid, []).append(index)
    for same in places.values():
        if len(same) > 1:
            order = rng.permutation(same).tolist()
            for index, other in zip(order, order[1:] + order[:1], strict=True):
                found[index] = other
    return found
