"""Shifts and scales of ``smoothing`` put into the constants of a graph, which computes what it computed before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from navit_edge.errors import import_or_explain
from navit_edge.oracle.packs import Array
from navit_edge.quantize.layers import PURPOSE, REMEDY, Layer
from navit_edge.quantize.smoothing import Group, Transform
from navit_edge.quantize.wiring import Wiring, put_input

if TYPE_CHECKING:
    import onnx

SUFFIX = ".smoothed"


class Folding:
    """What shifts and scales make of the weights of a bundle: the same for all of its graphs.

    layers: Of one graph; names and axes are the same in all.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        groups: Sequence[Group],
        transforms: Mapping[str, Transform],
        weights: Mapping[str, Array],
    ) -> None:
        self.transforms = transforms
        self._weights = weights
        self._axis = {layer.name: layer.axis for layer in layers}
        self._columns: dict[str, Transform] = {}  # of what a layer reads
        self._rows: dict[str, Transform] = {}  # of what it writes, [fan_out]
        for group in groups:
            transform = transforms.get(group.name)
            if transform is None:
                continue
            for name in group.layers:
                self._columns[name] = transform
            if group.source:
                self._rows[group.source] = self._of_rows(group.source, transform)

    def _of_rows(self, name: str, transform: Transform) -> Transform:
        """For the last rows of a layer; a shift of 0 and a scale of 1 for the others."""
        rows = self._weights[name].shape[self._axis[name]]
        before = rows - len(transform.scale)
        return Transform(
            shift=np.concatenate([np.zeros(before, np.float32), transform.shift]),
            scale=np.concatenate([np.ones(before, np.float32), transform.scale]),
        )

    def factors(self, name: str) -> list[Array]:
        """What a layer's weight is multiplied by, in this order, each in the weight's own orientation."""
        found = []
        axis = self._axis[name]
        if name in self._columns:
            found.append(np.expand_dims(self._columns[name].scale, axis))
        if name in self._rows:
            found.append(np.expand_dims(np.float32(1) / self._rows[name].scale, 1 - axis))
        return found

    def weight(self, name: str) -> Array:
        """As the smoothed graph computes it."""
        value = self._weights[name]
        for factor in self.factors(name):
            value = value * factor
        return value

    def bias(self, name: str, old: Array | None) -> Array | None:
        """None: as it was."""
        axis = self._axis[name]
        weight = self._weights[name].astype(np.float64)
        value = np.zeros(weight.shape[axis]) if old is None else old.astype(np.float64)
        if name in self._columns:
            shift = self._columns[name].shift.astype(np.float64)
            value = value + (weight @ shift if axis == 0 else shift @ weight)
        if name in self._rows:
            value = (value - self._rows[name].shift) / self._rows[name].scale
        result = value.astype(np.float32)
        unchanged = not result.any() if old is None else np.array_equal(result, old)
        return None if unchanged else result


def fold(
    model: onnx.ModelProto,
    layers: Sequence[Layer],
    groups: Sequence[Group],
    folding: Folding,
    constants: Mapping[str, Array],
) -> tuple[onnx.ModelProto, list[Layer]]:
    """A copy of a graph with everything folded, and its layers as they stand there.

    layers, groups: Of this graph.
    constants: Name of an initializer of the graph -> its value.
    """
    folded = type(model)()
    folded.CopyFrom(model)
    writer = _Writer(folded, folding, constants)
    results = {layer.name: folded.graph.node[layer.node].output[0] for layer in layers}
    for group in groups:
        if group.name in folding.transforms:
            writer.take_over(group)
    found = [writer.change(layer, results[layer.name]) for layer in layers]
    writer.order_nodes()
    at = {name: index for index, node in enumerate(folded.graph.node) for name in node.output}
    return folded, [replace(layer, node=at[results[layer.name]]) for layer in found]


class _Writer:
    """Changes one graph."""

    def __init__(self, model: onnx.ModelProto, folding: Folding, constants: Mapping[str, Array]) -> None:
        self._onnx = import_or_explain("onnx", purpose=PURPOSE, remedy=REMEDY)
        self._graph = model.graph
        self._wiring = Wiring(model)
        self._folding = folding
        self._constants = constants
        self._first: list[onnx.NodeProto] = []  # compute weights
        self._behind: dict[str, onnx.NodeProto] = {}  # value -> node that goes behind its writer

    def take_over(self, group: Group) -> None:
        """Puts a group's shift and scale into its norm, or a factor behind its value."""
        transform = self._folding.transforms[group.name]
        writer = self._wiring.writer[group.activation]
        if group.kind == "norm":
            value = self._constants[group.norm] / transform.scale
            writer.input[list(writer.input).index(group.norm)] = self._add(f"{group.name}.norm", value)
        if group.kind == "norm" and writer.op_type == "LayerNormalization":
            old = self._named(writer, 2)
            value = ((0.0 if old is None else old) - transform.shift) / transform.scale
            if old is not None or value.any():
                put_input(writer, 2, self._add(f"{group.name}.norm_bias", value))
        if group.kind == "factor":
            self._behind[group.activation] = self._product(
                group.activation, np.float32(1) / transform.scale, f"{group.name}.input"
            )

    def change(self, layer: Layer, result: str) -> Layer:
        """Gives a layer its weight and bias, and what it reads."""
        node = self._wiring.writer[result]
        place = self._wiring.bias(node)
        if place is not None:
            bias = self._folding.bias(layer.name, self._named(*place))
            if bias is not None:
                put_input(*place, self._add(f"{layer.name}.bias", bias))
        weight = layer.weight
        for number, factor in enumerate(self._folding.factors(layer.name)):
            self._first.append(self._product(weight, factor, f"{layer.weight}{number or ''}"))
            weight = self._first[-1].output[0]
        node.input[1] = weight
        if layer.activation in self._behind:
            node.input[0] = self._behind[layer.activation].output[0]
        return replace(layer, weight=weight, activation=node.input[0])

    def order_nodes(self) -> None:
        """Puts what was added where its inputs are there."""
        nodes = [*self._first]
        for node in self._graph.node:
            nodes += [node, *(self._behind[name] for name in node.output if name in self._behind)]
        copies = [type(node)() for node in nodes]  # a node of the graph's own list would be emptied with it
        for copy, node in zip(copies, nodes, strict=True):
            copy.CopyFrom(node)
        del self._graph.node[:]
        self._graph.node.extend(copies)

    def _add(self, name: str, value: Array) -> str:
        tensor = self._onnx.numpy_helper.from_array(np.ascontiguousarray(value, np.float32), f"{name}{SUFFIX}")
        self._graph.initializer.append(tensor)
        return f"{name}{SUFFIX}"

    def _product(self, value: str, factor: Array, name: str) -> onnx.NodeProto:
        result = f"{name}{SUFFIX}"
        node: onnx.NodeProto = self._onnx.helper.make_node(
            "Mul", [value, self._add(f"{name}.factor", factor)], [result], name=result
        )
        return node

    def _named(self, node: onnx.NodeProto, index: int) -> Array | None:
        """The constant that an input names; None if there is none."""
        name = node.input[index] if len(node.input) > index else ""
        return self._constants[name] if name else None
