"""The bundle's manifest: one schema, written by export and build-engine, read by every part.

The C++ reader (``csrc/src/bundle/manifest.cc``) reads the same JSON; ``docs/bundle.md`` says what each field means.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec

from navit_edge import _core, files
from navit_edge.bundle.directory import Directory, opened
from navit_edge.bundle.merging import Merging, extent_of
from navit_edge.bundle.sizing_rule import Sizing as Sizing
from navit_edge.errors import BundleError
from navit_edge.options import as_json
from navit_edge.vocabulary import (
    WHITE,
    AlphaRule,
    Decode,
    Filter,
    Icc,
    Lowering,
    Orientation,
    Processor,
    Scores,
    Strategy,
)

#: What this version reads and writes: docs/compatibility.md says what raises which.
SCHEMA_VERSIONS = (1, 2, 3)
SCHEMA_VERSION = 1  #: of a bundle that needs no later one
SCHEMA_MINOR = 1
#: Of a bundle whose model merges tokens: no reader of an earlier one knows the inputs of its graphs.
MERGING_SCHEMA = 3
#: What a bundle says that has a text tower.
TEXT_SCHEMA_MINOR = 1
#: Id of the text tower's graph, where engines name the graph that they were built from.
TEXT_GRAPH = "text"
#: Sizing rules that readers of schema 1 do not know.
_RULES_OF_SCHEMA_2 = ("patch-budget", "navit-resize")
MANIFEST = "manifest.json"
#: Before a field of the preprocessing, a key of ``created_by``: where export took that field from.
SOURCE_PREFIX = "preprocess."
MOST_BYTES: int = _core.most_manifest_bytes


class TensorSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One input or output of a graph. ``shape`` mixes extents with "T", "T/4" (9, 16), "N", "N+1" and "L"; if the model
    merges tokens, also with "T*1/2+1N" and "L*1/2+1" (``navit_edge.bundle.merging``)."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    @property
    def patches_per_row(self) -> int:
        """1 of "T" rows, 4 of "T/4"; 0 if its rows are not of patches."""
        rows = str(self.shape[0])
        return int(rows[2:] or 1) if rows.startswith("T") and "*" not in rows else 0


class Graph(msgspec.Struct, frozen=True, kw_only=True):
    """An ONNX graph in float32, with Q/DQ if quantized; its weights lie in ``graphs/weights.bin``, shared by all."""

    id: str  # "masked", "padded", "packed", "masked-int8"
    lowering: Lowering
    file: str  # "graphs/masked.onnx"
    opset: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    quantization: str = "none"  # "none" | "int8" | "fp8": of its linear layers

    @property
    def block_side(self) -> int:
        """Patches a side of the blocks that every image's grid is made of, as its outputs merge them."""
        return math.lcm(*(math.isqrt(spec.patches_per_row) for spec in self.outputs if spec.patches_per_row))


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What one pass may hold: an optimization profile, if the backend has them."""

    tokens: int  # most tokens
    images: int  # most images
    target_tokens: int  # the planner stops filling here; == tokens if T is padded to the budget
    activation_bytes: int | None = None  # device memory for activations, if the builder says
    longest: int | None = None  # most tokens of one image (L of the padded lowering); None: as many as the pack holds

    def extents(self, tokens: int) -> dict[str, int]:
        """The letters in shapes of a graph's inputs, for a pack of so many tokens and as many images as it may hold."""
        return {"T": tokens, "L": tokens, "N": self.images, "N+1": self.images + 1}

    def extent(self, word: int | str, tokens: int) -> int:
        """Of a word of a shape, for such a pack."""
        if isinstance(word, int):
            return word
        return extent_of(word, self.extents(tokens)) if "*" in word else self.extents(tokens)[word]


class BudgetCost(msgspec.Struct, frozen=True, kw_only=True):
    """A pack's predicted microseconds: fixed_us + us_per_token * T + us_per_score * S (docs/planning.md)."""

    fixed_us: float
    us_per_token: float
    us_per_score: float


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What `navit-edge bench --calibrate` measured of an engine, and how well the coefficients fit."""

    budgets: tuple[BudgetCost, ...]  # one for each budget
    packs: int  # how many different packs were timed
    r_squared: float
    mean_error: float  # mean of |predicted - measured| / measured
    threads: int
    device: str


class EngineGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Engines of one budget each, which a session opens together and runs as one."""

    id: str  # "tensorrt-sm87-fp16-t256+t1024"; no engine's id
    members: tuple[str, ...]  # ids of its engines, this one's among them


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    """A compiled engine."""

    id: str  # "<backend>-<target>-<precision>"
    backend: str  # one of vocabulary.BACKENDS, or a later one
    target: str  # "cpu", "sm86+sm89"
    precision: str  # one of vocabulary.PRECISIONS
    graph: str  # id of the graph it was built from
    strategy: Strategy  # what "auto" measures the others against
    dynamic_tokens: bool  # T is the pack's own token count, not padded to the budget
    budgets: tuple[Budget, ...]  # ascending in tokens
    file: str  # "engines/openvino-cpu-bf16.blob"
    builder: dict[str, str]  # library -> version
    options: dict[str, str] = {}  # handed to the backend as they are
    report: str | None = None  # "reports/build-<id>.json"
    float_precision: str = ""  # one of vocabulary.FLOATS: of what computes beside quantized layers
    group: EngineGroup | None = None
    cost: Cost | None = None  # measured on a device; None: assumed from the model's sizes


class Preprocess(msgspec.Struct, frozen=True, kw_only=True):
    """From pixels to ``patches``; mean and std are folded into the graph and stand here for the record."""

    sizing: Sizing
    filter: Filter
    patch_px: int
    channels: int
    mean: tuple[float, ...]  # of pixels / 255
    std: tuple[float, ...]
    alpha: AlphaRule = "drop"
    background: tuple[int, int, int] = WHITE  # RGB, for alpha "composite"
    orientation: Orientation = "as-decoded"
    icc: Icc = "ignore"
    processor: Processor | msgspec.UnsetType = msgspec.UNSET  # whose pixels they are; not written: "pillow"
    decode: Decode | msgspec.UnsetType = msgspec.UNSET  # of JPEG files that are made smaller; not written: "exact"


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """What was exported."""

    family: str  # "navit"
    width: int  # D
    depth: int
    heads: int
    prefix_tokens: int
    parameters: int
    token_merge: int = 1  # patches a side that a row of the output "tokens" stands for; 2: a row for each 2 x 2
    config: dict[str, Any] = {}  # the family's own config, for the record
    merging: Merging | msgspec.UnsetType = msgspec.UNSET  # of tokens, inside the model; not written: none


class File(msgspec.Struct, frozen=True, kw_only=True):
    sha256: str
    bytes: int


class Tolerance(msgspec.Struct, frozen=True, kw_only=True):
    """How far an engine of one precision may lie from float32 before `navit-edge verify` fails it."""

    min_cosine: float  # of every image's every output
    max_relative: float  # largest difference of an output, over the largest absolute value of that output
    min_top1: float = 0.0  # share of images of the same class; 0 if the model has no classes worth the name


class Golden(msgspec.Struct, frozen=True, kw_only=True):
    """A drawn image (``navit_edge.verify.golden``) and what preprocessing made of it at export."""

    height_px: int
    width_px: int
    grid: tuple[int, int]  # rows, columns
    sha256: str  # of the patches, uint8 [rows * columns, F]


class TextEngine(msgspec.Struct, frozen=True, kw_only=True):
    """The text graph, compiled: what C++ runs (``navit_edge/text_encoder.h``)."""

    id: str  # "openvino-cpu-text"
    backend: str
    target: str  # "cpu"
    precision: str
    file: str  # "engines/openvino-cpu-text.blob"
    builder: dict[str, str]  # library -> version
    options: dict[str, str] = {}  # handed to the backend as they are
    report: str | None = None


class TextTower(msgspec.Struct, frozen=True, kw_only=True):
    """A graph in float32 that embeds texts where the images' embeddings lie; its weights lie beside it. Since 1.1."""

    file: str  # "text/text.onnx"
    opset: int
    inputs: tuple[TensorSpec, ...]  # "input_ids" int32 [N texts, tokens], and "attention_mask" if the model has one
    outputs: tuple[TensorSpec, ...]  # "embedding" float32 [N, D], as the model gives it: of any length
    tokenizer: str  # "text/tokenizer.json" of the tokenizers library; pads and cuts to the graph's tokens
    logit_scale: float  # an image and a text: logit = logit_scale * cosine + logit_bias; its sigmoid is the probability
    logit_bias: float
    engines: tuple[TextEngine, ...] = ()


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    schema_version: int
    name: str
    created_by: dict[str, str]  # tool or package -> version; "weights" and "preprocess.FIELD" -> where from
    model: Model
    preprocess: Preprocess
    graphs: tuple[Graph, ...]
    engines: tuple[Engine, ...] = ()  # in order of preference within a device
    labels: tuple[str, ...] = ()
    tolerances: dict[str, Tolerance] = {}  # precision -> what `navit-edge verify` demands
    golden: tuple[Golden, ...] = ()  # preprocessing at export, by Pillow or torch, and numpy
    files: dict[str, File] = {}  # every file of the bundle but manifest.json
    schema_minor: int | msgspec.UnsetType = msgspec.UNSET  # not written while it is 0
    scores: Scores | msgspec.UnsetType = msgspec.UNSET  # of the classes: "softmax" if it is not there. Since 1.1
    text: TextTower | msgspec.UnsetType = msgspec.UNSET

    @property
    def frames(self) -> int:
        """Of a film that a patch holds, one after another: 2 of a bundle for films."""
        frame = self.preprocess.patch_px**2 * self.preprocess.channels
        shapes = [spec.shape for graph in self.graphs[:1] for spec in graph.inputs if spec.name == "patches"]
        return 2 if any(shape[-1] == 2 * frame for shape in shapes) else 1


def processor_of(preprocess: Preprocess) -> Processor:
    """Whose image processor's pixels the model gets, bit for bit."""
    return "pillow" if preprocess.processor is msgspec.UNSET else preprocess.processor


def decode_of(preprocess: Preprocess) -> Decode:
    """How JPEG files that are made smaller are decoded, if a session does not say."""
    return "exact" if preprocess.decode is msgspec.UNSET else preprocess.decode


def for_pixels(manifest: Manifest, processor: Processor, decode: Decode) -> Manifest:
    """The manifest of a bundle with pixels of ``processor``, of the lowest schema that has them and the sizing rule.

    Readers of schema 1 decode all of a file and resize as Pillow does, so that other pixels need schema 2.
    """
    said: Processor | msgspec.UnsetType = msgspec.UNSET if processor == "pillow" else processor
    way: Decode | msgspec.UnsetType = msgspec.UNSET if decode == "exact" else decode
    preprocess = msgspec.structs.replace(manifest.preprocess, processor=said, decode=way)
    sizing = preprocess.sizing
    later_fields = (sizing.rule == "longest-side" and sizing.merge > 0) or sizing.enlarge != "off"
    later_rule = sizing.rule in _RULES_OF_SCHEMA_2 or later_fields
    if processor == "torchvision" or decode == "scaled" or later_rule:
        return msgspec.structs.replace(manifest, preprocess=preprocess, schema_version=2)
    if processor == "timm":
        return msgspec.structs.replace(manifest, preprocess=preprocess, schema_minor=1)
    return msgspec.structs.replace(manifest, preprocess=preprocess)


_REMEDY = "copy the bundle again or export the model again"


def load(bundle: Path) -> Manifest:
    """Reads and checks ``<bundle>/manifest.json``. Hashes no file: ``hashing.verify_files`` does.

    Raises BundleError: It is missing, a link, too large, not JSON, has another schema version, an unknown or missing
        field, or contradicts itself (docs/bundle.md: "What a reader refuses").
    """
    path = Path(bundle) / MANIFEST
    try:
        raw = files.read_regular(path, most_bytes=MOST_BYTES, remedy=_REMEDY)
    except FileNotFoundError:
        found = "no such directory" if not Path(bundle).exists() else "no manifest.json in it"
        raise BundleError(
            f"{bundle} is not a bundle: {found}; expected a directory made by `navit-edge export … -o NAME.navit`"
        ) from None
    except NotADirectoryError:
        raise BundleError(f"{bundle} is not a bundle: found a file; expected a directory with manifest.json") from None
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}; check its permissions") from error
    return parse(raw, source=files.shown(path))


def load_in(directory: Directory) -> Manifest:
    """The same, from a bundle's directory that is open."""
    path = directory.root / MANIFEST
    try:
        with directory.folder("") as at:
            raw = files.read_regular(MANIFEST, most_bytes=MOST_BYTES, dir_fd=at, remedy=_REMEDY)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}; check its permissions") from error
    return parse(raw, source=files.shown(path))


def parse(raw: bytes, *, source: str) -> Manifest:
    """Checks and decodes a manifest; ``source`` names it in messages. Raises BundleError.

    What is refused is the C++ reader's to say, so that there is one answer; here its fields only become objects.
    """
    _core.check_manifest(raw, source=source)
    try:
        return msgspec.json.decode(raw, type=Manifest)
    except msgspec.DecodeError as error:  # the two are held to each other by tests/python/test_manifest_corpus.py
        raise BundleError(f"{source} is not valid: {error}; export the model again") from None


def save(manifest: Manifest, bundle: Path) -> None:
    """Checks and writes ``<bundle>/manifest.json``: whole or not at all, and on disk when it returns."""
    with opened(bundle) as directory:
        save_in(directory, manifest)


def save_in(directory: Directory, manifest: Manifest) -> None:
    """The same, into a bundle's directory that is open."""
    text = msgspec.json.format(check(manifest, source="the manifest to be written"), indent=2) + b"\n"
    try:
        directory.write(MANIFEST, text)
    except OSError as error:
        raise BundleError(
            f"{directory.root / MANIFEST} could not be written: {error.strerror}; the bundle is as it was before"
        ) from error


def require_writable(manifest: Manifest, *, source: str) -> None:
    """Raises BundleError for a later minor schema: written back, it would lack the fields that are not known here."""
    if manifest.schema_minor and manifest.schema_minor > SCHEMA_MINOR:
        raise BundleError(
            f"{source} has schema {manifest.schema_version}.{manifest.schema_minor}, which this version reads and "
            "cannot write; upgrade navit-edge (pip install --upgrade navit-edge) to change the bundle"
        )


def check(manifest: Manifest, *, source: str) -> bytes:
    """Raises BundleError if no reader would take the manifest, or it cannot be written; returns it as JSON."""
    require_writable(manifest, source=source)
    try:
        text = msgspec.json.encode(manifest, enc_hook=as_json)
    except (UnicodeEncodeError, TypeError) as error:
        raise BundleError(
            f"{source} cannot be written as JSON ({error}); expected text and numbers of 64 bits"
        ) from None
    _core.check_manifest(text, source=source)
    return text


def find_engine(manifest: Manifest, name: str) -> Engine:
    """The engine of an id; of a group's id its engines as one, with all their budgets in ascending order.

    Raises BundleError: The bundle holds neither.
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


def text_engines(manifest: Manifest) -> tuple[Engine, ...]:
    """Those of the text tower, as engines of the graph TEXT_GRAPH without budgets."""
    if not isinstance(manifest.text, TextTower):
        return ()
    unused: dict[str, Any] = {"graph": TEXT_GRAPH, "strategy": "auto", "dynamic_tokens": True, "budgets": ()}
    return tuple(Engine(**{**msgspec.structs.asdict(engine), **unused}) for engine in manifest.text.engines)


def is_inside(name: str) -> bool:
    """Whether ``name`` is a plain relative name of a file inside of the bundle, and not the manifest's own."""
    return _core.stays_inside(name)
