"""A graph in ONNX Runtime, on Polygraphy's ``OnnxrtRunner``: float32 as it is written, Q/DQ as they are written."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from navit_edge.errors import BackendError, import_or_explain
from navit_edge.machine.cores import usable_cores
from navit_edge.oracle.packs import Inputs, Values

if TYPE_CHECKING:
    import onnx
    from polygraphy.backend.onnxrt import OnnxrtRunner

_PURPOSE = "the float32 reference"
_REMEDY = 'pip install "navit-edge[verify]"'


def open_runner(model: onnx.ModelProto | Path, directory: Path | None = None) -> OnnxrtRunner:
    """A runner of Polygraphy's; it opens the graph when it is activated, as by ``with``.

    Args:
        model: The graph, or its file.
        directory: Where the weights of a graph that is no file lie.

    Raises MissingPackageError without Polygraphy; BackendError when ONNX Runtime does not take the graph.
    """
    backend = import_or_explain("polygraphy.backend.onnxrt", purpose=_PURPOSE, remedy=_REMEDY)
    _spare_torch()
    return backend.OnnxrtRunner(lambda: _open(model, directory), name="float32")


def mark_outputs(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """A copy of the graph whose outputs are the values ``names``."""
    backend = import_or_explain("polygraphy.backend.onnx", purpose=_PURPOSE, remedy=_REMEDY)
    marked: onnx.ModelProto = backend.ModifyOutputs(model, outputs=[glob.escape(name) for name in names], copy=True)()
    return marked


def infer(runner: OnnxrtRunner, inputs: Inputs) -> Values:
    """Output -> value, of an active runner. Inputs that the graph does not read are left out. Raises BackendError."""
    names = runner.get_input_metadata(use_numpy_dtypes=False)
    try:
        return dict(runner.infer({name: inputs[name] for name in names}))
    except Exception as error:  # neither ONNX Runtime's errors nor Polygraphy's have a common base with others
        raise BackendError(f"ONNX Runtime cannot run the graph: {error}") from error


def run_graph(model: onnx.ModelProto, directory: Path, packs: Iterable[Inputs]) -> Iterator[Values]:
    """What the graph gives for each of ``packs``; it is open from the first to the last. Raises BackendError."""
    with open_runner(model, directory) as runner:
        for inputs in packs:
            yield infer(runner, inputs)


def _open(model: onnx.ModelProto | Path, directory: Path | None) -> Any:
    """The session, with options that Polygraphy's own loader does not take."""
    onnxruntime = import_or_explain("onnxruntime", purpose=_PURPOSE, remedy=_REMEDY)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = usable_cores()  # else a thread for each core of the machine
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # many sessions, short runs
    # Else Q/DQ become integer kernels of its own, whose rounding is not that of the graph.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    if directory is not None:
        folder = "session.model_external_initializers_file_folder_path"
        options.add_session_config_entry(folder, os.path.abspath(directory))
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no public common base
        version = onnxruntime.__version__
        raise BackendError(f"ONNX Runtime {version} cannot open the graph: {error}; upgrade onnxruntime") from error


def _spare_torch() -> None:
    """Polygraphy imports torch (seconds, hundreds of megabytes) to ask if an array is torch's; none is before that."""
    from polygraphy.util import array

    asked = array.is_torch
    if asked.__module__ != __name__:

        def is_torch(value: object) -> bool:
            return "torch" in sys.modules and bool(asked(value))

        array.is_torch = is_torch
