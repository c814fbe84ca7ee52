"""Which layer an engine goes wrong at: the trunk is cut at values that all of it passes through, and engines of the
first part are built and compared, halving the stretch each time."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from navit_edge.bundle import publish as bundles
from navit_edge.bundle.manifest import Engine, Graph, Manifest
from navit_edge.compile import BuildRequest, build_engines
from navit_edge.compile.precision import load
from navit_edge.compile.report import BuildReport
from navit_edge.errors import NavitEdgeError, import_or_explain
from navit_edge.files import decode_json
from navit_edge.session import Session
from navit_edge.verify.certificate import WorstLayer
from navit_edge.verify.compare import Outputs, outputs_of
from navit_edge.verify.images import Image
from navit_edge.verify.reference import Grid, Reference

if TYPE_CHECKING:
    import onnx

Note = Callable[[str], None]
#: A few images show it; each probe compiles an engine.
_IMAGES = 3


def worst_layer(
    bundle: Path,
    sources: Path,
    manifest: Manifest,
    engine: Engine,
    images: Sequence[Image],
    grids: Sequence[Grid],
    *,
    limit: float,
    note: Note,
) -> WorstLayer | None:
    """The first stretch of the trunk after which ``engine``'s kind differs from float32 by more than ``limit``.

    Builds an engine of the same kind for each probe; None where the engine's report does not say how it was built.

    sources: where the checked copies of the graphs and their weights lie.
    """
    graph = next(one for one in manifest.graphs if one.id == engine.graph)
    request = _request(bundle, manifest, engine, graph)
    if request is None:
        return None
    images, grids = images[:_IMAGES], grids[:_IMAGES]
    model = load((sources / graph.file).read_bytes(), graph.file)
    reference_graph = next(
        (one for one in manifest.graphs if one.lowering == "masked" and one.quantization == "none"), graph
    )
    reference_model = load((sources / reference_graph.file).read_bytes(), reference_graph.file)
    stations = cuts(model)
    counterparts = cuts(reference_model)  # the lowerings name values their own way
    if len(counterparts) != len(stations):
        return None
    twin = dict(zip(stations, counterparts, strict=True))
    probes: dict[str, float] = {}

    def probe(name: str) -> float:
        if name not in probes:
            note(f"layer {stations.index(name) + 1} of {len(stations)}")
            part = truncated(reference_model, twin[name]).SerializeToString()
            reference = Reference(sources, manifest, reference_graph, model=part).alone(images, grids)
            probes[name] = _probe(sources, manifest, graph, truncated(model, name), request, images, reference)
        return probes[name]

    if probe(stations[-1]) <= limit:
        words = (
            "all layers up to `tokens` hold: what follows is wrong (pooling, head), or the engine's file is not what "
            "this graph builds; build it again with --force"
        )
        return WorstLayer(value="", after=stations[-1], relative=probes[stations[-1]], words=words, probes=probes)
    good, bad = -1, len(stations) - 1
    while bad - good > 1:
        middle = (good + bad) // 2
        if probe(stations[middle]) <= limit:
            good = middle
        else:
            bad = middle
    after = stations[good] if good >= 0 else "patches"
    words = f"{', '.join(_contents(model, after, stations[bad]))}, between the values {after} and {stations[bad]}"
    return WorstLayer(value=stations[bad], after=after, relative=probes[stations[bad]], words=words, probes=probes)


def cuts(model: onnx.ModelProto) -> list[str]:
    """Float values that everything from `patches` to `tokens` passes through, in order, `tokens` the last: the residual
    stream between layers, mostly."""
    nodes = list(model.graph.node)
    reached = {"patches"}
    on_path: list[int] = []
    for index, node in enumerate(nodes):
        if any(name in reached for name in node.input):
            reached.update(node.output)
            on_path.append(index)
    needed = {"tokens"}
    path: set[int] = set()
    for index in reversed(on_path):
        if any(name in needed for name in nodes[index].output):
            path.add(index)
            needed.update(name for name in nodes[index].input if name in reached)
    last_reader = {name: index for index in sorted(path) for name in nodes[index].input if name in needed}
    open_values = {"patches"}
    found: list[str] = []
    floats = _rank_two_floats(model)
    for index in sorted(path):
        open_values |= {name for name in nodes[index].output if name in needed}
        open_values -= {name for name in open_values if last_reader.get(name, len(nodes)) <= index}
        if len(open_values) == 1 and (name := next(iter(open_values))) in floats:
            found.append(name)
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
    onnx = import_or_explain("onnx", purpose="finding the worst layer", remedy="pip install onnx")
    cut = type(model)()
    cut.CopyFrom(model)
    graph = cut.graph
    needed = {value}
    kept = []
    for node in reversed(list(graph.node)):
        if any(name in needed for name in node.output):
            needed.update(node.input)
            kept.append(node)
    kept.reverse()
    for node in kept:
        for names in (node.input, node.output):
            names[:] = ["tokens" if name == value else name for name in names]
    output = next(
        (one for one in graph.output if one.name == "tokens"),
        onnx.helper.make_tensor_value_info("tokens", onnx.TensorProto.FLOAT, ["T", None]),
    )
    inputs = [one for one in graph.input if one.name in needed]
    weights = [one for one in graph.initializer if one.name in needed]
    infos = [one for one in graph.value_info if one.name in needed and one.name not in (value, "tokens")]
    for field, values in ((graph.node, kept), (graph.input, inputs), (graph.initializer, weights)):
        copies = [_copy(one) for one in values]
        del field[:]
        field.extend(copies)
    copies = [_copy(one) for one in infos]
    del graph.value_info[:]
    graph.value_info.extend(copies)
    kept_output = _copy(output)
    del graph.output[:]
    graph.output.append(kept_output)
    return cut


def _copy(message: Any) -> Any:
    other = type(message)()
    other.CopyFrom(message)
    return other


def _probe(
    sources: Path,
    manifest: Manifest,
    graph: Graph,
    cut: onnx.ModelProto,
    request: BuildRequest,
    images: Sequence[Image],
    reference: Sequence[Outputs],
) -> float:
    """How far the `tokens` of an engine built from ``cut`` lie from ``reference``, each image alone."""
    with tempfile.TemporaryDirectory(prefix="navit-edge-verify-") as scratch:
        part = Path(scratch) / "part.navit"
        (part / "graphs").mkdir(parents=True)
        (part / graph.file).write_bytes(cut.SerializeToString())
        for name in manifest.files:
            if name.startswith("graphs/") and not name.endswith(".onnx"):
                shutil.copyfile(sources / name, part / name)
        used = {one.name for one in cut.graph.input}
        tokens = next((one for one in graph.outputs if one.name == "tokens"), None)
        width = manifest.model.width
        spec = tokens or msgspec.structs.replace(graph.outputs[0], name="tokens", shape=("T", width))
        small = msgspec.structs.replace(
            graph, inputs=tuple(one for one in graph.inputs if one.name in used), outputs=(spec,)
        )
        bundles.seal(part, msgspec.structs.replace(manifest, graphs=(small,), engines=(), labels=(), files={}))
        (engine, *_) = build_engines(part, request)
        session = Session(part, engine=engine.id)
        ours = outputs_of([session.run([image])[0] for image in images])
        return _drift(ours, reference)


def _drift(ours: Sequence[Outputs], reference: Sequence[Outputs]) -> float:
    """Root mean square of the difference of `tokens`, over that of the median channel of the reference.

    Not over the largest value: a few channels of a transformer's residual stream may be a thousand times the rest, and
    their rounding is what drowns the others.
    """
    expected = np.concatenate([one["tokens"] for one in reference]).astype(np.float64)
    difference = np.concatenate([one["tokens"] for one in ours]) - expected
    scale = float(np.median(np.sqrt(np.mean(expected**2, axis=0))))
    return float(np.sqrt(np.mean(difference**2))) / max(scale, float(np.finfo(np.float32).tiny))


def _request(bundle: Path, manifest: Manifest, engine: Engine, graph: Graph) -> BuildRequest | None:
    """How the engine was built, for one engine of the same kind."""
    if engine.report is None:
        return None
    try:
        report = decode_json(bundles.read_file(bundle, manifest, engine.report), BuildReport, source=engine.report)
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
    """The weights between two cuts by name; where there are none, the nodes."""
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
