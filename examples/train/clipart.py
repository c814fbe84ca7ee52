"""Nineteen classes of public-domain clip art, as class folders, out of Debian's package openclipart-png.

    apt-get install openclipart-png
    python examples/train/clipart.py FOLDER [--source FOLDER] [--train-side 256]

Writes FOLDER/train and FOLDER/test, with a folder for each class, and FOLDER/train.csv and FOLDER/test.csv for
`navit-edge evaluate`. Which file is in which part is said by clipart.csv beside this file; choose_clipart.py made it.
Test images are copied. Training images of more than --train-side pixels a side are reduced to it, as no step of the
recipe sees more, and the training would decode them again and again; 0: they are copied too. Transparency stays.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

LIST = Path(__file__).with_name("clipart.csv")
SOURCE = Path("/usr/share/openclipart/png")
PARTS = ("train", "test")
#: The version of the package that has these files.
VERSION = "1:0.18+dfsg-19"


@dataclass(frozen=True, kw_only=True)
class ClipArt:
    """An image of the list. name: its file below the package's folder. bits: a hash of what it looks like."""

    name: str
    label: str
    part: str
    sha256: str
    bits: str

    @property
    def place(self) -> str:
        """Its file below the data set's folder."""
        return f"{self.part}/{self.label}/{self.name.replace('/', '-')}"


def read_list(path: Path = LIST) -> list[ClipArt]:
    """Every image of the data set."""
    with path.open(encoding="utf-8", newline="") as file:
        return [ClipArt(**row) for row in csv.DictReader(file)]


def check_source(images: list[ClipArt], source: Path) -> None:
    """Exits with what to do if a file is missing or another one."""
    missing = [image for image in images if not (source / image.name).is_file()]
    if missing:
        sys.exit(
            f"error: {len(missing)} of {len(images)} files are missing, such as {source / missing[0].name}; "
            "install them: apt-get install openclipart-png (or name their folder: --source)"
        )
    for image in images:
        found = hashlib.sha256((source / image.name).read_bytes()).hexdigest()
        if found != image.sha256:
            sys.exit(
                f"error: {source / image.name} is another file than the list means: SHA-256 {found}, "
                f"expected {image.sha256}; install openclipart-png {VERSION}"
            )


def write_image(source: Path, target: Path, side_px: int) -> None:
    """A copy, or the image reduced to ``side_px`` pixels at most on its longer side; 0: any."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(source) as image:
        if not side_px or max(image.size) <= side_px:
            shutil.copyfile(source, target)
            return
        mode = "RGBA" if "A" in image.getbands() or "transparency" in image.info else "RGB"
        small = image.convert(mode)  # thumbnail() weighs colours by their alpha
    small.thumbnail((side_px, side_px), Image.Resampling.BOX)
    small.save(target)


def write(folder: Path, source: Path, *, train_side_px: int) -> None:
    """The whole data set; what is there already is written again."""
    images = read_list()
    check_source(images, source)
    for part in PARTS:
        for image in images:
            if image.part == part:
                write_image(source / image.name, folder / image.place, train_side_px if part == "train" else 0)
        with (folder / f"{part}.csv").open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(("path", "label"))
            rows.writerows((image.place, image.label) for image in images if image.part == part)
    for part in PARTS:
        of_part = [image for image in images if image.part == part]
        print(f"{folder / part}: {len(of_part)} images of {len({image.label for image in of_part})} classes")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--source", type=Path, default=SOURCE)
    parser.add_argument("--train-side", type=int, default=256, metavar="PX")
    chosen = parser.parse_args()
    write(chosen.folder, chosen.source, train_side_px=chosen.train_side)


if __name__ == "__main__":
    main()
