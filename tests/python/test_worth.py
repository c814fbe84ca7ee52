"""What build-engine says of precisions: by the processor's instructions and what the bundle records."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from navit_edge.bundle import manifest as manifests
from navit_edge.bundle.manifest import Manifest
from navit_edge.quantize import worth

BUNDLE = Path("model.navit")
BASE = json.loads((Path(__file__).parents[1] / "data/manifests/corpus.json").read_text())["base"]
VNNI, BF16 = ("avx2", "avx512f", "avx512_vnni"), ("avx2", "avx512f", "avx512_vnni", "avx512_bf16")


def manifest(*, quantized: bool = False, int8: bool = False, measured: bool = False) -> Manifest:
    """With an fp32 engine and, if asked for, int8 graphs and an engine of them."""
    base = manifests.parse(json.dumps(BASE).encode(), source="a test")
    graphs, engines = base.graphs, base.engines
    if quantized:
        graphs = (*graphs, msgspec.structs.replace(graphs[0], id="masked-int8", quantization="int8"))
    if int8:
        engines = (*engines, msgspec.structs.replace(engines[0], id="openvino-cpu-int8", precision="int8"))
    if not measured:
        engines = tuple(msgspec.structs.replace(engine, cost=None) for engine in engines)
    return msgspec.structs.replace(base, graphs=graphs, engines=engines)


def test_int8_is_worth_more_without_bf16_than_beside_it_and_nothing_without_vnni() -> None:
    assert "about 1.7 x as fast as fp32" in worth.advise(BUNDLE, manifest(), VNNI).text
    assert "about 1.3 x as fast as bf16" in worth.advise(BUNDLE, manifest(), BF16).text
    nothing = worth.advise(BUNDLE, manifest(), ("avx2",))
    assert (nothing.best, nothing.command) == ("fp32", "")


def test_the_next_command_is_the_first_that_the_bundle_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worth, "least_cosine", lambda *_: 0.9995)
    steps = [
        (manifest(), "navit-edge quantize model.navit --calibration DIR"),
        (manifest(quantized=True), "navit-edge build-engine model.navit --precision int8"),
        (manifest(quantized=True, int8=True), "navit-edge bench model.navit --calibrate --engine openvino-cpu-fp32"),
        (manifest(quantized=True, int8=True, measured=True), ""),
    ]
    for one, command in steps:
        advice = worth.advise(BUNDLE, one, VNNI)
        assert (advice.best, advice.command) == ("int8", command)


def test_a_bundle_whose_int8_graphs_lose_much_is_better_off_in_float(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worth, "least_cosine", lambda *_: 0.95)
    advice = worth.advise(BUNDLE, manifest(quantized=True), BF16)
    assert advice.best == "bf16"
    assert "least cosine of 0.9500" in advice.text
    assert advice.command == "navit-edge quantize model.navit --calibration DIR --skip-layers auto"


def test_a_bundle_that_was_never_quantized_records_nothing() -> None:
    assert worth.least_cosine(BUNDLE, manifest()) is None
