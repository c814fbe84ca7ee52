"""Small NaFlexVits that cover what its config can say, and timm as their oracle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from parity import Image, Oracle, normalize, perturb
from safetensors.torch import save_file
from torch import nn

from navit_edge_export.preprocess import patchify

SMALL: dict[str, Any] = {"patch_size": 8, "embed_dim": 64, "depth": 1, "num_heads": 4, "mlp_ratio": 2.0}
SMALL_TABLE = {"pos_embed_grid_size": [6, 5]}
_ROPE = {"pos_embed": "none", "global_pool": "avg", "reg_tokens": 1, "pos_embed_grid_size": [4, 4]}

#: Name -> NaFlexVitCfg arguments beside SMALL. Positions, register tokens, poolings, rotary kinds, block kinds.
CASES: dict[str, dict[str, Any]] = {
    # shrunken registered variants
    "gap": {**SMALL_TABLE, "init_values": 1e-5, "global_pool": "avg", "reg_tokens": 4, "fc_norm": True},
    "par-gap": {**SMALL_TABLE, "pos_embed_ar_preserving": True, "global_pool": "avg", "reg_tokens": 4},
    "parfac-gap": {
        **SMALL_TABLE, "pos_embed_ar_preserving": True, "pos_embed": "factorized", "global_pool": "avg",
        "reg_tokens": 4, "init_values": 1e-5,
    },
    "map": {**SMALL_TABLE, "init_values": 1e-5, "global_pool": "map", "reg_tokens": 1},
    "so150m2-gap": {**SMALL_TABLE, "qkv_bias": False, "reg_tokens": 1, "global_pool": "avg", "fc_norm": True},
    "siglip": {**SMALL_TABLE, "act_layer": "gelu_tanh", "global_pool": "map", "pos_embed_interp_mode": "bilinear"},
    "radio": {
        "class_token": True, "global_pool": "token", "final_norm": False, "pos_embed_grid_size": [16, 16],
        "pos_embed_interp_mode": "bilinear", "pos_embed_ar_preserving": True, "pos_embed_antialias": False,
        "pos_embed_align_corners": True, "reg_tokens": 7,
    },
    "radio-large-table": {
        "class_token": True, "global_pool": "token", "final_norm": False, "pos_embed_grid_size": [128, 128],
        "pos_embed_interp_mode": "bilinear", "pos_embed_ar_preserving": True, "pos_embed_antialias": False,
        "reg_tokens": 7,
    },
    # other positions
    "bicubic": {**SMALL_TABLE, "pos_embed_antialias": False, "global_pool": "avg", "class_token": True},
    "bicubic-large-table": {
        "pos_embed_grid_size": [70, 60], "pos_embed_antialias": False, "global_pool": "avg",
        "pos_embed_align_corners": True,
    },
    "grid-sample": {**SMALL_TABLE, "pos_embed_use_grid_sample": True, "global_pool": "avg"},
    "fac-grid-sample": {
        **SMALL_TABLE, "pos_embed_use_grid_sample": True, "pos_embed": "factorized", "global_pool": "max"
    },
    "axial": {**_ROPE, "rope_type": "axial"},
    "axial-reference": {
        **_ROPE, "rope_type": "axial", "rope_ref_feat_shape": [5, 7], "rope_grid_offset": 0.5,
        "rope_grid_indexing": "xy", "qk_norm": True,
    },
    "axial-halves": {**_ROPE, "rope_type": "axial", "rope_rotate_half": True, "class_token": True},
    "mixed": {**_ROPE, "depth": 2, "rope_type": "mixed", "rope_temperature": 10.0, "rope_grid_indexing": "xy"},
    "mixed-ij": {**_ROPE, "depth": 2, "rope_type": "mixed", "rope_temperature": 10.0, "qkv_fused": False},
    "dinov3": {
        **_ROPE, "rope_type": "dinov3", "rope_temperature": 100.0, "rope_rotate_half": True, "init_values": 1e-5,
        "swiglu_mlp": True, "swiglu_align_to": 8, "qkv_fused": False, "num_kv_heads": 2,
    },
    "mrope": {
        **_ROPE, "depth": 2, "rope_type": "mrope", "rope_mrope_section": [2, 3, 3], "attn_gated": True,
        "num_kv_heads": [4, 1], "qkv_fused": False, "norm_layer": "rmsnorm",
    },
    # other blocks and poolings
    "avgmax": {**SMALL_TABLE, "global_pool": "avgmax", "reg_tokens": 1, "pool_include_prefix": True},
    "max": {**SMALL_TABLE, "global_pool": "max", "class_token": True, "pre_norm": True, "proj_bias": False},
    "map-prefix": {
        **SMALL_TABLE, "global_pool": "map", "class_token": True, "pool_include_prefix": True, "fc_norm": True,
        "attn_pool_num_heads": 2, "attn_pool_mlp_ratio": 1.5,
    },
    "eva": {
        **SMALL_TABLE, "attn_type": "eva", "scale_mlp_norm": True, "scale_attn_inner_norm": True, "swiglu_mlp": True,
        "global_pool": "token", "class_token": True, "attn_gated": True, "init_values": 1e-5,
        "attn_only_layer_scale": True,
    },
    "eva-split": {
        **SMALL_TABLE, "attn_type": "eva", "qkv_fused": False, "global_pool": "avg", "swiglu_mlp": True, "qk_norm": True
    },
    "scaled-norms": {
        **SMALL_TABLE, "scale_mlp_norm": True, "scale_attn_inner_norm": True, "embed_norm_layer": "layernorm",
        "act_layer": "quick_gelu", "qk_norm": True, "global_pool": "avg",
    },
    "conv": {**SMALL_TABLE, "embed_proj_type": "conv", "global_pool": "avg", "norm_layer": "rmsnorm"},
    "channels-first": {**SMALL_TABLE, "patchify_channels_last": False, "global_pool": "", "reg_tokens": 1},
}  # fmt: skip
#: Those that are exported in CI; the others are compared in PyTorch there, and exported by `make verify-families`.
EXPORTED = ("par-gap", "radio-large-table", "mixed")
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def make_timm(case: str) -> nn.Module:
    """timm's model of a case, its weights away from where they start."""
    from timm.models.naflexvit import NaFlexVit, NaFlexVitCfg

    arguments = {**SMALL, **CASES[case]}
    return perturb(NaFlexVit(NaFlexVitCfg(**arguments), num_classes=0 if case == "channels-first" else 7))


def save_folder(model: nn.Module, case: str, folder: Path, **changes: object) -> Path:
    """As timm saves for the Hugging Face hub; ``changes`` are arguments beside those of the case."""
    folder.mkdir(parents=True)
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / "model.safetensors")
    config = {
        "model_args": {**SMALL, **CASES[case], **changes},
        "pretrained_cfg": {"mean": MEAN, "std": STD, "input_size": [3, 128, 128], "interpolation": "bicubic"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def oracle_of(model: Any, mean: tuple[float, ...] = MEAN, std: tuple[float, ...] = STD) -> Oracle:
    """timm on one image: as NaFlex patches where the embedding is linear and the pooling knows them, else as pixels."""

    def oracle(image: Image) -> dict[str, np.ndarray]:
        pixels = normalize(image, mean, std)[None]
        if model.embeds.is_linear and model.embeds.channels_last:
            patch = model.embeds.patch_size[0]
            grid = (image.shape[0] // patch, image.shape[1] // patch)
            rows, columns = np.divmod(np.arange(grid[0] * grid[1]), grid[1])
            coord = torch.from_numpy(np.stack([rows, columns], axis=1))[None]
            order = torch.from_numpy(patchify(image, patch).astype(np.float64) / 255)
            flat = (order.unflatten(1, (-1, 3)) - torch.tensor(mean)) / torch.tensor(std)
            valid = torch.ones(1, grid[0] * grid[1], dtype=torch.bool)
            found = model.forward_features(flat.flatten(1)[None].float(), patch_coord=coord, patch_valid=valid)
            tokens = found["patches"]
        else:
            tokens = model.forward_features(pixels)
        outputs = {"tokens": tokens[0].numpy()}
        if model.global_pool:
            outputs["embedding"] = model.forward_head(tokens, pre_logits=True)[0].numpy()
        if model.global_pool and model.num_classes:
            outputs["logits"] = model.forward_head(tokens)[0].numpy()
        return outputs

    return oracle
