"""MoonViT (Kimi) and PaddleOCR-VL's vision tower against transformers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from parity import (
    Image,
    Oracle,
    check_guess,
    check_parity,
    check_parity_in_pytorch,
    draw_images,
    normalize,
    perturb,
)
from safetensors.torch import save_file
from transformers.models.kimi_k25.configuration_kimi_k25 import Kimi_K25Config, Kimi_K25VisionConfig
from transformers.models.kimi_k25.image_processing_kimi_k25 import Kimi_K25ImageProcessor
from transformers.models.kimi_k25.modeling_kimi_k25 import Kimi_K25ForConditionalGeneration, Kimi_K25VisionModel
from transformers.models.paddleocr_vl.configuration_paddleocr_vl import PaddleOCRVisionConfig, PaddleOCRVLConfig
from transformers.models.paddleocr_vl.image_processing_pil_paddleocr_vl import PaddleOCRVLImageProcessorPil
from transformers.models.paddleocr_vl.modeling_paddleocr_vl import (
    PaddleOCRVisionModel,
    PaddleOCRVLForConditionalGeneration,
)

import navit_edge as ne
from navit_edge_export.families.common import CLIP, HALF
from navit_edge_export.families.registry import import_checkpoint
from navit_edge_export.preprocess import prepare

SHARED = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "patch_size": 8,
    "rope_parameters": {"rope_type": "axial", "rope_theta": 500.0},
}
TEXT = {
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "vocab_size": 40,
}
IMAGE, START = 7, 8  # ids of tokens
#: Even: PaddleOCR-VL and Kimi know no others.
GRIDS = ((4, 10), (2, 6), (12, 2), (2, 2), (10, 14), (4, 10))


def make_moonvit(**changes: object) -> torch.nn.Module:
    model: torch.nn.Module = Kimi_K25VisionModel(
        Kimi_K25VisionConfig(**{**SHARED, "pos_emb_height": 7, "pos_emb_width": 7, **changes})
    )
    return model


def make_paddle(**changes: object) -> torch.nn.Module:
    model: torch.nn.Module = PaddleOCRVisionModel(PaddleOCRVisionConfig(**{**SHARED, "image_size": 56, **changes}))
    return model


def patches_of(
    image: Image, mean: tuple[float, ...], std: tuple[float, ...], side: int = 8
) -> tuple[torch.Tensor, torch.Tensor]:
    """[T, C, P, P] and (1, rows, columns)"""
    patches, rows, columns = PaddleOCRVLImageProcessorPil().patchify(normalize(image, mean, std).numpy(), side, 2, 1)
    return torch.from_numpy(patches), torch.tensor([[1, rows, columns]])


def moonvit_oracle(theirs: Any) -> Oracle:
    def oracle(image: Image) -> dict[str, npt.NDArray[np.float32]]:
        pixels, grid = patches_of(image, *HALF, theirs.config.patch_size)
        return {"tokens": theirs(pixels, grid_thw=grid).last_hidden_state.numpy()}

    return oracle


def paddle_oracle(theirs: Any) -> Oracle:
    def oracle(image: Image) -> dict[str, npt.NDArray[np.float32]]:
        pixels, grid = patches_of(image, *CLIP, theirs.config.patch_size)
        return {"tokens": theirs(pixels[None], grid_thw=grid).last_hidden_state.flatten(0, -2).numpy()}

    return oracle


def test_moonvit_packed_is_transformers_one_image_at_a_time(tmp_path: Path) -> None:
    theirs = perturb(make_moonvit())
    check_guess(theirs, "moonvit")
    theirs.save_pretrained(tmp_path / "folder")  # type: ignore[operator]
    imported = import_checkpoint(tmp_path / "folder")
    assert imported.family == "moonvit"
    print(check_parity(imported.model, moonvit_oracle(theirs), tmp_path, grids=GRIDS))


def test_paddleocr_packed_is_transformers_one_image_at_a_time(tmp_path: Path) -> None:
    theirs = perturb(make_paddle())
    theirs.save_pretrained(tmp_path / "folder")  # type: ignore[operator]
    imported = import_checkpoint(tmp_path / "folder")
    assert imported.family == "paddleocr-vl"
    print(check_parity(imported.model, paddle_oracle(theirs), tmp_path, grids=GRIDS))


def make_whole(family: str, *, eps: float = 1e-2) -> Any:
    """Tower, projector and language model, all small."""
    if family == "moonvit":
        return perturb(
            Kimi_K25ForConditionalGeneration(
                Kimi_K25Config(
                    vision_config={**SHARED, "pos_emb_height": 7, "pos_emb_width": 7},
                    text_config={"model_type": "llama", **TEXT},
                    image_token_id=IMAGE,
                    projection_hidden_size=64,
                    projection_layer_norm_eps=eps,
                )
            )
        )
    text = {**TEXT, "rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "mrope_section": [2, 2, 2]}}
    return perturb(
        PaddleOCRVLForConditionalGeneration(
            PaddleOCRVLConfig(
                vision_config={**SHARED, "image_size": 56},
                text_config=text,
                image_token_id=IMAGE,
                vision_start_token_id=START,
            )
        )
    )


def whole_oracle(theirs: Any, pixels: tuple[tuple[float, ...], tuple[float, ...]], family: str) -> Oracle:
    def oracle(image: Image) -> dict[str, npt.NDArray[np.float32]]:
        patches, grid = patches_of(image, *pixels)
        tower = moonvit_oracle(theirs.model.vision_tower) if family == "moonvit" else paddle_oracle(theirs.model.visual)
        features = theirs.model.get_image_features(patches, image_grid_thw=grid).pooler_output
        return {**tower(image), "projected": torch.cat(list(features)).numpy()}

    return oracle


@pytest.mark.parametrize(("family", "pixels"), [("moonvit", HALF), ("paddleocr-vl", CLIP)])
def test_the_projector_of_a_whole_model_is_transformers_and_its_language_model_takes_it(
    family: str, pixels: tuple[tuple[float, ...], tuple[float, ...]], tmp_path: Path
) -> None:
    theirs = make_whole(family)
    check_guess(theirs, family)
    theirs.save_pretrained(tmp_path / "folder", max_shard_size="100KB")
    imported = import_checkpoint(tmp_path / "folder")
    assert imported.family == family
    print(family, check_parity(imported.model, whole_oracle(theirs, pixels, family), tmp_path, grids=GRIDS))
    theirs.save_pretrained(tmp_path / "other", save_original_format=False)
    other_names = import_checkpoint(tmp_path / "other").model.state_dict()
    assert all(torch.equal(other_names[name], value) for name, value in imported.model.state_dict().items())
    images = draw_images(((4, 6), (2, 4)), 8)
    ids = torch.tensor([[1, START, *[IMAGE] * 6, 2, START, *[IMAGE] * 2, 3, 4]])
    patches, grids = zip(*(patches_of(image, *pixels) for image in images), strict=True)
    prompt = {"input_ids": ids, "image_grid_thw": torch.cat(grids)}
    if family == "paddleocr-vl":
        prompt["mm_token_type_ids"] = (ids == IMAGE).int()
    with torch.no_grad():
        expected = theirs(**prompt, pixel_values=torch.cat(patches)).logits
        ours = imported.model.forward_images(images)["projected"]

        def logits(embeddings: torch.Tensor) -> torch.Tensor:
            made = theirs.get_input_embeddings()(ids)
            made[ids == IMAGE] = embeddings
            return theirs(**{**prompt, "inputs_embeds": made}).logits  # type: ignore[no-any-return]

        found, other = logits(ours), logits(ours.flip(0))
    scale = expected.abs().max()
    assert (found - expected).abs().max() <= 1e-4 * scale
    assert (other - expected).abs().max() > 1e-2 * scale


def as_released(theirs: Any, projector: str, layers: tuple[str, str]) -> dict[str, torch.Tensor]:
    """Kimi's tensors by the names they were released with: queries, keys and values in one, neighbours turn."""
    found: dict[str, torch.Tensor] = {}
    renames = (
        (r"model\.vision_tower\.layers\.", "vision_tower.encoder.blocks."),
        (r"model\.vision_tower\.final_layernorm", "vision_tower.encoder.final_layernorm"),
        (r"model\.vision_tower\.patch_embed\.pos_emb\.position_embeddings", "vision_tower.patch_embed.pos_emb.weight"),
        (r"model\.vision_tower\.", "vision_tower."),
        (r"model\.mm_projector\.in_proj", f"{projector}.{layers[0]}"),
        (r"model\.mm_projector\.out_proj", f"{projector}.{layers[1]}"),
        (r"model\.mm_projector\.", f"{projector}."),
        (r"\.norm1\.", ".norm0."),
        (r"\.norm2\.", ".norm1."),
        (r"\.mlp\.fc1\.", ".mlp.fc0."),
        (r"\.mlp\.fc2\.", ".mlp.fc1."),
        (r"\.attn\.proj\.", ".wo."),
        (r"model\.language_model\.", "language_model.model."),
    )
    tensors = theirs.state_dict()
    for name, tensor in tensors.items():
        if ".q_proj." in name and "vision_tower" in name:
            parts = [tensors[name.replace(".q_proj.", f".{x}_proj.")] for x in "qkv"]
            for n in (0, 1):  # halves of a head -> neighbours
                parts[n] = parts[n].unflatten(0, (4, 2, -1)).transpose(1, 2).flatten(0, 2)
            name, tensor = name.replace("attn.q_proj", "wqkv"), torch.cat(parts)
        elif "vision_tower" in name and (".k_proj." in name or ".v_proj." in name):
            continue
        for before, after in renames:
            name = re.sub(before, after, name)
        found[name] = tensor.contiguous().clone()
    return found


RELEASED_VISION = {
    "kimi_k25": {
        "vt_hidden_size": 64,
        "vt_intermediate_size": 96,
        "vt_num_attention_heads": 4,
        "vt_num_hidden_layers": 1,
        "init_pos_emb_time": 4,
        "pos_emb_type": "divided_fixed",
        "merge_type": "sd2_tpool",
        "mm_projector_type": "patchmerger",
        "mm_hidden_size": 64,
        "projector_ln_eps": 1e-2,
        "projector_hidden_act": "gelu",
    },
    "kimi_vl": {
        "model_type": "moonvit",
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_attention_heads": 4,
        "num_hidden_layers": 1,
    },
}


@pytest.mark.parametrize(
    ("model_type", "projector", "layers"),
    [
        ("kimi_k25", "mm_projector", ("proj.0", "proj.2")),
        ("kimi_vl", "multi_modal_projector", ("linear_1", "linear_2")),
    ],
)
def test_kimis_checkpoints_are_read_as_they_were_released(
    model_type: str, projector: str, layers: tuple[str, str], tmp_path: Path
) -> None:
    # That of Kimi-VL stands in its code.
    theirs = make_whole("moonvit", eps=1e-2 if model_type == "kimi_k25" else 1e-5)
    save_file(as_released(theirs, projector, layers), tmp_path / "model.safetensors")
    vision = {"init_pos_emb_height": 7, "init_pos_emb_width": 7, "merge_kernel_size": [2, 2], "patch_size": 8}
    vision |= RELEASED_VISION[model_type] | {"rope_parameters": SHARED["rope_parameters"]}
    config = {"model_type": model_type, "vision_config": vision, "text_config": {"hidden_size": 48}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    limits = {"in_patch_limit": 400} if model_type == "kimi_k25" else {"in_token_limit": 400}
    fields = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, **limits}
    fields = {"media_proc_cfg": fields} if model_type == "kimi_k25" else fields
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(fields))
    imported = import_checkpoint(tmp_path)
    assert imported.preprocessing.sizing.max_tokens == 400
    oracle = whole_oracle(theirs, HALF, "moonvit")
    print(model_type, check_parity_in_pytorch(imported.model, oracle, grids=GRIDS))


def test_pixels_are_within_a_level_of_kimis_processor_and_filled_up_as_it_does(
    photographs: Mapping[str, npt.NDArray[np.uint8]], tmp_path: Path
) -> None:
    size = {"max_height": 40, "max_width": 40}
    processor = Kimi_K25ImageProcessor(size=size, max_patches=500, patch_size=8)
    make_moonvit().save_pretrained(tmp_path)  # type: ignore[operator]
    processor.save_pretrained(tmp_path)
    preprocessing = import_checkpoint(tmp_path).preprocessing
    small = {"small": np.full((21, 50, 3), 200, np.uint8)}
    for image in {**photographs, **small}.values():
        ours = prepare(
            image,
            patch_px=8,
            sizing=preprocessing.sizing,
            resample=preprocessing.filter,
            processor=preprocessing.processor,
        )
        found = processor(image, do_rescale=False, do_normalize=False, return_tensors="pt")
        rows, columns = found["image_grid_thw"][0][1:].tolist()
        assert ours.shape == (rows * 8, columns * 8, 3)
        theirs = found["pixel_values"].int().numpy()  # [T, C, P, P]
        patches = ours.reshape(rows, 8, columns, 8, 3).transpose(0, 2, 4, 1, 3).reshape(theirs.shape)
        assert np.abs(patches - theirs).max() <= 1
    assert (ours[21:] == 0).all()  # of the small one
    assert (ours[:21, :50] == 200).all()


def test_pixels_are_those_of_paddleocrs_processor(
    photographs: Mapping[str, npt.NDArray[np.uint8]], tmp_path: Path
) -> None:
    processor = PaddleOCRVLImageProcessorPil(size={"shortest_edge": 64 * 64, "longest_edge": 200 * 200}, patch_size=8)
    make_paddle().save_pretrained(tmp_path)  # type: ignore[operator]
    processor.save_pretrained(tmp_path)
    preprocessing = import_checkpoint(tmp_path).preprocessing
    for image in photographs.values():
        ours = prepare(image, patch_px=8, sizing=preprocessing.sizing, resample=preprocessing.filter)
        found = processor(image, do_rescale=False, do_normalize=False)
        rows, columns = found["image_grid_thw"][0][1:]
        assert ours.shape == (rows * 8, columns * 8, 3)
        theirs = processor.patchify(ours.transpose(2, 0, 1), 8, 2, 1)[0]
        np.testing.assert_array_equal(theirs, found["pixel_values"])


def test_what_an_importer_cannot_represent_is_refused_by_name(tmp_path: Path) -> None:
    make_moonvit(merge_kernel_size=[1, 1]).save_pretrained(tmp_path / "a")  # type: ignore[operator]
    with pytest.raises(ne.InvalidInputError, match=r"merge_kernel_size is .1, 1.; the family moonvit supports"):
        import_checkpoint(tmp_path / "a")
    make_moonvit(pos_emb_width=9).save_pretrained(tmp_path / "b")  # type: ignore[operator]
    with pytest.raises(ne.InvalidInputError, match="pos_emb_width is 9; the family moonvit supports 7"):
        import_checkpoint(tmp_path / "b")
    make_paddle(image_size=7).save_pretrained(tmp_path / "c")  # type: ignore[operator]
    with pytest.raises(ne.InvalidInputError, match="image_size is 7; the family paddleocr-vl supports sides"):
        import_checkpoint(tmp_path / "c")
