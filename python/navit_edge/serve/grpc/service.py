"""``inference.GRPCInferenceService``: the Open Inference Protocol over gRPC, by the messages of tritonclient.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/open_inference_grpc.proto, and of
Triton's extensions the model's configuration, the repository and the statistics.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from google.protobuf import json_format
from tritonclient.grpc import service_pb2 as pb

from navit_edge._core import __version__
from navit_edge.serve.errors import bad_input
from navit_edge.serve.grpc import messages
from navit_edge.serve.grpc.calls import Calls, Context
from navit_edge.serve.inference import infer
from navit_edge.serve.limits import Limits, Room
from navit_edge.serve.repository import Repository
from navit_edge.serve.request import InferRequest, Parameters
from navit_edge.serve.statistics import statistics_of
from navit_edge.serve.tensors import (
    images_of,
    inputs_offered,
    outputs_of,
    outputs_offered,
    outputs_wanted,
    parameters_of,
)
from navit_edge.serve.tracing import TraceContext, read_trace_context

#: What other servers say that they have, as far as it is here, too.
EXTENSIONS = ("model_configuration", "model_repository", "statistics")
PLATFORM = "navit_edge"


@dataclass(frozen=True, kw_only=True)
class Service:
    """ready: whether the server takes requests: not while it starts, and not while it ends."""

    repository: Repository
    limits: Limits
    room: Room
    ready: Callable[[], bool]

    def handlers(self) -> dict[str, Any]:
        """The methods by their names. Those that are missing, shared memory and settings, gRPC answers itself."""
        calls = Calls(limits=self.limits, room=self.room)
        return {
            "ServerLive": calls.unary(pb.ServerLiveRequest, self._server_live),
            "ServerReady": calls.unary(pb.ServerReadyRequest, self._server_ready),
            "ServerMetadata": calls.unary(pb.ServerMetadataRequest, self._server_metadata),
            "ModelReady": calls.unary(pb.ModelReadyRequest, self._model_ready),
            "ModelMetadata": calls.unary(pb.ModelMetadataRequest, self._model_metadata),
            "ModelConfig": calls.unary(pb.ModelConfigRequest, self._model_config),
            "ModelStatistics": calls.unary(pb.ModelStatisticsRequest, self._model_statistics),
            "ModelInfer": calls.unary(pb.ModelInferRequest, self._infer),
            "ModelStreamInfer": calls.stream(pb.ModelInferRequest, self._infer, _streamed, _failed),
            "RepositoryIndex": calls.unary(pb.RepositoryIndexRequest, self._repository_index),
            "RepositoryModelLoad": calls.unary(pb.RepositoryModelLoadRequest, self._model_load),
            "RepositoryModelUnload": calls.unary(pb.RepositoryModelUnloadRequest, self._model_unload),
        }

    async def _server_live(self, _: pb.ServerLiveRequest, __: Context) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def _server_ready(self, _: pb.ServerReadyRequest, __: Context) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self.ready())

    async def _server_metadata(self, _: pb.ServerMetadataRequest, __: Context) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(name="navit-edge", version=__version__, extensions=EXTENSIONS)

    async def _model_ready(self, request: pb.ModelReadyRequest, _: Context) -> pb.ModelReadyResponse:
        return pb.ModelReadyResponse(ready=self.repository.model(request.name, request.version).ready)

    async def _model_metadata(self, request: pb.ModelMetadataRequest, _: Context) -> pb.ModelMetadataResponse:
        model = self.repository.model(request.name, request.version)
        return pb.ModelMetadataResponse(
            name=model.name,
            versions=[model.version],
            platform=PLATFORM,
            inputs=messages.tensor_metadata(inputs_offered()),
            outputs=messages.tensor_metadata(outputs_offered(model.opened.manifest)),
        )

    async def _model_config(self, request: pb.ModelConfigRequest, _: Context) -> pb.ModelConfigResponse:
        model = self.repository.model(request.name, request.version)
        outputs = outputs_offered(model.opened.manifest)
        return pb.ModelConfigResponse(config=messages.model_config(model.name, PLATFORM, outputs))

    async def _model_statistics(self, request: pb.ModelStatisticsRequest, _: Context) -> pb.ModelStatisticsResponse:
        told = statistics_of(self.repository, request.name, request.version)
        return json_format.ParseDict(told, pb.ModelStatisticsResponse())

    async def _infer(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
        model = self.repository.model(request.model_name, request.model_version)
        manifest = model.opened.manifest
        parameters = with_deadline(Parameters.of(messages.parameters(request.parameters)), context.time_remaining())
        wanted = outputs_wanted(messages.outputs_asked(request), manifest, parameters)
        images = images_of(messages.input_tensors(request), self.limits)
        asked = InferRequest(images=images, parameters=parameters, trace=_trace(context))
        answer = await infer(model, asked)
        outputs = outputs_of(answer.results, wanted, parameters)
        return messages.infer_response(request, outputs, parameters_of(answer.results), model.version)

    async def _repository_index(self, request: pb.RepositoryIndexRequest, _: Context) -> pb.RepositoryIndexResponse:
        response = pb.RepositoryIndexResponse()
        for model in self.repository.models.values():
            if model.ready or not request.ready:
                response.models.add(
                    name=model.name, version=model.version, state=model.state.value, reason=model.reason
                )
        return response

    async def _model_load(self, request: pb.RepositoryModelLoadRequest, _: Context) -> pb.RepositoryModelLoadResponse:
        model = self.repository.model(request.model_name)
        if request.parameters:
            raise bad_input(
                "a model is loaded as the server was started with it; expected no parameters, and no config or file"
            )
        await asyncio.shield(model.load())  # goes on if its client goes away
        return pb.RepositoryModelLoadResponse()

    async def _model_unload(
        self, request: pb.RepositoryModelUnloadRequest, _: Context
    ) -> pb.RepositoryModelUnloadResponse:
        await asyncio.shield(self.repository.model(request.model_name).unload())
        return pb.RepositoryModelUnloadResponse()


def _trace(context: Context) -> TraceContext | None:
    metadata = dict(context.invocation_metadata() or ())
    return read_trace_context(metadata.get("traceparent"), metadata.get("tracestate"))


def with_deadline(parameters: Parameters, remaining_s: float | None) -> Parameters:
    """The deadline of the call is one of the request, too, if that has none that is earlier."""
    if remaining_s is None:
        return parameters
    left_us = max(remaining_s * 1e6, 1.0)
    timeout_us = left_us if parameters.timeout_us is None else min(parameters.timeout_us, left_us)
    return replace(parameters, timeout_us=timeout_us)


def _streamed(response: pb.ModelInferResponse) -> pb.ModelStreamInferResponse:
    response.parameters["triton_final_response"].bool_param = True  # the only one of its request
    return pb.ModelStreamInferResponse(infer_response=response)


def _failed(request: pb.ModelInferRequest, message: str) -> pb.ModelStreamInferResponse:
    named = pb.ModelInferResponse(id=request.id, model_name=request.model_name)
    return pb.ModelStreamInferResponse(error_message=message, infer_response=named)
