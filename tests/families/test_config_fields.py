"""Each field of each config, changed: our outputs change as the library's do, or the field is refused by name.

A field that is read otherwise, or not at all, gives other numbers in silence. This is where it shows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
import torch
import transformers
from parity import Oracle, check_parity_in_pytorch, perturb
from timm.models.naflexvit import NaFlexVit, NaFlexVitCfg
from timm_cases import CASES, SMALL, oracle_of, save_folder

from navit_edge.errors import InvalidInputError
from navit_edge_export.families.registry import import_checkpoint

#: Even, for towers that merge 2 x 2 patches.
GRIDS = ((2, 6), (6, 2), (4, 4))
#: What transformers writes into every config; none of it is of the model.
GENERIC = frozenset(transformers.PretrainedConfig().to_dict()) | {"stage_names", "out_features", "out_indices"}
#: Fields whose values are words, or have a form of their own: what they are changed to.
WORDS: dict[str, tuple[object, ...]] = {
    "hidden_act": ("relu", "gelu", "quick_gelu", "gelu_pytorch_tanh", "silu"),
    "num_attention_heads": (2,),
    "num_heads": (2,),
    "num_kv_heads": (1, 2),
    "head_dim": (8, 16),
    "rope_parameters": (
        {"rope_type": "axial", "rope_theta": 50.0},
        {"rope_type": "linear", "rope_theta": 500.0, "factor": 4.0},
        {"rope_type": "dynamic", "rope_theta": 500.0, "factor": 4.0},
    ),
    "projector_hidden_act": ("relu", "silu", "quick_gelu"),
    "merge_kernel_size": ([1, 1], [4, 4]),
    "fullatt_block_indexes": ([], [0], [0, 1]),
    "deepstack_visual_indexes": ([],),
    "num_position_embeddings": (25, 100),
    "num_patches": (16, 64),
    "image_size": (224, 448),
    "pos_embed_shift": (0.5,),
    "pos_embed_jitter": (1.5,),
    # timm's
    "embed_dim": (128,),
    "patch_size": (16,),
    "init_values": (None, 0.1),
    "pos_embed": ("factorized", "rope", "none"),
    "pos_embed_grid_size": ([4, 4], [5, 6], None),
    "pos_embed_interp_mode": ("bilinear", "nearest"),
    "rope_type": ("axial", "mixed", "dinov3", "mrope"),
    "rope_ref_feat_shape": ([5, 7], [7, 5]),
    "rope_grid_indexing": ("xy",),
    "rope_shift_coords": (0.5,),
    "rope_jitter_coords": (1.5,),
    "rope_rescale_coords": (1.5,),
    "rope_mrope_section": ([2, 3, 3],),
    "fc_norm": (True, False),
    "global_pool": ("", "avg", "avgmax", "max", "token", "map"),
    "attn_pool_num_heads": (2,),
    "attn_pool_mlp_ratio": (1.5,),
    "weight_init": ("jax", "moco"),
    "embed_proj_type": ("conv",),
    "input_norm_layer": ("layernorm", "rmsnorm"),
    "embed_norm_layer": ("layernorm", "rmsnorm"),
    "norm_layer": ("rmsnorm", "layernormfp32", "batchnorm"),
    "act_layer": ("relu", "silu", "gelu_tanh", "quick_gelu", "hard_swish"),
    "block_fn": ("Block", "EvaBlock"),
    "mlp_layer": ("Mlp", "SwiGLU"),
    "attn_layer": ("attn", "diff"),
    "attn_type": ("eva", "rope"),
}
#: What a message may call a field.
CALLED = {
    "num_attention_heads": "heads", "num_heads": "heads", "hidden_size": "width", "num_hidden_layers": "depth",
    "embed_dim": "width", "num_channels": "channels", "in_channels": "channels",
    "pos_emb_height": "pos_emb_width",  # they have to be equal
}  # fmt: skip


def changed(name: str, value: object) -> Iterator[object]:
    """Other values of a field."""
    if name in WORDS:
        yield from (other for other in WORDS[name] if other != value)
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield 2 * value or 1
    elif isinstance(value, float):
        # An epsilon has to become large to be seen; a rate of 0 has to be there.
        yield 1000 * value if 0 < value < 1e-3 else 3 * value or 0.5


@dataclass(frozen=True, kw_only=True)
class Case:
    """A small model: how it is made with some fields changed, saved and asked."""

    make: Callable[..., Any]  # fields -> the library's model
    oracle_of: Callable[[Any], Oracle]
    grids: tuple[tuple[int, int], ...] = GRIDS
    fields_of: Callable[[Any], Mapping[str, object]] = lambda model: model.config.to_dict()
    save: Callable[[Any, Path, Mapping[str, object]], Path] = lambda model, folder, fields: (
        model.save_pretrained(folder) or folder
    )


def _dinov2(form: str) -> Case:
    model, config, values = test_dinov2.FORMS[form]
    return Case(
        make=lambda **fields: perturb(model(config(**{**test_dinov2.CONFIG, **values, **fields}))),
        oracle_of=lambda theirs: lambda image: test_dinov2.ask(theirs, image),
    )


def _qwen(family: str) -> Case:
    return Case(
        make=lambda **fields: perturb(test_qwen_vl.make(family, **fields)),
        oracle_of=lambda theirs: test_qwen_vl.oracle_of(theirs, family, theirs.config.patch_size),
    )


def _whole(make: Callable[..., Any], oracle_of: Callable[[Any], Oracle], fields: Mapping[str, object]) -> Case:
    """Of a whole model the fields of its projector; those of its tower are the tower's."""
    return Case(make=make, oracle_of=oracle_of, fields_of=lambda theirs: fields)


def _timm(case: str) -> Case:
    return Case(
        make=lambda **fields: perturb(NaFlexVit(NaFlexVitCfg(**{**SMALL, **CASES[case], **fields}), num_classes=7)),
        oracle_of=oracle_of,
        fields_of=lambda theirs: {
            field.name: {**SMALL, **CASES[case]}.get(field.name, field.default)
            for field in dataclasses.fields(NaFlexVitCfg)
        },
        save=lambda theirs, folder, fields: save_folder(theirs, case, folder, **fields),
    )


def _save_state(theirs: torch.nn.Module, folder: Path, fields: Mapping[str, object]) -> Path:
    folder.mkdir()
    torch.save(theirs.state_dict(), folder / "model.pt")
    return folder / "model.pt"


def _vit_pytorch(variant: str) -> Case:
    """It has no config: what its arguments change must show in the tensors."""
    arguments = {
        "image_size": (8 * 14, 8 * 16), "patch_size": 8, "num_classes": 7, "dim": 48, "depth": 1, "heads": 2,
        "mlp_dim": 96, "dim_head": 32, "dropout": 0.0, "emb_dropout": 0.0,
    }  # fmt: skip
    return Case(
        make=lambda **fields: test_vit_pytorch.make(variant, **fields),
        oracle_of=lambda theirs: test_vit_pytorch.oracle_of(theirs, (0.0,) * 3, (1.0,) * 3),
        fields_of=lambda theirs: arguments,
        save=_save_state,
    )


CASES_BY_NAME: dict[str, Case] = {
    "siglip2": Case(make=test_siglip2.make, oracle_of=test_siglip2.oracle_of),
    "dinov2": _dinov2("plain"),
    "dinov2-registers": _dinov2("registers"),
    "dinov3": Case(make=test_dinov3.make_model, oracle_of=test_dinov3.oracle_of),
    "pixtral": Case(make=lambda **fields: perturb(test_pixtral.make_model(**fields)), oracle_of=test_pixtral.oracle_of),
    **{family: _qwen(family) for family in test_qwen_vl.MAKE},
    "gemma4": Case(make=test_gemma4.make, oracle_of=test_gemma4.oracle_of, grids=((3, 9), (9, 3), (6, 6))),
    "glm4v": Case(make=test_glm4v.make, oracle_of=test_glm4v.oracle_of),
    "glm-ocr": Case(make=lambda **fields: test_glm4v.make("glm-ocr", **fields), oracle_of=test_glm4v.oracle_of),
    "hunyuan-vl": Case(make=test_hunyuan_vl.make, oracle_of=test_hunyuan_vl.oracle_of),
    "radio": Case(make=test_radio.make_model, oracle_of=test_radio.oracle_of),
    "moonvit": Case(
        make=lambda **fields: perturb(test_moonvit_paddleocr.make_moonvit(**fields)),
        oracle_of=test_moonvit_paddleocr.moonvit_oracle,
    ),
    "paddleocr-vl": Case(
        make=lambda **fields: perturb(test_moonvit_paddleocr.make_paddle(**fields)),
        oracle_of=test_moonvit_paddleocr.paddle_oracle,
    ),
    "mistral3": _whole(
        test_mistral3.make_mistral3,
        test_mistral3.oracle_of,
        {"vision_feature_layer": -1, "multimodal_projector_bias": False, "projector_hidden_act": "gelu"},
    ),
    "lfm2-vl": _whole(
        test_lfm2_vl.make_model,
        test_lfm2_vl.oracle_of,
        {"projector_hidden_size": 80, "projector_bias": True, "projector_use_layernorm": True}
        | {"projector_hidden_act": "gelu"},
    ),
    "timm par-gap": _timm("par-gap"),
    "timm axial": _timm("axial"),
    "timm map": _timm("map"),
    "vit-pytorch": _vit_pytorch("plain"),
    "vit-pytorch nested": _vit_pytorch("nested"),
}


@pytest.mark.parametrize("name", CASES_BY_NAME)
def test_a_changed_field_changes_our_outputs_as_the_librarys_or_is_refused_by_name(name: str, tmp_path: Path) -> None:
    case = CASES_BY_NAME[name]
    fields = {key: value for key, value in case.fields_of(case.make()).items() if key not in GENERIC}
    same, refused, impossible, wrong = [], [], [], []
    for key, value in fields.items():
        for number, other in enumerate(changed(key, value)):
            what = f"{key} = {other!r}"
            try:
                theirs = case.make(**{key: other})
                oracle = case.oracle_of(theirs)
                path = case.save(theirs, tmp_path / f"{key}-{number}", {key: other})
            except Exception:  # the library has no such model
                impossible.append(what)
                continue
            try:
                found = import_checkpoint(path)
            except InvalidInputError as error:
                named = key in str(error) or CALLED.get(key, key) in str(error)
                (refused if named else wrong).append(what if named else f"{what}: refused without its name: {error}")
                continue
            if found.model.config.channels != 3:  # refused by export
                refused.append(what)
                continue
            try:
                check_parity_in_pytorch(found.model, oracle, grids=case.grids)
                same.append(what)
            except AssertionError as error:
                wrong.append(f"{what}: {error}")
            except Exception as error:  # neither refused nor run
                wrong.append(f"{what}: {error!r}")
    print(name, "the same:", same, "refused:", refused, "impossible:", impossible)
    assert not wrong, "\n".join(wrong)
    assert len(same) >= 3
    assert len(impossible) < len(same) + len(refused)
