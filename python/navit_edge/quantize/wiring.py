"""Who writes and who reads the values of a graph."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from navit_edge.quantize.layers import Layer

if TYPE_CHECKING:
    import onnx

#: Change the place of numbers, at most: a channel that goes in comes out.
_MOVES = frozenset(
    ("Reshape", "Transpose", "Gather", "Squeeze", "Unsqueeze", "Slice", "Split", "Identity", "Expand", "Cast")
)


class Wiring:
    """Who writes and who reads each value."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.constants = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
        self.writer = {name: node for node in model.graph.node for name in node.output if name}
        self.readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in model.graph.node:
            for name in node.input:
                self.readers[name].append(node)
        self.outputs = {value.name for value in model.graph.output}

    def fan_in(self, layer: Layer) -> int:
        return int(self.constants[layer.weight][1 - layer.axis])

    def fan_out(self, layer: Layer) -> int:
        return int(self.constants[layer.weight][layer.axis])

    def origin(self, name: str) -> onnx.NodeProto | None:
        """The node that computes what ``name`` holds, through nodes that only move it."""
        node = self.writer.get(name)
        while node is not None and node.op_type in _MOVES:
            node = self.writer.get(node.input[0])
        return node

    def bias(self, node: onnx.NodeProto) -> tuple[onnx.NodeProto, int] | None:
        """(node, which of its inputs) that is a product's bias; the input may be missing. None: no place for one."""
        if node.op_type == "Gemm":
            return node, 2
        readers = self.readers[node.output[0]]
        if len(readers) == 1 and readers[0].op_type == "Add" and node.output[0] not in self.outputs:
            for index, name in enumerate(readers[0].input):
                if len(self.constants.get(name, ())) == 1:
                    return readers[0], index
        return None


def put_input(node: onnx.NodeProto, index: int, name: str) -> None:
    """Gives a node an input that it may not have had."""
    while len(node.input) <= index:
        node.input.append("")
    node.input[index] = name


def values_from(model: onnx.ModelProto, name: str) -> set[str]:
    """Names of all values that an input of the graph has a part in."""
    found = {name}
    for node in model.graph.node:  # in topological order
        if found.intersection(node.input):
            found.update(node.output)
    return found
