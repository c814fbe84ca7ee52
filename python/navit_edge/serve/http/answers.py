"""Bodies of answers: JSON, and errors in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

from navit_edge.serve.errors import Code, ServeError

#: Where errors have the shape that OpenAI's clients read, and the codes that these know.
_OPENAI = ("/v1/", "/classify")
_OPENAI_CODES = {Code.UNAUTHORIZED: "invalid_api_key", Code.NOT_FOUND: "model_not_found"}


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value), status, headers, media_type="application/json")


def error_answer(error: ServeError, path: str) -> Response:
    """{"error": "what was found; what was expected; remedy"}; of /v1 and /classify in the shape of OpenAI's errors."""
    headers = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(error.retry_after_s)
    if error.code is Code.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    status = error.code.http_status
    code = _OPENAI_CODES.get(error.code, error.code.name.lower())
    return json_answer(error_body(error.message, path, status, code), status, headers)


def error_body(message: str, path: str, status: int, code: str) -> dict[str, Any]:
    """code: a word for programs, where the shape has one."""
    if not path.startswith(_OPENAI):
        return {"error": message}
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
