"""What a page shows, in plain values: the pictures in it are data already, so that no pixels are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

#: Images of a page: a browser opens it at once, and it takes some megabytes.
MOST_IMAGES = 200


class Box(NamedTuple):
    """Where an image lies on its grid, in parts of the grid's sides: all of it unless it was padded or cut."""

    left: float = 0.0
    top: float = 0.0
    width: float = 1.0
    height: float = 1.0


#: The image is as large as its grid.
ALL = Box()


@dataclass(frozen=True, kw_only=True)
class Card:
    """One image and its result. All text may be anything; a page shows it and obeys none of it.

    picture, thumbnail: data URIs; "" if the image could not be read. box: where the picture lies on the grid.
    grid, tokens, pack, first_token, pack_tokens, pixels, latency_ms: as of ``navit_edge.Result``.
    classes: (name, probability), the most likely first. truth: what the image is, if that is known.
    map: data URI of weights, a pixel for each patch; "" if there are none. peak: the largest of them over their mean.
    note: why the image has fewer tokens, or what decoding did. error: in place of a result.
    """

    name: str
    picture: str = ""
    thumbnail: str = ""
    box: Box = ALL
    pixels: tuple[int, int] = (0, 0)
    grid: tuple[int, int] = (0, 0)
    tokens: int = 0
    pack: int = -1
    first_token: int = 0
    pack_tokens: int = 0
    latency_ms: float = 0.0
    classes: Sequence[tuple[str, float]] = ()
    truth: str = ""
    map: str = ""
    peak: float = 0.0
    note: str = ""
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Cards under one heading."""

    title: str
    text: str = ""
    cards: Sequence[Card] = ()


@dataclass(frozen=True, kw_only=True)
class Page:
    """facts: (name, value) pairs below the title. left_out: images that ran and are not on the page."""

    title: str
    text: str = ""
    facts: Sequence[tuple[str, str]] = ()
    groups: Sequence[Group] = field(default_factory=list)
    left_out: int = 0
