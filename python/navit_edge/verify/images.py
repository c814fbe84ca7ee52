"""What an engine is judged on: images of many sizes, decoded from a folder or drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from navit_edge.bundle.manifest import Manifest
from navit_edge.decode import Decoder
from navit_edge.errors import BackendError, InvalidInputError, NavitEdgeError
from navit_edge.inputs.images import image_files
from navit_edge.oracle.reference import Grid, Image
from navit_edge.pixels import load_image
from navit_edge.session import Session
from navit_edge.text import shown

#: Decoded at most: more images make the certificate slower, not stronger.
MOST_IMAGES = 64
#: Drawn if no folder is given; the same in every version, since reports are compared.
DRAWN = 12
#: Decoded pixels are held up to here, for the same reason.
MOST_DECODED_BYTES = 1 << 30
#: Sides of a drawn image, in patches.
_SIDES = (2, 20)


class Picture(NamedTuple):
    """An image, and what it is called: its file, or its number among the drawn ones."""

    name: str
    image: Image


def drawn_images(manifest: Manifest, count: int = DRAWN) -> list[Picture]:
    """Random waves of colour in different sizes, no two alike; the same ones every time."""
    rng = np.random.default_rng(0)
    patch_px, channels = manifest.preprocess.patch_px, manifest.preprocess.channels
    images = []
    for number in range(count):
        height, width = (int(rng.integers(_SIDES[0] * patch_px, _SIDES[1] * patch_px)) for _ in range(2))
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        waves = [np.sin(y * rng.uniform(0, 0.2) + x * rng.uniform(0, 0.2) + rng.uniform(0, 6)) for _ in range(channels)]
        noise = rng.normal(0, 8, (height, width, channels))
        pixels = np.clip(np.stack(waves, axis=-1) * 90 + 128 + noise, 0, 255).astype(np.uint8)
        images.append(Picture(f"drawn image {number}", pixels))
    return images


def images_of(folder: Path, decoder: Decoder) -> tuple[list[Picture], list[Path], list[str]]:
    """The first images of a folder by name, their files, and why others were left out.

    Raises InvalidInputError if the folder holds fewer than two that can be decoded: with one nothing is packed.
    """
    if not folder.is_dir():
        raise InvalidInputError(f"--images {folder}: found no such directory; expected a directory of images")
    images: list[Picture] = []
    taken: list[Path] = []
    found = image_files([folder], formats=decoder.options.formats)
    files, refused = found.files, found.left_out()
    for index, file in enumerate(files):
        if len(images) == MOST_IMAGES or sum(one.image.nbytes for one in images) > MOST_DECODED_BYTES:
            most = f"{MOST_IMAGES} images, or those that fill {MOST_DECODED_BYTES >> 30} GiB, are taken"
            refused.append(f"{len(files) - index} more files: {most}")
            break
        try:
            images.append(Picture(shown(file), load_image(file, decoder)))
            taken.append(Path(file))
        except NavitEdgeError as error:
            refused.append(str(error))
    if len(images) < 2:
        why = f" ({refused[0]})" if refused else ""
        raise InvalidInputError(f"--images {folder}: found {len(images)} images{why}; expected at least two")
    return images, taken, refused


def that_fit(session: Session, pictures: Sequence[Picture]) -> tuple[list[Image], list[Grid], list[str]]:
    """The images that an engine takes, their grids, and why it refuses the others.

    Raises InvalidInputError if fewer than two fit; BackendError if the engine fails.
    """
    images: list[Image] = []
    grids: list[Grid] = []
    refused: list[str] = []
    for picture, result in zip(pictures, session.run([one.image for one in pictures], on_error="return"), strict=True):
        if isinstance(result.error, BackendError):
            raise result.error
        if result.error is not None:
            refused.append(f"{picture.name}: {result.error}")
            continue
        images.append(picture.image)
        grids.append((int(result.grid[0]), int(result.grid[1])))
    if len(images) < 2:
        raise InvalidInputError(
            f"the engine {session.engine} takes {len(images)} of {len(pictures)} images; expected at least two "
            f"({refused[0]})"
        )
    return images, grids, refused


def altered(image: Image) -> Image:
    """Another image of the same size: every pixel changes, alpha apart."""
    other: Image = image.copy()
    other[..., :3] = 255 - image[..., :3]
    return other


def count_of(images: Sequence[Image]) -> str:
    sizes = {image.shape[:2] for image in images}
    return f"{len(images)} images of {len(sizes)} sizes"
