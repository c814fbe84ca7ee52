"""The vision tower of Gemma 4 and EmbeddingGemma 2 against transformers."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import transformers
from parity import Image, Oracle, check_guess, check_parity, check_parity_in_pytorch, draw_images, perturb
from PIL import Image as PillowImage
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil

import navit_edge as ne
from navit_edge.bundle.sizing_rule import Sizing
from navit_edge_export.families.registry import import_checkpoint
from navit_edge_export.onnx_export import export_bundle
from navit_edge_export.preprocess import prepare

#: Rows x columns, in threes: wide, one row of blocks, tall, small, large, the first once more.
GRIDS = ((6, 15), (3, 9), (12, 3), (3, 3), (15, 18), (6, 15))
PATCH_PX = 8
VISION = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 4, "head_dim": 16, "patch_size": PATCH_PX, "position_embedding_size": 64,
}  # fmt: skip


def make(**changes: object) -> Any:
    """Every weight, norm, table and offset away from where it starts."""
    config = transformers.Gemma4VisionConfig(**{**VISION, **changes})
    theirs: Any = perturb(transformers.AutoModel.from_config(config))
    generator = torch.Generator().manual_seed(1)
    for name, buffer in theirs.named_buffers():
        if name.startswith("std_"):
            buffer.copy_(1 + 0.3 * torch.randn(buffer.shape, generator=generator))
        elif name.endswith(("_min", "_max")):  # narrow enough to clip some of the numbers
            side = -1 if name.endswith("_min") else 1
            buffer.copy_(side * (0.5 + torch.rand((), generator=generator)))
    return theirs


def positions_of(rows: int, columns: int) -> torch.Tensor:
    """[1, patches, 2], (x, y)."""
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack([x, y], dim=-1).view(1, -1, 2)


def patches_of(image: Image, patch_px: int = PATCH_PX) -> tuple[torch.Tensor, torch.Tensor]:
    """What the tower takes: pixels [1, patches, F] and positions."""
    rows, columns = image.shape[0] // patch_px, image.shape[1] // patch_px
    pixels = torch.from_numpy(image.copy()).float() / 255
    patches = pixels.view(rows, patch_px, columns, patch_px, 3).permute(0, 2, 1, 3, 4).reshape(1, rows * columns, -1)
    return patches, positions_of(rows, columns)


def oracle_of(theirs: Any) -> Oracle:
    def oracle(image: Image) -> dict[str, npt.NDArray[np.float32]]:
        return {"tokens": theirs(*patches_of(image, theirs.config.patch_size)).last_hidden_state.numpy()}

    return oracle


def test_a_packed_run_is_transformers_one_image_at_a_time(tmp_path: Path) -> None:
    theirs = make(standardize=True)
    check_guess(theirs, "gemma4")
    theirs.save_pretrained(tmp_path / "folder")
    imported = import_checkpoint(tmp_path / "folder")
    assert imported.family == "gemma4"
    print("gemma4", check_parity(imported.model, oracle_of(theirs), tmp_path, grids=GRIDS))


def test_clipped_layers_clip_as_those_of_transformers_and_change_what_comes_out(tmp_path: Path) -> None:
    theirs = make(use_clipped_linears=True, num_key_value_heads=2)
    theirs.save_pretrained(tmp_path / "folder")
    imported = import_checkpoint(tmp_path / "folder")
    print("gemma4, clipped", check_parity(imported.model, oracle_of(theirs), tmp_path, grids=GRIDS))
    image = draw_images(GRIDS[:1], PATCH_PX)[0]
    with torch.no_grad():
        clipped = imported.model.forward_images([image])["tokens"]
        for name, parameter in imported.model.named_parameters():
            if name.endswith("bounds"):
                parameter.mul_(1e9)
        assert (imported.model.forward_images([image])["tokens"] - clipped).abs().max() > 0.05 * clipped.abs().max()


@pytest.mark.parametrize(
    "changes",
    [
        {"rms_norm_eps": 0.1},
        {"rope_parameters": {"rope_type": "axial", "rope_theta": 7.0}},
        {"hidden_activation": "silu"},
        {"head_dim": 32, "num_key_value_heads": 1},
    ],
    ids=str,
)
def test_each_field_of_the_config_counts_as_in_transformers(changes: dict[str, Any], tmp_path: Path) -> None:
    theirs = make(**changes)
    theirs.save_pretrained(tmp_path / "folder")
    check_parity_in_pytorch(import_checkpoint(tmp_path / "folder").model, oracle_of(theirs), grids=GRIDS)


@pytest.mark.parametrize("merge", [2, 4])
def test_blocks_of_another_side_are_pooled(merge: int, tmp_path: Path) -> None:
    theirs = make(pooling_kernel_size=merge)
    theirs.save_pretrained(tmp_path / "folder")
    grids = [(rows // 3 * merge, columns // 3 * merge) for rows, columns in GRIDS]
    check_parity_in_pytorch(import_checkpoint(tmp_path / "folder").model, oracle_of(theirs), grids=grids)


TEXT: dict[str, Any] = {
    "vocab_size": 32, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "global_head_dim": 16, "hidden_size_per_layer_input": 8,
    "layer_types": ["sliding_attention", "full_attention"], "pad_token_id": 0,
}  # fmt: skip
IMAGE = 7  # the token that stands for a row of an image
OTHERS: dict[str, Any] = {"image_token_id": IMAGE, "video_token_id": 8, "audio_token_id": 9, "audio_config": None}


def make_whole(kind: str, **changes: object) -> Any:
    """Gemma 4 or EmbeddingGemma 2, every weight away from where it starts."""
    vision = {**VISION, **changes, "model_type": "gemma4_vision"}
    whole: Any
    if kind == "gemma4":
        text = {**TEXT, "vocab_size_per_layer_input": 32}
        whole = transformers.Gemma4ForConditionalGeneration(
            transformers.Gemma4Config(vision_config=vision, text_config=text, **OTHERS)
        )
    else:
        text = {**TEXT, "embedding_dim": 24}
        whole = transformers.EmbeddingGemma2Model(
            transformers.EmbeddingGemma2Config(vision_config=vision, text_config=text, **OTHERS)
        )
    return perturb(whole)


def whole_oracle(whole: Any) -> Oracle:
    def oracle(image: Image) -> dict[str, npt.NDArray[np.float32]]:
        found = getattr(whole, "model", whole).get_image_features(*patches_of(image), return_dict=True)
        return {"tokens": found.last_hidden_state.numpy(), "projected": found.pooler_output[0].numpy()}

    return oracle


@pytest.mark.parametrize("kind", ["gemma4", "embedding-gemma2"])
def test_tower_and_projector_are_read_out_of_the_whole_model(kind: str, tmp_path: Path) -> None:
    """In bf16, in several shards."""
    whole = make_whole(kind)
    copy.deepcopy(whole).bfloat16().save_pretrained(tmp_path, max_shard_size="50KB")
    with torch.no_grad():
        for parameter in whole.parameters():
            parameter.copy_(parameter.bfloat16().float())
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    imported = import_checkpoint(tmp_path)
    assert imported.family == "gemma4"
    assert imported.model.outputs() == ("tokens", "projected")
    check_parity_in_pytorch(imported.model, whole_oracle(whole), grids=GRIDS)


def test_a_packed_run_gives_what_the_language_model_takes(tmp_path: Path) -> None:
    whole = make_whole("gemma4")
    whole.save_pretrained(tmp_path / "folder")
    model = import_checkpoint(tmp_path / "folder").model
    print("gemma4, whole", check_parity(model, whole_oracle(whole), tmp_path, grids=GRIDS))


@pytest.mark.parametrize("kind", ["gemma4", "embedding-gemma2"])
def test_our_tokens_give_the_language_model_the_outputs_of_its_own_tower(kind: str, tmp_path: Path) -> None:
    whole = make_whole(kind)
    whole.save_pretrained(tmp_path)
    ours = import_checkpoint(tmp_path).model
    image = draw_images([(6, 15)], PATCH_PX)[0]
    pixels, places = patches_of(image)
    ids = torch.tensor([[3, *[IMAGE] * 10, 4, 5]])
    asked: dict[str, Any] = {"input_ids": ids, "image_position_ids": places}
    with torch.no_grad():
        projected = ours.forward_images([image])["projected"]
        if kind == "gemma4":
            asked["mm_token_type_ids"] = (ids == IMAGE).int()
            outputs = {"image": BaseModelOutputWithPooling(pooler_output=(projected,))}
            given = whole(**asked, mm_encoder_outputs=outputs).logits
            expected, without = (whole(**asked, pixel_values=px).logits for px in (pixels, torch.zeros_like(pixels)))
        else:
            asked["attention_mask"] = torch.ones_like(ids)
            embeds = whole.get_input_embeddings()(torch.where(ids == IMAGE, 0, ids))
            embeds[ids == IMAGE] = projected
            given = whole(inputs_embeds=embeds, attention_mask=asked["attention_mask"]).last_hidden_state
            expected, without = (
                whole(**asked, pixel_values=px).last_hidden_state for px in (pixels, torch.zeros_like(pixels))
            )
    assert (given - expected).abs().max() <= 2e-5 * expected.abs().max()
    assert (without - expected).abs().max() > 1e-2 * expected.abs().max()


def test_a_bundle_of_this_sizing_rule_is_none_for_readers_of_schema_1(tmp_path: Path) -> None:
    make(num_hidden_layers=1).save_pretrained(tmp_path / "folder")
    imported = import_checkpoint(tmp_path / "folder")
    sizing = imported.preprocessing.sizing
    bundle = export_bundle(imported.model, tmp_path / "gemma.navit", sizing=sizing, lowerings=("masked",))
    manifest = ne.load_manifest(bundle)
    assert (manifest.schema_version, manifest.preprocess.sizing, manifest.model.token_merge) == (2, sizing, 3)


@pytest.mark.parametrize("max_soft_tokens", [70, 280])
def test_grids_and_pixels_are_those_of_the_processor(
    max_soft_tokens: int, photographs: Mapping[str, npt.NDArray[np.uint8]], tmp_path: Path
) -> None:
    """Before normalization the processor's pixels are bytes / 255."""
    make(patch_size=16).save_pretrained(tmp_path)
    processor = Gemma4ImageProcessorPil(max_soft_tokens=max_soft_tokens)
    processor.save_pretrained(tmp_path)
    found = import_checkpoint(tmp_path).preprocessing
    assert found.sizing == Sizing(rule="patch-budget", merge=3, max_tokens=9 * max_soft_tokens)
    assert (found.filter, found.alpha, found.orientation) == ("bicubic", "composite", "apply")
    for image in photographs.values():
        theirs = processor(PillowImage.fromarray(image), return_tensors="np")
        ours = prepare(image, patch_px=16, sizing=found.sizing, resample=found.filter)
        rows, columns = ours.shape[0] // 16, ours.shape[1] // 16
        used = (theirs["image_position_ids"][0] >= 0).all(-1)
        assert used.sum() == rows * columns
        np.testing.assert_array_equal(theirs["image_position_ids"][0][used], positions_of(rows, columns)[0])
        patches = ours.reshape(rows, 16, columns, 16, 3).transpose(0, 2, 1, 3, 4).reshape(rows * columns, -1)
        np.testing.assert_array_equal(np.rint(theirs["pixel_values"][0][used] * 255), patches)


@pytest.mark.parametrize(
    ("where", "fields", "message"),
    [
        ("config", {"attention_bias": True}, "attention_bias is True"),
        ("config", {"pooling_kernel_size": 5}, "pooling_kernel_size is 5"),
        ("config", {"num_key_value_heads": 3}, "num_key_value_heads is 3"),
        ("config", {"head_dim": 18}, "head_dim is 18"),
        ("config", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 7.0}}, "rope_type is 'yarn'"),
        ("preprocessor_config", {"max_soft_tokens": 71}, "max_soft_tokens is 71"),
        ("preprocessor_config", {"pooling_kernel_size": 2}, "pooling_kernel_size is 2"),
        ("preprocessor_config", {"patch_size": 14}, "patch_size is 14"),
        ("preprocessor_config", {"do_resize": False}, "do_resize is False"),
    ],
)
def test_what_the_importer_cannot_represent_is_refused_by_name(
    where: str, fields: dict[str, Any], message: str, tmp_path: Path
) -> None:
    make(num_hidden_layers=1).save_pretrained(tmp_path)
    path = tmp_path / f"{where}.json"
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, **fields}))
    with pytest.raises(ne.InvalidInputError, match=message):
        import_checkpoint(tmp_path)
