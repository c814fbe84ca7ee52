"""``/v1/models``, ``/v1/embeddings`` and ``/v1/classify``: answers in the shape of OpenAI's and vLLM's servers.

An answer has besides what those clients know, under ``image`` of each entry, how the image was run: its ``pixels``
(height, width), ``grid`` (rows, columns), ``scale`` and ``offset`` as ``Result`` has them, ``tokens``, ``pack``,
``queue_ms``, ``latency_ms`` and ``reason``.
"""

from __future__ import annotations

import asyncio
import base64
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.responses import Response

from navit_edge.result import probabilities
from navit_edge.serve.errors import Code, ServeError, bad_input, served
from navit_edge.serve.http.v1_request import (
    Asked,
    ClassifyAsked,
    EmbeddingsAsked,
    images_of,
    parameters_of,
    read_form,
    read_json,
)
from navit_edge.serve.inference import Answer, infer
from navit_edge.serve.request import InferRequest

if TYPE_CHECKING:
    from starlette.requests import Request

    from navit_edge._core import Result
    from navit_edge.bundle.manifest import Manifest
    from navit_edge.serve.repository import Model, Repository

#: Bodies from here on are read by a thread: a MiB of base64 takes about a millisecond.
_LARGE_BYTES = 1 << 16
#: Fields of a form besides files.
_MOST_FIELDS = 16
#: The codes of OpenAI's errors that its clients know.
_CODES = {Code.UNAUTHORIZED: "invalid_api_key", Code.NOT_FOUND: "model_not_found"}


class V1:
    """repository: the models. read_body: the whole body of a request, within the server's limits."""

    def __init__(self, repository: Repository, read_body: Callable[[Request], Awaitable[bytes]]) -> None:
        self._repository = repository
        self._read_body = read_body
        self._began = int(time.time())

    async def models(self, request: Request) -> Response:
        """The models that are ready, with the names of their outputs."""
        entries = [self._entry(model) for model in self._repository.models.values() if model.ready]
        return _json({"object": "list", "data": entries})

    async def embeddings(self, request: Request) -> Response:
        try:
            asked, images = await self._asked(request, EmbeddingsAsked)
            model = self._model(asked)
            size = _extent(model.opened.manifest, "embedding", f'the model "{model.name}"', "/v1/classify")
            if asked.dimensions not in (None, size):
                raise bad_input(f"dimensions is {asked.dimensions}; expected {size}, what the model has, or none")
            answer = await self._infer(model, asked, images)
        except Exception as error:
            return error_response(served(error))
        encode = _base64 if asked.encoding_format == "base64" else _floats
        data = [
            {"object": "embedding", "index": k, "embedding": encode(result), "image": _how_it_ran(result)}
            for k, result in enumerate(answer.results)
        ]
        return _json({"object": "list", "data": data, "model": model.name, "usage": _usage(answer)})

    async def classify(self, request: Request) -> Response:
        try:
            asked, images = await self._asked(request, ClassifyAsked)
            model = self._model(asked)
            _extent(model.opened.manifest, "logits", f'the model "{model.name}"', "/v1/embeddings")
            answer = await self._infer(model, asked, images)
        except Exception as error:
            return error_response(served(error))
        data = [_classes(k, result, asked.top_k) for k, result in enumerate(answer.results)]
        head = {"id": f"classify-{uuid.uuid4().hex}", "object": "list", "created": int(time.time())}
        return _json({**head, "model": model.name, "data": data, "usage": _usage(answer)})

    def _entry(self, model: Model) -> dict[str, Any]:
        manifest = model.opened.manifest
        return {
            "id": model.name,
            "object": "model",
            "created": self._began,
            "owned_by": "navit-edge",
            "outputs": [spec.name for spec in manifest.graphs[0].outputs],
            "patch_px": manifest.preprocess.patch_px,
            "labels": len(manifest.labels),
        }

    def _model(self, asked: Asked) -> Model:
        models = self._repository.models
        if not asked.model and len(models) == 1:
            return next(iter(models.values()))
        if not asked.model:
            raise bad_input(f"the request names no model; expected one of {', '.join(models)}")
        return self._repository.model(asked.model)

    async def _asked(self, request: Request, kind: type[Any]) -> tuple[Any, list[bytes]]:
        body = await self._read_body(request)
        media, _, _ = request.headers.get("content-type", "").partition(";")
        if media.strip().lower() == "multipart/form-data":
            return await self._uploaded(request.headers, body, kind)

        def read() -> tuple[Any, list[bytes]]:
            asked = read_json(body, kind)
            return asked, images_of(asked, self._repository.limits)

        return await asyncio.to_thread(read) if len(body) > _LARGE_BYTES else read()

    async def _uploaded(self, headers: Headers, body: bytes, kind: type[Any]) -> tuple[Any, list[bytes]]:
        """The request in a form: every file of it is an image, in order."""
        most = self._repository.limits.max_images

        async def whole() -> AsyncGenerator[bytes, None]:
            yield body

        parser = MultiPartParser(headers, whole(), max_files=most, max_fields=_MOST_FIELDS)
        parser.spool_max_size = len(body) + 1  # it is in memory: nothing goes to the disk
        try:
            form = await parser.parse()
        except (MultiPartException, KeyError, UnicodeError) as error:
            raise bad_input(
                f"the form cannot be read: {getattr(error, 'message', error)}; expected files as "
                f"-F image=@photo.jpg, {most} at most"
            ) from error
        images, fields = [], []
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                images.append(await value.read())
                await value.close()
            else:
                fields.append((name, value))
        if not images:
            raise bad_input("the form has no file; expected images as files: -F image=@photo.jpg")
        for place, image in enumerate(images):
            if not image:
                raise bad_input(f"image {place} is empty; expected the bytes of an image file", image=place)
        return read_form(fields, kind), images

    async def _infer(self, model: Model, asked: Asked, images: list[bytes]) -> Answer:
        return await infer(model, InferRequest(images=images, parameters=parameters_of(asked)))


def error_response(error: ServeError) -> Response:
    """In the shape of OpenAI's errors."""
    status = error.code.http_status
    kind = "invalid_request_error" if status < 500 else "server_error"
    code = _CODES.get(error.code, error.code.name.lower())
    headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    body = {"error": {"message": error.message, "type": kind, "param": None, "code": code}}
    return _json(body, status, headers)


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value), status, headers, media_type="application/json")


def _extent(manifest: Manifest, output: str, model: str, elsewhere: str) -> int:
    """The size of an output. Raises ServeError if the bundle does not have it."""
    for spec in manifest.graphs[0].outputs:
        if spec.name == output:
            return int(spec.shape[-1])
    found = ", ".join(spec.name for spec in manifest.graphs[0].outputs)
    raise bad_input(f"{model} has no {output}, but {found}; expected one that has; see /v1/models, or ask {elsewhere}")


def _floats(result: Result) -> list[float]:
    assert result.embedding is not None
    numbers: list[float] = result.embedding.tolist()
    return numbers


def _base64(result: Result) -> str:
    return base64.b64encode(np.asarray(result.embedding, "<f4").tobytes()).decode("ascii")


def _classes(place: int, result: Result, top_k: int | None) -> dict[str, Any]:
    """An entry of vLLM's /classify: the best label, and the probability of each class; or the ``top_k`` best ones."""
    best = result.top_k(top_k or 1)
    assert result.logits is not None
    entry: dict[str, Any] = {"index": place, "label": best[0].label or str(best[0].index)}
    if top_k is None:
        entry["probs"] = probabilities(result.logits, result.scores).tolist()
    else:
        entry["top_k"] = [
            {"index": one.index, "label": one.label or str(one.index), "score": one.score} for one in best
        ]
    return {**entry, "num_classes": len(result.logits), "image": _how_it_ran(result)}


def _how_it_ran(result: Result) -> dict[str, Any]:
    names = ("pixels", "grid", "scale", "offset", "pack", "queue_ms", "latency_ms", "reason")
    return {"tokens": result.token_count, **{name: getattr(result, name) for name in names}}


def _usage(answer: Answer) -> dict[str, int]:
    """Tokens of the images, as OpenAI's servers count those of a text."""
    tokens = sum(result.token_count for result in answer.results)
    return {"prompt_tokens": tokens, "total_tokens": tokens}
