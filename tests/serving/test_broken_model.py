"""A server whose engine fails: a real one, of a model with NaN among its weights, so that every pack of it fails."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx
import msgspec
import numpy as np
import onnx
import pytest
from in_process import Ask, asking
from samples import pictures

import navit_edge as ne
from navit_edge.bundle import hashing
from navit_edge.bundle import manifest as manifests


def spoil(bundle: Path) -> None:
    """The last normalization of the engine, which all outputs come from, is NaN."""
    manifest = ne.load_manifest(bundle)
    graph = onnx.load(bundle / manifest.graphs[0].file)
    (scale,) = (one for one in graph.graph.initializer if one.name == "norm.weight")
    values = onnx.numpy_helper.to_array(scale)
    file = bundle / manifest.engines[0].file
    content = file.read_bytes()
    assert content.count(values.tobytes()) == 1
    file.write_bytes(content.replace(values.tobytes(), np.full_like(values, np.nan).tobytes()))
    files = {**manifest.files, manifest.engines[0].file: hashing.hash_file(file)}
    manifests.save(msgspec.structs.replace(manifest, files=files), bundle)


@pytest.fixture
def broken(own_copy: Path) -> Path:
    spoil(own_copy)
    return own_copy


def infer(ask: Ask) -> httpx.Response:
    (image,) = pictures(1)
    pixels = {"name": "pixels", "datatype": "UINT8", "shape": image.shape, "data": image.ravel().tolist()}
    return ask("POST", "/v2/models/tiny/infer", json={"inputs": [pixels], "outputs": [{"name": "logits"}]})


def test_an_engine_that_fails_every_pack_makes_the_server_not_ready_until_its_bundle_is_mended_and_loaded_again(
    broken: Path, job_bundle: Path
) -> None:
    with asking(broken) as ask:
        assert ask("GET", "/v2/health/ready").status_code == 200
        for _ in range(3):
            answer = infer(ask)
            assert (answer.status_code, answer.headers.get("retry-after")) == (503, None)
            assert "the engine failed" in answer.json()["error"]
        while "the engine failed" in (refused := infer(ask)).json()["error"]:
            assert refused.status_code == 503  # the third failure was told before the session was broken by it
        assert refused.status_code == 503
        assert "takes no more images" in refused.json()["error"]
        assert "/" not in refused.json()["error"]
        assert ask("GET", "/v2/health/live").status_code == 200
        assert ask("GET", "/v2/health/ready").status_code == 503
        assert ask("GET", "/v2/models/tiny/ready").status_code == 503
        (state,) = ask("POST", "/v2/repository/index", json={}).json()
        assert state["state"] == "UNAVAILABLE"
        assert 'navit_edge_broken{bundle="copy.navit"' in ask("GET", "/metrics").text

        shutil.rmtree(broken)
        shutil.copytree(job_bundle, broken)
        assert ask("POST", "/v2/repository/models/tiny/load").status_code == 200
        assert ask("GET", "/v2/health/ready").status_code == 200
        answer = infer(ask)
        assert answer.status_code == 200, answer.text
        with ne.Session(job_bundle) as session:
            (expected,) = session.run(pictures(1))
        np.testing.assert_allclose(answer.json()["outputs"][0]["data"], expected.logits, rtol=2e-4, atol=2e-5)
