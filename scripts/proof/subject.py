"""What the steps "backend" and "latency" open: an engine that was built, or one on the stand-in for TensorRT."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import navit_edge as ne
from navit_edge.bundle import manifest as manifests
from navit_edge.bundle.manifest import Engine, Tolerance
from navit_edge.verify.verify import tolerance_of
from proof import cuda_calls
from proof.cuda_calls import Cuda
from proof.results import Results
from proof.settings import Settings

if TYPE_CHECKING:
    from proof.stand_in import StandIn

SLOTS = 2
OUTPUTS = ("logits", "embedding", "tokens")


@dataclass(frozen=True, kw_only=True)
class Subject:
    """label: what every figure says of itself. engine: the manifest's. stand_in: None if TensorRT, or whatever the
    engine is for, is there itself. cuda: None if no CUDA runtime is open yet."""

    bundle: Path
    engine: Engine
    label: str
    limit: Tolerance
    options: Mapping[str, str] = field(default_factory=dict)
    backend_dirs: Sequence[Path] = ()
    stand_in: StandIn | None = None
    cuda: Cuda | None = None

    @property
    def on_tensorrt(self) -> bool:
        return self.engine.backend.startswith("tensorrt")

    @property
    def budgets(self) -> list[int]:
        """Tokens of each, ascending."""
        return sorted(budget.tokens for budget in self.engine.budgets)

    @property
    def least_budgets(self) -> int:
        """How many budgets images of random sizes run in: those of the stand-in are chosen so; a built engine may be of
        a model that makes all images one size."""
        return min(2, len(self.budgets)) if self.stand_in is not None else 1

    def session(self, *, engine: str = "", slots: int = SLOTS, options: Mapping[str, str] | None = None) -> ne.Session:
        """engine: in place of the subject's own."""
        return ne.Session(
            self.bundle, engine=engine or self.engine.id, slots=slots, backend_dirs=self.backend_dirs,
            options={**self.options, **(options or {})},
        )  # fmt: skip

    def opened_cuda(self) -> Cuda | None:
        """The CUDA runtime that a session of this process has opened, if its engine needs one."""
        return self.cuda or (cuda_calls.opened() if self.on_tensorrt else None)

    def judge_simulation(self, results: Results) -> None:
        """In a rehearsal, when all sessions are closed and the stand-in has let go: what was broken, what is left."""
        if self.cuda is None or not self.cuda.simulated:
            return
        report = self.cuda.report()
        results.put("events of the simulated CUDA", report["events"])
        results.put("rules of CUDA that were broken", report["violations"])
        results.check("no rule of CUDA was broken", not report["violations"])
        results.check("all that was made was released", not report["live"])


@contextmanager
def opened(settings: Settings, target: Path, *, slots: int = SLOTS) -> Iterator[Subject]:
    """The built engine that the settings name; without one the stand-in's, in a bundle at ``target``, whose graphs are
    captured for so many slots."""
    if settings.backend:
        manifest = manifests.load(settings.bundle)
        engine = next(engine for engine in manifest.engines if engine.id == settings.engine)
        yield Subject(
            bundle=settings.bundle, engine=engine, label=f"{engine.id}, built on {settings.backend}",
            limit=tolerance_of(manifest, engine), backend_dirs=[settings.libraries / "lib"],
        )  # fmt: skip
        return
    from proof import stand_in_bundle  # needs PyTorch and onnx

    with stand_in_bundle.opened(settings, target, slots=slots) as (stand_in, cuda):
        manifest = manifests.load(target)
        yield Subject(
            bundle=target, engine=manifest.engines[0], label=stand_in_bundle.LABELS[settings.device],
            limit=tolerance_of(manifest, manifest.engines[0]), options={"tensorrt_dir": str(stand_in.folder)},
            backend_dirs=[settings.libraries / "lib"], stand_in=stand_in, cuda=cuda,
        )  # fmt: skip


def outputs_of(result: Any) -> dict[str, Any]:
    """Name -> array of what a result has."""
    return {name: getattr(result, name) for name in OUTPUTS if getattr(result, name) is not None}
