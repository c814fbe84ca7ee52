"""What export prints and the manifest keeps of the preprocessing: each value, and where it came from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import test_siglip2
from timm_cases import make_timm, save_folder
from typer.testing import CliRunner

from navit_edge.bundle import manifest as manifests
from navit_edge.cli.main import app
from navit_edge_export.families.registry import Imported, import_checkpoint
from navit_edge_export.model import NaViT, NaViTConfig, save_checkpoint


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources") / "siglip2"
    test_siglip2.make().save_pretrained(folder)  # type: ignore[operator]
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "siglip2"))


def say(folder: Path, name: str, **fields: object) -> None:
    (folder / name).write_text(json.dumps(fields))


def test_what_no_file_says_is_the_familys_default(folder: Path) -> None:
    found = import_checkpoint(folder)
    default = "default of the family siglip2"
    expected = dict.fromkeys(("sizing", "filter", "mean", "std", "alpha", "orientation"), default)
    assert found.sources == {**expected, "processor": "no preprocessor_config.json in the checkpoint"}


def test_what_a_file_says_names_the_file_and_its_keys(folder: Path) -> None:
    say(folder, "preprocessor_config.json", image_mean=[0.5] * 3, resample=3, max_num_patches=64, do_normalize=True)
    sources = import_checkpoint(folder).sources
    assert sources["mean"] == "preprocessor_config.json: image_mean"
    assert sources["std"] == "default of the family siglip2"
    assert sources["filter"] == "preprocessor_config.json: resample"
    assert sources["sizing"] == "preprocessor_config.json: max_num_patches"


def test_of_two_processor_files_the_one_that_is_read_is_named(folder: Path) -> None:
    say(folder, "preprocessor_config.json", image_mean=[0.1] * 3, image_std=[0.1] * 3)
    inner = {"image_mean": [0.5] * 3, "do_normalize": False}
    say(folder, "processor_config.json", image_processor=inner, max_num_patches=64)
    found = import_checkpoint(folder)
    assert found.model.config.mean == (0.0, 0.0, 0.0)
    assert found.sources["mean"] == found.sources["std"] == "processor_config.json, image_processor: do_normalize"
    assert found.sources["sizing"] == "processor_config.json: max_num_patches"


def test_fields_that_nobody_reads_are_listed_once_and_those_without_meaning_are_not(folder: Path) -> None:
    assert import_checkpoint(folder).notes == ()
    config = json.loads((folder / "config.json").read_text())
    say(folder, "config.json", **{**config, "shiny": 1, "transformers_version": "5", "torch_dtype": "float32"})
    say(folder, "preprocessor_config.json", crop_pct=0.9, image_processor_type="Siglip2ImageProcessor", resample=None)
    assert import_checkpoint(folder).notes == (
        "not used: config.json: shiny",
        "not used: preprocessor_config.json: crop_pct",
    )


def test_a_processor_beside_a_single_file_is_said_to_be_left_alone(folder: Path) -> None:
    say(folder, "preprocessor_config.json", image_mean=[0.1] * 3)
    found = import_checkpoint(folder / "model.safetensors", config=folder / "config.json")
    assert found.sources["mean"] == "default of the family siglip2"
    (note,) = found.notes
    assert note.startswith("not read: preprocessor_config.json beside model.safetensors; give the folder")


def test_timms_fields_are_those_of_its_pretrained_config(tmp_path: Path) -> None:
    folder = save_folder(make_timm("par-gap"), "par-gap", tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    pretrained = {"mean": [0.1] * 3, "interpolation": "bilinear", "input_size": [3, 64, 64]}
    say(folder, "config.json", **{**config, "pretrained_cfg": pretrained})
    found = import_checkpoint(folder)
    assert found.model.config.mean == (0.1, 0.1, 0.1)
    assert found.sources["mean"] == "config.json, pretrained_cfg: mean"
    assert found.sources["std"] == "default of the family timm-naflexvit"
    assert found.sources["filter"] == "config.json, pretrained_cfg: interpolation"
    assert found.sources["sizing"] == "config.json, pretrained_cfg: input_size"


def test_a_checkpoint_of_the_reference_model_says_so(tmp_path: Path) -> None:
    model = NaViT(NaViTConfig(width=32, depth=1, heads=2))
    save_checkpoint(model, tmp_path / "x.safetensors")
    found = import_checkpoint(tmp_path / "x.safetensors")
    assert isinstance(found, Imported)
    assert found.sources["mean"] == "the model's config"
    assert found.sources["sizing"] == "default of the family navit"


def test_the_command_prints_each_value_with_its_source_and_the_manifest_keeps_them(folder: Path) -> None:
    say(folder, "preprocessor_config.json", image_mean=[0.25] * 3, max_num_patches=64)
    out = folder / "x.navit"
    options = ["--filter", "lanczos", "--std", "0.5", "0.5", "0.5", "--max-tokens", "32", "--outputs", "tokens"]
    words = ["export", "--checkpoint", str(folder), "-o", str(out), *options, "--lowerings", "masked"]
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, words)
    assert done.exit_code == 0, done.stderr
    lines = [line.split(maxsplit=1) for line in done.stderr.splitlines() if line.strip()]
    printed = {line[0]: " ".join(line[1].split()) for line in lines if len(line) == 2}
    assert printed["mean"] == "0.25, 0.25, 0.25 preprocessor_config.json: image_mean"
    assert printed["std"] == "0.5, 0.5, 0.5 --std"
    assert printed["filter"] == "lanczos --filter"
    assert printed["sizing"] == "naflex (max_tokens 32) preprocessor_config.json: max_num_patches; --max-tokens"
    assert printed["processor"].startswith("pillow ")
    assert printed["icc"] == "ignore default of export"
    created = manifests.load(out).created_by
    assert created["preprocess.mean"] == "preprocessor_config.json: image_mean"
    assert created["preprocess.filter"] == "--filter"
    shown = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["inspect", str(out)])
    assert "preprocessor_config.json: image_mean" in shown.stdout
    assert "preprocess.mean" not in shown.stdout
