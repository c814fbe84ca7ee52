"""Moves what is hard to quantize out of activations and into constants, without changing what a graph computes.

A linear layer reads x [T, fan_in] and gives x W^T + b. With a shift c and a scale s for each channel of x, it gives the
same from (x - c) / s, if its weight becomes W s and its bias b + W c. SmoothQuant (Xiao et al. 2023, arXiv:2211.10438)
chooses s, Outlier Suppression+ (Wei et al. 2023, arXiv:2304.09145) chooses c. What makes x takes over the rest:

* "norm": a LayerNorm or RMSNorm, in its own weight and bias.
* "values": attention, in the rows of the layer that makes the values: its probabilities sum to 1.
* "gate": the product of a gated MLP, in the rows of the layer that makes its linear half; scale only.
* "factor": what has no constants of its own, as an activation function: a multiplication is added, which compilers
  fuse with the rounding behind it; scale only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from navit_edge.compile.packed_attention import OPERATOR as PACKED_ATTENTION
from navit_edge.oracle.packs import Array
from navit_edge.quantize.layers import Layer
from navit_edge.quantize.wiring import Wiring

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, kw_only=True)
class Group:
    """Layers of one graph that read the same value, and so share its shift and scale."""

    layers: tuple[str, ...]
    activation: str
    kind: str  # "norm", "values", "gate", "factor"
    norm: str = ""  # name of the norm's weight
    source: str = ""  # layer whose last rows take over shift and scale
    shifts: bool = False  # whether a shift can be taken over, too

    @property
    def name(self) -> str:
        """The same in every graph of a bundle."""
        return self.layers[0]


@dataclass(frozen=True, kw_only=True)
class Transform:
    """What each channel of a value is shifted by and divided by: [fan_in] both."""

    shift: Array
    scale: Array


def find_groups(model: onnx.ModelProto, layers: Sequence[Layer]) -> list[Group]:
    """In graph order; every layer is in one."""
    wiring = Wiring(model)
    nodes = model.graph.node
    reading: dict[str, list[Layer]] = defaultdict(list)
    for layer in layers:
        reading[layer.activation].append(layer)
    made_by = {nodes[layer.node].output[0]: layer for layer in layers}
    groups = []
    for activation, members in reading.items():
        biased = all(wiring.bias(nodes[layer.node]) is not None for layer in members)
        group = Group(layers=tuple(layer.name for layer in members), activation=activation, kind="factor")
        alone = len(wiring.readers[activation]) == len(members) and activation not in wiring.outputs
        if alone:
            group = _taken_over(wiring, group, wiring.fan_in(members[0]), made_by, biased)
        groups.append(group)
    return groups


def _taken_over(wiring: Wiring, group: Group, width: int, made_by: Mapping[str, Layer], biased: bool) -> Group:
    """The group with what takes over the shift and scale of its value [T, width], if not a factor."""
    writer = wiring.writer.get(group.activation)
    if writer is None:
        return group
    kind = writer.op_type
    if kind in ("LayerNormalization", "RMSNormalization") and writer.input[1] in wiring.constants:
        return replace(group, kind="norm", norm=writer.input[1], shifts=biased and kind == "LayerNormalization")
    if kind == "Mul":
        vectors = [name for name in writer.input if wiring.constants.get(name) == (width,)]
        if vectors:
            return replace(group, kind="norm", norm=vectors[0])
        for name in writer.input:
            source = _layer_of(wiring, name, made_by)
            if source is not None and wiring.fan_out(source) in (width, 2 * width):  # alone, or behind the gate
                return replace(group, kind="gate", source=source.name)
        return group
    attention = wiring.origin(group.activation)
    if attention is not None and attention.op_type in ("MatMul", PACKED_ATTENTION):
        source = _layer_of(wiring, attention.input[2 if attention.op_type == PACKED_ATTENTION else 1], made_by)
        if source is not None and wiring.fan_out(source) in (width, 3 * width):  # alone, or behind queries and keys
            return replace(group, kind="values", source=source.name, shifts=biased)
    return group


def _layer_of(wiring: Wiring, name: str, made_by: Mapping[str, Layer]) -> Layer | None:
    """The layer whose result ``name`` holds, through its bias and moves."""
    node = wiring.origin(name)
    if node is not None and node.op_type == "Add":
        node = next((found for found in map(wiring.origin, node.input) if found is not None), None)
    return None if node is None or not node.output else made_by.get(node.output[0])
