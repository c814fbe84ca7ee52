"""DINOv3 against transformers, with the hyper-parameters of the published checkpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import transformers
from parity import Image, Oracle, check_guess, check_parity, check_parity_in_pytorch, normalize, perturb, rollout
from safetensors.torch import save_file

import navit_edge as ne
from navit_edge_export.families.common import IMAGENET
from navit_edge_export.families.registry import import_checkpoint
from navit_edge_export.preprocess import prepare

#: facebook/dinov3-vits16-pretrain-lvd1689m, with fewer and narrower layers.
CONFIG: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_register_tokens": 4,
    "layer_norm_eps": 1e-5,
    "rope_theta": 100.0,
    "image_size": 224,
    "patch_size": 16,
}
#: The MLP of vits16plus, vith16plus and vit7b16; biases the other way around; no registers.
FORMS: dict[str, dict[str, Any]] = {
    "gated": {"use_gated_mlp": True, "hidden_act": "silu"},
    "other biases": {"query_bias": False, "key_bias": True, "proj_bias": False, "mlp_bias": False},
    "no biases": {"query_bias": False, "value_bias": False, "rope_theta": 50.0, "layer_norm_eps": 1e-2},
    "no registers": {"num_register_tokens": 0},
}


def make_model(**changes: object) -> Any:
    return perturb(transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(**{**CONFIG, **changes})))


def oracle_of(theirs: Any) -> Oracle:
    def oracle(image: Image) -> dict[str, npt.NDArray[np.float32]]:
        found = theirs(normalize(image, *IMAGENET)[None])
        return {"tokens": found.last_hidden_state[0].numpy(), "embedding": found.pooler_output[0].numpy()}

    return oracle


def test_a_packed_run_is_transformers_one_image_at_a_time(tmp_path: Path) -> None:
    theirs = make_model()
    theirs.save_pretrained(tmp_path / "folder")
    imported = import_checkpoint(tmp_path / "folder")
    assert imported.family == "dinov3"
    assert imported.preprocessing.filter == "bilinear"
    print(check_parity(imported.model, oracle_of(theirs), tmp_path))
    check_guess(theirs, "dinov3")


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_transformers(form: str, tmp_path: Path) -> None:
    theirs = make_model(**FORMS[form])
    theirs.save_pretrained(tmp_path)
    print(check_parity_in_pytorch(import_checkpoint(tmp_path).model, oracle_of(theirs)))


def test_saliency_is_the_rollout_of_transformers_attentions_with_positions_that_turn(tmp_path: Path) -> None:
    theirs = make_model(num_hidden_layers=3, attn_implementation="eager")
    theirs.save_pretrained(tmp_path)
    model = import_checkpoint(tmp_path).model
    model.with_rollout()
    plain = oracle_of(theirs)

    def oracle(image: Image) -> dict[str, npt.NDArray[np.float32]]:
        attentions = theirs(normalize(image, *IMAGENET)[None], output_attentions=True).attentions
        return {**plain(image), "attention_map": rollout(attentions)}

    print(check_parity_in_pytorch(model, oracle))


@pytest.mark.parametrize("layers", ["layer.", "model.layer."])
def test_the_published_names_and_those_in_memory_are_both_read(layers: str, tmp_path: Path) -> None:
    theirs = make_model()
    tensors = {name.replace("model.layer.", layers): tensor for name, tensor in theirs.state_dict().items()}
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "model_type": "dinov3_vit"}))
    check_parity_in_pytorch(import_checkpoint(tmp_path).model, oracle_of(theirs))


def test_pixels_are_within_a_level_of_the_processor_asked_for_the_same_size(
    photographs: Mapping[str, npt.NDArray[np.uint8]], tmp_path: Path
) -> None:
    """It resizes fractions, not bytes, so its numbers are no bytes; ours are rounded, once a direction."""
    make_model().save_pretrained(tmp_path)
    transformers.DINOv3ViTImageProcessor().save_pretrained(tmp_path)
    imported = import_checkpoint(tmp_path)
    assert (imported.model.config.mean, imported.model.config.std) == IMAGENET
    image = photographs["cat"]
    ours = prepare(image, patch_px=16, sizing=imported.preprocessing.sizing, resample=imported.preprocessing.filter)
    height_px, width_px = ours.shape[:2]
    processor = transformers.DINOv3ViTImageProcessor(size={"height": height_px, "width": width_px}, do_normalize=False)
    theirs = 255 * np.asarray(processor(image, return_tensors="np")["pixel_values"][0]).transpose(1, 2, 0)
    assert np.abs(ours - theirs).max() <= 1.0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("apply_layernorm", False),
        ("hidden_act", "mish"),
        ("num_attention_heads", 32),
        ("num_register_tokens", -1),
        ("patch_size", [16, 8]),
        ("query_bias", 1),
        ("rope_theta", 0),
        ("layer_norm_eps", "1e-5"),
        ("use_gated_mlp", "no"),
        ("rope_parameters", {"rope_theta": 1.0}),
    ],
)
def test_a_field_that_is_not_represented_is_refused_by_name(field: str, value: object, tmp_path: Path) -> None:
    save_file({"embeddings.cls_token": make_model().embeddings.cls_token.detach()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "model_type": "dinov3_vit", field: value}))
    with pytest.raises(ne.InvalidInputError, match=field):
        import_checkpoint(tmp_path)
