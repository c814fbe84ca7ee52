"""A graph as a file of a bundle, and its inputs and outputs as the manifest names them."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir

from navit_edge.bundle.manifest import TensorSpec

_DTYPES: dict[int, str] = {
    onnx.TensorProto.UINT8: "uint8",
    onnx.TensorProto.INT32: "int32",
    onnx.TensorProto.FLOAT: "float32",
}


def save_graph(exported: ir.Model, path: Path) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Stores the graph with inferred shapes; returns its inputs and outputs."""
    proto = ir.to_proto(exported)
    proto = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    path.write_bytes(proto.SerializeToString(deterministic=True))
    return tuple(_spec(value) for value in proto.graph.input), tuple(_spec(value) for value in proto.graph.output)


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    shape = tuple(dim.dim_param or dim.dim_value for dim in tensor.shape.dim)
    return TensorSpec(name=value.name, dtype=_DTYPES[tensor.elem_type], shape=shape)
