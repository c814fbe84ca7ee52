"""A profile: what `navit-edge tune` measured on a machine, and what it recommends (docs/tune.md).

``measured`` is the table, ``advice`` follows from it alone: ``navit_edge.tune.recommend`` makes the same of it again.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from navit_edge import _core
from navit_edge.errors import BundleError, InvalidInputError
from navit_edge.files import decode_json, read_regular, shown
from navit_edge.profile.machine import Machine
from navit_edge.vocabulary import USES, Aim, Precision, Use

#: Of the JSON: raised if a field is renamed, goes away or means something else.
SCHEMA_VERSION = 1
MOST_BYTES = 16 << 20

Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=0)]
Some = Annotated[int, Meta(ge=1)]
Unit = Annotated[float, Meta(ge=-1, le=1)]  # a share, or a cosine

#: How good an answer is: the share of right ones, the share that is as the reference's, or how alike embeddings are.
Quality = Literal["top1", "agreement", "similarity"]


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Setup(_Strict, frozen=True, kw_only=True):
    """How a session is opened. threads, slots: as given to one, 0 is its own default."""

    engine: str
    precision: Precision
    threads: Annotated[int, Meta(ge=0, le=1024)]
    slots: Annotated[int, Meta(ge=0, le=64)]


class Accuracy(_Strict, frozen=True, kw_only=True):
    """top-1 on labelled images, and its 95 % interval (Wilson)."""

    value: Unit
    low: Unit
    high: Unit
    images: Some


class Trial(_Strict, frozen=True, kw_only=True):
    """A setup and a policy, measured. p50_ms to p99_ms: one decoded image alone. images_per_s: all in one run.
    memory_bytes: most that the process held, without the images' pixels; None if the system does not say.
    agreement, similarity: with the answers of the reference."""

    setup: Setup
    policy: str
    tokens_per_image: Positive
    images_per_s: Positive
    p50_ms: Positive
    p90_ms: Positive
    p99_ms: Positive
    timed: Some  # images alone that the percentiles are of
    answered: Some  # images that were run, whose answers were compared with the reference's
    memory_bytes: Count | None
    streams: Some  # packs in flight at once
    agreement: Unit | None
    similarity: Unit | None
    top1: Accuracy | None = None


class Searched(_Strict, frozen=True, kw_only=True):
    """A measurement of the search for setups: all with one policy, longer from round to round."""

    round: Count
    setup: Setup
    seconds: Positive
    p90_ms: Positive
    images_per_s: Positive
    memory_bytes: Count | None


class Together(_Strict, frozen=True, kw_only=True):
    """images/s if so many images are given at once."""

    images: Some
    images_per_s: Positive


class EngineFacts(_Strict, frozen=True, kw_only=True):
    """An engine, or a group of engines, that was tried. sha256: of its files. cost: (fixed_us, us_per_token,
    us_per_score) of a pack by its budget; None if any number of tokens runs as it is, so that budgets do not matter."""

    id: str
    backend: str
    target: str
    precision: Precision
    dynamic_tokens: bool
    sha256: str
    cost: tuple[float, float, float] | None = None


class Measured(_Strict, frozen=True, kw_only=True):
    """tokens: (tokens of an image, images that have so many), as the bundle sizes them. not_run: engine -> why.
    complete: False if time was up before everything was measured."""

    aim: Aim
    target_ms: Positive | None
    memory_limit_bytes: Some | None
    quality: Quality
    reference: str  # engine whose answers, of all tokens, the others are compared with
    images: Some
    engines: tuple[EngineFacts, ...]
    searched: tuple[Searched, ...]
    search_policy: str
    trials: Annotated[tuple[Trial, ...], Meta(min_length=1)]
    together: tuple[Together, ...]
    tokens: Annotated[tuple[tuple[Some, Some], ...], Meta(min_length=1)]
    not_run: dict[str, str]
    seconds: float  # that the measurements took
    complete: bool


class Recommendation(_Strict, frozen=True, kw_only=True):
    trial: Count  # which of the measured ones
    reason: str


class Budgets(_Strict, frozen=True, kw_only=True):
    """What to build an engine with that pads its packs; empty if there is none to build."""

    tokens: tuple[Some, ...]
    images: tuple[Some, ...]
    reason: str


class Advice(_Strict, frozen=True, kw_only=True):
    """front: trials that no other one beats in quality and in time."""

    front: tuple[Count, ...]
    fast: Recommendation
    balanced: Recommendation
    best: Recommendation
    images_per_run: Some | None
    images_per_run_reason: str
    budgets: Budgets

    def of(self, use: Use) -> Recommendation:
        found: Recommendation = getattr(self, use)
        return found


class BundleFacts(_Strict, frozen=True, kw_only=True):
    name: str
    model: str  # hash of what the bundle computes


class Profile(_Strict, frozen=True, kw_only=True):
    schema_version: int
    created_by: str  # version of navit-edge
    bundle: BundleFacts
    machine: Machine
    measured: Measured
    advice: Advice

    def trial(self, use: Use) -> Trial:
        """What is recommended for a use."""
        return self.measured.trials[self.advice.of(use).trial]


def read_profile(path: str | os.PathLike[str]) -> Profile:
    """A profile that `navit-edge tune` wrote. Raises BundleError if it is none, or one of another schema."""
    source = shown(path)
    remedy = "make it anew with navit-edge tune"
    try:
        raw = read_regular(Path(path), most_bytes=MOST_BYTES, follow_links=True, remedy=remedy)
    except OSError as error:
        raise BundleError(f"profile {source} cannot be read: {error.strerror}; {remedy}") from error
    return parse_profile(raw, source=source)


def parse_profile(raw: bytes, *, source: str) -> Profile:
    """The same of its content. Raises BundleError."""
    version = decode_json(raw, _Versioned, source=source).schema_version
    if version != SCHEMA_VERSION:
        raise BundleError(
            f"profile {source} has schema version {version}; this version reads {SCHEMA_VERSION}; make it anew with "
            "navit-edge tune"
        )
    found = decode_json(raw, Profile, source=source)
    count = len(found.measured.trials)
    for index in (*found.advice.front, *(found.advice.of(use).trial for use in USES)):
        if index >= count:
            raise BundleError(
                f"profile {source} recommends trial {index} of {count}; make it anew with navit-edge tune"
            )
    for trial in found.measured.trials:
        try:
            _core.Policy.parse(trial.policy)
        except InvalidInputError as error:
            raise BundleError(f"profile {source}: {error}; make it anew with navit-edge tune") from None
    return found


class _Versioned(msgspec.Struct):
    schema_version: int


def profile_bytes(profile: Profile) -> bytes:
    """As it is written: for readers, too."""
    return msgspec.json.format(msgspec.json.encode(profile), indent=1) + b"\n"
