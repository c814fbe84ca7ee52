"""Ten classes of drawn shapes at many sizes and aspects, as class folders: enough to see a training work.

    python examples/train/shapes.py FOLDER [--images 6000] [--seed 0]

Writes FOLDER/train and FOLDER/test (a sixth of the images). The same seed gives the same pixels.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SHAPES = ("arc", "arrow", "circle", "cross", "diamond", "line", "ring", "square", "star", "triangle")


def draw(name: str, rng: np.random.Generator) -> Image.Image:
    """One image of a shape, anywhere, in any colours, on noise."""
    width, height = (int(side) for side in rng.integers(40, 200, 2))
    ground, ink = rng.integers(0, 256, (2, 3))
    while np.abs(ground - ink).sum() < 200:
        ground, ink = rng.integers(0, 256, (2, 3))
    image = Image.new("RGB", (width, height), tuple(ground.tolist()))
    brush = ImageDraw.Draw(image)
    radius = min(width, height) * rng.uniform(0.25, 0.45)
    x, y = rng.uniform(radius, width - radius), rng.uniform(radius, height - radius)
    colour, thick = tuple(ink.tolist()), max(2, int(radius / 4))
    box = (x - radius, y - radius, x + radius, y + radius)

    def points(angles: list[float], radii: list[float]) -> list[tuple[float, float]]:
        return [(x + radius * r * np.sin(a), y - radius * r * np.cos(a)) for a, r in zip(angles, radii, strict=True)]

    def regular(corners: int) -> list[float]:
        return [2 * np.pi * k / corners for k in range(corners)]

    if name == "arc":
        brush.arc(box, start=200, end=340, fill=colour, width=thick)
    elif name == "arrow":
        brush.line([(x - radius, y), (x + radius, y)], fill=colour, width=thick)
        brush.polygon([(x + radius, y), (x, y - radius * 0.7), (x, y + radius * 0.7)], fill=colour)
    elif name == "circle":
        brush.ellipse(box, fill=colour)
    elif name == "cross":
        brush.line([(x - radius, y), (x + radius, y)], fill=colour, width=thick)
        brush.line([(x, y - radius), (x, y + radius)], fill=colour, width=thick)
    elif name == "diamond":
        brush.polygon(points(regular(4), [1.0] * 4), fill=colour)
    elif name == "line":
        brush.line([(x - radius, y + radius), (x + radius, y - radius)], fill=colour, width=thick)
    elif name == "ring":
        brush.ellipse(box, outline=colour, width=thick)
    elif name == "square":
        brush.rectangle((x - radius * 0.8, y - radius * 0.8, x + radius * 0.8, y + radius * 0.8), fill=colour)
    elif name == "star":
        brush.polygon(points(regular(10), [1.0, 0.4] * 5), fill=colour)
    else:
        brush.polygon(points(regular(3), [1.0] * 3), fill=colour)
    pixels = np.asarray(image, np.float64) + rng.normal(0, 8, (height, width, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def write(folder: Path, *, images: int, seed: int) -> None:
    """All files; those that are there are written again, with the same pixels."""
    for number in range(images):
        name = SHAPES[number % len(SHAPES)]
        part = "test" if number // len(SHAPES) % 6 == 5 else "train"
        path = folder / part / name / f"{number:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(name, np.random.default_rng((seed, number))).save(path)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    write(chosen.folder, images=chosen.images, seed=chosen.seed)
    print(f"{chosen.folder}: {chosen.images} images of {len(SHAPES)} classes")


if __name__ == "__main__":
    main()
