"""Is this part as the good ones were? Pass or fail, and where: PatchCore's idea (arXiv:2106.08265) on patch tokens.

    python examples/inspect_parts.py [BUNDLE] [--folder demo/parts]                   # parts that the script draws
    python examples/inspect_parts.py [BUNDLE] --good DIR --test DIR --folder OUT      # photographs of yours

A memory holds the features of good parts: of each patch the tokens of middle blocks, the mean over the patch and its
neighbours. A patch's distance to the nearest of them says how unlike a good part it is; the largest distances of an
image are its score. `Result.on_image` brings the distances back to the image's pixels. Nothing is trained. BUNDLE is
exported with `--outputs tokens@4,6`, the middle third of its blocks; with `--outputs tokens` alone its final tokens are
taken, which know too much of the whole image. If none is given it is DINOv2 with its real weights (dinov2_features.py).

On drawn parts the script knows what is wrong and where, and prints the AUROC of images and of pixels.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter, ImageOps

import navit_edge as ne
from navit_edge.bundle.manifest import Manifest
from navit_edge.bundle.manifest import load as load_manifest
from navit_edge.page.overlay import overlay
from navit_edge.token_parts import split_tokens

if TYPE_CHECKING:
    from navit_edge.pixels import ImageLike

ROOT = Path(__file__).resolve().parents[1]
Array = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

DEFECTS = ("scratch", "missing hole", "stain", "dent")
MOST_TOKENS = 4000  # of the memory: a random part of the good ones
WORST = 0.005  # share of an image's patches whose mean distance is its score, at least one
PASSES = 0.99  # of the good parts that were held back pass


# --- parts


@dataclass(frozen=True, kw_only=True)
class Part:
    """An image of a part. wrong [height, width] bool: where it is not as it should be."""

    pixels: Pixels
    wrong: npt.NDArray[np.bool_]


def draw_part(rng: np.random.Generator, defect: str = "") -> Part:
    """A brushed plate with four holes and a slot, a little different each time: size, place, light, noise."""
    height, width = (int(side) for side in rng.integers(300, 380, 2))
    left, top = (int(rng.integers(14, 30)) for _ in range(2))
    right, bottom = width - int(rng.integers(14, 30)), height - int(rng.integers(14, 30))
    brushed = rng.normal(0, 9, (height, 1)).repeat(width, 1) + rng.normal(0, 5, (height, width))
    light = np.linspace(-12, 12, width) * rng.uniform(-1, 1)
    gray = np.clip(150 + brushed + light, 0, 255).astype(np.uint8)
    image = Image.fromarray(np.stack([gray, gray, np.clip(gray + 8.0, 0, 255).astype(np.uint8)], 2))
    good = image.copy()
    for canvas, skip in ((good, -1), (image, int(rng.integers(4)) if defect == "missing hole" else -1)):
        pen = ImageDraw.Draw(canvas)
        for box in ((0, 0, width, top), (0, bottom, width, height), (0, 0, left, height), (right, 0, width, height)):
            pen.rectangle(box, fill=(38, 42, 48))
        holes = [(y, x) for y in (top + 40, bottom - 40) for x in (left + 40, right - 40)]
        for place, (y, x) in enumerate(holes):
            if place != skip:
                pen.ellipse((x - 14, y - 14, x + 14, y + 14), fill=(30, 30, 34), outline=(190, 190, 196), width=2)
        y, x = (top + bottom) // 2, (left + right) // 2
        pen.rounded_rectangle((x - 50, y - 9, x + 50, y + 9), 9, fill=(30, 30, 34))
    y, x = int(rng.integers(top + 70, bottom - 70)), int(rng.integers(left + 70, right - 70))
    pen = ImageDraw.Draw(image)
    if defect == "scratch":
        end = (x + int(rng.integers(-60, 60)), y + int(rng.choice([-1, 1]) * rng.integers(25, 60)))
        pen.line([(x, y), end], fill=(228, 230, 234), width=3)
    if defect == "stain":
        pen.ellipse((x - 17, y - 12, x + 17, y + 12), fill=(112, 84, 52))
    if defect == "dent":
        pen.ellipse((x - 15, y - 15, x + 15, y + 15), fill=(104, 104, 108))
        pen.ellipse((x - 15, y - 12, x + 13, y + 15), fill=(196, 196, 200))
    soft = np.asarray(image.filter(ImageFilter.GaussianBlur(0.7)))
    wrong = (np.asarray(image) != np.asarray(good)).any(-1)
    return Part(pixels=soft, wrong=wrong)


# --- memory


def features_of(result: ne.Result, manifest: Manifest) -> Array:
    """[patches, D], each of length 1: of each patch the mean over it and its eight neighbours."""
    return unit(around(result, middle_of(result, manifest)))


def middle_of(result: ne.Result, manifest: Manifest) -> Array:
    """[patches, D]: the tokens of the middle blocks that the bundle gives, each of length 1, side by side, or else the
    final ones."""
    if result.tokens is None:
        raise SystemExit("the bundle gives no tokens; export it with --outputs tokens@4,6")
    parts = split_tokens(result.tokens, manifest)
    final = parts.pop("tokens")
    middle = [layer for part in parts.values() for layer in part] or [final]
    return np.concatenate([unit(layer) for layer in middle], axis=1)


def around(result: ne.Result, features: Array) -> Array:
    """[patches, D]: of each patch the mean over it and its eight neighbours."""
    rows, columns = result.grid
    padded = np.pad(result.on_grid(features), ((1, 1), (1, 1), (0, 0)), mode="edge")
    places = [(row, column) for row in range(3) for column in range(3)]
    summed = sum(padded[row : row + rows, column : column + columns] for row, column in places)
    mean: Array = np.asarray(np.reshape(summed, (rows * columns, -1)) / len(places), np.float32)
    return mean


def unit(vectors: npt.NDArray[np.floating]) -> Array:
    """Each row of length 1."""
    found: Array = np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)
    return found


def make_memory(features: Sequence[Array], seed: int = 0) -> Array:
    """[m, D]: of good parts, a random part of them if they are many."""
    rows = np.concatenate(features)
    if len(rows) > MOST_TOKENS:
        rows = rows[np.random.default_rng(seed).choice(len(rows), MOST_TOKENS, replace=False)]
    return rows


def distances(features: Array, memory: Array) -> Array:
    """[n]: of each patch to the nearest of the memory, 0 to 2."""
    nearest = (features @ memory.T).max(1)
    found: Array = np.sqrt(np.maximum(2 - 2 * nearest, 0))
    return found


def score(of_tokens: Array) -> float:
    """Of an image: the mean of its largest distances."""
    count = max(1, round(WORST * len(of_tokens)))
    return float(np.sort(of_tokens)[-count:].mean())


def auroc(scores: npt.ArrayLike, bad: npt.ArrayLike) -> float:
    """How often what is bad has the higher score, of all pairs; ties count half (Mann-Whitney)."""
    values, wrong = np.ravel(scores), np.ravel(bad).astype(bool)
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]
    n_bad, n_good = int(wrong.sum()), int((~wrong).sum())
    return float((ranks[wrong].sum() - n_bad * (n_bad + 1) / 2) / (n_bad * n_good))


# --- the two ways to use it


def inspect(
    session: ne.Session, manifest: Manifest, good: Sequence[ImageLike], test: Sequence[ImageLike]
) -> tuple[list[Array], float, list[ne.Result]]:
    """The distances of each test image, the score up to which a part passes, and the results. Half of the good parts
    are the memory; the others say how far a good part may be from it."""
    results = session.run([*good, *test])
    features = [features_of(result, manifest) for result in results]
    known, held, rest = features[: len(good) // 2], features[len(good) // 2 : len(good)], features[len(good) :]
    memory = make_memory(known)
    limit = float(np.quantile([score(distances(one, memory)) for one in held], PASSES))
    return [distances(one, memory) for one in rest], limit, results[len(good) :]


def show(pixels: Pixels, result: ne.Result, of_tokens: Array, limit: float, path: Path) -> None:
    """The part, and beside it the distances over it: from dark, half the limit, to bright, half as much again as it."""
    over = overlay(pixels, result.on_image(of_tokens), (0.5 * limit, 1.5 * limit))
    Image.fromarray(np.concatenate([pixels, over], axis=1)).save(path)


def drawn_parts(session: ne.Session, manifest: Manifest, folder: Path, count: int) -> dict[str, float]:
    """AUROC of images and of pixels, and how many good parts pass and bad ones fail."""
    rng = np.random.default_rng(17)
    good = [draw_part(rng) for _ in range(count)]
    kinds = ["", *DEFECTS] * max(1, count // 5)
    test = [draw_part(rng, kind) for kind in kinds]
    found, limit, results = inspect(session, manifest, [one.pixels for one in good], [one.pixels for one in test])
    scores = np.array([score(one) for one in found])
    bad = np.array([bool(kind) for kind in kinds])
    maps = [result.on_image(one) for result, one in zip(results, found, strict=True)]
    for place in range(len(DEFECTS) + 1):
        show(test[place].pixels, results[place], found[place], limit, folder / f"{kinds[place] or 'good'}.png")
    return {
        "images": auroc(scores, bad),
        "pixels": auroc(
            np.concatenate([one.ravel() for one in maps]), np.concatenate([one.wrong.ravel() for one in test])
        ),
        "good that pass": float((scores[~bad] <= limit).mean()),
        "bad that fail": float((scores[bad] > limit).mean()),
    }


def own_parts(session: ne.Session, manifest: Manifest, good: Path, test: Path, folder: Path) -> None:
    """A line for each image of ``test``, and a picture."""
    paths = sorted(path for path in test.iterdir() if path.is_file())
    found, limit, results = inspect(session, manifest, sorted(path for path in good.iterdir() if path.is_file()), paths)
    for path, result, one in zip(paths, results, found, strict=True):
        print(f"{'pass' if score(one) <= limit else 'FAIL'}  {score(one):.3f} (limit {limit:.3f})  {path.name}")
        show(upright(path), result, one, limit, folder / f"{path.stem}.png")


def upright(path: Path) -> Pixels:
    """RGB, turned as the session turns it."""
    return np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path, nargs="?")
    parser.add_argument("--folder", type=Path, default=ROOT / "demo" / "parts")
    parser.add_argument("--good", type=Path)
    parser.add_argument("--test", type=Path)
    parser.add_argument("--count", type=int, default=40, help="drawn parts that are good, for the memory")
    given = parser.parse_args()
    if (given.good is None) != (given.test is None):
        parser.error("--good and --test belong together")
    given.folder.mkdir(parents=True, exist_ok=True)
    bundle = given.bundle
    if bundle is None:
        from dinov2_features import make_bundle

        (ROOT / "demo" / "dinov2").mkdir(parents=True, exist_ok=True)
        bundle = make_bundle(ROOT / "demo" / "dinov2", "dinov2-s14-middle.navit", ("tokens", "tokens@4,6"))
    manifest = load_manifest(bundle)
    with ne.Session(bundle) as session:
        if given.good is not None:
            own_parts(session, manifest, given.good, given.test, given.folder)
            return
        for name, value in drawn_parts(session, manifest, given.folder, given.count).items():
            print(f"{name}: {value:.3f}")
    print(given.folder)


if __name__ == "__main__":
    main()
