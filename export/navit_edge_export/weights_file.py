"""One external weights file shared by all graphs of a bundle."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx_ir as ir

WEIGHTS = "weights.bin"
ALIGNMENT_BYTES = 64
INLINE_BYTES = 1024  # constants up to this size stay inside the graph


class WeightsFile:
    """Appends each tensor once, by name; graphs then refer to it. Not for several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO = path.open("wb")
        self._stored: dict[str, tuple[str, ir.ExternalTensor]] = {}  # name -> sha256, where it lies

    def __enter__(self) -> WeightsFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def move_out(self, graph: ir.Graph, parameters: set[str]) -> None:
        """Moves the graph's parameters, and its constants above INLINE_BYTES, into this file.

        Constants, whose names the exporter makes up, are renamed to their content's hash: so two graphs share them.
        """
        for name, value in sorted(graph.initializers.items()):
            tensor = value.const_value
            if tensor is None:
                raise ValueError(f"initializer {name} has no value; this is a bug in the exporter")
            if name not in parameters and tensor.nbytes <= INLINE_BYTES:
                value.const_value = ir.Tensor(tensor.numpy(), name=name)
                continue
            content = np.ascontiguousarray(tensor.numpy()).reshape(-1).view(np.uint8).data  # no copy
            digest = hashlib.sha256(content).hexdigest()
            stored_as = name if name in parameters else f"constant.{digest[:16]}"
            if stored_as != name and stored_as in graph.initializers:  # the same constant twice in one graph
                value.replace_all_uses_with(graph.initializers[stored_as])
                del graph.initializers[name]
                continue
            value.name = stored_as
            value.const_value = self._store(stored_as, digest, content, tensor)

    def _store(self, name: str, digest: str, content: memoryview, tensor: ir.TensorProtocol) -> ir.ExternalTensor:
        if name in self._stored:
            known, external = self._stored[name]
            if known != digest:
                raise ValueError(f"two graphs hold different tensors named {name}; this is a bug in the exporter")
            return external
        self._file.write(b"\0" * (-self._file.tell() % ALIGNMENT_BYTES))
        offset = self._file.tell()
        self._file.write(content)
        external = ir.ExternalTensor(
            WEIGHTS,
            offset,
            content.nbytes,
            ir.DataType(tensor.dtype),
            shape=ir.Shape(tensor.shape.numpy()),
            name=name,
            base_dir=self._path.parent,
        )
        self._stored[name] = (digest, external)
        return external
