"""DINOv2 against transformers: random weights in every form, the real ones on real photographs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import transformers
from parity import Image, check_parity, check_parity_in_pytorch, normalize, perturb, rollout

import navit_edge as ne
from navit_edge.compile import BuildRequest, build_engines
from navit_edge.compile.openvino import cpu_precisions
from navit_edge_export.families.common import IMAGENET
from navit_edge_export.families.registry import import_checkpoint
from navit_edge_export.onnx_export import export_bundle
from navit_edge_export.preprocess import prepare

CONFIG: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "mlp_ratio": 2,
    "image_size": 84,
    "patch_size": 14,
}
FORMS = {
    "plain": (transformers.Dinov2Model, transformers.Dinov2Config, {}),
    "gated": (transformers.Dinov2Model, transformers.Dinov2Config, {"use_swiglu_ffn": True, "qkv_bias": False}),
    "classifier": (transformers.Dinov2ForImageClassification, transformers.Dinov2Config, {"num_labels": 7}),
    "registers": (
        transformers.Dinov2WithRegistersForImageClassification,
        transformers.Dinov2WithRegistersConfig,
        {"num_labels": 7, "num_register_tokens": 3},
    ),
}


def ask(model: Any, image: Image) -> dict[str, npt.NDArray[np.float32]]:
    """transformers' outputs by our names."""
    pixels = normalize(image, *IMAGENET)[None]
    backbone = getattr(model, model.base_model_prefix, model)
    tokens = backbone(pixels).last_hidden_state[0]
    found = {"tokens": tokens, "embedding": tokens[0]}
    if backbone is not model:
        patches = tokens[1 + getattr(model.config, "num_register_tokens", 0) :]
        found["embedding"] = torch.cat([tokens[0], patches.mean(0)])
        found["logits"] = model(pixels).logits[0]
    return {name: value.numpy() for name, value in found.items()}


@pytest.mark.parametrize("form", FORMS)
def test_a_packed_run_is_transformers_one_image_at_a_time(form: str, tmp_path: Path) -> None:
    make, config, changes = FORMS[form]
    theirs = perturb(make(config(**{**CONFIG, **changes})))
    theirs.save_pretrained(tmp_path / "folder")
    imported = import_checkpoint(tmp_path / "folder")
    assert imported.family == "dinov2"
    assert imported.preprocessing.filter == "bicubic"
    print(check_parity(imported.model, lambda image: ask(theirs, image), tmp_path))


@pytest.mark.parametrize("form", ["plain", "registers"])
@pytest.mark.parametrize("each_head", [False, True])
def test_the_attention_map_is_transformers_attention_of_the_cls_token(
    form: str, each_head: bool, tmp_path: Path
) -> None:
    make, config, changes = FORMS[form]
    theirs = perturb(make(config(**{**CONFIG, **changes}, attn_implementation="eager")))
    theirs.save_pretrained(tmp_path / "folder")
    model = import_checkpoint(tmp_path / "folder").model
    model.with_attention_map(each_head=each_head)

    def oracle(image: Image) -> dict[str, npt.NDArray[np.float32]]:
        backbone = getattr(theirs, theirs.base_model_prefix, theirs)
        weights = backbone(normalize(image, *IMAGENET)[None], output_attentions=True).attentions[-1]
        looked = weights[0, :, 0].T  # [tokens, heads]
        return {**ask(theirs, image), "attention_map": (looked if each_head else looked.mean(1, keepdim=True)).numpy()}

    check_parity_in_pytorch(model, oracle)


@pytest.mark.parametrize("form", FORMS)
def test_saliency_is_the_rollout_of_transformers_attentions(form: str, tmp_path: Path) -> None:
    make, config, changes = FORMS[form]
    theirs = perturb(make(config(**{**CONFIG, **changes, "num_hidden_layers": 3}, attn_implementation="eager")))
    theirs.save_pretrained(tmp_path / "folder")
    model = import_checkpoint(tmp_path / "folder").model
    model.with_rollout()

    def oracle(image: Image) -> dict[str, npt.NDArray[np.float32]]:
        backbone = getattr(theirs, theirs.base_model_prefix, theirs)
        attentions = backbone(normalize(image, *IMAGENET)[None], output_attentions=True).attentions
        return {**ask(theirs, image), "attention_map": rollout(attentions)}

    print(check_parity_in_pytorch(model, oracle))


def test_pixels_are_those_of_the_processor_asked_for_the_same_size(
    photographs: Mapping[str, npt.NDArray[np.uint8]], tmp_path: Path
) -> None:
    """Its own default, 256 and a crop of 224, is for a fixed size; at native resolution it is told the grid's."""
    transformers.Dinov2Model(transformers.Dinov2Config(**CONFIG)).save_pretrained(tmp_path)
    transformers.BitImageProcessorPil().save_pretrained(tmp_path)
    imported = import_checkpoint(tmp_path)
    assert imported.model.config.mean == tuple(transformers.BitImageProcessorPil().image_mean)
    for image in photographs.values():
        ours = prepare(image, patch_px=14, sizing=imported.preprocessing.sizing, resample=imported.preprocessing.filter)
        height_px, width_px = ours.shape[:2]
        processor = transformers.BitImageProcessorPil(
            size={"height": height_px, "width": width_px}, do_center_crop=False, do_rescale=False, do_normalize=False
        )
        theirs = np.asarray(processor(image).pixel_values[0]).transpose(1, 2, 0)
        np.testing.assert_array_equal(ours, theirs)


def test_what_an_importer_cannot_represent_is_refused_by_name(tmp_path: Path) -> None:
    config = transformers.Dinov2Config(**CONFIG, apply_layernorm=False)
    transformers.Dinov2Model(config).save_pretrained(tmp_path)
    with pytest.raises(ne.InvalidInputError, match="apply_layernorm is False; the family dinov2 supports True"):
        import_checkpoint(tmp_path)


def test_the_real_weights_give_transformers_tokens_on_photographs(
    repository: Path, photographs: Mapping[str, npt.NDArray[np.uint8]], tmp_path: Path
) -> None:
    """float32 within 1e-4; bf16, where this CPU has it, to a cosine of 0.9999 over all tokens of all photographs."""
    folder = tmp_path / "dinov2-s14"
    script = repository / "examples" / "dinov2_weights.py"
    subprocess.run([sys.executable, script, folder], check=True, capture_output=True)
    imported = import_checkpoint(folder)
    sizing, resample = imported.preprocessing.sizing, imported.preprocessing.filter
    bundle = export_bundle(
        imported.model,
        tmp_path / "dinov2.navit",
        sizing=sizing,
        resample=resample,
        outputs=("embedding", "tokens"),
        lowerings=("padded",),
    )
    build_engines(bundle, BuildRequest(backend="openvino"))
    images = [photographs[name] for name in ("astronaut", "cat", "china", "rocket")]
    theirs = transformers.Dinov2Model.from_pretrained(folder).eval()
    with torch.no_grad():
        expected = [ask(theirs, prepare(image, patch_px=14, sizing=sizing, resample=resample)) for image in images]
    found: dict[str, npt.NDArray[np.float64]] = {}
    wanted = np.concatenate([one["tokens"].ravel() for one in expected]).astype(np.float64)
    for precision in cpu_precisions():
        results = ne.Session(bundle, device="cpu", precision=precision).run(images)
        assert [result.grid[0] * result.grid[1] + 1 for result in results] == [len(one["tokens"]) for one in expected]
        rows = [np.vstack([np.asarray(one.embedding), np.asarray(one.tokens)]) for one in results]
        found[precision] = np.concatenate([row.ravel() for row in rows]).astype(np.float64)
    assert np.abs(found["fp32"] - wanted).max() <= 1e-4
    if "bf16" in found:
        bf16 = found["bf16"]
        assert bf16 @ wanted / np.linalg.norm(bf16) / np.linalg.norm(wanted) >= 0.9999
