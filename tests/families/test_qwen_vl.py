"""The vision towers of Qwen2-VL, Qwen2.5-VL, Qwen3-VL and Qwen3.5 against transformers."""

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
from engines import build_openvino
from parity import (
    MERGED_SIZING,
    TOLERANCE,
    Image,
    Oracle,
    check_guess,
    check_parity,
    compare,
    draw_images,
    normalize,
    perturb,
)
from PIL import Image as PillowImage
from safetensors.torch import save_file
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VisionTransformerPretrainedModel
from transformers.models.qwen3_5.modeling_qwen3_5 import Qwen3_5VisionModel
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionModel

import navit_edge as ne
from navit_edge.quantize import QuantizeRequest, quantize_bundle
from navit_edge_export.families.common import CLIP, HALF
from navit_edge_export.families.registry import import_checkpoint
from navit_edge_export.onnx_export import export_bundle
from navit_edge_export.preprocess import prepare

#: Rows x columns, even: wide, two rows, tall, small, larger than windows with a rest, the first once more.
GRIDS = ((4, 10), (2, 6), (12, 2), (2, 2), (10, 14), (4, 10))
SHARED = {"depth": 1, "num_heads": 4, "patch_size": 8, "rope_parameters": {"rope_type": "axial", "rope_theta": 500.0}}
GATED = {"hidden_size": 64, "intermediate_size": 96, "out_hidden_size": 48}
MAKE: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "qwen2-vl": (
        Qwen2VisionTransformerPretrainedModel,
        transformers.models.qwen2_vl.configuration_qwen2_vl.Qwen2VLVisionConfig,
        {"embed_dim": 64, "hidden_size": 48, "mlp_ratio": 2},
    ),
    "qwen2.5-vl": (
        Qwen2_5_VisionTransformerPretrainedModel,
        transformers.models.qwen2_5_vl.configuration_qwen2_5_vl.Qwen2_5_VLVisionConfig,
        {**GATED, "depth": 2, "window_size": 32, "fullatt_block_indexes": [1]},
    ),
    "qwen3-vl": (
        Qwen3VLVisionModel,
        transformers.models.qwen3_vl.configuration_qwen3_vl.Qwen3VLVisionConfig,
        {**GATED, "num_position_embeddings": 49, "deepstack_visual_indexes": [0]},
    ),
}
PIXELS = {"qwen3-vl": HALF}


def make(family: str, **changes: object) -> torch.nn.Module:
    kind, config, values = MAKE[family]
    model: torch.nn.Module = kind(config(**{**SHARED, **values, **changes}))
    return model


def oracle_of(theirs: Any, family: str, patch_px: int) -> Oracle:
    mean, std = PIXELS.get(family, CLIP)
    processor = Qwen2VLImageProcessorPil()

    def oracle(image: Image) -> dict[str, npt.NDArray[np.float32]]:
        pixels = normalize(image, mean, std).numpy()
        patches, rows, columns = processor.patchify(pixels, patch_px, 2, 2)
        found = theirs(torch.from_numpy(patches), grid_thw=torch.tensor([[1, rows, columns]]))
        outputs = {"tokens": found.pooler_output.numpy()}
        if getattr(found, "deepstack_features", None):
            outputs["deepstack"] = torch.stack(found.deepstack_features, dim=1).numpy()
        return outputs

    return oracle


@pytest.mark.parametrize("family", MAKE)
def test_a_packed_run_is_transformers_one_image_at_a_time(family: str, tmp_path: Path) -> None:
    theirs = perturb(make(family))
    check_guess(theirs, family)
    theirs.save_pretrained(tmp_path / "folder")  # type: ignore[operator]
    imported = import_checkpoint(tmp_path / "folder")
    assert imported.family == family
    print(family, check_parity(imported.model, oracle_of(theirs, family, 8), tmp_path, grids=GRIDS))


def test_deepstack_is_an_output_of_its_own_with_a_row_for_each_token(tmp_path: Path) -> None:
    theirs: Any = perturb(make("qwen3-vl", depth=3, deepstack_visual_indexes=[0, 1]))
    theirs.save_pretrained(tmp_path / "folder")
    model = import_checkpoint(tmp_path / "folder").model
    assert model.outputs() == ("tokens", "deepstack")
    check_parity(model, oracle_of(theirs, "qwen3-vl", 8), tmp_path, grids=GRIDS)
    outputs = ne.load_manifest(tmp_path / "parity.navit").graphs[0].outputs
    assert [(one.name, one.shape) for one in outputs] == [("tokens", ("T/4", 48)), ("deepstack", ("T/4", 2, 48))]


def save_whole(theirs: torch.nn.Module, folder: Path, model_type: str) -> None:
    """The folder of a whole model, as Qwen3.5's are published: the tower beside a language model and ``mtp``."""
    tensors = {f"model.visual.{name}": tensor.contiguous() for name, tensor in theirs.state_dict().items()}
    for name in ("model.language_model.layers.0.mlp.up_proj", "mtp.layers.0.self_attn.q_proj", "mtp.fc", "lm_head"):
        tensors[f"{name}.weight"] = torch.zeros(2, 2)
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    vision: dict[str, Any] = theirs.config.to_dict()  # type: ignore[operator, union-attr]
    found = {"model_type": model_type, "architectures": ["UnheardOf"], "vision_config": vision, "text_config": {}}
    (folder / "config.json").write_text(json.dumps(found))


def make_qwen3_5() -> torch.nn.Module:
    values = {**SHARED, **GATED, "num_position_embeddings": 49}
    return perturb(Qwen3_5VisionModel(transformers.models.qwen3_5.configuration_qwen3_5.Qwen3_5VisionConfig(**values)))


def test_the_tower_of_qwen3_5_is_read_out_of_the_whole_model(tmp_path: Path) -> None:
    theirs = make_qwen3_5()
    save_whole(theirs, tmp_path / "folder", "qwen3_5")
    imported = import_checkpoint(tmp_path / "folder")
    print("qwen3.5", check_parity(imported.model, oracle_of(theirs, "qwen3-vl", 8), tmp_path, grids=GRIDS))


def test_a_later_model_of_the_same_tower_is_recognized_by_its_keys(tmp_path: Path) -> None:
    save_whole(make_qwen3_5(), tmp_path / "folder", "a_name_of_next_year")
    assert import_checkpoint(tmp_path / "folder").family == "qwen3-vl"


def test_the_towers_of_qwen3_vl_moe_and_embedding_are_those_of_qwen3_vl(tmp_path: Path) -> None:
    """Published as Qwen3VLMoeForConditionalGeneration and as Qwen3VLForConditionalGeneration; the towers are one."""
    theirs: Any = perturb(make("qwen3-vl"))
    mixture = transformers.models.qwen3_vl_moe.configuration_qwen3_vl_moe.Qwen3VLMoeVisionConfig
    vision = mixture(**{**SHARED, **MAKE["qwen3-vl"][2]})
    other = transformers.models.qwen3_vl_moe.modeling_qwen3_vl_moe.Qwen3VLMoeVisionModel(vision).eval()
    other.load_state_dict(theirs.state_dict())
    image = draw_images(GRIDS[:1], 8)[0]
    with torch.no_grad():
        expected = oracle_of(other, "qwen3-vl", 8)(image)
        for model_type in ("qwen3_vl_moe", "qwen3_vl"):
            save_whole(theirs, tmp_path / model_type, model_type)
            imported = import_checkpoint(tmp_path / model_type)
            assert imported.family == "qwen3-vl"
            for name, value in imported.model.forward_images([image]).items():
                difference = np.abs(value.numpy() - expected[name]).max()
                assert difference <= TOLERANCE * np.abs(expected[name]).max(), name


def test_windows_change_what_comes_out(tmp_path: Path) -> None:
    """Without windows the same weights give something else: the comparison above would see windows left out."""
    perturb(make("qwen2.5-vl")).save_pretrained(tmp_path)  # type: ignore[operator]
    model = import_checkpoint(tmp_path).model
    image = np.random.default_rng(0).integers(0, 256, (80, 112, 3), np.uint8)
    with torch.no_grad():
        windowed = model.forward_images([image])["tokens"]
        model.windows = None
        assert (model.forward_images([image])["tokens"] - windowed).abs().max() > 0.05


@pytest.mark.parametrize("family", MAKE)
def test_pixels_are_those_of_the_processor(
    family: str, photographs: Mapping[str, npt.NDArray[np.uint8]], tmp_path: Path
) -> None:
    limits = {"shortest_edge": 64 * 64, "longest_edge": 200 * 200}
    changes = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3} if family == "qwen3-vl" else {}
    processor = Qwen2VLImageProcessorPil(size=limits, patch_size=8, **changes)
    make(family).save_pretrained(tmp_path)  # type: ignore[operator]
    processor.save_pretrained(tmp_path)
    imported = import_checkpoint(tmp_path)
    config = imported.model.config
    assert (config.mean, config.std) == PIXELS.get(family, CLIP)
    small = {"small": np.random.default_rng(1).integers(0, 256, (21, 50, 3), np.uint8)}
    for image in {**photographs, **small}.values():
        ours = prepare(image, patch_px=8, sizing=imported.preprocessing.sizing, resample=imported.preprocessing.filter)
        found = processor(image, do_rescale=False, do_normalize=False)
        rows, columns = found["image_grid_thw"][0][1:]
        assert ours.shape == (rows * 8, columns * 8, 3)
        theirs = processor.patchify(ours.transpose(2, 0, 1), 8, 2, 2)[0]  # the same patches: the same pixels
        np.testing.assert_array_equal(theirs, found["pixel_values"])


def test_older_processors_call_the_limits_otherwise(tmp_path: Path) -> None:
    make("qwen2-vl").save_pretrained(tmp_path)  # type: ignore[operator]
    found = import_checkpoint(tmp_path, processor={"min_pixels": 3136, "max_pixels": 12845056})
    sizing = found.preprocessing.sizing
    assert (sizing.rule, sizing.merge, sizing.min_pixels, sizing.max_pixels) == ("smart-resize", 2, 3136, 12845056)


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("qwen2-vl", {"spatial_merge_size": 4}, "spatial_merge_size is 4; the family qwen2-vl supports 2"),
        ("qwen3-vl", {"temporal_patch_size": 1}, "temporal_patch_size is 1; the family qwen3-vl supports 2"),
        ("qwen2.5-vl", {"window_size": 8}, "window_size is 8; the family qwen2.5-vl supports windows of at least two"),
        (
            "qwen3-vl",
            {"num_position_embeddings": 48},
            "num_position_embeddings is 48; the family qwen3-vl supports squ",
        ),
    ],
)
def test_what_an_importer_cannot_represent_is_refused_by_name(
    family: str, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    make(family, **changes).save_pretrained(tmp_path)  # type: ignore[operator]
    with pytest.raises(ne.InvalidInputError, match=message):
        import_checkpoint(tmp_path)


def test_windows_have_no_packed_lowering(tmp_path: Path) -> None:
    make("qwen2.5-vl").save_pretrained(tmp_path / "folder")  # type: ignore[operator]
    model = import_checkpoint(tmp_path / "folder").model
    with pytest.raises(ne.InvalidInputError, match="packed has no attention in windows"):
        export_bundle(model, tmp_path / "x.navit", lowerings=("masked", "packed"), sizing=MERGED_SIZING)


def test_a_session_gives_every_image_its_merged_tokens(tmp_path: Path) -> None:
    theirs = perturb(make("qwen2.5-vl"))
    theirs.save_pretrained(tmp_path / "folder")  # type: ignore[operator]
    model = import_checkpoint(tmp_path / "folder").model
    bundle = export_bundle(model, tmp_path / "model.navit", sizing=MERGED_SIZING, lowerings=("padded",))
    build_openvino(bundle)
    images = draw_images(GRIDS, 8)
    session = ne.Session(bundle, precision="fp32")
    found = [{"tokens": np.asarray(result.tokens)} for result in session.run(images)]
    alone = [{"tokens": np.asarray(session.run([image])[0].tokens)} for image in images]
    with torch.no_grad():
        expected = [oracle_of(theirs, "qwen2.5-vl", 8)(image) for image in images]
    assert [one["tokens"].shape for one in found] == [(r * c // 4, 48) for r, c in GRIDS]
    compare(found, expected, GRIDS, "openvino", tolerance=5 * TOLERANCE)
    compare(found, alone, GRIDS, "openvino, alone", tolerance=5 * TOLERANCE)


@pytest.mark.parametrize("skipped", [(), ("merger.mlp.up", "merger.mlp.down")])
def test_a_tower_that_merges_tokens_is_quantized(skipped: tuple[str, ...], tmp_path: Path) -> None:
    """Layers behind the merger read a row for every four patches; padding rows do not count there, either."""
    perturb(make("qwen2-vl")).save_pretrained(tmp_path / "folder")  # type: ignore[operator]
    model = import_checkpoint(tmp_path / "folder").model
    bundle = export_bundle(model, tmp_path / "model.navit", sizing=MERGED_SIZING)
    (tmp_path / "images").mkdir()
    for number, image in enumerate(draw_images(GRIDS, 8)):
        PillowImage.fromarray(image).save(tmp_path / "images" / f"{number}.png")
    done = quantize_bundle(bundle, QuantizeRequest(calibration=tmp_path / "images", skip_layers=skipped))
    quantized = {layer.layer for layer in done.report.layers if layer.quantized}
    assert ("merger.mlp.up" in quantized) == (not skipped)
    assert all(row.cosine_min > 0.9 for row in done.report.accuracy["calibration"])


def test_a_sizing_rule_that_cuts_blocks_is_refused(tmp_path: Path) -> None:
    make("qwen2-vl").save_pretrained(tmp_path / "folder")  # type: ignore[operator]
    model = import_checkpoint(tmp_path / "folder").model
    with pytest.raises(ne.InvalidInputError, match="merges 2 x 2 patches, and the sizing rule native"):
        export_bundle(model, tmp_path / "x.navit", sizing="native")
