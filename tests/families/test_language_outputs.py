"""Outputs for language models, "deepstack" and "projected", from an engine to the next stage, against transformers."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import transformers
from engines import build_openvino
from parity import MERGED_SIZING, Image, draw_images, normalize, perturb
from PIL import Image as PillowImage
from torch import nn
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures
from typer.testing import CliRunner

import navit_edge as ne
from navit_edge.cli.main import app
from navit_edge.embeds import for_transformers, for_vllm
from navit_edge.quantize import QuantizeRequest, quantize_bundle
from navit_edge.verify import verify
from navit_edge_export.families.common import HALF
from navit_edge_export.families.registry import import_checkpoint
from navit_edge_export.layers.merging import PatchMerger
from navit_edge_export.model.config import NaViTConfig
from navit_edge_export.model.navit import NaViT
from navit_edge_export.onnx_export import export_bundle

IMAGE, START = 7, 8  # ids of tokens
GRIDS = ((4, 6), (2, 4))


@pytest.fixture(scope="module")
def theirs() -> Any:
    """Tiny, whole: a tower with deepstack of two blocks, a language model of three layers."""
    vision = {"depth": 3, "num_heads": 4, "patch_size": 8, "hidden_size": 32, "intermediate_size": 48}
    vision |= {"out_hidden_size": 48, "num_position_embeddings": 49, "deepstack_visual_indexes": [0, 1]}
    text = {"vocab_size": 32, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 3, "head_dim": 12}
    text |= {"num_attention_heads": 4, "num_key_value_heads": 2}
    text |= {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "mrope_section": [2, 2, 2]}}
    config = transformers.Qwen3VLConfig(
        vision_config=vision, text_config=text, image_token_id=IMAGE, vision_start_token_id=START
    )
    return perturb(transformers.Qwen3VLForConditionalGeneration(config))


@pytest.fixture(scope="module")
def bundle(theirs: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exported from the whole model, with an engine of OpenVINO."""
    folder = tmp_path_factory.mktemp("qwen3-vl")
    theirs.save_pretrained(folder / "checkpoint")
    model = import_checkpoint(folder / "checkpoint").model
    found = export_bundle(model, folder / "model.navit", outputs=("tokens", "deepstack"), sizing=MERGED_SIZING)
    build_openvino(found)
    return found


@pytest.fixture(scope="module")
def images() -> list[Image]:
    return draw_images(GRIDS, 8)


@pytest.fixture(scope="module")
def results(bundle: Path, images: list[Image]) -> list[ne.Result]:
    with ne.Session(bundle, precision="fp32") as session:
        return session.run(images)


def test_the_language_model_of_qwen3_vl_gives_the_same_logits_for_our_embeddings(
    theirs: Any, images: list[Image], results: list[ne.Result]
) -> None:
    embeds = for_transformers(results)
    assert embeds["image_grid_thw"].tolist() == [[1, 4, 6], [1, 2, 4]]
    pixels = [Qwen2VLImageProcessorPil().patchify(normalize(one, *HALF).numpy(), 8, 2, 2)[0] for one in images]
    ids = torch.tensor([[1, START, *[IMAGE] * 6, 2, START, *[IMAGE] * 2, 3, 4]])
    prompt = {
        "input_ids": ids,
        "image_grid_thw": torch.from_numpy(embeds["image_grid_thw"]),
        "mm_token_type_ids": (ids == IMAGE).int(),
    }
    ours = BaseModelOutputWithDeepstackFeatures(
        pooler_output=[torch.from_numpy(one) for one in embeds["pooler_output"]],
        deepstack_features=[[torch.from_numpy(one) for one in layer] for layer in embeds["deepstack_features"]],
    )
    with torch.no_grad():
        expected = theirs(**prompt, pixel_values=torch.from_numpy(np.concatenate(pixels))).logits
        found = theirs.lm_head(theirs.model(**prompt, mm_encoder_outputs={"image": ours}).last_hidden_state)
        ours.deepstack_features = [[0 * one for one in layer] for layer in ours.deepstack_features]
        without = theirs.lm_head(theirs.model(**prompt, mm_encoder_outputs={"image": ours}).last_hidden_state)
    scale = expected.abs().max()
    assert (found - expected).abs().max() <= 1e-4 * scale
    assert (without - expected).abs().max() > 1e-2 * scale


def test_the_layout_of_vllm_is_each_token_with_its_layers_behind_it(
    theirs: Any, images: list[Image], results: list[ne.Result]
) -> None:
    """vLLM's tower ends in torch.cat([hidden_states] + deepstack_feature_lists, dim=1); the parts are transformers'."""
    patches = [Qwen2VLImageProcessorPil().patchify(normalize(one, *HALF).numpy(), 8, 2, 2) for one in images]
    pixels = torch.from_numpy(np.concatenate([one for one, _, _ in patches]))
    with torch.no_grad():
        tower = theirs.model.visual(pixels, grid_thw=torch.tensor([[1, rows, columns] for _, rows, columns in patches]))
    expected = torch.cat([tower.pooler_output, *tower.deepstack_features], dim=1).numpy()
    embeds = for_vllm(results)
    assert embeds["image_embeds"].shape == expected.shape == (8, 48 * 3)
    assert np.abs(embeds["image_embeds"] - expected).max() <= 1e-4 * np.abs(expected).max()
    assert embeds["image_grid_thw"].dtype == np.int64


def test_results_without_rows_for_a_language_model_are_refused_by_what_is_missing() -> None:
    with pytest.raises(ne.InvalidInputError, match="an image failed and has no embeddings: torn"):
        for_vllm([ne.Result.failed(ValueError("torn"))])


def test_deepstack_survives_copies_and_pickles(results: list[ne.Result]) -> None:
    for result in results:
        assert result.deepstack is not None
        assert result.deepstack.shape == (result.grid[0] * result.grid[1] // 4, 2, 48)
        for other in (copy.deepcopy(result), pickle.loads(pickle.dumps(result))):
            np.testing.assert_array_equal(other.deepstack, result.deepstack)
            assert other.projected is None


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "numpy"])
def test_every_format_of_run_holds_deepstack(
    kind: str, bundle: Path, images: list[Image], results: list[ne.Result], tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    for number, image in enumerate(images):
        PillowImage.fromarray(image).save(tmp_path / "images" / f"{number}.png")
    output = tmp_path / "out"
    options = ["--format", kind, "--save", "tokens,deepstack", "-q"]
    done = CliRunner().invoke(app, ["run", str(bundle), str(tmp_path / "images"), "-o", str(output), *options])
    assert done.exit_code == 0, done.output
    if kind == "jsonl":
        rows = [json.loads(line)["deepstack"] for line in output.read_text().splitlines()]
    elif kind == "parquet":
        rows = [row["deepstack"] for row in pq.read_table(output).to_pylist()]
    else:
        values, offsets = np.load(output / "deepstack.npy"), np.load(output / "deepstack_offsets.npy")
        rows = [values[offsets[n] : offsets[n + 1]] for n in range(len(images))]
    for row, result in zip(rows, results, strict=True):
        np.testing.assert_allclose(np.array(row, np.float32), result.deepstack, atol=1e-5)


def test_verify_and_quantize_compare_deepstack_too(bundle: Path, images: list[Image], tmp_path: Path) -> None:
    certificate = verify(bundle, write=False)
    assert not certificate.broken
    assert certificate.engines[0].distances.keys() == {"tokens", "deepstack"}
    (tmp_path / "images").mkdir()
    for number, image in enumerate(draw_images((*GRIDS, (6, 8), (8, 4)), 8)):
        PillowImage.fromarray(image).save(tmp_path / "images" / f"{number}.png")
    done = quantize_bundle(bundle, QuantizeRequest(calibration=tmp_path / "images"))
    rows = {row.output: row.cosine_min for row in done.report.accuracy["calibration"]}
    assert rows.keys() == {"tokens", "deepstack"}
    assert min(rows.values()) > 0.9


def test_projected_rows_are_those_of_the_blocks_of_each_image(tmp_path: Path) -> None:
    """A projector that merges 3 x 3 patches, beside tokens that are not merged; the oracle is numpy on the tokens."""
    model = NaViT(NaViTConfig(width=32, depth=1, heads=2, mlp_width=32, patch_px=8, num_classes=0), seed=0)
    model.projector = PatchMerger(3, nn.Linear(9 * 32, 24))
    perturb(model)
    assert model.outputs() == ("embedding", "tokens", "projected")
    with pytest.raises(ne.InvalidInputError, match="merges 3 x 3 patches"):
        export_bundle(model, tmp_path / "x.navit", sizing="native")
    sizing = "smart-resize:merge=3,min_pixels=1,max_pixels=1000000"
    outputs = ("embedding", "tokens", "projected")
    bundle = export_bundle(model, tmp_path / "x.navit", outputs=outputs, sizing=sizing, lowerings=("padded",))
    build_openvino(bundle)
    images = draw_images(((3, 6), (9, 3), (6, 6)), 8)
    with ne.Session(bundle, precision="fp32") as session:
        found = session.run(images)
    weight, bias = (value.detach().numpy() for value in (model.projector.mlp.weight, model.projector.mlp.bias))
    for result in found:
        assert result.tokens is not None
        assert result.projected is not None
        rows, columns = result.grid
        blocks = result.tokens.reshape(rows // 3, 3, columns // 3, 3, 32).swapaxes(1, 2).reshape(-1, 9 * 32)
        expected = blocks @ weight.T + bias
        assert result.projected.shape == (rows * columns // 9, 24)
        assert np.abs(result.projected - expected).max() <= 1e-5 * np.abs(expected).max()
    assert for_vllm(found)["image_embeds"].shape == (2 + 3 + 4, 24)


def test_projected_is_the_default_output_of_a_model_that_has_a_projector(tmp_path: Path) -> None:
    model = NaViT(NaViTConfig(width=32, depth=1, heads=2, mlp_width=32, patch_px=8, num_classes=0), seed=0)
    model.projector = PatchMerger(2, nn.Linear(4 * 32, 24))
    bundle = export_bundle(model, tmp_path / "x.navit", sizing=MERGED_SIZING, lowerings=("masked",))
    assert [(one.name, one.shape) for one in ne.load_manifest(bundle).graphs[0].outputs] == [("projected", ("T/4", 24))]
    with pytest.raises(ne.InvalidInputError, match="expected one or more of embedding, tokens, projected, each once"):
        export_bundle(model, tmp_path / "y.navit", sizing=MERGED_SIZING, outputs=("deepstack",))
