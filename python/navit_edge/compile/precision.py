"""From the bundle's float32 graph to a strongly typed one for TensorRT: which node computes in which precision.

The graph is cut by two values that the contract names. What flows from `patches` to `tokens` is the trunk. Everything
else (positions, masks, pooling, head) stays in float32. Policies for the trunk:

* "fp16", "bf16": matrix products and element-wise work in 16 bits. Float32 islands: normalizations and other
  statistics, softmax with the scores and the mask that lead to it, activation functions, and the sum that runs through
  all layers, which only norms and itself read. So are means of merged tokens, which are parts of that sum, and what
  only decides which tokens merge: it ends in numbers of rows. The product of the pixels is in fp16 under both: a byte
  is exact in it, and in bf16 this one product made half of the whole model's error. A norm of the pixels in front of
  it is an island as any other.
* "fp32": all of it in float32, but queries, keys, values and their products with the probabilities in fp16, since
  TensorRT fuses attention in 16 bits only; unfused, its memory grows with the square of T. The scores are float32.
  "strict" leaves out even this. Packed attention is one node with queries, keys and values in 16 bits; how it computes
  scores and softmax is the kernel's.
* "fp16", "bf16" with a float32 trunk: as "fp32", with attention in the precision that is named.

Weights stay float32 in the bundle's weights file, each behind a Cast that the compiler folds. The graph's inputs and
outputs keep their types.

Quantized layers (QuantizeLinear, DequantizeLinear around a product) compute in their 8-bit type under every policy but
"strict". TensorRT wants both operands of a product to come out of DequantizeLinear in one type, so what comes out is in
the product's 16-bit type and the scales are cast to it, without loss: the quantizer only makes scales that 16 bits
hold. What goes into QuantizeLinear is float32, so that nothing is rounded twice, and so
is a factor in front of it. Products left in float32 with
dequantized operands would want half as much activation memory again and do not compile for sm75.

Attention pooling is downstream of `tokens`, but its [H, N, T] probabilities grow with the square of the budget: under
"fp16" and "bf16" its products are in 16 bits as well, its softmax and what follows are not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from navit_edge.bundle.manifest import is_inside
from navit_edge.compile import packed_attention
from navit_edge.errors import BackendError, BundleError, import_or_explain

if TYPE_CHECKING:
    import onnx

_SCALAR_FUNCTIONS = ("Pow", "Sqrt", "Reciprocal", "Erf")
#: Sums over many elements, and steep functions of them. What is computed from their results stays in float32 until it
#: meets the data.
_STATISTICS = frozenset(
    ("ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceL1", "ReduceL2", "ReduceLogSumExp", *_SCALAR_FUNCTIONS)
)
_NORMS = ("LayerNormalization", "RMSNormalization", "GroupNormalization", "InstanceNormalization", "LpNormalization")
_ACTIVATIONS = ("Gelu", "Softplus", "Sigmoid", "Tanh", "Exp", "Log", "Sin", "Cos", "Softmax", "LogSoftmax")
#: Computed in float32 wherever they stand.
_FLOAT32_OPS = frozenset((*_STATISTICS, *_NORMS, *_ACTIVATIONS))
_ELEMENTWISE = frozenset(
    ("Add", "Sub", "Mul", "Div", "Neg", "Abs", "Max", "Min", "Clip", "Where", "Cast", *_SCALAR_FUNCTIONS)
)
_PRODUCTS = frozenset(("MatMul", "Gemm"))
_QUANTIZE, _DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
#: Move numbers without changing them; in float32 only between two nodes that are.
_MOVES = frozenset(("Reshape", "Transpose", "Unsqueeze", "Squeeze", "Flatten", "Expand", "Identity"))
#: Choose rows. What they choose for float32 nodes alone stays in float32.
_CHOICES = frozenset(("Gather", "Concat"))


def load(content: bytes, name: str) -> onnx.ModelProto:
    """The graph of a file's content, without its weights, which are in the file beside it; functions inlined.

    Raises BundleError; ``name`` is the file's, for the message.
    """
    import_or_explain("onnx", purpose="building a TensorRT engine", remedy="pip install onnx")
    import onnx
    import onnx.inliner

    try:
        model = onnx.load_model_from_string(content)
        model = onnx.inliner.inline_local_functions(model) if model.functions else model
    except Exception as error:  # protobuf's errors have no common base across versions
        raise BundleError(f"{name} is not an ONNX graph: {error}; export the model again") from error
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location" and ("/" in entry.value or not is_inside(entry.value)):
                raise BundleError(
                    f"{name} takes its weights from {entry.value!r}; expected the name of a file beside it; "
                    "export the model again"
                )
    return model


class Conversion:
    """A graph under a precision policy; see the module.

    model: The float32 graph, with or without Q/DQ, with or without the contents of its external weights.
    precision: "fp32", "fp16" or "bf16"; of a quantized graph, what computes beside the quantized layers.
    float32_products: Whether the target computes matrix products in float32 at all (TensorRT-RTX does not on
        sm75); if not, those of positions, pooling and head are in 16 bits as well.
    strict: With "fp32": no 16 bits anywhere, and attention is not fused.
    fp32_trunk: With "fp16" and "bf16": only attention in 16 bits.

    Its methods raise BundleError if the graph does not follow the contract (no `patches`, no `tokens`), and
    BackendError if it holds control flow, which has no place in it.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        precision: str,
        *,
        float32_products: bool = True,
        strict: bool = False,
        fp32_trunk: bool = False,
    ) -> None:
        self._onnx = import_or_explain("onnx", purpose="building a TensorRT engine", remedy="pip install onnx")
        types = self._onnx.TensorProto
        self._float = int(types.FLOAT)
        self._half = int(types.FLOAT16)
        self._low = int(types.BFLOAT16) if precision == "bf16" else self._half
        self._low_trunk = precision != "fp32" and not fp32_trunk
        self._float32_products = float32_products
        self._strict = strict
        self._model = type(model)()
        self._model.CopyFrom(model)
        self._graph = self._model.graph
        self._nodes = list(self._graph.node)
        self._types, self._flags = self._values_of(self._float), self._values_of(int(types.BOOL))
        self._numbers = self._values_of(int(types.INT32)) | self._values_of(int(types.INT64))
        self._producer = {name: i for i, node in enumerate(self._nodes) for name in node.output if name}
        self._consumers: dict[str, list[int]] = defaultdict(list)
        for i, node in enumerate(self._nodes):
            for name in node.input:
                self._consumers[name].append(i)

    def convert(self) -> onnx.ModelProto:
        """The graph with the casts of the policy."""
        self._rewrite(self._low_nodes())
        return self._model

    def precision_map(self) -> dict[str, tuple[str, str]]:
        """Node that computes with floats -> (its operator, the precision it is given), in graph order.

        A product of quantized operands is "int8" or "fp8"; Q/DQ themselves are not listed.
        """
        types = self._low_nodes()
        names = {self._float: "fp32", self._half: "fp16", int(self._onnx.TensorProto.BFLOAT16): "bf16"}
        quantized = self._quantized_products()
        return {
            node.name or f"{node.op_type}_{index}": (
                node.op_type,
                quantized.get(index, names[types.get(index, self._float)]),
            )
            for index, node in enumerate(self._nodes)
            if self._is_float_node(index) and node.op_type not in (_QUANTIZE, _DEQUANTIZE)
        }

    def trunk_products(self) -> list[int]:
        """Indices of the graph's nodes that are matrix products of the trunk, that of the pixels left out."""
        pixels = self._patch_product()
        return [i for i in sorted(self._trunk()) if self._nodes[i].op_type in _PRODUCTS and i not in pixels]

    def _low_nodes(self) -> dict[int, int]:
        """Node -> the 16-bit type that it computes in."""
        kinds = self._onnx.AttributeProto
        for node in self._nodes:
            if any(attribute.type in (kinds.GRAPH, kinds.GRAPHS) for attribute in node.attribute):
                raise BackendError(f"node {node.name!r} ({node.op_type}) is control flow; expected a graph without")
        trunk = self._trunk()
        if self._strict:
            return {}
        low = self._attention_products()
        islands = self._float32_islands()
        if self._low_trunk:
            low |= trunk - islands
        else:
            low &= trunk
        if not self._float32_products:
            low |= {i for i, node in enumerate(self._nodes) if node.op_type in _PRODUCTS and self._is_float_node(i)}
        low -= {i for i, node in enumerate(self._nodes) if node.op_type == _QUANTIZE}
        types = dict.fromkeys(low, self._low)
        if self._low_trunk:
            types |= dict.fromkeys(self._patch_product() - islands, self._half)
        for index, node in enumerate(self._nodes):
            if node.op_type == _DEQUANTIZE:
                # In the type of the products that read it; the weights' lie outside the trunk.
                types.pop(index, None)
                readers = {types[reader] for reader in self._consumers[node.output[0]] if reader in types}
                if len(readers) == 1:
                    types[index] = readers.pop()
        return types

    def _quantized_products(self) -> dict[int, str]:
        """Products both of whose operands are dequantized -> "int8" or "fp8"."""
        zeros = {tensor.name: tensor.data_type for tensor in self._graph.initializer}
        names = {int(self._onnx.TensorProto.INT8): "int8", int(self._onnx.TensorProto.FLOAT8E4M3FN): "fp8"}
        found: dict[int, str] = {}
        for index, node in enumerate(self._nodes):
            sources = [self._producer.get(name) for name in node.input[:2]]
            if node.op_type in _PRODUCTS and all(
                source is not None and self._nodes[source].op_type == _DEQUANTIZE for source in sources
            ):
                operand = self._nodes[sources[1] or 0]
                found[index] = names.get(zeros.get(operand.input[2], 0) if len(operand.input) > 2 else 0, "quantized")
        return found

    # --- what there is

    def _values_of(self, kind: int) -> set[str]:
        """Names of all values of an element type, the weights included."""
        inferred = self._onnx.shape_inference.infer_shapes(self._model, strict_mode=False, data_prop=False).graph
        names = {tensor.name for tensor in inferred.initializer if tensor.data_type == kind}
        for value in (*inferred.input, *inferred.output, *inferred.value_info):
            if value.type.tensor_type.elem_type == kind:
                names.add(value.name)
        return names

    def _is_float_node(self, index: int) -> bool:
        """Whether float32 comes out of it, or goes in (a comparison of floats)."""
        node = self._nodes[index]
        return any(name in self._types for name in (*node.input, *node.output))

    def _downstream(self, start: Iterable[str]) -> set[int]:
        return self._reach(start, lambda name: self._consumers.get(name, []), lambda node: node.output)

    def _upstream(self, start: Iterable[str]) -> set[int]:
        """By floats, quantized ones too: what they were compared for, to number rows, does not count."""
        return self._reach(
            start,
            lambda name: [self._producer[name]] if name in self._producer else [],
            lambda node: (name for name in node.input if name not in self._flags and name not in self._numbers),
        )

    def _reach(
        self,
        start: Iterable[str],
        nodes_of: Callable[[str], list[int]],
        values_of: Callable[[onnx.NodeProto], Iterable[str]],
    ) -> set[int]:
        reached: set[int] = set()
        queue = list(start)
        while queue:
            for index in nodes_of(queue.pop()):
                if index not in reached:
                    reached.add(index)
                    queue.extend(values_of(self._nodes[index]))
        return reached

    def _trunk(self) -> set[int]:
        """Float nodes between `patches` and `tokens`, but for those that only decide which tokens merge."""
        inputs = [value.name for value in self._graph.input]
        if "patches" not in inputs or "tokens" not in self._producer:
            raise BundleError(
                f"graph {self._graph.name!r} has the inputs {', '.join(inputs)} and "
                f"{'a' if 'tokens' in self._producer else 'no'} value named tokens; expected the input patches and the "
                "value tokens of the graph contract; export the model again"
            )
        between = self._downstream(["patches"]) & self._upstream(["tokens"])
        return {index for index in between if self._is_float_node(index)}

    # --- which node is what

    def _patch_product(self) -> set[int]:
        """From `patches` to the first product, that included."""
        found: set[int] = set()
        queue = list(self._consumers["patches"])
        while queue:
            index = queue.pop()
            if index not in found and self._is_float_node(index):
                found.add(index)
                if self._nodes[index].op_type not in _PRODUCTS:
                    queue.extend(reader for name in self._nodes[index].output for reader in self._consumers[name])
        return found

    def _attention_products(self) -> set[int]:
        """The nodes of attention that are in 16 bits under every policy: scores, and probabilities times values.

        Found from each Softmax: upwards to the product whose result it normalizes, downwards to the product that it
        weights. Moves in between go along. A packed attention is all of it in one node.
        """
        found: set[int] = set()
        for index, node in enumerate(self._nodes):
            if node.op_type == packed_attention.OPERATOR:
                found.add(index)
            elif node.op_type == "Softmax":
                above = self._products_above(node.input[0])
                below = self._products_below(node.output[0])
                if above and below:
                    found |= above | below
        return found

    def _products_above(self, name: str) -> set[int]:
        index = self._producer.get(name)
        if index is None or name not in self._types:
            return set()
        kind = self._nodes[index].op_type
        if kind in _PRODUCTS:
            return {index}
        if kind in _ELEMENTWISE or kind in _MOVES:
            return set().union(*(self._products_above(value) for value in self._nodes[index].input))
        return set()

    def _products_below(self, name: str) -> set[int]:
        found: set[int] = set()
        for index in self._consumers.get(name, []):
            kind = self._nodes[index].op_type
            if kind in _PRODUCTS:
                found.add(index)
            elif kind in _ELEMENTWISE or kind in _MOVES:
                found |= self._products_below(self._nodes[index].output[0])
        return found

    def _float32_islands(self) -> set[int]:
        """Nodes of the trunk that stay in float32."""
        high = {index for index, node in enumerate(self._nodes) if node.op_type in _FLOAT32_OPS}
        high |= {index for index, node in enumerate(self._nodes) if self._sums_rows(node)}
        statistics = {self._nodes[i].output[0] for i in high if self._nodes[i].op_type in _STATISTICS}
        for index, node in enumerate(self._nodes):  # forwards, in topological order
            floats = [name for name in node.input if name in self._types and name in self._producer]
            touched = [name for name in floats if name in statistics]
            if touched and node.op_type in _ELEMENTWISE | _MOVES:
                high.add(index)
                if len(touched) == len(floats):
                    statistics.add(node.output[0])
        for index in reversed(range(len(self._nodes))):  # backwards: what only float32 nodes read
            node = self._nodes[index]
            if node.op_type in _ELEMENTWISE | _MOVES | _CHOICES and index not in high:
                readers = [reader for name in node.output for reader in self._consumers.get(name, [])]
                rounded = node.op_type == "Mul" and all(self._nodes[i].op_type == _QUANTIZE for i in readers)
                if readers and (rounded or all(reader in high for reader in readers)):
                    high.add(index)
        return high

    def _sums_rows(self, node: onnx.NodeProto) -> bool:
        """Whether it is a product with a table of zeros and ones: sums, as those of merged tokens."""
        if node.op_type not in _PRODUCTS or node.input[0] not in self._producer:
            return False
        table = self._nodes[self._producer[node.input[0]]]
        return table.op_type == "Cast" and table.input[0] in self._flags

    # --- casts

    def _rewrite(self, types: dict[int, int]) -> None:
        """Gives every float edge the type of its reader, by Casts if the writer's differs.

        types: Node -> type that it computes in, if that is not float32.
        """
        written = {name: t for index, t in types.items() for name in self._nodes[index].output if name in self._types}
        outputs = {value.name for value in self._graph.output}
        renamed = {name: f"{name}__inner" for name in written if name in outputs}
        casts: dict[tuple[str, int], str] = {}
        rewritten: list[onnx.NodeProto] = []

        def cast(name: str, result: str, wanted: int) -> None:
            node = self._onnx.helper.make_node("Cast", [name], [result], name=f"cast_to_{result}", to=wanted)
            rewritten.append(node)

        def as_type(name: str, wanted: int) -> str:
            stands = renamed.get(name, name)
            if name not in self._types or written.get(name, self._float) == wanted:
                return stands
            if (name, wanted) not in casts:
                casts[name, wanted] = f"{name}__{self._onnx.TensorProto.DataType.Name(wanted).lower()}"
                cast(stands, casts[name, wanted], wanted)
            return casts[name, wanted]

        for index, node in enumerate(self._nodes):
            wanted = types.get(index, self._float)
            node.input[:] = [as_type(name, wanted) if name else name for name in node.input]
            if index in types:
                self._retarget(node, wanted)
            results = [name for name in node.output if name in renamed]
            node.output[:] = [renamed.get(name, name) for name in node.output]
            rewritten.append(node)
            for name in results:
                cast(renamed[name], name, self._float)
        del self._graph.node[:]
        self._graph.node.extend(rewritten)
        del self._graph.value_info[:]  # the exporter's float32 types; the reader infers them again

    def _retarget(self, node: onnx.NodeProto, wanted: int) -> None:
        """Changes the result type that a 16-bit node names itself."""
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == self._float:
                attribute.i = wanted
            elif attribute.name == "value" and attribute.t.data_type == self._float:
                raise BackendError(f"node {node.name!r} ({node.op_type}) depends on pixels; expected a constant")
