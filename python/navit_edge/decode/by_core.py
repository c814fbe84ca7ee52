"""Files that the C++ core decodes, without Python's lock, and row by row into the resize if it is known to what. What
it does not take, Pillow decodes, to the same pixels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from navit_edge import _core


class DecodedPixels(NamedTuple):
    """pixels: gray, RGB or RGBA, upright; resized if ``resized_from`` of it says so. done: what was done, in words."""

    pixels: _core.Pixels
    done: tuple[str, ...]


class Resizing(NamedTuple):
    """To what a session resizes the images of a policy."""

    session: _core.Session
    policy: _core.Policy | None

    def of(self, height_px: int, width_px: int) -> tuple[int, int] | None:
        """(height_px, width_px); None if the session needs all of the image's pixels."""
        return self.session.resized_size(height_px, width_px, self.policy)


@dataclass(frozen=True, kw_only=True)
class Plan(ABC):
    """How a file is decoded. size, resize: (height_px, width_px). done: what will have been done, in words."""

    size: tuple[int, int]
    resize: tuple[int, int] | None
    channels: int
    resizing: Resizing | None
    done: tuple[str, ...]

    @property
    def pixel_bytes(self) -> int:
        """Of the pixels that come out."""
        height_px, width_px = self.resize or self.size
        return height_px * width_px * self.channels

    @property
    def names(self) -> tuple[str, str]:
        """(filter, processor) of the resize."""
        return self.resizing.session.resizing if self.resizing else ("bilinear", "pillow")

    @abstractmethod
    def decode(self, data: bytes) -> DecodedPixels:
        """Raises InvalidInputError for whatever is wrong with the file."""
