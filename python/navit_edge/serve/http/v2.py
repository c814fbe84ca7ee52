"""The Open Inference Protocol (KServe v2) over HTTP, with its extensions as Triton has them.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from navit_edge._core import __version__
from navit_edge.serve.errors import bad_input, served
from navit_edge.serve.http import openapi
from navit_edge.serve.http.answers import json_answer
from navit_edge.serve.http.body import Body, body_of, while_connected
from navit_edge.serve.http.wire import HEADER_LENGTH, Parsed, compose, json_length, parse
from navit_edge.serve.inference import Answer, infer
from navit_edge.serve.limits import Limits
from navit_edge.serve.repository import Model
from navit_edge.serve.request import Image, InferRequest, Parameters
from navit_edge.serve.service import Service
from navit_edge.serve.statistics import statistics_of
from navit_edge.serve.tensors import (
    IMAGES,
    OF_PATCHES,
    Spec,
    images_of,
    inputs_offered,
    outputs_of,
    outputs_offered,
    outputs_wanted,
    parameters_of,
)
from navit_edge.serve.tracing import read_trace_context

EXTENSIONS = ("binary_tensor_data", "model_configuration", "model_repository", "statistics")
PLATFORM = "navit_edge"
#: Longer JSON is read by a worker, and answers to more images are written by one, while the event loop goes on.
_LONG_BYTES = 1 << 16
_FEW_IMAGES = 4
#: What JSON of numbers takes when it is read, for each of its bytes.
_BYTES_OF_JSON = 8
#: Of the requests that change the repository.
_MOST_SMALL_BYTES = 1 << 16


def routes(service: Service) -> APIRouter:
    """All of /v2."""
    router = APIRouter(prefix="/v2")
    repository = service.repository

    def add(path: str, endpoint: Callable[..., Any], method: str = "GET", **more: Any) -> None:
        router.add_api_route(path, endpoint, methods=[method], response_class=Response, **more)

    async def server_metadata() -> Response:
        """Name, version and extensions of the server."""
        return json_answer({"name": "navit-edge", "version": __version__, "extensions": EXTENSIONS})

    async def live() -> Response:
        """Whether the server runs."""
        return json_answer({"live": True})

    async def ready() -> Response:
        """Whether every model that is loaded takes requests."""
        return json_answer({"ready": service.ready}, 200 if service.ready else 503)

    async def metadata(name: str, version: str = "") -> Response:
        """Inputs and outputs of a model."""
        model = repository.model(name, version)
        return json_answer(
            {
                "name": model.name,
                "versions": [model.version],
                "platform": PLATFORM,
                "inputs": [_described(spec) for spec in inputs_offered()],
                "outputs": [_described(spec) for spec in outputs_offered(model.opened.manifest)],
            }
        )

    async def configuration(name: str, version: str = "") -> Response:
        """A model as Triton's tools want it described."""
        return json_answer(_configuration(repository.model(name, version)))

    async def statistics(name: str = "", version: str = "") -> Response:
        """What a model has done, or all that are loaded."""
        return json_answer(statistics_of(repository, name, version))

    async def model_ready(name: str, version: str = "") -> Response:
        """Whether a model takes requests."""
        model = repository.model(name, version)
        return json_answer({"name": model.name, "ready": model.ready}, 200 if model.ready else 503)

    async def inference(request: Request, name: str, version: str = "") -> Response:
        """Run images of any sizes."""
        model = repository.model(name, version)
        manifest = model.opened.manifest  # what cannot be answered is refused before the body is read
        header = request.headers.get(HEADER_LENGTH)
        async with body_of(request, service) as body:
            parsed, images = await _read(model, service.limits, body, header, dict(request.query_params))
            parameters = Parameters.of(parsed.parameters)
            wanted = outputs_wanted(parsed.outputs, manifest, parameters)
            trace = read_trace_context(request.headers.get("traceparent"), request.headers.get("tracestate"))
            work = infer(model, InferRequest(images=images, parameters=parameters, trace=trace))
            answer = await while_connected(request, work)
            return await _answered(model, parsed, answer, wanted, parameters)

    async def index(request: Request) -> Response:
        """All models that the server was started with, and their states."""
        asked = await _small_json(request, service)
        only_ready = asked.get("ready", False)
        if not isinstance(only_ready, bool):
            raise bad_input("ready is no bool; expected true or false")
        models = [model for model in repository.models.values() if model.ready or not only_ready]
        return json_answer([_state(model) for model in models])

    async def load(request: Request, name: str) -> Response:
        """Open a model; again, if its engine has failed."""
        model = repository.model(name)
        asked = await _small_json(request, service)
        if asked.get("parameters"):
            raise bad_input("load has parameters; expected none: a model is loaded as the server was started with it")
        try:
            await asyncio.shield(model.load())
        except Exception as error:
            raise served(error) from error
        return json_answer({})

    async def unload(request: Request, name: str) -> Response:
        """Finish the requests that a model has, and close it."""
        model = repository.model(name)
        await _small_json(request, service)
        await asyncio.shield(model.unload())
        return json_answer({})

    add("", server_metadata, tags=["server"])
    add("/health/live", live, tags=["server"])
    add("/health/ready", ready, tags=["server"], responses=openapi.NOT_READY)
    add("/models/stats", statistics, tags=["models"], responses=openapi.MODEL)
    for prefix in ("/models/{name}", "/models/{name}/versions/{version}"):
        add(prefix, metadata, tags=["models"], responses=openapi.MODEL)
        add(f"{prefix}/config", configuration, tags=["models"], responses=openapi.MODEL)
        add(f"{prefix}/stats", statistics, tags=["models"], responses=openapi.MODEL)
        add(f"{prefix}/ready", model_ready, tags=["models"], responses=openapi.MODEL)
        add(f"{prefix}/infer", inference, "POST", tags=["inference"], **openapi.INFER)
    add("/repository/index", index, "POST", tags=["repository"], **openapi.INDEX)
    add("/repository/models/{name}/load", load, "POST", tags=["repository"], **openapi.CHANGE)
    add("/repository/models/{name}/unload", unload, "POST", tags=["repository"], **openapi.CHANGE)
    return router


async def _read(
    model: Model, limits: Limits, body: Body, header: str | None, query: dict[str, str]
) -> tuple[Parsed, list[Image]]:
    def read() -> tuple[Parsed, list[Image]]:
        parsed = parse(body.data, header, query)
        return parsed, images_of(parsed.inputs, limits)

    length = json_length(body.data, header)
    if length <= _LONG_BYTES:
        return read()
    body.share.grow_to(len(body.data) + _BYTES_OF_JSON * length)
    return await asyncio.get_running_loop().run_in_executor(model.workers, read)


async def _answered(
    model: Model, parsed: Parsed, answer: Answer, wanted: Sequence[str], parameters: Parameters
) -> Response:
    head: dict[str, Any] = {"model_name": model.name, "model_version": model.version}
    if parsed.id:
        head["id"] = parsed.id
    head["parameters"] = parameters_of(answer.results)

    def write() -> tuple[bytes, int]:
        return compose(head, outputs_of(answer.results, wanted, parameters), parsed.binary)

    if len(answer.results) <= _FEW_IMAGES and not set(wanted) & set(OF_PATCHES):
        body, length = write()
    else:
        body, length = await asyncio.get_running_loop().run_in_executor(model.workers, write)
    if parsed.binary is not None and not parsed.binary & set(wanted):
        return Response(body, media_type="application/json")
    return Response(body, headers={HEADER_LENGTH: str(length)}, media_type="application/octet-stream")


async def _small_json(request: Request, service: Service) -> dict[str, Any]:
    """The object in the body; {} if there is none."""
    async with body_of(request, service) as body:
        if not body.data:
            return {}
        if len(body.data) <= _MOST_SMALL_BYTES:
            try:
                return msgspec.json.decode(body.data, type=dict[str, Any])
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                pass
        raise bad_input("the body is no JSON object of this request; expected {}, or no body")


def _described(spec: Spec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": spec.shape}


def _state(model: Model) -> dict[str, str]:
    state, reason = model.told_state
    return {"name": model.name, "version": model.version, "state": state.value, "reason": reason}


def _configuration(model: Model) -> dict[str, Any]:
    """What Triton's tools ask for before they send anything. The server does not batch: ``max_batch_size`` is 0."""
    inputs = [{**_configured(spec), "optional": spec.name != IMAGES} for spec in inputs_offered()]
    outputs = [_configured(spec) for spec in outputs_offered(model.opened.manifest)]
    return {
        "name": model.name,
        "platform": PLATFORM,
        "backend": PLATFORM,
        "max_batch_size": 0,
        "input": inputs,
        "output": outputs,
    }


def _configured(spec: Spec) -> dict[str, Any]:
    kind = "STRING" if spec.datatype == "BYTES" else spec.datatype
    return {"name": spec.name, "data_type": f"TYPE_{kind}", "dims": spec.shape}
