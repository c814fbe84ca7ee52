"""What is run: a ladder of packs for the engine, and sets of images end to end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from navit_edge.bundle.sizing_rule import keeps_whole_patches, most_tokens, to_json
from navit_edge.errors import InvalidInputError, NavitEdgeError
from navit_edge.files import read_text

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from navit_edge.bundle.manifest import Engine, Manifest

Grid = tuple[int, int]  # rows, columns, in patches
Size = tuple[int, int]  # height_px, width_px

#: Patch tokens of an image in the ladder, if the pack and the bundle's cap allow so many: 16 x 16.
LADDER_IMAGE_TOKENS = 256
LADDER_START = 64
#: Decoded images are held in memory; a directory is read up to here.
MOST_DECODED_BYTES = 2**30
MIXED_COUNT = 32
#: Sizes that are drawn for each that is wanted: where the sizing rule scales up, hardly one may fit.
_DRAWS = 100


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Images of one run. ``source`` says in words where they come from."""

    source: str
    images: Sequence[npt.NDArray[np.uint8]]
    decode_ms: float | None = None  # to decode all, once; None if nothing was decoded
    refused: tuple[str, ...] = ()  # why files were left out


def ladder(manifest: Manifest, engine: Engine, only: Sequence[int] = ()) -> list[list[Grid]]:
    """Packs to measure, ascending in tokens: for each the grids of its images.

    only: these token counts instead of the ones below; InvalidInputError for one that no pack can have.

    Token counts are powers of two from 64, every budget and the planner's fill target, up to the largest pack that the
    planner makes: that target, or the longest image alone. A pack that cannot be met exactly gets a little less; a rung
    that comes out as the one below it is left out.
    """
    largest = engine.budgets[-1]
    prefix = manifest.model.prefix_tokens
    sizing = manifest.preprocess.sizing
    longest = largest.tokens - prefix  # patch tokens of one image
    most = most_tokens(sizing, manifest.preprocess.patch_px)
    if most is not None:
        longest = min(longest, most)
    if longest < 1:
        return []
    fill = min(largest.target_tokens, largest.images * (longest + prefix))
    top = max(fill, longest + prefix)
    wanted = {2**power for power in range(int(math.log2(LADDER_START)), 31) if 2**power < top}
    wanted |= {budget.tokens for budget in engine.budgets if budget.tokens < top} | {fill, top}
    if only:
        for tokens in only:
            if not prefix < tokens <= top:
                raise InvalidInputError(
                    f"a pack of {tokens} tokens; expected {prefix + 1} to {top}, the largest pack of {engine.id}; "
                    "give other --token-budgets, or an engine with a larger budget"
                )
        wanted = set(only)
    rungs: dict[int, list[Grid]] = {}
    side = manifest.preprocess.patch_px
    for tokens in sorted(wanted):
        # The planner stops filling at the target; above it only a single image makes a larger pack.
        most_images = largest.images if tokens <= fill else 1
        if keeps_whole_patches(sizing):
            grids = pack_of(tokens, prefix, longest, most_images=most_images)
        else:  # the rule gives every square of this size one grid, and an image of that grid keeps it
            rows, cols = grid_of(manifest, (side * math.isqrt(longest), side * math.isqrt(longest)))
            grids = [(rows, cols)] * min(most_images, tokens // (rows * cols + prefix))
        if grids:
            rungs.setdefault(sum(rows * cols + prefix for rows, cols in grids), grids)
    return [rungs[tokens] for tokens in sorted(rungs)]


def pack_of(tokens: int, prefix: int, longest: int, *, most_images: int) -> list[Grid]:
    """Grids of equal images, and a smaller one for the rest, that use ``tokens`` tokens or a little less."""
    if tokens <= prefix:
        return []
    each = min(longest, LADDER_IMAGE_TOKENS, tokens - prefix)
    if most_images * (each + prefix) < tokens:
        each = min(longest, tokens // most_images - prefix)
    grid = squarish(each)
    used = grid[0] * grid[1] + prefix
    count = min(most_images, tokens // used)
    grids = [grid] * count
    rest = tokens - count * used - prefix
    if rest >= 1 and count < most_images:
        grids.append(squarish(rest))
    return grids


def squarish(tokens: int) -> Grid:
    """(rows, columns) with rows <= columns <= 2 * rows and the most tokens up to ``tokens``; the squarest of those."""
    best = (1, 1)
    for rows in range(1, math.isqrt(tokens) + 1):
        cols = min(tokens // rows, 2 * rows)
        if rows * cols >= best[0] * best[1]:
            best = (rows, cols)
    return best


def synthetic(sizes: Sequence[Size], *, channels: int = 3, seed: int = 0) -> list[npt.NDArray[np.uint8]]:
    """Images of random pixels; what is in an image changes no time."""
    import numpy as np

    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (height, width, channels), np.uint8) for height, width in sizes]


def ladder_images(manifest: Manifest, grids: Sequence[Grid]) -> list[npt.NDArray[np.uint8]]:
    """Images of whole patches, which the session copies and does not resize."""
    side = manifest.preprocess.patch_px
    return synthetic([(rows * side, cols * side) for rows, cols in grids], channels=manifest.preprocess.channels)


def mixed_sizes(manifest: Manifest, engine: Engine, count: int = MIXED_COUNT, seed: int = 0) -> list[Size]:
    """The built-in set: log-uniform from 32 tokens to the longest image that fits, aspect ratios 1:2 to 2:1.

    Sides are no multiples of the patch, so that every image is resized as a photograph would be. If few of the drawn
    ones fit, they are repeated; InvalidInputError if none does.
    """
    import numpy as np

    pre = manifest.preprocess
    largest = engine.budgets[-1].tokens - manifest.model.prefix_tokens
    most = max(1, min(largest, most_tokens(pre.sizing, pre.patch_px) or 1024))
    least = min(32, most)
    rng = np.random.default_rng(seed)
    sizes: list[Size] = []
    for _ in range(_DRAWS * count):
        if len(sizes) == count:
            return sizes
        area = math.exp(rng.uniform(math.log(least), math.log(most))) * pre.patch_px**2
        aspect = math.exp(rng.uniform(-math.log(2), math.log(2)))
        size = (max(1, round(math.sqrt(area * aspect))), max(1, round(math.sqrt(area / aspect))))
        if tokens_of(manifest, size) <= min(most, largest):
            sizes.append(size)
    if not sizes:
        smallest = tokens_of(manifest, (1, 1)) + manifest.model.prefix_tokens
        raise InvalidInputError(
            f"no image fits the engine {engine.id}: its largest budget is {engine.budgets[-1].tokens} tokens, and the "
            f'sizing rule "{pre.sizing.rule}" gives an image {smallest} or more; rebuild with larger --token-budgets'
        )
    return [sizes[n % len(sizes)] for n in range(count)]


def grid_of(manifest: Manifest, size: Size) -> Grid:
    """The grid that the session gives an image of ``size``."""
    import numpy as np

    from navit_edge import _core

    pre = manifest.preprocess
    sizes = np.array([size], np.int32)
    rows, cols = _core.resize_targets(sizes, patch_px=pre.patch_px, sizing=to_json(pre.sizing))[0]
    return int(rows), int(cols)


def tokens_of(manifest: Manifest, size: Size) -> int:
    """Patch tokens that the session gives an image of ``size``."""
    rows, cols = grid_of(manifest, size)
    return rows * cols


def planning_ms(manifest: Manifest, engine: Engine, images: Sequence[npt.NDArray[np.uint8]]) -> float:
    """Sizing and planning of these images through the session's own C++ functions, without its pixels: median of 5."""
    import statistics

    from navit_edge.planning import plan
    from navit_edge.vocabulary import Strategy

    largest = engine.budgets[-1]
    budgets = [budget.target_tokens for budget in engine.budgets]
    strategy: Strategy = "similar-length" if engine.strategy == "similar-length" else "first-fit-decreasing"
    sizes = [(image.shape[0], image.shape[1]) for image in images]
    times = []
    for _ in range(5):
        start = time.perf_counter()
        tokens = [tokens_of(manifest, size) + manifest.model.prefix_tokens for size in sizes]
        # An image alone may be longer than the fill target, up to the budget.
        plan(tokens, token_budget=[*budgets[:-1], max(budgets[-1], *tokens)], max_images=largest.images,
             strategy=strategy)  # fmt: skip
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def read_sizes(path: Path) -> list[Size]:
    """Lines ``height,width`` in pixels; empty lines and lines that start with # are skipped.

    Raises InvalidInputError for a line of another form, and where there is none.
    """
    lines = read_text(path, expected="lines height,width in pixels, as 480,640").splitlines()
    sizes = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        sides = [side.strip() for side in text.split(",")]
        if len(sides) != 2 or not all(side.isdecimal() and 1 <= int(side) <= 65535 for side in sides):
            raise InvalidInputError(
                f"{path}, line {number}: {text[:40]!r}; expected height,width in pixels (1 to 65535), as 480,640"
            )
        sizes.append((int(sides[0]), int(sides[1])))
    if not sizes:
        raise InvalidInputError(f"{path} has no sizes; expected lines height,width in pixels, as 480,640")
    return sizes


def from_sizes(path: Path, channels: int) -> Workload:
    """Random images of the sizes in a file."""
    sizes = read_sizes(path)
    check_memory(sum(height * width for height, width in sizes) * channels, str(path))
    return Workload(source=f"random images of the sizes in {path.name}", images=synthetic(sizes, channels=channels))


def check_memory(total_bytes: int, who: str) -> None:
    """Raises InvalidInputError where a set is too large to hold."""
    if total_bytes > MOST_DECODED_BYTES:
        raise InvalidInputError(
            f"the images of {who} take {total_bytes / 2**30:.1f} GiB; expected at most "
            f"{MOST_DECODED_BYTES / 2**30:g} GiB, which are held in memory; give fewer"
        )


def from_files(files: Sequence[Path], load: Callable[[Path], npt.NDArray[np.uint8]]) -> Workload:
    """Decoded images, read up to 1 GiB of pixels. Files that do not decode are left out and named.

    Raises InvalidInputError where none decodes.
    """
    images: list[npt.NDArray[np.uint8]] = []
    refused: list[str] = []
    total_bytes = 0
    decode_s = 0.0
    for index, file in enumerate(files):
        start = time.perf_counter()
        try:
            image = load(file)
        except NavitEdgeError as error:
            refused.append(str(error))
            continue
        decode_s += time.perf_counter() - start
        total_bytes += image.nbytes
        if images and total_bytes > MOST_DECODED_BYTES:
            refused.append(f"{len(files) - index} files from {file.name} on: the first {index} fill 1 GiB of memory")
            break
        images.append(image)
    if not images:
        raise InvalidInputError(f"none of {len(files)} files can be decoded: {refused[0] if refused else 'none found'}")
    return Workload(
        source=f"{len(images)} images of {files[0].parent}",
        images=images,
        decode_ms=decode_s * 1e3,
        refused=tuple(refused),
    )
