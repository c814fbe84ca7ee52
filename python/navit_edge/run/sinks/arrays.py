"""NumPy: a folder with one .npy file for each array, row i of which belongs to line i of ``index.jsonl``."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from navit_edge.run.durable import AppendFile
from navit_edge.run.journal import Journal
from navit_edge.run.rows import ARRAYS
from navit_edge.run.sinks import claim_folder, opening
from navit_edge.run.sinks.jsonl import SYNC_S, LineFile, line_of
from navit_edge.run.sources import Name

if TYPE_CHECKING:
    from navit_edge.run.rows import Layout, Row

INDEX = "index.jsonl"
#: Bytes before the data of every .npy file here. The header is written over as the file grows, so its length is fixed.
HEADER_BYTES = 128
#: Arrays with any number of rows an image -> where its rows begin and end.
OFFSETS = {
    "token_features": "token_offsets",
    "projected": "projected_offsets",
    "deepstack": "deepstack_offsets",
    "attention_map": "attention_map_offsets",
}


def npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """Version 1.0 of numpy's format, padded to HEADER_BYTES. dtype: "<f4", "<i8"."""
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape!r}, }}"
    body = text.encode().ljust(HEADER_BYTES - 11) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body


class NpyFile:
    """An array [n, …], ``shape`` without its rows, that grows by rows; ``rows`` is how many are whole."""

    def __init__(self, path: Path, dtype: str, shape: tuple[int, ...]) -> None:
        self._dtype = np.dtype(dtype)
        self._shape = shape
        self._values = math.prod(shape)
        self.row_bytes = self._dtype.itemsize * self._values
        self.file = AppendFile(path)
        if self.file.size < HEADER_BYTES:
            self.file.cut(0)
            self.file.append(self._header(0))

    @property
    def rows(self) -> int:
        return (self.file.size - HEADER_BYTES) // self.row_bytes

    def append(self, values: np.ndarray[Any, Any]) -> None:
        """values: a row, or [m, …]."""
        self.file.append(np.ascontiguousarray(values, self._dtype).tobytes())

    def cut(self, rows: int) -> None:
        self.file.cut(HEADER_BYTES + rows * self.row_bytes)

    def read(self, row: int) -> Any:
        return np.fromfile(self.file.path, self._dtype, self._values, offset=HEADER_BYTES + row * self.row_bytes)[0]

    def write_header(self) -> None:
        self.file.replace(0, self._header(self.rows))

    def _header(self, rows: int) -> bytes:
        return npy_header(self._dtype.str, (rows, *self._shape))


class ArraysSink:
    """Of each row the arrays are appended first and the line of ``index.jsonl`` last: the line is what makes it count.

    ``logits.npy`` [n, classes] and ``embedding.npy`` [n, D], a row of NaN for an image that failed;
    ``token_features.npy`` [all tokens, D], of image i the rows from ``token_offsets.npy``[i] to [i + 1]; so, too,
    ``projected.npy``, ``deepstack.npy`` [all tokens, layers, D] and ``attention_map.npy`` [all tokens, maps]. Headers
    follow on every flush.
    """

    def __init__(self, path: Path, layout: Layout, job: Mapping[str, Any], *, resume: bool, overwrite: bool) -> None:
        self.path = path
        self._layout = layout
        self.journal: Journal | None = None
        self._index: LineFile | None = None
        self._arrays: dict[str, NpyFile] = {}
        self._offsets: dict[str, NpyFile] = {}
        self._synced = time.monotonic()
        with opening(self, path):
            self.journal = claim_folder(path, resume=resume, overwrite=overwrite)
            if overwrite:
                for old in (INDEX, *(f"{name}.npy" for name in (*ARRAYS.values(), *OFFSETS.values()))):
                    (path / old).unlink(missing_ok=True)
            else:
                self.journal.require_same(job)
            self.journal.write(job)
            self._open()

    def _open(self) -> None:
        self._index = LineFile(self.path / INDEX)
        for name, shape in self._layout.shapes.items():
            self._arrays[name] = NpyFile(self.path / f"{name}.npy", "<f4", shape)
            if name in OFFSETS:
                self._offsets[name] = NpyFile(self.path / f"{OFFSETS[name]}.npy", "<i8", ())
                if self._offsets[name].rows == 0:
                    self._offsets[name].append(np.zeros(1))
        # Rows that every file has; only after a power cut the index can be ahead of an array.
        whole = [array.rows for name, array in self._arrays.items() if name not in OFFSETS]
        for name, offsets in self._offsets.items():
            ends = offsets.rows - 1
            while ends > 0 and offsets.read(ends) > self._arrays[name].rows:
                ends -= 1
            whole.append(ends)
        self._index.recover(min(whole, default=None))
        self.found, self.found_failed = self._index.found, self._index.found_failed
        self._rows = self.found
        self._cut()
        self.flush()

    def done(self) -> Iterator[Name]:
        assert self._index is not None
        return self._index.done()

    def write(self, row: Row) -> None:
        assert self._index is not None
        try:
            for name, array in self._arrays.items():
                values = row.arrays.get(name)
                if name not in OFFSETS:
                    array.append(np.full(self._layout.shapes[name], np.nan) if values is None else values)
                elif values is not None:
                    array.append(values)
            for name, offsets in self._offsets.items():
                offsets.append(np.array(self._arrays[name].rows))
            self._index.file.append(line_of(row, arrays=False))
        except BaseException:
            with suppress(OSError):
                self._cut()
            raise
        self._rows += 1
        if time.monotonic() - self._synced > SYNC_S:
            self.flush()

    def flush(self) -> None:
        assert self._index is not None
        arrays = [*self._arrays.values(), *self._offsets.values()]
        for array in arrays:
            array.file.sync()
        self._index.file.sync()
        for array in arrays:
            array.write_header()
        self._synced = time.monotonic()

    def _cut(self) -> None:
        """Every array to the rows that the index has."""
        for name, array in self._arrays.items():
            if name not in OFFSETS:
                array.cut(self._rows)
        for name, offsets in self._offsets.items():
            offsets.cut(self._rows + 1)
            self._arrays[name].cut(int(offsets.read(self._rows)))

    def close(self) -> None:
        for array in (*self._arrays.values(), *self._offsets.values()):
            array.file.close()
        if self._index is not None:
            self._index.file.close()
        if self.journal is not None:
            self.journal.close()
