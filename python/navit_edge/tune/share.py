"""A profile that can be sent: the figures and what they depend on, and nothing that names a person, a machine, a file
or an image."""

from __future__ import annotations

import msgspec

from navit_edge.bundle.manifest import Manifest
from navit_edge.profile.machine import Machine
from navit_edge.profile.schema import SCHEMA_VERSION, Measured, Profile, Quality, Together, Unit
from navit_edge.vocabulary import Aim


class SharedModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The sizes of the model, which decide how long it takes; not which one it is."""

    width: int
    depth: int
    heads: int
    parameters: int


class SharedTrial(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    backend: str
    target: str
    precision: str
    threads: int
    slots: int
    policy: str
    tokens_per_image: float
    images_per_s: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    memory_bytes: int | None
    quality: Unit | None


class Shared(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    shared_version: int
    created_by: str
    model: SharedModel
    machine: Machine
    aim: Aim
    quality: Quality
    images: int
    trials: tuple[SharedTrial, ...]
    together: tuple[Together, ...]
    seconds: float


def share(profile: Profile, manifest: Manifest) -> Shared:
    """What `navit-edge tune --share` writes. Engines by backend, target and precision: an id may be a name."""
    measured: Measured = profile.measured
    facts = {one.id: one for one in measured.engines}
    model = manifest.model
    machine = profile.machine
    return Shared(
        shared_version=SCHEMA_VERSION,
        created_by=profile.created_by,
        model=SharedModel(width=model.width, depth=model.depth, heads=model.heads, parameters=model.parameters),
        machine=msgspec.structs.replace(machine, memory_bytes=_rounded(machine.memory_bytes)),
        aim=measured.aim,
        quality=measured.quality,
        images=measured.images,
        trials=tuple(
            SharedTrial(
                backend=facts[trial.setup.engine].backend,
                target=facts[trial.setup.engine].target,
                precision=trial.setup.precision,
                threads=trial.setup.threads,
                slots=trial.setup.slots,
                policy=trial.policy,
                tokens_per_image=trial.tokens_per_image,
                images_per_s=trial.images_per_s,
                p50_ms=trial.p50_ms,
                p90_ms=trial.p90_ms,
                p99_ms=trial.p99_ms,
                memory_bytes=trial.memory_bytes,
                quality=trial.top1.value if trial.top1 is not None else trial.agreement or trial.similarity,
            )
            for trial in measured.trials
        ),
        together=measured.together,
        seconds=round(measured.seconds),
    )


def _rounded(size: int | None) -> int | None:
    """To 256 MiB: the exact number tells machines of a kind apart."""
    step = 256 << 20
    return None if size is None else max(step, round(size / step) * step)
