"""How much a client may ask for: looked at before memory is taken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields

from navit_edge.errors import InvalidInputError
from navit_edge.serve.errors import queue_full, too_large


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Of one request, unless it says more. Raises InvalidInputError for numbers below 1."""

    max_body_bytes: int = 64 << 20
    #: Of all requests that are held at once.
    max_bodies_bytes: int = 512 << 20
    #: Of an image, by its header.
    max_pixels: int = 1 << 26
    max_images: int = 64
    max_header_bytes: int = 32 << 10
    #: How long a client may take for the headers, and while nothing comes of the body or nothing is read of the answer.
    header_timeout_s: float = 10.0
    idle_timeout_s: float = 20.0
    #: How long the whole body may take.
    body_timeout_s: float = 120.0
    max_connections: int = 1024
    #: How long a server that ends goes on with what it has accepted.
    drain_timeout_s: float = 300.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value >= (1 if isinstance(value, int) else 0.001):
                raise InvalidInputError(f"{field.name} is {value!r}; expected a number above 0")

    def check_body(self, size: int) -> None:
        """Raises ServeError."""
        if size > self.max_body_bytes:
            raise too_large(
                f"the request has {size:,} bytes or more; expected at most {self.max_body_bytes:,}; send fewer images "
                "a request, or start the server with a larger --max-body"
            )

    def check_images(self, count: int) -> None:
        """Raises ServeError."""
        if count > self.max_images:
            raise too_large(
                f"the request has {count:,} images; expected at most {self.max_images}; send several requests, or "
                "start the server with a larger --max-images"
            )

    def check_pixels(self, height_px: int, width_px: int, image: int) -> None:
        """Raises ServeError."""
        if height_px * width_px > self.max_pixels:
            raise too_large(
                f"image {image} is {height_px}x{width_px} pixels (height x width); expected at most "
                f"{self.max_pixels:,} in all; scale it down, or start the server with a larger --max-pixels",
                image=image,
            )


class Room:
    """Bytes that all requests together hold. For the event loop's thread alone."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self.held = 0

    @contextmanager
    def holding(self) -> Iterator[Share]:
        """A share that is given back at the end."""
        share = Share(self)
        try:
            yield share
        finally:
            self.held -= share.held

    def take(self, size: int) -> None:
        if self.held and self.held + size > self._most:
            raise queue_full(
                f"the server holds {self.held:,} bytes of requests, {self._most:,} at most, and this one needs "
                f"{size:,} more"
            )
        self.held += size


class Share:
    """What one request holds of a room."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.held = 0

    def grow_to(self, size: int) -> None:
        """Raises ServeError if there is no room for it."""
        if size > self.held:
            self._room.take(size - self.held)
            self.held = size
