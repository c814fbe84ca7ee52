"""How examples/train/clipart.csv was made: which clip art is in which class, and in train or test.

    python examples/train/choose_clipart.py DINOV2 CACHE.npz [--source FOLDER] [--embeddings FILE.npz]

--embeddings FILE.npz: the embeddings in 8 bits, as tests/data/clipart/embeddings.npz has them.

DINOV2: the folder that `examples/dinov2_weights.py` writes. CACHE.npz keeps its embeddings, so that a second run takes
seconds. `examples/train/clipart.py` makes the data set out of the list; you need this file only to make another list.

1. A class is one or more folders of the package (CLASSES). Left out are folders without a visible meaning of their own
   (office, education, unsorted, signs_and_symbols, sports), of one drawing in many colours (jigsaw, buttons, led), of
   too few different images (smilies: 21), and shapes/stars: 1,378 stars of one generator.
2. A copy to the byte, and an image whose colour-difference hash is nearly that of another, counts once, in the class
   that comes first.
3. Images come in the order of their SHA-256, which is as good as random. In each class the first quarter is for test.
   No two test images, and no test and train image, are as similar to DINOv2 as SIMILAR: the later one is dropped.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

#: Class -> folders of the package, and those below them. A file belongs to the first class that has it.
CLASSES: dict[str, tuple[str, ...]] = {
    "card": ("recreation/games/cards",),
    "road sign": ("transportation/roadsigns",),
    "arrow": ("shapes/arrows",),
    "pictogram": ("transportation/aiga-symbols",),
    "flag": ("signs_and_symbols/flags",),
    "animal": ("animals",),
    "drink": ("food/beverages",),
    "food": ("food",),
    "plant": ("plants",),
    "clothing": ("people/clothing",),
    "person": ("people",),
    "building": ("buildings",),
    "vehicle": ("transportation",),
    "map": ("geography",),
    "pattern": ("special/patterns",),
    "music": ("recreation/music",),
    "device": ("computer/hardware", "electronics"),
    "icon": ("computer/icons/flat-theme", "computer/icons/lemon-theme"),
    "tool": ("tools",),
}
#: Folders below those of CLASSES that show something else.
NOT_OF_THE_CLASS = (
    "buildings/furniture", "geography/astronomy", "people/bodypart", "people/smilies",
    "signs_and_symbols/flags/semaphore", "tools/weapons", "transportation/boating",
)  # fmt: skip
MOST_OF_A_CLASS = 300
TEST_SHARE = 0.25
#: Of 192 bits. Two images that differ in fewer count as one.
NEAR_BITS = 6
#: Cosine of DINOv2's embeddings. Images at least as similar are not in both parts.
SIMILAR = 0.95
#: DINOv2 sees so many patches of an image at most.
TEACHER_TOKENS = 100
TEACHER_PX = 256
LEAST_PX, MOST_PIXELS = 24, 4_000_000
BITS_DOWN, BITS_ACROSS = 8, 8


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A file of the package. name: below the package's folder."""

    name: str
    label: str
    sha256: str
    bits: npt.NDArray[np.bool_]  # [192]


def on_white(path: Path) -> Image.Image:
    """The image, opaque."""
    image = Image.open(path).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def has_usable_size(path: Path) -> bool:
    """Whether the file is neither tiny nor so large that decoding it takes seconds."""
    try:
        with Image.open(path) as opened:
            width, height = opened.size
            return bool(min(width, height) >= LEAST_PX and width * height <= MOST_PIXELS)
    except Image.DecompressionBombError:
        return False


def reduced(image: Image.Image) -> Image.Image:
    """At most as large as the teacher sees it, so that the resize in numpy takes no time."""
    image.thumbnail((TEACHER_PX, TEACHER_PX), Image.Resampling.BOX)
    return image


def difference_bits(image: Image.Image) -> npt.NDArray[np.bool_]:
    """[192] whether red, green and blue rise from one of 9 x 8 fields to the next on its right, or not."""
    small = np.asarray(image.resize((BITS_ACROSS + 1, BITS_DOWN), Image.Resampling.BOX), np.int16)
    bits: npt.NDArray[np.bool_] = (small[:, 1:] > small[:, :-1] + 1).reshape(-1)
    return bits


def class_of(name: str) -> str | None:
    """The class of a file by its folder."""
    if any(name.startswith(f"{folder}/") for folder in NOT_OF_THE_CLASS):
        return None
    return next((label for label, folders in CLASSES.items() if name.startswith(tuple(f"{f}/" for f in folders))), None)


def candidates(source: Path) -> list[Candidate]:
    """Every file of a class that is no copy nor near copy of one before it, by class and SHA-256."""
    found: dict[str, list[tuple[str, str]]] = {label: [] for label in CLASSES}
    for path in sorted(source.rglob("*.png")):
        name = str(path.relative_to(source))
        label = class_of(name)
        if label is not None:
            found[label].append((hashlib.sha256(path.read_bytes()).hexdigest(), name))
    kept: list[Candidate] = []
    seen: set[str] = set()
    hashes = np.zeros((0, BITS_DOWN * BITS_ACROSS * 3), bool)
    for label, files in found.items():
        count = 0
        for sha256, name in sorted(files):
            if sha256 in seen or count == MOST_OF_A_CLASS or not has_usable_size(source / name):
                continue
            seen.add(sha256)
            image = on_white(source / name)
            bits = difference_bits(image)
            is_blank = np.asarray(image).std() < 2
            if is_blank or (len(hashes) and (hashes != bits).sum(1).min() < NEAR_BITS):
                continue
            hashes = np.concatenate([hashes, bits[None]])
            kept.append(Candidate(name=name, label=label, sha256=sha256, bits=bits))
            count += 1
    return kept


def embeddings(teacher: Path, source: Path, files: list[Candidate], cache: Path) -> npt.NDArray[np.float32]:
    """[files, D], of length 1."""
    from navit_edge_export.families.registry import import_checkpoint
    from navit_edge_export.training.dataset import ArrayDataset
    from navit_edge_export.training.distillation import teacher_embeddings

    known = dict(np.load(cache)) if cache.is_file() else {}
    missing = [file for file in files if file.sha256 not in known]
    model = import_checkpoint(teacher).model if missing else None
    for start in range(0, len(missing), 64):
        some = missing[start : start + 64]
        images = [np.asarray(reduced(on_white(source / file.name))) for file in some]
        data = ArrayDataset(images=images, labels=np.arange(len(some)) % 2, class_names=("a", "b"))
        assert model is not None
        for file, row in zip(some, teacher_embeddings(model, data, max_tokens=TEACHER_TOKENS), strict=True):
            known[file.sha256] = row
        print(f"{start + len(some)} of {len(missing)} embeddings", flush=True)
        if start // 64 % 8 == 7 or start + 64 >= len(missing):
            np.savez(cache, **known)
    table = np.stack([known[file.sha256] for file in files])
    unit: npt.NDArray[np.float32] = table / np.linalg.norm(table, axis=1, keepdims=True)
    return unit


def split(files: list[Candidate], unit: npt.NDArray[np.float32]) -> list[str]:
    """[files] "test", "train" or "" (dropped)."""
    similar = unit @ unit.T >= SIMILAR
    parts = [""] * len(files)
    for label in CLASSES:
        numbers = [number for number, file in enumerate(files) if file.label == label]
        for number in numbers[: round(len(numbers) * TEST_SHARE)]:
            if not any(similar[number, other] for other in range(number) if parts[other] == "test"):
                parts[number] = "test"
    test = np.array([part == "test" for part in parts])
    for number in range(len(files)):
        place = [other for other, file in enumerate(files) if file.label == files[number].label].index(number)
        of_class = sum(file.label == files[number].label for file in files)
        if place >= round(of_class * TEST_SHARE) and not similar[number][test].any():
            parts[number] = "train"
    return parts


def write_embeddings(path: Path, files: list[Candidate], parts: list[str], unit: npt.NDArray[np.float32]) -> None:
    """sha256 [images] of the list, and embedding [images, D], int8 of any scale."""
    rows = [number for number, part in enumerate(parts) if part]
    scaled = unit[rows] * (127 / np.abs(unit[rows]).max(1, keepdims=True))
    names = np.array([files[number].sha256 for number in rows])
    np.savez_compressed(path, sha256=names, embedding=np.rint(scaled).astype(np.int8))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teacher", type=Path)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--source", type=Path, default=Path("/usr/share/openclipart/png"))
    parser.add_argument("--embeddings", type=Path, help="also write DINOv2's embeddings of the list, in 8 bits")
    parser.add_argument("--list", type=Path, default=Path(__file__).with_name("clipart.csv"))
    chosen = parser.parse_args()
    files = candidates(chosen.source)
    print(f"{len(files)} different images")
    unit = embeddings(chosen.teacher, chosen.source, files, chosen.cache)
    parts = split(files, unit)
    kept = sorted((file.name, file, part) for file, part in zip(files, parts, strict=True) if part)
    with chosen.list.open("w", encoding="utf-8", newline="") as table:
        rows = csv.writer(table, lineterminator="\n")
        rows.writerow(("name", "label", "part", "sha256", "bits"))
        for name, file, part in kept:
            rows.writerow((name, file.label, part, file.sha256, np.packbits(file.bits).tobytes().hex()))
    if chosen.embeddings:
        write_embeddings(chosen.embeddings, files, parts, unit)
    for label in sorted(CLASSES):
        of = [part for file, part in zip(files, parts, strict=True) if file.label == label]
        print(f"{label:10} {len(of):4} different, {of.count('train'):4} train, {of.count('test'):4} test")
    test, train = (np.array([part == name for part in parts]) for name in ("test", "train"))
    print(
        f"{train.sum()} train, {test.sum()} test; greatest cosine between them {(unit[test] @ unit[train].T).max():.3f}"
    )


if __name__ == "__main__":
    main()
