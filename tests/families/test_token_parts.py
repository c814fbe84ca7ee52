"""What ``--outputs`` puts beside the tokens, against transformers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from parity import draw_images, normalize, open_graph, perturb, run_pack
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

import navit_edge as ne
from navit_edge.token_parts import image_grid_thw, parse_outputs, split_tokens
from navit_edge_export.families.common import HALF, IMAGENET
from navit_edge_export.families.registry import import_checkpoint
from navit_edge_export.onnx_export import export_bundle

IMAGE, START = 7, 8  # ids of tokens


def make_qwen3_vl() -> Any:
    vision = {"depth": 3, "num_heads": 4, "patch_size": 8, "hidden_size": 32, "intermediate_size": 48}
    vision |= {"out_hidden_size": 48, "num_position_embeddings": 49, "deepstack_visual_indexes": [0, 1]}
    text = {"vocab_size": 32, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 3, "head_dim": 12}
    text |= {"num_attention_heads": 4, "num_key_value_heads": 2}
    text |= {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "mrope_section": [2, 2, 2]}}
    config = transformers.Qwen3VLConfig(
        vision_config=vision, text_config=text, image_token_id=IMAGE, vision_start_token_id=START
    )
    return perturb(transformers.Qwen3VLForConditionalGeneration(config))


def test_the_language_model_of_qwen3_vl_gives_the_same_logits_for_our_embeddings(tmp_path: Path) -> None:
    theirs = make_qwen3_vl()
    theirs.save_pretrained(tmp_path)
    model = import_checkpoint(tmp_path).model
    model.token_parts = ("tokens", "deepstack")
    images = draw_images(((4, 6), (2, 4)), 8)
    grids = image_grid_thw([SimpleNamespace(grid=(image.shape[0] // 8, image.shape[1] // 8)) for image in images])  # type: ignore[misc]
    assert grids.tolist() == [[1, 4, 6], [1, 2, 4]]
    pixels = [Qwen2VLImageProcessorPil().patchify(normalize(one, *HALF).numpy(), 8, 2, 2)[0] for one in images]
    ids = torch.tensor([[1, START, *[IMAGE] * 6, 2, START, *[IMAGE] * 2, 3, 4]])
    prompt = {
        "input_ids": ids,
        "image_grid_thw": torch.from_numpy(grids),
        "mm_token_type_ids": (ids == IMAGE).int(),
    }
    with torch.no_grad():
        expected = theirs(**prompt, pixel_values=torch.from_numpy(np.concatenate(pixels))).logits
        final, *stack = model.forward_images(images)["tokens"].split(48, dim=1)
        ours = transformers.models.qwen3_vl.modeling_qwen3_vl.BaseModelOutputWithDeepstackFeatures(
            pooler_output=(final,), deepstack_features=[(one,) for one in stack]
        )
        found = theirs.model(**prompt, mm_encoder_outputs={"image": ours}).last_hidden_state
        found = theirs.lm_head(found)
        ours.deepstack_features = [(0 * one,) for one in stack]
        without = theirs.lm_head(theirs.model(**prompt, mm_encoder_outputs={"image": ours}).last_hidden_state)
    scale = expected.abs().max()
    assert (found - expected).abs().max() <= 1e-4 * scale
    assert (without - expected).abs().max() > 1e-2 * scale


def test_features_of_blocks_are_the_hidden_states_of_transformers(tmp_path: Path) -> None:
    config = transformers.Dinov2Config(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, mlp_ratio=2, image_size=84, patch_size=14
    )
    theirs = perturb(transformers.Dinov2Model(config))
    theirs.save_pretrained(tmp_path / "folder")
    model = import_checkpoint(tmp_path / "folder").model
    images = draw_images(((3, 4), (2, 5)), 14)
    bundle = export_bundle(
        model, tmp_path / "x.navit", outputs=parse_outputs("embedding,tokens@0,2"), lowerings=("padded",)
    )
    manifest = ne.load_manifest(bundle)
    assert [one.name for one in manifest.graphs[0].outputs] == ["embedding", "tokens"]
    for image, found in zip(
        images, run_pack(open_graph(bundle / "graphs" / "padded.onnx"), model, images), strict=True
    ):
        with torch.no_grad():
            states = theirs(normalize(image, *IMAGENET)[None], output_hidden_states=True).hidden_states
        layers = split_tokens(found["tokens"], manifest)["tokens@0,2"]
        for ours, state in zip(layers, (states[1], states[3]), strict=True):
            assert np.abs(ours - state[0].numpy()).max() <= 2e-5 * float(state.abs().max())


@pytest.mark.parametrize("name", ["tokens@3", "tokens@2,1", "tokens@", "deepstack"])
def test_what_a_model_does_not_have_is_refused_by_name(name: str, tmp_path: Path) -> None:
    config = transformers.Dinov2Config(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, mlp_ratio=2, image_size=84, patch_size=14
    )
    transformers.Dinov2Model(config).save_pretrained(tmp_path / "folder")
    with pytest.raises(ne.InvalidInputError, match=f"outputs name {name}"):
        export_bundle(import_checkpoint(tmp_path / "folder").model, tmp_path / "x.navit", outputs=[name])
