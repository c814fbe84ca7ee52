"""Frames of films through the towers of Qwen's line, against the video processors and towers of transformers."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import transformers
from engines import build_openvino
from parity import TOLERANCE, draw_images, perturb
from PIL import Image
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor
from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor
from typer.testing import CliRunner

import navit_edge as ne
from navit_edge import _core
from navit_edge.bundle.sizing_rule import to_json
from navit_edge.cli.main import app
from navit_edge.embeds import for_vllm
from navit_edge.verify import verify
from navit_edge.video import make_clip
from navit_edge_export.families.registry import import_checkpoint
from navit_edge_export.onnx_export import export_bundle
from navit_edge_export.preprocess import GRAPH_INPUTS

SHARED = {"depth": 2, "num_heads": 4, "patch_size": 8, "hidden_size": 48}
TOWERS: dict[str, tuple[Any, Any, dict[str, Any], Any]] = {
    "qwen2-vl": (
        transformers.models.qwen2_vl.modeling_qwen2_vl.Qwen2VisionTransformerPretrainedModel,
        transformers.models.qwen2_vl.configuration_qwen2_vl.Qwen2VLVisionConfig,
        {"embed_dim": 32, "mlp_ratio": 2},
        Qwen2VLVideoProcessor,
    ),
    "qwen2.5-vl": (
        transformers.models.qwen2_5_vl.modeling_qwen2_5_vl.Qwen2_5_VisionTransformerPretrainedModel,
        transformers.models.qwen2_5_vl.configuration_qwen2_5_vl.Qwen2_5_VLVisionConfig,
        {"hidden_size": 32, "intermediate_size": 48, "out_hidden_size": 48, "window_size": 32}
        | {"fullatt_block_indexes": [1]},
        Qwen2VLVideoProcessor,
    ),
    "qwen3-vl": (
        transformers.models.qwen3_vl.modeling_qwen3_vl.Qwen3VLVisionModel,
        transformers.models.qwen3_vl.configuration_qwen3_vl.Qwen3VLVisionConfig,
        {"hidden_size": 32, "intermediate_size": 48, "out_hidden_size": 48, "num_position_embeddings": 49}
        | {"deepstack_visual_indexes": [0]},
        Qwen3VLVideoProcessor,
    ),
}


def make_folder(family: str, folder: Path, limits: dict[str, int]) -> tuple[Any, Any]:
    """A tiny tower and its video processor, saved as they are published."""
    kind, config, values, processor_of = TOWERS[family]
    theirs = perturb(kind(config(**SHARED | values)))
    theirs.save_pretrained(folder)  # type: ignore[operator]
    processor = processor_of(size=limits, patch_size=8, do_sample_frames=False, cap_pixels_per_frame=False)
    settings = json.loads(processor.to_json_string())
    (folder / "video_preprocessor_config.json").write_text(json.dumps(settings))
    return theirs, processor


@pytest.fixture(scope="module")
def film() -> npt.NDArray[np.uint8]:
    """Five smooth frames of 45 x 70 pixels, all different."""
    rows, columns = np.mgrid[:45, :70]
    frames = [
        127 + 90 * np.sin(rows / (9 + t) + columns / 7)[..., None] + 30 * np.cos(t + np.arange(3)) for t in range(5)
    ]
    return np.clip(np.stack(frames), 0, 255).astype(np.uint8)


def ask(theirs: Any, processor: Any, film: npt.NDArray[np.uint8]) -> tuple[list[list[int]], npt.NDArray[np.float32]]:
    """transformers' grid, and its tokens with their deepstack behind them."""
    found = processor(videos=[torch.from_numpy(film).permute(0, 3, 1, 2)], return_tensors="pt")
    with torch.no_grad():
        tower = theirs(found["pixel_values_videos"], grid_thw=found["video_grid_thw"])
    parts = [tower.pooler_output, *(getattr(tower, "deepstack_features", None) or [])]
    return found["video_grid_thw"].tolist(), torch.cat(parts, dim=1).numpy()


@pytest.mark.parametrize(
    ("family", "limits"),
    [
        ("qwen2-vl", {"shortest_edge": 16 * 16, "longest_edge": 40 * 60}),
        ("qwen2.5-vl", {"shortest_edge": 70 * 90, "longest_edge": 10**6}),
    ],
)
def test_frames_in_pairs_give_what_transformers_gives(
    family: str, limits: dict[str, int], film: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    """An odd count; scaled down for a limit of a frame, and up. The runtime's patches, the model in PyTorch."""
    theirs, processor = make_folder(family, tmp_path, limits)
    imported = import_checkpoint(tmp_path, frames=2)
    config = imported.model.config
    preprocess: Any = SimpleNamespace(patch_px=8, filter=imported.preprocessing.filter)
    manifest: Any = SimpleNamespace(
        name=family, frames=2, preprocess=preprocess, model=SimpleNamespace(config=config.to_dict())
    )
    clip = make_clip(list(film), manifest)
    grid, expected = ask(theirs, processor, film)
    assert clip.video_grid_thw.tolist() == grid
    packer = _core.Packer.of(
        inputs=GRAPH_INPUTS["padded"], patch_px=8, sizing=to_json(imported.preprocessing.sizing), frames=2
    )
    inputs = packer.write(clip.pairs, [clip.grid] * len(clip.pairs))  # type: ignore[arg-type]
    with torch.no_grad():
        tokens = imported.model(**{name: torch.from_numpy(value) for name, value in inputs.items()})["tokens"]
    assert np.abs(tokens.numpy() - expected).max() <= TOLERANCE * np.abs(expected).max()


FILM_LIMITS = {"shortest_edge": 16 * 16, "longest_edge": 5 * 40 * 50}


@pytest.fixture(scope="module")
def qwen3(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Path]:
    """A tiny tower with a limit of the whole film, its video processor, and the bundle with an engine."""
    folder = tmp_path_factory.mktemp("qwen3-vl")
    theirs, processor = make_folder("qwen3-vl", folder / "checkpoint", FILM_LIMITS)
    imported = import_checkpoint(folder / "checkpoint", frames=2)
    bundle = export_bundle(
        imported.model,
        folder / "film.navit",
        outputs=imported.model.outputs(),
        sizing=imported.preprocessing.sizing,
        resample=imported.preprocessing.filter,
    )
    build_openvino(bundle)
    return theirs, processor, bundle


def test_a_session_gives_each_pair_of_frames_its_tokens_and_deepstack(
    qwen3: tuple[Any, Any, Path], film: npt.NDArray[np.uint8]
) -> None:
    theirs, processor, bundle = qwen3
    manifest = ne.load_manifest(bundle)
    assert manifest.frames == 2
    clip = make_clip(list(film), manifest, fps=10.0, indices=[0, 3, 6, 9, 12])
    with ne.Session(bundle, precision="fp32") as session:
        results = session.run(clip.pairs)
    grid, expected = ask(theirs, processor, film)
    assert clip.video_grid_thw.tolist() == grid
    embeds = for_vllm(results)["image_embeds"]
    assert embeds.shape == expected.shape
    assert np.abs(embeds - expected).max() <= 1e-4 * np.abs(expected).max()
    assert not verify(bundle, write=False).broken


def test_the_order_of_the_frames_counts(tmp_path: Path) -> None:
    make_folder("qwen2-vl", tmp_path, {"shortest_edge": 256, "longest_edge": 10**6})
    model = import_checkpoint(tmp_path, frames=2).model
    first, second = draw_images(((2, 4), (2, 4)), 8)
    with torch.no_grad():
        there, back, still = (
            model.forward_images([np.stack(pair)])["tokens"]
            for pair in ((first, second), (second, first), (first, first))
        )
        assert (there - back).abs().max() > 1e-2
        assert torch.equal(still, model.forward_images([first])["tokens"])


def test_the_command_refuses_a_film_for_a_bundle_of_pairs_and_says_how_to_run_it(
    qwen3: tuple[Any, Any, Path], tmp_path: Path
) -> None:
    (tmp_path / "film.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    Image.new("RGB", (64, 48)).save(tmp_path / "image.png")
    result = CliRunner().invoke(
        app, ["run", str(qwen3[2]), str(tmp_path / "film.mp4"), str(tmp_path / "image.png"), "--format", "jsonl"]
    )
    assert result.exit_code == 1, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert "takes frames in pairs, which this command does not make; in Python" in rows[0]["error"]
    assert "navit_edge.video.make_clip" in rows[0]["error"]
    assert len(rows) == 2
    assert rows[1].get("error") is None


def test_timestamps_are_those_of_the_processor(qwen3: tuple[Any, Any, Path]) -> None:
    manifest = ne.load_manifest(qwen3[2])
    frames = [np.full((32, 48, 3), value, np.uint8) for value in range(5)]
    for indices in ([0, 7, 14, 21], [2, 3, 5, 8, 13]):
        clip = make_clip(frames[: len(indices)], manifest, fps=23.976, indices=indices)
        expected = Qwen3VLProcessor._calculate_timestamps(None, list(indices), 23.976, 2)
        assert clip.timestamps == tuple(expected)
        assert len(clip.pairs) == len(expected)


def test_a_bundle_of_images_refuses_films_and_films_that_do_not_fit_are_named(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    frames = np.zeros((2, 32, 32, 3), np.uint8)
    with pytest.raises(ne.InvalidInputError, match="takes images; expected one that takes frames in pairs"):
        make_clip(list(frames), ne.load_manifest(tiny_bundle))
    with ne.Session(tiny_bundle) as session, pytest.raises(ne.InvalidInputError, match="is two frames"):
        session.run([ne.Pixels.pair(frames[0], frames[1])])
    with pytest.raises(ne.InvalidInputError, match="a pair of frames has 32 x 32 and 16 x 32 pixels"):
        ne.Pixels.pair(frames[0], frames[1, :16])
    config = transformers.Dinov2Config(hidden_size=32, num_hidden_layers=1, num_attention_heads=4, image_size=28)
    transformers.Dinov2Model(config).save_pretrained(tmp_path)
    with pytest.raises(ne.InvalidInputError, match="frames is 2, and the family dinov2 takes images"):
        import_checkpoint(tmp_path, frames=2)
