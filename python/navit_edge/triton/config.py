"""``config.pbtxt``: what Triton knows of a bundle before it opens it, in protobuf's text format.

https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Literal

from navit_edge.bundle.manifest import Manifest
from navit_edge.errors import BundleError
from navit_edge.serve.tensors import PIXELS, Spec, inputs_offered, outputs_offered

Kind = Literal["KIND_CPU", "KIND_GPU", "KIND_AUTO"]

#: Which images of the request a response holds.
INDEX = "index"

#: The backends that compute on NVIDIA's GPUs; Triton knows of no other devices but the CPU.
_ON_GPU = ("tensorrt", "tensorrt-rtx")
_TYPES = {
    "BYTES": "TYPE_STRING",
    "UINT8": "TYPE_UINT8",
    "INT32": "TYPE_INT32",
    "INT64": "TYPE_INT64",
    "FP32": "TYPE_FP32",
}


def inputs() -> list[Spec]:
    """Triton wants one rank for each name: pixels are flat, beside their shapes."""
    return [
        Spec(name=PIXELS, datatype=spec.datatype, shape=(-1,)) if spec.name == PIXELS else spec
        for spec in inputs_offered()
    ]


def outputs(manifest: Manifest) -> list[Spec]:
    """Those of the protocol, and ``index``."""
    return [*outputs_offered(manifest), Spec(name=INDEX, datatype="INT32", shape=(-1,))]


def kind_of(manifest: Manifest) -> Kind:
    """Where the bundle's engines run; if there are some for both, Triton takes the GPU, or the CPU if there is none.
    Raises BundleError if there is no engine."""
    on_gpu = {engine.backend in _ON_GPU for engine in manifest.engines}
    if not on_gpu:
        raise BundleError(
            f"the bundle {manifest.name} has no engine, so that Triton could not run it; make one first: navit-edge "
            "build-engine BUNDLE"
        )
    if len(on_gpu) == 2:
        return "KIND_AUTO"
    return "KIND_GPU" if True in on_gpu else "KIND_CPU"


def config_text(
    manifest: Manifest, *, name: str, kind: Kind, instances: int, decoupled: bool, parameters: Mapping[str, str]
) -> str:
    """The whole file. parameters: for ``model.py``."""
    lines = [
        f"name: {_text(name)}",
        'backend: "python"',
        "max_batch_size: 0  # a request holds images of any sizes, and the session packs those of all requests",
        f"model_transaction_policy {{ decoupled: {str(decoupled).lower()} }}",
        *_tensors("input", inputs(), " optional: true"),
        *_tensors("output", outputs(manifest), ""),
        f"instance_group [ {{ count: {instances} kind: {kind} }} ]",
        *(
            f"parameters {{ key: {_text(key)} value {{ string_value: {_text(value)} }} }}"
            for key, value in parameters.items()
        ),
    ]
    return "\n".join(lines) + "\n"


def _tensors(field: str, specs: Sequence[Spec], more: str) -> list[str]:
    rows = [
        f"  {{ name: {_text(spec.name)} data_type: {_TYPES[spec.datatype]} dims: {list(spec.shape)}{more} }}"
        for spec in specs
    ]
    return [f"{field} [", ",\n".join(rows), "]"]


def _text(value: str) -> str:
    """A string literal: what JSON escapes, protobuf reads, and what is not ASCII stands as it is."""
    return json.dumps(value, ensure_ascii=False)
