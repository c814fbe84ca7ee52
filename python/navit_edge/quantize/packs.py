"""Real images of a directory as packs: the inputs that the runtime itself would hand to the graph."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from navit_edge.bundle import hashing
from navit_edge.bundle import manifest as manifests
from navit_edge.decode import Decoder, Recorded
from navit_edge.decode.formats import FORMATS
from navit_edge.errors import InvalidInputError, NavitEdgeError
from navit_edge.inputs.images import image_files
from navit_edge.machine.cores import usable_cores
from navit_edge.oracle.packs import Pack, Segment
from navit_edge.quantize.report import ImageFile, LeftOut
from navit_edge.text import key_of, path_of

#: Packs are filled up to here: the values of all layers for so many tokens are in memory at once.
TARGET_TOKENS = 512
#: Larger images are left out: attention of one takes memory with the square of its tokens.
MAX_TOKENS = 8192
#: Decoded before they are packed: images, and bytes of pixels.
_CHUNK = 32
_CHUNK_BYTES = 1 << 30


def list_images(directory: Path, formats: tuple[str, ...] = FORMATS) -> list[ImageFile]:
    """Every image file in ``directory`` and its subdirectories, by name. Raises InvalidInputError for none."""
    directory = Path(directory)
    if not directory.is_dir():
        found = "a file" if directory.exists() else "no such directory"
        raise InvalidInputError(f"{directory}: {found}; expected a directory of images like those the model will see")
    images = image_files([directory], formats=formats, recursive=True)
    # What cannot be read is named, too: decoding says why it is left out.
    paths = sorted([*images.files, *(Path(one.path) for one in images.refused)])
    return [ImageFile(name=key_of(path.relative_to(directory)), sha256=_hash_of(path)) for path in paths]


def _hash_of(path: Path) -> str:
    """ "" for a file that cannot be read: decoding says why, and leaves it out."""
    try:
        return hashing.hash_file(path, follow_links=True).sha256
    except OSError:
        return ""


def split(images: Sequence[ImageFile], fraction: float) -> tuple[list[ImageFile], list[ImageFile]]:
    """(to calibrate with, held out): of each 1 / ``fraction`` images one is held out, evenly spaced."""
    held = [i for i in range(len(images)) if int((i + 1) * fraction + 1e-9) > int(i * fraction + 1e-9)]
    if len(held) == len(images):
        held = held[1:]
    kept = set(range(len(images))) - set(held)
    return [images[i] for i in sorted(kept)], [images[i] for i in held]


def evenly(images: Sequence[ImageFile], count: int) -> list[ImageFile]:
    """At most ``count`` of them, evenly spaced."""
    if len(images) <= count:
        return list(images)
    return [images[i * len(images) // count] for i in range(count)]


class Packing:
    """Packs of one graph of a bundle. ``left_out`` says which files could not be used, and why."""

    def __init__(self, bundle: Path, graph: str, decoder: Decoder | None = None) -> None:
        from navit_edge import _core

        self._packer = _core.Packer(
            os.fspath(bundle),
            graph,
            max_tokens=MAX_TOKENS,
            max_images=TARGET_TOKENS,
            target_tokens=TARGET_TOKENS,
            strategy="similar-length",
            dynamic_tokens=True,
            threads=usable_cores(),
        )
        manifest = manifests.load(bundle)
        outputs = next(one.outputs for one in manifest.graphs if one.id == graph)
        self._merged = frozenset({1, manifest.model.token_merge**2, *(max(one.patches_per_row, 1) for one in outputs)})
        self._decoder = decoder or Decoder(recorded=Recorded.of(manifest.preprocess))
        self.left_out: list[LeftOut] = []

    def packs(self, directory: Path, images: Sequence[ImageFile], progress: Callable[[int, int], None]) -> list[Pack]:
        """Reads, resizes and packs. ``progress`` gets images done, images in all."""
        packs: list[Pack] = []
        names: list[str] = []
        pixels: list[npt.NDArray[np.uint8]] = []
        for done, image in enumerate(images, 1):
            decoded = self._decode(directory, image)
            if decoded is not None:
                names.append(image.name)
                pixels.append(decoded)
            full = len(names) == _CHUNK or sum(one.nbytes for one in pixels) > _CHUNK_BYTES
            if pixels and (full or done == len(images)):
                packs += [_named(pack, names, self._merged) for pack in self._packer.pack(pixels)]
                names, pixels = [], []
            progress(done, len(images))
        return packs

    def _decode(self, directory: Path, image: ImageFile) -> npt.NDArray[np.uint8] | None:
        """None if it is left out."""
        from navit_edge.pixels import load_image

        try:
            pixels = load_image(directory / path_of(image.name), self._decoder)
            tokens = self._packer.tokens_of(*pixels.shape[:2])
        except NavitEdgeError as error:
            self.left_out.append(LeftOut(name=image.name, why=str(error).replace(f"{directory}{os.sep}", "")))
            return None
        if tokens > MAX_TOKENS:
            why = f"it has {tokens} tokens; calibration takes {MAX_TOKENS} at most"
            self.left_out.append(LeftOut(name=image.name, why=why))
            return None
        return pixels


def _named(pack: dict[str, Any], names: Sequence[str], merged: frozenset[int]) -> Pack:
    segments = tuple(
        Segment(name=names[image], first=first, tokens=tokens) for image, first, tokens in pack["segments"]
    )
    return Pack(inputs=pack["inputs"], segments=segments, merged=merged)
