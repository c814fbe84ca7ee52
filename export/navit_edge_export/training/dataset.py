"""Labelled images: where they are, how large, and their pixels.

A folder of class folders is read once, by headers. What cannot be opened is counted, not lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from navit_edge.decode import Decoder
from navit_edge.errors import InvalidInputError
from navit_edge.inputs.images import image_files
from navit_edge.text import shown

UInt8Array = npt.NDArray[np.uint8]

#: Most reasons of unreadable files that a message tells.
REASONS_SHOWN = 3


class Dataset(Protocol):
    """What a loader needs. Worker processes have a copy each."""

    @property
    def class_names(self) -> Sequence[str]: ...

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """[images], the index of each image's class."""

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """[images, 2] (height_px, width_px)"""

    def read(self, index: int) -> UInt8Array:
        """[height_px, width_px, 3], or 4 with alpha. Raises InvalidInputError for what cannot be decoded."""


@dataclass(frozen=True, kw_only=True)
class ArrayDataset:
    """Images in memory, [h, w, 3] or [h, w, 4] each."""

    images: Sequence[UInt8Array]
    labels: npt.NDArray[np.int64]
    class_names: Sequence[str]

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise InvalidInputError(f"{len(self.labels)} labels for {len(self.images)} images; expected one for each")
        check_classes(self.class_names, self.labels)

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """See Dataset."""
        return np.array([image.shape[:2] for image in self.images], np.int64)

    def read(self, index: int) -> UInt8Array:
        """See Dataset."""
        return self.images[index]


@dataclass(frozen=True, kw_only=True)
class FolderDataset:
    """A folder that holds a folder of images for each class; its name is the class's."""

    paths: Sequence[Path]
    labels: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    class_names: Sequence[str]
    unreadable: Sequence[str] = ()  # "path: why" of each file that was left out
    decoder: Decoder

    def read(self, index: int) -> UInt8Array:
        """See Dataset."""
        return pixels_of(self.decoder, self.paths[index])


def read_folder(folder: Path, *, class_names: Sequence[str] = (), decoder: Decoder | None = None) -> FolderDataset:
    """Reads the headers of all images below the class folders of ``folder``, sorted by name.

    class_names: the classes that there must be, in the order of their labels; empty: every folder is one.

    Raises InvalidInputError: no folder, fewer than two classes, a class without an image that opens, or a class that
        ``class_names`` does not have.
    """
    if not folder.is_dir():
        raise InvalidInputError(f"{shown(folder)} is no folder; expected one that holds a folder for each class")
    found = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if unknown := [name for name in found if class_names and name not in class_names]:
        raise InvalidInputError(
            f"{shown(folder)} has the class {unknown[0]!r}, which is none of the {len(class_names)} known ones; "
            "rename the folder, or leave it out"
        )
    names = list(class_names) or found
    decoder = decoder or Decoder()
    paths: list[Path] = []
    labels: list[int] = []
    sizes: list[tuple[int, int]] = []
    unreadable: list[str] = []
    for label, name in enumerate(names):
        if not (folder / name).is_dir():
            raise InvalidInputError(f"{shown(folder)} has no folder for the class {name!r}")
        for path in _files_of(folder / name):
            try:
                size = decoder.size_of(path)
            except InvalidInputError as error:
                unreadable.append(f"{shown(path)}: {error}")
                continue
            paths.append(path)
            labels.append(label)
            sizes.append(size)
    numbers = np.array(labels, np.int64)
    check_classes(names, numbers, where=f"{shown(folder)}: ", unreadable=unreadable)
    return FolderDataset(
        paths=paths,
        labels=numbers,
        sizes=np.array(sizes, np.int64).reshape(-1, 2),
        class_names=names,
        unreadable=unreadable,
        decoder=decoder,
    )


def check_classes(
    names: Sequence[str], labels: npt.NDArray[np.int64], *, where: str = "", unreadable: Sequence[str] = ()
) -> None:
    """Raises InvalidInputError if there is nothing to tell apart, a class has no image, or a label no class."""
    reasons = "".join(f"\n  {reason}" for reason in unreadable[:REASONS_SHOWN])
    if len(names) < 2:
        raise InvalidInputError(f"{where}found {len(names)} classes; expected at least 2, a folder for each")
    count = Counter(labels.tolist())
    if beyond := [label for label in count if not 0 <= label < len(names)]:
        raise InvalidInputError(f"{where}label {beyond[0]} is none of the {len(names)} classes")
    if empty := [name for label, name in enumerate(names) if not count[label]]:
        raise InvalidInputError(
            f"{where}the class {empty[0]!r} has no image that opens; expected at least one, or no such class{reasons}"
        )


def pixels_of(decoder: Decoder, path: Path) -> UInt8Array:
    """The decoded image, [h, w, 3] or [h, w, 4]. Raises InvalidInputError."""
    image = decoder.decode(path).image
    return np.array(image if image.mode in ("RGB", "RGBA") else image.convert("RGB"), np.uint8)


def _files_of(folder: Path) -> list[Path]:
    try:
        return list(image_files([folder], recursive=True).files)
    except InvalidInputError:  # no image in it: the caller says which class that is
        return []
