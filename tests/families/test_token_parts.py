"""What ``--outputs`` puts beside the tokens, against transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from parity import draw_images, normalize, open_graph, perturb, run_pack

import navit_edge as ne
from navit_edge.token_parts import parse_outputs, split_tokens
from navit_edge_export.families.common import IMAGENET
from navit_edge_export.families.registry import import_checkpoint
from navit_edge_export.onnx_export import export_bundle


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


@pytest.mark.parametrize("name", ["tokens@3", "tokens@2,1", "tokens@"])
def test_what_a_model_does_not_have_is_refused_by_name(name: str, tmp_path: Path) -> None:
    config = transformers.Dinov2Config(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, mlp_ratio=2, image_size=84, patch_size=14
    )
    transformers.Dinov2Model(config).save_pretrained(tmp_path / "folder")
    with pytest.raises(ne.InvalidInputError, match=f"outputs name {name}"):
        export_bundle(import_checkpoint(tmp_path / "folder").model, tmp_path / "x.navit", outputs=[name])
