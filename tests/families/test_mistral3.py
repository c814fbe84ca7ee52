"""Mistral3, Ministral-3 and LightOnOCR against transformers: tower, merger, projector and language model."""

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

import navit_edge as ne
from navit_edge_export.families.common import CLIP
from navit_edge_export.families.registry import import_checkpoint
from navit_edge_export.onnx_export import export_bundle
from navit_edge_export.preprocess import prepare

IMAGE = 10  # the token that stands for a row of an image
#: Published: 24 layers of 1024 (MLP 4096), 16 heads, 14 px, sides to 1540, SiLU; text of 5120 (Mistral), 3072
#: (Ministral), 1024 (Qwen3). Here in depth and width only.
VISION = {
    "model_type": "pixtral",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "head_dim": 16,
    "patch_size": 14,
    "image_size": 1540,
    "num_channels": 3,
    "hidden_act": "silu",
    "rope_parameters": {"rope_type": "axial", "rope_theta": 10000.0},
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
#: Even in both directions, as the processor makes them.
GRIDS = ((4, 10), (2, 6), (12, 2), (2, 2), (10, 14), (4, 10))


def make_mistral3(text_type: str = "mistral", vision: Mapping[str, Any] | None = None, **changes: Any) -> Any:
    text = {**TEXT, "model_type": text_type, "rms_norm_eps": 1e-5}
    tower = {**VISION, **(vision or {})}
    config = transformers.Mistral3Config(vision_config=tower, text_config=text, image_token_index=IMAGE, **changes)
    return perturb(transformers.Mistral3ForConditionalGeneration(config))


def make_lighton() -> Any:
    text = {**TEXT, "model_type": "qwen3", "rms_norm_eps": 1e-6}
    config = transformers.LightOnOcrConfig(vision_config=VISION, text_config=text, image_token_id=IMAGE)
    return perturb(transformers.LightOnOcrForConditionalGeneration(config))


MAKE = {
    "Mistral3": make_mistral3,
    "Ministral-3": lambda: make_mistral3("ministral3"),
    "LightOnOCR": make_lighton,
}


def sizes_of(images: list[Image]) -> torch.Tensor:
    return torch.tensor([image.shape[:2] for image in images])


def oracle_of(theirs: Any) -> Oracle:
    def oracle(image: Image) -> dict[str, npt.NDArray[np.float32]]:
        # Twice: transformers loses the axis of a single row, which one image of 2 x 2 patches gives.
        pixels = torch.stack([normalize(image, *CLIP)] * 2)
        found = theirs.model.get_image_features(pixels, image_sizes=sizes_of([image, image]))
        tower = found.last_hidden_state[0].chunk(2)[0]
        return {"tokens": tower.numpy(), "projected": found.pooler_output[0].numpy()}

    return oracle


@pytest.mark.parametrize("name", MAKE)
def test_a_packed_run_is_transformers_one_image_at_a_time(name: str, tmp_path: Path) -> None:
    theirs = MAKE[name]()
    check_guess(theirs, "mistral3")
    # As they are published: shards of the whole model.
    theirs.save_pretrained(tmp_path / "folder", max_shard_size="100KB")
    assert (tmp_path / "folder" / "model.safetensors.index.json").exists()
    imported = import_checkpoint(tmp_path / "folder")
    assert imported.family == "mistral3"
    if name == "Mistral3":
        print(name, check_parity(imported.model, oracle_of(theirs), tmp_path, grids=GRIDS))
    else:  # the same graphs: without the seconds of an export
        print(name, check_parity_in_pytorch(imported.model, oracle_of(theirs), grids=GRIDS))


def test_the_projectors_fields_change_what_comes_out_as_in_transformers(tmp_path: Path) -> None:
    """A merge of 3, biases, another activation."""
    theirs = make_mistral3(spatial_merge_size=3, multimodal_projector_bias=True, projector_hidden_act="relu")
    theirs.to(torch.bfloat16).save_pretrained(tmp_path / "folder")
    theirs = type(theirs).from_pretrained(tmp_path / "folder", dtype=torch.float32).eval()
    model = import_checkpoint(tmp_path / "folder").model
    assert model.merge_of("projected") == 3
    (image,) = draw_images(((6, 9),), 14)
    with torch.no_grad():
        expected = oracle_of(theirs)(image)["projected"]
        found = model.forward_images([image])["projected"].numpy()
    assert np.abs(found - expected).max() <= 2e-5 * np.abs(expected).max()


def test_released_names_and_configs_are_read(tmp_path: Path) -> None:
    """Mistral Small 3.1 has no ``model.`` in its names, LightOnOCR a Mistral3 config; both are of transformers 4."""
    for name, theirs in (("Mistral3", make_mistral3()), ("LightOnOCR", make_lighton())):
        folder = tmp_path / name
        theirs.save_pretrained(folder, save_original_format=True)
        config = json.loads((folder / "config.json").read_text())
        config |= {"model_type": "mistral3", "vision_feature_layer": -1}
        rope = config["vision_config"].pop("rope_parameters")
        config["vision_config"]["rope_theta"] = rope["rope_theta"]
        (folder / "config.json").write_text(json.dumps(config))
        (image,) = draw_images(((4, 6),), 14)
        with torch.no_grad():
            expected = oracle_of(theirs)(image)["projected"]
            found = import_checkpoint(folder).model.forward_images([image])["projected"].numpy()
        assert np.abs(found - expected).max() <= 2e-5 * np.abs(expected).max()


@pytest.mark.parametrize("name", MAKE)
def test_the_language_model_gives_the_same_logits_for_our_embeddings(name: str, tmp_path: Path) -> None:
    theirs = MAKE[name]()
    theirs.save_pretrained(tmp_path)
    model = import_checkpoint(tmp_path).model
    images = draw_images(((4, 6), (4, 6)), 14)
    ids = torch.tensor([[1, *[IMAGE] * 6, 2, *[IMAGE] * 6, 3, 4]])
    pixels = torch.stack([normalize(image, *CLIP) for image in images])
    with torch.no_grad():
        expected = theirs(input_ids=ids, pixel_values=pixels, image_sizes=sizes_of(images)).logits
        ours = model.forward_images(images)["projected"]
        embeddings = theirs.get_input_embeddings()(ids)
        embeddings[ids == IMAGE] = ours
        found = theirs(inputs_embeds=embeddings).logits
        embeddings[ids == IMAGE] = ours.flip(0)
        other = theirs(inputs_embeds=embeddings).logits
    scale = expected.abs().max()
    assert (found - expected).abs().max() <= 1e-4 * scale
    assert (other - expected).abs().max() > 1e-2 * scale


def test_pixels_are_those_of_the_processor(photographs: Mapping[str, npt.NDArray[np.uint8]], tmp_path: Path) -> None:
    processor = transformers.PixtralImageProcessorPil(size={"longest_edge": 200}, patch_size=14)
    make_mistral3().save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    outer = {"processor_class": "PixtralProcessor", "patch_size": 14, "spatial_merge_size": 2}
    (tmp_path / "processor_config.json").write_text(json.dumps(outer))
    imported = import_checkpoint(tmp_path)
    assert (imported.model.config.mean, imported.model.config.std) == CLIP
    for image in photographs.values():
        ours = prepare(image, patch_px=14, sizing=imported.preprocessing.sizing, resample=imported.preprocessing.filter)
        # What PixtralProcessor asks for.
        found = processor(image, do_rescale=False, do_normalize=False, patch_size=14 * 2)
        height_px, width_px = found["image_sizes"][0]
        theirs = np.asarray(found["pixel_values"][0])[:, :height_px, :width_px].transpose(1, 2, 0)
        np.testing.assert_array_equal(ours, theirs)
    (tmp_path / "processor_config.json").write_text(json.dumps({**outer, "spatial_merge_size": 1}))
    with pytest.raises(ne.InvalidInputError, match=r"processor_config\.json: spatial_merge_size is 1; .* supports 2"):
        import_checkpoint(tmp_path)


def test_what_an_importer_cannot_represent_is_refused_by_name(tmp_path: Path) -> None:
    theirs = make_mistral3()
    theirs.config.vision_feature_layer = -2
    theirs.save_pretrained(tmp_path)
    with pytest.raises(ne.InvalidInputError, match="vision_feature_layer is -2; the family mistral3 supports -1"):
        import_checkpoint(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["vision_feature_layer"], config["spatial_merge_size"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ne.InvalidInputError, match="expected the family mistral3"):
        import_checkpoint(tmp_path, family="pixtral")
    model = import_checkpoint(tmp_path).model
    with pytest.raises(ne.InvalidInputError, match="merges 2 x 2 patches, and the sizing rule longest-side"):
        export_bundle(model, tmp_path / "x.navit", sizing="longest-side:longest_px=1024")
