"""Exporting: what is published, what is refused, and that the same model gives the same bytes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from navit_edge.bundle import hashing
from navit_edge.bundle import manifest as manifests
from navit_edge.errors import BundleError, InvalidInputError
from navit_edge_export.model import NaViT, NaViTConfig, load_checkpoint, save_checkpoint
from navit_edge_export.onnx_export import export_bundle
from navit_edge_export.preprocess import pack

CONFIG = NaViTConfig(width=32, depth=1, heads=4, mlp_width=64, num_classes=3)
LABELS = ("cat", "dog", "cup")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """These models are so small that threads cost more than they give."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_bundle(
        CONFIG, tmp_path_factory.mktemp("export") / "small.navit", seed=5, labels=LABELS, max_tokens=64
    )


def digests(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_the_manifest_describes_the_export(bundle: Path) -> None:
    manifest = manifests.load(bundle)
    hashing.verify_files(bundle, manifest)
    assert set(manifest.files) == {"graphs/masked.onnx", "graphs/padded.onnx", "graphs/weights.bin"}
    assert manifest.name == "small"
    assert manifest.labels == LABELS
    assert manifest.created_by["weights"] == "random, seed 5"
    assert manifest.created_by["torch"] == torch.__version__
    assert NaViTConfig.from_dict(manifest.model.config) == CONFIG
    assert manifest.model.parameters == sum(p.numel() for p in NaViT(CONFIG).parameters())
    assert (manifest.preprocess.sizing.rule, manifest.preprocess.sizing.max_tokens) == ("token-cap", 64)
    assert [graph.lowering for graph in manifest.graphs] == ["masked", "padded"]
    assert [spec.name for spec in manifest.graphs[0].outputs] == ["logits", "embedding"]
    assert manifest.engines == ()


def test_another_process_exports_the_same_bytes(bundle: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from navit_edge_export.model.config import NaViTConfig\n"
        "from navit_edge_export.onnx_export import export_bundle\n"
        "config = NaViTConfig.from_json(sys.argv[1])\n"
        "export_bundle(config, Path(sys.argv[2]), seed=5, labels=('cat', 'dog', 'cup'), max_tokens=64)\n"
    )
    again = tmp_path / "small.navit"
    paths = os.pathsep.join(sys.path)
    run = subprocess.run(
        [sys.executable, "-c", script, CONFIG.to_json(), str(again)],
        env={**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": "77"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == "", "the exporter's chatter reached the terminal"
    assert run.stderr == "", "the exporter's chatter reached the terminal"
    assert digests(again) == digests(bundle)


def test_a_checkpoints_weights_are_what_the_graphs_compute_with(tmp_path: Path) -> None:
    model = NaViT(CONFIG, seed=9)
    save_checkpoint(model, tmp_path / "model.safetensors")
    loaded = load_checkpoint(tmp_path / "model.safetensors")
    steps: list[tuple[str, int, int]] = []
    out = export_bundle(
        loaded,
        tmp_path / "nine.navit",
        name="nine",
        weights="model.safetensors",
        outputs=("embedding",),
        sizing="native",
        resample="bicubic",
        alpha="composite",
        background=(1, 2, 3),
        icc="srgb",
        progress=lambda what, done, total: steps.append((what, done, total)),
    )
    manifest = manifests.load(out)
    assert manifest.name == "nine"
    assert manifest.created_by["weights"] == "model.safetensors"
    assert (manifest.preprocess.sizing.rule, manifest.preprocess.filter) == ("native", "bicubic")
    assert (manifest.preprocess.alpha, manifest.preprocess.background) == ("composite", (1, 2, 3))
    assert (manifest.preprocess.orientation, manifest.preprocess.icc) == ("apply", "srgb")
    assert [done for _, done, _ in steps] == sorted(done for _, done, _ in steps)
    assert steps[-1][1] == steps[-1][2] >= 3
    images = [np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)]
    session = onnxruntime.InferenceSession(out / "graphs" / "masked.onnx")
    inputs = pack(images, patch_px=16).inputs()
    (found,) = session.run(None, {spec.name: inputs[spec.name] for spec in session.get_inputs()})
    with torch.no_grad():
        expected = model.forward_images(images)["embedding"].numpy()
    assert np.abs(found - expected).max() <= 2e-5


@pytest.fixture(scope="module")
def tokens_only(tmp_path_factory: pytest.TempPathFactory) -> tuple[NaViT, Path]:
    """A model in training, after its export with no other output than the tokens."""
    model = NaViT(CONFIG, seed=9).train()
    return model, export_bundle(model, tmp_path_factory.mktemp("tokens") / "tokens.navit", outputs=("tokens",))


def test_exporting_leaves_the_model_as_it_was(tokens_only: tuple[NaViT, Path]) -> None:
    model, out = tokens_only
    assert model.training
    assert all(module.training for module in model.modules())
    before = NaViT(CONFIG, seed=9).state_dict()
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert manifests.load(out).created_by["weights"] == "given by the caller"


@pytest.mark.parametrize("lowering", ["masked", "padded"])
def test_what_is_not_asked_for_is_not_in_the_graph(tokens_only: tuple[NaViT, Path], lowering: str) -> None:
    path = tokens_only[1] / "graphs" / f"{lowering}.onnx"
    session = onnxruntime.InferenceSession(path)
    assert [value.name for value in session.get_outputs()] == ["tokens"]
    names = [tensor.name for tensor in onnx.load(path, load_external_data=False).graph.initializer]
    assert "norm.weight" in names
    assert not [name for name in names if name.startswith(("pooling.", "head."))]


def test_the_packed_graph_is_made_where_it_is_asked_for_and_shares_the_weights(tmp_path: Path) -> None:
    out = export_bundle(CONFIG, tmp_path / "packed.navit", seed=5, lowerings=("packed", "masked"))
    manifest = manifests.load(out)
    assert [graph.lowering for graph in manifest.graphs] == ["masked", "packed"]
    assert set(manifest.files) == {"graphs/masked.onnx", "graphs/packed.onnx", "graphs/weights.bin"}
    places = []
    for graph in manifest.graphs:
        model = onnx.load(out / graph.file, load_external_data=False)
        external = [tensor for tensor in model.graph.initializer if tensor.external_data]
        places.append({t.name: {entry.key: entry.value for entry in t.external_data} for t in external})
    assert places[0] == places[1]
    assert "blocks.0.attention.qkv.weight" in places[0]


def test_an_existing_bundle_is_not_overwritten_unless_asked(bundle: Path) -> None:
    before = digests(bundle)
    with pytest.raises(BundleError, match="exists"):
        export_bundle(CONFIG, bundle)
    assert digests(bundle) == before
    with pytest.raises(BundleError, match="not a bundle"):
        export_bundle(CONFIG, bundle.parent, overwrite=True)


def test_a_failed_export_leaves_nothing_behind(tmp_path: Path) -> None:
    def cancel(what: str, done: int, total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_bundle(CONFIG, tmp_path / "half.navit", progress=cancel)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": ("a", "b")}, "found 2 labels; the model has 3 classes"),
        ({"outputs": ("logits", "attention")}, "expected one or more of logits, embedding, tokens"),
        ({"outputs": ()}, "outputs are empty"),
        ({"sizing": "square"}, "expected one of token-cap, native"),
        ({"sizing": "naflex:max_token=5"}, "expected naflex:max_tokens=256; naflex takes max_tokens"),
        ({"sizing": "fixed:height_px=20,width_px=16"}, "multiples of the patch side"),
        ({"max_tokens": 0}, "max_tokens is 0; expected 1 and up"),
        ({"lowerings": ("masked", "sparse")}, "lowerings are masked, sparse; expected one or more of masked, padded"),
        ({"lowerings": ()}, "lowerings are empty"),
        ({"lowerings": ("packed", "packed")}, "each once"),
        ({"resample": "mitchell"}, "expected one of nearest, box, bilinear"),
        ({"alpha": "ignore"}, "expected one of drop, composite, reject"),
        ({"orientation": "exif"}, 'orientation "exif" is unknown; expected one of apply, as-decoded'),
        ({"icc": "p3"}, 'icc "p3" is unknown; expected one of ignore, srgb'),
        ({"background": (0, 0, 256)}, "each of 0 to 255"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError) as caught:
        export_bundle(CONFIG, tmp_path / "none.navit", **options)
    assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_logits_of_a_model_without_classes_are_refused(tmp_path: Path) -> None:
    config = NaViTConfig(width=32, depth=1, heads=4, mlp_width=64, num_classes=0)
    with pytest.raises(InvalidInputError, match="num_classes above 0"):
        export_bundle(config, tmp_path / "none.navit", outputs=("logits",))


def test_a_model_of_16_bit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"parameters of torch\.bfloat16.*call model\.float\(\)"):
        export_bundle(NaViT(CONFIG).to(torch.bfloat16), tmp_path / "none.navit")


def test_configs_and_preprocessing_need_no_torch() -> None:
    """The CLI checks its options before it loads torch, and says what is missing where torch is not installed."""
    script = (
        "import sys; sys.modules['torch'] = sys.modules['onnx'] = None\n"
        "import navit_edge_export.preprocess\n"
        "from navit_edge_export.model.config import sized\n"
        "from navit_edge_export.model import SIZES\n"
        "assert sized('s16') == SIZES['s16']\n"
        "try:\n    from navit_edge_export.model import NaViT\n"
        "except ImportError as error: print(type(error).__name__, error)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "MissingPackageError" in run.stdout
    assert 'pip install "navit-edge[export]"' in run.stdout
