"""Writes the images of `make demo`, examples/images/CLASS.png: of each class the first test image of the list.

    python examples/train/demo_images.py [--source FOLDER]

First by SHA-256, so that no model's results have chosen them; LEFT_OUT was looked at before there was a model. They are
public domain, from Debian's package openclipart-png, reduced to SIDE_PX pixels at most on the longer side.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from clipart import SOURCE, ClipArt, check_source, read_list, write_image

IMAGES = Path(__file__).resolve().parents[1] / "images"
SIDE_PX = 320
#: What nobody could name: a grenade among the fish, and houses at night, black on black.
LEFT_OUT = ("animals/fish/kallisti-grenade_1_nurbl_01.png", "buildings/homes/houses_jon_phillips_01.png")


def chosen() -> dict[str, ClipArt]:
    """File name -> the image, one of each class."""
    first: dict[str, ClipArt] = {}
    for image in sorted(read_list(), key=lambda image: image.sha256):
        if image.part == "test" and image.name not in LEFT_OUT:
            first.setdefault(f"{image.label.replace(' ', '-')}.png", image)
    return dict(sorted(first.items()))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=SOURCE)
    source = parser.parse_args().source
    images = chosen()
    check_source(list(images.values()), source)
    for name, image in images.items():
        write_image(source / image.name, IMAGES / name, SIDE_PX)
    print(f"{IMAGES}: {len(images)} images, {sum(path.stat().st_size for path in IMAGES.glob('*.png')):,} bytes")


if __name__ == "__main__":
    main()
