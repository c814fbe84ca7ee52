"""Bodies of answers: JSON, and errors in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

from navit_edge.serve.errors import Code, ServeError


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value), status, headers, media_type="application/json")


def error_answer(error: ServeError) -> Response:
    """{"error": "what was found; what was expected; remedy"}."""
    headers = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(error.retry_after_s)
    if error.code is Code.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    return json_answer({"error": error.message}, error.code.http_status, headers)
