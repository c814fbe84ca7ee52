"""Q/DQ in a graph: the one place that knows what TensorRT, TensorRT-RTX, OpenVINO and ONNX Runtime all take.

Weights stay float32 in the weights file that all graphs share, with QuantizeLinear and DequantizeLinear behind them,
which every compiler folds. Scales are small initializers inside of the graph; all zero points are 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from navit_edge.errors import import_or_explain
from navit_edge.oracle.packs import Array
from navit_edge.quantize.layers import PURPOSE, REMEDY, Layer
from navit_edge.quantize.wiring import Wiring, put_input

if TYPE_CHECKING:
    import onnx

#: Largest magnitude of a quantized value. int8 is symmetric: -128 is not used. fp8 is float8e4m3fn.
LARGEST = {"int8": 127.0, "fp8": 448.0}
#: Scales are rounded up to this many significant bits and are no smaller than this, so that bf16 (8 significant bits)
#: and fp16 (multiples of 2^-24) hold them without loss: a strongly typed engine dequantizes with a scale in 16 bits.
_SCALE_BITS = 8
SMALLEST_SCALE = 2.0**-17


def scale_of(largest: float, precision: str) -> float:
    """The scale that covers magnitudes up to ``largest``."""
    exact = max(largest / LARGEST[precision], SMALLEST_SCALE)
    mantissa, exponent = math.frexp(exact)  # 0.5 <= mantissa < 1
    steps = math.ceil(mantissa * 2**_SCALE_BITS - 1e-9)
    return math.ldexp(steps, exponent - _SCALE_BITS)


def weight_scales(weight: Array, axis: int, precision: str) -> Array:
    """One scale for each output channel, by its largest magnitude: [fan_out]"""
    largest = np.abs(weight).max(axis=1 - axis)
    return np.array([scale_of(float(value), precision) for value in largest], np.float32)


def round_to(values: npt.NDArray[Any], precision: str) -> npt.NDArray[Any]:
    """Numbers as int8 or float8e4m3fn hold them, saturated."""
    largest = LARGEST[precision]
    if precision == "int8":
        return np.asarray(np.clip(np.rint(values), -largest, largest))
    exponent = np.maximum(np.floor(np.log2(np.maximum(np.abs(values), 2.0**-20))), -6)  # below 2^-6: subnormal
    step = np.exp2(exponent - 3)
    return np.asarray(np.clip(np.rint(values / step) * step, -largest, largest))


def rounded_to(values: Array, steps: Array | float, precision: str) -> Array:
    """Numbers as they come out of Q/DQ with these scales."""
    size = np.asarray(steps, np.float32)
    return np.asarray(round_to(values / size, precision) * size, np.float32)


def insert(
    model: onnx.ModelProto,
    layers: Sequence[Layer],
    activation_scales: Mapping[str, float],
    channel_scales: Mapping[str, Array],
    precision: str,
    biases: Mapping[str, Array] | None = None,
) -> onnx.ModelProto:
    """A copy of the graph with Q/DQ on the activation and the weight of each of ``layers``.

    Layers that read the same value share its Q/DQ, and so its scale.

    Args:
        model: The float32 graph.
        layers: Of this graph.
        activation_scales: Layer name -> scale of what it reads; one value for layers that read the same.
        channel_scales: Layer name -> scales of its weight, [fan_out].
        precision: "int8" or "fp8".
        biases: Layer name -> bias that takes the place of its own, [fan_out]; layers that have a place for one.
    """
    onnx = import_or_explain("onnx", purpose=PURPOSE, remedy=REMEDY)
    helper = onnx.helper
    kind = onnx.TensorProto.INT8 if precision == "int8" else onnx.TensorProto.FLOAT8E4M3FN
    quantized = type(model)()
    quantized.CopyFrom(model)
    graph = quantized.graph
    added: list[Any] = []  # nodes
    values: list[Any] = []  # types of the values between
    known = {value.name: value for value in (*graph.value_info, *graph.input, *graph.output)}
    known |= {
        tensor.name: helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        for tensor in graph.initializer
    }

    def pair(name: str, scales: Array, **attributes: int) -> str:
        """Adds Q/DQ behind the value ``name``; returns what comes out."""
        scale, zero, low, out = (f"{name}.{part}" for part in ("scale", "zero", "quantized", "dequantized"))
        graph.initializer.append(onnx.numpy_helper.from_array(scales, scale))
        graph.initializer.append(helper.make_tensor(zero, kind, scales.shape, bytes(scales.size), raw=True))
        added.append(
            helper.make_node("QuantizeLinear", [name, scale, zero], [low], name=f"{name}.quantize", **attributes)
        )
        added.append(
            helper.make_node("DequantizeLinear", [low, scale, zero], [out], name=f"{name}.dequantize", **attributes)
        )
        if name in known:  # shapes as the exporter gives them, for readers that do not infer
            for result, element in ((low, kind), (out, onnx.TensorProto.FLOAT)):
                value = onnx.ValueInfoProto()
                value.CopyFrom(known[name])
                value.name = result
                value.type.tensor_type.elem_type = element
                values.append(value)
        return out

    at = {layer.node: layer for layer in layers}
    shared: dict[str, str] = {}
    wiring = Wiring(quantized)
    for corrected in layers:
        place = wiring.bias(graph.node[corrected.node])
        if biases is not None and corrected.name in biases and place is not None:
            name = f"{corrected.name}.bias.corrected"
            graph.initializer.append(onnx.numpy_helper.from_array(biases[corrected.name], name))
            put_input(*place, name)
    for index, node in enumerate(graph.node):
        layer = at.get(index)
        if layer is not None:
            if layer.activation not in shared:
                scale = np.array(activation_scales[layer.name], np.float32)
                shared[layer.activation] = pair(layer.activation, scale)
            node.input[0] = shared[layer.activation]
            node.input[1] = pair(layer.weight, channel_scales[layer.name], axis=layer.axis)
        added.append(node)
    copies = []
    for node in added:  # a node of the graph's own list would be emptied with it
        own = onnx.NodeProto()
        own.CopyFrom(node)
        copies.append(own)
    del graph.node[:]
    graph.node.extend(copies)
    graph.value_info.extend(values)
    return quantized
