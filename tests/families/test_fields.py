"""Configs and processors with fields of a wrong kind, and folders with several files: refused by name, or read as
transformers reads them."""

from __future__ import annotations

import argparse
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from navit_edge.errors import InvalidInputError
from navit_edge_export.families import registry
from navit_edge_export.families.checkpoint import read_checkpoint

SIGLIP2 = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2, "num_patches": 16,
    "patch_size": 8,
}  # fmt: skip
DINOV2 = {
    "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28, "patch_size": 14,
    "num_labels": 3,
}  # fmt: skip
PIXTRAL = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 64,
    "patch_size": 16,
}  # fmt: skip
QWEN2 = {"depth": 1, "embed_dim": 32, "hidden_size": 24, "num_heads": 2, "patch_size": 14}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small models as transformers saves them, a folder for each."""
    root = tmp_path_factory.mktemp("saved")
    torch.manual_seed(0)
    made = {
        "siglip2": transformers.Siglip2VisionModel(transformers.Siglip2VisionConfig(**SIGLIP2)),
        "dinov2": transformers.Dinov2ForImageClassification(transformers.Dinov2Config(**DINOV2)),
        "pixtral": transformers.PixtralVisionModel(transformers.PixtralVisionConfig(**PIXTRAL)),
        "qwen2": transformers.models.qwen2_vl.modeling_qwen2_vl.Qwen2VisionTransformerPretrainedModel(
            transformers.models.qwen2_vl.configuration_qwen2_vl.Qwen2VLVisionConfig(**QWEN2)
        ),
    }
    for name, model in made.items():
        model.save_pretrained(root / name)
    return root


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A folder of one of the models that a test may change."""
    return lambda name: Path(shutil.copytree(saved / name, tmp_path / name))


def set_fields(path: Path, **values: Any) -> None:
    found = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**found, **values}))


@pytest.mark.parametrize(
    ("model", "field", "value"),
    [
        ("siglip2", "vision_config", None),
        ("siglip2", "vision_config", [1]),
        ("siglip2", "num_attention_heads", 1000),
        ("siglip2", "num_attention_heads", 3),
        ("siglip2", "hidden_size", 10**7),
        ("siglip2", "num_hidden_layers", 10**9),
        ("siglip2", "num_patches", 10**14),
        ("siglip2", "patch_size", 10**6),
        ("siglip2", "layer_norm_eps", math.nan),
        ("siglip2", "layer_norm_eps", -1e-6),
        ("siglip2", "hidden_act", ["gelu"]),
        ("dinov2", "mlp_ratio", math.nan),
        ("dinov2", "mlp_ratio", math.inf),
        ("dinov2", "mlp_ratio", -1),
        ("dinov2", "mlp_ratio", "4"),
        ("dinov2", "id2label", ["a", "b", "c"]),
        ("dinov2", "id2label", {"0": 1, "1": 2, "2": 3}),
        ("pixtral", "rope_parameters", [1]),
        ("pixtral", "rope_parameters", {"rope_theta": 0}),
        ("pixtral", "rope_scaling", {"type": "linear"}),
        ("pixtral", "spatial_merge_size", 2),
        ("qwen2", "rope_parameters", "default"),
        ("qwen2", "num_heads", 5),
    ],
)
def test_a_field_of_the_config_that_makes_no_sense_is_refused(
    copy: Callable[[str], Path], model: str, field: str, value: object
) -> None:
    folder = copy(model)
    set_fields(folder / "config.json", **{field: value})
    words = {"num_attention_heads": "heads", "num_heads": "heads", "hidden_size": "width", "num_hidden_layers": "depth"}
    words |= {"num_patches": "weights", "patch_size": "patches"}
    with pytest.raises(InvalidInputError, match=words.get(field, field)):
        registry.import_checkpoint(folder)


@pytest.mark.parametrize(
    ("model", "field", "value"),
    [
        ("qwen2", "size", 224),
        ("qwen2", "size", [224, 224]),
        ("qwen2", "size", {"shortest_edge": "3136"}),
        ("pixtral", "size", 224),
        ("pixtral", "size", {"height": 64, "width": 32}),
        ("pixtral", "resample", 9),
        ("siglip2", "image_mean", [math.nan, 0.5, 0.5]),
        ("siglip2", "image_std", [0.5, 0.5]),
        ("siglip2", "rescale_factor", math.nan),
        ("siglip2", "max_num_patches", 0),
    ],
)
def test_a_field_of_the_processor_that_makes_no_sense_is_refused(
    copy: Callable[[str], Path], model: str, field: str, value: object
) -> None:
    folder = copy(model)
    set_fields(folder / "preprocessor_config.json", **{field: value})
    words = {"size": "size|shortest_edge|width"}
    with pytest.raises(InvalidInputError, match=words.get(field, field)):
        registry.import_checkpoint(folder)


def test_a_config_that_is_no_text_is_refused(copy: Callable[[str], Path]) -> None:
    folder = copy("siglip2")
    (folder / "config.json").write_bytes(b'{"model_type": "\xff\xfe"}')
    with pytest.raises(InvalidInputError, match=r"config\.json"):
        registry.import_checkpoint(folder)


def test_a_tensor_that_only_ends_like_a_classifiers_is_named(copy: Callable[[str], Path]) -> None:
    folder = copy("siglip2")
    path = folder / "model.safetensors"
    save_file({**load_file(path), "aux.classifier.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(InvalidInputError, match=r"1 unexpected key \(aux\.classifier\.weight\)"):
        registry.import_checkpoint(folder)


def test_a_square_size_of_pixtral_and_the_old_place_of_theta_are_read_as_transformers_does(
    copy: Callable[[str], Path],
) -> None:
    folder = copy("pixtral")
    set_fields(folder / "preprocessor_config.json", size={"height": 64, "width": 64})
    config = json.loads((folder / "config.json").read_text())
    config.pop("rope_parameters", None)
    (folder / "config.json").write_text(json.dumps({**config, "rope_theta": 123.0}))
    theirs = transformers.PixtralVisionConfig.from_pretrained(folder)
    found = registry.import_checkpoint(folder)
    assert found.preprocessing.sizing.longest_px == 64
    assert found.model.config.to_dict()["rope_theta"] == theirs.rope_parameters["rope_theta"] == 123.0


@pytest.mark.parametrize("index", ["model.safetensors.index.json", "model.fp16.safetensors.index.json"])
def test_an_index_beside_a_whole_file_is_left_alone_as_transformers_does(
    copy: Callable[[str], Path], index: str
) -> None:
    folder = copy("siglip2")
    tensors = load_file(folder / "model.safetensors")
    save_file({name: 2 * tensor for name, tensor in tensors.items()}, folder / "old-00001-of-00001.safetensors")
    set_fields(folder / index, weight_map=dict.fromkeys(tensors, "old-00001-of-00001.safetensors"))
    theirs = transformers.Siglip2VisionModel.from_pretrained(folder).state_dict()
    ours = read_checkpoint(folder).tensors
    assert set(ours) == set(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    (folder / "model.safetensors").unlink()
    assert torch.equal(
        read_checkpoint(folder).tensors["post_layernorm.weight"], 2 * tensors["post_layernorm.weight"]
    ), "without it, the shards of the only index"


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("file", ["model.safetensors", "model.pt"])
def test_what_torch_puts_in_front_of_all_names_is_taken_off(
    copy: Callable[[str], Path], prefix: str, file: str, tmp_path: Path
) -> None:
    folder = copy("dinov2")
    expected = registry.import_checkpoint(folder)
    tensors = {prefix + name: tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    (save_file if file.endswith("tensors") else torch.save)(tensors, tmp_path / file)
    found = registry.import_checkpoint(tmp_path / file, config=folder / "config.json")
    pairs = zip(found.model.parameters(), expected.model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


@pytest.mark.parametrize("prefix", ["model.", "net.encoder.", "base_model.model."])
def test_what_a_trainer_puts_in_front_is_named_with_how_to_take_it_off(
    copy: Callable[[str], Path], prefix: str
) -> None:
    folder = copy("siglip2")
    path = folder / "model.safetensors"
    save_file({prefix + name: tensor for name, tensor in load_file(path).items()}, path)
    with pytest.raises(InvalidInputError) as caught:
        registry.import_checkpoint(folder)
    assert f"name.removeprefix({prefix!r})" in str(caught.value)


def test_a_file_that_holds_more_than_tensors_is_refused_without_torchs_advice(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1), "arguments": argparse.Namespace(x=1)}, tmp_path / "model.pt")
    with pytest.raises(InvalidInputError) as caught:
        read_checkpoint(tmp_path / "model.pt")
    message = str(caught.value)
    assert "it holds argparse.Namespace, which is more than tensors" in message
    assert "weights_only=False" not in message
    assert "\x1b" not in message


@pytest.mark.parametrize("both", [False, True])
def test_a_processor_inside_of_another_goes_before_its_own_file_as_transformers_has_it(
    copy: Callable[[str], Path], both: bool
) -> None:
    folder = copy("qwen2")
    base = {"image_processor_type": "Qwen2VLImageProcessor", "patch_size": 14, "merge_size": 2}
    first, second = ({**base, "size": {"shortest_edge": 3136, "longest_edge": n}} for n in (12845056, 200704))
    if both:
        set_fields(folder / "preprocessor_config.json", **first)
    set_fields(folder / "processor_config.json", image_processor=second, processor_class="Qwen2VLProcessor")
    theirs = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil").size["longest_edge"]
    assert registry.import_checkpoint(folder).preprocessing.sizing.max_pixels == theirs == 200704


def test_a_processor_that_is_no_object_is_refused(copy: Callable[[str], Path]) -> None:
    folder = copy("qwen2")
    set_fields(folder / "processor_config.json", image_processor=[1])
    with pytest.raises(InvalidInputError, match=r"image_processor is .* expected an object"):
        registry.import_checkpoint(folder)
