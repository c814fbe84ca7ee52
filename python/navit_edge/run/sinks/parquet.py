"""Parquet: a folder of part files, each published whole. The parts themselves say what is done."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from navit_edge.errors import InvalidInputError, import_or_explain
from navit_edge.run.durable import StagedFile, cannot_write
from navit_edge.run.journal import Journal
from navit_edge.run.rows import VECTORS
from navit_edge.run.sinks import claim_folder, opening
from navit_edge.run.sources import Name

if TYPE_CHECKING:
    from navit_edge.run.rows import Layout, Row

_PART = re.compile(r"part-(\d{6,})\.parquet")
#: Rows wait in memory until there are so many, or so many bytes of arrays: then they go to the file of their part.
GROUP_ROWS = 256
GROUP_BYTES = 4 << 20
#: A part is published when it has ``part_rows`` rows, so many bytes of arrays, or rows that have waited so long.
PART_BYTES = 64 << 20
PART_S = 60.0
_TEXTS = ("file", "reason", "error_type", "error")


class ParquetSink:
    """``part-000000.parquet``, … in the order of the images. Rows go to a file beside, a group after the other, which
    is renamed to the part when it is full: so memory does not grow with the images."""

    def __init__(
        self, path: Path, layout: Layout, job: Mapping[str, Any], *, resume: bool, overwrite: bool, part_rows: int
    ) -> None:
        self._pa = _pyarrow()
        self.path = path
        self._layout = layout
        self._part_rows = part_rows
        self._rows: list[Row] = []
        self._bytes = 0  # of the rows that wait
        self._written = self._written_bytes = 0  # rows and bytes of arrays in the file of the part
        self._staged: StagedFile | None = None
        self._writer: Any = None
        self._since = 0.0
        self.journal: Journal | None = None
        self.found = self.found_failed = 0
        self._schema = self._make_schema()
        with opening(self, path):
            self.journal = claim_folder(path, resume=resume, overwrite=overwrite)
            for staged in path.glob(".part-*.parquet.tmp"):
                staged.unlink()
            if overwrite:
                for part in _parts(path):
                    part.unlink()
            else:
                self.journal.require_same(job)
            self.journal.write(job)
            self._found_parts = _parts(path)
            for part in self._found_parts:
                errors = self._read(part, ["error"])[0]
                self.found += len(errors)
                self.found_failed += len(errors) - errors.null_count
        last = self._found_parts[-1].name if self._found_parts else ""
        self._next = int(_PART.fullmatch(last)[1]) + 1 if last else 0  # type: ignore[index]

    def done(self) -> Iterator[Name]:
        for part in self._found_parts:
            files, frames = self._read(part, ["file", "frame"])
            for file, frame in zip(files.to_pylist(), frames.to_pylist(), strict=True):
                yield Name(file, frame)

    def write(self, row: Row) -> None:
        if not self._rows and self._staged is None:
            self._since = time.monotonic()
        arrays = {name: np.array(array, np.float32) for name, array in row.arrays.items()}  # results may be lent
        self._rows.append(type(row)(record=row.record, arrays=arrays))
        self._bytes += sum(array.nbytes for array in arrays.values())
        rows, held = self._written + len(self._rows), self._written_bytes + self._bytes
        if rows >= self._part_rows or held >= PART_BYTES or time.monotonic() - self._since > PART_S:
            self.flush()
        elif len(self._rows) >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
            self._write_group()

    def flush(self) -> None:
        if self._rows:
            self._write_group()
        if self._staged is None:
            return
        staged, writer = self._staged, self._writer
        self._staged = self._writer = None
        with self._told(staged):
            writer.close()
        staged.publish()
        self._next += 1
        self._written = self._written_bytes = 0

    def _write_group(self) -> None:
        pq = _pyarrow("pyarrow.parquet")
        if self._staged is None:
            self._staged = StagedFile(self._part())
            self._writer = pq.ParquetWriter(
                self._staged.file,
                self._schema,
                compression="zstd",
                use_dictionary=list(_TEXTS),
                memory_pool=self._pa.system_memory_pool(),  # arrow's own keeps what it once had
            )
        with self._told(self._staged):
            self._writer.write_table(self._table())
        self._written += len(self._rows)
        self._written_bytes += self._bytes
        self._rows.clear()
        self._bytes = 0

    def _part(self) -> Path:
        return self.path / f"part-{self._next:06}.parquet"

    @contextmanager
    def _told(self, staged: StagedFile) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._staged = self._writer = None
            staged.drop()
            raise cannot_write(self._part(), error) from error

    def close(self) -> None:
        if self._staged is not None:  # a job that ended by an error
            self._staged.drop()
            self._staged = self._writer = None
        if self.journal is not None:
            self.journal.close()

    def _read(self, part: Path, columns: list[str]) -> list[Any]:
        pq = _pyarrow("pyarrow.parquet")
        try:
            table = pq.read_table(part, columns=columns, partitioning=None)
        except (self._pa.ArrowException, OSError) as error:
            raise InvalidInputError(
                f"{part} cannot be read: {error}; delete it and run again with --resume: its images run again"
            ) from error
        return [table.column(name) for name in columns]

    def _make_schema(self) -> Any:
        pa = self._pa
        fields: list[tuple[str, Any]] = [
            ("file", pa.string()),
            ("frame", pa.int64()),
            ("time_s", pa.float64()),
            *((name, pa.int32()) for name in ("height_px", "width_px", "grid_rows", "grid_cols", "tokens")),
            *((name, pa.float64()) for name in ("scale_y", "scale_x")),
            ("reason", pa.string()),
            ("pack", pa.int64()),
            ("latency_ms", pa.float64()),
            ("error_type", pa.string()),
            ("error", pa.string()),
        ]
        for name, shape in self._layout.shapes.items():
            vector = self._vector(shape)
            fields.append((name, vector if name in VECTORS else pa.list_(vector)))
        kind = ("label", pa.string()) if self._layout.labels else ("index", pa.int32())
        fields.append(("top_k", pa.list_(pa.struct([kind, ("score", pa.float64()), ("logit", pa.float64())]))))
        return pa.schema(fields)

    def _vector(self, shape: tuple[int, ...]) -> Any:
        kind = self._pa.float32()
        for extent in reversed(shape):
            kind = self._pa.list_(kind, extent)
        return kind

    def _table(self) -> Any:
        pa = self._pa
        records = [row.record for row in self._rows]

        def column(name: str) -> list[Any]:
            pairs = {"height_px": ("pixels", 0), "width_px": ("pixels", 1), "grid_rows": ("grid", 0),
                     "grid_cols": ("grid", 1), "scale_y": ("scale", 0), "scale_x": ("scale", 1)}  # fmt: skip
            if name not in pairs:
                return [record.get(name) for record in records]
            key, side = pairs[name]
            return [record[key][side] if key in record else None for record in records]

        columns = []
        for field in self._schema:
            if field.name in VECTORS:
                columns.append(self._vectors(field.name, field.type))
            elif field.name in self._layout.shapes:
                columns.append(self._ragged(field.name, field.type))
            else:
                columns.append(pa.array(column(field.name), field.type))
        return pa.Table.from_arrays(columns, schema=self._schema)

    def _vectors(self, name: str, kind: Any) -> Any:
        """[rows] of fixed-size lists; null if the image failed."""
        pa = self._pa
        values = np.zeros((len(self._rows), *self._layout.shapes[name]), np.float32)
        missing = np.ones(len(self._rows), bool)
        for place, row in enumerate(self._rows):
            if name in row.arrays:
                values[place] = row.arrays[name]
                missing[place] = False
        return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), type=kind, mask=pa.array(missing))

    def _ragged(self, name: str, kind: Any) -> Any:
        """[rows] of lists of fixed-size lists, of deepstack of lists of them; null if the image failed."""
        pa = self._pa
        present = [row.arrays.get(name) for row in self._rows]
        lengths = [0 if array is None else len(array) for array in present]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        arrays = [array for array in present if array is not None]
        flat = np.concatenate(arrays).ravel() if arrays else np.zeros(0, np.float32)
        vectors = pa.array(flat)
        for extent in reversed(self._layout.shapes[name]):
            vectors = pa.FixedSizeListArray.from_arrays(vectors, extent)
        mask = pa.array([array is None for array in present])
        return pa.ListArray.from_arrays(pa.array(offsets), vectors, type=kind, mask=mask)


def _parts(path: Path) -> list[Path]:
    found = [(int(match[1]), entry) for entry in path.iterdir() if (match := _PART.fullmatch(entry.name))]
    return [entry for _, entry in sorted(found)]


def _pyarrow(module: str = "pyarrow") -> Any:
    return import_or_explain(module, purpose="writing Parquet", remedy='pip install "navit-edge[run]"')
