"""The layers of a graph that are quantized: matrix products of the trunk with constant weights.

The product of the pixels, attention's products, positions, pooling and head are not among them (docs/quantize.md).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from navit_edge.compile import precision as precisions
from navit_edge.errors import BundleError, InvalidInputError, import_or_explain
from navit_edge.oracle.packs import Array, Values

if TYPE_CHECKING:
    import onnx

PURPOSE = "quantizing a bundle"
REMEDY = 'pip install "navit-edge[quantize]"'


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One quantizable product of one graph."""

    name: str  # of its weight, without ".weight": the same in every graph of a bundle
    node: int  # index in the graph
    activation: str  # value [T, fan_in] that it reads
    weight: str  # initializer
    axis: int  # of the weight's output channels


def find_layers(model: onnx.ModelProto) -> list[Layer]:
    """In graph order. Raises BundleError if the graph does not follow the contract."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    layers = []
    for index in precisions.Conversion(model, "fp32").trunk_products():
        node = model.graph.node[index]
        attributes = {attribute.name: attribute.i for attribute in node.attribute}
        activation, weight = node.input[0], node.input[1]
        if weight not in weights or len(weights[weight].dims) != 2 or activation in weights or attributes.get("transA"):
            continue
        layers.append(
            Layer(
                name=weight.removesuffix(".weight"),
                node=index,
                activation=activation,
                weight=weight,
                axis=0 if attributes.get("transB") else 1,
            )
        )
    return layers


def match(layers: Sequence[Layer], patterns: Sequence[str]) -> set[str]:
    """Names of the layers that one of ``patterns`` names; ``*``, ``?`` and ``[…]`` as in a shell.

    Raises InvalidInputError for a pattern that names no layer.
    """
    found: set[str] = set()
    for pattern in patterns:
        hits = {layer.name for layer in layers if fnmatchcase(layer.name, pattern)}
        if not hits:
            names = ", ".join(layer.name for layer in layers[:6])
            more = ", …" if len(layers) > 6 else ""
            raise InvalidInputError(
                f"skip layers: {pattern!r} names no layer; the graph has {len(layers)}: {names}{more}"
            )
        found |= hits
    return found


def read_weights(model: onnx.ModelProto, layers: Sequence[Layer], directory: Path) -> Values:
    """Layer name -> weight as it lies in the graph or in the weights file in ``directory``.

    Raises BundleError if one is not float32 or not finite.
    """
    constants = Constants(model, directory)
    return {layer.name: constants[layer.weight] for layer in layers}


class Constants(Mapping[str, Array]):
    """Name of an initializer of a graph -> its value, from the graph or from the weights file in ``directory``.

    Raises BundleError if one is not float32 or not finite.
    """

    def __init__(self, model: onnx.ModelProto, directory: Path) -> None:
        self._tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self._directory = directory

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __getitem__(self, name: str) -> Array:
        onnx = import_or_explain("onnx", purpose=PURPOSE, remedy=REMEDY)
        tensor = copy.deepcopy(self._tensors[name])
        if tensor.data_type != onnx.TensorProto.FLOAT:
            kind = onnx.TensorProto.DataType.Name(tensor.data_type)
            raise BundleError(f"weight {name} is {kind}; expected float32; export the model again")
        if onnx.external_data_helper.uses_external_data(tensor):
            onnx.external_data_helper.load_external_data_for_tensor(tensor, str(self._directory))
        value: Array = onnx.numpy_helper.to_array(tensor)
        if not np.isfinite(value).all():
            raise BundleError(f"weight {name} holds values that are not finite; expected numbers; check the checkpoint")
        return value
