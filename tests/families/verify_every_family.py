"""Every family on each lowering, in each precision of this CPU: `make verify-families` names this file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_sessions import open_graph
from packed_definition import with_definition
from parity import TOLERANCE
from test_every_family import NAMES, call, draw_files, export, run_with_padding

import navit_edge as ne
from navit_edge.compile import openvino as builder


@pytest.mark.parametrize("lowering", ["masked", "padded"])
@pytest.mark.parametrize("family", NAMES)
def test_engines_of_each_precision_are_verified(family: str, lowering: str, tmp_path: Path) -> None:
    bundle = export(family, tmp_path)
    (tmp_path / "images").mkdir()
    call("quantize", bundle, "--calibration", draw_files(tmp_path / "images"))
    precisions = [*builder.cpu_precisions(), "int8"]
    words = ("--backend", "openvino", "--token-budgets", "640", "--lowering", lowering)
    call("build-engine", bundle, *words, "--precision", ",".join(precisions))
    engines = ne.load_manifest(bundle).engines
    assert sorted(engine.precision for engine in engines) == sorted(precisions)
    assert all(engine.graph.startswith(lowering) for engine in engines)
    call("verify", bundle)


@pytest.mark.parametrize("family", NAMES)
def test_the_packed_graph_is_the_masked_one_whatever_lies_in_padding_rows(family: str, tmp_path: Path) -> None:
    """By a definition of the packed operator that leaves NaN in rows that no sequence holds."""
    try:
        bundle = export(family, tmp_path, "--lowerings", "masked,packed")
    except AssertionError as error:
        if "window" in str(error):
            pytest.skip("attention in windows has no packed lowering")
        raise
    expected, _ = run_with_padding(bundle, open_graph(bundle / "graphs" / "masked.onnx"))
    graph = onnx.load(bundle / "graphs" / "packed.onnx")
    found, again = run_with_padding(bundle, open_graph(with_definition(graph)))
    for ours, other, masked in zip(found, again, expected, strict=True):
        np.testing.assert_array_equal(ours, other)
        assert np.abs(ours - masked).max() <= TOLERANCE * np.abs(masked).max()
