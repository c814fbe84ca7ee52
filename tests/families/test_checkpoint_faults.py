"""What is wrong in a checkpoint is said where it is read, by name: weights, labels, channels, texts."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import test_vit_pytorch
import torch
from safetensors.torch import load_file, save_file
from timm_cases import make_timm, save_folder

from navit_edge.errors import InvalidInputError
from navit_edge_export.families.registry import import_checkpoint
from navit_edge_export.model import NaViTConfig
from navit_edge_export.onnx_export import export_bundle


@pytest.fixture(scope="module")
def timm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_folder(make_timm("par-gap"), "par-gap", tmp_path_factory.mktemp("timm") / "model")


def copy(folder: Path, target: Path, **changes: object) -> Path:
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**config, **changes}))
    return target


def test_of_weights_that_are_no_numbers_the_first_and_the_count_are_named(timm_folder: Path, tmp_path: Path) -> None:
    folder = copy(timm_folder, tmp_path / "model")
    assert import_checkpoint(folder).doubts == ()
    tensors = load_file(folder / "model.safetensors")
    wrong = ["blocks.0.norm1.bias", "blocks.0.attn.qkv.weight", "blocks.0.mlp.fc1.bias", "fc_norm.weight"]
    for name, value in zip(wrong, (math.nan, math.inf, -math.inf, math.nan), strict=True):
        tensors[name].view(-1)[1] = value
    save_file(tensors, folder / "model.safetensors")
    (found,) = import_checkpoint(folder).doubts
    assert "holds NaN or infinity in 4 of its tensors (blocks.0." in found
    assert sum(name in found for name in wrong) == 3


@pytest.mark.parametrize("labels", [[1, 2, 3], "cat", {"0": "cat"}, ["cat"], [None, None]])
def test_labels_that_are_no_names_of_the_classes_are_refused(timm_folder: Path, tmp_path: Path, labels: object) -> None:
    with pytest.raises(InvalidInputError, match=r"label_names is .* a list of .* names, one for each class"):
        import_checkpoint(copy(timm_folder, tmp_path / "model", label_names=labels))


@pytest.mark.parametrize("variant", ["plain", "nested"])
def test_models_of_one_channel_are_refused_with_what_they_take(variant: str, tmp_path: Path) -> None:
    model = test_vit_pytorch.make(variant, channels=1)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    with pytest.raises(InvalidInputError, match=r"64 features.*would be of 8 x 8 of 1\b.*--config"):
        import_checkpoint(tmp_path / "model.pt")
    (tmp_path / "config.json").write_text('{"channels": 1}')
    imported = import_checkpoint(tmp_path / "model.pt", config=tmp_path / "config.json")
    with pytest.raises(InvalidInputError, match="images of 1 channels; expected 3"):
        export_bundle(imported.model, tmp_path / "x.navit")
    assert not (tmp_path / "x.navit").exists()


def test_a_reference_model_of_four_channels_is_refused_before_it_is_made(tmp_path: Path) -> None:
    config = NaViTConfig(width=32, depth=1, heads=2, channels=4, mean=(0.5,) * 4, std=(0.5,) * 4)
    with pytest.raises(InvalidInputError, match="images of 4 channels; expected 3"):
        export_bundle(config, tmp_path / "x.navit")


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "processor_config.json"])
@pytest.mark.parametrize("content", [b'{"a": "\xff\xfe"}', '{"a": 1}'.encode("utf-16"), b"{", b"[1]", b"\x00"])
def test_a_file_of_fields_that_is_no_json_in_utf8_is_refused_by_name(
    timm_folder: Path, tmp_path: Path, name: str, content: bytes
) -> None:
    folder = copy(timm_folder, tmp_path / "model")
    (folder / name).write_bytes(content)
    with pytest.raises(InvalidInputError, match=name.replace(".", r"\.")):
        import_checkpoint(folder)
    if name == "config.json":
        with pytest.raises(InvalidInputError, match=r"config\.json"):
            import_checkpoint(timm_folder, config=folder / name)
