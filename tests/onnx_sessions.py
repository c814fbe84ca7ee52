"""Graphs under ONNX Runtime, as an oracle of tests: opened without any code of ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime


def open_graph(graph: Path | onnx.ModelProto) -> onnxruntime.InferenceSession:
    """On one thread: tests run side by side."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(graph if isinstance(graph, Path) else graph.SerializeToString(), options)


def run_graph(
    session: onnxruntime.InferenceSession, inputs: Mapping[str, npt.NDArray[np.generic]]
) -> dict[str, npt.NDArray[np.float32]]:
    """Output name -> value; fed with the inputs that the graph lists."""
    values = session.run(None, {spec.name: inputs[spec.name] for spec in session.get_inputs()})
    return dict(zip((spec.name for spec in session.get_outputs()), values, strict=True))
