"""What the document at /openapi.json says of requests and answers."""

from __future__ import annotations

from typing import Any

import msgspec

_ERROR = {
    "application/json": {
        "schema": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
    }
}
_OPENAI_ERROR = {
    "application/json": {
        "schema": {
            "type": "object",
            "required": ["error"],
            "properties": {
                "error": {
                    "type": "object",
                    "required": ["message", "type", "code"],
                    "properties": {name: {"type": "string"} for name in ("message", "type", "code")},
                }
            },
        }
    }
}
_WORDS = {
    400: "The request is not what it should be; the error says which image, found, expected, remedy",
    401: "The API key is missing or wrong",
    403: "Another site's page has sent it",
    404: "There is no such model",
    408: "The client was too slow",
    413: "Larger than the limits, or than every token budget",
    499: "The client has gone",
    503: "The queue is full (with Retry-After), or the model is not loaded or has failed",
    504: "The timeout of the request has passed",
}


def _answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"description": _WORDS[status], "content": _ERROR} for status in statuses}


NOT_READY = {503: {"description": "Not all models are ready"}}
MODEL = _answers(401, 404, 503)

_SHAPE = {"type": "array", "items": {"type": "integer", "minimum": 0}, "maxItems": 4}
_PARAMETERS = {
    "type": "object",
    "properties": {
        "deadline_ms": {"type": "number", "exclusiveMinimum": 0},
        "timeout": {"type": "integer", "minimum": 0, "description": "microseconds"},
        "priority": {"type": "integer", "minimum": -2147483648, "maximum": 2147483647},
        "policy": {"type": "string", "examples": ["fast", "token-cap:256"]},
        "top_k": {"type": "integer", "minimum": 1},
        "binary_data_output": {"type": "boolean"},
    },
}
_INPUT = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": {"enum": ["images", "pixels", "shapes"]},
        "datatype": {"enum": ["BYTES", "UINT8", "INT64"]},
        "shape": _SHAPE,
        "parameters": {"type": "object", "properties": {"binary_data_size": {"type": "integer", "minimum": 0}}},
        "data": {"type": "array", "description": "BYTES: files in base64", "items": {}},
    },
}
_OUTPUT = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string"},
        "parameters": {"type": "object", "properties": {"binary_data": {"type": "boolean"}}},
    },
}
_REQUEST = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "parameters": _PARAMETERS,
        "inputs": {"type": "array", "minItems": 1, "items": _INPUT},
        "outputs": {"type": "array", "items": _OUTPUT},
    },
}


def of_images(kind: type[Any]) -> dict[str, Any]:
    """Of a route of /v1. kind: its request, a class of ``v1_request``."""
    whole = msgspec.json.schema(kind)
    schema = _inlined(whole["$defs"][kind.__name__], whole["$defs"])
    fields = {name: one for name, one in schema["properties"].items() if name not in ("input", "messages")}
    file = {"type": "string", "contentMediaType": "application/octet-stream"}
    form = {
        "type": "object",
        "required": ["image"],
        "properties": {**fields, "image": {"type": "array", "items": file}},
    }
    return {
        "responses": {
            status: {**answer, "content": _OPENAI_ERROR}
            for status, answer in _answers(400, 401, 403, 404, 408, 413, 499, 503, 504).items()
        },
        "openapi_extra": _body(schema, required=True, **{"multipart/form-data": {"schema": form}}),
    }


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """Without references: nothing here refers to itself."""
    if isinstance(schema, list):
        return [_inlined(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {name: _inlined(one, definitions) for name, one in schema.items() if name != "discriminator"}


def _body(schema: dict[str, Any], *, required: bool, **other: Any) -> dict[str, Any]:
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema}, **other}}}


#: Of the POST routes, as ``add_api_route`` takes them.
INFER: dict[str, Any] = {
    "responses": _answers(400, 401, 403, 404, 408, 413, 499, 503, 504),
    "openapi_extra": {
        **_body(_REQUEST, required=True, **{"application/octet-stream": {}}),
        "parameters": [
            {
                "name": "Inference-Header-Content-Length",
                "in": "header",
                "schema": {"type": "integer", "minimum": 0},
                "description": "how many bytes of the body are JSON, if tensors follow; 0: the body is one image",
            }
        ],
    },
}
INDEX: dict[str, Any] = {
    "responses": _answers(400, 401, 403, 408, 413),
    "openapi_extra": _body({"type": "object", "properties": {"ready": {"type": "boolean"}}}, required=False),
}
CHANGE: dict[str, Any] = {
    "responses": _answers(400, 401, 403, 404, 408, 413, 503),
    "openapi_extra": _body({"type": "object"}, required=False),
}
