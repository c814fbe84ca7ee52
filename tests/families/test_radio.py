"""RADIO against transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import transformers
from parity import Image, Oracle, check_guess, check_parity, check_parity_in_pytorch, normalize, perturb
from safetensors.torch import save_file

import navit_edge as ne
from navit_edge_export.families.common import CLIP
from navit_edge_export.families.radio import RELEASED
from navit_edge_export.families.registry import import_checkpoint

PATCH_PX = 8
CONFIG: dict[str, Any] = {
    "num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 64, "mlp_ratio": 2.0, "patch_size": PATCH_PX,
    "max_img_size": 9 * PATCH_PX,
}  # fmt: skip


def make_model(**changes: object) -> Any:
    return perturb(transformers.RadioModel(transformers.RadioConfig(**{**CONFIG, **changes})))


def oracle_of(theirs: Any) -> Oracle:
    def oracle(image: Image) -> dict[str, npt.NDArray[np.float32]]:
        found = theirs(normalize(image, (0, 0, 0), (1, 1, 1))[None])
        return {"embedding": found.summary[0].numpy(), "tokens": found.last_hidden_state[0].numpy()}

    return oracle


def test_a_packed_run_is_transformers_one_image_at_a_time(tmp_path: Path) -> None:
    theirs = make_model()
    check_guess(theirs, "radio")
    theirs.save_pretrained(tmp_path / "folder")
    imported = import_checkpoint(tmp_path / "folder")
    assert imported.family == "radio"
    np.testing.assert_allclose([imported.model.config.mean, imported.model.config.std], CLIP, rtol=1e-6)
    print("radio", check_parity(imported.model, oracle_of(theirs), tmp_path))


@pytest.mark.parametrize(
    "changes",
    [
        {"use_swiglu_ffn": True},
        {"qkv_bias": False},
        {"layer_norm_eps": 0.1},
        {"hidden_act": "silu"},
        {"num_cls_tokens": 4, "num_registers": 0, "summary_idxs": [3, 0, 2]},
        {"norm_mean": [0.1, 0.2, 0.3], "norm_std": [0.9, 0.5, 0.7]},
        {"video_temporal_patch_size": 2},
        {"max_img_size": 3 * PATCH_PX + 5},
    ],
    ids=str,
)
def test_each_field_of_the_config_counts_as_in_transformers(changes: dict[str, Any], tmp_path: Path) -> None:
    theirs = make_model(**changes)
    theirs.save_pretrained(tmp_path / "folder")
    check_parity_in_pytorch(import_checkpoint(tmp_path / "folder").model, oracle_of(theirs))


def released(theirs: Any) -> dict[str, torch.Tensor]:
    """As C-RADIO was published: other names, queries, keys and values in one layer, no layer scales."""
    tensors: dict[str, torch.Tensor] = {}
    for name, value in theirs.state_dict().items():
        if "layer_scale" in name or any(f".{x}_proj." in name for x in "qkv"):
            continue
        old = next((o for o in RELEASED if name.startswith(o)), "")
        tensors[name.replace(old, RELEASED.get(old, ""), 1).replace("attention.o_proj", "attn.proj")] = value
    for n, layer in enumerate(theirs.encoder.layer):
        parts = [layer.attention.q_proj, layer.attention.k_proj, layer.attention.v_proj]
        for leaf in ("weight", "bias"):
            tensors[f"radio_model.model.blocks.{n}.attn.qkv.{leaf}"] = torch.cat([getattr(p, leaf) for p in parts])
    return tensors


def save(tensors: dict[str, torch.Tensor], config: dict[str, Any], folder: Path) -> None:
    """In bf16, in two shards."""
    names, index = sorted(tensors), {}
    for n, file in enumerate(("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")):
        part = {name: tensors[name] for name in names[n::2]}
        part = {k: (v.bfloat16() if v.is_floating_point() else v).contiguous() for k, v in part.items()}
        save_file(part, folder / file)
        index.update(dict.fromkeys(part, file))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    (folder / "config.json").write_text(json.dumps(config))


def rounded(theirs: Any) -> Any:
    """To what bf16 stores; no layer scales."""
    for name, value in theirs.state_dict().items():
        if "layer_scale" in name:
            value.fill_(1.0)
        elif value.is_floating_point():
            value.copy_(value.bfloat16().float())
    return theirs


def test_a_checkpoint_as_it_was_released_is_read(tmp_path: Path) -> None:
    theirs = rounded(make_model())
    config = {**theirs.config.to_dict(), "architectures": ["RADIOModel"]}
    save(released(theirs), config, tmp_path)
    imported = import_checkpoint(tmp_path)
    assert imported.family == "radio"
    check_parity_in_pytorch(imported.model, oracle_of(theirs))


def test_the_tower_of_nemotron_is_read_out_of_the_whole_model(tmp_path: Path) -> None:
    """There the processor normalizes, and the model has no part for it."""
    theirs = rounded(make_model(video_temporal_patch_size=2))
    tensors = {
        f"vision_model.{name}": value for name, value in released(theirs).items() if "input_conditioner" not in name
    }
    for name in ("language_model.backbone.layers.0.mixer.in_proj", "mlp1.1", "sound_projection.linear1"):
        tensors[f"{name}.weight"] = torch.zeros(2, 2)
    config = {"architectures": ["NemotronH_Omni_Reasoning_V3"], "vision_config": theirs.config.to_dict()}
    save(tensors, config, tmp_path)
    imported = import_checkpoint(tmp_path)
    assert imported.family == "radio"

    def oracle(image: Image) -> dict[str, npt.NDArray[np.float32]]:
        conditioner = theirs.input_conditioner
        theirs.input_conditioner = torch.nn.Identity()
        try:
            found = theirs(normalize(image, *CLIP)[None])
        finally:
            theirs.input_conditioner = conditioner
        return {"embedding": found.summary[0].numpy(), "tokens": found.last_hidden_state[0].numpy()}

    check_parity_in_pytorch(imported.model, oracle)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_channels": 1}, "num_channels is 1"),
        ({"summary_idxs": [0, 3]}, r"summary_idxs is \[0, 3\]"),
        ({"summary_idxs": []}, r"summary_idxs is \[\]"),
        ({"head_dim": 8}, "head_dim is 8"),
        ({"max_img_size": 5}, "max_img_size is 5"),
        ({"mlp_ratio": 0}, "mlp_ratio is 0"),
    ],
)
def test_what_the_importer_cannot_represent_is_refused_by_name(
    fields: dict[str, Any], message: str, tmp_path: Path
) -> None:
    make_model(num_hidden_layers=1).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    with pytest.raises(ne.InvalidInputError, match=message):
        import_checkpoint(tmp_path)
