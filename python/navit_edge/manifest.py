"""The bundle's manifest: one schema, written by export and build-engine, read by every part.

The C++ reader (``csrc/src/manifest.cc``) reads the same JSON; ``docs/bundle.md`` says what each field means.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from navit_edge.errors import BundleError

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"


class TensorSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One input or output of a graph. ``shape`` mixes extents and the letters "T", "N", "L"."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


class Graph(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An ONNX graph in float32; its weights lie in ``graphs/weights.bin``, shared by all graphs."""

    id: str  # "masked", "padded"
    lowering: str  # "masked" | "padded" | "packed"
    file: str  # "graphs/masked.onnx"
    opset: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class Budget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one pass may hold: an optimization profile, where the backend has them."""

    tokens: int  # most tokens
    images: int  # most images
    target_tokens: int  # the planner stops filling here; == tokens where T is padded to the budget
    activation_bytes: int | None = None  # device memory for activations, where the builder says


class Engine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A compiled engine."""

    id: str  # "<backend>-<target>-<precision>"
    backend: str  # "openvino" | "tensorrt" | "tensorrt-rtx"
    target: str  # "cpu", "sm86+sm89"
    precision: str  # "fp32" | "fp16" | "bf16"
    graph: str  # id of the graph it was built from
    strategy: str  # "first-fit-decreasing" | "similar-length"
    dynamic_tokens: bool  # T is the pack's own token count, not padded to the budget
    budgets: tuple[Budget, ...]  # ascending in tokens
    file: str  # "engines/openvino-cpu-bf16.blob"
    builder: dict[str, str]  # library -> version
    options: dict[str, str] = {}  # handed to the backend as they are
    report: str | None = None  # "reports/build-<id>.json"


class Sizing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which grid an image is resized to (docs/preprocessing.md)."""

    rule: str  # "token-cap" | "native"
    max_tokens: int = 0  # patch tokens per image; "token-cap" only


class Preprocess(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From pixels to ``patches``; mean and std are folded into the graph and stand here for the record."""

    sizing: Sizing
    filter: str  # "nearest" | "box" | "bilinear" | "hamming" | "bicubic" | "lanczos", as Pillow computes them
    patch_px: int
    channels: int
    mean: tuple[float, ...]  # of pixels / 255
    std: tuple[float, ...]
    alpha: str = "drop"  # "drop" | "composite" | "reject": what becomes of an image's alpha channel
    background: tuple[int, int, int] = (255, 255, 255)  # RGB, for alpha "composite"


class Model(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was exported."""

    family: str  # "navit"
    width: int  # D
    depth: int
    heads: int
    prefix_tokens: int
    parameters: int
    config: dict[str, Any] = {}  # the family's own config, for the record


class File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    sha256: str
    bytes: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    schema_version: int
    name: str
    created_by: dict[str, str]
    model: Model
    preprocess: Preprocess
    graphs: tuple[Graph, ...]
    engines: tuple[Engine, ...] = ()  # in order of preference within a device
    labels: tuple[str, ...] = ()
    files: dict[str, File] = {}  # every file of the bundle but manifest.json


class _Version(msgspec.Struct):
    schema_version: int


# What `load` accepts. Strings stay strings in the structs, so that a message can name the field and what is known.
_LOWERINGS = ("masked", "padded", "packed")
_STRATEGIES = ("first-fit-decreasing", "similar-length")
_PRECISIONS = ("fp32", "fp16", "bf16", "int8", "fp8")
_SIZING_RULES = ("token-cap", "native")
_FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
_ALPHAS = ("drop", "composite", "reject")
_DTYPES = ("uint8", "int32", "int64", "float16", "bfloat16", "float32")
_LETTERS = ("T", "N", "L")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


def load(bundle: Path) -> Manifest:
    """Reads and checks ``<bundle>/manifest.json``. Hashes no file: ``bundle.verify_files`` does.

    Raises:
        BundleError: It is missing, is not JSON, has another schema version, an unknown or missing field, or
            contradicts itself.
    """
    path = Path(bundle) / MANIFEST
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        found = "no such directory" if not Path(bundle).exists() else "no manifest.json in it"
        raise BundleError(
            f"{bundle} is not a bundle: {found}; expected a directory made by `navit-edge export … -o NAME.navit`"
        ) from None
    except NotADirectoryError:
        raise BundleError(f"{bundle} is not a bundle: found a file; expected a directory with manifest.json") from None
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}; check its permissions") from error
    return parse(raw, source=str(path))


def parse(raw: bytes, *, source: str) -> Manifest:
    """Decodes and checks a manifest; ``source`` names it in messages. Raises BundleError."""
    try:
        version = msgspec.json.decode(raw, type=_Version).schema_version
    except msgspec.DecodeError as error:  # ValidationError is one
        raise BundleError(f"{source} is damaged: {error}; expected the JSON that export wrote; export again") from None
    if version != SCHEMA_VERSION:
        remedy = (
            "upgrade navit-edge (pip install --upgrade navit-edge)"
            if version > SCHEMA_VERSION
            else "export the model again with this version"
        )
        raise BundleError(f"{source} has schema_version {version}; this version reads {SCHEMA_VERSION}; {remedy}")
    try:
        manifest = msgspec.json.decode(raw, type=Manifest)
    except msgspec.ValidationError as error:
        raise BundleError(
            f"{source} does not follow schema {SCHEMA_VERSION}: {error}; "
            "expected the fields of docs/bundle.md; export the model again"
        ) from None
    check(manifest, source=source)
    return manifest


def save(manifest: Manifest, bundle: Path) -> None:
    """Checks and writes ``<bundle>/manifest.json``: whole or not at all, and on disk when it returns."""
    check(manifest, source="the manifest to be written")
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
    path = Path(bundle) / MANIFEST
    beside = path.with_name(f".{MANIFEST}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise BundleError(f"{path} could not be written: {error.strerror}; the bundle is as it was before") from error
    fsync_directory(path.parent)


def fsync_directory(directory: Path) -> None:
    """Makes the renames in ``directory`` durable."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check(manifest: Manifest, *, source: str) -> None:
    """Raises BundleError where the manifest contradicts itself or names a file outside of the bundle."""

    def fail(what: str) -> NoReturn:
        raise BundleError(f"{source} is not valid: {what}")

    def known(field: str, value: str, values: tuple[str, ...]) -> None:
        if value not in values:
            fail(f"{field} is {value!r}; known: {', '.join(values)}; upgrade navit-edge or export again")

    def listed(field: str, name: str) -> None:
        if name not in manifest.files:
            fail(f"{field} names the file {name!r}, which `files` does not list; export or build again")

    if manifest.schema_version != SCHEMA_VERSION:
        fail(f"schema_version is {manifest.schema_version}; this version writes {SCHEMA_VERSION}")
    for name, file in manifest.files.items():
        if not is_inside(name):
            fail(f"`files` names {name!r}; expected a relative name inside of the bundle, as 'graphs/masked.onnx'")
        if not re.fullmatch(r"[0-9a-f]{64}", file.sha256) or file.bytes < 0:
            fail(f"`files` gives {name!r} the sha256 {file.sha256!r}; expected 64 lower-case hex digits, and a size")

    _check_preprocess(manifest, fail, known)

    for kind, ids in (("graph", [g.id for g in manifest.graphs]), ("engine", [e.id for e in manifest.engines])):
        for item in ids:
            if not _ID.fullmatch(item):
                fail(f"{kind} id {item!r}; expected letters, digits and . _ + -")
            if ids.count(item) > 1:
                fail(f"{kind} id {item!r} appears {ids.count(item)} times; expected once")

    for graph in manifest.graphs:
        known(f"lowering of graph {graph.id!r}", graph.lowering, _LOWERINGS)
        listed(f"graph {graph.id!r}", graph.file)
        for tensor in (*graph.inputs, *graph.outputs):
            known(f"dtype of {tensor.name!r} of graph {graph.id!r}", tensor.dtype, _DTYPES)
            for extent in tensor.shape:
                if extent not in _LETTERS if isinstance(extent, str) else extent < 1:
                    fail(f"shape of {tensor.name!r} of graph {graph.id!r} has {extent!r}; expected T, N, L or 1 and up")
            if tensor.name == "logits" and manifest.labels and tensor.shape[-1] != len(manifest.labels):
                fail(f"{len(manifest.labels)} labels for logits of shape {list(tensor.shape)}; expected one a class")

    for engine in manifest.engines:
        name = f"engine {engine.id!r}"
        known(f"strategy of {name}", engine.strategy, _STRATEGIES)
        known(f"precision of {name}", engine.precision, _PRECISIONS)
        listed(name, engine.file)
        if engine.report is not None:
            listed(f"report of {name}", engine.report)
        if engine.graph not in [g.id for g in manifest.graphs]:
            fail(f"{name} was built from graph {engine.graph!r}; the bundle has {[g.id for g in manifest.graphs]}")
        if not engine.budgets:
            fail(f"{name} has no budgets; expected one or more")
        tokens = [b.tokens for b in engine.budgets]
        if any(b >= a for b, a in itertools.pairwise(tokens)):
            fail(f"budgets of {name} have {tokens} tokens; expected ascending")
        for budget in engine.budgets:
            if budget.images < 1 or not 1 <= budget.target_tokens <= budget.tokens:
                fail(
                    f"{name} has a budget of {budget.tokens} tokens, {budget.images} images and target_tokens "
                    f"{budget.target_tokens}; expected 1 image and up, and 1 <= target_tokens <= tokens"
                )


def _check_preprocess(
    manifest: Manifest, fail: Callable[[str], NoReturn], known: Callable[[str, str, tuple[str, ...]], None]
) -> None:
    pre = manifest.preprocess
    known("preprocess.sizing.rule", pre.sizing.rule, _SIZING_RULES)
    known("preprocess.filter", pre.filter, _FILTERS)
    known("preprocess.alpha", pre.alpha, _ALPHAS)
    if not all(0 <= value <= 255 for value in pre.background):
        fail(f"preprocess.background is {list(pre.background)}; expected three values of 0 to 255: R, G, B")
    if pre.sizing.rule == "token-cap" and pre.sizing.max_tokens < 1:
        fail(f"preprocess.sizing.max_tokens is {pre.sizing.max_tokens}; expected 1 and up with the rule 'token-cap'")
    if pre.patch_px < 1 or pre.channels < 1:
        fail(f"preprocess has patch_px {pre.patch_px} and channels {pre.channels}; expected 1 and up")
    if not len(pre.mean) == len(pre.std) == pre.channels:
        fail(f"preprocess has {len(pre.mean)} means and {len(pre.std)} stds; expected {pre.channels}, one a channel")


def is_inside(name: str) -> bool:
    """Whether ``name`` is a plain relative name of a file inside of the bundle, and not the manifest's own."""
    parts = name.split("/")
    return (
        name != MANIFEST
        and "\\" not in name
        and "\0" not in name
        and ":" not in parts[0]
        and all(part not in ("", ".", "..") for part in parts)
    )
