"""`navit-edge export`: bundles from a size and from a config."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from command_line import invoke, words

from navit_edge.bundle import manifest as manifests
from navit_edge.bundle.sizing_rule import Sizing
from navit_edge.cli.export import ModelSize


def test_the_sizes_of_the_command_are_those_of_the_exporter() -> None:
    from navit_edge_export.model.config import SIZES

    assert get_args(ModelSize) == tuple(SIZES)


def test_export_makes_a_bundle_from_a_size_and_a_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"width": 64, "depth": 1, "heads": 2, "mlp_width": 128, "num_classes": 2})
    )
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    bundle = tmp_path / "x.navit"
    options = ["--model", "ti16", "--config", tmp_path / "config.json", "--labels", tmp_path / "labels.txt"]
    sizing = ["--sizing", "token-cap:upscale=true", "--max-tokens", 64, "--lowerings", "padded, masked"]
    result = invoke("export", *options, *sizing, "--seed", 3, "-o", bundle)
    assert result.exit_code == 0, result.stderr
    assert str(bundle) in result.stdout.replace("\n", "")
    assert result.stderr.count("processor") == 1
    assert "processor pillow default of export" in words(result.stderr)
    manifest = manifests.load(bundle)
    assert manifest.schema_version == 1
    assert (manifest.model.width, manifest.model.depth, manifest.labels) == (64, 1, ("cat", "dog"))
    assert manifest.preprocess.sizing == Sizing(rule="token-cap", max_tokens=64, upscale=True)
    assert "token-cap (max_tokens 64, upscale True)" in invoke("inspect", bundle).stdout.replace("\n", " ")
    assert [graph.lowering for graph in manifest.graphs] == ["masked", "padded"]

    scaled = tmp_path / "scaled.navit"
    result = invoke("export", *options, "--decode", "scaled", "-o", scaled)
    assert result.exit_code == 0, result.stderr
    assert "decode scaled --decode" in words(result.stderr)
    recorded = manifests.load(scaled)
    assert (recorded.schema_version, recorded.preprocess.decode) == (2, "scaled")

    again = invoke("export", *options, "-o", bundle)
    assert again.exit_code == 1
    assert "exists" in again.stderr
    assert manifests.load(bundle) == manifest


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[1]", "is a list; expected an object of fields"),
        ('{"size": "b16"}', "is for size 'b16' and --model says 's16'"),
        ('{"wings": 2}', "wings"),
    ],
)
def test_a_wrong_config_is_refused_with_the_reason(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "config.json").write_text(content)
    result = invoke("export", "--model", "s16", "--config", tmp_path / "config.json", "-o", tmp_path / "x.navit")
    assert result.exit_code == 1
    assert message in result.stderr
    assert not (tmp_path / "x.navit").exists()


def test_export_without_torch_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = __import__("importlib").import_module

    def without_torch(name: str, *rest: Any) -> Any:
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        return real(name, *rest)

    monkeypatch.setattr("importlib.import_module", without_torch)
    result = invoke("export", "--model", "s16", "-o", tmp_path / "x.navit")
    assert result.exit_code == 1
    assert (
        "export needs the package 'torch', which is not installed: pip install \"navit-edge[export]\"" in result.stderr
    )
