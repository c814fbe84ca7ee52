"""Real photographs of many sizes, from the wheels of scikit-image and scikit-learn: nothing is downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from PIL import Image


@dataclass(frozen=True, kw_only=True)
class Photograph:
    """Where a photograph lies, and the part of it to take: (left, top, right, bottom) in pixels, or all of it."""

    name: str
    package: str
    file: str
    crop_px: tuple[int, int, int, int] | None = None


PHOTOGRAPHS = (
    Photograph(name="astronaut", package="skimage", file="data/astronaut.png"),
    Photograph(name="cat", package="skimage", file="data/chelsea.png"),
    Photograph(name="cat-eye", package="skimage", file="data/chelsea.png", crop_px=(130, 62, 210, 126)),
    Photograph(name="coffee", package="skimage", file="data/coffee.png"),
    Photograph(name="coins", package="skimage", file="data/coins.png"),
    Photograph(name="galaxies", package="skimage", file="data/hubble_deep_field.jpg"),
    Photograph(name="motorcycle", package="skimage", file="data/motorcycle_left.png"),
    Photograph(name="page", package="skimage", file="data/page.png"),
    Photograph(name="retina", package="skimage", file="data/retina.jpg"),
    Photograph(name="rocket-tall", package="skimage", file="data/rocket.jpg", crop_px=(250, 10, 390, 427)),
    Photograph(name="temple", package="sklearn", file="datasets/images/china.jpg"),
    Photograph(name="temple-wide", package="sklearn", file="datasets/images/china.jpg", crop_px=(0, 170, 640, 300)),
    Photograph(name="flower", package="sklearn", file="datasets/images/flower.jpg", crop_px=(230, 90, 422, 266)),
)


def write_photographs(folder: Path) -> list[Path]:
    """Writes the photographs as PNG files into ``folder``, if they are not there yet; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for photograph in PHOTOGRAPHS:
        path = folder / f"{photograph.name}.png"
        paths.append(path)
        if path.is_file():
            continue
        spec = find_spec(photograph.package)  # finds the package without importing it
        if spec is None or spec.origin is None:
            raise SystemExit(f'the photographs need {photograph.package}: pip install "navit-edge[demo]"')
        with Image.open(Path(spec.origin).parent / photograph.file) as image:
            taken = image.crop(photograph.crop_px) if photograph.crop_px else image
            partial = path.with_suffix(".partial")
            taken.convert("RGB").save(partial, format="PNG")
        partial.replace(path)
    return paths
