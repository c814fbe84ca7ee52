"""What is tried: engines, threads and slots to open a session with, and policies that say how many tokens an image
gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from navit_edge import _core
from navit_edge.bench.budget_cost import assumed_cost, measured_cost
from navit_edge.bundle.identity import hashes_of
from navit_edge.bundle.manifest import Engine, Manifest
from navit_edge.errors import BundleError, InvalidInputError
from navit_edge.profile.schema import EngineFacts, Setup
from navit_edge.vocabulary import Aim

#: Token caps that are tried: powers of two from here.
LEAST_TOKENS = 64
#: Of the cascade that is tried: tokens of the first pass, and the probability from which its answer is taken.
CASCADE_FIRST, CASCADE_ACCEPT = 128, 0.8
#: Images given at once, to see how many are worth it.
TOGETHER = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True, kw_only=True)
class TuneRequest:
    """What to tune for, and what to try; an empty list tries what there is.

    target_ms: of an image alone, its 90th percentile. memory_bytes: most that the process may hold. minutes: that it
    may take. aim: None: latency if there is a target, else throughput. power: the mode that the machine must be in.
    engines: ids. threads, slots: as of ``Session``. tokens: caps. policies: as text, beside the caps.
    images: most that are timed. seed: of their choice.
    """

    target_ms: float | None = None
    memory_bytes: int | None = None
    minutes: float = 10.0
    aim: Aim | None = None
    power: str = ""
    engines: Sequence[str] = ()
    threads: Sequence[int] = ()
    slots: Sequence[int] = ()
    tokens: Sequence[int] = ()
    policies: Sequence[str] = ()
    images: int = 48
    seed: int = 0
    together: Sequence[int] = field(default=TOGETHER)

    def __post_init__(self) -> None:
        if not 0 < self.minutes <= 24 * 60:
            raise InvalidInputError(f"minutes is {self.minutes:g}; expected more than 0, at most 1440")
        if self.target_ms is not None and not 0 < self.target_ms <= 3.6e6:
            raise InvalidInputError(f"target_ms is {self.target_ms:g}; expected milliseconds, more than 0")
        if self.images < 1 or min(self.tokens, default=1) < 1 or min(self.together, default=1) < 1:
            raise InvalidInputError("images, tokens and together must be 1 and up; check them")
        if min(self.threads, default=0) < 0 or min(self.slots, default=0) < 0:
            raise InvalidInputError("threads and slots must be 0 and up; check them")
        for policy in self.policies:
            _core.Policy.parse(policy)

    @property
    def compared_by(self) -> Aim:
        return self.aim or ("throughput" if self.target_ms is None else "latency")


def engines_of(manifest: Manifest, asked: Sequence[str]) -> list[Engine]:
    """One for each engine or group that is asked for; of a group its first. Raises BundleError."""
    found: dict[str, Engine] = {}
    for engine in manifest.engines:
        found.setdefault(name_of(engine), engine)
    if not found:
        raise BundleError(f"{manifest.name} has no engine to tune; build one: navit-edge build-engine")
    unknown = [name for name in asked if name not in found]
    if unknown:
        raise BundleError(f"the bundle has no engine {unknown[0]!r}; it has {', '.join(found)}")
    return [engine for name, engine in found.items() if not asked or name in asked]


def name_of(engine: Engine) -> str:
    """What a session takes: its id, or its group's."""
    return engine.id if engine.group is None else engine.group.id


def setups(engines: Sequence[Engine], cores: int, request: TuneRequest) -> list[Setup]:
    """The defaults of each engine first: they are measured if there is time for nothing else."""
    found = []
    for engine in engines:
        cpu = engine.target == "cpu"
        threads = list(dict.fromkeys(request.threads)) or ([0, *_fewer(cores)] if cpu else [0])
        slots = list(dict.fromkeys(request.slots)) or ([0, 1, 2] if cpu else [0, 1, 3])
        found += [
            Setup(engine=name_of(engine), precision=engine.precision, threads=thread, slots=slot)  # type: ignore[arg-type]
            for thread in threads
            for slot in slots
        ]
    return sorted(found, key=lambda one: (one.threads != 0) + (one.slots != 0))


def _fewer(cores: int) -> list[int]:
    """Powers of two below ``cores``, the largest first, at most three."""
    return [2**power for power in range(12, -1, -1) if 2**power < cores][:3]


def policies(largest: int, request: TuneRequest, *, resizes: bool, classes: bool = False) -> list[str]:
    """Ascending token caps below ``largest``, the most tokens of an image, then the policies without one.

    resizes: False if the bundle's rule keeps every image as it is: then only "native" goes. classes: whether it gives
        logits, which a cascade needs.
    """
    if not resizes:
        return [str(_core.Policy.native())]
    caps = sorted(set(request.tokens)) or _powers(largest)
    texts = [f"token-cap:{cap}" for cap in caps if cap < largest]
    more = list(request.policies) or ["native", "content"]
    if classes and largest > CASCADE_FIRST and not request.policies:
        more.append(f"cascade:{CASCADE_FIRST},{CASCADE_ACCEPT:g}")
    if request.target_ms is not None and not request.policies:
        more.append(f"latency:{request.target_ms:g}ms")
    return list(dict.fromkeys(str(_core.Policy.parse(text)) for text in [*texts, *more]))


def _powers(largest: int) -> list[int]:
    found = []
    cap = LEAST_TOKENS
    while cap < largest:
        found.append(cap)
        cap *= 2
    return found


def facts_of(manifest: Manifest, engine: Engine) -> EngineFacts:
    """What a profile says of an engine."""
    name = name_of(engine)
    return EngineFacts(
        id=name,
        backend=engine.backend,
        target=engine.target,
        precision=engine.precision,  # type: ignore[arg-type]
        dynamic_tokens=engine.dynamic_tokens,
        sha256=hashes_of(manifest, name),
        cost=None if engine.dynamic_tokens else _cost_of(manifest, engine),
    )


def _cost_of(manifest: Manifest, engine: Engine) -> tuple[float, float, float]:
    """As of plan-budgets: measured if `bench --calibrate` did it at several budgets, else assumed."""
    if engine.cost is not None and len(engine.cost.budgets) > 1:
        return measured_cost(engine, manifest.name)
    return assumed_cost(manifest)
