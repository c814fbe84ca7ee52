"""What takes too long for every run: `make verify-families` names this file.

Every case of timm's family through the exported graphs, its registered variants in full size, and one representative of
each kind of model, with head and table sizes of real ones, as engines: OpenVINO against the library itself,
TensorRT-RTX compiled ahead of time.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_dinov2
import test_dinov3
import test_gemma4
import test_glm4v
import test_hunyuan_vl
import test_lfm2_vl
import test_mistral3
import test_moonvit_paddleocr
import test_pixtral
import test_qwen_vl
import test_radio
import test_siglip2
import test_vit_pytorch
import timm
import torch
from engines import TARGETS, build_openvino, build_rtx
from parity import GRIDS, MERGED_SIZING, TOLERANCE, Oracle, check_parity, compare, draw_images, perturb
from timm_cases import CASES, SMALL, make_timm, oracle_of, save_folder

import navit_edge as ne
from navit_edge_export.families.checkpoint import Checkpoint
from navit_edge_export.families.registry import Imported, import_checkpoint
from navit_edge_export.families.timm import naflexvit
from navit_edge_export.families.timm.variants import VARIANTS
from navit_edge_export.onnx_export import export_bundle


@pytest.mark.parametrize("case", CASES)
def test_a_packed_run_of_the_graphs_is_timm_one_image_at_a_time(case: str, tmp_path: Path) -> None:
    theirs = make_timm(case)
    imported = import_checkpoint(save_folder(theirs, case, tmp_path / "folder"))
    print(case, check_parity(imported.model, oracle_of(theirs), tmp_path))


@pytest.mark.parametrize("architecture", VARIANTS)
def test_the_keys_and_shapes_of_a_whole_variant_fit(architecture: str) -> None:
    with torch.device("meta"):
        theirs = timm.create_model(architecture)
        checkpoint = Checkpoint(
            path=Path(architecture), tensors=theirs.state_dict(), config={"architecture": architecture}
        )
        config = naflexvit.read_config(checkpoint)
        ours = naflexvit.make_model(config)
        assert naflexvit.state_map(config, checkpoint).misfit(checkpoint.tensors, ours) == ""
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())


# --- engines

Made = tuple[Imported, Oracle]


def _siglip2(folder: Path) -> Made:
    sizes = {"hidden_size": 384, "intermediate_size": 1536, "num_attention_heads": 6, "num_patches": 256}
    theirs = test_siglip2.make(**sizes)
    theirs.save_pretrained(folder)  # type: ignore[operator]
    return import_checkpoint(folder), test_siglip2.oracle_of(theirs)


def _vit_pytorch(variant: str) -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        folder.mkdir()
        theirs = test_vit_pytorch.make(variant, dim=384, depth=2, heads=6, dim_head=64, mlp_dim=1536)
        torch.save(theirs.state_dict(), folder / "model.pt")
        return import_checkpoint(folder / "model.pt"), test_vit_pytorch.oracle_of(theirs, (0.0,) * 3, (1.0,) * 3)

    return make


def _timm(case: str) -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        theirs = make_timm(case)
        return import_checkpoint(save_folder(theirs, case, folder)), oracle_of(theirs)

    return make


def _qwen(family: str, **sizes: object) -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        theirs = perturb(test_qwen_vl.make(family, depth=2, num_heads=6, patch_size=14, **sizes))
        theirs.save_pretrained(folder)  # type: ignore[operator]
        return import_checkpoint(folder), test_qwen_vl.oracle_of(theirs, family, 14)

    return make


def _dinov2(form: str) -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        model, config, changes = test_dinov2.FORMS[form]
        sizes = {"hidden_size": 384, "num_attention_heads": 6, "mlp_ratio": 4, "image_size": 518}
        theirs = perturb(model(config(**{**test_dinov2.CONFIG, **sizes, **changes})))
        theirs.save_pretrained(folder)  # type: ignore[operator]
        return import_checkpoint(folder), lambda image: test_dinov2.ask(theirs, image)

    return make


def _rotary(
    make_theirs: Callable[..., torch.nn.Module], oracle_of: Callable[[torch.nn.Module], Oracle], **sizes: int
) -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        theirs = perturb(make_theirs(hidden_size=384, num_attention_heads=6, intermediate_size=1024, **sizes))
        theirs.save_pretrained(folder)  # type: ignore[operator]
        return import_checkpoint(folder), oracle_of(theirs)

    return make


def _gemma4(folder: Path) -> Made:
    sizes = {"hidden_size": 384, "num_attention_heads": 6, "num_key_value_heads": 6, "head_dim": 64}
    theirs = test_gemma4.make_whole("gemma4", **sizes, intermediate_size=1024, position_embedding_size=10240)
    theirs.save_pretrained(folder)
    return import_checkpoint(folder), test_gemma4.whole_oracle(theirs)


def _whole(make_theirs: Callable[..., Any], oracle_of: Callable[[Any], Oracle], **sizes: int) -> Callable[[Path], Made]:
    """Tower and projector of a whole model."""

    def make(folder: Path) -> Made:
        vision = {"hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1024, **sizes}
        theirs = make_theirs(vision=vision)
        theirs.save_pretrained(folder)
        return import_checkpoint(folder), oracle_of(theirs)

    return make


def _glm(kind: str) -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        theirs = test_glm4v.make(kind, hidden_size=384, num_heads=6, intermediate_size=1024, image_size=192)
        theirs.save_pretrained(folder)
        return import_checkpoint(folder), test_glm4v.oracle_of(theirs)

    return make


#: Kind -> what makes its checkpoint in a folder. Heads are 64 wide, tables as large as in the models that people have.
REPRESENTATIVES: dict[str, Callable[[Path], Made]] = {
    "siglip2": _siglip2,
    "dinov2": _dinov2("plain"),
    "dinov2-registers": _dinov2("registers"),
    "dinov3": _rotary(test_dinov3.make_model, test_dinov3.oracle_of),
    "pixtral": _rotary(test_pixtral.make_model, test_pixtral.oracle_of),
    "mistral3": _whole(test_mistral3.make_mistral3, test_mistral3.oracle_of, head_dim=64),
    "lfm2-vl": _whole(test_lfm2_vl.make_model, test_lfm2_vl.oracle_of),
    "moonvit": _rotary(
        test_moonvit_paddleocr.make_moonvit, test_moonvit_paddleocr.moonvit_oracle, pos_emb_height=64, pos_emb_width=64
    ),
    "paddleocr-vl": _rotary(test_moonvit_paddleocr.make_paddle, test_moonvit_paddleocr.paddle_oracle, image_size=216),
    "qwen2-vl": _qwen("qwen2-vl", embed_dim=384, mlp_ratio=4),
    "qwen2.5-vl": _qwen("qwen2.5-vl", hidden_size=384, intermediate_size=1024, window_size=112),
    "qwen3-vl": _qwen("qwen3-vl", hidden_size=384, intermediate_size=1536, num_position_embeddings=2304),
    "gemma4": _gemma4,
    "glm4v": _glm("glm4v"),
    "glm-ocr": _glm("glm-ocr"),
    "hunyuan-vl": _rotary(test_hunyuan_vl.make, test_hunyuan_vl.oracle_of, max_image_size=1024),
    "radio": _rotary(test_radio.make_model, test_radio.oracle_of, max_img_size=1024),
    "vit-pytorch": _vit_pytorch("plain"),
    "vit-pytorch-nested": _vit_pytorch("nested"),
    **{
        f"timm-{case}": _timm(case) for case in ("par-gap", "parfac-gap", "map", "radio-large-table", "mixed", "dinov3")
    },
}


@pytest.fixture(params=REPRESENTATIVES, scope="module")
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Imported, Oracle]:
    """A representative's bundle."""
    small = dict(SMALL)
    SMALL.update(embed_dim=384, num_heads=6, mlp_ratio=4.0)
    try:
        folder = tmp_path_factory.mktemp("representative")
        imported, oracle = REPRESENTATIVES[request.param](folder / "checkpoint")
    finally:
        SMALL.update(small)
    model = imported.model
    sizing = "native" if model.block_side == 1 else MERGED_SIZING.replace("merge=2", f"merge={model.block_side}")
    bundle = export_bundle(model, folder / "model.navit", outputs=model.outputs(), sizing=sizing)
    return bundle, imported, oracle


@pytest.mark.parametrize(("targets", "precision"), TARGETS)
def test_attention_is_fused_for_every_target(
    exported: tuple[Path, Imported, Oracle],
    targets: tuple[str, ...],
    precision: str,
    record_property: Callable[[str, object], None],
) -> None:
    bundle, _, _ = exported
    record_property(f"{'+'.join(targets)} {precision}", f"{build_rtx(bundle, targets, precision):.2f}")


def test_a_session_of_openvino_is_the_library_one_image_at_a_time(
    exported: tuple[Path, Imported, Oracle], record_property: Callable[[str, object], None]
) -> None:
    bundle, imported, oracle = exported
    build_openvino(bundle)
    even = imported.model.block_side > 1 or imported.family in ("moonvit", "paddleocr-vl")
    grids = test_gemma4.GRIDS if imported.model.block_side == 3 else test_qwen_vl.GRIDS if even else GRIDS
    images = draw_images(grids, imported.model.config.patch_px)
    results = ne.Session(bundle, precision="fp32").run(images)
    outputs = imported.model.outputs()
    found = [{name: np.asarray(getattr(result, name)) for name in outputs} for result in results]
    with torch.no_grad():
        expected = [oracle(image) for image in images]
    prefix = imported.model.config.prefix_tokens
    expected = [{n: v[prefix:] if n == "tokens" else v for n, v in one.items()} for one in expected]
    worst = compare(found, expected, grids, "openvino", tolerance=5 * TOLERANCE)
    record_property("OpenVINO fp32", f"{max(worst.values()):.1e}")
