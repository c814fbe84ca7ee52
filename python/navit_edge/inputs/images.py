"""Image files that a command is given, and those of folders: what plan, bench, verify and quantize read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from navit_edge.decode.formats import FORMATS
from navit_edge.errors import InvalidInputError
from navit_edge.inputs.entries import Folders, Refused, Skipped, Wanted
from navit_edge.text import shown


@dataclass(frozen=True, kw_only=True)
class ImageFiles:
    """files: in order. refused: entries of folders that cannot be read. skipped: those that a rule leaves out."""

    files: tuple[Path, ...]
    refused: tuple[Refused, ...] = ()
    skipped: Skipped = field(default_factory=Skipped)

    def left_out(self) -> list[str]:
        """Lines for people: every error, and one on all that was skipped."""
        return [str(one.error) for one in self.refused] + ([self.skipped.words()] if self.skipped else [])


def image_files(paths: Sequence[Path], *, formats: tuple[str, ...] = FORMATS, recursive: bool = False) -> ImageFiles:
    """Files as they are given, and the images of folders; no videos.

    Raises InvalidInputError for a folder of which there is nothing to say but that it holds no image.
    """
    wanted = Wanted(formats=formats)
    skipped = Skipped()
    files: list[Path] = []
    refused: list[Refused] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        here = Folders(wanted, recursive=recursive, skipped=Skipped())
        before = len(files) + len(refused)
        for found in here.walk(str(path)):
            if isinstance(found, Refused):
                refused.append(found)
            else:
                files.append(Path(found))
        if len(files) + len(refused) == before:
            raise InvalidInputError(nothing_in(f"{shown(path)} holds no images", wanted, here.skipped))
        skipped.update(here.skipped)
    return ImageFiles(files=tuple(files), refused=tuple(refused), skipped=skipped)


def nothing_in(words: str, wanted: Wanted, skipped: Skipped) -> str:
    """A message if a folder or a pattern gives nothing: what was found instead, and what was expected."""
    left_out = f" ({skipped.words()})" if skipped else ""
    return f"{words}{left_out}; expected {wanted.words()}"
