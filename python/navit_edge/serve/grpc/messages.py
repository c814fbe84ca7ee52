"""Messages of the Open Inference Protocol from and to what every protocol shares (``serve/tensors.py``).

Tensors come as ``raw_input_contents``, or typed in their ``contents``; an answer goes the way the request came.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tritonclient.grpc import model_config_pb2 as config_pb
from tritonclient.grpc import service_pb2 as pb

from navit_edge.serve.errors import bad_input, too_large
from navit_edge.serve.tensors import IMAGES, InputTensor, OutputTensor, Spec, inputs_offered

#: Datatype -> the field of ``InferTensorContents`` that has its values.
_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
#: The words of a model's configuration for datatypes.
_CONFIG_TYPES = {
    "BYTES": config_pb.TYPE_STRING,
    "UINT8": config_pb.TYPE_UINT8,
    "INT32": config_pb.TYPE_INT32,
    "INT64": config_pb.TYPE_INT64,
    "FP32": config_pb.TYPE_FP32,
}
#: Of outputs, what Triton has and this server has not.
_OUTPUT_PARAMETERS = {
    "classification": 'expected the parameter top_k of the request, and the outputs "labels" and "scores"',
    "shared_memory_region": "expected to send the output in the answer",
}
#: Typed numbers are taken out of a message one by one, which holds up everybody else.
MOST_TYPED = 4 << 20


def input_tensors(request: pb.ModelInferRequest) -> list[InputTensor]:
    """Raises ServeError."""
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise bad_input(
            f"the request has {len(raw)} raw_input_contents for {len(request.inputs)} inputs; expected one for each, "
            "in their order, or none"
        )
    return [_input(tensor, raw[index] if raw else None) for index, tensor in enumerate(request.inputs)]


def _input(tensor: pb.ModelInferRequest.InferInputTensor, raw: bytes | None) -> InputTensor:
    name = tensor.name[:80]
    if "shared_memory_region" in tensor.parameters:
        raise bad_input(
            f'the input "{name}" is in shared memory, which this server does not read; send its contents, as '
            "set_data_from_numpy does"
        )
    values: Sequence[Any] | None = None
    if raw is None:
        field = _CONTENTS.get(tensor.datatype)
        if field is None:
            raise bad_input(
                f'the input "{name}" has datatype {tensor.datatype[:40]!r}; expected one of {", ".join(_CONTENTS)}'
            )
        values = getattr(tensor.contents, field)
        if field != "bytes_contents" and len(values) > MOST_TYPED:
            raise too_large(
                f'the input "{name}" has {len(values):,} typed values; expected at most {MOST_TYPED:,}; send them as '
                "raw_input_contents"
            )
        given = sorted(of.name for of, _ in tensor.contents.ListFields())
        if given not in ([], [field]):
            raise bad_input(
                f'the input "{name}" of datatype {tensor.datatype} has {", ".join(given)}; expected {field}'
            )
    elif tensor.HasField("contents") and tensor.contents.ListFields():
        raise bad_input(f'the input "{name}" has both contents and raw_input_contents; expected one of them')
    return InputTensor(name=tensor.name, datatype=tensor.datatype, shape=tuple(tensor.shape), raw=raw, values=values)


def outputs_asked(request: pb.ModelInferRequest) -> list[str]:
    """Raises ServeError."""
    for output in request.outputs:
        for wrong, remedy in _OUTPUT_PARAMETERS.items():
            if wrong in output.parameters:
                raise bad_input(
                    f"the output {output.name[:80]!r} has the parameter {wrong}, which is not there; {remedy}"
                )
    return [output.name for output in request.outputs]


def parameters(given: Mapping[str, pb.InferParameter]) -> dict[str, Any]:
    """Plain values by their names; without those that have no value."""
    found = {}
    for name, parameter in given.items():
        kind = parameter.WhichOneof("parameter_choice")
        if kind is not None:
            found[name] = getattr(parameter, kind)
    return found


def infer_response(
    request: pb.ModelInferRequest,
    outputs: Iterable[OutputTensor],
    told: Mapping[str, int | str],
    version: str,
) -> pb.ModelInferResponse:
    """told: parameters of the answer."""
    response = pb.ModelInferResponse(model_name=request.model_name, model_version=version, id=request.id)
    typed = bool(request.inputs) and not request.raw_input_contents
    for tensor in outputs:
        output = response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        if typed:
            values = tensor.array if isinstance(tensor.array, list) else tensor.values()
            getattr(output.contents, _CONTENTS[tensor.datatype]).extend(values)
        else:
            response.raw_output_contents.append(tensor.raw())
    for name, value in told.items():
        if isinstance(value, str):
            response.parameters[name].string_param = value
        else:
            response.parameters[name].int64_param = value
    return response


def tensor_metadata(specs: Iterable[Spec]) -> list[pb.ModelMetadataResponse.TensorMetadata]:
    return [
        pb.ModelMetadataResponse.TensorMetadata(name=spec.name, datatype=spec.datatype, shape=spec.shape)
        for spec in specs
    ]


def model_config(name: str, platform: str, outputs: Iterable[Spec]) -> config_pb.ModelConfig:
    """What Triton's tools ask for before they send anything. The server does not batch: ``max_batch_size`` is 0."""
    config = config_pb.ModelConfig(name=name, platform=platform, backend=platform, max_batch_size=0)
    for spec in inputs_offered():
        kind = _CONFIG_TYPES[spec.datatype]
        config.input.add(name=spec.name, data_type=kind, dims=spec.shape, optional=spec.name != IMAGES)
    for spec in outputs:
        config.output.add(name=spec.name, data_type=_CONFIG_TYPES[spec.datatype], dims=spec.shape)
    return config
