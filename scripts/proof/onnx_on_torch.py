"""A graph of a bundle, one ONNX operator after another in PyTorch, on any device and in any precision.

It is no backend: it shows what numbers a graph gives where neither TensorRT nor ONNX Runtime runs. Under ``wide`` every
float of the graph is float64, which is the reference that other precisions are held against.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor
from torch.nn import functional

_TYPES: dict[int, torch.dtype] = {
    TensorProto.FLOAT: torch.float32, TensorProto.DOUBLE: torch.float64, TensorProto.FLOAT16: torch.float16,
    TensorProto.BFLOAT16: torch.bfloat16, TensorProto.UINT8: torch.uint8, TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64, TensorProto.BOOL: torch.bool,
}  # fmt: skip
_Attributes = Mapping[str, Any]


#: Inputs of operators that have to be known before anything runs: shapes, axes, bounds.
_HOST_INPUTS = {
    "Expand": (1,), "ReduceMax": (1,), "ReduceMean": (1,), "ReduceSum": (1,), "Reshape": (1,), "Slice": (1, 2, 3, 4),
    "Split": (1,), "Squeeze": (1,), "Unsqueeze": (1,),
}  # fmt: skip


class Graph:
    """model: with its weights in it (``load``). wide: float32 and 16 bits become float64."""

    def __init__(self, model: onnx.ModelProto, *, device: str, wide: bool = False) -> None:
        self.nodes = [
            (node, {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute})
            for node in model.graph.node
        ]
        unknown = sorted({node.op_type for node, _ in self.nodes} - set(_OPERATORS) - {"Cast", "Constant"})
        if unknown:
            raise NotImplementedError(f"operators {', '.join(unknown)}; proof/onnx_on_torch.py knows none of them")
        self.outputs = [output.name for output in model.graph.output]
        self.inputs = [given.name for given in model.graph.input]
        self._device, self._wide = device, wide
        self.weights = {one.name: self._tensor(one) for one in model.graph.initializer}

    def run(self, inputs: Mapping[str, npt.NDArray[np.generic]]) -> dict[str, npt.NDArray[np.float64]]:
        """Output name -> value; inputs that the graph does not read are left out."""
        given = {name: torch.from_numpy(np.asarray(inputs[name])).to(self._device) for name in self.inputs}
        return {name: value.double().cpu().numpy() for name, value in Bound(self, given).outputs.items()}

    def operator(self, node: onnx.NodeProto, attributes: _Attributes) -> Callable[[list[Any]], Any]:
        """What a node does, of its inputs."""
        if node.op_type == "Cast":
            kind = self._type(attributes["to"])
            return lambda given: given[0].to(kind)
        if node.op_type == "Constant":
            return lambda _: self._constant(attributes)
        function = _OPERATORS[node.op_type]
        return lambda given: function(given, attributes)

    def _type(self, onnx_type: int) -> torch.dtype:
        found = _TYPES[onnx_type]
        return torch.float64 if self._wide and found.is_floating_point else found

    def _tensor(self, tensor: onnx.TensorProto) -> Tensor:
        array = numpy_helper.to_array(tensor)
        if tensor.data_type == TensorProto.BFLOAT16:
            array = array.astype(np.float32)
        return torch.from_numpy(np.array(array)).to(self._device, self._type(tensor.data_type))

    def _constant(self, attributes: _Attributes) -> Tensor:
        ((name, value),) = attributes.items()
        if name == "value":
            return self._tensor(value)
        kind = TensorProto.FLOAT if name.startswith("value_float") else TensorProto.INT64
        return torch.tensor(value, dtype=self._type(kind), device=self._device)


class Bound:
    """A graph that has run once on these input tensors, and runs again on what they hold then.

    What follows from shapes and weights alone is computed the first time only, so that ``again`` asks the device
    nothing and can be captured as a CUDA graph.

    outputs: of the first time, by name.
    """

    def __init__(self, graph: Graph, inputs: Mapping[str, Tensor]) -> None:
        self._inputs, self._names = dict(inputs), graph.outputs
        values: dict[str, Tensor | None] = {"": None, **graph.weights, **inputs}
        varies = set(inputs)
        self._again: list[tuple[Callable[[list[Any]], Any], list[str | Tensor | None], list[str]]] = []
        with torch.inference_mode():
            for node, attributes in graph.nodes:
                operator, host = graph.operator(node, attributes), _HOST_INPUTS.get(node.op_type, ())
                given = [_on_host(values[name]) if i in host else values[name] for i, name in enumerate(node.input)]
                _keep(values, node.output, operator(given))
                if node.op_type != "Shape" and varies.intersection(node.input):
                    varies.update(node.output)
                    kept = [name if name in varies else value for name, value in zip(node.input, given, strict=True)]
                    self._again.append((operator, kept, list(node.output)))
        self._fixed = {name: values[name] for name in self._names if name not in varies}
        self.outputs: dict[str, Tensor] = {name: values[name] for name in self._names}  # type: ignore[misc]

    def again(self) -> dict[str, Tensor]:
        """Output name -> value, of what the inputs hold now."""
        values: dict[str, Tensor | None] = {**self._fixed, **self._inputs}
        with torch.inference_mode():
            for operator, kept, names in self._again:
                _keep(values, names, operator([values[one] if isinstance(one, str) else one for one in kept]))
        return {name: values[name] for name in self._names}  # type: ignore[misc]


def _on_host(value: Tensor | None) -> Tensor | None:
    return None if value is None else value.cpu()


def _keep(values: dict[str, Tensor | None], names: Sequence[str], made: Any) -> None:
    values.update(zip(names, made if isinstance(made, (tuple, list)) else (made,), strict=False))


def load(path: Path) -> onnx.ModelProto:
    """A graph's file with the weights from the file beside it, functions inlined."""
    import onnx.inliner

    model = onnx.load(path)
    return onnx.inliner.inline_local_functions(model) if model.functions else model


def _divide(given: list[Any], _: _Attributes) -> Tensor:
    whole = not given[0].is_floating_point()
    return torch.div(given[0], given[1], rounding_mode="trunc" if whole else None)


def _gemm(given: list[Any], a: _Attributes) -> Any:
    left = given[0].mT if a.get("transA") else given[0]
    right = given[1].mT if a.get("transB") else given[1]
    product = left @ right * a.get("alpha", 1.0) if a.get("alpha", 1.0) != 1 else left @ right
    return product if len(given) < 3 or given[2] is None else product + given[2] * a.get("beta", 1.0)


def _norm(given: list[Any], a: _Attributes) -> Tensor:
    axis = a.get("axis", -1) % given[0].ndim
    bias = given[2] if len(given) > 2 else None
    return functional.layer_norm(given[0], given[0].shape[axis:], given[1], bias, a.get("epsilon", 1e-5))


def _axes(given: list[Any], a: _Attributes) -> list[int]:
    if len(given) > 1 and given[1] is not None:
        return [int(axis) for axis in given[1].tolist()]
    return [int(axis) for axis in a.get("axes", ())]


def _unsqueeze(given: list[Any], a: _Attributes) -> Any:
    axes, result = _axes(given, a), given[0]
    for axis in sorted(axis % (result.ndim + len(axes)) for axis in axes):
        result = result.unsqueeze(axis)
    return result


def _squeeze(given: list[Any], a: _Attributes) -> Any:
    return given[0].squeeze(tuple(_axes(given, a)) or tuple(i for i, n in enumerate(given[0].shape) if n == 1))


def _reshape(given: list[Any], a: _Attributes) -> Any:
    shape = given[1].tolist()
    return given[0].reshape(
        [given[0].shape[i] if size == 0 and not a.get("allowzero") else size for i, size in enumerate(shape)]
    )


def _slice(given: list[Any], _: _Attributes) -> Any:
    starts, ends = given[1].tolist(), given[2].tolist()
    axes = given[3].tolist() if len(given) > 3 and given[3] is not None else range(len(starts))
    steps = given[4].tolist() if len(given) > 4 and given[4] is not None else [1] * len(starts)
    cuts = [slice(None)] * given[0].ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = given[0].shape[axis]
        cuts[axis] = slice(max(start, -size), min(end, size), step)  # 2^63 - 1 stands for the end
    return given[0][tuple(cuts)]


def _gather(given: list[Any], a: _Attributes) -> Any:
    axis, index = a.get("axis", 0) % given[0].ndim, given[1].long()
    index = torch.where(index < 0, index + given[0].shape[axis], index)
    taken = given[0].index_select(axis, index.reshape(-1))
    return taken.reshape(*given[0].shape[:axis], *index.shape, *given[0].shape[axis + 1 :])


def _expand(given: list[Any], _: _Attributes) -> Any:
    shape = np.broadcast_shapes(given[0].shape, given[1].tolist())
    return given[0].expand(shape)


def _shape(given: list[Any], a: _Attributes) -> Tensor:
    return torch.tensor(list(given[0].shape)[a.get("start", 0) : a.get("end")], device=given[0].device)


def _clip(given: list[Any], _: _Attributes) -> Any:
    low, high = (given[i] if len(given) > i else None for i in (1, 2))
    return given[0].clamp(low, high)


def _split(given: list[Any], a: _Attributes) -> Any:
    axis = a.get("axis", 0)
    if len(given) > 1 and given[1] is not None:
        return given[0].split(given[1].tolist(), axis)
    return given[0].tensor_split(a["num_outputs"], axis)


def _reduced(function: Callable[..., Tensor]) -> Callable[[list[Any], _Attributes], Tensor]:
    def reduce(given: list[Any], a: _Attributes) -> Tensor:
        return function(given[0], dim=_axes(given, a) or list(range(given[0].ndim)), keepdim=bool(a.get("keepdims", 1)))

    return reduce


def _one(function: Callable[..., Any]) -> Callable[[list[Any], _Attributes], Any]:
    return lambda given, _: function(*given)


def _gelu(given: list[Any], a: _Attributes) -> Tensor:
    return functional.gelu(given[0], approximate=a.get("approximate", b"none").decode())


_OPERATORS: dict[str, Callable[[list[Any], _Attributes], Any]] = {
    "Abs": _one(torch.abs), "Add": _one(torch.add), "And": _one(torch.logical_and), "Ceil": _one(torch.ceil),
    "Clip": _clip, "Concat": lambda g, a: torch.cat(g, a["axis"]), "Cos": _one(torch.cos), "Div": _divide,
    "Equal": _one(torch.eq), "Erf": _one(torch.erf), "Exp": _one(torch.exp), "Expand": _expand,
    "Floor": _one(torch.floor), "Gather": _gather, "Gelu": _gelu, "Gemm": _gemm, "Greater": _one(torch.gt),
    "GreaterOrEqual": _one(torch.ge), "Identity": lambda g, _: g[0], "LayerNormalization": _norm,
    "Less": _one(torch.lt), "LessOrEqual": _one(torch.le), "MatMul": _one(torch.matmul), "Max": _one(torch.maximum),
    "Min": _one(torch.minimum), "Mul": _one(torch.mul), "Neg": _one(torch.neg), "Not": _one(torch.logical_not),
    "Or": _one(torch.logical_or), "Pow": _one(torch.pow),
    "Range": lambda g, _: torch.arange(g[0].item(), g[1].item(), g[2].item(), dtype=g[0].dtype, device=g[0].device),
    "Reciprocal": _one(torch.reciprocal), "ReduceMean": _reduced(torch.mean), "ReduceSum": _reduced(torch.sum),
    "ReduceMax": _reduced(torch.amax), "Reshape": _reshape, "Shape": _shape, "Sigmoid": _one(torch.sigmoid),
    "Sin": _one(torch.sin), "Slice": _slice, "Softmax": lambda g, a: torch.softmax(g[0], a.get("axis", -1)),
    "Split": _split, "Sqrt": _one(torch.sqrt), "Squeeze": _squeeze, "Sub": _one(torch.sub), "Tanh": _one(torch.tanh),
    "Transpose": lambda g, a: g[0].permute(a["perm"]), "Unsqueeze": _unsqueeze, "Where": _one(torch.where),
}  # fmt: skip
