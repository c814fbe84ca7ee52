"""What a request can end with: one code for HTTP and gRPC, and never a path of this machine in the text."""

from __future__ import annotations

import concurrent.futures
import logging
import re
from enum import Enum

from navit_edge.decode.limits import TooManyPixelsError
from navit_edge.errors import (
    BackendError,
    BundleError,
    InvalidInputError,
    MissingPackageError,
    NavitEdgeError,
    OverBudgetError,
    TimedOutError,
)

_log = logging.getLogger("navit_edge.serve")


class Code(Enum):
    """(in words, HTTP status, name of the gRPC status)."""

    BAD_INPUT = ("bad input", 400, "INVALID_ARGUMENT")
    UNAUTHORIZED = ("unauthorized", 401, "UNAUTHENTICATED")
    FORBIDDEN = ("forbidden", 403, "PERMISSION_DENIED")
    NOT_FOUND = ("not found", 404, "NOT_FOUND")
    SLOW_CLIENT = ("slow client", 408, "ABORTED")
    TOO_LARGE = ("too large", 413, "RESOURCE_EXHAUSTED")
    CANCELLED = ("cancelled", 499, "CANCELLED")
    INTERNAL = ("a bug", 500, "INTERNAL")
    QUEUE_FULL = ("queue full", 503, "UNAVAILABLE")  # come back soon: with Retry-After
    UNAVAILABLE = ("unavailable", 503, "UNAVAILABLE")  # not loaded, or ending
    BROKEN = ("broken", 503, "UNAVAILABLE")  # the engine failed
    DEADLINE = ("deadline", 504, "DEADLINE_EXCEEDED")

    @property
    def http_status(self) -> int:
        return self.value[1]

    @property
    def grpc_status(self) -> str:
        return self.value[2]


class ServeError(NavitEdgeError):
    """A request that failed, in words for the client: found, expected, remedy.

    image: index, in its request, of the image that is the reason; None if none is.
    retry_after_s: when to come back; None: nobody knows that it would help.
    """

    def __init__(self, code: Code, message: str, *, image: int | None = None, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.image = image
        self.retry_after_s = retry_after_s


def bad_input(message: str, *, image: int | None = None) -> ServeError:
    return ServeError(Code.BAD_INPUT, message, image=image)


def too_large(message: str, *, image: int | None = None) -> ServeError:
    return ServeError(Code.TOO_LARGE, message, image=image)


def queue_full(message: str) -> ServeError:
    return ServeError(Code.QUEUE_FULL, f"{message}; try again in a second", retry_after_s=1)


def served(error: BaseException, *, image: int | None = None) -> ServeError:
    """Any error as the client sees it. What says something of this machine (a path, a library, a bug) goes to the log
    alone.

    image: index of the image that raised it.
    """
    if isinstance(error, ServeError):
        return error
    if isinstance(error, (OverBudgetError, TooManyPixelsError)):
        return too_large(_of_image(str(error), image), image=image)
    if isinstance(error, MissingPackageError):
        _log.error("a request needs what is not installed: %s", error)
        return bad_input(_of_image(f"image: cannot be decoded without the package {error.package!r}", image))
    if isinstance(error, InvalidInputError):
        return bad_input(_of_image(str(error), image), image=image)
    if isinstance(error, TimedOutError):
        return queue_full("the queue is full")
    if isinstance(error, concurrent.futures.CancelledError):
        return ServeError(Code.UNAVAILABLE, "the model was closed before the image was run; load it, and send it again")
    if isinstance(error, BackendError):
        _log.error("the engine failed: %s", error)
        return ServeError(Code.BROKEN, "the engine failed; send it again, and if that fails too, see the server's log")
    if isinstance(error, BundleError):
        _log.error("a bundle cannot be opened: %s", error)
        return ServeError(Code.UNAVAILABLE, "the bundle cannot be opened; the server's log says why")
    _log.error("a request failed unexpectedly; this is a bug", exc_info=error)
    return ServeError(Code.INTERNAL, "the server failed; its log says why")


def _of_image(message: str, image: int | None) -> str:
    """``message`` names the image by its index; the session calls each "image"."""
    return message if image is None else re.sub(r"\A(the )?image\b(?! \d)", f"image {image}", message)
