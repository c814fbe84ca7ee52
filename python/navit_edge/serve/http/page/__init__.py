"""The page at ``/``: a person drops an image and sees what the model makes of it. One file, nothing from elsewhere."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from pathlib import Path

from starlette.responses import Response

_PAGE = Path(__file__).with_name("page.html")


async def page() -> Response:
    """The page, and what a browser may do with it."""
    document, headers = _document()
    return Response(document, headers=headers, media_type="text/html; charset=utf-8")


@functools.cache
def _document() -> tuple[bytes, dict[str, str]]:
    """The page and its headers: a browser runs the one script and the one style that are in it, and asks this server
    alone."""
    document = _PAGE.read_bytes()
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hash_of(document, 'script')}",
            f"style-src {_hash_of(document, 'style')}",
            "img-src blob: data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )
    return document, {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }


def _hash_of(document: bytes, element: str) -> str:
    (text,) = re.findall(rf"<{element}>(.*?)</{element}>".encode(), document, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'"
