"""The weights of a float32 graph themselves: one that is no number makes every result that it reaches none."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from navit_edge.errors import import_or_explain
from navit_edge.verify.certificate import Check

FINITE_WEIGHTS = "every weight is a finite number"
_SHOWN = 3


def check_weights(graph: Path) -> Check:
    """Whether the weights that lie beside a graph's file are all finite. Constants of the exporter are left out: they
    may mask with -inf."""
    onnx = import_or_explain("onnx", purpose="reading a graph", remedy='pip install "navit-edge[verify]"')
    model = onnx.load(graph, load_external_data=False)
    known, wrong = 0, []
    for tensor in model.graph.initializer:
        stored = {entry.key: entry.value for entry in tensor.external_data}
        if tensor.data_type != onnx.TensorProto.FLOAT or not stored or tensor.name.startswith("constant."):
            continue
        known += 1
        count = int(stored["length"]) // 4
        place = graph.parent / stored["location"]
        values = np.memmap(place, "<f4", "r", offset=int(stored.get("offset", 0)), shape=(count,)) if count else ()
        if not np.isfinite(values).all():
            wrong.append(tensor.name)
    more = ", ..." if len(wrong) > _SHOWN else ""
    found = f"{len(wrong)} of {known} hold NaN or infinity: {', '.join(wrong[:_SHOWN])}{more}" if wrong else "yes"
    return Check(name=FINITE_WEIGHTS, holds=not wrong, found=found, expected="yes")
