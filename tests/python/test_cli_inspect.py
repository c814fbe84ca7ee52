"""`navit-edge inspect`: what it shows of a bundle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import invoke
from tiny_bundle import make_bundle

from navit_edge import compile as build_package
from navit_edge.bundle import manifest as manifests


def test_inspect_shows_everything_as_json(built: Path) -> None:
    result = invoke("inspect", built, "--json")
    assert result.exit_code == 0
    content = json.loads(result.stdout)
    manifest = manifests.load(built)
    (engine,) = content["engines"]
    assert engine["id"] == "openvino-cpu-fp32"
    assert engine["bytes"] == (built / engine["file"]).stat().st_size
    assert engine["budgets"][0]["tokens"] == 16384
    assert engine["budgets"][0]["images"] == 1024
    assert content["model"]["width"] == manifest.model.width
    assert {name: file["state"] for name, file in content["files"].items()} == dict.fromkeys(manifest.files, "present")
    assert set(json.loads(invoke("inspect", built, "--json", "--verify").stdout)["files"]["graphs/weights.bin"]) == {
        "sha256",
        "bytes",
        "state",
    }


def test_a_budget_of_a_tensorrt_engine_says_its_memory(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX has packages for x86-64 only")
    bundle = make_bundle(tmp_path / "tiny.navit")
    request = build_package.BuildRequest(backend="tensorrt-rtx", token_budgets=(64, 256))
    build_package.build_engines(bundle, request)
    (engine,) = json.loads(invoke("inspect", bundle, "--json").stdout)["engines"]
    assert [(budget["tokens"], budget["images"]) for budget in engine["budgets"]] == [(64, 2), (256, 8)]
    assert all(budget["activation_bytes"] > 0 for budget in engine["budgets"])
    assert "256 × 8, " in invoke("inspect", bundle).stdout


def test_inspect_shows_the_same_in_words(built: Path) -> None:
    text = invoke("inspect", built).stdout
    for expected in (
        "width 64",
        "token-cap (max_tokens 256)",
        "masked",
        "openvino-cpu-fp32",
        "weights.bin",
        "[T, 48]",
    ):
        assert expected in text


def test_a_bundle_without_engines_is_told_the_next_step(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny.navit")
    assert "no engines; build one: navit-edge build-engine" in invoke("inspect", bundle).stdout


def test_inspect_finds_a_missing_file_always_and_an_altered_one_on_request(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny.navit")
    with (bundle / "graphs" / "weights.bin").open("r+b") as file:
        file.write(b"\x01\x02")
    assert invoke("inspect", bundle).exit_code == 0
    verified = invoke("inspect", bundle, "--verify", "--json")
    assert verified.exit_code == 1
    assert "weights.bin was altered" in json.loads(verified.stdout)["files"]["graphs/weights.bin"]["state"]
    (bundle / "graphs" / "weights.bin").unlink()
    missing = invoke("inspect", bundle)
    assert missing.exit_code == 1
    assert "weights.bin is missing" in missing.stderr
    assert "missing or altered" in missing.stdout
