"""A bundle's graph under ONNX Runtime, the judge of what Q/DQ costs: it computes Q/DQ as written."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from navit_edge.errors import BackendError, import_or_explain
from navit_edge.machine.cores import usable_cores
from navit_edge.quantize.layers import PURPOSE, REMEDY

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import onnx


class Runner:
    """An open session."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._inputs = [value.name for value in session.get_inputs()]
        self._outputs = [value.name for value in session.get_outputs()]

    def run(self, inputs: Mapping[str, npt.NDArray[np.generic]]) -> dict[str, npt.NDArray[np.float32]]:
        """Output name -> value. Raises BackendError."""
        try:
            values = self._session.run(self._outputs, {name: inputs[name] for name in self._inputs})
        except Exception as error:  # ONNX Runtime's errors have no common base
            raise BackendError(f"ONNX Runtime cannot run the graph: {error}") from error
        return dict(zip(self._outputs, values, strict=True))


class Graph:
    """A graph whose weights lie in ``directory``."""

    def __init__(self, model: onnx.ModelProto, directory: Path) -> None:
        self.model = model
        self.directory = directory

    def open(self) -> Runner:
        """The graph as it is."""
        return self._open(self.model)

    def with_outputs(self, names: Sequence[str]) -> Runner:
        """The graph with inner values as outputs beside its own."""
        onnx = import_or_explain("onnx", purpose=PURPOSE, remedy=REMEDY)
        model = type(self.model)()
        model.CopyFrom(self.model)
        there = {value.name for value in model.graph.output}
        model.graph.output.extend(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
            for name in names
            if name not in there
        )
        return self._open(model)

    def _open(self, model: onnx.ModelProto) -> Runner:
        onnxruntime = import_or_explain("onnxruntime", purpose=PURPOSE, remedy=REMEDY)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = usable_cores()  # else a thread for each core of the machine
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # many sessions, short runs
        # Else Q/DQ become integer kernels of its own, whose rounding is not that of the graph.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", os.path.abspath(self.directory)
        )
        try:
            session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise BackendError(f"ONNX Runtime cannot open the graph: {error}") from error
        return Runner(session)
