"""Images with a label each: a folder of class folders, or a table of paths and labels."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from navit_edge.bundle.hashing import hash_file
from navit_edge.decode.formats import FORMATS
from navit_edge.errors import InvalidInputError, NavitEdgeError, import_or_explain
from navit_edge.files import read_json, read_text
from navit_edge.inputs.entries import Folders, Refused, Skipped, Wanted
from navit_edge.inputs.images import nothing_in
from navit_edge.run.sources import Item, Name
from navit_edge.text import key_of, shown

#: The columns of a table; it may have others.
PATH, LABEL = "path", "label"
_EXPECTED = "a folder of class folders, or a CSV or Parquet file with the columns path and label"


@dataclass(frozen=True, kw_only=True)
class Example:
    """name: of the image in outputs: its path below the class folders, or as the table has it. path: what is opened.
    error: set if it cannot be."""

    name: str
    path: str
    label: str
    error: NavitEdgeError | None = None


@dataclass(frozen=True, kw_only=True)
class Examples:
    """What a job of `navit_edge.run` takes, with labels. empty: class folders without images. skipped: entries that a
    rule leaves out."""

    given: str
    examples: tuple[Example, ...]
    empty: tuple[str, ...] = ()
    skipped: Skipped = field(default_factory=Skipped)

    def items(self, stop_fd: int = -1) -> Iterator[Item]:
        """Every image in order."""
        for one in self.examples:
            yield Item(name=Name(one.name), image=one.path, error=one.error)

    def count(self) -> int:
        """How many images there are."""
        return len(self.examples)

    @cached_property
    def names(self) -> list[str]:
        return [one.name for one in self.examples]

    @cached_property
    def labels(self) -> list[str]:
        """Of each image."""
        return [one.label for one in self.examples]

    @cached_property
    def classes(self) -> list[str]:
        """The labels that occur, each once, sorted."""
        return sorted(set(self.labels))

    @cached_property
    def digest(self) -> str:
        """Of the names and the labels, in order: what outputs of the same images are known by."""
        found = hashlib.sha256()
        for one in self.examples:
            for text in (one.name, one.label):
                raw = text.encode()
                found.update(len(raw).to_bytes(8, "little") + raw)
        return found.hexdigest()


def read_examples(data: Path, *, formats: tuple[str, ...] = FORMATS) -> Examples:
    """The images and labels of ``data``. formats: of the decoder; by their suffixes folders are searched.

    Raises InvalidInputError if there is none of it, or a table is not as expected. Images are not opened.
    """
    if data.is_dir():
        return _of_folders(data, formats)
    suffix = data.suffix.lower()
    if suffix not in (".csv", ".parquet") or not data.exists():
        found = "there is none" if not data.exists() else f"it is a file that ends in {suffix!r}"
        raise InvalidInputError(f"{shown(data)}: {found}; expected {_EXPECTED}")
    rows = _csv_rows(data) if suffix == ".csv" else _parquet_rows(data)
    return _of_table(data, rows)


def shared_files(one: Examples, other: Examples) -> list[str]:
    """Names of ``one`` whose content is a file of ``other``, too, to the byte.

    Only files of the same size are read. What cannot be read is left out: it cannot be decoded either.
    """
    mine, theirs = _by_size(one), _by_size(other)
    shared: set[str] = set()
    for size in mine.keys() & theirs.keys():
        there = {_hash(example) for example in theirs[size]}
        shared |= {example.name for example in mine[size] if (found := _hash(example)) is not None and found in there}
    return [name for name in one.names if name in shared]


class _CalibrationImage(msgspec.Struct, kw_only=True):
    sha256: str


class _Calibration(msgspec.Struct, kw_only=True):
    """Of a report of `navit-edge quantize`, what is read here."""

    calibration: tuple[_CalibrationImage, ...]


def calibration_notes(bundle: Path, examples: Examples) -> Iterator[str]:
    """A sentence for each precision of a bundle that was calibrated with some of the images, to the byte."""
    for path in sorted((bundle / "reports").glob("quantize-*.json")):
        precision = path.stem.partition("-")[2]
        try:
            images = msgspec.convert(read_json(path), _Calibration).calibration
        except (msgspec.ValidationError, InvalidInputError):
            continue  # it says nothing of images
        known = {one.sha256 for one in images}
        if names := [one.name for one in examples.examples if _hash(one) in known]:
            yield (
                f"{len(names)} image{'s' * (len(names) > 1)} of the data calibrated {precision}, the first "
                f"{shown(names[0])}: its rows may be too good; leave them out"
            )


def _by_size(examples: Examples) -> dict[int, list[Example]]:
    found: dict[int, list[Example]] = {}
    for example in examples.examples:
        with suppress(OSError):
            found.setdefault(os.stat(example.path).st_size, []).append(example)
    return found


def _hash(example: Example) -> str | None:
    try:
        return hash_file(Path(example.path), follow_links=True).sha256
    except OSError:
        return None


def _of_folders(data: Path, formats: tuple[str, ...]) -> Examples:
    wanted = Wanted(formats=formats)
    skipped = Skipped()
    folders = Folders(wanted, recursive=True, skipped=skipped)
    examples: list[Example] = []
    empty: list[str] = []
    classes = 0
    for entry in folders.entries(str(data)):
        if entry.name.startswith("."):
            skipped["hidden"] += 1
            continue
        if not entry.is_dir():
            skipped["beside the class folders"] += 1
            continue
        classes += 1
        label = key_of(entry.name)
        before = len(examples)
        for found in folders.walk(entry.path):
            path, error = (found.path, found.error) if isinstance(found, Refused) else (found, None)
            name = key_of(os.path.relpath(path, data))
            examples.append(Example(name=name, path=path, label=label, error=error))
        if len(examples) == before:
            empty.append(label)
    if not examples:
        words = (
            f"{shown(data)} holds no class folders"
            if not classes
            else f"the class folders of {shown(data)} hold no images"
        )
        raise InvalidInputError(f"{nothing_in(words, wanted, skipped)}, in {_EXPECTED}")
    return Examples(given=str(data), examples=tuple(examples), empty=tuple(empty), skipped=skipped)


def _of_table(data: Path, rows: Iterable[tuple[str, Any, Any]]) -> Examples:
    """rows: where each stands, its path and its label, both unchecked."""
    seen: dict[str, Example] = {}
    skipped = Skipped()
    for where, path, value in rows:
        label = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        for column, text in ((PATH, path), (LABEL, label)):
            if not isinstance(text, str) or not text or "\0" in text:
                raise InvalidInputError(
                    f"{shown(data)}, {where}: {column} is {text!r}; expected a text that is not empty"
                )
        example = Example(name=key_of(path), path=os.path.join(data.parent, path), label=label)
        before = seen.setdefault(example.name, example)
        if before.label != label:
            raise InvalidInputError(
                f"{shown(data)}, {where}: {shown(path)} has the label {shown(label)!r} here and "
                f"{shown(before.label)!r} before; expected one label an image"
            )
        if before is not example:
            skipped["named twice"] += 1
    if not seen:
        raise InvalidInputError(f"{shown(data)} has no rows; expected a path and a label in each")
    return Examples(given=str(data), examples=tuple(seen.values()), skipped=skipped)


def _csv_rows(data: Path) -> Iterator[tuple[str, Any, Any]]:
    text = read_text(data, expected="a CSV file with the columns path and label")
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        _check_columns(data, reader.fieldnames or ())
        for row in reader:
            yield f"line {reader.line_num}", row[PATH], row[LABEL]
    except csv.Error as error:
        raise InvalidInputError(
            f"{shown(data)}, line {reader.line_num}: {error}; expected CSV as RFC 4180 has it"
        ) from None


def _parquet_rows(data: Path) -> Iterator[tuple[str, Any, Any]]:
    parquet = import_or_explain(
        "pyarrow.parquet", purpose="reading labels from Parquet", remedy='pip install "navit-edge[run]"'
    )
    pa = import_or_explain("pyarrow", purpose="reading labels from Parquet", remedy='pip install "navit-edge[run]"')
    try:
        _check_columns(data, parquet.read_schema(data).names)
        table = parquet.read_table(data, columns=[PATH, LABEL])
        columns = [table.column(name).to_pylist() for name in (PATH, LABEL)]
    except (pa.ArrowException, OSError) as error:
        raise InvalidInputError(f"{shown(data)} cannot be read as Parquet: {error}; write it again") from error
    for place, (path, label) in enumerate(zip(*columns, strict=True)):
        yield f"row {place}", path, label


def _check_columns(data: Path, found: Iterable[str]) -> None:
    missing = [name for name in (PATH, LABEL) if name not in found]
    if missing:
        raise InvalidInputError(
            f"{shown(data)} has no column {' and no column '.join(missing)}; its columns are "
            f"{', '.join(map(shown, found)) or 'none'}; name them path and label"
        )
