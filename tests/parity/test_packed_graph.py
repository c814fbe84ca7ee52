"""The packed graph, its TensorRT operator given the documented meaning (packed_definition.py), gives what PyTorch gives
for each image alone; and TensorRT-RTX reads the graph as it is, and refuses it for want of a kernel, nothing else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from covering import OUTPUTS, Exported, Outputs, covering_configs
from onnx import TensorProto, helper
from onnx_sessions import open_graph
from packed_definition import with_definition
from torch.nn import functional

from navit_edge.bundle import manifest as manifests
from navit_edge.compile import lowering, packed_attention, precision
from navit_edge_export.model import NaViT
from navit_edge_export.onnx_export import export_bundle
from navit_edge_export.preprocess import Pack, pack

TOLERANCE = 2e-5  # max abs, float32
TOLERANCE_FP16 = 5e-3  # of outputs whose deviation is about 1

Images = list[npt.NDArray[np.uint8]]
Cut = Callable[[Outputs, Pack, int], Outputs]

#: Every pooling, every kind of positions, every query-key norm.
COVERED = (
    "map-learned-fractional-sum-layer",
    "mean-fourier-sum-off",
    "cls-sinusoidal-sum-layer",
    "multi-learned-absolute-sum-off",
)


@pytest.fixture(scope="module", params=COVERED)
def packed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """One model of the covering set: its packed graph as exported, and as converted to fp16."""
    model = NaViT(covering_configs()[request.param], seed=3).eval()
    bundle = tmp_path_factory.mktemp("packed") / "model.navit"
    export_bundle(model, bundle, outputs=OUTPUTS, lowerings=("packed",))
    graph = onnx.load(bundle / "graphs" / "packed.onnx")
    sessions = {
        "fp32": open_graph(with_definition(graph)),
        "fp16": open_graph(with_definition(precision.Conversion(graph, "fp16").convert())),
    }
    return Exported(model=model, bundle=bundle, sessions=sessions)


def packed_for(exported: Exported, images: Images, **padding: int) -> Pack:
    config = exported.model.config
    return pack(images, patch_px=config.patch_px, prefix_tokens=config.prefix_tokens, **padding)


def largest_difference(found: Outputs, expected: Outputs) -> float:
    assert found.keys() == expected.keys()
    return max(float(np.abs(found[name] - expected[name]).max()) for name in found)


def test_the_definition_is_attention_within_each_sequence_and_poison_elsewhere() -> None:
    """Judged by PyTorch; one sequence is empty, and the last two rows belong to none."""
    tokens, heads, width = 11, 3, 8
    lengths = np.array([0, 4, 4, 9], np.int32)
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [tokens, heads, width]) for name in "qkv"]
    values += [helper.make_tensor_value_info(name, TensorProto.INT32, [4]) for name in ("a", "b")]
    node = packed_attention.make_node("q", "k", "v", "a", "b", "y", name="attention")
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [tokens, heads, width])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(packed_attention.DOMAIN, 1)]
    model = helper.make_model(
        helper.make_graph([node], "attention", values, [output]), opset_imports=opsets, ir_version=9
    )
    q, k, v = (torch.randn(tokens, heads, width, generator=torch.Generator().manual_seed(s)) for s in range(3))
    inputs = {"q": q.numpy(), "k": k.numpy(), "v": v.numpy(), "a": lengths, "b": lengths}
    (found,) = open_graph(with_definition(model)).run(None, inputs)
    for start, end in ((0, 4), (4, 9)):
        one = (x[start:end].transpose(0, 1) for x in (q, k, v))
        expected = functional.scaled_dot_product_attention(*one, scale=1.0).transpose(0, 1)
        np.testing.assert_allclose(found[start:end], expected, atol=1e-6)
    assert np.isnan(found[9:]).all()


@pytest.mark.parametrize("kind", ["fp32", "fp16"])
def test_alone_together_permuted_and_padded_are_what_pytorch_gives_alone(
    packed: Exported, kind: str, sized_photographs: Images, per_image: Cut
) -> None:
    tolerance = TOLERANCE if kind == "fp32" else TOLERANCE_FP16
    expected = [packed.alone(image) for image in sized_photographs]
    order = [int(n) for n in np.random.default_rng(5).permutation(len(sized_photographs))]
    cases: list[tuple[list[int], dict[str, int]]] = [([n], {}) for n in range(len(sized_photographs))]
    cases += [(sorted(order), {}), (order, {}), (order, {"padding_tokens": 37, "padding_images": 3})]
    cases += [(order[:2], {"padding_images": 2}), (order[:3], {"padding_tokens": 1})]
    for chosen, padding in cases:
        inputs = packed_for(packed, [sized_photographs[n] for n in chosen], **padding)
        found = packed.run(kind, inputs)
        assert all(np.isfinite(value).all() for value in found.values()), "padding rows and empty images are finite"
        for place, n in enumerate(chosen):
            assert largest_difference(per_image(found, inputs, place), expected[n]) <= tolerance, (chosen, padding, n)


@pytest.mark.parametrize("kind", ["fp32", "fp16"])
def test_changing_one_image_leaves_every_other_bit_equal(
    packed: Exported, kind: str, sized_photographs: Images, per_image: Cut
) -> None:
    changed = 2
    inverted = [255 - image if n == changed else image for n, image in enumerate(sized_photographs)]
    inputs = packed_for(packed, sized_photographs, padding_tokens=5)
    before = packed.run(kind, inputs)
    after = packed.run(kind, packed_for(packed, inverted, padding_tokens=5))
    for n in range(len(sized_photographs)):
        one, other = per_image(before, inputs, n), per_image(after, inputs, n)
        for name in one:
            assert np.array_equal(one[name], other[name]) == (n != changed), (n, name)


def test_padding_rows_in_no_sequence_would_spoil_every_image(packed: Exported, sized_photographs: Images) -> None:
    """Why the graph makes the padding one more sequence: 0 times NaN in pooling. The same graph without it."""
    graph = onnx.load(packed.bundle / "graphs" / "packed.onnx")
    for node in graph.graph.node:
        if node.op_type == packed_attention.OPERATOR:
            node.input[4] = node.input[5] = "cu_seqlens"
    session = open_graph(with_definition(graph))
    inputs = packed_for(packed, sized_photographs[:2], padding_tokens=3).inputs()
    spoilt = session.run(["embedding"], {spec.name: inputs[spec.name] for spec in session.get_inputs()})[0]
    assert np.isnan(spoilt).all()


def test_the_graph_holds_one_operator_a_block_with_lengths_of_its_own_for_keys(packed: Exported) -> None:
    graph = next(g for g in manifests.load(packed.bundle).graphs if g.lowering == "packed")
    assert [spec.name for spec in graph.inputs][-1] == "cu_seqlens"
    assert {"patches", "segment_ids", "grid_hw"} <= {spec.name for spec in graph.inputs}
    assert (graph.inputs[-1].dtype, graph.inputs[-1].shape) == ("int32", ("N+1",))
    path = packed.bundle / graph.file
    onnx.checker.check_model(path, full_check=True)
    model = onnx.load(path, load_external_data=False)
    assert {entry.domain for entry in model.opset_import} == {"", packed_attention.DOMAIN}
    assert not model.functions
    nodes = [node for node in model.graph.node if node.op_type == packed_attention.OPERATOR]
    assert len(nodes) == packed.model.config.depth
    producers = {name: node for node in model.graph.node for name in node.output}
    for node in nodes:
        assert {a.name: a.s.decode() for a in node.attribute} == packed_attention.ATTRIBUTES
        assert node.input[3] == "", "packed queries take no mask"
        of_queries, of_keys = (producers[node.input[i]] for i in (4, 5))
        assert of_queries.output[0] != of_keys.output[0]
        assert list(of_queries.input) == list(of_keys.input)
        assert (of_queries.op_type, of_queries.input[0]) == ("Concat", "cu_seqlens")
    softmaxes = [node for node in model.graph.node if node.op_type == "Softmax"]
    assert len(softmaxes) == (packed.model.config.pooling in ("map", "multi")), "only pooling writes out its softmax"
    known = {v.name for v in [*model.graph.value_info, *model.graph.output] if v.type.tensor_type.HasField("shape")}
    assert known >= {name for node in model.graph.node for name in node.output}


BUILD = """
import sys
import tensorrt_rtx as trt
said = []
class Logger(trt.ILogger):
    def log(self, severity, message):
        if severity <= trt.ILogger.ERROR:
            said.append(message)
logger = Logger()
builder = trt.Builder(logger)
network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
parser = trt.OnnxParser(network, logger)
if not parser.parse(open(sys.argv[1], "rb").read(), sys.argv[1]):
    sys.exit("not parsed: " + "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors)))
config = builder.create_builder_config()
config.num_compute_capabilities = 1
config.set_compute_capability(trt.ComputeCapability.SM89, 0)
profile = builder.create_optimization_profile()
extents = {"patches": (64, 768), "positions": (64, 2), "segment_ids": (64,), "grid_hw": (4, 2), "cu_seqlens": (5,)}
for i in range(network.num_inputs):
    shape = extents[network.get_input(i).name]
    profile.set_shape(network.get_input(i).name, shape, shape, shape)
config.add_optimization_profile(profile)
if builder.build_serialized_network(network, config) is not None:
    sys.exit("built")
print(said[-1])
"""


@pytest.mark.parametrize("kind", ["fp16", "bf16", "fp32"])
def test_tensorrt_rtx_parses_the_whole_graph_and_lacks_nothing_but_the_kernel(
    packed: Exported, kind: str, tmp_path: Path
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX has packages for x86-64 only")
    path = packed.bundle / "graphs" / "packed.onnx"
    converted = tmp_path / "packed.onnx"
    converted.write_bytes(
        precision.Conversion(precision.load(path.read_bytes(), path.name), kind).convert().SerializeToString()
    )
    (tmp_path / "weights.bin").write_bytes((path.parent / "weights.bin").read_bytes())
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(converted)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert lowering.is_refusal(done.stdout), done.stdout
