"""Whatever a decoder raises is its image's own error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from navit_edge.errors import InvalidInputError, NavitEdgeError


@contextmanager
def refusals(name: str) -> Iterator[None]:
    """Whatever is raised within is the image's own InvalidInputError, under its name."""
    try:
        yield
    except InvalidInputError as error:
        between = " " if str(error).startswith(("is ", "has ", "holds ", "ends ")) else ": "
        raise type(error)(f"{name}{between}{error}") from error.__cause__
    except NavitEdgeError:
        raise
    except Exception as error:  # decoders raise anything, MemoryError, RecursionError and warnings made errors too
        raise InvalidInputError(f"{name}: cannot be decoded ({_words(error)}); check the file") from error


def _words(error: Exception) -> str:
    try:
        text = "".join(c if c.isprintable() else " " for c in str(error))
    except Exception:
        text = ""
    kind = type(error).__name__
    text = " ".join(text.split())[:200] or kind
    return text if isinstance(error, (OSError, ValueError, SyntaxError)) or text == kind else f"{kind}: {text}"
