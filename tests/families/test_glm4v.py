"""The vision towers of GLM-4.1V, 4.5V, 4.6V and GLM-OCR against transformers."""

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
from transformers.models.glm4v.configuration_glm4v import Glm4vVisionConfig
from transformers.models.glm4v.image_processing_pil_glm4v import Glm4vImageProcessorPil
from transformers.models.glm4v.modeling_glm4v import Glm4vVisionModel
from transformers.models.glm4v_moe.configuration_glm4v_moe import Glm4vMoeVisionConfig
from transformers.models.glm4v_moe.modeling_glm4v_moe import Glm4vMoeVisionModel
from transformers.models.glm46v.image_processing_pil_glm46v import Glm46VImageProcessorPil
from transformers.models.glm_ocr.configuration_glm_ocr import GlmOcrVisionConfig
from transformers.models.glm_ocr.modeling_glm_ocr import GlmOcrVisionModel

import navit_edge as ne
from navit_edge.bundle.sizing_rule import Sizing
from navit_edge_export.families.common import CLIP
from navit_edge_export.families.registry import import_checkpoint
from navit_edge_export.preprocess import prepare

#: Rows x columns, even: wide, two rows, tall, small, larger than the table, the first once more.
GRIDS = ((4, 10), (2, 6), (12, 2), (2, 2), (10, 14), (4, 10))
PATCH_PX = 8
SHARED: dict[str, Any] = {
    "depth": 2, "num_heads": 4, "hidden_size": 64, "out_hidden_size": 48, "intermediate_size": 80,
    "patch_size": PATCH_PX, "image_size": 8 * PATCH_PX,
    "rope_parameters": {"rope_type": "axial", "rope_theta": 500.0},
}  # fmt: skip
MAKE: dict[str, tuple[Any, Any]] = {
    "glm4v": (Glm4vVisionModel, Glm4vVisionConfig),
    "glm4v-moe": (Glm4vMoeVisionModel, Glm4vMoeVisionConfig),
    "glm-ocr": (GlmOcrVisionModel, GlmOcrVisionConfig),
}


def make(kind: str = "glm4v", **changes: object) -> Any:
    model, config = MAKE[kind]
    return perturb(model(config(**{**SHARED, **changes})))


def oracle_of(theirs: Any) -> Oracle:
    processor = Glm4vImageProcessorPil()

    def oracle(image: Image) -> dict[str, npt.NDArray[np.float32]]:
        patches, rows, columns = processor.patchify(normalize(image, *CLIP).numpy(), theirs.config.patch_size, 2, 2)
        found = theirs(torch.from_numpy(patches.copy()), grid_thw=torch.tensor([[1, rows, columns]]))
        return {"tokens": found.pooler_output.numpy()}

    return oracle


@pytest.mark.parametrize("kind", ["glm4v", "glm-ocr"])
def test_a_packed_run_is_transformers_one_image_at_a_time(kind: str, tmp_path: Path) -> None:
    theirs = make(kind)
    check_guess(theirs, "glm4v")
    theirs.save_pretrained(tmp_path / "folder")
    imported = import_checkpoint(tmp_path / "folder")
    assert imported.family == "glm4v"
    print(kind, check_parity(imported.model, oracle_of(theirs), tmp_path, grids=GRIDS))


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("glm4v-moe", {}),
        ("glm4v", {"attention_bias": True}),
        ("glm-ocr", {"attention_bias": False}),
        ("glm4v", {"rms_norm_eps": 0.1}),
        ("glm-ocr", {"hidden_act": "gelu"}),
        ("glm4v", {"image_size": 3 * PATCH_PX + 5}),
        ("glm4v", {"rope_parameters": {"rope_type": "axial", "rope_theta": 7.0}}),
    ],
    ids=str,
)
def test_each_field_of_the_config_counts_as_in_transformers(kind: str, changes: dict[str, Any], tmp_path: Path) -> None:
    theirs = make(kind, **changes)
    theirs.save_pretrained(tmp_path / "folder")
    check_parity_in_pytorch(import_checkpoint(tmp_path / "folder").model, oracle_of(theirs), grids=GRIDS)


@pytest.mark.parametrize(
    ("kind", "model_type", "architecture"),
    [
        ("glm4v", "glm46v", "Glm46VForConditionalGeneration"),
        ("glm4v-moe", "glm4v_moe", "Glm4vMoeForConditionalGeneration"),
        ("glm-ocr", "glm_ocr", "GlmOcrForConditionalGeneration"),
    ],
)
def test_the_tower_is_read_out_of_the_whole_model(
    kind: str, model_type: str, architecture: str, tmp_path: Path
) -> None:
    """As the models are published: beside the language model, in bf16, in two shards."""
    theirs = make(kind)
    tensors = {f"model.visual.{name}": value for name, value in theirs.state_dict().items()}
    for name in ("model.language_model.layers.0.mlp.gate_up_proj", "model.language_model.embed_tokens", "lm_head"):
        tensors[f"{name}.weight"] = torch.zeros(2, 2)
    names, index = sorted(tensors), {}
    for n, file in enumerate(("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")):
        save_file({name: tensors[name].bfloat16().contiguous() for name in names[n::2]}, tmp_path / file)
        index.update(dict.fromkeys(names[n::2], file))
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    config = {"model_type": model_type, "architectures": [architecture], "vision_config": theirs.config.to_dict()}
    (tmp_path / "config.json").write_text(json.dumps(config))
    imported = import_checkpoint(tmp_path)
    assert imported.family == "glm4v"
    theirs.load_state_dict({name: value.bfloat16().float() for name, value in theirs.state_dict().items()})
    check_parity_in_pytorch(imported.model, oracle_of(theirs), grids=GRIDS)


WHOLE = {
    "glm46v": (transformers.Glm46VForConditionalGeneration, transformers.Glm46VConfig),
    "glm-ocr": (transformers.GlmOcrForConditionalGeneration, transformers.GlmOcrConfig),
}
TEXT = {
    "vocab_size": 32, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "pad_token_id": 0,
    "rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "mrope_section": [2, 2, 2]},
}  # fmt: skip


@pytest.mark.parametrize("kind", WHOLE)
def test_our_tokens_give_the_language_model_the_logits_of_its_own_tower(kind: str, tmp_path: Path) -> None:
    model, config = WHOLE[kind]
    whole: Any = perturb(model(config(vision_config=SHARED, text_config=TEXT, image_token_id=7, video_token_id=8)))
    whole.save_pretrained(tmp_path)
    ours = import_checkpoint(tmp_path).model
    image = draw_images([(4, 10)], PATCH_PX)[0]
    patches, rows, columns = Glm4vImageProcessorPil().patchify(normalize(image, *CLIP).numpy(), PATCH_PX, 2, 2)
    ids = torch.tensor([[3, *[7] * (rows * columns // 4), 4, 5]])
    text = {
        "input_ids": ids,
        "mm_token_type_ids": (ids == 7).int(),
        "image_grid_thw": torch.tensor([[1, rows, columns]]),
    }
    with torch.no_grad():
        tokens = ours.forward_images([image])["tokens"]
        given = whole(**text, mm_encoder_outputs={"image": BaseModelOutputWithPooling(pooler_output=(tokens,))}).logits
        expected = whole(**text, pixel_values=torch.from_numpy(patches.copy())).logits
        without = whole(**text, pixel_values=torch.zeros(patches.shape)).logits
    assert (given - expected).abs().max() <= 2e-5 * expected.abs().max()
    assert (without - expected).abs().max() > 1e-2 * expected.abs().max()


@pytest.mark.parametrize("kind", [Glm4vImageProcessorPil, Glm46VImageProcessorPil])
def test_grids_and_pixels_are_those_of_the_processor(
    kind: Any, photographs: Mapping[str, npt.NDArray[np.uint8]], tmp_path: Path
) -> None:
    processor = kind(patch_size=PATCH_PX, size={"shortest_edge": 2 * 64 * 64, "longest_edge": 2 * 200 * 200})
    make(depth=1).save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    imported = import_checkpoint(tmp_path)
    found = imported.preprocessing
    expected = Sizing(rule="smart-resize", merge=2, min_pixels=64 * 64, max_pixels=200 * 200, enlarge="floor")
    assert found.sizing == expected
    assert (found.filter, found.alpha, found.orientation) == ("bicubic", "composite", "apply")
    for image in photographs.values():
        theirs = processor(PillowImage.fromarray(image), return_tensors="np")
        ours = prepare(image, patch_px=PATCH_PX, sizing=found.sizing, resample=found.filter)
        grid = (ours.shape[0] // PATCH_PX, ours.shape[1] // PATCH_PX)
        assert tuple(theirs["image_grid_thw"][0]) == (1, *grid)
        patches, *_ = processor.patchify(normalize(ours, *CLIP).numpy(), PATCH_PX, 2, 2)
        np.testing.assert_allclose(theirs["pixel_values"], patches, atol=2e-6)  # of one level: 0.0145 and more


@pytest.mark.parametrize(
    ("where", "fields", "message"),
    [
        ("config", {"spatial_merge_size": 3}, "spatial_merge_size is 3"),
        ("config", {"temporal_patch_size": 1}, "temporal_patch_size is 1"),
        ("config", {"image_size": 5}, "image_size is 5"),
        ("config", {"attention_bias": "yes"}, "attention_bias is 'yes'"),
        ("preprocessor_config", {"size": {"shortest_edge": 12545, "longest_edge": 20000}}, "shortest_edge is 12545"),
        ("preprocessor_config", {"merge_size": 3}, "merge_size is 3"),
        ("preprocessor_config", {"do_resize": False}, "do_resize is False"),
        ("preprocessor_config", {"patch_size": 14}, "patch_size is 14"),
    ],
)
def test_what_the_importer_cannot_represent_is_refused_by_name(
    where: str, fields: dict[str, Any], message: str, tmp_path: Path
) -> None:
    make(depth=1).save_pretrained(tmp_path)
    path = tmp_path / f"{where}.json"
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, **fields}))
    with pytest.raises(ne.InvalidInputError, match=message):
        import_checkpoint(tmp_path)
