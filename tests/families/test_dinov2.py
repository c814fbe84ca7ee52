"""DINOv2 against transformers: random weights in every form, the real ones on real photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import transformers
from parity import Image, check_parity, normalize, perturb

from navit_edge_export.families.dinov2 import IMAGENET_MEAN, IMAGENET_STD
from navit_edge_export.families.registry import import_checkpoint

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
    pixels = normalize(image, IMAGENET_MEAN, IMAGENET_STD)[None]
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
