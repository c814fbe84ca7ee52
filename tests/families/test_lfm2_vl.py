"""LFM2-VL against transformers: tower, projector, processor and language model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
import torch
import transformers
from parity import Image, Oracle, check_guess, check_parity, check_parity_in_pytorch, draw_images, normalize, perturb
from safetensors.torch import load_file, save_file

import navit_edge as ne
from navit_edge.tiles import make_tiles
from navit_edge_export.families.common import HALF
from navit_edge_export.families.registry import import_checkpoint
from navit_edge_export.onnx_export import export_bundle
from navit_edge_export.preprocess import prepare

IMAGE = 30  # the token that stands for a row of an image
#: Published (1.6B): 27 layers of 1152 (MLP 4304), 16 heads, 16 px, a table of 16 x 16, no head; projector of 2560; text
#: of 2048. Here in depth and width only.
VISION = {
    "model_type": "siglip2_vision_model",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "patch_size": 16,
    "num_patches": 256,
    "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6,
    "vision_use_head": False,
}
TEXT = {
    "model_type": "lfm2",
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 40,
    "layer_types": ["conv", "full_attention"],
}
#: Even in both directions, as the processor makes them.
GRIDS = ((4, 10), (2, 6), (12, 2), (2, 2), (10, 14), (4, 10))


def make_model(vision: Mapping[str, Any] | None = None, **changes: Any) -> Any:
    values = {"projector_hidden_size": 80, "image_token_id": IMAGE, **changes}
    config = transformers.Lfm2VlConfig(vision_config={**VISION, **(vision or {})}, text_config=TEXT, **values)
    return perturb(transformers.Lfm2VlForConditionalGeneration(config))


def inputs_of(images: list[Image]) -> dict[str, torch.Tensor]:
    """As the processor gives them: patches, filled up to the longest image, and how many there are."""
    grids = [(image.shape[0] // 16, image.shape[1] // 16) for image in images]
    most = max(rows * columns for rows, columns in grids)
    pixels, mask = torch.zeros(len(images), most, 16 * 16 * 3), torch.zeros(len(images), most, dtype=torch.int32)
    for n, (image, (rows, columns)) in enumerate(zip(images, grids, strict=True)):
        patches = normalize(image, *HALF).unflatten(1, (rows, 16)).unflatten(3, (columns, 16))
        pixels[n, : rows * columns] = patches.permute(1, 3, 2, 4, 0).reshape(rows * columns, -1)
        mask[n, : rows * columns] = 1
    return {"pixel_values": pixels, "pixel_attention_mask": mask, "spatial_shapes": torch.tensor(grids)}


def oracle_of(theirs: Any) -> Oracle:
    def oracle(image: Image) -> dict[str, npt.NDArray[np.float32]]:
        found = theirs.model.get_image_features(**inputs_of([image]))
        return {"tokens": found.last_hidden_state[0].numpy(), "projected": found.pooler_output[0].numpy()}

    return oracle


def test_a_packed_run_is_transformers_one_image_at_a_time(tmp_path: Path) -> None:
    theirs = make_model()
    check_guess(theirs, "lfm2-vl")
    theirs.save_pretrained(tmp_path / "folder", max_shard_size="100KB")
    assert (tmp_path / "folder" / "model.safetensors.index.json").exists()
    imported = import_checkpoint(tmp_path / "folder")
    assert imported.family == "lfm2-vl"
    print(check_parity(imported.model, oracle_of(theirs), tmp_path, grids=GRIDS))


def test_the_projectors_fields_change_what_comes_out_as_in_transformers(tmp_path: Path) -> None:
    changes = {"projector_bias": False, "projector_use_layernorm": False, "projector_hidden_act": "relu"}
    theirs = make_model(**changes)
    theirs.to(torch.bfloat16).save_pretrained(tmp_path)
    theirs = type(theirs).from_pretrained(tmp_path, dtype=torch.float32).eval()
    print(check_parity_in_pytorch(import_checkpoint(tmp_path).model, oracle_of(theirs), grids=GRIDS))


def test_released_names_and_configs_are_read(tmp_path: Path) -> None:
    """LFM2-VL as it was released: another model_type, one more part in the tower's names, a tower with a head."""
    theirs = make_model()
    theirs.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tower = "model.vision_tower."
    tensors = {name.replace(tower, f"{tower}vision_model."): value for name, value in tensors.items()}
    tensors[f"{tower}vision_model.head.probe"] = torch.zeros(1, 1, 64)
    save_file(tensors, tmp_path / "model.safetensors")
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "lfm2-vl", "vision_feature_layer": -1, "max_image_tokens": 128}
    (tmp_path / "config.json").write_text(json.dumps(config))
    imported = import_checkpoint(tmp_path)
    assert imported.preprocessing.sizing.max_pixels == 128 * 32 * 32
    (image,) = draw_images(((4, 6),), 16)
    with torch.no_grad():
        expected = oracle_of(theirs)(image)["projected"]
        found = imported.model.forward_images([image])["projected"].numpy()
    assert np.abs(found - expected).max() <= 2e-5 * np.abs(expected).max()


def test_the_language_model_gives_the_same_logits_for_our_embeddings(tmp_path: Path) -> None:
    theirs = make_model()
    theirs.save_pretrained(tmp_path)
    model = import_checkpoint(tmp_path).model
    images = draw_images(((4, 6), (2, 4)), 16)
    ids = torch.tensor([[1, *[IMAGE] * 6, 2, *[IMAGE] * 2, 3, 4]])
    with torch.no_grad():
        expected = theirs(input_ids=ids, **inputs_of(images)).logits
        ours = model.forward_images(images)["projected"]
        embeddings = theirs.get_input_embeddings()(ids)
        embeddings[ids == IMAGE] = ours
        found = theirs(inputs_embeds=embeddings).logits
        embeddings[ids == IMAGE] = ours.flip(0)
        other = theirs(inputs_embeds=embeddings).logits
    scale = expected.abs().max()
    assert (found - expected).abs().max() <= 1e-4 * scale
    assert (other - expected).abs().max() > 1e-2 * scale


def test_pixels_are_within_a_level_of_the_processors_image_and_thumbnail(
    photographs: Mapping[str, npt.NDArray[np.uint8]], tmp_path: Path
) -> None:
    limits = {"min_image_tokens": 16, "max_image_tokens": 64}
    processor = transformers.Lfm2VlImageProcessor(**limits, tile_size=128, do_normalize=False, do_rescale=False)
    make_model().save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "preprocessor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**config, "do_normalize": True, "do_rescale": True}))
    imported = import_checkpoint(tmp_path)
    assert (imported.model.config.mean, imported.model.config.std) == HALF
    assert imported.preprocessing.processor == "torchvision"
    split = set()
    for image in photographs.values():
        pre = imported.preprocessing
        ours = prepare(image, patch_px=16, sizing=pre.sizing, resample=pre.filter, processor=pre.processor)
        patches = ours.reshape(ours.shape[0] // 16, 16, ours.shape[1] // 16, 16, 3).transpose(0, 2, 1, 3, 4)
        for splits in (False, True):
            found = processor(image, do_image_splitting=splits, return_tensors="pt")
            rows, columns = found["spatial_shapes"][-1].tolist()  # the thumbnail is the last
            assert ours.shape == (rows * 16, columns * 16, 3)
            theirs = found["pixel_values"][-1, : rows * columns].int().numpy()
            assert np.abs(patches.reshape(rows * columns, -1) - theirs).max() <= 1
        split.add(len(found["spatial_shapes"]) > 1)
    assert True in split


def test_tiles_are_those_of_the_processor(photographs: Mapping[str, npt.NDArray[np.uint8]], tmp_path: Path) -> None:
    limits = {"min_image_tokens": 4, "max_image_tokens": 16, "tile_size": 128, "max_tiles": 6}
    processor = transformers.Lfm2VlImageProcessor(**limits)
    make_model().save_pretrained(tmp_path / "folder")
    processor.save_pretrained(tmp_path / "folder")
    imported = import_checkpoint(tmp_path / "folder")
    pre = imported.preprocessing
    bundle = export_bundle(
        imported.model,
        tmp_path / "x.navit",
        sizing=pre.sizing,
        resample=pre.filter,
        processor=pre.processor,
        lowerings=("padded",),
    )
    manifest = ne.load_manifest(bundle)
    noise = np.random.default_rng(0)
    sizes = ((125, 100), (130, 190), (300, 1100), (1100, 300), (100, 100), (640, 512), (512, 640), (250, 200))
    drawn = [noise.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    layouts = set()
    for image in [*photographs.values(), *drawn]:
        tiles = make_tiles(image, manifest)
        found = processor(image, do_rescale=False, do_normalize=False, return_tensors="pt", return_row_col_info=True)
        assert (tiles.rows, tiles.columns) == (int(found["image_rows"][0]), int(found["image_cols"][0]))
        assert len(tiles.images) == len(found["spatial_shapes"])
        layouts.add((tiles.rows, tiles.columns))
        for one, grid, theirs in zip(tiles.images, found["spatial_shapes"], found["pixel_values"], strict=True):
            ours = prepare(one, patch_px=16, sizing=pre.sizing, resample=pre.filter, processor=pre.processor)
            rows, columns = grid.tolist()
            assert ours.shape == (rows * 16, columns * 16, 3)
            patches = ours.reshape(rows, 16, columns, 16, 3).swapaxes(1, 2).reshape(rows * columns, -1)
            assert np.abs(patches - theirs[: rows * columns].int().numpy()).max() <= 1
    assert len(layouts) > 3
    model = msgspec.structs.replace(manifest.model, config={})
    another = msgspec.structs.replace(manifest, model=model)
    with pytest.raises(ne.InvalidInputError, match="of the family lfm2-vl, which splits no images"):
        make_tiles(drawn[0], another)
    model = msgspec.structs.replace(manifest.model, config={**manifest.model.config, "tile_px": 512})
    wide = msgspec.structs.replace(manifest, model=model)
    with pytest.raises(ne.InvalidInputError, match="tiles are 512 x 512 pixels, which the sizing rule"):
        make_tiles(drawn[0], wide)


def test_what_an_importer_cannot_represent_is_refused_by_name(tmp_path: Path) -> None:
    theirs = make_model()
    theirs.save_pretrained(tmp_path)
    with pytest.raises(ne.InvalidInputError, match="downsample_factor is 4; the family lfm2-vl supports 2"):
        import_checkpoint(tmp_path, processor={"downsample_factor": 4})
    with pytest.raises(ne.InvalidInputError, match="encoder_patch_size is 14; the family lfm2-vl supports 16"):
        import_checkpoint(tmp_path, processor={"encoder_patch_size": 14})
