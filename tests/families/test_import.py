"""Reading checkpoints: which files, which family, and what is said where something does not fit."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from parity import check_guess
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from navit_edge.bundle import manifest as manifests
from navit_edge.cli.main import app
from navit_edge.compile import BuildRequest, build_engines
from navit_edge.errors import BackendError, InvalidInputError
from navit_edge_export.families import registry
from navit_edge_export.families.checkpoint import Checkpoint, read_checkpoint
from navit_edge_export.model import NaViT, NaViTConfig, save_checkpoint

CONFIG: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2, "num_patches": 16,
    "patch_size": 8,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small SigLIP2 as transformers saves it."""
    torch.manual_seed(0)
    transformers.Siglip2VisionModel(transformers.Siglip2VisionConfig(**CONFIG)).save_pretrained(tmp_path / "folder")
    return tmp_path / "folder"


@pytest.fixture
def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_a_folder_a_file_and_a_torch_file_give_the_same_model(
    folder: Path, tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    expected = registry.import_checkpoint(folder)
    config = folder / "config.json"
    torch.save(tensors, tmp_path / "plain.pt")
    torch.save({"state_dict": {f"module.{n}": t for n, t in tensors.items()}, "epoch": 3}, tmp_path / "nested.pt")
    binary = tmp_path / "binary"
    binary.mkdir()
    (binary / "config.json").write_bytes(config.read_bytes())
    torch.save(tensors, binary / "pytorch_model.bin")
    for path in (folder / "model.safetensors", tmp_path / "plain.pt", tmp_path / "nested.pt", binary):
        found = registry.import_checkpoint(path, config=config)
        assert found.family == "siglip2", path
        assert same_weights(found.model, expected.model), path


def test_16_bit_weights_are_read_into_float32(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file({name: tensor.bfloat16() for name, tensor in tensors.items()}, folder / "model.safetensors")
    model = registry.import_checkpoint(folder).model
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert torch.equal(model.norm.weight, tensors["post_layernorm.weight"].bfloat16().float())


def test_weights_that_are_no_numbers_are_warned_of_and_no_engine_is_built_of_them(
    folder: Path, tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    assert registry.import_checkpoint(folder).doubts == ()
    changed = {name: value.clone() for name, value in tensors.items()}
    name = next(name for name in tensors if name.endswith("post_layernorm.bias"))
    changed[name][0] = float("nan")
    save_file(changed, folder / "model.safetensors")
    bundle = tmp_path / "x.navit"
    arguments = ["export", "--checkpoint", str(folder), "-o", str(bundle), "--outputs", "embedding,tokens"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.stderr
    assert f"warning: the checkpoint {folder} holds NaN or infinity in 1 of its tensors ({name}); " in done.stderr
    with pytest.raises(BackendError, match="gives embedding that is not finite on a grey image"):
        build_engines(bundle, BuildRequest(backend="openvino", precision=("fp32",)))


def test_quantized_weights_are_refused(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file({**tensors, "post_layernorm.weight": torch.ones(32, dtype=torch.int8)}, folder / "model.safetensors")
    with pytest.raises(InvalidInputError, match=r"post_layernorm\.weight torch\.int8: expected floats"):
        registry.import_checkpoint(folder)


class Trap:
    """Pickles to a call that must never be made."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return pytest.fail, ("the pickle was run",)


def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"weights": Trap()}, path)
    with pytest.raises(InvalidInputError, match=r"cannot read the checkpoint.*save the state_dict alone"):
        read_checkpoint(path)
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(InvalidInputError, match="cannot read the checkpoint"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no weights; expected a folder with config.json"),
        ({"config.json": "{"}, "holds no weights"),
        ({"a.safetensors": "", "b.safetensors": ""}, r"several checkpoints \(a\.safetensors, b\.safetensors\)"),
        (
            {"model.safetensors.index.json": '{"weight_map": {"a": "../a.safetensors"}}'},
            "names no shards in its folder",
        ),
        ({"model.safetensors.index.json": '{"weight_map": {"a": "a.safetensors"}}'}, r"cannot read .*a\.safetensors"),
        ({"model.safetensors": "x"}, "cannot read the checkpoint"),
    ],
)
def test_folders_that_are_no_checkpoint_are_refused(files: dict[str, str], message: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InvalidInputError, match=message):
        dict(read_checkpoint(tmp_path).tensors)  # shards are opened when they are read


def test_missing_and_unexpected_keys_are_named_with_their_count(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    damaged = {name: tensor for name, tensor in tensors.items() if not name.startswith("head.")}
    damaged["adapter.down"] = torch.zeros(2)
    damaged["post_layernorm.bias"] = torch.zeros(7)
    damaged["encoder.layers.0.self_attn.q_proj.weight"] = torch.zeros(8, 32)
    save_file(damaged, folder / "model.safetensors")
    with pytest.raises(InvalidInputError) as caught:
        registry.import_checkpoint(folder)
    message = str(caught.value)
    assert "does not fit the family siglip2" in message
    assert f"{len(tensors) - len(damaged) + 1} missing keys (head.probe, head.attention.in_proj_weight, " in message
    assert "1 unexpected key (adapter.down)" in message
    assert "post_layernorm.bias [7] instead of [32]" in message
    assert "q_proj.weight [8, 32], encoder.layers.0.self_attn.k_proj.weight [32, 32]" in message
    assert "which gives [72, 32] instead of [96, 32]" in message
    assert "its keys look like siglip2" in message


def test_a_checkpoint_of_another_family_is_named(folder: Path, tmp_path: Path) -> None:
    save_checkpoint(NaViT(NaViTConfig(width=32, depth=1, heads=4, mlp_width=64)), tmp_path / "navit.safetensors")
    with pytest.raises(InvalidInputError, match=r"does not fit the family siglip2: .*its keys look like navit"):
        registry.import_checkpoint(tmp_path / "navit.safetensors", family="siglip2", config=folder / "config.json")
    with pytest.raises(InvalidInputError, match='family "siglip3" is unknown; expected one of navit, '):
        registry.import_checkpoint(folder, family="siglip3")


def test_what_is_of_no_family_or_of_two_must_be_named() -> None:
    nothing = Checkpoint(path=Path("x.pt"), tensors={"layer.weight": torch.zeros(1)})
    with pytest.raises(InvalidInputError, match=r"no family that is known .*\(layer\.weight, .*name it with --family"):
        registry.guess(nothing)
    keys = (
        "embeddings.patch_embedding.weight", "embeddings.position_embedding.weight", "post_layernorm.weight",
        "attn_pool_queries", "pos_embed_height", "transformer.layers.0.0.to_q.weight",
    )  # fmt: skip
    both = Checkpoint(path=Path("x.pt"), tensors=dict.fromkeys(keys, torch.zeros(1)))
    with pytest.raises(InvalidInputError, match=r"looks like vit-pytorch, siglip2 .*name one with --family"):
        registry.guess(both)
    named = Checkpoint(path=Path("x"), tensors=both.tensors, config={"model_type": "siglip2_vision_model"})
    assert registry.guess(named).name == "siglip2", "a config goes before keys"


def test_the_reference_model_is_known_by_its_keys() -> None:
    for changes in ({}, {"position_kind": "sinusoidal", "pooling": "mean", "num_classes": 0}):
        check_guess(NaViT(NaViTConfig(width=32, depth=1, heads=4, mlp_width=64, **changes)), "navit")


def test_every_row_of_the_table_has_its_module_and_an_own_name() -> None:
    names = [family.name for family in registry.FAMILIES]
    assert len(set(names)) == len(names)
    for family in registry.FAMILIES:
        module = family.load_module()
        for function in ("read_config", "make_model", "state_map", "read_preprocessing"):
            assert callable(getattr(module, function)), (family.name, function)


def run_export(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["export", *map(str, arguments)], env={"COLUMNS": "160", "TERM": "dumb"})


def test_the_command_exports_a_checkpoint_with_the_familys_preprocessing(folder: Path, tmp_path: Path) -> None:
    (folder / "preprocessor_config.json").write_text(
        '{"max_num_patches": 64, "image_mean": [0.4, 0.5, 0.6], "do_convert_rgb": true}'
    )
    bundle = tmp_path / "siglip.navit"
    result = run_export("--checkpoint", folder, "--outputs", "embedding", "--lowerings", "masked", "-o", bundle)
    assert result.exit_code == 0, result.output
    manifest = manifests.load(bundle)
    assert manifest.model.family == "siglip2"
    assert manifest.model.config["table_side"] == 4
    assert (manifest.preprocess.sizing.rule, manifest.preprocess.sizing.max_tokens) == ("naflex", 64)
    assert manifest.preprocess.mean == (0.4, 0.5, 0.6)
    assert (manifest.preprocess.alpha, manifest.preprocess.background) == ("composite", (255, 255, 255))
    assert (manifest.preprocess.orientation, manifest.preprocess.icc) == ("apply", "ignore")
    assert manifest.created_by["weights"] == "folder"
    assert [spec.name for graph in manifest.graphs for spec in graph.outputs] == ["embedding"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "s16", "--family", "siglip2"], "--family, --mean, --std, --frames, --text and --classes need"),
        (["--checkpoint", "nowhere"], "there is no checkpoint nowhere; expected a file or a folder"),
        (["--checkpoint", "FOLDER", "--outputs", "logits"], "expected one or more of embedding, tokens"),
        (["--checkpoint", "FOLDER", "--mean", 0.5, 0.5, 0.5, "--std", 0.5, 0.0, 0.5], "image_std"),
        (["--checkpoint", "FOLDER", "--family", "siglip2", "--model", "s16"], "leave one out"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    options: list[object], message: str, folder: Path, tmp_path: Path
) -> None:
    chosen = [folder if option == "FOLDER" else option for option in options]
    result = run_export(*chosen, "-o", tmp_path / "x.navit")
    assert result.exit_code != 0
    assert message in " ".join(result.output.replace("│", " ").split())
    assert not (tmp_path / "x.navit").exists()


def test_a_limit_that_the_rule_does_not_have_is_refused(tmp_path: Path) -> None:
    import vit_pytorch.na_vit

    model = vit_pytorch.na_vit.NaViT(
        image_size=64, patch_size=8, num_classes=3, dim=32, depth=1, heads=2, mlp_dim=32, dim_head=16
    )
    torch.save(model.state_dict(), tmp_path / "model.pt")
    result = run_export("--checkpoint", tmp_path / "model.pt", "--max-tokens", 9, "-o", tmp_path / "x.navit")
    assert result.exit_code != 0
    assert "longest-side (longest_px 64), which has no such limit" in " ".join(result.output.split())


def test_configs_are_objects(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps([1]))
    with pytest.raises(InvalidInputError, match=r"config\.json is a JSON list; expected an object"):
        read_checkpoint(folder)
