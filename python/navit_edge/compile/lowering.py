"""Which lowering of attention an engine is built from, and why.

``packed`` needs a packed graph in the bundle and TensorRT's kernel for it on every target. The kernel is looked for by
building one attention operation of the model's shape in a process of its own, since a build that fails leaves the
library in a bad state: ``python -m navit_edge.compile.lowering QUESTION``, a ``Question`` as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from navit_edge.bundle.manifest import Budget, Graph, Manifest
from navit_edge.compile import packed_attention
from navit_edge.compile.common import find_graph, worker_environment
from navit_edge.compile.targets import float_precision
from navit_edge.errors import BackendError
from navit_edge.vocabulary import ROLLOUT

if TYPE_CHECKING:
    import onnx

LOWERINGS = ("auto", "masked", "padded", "packed")
_PROBE_SECONDS = 120

KernelProbe = Callable[[], str]  # "" if the kernel is there, else why not


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a library has a kernel for packed attention of this shape and these types, on these targets."""

    module: str  # "tensorrt", "tensorrt_rtx"
    targets: tuple[str, ...]  # compute capabilities to compile for; none: the GPU of this machine
    types: tuple[str, ...]  # "fp16", "bf16": of queries, keys and values; each is asked for
    tokens: int  # T
    images: int  # N
    heads: int  # H
    head_width: int  # dh


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    graph: Graph
    reason: str


def choose(
    manifest: Manifest,
    wanted: str,
    *,
    backend: str,
    probe: KernelProbe,
    strict: bool = False,
    quantization: str = "none",
) -> Choice:
    """The graph that a TensorRT engine is built from.

    strict: Attention is computed in float32, which packed attention is not.

    Raises BackendError: "packed" was asked for, and the library has no kernel for it or the bundle no graph; or the
    bundle gives saliency, whose masked graph has a table of T x T scores for each head.
    Raises BundleError: The bundle lacks the graph, or has none of that ``quantization`` ("none", "int8", "fp8").
    """
    if manifest.model.config.get("attention_map") == ROLLOUT:
        raise BackendError(
            f"the bundle {manifest.name} gives saliency, which {backend} would compute from a table of all pairs of "
            "tokens in a pack; export with --outputs attention-map in its place, or build for the backend openvino"
        )
    packed = next((g for g in manifest.graphs if g.lowering == "packed" and g.quantization == quantization), None)
    if wanted == "masked":
        return Choice(graph=find_graph(manifest, "masked", quantization), reason="asked for")
    if packed is None:
        if wanted == "packed":
            raise BackendError(
                f"lowering packed for {backend}: the bundle has no packed graph; export the model again with "
                "--lowerings masked,padded,packed, or build with --lowering masked"
            )
        return Choice(graph=find_graph(manifest, "masked", quantization), reason="auto: the bundle has no packed graph")
    refusal = "packed attention is computed in 16 bits, and --strict asks for float32" if strict else probe()
    if not refusal:
        asked = wanted == "packed"
        return Choice(
            graph=packed, reason="asked for" if asked else "auto: the library has a kernel for packed attention"
        )
    if wanted == "packed":
        raise BackendError(f"lowering packed for {backend}: {refusal}; build with --lowering masked")
    return Choice(graph=find_graph(manifest, "masked", quantization), reason=f"auto: {refusal}")


def question(
    manifest: Manifest, module: str, targets: Sequence[str], *, precisions: Sequence[str], largest: Budget
) -> Question:
    """What to ask ``module`` for engines of these precisions: the model's attention at its largest budget."""
    return Question(
        module=module,
        targets=tuple(targets),
        types=tuple(sorted({"bf16" if float_precision(p, tuple(targets)) == "bf16" else "fp16" for p in precisions})),
        tokens=largest.tokens,
        images=largest.images,
        heads=manifest.model.heads,
        head_width=manifest.model.config.get("head_width", manifest.model.width // manifest.model.heads),
    )


def packed_kernels(asked: Sequence[Question]) -> str:
    """The first refusal; "" if there is none."""
    return next((refusal for refusal in map(packed_kernel, asked) if refusal), "")


def packed_kernel(asked: Question) -> str:
    """Why the library has no kernel for packed attention; "" if it has."""
    module = asked.module
    command = [sys.executable, "-m", "navit_edge.compile.lowering", msgspec.json.encode(asked).decode()]
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


def probe_model(asked: Question, kind: str) -> onnx.ModelProto:
    """A graph of nothing but the operator, in the type ``kind``."""
    from onnx import TensorProto, helper

    element = TensorProto.BFLOAT16 if kind == "bf16" else TensorProto.FLOAT16
    shape = [asked.tokens, asked.heads, asked.head_width]
    sequences = asked.images + 1  # the images and the padding rows, as in an exported graph
    values = [helper.make_tensor_value_info(name, element, shape) for name in "qkv"]
    values += [
        helper.make_tensor_value_info(name, TensorProto.INT32, [sequences + 1])
        for name in ("query_lengths", "kv_lengths")
    ]
    node = packed_attention.make_node("q", "k", "v", "query_lengths", "kv_lengths", "y", name="packed_attention")
    output = helper.make_tensor_value_info("y", element, shape)
    opsets = [
        helper.make_opsetid("", 20),
        helper.make_opsetid(packed_attention.DOMAIN, packed_attention.DOMAIN_VERSION),
    ]
    return helper.make_model(helper.make_graph([node], "packed", values, [output]), opset_imports=opsets, ir_version=9)


def is_refusal(message: str) -> bool:
    """Whether an error of the library says that it has no kernel for packed attention, rather than that a build
    failed for another reason. TensorRT-RTX 1.7.1: "... uses packed (NHD) inputs described by cu_seqlens, for which no
    fused kernel is available on this target and no decomposition exists"."""
    return "no fused" in message and "packed" in message


def _probe(asked: Question) -> str:
    """Builds the operator in each type; "" if that works."""
    import importlib

    trt: Any = importlib.import_module(asked.module)
    for kind in asked.types:
        refusal = _probe_type(trt, asked, kind)
        if refusal:
            return f"{asked.module} {trt.__version__} {refusal}"
    return ""


def _probe_type(trt: Any, asked: Question, kind: str) -> str:
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
    if not parser.parse(probe_model(asked, kind).SerializeToString()):
        return f"does not know the operation {packed_attention.OPERATOR} in the form of TensorRT 11.1 and later"
    config = builder.create_builder_config()
    if asked.targets:
        config.num_compute_capabilities = len(asked.targets)
        for index, target in enumerate(asked.targets):
            config.set_compute_capability(getattr(trt.ComputeCapability, target.upper()), index)
    if builder.build_serialized_network(network, config) is not None:
        return ""
    if any(is_refusal(message) for message in said):
        return f"has no packed attention kernel for {'+'.join(asked.targets) or 'this GPU'}"
    return f"cannot build packed attention: {said[-1] if said else 'it does not say why'}"


if __name__ == "__main__":
    print(json.dumps({"refusal": _probe(msgspec.json.decode(sys.argv[1], type=Question))}))
