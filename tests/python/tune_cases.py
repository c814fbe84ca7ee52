"""What the tests of tune share: a machine that is made up, with a clock that only measuring moves."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import navit_edge as ne
from navit_edge.bundle.identity import hashes_of, model_hash
from navit_edge.profile import Machine, Profile
from navit_edge.profile.schema import SCHEMA_VERSION, BundleFacts, EngineFacts, Measured, Setup, Trial
from navit_edge.tune import recommend
from navit_edge.tune.search import Search, What
from navit_edge.tune.space import TuneRequest
from navit_edge.tune.trial import Answer, Figures
from navit_edge.vocabulary import PRECISIONS, Precision

ENGINES = ("openvino-cpu-fp32", "openvino-cpu-bf16", "openvino-cpu-int8")
POLICIES = ("token-cap:64", "token-cap:128", "token-cap:256", "native")
FULL = 384.0  # tokens of an image


def setup(engine: str = ENGINES[0], threads: int = 0, slots: int = 0) -> Setup:
    return Setup(engine=engine, precision=precision_of(engine), threads=threads, slots=slots)


def precision_of(engine: str) -> Precision:
    """The end of its name, if it is one."""
    return next((one for one in PRECISIONS if engine.endswith(one)), "fp32")


def trial(quality: float | None = 1.0, p90_ms: float = 10.0, **fields: Any) -> Trial:
    """One that answers as well, and takes as long, as is said."""
    values: dict[str, Any] = {
        "setup": setup(),
        "policy": "native",
        "tokens_per_image": FULL,
        "images_per_s": 1e3 / p90_ms,
        "p50_ms": p90_ms,
        "p90_ms": p90_ms,
        "p99_ms": p90_ms,
        "timed": 10,
        "answered": 10,
        "memory_bytes": 100 << 20,
        "streams": 1,
        "agreement": quality,
        "similarity": None,
    }
    return Trial(**(values | fields))


def measured(trials: Sequence[Trial], **fields: Any) -> Measured:
    values: dict[str, Any] = {
        "aim": "latency",
        "target_ms": None,
        "memory_limit_bytes": None,
        "quality": "agreement",
        "reference": ENGINES[0],
        "images": 10,
        "engines": facts(),
        "searched": (),
        "search_policy": "native",
        "trials": tuple(trials),
        "together": (),
        "tokens": ((64, 3), (384, 7)),
        "not_run": {},
        "seconds": 1.0,
        "complete": True,
    }
    return Measured(**(values | fields))


def facts(cost: tuple[float, float, float] | None = None) -> tuple[EngineFacts, ...]:
    return tuple(
        EngineFacts(
            id=name,
            backend="openvino",
            target="cpu",
            precision=precision_of(name),
            dynamic_tokens=cost is None,
            sha256="0" * 64,
            cost=cost,
        )
        for name in ENGINES
    )


@dataclass
class MadeUpMachine:
    """Four cores, of which an engine uses three best; time grows with tokens. Measuring takes the seconds that were
    asked for, and opening a session ``opening_s``. noise: of a measurement of a second, as a share."""

    noise: float = 0.0
    opening_s: float = 1.0
    seconds: float = 0.0
    broken: tuple[str, ...] = ()
    asked: list[What] = field(default_factory=list)

    def clock(self) -> float:
        return self.seconds

    def true_ms(self, one: Setup, policy: str) -> float:
        tokens = tokens_of(policy)
        threads = one.threads or 4
        speed = {"fp32": 1.0, "bf16": 1.8, "int8": 2.5}[one.precision]
        contention = 1 + 0.15 * abs(threads - 3)
        return (2 + tokens * 0.1 / speed) * contention * (1.1 if one.slots == 2 else 1.0)

    def measure(self, what: What, seconds: float, limit_s: float = 1e9) -> Answer:
        self.asked.append(what)
        self.seconds += self.opening_s
        if what.setup.engine in self.broken:
            return Answer(error=f"{what.setup.engine} does not open")
        figures = []
        for policy in what.policies:
            self.seconds += seconds
            seed = zlib.crc32(repr((what, policy)).encode())
            factor = 1 + self.noise / seconds**0.5 * float(np.random.default_rng(seed).normal())
            ms = self.true_ms(what.setup, policy) * max(0.1, factor)
            figures.append(figures_of(policy, ms, what.setup))
        self.seconds += seconds * len(what.together)
        rates = tuple((count, 100.0 * count / (count + 2)) for count in what.together)
        return Answer(device="made up", streams=1, figures=tuple(figures), together=rates)


def tokens_of(policy: str) -> float:
    return float(policy.partition(":")[2]) if policy.startswith("token-cap") else FULL


def quality_of(policy: str, precision: str) -> float:
    return 1 - 0.1 * (1 - tokens_of(policy) / FULL) - {"fp32": 0.0, "bf16": 0.001, "int8": 0.03}[precision]


def figures_of(policy: str, ms: float, one: Setup) -> Figures:
    return Figures(
        policy=policy,
        tokens_per_image=tokens_of(policy),
        images_per_s=1e3 / ms,
        p50_ms=ms,
        p90_ms=ms,
        p99_ms=ms,
        timed=10,
        answered=10,
        memory_bytes=(200 if one.precision == "fp32" else 120) * 2**20,
        agreement=quality_of(policy, one.precision),
    )


def all_setups() -> list[Setup]:
    found = [setup(name, threads, slots) for name in ENGINES for threads in (0, 1, 2, 3) for slots in (0, 1, 2)]
    return sorted(found, key=lambda one: (one.threads != 0) + (one.slots != 0))


def search(
    machine: MadeUpMachine,
    request: TuneRequest | None = None,
    measure: Callable[[What, float, float], Answer] | None = None,
    **fields: Any,
) -> Search:
    values: dict[str, Any] = {
        "request": request or TuneRequest(aim="latency"),
        "setups": all_setups(),
        "references": [setup(name) for name in ENGINES],
        "policies": POLICIES,
        "engines": facts(),
        "tokens": ((64, 3), (384, 7)),
        "images": 10,
        "measure": measure or machine.measure,
        "clock": machine.clock,
    }
    return Search(**(values | fields))


def made_profile(bundle: Path, machine: Machine) -> Profile:
    """Of a bundle with the first engine. best: all tokens with two threads; balanced and fast: at most 100 and 64."""
    engine, one = ENGINES[0], setup(threads=1, slots=1)
    rows = [
        trial(1.00, 40, setup=setup(threads=2)),
        trial(0.99, 20, setup=one, policy="token-cap:100"),
        trial(0.92, 10, setup=one, policy="token-cap:64"),
    ]
    facts = EngineFacts(
        id=engine,
        backend="openvino",
        target="cpu",
        precision="fp32",
        dynamic_tokens=True,
        sha256=hashes_of(ne.load_manifest(bundle), engine),
    )
    table = measured(rows, engines=(facts,), reference=engine)
    return Profile(
        schema_version=SCHEMA_VERSION,
        created_by="1",
        bundle=BundleFacts(name="tiny", model=model_hash(bundle)),
        machine=machine,
        measured=table,
        advice=recommend(table),
    )
