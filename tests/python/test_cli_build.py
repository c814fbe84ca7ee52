"""`navit-edge build-engine`: options, dry runs, what it prints of what was built."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import invoke
from tiny_bundle import make_bundle

from navit_edge import compile as build_package
from navit_edge.bundle import manifest as manifests
from navit_edge.errors import BackendError


def test_build_engine_needs_no_options(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny.navit")
    result = invoke("build-engine", bundle)
    assert result.exit_code == 0, result.stderr
    for engine in manifests.load(bundle).engines:
        assert engine.id in result.stdout
    assert "openvino-cpu-fp32" in result.stdout
    assert "16384 × 1024" in result.stdout


def test_build_engine_takes_lists(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny.navit")
    options = ["--token-budgets", "256, 64", "--max-images", "8,2", "--precision", "fp16,BF16", "--target", "sm86,sm89"]
    result = invoke("build-engine", bundle, "--backend", "tensorrt-rtx", *options)
    assert result.exit_code == 0, result.stderr
    engines = manifests.load(bundle).engines
    assert [engine.id for engine in engines] == ["tensorrt-rtx-sm86+sm89-fp16", "tensorrt-rtx-sm86+sm89-bf16"]
    assert [(budget.tokens, budget.images) for budget in engines[0].budgets] == [(64, 2), (256, 8)]
    assert "64 × 2, " in result.stdout


def test_a_dry_run_shows_what_would_be_built_and_builds_nothing(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny.navit")
    before = sorted(bundle.rglob("*"))
    options = ["--backend", "tensorrt-rtx", "--target", "sm75,sm89", "--token-budgets", "64,256", "--workspace", "1G"]
    text = invoke("build-engine", bundle, *options, "--dry-run")
    assert text.exit_code == 0, text.stderr
    for shown in (
        "tensorrt-rtx-sm89-bf16 (to be built)",
        "tensorrt-rtx-sm75-fp16 (to be built)",
        "256 × 48",
        "nodes in bf16",
        "auto: the bundle has no packed graph",
        "--workspace 1073741824B",
        "nothing was built",
    ):
        assert shown in text.stdout
    assert sorted(bundle.rglob("*")) == before

    result = invoke("build-engine", bundle, *options, "--dry-run", "--json")
    content = json.loads(result.stdout)
    assert content["dry_run"] is True
    ada, turing = content["engines"]
    assert [profile["tokens"] for profile in ada["profiles"]] == [64, 256]
    assert ada["profiles"][1]["shapes"]["patches"] == {kind: [256, 48] for kind in ("min", "opt", "max")}
    assert ada["operators"]["Softmax"] == {"fp32": 2}
    assert "bf16" in ada["operators"]["MatMul"]
    assert "bf16" not in str(turing["operators"])
    assert len(ada["precision_map"]) == sum(sum(counts.values()) for counts in ada["operators"].values())
    assert ada["key"] != turing["key"]
    assert not ada["already_built"]
    assert sorted(bundle.rglob("*")) == before


def test_what_was_built_is_printed_as_json_with_the_key_that_the_dry_run_gave(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny.navit")
    options = ["--backend", "tensorrt-rtx", "--target", "sm89", "--token-budgets", "512,4096", "--json"]
    (planned,) = json.loads(invoke("build-engine", bundle, *options, "--dry-run").stdout)["engines"]
    result = invoke("build-engine", bundle, *options)
    assert result.exit_code == 0, result.stderr
    (engine,) = json.loads(result.stdout)["engines"]
    assert engine["id"] == planned["id"] == "tensorrt-rtx-sm89-bf16"
    assert engine["key"] == planned["key"]
    assert engine["fused"] is True
    assert engine["bytes"] == (bundle / engine["file"]).stat().st_size
    assert [budget["tokens"] for budget in engine["budgets"]] == [512, 4096]
    (again,) = json.loads(invoke("build-engine", bundle, *options, "--dry-run").stdout)["engines"]
    assert again["already_built"] is True


def test_a_dry_run_shows_openvino_too(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny.navit")
    result = invoke("build-engine", bundle, "--precision", "fp32", "--dry-run")
    assert result.exit_code == 0, result.stderr
    assert "openvino-cpu-fp32 (to be built)" in result.stdout
    assert "attention_index" in result.stdout


def test_a_build_that_fails_ends_with_1(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise BackendError("the compiler refuses\n  this graph")

    monkeypatch.setattr(build_package, "build_engines", failing)
    result = invoke("build-engine", built)
    assert result.exit_code == 1
    assert result.stderr.strip().endswith("error: the compiler refuses\n  this graph")
