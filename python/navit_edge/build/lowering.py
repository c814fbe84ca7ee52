"""Which lowering of attention an engine is built from, and why.

``packed`` needs a packed graph in the bundle and TensorRT's kernel for it on every target. The kernel is looked for by
building one attention operation in a process of its own, since a build that fails leaves the library in a bad state:
``python -m navit_edge.build.lowering MODULE TARGET…``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from navit_edge.build.common import find_graph, worker_environment
from navit_edge.errors import BackendError
from navit_edge.manifest import Graph, Manifest

LOWERINGS = ("auto", "masked", "padded", "packed")
_PROBE_SECONDS = 120
_REFUSAL = "no fused"  # of "no fused (packed attention) kernel is available"

KernelProbe = Callable[[], str]  # "" where the kernel is there, else why not


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    graph: Graph
    reason: str


def choose(
    manifest: Manifest, wanted: str, *, backend: str, probe: KernelProbe, quantization: str = "none"
) -> Choice:
    """The graph that a TensorRT engine is built from.

    Raises:
        BackendError: "packed" was asked for, and the library has no kernel for it or the bundle no graph.
        BundleError: The bundle lacks the graph, or has none of that ``quantization`` ("none", "int8", "fp8").
    """
    packed = next((g for g in manifest.graphs if g.lowering == "packed" and g.quantization == quantization), None)
    if wanted == "masked":
        return Choice(graph=find_graph(manifest, "masked", quantization), reason="asked for")
    if wanted == "packed":
        refusal = probe()
        if refusal:
            raise BackendError(f"lowering packed for {backend}: {refusal}; build with --lowering masked")
        if packed is None:
            raise BackendError(
                f"lowering packed for {backend}: the library has the kernel, but the bundle has no packed graph and "
                "export makes none; build with --lowering masked"
            )
        return Choice(graph=packed, reason="asked for")
    if packed is None:
        reason = "auto: the bundle has no packed graph"
    else:
        refusal = probe()
        if not refusal:
            return Choice(graph=packed, reason="auto: the library has a kernel for packed attention")
        reason = f"auto: {refusal}"
    return Choice(graph=find_graph(manifest, "masked", quantization), reason=reason)


def packed_kernel(module: str, targets: Sequence[str] = ()) -> str:
    """Why ``module`` ("tensorrt_rtx") has no kernel for packed attention on ``targets``; "" where it has."""
    command = [sys.executable, "-m", "navit_edge.build.lowering", module, *targets]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_PROBE_SECONDS, env=worker_environment()
        )
        answer = json.loads(done.stdout.strip().splitlines()[-1])
    except subprocess.TimeoutExpired:
        return f"{module} gave no answer within {_PROBE_SECONDS} s when asked for its packed attention kernel"
    except (IndexError, ValueError):
        return f"{module} could not be asked for its packed attention kernel (the process ended with {done.returncode})"
    return str(answer["refusal"])


def _probe(module: str, targets: Sequence[str]) -> str:
    """Builds one packed attention of 4 heads of 64 over 256 tokens and 8 images; "" where that works."""
    import importlib

    from onnx import TensorProto, helper

    trt: Any = importlib.import_module(module)
    half, int32 = TensorProto.FLOAT16, TensorProto.INT32
    tokens, images, heads, width = 256, 8, 4, 64
    values = [helper.make_tensor_value_info(name, half, [tokens, heads, width]) for name in "qkv"]
    lengths = [helper.make_tensor_value_info(name, int32, [images + 1]) for name in ("query_lengths", "kv_lengths")]
    node = helper.make_node(
        "TRT_Attention",
        ["q", "k", "v", "", "query_lengths", "kv_lengths"],  # no mask
        ["y"],
        name="packed_attention",
        query_form="packed_nhd",
        kv_form="packed_nhd",
        causal_kind="none",
        TRT_normalization_op="softmax",
    )
    output = helper.make_tensor_value_info("y", half, [tokens, heads, width])
    graph = helper.make_graph([node], "packed", [*values, *lengths], [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)

    said: list[str] = []

    class Logger(trt.ILogger):  # type: ignore[misc]
        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.ERROR:
                said.append(message)

    logger = Logger()
    builder = trt.Builder(logger)
    typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = trt.OnnxParser(network, logger)
    name = f"{module} {trt.__version__}"
    if not parser.parse(model.SerializeToString()):
        return f"{name} does not know the operation TRT_Attention"
    config = builder.create_builder_config()
    if targets:
        config.num_compute_capabilities = len(targets)
        for index, target in enumerate(targets):
            config.set_compute_capability(getattr(trt.ComputeCapability, target.upper()), index)
    if builder.build_serialized_network(network, config) is not None:
        return ""
    if any(_REFUSAL in message for message in said):
        return f"{name} has no packed attention kernel for {'+'.join(targets) or 'this GPU'}"
    return f"{name} cannot build packed attention: {said[-1] if said else 'it does not say why'}"


if __name__ == "__main__":
    print(json.dumps({"refusal": _probe(sys.argv[1], sys.argv[2:])}))
