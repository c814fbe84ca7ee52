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
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import numpy as np
from fastapi import APIRouter, Request
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.responses import Response

from navit_edge.result import probabilities
from navit_edge.serve.errors import bad_input, too_large
from navit_edge.serve.http import openapi
from navit_edge.serve.http.answers import json_answer
from navit_edge.serve.http.body import Body, body_of, while_connected
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
from navit_edge.serve.tracing import read_trace_context

if TYPE_CHECKING:
    from navit_edge._core import Result
    from navit_edge.bundle.manifest import Manifest
    from navit_edge.serve.repository import Model
    from navit_edge.serve.service import Service

#: Longer bodies are read by a worker.
_LONG_BYTES = 1 << 16
#: What a body takes while it is read, for each of its bytes: itself, its text, and the files in it.
_BYTES_OF_BODY = 3
#: Fields of a form besides files.
_MOST_FIELDS = 16


def routes(service: Service) -> APIRouter:
    """All of /v1, and /classify, where vLLM has it."""
    router = APIRouter(tags=["images"])
    repository = service.repository
    began = int(time.time())

    async def models() -> Response:
        """The models that take requests, with the names of their outputs."""
        entries = [_entry(model, began) for model in repository.models.values() if model.ready]
        return json_answer({"object": "list", "data": entries})

    async def embeddings(request: Request) -> Response:
        """An embedding of each image, as OpenAI's clients want it."""
        async with body_of(request, service) as body:
            asked, images = await _asked(request, body, EmbeddingsAsked, service)
            model = _model(asked, service)
            size = _extent(model, "embedding", "/v1/classify")
            if asked.dimensions not in (None, size):
                raise bad_input(f"dimensions is {asked.dimensions}; expected {size}, what the model has, or none")
            answer = await _answer(request, model, asked, images)
        encode = _base64 if asked.encoding_format == "base64" else _floats
        data = [
            {"object": "embedding", "index": place, "embedding": encode(result), "image": _how_it_ran(result)}
            for place, result in enumerate(answer.results)
        ]
        return json_answer({"object": "list", "data": data, "model": model.name, "usage": _usage(answer)})

    async def classify(request: Request) -> Response:
        """The classes of each image, in the shape of vLLM's /classify."""
        async with body_of(request, service) as body:
            asked, images = await _asked(request, body, ClassifyAsked, service)
            model = _model(asked, service)
            _extent(model, "logits", "/v1/embeddings")
            answer = await _answer(request, model, asked, images)
        data = [_classes(place, result, asked.top_k) for place, result in enumerate(answer.results)]
        head = {"id": f"classify-{uuid.uuid4().hex}", "object": "list", "created": int(time.time())}
        return json_answer({**head, "model": model.name, "data": data, "usage": _usage(answer)})

    for path, endpoint, method, more in (
        ("/v1/models", models, "GET", {}),
        ("/v1/embeddings", embeddings, "POST", openapi.of_images(EmbeddingsAsked)),
        ("/v1/classify", classify, "POST", openapi.of_images(ClassifyAsked)),
        ("/classify", classify, "POST", {**openapi.of_images(ClassifyAsked), "include_in_schema": False}),
    ):
        router.add_api_route(path, endpoint, methods=[method], response_class=Response, **more)
    return router


def _entry(model: Model, began: int) -> dict[str, Any]:
    manifest = model.opened.manifest
    return {
        "id": model.name,
        "object": "model",
        "created": began,
        "owned_by": "navit-edge",
        "outputs": _outputs(manifest),
        "patch_px": manifest.preprocess.patch_px,
        "labels": len(manifest.labels),
    }


def _model(asked: Asked, service: Service) -> Model:
    """Raises ServeError."""
    models = service.repository.models
    if not asked.model and len(models) == 1:
        return next(iter(models.values()))
    if not asked.model:
        raise bad_input(f"the request names no model; expected one of {', '.join(models)}")
    return service.repository.model(asked.model)


async def _asked(request: Request, body: Body, kind: type[Any], service: Service) -> tuple[Any, list[bytes]]:
    """What was asked, and the encoded images. Raises ServeError."""
    body.share.grow_to(_BYTES_OF_BODY * len(body.data))
    media, _, _ = request.headers.get("content-type", "").partition(";")
    if media.strip().lower() == "multipart/form-data":
        return await _uploaded(request.headers, body.data, kind, service.limits.max_images)

    def read() -> tuple[Any, list[bytes]]:
        asked = read_json(body.data, kind)
        return asked, images_of(asked, service.limits)

    if len(body.data) <= _LONG_BYTES:
        return read()
    return await asyncio.get_running_loop().run_in_executor(service.repository.workers, read)


async def _uploaded(headers: Headers, body: bytearray, kind: type[Any], most: int) -> tuple[Any, list[bytes]]:
    """The request in a form: every file of it is an image, in order. Raises ServeError."""

    async def whole() -> AsyncGenerator[bytes, None]:
        yield bytes(body)

    parser = MultiPartParser(headers, whole(), max_files=most, max_fields=_MOST_FIELDS)
    parser.spool_max_size = len(body) + 1  # it is in memory: nothing goes to the disk
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, UnicodeError) as error:
        words = getattr(error, "message", "it is damaged")
        if words.startswith("Too many files"):
            raise too_large(f"the form has more than {most} files; expected at most {most}; send several") from error
        raise bad_input(f"the form cannot be read: {words}; expected files as -F image=@photo.jpg") from error
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


async def _answer(request: Request, model: Model, asked: Asked, images: list[bytes]) -> Answer:
    trace = read_trace_context(request.headers.get("traceparent"), request.headers.get("tracestate"))
    work = infer(model, InferRequest(images=images, parameters=parameters_of(asked), trace=trace))
    return await while_connected(request, work)


def _outputs(manifest: Manifest) -> list[str]:
    return [spec.name for spec in manifest.graphs[0].outputs]


def _extent(model: Model, output: str, elsewhere: str) -> int:
    """The size of an output. Raises ServeError if the bundle does not have it."""
    manifest = model.opened.manifest
    for spec in manifest.graphs[0].outputs:
        if spec.name == output:
            return int(spec.shape[-1])
    raise bad_input(
        f'the model "{model.name}" has no {output}; it has {", ".join(_outputs(manifest))}; name another model of '
        f"/v1/models, or ask {elsewhere}"
    )


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
    tokens = sum(result.total_token_count for result in answer.results)
    return {"prompt_tokens": tokens, "total_tokens": tokens}
