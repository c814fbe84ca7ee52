"""Real builds of the reference S/16, ahead of time, in every precision. Nothing here runs an engine."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from s16_builds import BUILDS, Photographs, add_quantized_graphs, read_report

from navit_edge.bundle import hashing
from navit_edge.bundle import manifest as manifests
from navit_edge.compile import BuildRequest, build_engines
from navit_edge_export.model import NaViTConfig
from navit_edge_export.onnx_export import export_bundle

BUDGETS = {256: 8, 1024: 32, 4096: 128}  # tokens -> images, the defaults


@pytest.fixture(scope="module")
def s16(photographs: Photographs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference S/16: two of its twelve layers, which are alike, and all of them in `make check-all`."""
    depth = 12 if "NAVIT_EDGE_TESTS_WHOLE" in os.environ else 2
    bundle = export_bundle(
        NaViTConfig(depth=depth), tmp_path_factory.mktemp("s16") / "s16.navit", lowerings=("masked",)
    )
    return add_quantized_graphs(bundle, photographs, tmp_path_factory.mktemp("images"))


@pytest.mark.parametrize(("targets", "precision"), BUILDS)
def test_a_real_build_of_s16_has_its_profiles_and_is_fused(
    s16: Path, tmp_path: Path, targets: str, precision: str
) -> None:
    bundle = Path(shutil.copytree(s16, tmp_path / "s16.navit"))
    request = BuildRequest(
        backend="tensorrt-rtx", precision=(precision,), targets=tuple(targets.split("+")), require_fused=True
    )
    (engine,) = build_engines(bundle, request)
    hashing.verify_files(bundle, manifests.load(bundle))
    graph = f"masked-{precision}" if precision in ("int8", "fp8") else "masked"
    assert (engine.target, engine.precision, engine.graph) == (targets, precision, graph)
    beside = ("fp16" if targets == "sm75" else "bf16") if graph != "masked" else ""
    assert engine.float_precision == beside
    report = read_report(bundle, engine.report)
    assert [(p.budget.tokens, p.budget.images) for p in report.profiles] == list(BUDGETS.items())
    for profile in report.profiles:
        tokens, images = profile.budget.tokens, profile.budget.images
        expected = {
            "patches": (tokens, 768),
            "positions": (tokens, 2),
            "segment_ids": (tokens,),
            "grid_hw": (images, 2),
        }
        for name, shape in expected.items():
            found = profile.shapes[name]
            assert found.min == found.opt == found.max == shape
        assert profile.budget.activation_bytes
    assert report.fused is True
    assert report.fusion is not None
    assert report.fusion.method == "probe"
    assert (report.fusion.bytes_per_token_pair or 0) < 0.5
    assert report.details["strongly_typed"] is True
