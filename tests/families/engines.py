"""Whether a family's graphs build to engines, with attention that is one fused kernel."""

from __future__ import annotations

from pathlib import Path

from navit_edge.bundle.manifest import Engine
from navit_edge.compile import BuildRequest, build_engines

#: Compute capabilities and the precision that each is built in, ahead of time: no GPU is needed.
TARGETS = ((("sm86", "sm89"), "bf16"), (("sm75",), "fp16"))
TOKENS = (4096, 8192)
#: Activation memory for twice the tokens, at most this many times as much: with a table of T x T it would be four.
MOST_GROWTH = 2.2


def build_rtx(
    bundle: Path, targets: tuple[str, ...], precision: str, *, max_images: int = 16, require_fused: bool = False
) -> float:
    """Builds a TensorRT-RTX engine; returns by how much its activation memory grows from TOKENS' first to its second,
    after asserting that it is at most MOST_GROWTH. ``require_fused``: as of build-engine."""
    request = BuildRequest(
        backend="tensorrt-rtx",
        token_budgets=TOKENS,
        max_images=(max_images,),
        precision=(precision,),
        targets=targets,
        lowering="masked",
        require_fused=require_fused,
    )
    engine = _only(build_engines(bundle, request), "tensorrt-rtx", "+".join(targets))
    small, large = (budget.activation_bytes for budget in engine.budgets)
    assert small is not None
    assert large is not None
    assert large <= MOST_GROWTH * small, f"{engine.id}: {small} bytes for {TOKENS[0]} tokens, {large} for {TOKENS[1]}"
    return large / small


def build_openvino(bundle: Path) -> Engine:
    """Builds an OpenVINO engine of float32."""
    request = BuildRequest(backend="openvino", token_budgets=(1024,), precision=("fp32",))
    return _only(build_engines(bundle, request), "openvino", "cpu")


def _only(engines: list[Engine], backend: str, target: str) -> Engine:
    (engine,) = (e for e in engines if e.backend == backend and e.target == target)
    return engine
