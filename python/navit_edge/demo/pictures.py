"""Pictures of plain shapes in many sizes, drawn from a seed: of such the demo's model learned, and such it is shown."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

#: The classes of the demo's model, in the order of its logits.
SHAPES = ("circle", "ring", "square", "triangle", "star", "cross", "stripes", "checkerboard")

#: (width, height) of the demo's pictures: squares, strips and what lies between.
SIZES_PX = (
    (96, 96), (320, 96), (208, 160), (96, 64), (128, 288), (256, 256), (240, 112), (80, 240),
    (144, 144), (300, 200), (64, 96), (176, 128), (112, 224), (224, 64), (160, 208), (288, 144),
)  # fmt: skip

Colour: TypeAlias = tuple[int, int, int]
Point: TypeAlias = tuple[float, float]

_SMOOTH = 3  # drawn this many times larger, then reduced: smooth edges
_LEAST_PX, _MOST_PX = 48, 240  # sides of a picture
_LEAST_CONTRAST = 90  # between a shape and its background, of 255


def draw_picture(shape: str, *, seed: int, size_px: tuple[int, int] | None = None) -> Image:
    """One RGB picture of a shape of ``SHAPES``. The same arguments give the same picture.

    size_px: (width, height); without it the seed draws one, of any aspect ratio.
    """
    from PIL import Image, ImageDraw

    rng = random.Random(f"{shape} {seed}")
    width, height = size_px or (rng.randint(_LEAST_PX, _MOST_PX), rng.randint(_LEAST_PX, _MOST_PX))
    background, colour = _two_colours(rng)
    image = Image.new("RGB", (width * _SMOOTH, height * _SMOOTH), background)
    pen = ImageDraw.Draw(image)
    if shape in ("stripes", "checkerboard"):
        _draw_pattern(pen, shape, image.size, colour, rng)
    else:
        for centre, radius in _places(width * _SMOOTH, height * _SMOOTH, rng):
            _draw_shape(pen, shape, centre, radius, colour, background, rng)
    return image.resize((width, height), Image.Resampling.BOX)


def write_pictures(folder: Path) -> list[tuple[Path, str]]:
    """The demo's pictures as PNG files, if they are not there yet: (path, shape), two of each shape or more.

    Raises OutputError.
    """
    import io

    from navit_edge.place import write_file

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number, size_px in enumerate(SIZES_PX):
        shape = SHAPES[number % len(SHAPES)]
        seed = number // len(SHAPES)
        path = folder / f"{shape}-{seed + 1}.png"
        if not path.exists():
            content = io.BytesIO()
            draw_picture(shape, seed=seed, size_px=size_px).save(content, format="PNG")
            write_file(path, content.getvalue())
        written.append((path, shape))
    return written


def _two_colours(rng: random.Random) -> tuple[Colour, Colour]:
    while True:
        one, other = (tuple(rng.randint(0, 255) for _ in range(3)) for _ in range(2))
        if abs(_brightness(one) - _brightness(other)) >= _LEAST_CONTRAST:
            return (one[0], one[1], one[2]), (other[0], other[1], other[2])


def _brightness(colour: tuple[int, ...]) -> float:
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def _places(width: int, height: int, rng: random.Random) -> list[tuple[Point, float]]:
    """Centres and radii of shapes that do not overlap: a row along the longer side."""
    short, long = min(width, height), max(width, height)
    count = rng.randint(1, max(1, min(4, long // short)))
    places = []
    for k in range(count):
        room = min(short, long / count)
        radius = room * rng.uniform(0.3, 0.46)
        along = (k + 0.5) * long / count + rng.uniform(-1, 1) * (long / count / 2 - radius) * 0.9
        across = short / 2 + rng.uniform(-1, 1) * (short / 2 - radius) * 0.9
        places.append(((along, across) if width >= height else (across, along), radius))
    return places


def _around(centre: Point, radii: list[float], turn: float) -> list[Point]:
    """Corners at equal angles, at these distances."""
    step = 2 * math.pi / len(radii)
    return [
        (centre[0] + radius * math.cos(turn + k * step), centre[1] + radius * math.sin(turn + k * step))
        for k, radius in enumerate(radii)
    ]


def _draw_shape(
    pen: ImageDraw, shape: str, centre: Point, radius: float, colour: Colour, background: Colour, rng: random.Random
) -> None:
    def disc(part: float, fill: Colour) -> None:
        reach = radius * part
        pen.ellipse((centre[0] - reach, centre[1] - reach, centre[0] + reach, centre[1] + reach), fill=fill)

    turn = rng.uniform(0, 2 * math.pi)
    if shape in ("circle", "ring"):
        disc(1.0, colour)
        if shape == "ring":
            disc(rng.uniform(0.5, 0.7), background)
    elif shape == "cross":
        arm = radius * rng.uniform(0.2, 0.28)
        for quarter in (0.0, math.pi / 2):
            bar = []
            for along, across in ((1, 1), (1, -1), (-1, -1), (-1, 1)):
                x, y = along * radius, across * arm
                angle = turn + quarter
                bar.append(
                    (
                        centre[0] + x * math.cos(angle) - y * math.sin(angle),
                        centre[1] + x * math.sin(angle) + y * math.cos(angle),
                    )
                )
            pen.polygon(bar, fill=colour)
    else:
        corners = {"triangle": [1.0] * 3, "square": [1.0] * 4, "star": [1.0, 0.42] * 5}[shape]
        pen.polygon(_around(centre, [radius * part for part in corners], turn), fill=colour)


def _draw_pattern(pen: ImageDraw, shape: str, size: tuple[int, int], colour: Colour, rng: random.Random) -> None:
    width, height = size
    pitch = rng.uniform(9, 26) * _SMOOTH
    if shape == "checkerboard":
        left, top = rng.uniform(-pitch, 0), rng.uniform(-pitch, 0)
        for row in range(int(height / pitch) + 3):
            for column in range(row % 2, int(width / pitch) + 3, 2):
                x, y = left + column * pitch, top + row * pitch
                pen.rectangle((x, y, x + pitch - 1, y + pitch - 1), fill=colour)
        return
    angle = rng.uniform(0, math.pi)
    across, along = (math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))
    reach = width + height
    for k in range(-int(reach / pitch) - 1, int(reach / pitch) + 2):
        near, far = k * 2 * pitch, k * 2 * pitch + pitch
        corners = ((near, -reach), (far, -reach), (far, reach), (near, reach))
        pen.polygon([(a * across[0] + b * along[0], a * across[1] + b * along[1]) for a, b in corners], fill=colour)
