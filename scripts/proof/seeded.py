"""A bundle that travels without its weights: they are drawn by a seed where it is used, as random as they were."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

LIST = "weights.json"
SEED = 0


def strip(bundle: Path, target: Path) -> None:
    """Copies a bundle of random weights; in place of the file of weights a list says what to draw."""
    import onnx

    tensors: dict[int, dict[str, Any]] = {}
    places = set()
    for graph in sorted((bundle / "graphs").glob("*.onnx")):
        for tensor in onnx.load(graph, load_external_data=False).graph.initializer:
            where = {entry.key: entry.value for entry in tensor.external_data}
            if not where:
                continue
            if tensor.data_type != onnx.TensorProto.FLOAT:
                raise ValueError(f"{graph}: {tensor.name} is not of float32; only a model as it is exported travels so")
            places.add(graph.parent / where["location"])
            tensors[int(where["offset"])] = {"offset": int(where["offset"]), "bytes": int(where["length"])}
    (file,) = places
    with file.open("rb") as weights:
        for one in tensors.values():
            weights.seek(one["offset"])
            values = np.frombuffer(weights.read(one["bytes"]), np.float32)
            one |= {"mean": float(values.mean()), "std": float(values.std())}
    shutil.copytree(bundle, target, ignore=shutil.ignore_patterns(file.name))
    told = {"file": str(file.relative_to(bundle)), "bytes": file.stat().st_size, "tensors": list(tensors.values())}
    (target / LIST).write_text(json.dumps(told), encoding="utf-8")


def draw(bundle: Path) -> None:
    """Writes the weights of a bundle that was stripped, and seals it again."""
    from navit_edge.bundle import manifest as manifests
    from navit_edge.bundle import publish

    told = json.loads((bundle / LIST).read_text(encoding="utf-8"))
    content = np.zeros(told["bytes"], np.uint8)
    for one in told["tensors"]:
        generator = np.random.default_rng([SEED, one["offset"]])
        values = generator.standard_normal(one["bytes"] // 4, np.float32) * one["std"] + one["mean"]
        content[one["offset"] : one["offset"] + one["bytes"]] = values.astype(np.float32).view(np.uint8)
    content.tofile(bundle / told["file"])
    (bundle / LIST).unlink()
    publish.seal(bundle, manifests.load(bundle))
