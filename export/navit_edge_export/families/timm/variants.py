"""timm's registered NaFlexVit variants, as ``NaFlexVitCfg`` arguments: a checkpoint's config.json names one of them.

``tests/families/test_timm_naflexvit.py`` compares each with timm.
"""

from __future__ import annotations

from typing import Any

from navit_edge_export.families.common import CLIP, HALF, Normalization

_BASE: dict[str, Any] = {"embed_dim": 768, "depth": 12, "num_heads": 12}
_SO150M2: dict[str, Any] = {
    "embed_dim": 832, "depth": 21, "num_heads": 13, "mlp_ratio": 34 / 13, "init_values": 1e-5, "qkv_bias": False,
    "reg_tokens": 1,
}  # fmt: skip
_SIGLIP: dict[str, Any] = {"act_layer": "gelu_tanh", "global_pool": "map", "pos_embed_interp_mode": "bilinear"}
_GAP: dict[str, Any] = {**_BASE, "init_values": 1e-5, "global_pool": "avg", "reg_tokens": 4, "fc_norm": True}
_RADIO: dict[str, Any] = {
    "class_token": True, "global_pool": "token", "final_norm": False, "pos_embed_grid_size": [128, 128],
    "pos_embed_interp_mode": "bilinear", "pos_embed_ar_preserving": True, "pos_embed_antialias": False,
}  # fmt: skip

VARIANTS: dict[str, dict[str, Any]] = {
    "naflexvit_base_patch16_gap": _GAP,
    "naflexvit_base_patch16_par_gap": {**_GAP, "pos_embed_ar_preserving": True},
    "naflexvit_base_patch16_parfac_gap": {**_GAP, "pos_embed_ar_preserving": True, "pos_embed": "factorized"},
    "naflexvit_base_patch16_map": {**_BASE, "init_values": 1e-5, "global_pool": "map", "reg_tokens": 1},
    "naflexvit_so150m2_patch16_reg1_gap": {**_SO150M2, "global_pool": "avg", "fc_norm": True},
    "naflexvit_so150m2_patch16_reg1_map": {**_SO150M2, "global_pool": "map"},
    "naflexvit_base_patch16_siglip": {**_BASE, **_SIGLIP},
    "naflexvit_so400m_patch16_siglip": {
        "embed_dim": 1152, "depth": 27, "num_heads": 16, "mlp_ratio": 3.7362, **_SIGLIP
    },
    "naflexvit_base_patch16_radio_v3": {
        **_RADIO, **_BASE, "init_values": 1e-5, "reg_tokens": 7, "pos_embed_align_corners": True
    },
    "naflexvit_large_patch16_radio_v3": {
        **_RADIO, "embed_dim": 1024, "depth": 24, "num_heads": 16, "init_values": 1e-5, "reg_tokens": 7
    },
    "naflexvit_huge_patch16_radio_v3": {
        **_RADIO, "embed_dim": 1280, "depth": 32, "num_heads": 16, "reg_tokens": 7, "pos_embed_align_corners": True
    },
    "naflexvit_giant_patch16_radio_v3": {
        **_RADIO, "embed_dim": 1536, "depth": 40, "num_heads": 24, "reg_tokens": 7
    },
    "naflexvit_so400m_patch16_radio_v4": {
        **_RADIO, "embed_dim": 1152, "depth": 27, "num_heads": 16, "mlp_ratio": 4304 / 1152, "reg_tokens": 9
    },
    "naflexvit_huge_patch16_radio_v4": {
        **_RADIO, "embed_dim": 1280, "depth": 32, "num_heads": 16, "reg_tokens": 9
    },
}  # fmt: skip


def pixels_of(architecture: str) -> Normalization:
    """(mean, std) of the registered variants."""
    return CLIP if "_radio_" in architecture else HALF


def side_px_of(architecture: str) -> int:
    """Side of the square image that the registered variants were made for."""
    return 512 if "_radio_" in architecture else 384
