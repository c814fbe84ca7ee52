"""What TRT_Attention computes, written out in plain ONNX: a packed graph with it runs where TensorRT is not.

After NVIDIA's documentation (onnx-tensorrt, docs/TRT_custom_ops.md; IAttention in NvInfer.h): softmax(Q K^T) V within
each sequence, nothing scaled. Rows that no sequence holds are NaN here, the worst that a kernel may leave in them. This
is not NVIDIA's kernel: it shows what the graph means, not how TensorRT computes it.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx.inliner
from onnx import TensorProto, helper

from navit_edge.compile import packed_attention

_INPUTS = ["query", "key", "value", "mask", "query_lengths", "kv_lengths"]


def with_definition(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with the operator defined by a function of its own."""
    defined = onnx.ModelProto()
    defined.CopyFrom(model)
    defined.functions.append(_function())
    return defined


def written_out(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with the definition in the operator's place, for engines that know no functions."""
    plain = onnx.inliner.inline_local_functions(with_definition(model))
    assert packed_attention.OPERATOR not in {node.op_type for node in plain.graph.node}
    del plain.graph.value_info[:]
    return plain


def _function() -> onnx.FunctionProto:
    nodes: list[onnx.NodeProto] = []

    def op(kind: str, *inputs: str, output: str = "", **attributes: object) -> str:
        output = output or f"v{len(nodes)}"
        nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def const(value: object, kind: type) -> str:
        return op("Constant", value=onnx.numpy_helper.from_array(np.asarray(value, kind)))

    zero, one, last = (const([value], np.int64) for value in (0, 1, np.iinfo(np.int64).max))
    first, step = const(0, np.int64), const(1, np.int64)

    def sequence_of_rows(rows: str, lengths: str) -> str:
        """[T]: how many sequences end before each row or at it; S where no sequence holds it."""
        count = op("Squeeze", op("Shape", rows, start=0, end=1), zero)
        row = op("Unsqueeze", op("Range", first, count, step), one)  # [T, 1]
        ends = op("Cast", op("Slice", lengths, one, last, zero), to=TensorProto.INT64)
        ended = op("GreaterOrEqual", row, op("Unsqueeze", ends, zero))  # [T, S]
        return op("ReduceSum", op("Cast", ended, to=TensorProto.INT64), one, keepdims=0)

    def float32(name: str, perm: list[int]) -> str:
        return op("Cast", op("Transpose", name, perm=perm), to=TensorProto.FLOAT)

    of_query, of_key = sequence_of_rows("query", "query_lengths"), sequence_of_rows("key", "kv_lengths")
    same = op("Equal", op("Unsqueeze", of_query, one), op("Unsqueeze", of_key, zero))  # [T, T]
    scores = op("MatMul", float32("query", [1, 0, 2]), float32("key", [1, 2, 0]))  # [H, T, T]
    masked = op("Where", same, scores, const(-np.inf, np.float32))
    mixed = op("MatMul", op("Softmax", masked, axis=-1), float32("value", [1, 0, 2]))  # [H, T, dh]
    sequences = op("Sub", op("Squeeze", op("Shape", "query_lengths"), zero), step)
    held = op("Unsqueeze", op("Less", of_query, sequences), const([1, 2], np.int64))  # [T, 1, 1]
    result = op("Where", held, op("Transpose", mixed, perm=[1, 0, 2]), const(np.nan, np.float32))
    op("CastLike", result, "query", output="result")
    return helper.make_function(
        packed_attention.DOMAIN,
        packed_attention.OPERATOR,
        _INPUTS,
        ["result"],
        nodes,
        [helper.make_opsetid("", 20)],
        list(packed_attention.ATTRIBUTES),
    )
