"""What plan and plan-budgets are given: sizes of images, from files, from lists, or from a histogram."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from navit_edge import files
from navit_edge.errors import InvalidInputError, NavitEdgeError

if TYPE_CHECKING:
    from navit_edge.bundle.manifest import Manifest
    from navit_edge.decode import Decoder

_FORM = "expected lines height,width or height,width,count in pixels, as 480,640,12"


ImagesArgument = Annotated[
    list[Path] | None,
    typer.Argument(help="Image files, or folders of them.", metavar="IMAGES...", show_default=False),
]
SizesOption = Annotated[
    Path | None,
    typer.Option(
        help="File of sizes instead of images: lines height,width or height,width,count in pixels.",
        metavar="FILE",
        show_default=False,
    ),
]


@dataclass(frozen=True, kw_only=True)
class ImageSizes:
    """names: of the files, or "size 480x640". sizes: (height_px, width_px). counts: how often each comes."""

    names: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    counts: tuple[int, ...]
    refused: tuple[str, ...] = ()

    def expanded(self) -> tuple[list[str], list[tuple[int, int]]]:
        """Names and sizes with each as often as it comes."""
        names = [name for name, count in zip(self.names, self.counts, strict=True) for _ in range(count)]
        sizes = [size for size, count in zip(self.sizes, self.counts, strict=True) for _ in range(count)]
        return names, sizes


def given_sizes(images: Sequence[Path], sizes: Path | None, decoder: Decoder) -> ImageSizes:
    """Of image files and directories of them (headers are read, no pixels), or of a list. Raises InvalidInputError."""
    if bool(images) == (sizes is not None):
        what = "both images and --sizes" if images else "neither images nor --sizes"
        raise InvalidInputError(f"{what}; expected one of them")
    return read_histogram(sizes) if sizes is not None else sizes_of_files(images, decoder)


def read_histogram(path: Path) -> ImageSizes:
    """Lines ``height,width`` or ``height,width,count``; empty lines and those that start with # are skipped."""
    lines = files.read_text(path, expected=_FORM.removeprefix("expected ")).splitlines()
    sizes: list[tuple[int, int]] = []
    counts: list[int] = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        parts = [part.strip() for part in text.split(",")]
        if number == 1 and not any(part.isdecimal() for part in parts):
            continue  # the head of a CSV file
        good = len(parts) in (2, 3) and all(part.isdecimal() and int(part) >= 1 for part in parts)
        if not good or max(int(part) for part in parts[:2]) > 65535:
            raise InvalidInputError(f"{path}, line {number}: {text[:40]!r}; {_FORM}, sides up to 65535")
        sizes.append((int(parts[0]), int(parts[1])))
        counts.append(int(parts[2]) if len(parts) == 3 else 1)
    if not sizes:
        raise InvalidInputError(f"{path} has no sizes; {_FORM}")
    return ImageSizes(names=tuple(f"{h}x{w}" for h, w in sizes), sizes=tuple(sizes), counts=tuple(counts))


def sizes_of_files(paths: Sequence[Path], decoder: Decoder) -> ImageSizes:
    """Of image files and directories of them, as they are when ``decoder`` has turned them upright. A file that cannot
    be read is named in ``refused``."""
    from navit_edge.inputs.images import image_files

    found = image_files(paths, formats=decoder.options.formats)
    names: list[str] = []
    sizes: list[tuple[int, int]] = []
    refused = found.left_out()
    for file in found.files:
        try:
            sizes.append(decoder.size_of(file))
            names.append(str(file))
        except NavitEdgeError as error:
            refused.append(str(error))
    if not sizes:
        raise InvalidInputError(
            f"none of {len(found.files)} files is an image: {refused[-1] if refused else 'none given'}"
        )
    return ImageSizes(names=tuple(names), sizes=tuple(sizes), counts=(1,) * len(sizes), refused=tuple(refused))


def token_counts(manifest: Manifest, sizes: Sequence[tuple[int, int]]) -> list[int]:
    """Tokens of each image as the session sizes it, prefix tokens included."""
    from navit_edge.bench.workload import tokens_of

    known: dict[tuple[int, int], int] = {}
    for size in sizes:
        if size not in known:
            known[size] = tokens_of(manifest, size) + manifest.model.prefix_tokens
    return [known[size] for size in sizes]
