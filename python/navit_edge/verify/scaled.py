"""What it changes to decode JPEG files at a part of their sides (docs/inputs.md), by an engine's own outputs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image as PillowImage

from navit_edge.decode import Decoder
from navit_edge.pixels import given_by
from navit_edge.session import Session
from navit_edge.verify.certificate import Check
from navit_edge.verify.compare import Distance, distances, outputs_of
from navit_edge.verify.images import Picture

#: Of an output to that of an exact decode; below it something is broken, or the model reads single pixels.
LEAST_COSINE = 0.99
#: Sides of a drawn file over those of its picture: enough for half the sides, of a sizing rule that scales up, too.
_LARGER = 8


class Scaled(NamedTuple):
    """distances: output -> how far a scaled decode takes it from an exact one."""

    distances: dict[str, Distance]
    checks: tuple[Check, ...]


def drawn_files(pictures: Sequence[Picture]) -> list[bytes]:
    """JPEG files of drawn pictures, so large that they are made smaller."""
    files = []
    for picture in pictures:
        image = PillowImage.fromarray(np.ascontiguousarray(picture.image[..., :3]))
        larger = image.resize((image.width * _LARGER, image.height * _LARGER), PillowImage.Resampling.BICUBIC)
        file = io.BytesIO()
        larger.save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files


def check_scaled(session: Session, files: Sequence[Path | bytes]) -> Scaled:
    """Runs each file as ``session`` decodes it, and the pixels of an exact decode; files that a session refuses, or
    decodes exactly, are left out."""
    decoder = session.decoder
    exact = Decoder(replace(decoder.options, jpeg="exact"), decoder.recorded)
    ours = session.run(files, on_error="return")
    taken = [index for index, result in enumerate(ours) if result.error is None and "decoded at 1/" in result.decoding]
    name = "decoded at a part of the sides as exactly"
    if not taken:
        found = f"none of {len(files)} files is decoded so"
        expected = "JPEG files of twice the sides that they are resized to, or a bundle and a session without it"
        return Scaled({}, (Check(name=name, holds=False, found=found, expected=expected),))
    pixels = [given_by(exact.decode(files[index])).pixels for index in taken]
    apart = distances(outputs_of([ours[index] for index in taken]), outputs_of(session.run(pixels)))
    checks = tuple(
        Check(
            name=f"{output}: least cosine, {name}",
            holds=distance.least_cosine >= LEAST_COSINE,
            found=f"{distance.least_cosine:.6f}, {len(taken)} of {len(files)} files",
            expected=f"{LEAST_COSINE:g} at least",
        )
        for output, distance in apart.items()
    )
    return Scaled(apart, checks)
