"""One image of a file of a job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from navit_edge.errors import NavitEdgeError
    from navit_edge.pixels import Given, ImageLike


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One image of a file. frame: its number, if the file has several and they are asked for. error: set if
    there is no image."""

    frame: int | None = None
    image: ImageLike | Given | None = None
    time_s: float | None = None
    error: NavitEdgeError | None = None
