"""Models that merge tokens as engines of TensorRT-RTX, compiled ahead of time: `make verify-families` names this file.

Attention behind the merge, where a key counts by its size, is one fused kernel as any other, and activation memory
grows with the tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from engines import TARGETS, build_rtx
from verify_families import REPRESENTATIVES

from navit_edge.bundle.merging import METHODS
from navit_edge_export.model import NaViT, NaViTConfig
from navit_edge_export.onnx_export import export_bundle
from navit_edge_export.packed_model import PackedModel

#: Rows behind the merge: few, and nearly all, so that scores between them show if they were kept.
KEEPS = ("0.5", "0.9")


def _make(kind: str, folder: Path) -> PackedModel:
    if kind == "navit":
        return NaViT(NaViTConfig(width=384, depth=3, heads=6, mlp_width=1536, num_classes=7)).eval()
    model = REPRESENTATIVES[kind](folder)[0].model
    assert isinstance(model, PackedModel)
    return model


@pytest.mark.parametrize(("targets", "precision"), TARGETS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("keep", KEEPS)
@pytest.mark.parametrize("kind", ["navit", "dinov2-registers"])
def test_attention_behind_a_merge_is_fused(
    kind: str,
    keep: str,
    method: str,
    targets: tuple[str, ...],
    precision: str,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    model = _make(kind, tmp_path / "checkpoint")
    bundle = export_bundle(
        model,
        tmp_path / "merging.navit",
        outputs=("embedding", "tokens"),
        sizing="native",
        merge=f"0:{keep}:{method}",
        lowerings=("masked",),
    )
    growth = build_rtx(bundle, targets, precision, require_fused=True)
    record_property(f"{'+'.join(targets)} {precision}", f"{growth:.2f}")
    print(f"{kind} {keep} {method} {'+'.join(targets)} {precision}: {growth:.2f}")
