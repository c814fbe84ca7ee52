"""The bundle's manifest: one schema, written by export and build-engine, read by every part.

The C++ reader (``csrc/src/manifest.cc``) reads the same JSON; ``docs/bundle.md`` says what each field means.
"""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from navit_edge import files, inside
from navit_edge import sizing as sizings
from navit_edge.errors import BundleError
from navit_edge.inside import Inside
from navit_edge.options import as_json
from navit_edge.sizing import Sizing as Sizing

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
MOST_BYTES = 16 << 20
#: How images may be packed (csrc/include/navit_edge/plan.h).
STRATEGIES = (
    "auto", "fifo", "first-fit", "best-fit", "first-fit-decreasing", "best-fit-decreasing", "similar-length"
)  # fmt: skip


class TensorSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One input or output of a graph. ``shape`` mixes extents with "T", "T/4", "N", "N+1" and "L"."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


class Graph(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An ONNX graph in float32, with Q/DQ where quantized; its weights lie in ``graphs/weights.bin``, shared by all."""

    id: str  # "masked", "padded", "packed", "masked-int8"
    lowering: str  # "masked" | "padded" | "packed"
    file: str  # "graphs/masked.onnx"
    opset: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    quantization: str = "none"  # "none" | "int8" | "fp8": of its linear layers


class Budget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one pass may hold: an optimization profile, where the backend has them."""

    tokens: int  # most tokens
    images: int  # most images
    target_tokens: int  # the planner stops filling here; == tokens where T is padded to the budget
    activation_bytes: int | None = None  # device memory for activations, where the builder says
    longest: int | None = None  # most tokens of one image (L of the padded lowering); None: as many as the pack holds


class BudgetCost(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A pack's predicted microseconds: fixed_us + us_per_token * T + us_per_score * S (docs/planning.md)."""

    fixed_us: float
    us_per_token: float
    us_per_score: float


class Cost(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `navit-edge bench --calibrate` measured of an engine, and how well the coefficients fit."""

    budgets: tuple[BudgetCost, ...]  # one for each budget
    packs: int  # how many different packs were timed
    r_squared: float
    mean_error: float  # mean of |predicted - measured| / measured
    threads: int
    device: str


class EngineGroup(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Engines that hold one budget each where others hold all of them: a session opens them together."""

    id: str  # "tensorrt-sm87-fp16-t256+t1024"; no engine's id
    members: tuple[str, ...]  # ids of its engines, this one's among them


class Engine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A compiled engine."""

    id: str  # "<backend>-<target>-<precision>"
    backend: str  # "openvino" | "tensorrt" | "tensorrt-rtx"
    target: str  # "cpu", "sm86+sm89"
    precision: str  # "fp32" | "fp16" | "bf16" | "int8" | "fp8"
    graph: str  # id of the graph it was built from
    strategy: str  # one of STRATEGIES: what "auto" measures the others against
    dynamic_tokens: bool  # T is the pack's own token count, not padded to the budget
    budgets: tuple[Budget, ...]  # ascending in tokens
    file: str  # "engines/openvino-cpu-bf16.blob"
    builder: dict[str, str]  # library -> version
    options: dict[str, str] = {}  # handed to the backend as they are
    report: str | None = None  # "reports/build-<id>.json"
    float_precision: str = ""  # "fp32" | "fp16" | "bf16": of what computes beside quantized layers
    group: EngineGroup | None = None
    cost: Cost | None = None  # measured on a device; None: assumed from the model's sizes


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
    orientation: str = "as-decoded"  # "apply": files are turned upright | "as-decoded": only as their decoder does
    icc: str = "ignore"  # "srgb": files are converted by their colour profile | "ignore"


class Model(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was exported."""

    family: str  # "navit"
    width: int  # D
    depth: int
    heads: int
    prefix_tokens: int
    parameters: int
    token_merge: int = 1  # patches a side that a row of the output "tokens" stands for; 2: a row for each 2 x 2
    config: dict[str, Any] = {}  # the family's own config, for the record


class File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    sha256: str
    bytes: int


class Tolerance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far an engine of one precision may lie from float32 before `navit-edge verify` fails it."""

    min_cosine: float  # of every image's every output
    max_relative: float  # largest difference of an output, over the largest absolute value of that output
    min_top1: float = 0.0  # share of images of the same class; 0 where the model has no classes worth the name


class Golden(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A drawn image (``navit_edge.verify.golden``) and what preprocessing made of it at export."""

    height_px: int
    width_px: int
    grid: tuple[int, int]  # rows, columns
    sha256: str  # of the patches, uint8 [rows * columns, F]


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    schema_version: int
    name: str
    created_by: dict[str, str]
    model: Model
    preprocess: Preprocess
    graphs: tuple[Graph, ...]
    engines: tuple[Engine, ...] = ()  # in order of preference within a device
    labels: tuple[str, ...] = ()
    tolerances: dict[str, Tolerance] = {}  # precision -> what `navit-edge verify` demands
    golden: tuple[Golden, ...] = ()  # preprocessing at export, by Pillow and numpy
    files: dict[str, File] = {}  # every file of the bundle but manifest.json


class _Version(msgspec.Struct):
    schema_version: int


# What `load` accepts. Strings stay strings in the structs, so that a message can name the field and what is known.
_LOWERINGS = ("masked", "padded", "packed")
_QUANTIZATIONS = ("none", "int8", "fp8")
_FLOAT_PRECISIONS = ("fp32", "fp16", "bf16")
_PRECISIONS = (*_FLOAT_PRECISIONS, "int8", "fp8")
_FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
_ALPHAS = ("drop", "composite", "reject")
_ORIENTATIONS = ("apply", "as-decoded")
_PROFILES = ("ignore", "srgb")
_DTYPES = ("uint8", "int32", "int64", "float16", "bfloat16", "float32")
#: Patches a side that a row of the output "tokens" stands for -> its rows.
_TOKEN_ROWS = {1: "T", 2: "T/4"}
_LETTERS = ("T", "T/4", "N", "N+1", "L")
#: Options that name code to load: a bundle may come from anywhere.
_CALLERS_OPTIONS = {"tensorrt_dir", "tensorrt_wheels", "lean_runtime", "engine_host_code"}
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


def load(bundle: Path) -> Manifest:
    """Reads and checks ``<bundle>/manifest.json``. Hashes no file: ``bundle.verify_files`` does.

    Raises:
        BundleError: It is missing, is not JSON, has another schema version, an unknown or missing field, or
            contradicts itself.
    """
    path = Path(bundle) / MANIFEST
    try:
        raw = files.read_regular(path, most_bytes=MOST_BYTES)
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


def load_in(directory: Inside) -> Manifest:
    """The same, from a bundle's directory that is open."""
    path = directory.root / MANIFEST
    try:
        with directory.folder("") as at:
            raw = files.read_regular(MANIFEST, most_bytes=MOST_BYTES, dir_fd=at)
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
    with inside.opened(bundle) as directory:
        save_in(directory, manifest)


def save_in(directory: Inside, manifest: Manifest) -> None:
    """The same, into a bundle's directory that is open."""
    check(manifest, source="the manifest to be written")
    text = msgspec.json.format(msgspec.json.encode(manifest, enc_hook=as_json), indent=2) + b"\n"
    try:
        directory.write(MANIFEST, text)
    except OSError as error:
        raise BundleError(
            f"{directory.root / MANIFEST} could not be written: {error.strerror}; the bundle is as it was before"
        ) from error


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
    _check_verification(manifest, fail)

    for kind, ids in (("graph", [g.id for g in manifest.graphs]), ("engine", [e.id for e in manifest.engines])):
        for item in ids:
            if not _ID.fullmatch(item):
                fail(f"{kind} id {item!r}; expected letters, digits and . _ + -")
            if ids.count(item) > 1:
                fail(f"{kind} id {item!r} appears {ids.count(item)} times; expected once")

    token_rows = _TOKEN_ROWS.get(manifest.model.token_merge)
    if token_rows is None:
        fail(f"token_merge is {manifest.model.token_merge}; known: {', '.join(map(str, _TOKEN_ROWS))}")
    for graph in manifest.graphs:
        known(f"lowering of graph {graph.id!r}", graph.lowering, _LOWERINGS)
        known(f"quantization of graph {graph.id!r}", graph.quantization, _QUANTIZATIONS)
        listed(f"graph {graph.id!r}", graph.file)
        for tensor in (*graph.inputs, *graph.outputs):
            known(f"dtype of {tensor.name!r} of graph {graph.id!r}", tensor.dtype, _DTYPES)
            for extent in tensor.shape:
                if extent not in _LETTERS if isinstance(extent, str) else extent < 1:
                    expected = f"{', '.join(_LETTERS)} or 1 and up"
                    fail(f"shape of {tensor.name!r} of graph {graph.id!r} has {extent!r}; expected {expected}")
            if tensor.name == "tokens" and isinstance(tensor.shape[0], str) and tensor.shape[0] != token_rows:
                fail(
                    f"tokens of graph {graph.id!r} have {tensor.shape[0]!r} rows; expected {token_rows!r} with "
                    f"token_merge {manifest.model.token_merge}"
                )
            if tensor.name == "logits" and manifest.labels and tensor.shape[-1] != len(manifest.labels):
                fail(f"{len(manifest.labels)} labels for logits of shape {list(tensor.shape)}; expected one a class")

    for engine in manifest.engines:
        name = f"engine {engine.id!r}"
        known(f"strategy of {name}", engine.strategy, STRATEGIES)
        known(f"precision of {name}", engine.precision, _PRECISIONS)
        if engine.float_precision:
            known(f"float_precision of {name}", engine.float_precision, _FLOAT_PRECISIONS)
        listed(name, engine.file)
        if forbidden := _CALLERS_OPTIONS & set(engine.options):
            found = ", ".join(sorted(forbidden))
            fail(f"options of {name} hold {found}, which name code to load; give them to the session instead")
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
        if engine.group is not None:
            _check_group(engine, [e.id for e in manifest.engines], fail)
            if budget.longest is not None and not 1 <= budget.longest <= budget.tokens:
                fail(f"{name} has a budget of {budget.tokens} tokens with longest {budget.longest}; expected 1 to that")
        if engine.cost is not None:
            _check_cost(engine, fail)


def _check_cost(engine: Engine, fail: Callable[[str], NoReturn]) -> None:
    assert engine.cost is not None
    if len(engine.cost.budgets) != len(engine.budgets):
        fail(
            f"engine {engine.id!r} has costs for {len(engine.cost.budgets)} budgets and {len(engine.budgets)} budgets; "
            "measure them again: navit-edge bench --calibrate"
        )
    for cost in engine.cost.budgets:
        values = (cost.fixed_us, cost.us_per_token, cost.us_per_score)
        if not all(math.isfinite(value) and value >= 0 for value in values):
            fail(f"cost of engine {engine.id!r} has the coefficients {values}; expected finite numbers, 0 and up")


def _check_group(engine: Engine, ids: list[str], fail: Callable[[str], NoReturn]) -> None:
    """Whether all members are there is for the session to say: the bundle's other engines run without them."""
    group = engine.group
    assert group is not None
    if not _ID.fullmatch(group.id) or group.id in ids:
        fail(f"group id {group.id!r} of engine {engine.id!r}; expected letters, digits and . _ + -, and no engine's id")
    if len(group.members) < 2 or len(set(group.members)) < len(group.members) or engine.id not in group.members:
        fail(
            f"the group of engine {engine.id!r} has the members {list(group.members)}; expected two or more engines, "
            "each once and itself among them"
        )


def find_engine(manifest: Manifest, name: str) -> Engine:
    """The engine of an id; of a group's id its engines as one, with all their budgets in ascending order.

    Raises:
        BundleError: The bundle holds neither.
    """
    for engine in manifest.engines:
        if engine.id == name:
            return engine
    members = [e for e in manifest.engines if e.group is not None and e.group.id == name]
    if not members:
        found = ", ".join(engine.id for engine in manifest.engines) or "none"
        raise BundleError(f"the bundle has no engine {name!r}; it has: {found}; name one of these, or build it")
    budgets = sorted((budget for member in members for budget in member.budgets), key=lambda budget: budget.tokens)
    largest = max(members, key=lambda member: member.budgets[-1].tokens)
    return msgspec.structs.replace(largest, id=name, budgets=tuple(budgets), cost=None)


def _check_verification(manifest: Manifest, fail: Callable[[str], NoReturn]) -> None:
    for precision, tolerance in manifest.tolerances.items():
        if precision not in _PRECISIONS:
            fail(f"tolerances name the precision {precision!r}; known: {', '.join(_PRECISIONS)}")
        if not (-1 <= tolerance.min_cosine <= 1 and tolerance.max_relative >= 0 and 0 <= tolerance.min_top1 <= 1):
            fail(
                f"the tolerance of {precision} is min_cosine {tolerance.min_cosine}, max_relative "
                f"{tolerance.max_relative}, min_top1 {tolerance.min_top1}; expected -1 to 1, 0 and up, 0 to 1"
            )
    for golden in manifest.golden:
        if min(golden.height_px, golden.width_px, *golden.grid) < 1 or not re.fullmatch(r"[0-9a-f]{64}", golden.sha256):
            fail(f"golden image {golden.height_px} x {golden.width_px} px; expected sides, grid and sha256 of one")


def _check_preprocess(
    manifest: Manifest, fail: Callable[[str], NoReturn], known: Callable[[str, str, tuple[str, ...]], None]
) -> None:
    pre = manifest.preprocess
    known("preprocess.filter", pre.filter, _FILTERS)
    known("preprocess.alpha", pre.alpha, _ALPHAS)
    known("preprocess.orientation", pre.orientation, _ORIENTATIONS)
    known("preprocess.icc", pre.icc, _PROFILES)
    if not all(0 <= value <= 255 for value in pre.background):
        fail(f"preprocess.background is {list(pre.background)}; expected three values of 0 to 255: R, G, B")
    if pre.patch_px < 1 or pre.channels < 1:
        fail(f"preprocess has patch_px {pre.patch_px} and channels {pre.channels}; expected 1 and up")
    if wrong := sizings.fault(pre.sizing, pre.patch_px):
        fail(f"preprocess.sizing.{wrong}")
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
