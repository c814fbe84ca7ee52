"""The demo's bundle: exported again only if what it is made of has changed."""

from __future__ import annotations

import hashlib
import importlib.metadata
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from demo_console import DEMO, ROOT, navit_edge, say, shown

import navit_edge as ne
from navit_edge.bundle.hashing import verify_files

SEED = 0
#: Trained on clip art: examples/models/MODEL_CARD.md.
CHECKPOINT = ROOT / "examples" / "models" / "clipart.safetensors"
#: "tokens" is for the map of where attention pooling looks.
OUTPUTS = "logits,embedding,tokens"
#: Most patches of an image for a model of random weights, so that several share a pass. A checkpoint says its own.
MAX_TOKENS = 384
GPU_TARGETS = "sm86,sm89"  # consumer GPUs of the Ampere and Ada generations
GPU_BUDGETS = "256,1024,4096"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which model the demo shows: a checkpoint, or a size of the reference model with random weights."""

    checkpoint: Path | None
    size: str = ""
    max_tokens: int = 0  # 0: the checkpoint's own

    @property
    def bundle(self) -> Path:
        name = f"navit-{self.size}" if self.checkpoint is None else self.checkpoint.stem
        return DEMO / f"{name}.navit"

    @property
    def options(self) -> list[str]:
        """Of `navit-edge export`."""
        most = self.max_tokens or (MAX_TOKENS if self.checkpoint is None else 0)
        given = ["--outputs", OUTPUTS, *(["--max-tokens", str(most)] if most else [])]
        if self.checkpoint is None:
            return ["--model", self.size, "--seed", str(SEED), *given]
        return ["--checkpoint", shown(self.checkpoint), *given]


def export(choice: Choice, *, fresh: bool) -> Path:
    """Exports the model unless the bundle is whole and was made of the same things."""
    bundle = choice.bundle
    stamp = bundle.with_suffix(".made-of")
    made_of = fingerprint(choice)
    if not fresh and stamp.is_file() and stamp.read_text() == made_of and is_whole(bundle):
        say(f"{shown(bundle)} is there and unchanged; --fresh exports it again")
        return bundle
    replaced = ["--overwrite"] if bundle.exists() else []
    DEMO.mkdir(exist_ok=True)
    navit_edge("export", *choice.options, *replaced, "-o", shown(bundle))
    stamp.write_text(made_of)
    return bundle


def fingerprint(choice: Choice) -> str:
    """A hash of what decides the bundle: the exporter's sources, the versions, the options and the checkpoint."""
    digest = hashlib.sha256()
    exporter = find_spec("navit_edge_export")
    assert exporter is not None
    assert exporter.origin is not None
    for path in sorted(Path(exporter.origin).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    for package in ("navit-edge", "torch", "onnx", "onnxscript"):
        digest.update(importlib.metadata.version(package).encode())
    digest.update(" ".join(choice.options).encode())
    if choice.checkpoint is not None:
        digest.update(choice.checkpoint.read_bytes())
    return digest.hexdigest()


def is_whole(bundle: Path) -> bool:
    """Whether every file of the bundle has the bytes that its manifest promises."""
    try:
        verify_files(bundle, ne.load_manifest(bundle))
    except ne.BundleError:
        return False
    return True


def build(bundle: Path) -> None:
    """Builds what can be built here. build-engine itself leaves alone what is built already."""
    navit_edge("build-engine", shown(bundle), "--backend", "openvino")
    if find_spec("tensorrt_rtx") is None:
        say(
            "TensorRT-RTX engines: not built, the package tensorrt-rtx is not installed "
            "(pip install navit-edge\\[tensorrt-rtx])"
        )
        return
    budgets, targets = ["--token-budgets", GPU_BUDGETS], ["--target", GPU_TARGETS]
    navit_edge("build-engine", shown(bundle), "--backend", "tensorrt-rtx", *budgets, *targets)
    say(f"the TensorRT-RTX engine was compiled ahead of time for {GPU_TARGETS}; no GPU runs it in this demo")
