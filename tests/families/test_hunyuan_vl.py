"""HunyuanOCR's vision tower against transformers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import transformers
from parity import Image, Oracle, check_guess, check_parity, check_parity_in_pytorch, draw_images, normalize, perturb
from PIL import Image as PillowImage
from safetensors.torch import save_file
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.hunyuan_vl.configuration_hunyuan_vl import HunYuanVLVisionConfig
from transformers.models.hunyuan_vl.image_processing_pil_hunyuan_vl import HunYuanVLImageProcessorPil
from transformers.models.hunyuan_vl.modeling_hunyuan_vl import HunYuanVLVisionTransformer

import navit_edge as ne
from navit_edge.bundle.sizing_rule import Sizing
from navit_edge_export.families.common import CLIP
from navit_edge_export.families.hunyuan_vl import RELEASED, read_separators, with_separators
from navit_edge_export.families.registry import import_checkpoint
from navit_edge_export.preprocess import prepare

#: Rows x columns, even: wide, two rows, tall, small, larger than the table, the first once more.
GRIDS = ((4, 10), (2, 6), (12, 2), (2, 2), (10, 14), (4, 10))
PATCH_PX = 8
CONFIG: dict[str, Any] = {
    "num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 64, "intermediate_size": 96,
    "text_hidden_size": 48, "patch_size": PATCH_PX, "max_image_size": 9 * PATCH_PX,
}  # fmt: skip


def make(**changes: object) -> Any:
    return perturb(HunYuanVLVisionTransformer(HunYuanVLVisionConfig(**{**CONFIG, **changes})))


def ask(theirs: Any, image: Image) -> npt.NDArray[np.float32]:
    """[rows / 2 * (columns / 2 + 1) + 2, D]: with the separators."""
    processor = HunYuanVLImageProcessorPil()
    patches, rows, columns = processor.patchify(normalize(image, *CLIP).numpy(), theirs.config.patch_size, 2, 1)
    found = theirs(torch.from_numpy(patches.copy()), grid_thw=torch.tensor([[1, rows, columns]]))
    values: npt.NDArray[np.float32] = found.pooler_output[0].numpy()
    return values


def oracle_of(theirs: Any) -> Oracle:
    def oracle(image: Image) -> dict[str, npt.NDArray[np.float32]]:
        rows, columns = (side // theirs.config.patch_size // 2 for side in image.shape[:2])
        lines = ask(theirs, image)[1:-1].reshape(rows, columns + 1, -1)
        return {"tokens": lines[:, :-1].reshape(rows * columns, -1)}

    return oracle


def test_a_packed_run_is_transformers_one_image_at_a_time(tmp_path: Path) -> None:
    theirs = make()
    check_guess(theirs, "hunyuan-vl")
    theirs.save_pretrained(tmp_path / "folder")
    imported = import_checkpoint(tmp_path / "folder")
    assert imported.family == "hunyuan-vl"
    print("hunyuan-vl", check_parity(imported.model, oracle_of(theirs), tmp_path, grids=GRIDS))


@pytest.mark.parametrize(
    "changes", [{"interpolate_mode": "bicubic"}, {"rms_norm_eps": 0.1}, {"hidden_act": "silu"}], ids=str
)
def test_each_field_of_the_config_counts_as_in_transformers(changes: dict[str, Any], tmp_path: Path) -> None:
    theirs = make(**changes)
    theirs.save_pretrained(tmp_path / "folder")
    check_parity_in_pytorch(import_checkpoint(tmp_path / "folder").model, oracle_of(theirs), grids=GRIDS)


def released(name: str) -> str:
    """As the checkpoint that was published has it."""
    for ours in sorted(RELEASED, key=len, reverse=True):
        if f".{ours}." in f".{name}":
            return f".{name}".replace(f".{ours}.", f".{RELEASED[ours]}.", 1)[1:]
    return name


@pytest.mark.parametrize("form", ["released", "transformers"])
def test_the_tower_is_read_out_of_the_whole_model(form: str, tmp_path: Path) -> None:
    """Beside the language model, in bf16, in two shards; by the names as published, and those of transformers."""
    theirs = make()
    old = form == "released"
    tensors = {
        f"vit.{released(name)}" if old else f"model.vision_tower.{name}": value
        for name, value in theirs.state_dict().items()
    }
    assert not old or {"vit.perceive.proj.0.bias", "vit.layers.1.mlp.dense_h_to_4h.bias"} <= tensors.keys()
    language = "model" if old else "model.language_model"
    for name in (f"{language}.layers.0.mlp.gate_proj", f"{language}.embed_tokens", "lm_head"):
        tensors[f"{name}.weight"] = torch.zeros(2, 2)
    names, index = sorted(tensors), {}
    for n, file in enumerate(("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")):
        save_file({name: tensors[name].bfloat16().contiguous() for name in names[n::2]}, tmp_path / file)
        index.update(dict.fromkeys(names[n::2], file))
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    config = {"model_type": "hunyuan_vl", "architectures": ["HunYuanVLForConditionalGeneration"]}
    (tmp_path / "config.json").write_text(json.dumps({**config, "vision_config": theirs.config.to_dict()}))
    imported = import_checkpoint(tmp_path)
    theirs.load_state_dict({name: value.bfloat16().float() for name, value in theirs.state_dict().items()})
    check_parity_in_pytorch(imported.model, oracle_of(theirs), grids=GRIDS)
    image = draw_images([(4, 10)], PATCH_PX)[0]
    with torch.no_grad():
        ours = imported.model.forward_images([image])["tokens"].numpy()
        whole = ask(theirs, image)
    found = with_separators(ours, (4, 10), read_separators(tmp_path))
    np.testing.assert_allclose(found, whole, atol=2e-5 * float(np.abs(whole).max()))


def test_our_tokens_give_the_language_model_the_logits_of_its_own_tower(tmp_path: Path) -> None:
    text = {
        "vocab_size": 32, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 16,
        "rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "mrope_section": [2, 2, 2, 2]},
    }  # fmt: skip
    config = transformers.HunYuanVLConfig(vision_config=CONFIG, text_config=text, image_token_id=7)
    whole: Any = perturb(transformers.HunYuanVLForConditionalGeneration(config))
    whole.save_pretrained(tmp_path)
    ours = import_checkpoint(tmp_path).model
    image = draw_images([(4, 10)], PATCH_PX)[0]
    patches, *grid = HunYuanVLImageProcessorPil().patchify(normalize(image, *CLIP).numpy(), PATCH_PX, 2, 1)
    ids = torch.tensor([[3, *[7] * (2 * (5 + 1) + 2), 4, 5]])
    asked = {"input_ids": ids, "mm_token_type_ids": (ids == 7).int(), "image_grid_thw": torch.tensor([[1, *grid]])}
    with torch.no_grad():
        tokens = ours.forward_images([image])["tokens"].numpy()
        embeds = torch.from_numpy(with_separators(tokens, (4, 10), read_separators(tmp_path)))
        given = whole(**asked, mm_encoder_outputs={"image": BaseModelOutputWithPooling(pooler_output=(embeds,))}).logits
        expected = whole(**asked, pixel_values=torch.from_numpy(patches.copy())).logits
        without = whole(**asked, pixel_values=torch.zeros(patches.shape)).logits
    assert (given - expected).abs().max() <= 2e-5 * expected.abs().max()
    assert (without - expected).abs().max() > 1e-2 * expected.abs().max()


def test_grids_and_pixels_are_those_of_the_processor(
    photographs: Mapping[str, npt.NDArray[np.uint8]], tmp_path: Path
) -> None:
    """Its config says Lanczos, and it resizes bicubically."""
    limits = {"shortest_edge": 64 * 64, "longest_edge": 200 * 200}
    processor = HunYuanVLImageProcessorPil(patch_size=PATCH_PX, size=limits, resample=1)
    make(num_hidden_layers=1).save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    found = import_checkpoint(tmp_path).preprocessing
    assert found.sizing == Sizing(rule="smart-resize", merge=2, min_pixels=64 * 64, max_pixels=200 * 200)
    assert (found.filter, found.alpha, found.orientation) == ("bicubic", "composite", "apply")
    for image in photographs.values():
        theirs = processor(PillowImage.fromarray(image), return_tensors="np")
        ours = prepare(image, patch_px=PATCH_PX, sizing=found.sizing, resample=found.filter)
        grid = (ours.shape[0] // PATCH_PX, ours.shape[1] // PATCH_PX)
        assert tuple(theirs["image_grid_thw"][0]) == (1, *grid)
        patches, *_ = processor.patchify(normalize(ours, *CLIP).numpy(), PATCH_PX, 2, 1)
        np.testing.assert_allclose(theirs["pixel_values"], patches, atol=2e-6)  # of one level: 0.0145 and more


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"spatial_merge_size": 3}, "spatial_merge_size is 3"),
        ({"temporal_patch_size": 2}, "temporal_patch_size is 2"),
        ({"interpolate_mode": "nearest"}, "interpolate_mode is 'nearest'"),
        ({"max_image_size": 5}, "max_image_size is 5"),
        ({"head_dim": 8}, "head_dim is 8"),
    ],
)
def test_what_the_importer_cannot_represent_is_refused_by_name(
    fields: dict[str, Any], message: str, tmp_path: Path
) -> None:
    make(num_hidden_layers=1).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    with pytest.raises(ne.InvalidInputError, match=message):
        import_checkpoint(tmp_path)
