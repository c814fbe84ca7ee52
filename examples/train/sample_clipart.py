"""A small sample of the clip art's test images, reduced, as tests/data/clipart holds it.

    python examples/train/sample_clipart.py FOLDER [--images 200] [--side 192] [--part test]

Each class has its share of the sample. Its images are taken in the order of the committed list's SHA-256, which is as
good as random, without LEFT_OUT.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from clipart import SOURCE, ClipArt, check_source, read_list, write_image

#: For this one, two logits of the shipped model are the same to four digits: its answer could differ between machines.
LEFT_OUT = "047e21fbfc2b"


def sample(images: list[ClipArt], count: int) -> list[ClipArt]:
    """``count`` of ``images``, from each class as near to its share as whole numbers allow (largest remainders)."""
    of_class: dict[str, list[ClipArt]] = {}
    for image in sorted(images, key=lambda image: (image.sha256.startswith(LEFT_OUT), image.sha256)):
        of_class.setdefault(image.label, []).append(image)
    shares = {label: len(some) * count / len(images) for label, some in of_class.items()}
    taken = {label: int(share) for label, share in shares.items()}
    by_remainder = sorted(shares, key=lambda label: (taken[label] - shares[label], label))
    for label in by_remainder[: count - sum(taken.values())]:
        taken[label] += 1
    return [image for label in sorted(of_class) for image in of_class[label][: taken[label]]]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--side", type=int, default=192, metavar="PX")
    parser.add_argument("--part", choices=("train", "test"), default="test")
    parser.add_argument("--source", type=Path, default=SOURCE)
    chosen = parser.parse_args()
    images = sample([image for image in read_list() if image.part == chosen.part], chosen.images)
    check_source(images, chosen.source)
    for image in images:
        write_image(chosen.source / image.name, chosen.folder / image.label / f"{image.sha256[:12]}.png", chosen.side)
    print(f"{chosen.folder}: {len(images)} images of {len({image.label for image in images})} classes")


if __name__ == "__main__":
    main()
