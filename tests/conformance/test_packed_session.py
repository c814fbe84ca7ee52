"""The packed lowering through a session: the C++ packer writes cu_seqlens, an engine computes with it.

No engine at hand has TensorRT's packed kernel. The engine here is OpenVINO's, from the packed graph with the operator
written out in plain ONNX (packed_definition.py).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from packed_definition import written_out

import navit_edge as ne
from navit_edge.bundle import manifest as manifests
from navit_edge.bundle import publish
from navit_edge.bundle.manifest import Budget
from navit_edge.compile import BuildRequest, build_engines
from navit_edge_export.model import NaViT
from navit_edge_export.onnx_export import export_bundle
from navit_edge_export.preprocess import prepare

TOLERANCE = 1e-4  # float32 under OpenVINO, as for its other engines
MAX_TOKENS = 48


@pytest.fixture(scope="module")
def packed_bundle(tiny_model: NaViT, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model's packed graph, written out, with an OpenVINO engine of two budgets."""
    path = tmp_path_factory.mktemp("packed") / "packed.navit"
    export_bundle(tiny_model, path, max_tokens=MAX_TOKENS, outputs=("logits", "embedding"), lowerings=("packed",))
    graph = path / "graphs" / "packed.onnx"
    onnx.save(written_out(onnx.load(graph)), graph)
    # build-engine refuses packed for OpenVINO, and rightly: written out, it is masked attention.
    manifest = manifests.load(path)
    written = msgspec.structs.replace(manifest.graphs[0], lowering="masked")
    publish.seal(path, msgspec.structs.replace(manifest, graphs=(written,)))
    build_engines(path, BuildRequest(backend="openvino", lowering="masked", precision=("fp32",), token_budgets=(128,)))
    return path


def with_form(bundle: Path, copy: Path, *, dynamic_tokens: bool) -> Path:
    """A copy whose engine takes packs as long as their images, or pads them to its budgets."""
    shutil.copytree(bundle, copy)
    manifest = manifests.load(copy)
    budgets = tuple(Budget(tokens=t, images=n, target_tokens=t) for t, n in ((64, 3), (128, 6)))
    (engine,) = manifest.engines
    engine = msgspec.structs.replace(engine, dynamic_tokens=dynamic_tokens, budgets=budgets)
    publish.seal(copy, msgspec.structs.replace(manifest, engines=(engine,)))
    return copy


@pytest.mark.parametrize("dynamic_tokens", [True, False], ids=["as-long-as-its-images", "padded-to-its-budget"])
def test_a_session_on_a_packed_graph_gives_what_pytorch_gives_for_each_image_alone(
    dynamic_tokens: bool,
    packed_bundle: Path,
    tiny_model: NaViT,
    photographs: Mapping[str, npt.NDArray[np.uint8]],
    tmp_path: Path,
) -> None:
    session = ne.Session(with_form(packed_bundle, tmp_path / "form.navit", dynamic_tokens=dynamic_tokens))
    images = list(photographs.values())
    results = session.run(images)
    assert len({result.pack for result in results}) > 1, "several packs"
    assert len({result.grid for result in results}) > 2, "of images of several sizes"
    for image, result in zip(images, results, strict=True):
        with torch.no_grad():
            alone = tiny_model.forward_images([prepare(image, patch_px=16, max_tokens=MAX_TOKENS)])
        for name, expected in (("logits", alone["logits"]), ("embedding", alone["embedding"])):
            found = getattr(result, name)
            assert np.isfinite(found).all()
            assert np.abs(found - expected[0].numpy()).max() <= TOLERANCE, name
