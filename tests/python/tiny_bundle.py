"""A small vision transformer written out in ONNX by hand, in every lowering, and published as a bundle.

It follows the graph contract without torch, so that tests of building and of the CLI need no exporter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from navit_edge.bundle import publish
from navit_edge.bundle.manifest import SCHEMA_VERSION, Graph, Manifest, Model, Preprocess, Sizing, TensorSpec
from navit_edge.compile import BuildRequest, build_engines, packed_attention

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class TinyConfig:
    width: int = 64
    depth: int = 2
    heads: int = 4
    patch_px: int = 4
    classes: int = 5
    seed: int = 0
    outputs: tuple[str, ...] = ("logits", "embedding", "tokens")
    head_bias: tuple[float, ...] = ()  # added to the classes' logits, so that more than one of them wins


class _Writer:
    """Appends nodes; every method returns the name of what it made."""

    def __init__(self, config: TinyConfig) -> None:
        self.config = config
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.shapes: list[onnx.ValueInfoProto] = []

    def op(self, kind: str, *inputs: str, name: str = "", **attributes: object) -> str:
        output = name or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=f"node_{output}", **attributes))
        return output

    def const(self, value: object, dtype: type = np.int64) -> str:
        name = f"const_{len(self.initializers)}"
        self.initializers[name] = numpy_helper.from_array(np.asarray(value, dtype), name)
        return name

    def weight(self, name: str, *shape: int, scale: float = 0.0, mean: float = 0.0) -> str:
        seed = [self.config.seed, *name.encode()]
        scale = scale or shape[0] ** -0.5
        value = np.random.default_rng(seed).normal(mean, scale, shape).astype(np.float32)
        self.initializers[name] = numpy_helper.from_array(value, name)
        return name

    def packed_attention(self, q: str, k: str, v: str, query_lengths: str, kv_lengths: str) -> str:
        output = f"attention_{len(self.nodes)}"
        node = packed_attention.make_node(q, k, v, query_lengths, kv_lengths, output, name=f"node_{output}")
        self.nodes.append(node)
        heads = self.config.heads
        shape = ["T", heads, self.config.width // heads]
        self.shapes.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, shape))  # ONNX cannot infer it
        return output

    def linear(self, x: str, name: str, fan_in: int, fan_out: int) -> str:
        product = self.op("MatMul", x, self.weight(f"{name}.weight", fan_in, fan_out))
        return self.op("Add", product, self.weight(f"{name}.bias", fan_out, scale=0.02))

    def norm(self, x: str, name: str, output: str = "") -> str:
        width = self.config.width
        gain = self.weight(f"{name}.weight", width, scale=0.1, mean=1.0)
        bias = self.weight(f"{name}.bias", width, scale=0.02)
        return self.op("LayerNormalization", x, gain, bias, name=output, axis=-1, epsilon=1e-6)


def make_graph(config: TinyConfig, lowering: str) -> onnx.ModelProto:
    """The graph of one lowering, "masked", "padded" or "packed", weights inside."""
    c, w = config, _Writer(config)
    d_head, f = c.width // c.heads, c.patch_px * c.patch_px * 3
    one = w.const([1])

    # Where each token lies in its own image, in float32: position -> D.
    images = w.op("Gather", w.op("Shape", "grid_hw"), w.const([0]))  # [1]
    last = w.op("Cast", w.op("Sub", images, one), to=TensorProto.INT32)
    owner = w.op("Min", "segment_ids", last)
    side = w.op("Cast", w.op("Gather", "grid_hw", owner), to=TensorProto.FLOAT)
    row_col = w.op("Cast", "positions", to=TensorProto.FLOAT)
    fraction = w.op("Div", w.op("Add", row_col, w.const(0.5, np.float32)), side)
    place = w.op("Sin", w.linear(fraction, "position", 2, c.width))

    pixels = w.op("Mul", w.op("Cast", "patches", to=TensorProto.FLOAT), w.const(1 / 127.5, np.float32))
    x = w.op("Add", w.linear(pixels, "embed", f, c.width), place)

    if lowering == "masked":
        rows = w.op("Unsqueeze", "segment_ids", w.const([1]))
        columns = w.op("Unsqueeze", "segment_ids", w.const([0]))
        same = w.op("Equal", rows, columns)
        bias = w.op("Where", same, w.const(0, np.float32), w.const(-np.inf, np.float32))
    elif lowering == "packed":
        rows = w.op("Cast", w.op("Shape", "segment_ids"), to=TensorProto.INT32)
        lengths = [w.op("Concat", "cu_seqlens", rows, axis=0) for _ in range(2)]  # padding rows are one more sequence
    else:
        filled = w.op("GreaterOrEqual", "attention_index", w.const(0, np.int32))
        index = w.op("Max", "attention_index", w.const(0, np.int32))
        bias = w.op("Where", filled, w.const(0, np.float32), w.const(-np.inf, np.float32))
        bias = w.op("Unsqueeze", bias, w.const([1, 2]))  # [N, 1, 1, L]

    for layer in range(c.depth):
        name = f"layers.{layer}"
        h = w.norm(x, f"{name}.norm1")
        parts = []
        for part in ("q", "k", "v"):
            p = w.linear(h, f"{name}.{part}", c.width, c.width)
            if lowering == "padded":
                p = w.op("Gather", p, index)  # [N, L, D]
                p = w.op("Reshape", p, w.const([0, 0, c.heads, d_head]))
                parts.append(w.op("Transpose", p, perm=[0, 2, 1, 3]))
            else:
                p = w.op("Reshape", p, w.const([-1, c.heads, d_head]))
                parts.append(p if lowering == "packed" else w.op("Transpose", p, perm=[1, 0, 2]))
        q, k, v = parts
        q = w.op("Mul", q, w.const(d_head**-0.5, np.float32))
        if lowering == "packed":
            y = w.packed_attention(q, k, v, *lengths)
        else:
            k = w.op("Transpose", k, perm=[0, 2, 1] if lowering == "masked" else [0, 1, 3, 2])
            scores = w.op("Add", w.op("MatMul", q, k), bias)
            y = w.op("MatMul", w.op("Softmax", scores, axis=-1), v)
            y = w.op("Transpose", y, perm=[1, 0, 2] if lowering == "masked" else [0, 2, 1, 3])
        y = w.op("Reshape", y, w.const([-1, c.width]))
        if lowering == "padded":
            y = w.op("Gather", y, "token_index")
        x = w.op("Add", x, w.linear(y, f"{name}.out", c.width, c.width))
        h = w.norm(x, f"{name}.norm2")
        h = w.linear(h, f"{name}.up", c.width, 4 * c.width)
        h = w.op("Gelu", h)
        x = w.op("Add", x, w.linear(h, f"{name}.down", 4 * c.width, c.width))

    tokens = w.norm(x, "norm", output="tokens")
    ids = w.op("Cast", w.op("Range", w.const(0), w.op("Squeeze", images), w.const(1)), to=TensorProto.INT32)
    member = w.op("Equal", w.op("Unsqueeze", ids, w.const([1])), w.op("Unsqueeze", "segment_ids", w.const([0])))
    member = w.op("Cast", member, to=TensorProto.FLOAT)  # [N, T]
    count = w.op("Max", w.op("ReduceSum", member, w.const([1]), keepdims=1), w.const(1, np.float32))
    w.op("Div", w.op("MatMul", member, tokens), count, name="embedding")
    product = w.op("MatMul", "embedding", w.weight("head.weight", c.width, c.classes))
    bias = w.weight("head.bias", c.classes, scale=0.02)
    if c.head_bias:
        bias = w.op("Add", bias, w.const(c.head_bias, np.float32))
    w.op("Add", product, bias, name="logits")

    u8, i32, f32 = TensorProto.UINT8, TensorProto.INT32, TensorProto.FLOAT
    inputs = [("patches", u8, ["T", f]), ("positions", i32, ["T", 2]), ("segment_ids", i32, ["T"]),
              ("grid_hw", i32, ["N", 2])]  # fmt: skip
    if lowering == "padded":
        inputs += [("attention_index", i32, ["N", "L"]), ("token_index", i32, ["T"])]
    elif lowering == "packed":
        inputs += [("cu_seqlens", i32, ["N+1"])]
    outputs = [("logits", f32, ["N", c.classes]), ("embedding", f32, ["N", c.width]), ("tokens", f32, ["T", c.width])]
    graph = helper.make_graph(
        w.nodes,
        lowering,
        [helper.make_tensor_value_info(*item) for item in inputs],
        [helper.make_tensor_value_info(*item) for item in outputs if item[0] in c.outputs],
        list(w.initializers.values()),
        value_info=w.shapes,
    )
    opsets = [helper.make_opsetid("", 20)]
    if lowering == "packed":
        opsets.append(helper.make_opsetid(packed_attention.DOMAIN, packed_attention.DOMAIN_VERSION))
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


def make_bundle(
    path: Path, config: TinyConfig | None = None, *, lowerings: Sequence[str] = ("masked", "padded")
) -> Path:
    """Publishes the model as a bundle without engines, one weights file for all graphs."""
    config = config or TinyConfig()
    with publish.staged_bundle(path) as staging:
        (staging / "graphs").mkdir()
        offsets: dict[str, tuple[int, int]] = {}
        graphs = []
        with (staging / "graphs" / "weights.bin").open("wb") as weights:
            for lowering in lowerings:
                model = make_graph(config, lowering)
                graphs.append(_describe(model, lowering))
                for tensor in model.graph.initializer:
                    if tensor.name.startswith("const_"):
                        continue
                    if tensor.name not in offsets:
                        offsets[tensor.name] = (weights.tell(), len(tensor.raw_data))
                        weights.write(tensor.raw_data)
                    offset, length = offsets[tensor.name]
                    tensor.ClearField("raw_data")
                    tensor.data_location = TensorProto.EXTERNAL
                    for key, value in (("location", "weights.bin"), ("offset", offset), ("length", length)):
                        tensor.external_data.add(key=key, value=str(value))
                onnx.save(model, staging / "graphs" / f"{lowering}.onnx")
        publish.seal(
            staging,
            Manifest(
                schema_version=SCHEMA_VERSION,
                name=path.stem,
                created_by={"tests": "1"},
                model=Model(
                    family="navit",
                    width=config.width,
                    depth=config.depth,
                    heads=config.heads,
                    prefix_tokens=0,
                    parameters=sum(length for _, length in offsets.values()) // 4,
                ),
                preprocess=Preprocess(
                    sizing=Sizing(rule="token-cap", max_tokens=256),
                    filter="bilinear",
                    patch_px=config.patch_px,
                    channels=3,
                    mean=(0.5, 0.5, 0.5),
                    std=(0.5, 0.5, 0.5),
                ),
                graphs=tuple(graphs),
                labels=tuple(f"class {i}" for i in range(config.classes)),
            ),
        )
    return path


def make_job_bundle(folder: Path) -> None:
    """The folder "job" of ``made_once``: tiny.navit, of one layer, with an OpenVINO engine in float32."""
    bundle = make_bundle(folder / "tiny.navit", TinyConfig(depth=1))
    request = BuildRequest(backend="openvino", precision=("fp32",), token_budgets=(1024,), max_images=(16,))
    build_engines(bundle, request)


def _describe(model: onnx.ModelProto, lowering: str) -> Graph:
    names = {TensorProto.UINT8: "uint8", TensorProto.INT32: "int32", TensorProto.FLOAT: "float32"}

    def spec(value: onnx.ValueInfoProto) -> TensorSpec:
        tensor = value.type.tensor_type
        shape = tuple(d.dim_param or d.dim_value for d in tensor.shape.dim)
        return TensorSpec(name=value.name, dtype=names[tensor.elem_type], shape=shape)

    return Graph(
        id=lowering,
        lowering=lowering,
        file=f"graphs/{lowering}.onnx",
        opset=model.opset_import[0].version,
        inputs=tuple(spec(value) for value in model.graph.input),
        outputs=tuple(spec(value) for value in model.graph.output),
    )


def pack_inputs(
    grids: list[tuple[int, int]],
    *,
    f: int = 48,
    tokens: int | None = None,
    images: int | None = None,
    padded: bool = False,
    packed: bool = False,
    seed: int = 0,
) -> dict[str, npt.NDArray[np.generic]]:
    """Graph inputs for images of ``grids`` (rows, cols) with random pixels; T and N padded where given."""
    n = images or len(grids)
    used = sum(r * c for r, c in grids)
    t = tokens or used
    rng = np.random.default_rng(seed)
    patches = np.zeros((t, f), np.uint8)
    patches[:used] = rng.integers(0, 256, (used, f), np.uint8)
    positions = np.zeros((t, 2), np.int32)
    positions[:used] = np.concatenate([np.argwhere(np.ones(grid)) for grid in grids])
    segment_ids = np.full(t, n, np.int32)
    segment_ids[:used] = np.repeat(np.arange(len(grids)), [r * c for r, c in grids])
    grid_hw = np.ones((n, 2), np.int32)
    grid_hw[: len(grids)] = grids
    inputs: dict[str, npt.NDArray[np.generic]] = {
        "patches": patches,
        "positions": positions,
        "segment_ids": segment_ids,
        "grid_hw": grid_hw,
    }
    if packed:
        lengths = [r * c for r, c in grids] + [0] * (n - len(grids))
        inputs["cu_seqlens"] = np.cumsum([0, *lengths]).astype(np.int32)
    if padded:
        longest = max(r * c for r, c in grids)
        index = np.full((n, longest), -1, np.int32)
        token_index = np.zeros(t, np.int32)
        start = 0
        for i, (rows, cols) in enumerate(grids):
            length = rows * cols
            index[i, :length] = np.arange(start, start + length)
            token_index[start : start + length] = i * longest + np.arange(length)
            start += length
        inputs |= {"attention_index": index, "token_index": token_index}
    return inputs
