"""timm's NaFlexVit against timm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
from parity import check_guess, check_parity, check_parity_in_pytorch, perturb
from PIL import Image
from safetensors.torch import save_file
from timm.data.transforms_factory import transforms_imagenet_eval
from timm_cases import CASES, EXPORTED, make_timm, oracle_of, save_folder

from navit_edge.bundle.sizing_rule import Sizing
from navit_edge.errors import InvalidInputError
from navit_edge_export.families.checkpoint import Checkpoint
from navit_edge_export.families.registry import import_checkpoint
from navit_edge_export.families.timm import naflexvit
from navit_edge_export.families.timm.variants import VARIANTS
from navit_edge_export.preprocess import patchify, prepare

#: What makes a registered variant small, its kinds of positions, blocks and pooling left as they are.
SHRUNKEN: dict[str, Any] = {"embed_dim": 64, "depth": 1, "num_heads": 4}


@pytest.mark.parametrize("case", CASES)
def test_the_packed_model_is_timm_one_image_at_a_time(case: str, tmp_path: Path) -> None:
    theirs = make_timm(case)
    check_guess(theirs, "timm-naflexvit")
    imported = import_checkpoint(save_folder(theirs, case, tmp_path / "folder"))
    assert imported.family == "timm-naflexvit"
    check_parity_in_pytorch(imported.model, oracle_of(theirs))


@pytest.mark.parametrize("case", EXPORTED)
def test_a_packed_run_of_the_graphs_is_timm_one_image_at_a_time(case: str, tmp_path: Path) -> None:
    theirs = make_timm(case)
    imported = import_checkpoint(save_folder(theirs, case, tmp_path / "folder"))
    check_parity(imported.model, oracle_of(theirs), tmp_path)


def test_the_variants_are_those_that_timm_has_registered() -> None:
    assert set(timm.list_models("naflexvit*")) == set(VARIANTS)


@pytest.mark.parametrize("architecture", VARIANTS)
def test_a_shrunken_variant_is_timm_one_image_at_a_time(architecture: str, tmp_path: Path) -> None:
    theirs: Any = perturb(timm.create_model(architecture, **SHRUNKEN))
    save_file(
        {name: tensor.contiguous() for name, tensor in theirs.state_dict().items()}, tmp_path / "model.safetensors"
    )
    config = {"architecture": architecture, "model_args": SHRUNKEN}
    (tmp_path / "config.json").write_text(json.dumps(config))
    imported = import_checkpoint(tmp_path)
    pretrained = theirs.pretrained_cfg
    assert imported.model.config.mean == pretrained["mean"]
    assert imported.model.config.std == pretrained["std"]
    assert imported.preprocessing.filter == pretrained["interpolation"]
    assert imported.preprocessing.sizing.max_tokens == (pretrained["input_size"][1] // 16) ** 2
    check_parity_in_pytorch(
        imported.model, oracle_of(theirs, pretrained["mean"], pretrained["std"]), grids=((3, 11), (1, 7), (9, 2))
    )


@pytest.mark.parametrize("filter_", ["bicubic", "bilinear"])
def test_patches_are_those_of_timms_transform(filter_: str) -> None:
    transform = transforms_imagenet_eval(
        img_size=384, interpolation=filter_, naflex=True, patch_size=16, max_seq_len=100, patchify=True, normalize=False
    )
    rng = np.random.default_rng(5)
    sizing = Sizing(rule="naflex", max_tokens=100)
    for size in ((50, 70), (300, 200), (11, 190), (640, 480), (16, 16), (33, 1)):
        image = rng.integers(0, 256, (*size, 3), np.uint8)
        expected = transform(Image.fromarray(image))["patches"].numpy()
        ours = patchify(prepare(image, patch_px=16, sizing=sizing, resample=filter_), 16)
        assert np.array_equal(ours, expected)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "architecture is missing; the family timm-naflexvit supports naflexvit_base_patch16_gap, "),
        ({"architecture": "naflexvit_tiny"}, "architecture is 'naflexvit_tiny'"),
        ({"model_args": {"norm_layer": "simplenorm"}}, "norm_layer is 'simplenorm'; .* supports None, 'layernorm'"),
        ({"model_args": {"attn_layer": "diff"}}, "attn_layer is 'diff'"),
        ({"model_args": {"pos_embed_interp_mode": "area"}}, "pos_embed_interp_mode is 'area'"),
        ({"model_args": {"patch_size": [16, 8]}}, r"patch_size is \[16, 8\]; .* supports square patches"),
        ({"model_args": {"pos_embed_align_corners": True}}, "pos_embed_align_corners is True; .*without"),
        ({"model_args": {"mixture_of_experts": 3}}, "mixture_of_experts is 3; .* supports the fields act_layer, "),
        ({"model_args": {"num_kv_heads": 5}}, "num_kv_heads is 5; .* supports divisors of num_heads, 12"),
        ({"model_args": {"rope_type": "mrope"}}, "rope_mrope_section is missing; .* supports three numbers"),
    ],
)
def test_what_the_importer_cannot_represent_is_refused_by_name(config: dict[str, Any], message: str) -> None:
    checkpoint = Checkpoint(path=Path("x"), tensors={}, config=config)
    with pytest.raises(InvalidInputError, match=message):
        naflexvit.read_config(checkpoint)
