"""Which layer an engine goes wrong at: the trunk is cut at values that all of it passes through, and engines of the
first part are built and compared, halving the stretch each time."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from navit_edge.bundle import hashing, publish
from navit_edge.bundle.manifest import Engine, Graph, Manifest, TensorSpec
from navit_edge.compile import BuildRequest, build_engines
from navit_edge.compile.precision import load
from navit_edge.compile.report import BuildReport
from navit_edge.errors import NavitEdgeError, import_or_explain
from navit_edge.files import decode_json
from navit_edge.oracle.graph import mark_outputs, run_graph
from navit_edge.oracle.packs import Array, Pack, Values
from navit_edge.oracle.reference import Grid, Image, pack_each
from navit_edge.session import Session
from navit_edge.verify.certificate import WorstLayer
from navit_edge.verify.compare import outputs_of

if TYPE_CHECKING:
    import onnx

Note = Callable[[str], None]
#: A few images show it; each probe compiles an engine.
_IMAGES = 3


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is examined, by which images."""

    bundle: Path
    sources: Path  # where the checked copies of its graphs and their weights lie
    manifest: Manifest
    images: Sequence[Image]


class Trunk:
    """A graph's values between layers, and what they are in float32.

    Attributes:
        model: The graph.
        cuts: Its values that all of the trunk passes through; none if the float32 graph has others.
    """

    def __init__(self, subject: Subject, graph: Graph) -> None:
        graphs, sources = subject.manifest.graphs, subject.sources
        masked = (one for one in graphs if one.lowering == "masked" and one.quantization == "none")
        reference = next(masked, graph)
        self._directory = (sources / reference.file).parent
        self.model, self._reference = (load((sources / one.file).read_bytes(), one.file) for one in (graph, reference))
        own, twins = cuts(self.model), cuts(self._reference)  # the lowerings name values their own way
        self._twin = dict(zip(own, twins, strict=True)) if len(own) == len(twins) else {}
        self.cuts = list(self._twin)

    def float32(self, names: Sequence[str], packs: Sequence[Pack]) -> Iterator[Values]:
        """For each pack, name -> value of the float32 graph; of cuts and of outputs, as this graph names them."""
        twins = {name: self._twin.get(name, name) for name in names}
        marked = mark_outputs(self._reference, list(twins.values()))
        for found in run_graph(marked, self._directory, (pack.inputs for pack in packs)):
            yield {name: found[twin] for name, twin in twins.items()}


def find_graph(manifest: Manifest, engine: Engine) -> Graph:
    """The one that the engine was built from."""
    return next(one for one in manifest.graphs if one.id == engine.graph)


def worst_layer(subject: Subject, engine: Engine, grids: Sequence[Grid], limit: float, note: Note) -> WorstLayer | None:
    """The first stretch of the trunk after which ``engine``'s kind differs from float32 by more than ``limit``.

    Builds an engine of the same kind for each probe; None if the engine's report does not say how it was built.
    """
    graph = find_graph(subject.manifest, engine)
    request = _request(subject, engine, graph)
    trunk = Trunk(subject, graph)
    model, stations = trunk.model, trunk.cuts
    if request is None or not stations:
        return None
    packs = pack_each(subject.images[:_IMAGES], grids[:_IMAGES], subject.manifest)
    tokens = _tokens_of(graph, subject.manifest)
    probes: dict[str, float] = {}

    def probe(name: str) -> float:
        if name not in probes:
            note(f"layer {stations.index(name) + 1} of {len(stations)}")
            values = zip(packs, trunk.float32([name], packs), strict=True)
            reference = [part for pack, found in values for part in pack.by_image(tokens, found[name])]
            cut = truncated(model, name)
            probes[name] = _probe(subject, graph, cut, request, reference, beside=engine.float_precision)
        return probes[name]

    if probe(stations[-1]) <= limit:
        value, after = "", stations[-1]
        words = (
            "all layers up to `tokens` hold, so pooling or the head is wrong, or the engine's file is not what this "
            "graph builds; build it again with --force"
        )
    else:
        good, bad = -1, len(stations) - 1
        while bad - good > 1:
            middle = (good + bad) // 2
            if probe(stations[middle]) <= limit:
                good = middle
            else:
                bad = middle
        value, after = stations[bad], stations[good] if good >= 0 else "patches"
        words = f"{', '.join(_contents(model, after, value))}, between the values {after} and {value}"
    relative = probes[value or after]
    return WorstLayer(value=value, after=after, relative=relative, words=words, graph=graph.file, probes=probes)


def cuts(model: onnx.ModelProto) -> list[str]:
    """Float values that everything from `patches` to `tokens` passes through, in order, `tokens` the last: the residual
    stream between layers, mostly."""
    reached, needed = {"patches"}, {"tokens"}
    for node in model.graph.node:
        if reached.intersection(node.input):
            reached.update(node.output)
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
    trunk = reached & needed
    path = [node for node in model.graph.node if trunk.intersection(node.output) and trunk.intersection(node.input)]
    readers = Counter(name for node in path for name in trunk.intersection(node.input))
    floats = _rank_two_floats(model)
    open_values = {"patches"}
    found: list[str] = []
    for node in path:
        open_values |= trunk.intersection(node.output)
        readers.subtract(trunk.intersection(node.input))
        open_values = {name for name in open_values if readers[name] or name == "tokens"}
        if len(open_values) == 1 and open_values <= floats:
            found += open_values
    return found if found[-1:] == ["tokens"] else [*found, "tokens"]


def _rank_two_floats(model: onnx.ModelProto) -> set[str]:
    """Values [T, D] of the width of `tokens`."""
    onnx = import_or_explain("onnx", purpose="finding the worst layer", remedy="pip install onnx")
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=False, data_prop=True).graph
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.output)
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }
    tokens = next((value for value in graph.output if value.name == "tokens"), None)
    if tokens is not None and tokens.type.tensor_type.shape.dim[0].dim_param not in ("T", ""):
        return {"tokens"}  # merged ones: the values before have other rows
    width = shapes.get("tokens", [0])[-1]
    return {name for name, shape in shapes.items() if len(shape) == 2 and shape[-1] == width}


def truncated(model: onnx.ModelProto, value: str) -> onnx.ModelProto:
    """The graph up to ``value`` [T, D], which becomes its one output, `tokens`; without inputs that nobody reads."""
    from onnx import TensorProto, helper

    needed, kept = {value}, []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    tokens = helper.make_tensor_value_info("tokens", TensorProto.FLOAT, ["T", None])
    graph = helper.make_graph(
        kept[::-1],
        model.graph.name,
        [one for one in model.graph.input if one.name in needed],
        [next((one for one in model.graph.output if one.name == "tokens"), tokens)],
        [one for one in model.graph.initializer if one.name in needed],
        value_info=[one for one in model.graph.value_info if one.name in needed - {value, "tokens"}],
    )
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = ["tokens" if name == value else name for name in names]
    cut: onnx.ModelProto = helper.make_model(
        graph, ir_version=model.ir_version, opset_imports=model.opset_import, functions=model.functions
    )
    return cut


def _tokens_of(graph: Graph, manifest: Manifest) -> TensorSpec:
    """Of the output `tokens`, also of a graph that has none; the values before have its shape."""
    spec = next((one for one in graph.outputs if one.name == "tokens"), None)
    merge = manifest.model.token_merge
    rows = "T" if merge == 1 else f"T/{merge * merge}"
    return spec or TensorSpec(name="tokens", dtype=graph.outputs[0].dtype, shape=(rows, manifest.model.width))


def _probe(
    subject: Subject,
    graph: Graph,
    cut: onnx.ModelProto,
    request: BuildRequest,
    reference: Sequence[Array],
    *,
    beside: str,
) -> float:
    """How far the `tokens` of an engine built from ``cut`` lie from ``reference``, each image alone.

    beside: Precision of what computes beside quantized layers; "" if there are none.
    """
    manifest = subject.manifest
    if beside and not any(node.op_type == "DequantizeLinear" for node in cut.graph.node):
        graph = msgspec.structs.replace(graph, quantization="none")  # the cut lies before the first quantized layer
        request = replace(request, precision=(beside,))
    with tempfile.TemporaryDirectory(prefix="navit-edge-verify-") as scratch:
        part = Path(scratch) / "part.navit"
        (part / "graphs").mkdir(parents=True)
        (part / graph.file).write_bytes(cut.SerializeToString())
        for name in manifest.files:
            if name.startswith("graphs/") and not name.endswith(".onnx"):
                shutil.copyfile(subject.sources / name, part / name)
        used = {one.name for one in cut.graph.input}
        small = msgspec.structs.replace(
            graph, inputs=tuple(one for one in graph.inputs if one.name in used), outputs=(_tokens_of(graph, manifest),)
        )
        publish.seal(part, msgspec.structs.replace(manifest, graphs=(small,), engines=(), labels=(), files={}))
        (engine, *_) = build_engines(part, request)
        session = Session(part, engine=engine.id)
        results = [session.run([image])[0] for image in subject.images[: len(reference)]]
        return _drift([outputs["tokens"] for outputs in outputs_of(results)], reference)


def _drift(ours: Sequence[Array], reference: Sequence[Array]) -> float:
    """Root mean square of the difference of `tokens`, over that of the median channel of the reference.

    Not over the largest value: a few channels of a transformer's residual stream may be a thousand times the rest, and
    their rounding is what drowns the others.
    """
    expected = np.concatenate(reference).astype(np.float64)
    difference = np.concatenate(ours) - expected
    scale = float(np.median(np.sqrt(np.mean(expected**2, axis=0))))
    return float(np.sqrt(np.mean(difference**2))) / max(scale, float(np.finfo(np.float32).tiny))


def _request(subject: Subject, engine: Engine, graph: Graph) -> BuildRequest | None:
    """How the engine was built, for one engine of the same kind."""
    if engine.report is None:
        return None
    try:
        raw = hashing.read_file(subject.bundle, subject.manifest, engine.report)
        report = decode_json(raw, BuildReport, source=engine.report)
        return BuildRequest(
            backend=engine.backend,
            precision=(engine.precision,),
            targets=() if engine.backend == "openvino" else tuple(engine.target.split("+")),
            token_budgets=tuple(budget.tokens for budget in engine.budgets),
            max_images=tuple(budget.images for budget in engine.budgets),
            lowering=graph.lowering,
            strict=report.settings.get("--strict") == "true",
            fp32_trunk=report.settings.get("--fp32-trunk") == "true",
        )
    except (OSError, NavitEdgeError):
        return None


def _contents(model: onnx.ModelProto, after: str, until: str) -> list[str]:
    """The weights between two cuts by name; if there are none, the nodes."""
    weights = {one.name for one in model.graph.initializer}
    reached = {after}
    found: list[str] = []
    nodes: list[str] = []
    for node in model.graph.node:
        if any(name in reached for name in node.input):
            reached.update(node.output)
            nodes.append(node.name or node.op_type)
            found += [name for name in node.input if name in weights and "." in name]
        if until in node.output:
            break
    return list(dict.fromkeys(found)) or nodes[:8]
