"""The ONNX operator of the packed lowering: TensorRT's attention over sequences that lie one after another.

``TRT_Attention`` as the parsers of TensorRT 11.1 and later and of TensorRT-RTX 1.7 take it (onnx-tensorrt,
docs/TRT_custom_ops.md): it mirrors ``IAttention`` and neither reshapes nor scales.

    inputs      q, k, v [T, H, dh], queries already scaled; mask (left out: packed queries take none); query_lengths and
                kv_lengths [S+1] int32, cumulative: 0 first, T last, so that sequence i is rows lengths[i] to
                lengths[i+1]. The two must be different tensors, even if they are equal.
    output      [T, H, dh], of the queries' type.

TensorRT 11.0 knew the operator by another signature (past keys where the lengths stand now, and a scale) and refuses
this one. The domain is the one that NVIDIA's exporters use; TensorRT's parser does not look at it, and ONNX's checker
takes operators it does not know from domains that are not its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

OPERATOR = "TRT_Attention"
DOMAIN = "trt"
DOMAIN_VERSION = 1
ATTRIBUTES = {
    "query_form": "packed_nhd",
    "kv_form": "packed_nhd",
    "causal_kind": "none",
    "TRT_normalization_op": "softmax",
}
#: Where the lengths stand among the inputs; 3 is the mask.
QUERY_LENGTHS, KV_LENGTHS = 4, 5


def make_node(
    query: str, key: str, value: str, query_lengths: str, kv_lengths: str, output: str, *, name: str
) -> onnx.NodeProto:
    """The operator with these values."""
    from onnx import helper

    inputs = [query, key, value, "", query_lengths, kv_lengths]
    return helper.make_node(OPERATOR, inputs, [output], name=name, domain=DOMAIN, **ATTRIBUTES)
