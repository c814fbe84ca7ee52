"""What a precision is worth on a CPU: fp32, bf16, int8 and int8 weights alone, on this CPU and as on lesser ones.

    python benchmarks/cpu_precisions.py BUNDLE [--threads 1] [--rounds 7] [--output benchmarks/cpu_precisions.json]

BUNDLE has int8 graphs (`navit-edge quantize`). OpenVINO compiles its padded graph for each precision, and runs the same
packs in turn; a ratio is the median over rounds of the ratio within a round, of the process's own CPU time, which other
work on the machine does not lengthen. Weights alone in int8: the same scales as quantize's, with DequantizeLinear
behind them, which OpenVINO keeps compressed and decompresses inside of the product.

"As on a CPU without bf16" is this CPU with ONEDNN_MAX_CPU_ISA set (oneDNN, "CPU dispatcher control"): OpenVINO's matrix
products then use no newer instructions. Clocks, caches and memory stay this CPU's, and what OpenVINO compiles itself
(elementwise chains) is not limited: read its ratios, and take them for an estimate.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import images as image_sets
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

#: Name -> ONEDNN_MAX_CPU_ISA; "": all that the CPU has.
MACHINES = {"this CPU": "", "as without bf16": "AVX512_CORE_VNNI", "as without VNNI": "AVX512_CORE", "as AVX2": "AVX2"}
PACK_TOKENS = 768


def weights_alone(graph: Path) -> Any:
    """The float graph as an OpenVINO model, with int8 weights in its trunk's linear layers."""
    import onnx
    from onnx import helper, numpy_helper

    from navit_edge.quantize.layers import Constants, find_layers
    from navit_edge.quantize.qdq import round_to, weight_scales

    model = onnx.load(str(graph), load_external_data=False)
    constants = Constants(model, graph.parent)
    nodes = list(model.graph.node)
    added = {}
    for layer in find_layers(model):
        weight = constants[layer.weight]
        scales = weight_scales(weight, layer.axis, "int8")
        low = round_to(weight / np.expand_dims(scales, 1 - layer.axis), "int8").astype(np.int8)
        names = [f"{layer.name}.{part}" for part in ("low", "scale", "zero", "weight")]
        zeros = np.zeros(scales.shape, np.int8)
        values: tuple[npt.NDArray[Any], ...] = (low, scales, zeros)
        for name, value in zip(names, values, strict=False):
            model.graph.initializer.append(numpy_helper.from_array(value, name))
        added[layer.node] = helper.make_node("DequantizeLinear", names[:3], [names[3]], axis=layer.axis)
        nodes[layer.node].input[1] = names[3]
    ordered = [one for index, node in enumerate(nodes) for one in ([added[index]] if index in added else []) + [node]]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in ordered]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    path = graph.with_name("weights-alone.onnx")
    onnx.save(model, str(path))
    return path


def compiled(bundle: Path, threads: int, scratch: Path) -> dict[str, Any]:
    """Contender -> what OpenVINO makes of it; those that the CPU cannot compute are left out."""
    import openvino as ov

    core = ov.Core()
    graphs = bundle / "graphs"
    (scratch / "weights.bin").symlink_to((graphs / "weights.bin").resolve())
    (scratch / "padded.onnx").symlink_to((graphs / "padded.onnx").resolve())
    alone = weights_alone(scratch / "padded.onnx")
    int8 = next(graphs.glob("padded-int8*.onnx"))
    found = {}
    for name, graph, hint in (
        ("fp32", graphs / "padded.onnx", "f32"),
        ("bf16", graphs / "padded.onnx", "bf16"),
        ("int8, the rest bf16", int8, "bf16"),
        ("int8, the rest fp32", int8, "f32"),
        ("int8 weights alone, bf16", alone, "bf16"),
        ("int8 weights alone, fp32", alone, "f32"),
    ):
        config = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
        found[name] = core.compile_model(core.read_model(graph), "CPU", config)
    return found


def layers_of(model: Any) -> dict[str, int]:
    """Precision -> linear layers that OpenVINO says it computes in it."""
    counts: dict[str, int] = {}
    for node in model.get_runtime_model().get_ops():
        about = node.get_rt_info()
        if about["layerType"].value == "FullyConnected":
            counts[str(about["runtimePrecision"].value)] = counts.get(str(about["runtimePrecision"].value), 0) + 1
    return counts


def measure(bundle: Path, threads: int, rounds: int, scratch: Path) -> dict[str, Any]:
    """Of this process, whatever its environment limits."""
    import navit_edge as ne
    from navit_edge_export.preprocess import pack

    grids = image_sets.mixed_grids(12, most=512)
    images = image_sets.images_of(grids)
    packs = ne.plan([rows * columns for rows, columns in grids], token_budget=PACK_TOKENS, max_images=len(grids))
    models = compiled(bundle, threads, scratch)
    names = [port.get_any_name() for port in models["fp32"].inputs]
    feeds = []
    for members in packs:
        inputs = pack([images[i] for i in members], patch_px=image_sets.PATCH_PX).inputs()
        feeds.append({name: inputs[name] for name in names})
    requests = {name: model.create_infer_request() for name, model in models.items()}

    def run(name: str) -> list[Any]:
        return [requests[name].infer(feed)["embedding"].copy() for feed in feeds]

    reference = np.concatenate(run("fp32"))
    errors = {}
    for name in models:
        difference = np.concatenate(run(name)) - reference  # also the warm-up
        errors[name] = float(np.sqrt((difference**2).mean() / (reference**2).mean()))
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds):
        for name, times in seconds.items():
            start = time.process_time()
            run(name)
            times.append(time.process_time() - start)
    return {
        name: {
            "cpu_seconds": statistics.median(times),
            "speed_over_fp32": statistics.median(a / b for a, b in zip(seconds["fp32"], times, strict=True)),
            "embedding_error": errors[name],
            "linear_layers": layers_of(models[name]),
        }
        for name, times in seconds.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        found = measure(arguments.bundle, arguments.threads, arguments.rounds, arguments.child)
        (arguments.child / "found.json").write_text(json.dumps(found))
        return
    import tempfile

    from end_to_end import hardware

    report: dict[str, Any] = {
        "hardware": hardware(),
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "load": os.getloadavg()[0],
        "machines": {},
    }
    table = Table("machine", "engine", "CPU seconds", "over fp32", "embedding error", "linear layers")
    for machine, isa in MACHINES.items():
        with tempfile.TemporaryDirectory() as scratch:
            command = [sys.executable, *sys.argv, "--child", scratch]
            subprocess.run(command, check=True, env={**os.environ, **({"ONEDNN_MAX_CPU_ISA": isa} if isa else {})})
            found = json.loads((Path(scratch) / "found.json").read_text())
        report["machines"][machine] = {"onednn_max_cpu_isa": isa, "engines": found}
        for name, row in found.items():
            layers = ", ".join(f"{count} {kind}" for kind, count in row["linear_layers"].items())
            cells = (f"{row['cpu_seconds']:.3f}", f"{row['speed_over_fp32']:.2f}", f"{row['embedding_error']:.2%}")
            table.add_row(machine, name, *cells, layers)
    Console(width=140).print(table)
    arguments.output.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
