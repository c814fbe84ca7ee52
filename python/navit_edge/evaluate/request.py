"""What is evaluated: engines, policies and token caps, by which head, on what."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from navit_edge import _core
from navit_edge.bundle.manifest import Manifest
from navit_edge.decode import DecodeOptions
from navit_edge.errors import BundleError, InvalidInputError
from navit_edge.vocabulary import HEADS, PRECISIONS, Device, Head, Overflow
from navit_edge.zero_shot import TEMPLATES

_TRAINED = ("knn", "linear")


@dataclass(frozen=True, kw_only=True)
class EvaluateRequest:
    """engines: ids of engines or groups; empty: all that run here. precisions: only engines of these; empty: all.
    policies: as ``Policy.parse`` takes them. caps: most patches of an image; 0: as the bundle says.
    head: "auto" is the classifier, or "zero-shot" if there are classes. neighbors: of "knn". recall: the k of recall@k.
    classes: names for "zero-shot", by default those of the data. templates: sentences that they are put into
    (``ZeroShotClassifier``).
    margin: the loss of top-1 that matters, a share. timed_images: decoded images that time is measured with; 0: none.
    duration_s: of a measurement of time, at least.
    device, threads, slots, overflow, options, decode, decoders: as of ``Session``.
    """

    engines: Sequence[str] = ()
    precisions: Sequence[str] = ()
    policies: Sequence[str] = ("native",)
    caps: Sequence[int] = (0,)
    head: Head = "auto"
    classes: Sequence[str] = ()
    templates: Sequence[str] = TEMPLATES
    neighbors: int = 20
    recall: Sequence[int] = (1, 5, 10)
    margin: float = 0.01
    timed_images: int = 64
    duration_s: float = 1.0
    device: Device = "auto"
    threads: int = 0
    slots: int = 0
    overflow: Overflow = "error"
    options: Mapping[str, str] = field(default_factory=dict)
    decode: DecodeOptions = field(default_factory=DecodeOptions)
    decoders: int = 0

    def __post_init__(self) -> None:
        for policy in self.policies:
            _core.Policy.parse(policy)
        unknown = [name for name in self.precisions if name not in PRECISIONS]
        if unknown:
            raise InvalidInputError(f"precision {unknown[0]!r}; expected any of {', '.join(PRECISIONS)}")
        if self.head not in HEADS:
            raise InvalidInputError(f"head is {self.head!r}; expected one of {', '.join(HEADS)}")
        if self.classes and self.head not in ("auto", "zero-shot"):
            raise InvalidInputError(f"head is {self.head} and there are classes of texts; they go with zero-shot")
        if not self.policies or not self.caps or min(self.caps) < 0:
            raise InvalidInputError("expected at least one policy and one token cap, 0 and up")
        if self.neighbors < 1 or min(self.recall, default=1) < 1:
            raise InvalidInputError(
                f"neighbors is {self.neighbors} and recall {list(self.recall)}; expected 1 and up in each"
            )
        if not 0 < self.margin < 1:
            raise InvalidInputError(f"margin is {self.margin:g}; expected a share between 0 and 1, as 0.01")
        if self.timed_images < 0 or not 0 <= self.duration_s <= 3600:
            raise InvalidInputError(
                f"{self.timed_images} timed images for {self.duration_s:g} s; expected 0 and up, and 0 to 3600"
            )


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One row of the report: an engine, how many tokens an image gets. cap: 0 for none."""

    engine: str
    precision: str
    policy: str
    cap: int

    @property
    def folder(self) -> str:
        """Of its outputs: different for different variants, and a plain name."""
        exact = f"{self.engine}~{self.policy}~{self.cap or 'all'}"
        plain = re.sub(r"[^A-Za-z0-9.+~_-]", "_", exact)
        return plain if plain == exact else f"{plain}-{hashlib.sha256(exact.encode()).hexdigest()[:8]}"

    def train_folder(self, digest: str) -> str:
        """Of the outputs of the training images of this digest, beside it: other ones do not replace them."""
        return f"{self.folder}.train-{digest[:12]}"


def chosen_head(request: EvaluateRequest, outputs: Mapping[str, int], *, train: bool) -> Head:
    """Which head it is. outputs: what the bundle gives, with its widths. train: whether there are training images.

    Raises InvalidInputError if the bundle or the arguments do not go with it.
    """
    head = request.head
    if head == "auto" and request.classes:
        head = "zero-shot"
    if head == "auto":
        if "logits" not in outputs:
            raise InvalidInputError(
                "the bundle gives no logits, so it has no classifier; give --head knn or --head linear with --train, "
                "or --head retrieval, or --head zero-shot if it has a text tower"
            )
        if train:
            raise InvalidInputError("--train goes with --head knn or --head linear; give one of them")
        head = "classifier"
    needed = "logits" if head == "classifier" else "embedding"
    if needed not in outputs:
        raise InvalidInputError(
            f"--head {head} needs the output {needed}, and the bundle gives {', '.join(outputs)}; export it with "
            f"--outputs {','.join([*outputs, needed])}, or take another head"
        )
    if train != (head in _TRAINED):
        words = "learns from no images; leave --train out" if train else "learns from images; give --train"
        raise InvalidInputError(f"--head {head} {words}")
    return head


def engine_names(manifest: Manifest) -> list[str]:
    """What a session takes as one: engines, and groups in the place of their members."""
    names = (engine.id if engine.group is None else engine.group.id for engine in manifest.engines)
    return list(dict.fromkeys(names))


def precision_of(manifest: Manifest, name: str) -> str:
    """Of an engine or a group. Raises InvalidInputError if the bundle has none of that name."""
    for engine in manifest.engines:
        if engine.id == name or (engine.group is not None and engine.group.id == name):
            return engine.precision
    raise InvalidInputError(f"the bundle has no engine {name!r}; it has {', '.join(engine_names(manifest)) or 'none'}")


def engines_of(manifest: Manifest, request: EvaluateRequest) -> list[tuple[str, str]]:
    """(name, precision) of the engines that are asked for, in order. Raises InvalidInputError and BundleError."""
    names = list(dict.fromkeys(request.engines)) or engine_names(manifest)
    found = [(name, precision_of(manifest, name)) for name in names]
    kept = [one for one in found if not request.precisions or one[1] in request.precisions]
    if not kept:
        has = ", ".join(f"{name} ({precision})" for name, precision in found) or "none"
        wanted = f" of precision {' or '.join(request.precisions)}" if request.precisions else ""
        raise BundleError(f"no engine{wanted} among {has}; build one with navit-edge build-engine")
    return kept


def reference_engines(manifest: Manifest, asked: Sequence[tuple[str, str]]) -> list[str]:
    """Float32 engines that the others may be compared with: those asked for, then the bundle's others."""
    of_bundle = [(name, precision_of(manifest, name)) for name in engine_names(manifest)]
    return list(dict.fromkeys(name for name, precision in [*asked, *of_bundle] if precision == "fp32"))
