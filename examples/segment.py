"""Every pixel's class, from a few strokes: a linear head on a model's tokens.

    python examples/segment.py [--bundle BUNDLE] [--folder demo/segment]             # land that the script draws
    python examples/segment.py --images a.jpg b.jpg --strokes a.png b.png --test DIR --folder OUT

Strokes are a picture of the image's size: a colour is a class, what is transparent or black has none. Paint some lines
of each class, in a program that does not smooth them. A logistic regression (scikit-learn) learns which tokens lie
below which colour; `Result.on_image` brings the classes' probabilities to the image's pixels, and the largest is the
pixel's class. The head then does images without strokes, those of DIR. Of each image there is a mask in OUT, a PNG with
the strokes' colours (black: the sizing rule cut this part off), and a picture of the image and its classes.

BUNDLE is exported with `--outputs tokens@4,6`, the middle third of its blocks; with `--outputs tokens` alone its final
tokens are taken. If none is given it is DINOv2 with its real weights (dinov2_features.py). Of land that it draws the
script knows the classes, and prints the mean IoU, beside what the pixels' colours alone give with the same strokes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from inspect_parts import around, middle_of, upright
from PIL import Image, ImageDraw, ImageFilter
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import navit_edge as ne
from navit_edge.bundle.manifest import Manifest
from navit_edge.bundle.manifest import load as load_manifest

if TYPE_CHECKING:
    from navit_edge.pixels import ImageLike

ROOT = Path(__file__).resolve().parents[1]
Array = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
#: 0 where there is no class, 1 and up.
Classes = npt.NDArray[np.int64]
Colour = tuple[int, int, int]

NO_CLASS = (0, 0, 0)
MOST_CLASSES = 32
STRENGTH = 0.1  # C of the regression: less draws the weights to 0


# --- strokes


def read_strokes(paths: Sequence[Path]) -> tuple[list[Classes], list[Colour]]:
    """The classes of each picture [height_px, width_px], and the colour of each class, from 1."""
    painted = []
    for path in paths:
        rgba = np.asarray(Image.open(path).convert("RGBA"))
        painted.append(np.where(rgba[..., 3:] < 255, 0, rgba[..., :3]).astype(np.int64) @ (1 << 16, 1 << 8, 1))
    codes = np.unique(np.concatenate([one.ravel() for one in painted]))
    codes = codes[codes > 0]
    if not 2 <= len(codes) <= MOST_CLASSES:
        raise SystemExit(
            f"the strokes have {len(codes)} colours; expected 2 to {MOST_CLASSES}, a colour for each class: save them "
            "as PNG, painted without smooth edges"
        )
    colours = [(int(code) >> 16, int(code) >> 8 & 255, int(code) & 255) for code in codes]
    return [np.where(one > 0, np.searchsorted(codes, one) + 1, 0) for one in painted], colours


def under_strokes(result: ne.Result, strokes: Classes, rows: int) -> Classes:
    """[rows]: of each row of tokens the class that most of its pixels are painted with, 0 if none is painted."""
    if strokes.shape != result.pixels:
        raise SystemExit(
            f"strokes are {strokes.shape[0]} x {strokes.shape[1]} pixels (height x width), their image is "
            f"{result.pixels[0]} x {result.pixels[1]}; expected the same size"
        )
    row_of_pixel = result.on_image(np.arange(rows), filter="nearest")
    painted = (strokes > 0) & np.isfinite(row_of_pixel)
    counts = np.zeros((rows, int(strokes.max()) + 1), np.int64)
    np.add.at(counts, (row_of_pixel[painted].astype(np.int64), strokes[painted]), 1)
    return np.where(counts.any(1), counts.argmax(1), 0)


# --- the head


def features_of(result: ne.Result, manifest: Manifest) -> Array:
    """[patches, D]: of each patch the tokens of middle blocks, and beside them their mean around it."""
    own = middle_of(result, manifest)
    return np.concatenate([own, around(result, own)], axis=1)


def train(features: npt.NDArray[Any], classes: Classes) -> Any:
    """A regression [rows, D] -> probabilities, of the rows that have a class."""
    there = classes > 0
    head = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=1000))
    return head.fit(features[there], classes[there])


def segment(head: Any, result: ne.Result, features: Array) -> Classes:
    """[height_px, width_px]: the class of each pixel, 0 where the sizing rule cut the image off."""
    scores = result.on_image(head.predict_proba(features))
    return np.where(np.isfinite(scores[..., 0]), head.classes_[scores.argmax(2)], 0)


def mean_iou(found: Sequence[Classes], true: Sequence[Classes]) -> dict[int, float]:
    """Of each class, over all images: the pixels in both over those in either."""
    flat, known = (np.concatenate([one.ravel() for one in masks]) for masks in (found, true))
    return {
        int(one): float(((flat == one) & (known == one)).sum() / ((flat == one) | (known == one)).sum())
        for one in np.unique(known[known > 0])
    }


# --- pictures


def write_mask(classes: Classes, colours: Sequence[Colour], path: Path) -> None:
    """A PNG with a palette: the value of a pixel is its class, its colour the strokes'."""
    image = Image.fromarray(classes.astype(np.uint8), "P")
    image.putpalette([level for colour in (NO_CLASS, *colours) for level in colour])
    image.save(path)


def show(pixels: Pixels, classes: Classes, colours: Sequence[Colour], path: Path) -> None:
    """The image, and beside it its classes over it."""
    colour = np.array([NO_CLASS, *colours], np.float32)[classes]
    gray = np.asarray(Image.fromarray(pixels).convert("L"), np.float32)[..., None]
    over = np.where((classes > 0)[..., None], 0.5 * gray + 0.5 * colour, 0.3 * gray)
    Image.fromarray(np.concatenate([pixels, np.rint(over).astype(np.uint8)], axis=1)).save(path)


# --- land from above


@dataclass(frozen=True, kw_only=True)
class Land:
    """pixels [height_px, width_px, 3]; classes [height_px, width_px], 1 and up in the order of LAND."""

    pixels: Pixels
    classes: Classes


LAND: dict[str, Colour] = {
    "water": (40, 120, 255), "meadow": (150, 230, 60), "forest": (0, 130, 60), "field": (230, 180, 40),
    "town": (220, 50, 60),
}  # fmt: skip


def draw_land(rng: np.random.Generator) -> Land:
    """Plots of each kind with bent borders. Light differs from image to image, the green of meadow and forest and the
    ground of field and town do not differ much."""
    height, width = (int(side) for side in rng.integers(420, 560, 2))
    classes = _plots(rng, height, width)
    shade = rng.uniform(0.75, 1.2) * rng.uniform(0.92, 1.08, 3)
    grounds = [_water, _meadow, _forest, _field, _town]
    pixels = np.zeros((height, width, 3))
    for number, paint in enumerate(grounds, 1):
        pixels = np.where((classes == number)[..., None], paint(rng, height, width), pixels)
    light = 1 + 0.1 * _cloud(rng, height, width, 200)[..., None]
    noisy = pixels * light * shade + rng.normal(0, 4, pixels.shape)
    image = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
    return Land(pixels=np.asarray(image.filter(ImageFilter.GaussianBlur(0.6))), classes=classes)


def _plots(rng: np.random.Generator, height: int, width: int) -> Classes:
    """Of each pixel the class of the nearest of some points; the distances are bent, so that borders are."""
    kinds = np.concatenate([np.arange(1, len(LAND) + 1), rng.integers(1, len(LAND) + 1, 7)])
    points = rng.uniform(0, 1, (len(kinds), 2)) * (height, width)
    y, x = (axis + 25 * _cloud(rng, height, width, 60) for axis in np.mgrid[:height, :width])
    distances = (y[..., None] - points[:, 0]) ** 2 + (x[..., None] - points[:, 1]) ** 2
    plots: Classes = kinds[distances.argmin(2)]
    return plots


def _cloud(rng: np.random.Generator, height: int, width: int, grain_px: float) -> npt.NDArray[np.float64]:
    """[height, width]: smooth noise, mean 0 and deviation 1."""
    coarse = rng.normal(size=(int(height / grain_px) + 3, int(width / grain_px) + 3)).astype(np.float32)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.float64)
    found: npt.NDArray[np.float64] = (smooth - smooth.mean()) / smooth.std()
    return found


def _water(rng: np.random.Generator, height: int, width: int) -> npt.NDArray[np.float64]:
    return np.array([52.0, 84, 88]) + 4 * _cloud(rng, height, width, 9)[..., None]


def _meadow(rng: np.random.Generator, height: int, width: int) -> npt.NDArray[np.float64]:
    return np.array([84.0, 112, 58]) + 7 * (_cloud(rng, height, width, 3) + _cloud(rng, height, width, 40))[..., None]


def _forest(rng: np.random.Generator, height: int, width: int) -> npt.NDArray[np.float64]:
    """Crowns, light on one side."""
    image = Image.new("RGB", (width, height), (38, 56, 32))
    pen = ImageDraw.Draw(image)
    for _ in range(height * width // 90):
        y, x, radius = int(rng.integers(height)), int(rng.integers(width)), int(rng.integers(5, 10))
        green = np.array([70, 98, 50]) * rng.uniform(0.75, 1.2)
        for part, tone in ((1.0, 0.8), (0.6, 1.15)):
            r, move = radius * part, radius * (1 - part) * 0.6
            fill = tuple(int(level) for level in green * tone)
            pen.ellipse((x - move - r, y - move - r, x - move + r, y - move + r), fill=fill)
    return np.asarray(image, np.float64)


def _field(rng: np.random.Generator, height: int, width: int) -> npt.NDArray[np.float64]:
    """Furrows."""
    turn, furrow_px = rng.uniform(0, np.pi), rng.uniform(6, 10)
    y, x = np.mgrid[:height, :width]
    waves = np.sin(2 * np.pi * (y * np.sin(turn) + x * np.cos(turn)) / furrow_px)
    found: npt.NDArray[np.float64] = (
        np.array([126.0, 112, 82]) + (12 * waves + 6 * _cloud(rng, height, width, 30))[..., None]
    )
    return found


def _town(rng: np.random.Generator, height: int, width: int) -> npt.NDArray[np.float64]:
    """Roofs in rows, with streets and gardens between them."""
    image = Image.new("RGB", (width, height), (122, 118, 110))
    pen = ImageDraw.Draw(image)
    for top in range(0, height, 34):
        for left in range(0, width, 30):
            if rng.random() < 0.2:
                pen.rectangle((left + 2, top + 2, left + 26, top + 26), fill=(88, 108, 64))
                continue
            tone = rng.uniform(0.75, 1.15)
            roof = [(150, 92, 72), (128, 122, 116), (140, 108, 86)][int(rng.integers(3))]
            wide, high = (int(side) for side in rng.integers(15, 24, 2))
            y, x = top + int(rng.integers(0, 5)), left + int(rng.integers(0, 5))
            pen.rectangle((x + 3, y + 3, x + wide + 3, y + high + 3), fill=(52, 50, 50))
            for bottom, dim in ((high, 1.0), (high // 2, 0.8)):
                pen.rectangle((x, y, x + wide, y + bottom), fill=tuple(int(level * tone * dim) for level in roof))
    return np.asarray(image, np.float64)


def draw_strokes(rng: np.random.Generator, classes: Classes, count: int = 4, width_px: int = 5) -> Classes:
    """Some lines in each class, as somebody would paint them: from pixel to pixel within it, away from its border."""
    strokes = np.zeros(classes.shape, np.int64)
    for number in np.unique(classes):
        inside = Image.fromarray(((classes == number) * 255).astype(np.uint8)).filter(ImageFilter.MinFilter(21))
        places = np.argwhere(np.asarray(inside))
        for _ in range(count if len(places) else 0):
            line = Image.new("1", classes.shape[::-1])
            start = places[rng.integers(len(places))]
            near = places[np.abs(places - start).max(1) < 60]
            end = near[rng.integers(len(near))]
            ImageDraw.Draw(line).line([*map(int, start[::-1]), *map(int, end[::-1])], fill=1, width=width_px)
            strokes[np.asarray(line) & (np.asarray(inside) > 0)] = number
    return strokes


# --- the two ways to use it


def learn_and_segment(
    session: ne.Session,
    manifest: Manifest,
    images: Sequence[ImageLike],
    strokes: Sequence[Classes],
    test: Sequence[ImageLike],
) -> list[Classes]:
    """The classes of the pixels of all images, of those with strokes first."""
    results = session.run([*images, *test])
    features = [features_of(result, manifest) for result in results]
    known = [
        under_strokes(result, one, len(rows)) for result, one, rows in zip(results, strokes, features, strict=False)
    ]
    head = train(np.concatenate(features[: len(images)]), np.concatenate(known))
    return [segment(head, result, rows) for result, rows in zip(results, features, strict=True)]


def drawn_land(session: ne.Session, manifest: Manifest, folder: Path, count: int) -> dict[str, float]:
    """Strokes on two images, ``count`` others to judge: the mean IoU, that of each class, the share of pixels that were
    painted, and the mean IoU of a head on colours."""
    rng = np.random.default_rng(17)
    lands = [draw_land(rng) for _ in range(2 + count)]
    strokes = [draw_strokes(rng, land.classes) for land in lands[:2]]
    pixels = [land.pixels for land in lands]
    found = learn_and_segment(session, manifest, pixels[:2], strokes, pixels[2:])
    colours = list(LAND.values())
    for place in (0, 2, 3):
        show(pixels[place], found[place], colours, folder / f"land-{place}.png")
        write_mask(found[place], colours, folder / f"land-{place}-mask.png")
    write_mask(strokes[0], colours, folder / "land-0-strokes.png")
    head = train(np.concatenate([one.reshape(-1, 3) for one in pixels[:2]]), np.concatenate([*map(np.ravel, strokes)]))
    by_colour = [head.predict(one.reshape(-1, 3)).reshape(one.shape[:2]) for one in pixels[2:]]
    true = [land.classes for land in lands[2:]]
    of_class = mean_iou(found[2:], true)
    return {
        "mean IoU": float(np.mean([*of_class.values()])),
        **{f"IoU of {name}": of_class[number] for number, name in enumerate(LAND, 1)},
        "mean IoU by colours alone": float(np.mean([*mean_iou(by_colour, true).values()])),
        "share of pixels painted": float(np.mean(np.concatenate([one.ravel() for one in strokes]) > 0)),
    }


def own_images(
    session: ne.Session, manifest: Manifest, images: Sequence[Path], strokes: Sequence[Path], test: Path | None,
    folder: Path,
) -> None:  # fmt: skip
    """A mask and a picture of each image, named as it is."""
    more = [] if test is None else sorted(path for path in test.iterdir() if path.is_file())
    painted, colours = read_strokes(strokes)
    found = learn_and_segment(session, manifest, images, painted, more)
    for path, classes in zip([*images, *more], found, strict=True):
        write_mask(classes, colours, folder / f"{path.stem}-mask.png")
        show(upright(path), classes, colours, folder / f"{path.stem}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--folder", type=Path, default=ROOT / "demo" / "segment")
    parser.add_argument("--images", type=Path, nargs="+", default=[])
    parser.add_argument("--strokes", type=Path, nargs="+", default=[], help="a picture for each of the images")
    parser.add_argument("--test", type=Path, help="a folder of images without strokes")
    parser.add_argument("--count", type=int, default=12, help="drawn images to judge")
    given = parser.parse_args()
    if len(given.images) != len(given.strokes):
        parser.error(f"{len(given.images)} images, {len(given.strokes)} strokes; expected strokes for each image")
    if given.test is not None and not given.images:
        parser.error("--test needs --images and --strokes to learn from")
    given.folder.mkdir(parents=True, exist_ok=True)
    bundle = given.bundle
    if bundle is None:
        from dinov2_features import make_bundle

        (ROOT / "demo" / "dinov2").mkdir(parents=True, exist_ok=True)
        bundle = make_bundle(ROOT / "demo" / "dinov2", "dinov2-s14-middle.navit", ("tokens", "tokens@4,6"))
    manifest = load_manifest(bundle)
    with ne.Session(bundle) as session:
        if given.images:
            own_images(session, manifest, given.images, given.strokes, given.test, given.folder)
        else:
            for name, value in drawn_land(session, manifest, given.folder, given.count).items():
                print(f"{name}: {value:.3f}")
    print(given.folder)


if __name__ == "__main__":
    main()
