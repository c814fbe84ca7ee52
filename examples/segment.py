"""Segments an image from a few strokes of a brush: a linear head on patch tokens, fitted in milliseconds.

    python examples/segment.py IMAGE STROKES.png [-o OUT.png] [--also IMAGE ...] [--bundle BUNDLE]

STROKES.png is as large as the image. Each colour in it is a class; what is transparent or black says nothing. The head
is one ridge regression of the classes on the tokens under the strokes. Its scores are brought to the image's pixels by
`Result.on_image`, and each pixel takes the best one. --also segments more images of the kind with the same head.
BUNDLE gives the output tokens; if none is given it is DINOv2 with its real weights (dinov2_features.py).
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

import navit_edge as ne

ROOT = Path(__file__).resolve().parents[1]
Array = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]

RIDGE = 1e-2  # of the tokens' mean square, times their number


@dataclass(frozen=True, kw_only=True)
class Strokes:
    """colours [classes, 3]; labels [height, width]: a class, or -1 where nothing is said."""

    colours: Pixels
    labels: npt.NDArray[np.int64]


def read_strokes(picture: Image.Image) -> Strokes:
    """Raises SystemExit for strokes of fewer than two colours."""
    pixels = np.asarray(picture.convert("RGBA"))
    said = (pixels[..., 3] > 127) & (pixels[..., :3] > 0).any(-1)
    colours, places = np.unique(pixels[said][:, :3], axis=0, return_inverse=True)
    if not 2 <= len(colours) <= 255:
        raise SystemExit(f"the strokes have {len(colours)} colours; expected a colour for each class, 2 and up")
    labels = np.full(said.shape, -1, np.int64)
    labels[said] = places.ravel()
    return Strokes(colours=colours, labels=labels)


def unit_tokens(result: ne.Result) -> Array:
    """[n, D + 1], each of length 1, and a one for the bias."""
    tokens = np.asarray(result.tokens, np.float64)
    tokens /= np.linalg.norm(tokens, axis=1, keepdims=True)
    return np.concatenate([tokens, np.ones((len(tokens), 1))], axis=1)


def classes_of_tokens(result: ne.Result, strokes: Strokes) -> npt.NDArray[np.int64]:
    """[n]: the class that most stroke pixels of each patch have, -1 if none has one."""
    if strokes.labels.shape != tuple(result.pixels):
        raise SystemExit("the strokes are {} x {} pixels, the image {} x {}; expected the same".format(
            *strokes.labels.shape, *result.pixels))  # fmt: skip
    assert result.tokens is not None
    count = len(result.tokens)
    owner = result.on_image(np.arange(count), filter="nearest", fill=-1).astype(np.int64)
    there = (strokes.labels >= 0) & (owner >= 0)
    votes = np.zeros((count, len(strokes.colours)), np.int64)
    np.add.at(votes, (owner[there], strokes.labels[there]), 1)
    return np.where(votes.any(1), votes.argmax(1), -1)


def fit(tokens: Array, classes: npt.NDArray[np.int64], count: int) -> Array:
    """[D + 1, classes]: ridge regression of one-hot classes, every class with the same weight in all."""
    said = classes >= 0
    x, y = tokens[said], np.eye(count)[classes[said]]
    found = y.sum(0)
    if (found == 0).any():
        raise SystemExit(f"class {int(found.argmin())} covers no patch; paint a longer stroke")
    weight = (y / found).sum(1, keepdims=True)
    ridge = RIDGE * count / tokens.shape[1] * np.eye(tokens.shape[1])
    head: Array = np.linalg.solve(x.T @ (weight * x) + ridge, x.T @ (weight * y))
    return head


def segment(result: ne.Result, head: Array) -> npt.NDArray[np.int64]:
    """[height, width]: a class for each pixel; 0 where the image was cropped."""
    scores = result.on_image(unit_tokens(result) @ head, fill=0.0)
    return scores.argmax(-1)


def painted(image: Pixels, classes: npt.NDArray[np.int64], colours: Pixels) -> Image.Image:
    """The image, and beside it the classes over it in gray."""
    gray = np.asarray(Image.fromarray(image).convert("L"), np.float32)[..., None]
    over = np.rint(0.5 * gray + 0.5 * colours[classes]).astype(np.uint8)
    return Image.fromarray(np.concatenate([image, over], axis=1))


def upright(path: Path) -> Pixels:
    """RGB, turned as the session turns it."""
    return np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("image", type=Path)
    parser.add_argument("strokes", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("segmented.png"))
    parser.add_argument("--also", type=Path, nargs="*", default=[])
    parser.add_argument("--bundle", type=Path)
    given = parser.parse_args()
    strokes = read_strokes(Image.open(given.strokes))
    bundle = given.bundle
    if bundle is None:
        from dinov2_features import make_bundle

        (ROOT / "demo" / "dinov2").mkdir(parents=True, exist_ok=True)
        bundle = make_bundle(ROOT / "demo" / "dinov2")
    paths = [given.image, *given.also]
    with ne.Session(bundle) as session:
        results = session.run(paths)
    if results[0].tokens is None:
        raise SystemExit(f"{bundle} gives no tokens; export it with --outputs tokens")
    head = fit(unit_tokens(results[0]), classes_of_tokens(results[0], strokes), len(strokes.colours))
    for place, (path, result) in enumerate(zip(paths, results, strict=True)):
        output = given.output if place == 0 else given.output.with_name(f"{given.output.stem}-{path.stem}.png")
        classes = segment(result, head)
        painted(upright(path), classes, strokes.colours).save(output)
        shares = np.bincount(classes.ravel(), minlength=len(strokes.colours)) / classes.size
        names = [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in strokes.colours.tolist()]
        print(output, ", ".join(f"{name} {share:.1%}" for name, share in zip(names, shares, strict=True)))


if __name__ == "__main__":
    main()
